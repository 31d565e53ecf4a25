"""Training: losses, augmentation, the step, what a run is while it trains, and the loop around it."""

from ganlab.training.loop import Event, train
from ganlab.training.losses import Loss
from ganlab.training.state import DivergedError, Training
from ganlab.training.step import Gan, Statistics

__all__ = ["DivergedError", "Event", "Gan", "Loss", "Statistics", "Training", "train"]
