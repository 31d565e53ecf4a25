"""What became of a plan's predictions: a verdict and one number each. The statements stand in the plan."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from ganlab.errors import unknown
from ganlab.study.plan import Study, StudyError
from ganlab.study.statistics import DIFFERENT, EQUIVALENT, verdict

YES, NO, UNDECIDED, OPEN = "yes", "no", "undecided", "open"
Found = tuple[str, str]  # (verdict, the number)


@dataclass(frozen=True)
class Evidence:
    """What one judge has to say. verdicts, latent_sizes: its rows of the tables. runs: all runs."""

    verdicts: pd.DataFrame
    latent_sizes: pd.DataFrame
    runs: pd.DataFrame
    margin: float


def judged(study: Study, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """prediction, judge, verdict (yes, no, undecided, or open without runs) and number, a row a prediction and judge.

    Raises ``ConfigError`` for a kind that does not exist, ``StudyError`` for a prediction that lacks a part."""
    rows = []
    for about in study.predictions:
        if about.get("kind") not in list(KINDS):
            raise unknown("kind of prediction", about.get("kind"), KINDS)
        for judge in study.judges:
            found, sizes = (table[table["judge"] == judge] for table in (tables["verdicts"], tables["latent_sizes"]))
            try:
                held, number = KINDS[about["kind"]](about, Evidence(found, sizes, tables["runs"], study.margin))
            except KeyError as error:
                raise StudyError(f"the prediction {about} lacks {error}: give it in the plan") from None
            except (TypeError, ValueError) as error:
                raise StudyError(f"the prediction {about} cannot be judged ({error}): mend it in the plan") from None
            rows.append((about["statement"], judge, held, number))
    return pd.DataFrame(rows, columns=["prediction", "judge", "verdict", "number"])


def _rows(about: dict[str, Any], by: Evidence) -> pd.DataFrame:
    """The verdicts that a prediction speaks of, those with an interval."""
    here = by.verdicts[by.verdicts["condition"] == about["condition"]].dropna(subset="low")
    return here[here["prior"].isin(about["priors"])] if "priors" in about else here


def _number(rows: pd.DataFrame) -> str:
    """The ratio that is farthest from 1."""
    distance = (rows["ratio"].clip(lower=1e-9)).map(lambda ratio: max(ratio, 1 / ratio))
    row = rows.loc[distance.idxmax()]
    return f"{row['prior']} {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _all_called(about: dict[str, Any], by: Evidence, wanted: str) -> Found:
    """Whether every prior that the prediction speaks of got the wanted verdict; no as soon as one got its contrary."""
    rows = _rows(about, by)
    if rows.empty:
        return OPEN, ""
    held = set(rows["verdict"])
    contrary = DIFFERENT if wanted == EQUIVALENT else EQUIVALENT
    return YES if held == {wanted} else NO if contrary in held else UNDECIDED, _number(rows)


def _worse(about: dict[str, Any], by: Evidence) -> Found:
    held, number = _all_called(about, by, DIFFERENT)
    return NO if held == YES and (_rows(about, by)["ratio"] < 1).any() else held, number


def _at_least(about: dict[str, Any], by: Evidence) -> Found:
    here = by.runs[(by.runs["condition"] == about["condition"]) & by.runs["prior"].isin(about["priors"])]
    values = here[about["metric"]].dropna()
    if values.empty:
        return OPEN, ""
    return YES if values.mean() >= about["value"] else NO, f"{about['metric']} {values.mean():.3f}"


def _latent_size(about: dict[str, Any], by: Evidence) -> Found:
    small, large = about["sizes"]
    rows = by.latent_sizes[by.latent_sizes["latent_dim"] == small].dropna(subset="low")
    if rows.empty or (rows["over"] != large).any():
        return OPEN, ""
    row = rows.iloc[0]
    said = verdict(row["low"], row["high"], by.margin)
    held = YES if said == DIFFERENT and row["ratio"] > 1 else UNDECIDED if said == UNDECIDED else NO
    return held, f"d = {small} over d = {large}: {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


# A kind is a function and a row.
KINDS = {
    "equivalent": partial(_all_called, wanted=EQUIVALENT),
    "different": partial(_all_called, wanted=DIFFERENT),
    "worse": _worse,
    "at least": _at_least,
    "latent size": _latent_size,
}
