"""A study's tables: its runs in rows, and what follows from them. Draws nothing.

Everything is computed from the runs' ``metrics.json`` and ``history.csv``; it can be thrown away and made again.
"""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ganlab.combinations import KIN
from ganlab.run import Run
from ganlab.study import statistics
from ganlab.study.plan import Planned, Study, StudyError
from ganlab.study.statistics import CONTROL, MARGIN

DIGITS = 6  # of every number in a table
GAP = 0.4  # of D's accuracies on real and generated images: beyond it the game stands still
SETTLED_EPOCH = 2  # up to this one, D's accuracies say nothing
RECOGNISED = 0.5  # share of samples that a classifier must call their class
COPIES = 0.5  # of the images: above this share recall is undefined, since a copy's nearest neighbours are copies
PLACES = ("condition", "class", "prior", "scaling", "latent_dim", "seed", "status")
SECONDARY = {  # column of a run -> (metric of its evaluation, split); the first judge's, or of pixels
    "recall": ("recall", "train"),
    "coverage": ("coverage", "train"),
    "precision": ("precision", "train"),
    "agreement": ("target_agreement", "test"),
    "duplicates": ("duplicate_rate", "train"),
}
OUTCOMES = ("images_seen", *SECONDARY, "accuracy_gap", "steady", "recognised", "taken_off")
ORIGIN = ("machine", "arithmetic", "threads")
NAMES = ("runs", "verdicts", "secondary", "takeoff", "latent_sizes", "floors", "predictions", "swap")
FLOORS = ("class", "judge", "metric", "split", "generated", "reference", "floor")


# --- runs -----------------------------------------------------------------------------------------------------------


def outcome(judge: str) -> str:
    """The column of ``runs_table`` that holds a judge's outcome."""
    return f"log_fd_{judge}"


def runs_table(study: Study) -> pd.DataFrame:
    """One row a planned run, in the plan's order; NaN where a run is not done. status: done, failed or left.

    log_fd_<judge>: of the first judge the mean over the last scores while it trained, of the others that of the final
    generator. accuracy_gap: the largest difference of D's accuracies after epoch 2. steady: it is at most 0.4;
    recognised: at least half of the samples are called their class; taken_off: both, as far as they are known.
    """
    columns = [*PLACES, *map(outcome, study.judges), *OUTCOMES, *ORIGIN]
    return pd.DataFrame([_row(planned, study) for planned in study.runs], columns=columns)


def _row(planned: Planned, study: Study) -> dict[str, Any]:
    config, status = planned.config, planned.status
    status = status if status in ("done", "failed") else "left"
    values = (planned.condition, planned.block, planned.prior, config.scaling, config.latent_dim, planned.seed, status)
    row: dict[str, Any] = dict(zip(PLACES, values, strict=True))
    if status != "done":
        return row
    run = Run(planned.path)
    found, history = run.metrics, run.history
    if history.empty:
        raise StudyError(f"{planned.path} has metrics.json and no history.csv: restore it, or delete the run's folder")
    scores = evaluation(found)
    first, *others = study.judges
    distances = history.reindex(columns=["fd"])["fd"].dropna()
    row[outcome(first)] = float(np.log(distances.tail(study.last_scores)).mean()) if len(distances) else math.nan
    for judge in others:
        row[outcome(judge)] = math.log(scores.get(("fd", judge, "train"), {"value": math.nan})["value"])
    for name, (metric, split) in SECONDARY.items():
        judge = "pixels" if metric == "duplicate_rate" else first
        row[name] = scores.get((metric, judge, split), {"value": math.nan})["value"]
    if row["duplicates"] > COPIES:
        row["recall"] = math.nan
    row["images_seen"] = found["images_seen"]
    row |= _takeoff(history, row["agreement"])
    about = found["provenance"]
    machine = about["cpu"] if found["device"] == "cpu" else about["gpu"]
    return row | {"machine": machine, "arithmetic": found["precision"], "threads": about["threads"]}


def _takeoff(history: pd.DataFrame, agreement: float) -> dict[str, Any]:
    after = history[history["epoch"] > SETTLED_EPOCH]
    gap = float((after["d_acc_real"] - after["d_acc_fake"]).abs().max()) if len(after) else math.nan
    steady = not gap > GAP
    recognised = None if math.isnan(agreement) else agreement >= RECOGNISED
    return {"accuracy_gap": gap, "steady": steady, "recognised": recognised,
            "taken_off": steady and recognised is not False}  # fmt: skip


