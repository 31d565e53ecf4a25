"""Presets side by side: a long run each, and a race in which runs are compared at the mark that all of them reached."""

import math
import re
import shutil
from dataclasses import replace

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
from ganlab.errors import ConfigError
from ganlab.machine import provenance
from ganlab.notebooks import execute
from ganlab.run import Run
from ganlab.study import comparison
from ganlab.study.command import show_run
from ganlab.training.loop import train

SETTINGS = TINY | {"epoch_images": 50, "eval_every": 1, "snapshot_epochs": [1]}  # 3 batches of 16, and 2 left over
CONDITIONS = [
    {"name": "fast", "settings": {"preset": "fast"}, "priors": ["gaussian"], "seeds": [0]},
    {"name": "t2", "settings": {"preset": "t2"}, "priors": ["gaussian"], "seeds": [0]},
    {"name": "fast-race", "settings": {"preset": "fast"}, "priors": ["gaussian"], "seeds": [1, 2]},
    {"name": "dcgan", "settings": {"preset": "dcgan"}, "priors": ["gaussian"], "seeds": [0]},
]
PAGES = ["fast", "t2", "dcgan"]
PAGES_OF_PRESETS = ("presets", "presets_later")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A study of presets whose runs are finished but for the last two."""
    folder = tmp_path_factory.mktemp("presets")
    file = folder / "small.yaml"
    listed = {"settings": SETTINGS, "notebooks": ["presets"], "pages": PAGES, "conditions": CONDITIONS}
    file.write_text(yaml.safe_dump(listed))
    found = study.read(str(file), folder / "results")
    for planned in found.runs[:-2]:
        list(train(planned.config, Run(planned.path)))
    return found


def test_each_preset_has_a_page_of_its_first_run(plan):
    assert [(planned.condition, planned.seed) for planned in plan.shown] == [("fast", 0), ("t2", 0), ("dcgan", 0)]
    assert plan.notebooks == ("presets",)


def test_a_study_without_pages_shows_its_first_control_run(plan, tmp_path):
    file = tmp_path / "small.yaml"
    conditions = [{"name": name, "priors": ["uniform", "gaussian"], "seeds": [3]} for name in "ab"]
    file.write_text(yaml.safe_dump({"settings": SETTINGS, "conditions": conditions}))
    (only,) = study.read(str(file)).shown
    assert (only.condition, only.prior, only.seed) == ("a", "gaussian", 3)


def test_a_page_of_no_condition_is_refused(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({"settings": SETTINGS, "pages": ["fats"], "conditions": CONDITIONS}))
    with pytest.raises(ConfigError, match="unknown condition 'fats'.*fast"):
        study.read(str(file))


def test_the_shipped_study_runs_every_preset_on_real_images_and_races_three_seeds():
    from ganlab.presets import PRESETS

    plan = study.read("presets")
    assert {p.config.preset for p in plan.shown} == set(PRESETS)
    assert all(p.config.dataset == "cifar10" and len(p.config.final_judges()) == 2 for p in plan.runs)
    runs = {each.name: [p for p in plan.runs if p.condition == each.name] for each in plan.conditions}
    raced = [name.removesuffix(comparison.RACE) for name in runs if name.endswith(comparison.RACE)]
    assert {runs[name][0].config.preset for name in raced} == set(PRESETS) - {"conv-noise"}
    for name in raced:
        assert [p.seed for p in runs[name] + runs[name + comparison.RACE]] == [0, 1, 2]


def test_a_race_takes_the_long_run_and_those_of_other_seeds(plan):
    assert [(p.condition, p.seed, p.status) for p in comparison.racers(plan)] == [
        ("fast", 0, "done"), ("fast", 1, "done"), ("fast", 2, "left")]  # fmt: skip


def test_without_a_race_every_finished_run_is_compared(plan):
    plain = replace(plan, conditions=tuple(each for each in plan.conditions if each.name != "fast-race"),
                    runs=[planned for planned in plan.runs if planned.condition != "fast-race"])  # fmt: skip
    assert [p.condition for p in comparison.done(comparison.racers(plain))] == ["fast", "t2"]


def test_speeds_are_measured_once_and_again_for_another_recipe(plan, monkeypatch):
    def measured(configs):
        asked.append([*configs])
        return {name: 7.04 for name in configs}

    asked = []
    monkeypatch.setattr(comparison, "training_rates", measured)
    first, second = comparison.speeds(plan), comparison.speeds(plan)
    assert first.values.tolist() == second.values.tolist() == [["fast", 7.0, provenance()["cpu"]]]
    wider = replace(plan, conditions=tuple(each for each in plan.conditions if each.name != "fast-race"))
    comparison.speeds(wider)
    assert asked == [["fast"], ["fast", "t2", "dcgan"]]
    (plan.root / comparison.SPEEDS).unlink()


def test_minutes_are_those_of_one_machine_and_scores_are_named_alike(plan):
    speeds = pd.DataFrame({"condition": ["fast"], "images_per_second": [0.8]})
    every = comparison.histories(comparison.done(comparison.racers(plan)), speeds)
    run = Run(plan.runs[0].path).history
    ours = every[(every["condition"] == "fast") & (every["seed"] == 0)]
    assert ours["minutes"].tolist() == (run["images_seen"] / 48).tolist() and ours["minutes"].iloc[-1] == 2
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


def test_a_table_for_reading_has_the_best_first_and_its_intervals():
    rows = frame([("a", 0, 1.0, 100, 9.0), ("a", 1, 1.0, 100, 11.0), ("b", 0, 1.0, 90, 3.0)])
    words = comparison.shown(comparison.table(rows))
    assert words["condition"].tolist() == ["b", "a"] and words["fd"].tolist() == ["3", "10 (0 to 22.7)"]


def test_about_counts_parameters_and_tells_what_is_done(plan):
    table = comparison.about(plan).set_index("condition")
    assert (table["D parameters"] > 0).all() and (table["G parameters"] > 0).all()
    assert table.loc["fast", "images seen"] == 96 and table.loc["fast", "distance"] > 0
    assert table.loc["dcgan", ["images seen", "distance"]].isna().all()


def test_scores_say_which_judge_is_kin_of_what_d_looked_through(plan):
    fast, t2 = (comparison.scores(Run(planned.path)) for planned in plan.runs[:2])
    assert fast["metric"].iloc[0] == "fd" and set(fast["metric"]) >= {"fd", "precision", "recall", "is"}
    assert fast["trained against"].all() and not t2["trained against"].any()


def test_a_run_that_was_not_scored_is_one_sentence(plan, monkeypatch):
    run = Run(plan.runs[0].path)
    monkeypatch.setattr(Run, "metrics", run.metrics | {"evaluation": None})
    with pytest.raises(study.StudyError, match="was not scored: give the plan's settings an eval_every"):
        comparison.scores(run)


def test_a_budget_is_one_line(plan):
    said = comparison.budget(Run(plan.runs[0].path))
    assert re.fullmatch(r"96 images \([\d.]+ times each\) in 0 minutes, \d threads? of \S.*", said)


def test_a_conditional_recipe_that_names_no_classes_has_all_of_its_data_s(plan):
    named = plan.runs[0].config.replace(conditional=True, classes=list(SHAPE_CLASSES))
    both = [replace(plan, runs=[replace(plan.runs[0], config=each)], pages=("fast",))
            for each in (named, named.replace(classes=[]))]  # fmt: skip
    with pytest.raises(study.StudyError):  # the folder holds a run without labels
        comparison.about(both[0])
    elsewhere = [replace(each, runs=[replace(each.runs[0], path=plan.root / "none")]) for each in both]
    with_names, without = (comparison.about(each)["G parameters"].tolist() for each in elsewhere)
    assert with_names == without


def test_images_of_a_folder_have_no_held_out_ones_and_so_no_floor(plan, monkeypatch):
    run = Run(plan.runs[0].path)
    assert comparison.floor(run) > 0
    found = run.metrics
    found["scored"]["floor"] = None
    monkeypatch.setattr(Run, "metrics", found)
    assert math.isnan(comparison.floor(run))


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
def test_the_notebooks_show_every_preset(plan, tmp_path):
    given = {"study": str(plan.root.parent / "small.yaml"), "out": str(plan.root)}
    show_run(plan.shown[0], plan.name)
    said = ""
    for name in PAGES_OF_PRESETS:
        path = execute(name, plan.root / f"{name}.ipynb", given, quiet=True)
        assert problems(path, executed=True) == []
        said += nbformat.writes(nbformat.read(path, as_version=4))
    assert problems(plan.shown[0].path / "experiment.ipynb", executed=True) == []
    assert "96 images" in said and "`dcgan` is not trained yet" in said
    assert comparison.about(plan)["condition"].tolist() == pd.read_csv(plan.root / "about.csv")["condition"].tolist()
    tables = [pd.read_csv(plan.root / f"equal_{name}.csv") for name in ("minutes", "images")]
    assert all(table["condition"].tolist() == ["fast"] and table["n"].tolist() == [2] for table in tables)

    kept = [*(plan.root / "figures").glob("*.png"), plan.root / "corners.csv"]
    before = {path: path.read_bytes() for path in kept}
    for planned in plan.runs:  # as in a clone of the repository, which holds the numbers alone
        shutil.rmtree(planned.path / "samples", ignore_errors=True)
        (planned.path / "generator.safetensors").unlink(missing_ok=True)
    pages = [execute(name, plan.root / f"{name}.ipynb", given, quiet=True) for name in PAGES_OF_PRESETS]
    again = "".join(nbformat.writes(nbformat.read(page, as_version=4)) for page in pages)
    assert {path: path.read_bytes() for path in kept} == before
    assert said.count("image/png") == again.count("image/png")
