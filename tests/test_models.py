"""The networks are those of the sources: layers, shapes, activations, initial weights."""

import pytest
import torch
from torch import nn

from ganlab import data, networks, priors
from ganlab.config import Config
from ganlab.latents import evaluation_latents
from ganlab.networks.layers import Dropout, Projection
from ganlab.presets import PRESETS


def built(preset: str, **changes) -> tuple[Config, nn.Module, nn.Module]:
    config = Config.from_preset(preset, **changes)
    return config, *networks.build(config, torch.Generator().manual_seed(0), torch.Generator().manual_seed(1))


def kinds(network: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in network]


# What seeds each preset: the layers of one stage, first and last layers, and the hyperparameters of its source.
SOURCES = {
    "conv-noise": {
        "g_first": ["Linear", "BatchNorm1d", "LeakyReLU", "Unflatten"],
        "g_stage": ["UpsampleConv2d", "BatchNorm2d", "LeakyReLU", "Dropout"],
        "g_last": ["Conv2d", "Tanh"],
        "d_first": ["Conv2d", "LeakyReLU", "Dropout"],
        "d_stage": ["Conv2d", "BatchNorm2d", "LeakyReLU", "Dropout"],
        "d_last": ["Flatten", "Linear", "Flatten"],
        "config": {"loss": "bce", "g_lr": 5e-4, "d_lr": 5e-4, "beta1": 0.5, "latent_dim": 100, "instance_noise": 0.0},
    },
    "dcgan": {
        "g_first": ["Unflatten", "ConvTranspose2d", "BatchNorm2d", "ReLU"],
        "g_stage": ["ConvTranspose2d", "BatchNorm2d", "ReLU"],
        "g_last": ["ConvTranspose2d", "Tanh"],
        "d_first": ["Conv2d", "LeakyReLU"],
        "d_stage": ["Conv2d", "BatchNorm2d", "LeakyReLU"],
        "d_last": ["Conv2d", "Flatten"],
        "config": {"loss": "bce", "g_lr": 2e-4, "d_lr": 2e-4, "beta1": 0.5, "latent_dim": 100, "instance_noise": 0.1,
                   "epochs": 100, "snapshot_epochs": [20, 40, 60, 80, 100]},
    },
    "cifar-gen-gan": {
        "g_first": ["Linear", "BatchNorm1d", "LeakyReLU", "Unflatten"],
        "g_stage": ["UpsampleConv2d", "BatchNorm2d", "LeakyReLU"],
        "g_last": ["Conv2d", "Tanh"],
        "d_first": ["Conv2d", "LeakyReLU", "Dropout"],
        "d_stage": ["Conv2d", "BatchNorm2d", "LeakyReLU", "Dropout"],
        "d_last": ["Flatten", "Linear", "Flatten"],
        "config": {"loss": "bce", "g_lr": 2e-4, "d_lr": 2e-4, "beta1": 0.5, "latent_dim": 100, "batch_size": 128,
                   "epochs": 350},
    },
    "t2": {
        "g_first": ["Linear", "BatchNorm1d", "LeakyReLU", "Unflatten"],
        "g_stage": ["ConvTranspose2d", "BatchNorm2d", "LeakyReLU"],
        "g_last": ["ConvTranspose2d", "Tanh"],
        "d_first": ["Conv2d", "LeakyReLU", "Dropout"],
        "d_stage": ["Conv2d", "LeakyReLU", "Dropout"],
        "d_last": ["Flatten", "MinibatchDiscrimination", "Linear", "Flatten"],
        "config": {"loss": "bce", "real_label": 0.9, "fake_label": 0.1, "feature_matching": 0.1, "g_lr": 2e-4,
                   "d_lr": 2e-4, "beta1": 0.5, "beta2": 0.999, "latent_dim": 100, "batch_size": 64, "epochs": 100,
                   "real_augment": ["flip", "crop", "rotation"], "snapshot_epochs": [1, 25, 50, 75, 100]},
    },
    "nyu-wgan": {
        "g_first": ["Unflatten", "ConvTranspose2d", "BatchNorm2d", "ReLU"],
        "g_stage": ["ConvTranspose2d", "BatchNorm2d", "ReLU"],
        "g_last": ["ConvTranspose2d", "Tanh"],
        "d_first": ["Conv2d", "LeakyReLU"],
        "d_stage": ["Conv2d", "LeakyReLU"],
        "d_last": ["Conv2d", "Flatten"],
        "config": {"loss": "wasserstein", "gradient_penalty": 10.0, "d_norm": "none", "g_lr": 1e-4,
                   "d_lr": 3e-4, "beta1": 0.0, "beta2": 0.9, "epochs": 100},
    },
}  # fmt: skip


