"""Measuring this machine: throughput, waiting, and quality per minute."""

from ganlab.bench.contenders import BenchError
from ganlab.bench.race import draw_race, race_bars, race_means, run_race
from ganlab.bench.throughput import precisions, resolutions
from ganlab.bench.waits import measure

__all__ = ["BenchError", "draw_race", "measure", "precisions", "race_bars", "race_means", "resolutions", "run_race"]
