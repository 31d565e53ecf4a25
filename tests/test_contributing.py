"""The four recipes of CONTRIBUTING.md, followed as they stand there: a function, a row, and a run that uses them."""

import re
from importlib import import_module

import pytest
from conftest import ROOT, TINY

from ganlab import choices, priors
from ganlab.cli import main
from ganlab.config import Config
from ganlab.run import Run
from ganlab.training import train


def follow(heading: str, monkeypatch) -> None:
    """Puts the recipe's function into its module, and its row into its table, for one test."""
    recipe = (ROOT / "CONTRIBUTING.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n# ganlab/(\S+)\.py(?:, (\w+))?\n(.*?)```", recipe, re.DOTALL)
    (place, _, function), (_, table, row) = blocks
    module = import_module(f"ganlab.{place.replace('/', '.')}")
    before = set(vars(module))
    exec(function, vars(module))
    (added,) = set(vars(module)) - before
    made = vars(module).pop(added)
    monkeypatch.setattr(module, added, made, raising=False)
    row = eval(row, vars(priors))
    if isinstance(row, priors.Prior):
        monkeypatch.setitem(priors.PRIORS, row.name, row)
    else:
        for name, value in row.items():
            monkeypatch.setitem(getattr(choices, table), name, value)


@pytest.mark.parametrize(
    ("heading", "settings"),
    [
        ("A prior", {"prior": "logistic"}),
        ("A loss", {"loss": "exponential"}),
        ("A network", {"discriminator": "pooled"}),
        ("A judge", {"eval_extractor": "thumbnails", "judges": ["thumbnails"], "eval_every": 2}),
    ],
)
def test_a_recipe_makes_a_run(heading, settings, tmp_path, monkeypatch, capsys):
    follow(heading, monkeypatch)
    (name, value), *_ = settings.items()
    assert main(["train", "--help"]) == 0
    assert value in capsys.readouterr().out, "the command line knows the new row"
    run = Run(tmp_path)
    list(train(Config.from_preset("conv-noise", **TINY | settings), run))
    assert getattr(run.config, name) == value
    if heading == "A judge":
        assert {row["extractor"] for row in run.metrics["evaluation"]} == {"pixels", "thumbnails"}
