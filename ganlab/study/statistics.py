"""Priors against the control on one scale: a linear model without pairs, simultaneous intervals, verdicts, rates.

The model is ``value ~ block + prior`` by least squares with one pooled variance. The intervals hold for all priors of
a condition at once (Dunnett 1955, with blocks through the multivariate t distribution). Knows no runs and no files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import multivariate_t, t, ttest_ind

from ganlab.errors import GanlabError

CONTROL = "gaussian"
ALPHA = 0.05
MARGIN = 1.1  # ratios within 1 / MARGIN to MARGIN count as equivalent
DIFFERENT, EQUIVALENT, UNDECIDED = "different", "equivalent", "undecided"
CONTRASTS = ("prior", "n", "n_control", "estimate", "low", "high", "robust_low", "robust_high")


class StatsError(GanlabError):
    """Runs that cannot be compared as asked."""


@dataclass(frozen=True)
class Design:
    """The model's columns. priors: those held against the control, one column each, which come first.
    matrix: (runs, columns) float64, of full rank where the priors can be told from the blocks."""

    priors: tuple[str, ...]
    matrix: np.ndarray

    @property
    def df(self) -> int:
        """Degrees of freedom of the pooled variance."""
        return self.matrix.shape[0] - self.matrix.shape[1]

    @property
    def is_estimable(self) -> bool:
        return bool(self.priors) and self.df >= 1 and np.linalg.matrix_rank(self.matrix) == self.matrix.shape[1]

    @cached_property
    def bread(self) -> np.ndarray:
        """(columns, columns): the inverse of X'X."""
        return np.linalg.inv(self.matrix.T @ self.matrix)

    @property
    def unit_errors(self) -> np.ndarray:
        """(priors,): the contrasts' standard errors at a standard deviation of 1."""
        return np.sqrt(np.diag(self.bread)[: len(self.priors)])

    @property
    def critical(self) -> float:
        """How many standard errors a simultaneous 95 % interval reaches to either side."""
        return critical_value(self.bread[: len(self.priors), : len(self.priors)], self.df)


def design(
    priors: Sequence[str], blocks: Sequence[str], factor: Sequence[str] = (), control: str = CONTROL
) -> Design:
    """One entry a run. factor: another nuisance beside the blocks, as the machine. Raises ``StatsError`` without a
    run of the control."""
    if control not in priors:
        raise StatsError(f"no {control} runs here: every prior is held against {control}")
    named = tuple(dict.fromkeys(prior for prior in priors if prior != control))
    columns = [[float(prior == name) for prior in priors] for name in named]
    columns += [[float(block == name) for block in blocks] for name in dict.fromkeys(blocks)]
    columns += [[float(value == name) for value in factor] for name in list(dict.fromkeys(factor))[1:]]
    return Design(named, np.array(columns).T)


@cache
def _critical(correlations: tuple[float, ...], k: int, df: int, confidence: float) -> float:
    matrix = np.array(correlations).reshape(k, k)

    def excess(reach: float) -> float:
        stream = np.random.default_rng(0)  # the same points each time, so that the function is smooth
        ends = np.full(k, reach)
        inside = multivariate_t.cdf(
            ends, shape=matrix, df=df, allow_singular=True, lower_limit=-ends, random_state=stream
        )
        return float(inside) - confidence

    least, most = t.ppf((1 + confidence) / 2, df), t.ppf(1 - (1 - confidence) / (2 * k), df)  # one contrast; Bonferroni
    if excess(least) >= 0:
        return float(least)
    return float(most) if excess(most) <= 0 else brentq(excess, least, most, xtol=1e-4)


def critical_value(covariance: np.ndarray, df: int, confidence: float = 1 - ALPHA) -> float:
    """c with P(all |T_i| < c) = confidence for the t statistics of contrasts with that covariance."""
    k = len(covariance)
    if k == 1:
        return float(t.ppf((1 + confidence) / 2, df))
    scale = np.sqrt(np.diag(covariance))
    return _critical(tuple(np.round(covariance / np.outer(scale, scale), 9).ravel()), k, df, confidence)


