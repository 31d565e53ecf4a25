"""The statistics against numbers done by hand, against SciPy called directly, and against simulated studies."""

import math
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from ganlab.errors import GanlabError
from ganlab.study import statistics
from ganlab.study.statistics import StatsError, compare, friedman, paired_differences, rates

pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")  # of what ran before in this process


def study(cell: str = "fast", metric: str = "fd", **values: list[float]) -> pd.DataFrame:
    """One run for each prior and value, with seeds 0, 1, ...; ``gaussian_null`` stands for gaussian-null."""
    rows = [
        {"cell": cell, "prior": prior.replace("_", "-"), "seed": seed, metric: value}
        for prior, column in values.items()
        for seed, value in enumerate(column)
    ]
    return pd.DataFrame(rows)


def noisy(seeds: int = 5, cell: str = "fast", seed: int = 0) -> pd.DataFrame:
    """Runs of four priors and the null: seeds scatter by 10, priors within a seed by 1, poisson lies 3 higher."""
    rng = np.random.default_rng(seed)
    common = rng.normal(50, 10, seeds)
    shifts = {"gaussian": 0, "gaussian_null": 0, "uniform": 0, "poisson": 3, "one_hot": 1}
    return study(cell, **{prior: common + shift + rng.normal(0, 1, seeds) for prior, shift in shifts.items()})


def row(table: pd.DataFrame, prior: str, **words: str) -> pd.Series:
    for column, word in {"prior": prior, **words}.items():
        table = table[table[column] == word]
    assert len(table) == 1
    return table.iloc[0]


# Against hand calculation and SciPy


def test_comparison_equals_the_hand_calculation():
    found = row(compare(study(gaussian=[10, 20, 30, 40], uniform=[12, 21, 33, 42]), ["fd"]), "uniform")
    # differences 2 1 3 2: mean 2, standard deviation sqrt(2/3), standard error sqrt(1/6), 3 degrees of freedom
    assert (found["n"], found["mean"], found["reference_mean"], found["difference"]) == (4, 27, 25, 2)
    angle = math.atan(2 / math.sqrt(1 / 6) / math.sqrt(3))
    assert found["p"] == pytest.approx(1 - 2 / math.pi * (angle + math.sin(angle) * math.cos(angle)))
    assert found["p_holm"] == found["p"]
    assert (found["t_low"], found["t_high"]) == pytest.approx((2 - 1.299228, 2 + 1.299228), abs=1e-6)
    correction = math.gamma(1.5) / (math.sqrt(1.5) * math.gamma(1))
    assert found["hedges_g"] == pytest.approx(correction * 2 / math.sqrt(2 / 3))
    assert found["verdict"] == "higher"
    assert math.isnan(found["smallest_detectable"]) and found["null_cell"] == ""


def test_bca_interval_is_that_of_scipy():
    runs = noisy()
    found = row(compare(runs, ["fd"]), "uniform")
    wide = runs.pivot(index="seed", columns="prior", values="fd")
    differences = (wide["uniform"] - wide["gaussian"]).to_numpy()
    direct = scipy.stats.bootstrap((differences,), np.mean, n_resamples=9999, method="BCa", rng=statistics.SEED)
    assert (found["ci_low"], found["ci_high"]) == tuple(direct.confidence_interval)
    percentile = scipy.stats.bootstrap(
        (differences,), np.mean, n_resamples=9999, method="percentile", rng=statistics.SEED
    )
    assert (found["ci_low"], found["ci_high"]) != tuple(percentile.confidence_interval)


def test_holm_equals_the_hand_calculation_and_leaves_out_the_null_and_the_untested():
    runs = noisy()
    runs.loc[(runs["prior"] == "one-hot") & (runs["seed"] > 0), "fd"] = np.nan
    runs = pd.concat([runs, study(laplacian=list(noisy(seed=7)["fd"][:5]))])
    found = compare(runs, ["fd"]).set_index("prior")
    assert np.isfinite(found.loc["gaussian-null", "p"])
    assert found.loc[["gaussian-null", "one-hot"], "p_holm"].isna().all()
    smallest, middle, largest = found.loc[["uniform", "poisson", "laplacian"], "p"].sort_values().items()
    by_hand = [3 * smallest[1], max(3 * smallest[1], 2 * middle[1])]
    by_hand.append(max(by_hand[1], largest[1]))
    names = [smallest[0], middle[0], largest[0]]
    assert found.loc[names, "p_holm"].tolist() == pytest.approx([min(1, p) for p in by_hand])


