"""Each loss is its formula: numbers worked out by hand, and gradients by finite differences."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from ganlab.choices import LOSSES
from ganlab.training import losses
from ganlab.training.losses import bce, get

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
    "least_squares": ((1 + 1) / 4, (1 + 0.25) / 4, (4 + 0.25) / 4),
    "hinge": ((1 + 0) / 2, (0 + 1.5) / 2, (1 - 0.5) / 2),
    "wasserstein": (-1.0, -0.25, 0.25),
    "relativistic": (
        (log1pexp(-1) + log1pexp(-1.5)) / 2,  # real - fake is 1 and 1.5
        0.0,
        (log1pexp(1) + log1pexp(1.5)) / 2,
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_match_hand_computation(name):
    on_real, on_fake = get(name).discriminator(REAL, FAKE)
    values = [on_real.item(), on_fake.item(), get(name).generator(FAKE, REAL).item()]
    assert values == pytest.approx(BY_HAND[name], rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_match_finite_differences(name):
    inputs = [t.clone().requires_grad_() for t in (REAL + 0.1, FAKE + 0.1)]  # off the hinge's corner
    assert gradcheck(get(name).discriminator, inputs)
    assert gradcheck(lambda fake, real: get(name).generator(fake, real), inputs[::-1])


@pytest.mark.parametrize("name", LOSSES)
def test_the_players_pull_in_opposite_directions(name):
    fake = torch.tensor([0.2, 0.5], requires_grad=True)  # where least squares has both players on either side
    (by_d,) = torch.autograd.grad(sum(get(name).discriminator(REAL, fake)), fake)
    (by_g,) = torch.autograd.grad(get(name).generator(fake, REAL), fake)
    assert (by_d * by_g <= 0).all() and (by_g < 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_confident_logits_stay_finite(name):
    extreme = torch.tensor([1e4, -1e4])
    assert all(value.isfinite() for value in get(name).discriminator(extreme, extreme))


def test_smoothed_labels_are_the_cross_entropy_with_those_labels():
    def by_hand(logits: torch.Tensor, label: float) -> float:
        p = [1 / (1 + math.exp(-x)) for x in logits.tolist()]
        return sum(-label * math.log(q) - (1 - label) * math.log(1 - q) for q in p) / len(p)

    on_real, on_fake = bce(0.9, 0.1).discriminator(REAL, FAKE)
    assert [on_real.item(), on_fake.item()] == pytest.approx([by_hand(REAL, 0.9), by_hand(FAKE, 0.1)], rel=1e-12)
    assert torch.equal(bce(0.9, 0.1).generator(FAKE, None), get("bce").generator(FAKE, None))
    assert gradcheck(bce(0.9, 0.1).discriminator, [t.clone().requires_grad_() for t in (REAL, FAKE)])


def test_the_boundary_is_where_d_cannot_tell():
    """A logit there costs D as much on a real image as on a generated one."""
    for name in ("bce", "least_squares", "hinge"):
        there = torch.tensor([get(name).boundary], dtype=torch.float64)
        on_real, on_fake = get(name).discriminator(there, there)
        assert on_real.item() == pytest.approx(on_fake.item())


# --- penalties ------------------------------------------------------------------------------------------------------

IMAGES = torch.arange(8, dtype=torch.float64).view(2, 1, 2, 2)


def quadratic(images: torch.Tensor) -> torch.Tensor:
    """|x|^2: its gradient is 2x."""
    return images.flatten(1).square().sum(1)


def test_squared_gradient_by_hand():
    images = IMAGES.clone().requires_grad_()
    assert losses.squared_gradient(quadratic(images), images).tolist() == [4 * (0 + 1 + 4 + 9), 4 * (16 + 25 + 36 + 49)]


def test_gradient_penalty_is_zero_for_a_slope_of_one_and_known_for_another():
    stream = torch.Generator().manual_seed(0)
    for slope, penalty in ((1.0, 0.0), (3.0, 4.0), (0.0, 1.0)):
        weight = torch.full((4,), slope / 2)  # four equal parts: a norm of ``slope``
        found = losses.gradient_penalty(lambda x, w=weight: x.flatten(1) @ w, IMAGES.float(), -IMAGES.float(), stream)
        assert found.item() == pytest.approx(penalty, abs=1e-5)


def test_gradient_penalty_looks_between_the_images():
    seen = []

    def judge(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return quadratic(images)

    real, fake = torch.zeros(500, 1, 1, 1), torch.ones(500, 1, 1, 1)
    losses.gradient_penalty(judge, real, fake, torch.Generator().manual_seed(1))
    assert 0 <= seen[0].min() < 0.02 and 0.98 < seen[0].max() <= 1 and abs(seen[0].mean() - 0.5) < 0.05


def test_penalties_can_be_differentiated_in_the_weights_of_d():
    def judge(weight: torch.Tensor) -> losses.Judge:
        return lambda images: torch.tanh(images.flatten(1) / 5) @ weight

    def between(weight: torch.Tensor) -> torch.Tensor:
        return losses.gradient_penalty(judge(weight), IMAGES, -IMAGES, torch.Generator().manual_seed(0))

    weight = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    images = IMAGES.clone().requires_grad_()
    assert gradcheck(lambda weight: losses.squared_gradient(judge(weight)(images), images).mean(), weight)
    assert gradcheck(between, weight)


def test_feature_matching_by_hand():
    real, fake = torch.tensor([[0.0, 2.0], [2.0, 4.0]]), torch.tensor([[1.0, 1.0], [2.0, 1.0]], requires_grad=True)
    found = losses.feature_matching(real, fake)
    assert found.item() == pytest.approx((1 - 1.5) ** 2 + (3 - 1) ** 2)
    assert gradcheck(losses.feature_matching, (real.double(), fake.detach().double().requires_grad_()))
