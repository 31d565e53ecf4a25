"""What became of a plan's predictions: a verdict and one number each. The statements stand in the plan."""

from typing import Any

import pandas as pd

from ganlab.errors import unknown
from ganlab.study.plan import Study, StudyError
from ganlab.study.statistics import DIFFERENT, EQUIVALENT, verdict

YES, NO, UNDECIDED, OPEN = "yes", "no", "undecided", "open"
Found = tuple[str, str]  # (verdict, the number)


def judged(study: Study, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """prediction, verdict (yes, no, undecided, or open without runs) and number, a row each, by the first judge.

    Raises ``ConfigError`` for a kind that does not exist, ``StudyError`` for a prediction that lacks a part."""
    rows = []
    for about in study.predictions:
        if about.get("kind") not in KINDS:
            raise unknown("kind of prediction", about.get("kind"), KINDS)
        try:
            held, number = KINDS[about["kind"]](about, study, tables)
            rows.append((about["statement"], held, number))
        except KeyError as error:
            raise StudyError(f"the prediction {about} lacks {error}: give it in the plan") from None
    return pd.DataFrame(rows, columns=["prediction", "verdict", "number"])


def _rows(about: dict[str, Any], study: Study, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The verdicts that a prediction speaks of, those with an interval."""
    found = tables["verdicts"]
    here = found[(found["condition"] == about["condition"]) & (found["judge"] == study.judges[0])].dropna(subset="low")
    return here[here["prior"].isin(about["priors"])] if "priors" in about else here


def _number(rows: pd.DataFrame) -> str:
    """The ratio that is farthest from 1."""
    distance = (rows["ratio"].clip(lower=1e-9)).map(lambda ratio: max(ratio, 1 / ratio))
    row = rows.loc[distance.idxmax()]
    return f"{row['prior']} {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _all_called(about: dict[str, Any], study: Study, tables: dict[str, pd.DataFrame], wanted: str) -> Found:
    """Whether every prior that the prediction speaks of got the wanted verdict; no as soon as one got its contrary."""
    rows = _rows(about, study, tables)
    if rows.empty:
        return OPEN, ""
    held = set(rows["verdict"])
    contrary = DIFFERENT if wanted == EQUIVALENT else EQUIVALENT
    return YES if held == {wanted} else NO if contrary in held else UNDECIDED, _number(rows)


def _equivalent(about: dict[str, Any], study: Study, tables: dict[str, pd.DataFrame]) -> Found:
    return _all_called(about, study, tables, EQUIVALENT)


def _different(about: dict[str, Any], study: Study, tables: dict[str, pd.DataFrame]) -> Found:
    return _all_called(about, study, tables, DIFFERENT)


def _worse(about: dict[str, Any], study: Study, tables: dict[str, pd.DataFrame]) -> Found:
    rows = _rows(about, study, tables)
    held, number = _different(about, study, tables)
    return NO if held == YES and (rows["ratio"] < 1).any() else held, number


def _at_least(about: dict[str, Any], study: Study, tables: dict[str, pd.DataFrame]) -> Found:
    runs = tables["runs"]
    here = runs[(runs["condition"] == about["condition"]) & runs["prior"].isin(about["priors"])]
    values = here[about["metric"]].dropna()
    if values.empty:
        return OPEN, ""
    return YES if values.mean() >= about["value"] else NO, f"{about['metric']} {values.mean():.3f}"


def _latent_size(about: dict[str, Any], study: Study, tables: dict[str, pd.DataFrame]) -> Found:
    found, (small, large) = tables["latent_sizes"], about["sizes"]
    rows = found[(found["latent_dim"] == small) & (found["judge"] == study.judges[0])].dropna(subset="low")
    if rows.empty or (rows["over"] != large).any():
        return OPEN, ""
    row = rows.iloc[0]
    said = verdict(row["low"], row["high"], study.margin)
    held = YES if said == DIFFERENT and row["ratio"] > 1 else UNDECIDED if said == UNDECIDED else NO
    return held, f"d = {small} over d = {large}: {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


# A kind is a function and a row.
KINDS = {
    "equivalent": _equivalent,
    "different": _different,
    "worse": _worse,
    "at least": _at_least,
    "latent size": _latent_size,
}
