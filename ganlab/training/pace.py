"""How fast a machine trains with all its threads and with one.

The threads of a step wait for each other after every layer. Beside another busy process one of them always comes late,
and a single thread is faster than two. The number of threads is part of a run's bits, so nothing here changes it.
"""

import time
from typing import Any

import torch

from ganlab.config import Config
from ganlab.data import ImageSet
from ganlab.training.state import Training

SECONDS = 1.0  # of each of the two measurements
WARM_UP = 2  # steps before the clock starts
FASTER = 1.1  # so much faster is worth a restart
SLOWER = 0.5  # of the best pace so far: the run is measured again
WINDOW = 10.0  # seconds of training over which a pace is taken


def busy(config: Config, data: ImageSet) -> dict[str, Any] | None:
    """threads, images_per_second with them and one_thread, images a second with one, if one is faster; else None.

    Measured on a throwaway copy of the run in two seconds. Nothing to measure with one thread or on a GPU.
    """
    threads = torch.get_num_threads()
    if threads == 1 or (torch.cuda.is_available() and config.device != "cpu"):
        return None
    rates = {}
    try:
        for count in (threads, 1):
            torch.set_num_threads(count)
            rates[count] = rate(Training(config, data), SECONDS)
    finally:
        torch.set_num_threads(threads)
    if rates[1] < FASTER * rates[threads]:
        return None
    return {"threads": threads, "images_per_second": round(rates[threads]), "one_thread": round(rates[1])}


def rate(training: Training, at_least: float) -> float:
    """Images a second, from as many steps as fit into ``at_least`` seconds."""
    for _ in range(WARM_UP):
        _step(training)
    before, started = training.images_seen, time.perf_counter()
    while (seconds := time.perf_counter() - started) < at_least:
        _step(training)
    return (training.images_seen - before) / seconds


def _step(training: Training) -> None:
    training.train_step()
    if training.epoch_is_over:
        training.end_epoch()


class Pace:
    """Watches a run's images a second; says when it has fallen to half of its best."""

    def __init__(self) -> None:
        self.images, self.seconds, self.best = 0, 0.0, 0.0

    def fell(self, images: int, seconds: float) -> bool:
        """images, seconds: of the last step. True once for each fall, after ``WINDOW`` seconds of it."""
        self.images, self.seconds = self.images + images, self.seconds + seconds
        if self.seconds < WINDOW:
            return False
        rate, self.images, self.seconds = self.images / self.seconds, 0, 0.0
        fallen = rate < SLOWER * self.best
        self.best = rate if fallen else max(self.best, rate)  # a second fall is told from the new pace
        return fallen
