"""Presets side by side: runs are compared where they were scored, at the mark that all of them reached."""

import math
import shutil

import nbformat
import pandas as pd
import pytest
import torch
import yaml
from check_pages import problems
from conftest import TINY

from ganlab import study
from ganlab.config import Config
from ganlab.data import SHAPE_CLASSES, ImageSet
from ganlab.notebooks import execute
from ganlab.run import Run
from ganlab.study import comparison
from ganlab.training.loop import train

SETTINGS = TINY | {"epoch_images": 50, "eval_every": 1, "snapshot_epochs": [1]}  # 3 batches of 16, and 2 left over
CONDITIONS = [
    {"name": "fast", "settings": {"preset": "fast"}, "priors": ["gaussian"], "seeds": [0, 1]},
    {"name": "t2", "settings": {"preset": "t2"}, "priors": ["gaussian"], "seeds": [0]},
    {
        "name": "one-class",
        "settings": {"preset": "fast", "classes": ["warm-ring"]},
        "priors": ["gaussian"],
        "seeds": [0],
    },
]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A study of presets whose runs are finished but for the last."""
    folder = tmp_path_factory.mktemp("presets")
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(
        {"settings": SETTINGS, "notebooks": ["presets"], "order": "seeds", "conditions": CONDITIONS}))  # fmt: skip
    found = study.read(str(file), folder / "results")
    for planned in found.runs[:-1]:
        list(train(planned.config, Run(planned.path)))
    return found


def test_seeds_first_runs_every_cell_before_the_next_seed(plan):
    assert [(p.condition, p.seed) for p in plan.runs] == [("fast", 0), ("t2", 0), ("one-class", 0), ("fast", 1)]
    assert plan.notebooks == ("presets",)


def test_the_shipped_study_runs_every_preset_on_real_images_three_times():
    from ganlab.presets import PRESETS

    runs = study.read("presets").runs
    of_the_first_round = set(PRESETS) - {"sngan"}  # whose recipe was called fast then
    assert {p.config.preset for p in runs} == of_the_first_round and all(p.config.dataset == "cifar10" for p in runs)
    for condition in {p.condition for p in runs}:
        assert [p.seed for p in runs if p.condition == condition] == [0, 1, 2]


def test_histories_add_up_the_minutes_and_name_the_scores_alike(plan):
    every = comparison.histories(plan)
    run = Run(plan.runs[0].path).history
    ours = every[(every["condition"] == "fast") & (every["seed"] == 0)]
    assert ours["minutes"].iloc[-1] == pytest.approx(run["seconds"].sum() / 60)
    assert ours["fd"].tolist() == run["fd"].tolist() and ours[list(comparison.SCORES)].notna().all(axis=None)


def frame(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["condition", "seed", "minutes", "images_seen", "fd"]).assign(
        kid=0.0, precision=0.5, recall=0.25
    )


def test_the_mark_is_what_the_slowest_run_reached_and_the_nearest_scored_epoch_is_taken():
    rows = [("a", 0, 1.0, 100, 9.0), ("a", 0, 2.0, 200, math.nan), ("a", 0, 3.0, 300, 5.0), ("a", 1, 4.0, 300, 7.0),
            ("b", 0, 1.1, 50, 20.0), ("b", 0, 2.2, 280, 10.0)]  # fmt: skip
    every = frame(rows)
    assert comparison.mark(every, "minutes") == 2.2 and comparison.mark(every, "images_seen") == 280
    taken = comparison.at(every, "minutes", 2.2)
    assert taken[["condition", "seed", "fd"]].values.tolist() == [["a", 0, 5.0], ["a", 1, 7.0], ["b", 0, 10.0]]


def test_the_table_has_means_and_students_interval():
    found = comparison.table(frame([("a", 0, 1.0, 100, 4.0), ("a", 1, 1.2, 100, 6.0), ("b", 0, 1.0, 90, 3.0)]))
    a, b = found.to_dict("records")
    assert (a["n"], a["fd"], a["minutes"]) == (2, 5.0, pytest.approx(1.1))
    assert a["fd_high"] == pytest.approx(5 + 12.7062)  # t of 1 degree of freedom, times a standard error of 1
    assert b["fd"] == 3.0 and math.isnan(b["fd_low"])


def test_intervals_end_where_no_score_can_lie():
    wide = [("a", 0, 1.0, 100, 4.0), ("a", 1, 1.0, 100, 60.0)]
    found = comparison.table(frame(wide).assign(recall=[0.1, 0.8], kid=[-1.0, 1.0])).iloc[0]
    assert (found["fd_low"], found["recall_low"], found["recall_high"]) == (0, 0, 1)
    assert found["kid_low"] < -1 and found["fd_high"] > 60


def test_about_counts_parameters_and_times_what_is_done(plan):
    table = comparison.about(plan).set_index("condition")
    assert table.loc["one-class", "classes"] == "warm-ring" and table.loc["fast", "seeds"] == 1
    assert table.loc["t2", "D parameters"] > 0 and table["seconds per epoch"].notna().all()
    assert set(table["images seen"]) == {96}


def test_a_conditional_cell_that_names_no_classes_has_all_of_its_data_s():
    named = Config.from_preset("fast", dataset="shapes", conditional=True, classes=list(SHAPE_CLASSES))
    assert comparison.architecture(named.replace(classes=[])) == comparison.architecture(named)


def test_images_of_a_folder_have_no_held_out_ones_and_so_no_floor(plan, monkeypatch):
    found = Run(plan.runs[0].path).metrics
    found["scored"]["floor"] = None
    monkeypatch.setattr(Run, "metrics", found)
    assert comparison.floors(plan).loc["fast"].isna().all()


def test_an_architecture_is_its_layers_with_weights():
    g, d = comparison.architecture(Config.from_preset("dcgan", conditional=True, classes=["cat", "dog"])).split("\n")
    assert g.startswith("- G: ConvTranspose2d 256 x 4 x 4, ") and g.endswith("ConvTranspose2d 3 x 32 x 32")
    assert d.startswith("- D: Conv2d 64 x 16 x 16, Conv2d 128 x 8 x 8, Conv2d 256 x 4 x 4")
    assert "Embedding" in g and "Embedding" in d and "ReLU" not in g + d


def test_flat_corners_are_found_and_come_with_turned_images():
    images = torch.full((4, 3, 32, 32), 200, dtype=torch.uint8)
    images[0, :, :2, :2] = 0
    images[1, :, -2:, :2] = 16
    images[2, :, :2, 0] = 0  # half a corner
    assert comparison.flat_corners(images, 0) == 0.5
    assert comparison.flat_corners(images, 200) == 1.0
    assert comparison.flat_corners(images, 127.5) == 0.0
    data = ImageSet(images[3:].repeat(50, 1, 1, 1), torch.zeros(50, dtype=torch.int64), ["a"], "made", "train")
    seen = comparison.as_trained(data, Config.from_preset("t2"))
    assert comparison.flat_corners(seen, 0) > 0.8 > comparison.flat_corners(data.images, 0)


@pytest.mark.slow
def test_the_notebook_shows_every_preset(plan, tmp_path):
    path = execute("presets", plan.root / "presets.ipynb", {"study": str(plan.root.parent / "small.yaml"),
                                                            "out": str(plan.root)}, quiet=True)  # fmt: skip
    assert problems(path, executed=True) == []
    said = nbformat.writes(nbformat.read(path, as_version=4))
    assert all(f"**{condition['name']}**" in said for condition in CONDITIONS) and "ConvTranspose2d 3 x 32 x 32" in said
    tables = [pd.read_csv(plan.root / f"equal_{name}.csv") for name in ("minutes", "images")]
    assert all(table["condition"].tolist() == ["fast", "t2", "one-class"] for table in tables)

    figures = {path: path.read_bytes() for path in (plan.root / "figures").glob("*.png")} | {
        (plan.root / "corners.csv"): (plan.root / "corners.csv").read_bytes()
    }
    for planned in plan.runs:  # as in a clone of the repository, which holds the numbers alone
        shutil.rmtree(planned.path / "samples", ignore_errors=True)
        (planned.path / "generator.safetensors").unlink(missing_ok=True)
    again = execute("presets", plan.root / "presets.ipynb", {"study": str(plan.root.parent / "small.yaml"),
                                                             "out": str(plan.root)}, quiet=True)  # fmt: skip
    assert {path: path.read_bytes() for path in figures} == figures
    assert said.count("image/png") == nbformat.writes(nbformat.read(again, as_version=4)).count("image/png")
