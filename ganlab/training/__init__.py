"""Training: losses, augmentation, the step, what a run is while it trains, and the loop around it."""

from ganlab.training.loop import train

__all__ = ["train"]
