"""What changes while a run trains, beside the networks: order of the images, counters, clock, history. Knows no files.

A checkpoint holds all of it, so a killed and resumed run ends with the bits of one that was never killed.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import torch

from ganlab.config import Config
from ganlab.data import ImageSet
from ganlab.errors import GanlabError
from ganlab.training.step import Batch, Gan, Statistics

COUNTERS = ("step", "epoch", "batch", "images_seen", "seconds", "scoring_seconds", "best")


class DivergedError(GanlabError):
    """A loss or a weight is no longer a finite number."""

    exit_code = 1


class Training:
    """A run in memory: its networks, and how far it is."""

    def __init__(self, config: Config, data: ImageSet) -> None:
        self.gan = Gan(config.resolved(data.names, "auto"))
        self.config, self.device, self.streams = self.gan.config, self.gan.device, self.gan.streams
        self.images = data.images.to(self.device)
        self.labels = data.labels.to(self.device) if config.conditional else None
        self.step = self.epoch = self.batch = self.images_seen = 0
        self.seconds = 0.0  # of training, in the epoch under way
        self.scoring_seconds = 0.0
        self.sums = torch.zeros(len(Statistics._fields), device=self.device)
        self.best: dict[str, Any] = {}  # the scores of the best generator so far, its epoch and extractor
        self.history: list[dict[str, float]] = []
        self.order = self._shuffled()

    def train_step(self) -> None:
        """A step on the next batches, with its clock."""
        started = time.perf_counter()
        self.images_seen += self.config.batch_size * self.config.d_steps
        self.sums += torch.stack(self.gan.step(self._batches(), self.images_seen)).detach()
        self.step += 1
        self.seconds += time.perf_counter() - started

    def _batches(self) -> Iterator[Batch]:
        while True:
            start = self.batch * self.config.batch_size
            chosen = self.order[start : start + self.config.batch_size]
            self.batch += 1
            yield self.images[chosen], self.labels[chosen] if self.labels is not None else None

    def _shuffled(self) -> torch.Tensor:
        """Places of an epoch's images, in the order they are taken."""
        order = torch.randperm(len(self.images), generator=self.streams["data"], device=self.device)
        return order[: self.config.epoch_images or None]

    @property
    def epoch_is_over(self) -> bool:
        """No whole step is left in the order of this epoch (what remains of it is dropped)."""
        return self.batch + self.config.d_steps > len(self.order) // self.config.batch_size

    @property
    def steps(self) -> int:
        """How many steps the whole run has."""
        return self.config.epochs * (len(self.order) // self.config.batch_size // self.config.d_steps)

    def end_epoch(self) -> dict[str, float]:
        """Closes the epoch: its line of the history, fresh sums, a new order of the images."""
        steps, started = self.step - (self.history[-1]["step"] if self.history else 0), time.perf_counter()
        means = Statistics(*(self.sums / steps).tolist())
        self.seconds += time.perf_counter() - started  # a GPU may still have been at work
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "images_seen": self.images_seen,
            "d_loss": means.d_loss_real + means.d_loss_fake,
            **means._asdict(),
            "seconds": self.seconds,
            "images_per_second": steps * self.config.batch_size * self.config.d_steps / self.seconds,
        }
        self.history.append({key: round(value, 6) for key, value in row.items()})
        self.sums.zero_()
        self.seconds, self.batch, self.order = 0.0, 0, self._shuffled()
        return self.history[-1]

    def check_finite(self) -> None:
        """Raises ``DivergedError`` if a loss of this epoch or a weight is not finite."""
        if not math.isfinite((self.sums.sum() + self.gan.weights_norm()).item()):
            raise DivergedError(
                f"the loss is no longer finite in epoch {self.epoch + 1} (step {self.step}); the last good checkpoint "
                "is kept: train with a lower g_lr and d_lr, another loss, or precision fp32"
            )

    def state_dict(self) -> dict[str, Any]:
        return self.gan.state_dict() | {
            "counters": {name: getattr(self, name) for name in COUNTERS},
            "sums": self.sums,
            "order": self.order,
            "history": self.history,
            "device": self.device.type,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gan.load_state_dict(state)
        for name, value in state["counters"].items():
            setattr(self, name, value)
        self.sums.copy_(state["sums"])
        self.order = state["order"].to(self.device)
        self.history = state["history"]
