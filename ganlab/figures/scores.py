"""Figures of scores: precision and recall, classes, races, classification accuracy."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ganlab.figures.style import COLOURS, FAKE, GENERATOR, REAL, new_figure, plain_ticks


def precision_recall(table: pd.DataFrame) -> Figure:
    """Quality against diversity, generated (dot) and real images (cross) for each extractor and split."""
    figure, axes = new_figure(1, 2, 8, 3.6)
    pairs = (("recall", "precision"), ("coverage", "density"))
    for axis, (x, y) in zip(axes[0], pairs, strict=True):
        rows = table[table["metric"].isin((x, y))]
        for colour, ((extractor, split), group) in zip(COLOURS, rows.groupby(["extractor", "split"]), strict=False):
            found = group.set_index("metric")
            label = f"{extractor}, {found['generated'].iloc[0]} against {split}"
            axis.plot(found.loc[x, "value"], found.loc[y, "value"], "o", color=colour, label=label)
            axis.plot(found.loc[x, "floor"], found.loc[y, "floor"], "x", color=colour)
        axis.set(xlabel=f"{x} (diversity)", ylabel=f"{y} (quality)", xlim=(0, 1.02))
        axis.set_ylim(0, max(1.02, 1.08 * axis.get_ylim()[1]))
        axis.grid(alpha=0.25)
    axes[0, 0].legend(
        fontsize=7, frameon=False, loc="lower left", title="dot: generated, cross: real", title_fontsize=7
    )
    return figure


def class_histogram(generated: pd.Series, real: pd.Series) -> Figure:
    """Which classes the images are called, as shares, real beside generated; both indexed by class name."""
    figure, axes = new_figure(1, 1, 9, 2.8)
    places, axis = np.arange(len(real)), axes[0, 0]
    for shift, counts, colour, label in ((-0.2, real, REAL, "real"), (0.2, generated, FAKE, "generated")):
        axis.bar(places + shift, counts / counts.sum(), 0.4, color=colour, label=f"{label} ({counts.sum()})")
    axis.set_xticks(places, list(real.index), rotation=30, ha="right", fontsize=8)
    axis.set(ylabel="share of images", title="what the images are called")
    axis.title.set_fontsize(10)
    axis.legend(fontsize=8, frameon=False)
    axis.grid(alpha=0.25, axis="y")
    return figure


def race(rows: pd.DataFrame) -> Figure:
    """Frechet distance over minutes of training, a panel for each of ``classes``: a thin line a run, a thick one for
    the mean of each contender. rows: contender, classes, seed, minutes, extractor, value, floor."""
    unit = f"Frechet distance\n({rows['extractor'].iloc[0]}, squared feature units)"
    panels = list(rows.groupby("classes", sort=False))
    figure, axes = new_figure(1, len(panels), 5 * len(panels), 4)
    for axis, (classes, panel) in zip(axes[0], panels, strict=True):
        for colour, (contender, runs) in zip(COLOURS, panel.groupby("contender", sort=False), strict=False):
            for _, run in runs.groupby("seed"):
                axis.plot(run["minutes"], run["value"], color=colour, linewidth=0.7, alpha=0.5)
            mean, seeds = runs.groupby("minutes")["value"].mean(), runs["seed"].nunique()
            label = f"{contender} ({seeds} seed{'s' * (seeds > 1)})"
            axis.plot(mean.index, mean, "o-", color=colour, markersize=3, label=label)
        axis.axhline(panel["floor"].iloc[0], color="0.4", linestyle=":", label="real images (floor)")
        axis.set(xlabel="minutes of training", ylabel=unit, yscale="log", title=classes)
        axis.set_xticks(sorted(panel["minutes"].unique()))
        plain_ticks(axis.yaxis)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False)
    return figure


def classification(table: pd.DataFrame) -> Figure:
    """Test accuracy over real images a class, with and without synthetic ones beside them, from a table of
    ``augmentation.summary``; as a band what synthetic images alone reach. Bars and band: 95 % Student intervals."""
    figure, ((axis,),) = new_figure(1, 1, 6.5, 4)
    for name, colour, shift in (("real", REAL, 0.98), ("real and synthetic", GENERATOR, 1.02)):  # bars side by side
        group = table[table["training_set"] == name]
        reach = (group["accuracy"] - group["low"]).fillna(0)
        axis.errorbar(group["real"] * shift, group["accuracy"], reach, fmt="o-", color=colour, label=name,
                      markersize=4, capsize=3, linewidth=1.3)  # fmt: skip
    for row in table[table["training_set"] == "synthetic"].itertuples():
        axis.axhline(row.accuracy, color=FAKE, linestyle="--", linewidth=1.3, label="synthetic alone")
        if row.low < row.high:
            axis.axhspan(row.low, row.high, color=FAKE, alpha=0.2, linewidth=0)
    ticks = sorted(set(table["real"]) - {0})
    axis.set(xscale="log", xlabel="real images a class", ylabel="share of test images called right")
    axis.set_xticks(ticks, [str(k) for k in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    words = f"mean and 95 % interval, {table['seeds'].max()} seeds"
    axis.legend(fontsize=8, frameon=False, title=words, title_fontsize=8)
    return figure
