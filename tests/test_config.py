"""A config is what a user may type, and it answers a mistake with the valid choices."""

import dataclasses
import json
import shlex
import subprocess
import sys

import pytest

from ganlab import choices, cli, priors
from ganlab.config import Config, command
from ganlab.errors import ConfigError
from ganlab.presets import PRESETS


@pytest.mark.parametrize(
    "table", [choices.GENERATORS, choices.DISCRIMINATORS, choices.LOSSES, choices.AUGMENTATIONS,
              choices.REAL_AUGMENTATIONS, choices.EXTRACTORS])  # fmt: skip
def test_every_row_of_a_table_names_a_function(table):
    assert all(callable(choices.function("row", table, name)) for name in table)


def test_every_prior_has_a_quantile_of_its_name():
    assert all(callable(prior.quantile) for prior in priors.PRIORS.values())


def test_a_new_row_is_known_to_config(monkeypatch):
    with pytest.raises(ConfigError, match="unknown loss 'mine'"):
        Config(loss="mine")
    monkeypatch.setitem(choices.LOSSES, "mine", "training.losses.hinge")
    assert Config(loss="mine").loss == "mine"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives_json(preset):
    config = Config.from_preset(preset, classes=["ship"], seed=3)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preset": "dcgam"}, r"unknown preset 'dcgam' \(did you mean 'dcgan'\?\): valid are fast, sngan, "),
        ({"prior": "cauchy"}, "unknown prior 'cauchy': valid are gaussian, uniform, poisson"),
        ({"learning_rate": 0.1}, "unknown parameter 'learning_rate'.*valid are preset, dataset"),
        ({"dataset": "cifar100"}, r"unknown dataset 'cifar100' \(did you mean 'cifar10'\?\).*path of a folder"),
        ({"latent_dim": 0}, "latent_dim is 0: it must be at least 1"),
        ({"resolution": 48}, "unknown resolution 48: valid are 32, 64, 128"),
        ({"d_dropout": 1.0}, "d_dropout is 1.0: it must be at least 0 and below 1"),
        ({"g_lr": float("nan")}, "g_lr is nan: it must be above 0"),
        ({"epochs": 2.5}, "epochs is 2.5, a float: it takes a whole number"),
        ({"epochs": True}, "epochs is True, a bool: it takes a whole number"),
        ({"classes": "ship"}, r"classes is 'ship', not a list: write classes=\['ship'\]"),
        ({"classes": ["ship", "ship"]}, "name one class twice"),
        ({"diffaugment": ["colour"]}, r"unknown diffaugment 'colour' \(did you mean 'color'\?\)"),
        ({"real_augment": ["flop"]}, r"unknown real_augment 'flop' \(did you mean 'flip'\?\)"),
        ({"real_label": 1.1}, "real_label is 1.1: it must be above 0.5 and at most 1"),
        ({"loss": "hinge", "real_label": 0.9}, "real_label 0.9 and fake_label 0 with loss hinge: only bce has labels"),
        ({"loss": "wasserstein"}, "d_norm batch in a critic .* use d_norm none or spectral"),
        ({"gradient_penalty": 10.0}, "d_norm batch in a critic"),
        ({"loss": "wasserstein", "d_norm": "none"}, "without a bound on D's gradient: give gradient_penalty 10"),
        ({"minibatch": "discrimination", "gradient_penalty": 10.0, "d_norm": "none"}, "that layer compares them"),
        ({"minibatch": "discrimination", "discriminator": "dcgan"}, "no dense layer to put it before"),
        ({"minibatch": "discrimination", "batch_size": 1}, "batch_size is 1: batch norm and minibatch layers compare"),
        ({"compile": True, "r1": 0.5}, "torch.compile cannot differentiate twice; switch it off"),
        ({"epoch_images": 15}, "an epoch takes at least the 16 images of one step"),
        ({"discriminator": "residual"}, "discriminator residual with d_norm batch"),
    ],
)
def test_a_mistake_is_answered_with_what_is_valid(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Config.from_preset(**{"preset": "conv-noise", **changes})


def test_identity_moves_with_what_decides_the_result_and_with_nothing_else():
    config = Config.from_preset("conv-noise")
    changed = {"prior": "poisson", "seed": 1, "g_lr": 1e-4, "classes": ["ship"], "latent_seed": 9}
    for key, value in changed.items():
        assert config.replace(**{key: value}).identity("data") != config.identity("data"), key
    for key, value in {"epochs": 99, "checkpoint_seconds": 5.0, "snapshot_epochs": [7], "device": "cpu"}.items():
        assert config.replace(**{key: value}).identity("data") == config.identity("data"), key
    assert config.identity("data") != config.identity("other data")


def test_a_run_that_is_older_than_a_fields_name_still_loads():
    assert Config.from_dict({"arm": "raw"}).scaling == "raw"
    assert Config().replace(scaling="centred").scaling == "centred"


def test_a_whole_number_where_a_fraction_may_stand_is_the_same_run():
    whole, fraction = (Config.from_preset("nyu-wgan", gradient_penalty=value) for value in (10, 10.0))
    assert whole.identity("data") == fraction.identity("data")


def test_differences_name_the_fields():
    config = Config.from_preset("conv-noise")
    assert config.replace(prior="poisson", epochs=99).differences(config) == ["prior: 'gaussian' -> 'poisson'"]


def test_snapshots_end_with_the_last_epoch():
    assert Config.from_preset("conv-noise", epochs=7).snapshots() == [1, 2, 5, 7]
    assert Config.from_preset("dcgan").snapshots() == [20, 40, 60, 80, 100]
    assert Config.from_preset("dcgan", epochs=50).snapshots() == [20, 40, 50]


def test_every_field_says_what_it_is():
    for option in dataclasses.fields(Config):
        assert option.metadata["help"] and option.metadata["group"], option.name


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_dim": 8, "g_lr": 1e-3, "classes": ["cat", "dog"], "conditional": True, "real_augment": []},
        {
            "preset": "t2",
            "dataset": "./my images; rm -rf *",
            "real_augment": [],
            "snapshot_epochs": [],
            "compile": True,
        },
        {"preset": "dcgan", "latent_seed": -1, "seed": 3, "beta1": 0.25, "precision": "fp32"},
    ],
)
def test_the_command_of_a_config_pasted_back_makes_the_same_run(changes, tmp_path):
    config, out = Config.from_preset(**changes), tmp_path / "a folder"
    program, name, *words = shlex.split(command(config, out))
    assert (program, name) == ("ganlab", "train")
    options = cli.parse([name, *words])
    assert options.pop("out") == str(out) and options.pop("command") == "train"
    again = Config.from_preset(**options)
    assert again == config and again.identity("data") == config.identity("data")


def test_a_resolved_config_names_its_classes_and_its_precision():
    config = Config.from_preset("fast", conditional=True)
    found = config.resolved(["cat", "dog"], "fp32")
    assert (found.classes, found.precision) == (["cat", "dog"], "fp32")
    assert Config.from_preset("fast", precision="bf16").resolved(["cat"], "fp32").precision == "bf16"
    assert config.differences(found) == []


def test_importing_ganlab_and_its_config_loads_no_torch():
    code = "import sys, ganlab.config, ganlab.__main__; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
