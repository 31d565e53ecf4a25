"""Adversarial losses, each a pair of pure functions of D's logits. Never touches a network or an optimiser."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F


class Loss(NamedTuple):
    """discriminator: (real logits (N,), fake logits (N,)) -> (its loss on real, its loss on fake), to be added
    generator: (fake logits (N,)) -> G's loss. Every value is a mean over the batch, a scalar."""

    discriminator: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    generator: Callable[[torch.Tensor], torch.Tensor]


def _bce_discriminator(real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-log D(x) and -log(1 - D(G(z))) with D = sigmoid(logits) (Goodfellow 2014, equation 1)."""
    return F.softplus(-real).mean(), F.softplus(fake).mean()


def _bce_generator(fake: torch.Tensor) -> torch.Tensor:
    """-log D(G(z)), the non-saturating form (Goodfellow 2014, section 3)."""
    return F.softplus(-fake).mean()


def _hinge_discriminator(real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """max(0, 1 - D(x)) and max(0, 1 + D(G(z))) (Lim & Ye 2017; Miyato 2018, equation 16)."""
    return F.relu(1 - real).mean(), F.relu(1 + fake).mean()


def _hinge_generator(fake: torch.Tensor) -> torch.Tensor:
    """-D(G(z)) (Miyato 2018, equation 17)."""
    return -fake.mean()


LOSSES: dict[str, Loss] = {
    "bce": Loss(_bce_discriminator, _bce_generator),
    "hinge": Loss(_hinge_discriminator, _hinge_generator),
}
