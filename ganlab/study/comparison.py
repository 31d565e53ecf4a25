"""Presets side by side: how good after the same minutes, how good after the same number of images.

Frames in, frames out; everything comes from the runs' ``history.csv`` and ``metrics.json``.
"""

import math

import numpy as np
import pandas as pd
import torch

from ganlab.config import Config
from ganlab.data import ImageSet, load, to_float, to_uint8
from ganlab.networks.build import build, summary
from ganlab.run import Run
from ganlab.scoring.metrics import mean_interval
from ganlab.study.plan import Planned, Study
from ganlab.training.augment import augment_real

SCORES = ("fd", "kid", "precision", "recall")  # of the averaged generator while it trains
BOUNDS = {"fd": (0, math.inf), "kid": (-math.inf, math.inf), "precision": (0, 1), "recall": (0, 1)}
MARKS = ("minutes", "images_seen")


def done(study: Study) -> list[Planned]:
    """The finished runs, in the study's order."""
    return [planned for planned in study.runs if planned.status == "done"]


def histories(study: Study) -> pd.DataFrame:
    """Every epoch of every finished run, with ``condition``, ``seed``, ``minutes`` of training so far, and the scores
    (``SCORES``, NaN at an epoch that was not scored)."""
    frames = []
    for planned in done(study):
        history = Run(planned.path).history.assign(condition=planned.condition, seed=planned.seed)
        frames.append(history.assign(minutes=history["seconds"].cumsum() / 60))
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
    Student's 95 % interval over the seeds (``stats.mean_interval``), cut off where no score can lie (``BOUNDS``)."""
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


def floors(study: Study) -> pd.DataFrame:
    """What real held-out images score in the place of generated ones at the same counts: a row a condition.

    NaN where there are none."""
    rows = {}
    for planned in done(study):
        floor = Run(planned.path).metrics["scored"]["floor"] or {}
        rows.setdefault(planned.condition, floor)
    return pd.DataFrame.from_dict(rows, orient="index").reindex(columns=list(SCORES)).rename_axis("condition")


def about(study: Study) -> pd.DataFrame:
    """What each condition is: networks, parameters, loss and batch, the images that its finished runs saw, and the
    seconds that an epoch (a pass over the data) took them on one thread."""
    rows, finished = [], done(study)
    for planned in {planned.condition: planned for planned in study.runs}.values():
        config = _with_classes(planned.config)
        networks = build(config, torch.Generator())
        g, d = (sum(parameter.numel() for parameter in network.parameters()) for network in networks)
        runs = [Run(other.path) for other in finished if other.condition == planned.condition]
        taken = [run.images / run.metrics["images_per_second"] for run in runs]
        rows.append({
            "condition": planned.condition, "classes": ", ".join(planned.config.classes) or "all",
            "generator": config.generator, "G parameters": g,
            "discriminator": f"{config.discriminator}, norm {config.d_norm}", "D parameters": d,
            "loss": config.loss, "batch": config.batch_size, "D steps": config.d_steps,
            "images seen": np.mean([run.metrics["images_seen"] for run in runs]) if runs else math.nan,
            "seconds per epoch": np.mean(taken) if taken else math.nan, "seeds": len(runs),
        })  # fmt: skip
    return pd.DataFrame(rows)


def architecture(config: Config) -> str:
    """Two lines of Markdown: G's and D's layers that have weights, in order, each with the shape that it returns; norms
    and activations are left out."""
    config = _with_classes(config)
    latents, images = torch.zeros(2, config.latent_dim), torch.zeros(2, 3, config.resolution, config.resolution)
    labels = [] if not config.conditional else [torch.zeros(2, dtype=torch.int64)]
    lines = []
    for name, network, given in zip("GD", build(config, torch.Generator()), (latents, images), strict=True):
        layers = [(row["layer"].split("(")[0], row["output"]) for row in summary(network, given, *labels)[:-1]
                  if row["parameters"] and "Norm" not in row["layer"]]  # fmt: skip
        lines.append(f"- {name}: " + ", ".join(f"{layer} {output}" for layer, output in layers))
    return "\n".join(lines)


def _with_classes(config: Config) -> Config:
    """A conditional config that names no classes, with all of its data's: its networks have a part for each."""
    if config.classes or not config.conditional:
        return config
    return config.replace(classes=load(config.dataset, (), config.split, config.resolution, config.limit).names)


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
