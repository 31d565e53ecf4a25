"""Statistics of the noise study: what another prior changes, how sure that is, and what the study could have missed.

Pure functions from frames to frames: never reads files, never draws. ``runs`` has one row a run, columns ``cell`` (runs
that are compared with each other), ``prior``, ``seed`` and metrics (float; NaN or infinite: the run has none). Within a
cell, runs of one seed are a pair: same weights, batches and augmentation, only z differs. Every prior is compared with
``gaussian``; ``gaussian-null`` is gaussian again with other latent draws, and shows what no effect looks like.
The order of the rows and of earlier calls changes nothing, to the byte. Raises ``StatsError`` for runs that lack a
column, a cell, prior or seed, that hold one seed of a prior twice, or that have no gaussian to compare with.
"""

import gc
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaln
from scipy.stats import bootstrap, chi2, friedmanchisquare, t, ttest_rel
from scipy.stats import dunnett as dunnett_test
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from ganlab.config import NULL
from ganlab.errors import GanlabError

REFERENCE = "gaussian"
ALPHA, POWER = 0.05, 0.8
RESAMPLES = 9999  # of every bootstrap, SciPy's default
SEED = 20_250_301  # of every bootstrap, each starts anew
ROUNDING = 1e-12  # differences that differ by less than this share of the values are all equal
NULL_PAIRS = 3  # of a null cell, at least
OUTCOMES = {"status": "failed", "collapsed": True}
KEYS = ["cell", "prior", "seed"]
DIFFERENCES = ("cell", "metric", "prior", "seed", "difference")
COMPARISON = (
    *("cell", "metric", "prior", "n", "mean", "reference_mean", "difference", "ci_low", "ci_high", "t_low", "t_high"),
    *("hedges_g", "p", "p_holm", "smallest_detectable", "null_cell", "verdict"),
)


DUNNETT = ("cell", "metric", "prior", "n", "n_reference", "scale", "effect", "low", "high", "p")
FRIEDMAN = ("cell", "metric", "n", "k", "statistic", "p", "kendalls_w")
RATES = ("cell", "outcome", "prior", "n", "count", "share", "ci_low", "ci_high")


class StatsError(GanlabError):
    """Runs that cannot be compared as asked."""