def test_holm_counts_each_cell_and_metric_by_itself():
    one = noisy()
    both = pd.concat([one, noisy(cell="slow", seed=3)]).assign(kid=lambda runs: runs["fd"] ** 2)
    alone = compare(one, ["fd"])
    pd.testing.assert_frame_equal(compare(both, ["kid", "fd"]).query("cell == 'fast' and metric == 'fd'")
                                  .reset_index(drop=True), alone)  # fmt: skip


def test_dunnett_is_the_textbook_s_example():
    """Blood counts of Dunnett (1955), also SciPy's example: a control of 6 animals, drugs of 4 and 5."""
    runs = study(
        gaussian=[7.40, 8.50, 7.20, 8.24, 9.84, 8.32], uniform=[9.76, 8.80, 7.68, 9.36],
        poisson=[12.80, 9.68, 12.16, 9.20, 10.55],
    )  # fmt: skip
    found = statistics.dunnett(runs, ["fd"])
    uniform, poisson = row(found, "uniform"), row(found, "poisson")
    assert (uniform["n"], poisson["n"], uniform["n_reference"]) == (4, 5, 6)
    assert (uniform["effect"], poisson["effect"]) == pytest.approx((0.65, 2.63), abs=0.005)
    assert (uniform["low"], poisson["low"]) == pytest.approx((-1.24, 0.85), abs=0.05)
    assert uniform["p"] > 0.05 > 0.01 > poisson["p"]


def test_dunnett_of_ratios_is_that_of_logarithms_and_does_not_pair():
    runs = noisy()
    plain = statistics.dunnett(runs.assign(fd=np.log(runs["fd"])), ["fd"])
    ratios = statistics.dunnett(runs.sample(frac=1, random_state=0), ["fd"], ratios=["fd"])
    assert set(ratios["prior"]) == {"uniform", "poisson", "one-hot", "gaussian-null"}
    assert (set(plain["scale"]), set(ratios["scale"])) == ({"difference"}, {"ratio"})
    ends = ["effect", "low", "high"]
    assert np.exp(plain[ends].to_numpy()) == pytest.approx(ratios[ends].to_numpy())
    assert (plain["p"].to_numpy() == ratios["p"].to_numpy()).all()
    swapped = runs.copy()  # seeds change partners: nothing to a test that does not pair
    gaussian = swapped["prior"] == "gaussian"
    swapped.loc[gaussian, "fd"] = swapped.loc[gaussian, "fd"].to_numpy()[::-1]
    again = statistics.dunnett(swapped, ["fd"], ratios=["fd"])
    assert again[ends].to_numpy() == pytest.approx(ratios[ends].to_numpy())


def test_dunnett_without_a_spread_or_a_gaussian_value_says_nothing():
    flat = statistics.dunnett(study(gaussian=[1.0, 1.0], uniform=[2.0, 2.0]), ["fd"])
    assert flat["effect"].tolist() == [1.0] and flat[["low", "high", "p"]].isna().all(axis=None)
    assert statistics.dunnett(study(gaussian=[np.nan], uniform=[2.0]), ["fd"]).empty
    some = statistics.dunnett(
        study(gaussian=[1.0, 1.1], uniform=[2.0, 2.0], poisson=[1.5]), ["fd"]
    )  # without a warning
    assert some.set_index("prior").loc[["uniform", "poisson"], "n"].tolist() == [2, 1] and some["p"].notna().all()


def test_friedman_equals_scipy_and_ignores_the_null():
    runs = noisy(6)
    wide = runs.pivot(index="seed", columns="prior", values="fd").drop(columns="gaussian-null")
    direct = scipy.stats.friedmanchisquare(*(wide[prior] for prior in wide))
    found = friedman(runs, ["fd"]).iloc[0]
    assert (found["n"], found["k"], found["statistic"], found["p"]) == (6, 4, direct.statistic, direct.pvalue)