def fit(found: Design, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(estimates, half-widths) of the priors' contrasts, each (priors, ...). values: (runs, ...), several studies of
    one design side by side."""
    weights = found.bread @ found.matrix.T @ values
    residuals = values - found.matrix @ weights
    spread = np.sqrt((residuals**2).sum(0) / found.df)
    k = len(found.priors)
    errors = found.unit_errors.reshape(k, *[1] * (values.ndim - 1)) * spread
    return weights[:k], found.critical * errors


def robust_half_widths(found: Design, values: np.ndarray) -> np.ndarray:
    """(priors,): half-widths with HC3 errors (MacKinnon & White 1985), which let every prior spread in its own way.
    NaN where a run alone decides its prior."""
    x, k = found.matrix, len(found.priors)
    leverage = np.einsum("ij,jk,ik->i", x, found.bread, x)
    if (leverage > 1 - 1e-9).any():
        return np.full(k, math.nan)
    residuals = (values - x @ (found.bread @ x.T @ values)) / (1 - leverage)
    covariance = (found.bread @ (x.T * residuals**2) @ x @ found.bread)[:k, :k]
    if (np.diag(covariance) <= 0).any():
        return np.full(k, math.nan)
    return critical_value(covariance, found.df) * np.sqrt(np.diag(covariance))


def contrasts(
    runs: pd.DataFrame, value: str, block: str = "class", factor: str = "", control: str = CONTROL, robust: bool = True
) -> pd.DataFrame:
    """Each prior minus the control, on the scale of ``value``: a row a prior, columns ``CONTRASTS``.

    low, high: simultaneous 95 % intervals; robust_low, robust_high: the same with HC3 errors, if asked for. They are
    NaN where the runs are too few or all equal, or the priors cannot be told from the factor. Runs whose value is not
    finite are left out. Empty without a run of the control.
    """
    known = runs[np.isfinite(runs[value].astype(float))]
    if control not in set(known["prior"]):
        return pd.DataFrame(columns=list(CONTRASTS))
    extra = known[factor].astype(str).tolist() if factor and known[factor].nunique() > 1 else ()
    found = design(known["prior"].tolist(), known[block].tolist(), extra, control)
    values = known[value].to_numpy(float)
    counts = known["prior"].value_counts()
    nothing = np.full(len(found.priors), math.nan)
    if found.is_estimable:
        estimates, reach = fit(found, values)
        loose = robust_half_widths(found, values) if robust and reach.any() else nothing
        reach = reach if reach.any() else nothing
    else:
        by_prior = known.groupby("prior")[value].mean()
        estimates = by_prior[list(found.priors)].to_numpy(float) - by_prior[control] if not extra else nothing
        reach = loose = nothing
    rows = zip(found.priors, estimates, reach, loose, strict=True)
    return pd.DataFrame(
        [(prior, int(counts[prior]), int(counts[control]), e, e - r, e + r, e - h, e + h) for prior, e, r, h in rows],
        columns=list(CONTRASTS),
    )


def as_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """``contrasts`` of logarithms as ratios to the control."""
    lengths = list(CONTRASTS[3:])
    return rows.assign(**{name: np.exp(rows[name].astype(float)) for name in lengths}).rename(
        columns={"estimate": "ratio"}
    )


def verdict(low: float, high: float, margin: float = MARGIN) -> str:
    """``different`` if the interval of a ratio excludes 1, ``equivalent`` if it lies within 1 / margin to margin, else
    ``undecided``. An interval may do both: then the prior differs, by less than the margin."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return UNDECIDED
    if low > 1 or high < 1:
        return DIFFERENT
    return EQUIVALENT if low > 1 / margin and high < margin else UNDECIDED


def pooled_sd(runs: pd.DataFrame, value: str, by: Sequence[str]) -> float:
    """The standard deviation within groups; NaN without a pair."""
    known = runs[np.isfinite(runs[value].astype(float))].dropna(subset=list(by))
    groups = known.groupby(list(by))[value]
    df = len(known) - groups.ngroups
    return math.sqrt(((known[value] - groups.transform("mean")) ** 2).sum() / df) if df else math.nan


def two_samples(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """(mean of a minus mean of b, low, high): Student's 95 % interval with one pooled variance."""
    interval = ttest_ind(a, b).confidence_interval()
    return float(np.mean(a) - np.mean(b)), float(interval.low), float(interval.high)


def intraclass(table: pd.DataFrame) -> float:
    """How alike runs of one seed are, -1 / (k - 1) to 1: the intraclass correlation of a table of seeds by k priors,
    each prior's mean taken out (Shrout & Fleiss 1979)."""
    rest = (table - table.mean()).to_numpy()
    seeds, k = rest.shape
    means = rest.mean(1)
    between = k * (means**2).sum() / (seeds - 1)
    within = ((rest - means[:, None]) ** 2).sum() / ((seeds - 1) * (k - 1))
    return float((between - within) / (between + (k - 1) * within))
