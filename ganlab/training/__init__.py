"""Training: losses, augmentation, the step, and the loop around it."""

from ganlab.training.loop import train
from ganlab.training.losses import LOSSES
from ganlab.training.step import DivergedError, Event, Training

__all__ = ["LOSSES", "DivergedError", "Event", "Training", "train"]
