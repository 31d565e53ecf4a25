"""Who is measured: plain PyTorch, presets of ganlab, and the machine's own limit."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ganlab.config import Config
from ganlab.data import ImageSet, load_data, to_uint8
from ganlab.errors import GanlabError
from ganlab.latents import evaluation_latents, labels_in_turn
from ganlab.networks.generators import generate
from ganlab.presets import PRESETS
from ganlab.run import Run
from ganlab.training.state import Training
from ganlab.training.step import Gan

CLASS = "automobile"


class BenchError(GanlabError):
    """A measurement that cannot be made as asked."""


@dataclass(frozen=True)
class Contender:
    """step: trains once. images: how many that takes. precision: what it multiplies in. draw: n -> samples uint8, of
    ``classes`` in turn. keep: writes its averaged generator into a run's folder."""

    step: Callable[[], None]
    images: int
    precision: str = "fp32"
    draw: Callable[[int], torch.Tensor] | None = None
    keep: Callable[[Run], None] | None = None
    classes: int = 1


class Pictures(Dataset):
    """Images one at a time, as torchvision's data sets hand them out."""

    def __init__(self, data: ImageSet) -> None:
        from torchvision import transforms

        self.pixels, self.labels = data.images.permute(0, 2, 3, 1).numpy(), data.labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[place])), int(self.labels[place])


def dcgan_example() -> tuple[nn.Module, nn.Module]:
    """(G, D) of PyTorch's DCGAN example without its 64x64 stage."""
    g = nn.Sequential(
        nn.ConvTranspose2d(100, 256, 4, 1, 0, bias=False), nn.BatchNorm2d(256), nn.ReLU(True),
        nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(True),
        nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(True),
        nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    d = nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True),
        nn.Conv2d(64, 128, 4, 2, 1, bias=False), nn.BatchNorm2d(128), nn.LeakyReLU(0.2, True),
        nn.Conv2d(128, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.LeakyReLU(0.2, True),
        nn.Conv2d(256, 1, 4, 1, 0, bias=False), nn.Sigmoid(),
    )  # fmt: skip
    for module in [*g, *d]:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
    return g, d


def plain(seed: int = 0) -> Contender:
    """PyTorch's own DCGAN example (github.com/pytorch/examples, dcgan/main.py) at 32x32: its networks, weights, batch
    of 64, DataLoader with two workers, BCELoss and Adam, in the order that it takes them."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    g, d = (network.to(device) for network in dcgan_example())
    criterion = nn.BCELoss()
    d_optimiser = torch.optim.Adam(d.parameters(), lr=0.0002, betas=(0.5, 0.999))
    g_optimiser = torch.optim.Adam(g.parameters(), lr=0.0002, betas=(0.5, 0.999))
    pictures = Pictures(load_data(Config.from_preset("fast", classes=[CLASS])))
    loader = DataLoader(pictures, 64, shuffle=True, num_workers=2, drop_last=True)

    def steps() -> Iterator[None]:
        while True:
            for images, _ in loader:
                d.zero_grad()
                real = images.to(device)
                label = torch.full((len(real),), 1.0, device=device)
                d_real = criterion(d(real).view(-1), label)
                d_real.backward()
                fake = g(torch.randn(len(real), 100, 1, 1, device=device))
                label.fill_(0.0)
                d_fake = criterion(d(fake.detach()).view(-1), label)
                d_fake.backward()
                d_optimiser.step()
                g.zero_grad()
                label.fill_(1.0)
                g_loss = criterion(d(fake).view(-1), label)
                g_loss.backward()
                g_optimiser.step()
                losses = [d_real.item() + d_fake.item(), g_loss.item()]  # the example prints them at every step
                yield losses

    @torch.no_grad()
    def draw(n: int) -> torch.Tensor:
        latents = evaluation_latents(Config.from_preset("dcgan"), n)[:, :, None, None].to(device)
        g.eval()
        images = torch.cat([to_uint8(g(part)).cpu() for part in latents.split(256)])
        g.train()
        return images

    endless = steps()
    return Contender(lambda: next(endless), 64, draw=draw)


def in_ganlab(config: Config) -> Contender:
    """A config trained by ganlab, with all that a step entails: data, augmentation, average, losses, history."""
    training = Training(config, load_data(config))
    gan = training.gan

    def step() -> None:
        training.train_step()
        if training.epoch_is_over:
            training.check_finite()
            training.end_epoch()

    def draw(n: int) -> torch.Tensor:
        return generate(gan.ema.network, evaluation_latents(config, n), labels_in_turn(training.config, n))

    def keep(run: Run) -> None:
        run.write_generator(gan.ema.network, training.config)

    classes = max(1, training.config.label_count)
    return Contender(step, config.batch_size * config.d_steps, gan.precision, draw, keep, classes)


def networks_alone(config: Config) -> Contender:
    """The same networks, loss and optimisers on one fixed batch: what a step costs without all that surrounds it."""
    gan = Gan(config.replace(diffaugment=[], instance_noise=0.0))
    images = load_data(config).images[: config.batch_size].to(gan.device)
    inputs = [(images, None, gan.prior.sample(config.batch_size, config.latent_dim, gan.streams["prior"]))]
    return Contender(lambda: gan.updates(inputs), config.batch_size, gan.precision)


def seconds_of(step: Callable[[], object], at_least: float = 0.1) -> float:
    """Seconds a step, from as many as fit into ``at_least`` seconds; by the device's own clock on a GPU."""
    steps, started = 0, time.perf_counter()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if torch.cuda.is_available() else None
    if events:
        events[0].record()
    while steps == 0 or time.perf_counter() - started < at_least:
        step()
        steps += 1
    if not events:
        return (time.perf_counter() - started) / steps
    events[1].record()
    torch.cuda.synchronize()
    return events[0].elapsed_time(events[1]) / 1000 / steps


