"""What the study's pages show: short tables for reading, made of those that ``tables`` wrote. Draws nothing."""

import numpy as np
import pandas as pd

from ganlab.combinations import KIN
from ganlab.study.plan import Study
from ganlab.study.statistics import CONTROL, DIFFERENT, EQUIVALENT, UNDECIDED
from ganlab.study.tables import ORIGIN, outcome

ANSWER = "ANSWER.md"
KIN_WORDS = "not used: trained on the same images as D's feature network"


def progress(runs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """condition, title, runs ("14 of 48 runs") and failed, a row a condition."""
    rows = []
    for condition in study.conditions:
        states = runs.loc[runs["condition"] == condition.name, "status"]
        done = f"{(states == 'done').sum()} of {len(states)} runs"
        rows.append((condition.name, condition.title, done, int((states == "failed").sum())))
    return pd.DataFrame(rows, columns=["condition", "title", "runs", "failed"])


def origins(runs: pd.DataFrame) -> pd.DataFrame:
    """condition, status, machine, arithmetic, threads, and how many runs share them."""
    known = runs.fillna({"machine": "", "arithmetic": "", "threads": 0})
    counts = known.groupby(["condition", "status", *ORIGIN], sort=False).size()
    return counts.rename("runs").reset_index().astype({"threads": int})


def answer(study: Study) -> str:
    """What a person wrote in ``ANSWER.md`` beside the runs, if anyone did."""
    path = study.root / ANSWER
    return path.read_text() if path.exists() else "Nobody has written the answer yet; the verdicts below stand alone."


def splits(runs: pd.DataFrame, study: Study, most: int = 2000) -> np.ndarray:
    """Ratios of the mean distances of two random halves of Gaussian's runs, in the first condition and class."""
    first = study.conditions[0]
    here = runs[(runs["condition"] == first.name) & (runs["prior"] == CONTROL) & (runs["class"] == first.blocks[0])]
    values, stream = here[outcome(study.judges[0])].dropna().to_numpy(float), np.random.default_rng(0)
    if len(values) < 4:
        return np.array([])
    orders = stream.permuted(np.tile(values, (most, 1)), axis=1)
    half = len(values) // 2
    return np.exp(orders[:, :half].mean(1) - orders[:, half:].mean(1))


def summary(runs: pd.DataFrame, found: pd.DataFrame, study: Study) -> pd.DataFrame:
    """A row a condition: networks and classes, latents, runs, and for each judge how many priors are different,
    equivalent and undecided, with the span of all intervals."""
    rows = []
    for condition in study.conditions:
        config = next(planned.config for planned in study.runs if planned.condition == condition.name)
        mine = runs[runs["condition"] == condition.name]
        row = {
            "condition": condition.name, "networks": f"{config.preset}; {', '.join(condition.blocks)}",
            "latents": f"{config.latent_dim}, {', '.join(mine['scaling'].unique())}",
            "runs": f"{(mine['status'] == 'done').sum()} of {len(mine)}",
        }  # fmt: skip
        for judge in study.judges:
            here = found[(found["condition"] == condition.name) & (found["judge"] == judge)]
            row[judge] = _counts(here) if judge not in KIN.get(config.discriminator, ()) else KIN_WORDS
        rows.append(row)
    return pd.DataFrame(rows)


def _counts(rows: pd.DataFrame) -> str:
    """``5 equivalent, 1 undecided (0.91 to 1.08)``."""
    words = (DIFFERENT, EQUIVALENT, UNDECIDED)
    counts = [f"{count} {word}" for word in words if (count := (rows["verdict"] == word).sum())]
    known = rows.dropna(subset="low")
    span = f" ({known['low'].min():.2f} to {known['high'].max():.2f})" if len(known) else ""
    return ", ".join(counts) + span


def lines(found: pd.DataFrame, condition: str) -> pd.DataFrame:
    """A condition's verdicts as a table for reading: prior, n, and for each judge ``verdict (low to high)``."""
    here = found[found["condition"] == condition]
    words = here.assign(
        text=[f"{row.verdict} ({row.low:.2f} to {row.high:.2f})" if row.low == row.low else row.verdict
              for row in here.itertuples()]
    )  # fmt: skip
    if words.empty:
        return pd.DataFrame(columns=["prior", "n"])
    table = words.pivot(index=["prior", "n"], columns="judge", values="text")
    order = [(row.prior, row.n) for row in here.drop_duplicates("prior").itertuples()]
    return table.reindex(order)[list(dict.fromkeys(here["judge"]))].rename_axis(columns=None).reset_index()


def predicted(found: pd.DataFrame) -> pd.DataFrame:
    """The predictions as a table for reading: a row each, and for each judge ``verdict; number``."""
    if found.empty:
        return found
    words = found.fillna("").assign(text=lambda rows: (rows["verdict"] + "; " + rows["number"]).str.rstrip("; "))
    table = words.pivot(index="prediction", columns="judge", values="text")
    table = table.loc[list(dict.fromkeys(found["prediction"])), list(dict.fromkeys(found["judge"]))]
    return table.rename_axis(columns=None).reset_index()


def extremes(found: pd.DataFrame, condition: str, judge: str) -> list[str]:
    """The priors with the lowest and the highest ratio, Gaussian between them."""
    here = found[(found["condition"] == condition) & (found["judge"] == judge)].dropna(subset="ratio")
    if here.empty:
        return [CONTROL]
    best, worst = here.loc[here["ratio"].idxmin(), "prior"], here.loc[here["ratio"].idxmax(), "prior"]
    return list(dict.fromkeys([str(best), CONTROL, str(worst)]))
