"""The study's statistics: equal to SciPy's where SciPy has them, true to their promises where it has not."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import dunnett

from ganlab.study import power, statistics
from ganlab.study.statistics import CONTROL

PRIORS = ("uniform", "poisson", "exponential", "laplacian", "bernoulli", "multiplicative")


def frame(n: int, n_control: int, blocks: tuple[str, ...] = ("automobile",), seed: int = 0) -> pd.DataFrame:
    """So many runs of each prior and of the control in each block, their logs normal with SD 0.1."""
    rows = [(block, prior) for block in blocks for prior in PRIORS for _ in range(n)]
    rows += [(block, CONTROL) for block in blocks for _ in range(n_control)]
    logs = np.random.default_rng(seed).normal(4.5, 0.1, len(rows))
    return pd.DataFrame(rows, columns=["class", "prior"]).assign(log=logs, machine="a")


def design_of(runs: pd.DataFrame) -> statistics.Design:
    return statistics.design(runs["prior"].tolist(), runs["class"].tolist())


@pytest.mark.parametrize(("n", "n_control"), [(6, 12), (3, 3), (5, 10)])
def test_without_blocks_the_intervals_are_dunnetts(n, n_control):
    runs = frame(n, n_control)
    found = statistics.contrasts(runs, "log").set_index("prior")
    groups = {prior: rows.to_numpy() for prior, rows in runs.groupby("prior")["log"]}
    control = groups.pop(CONTROL)
    theirs = dunnett(*groups.values(), control=control, rng=np.random.default_rng(0))
    interval = theirs.confidence_interval(0.95)
    ours = found.loc[list(groups)]
    assert np.abs(ours["low"] - interval.low).max() < 1e-3
    assert np.abs(ours["high"] - interval.high).max() < 1e-3
    assert np.allclose(ours["estimate"], [group.mean() - control.mean() for group in groups.values()])


def test_a_blocks_own_level_moves_no_contrast():
    runs = frame(4, 8, ("automobile", "horse", "ship"))
    moved = runs.assign(log=runs["log"] + runs["class"].map({"automobile": 0.0, "horse": 3.0, "ship": -2.0}))
    pd.testing.assert_frame_equal(statistics.contrasts(runs, "log"), statistics.contrasts(moved, "log"))


def test_unequal_groups_and_a_single_prior_have_their_own_critical_value():
    one = statistics.design(["a", "a", CONTROL, CONTROL], [""] * 4)
    assert one.critical == pytest.approx(4.302653, abs=1e-5)  # Student's t of 2 degrees of freedom
    uneven = design_of(frame(6, 12).iloc[3:])
    assert uneven.critical == pytest.approx(2.73, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [("automobile",), ("automobile", "horse", "ship")])
def test_all_intervals_of_a_study_hold_at_once_19_times_in_20(blocks):
    runs = frame(6 if len(blocks) == 1 else 4, 12 if len(blocks) == 1 else 8, blocks)
    found, studies = design_of(runs), 2000
    truth = np.linspace(-0.1, 0.1, len(PRIORS))
    means = runs["prior"].map(dict(zip(PRIORS, truth, strict=True)) | {CONTROL: 0.0}).to_numpy()
    values = means[:, None] + np.random.default_rng(1).normal(0, 0.1, (len(runs), studies))
    estimates, reach = statistics.fit(found, values)
    order = [PRIORS.index(prior) for prior in found.priors]
    held = (np.abs(estimates - truth[order][:, None]) <= reach).all(0).mean()
    assert held == pytest.approx(0.95, abs=0.01)


@pytest.mark.slow
def test_where_no_prior_differs_one_study_in_twenty_says_that_some_does():
    runs = frame(4, 8, ("automobile", "horse", "ship"))
    values = np.random.default_rng(2).normal(0, 0.1, (len(runs), 4000))
    estimates, reach = statistics.fit(design_of(runs), values)
    wrong = (np.abs(estimates) > reach).any(0).mean()
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.slow
@pytest.mark.parametrize("sd", [0.03, 0.055, 0.1])
def test_the_plan_promises_what_simulated_studies_keep(sd):
    found = design_of(frame(6, 12))
    bigger = power.detectable(found, sd)
    values = np.random.default_rng(3).normal(0, sd, (found.matrix.shape[0], 4000))
    estimates, reach = statistics.fit(found, values)
    low, high = estimates - reach, estimates + reach
    margin = math.log(statistics.MARGIN)
    equal = ((low > -margin) & (high < margin) & (low <= 0) & (high >= 0)).mean()
    assert power.chance_equivalent(found, sd) == pytest.approx(equal, abs=0.015)
    assert (low[0] + math.log(bigger) > 0).mean() == pytest.approx(0.8, abs=0.025)
    assert np.mean(reach) == pytest.approx(power.half_width(found, sd), rel=0.02)


def test_the_protocols_half_widths_are_reached():
    p1, p2 = design_of(frame(6, 12)), design_of(frame(4, 8, ("automobile", "horse", "ship")))
    table = power.power_table({"P1": p1, "P2": p2}, (0.055, 0.1)).set_index(["condition", "sd"])
    assert table.loc[("P1", 0.055), "half_width"] == pytest.approx(0.075, abs=0.01)
    assert table.loc[("P2", 0.1), "half_width"] == pytest.approx(0.095, abs=0.01)
    assert (table["detectable"] > 1).all()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.95, 1.05, "equivalent"),
        (0.90, 1.05, "undecided"),
        (1.01, 1.05, "different"),
        (0.5, 0.9, "different"),
        (0.7, 1.4, "undecided"),
        (math.nan, math.nan, "undecided"),
    ],
)
def test_a_verdict_follows_from_the_interval_alone(low, high, said):
    assert statistics.verdict(low, high) == said


def test_ratios_are_contrasts_of_logarithms():
    rows = statistics.contrasts(frame(6, 12), "log")
    ratios = statistics.as_ratios(rows)
    assert np.allclose(np.log(ratios["ratio"]), rows["estimate"])
    assert np.allclose(np.log(ratios["high"] / ratios["ratio"]), rows["high"] - rows["estimate"])


def test_robust_intervals_follow_a_prior_that_spreads_more():
    runs = frame(8, 16, seed=4)
    noise = np.random.default_rng(5).normal(0, 1, 8)
    runs.loc[runs["prior"] == "poisson", "log"] += noise
    found = statistics.contrasts(runs, "log").set_index("prior")
    widths = found["robust_high"] - found["robust_low"]
    assert widths["poisson"] > 3 * widths["uniform"]
    assert np.ptp(found["high"] - found["low"]) < 1e-9


def test_a_machine_that_did_one_prior_alone_cannot_be_told_from_it():
    runs = frame(3, 6)
    runs.loc[runs["prior"] == "uniform", "machine"] = "b"
    assert statistics.contrasts(runs, "log", factor="machine")["low"].isna().all()
    runs["machine"] = ["a", "b", "c"] * (len(runs) // 3)
    assert statistics.contrasts(runs, "log", factor="machine")["low"].notna().all()


def test_too_few_runs_have_an_estimate_and_no_interval():
    runs = frame(1, 1)
    found = statistics.contrasts(runs, "log")
    assert found["estimate"].notna().all() and found["low"].isna().all()
    assert statistics.contrasts(runs[runs["prior"] != CONTROL], "log").empty
    with pytest.raises(statistics.StatsError, match="no gaussian runs here"):
        statistics.design(["uniform"], ["a"])


def test_values_that_are_not_finite_are_left_out_and_counted_so():
    runs = frame(6, 12)
    runs.loc[runs.index[0], "log"] = math.nan
    runs.loc[runs.index[1], "log"] = -math.inf
    assert statistics.contrasts(runs, "log").set_index("prior")["n"].to_dict() == {
        prior: 6 - 2 * (prior == "uniform") for prior in PRIORS
    }


def test_the_pooled_spread_is_that_within_groups():
    runs = pd.DataFrame({"prior": ["a", "a", "b", "b", "b"], "x": [1.0, 3.0, 10.0, 11.0, 12.0]})
    assert statistics.pooled_sd(runs, "x", ["prior"]) == pytest.approx(math.sqrt(4 / 3))
    assert math.isnan(statistics.pooled_sd(runs.iloc[[0, 2]], "x", ["prior"]))


def test_two_samples_have_students_interval():
    difference, low, high = statistics.two_samples(np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.5, 1.0, 2.0]))
    assert difference == pytest.approx(1.083333, abs=1e-6) == (low + high) / 2
    # 2.5706 (t of 5 degrees of freedom) times sqrt(pooled variance 1.183333 times (1/3 + 1/4))
    assert (high - low) / 2 == pytest.approx(2.570582 * math.sqrt(1.183333 * 7 / 12), abs=1e-5)
