"""From runs on disk to tables and sentences: each number where it belongs, and the same bytes every time."""

import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from check_pages import problems
from conftest import ROOT, TINY

from ganlab import study
from ganlab.config import NULL
from ganlab.notebooks import execute
from ganlab.run import Run
from ganlab.study import statistics
from ganlab.study import tables as findings
from ganlab.training.loop import train

COMMITTED = ROOT / "results" / "noise-study"


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


def answer(runs, plan):
    return findings.answer(runs, findings.summary(runs, plan), findings.unpaired(runs, plan), plan)


def brief(runs, plan):
    return findings.brief(runs, findings.summary(runs, plan), findings.unpaired(runs, plan))


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
    distances = [row for row in rows if row["metric"] == "fd" and row["split"] == "train"]
    assert runs.loc[0, "fd_train"] == distances[0]["value"], "the one with the larger counts"
    assert floors["fd_train"] == distances[0]["floor"]
    recall = next(row for row in rows if row["metric"] == "recall" and row["split"] == "test")
    assert runs.loc[0, "recall_test"] == recall["value"]


def test_a_study_scored_with_inception_has_its_distances_too(plan, monkeypatch):
    found = Run(plan.runs[0].path).metrics
    named = json.loads(json.dumps(found).replace("cifar_resnet", "inception"))
    expected = findings._row(plan.runs[0])
    monkeypatch.setattr(Run, "metrics", named)
    assert findings._row(plan.runs[0]) == expected
    assert findings.score_floor(plan) == found["scored"]["floor"]["fd"]


def test_images_of_a_folder_have_no_held_out_ones_and_so_no_floor(plan, monkeypatch):
    found = Run(plan.runs[0].path).metrics
    found["scored"]["floor"] = None
    monkeypatch.setattr(Run, "metrics", found)
    assert findings.score_floor(plan) is None


def test_a_collapsed_run_is_one_that_ends_far_above_its_best(plan, tmp_path, monkeypatch):
    found = Run(plan.runs[0].path).metrics
    for last, collapsed in ((1.9, False), (2.1, True)):
        found["final"]["fd"] = last * found["best"]["fd"]
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
    held = findings.judged(runs, found).set_index("prediction")["held"]
    assert set(held.drop(["a transposed stem keeps the raw mean", "paths"])) == {"open"}
    assert ", 0 of 8 runs (0 failed, 0 collapsed)" in answer(runs, plan)


def test_tables_made_again_are_the_same_bytes(plan):
    first, again = (
        (runs.to_csv(), findings.summary(runs, plan).to_csv(), findings.floors(plan).to_csv())
        for runs in (findings.runs_table(plan), findings.runs_table(plan))
    )
    assert first == again


def test_swap_has_the_matched_distance_on_its_diagonal(plan):
    trained = findings.generators(plan, "first")
    assert list(trained) == ["gaussian", "bernoulli"]
    borrowed = findings.generators(plan, "second")
    assert {name: config.arm for name, (_, config) in borrowed.items()} == {
        "gaussian": "standardised",
        "poisson": "raw",
    }
    assert findings.generators(plan, "third") == {}
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
    others = (*findings.METRICS, "images_seen", "best_score", "last_score")
    return rows.reindex(columns=[*rows, *(name for name in others if name not in rows)])


STANDARDISED, RAW, SMALL = "fast-d100-standardised", "fast-d100-raw", "fast-d8-standardised"


def judged(runs: pd.DataFrame, plan: study.Study) -> pd.Series:
    """What became of each prediction."""
    return findings.judged(runs, findings.summary(runs, plan)).set_index("prediction")["held"]


def scattered(
    spread: float, names: tuple[str, ...] = ("gaussian", NULL, "uniform", "poisson")
) -> dict[str, list[float]]:
    """Five seeds a prior about 100, each the same in every call."""
    noise = np.random.default_rng(0).normal(0, spread, (len(names), 5))
    return {name: list(100 + row) for name, row in zip(names, noise, strict=True)}


