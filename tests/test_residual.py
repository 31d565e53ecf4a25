"""The residual families are those of their papers: blocks, widths, resampling, initial weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrize import register_parametrization

from ganlab.config import Config
from ganlab.networks import residual
from ganlab.networks.convolutions import DownsampleConv2d, UpsampleConv2d
from ganlab.networks.layers import (
    Basis,
    Block,
    ClassConcat,
    ConditionalNorm,
    Dropout,
    Projection,
    SpectralNorm,
)

FAMILIES = ["residual", "r3"]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(family: str, seed: int = 0, **changes) -> tuple[Config, nn.Module, nn.Module]:
    """G and D as ``models.build`` makes them, narrow unless told otherwise."""
    if changes.get("conditional"):
        changes["classes"] = ["cat", "dog", "ship"]
    config = Config(**{"g_channels": 8, "d_channels": 8, "latent_dim": 16, "d_norm": "none", **changes})
    with torch.random.fork_rng(devices=[]):
        networks = [getattr(residual, f"{family}_{role}")(config) for role in ("generator", "discriminator")]
    for network in networks:
        network.initialise(stream(seed))
    return config, *networks


def some(config: Config, n: int = 3) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """n latents, n images, and n labels in a list that is empty where the config is not conditional."""
    latents = torch.randn(n, config.latent_dim, generator=stream(7))
    images = torch.randn(n, 3, config.resolution, config.resolution, generator=stream(8))
    return latents, images, [torch.arange(n) % 3] if config.conditional else []


def blocks(network: nn.Module) -> list[Block]:
    return [layer for layer in network if isinstance(layer, Block)]


def kinds(layers: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in layers]


def shapes(network: nn.Module, x: torch.Tensor) -> list[tuple[int, ...]]:
    """What each block makes of x, without the batch: (channels, height, width)."""
    seen: list[tuple[int, ...]] = []
    for block in blocks(network):
        block.register_forward_hook(lambda _, given, output: seen.append(tuple(output.shape[1:])))
    network(x)
    return seen


def awake(network: nn.Module) -> None:
    """Moves every parameter off its initial value, so that nothing is zero."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=stream(3)))


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("resolution", [32, 64, 128])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_resolution_maps_latents_to_images_to_logits(family, resolution, conditional):
    config, g, d = built(family, resolution=resolution, conditional=conditional, g_channels=4, d_channels=4)
    latents, _, labels = some(config)
    images = g(latents, *labels)
    assert images.shape == (3, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert images.std() > 0.1
    assert d(images, *labels).shape == (3,)


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_the_generator_is_sngans_resnet(resolution):
    """Miyato 2018, table 4: dense, 4 x 4 x C; ResBlock up C, three times at 32; batch norm, ReLU, 3x3 conv 3, Tanh."""
    doublings = {32: 3, 64: 4, 128: 5}[resolution]
    config, g, _ = built("residual", resolution=resolution)
    assert kinds(g) == ["Linear", "Unflatten", *doublings * ["Block"], "BatchNorm2d", "ReLU", "Conv2d", "Tanh"]
    assert shapes(g, some(config)[0]) == [(8, 8 * 2**i, 8 * 2**i) for i in range(doublings)]
    for block in blocks(g):
        assert kinds(block.branch) == ["BatchNorm2d", "ReLU", "UpsampleConv2d", "BatchNorm2d", "ReLU", "Conv2d"]
        assert kinds(block.shortcut) == ["Conv2d", "Upsample"]
        assert [layer.kernel_size[0] for layer in block.modules() if isinstance(layer, nn.Conv2d)] == [3, 3, 1]


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_the_discriminator_is_sngans_resnet(resolution):
    """Miyato 2018, table 4: ResBlock down twice at 32, ResBlock twice at 8x8, ReLU, global sum pooling, dense 1."""
    halvings = {32: 2, 64: 3, 128: 4}[resolution]
    config, _, d = built("residual", resolution=resolution)
    assert kinds(d) == [*(halvings + 2) * ["Block"], "ReLU", "AvgPool2d", "Flatten", "Linear", "Flatten"]
    sizes = [resolution // 2 ** (i + 1) for i in range(halvings)] + [8, 8]
    assert shapes(d, some(config)[1]) == [(8, size, size) for size in sizes]
    first, *down, one, two = blocks(d)
    assert kinds(first.branch) == ["Conv2d", "ReLU", "DownsampleConv2d"], "no activation of the image itself"
    for block in down:
        assert kinds(block.branch) == ["ReLU", "Conv2d", "ReLU", "DownsampleConv2d"]
    for block in (first, *down):
        assert kinds(block.shortcut) == ["AvgPool2d", "Conv2d"]
    for block in (one, two):
        assert kinds(block.branch) == ["ReLU", "Conv2d", "ReLU", "Conv2d"]
        assert isinstance(block.shortcut, nn.Identity)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in d.modules())


def test_a_discriminator_three_channels_wide_still_sees_the_image_without_activation():
    _, _, d = built("residual", d_channels=3)
    assert kinds(blocks(d)[0].branch)[0] == "Conv2d"


def test_the_discriminators_features_are_sums_over_space():
    config, _, d = built("residual")
    images = some(config)[1]
    torch.testing.assert_close(d[:-2](images), d[:-4](images).sum((2, 3)))


@pytest.mark.parametrize("resolution", [32, 64])
def test_r3_doubles_its_width_as_it_halves_its_size(resolution):
    config, g, d = built("r3", resolution=resolution)
    sizes = [resolution // 2**i for i in range({32: 4, 64: 5}[resolution])]
    wanted = [(8 * resolution // size, size, size) for size in sizes]
    latents, images, _ = some(config)
    assert shapes(d, images) == wanted
    assert shapes(g, latents) == wanted[::-1]
    assert d[:-2](images).shape == (3, wanted[-1][0])


def test_r3_has_no_norm_and_resamples_bilinearly_and_never_by_stride():
    _, *networks = built("r3", conditional=True)
    for network in networks:
        for layer in network.modules():
            assert "Norm" not in type(layer).__name__
            if isinstance(layer, nn.Conv2d):
                assert layer.stride == (1, 1)
                assert not isinstance(layer, DownsampleConv2d | UpsampleConv2d)
            if isinstance(layer, nn.LeakyReLU):
                assert layer.negative_slope == 0.2
            if isinstance(layer, nn.Upsample):
                assert layer.mode == "bilinear"
    x = torch.randn(2, 3, 8, 8, generator=stream())
    torch.testing.assert_close(nn.AvgPool2d(2)(x), F.interpolate(x, scale_factor=0.5, mode="bilinear"))


@pytest.mark.parametrize(("width", "groups"), [(4, 1), (8, 1), (16, 2), (20, 5), (64, 8)])
def test_an_r3_block_is_an_inverted_bottleneck_of_grouped_convolutions_and_starts_as_the_identity(width, groups):
    _, _, d = built("r3", d_channels=width)
    block = blocks(d)[0]
    assert kinds(block.branch) == ["Conv2d", "LeakyReLU", "Conv2d", "LeakyReLU", "Conv2d"]
    expand, grouped, back = block.branch[::2]
    assert [expand.out_channels, grouped.out_channels, back.out_channels] == [2 * width, 2 * width, width]
    assert [layer.kernel_size[0] for layer in (expand, grouped, back)] == [1, 3, 1]
    assert [layer.groups for layer in (expand, grouped, back)] == [1, groups, 1]
    x = torch.randn(2, width, 4, 4, generator=stream())
    assert torch.equal(block(x), x)
    assert block.branch[:-1](x).abs().max() > 0.1, "only the last convolution is zero"


def test_r3_starts_from_scaled_he_weights():
    """Zhang 2019: L^(-1/(2m-2)) for L blocks of m = 3 layers; the gain of LeakyReLU 0.2 is sqrt(2 / 1.04)."""
    for network in built("r3", g_channels=32, d_channels=32, conditional=True)[1:]:
        expected = (2 / 1.04) ** 0.5 * 4**-0.25
        for block in blocks(network):
            for layer in block.branch[:3:2]:
                fan_in = layer.in_channels // layer.groups * layer.kernel_size[0] ** 2
                assert layer.weight.std().item() == pytest.approx(expected / fan_in**0.5, rel=0.1)
                assert (layer.bias == 0).all()
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() > 1000:
                assert layer.weight.std().item() == pytest.approx(layer.weight[0].numel() ** -0.5, rel=0.1)
            if isinstance(layer, Basis):
                assert layer.weight.std().item() == pytest.approx(1, rel=0.1)
            if isinstance(layer, ClassConcat):
                assert layer.embedding.weight.std().item() == pytest.approx(1, rel=0.3)
            if isinstance(layer, Projection):
                assert layer.embedding.weight.std().item() == pytest.approx(layer.linear.in_features**-0.5, rel=0.1)


def test_the_resnet_starts_from_xavier_uniform_weights():
    for network in built("residual", g_channels=32, d_channels=32, conditional=True)[1:]:
        inner = [layer for block in blocks(network) for layer in block.branch]
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                taps = layer.weight[0, 0].numel()
                bound = (6 / (taps * sum(layer.weight.shape[:2]))) ** 0.5 * (2**0.5 if layer in inner else 1)
                assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.05)
                assert layer.bias is None or (layer.bias == 0).all()
            if isinstance(layer, ConditionalNorm):
                assert (layer.scale.weight == 0).all() and (layer.shift.weight == 0).all()


def test_every_norm_of_a_conditional_generator_knows_the_class():
    _, g, _ = built("residual", conditional=True)
    assert sum(isinstance(layer, ConditionalNorm) for layer in g.modules()) == 2 * 3 + 1
    norms = {layer.norm for layer in g.modules() if isinstance(layer, ConditionalNorm)}
    assert {layer for layer in g.modules() if isinstance(layer, nn.BatchNorm2d)} == norms


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conditional_pair_answers_to_the_label(family):
    config, g, d = built(family, conditional=True)
    awake(g), awake(d)
    labels = torch.arange(3)
    with torch.no_grad():
        images = g.eval()(some(config)[0][:1].repeat(3, 1), labels)
        logits = d.eval()(images[:1].repeat(3, 1, 1, 1), labels)
    assert len(images.flatten(1).unique(dim=0)) == 3
    assert len(logits.unique()) == 3


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_initial_weights_come_from_the_stream_alone(family, conditional):
    """Same stream, same weights, whatever was there before; another seed, others; the global state is left alone."""
    for network, again, other in zip(
        *(built(family, seed, conditional=conditional)[1:] for seed in (0, 0, 1)), strict=True
    ):
        before = torch.get_rng_state()
        awake(again)
        again.initialise(stream(0))
        assert torch.equal(torch.get_rng_state(), before)
        first, second, third = network.state_dict(), again.state_dict(), other.state_dict()
        assert all(torch.equal(first[key], second[key]) for key in first)
        drawn = {key for key in first if first[key].is_floating_point() and first[key].unique().numel() > 1}
        assert drawn
        assert not any(torch.equal(first[key], third[key]) for key in drawn)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_parameter(family, conditional):
    config, g, d = built(family, conditional=conditional)
    latents, _, labels = some(config)
    awake(g), awake(d)
    d(g(latents, *labels), *labels).square().sum().backward()
    for network in (g, d):
        for name, weight in network.named_parameters():
            assert weight.grad.isfinite().all(), name
            assert weight.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("family", "d_norm"), [("residual", "none"), ("residual", "spectral"), ("r3", "none")])
def test_a_gradient_penalty_has_gradients(family, d_norm, conditional):
    """R1 of Mescheder 2018 goes through D twice."""
    config, _, d = built(family, d_norm=d_norm, conditional=conditional)
    if d_norm == "spectral":
        for layer in list(d.modules()):
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
                register_parametrization(layer, "weight", SpectralNorm(layer.weight, stream()))
    awake(d)
    _, images, labels = some(config)
    images.requires_grad_(True)
    (slope,) = torch.autograd.grad(d(images, *labels).sum(), images, create_graph=True)
    penalty = slope.square().sum((1, 2, 3)).mean()
    assert penalty.isfinite() and penalty > 0
    penalty.backward()
    for name, weight in d.named_parameters():
        if weight.grad is None or weight.ndim == 1:
            assert weight.ndim == 1, name  # the slope depends on no bias, but through the activations it switches
        else:
            assert weight.grad.isfinite().all() and weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_ends_every_branch_and_never_drops_the_shortcut(family):
    _, *networks = built(family, g_dropout=0.5, d_dropout=0.5)
    for network in networks:
        assert sum(isinstance(layer, Dropout) for layer in network.modules()) == len(blocks(network))
        assert all(isinstance(block.branch[-1], Dropout) for block in blocks(network))
    assert not any(isinstance(layer, Dropout) for network in built(family)[1:] for layer in network.modules())


@pytest.mark.parametrize("role", [1, 2])
@pytest.mark.parametrize("channels", [16, 24, 32])
def test_r3_of_a_cpus_size_fits_into_three_megabytes_of_fp16(channels, role):
    network = built("r3", g_channels=channels, d_channels=channels, latent_dim=100)[role]
    assert sum(weight.numel() for weight in network.parameters()) < 1_500_000


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_go_from_one_network_to_another(family, conditional):
    config, g, d = built(family, conditional=conditional)
    _, *others = built(family, 1, conditional=conditional)
    latents, images, labels = some(config)
    for network, other, given in zip((g, d), others, (latents, images), strict=True):
        other.load_state_dict(network.state_dict())
        assert torch.equal(network.eval()(given, *labels), other.eval()(given, *labels))


@pytest.mark.parametrize(("height", "width"), [(2, 2), (8, 8), (4, 10)])
def test_the_mean_folded_into_the_convolution_gives_the_same_values_and_gradients(height, width):
    layer = DownsampleConv2d(5, 3).double()
    x = torch.randn(2, 5, height, width, dtype=torch.float64, generator=stream(), requires_grad=True)
    ours, theirs = layer(x), F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)
    assert ours.shape == (2, 3, height // 2, width // 2)
    torch.testing.assert_close(ours, theirs)
    given = torch.randn(ours.shape, dtype=torch.float64, generator=stream(1))
    wanted = [x, *layer.parameters()]
    for a, b in zip(torch.autograd.grad(ours, wanted, given), torch.autograd.grad(theirs, wanted, given), strict=True):
        torch.testing.assert_close(a, b)


def test_under_bf16_autocast_the_mean_is_taken_after_the_convolution():
    layer = DownsampleConv2d(8, 4)
    x = torch.randn(2, 8, 4, 4, generator=stream())
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), layer(x), atol=0.02, rtol=0.02)