def products(dtype: torch.dtype) -> Contender:
    """Square matrix products of the side at which this machine is fastest."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def product(side: int) -> Callable[[], None]:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        return lambda: a @ b

    speeds: dict[int, float] = {}
    for side in (256, 512, 1024, 2048, *((4096, 8192) if device == "cuda" else ())):
        one = product(side)
        one()
        speeds[side] = side**3 / seconds_of(one)
        if speeds[side] < max(speeds.values()):
            break
    return Contender(product(max(speeds, key=speeds.get)), 0, "bf16" if dtype == torch.bfloat16 else "fp32")


def of_preset(preset: str, classes: tuple[str, ...] = (CLASS,), **changes: Any) -> Callable[[int], Contender]:
    """A preset with changes, trained by ganlab on those classes (none: all), as a function of the seed."""
    return lambda seed: in_ganlab(Config.from_preset(preset, seed=seed, classes=list(classes), **changes))


# What is measured: a name in the table, what makes the contender from a seed, and what it is.
CONTENDERS: dict[str, tuple[Callable[[int], Contender], str]] = {
    "plain": (plain, "PyTorch's DCGAN example at 32x32: fp32, DataLoader, batch 64"),
    "same networks": (of_preset("dcgan", instance_noise=0.0), "the networks and the batch of plain, trained by ganlab"),
    "sngan": (of_preset("sngan", g_lr=5e-4, d_lr=5e-4), "D on pixels, the first round's default"),
    "fast": (of_preset("fast"), "ganlab's default preset"),
    "fast, 32 channels": (of_preset("fast", g_channels=32), "the same with a G twice as wide, for longer runs"),
    "fast, networks alone": (
        lambda seed: networks_alone(Config.from_preset("fast", seed=seed, classes=[CLASS])),
        "its networks on one fixed batch: no data, augmentation, average, history",
    ),
    "fast, ten classes": (of_preset("fast", ()), "the default preset on all of CIFAR-10"),
    "fast, conditional": (of_preset("fast", (), conditional=True), "the same, G and D told the class"),
    "fast, compiled": (
        of_preset("fast", compile=True),
        "the default preset, its networks through torch.compile (only measured on a GPU)",
    ),
    "limit fp32": (lambda seed: products(torch.float32), "float32 matrix products"),
    "limit bf16": (lambda seed: products(torch.bfloat16), "bfloat16 matrix products"),
}

# The same for larger images.
SIZES = {
    f"{preset} at {resolution}": (of_preset(preset, resolution=resolution), f"CIFAR-10 at {resolution}x{resolution}")
    for preset in ("fast", "sngan-resnet")
    for resolution in (32, 64, 128)
}

# Every preset in both precisions.
PRECISIONS = {
    f"{preset}, {precision}": (of_preset(preset, precision=precision), f"{preset} in {precision}")
    for preset in PRESETS
    for precision in ("fp32", "bf16")
}

# Who may race, and for the images of which classes.
RACERS = {
    "plain": CLASS, "sngan": CLASS, "fast": CLASS, "fast, 32 channels": CLASS,
    "fast, ten classes": "all classes", "fast, conditional": "all classes",
}  # fmt: skip
