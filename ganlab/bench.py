"""How fast this machine trains, beside plain PyTorch and beside the machine's own limit; and how good per minute.

``measure`` lets every contender train a few seconds in turn, each in a process of its own, so that whatever else slows
the machine slows all of them, and peak memory is each one's own. ``race`` follows the Frechet distance of a contender
over minutes of training.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from ganlab.config import CHOICES, Config
from ganlab.data import ImageSet, load_data, to_uint8
from ganlab.errors import GanlabError, unknown
from ganlab.files import tile, write_atomic, write_png
from ganlab.latents import evaluation_latents, labels_in_turn
from ganlab.machine import native_precision, provenance
from ganlab.networks.generators import generate
from ganlab.run import Run
from ganlab.scoring.evaluate import SAMPLES, evaluate, references
from ganlab.training.step import Training

CLASS = "automobile"
MARKS = (1, 2, 4, 8, 12, 16, 20, 30, 40, 50, 60)  # minutes at which a race is scored


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


# --- the contenders -------------------------------------------------------------------------------------------------


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
    loader = DataLoader(
        Pictures(load_data(_config("fast", 0, classes=[CLASS]))), 64, shuffle=True, num_workers=2, drop_last=True
    )

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
        latents = evaluation_latents(_config("dcgan", 0), n)[:, :, None, None].to(device)
        g.eval()
        images = torch.cat([to_uint8(g(part)).cpu() for part in latents.split(256)])
        g.train()
        return images

    endless = steps()
    return Contender(lambda: next(endless), 64, draw=draw)


def in_ganlab(config: Config) -> Contender:
    """A config trained by ganlab, with all that a step entails: data, augmentation, average, losses, history."""
    session = Training(config, load_data(config))

    def step() -> None:
        started = time.perf_counter()
        session.train_step()
        session.seconds += time.perf_counter() - started
        if session.epoch_is_over:
            session.check_finite()
            session.end_epoch()

    def draw(n: int) -> torch.Tensor:
        return generate(session.ema.network, evaluation_latents(config, n), labels_in_turn(session.config, n))

    def keep(run: Run) -> None:
        run.write_generator(session.ema.network, session.config)

    classes = len(session.config.classes) if config.conditional else 1
    return Contender(step, config.batch_size * config.d_steps, session.precision, draw, keep, classes)


def networks_alone(config: Config) -> Contender:
    """The same networks, loss and optimisers on one fixed batch: what a step costs without all that surrounds it."""
    session = Training(config.replace(diffaugment=[], instance_noise=0.0), load_data(config))
    images = session.images[: config.batch_size].float() / 127.5 - 1
    images = images.to(memory_format=torch.channels_last)
    latents = session.prior.sample(config.batch_size, config.latent_dim, session.streams["prior"])

    def step() -> None:
        with session.autocast():
            fake = session.g(latents)
        session.discriminator_step(images, fake.detach())
        session.generator_step(fake, images)

    return Contender(step, config.batch_size, session.precision)


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
        speeds[side] = side**3 / _seconds(one)
        if speeds[side] < max(speeds.values()):
            break
    return Contender(product(max(speeds, key=speeds.get)), 0, "bf16" if dtype == torch.bfloat16 else "fp32")


def _config(preset: str, seed: int, **changes: Any) -> Config:
    return Config.from_preset(preset, seed=seed, **changes)


def _sized(preset: str, resolution: int) -> Callable[[int], Contender]:
    return lambda seed: in_ganlab(_config(preset, seed, classes=[CLASS], resolution=resolution))


# What is measured: a name in the table, what makes the contender from a seed, and what it is.
CONTENDERS: dict[str, tuple[Callable[[int], Contender], str]] = {
    "plain": (plain, "PyTorch's DCGAN example at 32x32: fp32, DataLoader, batch 64"),
    "same networks": (
        lambda seed: in_ganlab(_config("dcgan", seed, classes=[CLASS], instance_noise=0.0)),
        "the networks and the batch of plain, trained by ganlab",
    ),
    "fast": (lambda seed: in_ganlab(_config("fast", seed, classes=[CLASS])), "ganlab's default preset"),
    "fast, networks alone": (
        lambda seed: networks_alone(_config("fast", seed, classes=[CLASS])),
        "its networks on one fixed batch: no data, augmentation, average, history",
    ),
    "fast, ten classes": (lambda seed: in_ganlab(_config("fast", seed)), "the default preset on all of CIFAR-10"),
    "fast, conditional": (
        lambda seed: in_ganlab(_config("fast", seed, conditional=True)),
        "the same, G and D told the class",
    ),
    "fast, compiled": (
        lambda seed: in_ganlab(_config("fast", seed, classes=[CLASS], compile=True)),
        "the default preset, its networks through torch.compile (only measured on a GPU)",
    ),
    "limit fp32": (lambda seed: products(torch.float32), "float32 matrix products"),
    "limit bf16": (lambda seed: products(torch.bfloat16), "bfloat16 matrix products"),
}


# The same for larger images.
SIZES = {
    f"{preset} at {resolution}": (_sized(preset, resolution), f"CIFAR-10 at {resolution}x{resolution}")
    for preset in ("fast", "sngan-resnet")
    for resolution in CHOICES["resolution"]
}


# Who may race, and for the images of which classes.
RACERS = {"plain": CLASS, "fast": CLASS, "fast, ten classes": "all classes", "fast, conditional": "all classes"}


# --- throughput -----------------------------------------------------------------------------------------------------


def _seconds(step: Callable[[], object], at_least: float = 0.1) -> float:
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


def serve(name: str) -> None:
    """A worker: says what a step of the contender is, then, for every number of seconds it reads, how long one took."""
    contender = (CONTENDERS | SIZES)[name][0](0)
    for _ in range(3):
        contender.step()
    with FlopCounterMode(display=False) as counter:
        contender.step()
    about = {"images": contender.images, "precision": contender.precision, "flop": counter.get_total_flops()}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": _seconds(contender.step, float(line)), "peak": _peak_bytes()}), flush=True)


def _peak_bytes() -> int:
    """The most memory that this process held: of the GPU where it uses one, else resident, shared pages included."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