@pytest.mark.parametrize(
    ("spread", "shift", "ties"), [(1, 0, "yes"), (1, 50, "no"), (40, 0, "undecided"), (40, 20, "undecided")]
)
def test_a_tie_is_found_only_where_the_intervals_are_short(plan, spread, shift, ties):
    values = scattered(spread)
    values["poisson"] = [value + shift for value in values["poisson"]]
    for cell, name in (
        (STANDARDISED, "near-ties at d = 100"),
        ("conv-noise-d100-raw", "so it does in the source's networks"),
    ):
        held = judged(frame(cell, values), plan)
        assert held[name] == ties
        assert held["duplicates at d = 8"] == held["effects at d = 8"] == "open"
    contrary = {"yes": "no", "no": "yes", "undecided": "undecided"}[ties]
    assert judged(frame(SMALL, values), plan)["effects at d = 8"] == contrary


@pytest.mark.parametrize(("factor", "spread", "held"), [(1, 1, "yes"), (2, 1, "no"), (1, 25, "undecided")])
def test_raw_is_absorbed_where_its_ratio_to_standardised_is_known_to_be_near_one(plan, factor, spread, held):
    names = ("gaussian", "uniform", "poisson")
    few = pd.concat([frame(STANDARDISED, scattered(1, names)), frame(RAW, {"poisson": [100], "uniform": [100]})])
    assert judged(few, plan)["the stem absorbs the raw mean"] == "open"  # two priors, but of neither two pairs
    raw = {
        name: [factor * value for value in values[:3]]
        for name, values in scattered(spread, names[-1:] + names[:-1]).items()
    }
    runs = pd.concat([frame(STANDARDISED, scattered(1, names)), frame(RAW, {p: raw[p] for p in names[1:]})])
    assert judged(runs, plan)["the stem absorbs the raw mean"] == held
    numbers = findings.judged(runs, findings.summary(runs, plan)).set_index("prediction")["numbers"]
    assert f"poisson {factor}.0" in numbers["the stem absorbs the raw mean"] or held == "undecided"


@pytest.mark.parametrize(("shift", "held"), [(0.3, "yes"), (-0.3, "no"), (0.0, "no")])
def test_better_is_a_difference_in_the_right_direction(plan, shift, held):
    values = {name: list(np.array(row[:3]) / 200) for name, row in scattered(1, ("gaussian", "bernoulli")).items()}
    values["bernoulli"] = [value + shift for value in values["bernoulli"]]
    assert judged(frame(SMALL, values, "precision_train"), plan)["gaps between modes"] == held
    assert judged(frame(SMALL, scattered(60, ("gaussian", "bernoulli")), "precision_train"), plan)[
        "gaps between modes"
    ] == ("undecided")


def test_duplicates_are_those_of_the_discrete_prior_alone(plan):
    for cell, prior, name in (
        (SMALL, "bernoulli", "duplicates at d = 8"),
        ("fast-d100-extended", "one_hot", "duplicates of one_hot"),
    ):
        runs = frame(cell, {prior: [0.98, 0.98], "gaussian": [0.0, 0.0], "poisson": [0.4, 0.4]}, "duplicate_rate_train")
        held = findings.judged(runs, findings.summary(runs, plan)).set_index("prediction")["held"]
        assert held[name] == "yes"
        for place, rate in ((0, 0.5), (2, 0.2)):
            changed = runs.copy()
            changed.loc[place, "duplicate_rate_train"] = rate
            assert findings.judged(changed, findings.summary(runs, plan)).set_index("prediction")["held"][name] == "no"


