"""Each loss is its formula: numbers worked out by hand, and gradients by finite differences."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from ganlab.losses import LOSSES

REAL = torch.tensor([0.0, 2.0], dtype=torch.float64)
FAKE = torch.tensor([-1.0, 0.5], dtype=torch.float64)


def log1pexp(x: float) -> float:
    return math.log(1 + math.exp(x))


BY_HAND = {
    "bce": (
        (log1pexp(0) + log1pexp(-2)) / 2,  # -log sigmoid(real)
        (log1pexp(-1) + log1pexp(0.5)) / 2,  # -log(1 - sigmoid(fake))
        (log1pexp(1) + log1pexp(-0.5)) / 2,  # -log sigmoid(fake)
    ),
    "hinge": ((1 + 0) / 2, (0 + 1.5) / 2, (1 - 0.5) / 2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_match_hand_computation(name):
    on_real, on_fake = LOSSES[name].discriminator(REAL, FAKE)
    values = [on_real.item(), on_fake.item(), LOSSES[name].generator(FAKE).item()]
    assert values == pytest.approx(BY_HAND[name], rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_match_finite_differences(name):
    inputs = [t.clone().requires_grad_() for t in (REAL + 0.1, FAKE + 0.1)]  # off the hinge's corner
    assert gradcheck(LOSSES[name].discriminator, inputs)
    assert gradcheck(LOSSES[name].generator, inputs[1:])


@pytest.mark.parametrize("name", LOSSES)
def test_the_players_pull_in_opposite_directions(name):
    fake = FAKE.clone().requires_grad_()
    (by_d,) = torch.autograd.grad(LOSSES[name].discriminator(REAL, fake)[1], fake)
    (by_g,) = torch.autograd.grad(LOSSES[name].generator(fake), fake)
    assert (by_d >= 0).all()
    assert (by_g < 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_confident_logits_stay_finite(name):
    extreme = torch.tensor([1e4, -1e4])
    assert all(value.isfinite() for value in LOSSES[name].discriminator(extreme, extreme))
