"""The study's tables follow from what the runs left, in bytes that never change."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from check_pages import problems
from conftest import TINY

from ganlab import study
from ganlab.errors import ConfigError
from ganlab.notebooks import execute
from ganlab.run import Run
from ganlab.study import mechanism, pages, predictions, statistics, tables
from ganlab.study.plan import StudyError
from ganlab.training.loop import train

SETTINGS = TINY | {"preset": "fast", "limit": 160, "epochs": 4, "eval_every": 1, "eval_samples": 160}
CONDITIONS = [
    {"name": "P", "priors": ["gaussian", "bernoulli"], "seeds": [0], "control_seeds": [0, 1]},
    {"name": "P-d4", "priors": ["gaussian", "bernoulli"], "seeds": [0], "settings": {"latent_dim": 4}},
]
PREDICTIONS = [
    {"statement": "equal", "kind": "equivalent", "condition": "P"},
    {"statement": "few", "kind": "latent size", "sizes": [4, 16]},
    {"statement": "copies", "kind": "at least", "condition": "P-d4", "priors": ["bernoulli"], "metric": "duplicates",
     "value": 0.5},
]  # fmt: skip


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A study whose runs are finished but for the last."""
    folder = tmp_path_factory.mktemp("study")
    about = {"settings": SETTINGS, "conditions": CONDITIONS, "predictions": PREDICTIONS, "outcome": {"last_scores": 2},
             "swap": {"conditions": ["P"], "seeds": 1}}  # fmt: skip
    (folder / "plan.yaml").write_text(yaml.safe_dump(about))
    found = study.read(str(folder / "plan.yaml"), folder / "out")
    for planned in found.runs[:-1]:
        list(train(planned.config, Run(planned.path)))
    return found


# --- from runs to rows ----------------------------------------------------------------------------------------------


def test_the_outcome_is_the_mean_log_of_the_last_scores_while_it_trained(plan):
    row = tables.runs_table(plan).iloc[0]
    history = Run(plan.runs[0].path).history
    column = next(name for name in history if name.startswith("fd"))
    assert row["log_fd_cifar_resnet"] == pytest.approx(np.log(history[column].iloc[-2:]).mean())
    assert row["images_seen"] == history["images_seen"].iloc[-1]


def test_every_planned_run_has_a_row_and_a_run_that_is_not_done_no_values(plan):
    runs = tables.runs_table(plan)
    assert len(runs) == len(plan.runs) == 5
    assert runs["status"].tolist() == ["done"] * 4 + ["left"]
    assert runs.iloc[-1][["log_fd_cifar_resnet", "recall", "machine"]].isna().all()
    assert runs.iloc[0]["threads"] >= 1 and runs.iloc[0]["arithmetic"] in ("fp32", "bf16")


def test_recall_says_nothing_where_most_images_are_copies(plan, monkeypatch):
    found = Run(plan.runs[0].path).metrics
    for row in found["evaluation"]:
        if row["metric"] == "duplicate_rate":
            row["value"] = 0.6
    del found["history_sha256"]  # it stands for every run here
    monkeypatch.setattr(Run, "metrics", found)
    assert math.isnan(tables.runs_table(plan).iloc[0]["recall"])


@pytest.mark.parametrize(
    ("gap", "agreement", "steady", "recognised", "taken_off"),
    [
        (0.3, 0.6, True, True, True),
        (0.5, 0.6, False, True, False),
        (0.3, 0.4, True, False, False),
        (0.3, math.nan, True, None, True),
    ],
)
def test_take_off_needs_a_steady_game_and_samples_that_are_recognised(gap, agreement, steady, recognised, taken_off):
    history = pd.DataFrame({"epoch": [1, 2, 3], "d_acc_real": [1.0, 1.0, 0.5 + gap], "d_acc_fake": [0.0, 0.0, 0.5]})
    found = tables._takeoff(history, agreement)
    assert found["accuracy_gap"] == pytest.approx(gap), "the first two epochs do not count"
    assert (found["steady"], found["recognised"], found["taken_off"]) == (steady, recognised, taken_off)


# --- from rows to verdicts ------------------------------------------------------------------------------------------


def runs_of(shift: dict[str, float], n: int = 6, blocks: tuple[str, ...] = ("automobile",)) -> pd.DataFrame:
    """Made-up finished runs of a condition P: log FD 4.5 with SD 0.03, moved by ``shift`` for a prior."""
    stream = np.random.default_rng(0)
    rows = []
    for block in blocks:
        for prior in ("gaussian", "uniform", "poisson"):
            for seed in range(n * (1 + (prior == "gaussian"))):
                value = 4.5 + shift.get(prior, 0.0) + stream.normal(0, 0.03)
                rows.append({
                    "condition": "P", "class": block, "prior": prior, "scaling": "raw", "latent_dim": 100, "seed": seed,
                    "status": "done", "log_fd_a": value, "log_fd_b": value + 1, "recall": 0.4, "coverage": 0.5,
                    "precision": 0.6, "agreement": 0.8, "duplicates": 0.0, "steady": True,
                    "recognised": prior != "poisson", "taken_off": prior != "poisson", "machine": "x", "images_seen": 1,
                    "accuracy_gap": 0.1,
                })  # fmt: skip
    return pd.DataFrame(rows)


