"""Why priors do or do not matter: generators fed with another prior, and latents before any network is trained."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import ks_2samp, kstest, norm

from ganlab import priors
from ganlab.config import Config
from ganlab.latents import evaluation_latents, labels_in_turn
from ganlab.networks.generators import generate
from ganlab.run import Run
from ganlab.scoring import metrics
from ganlab.scoring.evaluate import references
from ganlab.scoring.features import get as extractor
from ganlab.scoring.features import reference_features
from ganlab.study.plan import Planned, Study
from ganlab.study.statistics import CONTROL

Trained = dict[str, tuple[torch.nn.Module, Config]]
SWAPPED = 2000  # samples of each prior that every other prior's generator is fed with
SWAP = ("condition", "class", "seed", "trained", "sampled", "fd")
SIZES = (2, 8, 32, 100)


# --- trained generators ---------------------------------------------------------------------------------------------


def generators(study: Study, condition: str, seed: int | None = None) -> Trained:
    """prior -> (generator, config) of a condition's finished runs of one seed and its first block, as far as their
    generators are here. seed: by default the condition's first."""
    return {planned.prior: Run(planned.path).read_generator() for planned in _here(study, condition, seed)}


def _here(study: Study, condition: str, seed: int | None) -> list[Planned]:
    runs = [planned for planned in study.runs if planned.condition == condition]
    seed = runs[0].seed if seed is None else seed
    chosen = [planned for planned in runs if planned.seed == seed and planned.block == runs[0].block]
    return [planned for planned in chosen if Run(planned.path).is_finished(planned.config)]


def drawn_or_kept(folder: Run, name: str, trained: Trained, draw: Callable[[Trained], Any]) -> Any:
    """Draws and keeps the figure of these generators. Without any, as in a clone, it returns the one kept before."""
    kept = folder.figure(name)
    return kept if kept and not trained else folder.write_figure(name, draw(trained))


def swapped(study: Study, kept: pd.DataFrame) -> pd.DataFrame:
    """Trained with one prior, sampled with another: the distance by the first judge, columns ``SWAP``, for the
    conditions and seeds that the plan's ``swap`` names. Rows that are kept are not computed again."""
    kept = kept if len(kept) else pd.DataFrame(columns=list(SWAP))
    for condition in study.swap.get("conditions", []):
        runs = [planned for planned in study.runs if planned.condition == condition]
        seeds = list(dict.fromkeys(planned.seed for planned in runs if planned.prior != CONTROL))
        for seed in seeds[: study.swap.get("seeds", 1)]:
            mine = (kept["condition"] == condition) & (kept["seed"] == seed)
            if not {planned.prior for planned in _here(study, condition, seed)} <= set(kept.loc[mine, "trained"]):
                about = {"condition": condition, "class": runs[0].block, "seed": seed}
                found = swap(generators(study, condition, seed)).assign(**about)
                frames = [frame for frame in (kept[~mine], found[list(SWAP)]) if len(frame)]
                kept = pd.concat(frames, ignore_index=True)
    return kept


def swap(trained: Trained, n: int = SWAPPED) -> pd.DataFrame:
    """trained, sampled, fd: n samples (at most as many as training images) against the training images, the same
    uniforms everywhere."""
    config = next(iter(trained.values()))[1]
    judge = extractor(config.eval_extractor)
    train = references(config)[0]
    real, n = reference_features(judge, train), min(n, len(train))
    rows = []
    for name, (generator, config) in trained.items():
        for other, (_, theirs) in trained.items():
            fed = config.replace(prior=theirs.prior, scaling=theirs.scaling)
            images = generate(generator, evaluation_latents(fed, n), labels_in_turn(config, n))
            rows.append((name, other, metrics.frechet_distance(judge.features(images), real)))
    return pd.DataFrame(rows, columns=["trained", "sampled", "fd"])


def swap_ratios(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """A row a prior trained with, a column a prior sampled with: the distance over that of the row's own prior, the
    geometric mean over the seeds."""
    here = table[table["condition"] == condition] if len(table) else table
    if here.empty:
        return pd.DataFrame()
    own = here[here["trained"] == here["sampled"]].set_index(["seed", "trained"])["fd"]
    ratio = np.log(here["fd"].to_numpy() / own.loc[list(zip(here["seed"], here["trained"], strict=True))].to_numpy())
    found = here.assign(ratio=ratio).groupby(["trained", "sampled"], sort=False)["ratio"].mean().map(math.exp)
    order = list(dict.fromkeys(here["trained"]))
    return found.unstack()[order].loc[order]


# --- latents before any training ------------------------------------------------------------------------------------


def gaussianity(sizes: tuple[int, ...] = SIZES, n: int = 4000, units: int = 32) -> pd.DataFrame:
    """How far a first-layer unit is from a normal: the mean Kolmogorov-Smirnov distance of ``units`` random sums of d
    standardised coordinates, from n latents. Chance alone gives Gaussian's row. A row a core prior, a column a size."""
    found: dict[str, dict[int, float]] = {}
    for d in sizes:
        weights = torch.randn(d, units, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        for name in priors.CORE:
            latents = priors.get(name, "standardised").sample(n, d, torch.Generator().manual_seed(1)).double()
            sums = ((latents @ weights) / weights.norm(dim=0)).T.numpy()
            found.setdefault(name, {})[d] = float(np.mean([kstest(unit, norm.cdf).statistic for unit in sums]))
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("prior").reset_index()


def stem_shares(d: int = 100, n: int = 2000, channels: int = 64) -> pd.DataFrame:
    """Behind a transposed-convolution stem: the share (0 to 1) of a channel's variance over raw latents and places that
    is not a fixed pattern of the 16 places, which one batch norm serves together. Behind a dense stem every place has a
    norm of its own and the share is 1. A row a core prior; random weights, nothing is trained."""
    weights = torch.randn(d, channels, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = []
    for name in priors.CORE:
        latents = priors.get(name, "raw").sample(n, d, torch.Generator().manual_seed(1)).double()
        values = torch.einsum("nd,dcp->ncp", latents, weights)
        moving, pattern = values.var(0).mean(1), values.mean(0).var(1, correction=0)
        rows.append((name, float((moving / (moving + pattern)).mean())))
    return pd.DataFrame(rows, columns=["prior", "share"])


def path_departures(d: int = 100, n: int = 400) -> pd.DataFrame:
    """How far half way between two latents is from the prior: the Kolmogorov-Smirnov distance of n points' coordinates
    to as many fresh ones; chance alone gives 0.01. A row a core prior, a column a path."""
    found: dict[str, dict[str, float]] = {}
    for name in priors.CORE:
        prior, stream = priors.get(name, "standardised"), torch.Generator().manual_seed(0)
        start, end = (priors.uniforms(n, d, stream) for _ in range(2))
        fresh = prior.sample(n, d, stream).flatten()
        found[name] = {
            path: float(ks_2samp(move(prior, start, end, 0.5).flatten(), fresh).statistic)
            for path, move in priors.PATHS.items()
        }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("prior").reset_index()
