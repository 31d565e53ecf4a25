"""The discriminator on frozen features."""

import hashlib

import pandas as pd
import pytest
import torch
from conftest import TINY

from ganlab.config import Config
from ganlab.errors import ConfigError, GanlabError
from ganlab.networks import build
from ganlab.networks.classifier import WEIGHTS, read_classifier
from ganlab.networks.projected import SHIPPED, FeatureNetwork
from ganlab.run import Run
from ganlab.scoring.evaluate import EvaluationError, evaluate_run
from ganlab.training import train


def _discriminator(**changes):
    config = Config(discriminator="projected", d_norm="spectral", d_channels=8, g_channels=4, **changes)
    return build(config, torch.Generator().manual_seed(0))[1]


def _images(n: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_last_map_holds_the_classifiers_features():
    classifier, images = read_classifier(SHIPPED), _images()
    maps = FeatureNetwork(classifier)(images)
    expected = classifier.features((images + 1) * 127.5)
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 15, 15), (64, 7, 7), (128, 3, 3)]
    torch.testing.assert_close(maps[-1].amax((2, 3)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_one_logit_a_scale_at_every_resolution(side):
    discriminator = _discriminator(resolution=side)
    assert discriminator(_images(side=side)).shape == (2, 3)


def test_conditional_logits_depend_on_the_class():
    discriminator = _discriminator(conditional=True, classes=["cat", "dog"]).eval()
    images = _images(1).expand(2, -1, -1, -1)
    logits = discriminator(images, torch.tensor([0, 1]))
    assert (logits[0] != logits[1]).all()


def test_only_the_heads_learn_and_only_they_are_saved():
    discriminator = _discriminator()
    before = [value.clone() for value in discriminator.eyes.buffers()]
    discriminator.requires_grad_(False).requires_grad_(True)
    optimiser = torch.optim.SGD(discriminator.parameters(), 1.0)
    discriminator(_images()).sum().backward()
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, discriminator.eyes.buffers(), strict=True))
    assert all(name.startswith("heads") for name, _ in discriminator.named_parameters())
    assert not [name for name in discriminator.state_dict() if "eyes" in name]


def test_gradients_reach_the_images():
    images = _images().requires_grad_()
    _discriminator()(images).sum().backward()
    assert images.grad.abs().amax((1, 2, 3)).min() > 0


def test_it_is_not_the_network_that_judges():
    assert SHIPPED.read_bytes() != WEIGHTS.read_bytes()


def test_a_missing_or_damaged_feature_network_is_a_sentence(tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(SHIPPED.read_bytes()[:-100])
    for path in (tmp_path / "none.safetensors", damaged):
        with pytest.raises(GanlabError, match=path.name):
            _discriminator(feature_network=str(path))


@pytest.mark.parametrize("changes", [{"minibatch": "deviation"}, {"feature_matching": 1.0}, {"d_norm": "batch"}])
def test_what_a_projected_discriminator_cannot_do_is_refused(changes):
    with pytest.raises(ConfigError, match="projected"):
        Config(**{"discriminator": "projected", "d_norm": "spectral"} | changes)


@pytest.fixture(scope="module")
def projected_run(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("projected") / "run")
    for _ in train(Config.from_preset("fast", **TINY | {"eval_every": 1, "limit": 80, "eval_samples": 40}), run):
        pass
    return run


def test_a_run_says_what_its_discriminator_looked_through(projected_run):
    expected = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert projected_run.metrics["looked_through"] == {"name": "feature_network", "sha256": expected}


def test_rows_of_a_near_kin_are_marked(projected_run):
    rows = pd.DataFrame(projected_run.metrics["evaluation"])
    assert set(rows.loc[rows["trained_against"], "extractor"]) == {"cifar_resnet"}
    assert not rows.loc[rows["extractor"] == "pixels", "trained_against"].any()


def test_a_near_kin_alone_may_not_judge(projected_run):
    with pytest.raises(EvaluationError, match="close to cifar_resnet, so they cannot judge"):
        evaluate_run(projected_run, ["cifar_resnet"])
    with pytest.raises(ConfigError, match="near kin"):
        Config(discriminator="projected", d_norm="spectral", judges=["cifar_resnet"])


def test_a_generator_is_read_without_what_d_looked_through(projected_run, tmp_path):
    moved = projected_run.config.replace(feature_network=str(tmp_path / "moved.safetensors"))
    Run(tmp_path).write_generator(projected_run.read_generator()[0], moved)
    assert Run(tmp_path).read_generator()[1] == moved


@pytest.mark.parametrize("changes", [{}, {"loss": "relativistic"}, {"conditional": True, "d_steps": 2}])
def test_a_killed_and_resumed_run_ends_with_the_same_bits(changes, tmp_path):
    config = Config.from_preset("fast", **TINY | changes)
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    for _ in train(config, whole):
        pass
    for _ in train(config.replace(epochs=1), parts):
        pass
    for _ in train(config, parts):
        pass
    expected, found = (run.read_generator()[0].state_dict() for run in (whole, parts))
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
