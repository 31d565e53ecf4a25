"""Figures of latents: what a prior looks like, what generators make of it, what they make of another one."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from torch import nn

from ganlab import priors
from ganlab.config import Config
from ganlab.figures.images import named_sheet
from ganlab.figures.palette import colour, in_order
from ganlab.figures.style import new_figure, nothing
from ganlab.latents import EVALUATION_SEED, evaluation_latents, interpolations, labels_in_turn
from ganlab.networks.generators import generate

Trained = Mapping[str, tuple[nn.Module, Config]]


def prior_shapes(names: Sequence[str]) -> Figure:
    """One raw coordinate of each prior: a histogram of 20,000 draws, and their mean and standard deviation. The bars at
    the edges hold all draws beyond them."""
    order = in_order(names)
    figure, axes = new_figure(1, len(order), min(1.5 * len(order) + 0.2, 10.5), 1.7, "white")
    for axis, name in zip(axes[0], order, strict=True):
        stream = torch.Generator().manual_seed(EVALUATION_SEED)
        z = priors.get(name, "raw").sample(2000, 100, stream)[:, :10].flatten()
        axis.hist(z.clamp(-4, 4).numpy(), bins=np.linspace(-4.1, 4.1, 42), color=colour(name), density=True)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(f"mean {float(z.mean()):z.1f}, SD {float(z.std()):.1f}", fontsize=7.5)
        axis.set(yticks=[], xlim=(-4.2, 4.2))
        axis.tick_params(labelsize=7)
        sns.despine(ax=axis, left=True)
    return figure


def ridges(samples: Mapping[str, np.ndarray], label: str, reach: tuple[float, float]) -> Figure:
    """The distribution of numbers of each prior, one below the other: samples: prior -> values; reach: of the axis."""
    order = in_order(samples)
    figure, axes = new_figure(len(order), 1, 6.5, 0.48 * len(order) + 0.7, "white", sharex=True)
    edges = np.linspace(*reach, 90)
    for axis, name in zip(axes[:, 0], order, strict=True):
        axis.hist(np.clip(samples[name], *reach), bins=edges, color=colour(name), density=True)
        axis.set(yticks=[], xlim=reach)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        sns.despine(ax=axis, left=True)
    axes[-1, 0].set_xlabel(label, fontsize=9)
    return figure


def prior_grids(generators: Trained, n: int = 10) -> Figure:
    """A row a prior, a column one set of uniforms, which every prior turns into its own latents for its own G."""
    if not generators:
        return nothing("these generators are not in this checkout")
    order = in_order(generators)
    rows = [
        generate(generator, evaluation_latents(config, n), labels_in_turn(config, n))
        for generator, config in (generators[name] for name in order)
    ]
    return named_sheet(torch.cat(rows), n, order)


def interpolation_strips(generators: Trained, steps: int = 9, paths: Sequence[str] = tuple(priors.PATHS)) -> Figure:
    """Between the same two sets of uniforms, for each prior and each of ``priors.PATHS`` that is named: a row.

    3 priors of 9 steps make a PNG of 200 kB where a notebook shows it, so hand over a few at a time.
    """
    if not generators:
        return nothing("these generators are not in this checkout")
    order = in_order(generators)
    pictures = torch.cat([interpolations(*generators[name], 1, steps, path) for name in order for path in paths])
    names = [f"{name}\n{path}" if len(paths) > 1 else name for name in order for path in paths]
    return named_sheet(pictures, steps, names, tuple(f"t = {t:.2g}" for t in np.linspace(0, 1, steps)))


def swap_heatmap(ratios: pd.DataFrame) -> Figure:
    """Trained with one prior (rows), sampled with another (columns): the distance over that of the row's own prior."""
    if ratios.empty:
        return nothing("these generators are not in this checkout")
    table = ratios.loc[in_order(ratios.index), in_order(ratios.columns)].astype(float)
    rows, columns = table.shape
    reach = max(float(np.abs(np.log(table)).max().max()), 0.05)
    figure, ((axis,),) = new_figure(1, 1, min(9, 2.8 + 0.85 * columns), 1.4 + 0.42 * rows)
    bar = {"label": "times its own"}
    sns.heatmap(table, ax=axis, annot=True, fmt=".2f", cmap="vlag", vmin=np.exp(-reach), vmax=np.exp(reach), center=1,
                cbar_kws=bar, annot_kws={"size": 8}, linewidths=1)  # fmt: skip
    axis.set(xlabel="sampled with", ylabel="trained with")
    axis.tick_params(axis="x", rotation=30)
    axis.tick_params(axis="y", rotation=0)
    return figure


def by_size(table: pd.DataFrame, label: str) -> Figure:
    """A number for each prior and latent size (columns of integers beside ``prior``): a line a prior."""
    figure, ((axis,),) = new_figure(1, 1, 6.5, 3.2, "whitegrid")
    rows = table.set_index("prior")
    sizes = list(rows)
    for prior, values in rows.iterrows():
        axis.plot(sizes, values.to_numpy(float), "o-", color=colour(prior), markersize=4, label=prior)
    axis.set(xscale="log", xlabel="latent coordinates", ylabel=label, ylim=(0, None))
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.legend(fontsize=8, frameon=False)
    return figure
