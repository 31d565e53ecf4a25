"""A run's recipe as a table: every part that a config can switch on has a row, and every link leads somewhere."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from conftest import ROOT

from ganlab.config import Config
from ganlab.presets import PRESETS
from ganlab.recipe import PARTS, recipe


def test_every_row_is_of_a_choice_that_exists():
    choices = {option.name: option.metadata["choices"] for option in fields(Config)}
    assert all(value in choices[name] for name, value in PARTS)


def test_a_part_that_was_added_has_a_row_without_words(monkeypatch):
    monkeypatch.delitem(PARTS, ("loss", "hinge"))
    assert "| loss | hinge |  |  | [training/losses.py]" in recipe(Config.from_preset("sngan"), Path("results"))


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