def test_friedman_of_three_seeds_in_one_order_is_six_and_w_is_one():
    runs = study(gaussian=[1, 2, 3, np.nan], uniform=[2, 3, 4, 5], poisson=[5, 6, 7, 8], broken=[np.nan] * 4)
    found = friedman(runs, ["fd"]).iloc[0]
    assert found["n":].tolist() == pytest.approx([3, 3, 6.0, math.exp(-3), 1.0])


@pytest.mark.parametrize(
    "values",
    [
        {"gaussian": [1, 2, 3], "uniform": [2, 1, 4], "gaussian_null": [3, 3, 1]},
        {"gaussian": [1, np.nan, 3], "uniform": [2, 1, np.nan], "poisson": [4, 5, 6]},
        {"gaussian": [0, 1, 0], "uniform": [0, 1, 0], "poisson": [0, 1, 0]},
    ],
    ids=["two priors", "one complete seed", "all tied"],
)
def test_friedman_without_anything_to_rank_is_nan(values):
    assert friedman(study(**values), ["fd"])[["statistic", "p", "kendalls_w"]].isna().all(axis=None)


def test_rates_are_clopper_pearson():
    runs = pd.DataFrame({"cell": "fast", "prior": ["poisson"] * 5 + ["gaussian"] * 5, "seed": [*range(5)] * 2,
                         "status": ["failed"] * 2 + ["finished"] * 8,
                         "collapsed": [None, None, True, False, False] + [True] * 5})  # fmt: skip
    found = rates(runs)
    failed, collapsed = row(found, "gaussian", outcome="status"), row(found, "gaussian", outcome="collapsed")
    assert failed["n":].tolist() == pytest.approx([5, 0, 0, 0, 1 - 0.025**0.2])  # the closed forms at 0 and n of n
    assert collapsed["n":].tolist() == pytest.approx([5, 5, 1, 0.025**0.2, 1])
    assert row(found, "poisson", outcome="status")["n":"share"].tolist() == [5, 2, 0.4]
    assert row(found, "poisson", outcome="collapsed")["n":"share"].tolist() == pytest.approx([3, 1, 1 / 3])
    z = scipy.stats.norm.ppf(0.975)
    wilson = row(rates(runs, {"status": "failed"}, method="wilson"), "gaussian")
    assert wilson["ci_high"] == pytest.approx(z**2 / (5 + z**2))


def test_rates_without_a_known_outcome_are_nan():
    runs = study(gaussian=[1, 2]).assign(collapsed=[None, None])
    found = rates(runs, {"collapsed": True}).iloc[0]
    assert (found["n"], found["count"]) == (0, 0) and found[["share", "ci_low", "ci_high"]].isna().all()


# Pairs


def test_pairing_takes_the_scatter_between_seeds_out():
    base = np.random.default_rng(0).normal(50, 20, 5)
    shifted = base + 1 + np.array([0.01, -0.01, 0.02, 0, -0.02])
    found = row(compare(study(gaussian=base, uniform=shifted), ["fd"]), "uniform")
    assert 0.97 < found["ci_low"] < 1 < found["ci_high"] < 1.03 and found["p_holm"] < 1e-6
    assert scipy.stats.ttest_ind(base, shifted).pvalue > 0.8
    broken = row(compare(study(gaussian=base, uniform=np.roll(shifted, 1)), ["fd"]), "uniform")
    assert broken["ci_high"] - broken["ci_low"] > 5


def test_failed_runs_drop_out_pair_by_pair():
    runs = study(gaussian=[1, 2, np.nan, 4, 5, 6], uniform=[2, np.nan, 4, 6, np.inf, 7], poisson=[3, 3, 3, 3, 9])
    pairs = paired_differences(runs, ["fd"])
    assert pairs.query("prior == 'uniform'")[["seed", "difference"]].to_numpy().tolist() == [[0, 1], [3, 2], [5, 1]]
    assert pairs.query("prior == 'poisson'")["seed"].tolist() == [0, 1, 3, 4]
    found = compare(runs, ["fd"])
    uniform, poisson = row(found, "uniform"), row(found, "poisson")
    assert (uniform["n"], poisson["n"]) == (3, 4)
    assert (uniform["mean"], uniform["reference_mean"], uniform["difference"]) == pytest.approx((15 / 3, 11 / 3, 4 / 3))