def test_a_raw_mean_is_a_fixed_pattern_behind_a_transposed_stem_only():
    shares = findings.stem_shares(d=50, n=500)
    assert list(shares.index) == list(findings.priors.CORE)
    assert shares["dense"].min() > 0.999
    assert shares.loc[["gaussian", "uniform", "laplacian", "multiplicative"], "transposed"].min() > 0.99
    by_hand = 1 / (1 + 15 / 16)  # 16 places: their mean takes a sixteenth of the pattern
    assert shares.loc[["poisson", "exponential", "bernoulli"], "transposed"].to_numpy() == pytest.approx(
        by_hand, abs=0.04
    )


def test_half_way_only_the_matched_path_keeps_every_prior(plan):
    far = findings.path_departures(n=100)
    assert far["matched"].max() < 0.02 < 0.03 < far["lerp"].min()
    assert far.loc["gaussian", "slerp"] < 0.02 < 0.03 < far["slerp"].drop("gaussian").min()
    held = findings.judged(frame("first", scattered(1)), findings.summary(frame("first", scattered(1)), plan))
    assert held.set_index("prediction").loc["paths", "held"] == "yes"


def test_what_differs_by_less_than_the_null_lets_find_is_said_to(plan):
    values = scattered(20, ("gaussian", NULL))  # a noisy null beside a small difference that hardly spreads
    values["poisson"] = [value + shift for value, shift in zip(values["gaussian"], (9, 10, 11, 10, 10), strict=True)]
    runs = frame(STANDARDISED, values)
    found = findings.summary(runs, plan)
    assert found.set_index(["metric", "prior"]).loc[("fd_train", "poisson"), "verdict"].startswith("higher, yet below")
    said = answer(runs, plan)
    assert "In Frechet distance these differ from Gaussian" in said and "poisson +10% (+9% to +11%)" in said
    assert (
        "Less than one test finds four times in five, by the null's spread: poisson." in said
        and "Of the others" not in said
    )
    assert judged(runs, plan)["near-ties at d = 100"] == "yes"  # within the margin of what is called as good


def test_the_answer_without_pairs_is_that_of_dunnett(plan):
    values = scattered(10)
    runs = frame(STANDARDISED, values)
    rows = findings.unpaired(runs, plan).query("prior != @NULL")
    said = answer(runs, plan)
    assert (
        f"Frechet distance of all within {rows['low'].min():.2f} to {rows['high'].max():.2f} times Gaussian's" in said
    )
    values["poisson"] = [3 * value for value in values["poisson"]]
    runs = frame(STANDARDISED, values)
    said = answer(runs, plan)
    words = r"Frechet distance of poisson [23]\.\d\d \(\d\.\d\d to \d\.\d\d\), of the others within 0\.\d\d to 1\.\d\d "
    assert re.search(words, said)


def test_the_brief_answer_has_a_clause_a_cell(plan):
    values = scattered(1)
    high = values | {"poisson": [value + 50 for value in values["poisson"]]}
    runs = pd.concat([frame(SMALL, values), frame(STANDARDISED, high)], ignore_index=True)
    one, other = brief(runs, plan)
    assert re.fullmatch(
        r"`fast-d8-standardised`: none differs \(smallest Holm-adjusted p .*\), distances within "
        r"0\.9\d to 1\.0\d times Gaussian's", one
    )  # fmt: skip
    assert other.startswith("`fast-d100-standardised`: poisson in Frechet distance differs")
    assert re.search(r", without pairs poisson in Frechet distance \(p \S+\), the other distances within 0\.9", other)
    assert brief(runs.assign(status="left"), plan) == []


def test_without_pairs_a_cell_is_held_against_all_gaussians_of_its_lender(plan):
    lender = frame("first", {"gaussian": [100, 110, 120, 130, 140], NULL: [101, 112, 119, 130, 141]})
    runs = pd.concat([lender, frame("second", {"poisson": [100, 130]})], ignore_index=True)
    row = findings.unpaired(runs, plan).set_index(["cell", "prior"]).loc[("second", "poisson")]
    assert (row["n"], row["n_reference"]) == (2, 5)
    assert row["effect"] == pytest.approx(np.sqrt(13000) / np.prod([100, 110, 120, 130, 140]) ** 0.2)


