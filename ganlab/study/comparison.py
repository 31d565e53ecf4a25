"""Presets side by side: what each reached, and how good all are after the same minutes and the same number of images.

Scores come from the runs' ``history.csv`` and ``metrics.json``; ``about`` builds the networks to count their
parameters, and the last part looks at images.
"""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from ganlab.config import Config
from ganlab.data import ImageSet, load, to_float, to_uint8
from ganlab.machine import provenance
from ganlab.networks.build import build
from ganlab.recipe import recipe
from ganlab.run import Run
from ganlab.scoring.metrics import mean_interval, shown_interval
from ganlab.study.forecast import training_rates
from ganlab.study.plan import Planned, Study, StudyError
from ganlab.study.tables import read_csv
from ganlab.training.augment import augment_real

RACE = "-race"  # ends a condition's name: its shorter runs have other seeds, and only the race takes them
SCORES = ("fd", "kid", "precision", "recall")  # of the averaged generator while it trains
BOUNDS = {"fd": (0, math.inf), "kid": (-math.inf, math.inf), "precision": (0, 1), "recall": (0, 1)}
FINAL = ("fd", "precision", "recall", "is", "target_agreement", "class_entropy")  # of the last evaluation
PICTURES = ("snapshots", "real_and_generated", "by_class", "curves")  # that a page shows of a run, in this order
REACHED = ("images seen", "minutes", "seconds an epoch", "processor", "distance", "real images")  # by a finished run
MARKS = ("minutes", "images_seen")
SPEEDS = "speeds.csv"  # in the study's folder


def done(runs: list[Planned]) -> list[Planned]:
    """The finished ones, in the study's order."""
    return [planned for planned in runs if planned.status == "done"]


# --- one run --------------------------------------------------------------------------------------------------------


def about(study: Study) -> pd.DataFrame:
    """A row a run with a page of its own: its networks, loss and batch; and once it is finished (``REACHED``), what it
    saw, how long that took on its threads, and its Frechet distance by the study's first judge with that of real
    images."""
    rows = []
    for planned in study.shown:
        config, run = _with_classes(planned.config), Run(planned.path)
        g, d = (sum(weight.numel() for weight in network.parameters()) for network in build(config, torch.Generator()))
        row: dict[str, Any] = {
            "condition": planned.condition, "classes": ", ".join(planned.config.classes) or "all",
            "generator": config.generator, "G parameters": g,
            "discriminator": f"{config.discriminator}, norm {config.d_norm}", "D parameters": d,
            "loss": config.loss, "batch": config.batch_size, "D steps": config.d_steps,
        }  # fmt: skip
        if planned.status == "done":
            found = scores(run).query("metric == 'fd' and judge == @study.judges[0]").iloc[0]
            metrics = run.metrics
            reached = (metrics["images_seen"], metrics["training_seconds"] / 60,
                       run.images / metrics["images_per_second"], metrics["provenance"]["cpu"], found["generated"],
                       found["real images"])  # fmt: skip
            row |= dict(zip(REACHED, reached, strict=True))
        rows.append(row)
    columns = [*(name for name in rows[0] if name not in REACHED), *REACHED]
    return pd.DataFrame(rows, columns=columns).astype({"images seen": "Int64"})


def budget(run: Run) -> str:
    """``1,996,800 images (39.9 times each) in 76 minutes, 1 thread of Intel Xeon``."""
    metrics, machine = run.metrics, run.metrics["provenance"]
    images, threads = metrics["images_seen"], machine["threads"]
    return (
        f"{images:,} images ({images / run.images:.3g} times each) in {metrics['training_seconds'] / 60:.0f} minutes, "
        f"{threads} thread{'s' * (threads > 1)} of {machine['cpu']}"
    )


def section(study: Study, condition: str, without: Collection[str] = ()) -> list[Any]:
    """What a page in the study's folder displays of a finished long run: its budget and its own page, its recipe, its
    pictures (``PICTURES``, less those ``without``), its scores. Empty for one that is not finished."""
    from IPython.display import Markdown

    planned = next((planned for planned in done(study.shown) if planned.condition == condition), None)
    if planned is None:
        return []
    run, here = Run(planned.path), study.root
    page = Markdown(f"[The run's own page]({run.path.relative_to(here)}/experiment.ipynb). {budget(run)}.")
    pictures = [picture for name in PICTURES if name not in without and (picture := run.figure(name))]
    found = scores(run).style.format(precision=3).hide(axis="index")
    return [page, Markdown(recipe(run.config, here)), *pictures, found]


def scores(run: Run) -> pd.DataFrame:
    """What a finished run's images score beside real ones: metric, judge, generated, real images, trained against.

    Each metric at its largest counts. ``trained against``: D looked through a near kin of the judge. Raises
    ``StudyError`` for a run that was not scored.
    """
    if not run.metrics.get("evaluation"):
        raise StudyError(f"{run.path} was not scored: give the plan's settings an eval_every above 0, and run it again")
    table = pd.DataFrame(run.metrics["evaluation"])
    table = table[table["metric"].isin(FINAL)].drop_duplicates(["metric", "extractor"])
    table = table[["metric", "extractor", "value", "floor", "trained_against"]]
    table.columns = ["metric", "judge", "generated", "real images", "trained against"]
    return table.sort_values("metric", key=lambda names: names.map(FINAL.index), kind="stable", ignore_index=True)