def test_a_prior_far_away_is_different_and_one_nearby_equivalent_for_each_judge():
    found = tables.verdicts(runs_of({"uniform": 0.5}), ("a", "b")).set_index(["judge", "prior"])
    for judge in "ab":
        assert found.loc[(judge, "uniform"), "verdict"] == "different"
        assert found.loc[(judge, "poisson"), "verdict"] == "equivalent"
        assert found.loc[(judge, "uniform"), "ratio"] == pytest.approx(math.exp(0.5), rel=0.05)
    assert found["pooled_low"].isna().all(), "one machine did all"
    assert (found["robust_low"] < found["ratio"]).all()


def test_each_machine_has_a_level_of_its_own():
    runs = runs_of({})
    runs["machine"] = np.where(runs["seed"] % 2, "x", "y")
    runs.loc[runs["machine"] == "y", "log_fd_a"] += 1.0
    found = tables.verdicts(runs, ("a",)).set_index("prior")
    assert (found["high"] < 1.1).all() and (found["low"] > 1 / 1.1).all()
    assert (found["pooled_high"] > 1.1).all(), "without it the machine's own level blows the spread up"


def test_what_d_looks_through_does_not_judge(tmp_path):
    """A condition of ``fast`` has verdicts by ImageNet features alone, and the pages say why."""
    about = {"preset": "fast", "classes": ["automobile"], "epochs": 1}
    text = {"judges": ["cifar_resnet", "efficientnet_lite0"], "settings": about,
            "conditions": [{"name": "P", "priors": ["gaussian", "uniform"], "seeds": [0]}]}  # fmt: skip
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(text))
    plan = study.read(str(tmp_path / "plan.yaml"), tmp_path)
    pairs = tables.against(plan)
    assert pairs == {("P", "cifar_resnet")}
    runs = runs_of({}).rename(columns={"log_fd_a": "log_fd_cifar_resnet", "log_fd_b": "log_fd_efficientnet_lite0"})
    found = tables.verdicts(runs, plan.judges, against=pairs)
    assert set(found["judge"]) == {"efficientnet_lite0"}
    assert pages.summary(runs, found, plan)["cifar_resnet"].tolist() == [pages.KIN_WORDS]


def test_a_failed_run_has_not_taken_off():
    runs = runs_of({}).astype({"taken_off": object})
    runs.loc[0, "status"], runs.loc[0, "taken_off"] = "failed", None
    found = tables.takeoff(runs).set_index("prior")
    assert found.loc["gaussian", ["n", "failed", "taken_off"]].tolist() == [12, 1, 11]
    assert found.loc["poisson", "share"] == 0 and found.loc["poisson", "high"] == pytest.approx(0.459, abs=1e-3)


def test_gaussian_split_in_two_is_chance_alone():
    first = SimpleNamespace(name="P", blocks=("automobile",))
    ratios = pages.splits(runs_of({}), SimpleNamespace(judges=("a",), conditions=(first,)))
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.003) and 0.005 < np.log(ratios).std() < 0.03


def test_predictions_have_a_verdict_and_one_number():
    runs = runs_of({"uniform": 0.5})
    found = {"runs": runs, "verdicts": tables.verdicts(runs, ("a",)), "latent_sizes": pd.DataFrame({"judge": []})}
    ask = {
        "equivalent": {"kind": "equivalent", "condition": "P"},
        "poisson equivalent": {"kind": "equivalent", "condition": "P", "priors": ["poisson"]},
        "uniform worse": {"kind": "worse", "condition": "P", "priors": ["uniform"]},
        "poisson different": {"kind": "different", "condition": "P", "priors": ["poisson"]},
        "nowhere": {"kind": "equivalent", "condition": "Q"},
        "copies": {"kind": "at least", "condition": "P", "priors": ["uniform"], "metric": "duplicates", "value": 0.9},
    }

    statements = [{"statement": name, **about} for name, about in ask.items()]
    asked = SimpleNamespace(judges=("a",), margin=1.1, predictions=statements)
    held = predictions.judged(asked, found).set_index("prediction")
    assert held["verdict"].to_dict() == {
        "equivalent": "no", "poisson equivalent": "yes", "uniform worse": "yes", "poisson different": "no",
        "nowhere": "open", "copies": "no",
    }  # fmt: skip
    assert held.loc["uniform worse", "number"].startswith("uniform 1.6")
    shown = pages.predicted(held.reset_index())
    assert shown.set_index("prediction")["a"]["uniform worse"].startswith("yes; uniform 1.6")
    asked.predictions = [{"statement": "a", "kind": "maybe"}]
    with pytest.raises(ConfigError, match="unknown kind of prediction 'maybe'"):
        predictions.judged(asked, found)
    asked.predictions = [{"statement": "a", "kind": "equivalent"}]
    with pytest.raises(StudyError, match="lacks 'condition'"):
        predictions.judged(asked, found)
    asked.predictions = [{"statement": "a", "kind": "latent size", "sizes": 5}]
    with pytest.raises(StudyError, match="cannot be judged"):
        predictions.judged(asked, found)


