"""A small CIFAR-10 classifier trained by this project: its pooled layer is the quick feature extractor of the package.

``python -m ganlab.scoring.classifier`` writes ganlab/networks/cifar_resnet.safetensors and, beside it, a JSON file
that says how it came about. The recipe is airbench94 (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds") at a third of its
size: 74 million operations an image forward. Never sees a generated image, and is never trained behind the user's back.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

import ganlab
from ganlab.data import ImageSet, cache_folder, load
from ganlab.errors import GanlabError
from ganlab.files import write_atomic
from ganlab.machine import native_precision, provenance
from ganlab.networks.classifier import COMMAND, WEIGHTS, WIDTHS, Classifier, ClassifierError, read_classifier

STREAMS = ("init", "data", "augment")


@dataclass(frozen=True)
class Recipe:
    """What decides the trained weights, beside the images. Learning rate and weight decay are airbench's: per 1,024
    images, for a loss summed over the batch, decoupled from each other and from the momentum."""

    epochs: int = 22
    seed: int = 0
    widths: tuple[int, ...] = WIDTHS
    batch_size: int = 256
    lr: float = 10.0
    weight_decay: float = 0.0153
    momentum: float = 0.85
    bias_lr_factor: float = 64.0  # batch-norm biases learn this much faster
    label_smoothing: float = 0.2
    shift: int = 2  # pixels of random translation, mirrored at the border
    whitening_epochs: int = 3  # after these the whitening layer's bias is frozen as well
    lookahead_steps: int = 20


@torch.no_grad()
def initialise(network: Classifier, images: torch.Tensor, stream: torch.Generator) -> None:
    """Fills the weights: whitening from ``images`` uint8 (N, 3, 32, 32), partial identity plus noise elsewhere."""
    patches = network.normalised(images).unfold(2, 2, 1).unfold(3, 2, 1)  # (N, 3, 31, 31, 2, 2)
    patches = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    axes = (vectors / (values + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    network.whiten.weight.copy_(torch.cat([axes, -axes])).requires_grad_(False)
    network.whiten.bias.zero_()
    for module in network.blocks:
        if isinstance(module, nn.Conv2d):
            _, before, height, width = module.weight.shape
            bound = (before * height * width) ** -0.5
            module.weight.uniform_(-bound, bound, generator=stream)
            nn.init.dirac_(module.weight[:before])
    network.head.weight.normal_(generator=stream)


# --- training -------------------------------------------------------------------------------------------------------


def train_classifier(
    out: Path, recipe: Recipe, train: ImageSet | None = None, test: ImageSet | None = None
) -> Iterator[dict[str, Any]]:
    """Trains on CIFAR-10, yields one row an epoch, then writes ``out`` and its .json and yields that report.

    A killed training resumes after its last whole epoch. The test images are looked at, never learned or chosen from.
    Same seed, images, hardware and threads: the same file. Raises ``DataError`` where the images cannot be had.
    """
    train, test = train or load("cifar10"), test or load("cifar10", split="test")
    if recipe.epochs < 1 or len(train) < 2 * recipe.batch_size:
        raise ClassifierError(
            f"{recipe.epochs} epochs of {len(train)} images cannot train a classifier: use at least 1 epoch and "
            f"{2 * recipe.batch_size} images"
        )
    session = Session(recipe, train)
    checkpoint = cache_folder() / "classifier" / f"{_identity(recipe, train)}.pt"
    if checkpoint.exists():
        session.load_state_dict(torch.load(checkpoint, weights_only=True))
    while session.epoch < recipe.epochs:
        row = session.train_epoch()
        row["test_accuracy"] = round(accuracy(session.network, test.images[:2000], test.labels[:2000]), 4)
        write_atomic(checkpoint, lambda path: torch.save(session.state_dict(), path))
        yield row
    write_classifier(out, session.network, recipe)
    report = _report(out, recipe, session, train, test)
    write_atomic(out.with_suffix(".json"), lambda path: path.write_text(json.dumps(report, indent=2) + "\n"))
    checkpoint.unlink(missing_ok=True)
    yield report


class Session:
    """What changes while the classifier trains: network, optimiser, average, streams, log."""

    def __init__(self, recipe: Recipe, data: ImageSet) -> None:
        self.recipe, self.labels = recipe, data.labels
        self.streams = {name: torch.Generator().manual_seed(_seed(recipe.seed, name)) for name in STREAMS}
        with torch.random.fork_rng(devices=[]):  # the layers' own initialisation is overwritten below
            self.network = Classifier(recipe.widths, classes=len(data.names))
        initialise(self.network, data.images[:5000], self.streams["init"])
        self.network.to(memory_format=torch.channels_last)
        self.optimiser = _optimiser(self.network, recipe)
        self.average = [value.clone() for value in self._floats()]
        parts = data.images.split(1000)  # in float32 they take four times the room
        self.padded = torch.cat([F.pad(p.float(), (recipe.shift,) * 4, mode="reflect").to(torch.uint8) for p in parts])
        self.flipped = torch.rand(len(data), generator=self.streams["augment"]) < 0.5
        self.steps = len(data) // recipe.batch_size  # an epoch
        self.bf16 = native_precision(torch.device("cpu")) == "bf16"
        self.epoch = 0
        self.log: list[dict[str, Any]] = []

    def train_epoch(self) -> dict[str, Any]:
        """One pass over the images; returns its row of the log."""
        recipe, started, total, correct = self.recipe, time.perf_counter(), 0.0, 0
        self.network.train()
        self.network.whiten.bias.requires_grad_(self.epoch < recipe.whitening_epochs)
        order = self.order()
        for step in range(self.steps):
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            labels = self.labels[chosen]
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                logits = self.network(self._augmented(chosen)).float()
            loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing, reduction="sum")
            self.optimiser.zero_grad()
            loss.backward()
            self._learn(self.epoch * self.steps + step)
            total, correct = total + loss.item(), correct + (logits.argmax(1) == labels).sum().item()
        self.epoch += 1
        images = self.steps * recipe.batch_size
        row = {
            "epoch": self.epoch,
            "loss": round(total / images, 4),
            "train_accuracy": round(correct / images, 4),
            "seconds": round(time.perf_counter() - started, 1),
        }
        self.log.append(row)
        return row

    def order(self) -> torch.Tensor:
        """The places of the coming epoch's images, one after the other."""
        return torch.randperm(len(self.labels), generator=self.streams["data"])

    def _learn(self, step: int) -> None:
        """An optimiser step at its place in the schedule, and lookahead (Zhang 2019) every ``lookahead_steps``.

        Lookahead sets the weights back to their running average, which moves less and less towards the end. The last
        step ends on it.
        """
        last = self.recipe.epochs * self.steps - 1
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * _triangle(step / last)
        self.optimiser.step()
        if (step + 1) % self.recipe.lookahead_steps == 0 or step == last:
            decay = 0.95**5 * (step / last) ** 3
            values = self._floats()
            torch._foreach_lerp_(self.average, values, 1 - decay)
            torch._foreach_copy_(values, self.average)

    def _augmented(self, chosen: torch.Tensor) -> torch.Tensor:
        """The chosen images, shifted at random, and mirrored in every other epoch (alternating flip, Jordan 2024)."""
        n, reach = len(chosen), 2 * self.recipe.shift + 1
        dy, dx = torch.randint(0, reach, (2, n, 1, 1), generator=self.streams["augment"])
        columns = torch.arange(32).expand(n, 1, 32)
        columns = torch.where((self.flipped[chosen] ^ bool(self.epoch % 2))[:, None, None], 31 - columns, columns)
        rows = dy + torch.arange(32)[:, None]  # (n, 32, 1)
        images = self.padded.permute(0, 2, 3, 1)[chosen[:, None, None], rows, dx + columns]  # (n, 32, 32, 3)
        return images.permute(0, 3, 1, 2)

    @torch.no_grad()
    def _floats(self) -> list[torch.Tensor]:
        return [value for value in self.network.state_dict().values() if value.is_floating_point()]

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "streams": {name: stream.get_state() for name, stream in self.streams.items()},
            "flipped": self.flipped,
            "epoch": self.epoch,
            "log": self.log,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name, stream in self.streams.items():
            stream.set_state(state["streams"][name])
        self.average, self.flipped, self.epoch, self.log = (state[k] for k in ("average", "flipped", "epoch", "log"))


