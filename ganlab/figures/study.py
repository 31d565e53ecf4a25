"""The figures of the noise study. Tables in, matplotlib figures out; never reads a run, never judges.

One colour a prior in all figures. A table that is still empty makes a panel that says so.
"""

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ganlab.figures.palette import colour, in_order, marker, prior_rows
from ganlab.figures.style import new_figure, nothing, nothing_yet, plain_ticks

CONTROL = "gaussian"
UNITS = {"recall": "share of real images", "coverage": "share of real images", "precision": "share of images",
         "agreement": "share called the right class", "duplicates": "share of images"}  # fmt: skip
JITTER = 0.16  # of a row's height, so that dots of equal value can be told apart


# --- against Gaussian -----------------------------------------------------------------------------------------------


def primary(
    runs: pd.DataFrame, verdicts: pd.DataFrame, condition: str, judges: Sequence[str], margin: float
) -> Figure:
    """A condition's distances as ratios to Gaussian's: a panel a judge, a row a prior, a dot a run, a bar the
    simultaneous 95 % interval, the margin shaded. Gaussian has a row of its own: its runs against their mean.

    runs: a column log_fd_<judge>; drawn relative to Gaussian of the same class and machine. verdicts: ratio, low, high.
    """
    here = runs[(runs["condition"] == condition) & (runs["status"] == "done")]
    found = verdicts[verdicts["condition"] == condition]
    order = in_order(here["prior"])
    figure, axes = new_figure(1, len(judges), 1.6 + 4.2 * len(judges), 0.34 * max(len(order), 3) + 1.2, "whitegrid")
    for axis, judge in zip(axes[0], judges, strict=True):
        axis.set_title(f"judge: {judge}", fontsize=10)
        ratios = _ratios(here, f"log_fd_{judge}")
        if ratios.empty:
            nothing_yet(axis)
            continue
        axis.axvspan(1 / margin, margin, color="0.5", alpha=0.18, linewidth=0)
        axis.axvline(1, color="0.3", linewidth=0.8)
        stream = np.random.default_rng(0)
        for row in ratios.itertuples():
            y = order.index(row.prior) + stream.uniform(-JITTER, JITTER)
            axis.plot(row.ratio, y, marker(row.prior), color=colour(row.prior), markersize=4, alpha=0.6, mew=0)
        for row in found[found["judge"] == judge].dropna(subset="ratio").itertuples():
            _interval(axis, order.index(row.prior), row)
        prior_rows(axis, order if axis is axes[0, 0] else [""] * len(order))
        _log_axis(axis, [*ratios["ratio"], *found["low"], *found["high"], 1 / margin, margin])
        axis.set_xlabel("Frechet distance, times Gaussian's", fontsize=9)
    return figure


def _ratios(runs: pd.DataFrame, value: str) -> pd.DataFrame:
    """Each run's distance over the geometric mean of Gaussian's in its class and on its machine: prior, ratio."""
    known, block = runs.dropna(subset=value), ["class", "machine"]
    control = known[known["prior"] == CONTROL].groupby(block)[value].mean().rename("control").reset_index()
    known = known.merge(control, on=block)
    ratio = np.exp(known[value].to_numpy(float) - known["control"].to_numpy())
    return pd.DataFrame({"prior": known["prior"].to_numpy(), "ratio": ratio})


def _interval(axis: plt.Axes, y: int, row: tuple) -> None:
    shade = colour(row.prior)
    axis.plot([row.low, row.high], [y, y], color=shade, linewidth=2.2, solid_capstyle="butt")
    axis.plot(row.ratio, y, "|", color=shade, markersize=13, mew=2.2)