def test_recall_is_not_told_where_most_images_are_copies(plan, monkeypatch):
    found = Run(plan.runs[0].path).metrics
    for row in found["evaluation"]:
        if row["metric"].startswith("duplicate_rate"):
            row["value"] = 0.6
    monkeypatch.setattr(Run, "metrics", found)
    row = findings._row(plan.runs[0])
    assert np.isnan(row["recall_train"]) and np.isnan(row["recall_test"]) and row["precision_train"] >= 0
    runs = frame(SMALL, {"gaussian": [0.0, 0.0], "bernoulli": [0.95, 0.96]}, "duplicate_rate_train")
    assert "Recall is not told of bernoulli" in answer(runs, plan)


def test_a_borrowed_gaussian_is_told_of_with_what_its_seeds_do_by_chance(plan):
    lender = {"gaussian": [100, 100, 400], NULL: [150, 150, 400], "uniform": [120, 120, 400]}
    runs = pd.concat([frame("first", lender), frame("second", {"poisson": [130, 130]})], ignore_index=True)
    said = answer(runs, plan)
    assert "are those of `first` with seeds 0, 1, whose mean is 100 (200 over all seeds there)" in said
    assert "lie +20% to +50% from it" in said


def test_the_answer_says_whether_the_class_is_drawn_at_all(plan):
    runs = findings.runs_table(plan)
    share = runs.loc[(runs["cell"] == "first") & (runs["prior"] == "gaussian"), "target_agreement_test"].mean()
    said = answer(runs, plan).split("\n\n")[0]
    assert ("A classifier takes" in said) == (not np.isnan(share))
    kept = study.read("noise-study", COMMITTED)
    runs, floors = findings.runs_table(kept), findings.floor_values(findings.floors(kept))
    first = runs["cell"] == kept.runs[0].cell
    share = runs.loc[first & (runs["prior"] == "gaussian"), "target_agreement_test"].mean()
    real = floors["target_agreement_test"]
    words = f"A classifier takes {share:.0%} of Gaussian's samples for their class, of real images {real:.0%}."
    assert words in answer(runs[first], kept)


def test_the_answer_says_what_the_runs_are_and_that_they_were_still_improving(plan):
    runs = findings.runs_table(plan)
    for share, words in ((1, ", so this speaks of early training."), (0.5, "."), (0, ".")):
        here = runs[(runs["cell"] == "first") & (runs["status"] == "done")].copy()
        here["best_score"] = here["last_score"] - (np.arange(len(here)) >= share * len(here))
        (said,) = findings._setting(here, plan, "first")
        images = f"{here['images_seen'].iloc[0]:,.0f} images a run"
        start = f"Preset `conv-noise` on all classes, 16 standardised latents, {images}; {share * len(here):.0f} scored"
        assert said == f"{start} best at their end{words}"


def test_the_other_metrics_are_told_of_in_one_sentence():
    values = scattered(1)
    alike, apart = (frame("a", values, "coverage_train"), frame("a", values, "precision_train"))
    for shift, words in (
        (0, "In the other 2 metrics no difference was found (smallest"),
        (50, "these differ: poisson in prec"),
    ):
        apart.loc[apart["prior"] == "poisson", "precision_train"] += shift
        runs = alike.assign(precision_train=apart["precision_train"], fd_train=1.0)
        found = statistics.compare(runs, ["fd_train", "coverage_train", "precision_train"])
        (said,) = findings._others(found, "a")
        assert words in said


def test_what_judges_is_named_with_its_counts(plan):
    floors = findings.floors(plan)
    row = floors.set_index("metric").loc["recall_train"]
    said = findings.judged_by(floors)
    assert f"recall by {row['generated']:,} against {row['reference']:,}" in said and "`cifar_resnet`" in said
    assert findings.judged_by(floors.iloc[:0]) == ""