def _optimiser(network: Classifier, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; batch-norm biases in a group of their own."""
    biases = [m.bias for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    others = [network.whiten.bias, network.head.weight]
    others += [m.weight for m in network.blocks if isinstance(m, nn.Conv2d)]
    kilostep = 1024 * (1 + 1 / (1 - recipe.momentum))
    lr, decay = recipe.lr / kilostep, recipe.weight_decay * recipe.batch_size / kilostep
    groups = [
        {"params": params, "peak": peak, "weight_decay": decay / peak}
        for params, peak in ((biases, lr * recipe.bias_lr_factor), (others, lr))
    ]
    return torch.optim.SGD(groups, lr, momentum=recipe.momentum, nesterov=True)


def _triangle(done: float, start: float = 0.2, peak: float = 0.23, end: float = 0.07) -> float:
    """The learning rate's factor at a share ``done`` of the training: up from 0.2 to 1 at 0.23, down to 0.07."""
    return start + (1 - start) * done / peak if done < peak else 1 + (end - 1) * (done - peak) / (1 - peak)


def _seed(seed: int, stream: str) -> int:
    return int.from_bytes(hashlib.sha256(f"classifier {stream} {seed}".encode()).digest()[:7], "big")


def _identity(recipe: Recipe, data: ImageSet) -> str:
    decisive = json.dumps([asdict(recipe), data.fingerprint])
    return hashlib.sha256(decisive.encode()).hexdigest()[:16]


# --- the shipped file -----------------------------------------------------------------------------------------------


@torch.inference_mode()
def accuracy(network: Classifier, images: torch.Tensor, labels: torch.Tensor, batch_size: int = 256) -> float:
    """The share of images uint8 (N, 3, 32, 32) whose largest logit is their label's."""
    network.eval()
    found = torch.cat([network(part).argmax(1) for part in images.split(batch_size)])
    return (found == labels).double().mean().item()


@torch.no_grad()
def folded(network: Classifier, widths: tuple[int, ...]) -> Classifier:
    """The same function as ``network`` in evaluation mode, its batch norms folded into the convolutions."""
    with torch.random.fork_rng(devices=[]):
        plain = Classifier(widths, norm=False, classes=network.head.out_features)
    plain.whiten.load_state_dict(network.whiten.state_dict())
    plain.head.load_state_dict(network.head.state_dict())
    convs, theirs = ([m for m in n.blocks if isinstance(m, nn.Conv2d)] for n in (plain, network))
    norms = [m for m in network.blocks if isinstance(m, nn.BatchNorm2d)]
    for conv, old, norm in zip(convs, theirs, norms, strict=True):
        weight, bias = fuse_conv_bn_weights(
            old.weight, old.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
    return plain.eval().to(memory_format=torch.channels_last)


def write_classifier(out: Path, network: Classifier, recipe: Recipe) -> None:
    """The 3x3 kernels in fp16, the rest (1 % of the weights) in fp32; the recipe rides along."""
    tensors = {
        key: (value.half() if key.startswith("blocks") and value.ndim == 4 else value).contiguous()
        for key, value in folded(network, recipe.widths).state_dict().items()
    }
    about = {"about": json.dumps({"recipe": asdict(recipe), "ganlab": ganlab.__version__})}
    write_atomic(out, lambda path: path.write_bytes(save(tensors, about)))


def _report(out: Path, recipe: Recipe, session: Session, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    network = read_classifier(out)
    return {
        "test_accuracy": round(accuracy(network, test.images, test.labels), 4),
        "test_images": len(test),
        "train_images": len(train),
        "data": {"source": train.source, "train": train.fingerprint, "test": test.fingerprint},
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "bytes": out.stat().st_size,
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_seconds": round(sum(row["seconds"] for row in session.log), 1),
        "precision": "bf16" if session.bf16 else "fp32",
        "recipe": asdict(recipe),
        "log": session.log,
        "provenance": provenance(),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Train the CIFAR-10 classifier.")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--widths", type=int, nargs=3, default=WIDTHS, help="channels of the three blocks")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the file to write (default: the package's)")
    options = parser.parse_args(arguments)
    recipe = Recipe(options.epochs, options.seed, tuple(options.widths))
    try:
        for row in train_classifier(options.out, recipe):
            shown = {key: value for key, value in row.items() if isinstance(value, (int, float))}
            print("  ".join(f"{key} {value}" for key, value in shown.items()), flush=True)
    except GanlabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
