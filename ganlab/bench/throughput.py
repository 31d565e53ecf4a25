"""Images per second of every contender, each in a process of its own.

The contenders take turns, so whatever else slows the machine slows all of them, and peak memory is each one's own.
"""

import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from ganlab.bench.contenders import CONTENDERS, PRECISIONS, SIZES, BenchError, Contender, seconds_of
from ganlab.files import write_atomic
from ganlab.machine import native_precision, provenance
from ganlab.presets import PRESETS


def serve(name: str) -> None:
    """A worker: says what a step of the contender is, then, for every number of seconds it reads, how long one took."""
    contender = (CONTENDERS | SIZES | PRECISIONS)[name][0](0)
    for _ in range(3):
        contender.step()
    about = {"images": contender.images, "precision": contender.precision, "flop": _operations(contender)}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": seconds_of(contender.step, float(line)), "peak": _peak_bytes()}), flush=True)


def _operations(contender: Contender) -> float:
    """Of one step; nan where torch cannot count them, as of a penalty on gradients."""
    try:
        with FlopCounterMode(display=False) as counter:
            contender.step()
    except RuntimeError:
        return math.nan
    return counter.get_total_flops()


def _peak_bytes() -> int:
    """The most memory that this process held: of the GPU where it uses one, else resident, shared pages included."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


class Worker:
    """A contender in a process of its own."""

    def __init__(self, name: str, threads: int = 0) -> None:
        limit = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        command = [sys.executable, "-c", f"from ganlab.bench.throughput import serve; serve({name!r})"]
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
    """(a row a contender: medians over the rounds; a number a round: the speed of two processes of one thread over that
    of one; a number a round: the share of a step of ``fast`` outside its networks)."""
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
    path, rows = out / "resolutions.md", []
    heading = _heading(path, f"Training, medians of {rounds} rounds; peak memory is the whole process's.")
    for name, (_, what) in SIZES.items():
        (worker,) = _take_turns([Worker(name)], rounds, seconds)
        batch = worker.about["images"]
        rates = [batch / taken for taken in worker.taken]
        rows.append({
            "contender": name, "batch": batch, "images_per_second": statistics.median(rates),
            "low": min(rates), "high": max(rates), "mflop_per_image": worker.about["flop"] / batch / 1e6,
            "peak_memory_mb": worker.peak / 2**20, "what": what,
        })  # fmt: skip
        _keep(path, heading, rows)
        yield rows[-1]


def precisions(out: Path, rounds: int = 5, seconds: float = 1.0) -> Iterator[dict[str, Any]]:
    """Images per second of every preset in fp32 and in bf16, which take turns, medians of ``rounds``: a row a preset,
    kept in ``out``/precisions.md. bf16 is left out where the hardware does not multiply it."""
    native = native_precision(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    both = ("fp32", "bf16") if native == "bf16" else ("fp32",)
    path, rows = out / "precisions.md", []
    words = f"Training on one class, images per second, medians of {rounds} rounds in which both take turns."
    heading = _heading(path, f"{words} `auto` is {native} here.")
    for preset in PRESETS:
        workers = _take_turns([Worker(f"{preset}, {precision}") for precision in both], rounds, seconds)
        rates = {
            precision: worker.about["images"] / statistics.median(worker.taken)
            for precision, worker in zip(both, workers, strict=True)
        }
        rows.append({"preset": preset, **rates, "auto / better": rates[native] / max(rates.values())})
        _keep(path, heading, rows)
        yield rows[-1]


def _take_turns(workers: list[Worker], rounds: int, seconds: float) -> list[Worker]:
    """The workers, measured in turn for some rounds and stopped."""
    try:
        for worker in workers:
            worker.ready()
        for _ in range(rounds):
            for worker in workers:
                worker.start(seconds)
                worker.finish()
    finally:
        for worker in workers:
            worker.stop()
    return workers


def _heading(path: Path, words: str) -> str:
    """Of a page that is named after its command's option: when and on what it was begun."""
    about = provenance()
    origin = f"`ganlab bench --{path.stem}`, {about['date'][:10]}, {machine_line(about)}."
    return f"# {path.stem.capitalize()}\n\n{origin} {words}\n\n"


def _keep(path: Path, heading: str, rows: list[dict[str, Any]]) -> None:
    write_atomic(path, lambda file: file.write_text(f"{heading}{markdown(pd.DataFrame(rows))}\n"))


def machine_line(about: dict[str, Any]) -> str:
    """What a ``provenance`` was measured on."""
    return f"{about['cpu']}, {os.cpu_count()} cores, torch {about['versions']['torch']}, GPU: {about['gpu'] or 'none'}"


def markdown(frame: pd.DataFrame, digits: int = 3) -> str:
    """A GitHub table; what is not measured stays empty."""

    def said(value: Any) -> str:
        return "" if value != value else f"{value:.{digits}g}" if isinstance(value, float) else str(value)

    return frame.map(said).to_markdown(index=False, disable_numparse=True)
