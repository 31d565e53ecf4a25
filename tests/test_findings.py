"""From runs on disk to tables and sentences: each number where it belongs, and the same bytes every time."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import TINY

from ganlab import findings, study
from ganlab.runs import Run
from ganlab.study import NULL
from ganlab.train import train


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Two cells of real runs, one of which borrows its Gaussian from the other; one run is missing, one failed."""
    folder = tmp_path_factory.mktemp("study")
    settings = TINY | {"preset": "conv-noise", "eval_every": 1}
    cells = [
        {"name": "first", "priors": ["gaussian", "bernoulli"], "seeds": [0, 1], "with_null": True},
        {"name": "second", "priors": ["poisson"], "seeds": [1], "reference": "first", "settings": {"arm": "raw"}},
        {"name": "third", "priors": ["uniform", "laplacian"], "seeds": [0]},
    ]
    (folder / "plan.yaml").write_text(yaml.safe_dump({"settings": settings, "cells": cells}))
    plan = study.read(str(folder / "plan.yaml"), folder / "runs")
    for planned in plan.runs:
        if planned.cell != "third":
            list(train(planned.config, Run(planned.path)))
    failed = plan.runs[-1].path
    failed.mkdir(parents=True)
    (failed / study.FAILED).write_text("{}")
    return plan


def test_every_planned_run_has_a_row_failed_and_missing_ones_too(plan):
    runs = findings.runs_table(plan)
    assert list(runs["status"]) == 7 * ["done"] + ["left", "failed"]
    assert list(runs["prior"][:6]) == 2 * ["gaussian", "bernoulli", NULL]
    assert runs.loc[6, ["cell", "preset", "prior", "arm", "latent_dim", "seed"]].tolist() == [
        "second", "conv-noise", "poisson", "raw", 16, 1]  # fmt: skip
    assert runs.loc[7:, "fd_train"].isna().all()


def test_the_numbers_are_those_of_the_runs_own_evaluation(plan):
    runs, floors = findings.runs_table(plan), findings.floor_values(findings.floors(plan))
    rows = json.loads((plan.runs[0].path / "metrics.json").read_text())["evaluation"]
    distances = [row for row in rows if row["metric"] == "fd_cifar_resnet" and row["split"] == "train"]
    assert runs.loc[0, "fd_train"] == distances[0]["value"], "the one with the larger counts"
    assert floors["fd_train"] == distances[0]["floor"]
    recall = next(row for row in rows if row["metric"] == "recall_cifar_resnet" and row["split"] == "test")
    assert runs.loc[0, "recall_test"] == recall["value"]


def test_a_collapsed_run_is_one_that_ends_far_above_its_best(plan, tmp_path, monkeypatch):
    found = Run(plan.runs[0].path).metrics
    for last, collapsed in ((1.9, False), (2.1, True)):
        found["final"]["fd_cifar_resnet"] = last * found["best"]["fd_cifar_resnet"]
        monkeypatch.setattr(Run, "metrics", found)
        assert findings._row(plan.runs[0])["collapsed"] is collapsed


def test_summary_pairs_by_seed_and_borrows_gaussian_for_the_cell_that_has_none(plan):
    runs = findings.runs_table(plan)
    found = findings.summary(runs, plan).set_index(["cell", "prior", "metric"])
    values = runs.pivot_table(index=["cell", "prior"], columns="seed", values="fd_train")
    difference = values.loc[("first", "bernoulli")] - values.loc[("first", "gaussian")]
    assert found.loc[("first", "bernoulli", "fd_train"), "difference"] == pytest.approx(difference.mean())
    borrowed = found.loc[("second", "poisson", "fd_train")]
    assert borrowed["n"] == 1
    assert borrowed["difference"] == pytest.approx(
        values.loc[("second", "poisson"), 1] - values.loc[("first", "gaussian"), 1]
    )
    assert "third" not in found.index.get_level_values("cell")


def test_a_study_without_a_finished_run_has_tables_too(tmp_path):
    plan = study.read("quick", tmp_path)
    runs = findings.runs_table(plan)
    found = findings.summary(runs, plan)
    assert len(runs) == len(plan.runs)
    assert found.empty
    assert set(findings.judged(runs, found)["held"]) == {"open"}
    assert "**0 of 12 runs" in findings.answer(runs, found, plan.runs[0].cell)


def test_tables_made_again_are_the_same_bytes(plan):
    first, again = (
        (runs.to_csv(), findings.summary(runs, plan).to_csv(), findings.floors(plan).to_csv())
        for runs in (findings.runs_table(plan), findings.runs_table(plan))
    )
    assert first == again


def test_swap_has_the_matched_distance_on_its_diagonal(plan):
    trained = findings.generators(plan, "first")
    assert list(trained) == ["gaussian", "bernoulli"]
    table = findings.swap(trained, n=300)
    assert table.shape == (2, 2)
    assert np.isfinite(table.to_numpy()).all()
    alone = findings.swap({"bernoulli": trained["bernoulli"]}, n=300)
    assert alone.loc["bernoulli", "bernoulli"] == pytest.approx(table.loc["bernoulli", "bernoulli"])


def frame(cell: str, values: dict[str, list[float]], metric: str = "fd_train") -> pd.DataFrame:
    rows = pd.DataFrame(
        [
            {"cell": cell, "prior": prior, "seed": seed, "status": "done", "collapsed": False, metric: value}
            for prior, row in values.items()
            for seed, value in enumerate(row)
        ]
    )
    return rows.reindex(columns=[*rows, *(name for name in findings.METRICS if name not in rows)])


def test_predictions_can_hold_and_can_fail(plan):
    cell, noise = "fast-d100-standardised", np.random.default_rng(0).normal(0, 1, (4, 5))
    same = {p: list(100 + row) for p, row in zip(("gaussian", NULL, "uniform", "poisson"), noise, strict=True)}
    runs = frame(cell, same)
    held = findings.judged(runs, findings.summary(runs, plan)).set_index("prediction")["held"]
    assert held["near-ties at d = 100"] == "yes"
    assert held["duplicates at d = 8"] == held["effects at d = 8"] == "open"

    runs = frame(cell, same | {"poisson": list(150 + noise[3])})
    found = findings.summary(runs, plan)
    judged = findings.judged(runs, found).set_index("prediction")
    assert judged["held"]["near-ties at d = 100"] == "no"
    assert "poisson" in judged["numbers"]["near-ties at d = 100"]
    answer = findings.answer(runs, found, cell)
    assert "In Frechet distance these differ from Gaussian" in answer
    assert "poisson +50%" in answer
    assert "Too few pairs yet to say anything of recall" in answer

    rates = {"bernoulli": [0.95, 0.96], "gaussian": [0.0, 0.0]}
    small = frame("fast-d8-standardised", rates, "duplicate_rate_train")
    assert findings.judged(small, found).set_index("prediction")["held"]["duplicates at d = 8"] == "yes"
    small.loc[0, "duplicate_rate_train"] = 0.5
    assert findings.judged(small, found).set_index("prediction")["held"]["duplicates at d = 8"] == "no"