def conditions(verdicts: pd.DataFrame, judges: Sequence[str], margin: float) -> Figure:
    """Every condition's intervals, one condition below the other, a column a judge; the margin shaded."""
    found = verdicts.dropna(subset="low") if len(verdicts) else verdicts
    if found.empty:
        return nothing()
    names = list(dict.fromkeys(found["condition"]))
    orders = {name: in_order(found.loc[found["condition"] == name, "prior"]) for name in names}
    heights = [0.24 * len(orders[name]) + 0.35 for name in names]
    size = (1.6 + 4.2 * len(judges), sum(heights) + 0.9)
    figure, axes = new_figure(len(names), len(judges), *size, "whitegrid", height_ratios=heights, sharex="col")
    for line, name in zip(axes, names, strict=True):
        for axis, judge in zip(line, judges, strict=True):
            here = found[(found["condition"] == name) & (found["judge"] == judge)]
            axis.axvspan(1 / margin, margin, color="0.5", alpha=0.18, linewidth=0)
            axis.axvline(1, color="0.3", linewidth=0.8)
            for row in here.itertuples():
                _interval(axis, orders[name].index(row.prior), row)
            prior_rows(axis, orders[name] if axis is line[0] else [""] * len(orders[name]))
            if here.empty:
                axis.text(0.5, 0.5, "not used", transform=axis.transAxes, ha="center", va="center", color="0.4")
        line[0].set_ylabel(name, fontsize=9, weight="bold")
    for column, judge in enumerate(judges):
        ends = found.loc[found["judge"] == judge, ["low", "high"]].to_numpy(float).ravel()
        _log_axis(axes[-1, column], [*ends, 1 / margin, margin])
        axes[0, column].set_title(f"judge: {judge}", fontsize=10)
        axes[-1, column].set_xlabel("Frechet distance, times Gaussian's", fontsize=9)
    return figure


def secondary(table: pd.DataFrame, condition: str) -> Figure:
    """Differences from Gaussian in a condition's other outcomes: a panel a metric, a row a prior, simultaneous 95 %
    intervals."""
    here = table[table["condition"] == condition].dropna(subset="difference") if len(table) else table
    metrics = list(dict.fromkeys(here["metric"])) if len(here) else []
    if not metrics:
        return nothing()
    order = in_order(here["prior"])
    figure, axes = new_figure(1, len(metrics), 10, 0.3 * max(len(order), 3) + 1.4, "whitegrid")
    for axis, metric in zip(axes[0], metrics, strict=True):
        axis.axvline(0, color="0.3", linewidth=0.8)
        for row in here[here["metric"] == metric].itertuples():
            y = order.index(row.prior)
            axis.plot([row.low, row.high], [y, y], color=colour(row.prior), linewidth=2.2, solid_capstyle="butt")
            axis.plot(row.difference, y, marker(row.prior), color=colour(row.prior), markersize=5)
        prior_rows(axis, order if axis is axes[0, 0] else [""] * len(order))
        axis.set_title(metric, fontsize=10)
        axis.set_xlabel(f"minus Gaussian's\n({UNITS[metric]})", fontsize=8)
    return figure


def takeoff(table: pd.DataFrame) -> Figure:
    """Share of runs that took off, with 95 % intervals: a panel a condition, a row a prior."""
    names = list(dict.fromkeys(table["condition"])) if len(table) else []
    if not names:
        return nothing()
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    most = table.groupby("condition")["prior"].nunique().max()
    figure, axes = new_figure(lines, columns, 3.4 * columns, lines * (0.26 * most + 0.9), "whitegrid")
    for axis in axes.flat[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.flat, names, strict=False):
        here = table[table["condition"] == name]
        order = in_order(here["prior"])
        for row in here.itertuples():
            y, shade = order.index(row.prior), colour(row.prior)
            axis.plot([100 * row.low, 100 * row.high], [y, y], color=shade, linewidth=2.2, solid_capstyle="butt")
            axis.plot(100 * row.share, y, marker(row.prior), color=shade, markersize=5)
        prior_rows(axis, [f"{name} ({here.set_index('prior').loc[name, 'n']})" for name in order])
        axis.set(xlim=(-3, 103))
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("% of runs that took off", fontsize=8)
    return figure


