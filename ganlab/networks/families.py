"""What every generator and every discriminator is: layers in order, with named parts and initial weights.

G: z (N, d) float32 -> images (N, 3, R, R) in [-1, 1]. D: images (N, 3, R, R) -> logits (N,). Conditional ones take
labels (N,) int64 beside their input, places in the config's ``classes``.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from ganlab.networks.initial import normal
from ganlab.networks.layers import Network

Initialise = Callable[[nn.Module, torch.Generator], None]


class Generator(Network):
    """G. ``stem``: the layers from z to the first feature map."""

    def __init__(self, stem: Sequence[nn.Module], body: Sequence[nn.Module], initialise: Initialise = normal) -> None:
        super().__init__(*stem, *body)
        self._stem_length, self._initialise = len(stem), initialise

    @property
    def stem(self) -> Network:
        return self[: self._stem_length]

    def initialise(self, stream: torch.Generator) -> None:
        self._initialise(self, stream)


class Discriminator(Network):
    """D. ``features``: images -> features, ``logit``: features -> logits (N,). The two share D's weights.

    Layers that compare the images of a batch belong to ``logit``.
    """

    frozen_features = False  # they learn

    def __init__(
        self, features: Sequence[nn.Module], logit: Sequence[nn.Module], initialise: Initialise = normal
    ) -> None:
        super().__init__(*features, *logit)
        self._features_length, self._initialise = len(features), initialise

    @property
    def features(self) -> Network:
        return self[: self._features_length]

    @property
    def logit(self) -> Network:
        return self[self._features_length :]

    def initialise(self, stream: torch.Generator) -> None:
        self._initialise(self, stream)
