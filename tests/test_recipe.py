"""A run's recipe as a table: every part that a config can switch on has a row, and every link leads somewhere."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

from ganlab.choices import AUGMENTATIONS, DISCRIMINATORS, GENERATORS, LOSSES, REAL_AUGMENTATIONS
from ganlab.config import Config
from ganlab.presets import PRESETS
from ganlab.recipe import PARTS, recipe


def test_every_choice_has_a_row():
    tables = {"generator": GENERATORS, "discriminator": DISCRIMINATORS, "loss": LOSSES,
              "diffaugment": AUGMENTATIONS, "real_augment": REAL_AUGMENTATIONS}  # fmt: skip
    assert {(field, name) for field, table in tables.items() for name in table} <= set(PARTS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_names_its_parts_and_links_its_code(preset):
    page = Path("results/main/automobile")
    config = Config.from_preset(preset)
    table = recipe(config, page)
    for word in (config.generator, config.discriminator, config.loss):
        assert f"| {word} |" in table
    places = re.findall(r"\]\((\.\.[^)]+)\)", table)
    assert len(places) >= 5 and all((ROOT / page / place).resolve().exists() for place in places)
    assert ("gradient_penalty" in table) == bool(config.gradient_penalty)
