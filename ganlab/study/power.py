"""What a design can find, before anything is trained: half-widths, chances of each verdict. Knows no runs."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import chi2, norm

from ganlab.study.statistics import CONTROL, MARGIN, Design, design, pooled_sd

SDS = (0.05, 0.1, 0.15, 0.27)  # of log FD between seeds: the source's networks, a steady recipe, the first round's
GRID = (np.arange(400) + 0.5) / 400  # quantiles over which the estimated spread is integrated


def half_width(found: Design, sd: float) -> float:
    """The widest of the simultaneous intervals on a logarithm, to one side, at that SD of single runs."""
    return float(found.critical * found.unit_errors.max() * sd)


def chance_equivalent(found: Design, sd: float, margin: float = MARGIN) -> float:
    """How likely it is that a prior equal to the control is called equivalent."""
    error = found.unit_errors.max() * sd
    reach = found.critical * error * np.sqrt(chi2.ppf(GRID, found.df) / found.df)
    # an interval that excludes 1 makes the prior different, however near it lies
    room = np.minimum(np.clip(math.log(margin) - reach, 0, None), reach)
    return float((2 * norm.cdf(room / error) - 1).mean())


def chance_different(found: Design, sd: float, ratio: float) -> float:
    """How likely it is that one prior, whose true ratio is given, is called different."""
    error = found.unit_errors.max() * sd
    reach = found.critical * error * np.sqrt(chi2.ppf(GRID, found.df) / found.df)
    shift = math.log(ratio)
    return float((norm.sf((reach - shift) / error) + norm.cdf((-reach - shift) / error)).mean())


def detectable(found: Design, sd: float, power: float = 0.8) -> float:
    """The smallest true ratio above 1 that is called different with that power."""
    def lacking(log_ratio: float) -> float:
        return chance_different(found, sd, math.exp(log_ratio)) - power

    return math.exp(brentq(lacking, 0.0, 40 * found.critical * found.unit_errors.max() * sd))


def power_table(designs: dict[str, Design], sds: Sequence[float] = SDS, margin: float = MARGIN) -> pd.DataFrame:
    """A row a condition and SD: ``half_width`` as a share of the control's value, ``equivalent``, the chance that an
    equal prior is called so, and ``detectable``, the ratio that is found four times in five."""
    rows = [
        {
            "condition": name,
            "sd": sd,
            "half_width": math.exp(half_width(found, sd)) - 1,
            "equivalent": chance_equivalent(found, sd, margin),
            "detectable": detectable(found, sd),
        }
        for name, found in designs.items()
        for sd in sds
        if found.is_estimable
    ]
    return pd.DataFrame(rows, columns=["condition", "sd", "half_width", "equivalent", "detectable"])


def reach(runs: pd.DataFrame, value: str) -> pd.DataFrame:
    """What runs that were made could find, a row a condition: ``runs``, ``sd`` of a run within its prior,
    ``gaussian_sd`` of the control alone, ``half_width`` and ``detectable`` as in ``power_table``."""
    rows = {}
    for condition, here in runs.groupby("condition", sort=False):
        sd = pooled_sd(here, value, ["class", "prior"])
        own = pooled_sd(here[here["prior"] == CONTROL], value, ["class"])
        found = design(here["prior"].tolist(), here["class"].tolist())
        wide = math.exp(half_width(found, sd)) - 1
        rows[condition] = {"runs": len(here), "sd": sd, "gaussian_sd": own, "half_width": wide,
                           "detectable": detectable(found, sd)}  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("condition").reset_index()
