"""What a study found: its runs as one table, compared with Gaussian, and what became of the predictions.

Everything here is computed from the runs' ``metrics.json`` and ``history.csv`` and can be thrown away and made again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from ganlab import metrics, priors, stats
from ganlab.evaluate import references
from ganlab.features import get as extractor
from ganlab.features import reference_features
from ganlab.models import generate
from ganlab.runs import Run
from ganlab.sample import evaluation_latents
from ganlab.study import NULL, Planned, Study

# Columns of the tables: quality and diversity are read apart.
QUALITY = ("fd_train", "fd_test", "kid_train", "precision_train", "density_train", "target_agreement_test")
DIVERSITY = ("recall_train", "coverage_train", "duplicate_rate_train")
METRICS = QUALITY + DIVERSITY
COLLAPSE = 2.0  # a run whose last distance is so many times its best has collapsed


# --- tables ---------------------------------------------------------------------------------------------------------


def runs_table(study: Study) -> pd.DataFrame:
    """One row a planned run, in the study's order: ``cell, preset, prior, arm, latent_dim, seed, status, collapsed,
    images_seen, training_seconds, best_epoch`` and the metrics, NaN where a run is not done."""
    found = pd.DataFrame([_row(planned) for planned in study.runs])
    outcomes = ("collapsed", "images_seen", "training_seconds", "best_epoch", *METRICS)
    return found.reindex(columns=[*found, *(name for name in outcomes if name not in found)])


def _row(planned: Planned) -> dict[str, Any]:
    config, status = planned.config, planned.status
    row: dict[str, Any] = {
        "cell": planned.cell, "preset": config.preset, "prior": planned.prior, "arm": config.arm,
        "latent_dim": config.latent_dim, "seed": planned.seed, "status": status,
    }  # fmt: skip
    if status != "done":
        return row
    found = Run(planned.path).metrics
    last, best = found["final"], found["best"]
    distance = next((name for name in best if name.startswith("fd_")), None)
    row |= {
        "collapsed": bool(last[distance] > COLLAPSE * best[distance]) if distance else None,
        "images_seen": found["images_seen"],
        "training_seconds": found["training_seconds"],
        "best_epoch": best.get("epoch"),
    }
    for name, values in _evaluation(found).items():
        row[name] = values["value"]
    return row


def _evaluation(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a run's evaluation by column: metric and split; of two counts the first, which is the larger."""
    rows: dict[str, dict[str, Any]] = {}
    for values in found["evaluation"] or []:
        metric = values["metric"].removesuffix(f"_{values['extractor']}")
        rows.setdefault(f"{metric}_{values['split']}", values)
    return rows


def floors(study: Study) -> pd.DataFrame:
    """metric, floor, extractor, generated, reference, split: what real images score, from the first finished run."""
    for planned in study.runs:
        if planned.status == "done":
            rows = _evaluation(Run(planned.path).metrics)
            about = ("floor", "extractor", "generated", "reference", "split")
            return pd.DataFrame([{"metric": name} | {key: row[key] for key in about} for name, row in rows.items()])
    return pd.DataFrame(columns=["metric", "floor", "extractor", "generated", "reference", "split"])