def test_the_swap_is_told_in_a_sentence():
    table = pd.DataFrame([[10.0, 12.0], [9.0, 10.0]], ["gaussian", "uniform"], ["gaussian", "uniform"])
    assert "moves by 20% of its own at the most, and in 1 of 2 rows" in findings.swap_sentence(table)
    assert "Fewer than two" in findings.swap_sentence(table.iloc[:1, :1])


def test_pairing_is_judged_by_how_alike_the_seeds_rank(plan):
    runs = frame("first", {"gaussian": [1.0, 2, 3], "uniform": [2.0, 4, 6], "poisson": [3.0, 2, 1]})
    assert "from -1.00 (poisson) to +1.00 (uniform), +0.00 in the mean" in findings.pairing_sentence(runs, "first")
    assert findings.pairing_sentence(runs[runs["seed"] < 2], "first") == ""


def test_the_answer_names_what_differs_in_every_cell_and_the_run_that_stands_out(plan):
    values = scattered(1)
    values["poisson"] = [value + 50 for value in values["poisson"]]
    far = {**scattered(1, ("gaussian", NULL, "poisson")), "uniform": [100, 101, 99, 98, 300]}
    runs = pd.concat([frame(STANDARDISED, values), frame(SMALL, far)], ignore_index=True)
    one, other = answer(runs, plan).split("\n\n")
    assert one.startswith("**`fast-d100-standardised`**, 20 of 20 runs")
    assert "In Frechet distance these differ from Gaussian" in one and "poisson +50%" in one
    assert "Too few pairs yet to say anything of recall" in one and "stands out" not in one
    assert "No difference from Gaussian was found in Frechet distance" in other
    assert "One run stands out: uniform, seed 4, at 300, 3.0 times its prior's median. With it the priors lie" in other
    assert "On logarithms" in other
    with_it, without_it = re.findall(r"([+-]\d+)% \(Gaussian with other latents [+-]\d%\)", other)
    assert int(with_it) == 40 and abs(int(without_it)) <= 1


def test_a_borrowed_gaussian_comes_without_its_null_which_is_taken_whole(plan):
    lender, borrower = scattered(1), {"poisson": scattered(1)["poisson"][:3]}
    runs = pd.concat([frame("first", lender), frame("second", borrower)], ignore_index=True)
    found = findings.summary(runs, plan).set_index(["cell", "prior", "metric"])
    row = found.loc[("second", "poisson", "fd_train")]
    spread = np.std(np.subtract(lender[NULL], lender["gaussian"]), ddof=1)
    assert (row["n"], row["null_cell"]) == (3, "first")
    assert row["smallest_detectable"] == pytest.approx(statistics._detectable_effect(3) * spread)
    assert ("second", NULL, "fd_train") not in found.index


@pytest.mark.slow
def test_the_notebooks_tell_of_every_cell(plan):
    words = {"study": str(plan.root.parent / "plan.yaml"), "out": str(plan.root)}
    pages = {}
    for name in ("noise_study", "noise_study_cells", "noise_study_pictures"):
        path = execute(name, plan.root / f"{name}.ipynb", words, quiet=True)
        assert problems(path, executed=True) == []
        pages[name] = nbformat.writes(nbformat.read(path, as_version=4))
    runs = findings.runs_table(plan)
    paragraphs = answer(runs, plan).split("\n\n")
    assert all(paragraph in pages["noise_study"] for paragraph in paragraphs)
    assert pd.read_csv(plan.root / "runs.csv")["status"].tolist() == runs["status"].tolist()
    figures = {path.stem for path in (plan.root / "figures").iterdir()}
    assert {"forest_cells", "arms", "swap", "duplicates", "forest_second", "learning_curves_second"} <= figures
    assert {"grids_second", "forest_first", "forest_third"} & figures == {"grids_second"}