class Worker:
    """A contender in a process of its own."""

    def __init__(self, name: str, threads: int = 0) -> None:
        limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        command = [sys.executable, "-c", f"from ganlab.bench import serve; serve({name!r})"]
        self.process = subprocess.Popen(
            command, env=os.environ | limit, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.name = name
        self.about: dict[str, Any] = {}
        self.taken: list[float] = []  # seconds a step, a number a round
        self.peak = 0

    def ready(self) -> None:
        self.about = self._answer()

    def start(self, seconds: float) -> None:
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()

    def finish(self) -> float:
        """Seconds a step in the round under way."""
        answer = self._answer()
        self.peak = answer["peak"]
        self.taken.append(answer["seconds"])
        return answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(
                f"the process that measures {self.name!r} ended with code {self.process.wait()}; see above"
            )
        return json.loads(line)

    def stop(self) -> None:
        self.process.communicate()


def throughput(rounds: int, seconds: float) -> tuple[pd.DataFrame, list[float], list[float]]:
    """(a row a contender, medians over the rounds; two processes of one thread over one, a number a round; the share of
    a step of ``fast`` that its networks do not take, a number a round)."""
    from tqdm import tqdm

    workers: list[Worker] = []
    try:
        for name in [name for name in CONTENDERS if name != "fast, compiled" or torch.cuda.is_available()]:
            workers.append(Worker(name))
            workers[-1].ready()  # one after the other: they load and warm up undisturbed
        pair = [Worker("fast", threads=1) for _ in range(2)]
        workers += pair
        for worker in pair:
            worker.ready()
        together = []
        for _ in tqdm(range(rounds), desc="rounds", unit="round", disable=not sys.stderr.isatty()):
            for worker in workers[: -len(pair)]:
                worker.start(seconds)
                worker.finish()
            pair[0].start(seconds)
            alone = pair[0].finish()
            for worker in pair:
                worker.start(seconds)
            together.append(sum(alone / worker.finish() for worker in pair))
    finally:
        for worker in workers:
            worker.stop()
    taken = {worker.name: worker.taken for worker in workers[: -len(pair)]}
    around = [1 - alone / whole for alone, whole in zip(taken["fast, networks alone"], taken["fast"], strict=True)]
    return _table(workers[: -len(pair)]), together, around


def _table(workers: list[Worker]) -> pd.DataFrame:
    plain_rates = [workers[0].about["images"] / taken for taken in workers[0].taken]
    limits = {w.about["precision"]: _flops(w) for w in workers if w.name.startswith("limit")}
    rows = []
    for worker in workers:
        about, rates = worker.about, [worker.about["images"] / taken for taken in worker.taken]
        row = {"contender": worker.name, "precision": about["precision"]}
        if about["images"]:
            row |= {
                "images_per_second": statistics.median(rates),
                "low": min(rates),
                "high": max(rates),
                "ratio_to_plain": statistics.median(r / p for r, p in zip(rates, plain_rates, strict=True)),
                "mflop_per_image": about["flop"] / about["images"] / 1e6,
            }
        row |= {
            "tflop_per_second": _flops(worker) / 1e12,
            "share_of_limit": _flops(worker) / limits[about["precision"]],
            "peak_memory_mb": worker.peak / 2**20,
            "what": CONTENDERS[worker.name][1],
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _flops(worker: Worker) -> float:
    return worker.about["flop"] / statistics.median(worker.taken)


def resolutions(out: Path, rounds: int = 5, seconds: float = 3.0) -> Iterator[dict[str, Any]]:
    """Images per second and peak memory of the families that grow with the resolution, medians of ``rounds``: a row a
    preset and resolution, one after the other, each kept in ``out``/resolutions.md before the next is measured."""
    rows, about = [], provenance()
    heading = (
        f"# Resolutions\n\n`ganlab bench --resolutions`, {about['date'][:10]}, {_machine(about)}. Training, medians of "
        f"{rounds} rounds; peak memory is the whole process's.\n\n"
    )
    for name, (_, what) in SIZES.items():
        worker = Worker(name)
        try:
            worker.ready()
            for _ in range(rounds):
                worker.start(seconds)
                worker.finish()
        finally:
            worker.stop()
        batch, rates = worker.about["images"], [worker.about["images"] / taken for taken in worker.taken]
        rows.append({
            "contender": name, "batch": batch, "images_per_second": statistics.median(rates), "low": min(rates),
            "high": max(rates), "mflop_per_image": worker.about["flop"] / batch / 1e6,
            "peak_memory_mb": worker.peak / 2**20, "what": what,
        })  # fmt: skip
        said = f"{heading}{_markdown(pd.DataFrame(rows))}\n"
        write_atomic(out / "resolutions.md", lambda path, said=said: path.write_text(said))
        yield rows[-1]


# --- what a user waits for ------------------------------------------------------------------------------------------


def waiting() -> dict[str, float]:
    """Seconds from a command to its answer, medians of five: imports, help, data, first step, samples."""
    config = _config("fast", 0, classes=[CLASS])
    load_data(config)  # the first ever start unpacks the data; the others are those that count
    sampler = in_ganlab(config)
    session = Training(config, load_data(config))
    one = evaluation_latents(config, 1)

    def command(*words: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True)

    def first_step() -> None:
        in_ganlab(config).step()

    timed: dict[str, tuple[Callable[[], object], int]] = {
        "import ganlab": (command("-c", "import ganlab"), 5),
        "ganlab --help": (command("-m", "ganlab", "--help"), 5),
        "data of a second start": (lambda: load_data(_config("fast", 0)), 5),
        "first step, imports done": (first_step, 5),
        "10,000 samples": (lambda: sampler.draw(10_000), 3),
        "one sample": (lambda: generate(session.ema.network, one), 50),
    }
    return {name: statistics.median(_seconds(call, 0) for _ in range(times)) for name, (call, times) in timed.items()}


def bars(table: pd.DataFrame, together: list[float], around: list[float], waits: dict[str, float]) -> pd.DataFrame:
    """What ganlab holds itself to, and where it stands on this machine."""
    row = table.set_index("contender")
    native = native_precision(torch.device("cuda" if torch.cuda.is_available() else "cpu")) == "bf16"
    rows = [
        ("same networks / plain", row.ratio_to_plain["same networks"], "at least", 3.0 if native else 1.2),
        ("all but the networks, share of a step", statistics.median(around), "at most", 0.08),
        ("two processes of one thread / one", statistics.median(together), "at least", 1.9),
        *(
            (f"{name}, seconds", waits[name], "at most", most)
            for name, most in [
                ("import ganlab", 0.3),
                ("ganlab --help", 0.6),
                ("data of a second start", 1.0),
                ("first step, imports done", 3.0),
                ("10,000 samples", 5.0),
                ("one sample", 0.01),
            ]
        ),
    ]
    if native:
        share = ("same networks, share of the bf16 limit", row.share_of_limit["same networks"], "at least", 0.35)
        rows.insert(1, share)
    return _met(rows)


def _met(rows: list[tuple[str, float, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["figure", "measured", "bar", "wanted"])
    frame["met"] = np.where(frame.bar == "at least", frame.measured >= frame.wanted, frame.measured <= frame.wanted)
    return frame


def measure(out: Path, rounds: int = 6, seconds: float = 2.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(throughput, bars), also left in ``out`` as bench.json and bench.md. Raises ``BenchError`` for under 5 rounds."""
    if rounds < 5:
        raise BenchError(f"--rounds is {rounds}: a median with a spread takes at least 5")
    began = provenance()
    table, together, around = throughput(rounds, seconds)
    standing = bars(table, together, around, waiting())
    record = {
        "provenance": began,
        "rounds": rounds,
        "contenders": {row["contender"]: {k: v for k, v in row.items() if v == v} for row in table.to_dict("records")},
        "bars": standing.to_dict("records"),
    }
    write_atomic(out / "bench.json", lambda path: path.write_text(json.dumps(record, indent=2) + "\n"))
    write_atomic(out / "bench.md", lambda path: path.write_text(_report(began, rounds, table, standing)))
    return table, standing


def _report(began: dict[str, Any], rounds: int, table: pd.DataFrame, standing: pd.DataFrame) -> str:
    return (
        "\n\n".join(
            [
                "# Throughput",
                f"`make bench`, {began['date'][:10]}, {_machine(began)}. Medians of {rounds} rounds in which "
                "all take turns; low and high are the slowest and the fastest round. Operations are those executed, "
                "counted by torch (a multiplication and an addition are two); the limit is the rate of square matrix "
                "products in the same precision.",
                _markdown(table),
                _markdown(standing),
            ]
        )
        + "\n"
    )


def _machine(about: dict[str, Any]) -> str:
    """What a ``provenance`` was measured on."""
    return f"{about['cpu']}, {os.cpu_count()} cores, torch {about['versions']['torch']}, GPU: {about['gpu'] or 'none'}"


def _markdown(frame: pd.DataFrame, digits: int = 3) -> str:
    """A GitHub table; what is not measured stays empty."""

    def said(value: Any) -> str:
        return "" if value != value else f"{value:.{digits}g}" if isinstance(value, float) else str(value)

    return frame.map(said).to_markdown(index=False, disable_numparse=True)


# --- quality per minute ---------------------------------------------------------------------------------------------


def race(out: Path, contender: str, minutes: float, seed: int) -> Iterator[dict[str, Any]]:
    """Trains a contender to ``minutes`` and scores it at the marks on the way: a row a mark, kept with a grid in
    ``out``/race, and a generator of ganlab's in a folder of its own there. Returns at once if that was done before; a
    race that was broken off starts again.

    A minute is the images that the contender trains in one on the whole, otherwise idle machine, as ``measure`` found
    (bench.json) before its first race; its later ones keep that minute, whatever was measured since. So a race means
    the same on a busy machine, and several may run side by side on a thread each. Raises
    ``ConfigError`` for an unknown contender, ``BenchError`` if there is no bench.json or ``minutes`` is not positive.
    """
    if contender not in RACERS:
        raise unknown("contender", contender, RACERS)
    if minutes <= 0:
        raise BenchError(f"--race is {minutes:g}: give the minutes of training to race for, as --race 20")
    if not (out / "bench.json").exists():
        raise BenchError(f"{out} has no bench.json, which says how many images a minute are: run 'ganlab bench' first")
    name = f"{contender.replace(', ', '-').replace(' ', '-')}-s{seed}"
    path = out / "race" / f"{name}.csv"
    if path.exists() and pd.read_csv(path)["minutes"].max() >= minutes:
        return
    rate, began = _rate(out, contender), provenance()
    racer = CONTENDERS[contender][0](seed)
    train, _ = references(_config("fast", 0, classes=[CLASS] if RACERS[contender] == CLASS else []))
    train = replace(train, images=train.images[:SAMPLES], labels=train.labels[:SAMPLES])
    images, rows = 0, []
    for mark in [mark for mark in MARKS if mark < minutes] + [minutes]:
        while images < mark * 60 * rate:
            racer.step()
            images += racer.images
        drawn = racer.draw(SAMPLES)
        rows.append({"contender": contender, "seed": seed, "minutes": mark, "images": images, **_scores(drawn, train)})
        write_atomic(path, lambda file: pd.DataFrame(rows).round(4).to_csv(file, index=False))
        grid = drawn[:64]
        if racer.classes > 1:  # a class a row
            grid = drawn[: 8 * racer.classes].unflatten(0, (8, racer.classes)).transpose(0, 1).flatten(0, 1)
        write_atomic(out / "race" / f"{name}-{mark:g}min.png", lambda file, grid=grid: write_png(file, tile(grid)))
        if racer.keep:
            racer.keep(Run(out / "race" / name))
        yield rows[-1]
    write_atomic(out / "race" / "about.json", lambda file: file.write_text(json.dumps(began, indent=2) + "\n"))


def _rate(out: Path, contender: str) -> float:
    """The images a second that a contender's minutes are made of."""
    for path in sorted((out / "race").glob("*.csv")):
        rows = pd.read_csv(path)
        if rows["contender"].iloc[0] == contender:
            return rows["images"].iloc[-1] / rows["minutes"].iloc[-1] / 60
    return json.loads((out / "bench.json").read_text())["contenders"][contender]["images_per_second"]


def _scores(drawn: torch.Tensor, train: ImageSet) -> dict[str, float]:
    """The Frechet distance to the whole of ``train`` and its floor; precision and so on against half of it."""
    table = evaluate(drawn, train, None, ["cifar_resnet"]).drop_duplicates("metric").set_index("metric")
    names = ("fd", "precision", "recall", "density", "coverage")
    scores = {f"{name}_cifar_resnet": table["value"][f"{name}_cifar_resnet"] for name in names}
    return scores | {f"{name}_floor": table["floor"][f"{name}_cifar_resnet"] for name in names}


def race_bars(means: pd.DataFrame) -> pd.DataFrame:
    """What ganlab holds ``fast`` to on one class, where both have raced so far. means: rows (contender, minutes)."""
    distance, rows = means["fd_cifar_resnet"], []
    for mark, wanted in ((4, 8.0), (20, 25.0)):
        if {("plain", mark), ("fast", mark)} <= set(means.index):
            ratio = distance["plain", mark] / distance["fast", mark]
            rows.append((f"distance after {mark} minutes, plain / fast", ratio, "at least", wanted))
    return _met(rows)


def draw_race(out: Path) -> Path:
    """Gathers every race in ``out``/race into race.csv, race.png and a table of means over the seeds, race.md."""
    from ganlab import figures

    rows = pd.concat([pd.read_csv(path) for path in sorted((out / "race").glob("*.csv"))], ignore_index=True)
    rows = rows.sort_values("contender", key=lambda names: names.map(list(RACERS).index), kind="stable")
    write_atomic(out / "race.csv", lambda path: rows.to_csv(path, index=False))
    figure = figures.race(rows.assign(classes=rows["contender"].map(RACERS)))
    write_atomic(out / "race.png", lambda path: figure.savefig(path, format="png"))
    seeds = rows.groupby(["contender", "minutes"], sort=False)["seed"].nunique().rename("seeds")
    means = rows.drop(columns="seed").groupby(["contender", "minutes"], sort=False).mean()
    table = pd.concat([seeds, means.drop(columns=[name for name in means if name.endswith("_floor")])], axis=1)
    table["images"] = table["images"].round().astype(int)
    minutes = (means["images"] / means.index.get_level_values("minutes")).groupby("contender", sort=False).last()
    floors = means.filter(like="_floor").groupby(lambda mark: RACERS[mark[0]], sort=False).first()
    report = "\n\n".join(
        [
            "# Quality per minute",
            f"`ganlab bench --race MINUTES --seeds ...`. Means over the seeds; EMA generators where there is an "
            f"average, {SAMPLES} samples against the first {SAMPLES} training images, precision and the others against "
            "half of them. A minute is the images that a contender trains in one on this machine when it is idle, as "
            "measured by `ganlab bench` before: "
            + ", ".join(f"{contender} {images:,.0f}" for contender, images in minutes.items()) + ".",
            _markdown(table.reset_index(), digits=4),
            "What `fast` is held to on one class:",
            _markdown(race_bars(means), digits=3),
            "Floors, real images in the place of generated ones:",
            _markdown(floors.rename(columns=lambda name: name.removesuffix("_floor")).reset_index(names="classes")),
        ]
    )  # fmt: skip
    write_atomic(out / "race.md", lambda path: path.write_text(report + "\n"))
    return out / "race.md"
