"""The moving average of a network, which is what a run draws with."""

import copy

import torch
from torch import nn


class Ema:
    """Exponential moving average of a network's weights AND batch-norm buffers.

    The half-life is counted in images, and is at most a twentieth of the images seen so far, so that the average
    leaves the initial weights behind quickly (Karras 2020, ADA, ramp-up 0.05). A half-life of 0 keeps a plain copy.
    """

    def __init__(self, network: nn.Module, half_life: int) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life = half_life
        self._pairs = self._matched(network)

    def _matched(self, source: nn.Module) -> tuple[list, list, list, list]:
        ours, theirs = self.network.state_dict(), source.state_dict()
        floats = [key for key, value in ours.items() if value.is_floating_point()]
        counts = [key for key in ours if key not in floats]
        return (
            [ours[k] for k in floats],
            [theirs[k] for k in floats],
            [ours[k] for k in counts],
            [theirs[k] for k in counts],
        )

    @torch.no_grad()
    def update(self, images_seen: int, batch_size: int) -> None:
        """One step towards the network, of which ``images_seen`` images were trained in all."""
        averages, weights, our_counts, their_counts = self._pairs
        half_life = min(self.half_life, images_seen / 20)
        decay = 0.5 ** (batch_size / half_life) if half_life else 0.0
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for ours, theirs in zip(our_counts, their_counts, strict=True):
            ours.copy_(theirs)