def test_order_of_the_rows_changes_nothing():
    runs = pd.concat([noisy(), noisy(cell="slow", seed=4)]).assign(status="finished")
    mixed = runs.sample(frac=1, random_state=5)
    assert mixed["seed"].tolist() != runs["seed"].tolist()
    for function in (paired_differences, compare, friedman):
        pd.testing.assert_frame_equal(function(runs, ["fd"]), function(mixed, ["fd"]), check_exact=True)
    pd.testing.assert_frame_equal(rates(runs, {"status": "failed"}), rates(mixed, {"status": "failed"}))


def test_two_calls_write_the_same_bytes_and_leave_the_runs_alone():
    runs = noisy()
    before = runs.copy()
    first = compare(runs, ["fd"]).to_csv()
    np.random.default_rng().random(10)
    assert compare(runs, ["fd"]).to_csv() == first
    pd.testing.assert_frame_equal(runs, before)


# What is too little to test


@pytest.mark.parametrize("n", [0, 1, 2])
def test_under_three_pairs_there_is_no_interval(n):
    values = [12.0, 23.0, 31.0][:n] + [math.nan] * (5 - n)
    found = row(compare(study(gaussian=[10, 20, 30, 40, 50], uniform=values), ["fd"]), "uniform")
    assert found["n"] == n and found[["ci_low", "ci_high", "hedges_g", "smallest_detectable"]].isna().all()
    assert math.isnan(found["p"]) == (n < 2)
    assert found["verdict"] == ("no difference found" if n == 2 else "no test")


@pytest.mark.parametrize(
    "shift, verdict",
    [(0, "identical"), (-1, "no test, lower alike in all pairs"), (0.001, "no test, higher alike in all pairs")],
)
def test_equal_differences_give_a_point_and_no_p(shift, verdict):
    base = np.array([731.3, 86.1, 9.7, 1042.2, 119.9])  # adding 0.001 is rounded differently for each
    found = row(compare(study(gaussian=base, uniform=base + shift), ["fd"]), "uniform")
    assert found["ci_low"] == found["ci_high"] == found["difference"] == pytest.approx(shift)
    assert found[["p", "p_holm", "hedges_g", "t_low"]].isna().all() and found["verdict"] == verdict


def test_no_runs_and_no_other_priors_give_empty_tables():
    for runs in (study(gaussian=[1, 2, 3]), study(gaussian=[1]).iloc[:0]):
        assert compare(runs, ["fd"]).empty and list(compare(runs, ["fd"])) == list(statistics.COMPARISON)
        assert list(paired_differences(runs, ["fd"])) == list(statistics.DIFFERENCES)
        assert list(rates(runs.assign(status=""), {"status": "failed"})) == list(statistics.RATES)


# What the study can and cannot tell