def with_references(runs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The runs, and for each cell without Gaussian runs those of the cell it refers to, for the seeds it has."""
    frames = [runs]
    for cell, other in study.references.items():
        seeds = runs.loc[runs["cell"] == cell, "seed"].unique()
        borrowed = runs[(runs["cell"] == other) & runs["prior"].isin(["gaussian", NULL]) & runs["seed"].isin(seeds)]
        frames.append(borrowed.assign(cell=cell))
    return pd.concat(frames, ignore_index=True)


def finished(runs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The finished runs of every cell that can be compared with Gaussian, borrowed references included."""
    every = with_references(runs, study)
    done = every[every["status"] == "done"]
    compared = done.loc[~done["prior"].isin(["gaussian", NULL]), "cell"]  # a cell of references alone has nothing yet
    return done[done["cell"].isin(done.loc[done["prior"] == "gaussian", "cell"]) & done["cell"].isin(compared)]


def summary(runs: pd.DataFrame, study: Study, names: list[str] | None = None) -> pd.DataFrame:
    """``stats.compare`` of every cell that has a finished Gaussian run, one row a cell, metric and prior."""
    done = finished(runs, study)
    names = [name for name in names or METRICS if name in done]
    null = done.loc[done["prior"] == NULL, "cell"]
    return stats.compare(done, names, null_cell=null.iloc[0] if len(null) else None)


def present(found: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of the metrics that a summary has."""
    return [name for name in names if name in set(found["metric"])]


def floor_values(table: pd.DataFrame) -> pd.Series:
    return table.set_index("metric")["floor"]


def histories(study: Study, cell: str) -> pd.DataFrame:
    """The histories of a cell's finished runs, one below the other, with ``prior`` and ``seed``."""
    frames = [
        Run(planned.path).history.assign(prior=planned.prior, seed=planned.seed)
        for planned in study.runs
        if planned.cell == cell and planned.status == "done"
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


# --- generators -----------------------------------------------------------------------------------------------------


def generators(study: Study, cell: str, seed: int | None = None) -> dict[str, tuple[torch.nn.Module, Any]]:
    """prior -> (generator, config) of the finished runs of a cell and a seed (by default the first that it has), as
    far as their generators are there."""
    chosen = [p for p in study.runs if p.cell == cell and p.prior != NULL and Run(p.path).is_finished(p.config)]
    seed = chosen[0].seed if seed is None and chosen else seed
    return {p.prior: Run(p.path).read_generator() for p in chosen if p.seed == seed}


def swap(trained: dict[str, tuple[torch.nn.Module, Any]], n: int = 2000) -> pd.DataFrame:
    """Trained with one prior (rows), sampled with another (columns): the Frechet distance in the run's own extractor of
    n samples (at most as many as training images) to these, the same uniforms everywhere. The diagonal is the matched
    case."""
    if not trained:
        return pd.DataFrame()
    config = next(iter(trained.values()))[1]
    judge = extractor(config.eval_extractor)
    train = references(config)[0]
    real, n = reference_features(judge, train), min(n, len(train))
    rows = {}
    for row, (generator, config) in trained.items():
        rows[row] = {
            column: metrics.frechet_distance(
                judge.features(generate(generator, evaluation_latents(config.replace(prior=column), n))), real
            )
            for column in trained
        }
    return pd.DataFrame(rows).T


# --- predictions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prediction:
    """statement: what was expected before any run. test: (runs, summary) -> (whether it held or None, the numbers)."""

    statement: str
    test: Callable[[pd.DataFrame, pd.DataFrame], tuple[bool | None, str]]


def _ties(cell: str) -> Callable[[pd.DataFrame, pd.DataFrame], tuple[bool | None, str]]:
    def test(runs: pd.DataFrame, found: pd.DataFrame) -> tuple[bool | None, str]:
        rows = found[(found["cell"] == cell) & (found["metric"] == "fd_train") & (found["prior"] != NULL)]
        rows = rows[rows["n"] >= 2]
        if rows.empty:
            return None, "no pairs yet"
        apart = rows[rows["p_holm"] < 0.05]
        share = (rows["difference"].abs() / rows["reference_mean"]).max()
        names = ", ".join(f"{row.prior} {row.difference:+.3g}" for row in apart.itertuples()) or "none"
        detectable = rows["smallest_detectable"].max()
        return apart.empty, (
            f"differences in fd_train with Holm-adjusted p < 0.05: {names}; the largest difference is {share:.0%} of "
            f"Gaussian's mean; smallest detectable {detectable:.3g}"
        )

    return test


def _raw_is_absorbed(standardised: str, raw: str) -> Callable[[pd.DataFrame, pd.DataFrame], tuple[bool | None, str]]:
    def test(runs: pd.DataFrame, found: pd.DataFrame) -> tuple[bool | None, str]:
        done = runs[runs["status"] == "done"]
        pair = done[done["cell"].isin([standardised, raw])]
        wide = pair.pivot_table(index=["prior", "seed"], columns="cell", values="fd_train")
        if not {standardised, raw} <= set(wide) or len(wide.dropna()) < 2:
            return None, "no pairs yet"
        both = np.log(wide.dropna())
        shift = (both[raw] - both[standardised]).groupby("prior").mean()
        spread = _null_spread(runs, standardised)
        if spread is None:
            return None, "no null runs yet"
        words = ", ".join(f"{prior} {np.exp(value):.2f}" for prior, value in shift.items())
        return bool((shift.abs() <= 2 * spread).all()), (
            f"fd_train raw / standardised: {words}; twice the null's standard deviation is a factor of "
            f"{np.exp(2 * spread):.2f}"
        )

    return test


def _null_spread(runs: pd.DataFrame, cell: str) -> float | None:
    """Standard deviation over seeds of log fd_train, null against Gaussian; None under 3 pairs."""
    rows = runs[(runs["cell"] == cell) & (runs["status"] == "done")].pivot_table(
        index="seed", columns="prior", values="fd_train"
    )
    if not {"gaussian", NULL} <= set(rows) or len(rows[["gaussian", NULL]].dropna()) < 3:
        return None
    return float(np.log(rows[NULL] / rows["gaussian"]).std(ddof=1))


def _duplicates(cell: str) -> Callable[[pd.DataFrame, pd.DataFrame], tuple[bool | None, str]]:
    def test(runs: pd.DataFrame, found: pd.DataFrame) -> tuple[bool | None, str]:
        rows = runs[(runs["cell"] == cell) & (runs["status"] == "done")]
        if rows.empty:
            return None, "no runs yet"
        rates = rows.groupby("prior")["duplicate_rate_train"].mean()
        discrete = [name for name in rates.index if name in priors.PRIORS and priors.PRIORS[name].discrete]
        other = [name for name in rates.index if name not in discrete and name != NULL]
        words = ", ".join(f"{name} {rate:.1%}" for name, rate in rates.items())
        return bool("bernoulli" in rates and rates["bernoulli"] > 0.9 and (rates[other] < 0.01).all()), words

    return test


PREDICTIONS = {
    "near-ties at d = 100": Prediction(
        "At d = 100 a unit of the first layer sums many coordinates and is nearly Gaussian whatever the prior, so with "
        "standardised latents no prior differs from Gaussian.",
        _ties("fast-d100-standardised"),
    ),
    "the stem absorbs the raw mean": Prediction(
        "Behind a dense stem with batch norm a constant shift and a scale of z do nothing, so raw latents draw as "
        "well as standardised ones: within twice the spread of the null.",
        _raw_is_absorbed("fast-d100-standardised", "fast-d100-raw"),
    ),
    "duplicates at d = 8": Prediction(
        "Eight Bernoulli coordinates make 256 different latents, so of 5,000 samples more than 90 % are duplicates; "
        "continuous priors draw none.",
        _duplicates("fast-d8-standardised"),
    ),
    "effects at d = 8": Prediction(
        "At d = 8 the sum is short and the shape of the prior reaches the first layer: at least one prior differs from "
        "Gaussian.",
        lambda runs, found: (lambda held, said: (None if held is None else not held, said))(
            *_ties("fast-d8-standardised")(runs, found)
        ),
    ),
}


def judged(runs: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """prediction, statement, held (yes, no, open) and the numbers, a row each."""
    rows = []
    for name, prediction in PREDICTIONS.items():
        held, numbers = prediction.test(runs, found)
        rows.append({"prediction": name, "statement": prediction.statement,
                     "held": {True: "yes", False: "no", None: "open"}[held], "numbers": numbers})  # fmt: skip
    return pd.DataFrame(rows)


def answer(runs: pd.DataFrame, found: pd.DataFrame, cell: str) -> str:
    """The study's answer in Markdown, from one cell: distance, diversity, stability; every number from the tables."""
    here = runs[runs["cell"] == cell]
    done = here[here["status"] == "done"]
    sentences = [
        f"**{len(done)} of {len(here)} runs of cell `{cell}` are done** ({(here['status'] == 'failed').sum()} failed, "
        f"{int(done['collapsed'].fillna(False).sum()) if len(done) else 0} collapsed)."
    ]
    for metric, words in (("fd_train", "Frechet distance"), ("recall_train", "recall")):
        rows = found[(found["cell"] == cell) & (found["metric"] == metric) & (found["n"] >= 2)]
        rows = rows[rows["prior"] != NULL]
        sentences.append(_compared(words, rows) if len(rows) else f"Too few pairs yet to say anything of {words}.")
    return "\n\n".join(sentences)


def _compared(words: str, rows: pd.DataFrame) -> str:
    mean, pairs = rows["reference_mean"].iloc[0], f"{rows['n'].min()} pairs each"
    apart = rows[rows["p_holm"] < 0.05]
    if apart.empty:
        low, high = rows["t_low"].min() / mean, rows["t_high"].max() / mean
        return (
            f"**No prior differs from Gaussian in {words}** (Gaussian's mean {mean:.3g}, {pairs}, smallest "
            f"Holm-adjusted p {rows['p_holm'].min():.2g}). One by one, the 95 % intervals of the differences reach "
            f"from {low:+.0%} to {high:+.0%} of that mean."
        )
    each = "; ".join(
        f"{row.prior} {row.difference / mean:+.0%} ({row.t_low / mean:+.0%} to {row.t_high / mean:+.0%})"
        for row in apart.itertuples()
    )
    return (
        f"**In {words} these differ from Gaussian** (Gaussian's mean {mean:.3g}, {pairs}; differences in per cent of "
        f"it with 95 % intervals, Holm-adjusted p < 0.05): {each}. Of the others no difference was found."
    )