@pytest.mark.parametrize("preset", SOURCES)
def test_preset_has_the_layers_and_hyperparameters_of_its_source(preset):
    source = SOURCES[preset]
    config, g, d = built(preset)
    g_stages = 3 if "UpsampleConv2d" in source["g_stage"] else 2
    assert kinds(g) == source["g_first"] + g_stages * source["g_stage"] + source["g_last"]
    assert kinds(d) == source["d_first"] + 2 * source["d_stage"] + source["d_last"]
    assert {key: getattr(config, key) for key in source["config"]} == source["config"]
    assert all(layer.negative_slope == 0.2 for layer in [*g, *d] if isinstance(layer, nn.LeakyReLU))
    if preset == "dcgan":
        assert not any(isinstance(layer, nn.Linear) for layer in [*g, *d])


# The presets that seed from papers: what each has from its own. Their layers are tested below and in test_residual.
PAPERS = {
    "fast": {"loss": "hinge", "d_norm": "spectral", "d_steps": 1, "diffaugment": ["color", "translation", "flip"],
             "discriminator": "projected", "batch_size": 16, "g_lr": 5e-4, "d_lr": 5e-4, "beta1": 0.0, "beta2": 0.99},
    "sngan": {"loss": "hinge", "d_norm": "spectral", "d_steps": 1, "diffaugment": ["color", "translation"],
              "batch_size": 16, "g_lr": 2e-4, "d_lr": 2e-4, "beta1": 0.0, "beta2": 0.99},
    "sngan-resnet": {"loss": "hinge", "d_norm": "spectral", "g_lr": 2e-4, "d_lr": 4e-4, "beta1": 0.0, "beta2": 0.9,
                     "batch_size": 32, "diffaugment": []},
    "r3gan-small": {"loss": "relativistic", "d_norm": "none", "r1": 0.05, "r2": 0.05, "gradient_penalty": 0.0,
                    "g_lr": 5e-4, "d_lr": 1e-3, "beta1": 0.0, "beta2": 0.99, "batch_size": 32, "latent_dim": 100},
}  # fmt: skip


def test_every_preset_is_held_to_its_source():
    assert {*SOURCES, *PAPERS} == set(PRESETS)
    for preset, fields in PAPERS.items():
        config = Config.from_preset(preset)
        assert {key: getattr(config, key) for key in fields} == fields


@pytest.mark.parametrize("resolution", [32, 64, 128])
@pytest.mark.parametrize("preset", SOURCES)
def test_every_resolution_maps_latents_to_images_to_logits(preset, resolution):
    config, g, d = built(preset, resolution=resolution, g_channels=4, d_channels=4)
    images = g(priors.get("gaussian").sample(3, config.latent_dim))
    assert images.shape == (3, 3, resolution, resolution)
    assert images.abs().max() <= 1
    assert d(images).shape == (3,)


@pytest.mark.parametrize("preset", SOURCES)
def test_initial_weights_are_those_of_the_dcgan_paper(preset):
    _, g, d = built(preset)
    for layer in [*g, *d]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.weight.numel() > 5000:
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert abs(layer.weight.mean().item()) < 0.001
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1, abs=0.01)
        if getattr(layer, "bias", None) is not None:
            assert (layer.bias == 0).all()