def _with_classes(config: Config) -> Config:
    """A conditional config that names no classes, with all of its data's: its networks have a part for each."""
    if config.classes or not config.conditional:
        return config
    return config.replace(classes=load(config.dataset, (), config.split, config.resolution, config.limit).names)


# --- the race -------------------------------------------------------------------------------------------------------


def racers(study: Study) -> list[Planned]:
    """The runs that the race compares, finished or not. In a study with ``RACE`` conditions: the short runs and the
    long one of each preset that has them, under the preset's name. In another: every run."""
    raced = {each.name.removesuffix(RACE) for each in study.conditions if each.name.endswith(RACE)}
    runs = [replace(planned, condition=planned.condition.removesuffix(RACE)) for planned in study.runs]
    return [planned for planned in runs if not raced or planned.condition in raced]


def speeds(study: Study) -> pd.DataFrame:
    """A row a condition of the race: the ``images_per_second`` of its training on one thread of ``processor``.

    Runs come from several machines, and some ran beside other work, so their own seconds do not compare recipes. These
    are measured in turn on one machine, on random images (``forecast.training_rates``), and kept in ``speeds.csv`` of
    the study's folder. They are measured here if that file is missing or lacks a condition.
    """
    kept, configs = read_csv(study.root / SPEEDS), {}
    for planned in racers(study):
        configs.setdefault(planned.condition, planned.config)
    if kept.empty or not set(configs) <= set(kept["condition"]):
        rates = training_rates(configs)
        kept = pd.DataFrame({"condition": [*rates], "images_per_second": [*rates.values()]})
        kept = kept.round(1).assign(processor=provenance()["cpu"])
        Run(study.root).write(SPEEDS, lambda path: kept.to_csv(path, index=False))
    return kept


def histories(runs: list[Planned], speeds: pd.DataFrame) -> pd.DataFrame:
    """Every epoch of every run, with ``condition``, ``seed``, ``minutes`` (its images at the condition's speed) and the
    scores (``SCORES``, NaN at an epoch that was not scored)."""
    rates, frames = speeds.set_index("condition")["images_per_second"], []
    for planned in runs:
        history = Run(planned.path).history.assign(condition=planned.condition, seed=planned.seed)
        frames.append(history.assign(minutes=history["images_seen"] / rates[planned.condition] / 60))
    columns = ["condition", "seed", *MARKS, *SCORES]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def mark(every: pd.DataFrame, axis: str) -> float:
    """The largest value of ``minutes`` or ``images_seen`` that every run reached."""
    return float(every.groupby(["condition", "seed"])[axis].max().min())


def at(every: pd.DataFrame, axis: str, value: float) -> pd.DataFrame:
    """Each run's scored epoch that lies nearest to ``value`` of ``minutes`` or ``images_seen``: a row a run."""
    scored = every.dropna(subset="fd").reset_index(drop=True)
    nearest = (scored[axis] - value).abs().groupby([scored["condition"], scored["seed"]], sort=False).idxmin()
    return scored.loc[nearest, ["condition", "seed", *MARKS, *SCORES]].reset_index(drop=True)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a condition: ``n`` seeds, mean minutes and images, and of each score the mean, ``_low`` and ``_high``:
    Student's 95 % interval over the seeds (``metrics.mean_interval``), cut off where no score can lie (``BOUNDS``)."""
    found = []
    for condition, runs in rows.groupby("condition", sort=False):
        row = {
            "condition": condition,
            "n": len(runs),
            "minutes": runs["minutes"].mean(),
            "images_seen": round(runs["images_seen"].mean()),
        }
        for score in SCORES:
            interval = np.clip(mean_interval(runs[score]), *BOUNDS[score])
            row |= dict(zip((score, f"{score}_low", f"{score}_high"), interval, strict=True))
        found.append(row)
    return pd.DataFrame(found)


def shown(found: pd.DataFrame) -> pd.DataFrame:
    """A table of ``table`` for reading, the smallest distance first: each score as ``mean (low to high)``."""
    words = found.sort_values("fd")[["condition", "n", "minutes", "images_seen"]]
    for score in SCORES:
        intervals = found.loc[words.index, [score, f"{score}_low", f"{score}_high"]].to_numpy()
        words[score] = [shown_interval(*interval) for interval in intervals]
    return words


def floor(run: Run, metric: str = "fd") -> float:
    """What real held-out images score in the place of the generated ones that a run was scored by on its way; NaN
    where there are none."""
    return ((run.metrics.get("scored") or {}).get("floor") or {}).get(metric, math.nan)


# --- an augmentation that leaks -------------------------------------------------------------------------------------


def flat_corners(images: torch.Tensor, level: float, side: int = 2, reach: int = 16) -> float:
    """The share of images uint8 (N, 3, R, R) of which at least one corner of ``side`` x ``side`` pixels lies within
    ``reach`` of ``level`` in every value: what shifted and turned images have and photographs hardly."""
    ends = (slice(None, side), slice(-side, None))
    corners = [
        (images[:, :, rows, columns] - level).abs().amax((1, 2, 3)) <= reach for rows in ends for columns in ends
    ]
    return torch.stack(corners).any(0).double().mean().item()


def as_trained(data: ImageSet, config: Config, n: int = 1000) -> torch.Tensor:
    """The first n real images uint8 as a run's discriminator takes them for real, after ``real_augment``."""
    stream = torch.Generator().manual_seed(config.seed)
    return to_uint8(augment_real(to_float(data.images[:n]), config.real_augment, stream))
