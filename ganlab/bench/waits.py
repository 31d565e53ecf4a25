"""What a user waits for, and what ganlab holds itself to: ``measure`` writes bench.json and bench.md."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ganlab.bench.contenders import CLASS, BenchError, in_ganlab, seconds_of
from ganlab.bench.throughput import machine_line, markdown, throughput
from ganlab.config import Config
from ganlab.data import load_data
from ganlab.files import write_atomic
from ganlab.latents import evaluation_latents
from ganlab.machine import native_precision, provenance
from ganlab.networks.generators import generate
from ganlab.training.step import Gan

MOST_SECONDS = {
    "import ganlab": 0.3, "ganlab --help": 0.6, "data of a second start": 1.0, "first step, imports done": 3.0,
    "10,000 samples": 5.0, "one sample": 0.01,
}  # fmt: skip


def waiting() -> dict[str, float]:
    """Seconds from a command to its answer, medians: imports, help, data, first step, samples."""
    config = Config.from_preset("fast", classes=[CLASS])
    load_data(config)  # unpack the data first, so that it is not timed
    sampler = in_ganlab(config)
    gan = Gan(config)
    one = evaluation_latents(config, 1)

    def command(*words: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True)

    timed: dict[str, tuple[Callable[[], object], int]] = {
        "import ganlab": (command("-c", "import ganlab"), 5),
        "ganlab --help": (command("-m", "ganlab", "--help"), 5),
        "data of a second start": (lambda: load_data(Config.from_preset("fast")), 5),
        "first step, imports done": (lambda: in_ganlab(config).step(), 5),
        "10,000 samples": (lambda: sampler.draw(10_000), 3),
        "one sample": (lambda: generate(gan.ema.network, one), 50),
    }
    return {name: statistics.median(seconds_of(call, 0) for _ in range(times)) for name, (call, times) in timed.items()}


def bars(table: pd.DataFrame, together: list[float], around: list[float], waits: dict[str, float]) -> pd.DataFrame:
    """What ganlab holds itself to, and where it stands on this machine."""
    row = table.set_index("contender")
    native = native_precision(torch.device("cuda" if torch.cuda.is_available() else "cpu")) == "bf16"
    times = 3.0 if torch.cuda.is_available() or torch.cpu._is_amx_tile_supported() else 2.0 if native else 1.25
    rows = [
        ("same networks / plain", row.ratio_to_plain["same networks"], "at least", times),
        ("all but the networks, share of a step", statistics.median(around), "at most", 0.08),
        ("two processes of one thread / one", statistics.median(together), "at least", 1.9),
        *((f"{name}, seconds", waits[name], "at most", most) for name, most in MOST_SECONDS.items()),
    ]
    if native:
        share = ("same networks, share of the bf16 limit", row.share_of_limit["same networks"], "at least", 0.35)
        rows.insert(1, share)
    return met_bars(rows)


def met_bars(rows: list[tuple[str, float, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["figure", "measured", "bar", "wanted"])
    frame["met"] = np.where(frame.bar == "at least", frame.measured >= frame.wanted, frame.measured <= frame.wanted)
    return frame


def measure(out: Path, rounds: int = 6, seconds: float = 2.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(throughput, bars), also left in ``out`` as bench.json and bench.md. Raises ``BenchError`` for less than 5 or
    more than 1,000 rounds."""
    if not 5 <= rounds <= 1000:
        raise BenchError(f"--rounds is {rounds}: give 5 to 1,000 for a median with a spread")
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
    words = (
        f"`make bench`, {began['date'][:10]}, {machine_line(began)}. Medians of {rounds} rounds in which all take "
        "turns; low and high are the slowest and the fastest round. Operations are those executed, counted by torch "
        "(a multiplication and an addition are two); the limit is the rate of square matrix products in the same "
        "precision."
    )
    return "\n\n".join(["# Throughput", words, markdown(table), markdown(standing)]) + "\n"
