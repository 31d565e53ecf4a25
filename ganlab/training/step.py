"""The training step, and what changes while a run trains. Knows no files.

Every random draw comes from a named stream (init, data, augment, prior, dropout) that each checkpoint keeps: two
runs that differ only in their prior share weights, batches and augmentation, and a killed and resumed run ends with the
bits of one never killed.
"""

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from ganlab import priors
from ganlab.config import Config
from ganlab.data import ImageSet, to_float
from ganlab.errors import GanlabError
from ganlab.machine import device, native_precision
from ganlab.networks.build import build
from ganlab.networks.discriminators import features_and_logit
from ganlab.networks.ema import Ema
from ganlab.training.augment import augment, augment_real
from ganlab.training.losses import LOSSES, bce, feature_matching, gradient_penalty, squared_gradient

STREAMS = ("data", "augment", "prior", "dropout")  # and "init", which is drawn from once
COUNTERS = ("step", "epoch", "batch", "images_seen", "seconds", "scoring_seconds", "best")
COMPILER = "inductor"  # of torch.compile
STATISTICS = ("d_loss_real", "d_loss_fake", "penalty", "g_loss", "d_acc_real", "d_acc_fake")


class DivergedError(GanlabError):
    """A loss or a weight is no longer a finite number."""


@dataclass(frozen=True)
class Event:
    """kind: ``resumed``, ``progress`` (about once a second), ``epoch`` (row: its line of the history), ``snapshot``
    (images: uint8 (N, 3, R, R) of the EMA generator, 8 a row, the same latents every time), ``checkpoint``,
    ``finished`` (row: the run's metrics). epoch and step: how many are done; steps: how many the whole run has."""

    kind: str
    epoch: int
    step: int
    steps: int
    row: dict[str, Any] = field(default_factory=dict)
    images: torch.Tensor | None = None