def evaluation(found: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """A run's final evaluation by (metric, extractor, split); of two counts the first, which is the larger."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for values in found["evaluation"] or []:
        rows.setdefault((values["metric"], values["extractor"], values["split"]), values)
    return rows


def histories(study: Study, condition: str) -> pd.DataFrame:
    """Every scored epoch of a condition's finished runs: prior, class, seed, images_seen, fd."""
    frames = []
    for planned in study.runs:
        if planned.condition == condition and planned.status == "done":
            history = Run(planned.path).history
            about = {"prior": planned.prior, "class": planned.block, "seed": planned.seed}
            frames.append(history.reindex(columns=["images_seen", "fd"]).assign(**about).dropna())
    columns = ["prior", "class", "seed", "images_seen", "fd"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


# --- against the control --------------------------------------------------------------------------------------------


def verdicts(
    runs: pd.DataFrame, judges: Sequence[str], margin: float = MARGIN, against: Collection[tuple[str, str]] = ()
) -> pd.DataFrame:
    """condition, judge, prior, n, n_control, ratio, low, high, verdict; the same interval with robust errors.

    against: pairs of a condition and a judge that may not judge it. Where several machines took part, each has a level
    of its own in the model, and ``pooled_ratio``, ``pooled_low`` and ``pooled_high`` are what comes out without that
    (NaN where one machine did all)."""
    frames = []
    for condition, rows in _done(runs):
        for judge in judges:
            if (condition, judge) in against:
                continue
            value = outcome(judge)
            found = statistics.as_ratios(statistics.contrasts(rows, value, factor="machine"))
            found["verdict"] = [statistics.verdict(row.low, row.high, margin) for row in found.itertuples()]
            names = {name: f"pooled_{name}" for name in ("ratio", "low", "high")}
            if rows["machine"].nunique() > 1:
                pooled = statistics.as_ratios(statistics.contrasts(rows, value, robust=False))
                found = found.merge(pooled[["prior", *names]].rename(columns=names), on="prior", how="left")
            frames.append(found.assign(condition=condition, judge=judge))
    columns = ["condition", "judge", "prior", "n", "n_control", "ratio", "low", "high", "verdict",
               "robust_low", "robust_high", "pooled_ratio", "pooled_low", "pooled_high"]  # fmt: skip
    return pd.concat(frames, ignore_index=True).reindex(columns=columns) if frames else pd.DataFrame(columns=columns)


def against(study: Study) -> set[tuple[str, str]]:
    """(condition, judge) where the judge is near kin of the network that D looks through."""
    return {(run.condition, judge) for run in study.runs for judge in KIN.get(run.config.discriminator, ())}


def secondary(runs: pd.DataFrame) -> pd.DataFrame:
    """condition, metric, prior, n, mean, control_mean, difference, low, high, in the metric's own units."""
    rows = []
    for condition, here in _done(runs):
        for metric in SECONDARY:
            means = here.groupby("prior")[metric].mean()
            for found in statistics.contrasts(here, metric, factor="machine", robust=False).itertuples():
                rows.append(
                    (condition, metric, found.prior, found.n, means[found.prior], means[CONTROL],
                     found.estimate, found.low, found.high)
                )  # fmt: skip
    columns = ["condition", "metric", "prior", "n", "mean", "control_mean", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def takeoff(runs: pd.DataFrame) -> pd.DataFrame:
    """condition, prior, n, failed, steady, recognised, taken_off, and the last one's share with its 95 % interval
    (Clopper & Pearson). n: runs that have ended; a failed one has not taken off."""
    rows = []
    ended = runs[runs["status"] != "left"]
    for (condition, prior), here in ended.groupby(["condition", "prior"], sort=False):
        counts = {name: int((here[name] == True).sum()) for name in ("steady", "recognised", "taken_off")}  # noqa: E712
        interval = binomtest(counts["taken_off"], len(here)).proportion_ci()
        failed, share = int((here["status"] == "failed").sum()), counts["taken_off"] / len(here)
        rows.append((condition, prior, len(here), failed, *counts.values(), share, interval.low, interval.high))
    columns = ["condition", "prior", "n", "failed", "steady", "recognised", "taken_off", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def latent_sizes(runs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Gaussian's distance at each latent size over that at the largest, in conditions that differ in the size alone:
    judge, latent_dim, over (the largest), n, n_over, ratio, low, high (95 % for all sizes at once)."""
    known = family(study)
    columns = ["judge", "latent_dim", "over", "n", "n_over", "ratio", "low", "high"]
    done = runs[(runs["status"] == "done") & runs["condition"].isin(known) & (runs["prior"] == CONTROL)]
    if done["latent_dim"].nunique() < 2:
        return pd.DataFrame(columns=columns)
    sizes = done.assign(prior=done["latent_dim"].map(str))
    frames = []
    largest = int(done["latent_dim"].max())
    for judge in study.judges:
        found = statistics.contrasts(sizes, outcome(judge), factor="machine", control=str(largest), robust=False)
        found = statistics.as_ratios(found).assign(judge=judge, over=largest)
        found = found.rename(columns={"prior": "latent_dim", "n_control": "n_over"})
        frames.append(found.astype({"latent_dim": int}).sort_values("latent_dim"))
    return pd.concat(frames, ignore_index=True)[columns]


def family(study: Study) -> list[str]:
    """The largest set of conditions whose configs differ in latent_dim, classes and run alone."""
    groups: dict[str, dict[str, int]] = {}  # condition -> its latent size, by what else decides a run
    for condition in study.conditions:
        config = next(planned.config for planned in study.runs if planned.condition == condition.name)
        key = str(config.replace(prior=CONTROL, latent_dim=1, seed=0, epochs=1, snapshot_epochs=[]).to_dict())
        groups.setdefault(key, {})[condition.name] = config.latent_dim
    several = [list(sizes) for sizes in groups.values() if len(set(sizes.values())) > 1]
    return max(several, key=len, default=[])


def floors(study: Study) -> pd.DataFrame:
    """What real images score in the place of generated ones at the same counts, from the first finished run of each
    class: columns ``FLOORS``."""
    rows, seen = [], set()
    for planned in study.runs:
        if planned.block in seen or planned.status != "done":
            continue
        seen.add(planned.block)
        for (metric, judge, split), values in evaluation(Run(planned.path).metrics).items():
            counts = (values["generated"], values["reference"])
            rows.append((planned.block, judge, metric, split, *counts, values["floor"]))
    return pd.DataFrame(rows, columns=list(FLOORS))


def _done(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    done = runs[runs["status"] == "done"]
    return [(str(name), rows) for name, rows in done.groupby("condition", sort=False)]


# --- files ----------------------------------------------------------------------------------------------------------


def write(study: Study) -> dict[str, pd.DataFrame]:
    """Writes every table as a CSV file in the study's folder and returns them by name: ``runs``, ``verdicts``,
    ``secondary``, ``takeoff``, ``latent_sizes``, ``floors``, ``predictions`` and ``swap``."""
    from ganlab.study.mechanism import swapped
    from ganlab.study.predictions import judged

    runs = runs_table(study)
    found = {
        "runs": runs,
        "verdicts": verdicts(runs, study.judges, study.margin, against(study)),
        "secondary": secondary(runs),
        "takeoff": takeoff(runs),
        "latent_sizes": latent_sizes(runs, study),
        "floors": floors(study),
    }
    found["predictions"] = judged(study, found)
    for name, table in found.items():
        _write_csv(study.root / f"{name}.csv", table)
    _write_csv(study.root / "swap.csv", swapped(study, read_csv(study.root / "swap.csv")))
    return found | {"swap": read_csv(study.root / "swap.csv")}


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    Run(path.parent).write(path.name, lambda file: table.round(DIGITS).to_csv(file, index=False))


def load(study: Study) -> dict[str, pd.DataFrame]:
    """The tables that ``write`` left, or new ones where one is missing."""
    if all((study.root / f"{name}.csv").exists() for name in NAMES):
        return {name: read_csv(study.root / f"{name}.csv") for name in NAMES}
    return write(study)


def read_csv(path: Path) -> pd.DataFrame:
    """A table that ``write`` left, empty without one."""
    return pd.read_csv(path) if path.exists() and path.stat().st_size > 2 else pd.DataFrame()