def latent_size(runs: pd.DataFrame, conditions: Sequence[str], judge: str) -> Figure:
    """Distance over latent size, a line a prior that has several: a dot a run, the line through the geometric means."""
    value = f"log_fd_{judge}"
    here = runs[runs["condition"].isin(list(conditions)) & (runs["status"] == "done")].dropna(subset=value)
    here = here[here.groupby("prior")["latent_dim"].transform("nunique") > 1]
    if here.empty:
        return nothing()
    figure, ((axis,),) = new_figure(1, 1, 6.5, 3.6, "whitegrid")
    for prior in in_order(here["prior"]):
        mine = here[here["prior"] == prior]
        means = np.exp(mine.groupby("latent_dim")[value].mean())
        axis.plot(mine["latent_dim"], np.exp(mine[value].astype(float)), marker(prior), color=colour(prior),
                  markersize=4, alpha=0.6, mew=0)  # fmt: skip
        axis.plot(means.index, means, "-", color=colour(prior), linewidth=1.6, label=prior)
    sizes = sorted(here["latent_dim"].unique())
    axis.set(xscale="log", yscale="log", xlabel="latent coordinates", ylabel=f"Frechet distance ({judge})")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    plain_ticks(axis.yaxis)
    axis.tick_params(axis="y", labelsize=8)
    axis.legend(fontsize=8, frameon=False)
    return figure


# --- learning -------------------------------------------------------------------------------------------------------


def learning_curves(histories: pd.DataFrame, judge: str, margin: float = 0.0) -> Figure:
    """Distance over images seen: the geometric mean over seeds, and around Gaussian's a band from the lowest to the
    highest seed. margin: of Gaussian alone, the band is this ratio to either side of its mean."""
    known = histories[histories["prior"] == CONTROL] if margin else histories
    if known.empty:
        return nothing()
    figure, ((axis,),) = new_figure(1, 1, 7.5, 3.6, "whitegrid")
    for prior in in_order(known["prior"]):
        mine = known[known["prior"] == prior]
        over = mine.assign(log=np.log(mine["fd"])).groupby("images_seen")["log"].agg(["mean", "min", "max"])
        if margin:
            over = over.assign(min=over["mean"] - np.log(margin), max=over["mean"] + np.log(margin))
        over = np.exp(over)
        axis.plot(over.index, over["mean"], color=colour(prior), linewidth=1.6, label=prior)
        if prior == CONTROL:
            axis.fill_between(over.index, over["min"], over["max"], color=colour(prior), alpha=0.13, linewidth=0)
    axis.set(yscale="log", xlabel="images seen", ylabel=f"Frechet distance ({judge})")
    plain_ticks(axis.yaxis)
    axis.tick_params(axis="y", labelsize=8)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.legend(fontsize=8, frameon=False)
    return figure


def no_effect(ratios: np.ndarray, margin: float, judge: str) -> Figure:
    """A histogram of ratios that are chance alone; the margin shaded."""
    if not len(ratios):
        return nothing()
    figure, ((axis,),) = new_figure(1, 1, 6.5, 2.2, "whitegrid")
    axis.axvspan(1 / margin, margin, color="0.5", alpha=0.18, linewidth=0)
    axis.hist(ratios, bins=np.geomspace(ratios.min(), ratios.max(), 31), color="0.55")
    axis.axvline(1, color=colour(CONTROL), linewidth=1)
    _log_axis(axis, [*ratios, 1 / margin, margin])
    words = f"mean distance ({judge}) of one half of Gaussian's runs over that of the other half"
    axis.set(xlabel=words, ylabel=f"splits of {len(ratios):,}")
    return figure


# --- parts of a figure ----------------------------------------------------------------------------------------------


def _log_axis(axis: plt.Axes, values: Iterable[float]) -> None:
    known = np.array([value for value in values if np.isfinite(value) and value > 0])
    low, high = known.min() / 1.03, known.max() * 1.03
    axis.set(xscale="log", xlim=(low, high))
    steps = (0.25, 0.5, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4) if high / low < 4 else (1 / 16, 0.25, 0.5, 1, 2, 4, 16)
    ticks = [step for step in steps if low <= step <= high]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