def test_the_committed_tables_are_those_of_the_committed_runs(tmp_path):
    """To the byte on the machine that made them; another's last digit may differ."""
    plan = study.read("noise-study", COMMITTED)
    runs = findings.runs_table(plan)
    every = findings.finished(runs, plan)
    tables = {
        "runs": runs,
        "summary": findings.summary(runs, plan),
        "floors": findings.floors(plan),
        "dunnett": findings.unpaired(runs, plan),
        "friedman": statistics.friedman(every, [name for name in findings.METRICS if name in every]),
        "rates": statistics.rates(runs[runs["status"].isin(["done", "failed"])]),
    }
    for name, table in tables.items():
        table.to_csv(tmp_path / "again.csv", index=False)
        again, kept = (pd.read_csv(path) for path in (tmp_path / "again.csv", COMMITTED / f"{name}.csv"))
        rounding = 1e-3 if name == "dunnett" else 1e-9  # its interval is sought step by step through an integral
        pd.testing.assert_frame_equal(again, kept, rtol=rounding, obj=name)


def test_the_readme_says_what_the_tables_say():
    plan = study.read("noise-study", COMMITTED)
    runs = findings.runs_table(plan)
    found, cell = findings.summary(runs, plan).query("prior != @NULL"), plan.runs[0].cell
    together = findings.unpaired(runs, plan).query("prior != @NULL")
    headline = found[found["metric"].isin(findings.HEADLINE)]
    one_hot, lead = (
        ("fast-d100-extended", "one_hot", "fd_train"), ("fast-d8-standardised", "multiplicative", "recall_train")
    )  # fmt: skip
    names = ["cell", "prior", "metric"]
    assert set(headline.loc[headline["p_holm"] < statistics.ALPHA, names].itertuples(index=False, name=None)) == {
        one_hot
    }
    assert set(together.loc[together["p"] < statistics.ALPHA, names].itertuples(index=False, name=None)) == {
        one_hot,
        lead,
    }
    others = together[(together["p"] >= statistics.ALPHA) & (together["metric"] == "fd_train")].groupby("cell")
    reach = {cell: f"{rows['low'].min():.2f} to {rows['high'].max():.2f} times" for cell, rows in others}
    together = together.set_index(names)
    again = together.loc[("fast-d8-new-seeds", *lead[1:])]
    distances = runs.query("cell == @cell and prior == 'gaussian'")["fd_train"]
    answers = answer(runs, plan).split("\n\n")
    alone = re.search(r"gaussian, seed (\d).* without it ([+-]\d+)% to ([+-]\d+)% \(.* ([+-]\d+)%\)\. On", answers[0])
    recognised = re.search(r"takes (\d+)% of Gaussian's samples", answers[1])
    said = " ".join((ROOT / "README.md").read_text().split())
    for words in (
        "`one_hot`**, which has no more latents than coordinates, and {:.1f} times Gaussian's Frechet distance "
        "({:.1f} to {:.1f})".format(*together.loc[one_hot, ["effect", "low", "high"]]),
        f"smallest Holm-adjusted p: {headline.loc[headline['cell'] == cell, 'p_holm'].min():.1f}; Dunnett's test "
        f"without pairs: {together.loc[cell, 'p'].min():.2f}",
        f"not six more ({reach['fast-d100-extended']})",
        f"not raw latents ({reach['fast-d100-raw']})",
        f"own networks ({reach['conv-noise-d100-raw']})",
        "higher recall of multiplicative latents ({:+.2f}, p {:.2g} without pairs)".format(
            *together.loc[lead, ["effect", "p"]]
        ),
        f"was gone with five new seeds ({again['effect']:+.2f}, p {again['p']:.2g})",
        f"Gaussian's distance between {distances.min():.0f} and {distances.max():.0f}",
        f"{reach[cell].replace(' to ', ' or above ')} Gaussian's",
        "without Gaussian's seed {} they lie {} to {} % from it, Gaussian with other latents {} %".format(
            *alone.groups()
        ),
        f"classifier takes {recognised[1]} % for cars",
        f"All {len(runs)} runs are in",
    ):
        assert words in said
    assert (runs["status"] == "done").all()
