"""Figures of one training: curves, scores on the way, snapshots."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from ganlab.figures.images import named_sheet
from ganlab.figures.style import FAKE, GENERATOR, REAL, new_figure, nothing, plain_ticks
from ganlab.files import untile
from ganlab.scoring.metrics import shown_name


def snapshots(grids: Mapping[int, np.ndarray], most: int = 6) -> Figure:
    """A row an epoch, a column a latent: eight images, of several classes if there are some, of at most ``most``
    grids (``Run.snapshots``)."""
    if not grids:
        return nothing("this run's snapshots are not kept here")
    epochs = sorted(grids)
    chosen = [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))]
    pictures = torch.cat([untile(grids[epoch], 8) for epoch in chosen])
    return named_sheet(pictures, 8, [f"epoch {epoch}" for epoch in chosen])


def curves(history: pd.DataFrame) -> Figure:
    """Losses of G and D, D's accuracy on real and generated images, and seconds, epoch by epoch."""
    figure, axes = new_figure(1, 3, 10, 2.8)
    draw_curves(list(axes[0]), history)
    return figure


def draw_curves(axes: list[plt.Axes], history: pd.DataFrame) -> None:
    lines = (
        (("d_loss_real", "D on real", REAL), ("d_loss_fake", "D on generated", FAKE), ("g_loss", "G", GENERATOR)),
        (("d_acc_real", "real", REAL), ("d_acc_fake", "generated", FAKE)),
        (("seconds", "", "0.3"),),
    )
    titles = (("loss", "mean over the epoch"), ("D's accuracy", "share called right"), ("time per epoch", "seconds"))
    few = len(history) < 2
    for axis, group, (title, unit) in zip(axes, lines, titles, strict=True):
        axis.clear()
        for column, label, colour in group:
            axis.plot(history["epoch"], history[column], "o-" if few else "-", color=colour, label=label, linewidth=1.3)
        axis.set(title=title, ylabel=unit, xlabel="epoch")
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.25)
        if len(group) > 1:
            axis.legend(fontsize=8, frameon=False)
    if (history[["d_loss_real", "d_loss_fake", "g_loss"]] < 0).any(axis=None):
        axes[0].axhline(0, color="0.6", linewidth=0.8)
        axes[0].set_title("loss (a critic's goes below 0)", fontsize=10)
    axes[1].set_ylim(0, 1.02)
    axes[2].set_ylim(0)


def score_curves(history: pd.DataFrame, metrics: Mapping[str, Any]) -> Figure:
    """Frechet distance and Inception score of the averaged generator over training, with the floor of real images."""
    scored = [name for name in ("fd", "is") if name in history]
    if not scored:
        return nothing("not scored while it trained (eval_every was 0)")
    figure, axes = new_figure(1, len(scored), 10, 3)
    about, best = metrics.get("scored") or {}, metrics.get("best") or {}
    floor = about.get("floor") or {}
    for axis, name in zip(axes[0], scored, strict=True):
        rows = history.dropna(subset=name)
        axis.plot(rows["epoch"], rows[name], "o-", markersize=3, color=GENERATOR, label="averaged generator")
        if name in floor:
            axis.axhline(floor[name], color=REAL, linestyle="--", label="real test images")
        if name == "fd":
            axis.set_yscale("log")
            plain_ticks(axis.yaxis)
            if name in best and best["extractor"] == about.get("extractor"):
                words = f"best, epoch {best['epoch']}"
                axis.plot(best["epoch"], best[name], "*", markersize=11, color=FAKE, label=words)
        words = shown_name(name, about.get("extractor", ""))
        axis.set(title=f"{words}, {about['generated']} images" if about else words, xlabel="epoch")
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.25, which="both")
        axis.legend(fontsize=8, frameon=False)
    return figure