class Training:
    """What changes while a run trains: networks, optimisers, average, streams, counters. Knows no files."""

    def __init__(self, config: Config, data: ImageSet) -> None:
        if config.conditional:
            config = config.replace(classes=data.names)  # a generator's file must say which label is which class
        self.config = config
        self.device = device(config.device)
        self.precision = config.precision if config.precision != "auto" else native_precision(self.device)
        self.streams = {name: torch.Generator(self.device).manual_seed(_seed(config, name)) for name in STREAMS}
        init = torch.Generator().manual_seed(_seed(config, "init"))  # weights are drawn on the CPU: same on any device
        networks = build(config, init, self.streams["dropout"])
        self.g, self.d = (n.to(self.device, memory_format=torch.channels_last) for n in networks)
        self.ema = Ema(self.g, config.ema_half_life)
        if config.compile:
            for network in (self.g, self.d):
                network.compile(backend=COMPILER)  # in place: the names of the weights stay
        betas = (config.beta1, config.beta2)
        self.g_optimiser = torch.optim.Adam(self.g.parameters(), config.g_lr, betas, fused=True)
        self.d_optimiser = torch.optim.Adam(self.d.parameters(), config.d_lr, betas, fused=True)
        self.loss = bce(config.real_label, config.fake_label) if config.loss == "bce" else LOSSES[config.loss]
        self.d_features, self.d_logit = features_and_logit(self.d)
        self.prior = priors.get(config.prior, config.arm)
        self.images = data.images.to(self.device)
        self.labels = data.labels.to(self.device) if config.conditional else None
        self.step = self.epoch = self.batch = self.images_seen = 0
        self.seconds = 0.0  # of training, in the epoch under way
        self.sums = torch.zeros(len(STATISTICS), device=self.device)
        self.scoring_seconds = 0.0
        self.best: dict[str, float] = {}  # the scores of the best generator so far, and its epoch
        self.history: list[dict[str, float]] = []
        self.order = self._shuffled()

    def train_step(self) -> None:
        """D on ``d_steps`` batches, then G against the last of them; the average follows G."""
        config, n = self.config, self.config.batch_size
        for _ in range(config.d_steps):
            chosen = self._next_batch()
            real = to_float(self.images[chosen]).to(memory_format=torch.channels_last)
            real = augment_real(real, config.real_augment, self.streams["augment"])
            labels = self.labels[chosen] if config.conditional else None  # the fakes get those of the real images
            latents = self.prior.sample(n, config.latent_dim, self.streams["prior"])
            with self.autocast():
                fake = self.g(latents, labels)
            d_losses = self.discriminator_step(real, fake.detach(), labels)
        g_loss = self.generator_step(fake, real, labels)
        self.step += 1
        self.images_seen += n * config.d_steps
        self.ema.update(self.images_seen, n * config.d_steps)
        d_real, d_fake, penalty, *correct = d_losses
        self.sums += torch.stack([d_real, d_fake, penalty, g_loss, *correct]).detach()

    def discriminator_step(
        self, real: torch.Tensor, fake: torch.Tensor, labels: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """(loss on real, on fake, penalty, share of real, of fake that D is right about) before the update."""
        if self.config.d_norm == "batch" or self.config.minibatch != "none":  # real and fake each have their own batch
            seen = [self._augmented(real), self._augmented(fake)]
            real_logits, fake_logits = (self._logits(images, labels) for images in seen)
        else:
            both = None if labels is None else labels.repeat(2)
            together = self._augmented(torch.cat([real, fake]))
            seen = together.chunk(2)
            real_logits, fake_logits = self._logits(together, both).chunk(2)
        d_real, d_fake = self.loss.discriminator(real_logits, fake_logits)
        penalty = self._penalty(*seen, labels)
        self.d_optimiser.zero_grad()
        (d_real + d_fake + penalty).backward()
        self.d_optimiser.step()
        paired, boundary = self.loss.paired, self.loss.boundary
        right = (
            (real_logits > (fake_logits if paired else boundary)).float().mean(),
            (fake_logits < (real_logits if paired else boundary)).float().mean(),
        )
        return d_real, d_fake, penalty, *right

    def _penalty(self, real: torch.Tensor, fake: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The weighted penalties on D's gradient, at the images as D saw them, in float32; 0 without any."""
        config, total = self.config, torch.zeros((), device=self.device)

        def judge(images: torch.Tensor) -> torch.Tensor:
            return self.d(images, labels)

        if config.gradient_penalty:
            total = total + config.gradient_penalty * gradient_penalty(judge, real, fake, self.streams["augment"])
        for gamma, images in ((config.r1, real), (config.r2, fake)):
            if gamma:
                total = total + gamma / 2 * squared_gradient(judge, images).mean()
        return total

    def generator_step(
        self, fake: torch.Tensor, real: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """G's loss before the update; ``fake`` still hangs on the graph that made it."""
        config = self.config
        self.d.requires_grad_(False)  # G's gradient passes through D, but D's own need not be computed
        if config.feature_matching or self.loss.paired:
            features, real_features = (self._features(self._augmented(images), labels) for images in (fake, real))
            with self.autocast():
                logits, real_logits = (self.d_logit(f, labels).float() for f in (features, real_features))
            g_loss = self.loss.generator(logits, real_logits)
            if config.feature_matching:
                g_loss = g_loss + config.feature_matching * feature_matching(real_features.float(), features.float())
        else:
            g_loss = self.loss.generator(self._logits(self._augmented(fake), labels), None)
        self.g_optimiser.zero_grad()
        g_loss.backward()
        self.g_optimiser.step()
        self.d.requires_grad_(True)
        return g_loss

    def _augmented(self, images: torch.Tensor) -> torch.Tensor:
        """What D sees of images."""
        images = augment(images.float(), self.config.diffaugment, self.config.instance_noise, self.streams["augment"])
        return images.contiguous(memory_format=torch.channels_last)

    def _logits(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """D's logits (N,) float32 of images as it sees them."""
        with self.autocast():
            return self.d(images, labels).float()

    def _features(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        with self.autocast():
            return self.d_features(images, labels)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def epoch_is_over(self) -> bool:
        """No whole step is left in the order of this epoch (what remains of it is dropped)."""
        return self.batch + self.config.d_steps > len(self.order) // self.config.batch_size

    def event(self, kind: str, **content: Any) -> Event:
        steps_an_epoch = len(self.order) // self.config.batch_size // self.config.d_steps
        return Event(kind, self.epoch, self.step, self.config.epochs * steps_an_epoch, **content)

    def _next_batch(self) -> torch.Tensor:
        start = self.batch * self.config.batch_size
        self.batch += 1
        return self.order[start : start + self.config.batch_size]

    def _shuffled(self) -> torch.Tensor:
        """Places of an epoch's images, in the order they are taken."""
        order = torch.randperm(len(self.images), generator=self.streams["data"], device=self.device)
        return order[: self.config.epoch_images or None]

    def end_epoch(self) -> dict[str, float]:
        """Closes the epoch: its line of the history, fresh sums, a new order of the images."""
        steps = self.step - (self.history[-1]["step"] if self.history else 0)
        means = dict(zip(STATISTICS, (self.sums / steps).tolist(), strict=True))
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "images_seen": self.images_seen,
            "d_loss": means["d_loss_real"] + means["d_loss_fake"],
            **means,
            "seconds": self.seconds,
            "images_per_second": steps * self.config.batch_size * self.config.d_steps / self.seconds,
        }
        self.history.append({key: round(value, 6) for key, value in row.items()})
        self.sums.zero_()
        self.seconds, self.batch, self.order = 0.0, 0, self._shuffled()
        return self.history[-1]

    def check_finite(self) -> None:
        """Raises ``DivergedError`` if a loss of this epoch or a weight is not finite."""
        weights = [*self.g.parameters(), *self.d.parameters()]
        total = self.sums.sum() + torch.stack(torch._foreach_norm(weights)).sum()
        if not math.isfinite(total.item()):
            raise DivergedError(
                f"the loss is no longer finite in epoch {self.epoch + 1} (step {self.step}); the last good checkpoint "
                "is kept: train with a lower g_lr and d_lr, another loss, or precision fp32"
            )

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": {name: getattr(self, name).state_dict() for name in ("g", "d")},
            "ema": self.ema.network.state_dict(),
            "optimisers": [self.g_optimiser.state_dict(), self.d_optimiser.state_dict()],
            "streams": {name: stream.get_state() for name, stream in self.streams.items()},
            "counters": {name: getattr(self, name) for name in COUNTERS},
            "sums": self.sums,
            "order": self.order,
            "history": self.history,
            "device": self.device.type,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.g.load_state_dict(state["networks"]["g"])
        self.d.load_state_dict(state["networks"]["d"])
        self.ema.network.load_state_dict(state["ema"])
        self.g_optimiser.load_state_dict(state["optimisers"][0])
        self.d_optimiser.load_state_dict(state["optimisers"][1])
        for name, stream in self.streams.items():
            stream.set_state(state["streams"][name])
        for name, value in state["counters"].items():
            setattr(self, name, value)
        self.sums.copy_(state["sums"])
        self.order = state["order"].to(self.device)
        self.history = state["history"]


def _seed(config: Config, stream: str) -> int:
    """A stream's own seed: streams never overlap, and ``latent_seed`` moves the training latents alone."""
    seed = config.latent_seed if stream == "prior" and config.latent_seed >= 0 else config.seed
    return int.from_bytes(hashlib.sha256(f"{stream} {seed}".encode()).digest()[:7], "big")