def test_sngan_has_the_discriminator_of_its_paper():
    """Miyato 2018, table 3: 3x3 stride 1 that widens and 4x4 stride 2 in turn, to 4x4; every weight spectral-normed."""
    config, _, d = built("sngan")
    convolutions = [layer for layer in d if isinstance(layer, nn.Conv2d)]
    assert [(c.kernel_size[0], c.stride[0]) for c in convolutions] == 3 * [(3, 1), (4, 2)] + [(3, 1)]
    c = config.d_channels
    assert [layer.out_channels for layer in convolutions] == [c, c, 2 * c, 2 * c, 4 * c, 4 * c, 8 * c]
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in d)
    d.train()
    for layer in d:
        if hasattr(layer, "weight"):
            for _ in range(30):
                layer.weight  # noqa: B018 (a power iteration each)
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("discriminator", ["strided", "dcgan", "sngan"])
@pytest.mark.parametrize("d_norm", ["batch", "spectral", "none"])
def test_every_norm_of_every_discriminator_gives_logits(discriminator, d_norm):
    _, _, d = built("fast", discriminator=discriminator, d_norm=d_norm, d_channels=4)
    assert d(torch.zeros(2, 3, 32, 32)).shape == (2,)
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in d) == (d_norm == "batch")


@pytest.mark.parametrize("generator", ["upsample", "transposed"])
@pytest.mark.parametrize("discriminator", ["strided", "dcgan", "sngan"])
def test_a_conditional_pair_answers_to_the_label(generator, discriminator):
    changes = {"generator": generator, "discriminator": discriminator, "g_channels": 4, "d_channels": 4}
    config, g, d = built("fast", conditional=True, classes=["cat", "dog", "ship"], **changes)
    latents = evaluation_latents(config, 4)[:1].repeat(3, 1)
    labels = torch.arange(3)
    with torch.no_grad():
        for layer in [g, d]:
            for name, weight in layer.named_parameters():
                if "scale" in name or "embedding" in name:
                    weight.normal_(generator=torch.Generator().manual_seed(0))
        images = g.eval()(latents, labels)
        logits = d.eval()(images[:1].repeat(3, 1, 1, 1), labels)
    assert images.shape == (3, 3, 32, 32)
    assert logits.shape == (3,)
    assert len(images.flatten(1).unique(dim=0)) == 3
    assert len(logits.unique()) == 3


def test_projection_is_the_formula():
    """Miyato & Koyama 2018, equation 4: the unconditional logit plus the inner product with the class's embedding."""
    layer = Projection(2, 3)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0, 2.0]])), layer.linear.bias.fill_(0.5)
        layer.embedding.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0], [3.0, 4.0]]))
        logits = layer(torch.tensor([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1, 2]))
    assert logits.flatten().tolist() == [3.5, 3.5, 14.5]


@pytest.mark.parametrize("preset", ["conv-noise", "fast"])
def test_building_leaves_torchs_global_random_state_alone_and_does_not_depend_on_it(preset):
    before = torch.get_rng_state()
    first = built(preset)[2].state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    again = built(preset)[2].state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_dropout_drops_whole_channels_from_its_own_stream_and_keeps_the_mean():
    layer = Dropout(0.25)
    layer.stream = torch.Generator().manual_seed(0)
    x = torch.ones(200, 64, 4, 4)
    dropped = layer.train()(x)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (dropped.amax((2, 3)) == dropped.amin((2, 3))).all()
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(layer.eval()(x), x)


def test_ema_averages_weights_and_batch_norm_buffers():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = networks.Ema(network, half_life=64)
    with torch.no_grad():
        start = {key: value.clone() for key, value in network.state_dict().items()}
        for value in network.state_dict().values():
            value.add_(1)
    ema.update(images_seen=10**6, batch_size=64)  # one half-life: half of the way, buffers included
    for key, value in ema.network.state_dict().items():
        expected = start[key] + (1 if key.endswith("num_batches_tracked") else 0.5)
        torch.testing.assert_close(value, expected)


