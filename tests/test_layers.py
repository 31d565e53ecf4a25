"""The fast layers compute what the plain ones compute: outputs, gradients, gradients of gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import register_parametrization

from ganlab.networks import convolutions
from ganlab.networks.convolutions import Conv2d, ConvTranspose2d, DownsampleConv2d, UpsampleConv2d
from ganlab.networks.layers import MinibatchDeviation, MinibatchDiscrimination, SpectralNorm


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(x: torch.Tensor, layer: nn.Conv2d) -> torch.Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2.0), layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (3, 5)])
def test_upsampling_folded_into_the_convolution_gives_the_same_images_and_gradients(height, width, bias):
    layer = UpsampleConv2d(5, 3, bias).double()
    x = torch.randn(2, 5, height, width, dtype=torch.float64, generator=stream(), requires_grad=True)
    ours, theirs = layer(x), plain(x, layer)
    assert ours.shape == (2, 3, 2 * height, 2 * width)
    torch.testing.assert_close(ours, theirs)
    given = torch.randn(ours.shape, dtype=torch.float64, generator=stream(1))
    wanted = [x, *layer.parameters()]
    for a, b in zip(torch.autograd.grad(ours, wanted, given), torch.autograd.grad(theirs, wanted, given), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("folded", [UpsampleConv2d, DownsampleConv2d])
def test_the_folded_layers_pass_gradcheck_twice(folded):
    layer = folded(2, 2).double()
    x = torch.randn(1, 2, 2, 4, dtype=torch.float64, generator=stream(), requires_grad=True)

    def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    assert torch.autograd.gradcheck(run, (x, layer.weight))
    assert torch.autograd.gradgradcheck(run, (x, layer.weight))


def test_under_bf16_autocast_the_two_steps_are_taken_as_they_are():
    layer = UpsampleConv2d(8, 4)
    x = torch.randn(2, 8, 4, 4, generator=stream())
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
        assert torch.equal(low, plain(x, layer))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), layer(x), atol=0.02, rtol=0.02)


def test_it_has_the_names_of_the_convolution_it_stands_for():
    ours, theirs = UpsampleConv2d(4, 2, bias=True), nn.Conv2d(4, 2, 3, padding=1)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


CONVOLUTIONS = [  # ours, torch's, what both are made with, the size of the image
    (Conv2d, nn.Conv2d, (4, 2, 1), (8, 8)),
    (Conv2d, nn.Conv2d, (4, 2, 1), (7, 5)),
    (Conv2d, nn.Conv2d, (3, 1, 1), (3, 5)),
    (Conv2d, nn.Conv2d, (4, 1, 0), (4, 4)),
    (Conv2d, nn.Conv2d, ((2, 3), (1, 2), (0, 1)), (4, 6)),
    (ConvTranspose2d, nn.ConvTranspose2d, (4, 2, 1), (4, 4)),
    (ConvTranspose2d, nn.ConvTranspose2d, (4, 1, 0), (1, 1)),
    (ConvTranspose2d, nn.ConvTranspose2d, ((2, 3), (1, 2), (0, 1)), (3, 5)),
]


@pytest.mark.parametrize(("ours", "theirs", "geometry", "size"), CONVOLUTIONS)
def test_a_kernels_gradient_by_a_matrix_product_is_torchs(monkeypatch, ours, theirs, geometry, size):
    taken = []
    layer, plain_layer = ours(5, 6, *geometry), theirs(5, 6, *geometry)
    plain_layer.load_state_dict(layer.state_dict())
    short_way = convolutions._kernel_gradient
    monkeypatch.setattr(convolutions, "_kernel_gradient", lambda *given: taken.append(1) or short_way(*given))
    x = torch.randn(7, 5, *size, generator=stream()).contiguous(memory_format=torch.channels_last)
    results = []
    for network in (layer, plain_layer):
        network.to(memory_format=torch.channels_last)
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            output = network(given)
        output.float().square().sum().backward()
        results.append([output, given.grad, network.weight.grad, network.bias.grad])
    (output, to_x, to_weight, to_bias), (their_output, their_x, their_weight, their_bias) = results
    assert taken, "the layer went torch's own way"
    assert torch.equal(output, their_output)
    assert torch.equal(to_x, their_x)
    assert to_weight.stride() == their_weight.stride(), "Adam copies a gradient of another layout"
    torch.testing.assert_close(to_weight, their_weight, atol=0.01 * float(their_weight.abs().max()), rtol=0)
    torch.testing.assert_close(to_bias, their_bias, atol=0.01 * float(their_bias.abs().max()), rtol=0)


def test_a_large_map_and_float32_go_torchs_own_way(monkeypatch):
    monkeypatch.setattr(convolutions, "_kernel_gradient", lambda *given: pytest.fail("the short way was taken"))
    layer = Conv2d(3, 4, 4, 2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        large = layer(torch.randn(2, 3, 16, 16))
    large.float().sum().backward()
    small = layer(torch.randn(2, 3, 8, 8, requires_grad=True))
    (gradient,) = torch.autograd.grad(small.square().sum(), layer.weight, create_graph=True)
    gradient.square().sum().backward()  # as a penalty on D's gradient asks for


def test_a_frozen_kernel_gets_no_gradient_and_hands_it_on():
    layer = Conv2d(3, 4, 4, 2, 1).requires_grad_(False)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    output.float().sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is None
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(3, 8, 3), lambda: nn.Linear(12, 5), lambda: nn.Embedding(10, 6)])
def test_spectral_norm_is_torchs_own(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)  # two singular values that nearly tie would take more than a few iterations to tell apart
        ours, theirs = make(), make()
    theirs.load_state_dict(ours.state_dict())
    register_parametrization(ours, "weight", SpectralNorm(ours.weight, stream()))
    spectral_norm(theirs)
    with torch.no_grad():  # both start from the same singular vectors
        theirs.parametrizations.weight[0]._u.copy_(ours.parametrizations.weight[0].u)
        theirs.parametrizations.weight[0]._v.copy_(ours.parametrizations.weight[0].v)
    for _ in range(3):
        a, b = ours.weight, theirs.weight
        torch.testing.assert_close(a, b)
        given = torch.randn(a.shape, generator=stream(1))
        pair = [torch.autograd.grad(w, m.parametrizations.weight.original, given) for w, m in ((a, ours), (b, theirs))]
        torch.testing.assert_close(*pair)
    largest = torch.linalg.matrix_norm(ours.eval().weight.flatten(1), 2)
    assert largest.item() == pytest.approx(1, abs=0.03)


def test_spectral_norm_moves_its_singular_vectors_only_while_training():
    layer = nn.Linear(6, 4)
    register_parametrization(layer, "weight", SpectralNorm(layer.weight, stream(), warm_up=1))
    before = layer.parametrizations.weight[0].u.clone()
    layer.eval().weight  # noqa: B018
    assert torch.equal(layer.parametrizations.weight[0].u, before)
    layer.train().weight  # noqa: B018
    assert not torch.equal(layer.parametrizations.weight[0].u, before)


def test_minibatch_discrimination_by_hand():
    layer = MinibatchDiscrimination(2, kernels=1, width=2)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
    features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    near = [math.exp(-1) + math.exp(-3), math.exp(-1) + math.exp(-2), math.exp(-3) + math.exp(-2)]
    torch.testing.assert_close(layer(features), torch.cat([features, torch.tensor(near)[:, None]], 1))


def test_minibatch_discrimination_under_bf16_autocast_keeps_small_similarities():
    """Added up with the 1 that each image is to itself, bf16 would round them to multiples of 1/128."""
    layer = MinibatchDiscrimination(1, kernels=1, width=1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(torch.tensor([[0.0], [6.0], [13.0]]))[:, 1]
    expected = [math.exp(-6) + math.exp(-13), math.exp(-6) + math.exp(-7), math.exp(-7) + math.exp(-13)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=0)


def test_minibatch_deviation_by_hand():
    x = torch.tensor([[[[0.0, 1.0]]], [[[2.0, 1.0]]]])  # deviations 1 and 0 (of the 1e-8 that is added 1e-4)
    found = MinibatchDeviation()(x)
    assert found.shape == (2, 2, 1, 2) and torch.equal(found[:, :1], x)
    torch.testing.assert_close(found[:, 1:], torch.full((2, 1, 1, 2), 0.50005), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", [MinibatchDiscrimination(6, kernels=2, width=3), MinibatchDeviation()])
def test_minibatch_layers_have_their_gradients(layer):
    for weight in layer.parameters():
        nn.init.normal_(weight, generator=stream())
    shape = (3, 6) if isinstance(layer, MinibatchDiscrimination) else (3, 2, 2, 2)
    x = torch.randn(shape, dtype=torch.float64, generator=stream(2), requires_grad=True)
    if isinstance(layer, MinibatchDiscrimination):
        assert gradcheck(layer.double(), x)
    else:  # computes in float32
        (found,) = torch.autograd.grad(layer(x.float())[:, -1].sum(), x)
        step = 1e-2 * torch.randn(shape, dtype=torch.float64, generator=stream(3))
        change = layer((x + step).float())[:, -1].sum() - layer((x - step).float())[:, -1].sum()
        assert change.item() == pytest.approx(2 * (found * step).sum().item(), rel=0.02)