def paired_differences(runs: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Prior minus gaussian, in the metric's units: one row a (cell, metric, prior, seed), columns ``DIFFERENCES``.

    Only seeds whose value is finite in both; the null cell's differences are among them.
    """
    rows = [
        (cell, metric, prior, seed, difference)
        for cell, metric, table in _tables(_checked(runs, metrics), metrics)
        for prior in table.columns.drop(REFERENCE)
        for seed, difference in _differences(table, prior).items()
    ]
    return pd.DataFrame(rows, columns=list(DIFFERENCES))


def compare(runs: pd.DataFrame, metrics: Sequence[str], nulls: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Each prior against gaussian: one row a (cell, metric, prior), columns ``COMPARISON``. The null cell has rows too.

    n: pairs; seeds that failed in either are not among them, so read ``rates`` beside it.
    mean, reference_mean: of the prior's and of gaussian's runs in these pairs.
    difference: mean of the paired differences, in the metric's units, as are the intervals:
    ci_low, ci_high: 95 % BCa bootstrap (Efron 1987), nan under 3 pairs. Few pairs make it too short: of normal
    differences it covers 70 % with 3 pairs, 83 % with 5, 89 % with 10. t_low, t_high: Student's interval, as p is his.
    hedges_g: Cohen's d_z (mean over standard deviation of the differences) times Hedges' exact correction for few pairs
    (Hedges 1981, eq. 6e; with n - 1 degrees of freedom), nan under 3.
    p: paired t test, two-sided. Not Wilcoxon's, whose p is 2 / 2^5 = 0.0625 at the least with 5 pairs.
    p_holm: p corrected over the priors of this cell and metric (Holm 1979), without the null and without nan; not over
    metrics and cells.
    smallest_detectable: the true difference, as an absolute value, that one t test on n pairs finds at alpha 0.05 with
    power 0.8 when the differences spread like those of the null. Holm asks for more: with 5 pairs, 1.7 null standard
    deviations for one prior, 2.8 to be sure of the same power among six. And that spread is hardly known
    (``spread_range``). nan under 2 pairs, or without a null of 3.
    null_cell: whose null that is: the own cell's, else that of the cell that ``nulls`` gives it, whose runs must spread
    alike.
    verdict: ``higher`` or ``lower`` (than gaussian; the metric says which is better) if p_holm is under 0.05, else
    ``no difference found``; either says so where the difference is on the other side of smallest_detectable. What
    the runs rule out is what lies outside t_low to t_high. ``identical``: all differences are 0. ``no test``: under 2
    pairs, or differences all equal, which it says; t divides by their spread, and a metric that moves in steps can show
    none by chance. ``the null``: the null.
    """
    tables = {(cell, metric): table for cell, metric, table in _tables(_checked(runs, metrics), metrics)}
    borrowed = nulls or {}
    if lacking := sorted({*borrowed, *borrowed.values()} - set(runs["cell"])):
        raise StatsError(f"nulls name {', '.join(lacking)}: the cells are {', '.join(sorted(set(runs['cell'])))}")
    pairs = {key: _differences(table, NULL) for key, table in tables.items() if NULL in table}
    spreads = {key: float(null.std()) for key, null in pairs.items() if len(null) >= NULL_PAIRS}
    rows = []
    for (cell, metric), table in tables.items():
        source = next((name for name in (cell, borrowed.get(cell)) if (name, metric) in spreads), "")
        compared = [_compared(table, prior) for prior in table.columns.drop(REFERENCE)]
        family = [row for row in compared if row["prior"] != NULL and math.isfinite(row["p"])]
        for row, p in zip(family, _holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = p
        for row in compared:
            spread = spreads.get((source, metric), math.nan)
            row |= {"cell": cell, "metric": metric, "null_cell": source}
            row["smallest_detectable"] = _detectable_effect(row["n"]) * spread
            rows.append(row | {"verdict": _verdict(row)})
    return pd.DataFrame(rows, columns=list(COMPARISON))


def detectable(rows: pd.DataFrame) -> pd.Series:
    """``smallest_detectable`` of rows of ``compare``, from the spread of each row's own differences."""
    quantile = t.ppf(1 - ALPHA / 2, rows["n"] - 1)
    spread = (rows["t_high"] - rows["t_low"]) / 2 * np.sqrt(rows["n"]) / quantile
    return rows["n"].map(_detectable_effect) * spread


def spread_range(n: int) -> tuple[float, float]:
    """By what factors a standard deviation of n normal values may be wrong: the ends of its 95 % interval over it."""
    return tuple(math.sqrt((n - 1) / float(chi2.ppf(share, n - 1))) for share in (1 - ALPHA / 2, ALPHA / 2))


def dunnett(runs: pd.DataFrame, metrics: Sequence[str], ratios: Sequence[str] = ()) -> pd.DataFrame:
    """Each prior against gaussian without pairs, with one spread for all runs of a cell, the null's among them (Dunnett
    1955): one row a (cell, metric, prior), columns ``DUNNETT``. Where seeds matter little, this has many more degrees
    of freedom than ``compare``, and shorter intervals; where one prior spreads more than the others it is wrong.

    n, n_reference: finite runs of the prior and of gaussian. scale: ``difference`` of means; of the metrics named in
    ``ratios``, which are positive, ``ratio`` of geometric means, and all is done on logarithms.
    effect, low, high: that, and 95 % intervals that hold for all priors of a cell and metric at once, the null too.
    p: adjusted alike. low, high and p are nan where no prior's runs spread.
    """
    rows = []
    for cell, metric, table in _tables(_checked(runs, metrics), metrics):
        scale, to, back = ("ratio", np.log, np.exp) if metric in ratios else ("difference", np.array, np.array)
        groups = {prior: to(column.dropna().to_numpy()) for prior, column in table.items() if column.notna().any()}
        control = groups.pop(REFERENCE, None)
        if control is None or not groups:
            continue
        low = high = p = np.full(len(groups), math.nan)
        if max(np.ptp(group) for group in (control, *groups.values())) > ROUNDING * np.abs(control).max():
            with warnings.catch_warnings():  # it minds that the runs of one prior are equal: the others spread
                warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
                test = dunnett_test(*groups.values(), control=control, rng=np.random.default_rng(SEED))
            low, high = map(back, test.confidence_interval(1 - ALPHA))
            p = test.pvalue
        for place, (prior, group) in enumerate(groups.items()):
            effect = back(group.mean() - control.mean())
            about = (cell, metric, prior, len(group), len(control), scale)
            rows.append((*about, *(float(value) for value in (effect, low[place], high[place], p[place]))))
    return pd.DataFrame(rows, columns=list(DUNNETT))


def friedman(runs: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Does any prior differ? Friedman's (1937) rank test: one row a (cell, metric), columns ``FRIEDMAN``.

    n: seeds with a finite value for every prior. k: priors, gaussian among them and the null not, leaving out those
    without any value. statistic: chi-square with k - 1 degrees of freedom, which is rough for p with few seeds.
    kendalls_w: statistic / (n (k - 1)), 0 (no order) to 1 (all seeds rank the priors alike). These are nan with fewer
    than 3 priors or 2 seeds, or if every seed ties all priors.
    """
    rows = []
    for cell, metric, table in _tables(_checked(runs, metrics), metrics):
        complete = table.drop(columns=NULL, errors="ignore").dropna(axis="columns", how="all").dropna()
        n, k = complete.shape
        statistic = p = math.nan
        if n >= 2 and k >= 3 and (complete.nunique(axis="columns") > 1).any():
            statistic, p = map(float, friedmanchisquare(*complete.to_numpy().T))
        rows.append((cell, metric, n, k, statistic, p, statistic / (n * (k - 1)) if n and k > 1 else math.nan))
    return pd.DataFrame(rows, columns=list(FRIEDMAN))


def rates(runs: pd.DataFrame, outcomes: Mapping[str, Any] = OUTCOMES, method: str = "beta") -> pd.DataFrame:
    """How often runs end badly: one row a (cell, outcome, prior), columns ``RATES``.

    outcomes: for each column the value to count. n: runs of which the column says anything. share: count / n, 0 to 1,
    with its 95 % interval: ``beta``, which covers 95 % at least (Clopper & Pearson 1934), or the shorter ``wilson``
    (Wilson 1927); nan without runs.
    """
    rows = []
    for (cell, prior), group in _checked(runs, outcomes, reference=False).groupby(["cell", "prior"]):
        for outcome, value in outcomes.items():
            known = group[outcome].dropna()
            n, count = len(known), int((known == value).sum())
            low, high = proportion_confint(count, n, ALPHA, method) if n else (math.nan, math.nan)
            rows.append((cell, outcome, prior, n, count, count / n if n else math.nan, low, high))
    return pd.DataFrame(rows, columns=list(RATES)).sort_values(["cell", "outcome", "prior"], ignore_index=True)


def _checked(runs: pd.DataFrame, columns: Sequence[str] | Mapping[str, Any], reference: bool = True) -> pd.DataFrame:
    if missing := [column for column in (*KEYS, *columns) if column not in runs]:
        raise StatsError(f"runs have no column {', '.join(missing)}: they have {', '.join(map(str, runs.columns))}")
    if runs[KEYS].isna().any(axis=None):
        raise StatsError("some runs have no cell, prior or seed: fill in all three")
    if (twice := runs.duplicated(KEYS)).any():
        cell, prior, seed = runs.loc[twice, KEYS].iloc[0]
        raise StatsError(f"cell {cell} holds prior {prior} with seed {seed} more than once: keep one run of each")
    if reference and (lacking := sorted(set(runs["cell"]) - set(runs.loc[runs["prior"] == REFERENCE, "cell"]))):
        raise StatsError(f"no {REFERENCE} runs in cell {', '.join(lacking)}: differences are taken against {REFERENCE}")
    return runs


def _tables(runs: pd.DataFrame, metrics: Sequence[str]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Cell, metric, and the metric as a table of seeds by priors, all sorted but the metrics; not finite: NaN."""
    for cell, rows in runs.groupby("cell"):
        for metric in metrics:
            table = rows.pivot(index="seed", columns="prior", values=metric).astype(float)
            yield cell, metric, table.where(np.isfinite(table))


def _differences(table: pd.DataFrame, prior: str) -> pd.Series:
    return (table[prior] - table[REFERENCE]).dropna()


def _compared(table: pd.DataFrame, prior: str) -> dict[str, Any]:
    """The columns that one prior's runs and gaussian's decide."""
    values, references = table[[prior, REFERENCE]].dropna().to_numpy().T
    differences = values - references
    n, difference = len(differences), float(differences.mean()) if len(differences) else math.nan
    found = dict.fromkeys(COMPARISON, math.nan) | {"prior": prior, "n": n, "difference": difference}
    if n:
        found |= {"mean": float(values.mean()), "reference_mean": float(references.mean())}
    if n < 2:
        return found
    if np.ptp(differences) <= ROUNDING * np.abs([values, references]).max():
        return found | ({"ci_low": difference, "ci_high": difference} if n >= 3 else {})
    test = ttest_rel(values, references)
    found["p"] = float(test.pvalue)
    found["t_low"], found["t_high"] = test.confidence_interval(1 - ALPHA)
    if n >= 3:
        interval = bootstrap(
            (differences,), np.mean, n_resamples=RESAMPLES, confidence_level=1 - ALPHA, method="BCa", rng=SEED
        ).confidence_interval
        half = (n - 1) / 2  # of the degrees of freedom
        correction = math.exp(gammaln(half) - gammaln(half - 0.5)) / math.sqrt(half)
        found["ci_low"], found["ci_high"] = interval
        found["hedges_g"] = correction * difference / float(differences.std(ddof=1))
    return found


def _holm(p: Sequence[float]) -> list[float]:
    gc.freeze()  # multipletests collects garbage on every call: 0.3 s where torch is loaded, and for nothing
    try:
        return multipletests(p, alpha=ALPHA, method="holm")[1].tolist() if p else []
    finally:
        gc.unfreeze()


@cache
def _detectable_effect(n: int) -> float:
    """In standard deviations of the differences."""
    return float(TTestPower().solve_power(nobs=n, alpha=ALPHA, power=POWER)) if n >= 2 else math.nan


def _verdict(row: Mapping[str, Any]) -> str:
    size, smallest = abs(row["difference"]), row["smallest_detectable"]
    if row["prior"] == NULL:
        return "the null"
    if math.isnan(row["p_holm"]):
        direction = "higher" if row["difference"] > 0 else "lower"
        return "no test" if row["n"] < 2 else f"no test, {direction} alike in all pairs" if size else "identical"
    if row["p_holm"] < ALPHA:
        direction = "higher" if row["difference"] > 0 else "lower"
        return f"{direction}, yet below the smallest detectable" if size < smallest else direction
    return "no difference found" + (", yet above the smallest detectable" if size >= smallest else "")