def test_smallest_detectable_difference_is_found_four_times_in_five(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    rng = np.random.default_rng(2)
    runs = study(gaussian=rng.normal(size=4000), gaussian_null=rng.normal(size=4000), uniform=rng.normal(size=5))
    smallest = row(compare(runs, ["fd"]), "uniform")["smallest_detectable"]
    gaussian, prior = rng.normal(size=(2, 20_000, 5))
    found = scipy.stats.ttest_rel(prior + smallest, gaussian, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)  # the null's standard deviation is known to 1.1 %


def test_without_an_effect_one_test_in_twenty_rejects_and_holm_one_study_in_twenty(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 20)
    studies, seeds, priors = 120, 5, ["gaussian", "uniform", "poisson", "bernoulli"]
    rng = np.random.default_rng(3)
    metrics = [f"metric {i}" for i in range(studies)]  # each a study of its own
    keys = [("fast", prior, seed) for prior in priors for seed in range(seeds)]
    common = np.tile(rng.normal(50, 10, (seeds, studies)), (len(priors), 1))
    values = pd.DataFrame(common + rng.normal(size=common.shape), columns=metrics)
    found = compare(pd.concat([pd.DataFrame(keys, columns=["cell", "prior", "seed"]), values], axis=1), metrics)
    assert len(found) == 3 * studies
    assert (found["p"] < 0.05).mean() == pytest.approx(0.05, abs=0.02)
    wrong = found.groupby("metric")["verdict"].agg(lambda verdicts: verdicts.str.startswith(("higher", "lower")).any())
    assert 0 < wrong.mean() < 0.08


def test_what_is_detectable_by_a_prior_s_own_spread_is_for_the_null_what_the_table_has():
    found = compare(noisy(), ["fd"])
    own = statistics.detectable(found)
    null = found["prior"] == "gaussian-null"
    assert own[null].iloc[0] == pytest.approx(found.loc[null, "smallest_detectable"].iloc[0])
    assert own[~null].gt(0).all() and own.nunique() == len(own)


def test_smallest_detectable_comes_from_the_null_of_the_cell_or_a_borrowed_one():
    own, other = noisy(), noisy(cell="slow", seed=9)
    without = other[other["prior"] != "gaussian-null"]
    both = pd.concat([own, without])
    assert row(compare(both, ["fd"]), "uniform", cell="slow")[["smallest_detectable"]].isna().all()
    found = compare(both, ["fd"], nulls={"slow": "fast"})
    borrowed, mine = (row(found, "uniform", cell=cell) for cell in ("slow", "fast"))
    assert borrowed["smallest_detectable"] == mine["smallest_detectable"] and borrowed["null_cell"] == "fast"
    differences = paired_differences(own, ["fd"]).query("prior == 'gaussian-null'")["difference"]
    assert mine["smallest_detectable"] == pytest.approx(1.6820 * differences.std(), rel=1e-4)  # noncentral t, n = 5
    kept = compare(pd.concat([own, other]), ["fd"], nulls={"slow": "fast"})
    assert row(kept, "uniform", cell="slow")["null_cell"] == "slow"


def test_a_null_of_two_pairs_is_none():
    runs = noisy()
    runs = runs[(runs["prior"] != "gaussian-null") | (runs["seed"] < 2)]
    assert compare(runs, ["fd"])["smallest_detectable"].isna().all()


@pytest.mark.parametrize(
    "differences, null, verdict",
    [
        ([2.0, 2.1, 1.9, 2.05, 1.95], [0.1, -0.1, 0.2, -0.2, 0], "higher"),
        ([-2.0, -2.1, -1.9, -2.05, -1.95], [0.1, -0.1, 0.2, -0.2, 0], "lower"),
        ([2.0, 2.1, 1.9, 2.05, 1.95], [3, -3, 5, -5, 0], "higher, yet below the smallest detectable"),
        ([0.3, -0.3, 0.2, -0.1, 0], [1, -1, 2, -2, 0], "no difference found"),
        ([9, -5, 8, -4, 2], [0.1, -0.1, 0.2, -0.2, 0], "no difference found, yet above the smallest detectable"),
    ],
)
def test_verdict_weighs_the_test_against_the_null(differences, null, verdict):
    base = np.array([50.0, 60, 40, 55, 45])
    found = compare(study(gaussian=base, uniform=base + differences, gaussian_null=base + null), ["fd"])
    assert row(found, "uniform")["verdict"] == verdict and row(found, "gaussian-null")["verdict"] == "the null"


# Errors


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: compare(noisy(), ["fd", "kid"]), "no column kid: they have cell, prior, seed, fd"),
        (lambda: friedman(noisy().drop(columns="seed"), ["fd"]), "no column seed"),
        (lambda: rates(noisy()), "no column status, collapsed"),
        (lambda: compare(study(uniform=[1, 2]), ["fd"]), "no gaussian runs in cell fast"),
        (lambda: compare(pd.concat([noisy(), study(cell="slow", uniform=[1])]), ["fd"]), "in cell slow:"),
        (lambda: paired_differences(pd.concat([noisy(), noisy()[6:7]]), ["fd"]),
         "cell fast holds prior gaussian-null with seed 1 more than once"),
        (lambda: rates(pd.concat([noisy(), noisy()[:1]]), {"fd": 0}), "more than once"),
        (lambda: compare(noisy().assign(cell=None), ["fd"]), "no cell, prior or seed"),
        (lambda: compare(noisy(), ["fd"], nulls={"fast": "slow"}), "nulls name slow: the cells are fast"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_compared_are_answered_in_a_sentence(call, message):
    with pytest.raises(StatsError, match=re.escape(message)) as caught:
        call()
    assert isinstance(caught.value, GanlabError)
