"""Adversarial losses, each a pair of pure functions of D's logits, and the penalties on D's gradient.

Never touches an optimiser; a penalty is handed what D says of images as a function.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ganlab.choices import LOSSES, function


class Loss(NamedTuple):
    """discriminator: (real logits (N,), fake logits (N,)) -> (its loss on real, its loss on fake), to be added
    generator: (fake logits (N,), real logits (N,) or None) -> G's loss. Every value is a mean over the batch, a scalar.
    boundary: the logit above which D calls an image real. paired: only the difference between a real and a generated
    image's logit counts, so G's loss needs the real logits too and there is no boundary."""

    discriminator: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    generator: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]
    boundary: float = 0.0
    paired: bool = False


def bce(real_label: float = 1.0, fake_label: float = 0.0) -> Loss:
    """Cross entropy of sigmoid(logit) with the labels (Goodfellow 2014, equation 1). G's loss is the non-saturating
    -log D(G(z)) (section 3), whatever the labels.

    A ``real_label`` under 1 is one-sided label smoothing (Salimans 2016, section 3.4), a ``fake_label`` above 0 as well
    two-sided.
    """

    def discriminator(real: torch.Tensor, fake: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # -y log s(x) - (1 - y) log(1 - s(x)) = softplus(x) - y x
        return (F.softplus(real) - real_label * real).mean(), (F.softplus(fake) - fake_label * fake).mean()

    return Loss(discriminator, lambda fake, _=None: F.softplus(-fake).mean())


def least_squares() -> Loss:
    """(D(x) - 1)^2 / 2 and D(G(z))^2 / 2; G's is (D(G(z)) - 1)^2 / 2 (Mao 2017, equation 9)."""
    return Loss(
        lambda real, fake: ((real - 1).square().mean() / 2, fake.square().mean() / 2),
        lambda fake, _=None: (fake - 1).square().mean() / 2,
        boundary=0.5,
    )


def hinge() -> Loss:
    """max(0, 1 - D(x)) and max(0, 1 + D(G(z))); G's is -D(G(z)) (Lim & Ye 2017; Miyato 2018, equations 16, 17)."""
    return Loss(
        lambda real, fake: (F.relu(1 - real).mean(), F.relu(1 + fake).mean()),
        lambda fake, _=None: -fake.mean(),
    )


def wasserstein() -> Loss:
    """-D(x) and D(G(z)): their sum is minus the critic's estimate of the distance; G's is -D(G(z)) (Arjovsky 2017,
    equation 2)."""
    return Loss(lambda real, fake: (-real.mean(), fake.mean()), lambda fake, _=None: -fake.mean())


def relativistic() -> Loss:
    """-log sigmoid(D(x) - D(G(z))) for pairs of the batch, and 0; G's is -log sigmoid(D(G(z)) - D(x))
    (Jolicoeur-Martineau 2018; Huang 2024, equation 2)."""
    return Loss(
        lambda real, fake: (F.softplus(fake - real).mean(), torch.zeros_like(fake.mean())),
        lambda fake, real: F.softplus(real - fake).mean(),
        paired=True,
    )


def get(name: str, real_label: float = 1.0, fake_label: float = 0.0) -> Loss:
    """The loss of a row of ``choices.LOSSES``. The labels are bce's; the others have none."""
    make = function("loss", LOSSES, name)
    return make(real_label, fake_label) if make is bce else make()


Judge = Callable[[torch.Tensor], torch.Tensor]  # images (N, C, H, W) -> logits (N,)


def squared_gradient(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """(N,) squared norms of the gradient of D's logits (N,) in the images (N, C, H, W) that they were computed from,
    and that require gradients: the core of R1 (on real images) and R2 (on generated ones), which weigh its mean by
    gamma / 2 (Mescheder 2018, equations 9 and 10). Can be differentiated. Where D compares a batch's images, as batch
    norm does, it is the gradient of all their logits together."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1)


def gradient_penalty(judge: Judge, real: torch.Tensor, fake: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mean of (|gradient| - 1)^2 at images on the straight way from a real to a generated one, at a random place each
    (Gulrajani 2017, equation 3); a scalar that can be differentiated."""
    share = torch.rand(len(real), 1, 1, 1, generator=generator, device=real.device, dtype=real.dtype)
    between = torch.lerp(real.detach(), fake.detach(), share).requires_grad_()
    return (squared_gradient(judge(between), between).clamp(min=1e-12).sqrt() - 1).square().mean()


def feature_matching(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Squared distance between the batch means of D's features (N, F) of real and generated images (Salimans 2016,
    section 3.1)."""
    return (real.flatten(1).mean(0).detach() - fake.flatten(1).mean(0)).square().sum()