# --- files ----------------------------------------------------------------------------------------------------------


def test_tables_come_out_byte_identical_from_the_numbers_alone(plan):
    tables.write(plan)
    before = {path.name: path.read_bytes() for path in plan.root.glob("*.csv")}
    assert set(before) == {f"{name}.csv" for name in tables.NAMES}
    kept = [path for planned in plan.runs[:-1] for path in planned.path.glob("*.safetensors")]
    hidden = {path: path.read_bytes() for path in kept}
    for path in kept:
        path.unlink()
    try:
        tables.write(plan)
        assert {path.name: path.read_bytes() for path in plan.root.glob("*.csv")} == before
        assert mechanism.generators(plan, "P") == {}
    finally:
        for path, content in hidden.items():
            path.write_bytes(content)


def test_the_swap_has_every_pair_and_its_diagonal_is_1(plan):
    swap = tables.write(plan)["swap"]
    assert len(swap) == 4
    ratios = mechanism.swap_ratios(swap, "P")
    assert np.allclose(np.diag(ratios), 1) and list(ratios.index) == list(ratios.columns) == ["gaussian", "bernoulli"]
    assert mechanism.swap_ratios(swap, "Q").empty


def test_latent_sizes_compare_gaussian_alone(plan):
    assert tables.family(plan) == ["P", "P-d4"]
    (row,) = tables.latent_sizes(tables.runs_table(plan), plan).to_dict("records")
    assert (row["latent_dim"], row["over"], row["n"]) == (4, 16, 1) and row["ratio"] > 0


def test_a_page_of_a_study_under_way_says_how_far_it_is(plan):
    runs = tables.runs_table(plan)
    assert pages.progress(runs, plan)["runs"].tolist() == ["3 of 3 runs", "1 of 2 runs"]
    found = tables.verdicts(runs, plan.judges)
    assert len(pages.summary(runs, found, plan)) == 2
    assert pages.lines(found, "P").columns.tolist() == ["prior", "n", "cifar_resnet"]
    assert pages.extremes(found, "P", "cifar_resnet")[0] in ("bernoulli", "gaussian")
    assert pages.answer(plan).startswith("Nobody has written")


def test_the_pages_are_fit_to_publish_on_a_study_that_is_not_complete(plan):
    from check_pages import absolute_paths, problems

    from ganlab.study.command import publish

    publish(plan, str(plan.root.parent / "plan.yaml"))
    for name in plan.notebooks:
        path = plan.root / f"{name}.ipynb"
        assert problems(path, executed=True) == []
        assert all(str(plan.root.parent) in found for found in absolute_paths(path))
    assert (plan.root / "figures" / "primary.png").exists()
    assert (plan.runs[0].path / "experiment.ipynb").exists()


# --- before any training --------------------------------------------------------------------------------------------


def test_sums_of_many_coordinates_are_gaussian_and_of_two_are_not():
    table = mechanism.gaussianity((2, 100), n=2000, units=8).set_index("prior")
    assert (table[100] < table.loc["gaussian", 100] + 0.01).all()
    assert table.loc["bernoulli", 2] > 0.2 > table.loc["uniform", 2] > table.loc["gaussian", 2]


def test_behind_a_transposed_stem_a_raw_mean_takes_half_of_the_variance():
    shares = mechanism.stem_shares(n=1000).set_index("prior")["share"]
    assert shares[["poisson", "exponential", "bernoulli"]].between(0.5, 0.56).all()
    assert (shares[["gaussian", "uniform", "laplacian", "multiplicative"]] > 0.99).all()


@pytest.mark.slow
def test_the_first_rounds_page_can_be_made_again(tmp_path):
    for path in (Path(__file__).parent.parent / "results" / "noise-study").glob("*first_round*.csv"):
        shutil.copy(path, tmp_path)
    page = execute("first_round", tmp_path / "first_round.ipynb", {"out": str(tmp_path)}, quiet=True)
    assert problems(page, executed=True) == []
    assert len(list((tmp_path / "figures").glob("first_round_*.png"))) == 4


def test_the_first_rounds_page_rests_on_its_csv():
    root = Path(__file__).parent.parent / "results" / "noise-study"
    runs = pd.read_csv(root / "pilot_first_round.csv")
    assert len(runs) == 139 and not ((runs["prior"] == "rademacher") & (runs["scaling"] == "standardised")).any()
    control = runs[(runs["prior"] == "gaussian") & (runs["condition"] != "conv-noise-d100")]
    few, many = (control.loc[control["latent_dim"] == d, "log_fd_cifar_resnet"].to_numpy() for d in (8, 100))
    ratio, low, high = np.exp(statistics.two_samples(few, many))
    assert (ratio, low, high) == pytest.approx((2.03, 1.42, 2.91), abs=0.005)
    swap = mechanism.swap_ratios(pd.read_csv(root / "first_round_swap.csv"), "fast-d100")
    assert np.abs(np.log(swap)).max().max() < math.log(1.08)
