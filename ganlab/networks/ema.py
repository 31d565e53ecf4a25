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
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._averages, self._weights = (list(side) for side in zip(*floats, strict=True))
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, images_seen: int, batch_size: int) -> None:
        """One step towards the network, of which ``images_seen`` images were trained in all."""
        half_life = min(self.half_life, images_seen / 20)
        decay = 0.5 ** (batch_size / half_life) if half_life else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)
        for ours, theirs in self._counts:
            ours.copy_(theirs)