def test_ema_with_half_life_zero_follows_at_once_and_early_on_it_hurries():
    network = nn.Linear(2, 2)
    copy, slow = networks.Ema(network, 0), networks.Ema(network, 10**9)
    with torch.no_grad():
        network.weight.add_(1)
    copy.update(100, 10)
    slow.update(images_seen=200, batch_size=10)  # the half-life is at most 200 / 20 images: one batch
    assert torch.equal(copy.network.weight, network.weight)
    torch.testing.assert_close(slow.network.weight, network.weight - 0.5)


def test_generate_is_deterministic_in_any_batch_size_and_leaves_the_mode():
    config, g, _ = built("conv-noise", g_channels=4)
    latents = evaluation_latents(config, 10)
    g.train()
    first = networks.generate(g, latents, batch_size=3)
    assert first.dtype == torch.uint8
    assert first.shape == (10, 3, 32, 32)
    assert (first.int() - networks.generate(g, latents).int()).abs().max() <= 1
    assert g.training


def test_uint8_conversion_is_the_same_for_every_image_and_inverts():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(data.to_uint8(data.to_float(every)), every)
    assert data.to_uint8(torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0])).tolist() == [0, 0, 128, 255, 255]
    dim = torch.full((1, 3, 2, 2), -0.5)
    assert data.to_uint8(dim).unique().tolist() == [64], "no image is rescaled by its own range"


def test_summary_lists_every_layer_with_its_shape_and_parameters():
    config, g, _ = built("dcgan")
    rows = networks.summary(g, evaluation_latents(config, 2))
    assert len(rows) == len(g) + 1
    assert rows[1]["output"] == "256 x 4 x 4"
    for preset in PRESETS:  # spectral norm and residual blocks too
        config, *both = built(preset)
        for network, given in zip(both, (evaluation_latents(config, 2), torch.zeros(2, 3, 32, 32)), strict=True):
            *rows, total = networks.summary(network, given)
            counts = [sum(row["parameters"] for row in rows), sum(p.numel() for p in network.parameters())]
            assert counts == [total["parameters"]] * 2, preset
    assert {
        "layer": "Linear(in_features=32, out_features=1, bias=True), spectral norm",
        "output": "1",
        "parameters": 33,
    } in (networks.summary(built("sngan-resnet")[2], torch.zeros(2, 3, 32, 32)))


def test_t2_has_the_widths_of_its_source():
    _, g, d = built("t2")
    assert g[3].unflattened_size == (512, 4, 4)
    assert [layer.out_channels for layer in g if isinstance(layer, nn.ConvTranspose2d)] == [256, 128, 3]
    assert [layer.out_channels for layer in d if isinstance(layer, nn.Conv2d)] == [128, 256, 512]


@pytest.mark.parametrize(("minibatch", "first"), [("discrimination", "MinibatchDiscrimination"),
                                                  ("deviation", "MinibatchDeviation"), ("none", "Linear")])  # fmt: skip
def test_d_parts_into_features_and_logit_before_it_compares_images(minibatch, first):
    _, _, d = built("conv-noise", minibatch=minibatch, d_dropout=0.0)
    features, logit = d.eval().features, d.logit
    assert kinds(logit)[0] == first
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(logit(features(images)), d(images))
    assert logit[-2].weight is d[-2].weight


@pytest.mark.parametrize("preset", PRESETS)
def test_no_layer_is_one_that_onednn_computes_wrongly(preset):
    """oneDNN issue 6035: on AVX2 a 1x1 convolution of stride 2 with under 8 input channels, channels last, is wrong."""
    _, g, d = built(preset, g_channels=4, d_channels=4)
    layers = [layer for network in (g, d) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    wrong = [c for c in layers if c.kernel_size == (1, 1) and c.stride == (2, 2) and c.in_channels < 8]
    assert not wrong
