"""The figures of the noise study. Frames and generators in, matplotlib figures out; never reads a run, never judges.

``runs``, ``summary`` and ``histories`` are the tables of ``findings``, one colour a prior in all figures. A table that
is still empty makes a panel that says so, a prior without a value an empty row.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, LogLocator, MaxNLocator, NullLocator
from torch import nn

from ganlab import priors
from ganlab.config import NULL, Config
from ganlab.figures.images import named_sheet
from ganlab.figures.style import COLOURS, new_figure
from ganlab.latents import EVALUATION_SEED, evaluation_latents, labels_in_turn
from ganlab.networks.generators import generate
from ganlab.study.statistics import ALPHA, COMPARISON

Trained = Mapping[str, tuple[nn.Module, Config]]


# Gaussian, the reference, is black and its null grey. The core priors have the colours of Okabe & Ito less yellow, the
# extended ones darker colours, and with them dashes and squares: 14 hues alone cannot be told apart.
CORE_COLOURS = ("#1a1a1a", *(COLOURS[place] for place in (1, 2, 3, 4, 9, 0)))
EXTENDED_COLOURS = ("#006374", "#001c7f", "#ca9161", "#8c0800", "#591e71", "#12711c", "#b8850a")
PALETTE = dict(zip(priors.PRIORS, CORE_COLOURS + EXTENDED_COLOURS, strict=True))
PANELS = 3  # beside each other in a figure 10 inches wide


# What a metric is called, its unit, and whether more is better.
METRICS = {
    "fd": ("Frechet distance", "squared feature units", False),
    "fid": ("FID", "squared feature units", False),
    "kid": ("kernel distance", "", False),
    "precision": ("precision", "share of images", True),
    "density": ("density", "", True),
    "target_agreement": ("called the right class", "share of images", True),
    "recall": ("recall", "share of real images", True),
    "coverage": ("coverage", "share of real images", True),
    "duplicate_rate": ("duplicate rate", "share of images", False),
}


BOOTSTRAP_PAIRS = 5  # under so many the bootstrap's interval is far too short to be drawn
FOREST = (
    "point: mean paired difference, filled if Holm-adjusted p < 0.05, half filled if all pairs have the same "
    "difference, not 0, so that no test can be made; thin bar: Student's 95 % interval; thick, from "
    f"{BOOTSTRAP_PAIRS} pairs on: BCa bootstrap, too short with so few; "
    "grey band: smaller than what one test on n pairs detects with power 0.8; n: pairs of runs with one seed"
)


VERDICT = (
    "point: ratio of geometric means, filled if Dunnett's p < 0.05; bar: Dunnett's interval, 95 % for all priors of a "
    "cell at once, without pairs; gaussian-null: gaussian again with other latents; n: runs, a seed each"
)


# --- names, colours and numbers -------------------------------------------------------------------------------------


def colour(prior: str) -> str | tuple[float, float, float]:
    """The prior's colour, the same in every figure."""
    return "0.6" if prior == NULL else PALETTE[prior]


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of ``priors.PRIORS``, the null last."""
    return sorted(set(names), key=[*PALETTE, NULL].index)


def about(metric: str) -> tuple[str, str, bool | None]:
    """What a column as ``fd_train`` is called, its unit, and whether more is better (None: not known)."""
    base = max((name for name in METRICS if f"{metric}_".startswith(f"{name}_")), key=len, default="")
    if not base:
        return metric, "", None
    name, unit, more = METRICS[base]
    return f"{name}, {metric[len(base) + 1 :]}".rstrip(", "), unit, more


def ranges(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean, min, max and count of the finite values of the runs that are done: a row a prior."""
    if metric not in runs or runs.empty:
        return pd.DataFrame(columns=["mean", "min", "max", "count"], dtype=float)
    done = runs.loc[runs["status"] == "done", ["prior", metric]]
    finite = done[np.isfinite(done[metric].astype(float))]
    found = finite.groupby("prior")[metric].agg(["mean", "min", "max", "count"])
    found["mean"] = found["mean"].clip(found["min"], found["max"])  # that of equal values can round to beside them
    return found.loc[in_order(found.index)]


def as_percent(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``stats.compare`` with difference, intervals and smallest detectable in percent of gaussian's mean."""
    lengths = ["difference", "ci_low", "ci_high", "t_low", "t_high", "smallest_detectable"]
    return rows.assign(**{name: 100 * rows[name] / rows["reference_mean"].abs() for name in lengths})


def norms_and_cosines(prior: str, d: int, arm: str, n: int = 10_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Norms (n,) of n latents, always the same, and cosines (n / 2,) of disjoint pairs, without those of a zero."""
    z = priors.get(prior, arm).sample(n, d, torch.Generator().manual_seed(EVALUATION_SEED)).double()
    norms = z.norm(dim=1)
    cosines = (z[: n // 2] * z[n // 2 :]).sum(1) / (norms[: n // 2] * norms[n // 2 :])
    return norms, cosines[cosines.isfinite()]


def strips(generator: nn.Module, config: Config, steps: int) -> torch.Tensor:
    """Images uint8 (3 steps, 3, R, R) between two latents: the path that keeps the prior, lerp, slerp."""
    prior = priors.get(config.prior, config.arm)
    stream = torch.Generator().manual_seed(EVALUATION_SEED + 1)
    start, end = (priors.uniforms(1, config.latent_dim, stream) for _ in range(2))
    shares = np.linspace(0, 1, steps)
    latents = torch.cat([path(prior, start, end, t) for path in priors.PATHS.values() for t in shares])
    labels = labels_in_turn(config, 1)
    return generate(generator, latents, None if labels is None else labels.repeat(len(latents)))


# --- against gaussian -----------------------------------------------------------------------------------------------


def forest(summary: pd.DataFrame, cell: str, metrics: Mapping[str, Sequence[str]]) -> Figure:
    """Paired differences from gaussian in a cell: a panel a metric, a row a prior; ``metrics`` are groups by title.

    summary: the rows of ``stats.compare``. The band is wide where few pairs or a noisy null could hide a difference.
    """
    lines = [
        (title, names[at : at + PANELS]) for title, names in metrics.items() for at in range(0, len(names), PANELS)
    ]
    rows = _of_cell(summary, cell)
    order = in_order(rows["prior"])
    columns = max((len(names) for _, names in lines), default=1)
    height = max(len(lines), 1) * (0.24 * max(len(order), 3) + 1.0) + 0.5
    figure, axes = new_figure(max(len(lines), 1), columns, 10 if columns > 1 else 6, height)
    for axis in axes.flat:
        axis.axis("off")
    for line, (title, names) in zip(axes, lines, strict=False):
        for axis, metric in zip(line, names, strict=False):
            name, unit, more = about(metric)
            direction = "" if more is None else f"\n{'higher' if more else 'lower'} is better"
            axis.axis("on")
            _draw_forest(axis, rows[rows["metric"] == metric], order, names=metric == names[0])
            axis.set_title(name + direction, fontsize=9)
            axis.set_xlabel("difference from gaussian" + f"\n({unit})" * bool(unit), fontsize=8)
        line[0].set_ylabel(title, fontsize=10, weight="bold")
    figure.suptitle(cell, fontsize=10)
    _caption(figure, FOREST)
    return figure


def verdict(together: pd.DataFrame, cells: Sequence[str], metric: str, title: str) -> Figure:
    """A metric that is told in ratios, as so many times gaussian's: a panel for each of the cells that is in the table,
    a row a prior.

    together: the rows of ``stats.dunnett``.
    """
    rows = together[(together["metric"] == metric) & (together["scale"] == "ratio")] if len(together) else together
    cells = [cell for cell in cells if len(rows) and (rows["cell"] == cell).any()]
    if not cells:
        return _nothing()
    figure, axes = _panels(len(cells), max((rows["cell"] == cell).sum() for cell in cells))
    known = rows[["effect", "low", "high"]].stack()
    for axis, cell in zip(axes, cells, strict=True):
        here = rows[rows["cell"] == cell]
        order = in_order(here["prior"])
        _prior_rows(axis, order)
        axis.axvline(1, color="0.3", linewidth=0.8, zorder=1)
        for _, row in here.iterrows():
            y, shade = order.index(row["prior"]), colour(row["prior"])
            fill = shade if row["p"] < ALPHA else "white"
            axis.plot([row["low"], row["high"]], [y, y], color=shade, linewidth=2, solid_capstyle="butt")
            axis.plot(row["effect"], y, _marker(row["prior"]), color=shade, markersize=6, markerfacecolor=fill)
            _beside(axis, y, f"n = {row['n']}")
        axis.set(xscale="log", xlim=(known.min() / 1.1, known.max() * 1.1))
        axis.xaxis.set_major_locator(LogLocator(base=2, subs=(1, 1.5) if known.max() < 6 * known.min() else (1,)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_title(cell, fontsize=9)
        axis.set_xlabel(f"times gaussian's {about(metric)[0]}", fontsize=8)
    figure.suptitle(f"{title}: {'higher' if about(metric)[2] else 'lower'} is better", fontsize=11)
    _caption(figure, VERDICT)
    return figure


def forest_cells(summary: pd.DataFrame, cells: Sequence[str], metrics: Sequence[str]) -> Figure:
    """Paired differences in percent of gaussian's mean: a line of panels for each of the cells that is in the summary,
    a panel a metric, a row a prior."""
    cells = [cell for cell in cells if len(_of_cell(summary, cell))]
    if not cells:
        return _nothing()
    orders = {cell: in_order(_of_cell(summary, cell)["prior"]) for cell in cells}
    heights = [0.24 * len(order) + 0.75 for order in orders.values()]
    figure, axes = new_figure(len(cells), len(metrics), 10, sum(heights) + 0.4, height_ratios=heights)
    for line, (cell, order) in zip(axes, orders.items(), strict=True):
        rows = as_percent(_of_cell(summary, cell))
        for axis, metric in zip(line, metrics, strict=True):
            _draw_forest(axis, rows[rows["metric"] == metric], order, names=metric == metrics[0])
            mean = rows.loc[rows["metric"] == metric, "reference_mean"].mean()
            title = f"{about(metric)[0]}, {'higher' if about(metric)[2] else 'lower'} is better"
            axis.set_title(title + f" (gaussian's mean {mean:.3g})" * bool(np.isfinite(mean)), fontsize=8)
        line[0].set_ylabel(cell.replace("-d", "\nd", 1), fontsize=8, weight="bold")
    for axis in axes[-1]:
        axis.set_xlabel("difference from gaussian, % of its mean", fontsize=8)
    _caption(figure, FOREST)
    return figure


def _of_cell(summary: pd.DataFrame, cell: str) -> pd.DataFrame:
    return summary[summary["cell"] == cell] if len(summary) else pd.DataFrame(columns=list(COMPARISON))


def _draw_forest(axis: plt.Axes, rows: pd.DataFrame, order: list[str], names: bool = True) -> None:
    """Rows of one cell and metric. names: whether the priors are named."""
    if not np.isfinite(rows["difference"].astype(float)).any():
        _no_runs(axis)
        return
    _prior_rows(axis, order if names else [""] * len(order))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.axvline(0, color="0.3", linewidth=0.8, zorder=1)
    for _, row in rows.iterrows():
        y, shade = order.index(row["prior"]), colour(row["prior"])
        if np.isfinite(row["smallest_detectable"]):
            width = 2 * row["smallest_detectable"]
            axis.barh(y, width, left=-width / 2, height=1, color="0.5", alpha=0.16, linewidth=0, zorder=0)
        bars = [(["t_low", "t_high"], 1), (["ci_low", "ci_high"], 4)]
        for ends, thickness in bars[: 1 + (row["n"] >= BOOTSTRAP_PAIRS)]:
            axis.plot(row[ends].astype(float), [y, y], color=shade, linewidth=thickness, solid_capstyle="butt")
        alike = "alike in all pairs" in row["verdict"]
        look = {"markerfacecolor": shade if alike or row["p_holm"] < ALPHA else "white", "markerfacecoloralt": "white"}
        fill = "left" if alike else "full"
        axis.plot(row["difference"], y, _marker(row["prior"]), color=shade, markersize=6, fillstyle=fill, **look)
        _beside(axis, y, f"n = {row['n']:.0f}")


# --- runs -----------------------------------------------------------------------------------------------------------


def precision_recall_plane(runs: pd.DataFrame, floors: pd.Series, cell: str) -> Figure:
    """Quality over diversity in a cell: small dots are runs, large ones means with the range of seeds, the star what
    real images score (``floors``: by metric)."""
    figure, axes = new_figure(1, 2, 10, 4)
    chosen = runs[runs["cell"] == cell] if len(runs) else runs
    for axis, (x, y) in zip(axes[0], (("recall", "precision"), ("coverage", "density")), strict=True):
        x, y = f"{x}_train", f"{y}_train"
        across, up = ranges(chosen, x), ranges(chosen, y)
        shared = [prior for prior in across.index if prior in up.index]
        if not shared:
            _no_runs(axis)
            continue
        for prior in shared:
            done = chosen[(chosen["prior"] == prior) & (chosen["status"] == "done")]
            axis.plot(done[x], done[y], _marker(prior), color=colour(prior), markersize=3, alpha=0.6, linewidth=0)
            (mx, lx, hx), (my, ly, hy) = (frame.loc[prior, ["mean", "min", "max"]] for frame in (across, up))
            bars = {"xerr": [[mx - lx], [hx - mx]], "yerr": [[my - ly], [hy - my]], "elinewidth": 1}
            axis.errorbar(mx, my, fmt=_marker(prior), color=colour(prior), markersize=9, label=prior, **bars)
        if {x, y} <= set(floors.index):
            axis.plot(
                floors[x], floors[y], "*", color="white", markeredgecolor="black", markersize=15, label="real images"
            )
        axis.set(xlabel=f"{about(x)[0]} (diversity)", ylabel=f"{about(y)[0]} (quality)")
        axis.grid(alpha=0.25)
    _legend(figure, axes[0, 0])
    figure.suptitle(f"{cell}: small dots are runs, large ones means, bars the range of seeds", fontsize=10)
    return figure


def learning_curves(histories: pd.DataFrame, floor: float | None = None) -> Figure:
    """Frechet distance over images seen: a line a prior for the mean over seeds, a band from the best to the worst."""
    figure, ((axis,),) = new_figure(1, 1, 10, 4.2)
    column = next((name for name in histories if name.startswith(("fd", "fid"))), None)
    scored = histories.dropna(subset=column) if column else histories
    if column is None or scored.empty:
        _no_runs(axis)
        return figure
    for prior in in_order(scored["prior"]):
        over = scored[scored["prior"] == prior].groupby("images_seen")[column].agg(["mean", "min", "max"])
        seeds = scored.loc[scored["prior"] == prior, "seed"].nunique()
        dashes = "--" if prior in priors.EXTENDED else "-"
        axis.plot(over.index, over["mean"], dashes, color=colour(prior), label=f"{prior} ({seeds})", linewidth=1.6)
        axis.fill_between(over.index, over["min"], over["max"], color=colour(prior), alpha=0.13, linewidth=0)
    if floor is not None and np.isfinite(floor):
        axis.axhline(floor, color="0.3", linestyle=":", label="real images (floor)")
    axis.set(xlabel="images seen", ylabel=f"{about(column)[0]}\n({about(column)[1]})", yscale="log")
    for each in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        each(LogFormatter(labelOnlyBase=False))
    axis.set_title("line: mean over seeds (how many); band: lowest to highest seed", fontsize=10)
    axis.grid(alpha=0.25, which="both")
    _legend(figure, axis)
    return figure


def arrows(
    runs: pd.DataFrame,
    standardised_cell: str,
    raw_cell: str,
    metrics: tuple[str, str] = ("precision_train", "recall_train"),
) -> Figure:
    """From each prior's mean with standardised latents (dot) to its mean with raw ones (head), over the seeds that both
    have; metrics are (y, x)."""
    figure, ((axis,),) = new_figure(1, 1, 7.5, 4.5)
    done = runs[runs["status"] == "done"] if len(runs) else pd.DataFrame(columns=["cell", "prior", "seed", *metrics])
    cells = [done[done["cell"] == cell] for cell in (standardised_cell, raw_cell)]
    keys = [pd.MultiIndex.from_frame(part[["prior", "seed"]]) for part in cells]
    cells = [part[own.isin(other)] for part, own, other in zip(cells, keys, keys[::-1], strict=True)]
    start, end = (
        pd.DataFrame({name: ranges(part, name)["mean"] for name in metrics}).dropna().astype(float) for part in cells
    )
    y, x = metrics
    if start.empty:
        _no_runs(axis)
        return figure
    for prior in start.index:
        axis.plot(*start.loc[prior, [x, y]], _marker(prior), color=colour(prior), markersize=7, label=prior)
        axis.plot(*end.loc[prior, [x, y]], _marker(prior), color=colour(prior), markersize=2)
        style = {"arrowstyle": "-|>", "color": colour(prior), "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", end.loc[prior, [x, y]], start.loc[prior, [x, y]], arrowprops=style)
    axis.set(xlabel=about(x)[0], ylabel=about(y)[0])
    axis.set_title(f"from {standardised_cell} (dot)\nto {raw_cell} (head), means over shared seeds", fontsize=9)
    axis.margins(0.1)
    axis.grid(alpha=0.25)
    _legend(figure, axis)
    return figure


def duplicates(runs: pd.DataFrame) -> Figure:
    """Duplicate rate: a panel a cell, a row a prior, a point a run that is done, a tick their mean."""
    column = next((name for name in runs if name.startswith("duplicate_rate")), None)
    done = runs[runs["status"] == "done"].dropna(subset=column) if column else runs.iloc[:0]
    if done.empty:
        return _nothing()
    cells = list(dict.fromkeys(done["cell"]))
    figure, axes = _panels(len(cells), max(done.groupby("cell")["prior"].nunique()))
    for axis, cell in zip(axes, cells, strict=True):
        part = done[done["cell"] == cell]
        order = in_order(part["prior"])
        _prior_rows(axis, order)
        for prior, found in ranges(part, column).iterrows():
            values, y = 100 * part.loc[part["prior"] == prior, column], order.index(prior)
            apart = y + np.linspace(-0.2, 0.2, len(values)) * (len(values) > 1)
            axis.plot(values, apart, _marker(prior), color=colour(prior), markersize=4, alpha=0.8)
            axis.plot([100 * found["mean"]] * 2, [y - 0.35, y + 0.35], color=colour(prior), linewidth=1.5)
            _beside(axis, y, f"{100 * found['mean']:.3g} %, n = {len(values)}")
        axis.set_title(cell, fontsize=9)
        axis.set_xlim(-3, 103)
        axis.set_xlabel("duplicates, % of images", fontsize=8)
    return figure


def collapse(rates: pd.DataFrame) -> Figure:
    """How often runs failed or collapsed: a panel a cell and outcome, a row a prior, bars 95 % intervals."""
    cells, outcomes = (list(dict.fromkeys(rates[name])) if len(rates) else [""] for name in ("cell", "outcome"))
    order = in_order(rates["prior"]) if len(rates) else []
    heights = [0.24 * rates.loc[rates["cell"] == cell, "prior"].nunique() + 1 for cell in cells] if order else [1.8]
    figure, axes = new_figure(
        len(cells), len(outcomes), min(10, 2 + 3.4 * len(outcomes)), max(sum(heights), 1.8), height_ratios=heights
    )
    words = {"status": "failed (no result)", "collapsed": "collapsed (last distance far above the best)"}
    for line, cell in zip(axes, cells, strict=True):
        for axis, outcome in zip(line, outcomes, strict=True):
            rows = rates[(rates["cell"] == cell) & (rates["outcome"] == outcome)] if len(rates) else rates
            if not len(rows):
                _no_runs(axis)
                continue
            present = in_order(rows["prior"])
            _prior_rows(axis, present if outcome == outcomes[0] else [""] * len(present))
            for y, prior in enumerate(present):
                row = rows[rows["prior"] == prior].iloc[0]
                axis.plot(100 * row[["ci_low", "ci_high"]].astype(float), [y, y], color=colour(prior), linewidth=1)
                axis.plot(100 * row["share"], y, _marker(prior), color=colour(prior), markersize=6)
                _beside(axis, y, f"{row['count']:.0f} of {row['n']:.0f}")
            axis.set_title(f"{cell}\n{words.get(outcome, outcome)}", fontsize=9)
            axis.set_xlim(-3, 103)
            axis.set_xlabel("% of runs, bar: 95 % interval", fontsize=8)
    return figure


# --- latents and images ---------------------------------------------------------------------------------------------


def prior_grids(generators: Trained, n: int = 10) -> Figure:
    """A row a prior, a column one set of uniforms, which every prior turns into its own latents for its own G.

    Colours are rounded to 32 levels a channel; 8 priors of 10 images make a PNG of 200 kB.
    """
    if not generators:
        return _nothing()
    rows = [
        generate(generator, evaluation_latents(config, n), labels_in_turn(config, n))
        for generator, config in (generators[name] for name in in_order(generators))
    ]
    return named_sheet(torch.cat(rows), n, in_order(generators))


def interpolation_strips(generators: Trained, steps: int = 9) -> Figure:
    """Between the same two sets of uniforms, for each prior: the path that keeps the prior (matched), lerp, slerp.

    Colours are rounded to 32 levels a channel; 3 priors of 9 steps make a PNG of 200 kB, so hand over a few at a time.
    """
    if not generators:
        return _nothing()
    order = in_order(generators)
    pictures = torch.cat([strips(*generators[name], steps) for name in order])
    names = [f"{name}\n{path}" if path == "matched" else path for name in order for path in priors.PATHS]
    return named_sheet(pictures, steps, names, tuple(f"t = {t:.2g}" for t in np.linspace(0, 1, steps)))


def latent_distributions(names: Sequence[str], d: int, arm: str = "standardised") -> Figure:
    """Norm of z and cosine between two z, a row a prior: histograms of seeded draws, each as high as its peak."""
    order = in_order(names)
    drawn = [norms_and_cosines(name, d, arm) for name in order]
    figure, axes = new_figure(1, 2, 10, 0.42 * len(order) + 1.4)
    titles = ("norm of z", "cosine between two z")
    for part, (axis, title) in enumerate(zip(axes[0], titles, strict=True)):
        if not order:
            _no_runs(axis)
            continue
        pooled = torch.cat([both[part] for both in drawn]).numpy()
        low, high = np.quantile(pooled, [0.0005, 0.9995])
        edges = np.linspace(*((low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)), 121)
        _prior_rows(axis, order if part == 0 else [""] * len(order))
        for y, (name, both) in enumerate(zip(order, drawn, strict=True)):
            values = both[part].numpy()
            counts = np.histogram(values.clip(edges[0], edges[-1]), edges)[0]
            step = {"edges": edges, "baseline": y + 0.42, "color": colour(name)}
            for look in ({"fill": True, "alpha": 0.35}, {}):
                axis.stairs(y + 0.42 - 0.84 * counts / counts.max(), **step, **look)
            spread = f"cv {values.std() / values.mean():.3f}" if part == 0 else f"mean {values.mean():+.2f}"
            _beside(axis, y, spread.replace("-0.00", "+0.00"))
        axis.set_xlabel(title, fontsize=9)
    figure.suptitle(
        f"{arm} latents, d = {d}; cv: standard deviation over mean; outermost bins: all beyond", fontsize=10
    )
    return figure


def swap_heatmap(swap: pd.DataFrame) -> Figure:
    """Frechet distance of a G trained with one prior (rows) and fed with another (columns); framed: its own."""
    if swap.empty or not np.isfinite(swap.to_numpy(float)).any():
        return _nothing()
    table = swap.loc[in_order(swap.index), in_order(swap.columns)].astype(float)
    rows, columns = table.shape
    figure, ((axis,),) = new_figure(1, 1, min(10, 2.6 + 0.8 * columns), 1.4 + 0.42 * rows)
    words, plain = table.map(lambda value: f"{value:.3g}"), LogFormatter(labelOnlyBase=False)
    bar = {"label": "Frechet distance (squared feature units)", "format": plain}
    look = {"norm": LogNorm(), "cmap": "cividis", "annot_kws": {"size": 8}}
    sns.heatmap(table, ax=axis, annot=words, fmt="", cbar_kws=bar, **look)
    axis.collections[0].colorbar.ax.yaxis.set_minor_formatter(plain)
    for y, name in enumerate(table.index):
        if name in table.columns:
            place = (list(table.columns).index(name), y)
            axis.add_patch(plt.Rectangle(place, 1, 1, fill=False, edgecolor=COLOURS[3], linewidth=2.5, clip_on=False))
    axis.set(xlabel="sampled with", ylabel="trained with")
    axis.tick_params(axis="x", rotation=30)
    axis.tick_params(axis="y", rotation=0)
    return figure


# --- parts of a figure ----------------------------------------------------------------------------------------------


def _panels(count: int, rows: int) -> tuple[Figure, list[plt.Axes]]:
    """So many panels, ``PANELS`` beside each other, each with room for so many rows."""
    lines, columns = -(-count // PANELS), min(count, PANELS)
    figure, axes = new_figure(lines, columns, min(10, 2.5 + 3.2 * columns), lines * (0.24 * rows + 0.9) + 0.4)
    for axis in axes.flat[count:]:
        axis.axis("off")
    return figure, list(axes.flat[:count])


def _marker(prior: str) -> str:
    return "s" if prior in priors.EXTENDED else "o"


def _prior_rows(axis: plt.Axes, names: list[str]) -> None:
    """A row for each name, the first on top."""
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.tick_params(axis="y", length=0)
    axis.grid(alpha=0.25, axis="x")


def _beside(axis: plt.Axes, y: float, words: str) -> None:
    """Small words to the right of a row."""
    axis.text(1.015, y, words, transform=axis.get_yaxis_transform(), va="center", size=7, color="0.3")


def _caption(figure: Figure, words: str, size: float = 7.5) -> None:
    """Small words under the figure, in as many lines as its width asks for."""
    letters = int(72 * figure.get_figwidth() / (0.53 * size))  # a letter is half its size wide, in the mean
    figure.supxlabel(textwrap.fill(words, letters), fontsize=size, color="0.3")


def _legend(figure: Figure, axis: plt.Axes) -> None:
    if axis.get_legend_handles_labels()[0]:
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)


def _no_runs(axis: plt.Axes) -> None:
    axis.text(0.5, 0.5, "no runs yet", transform=axis.transAxes, ha="center", va="center", color="0.3")
    axis.set(xticks=[], yticks=[])


def _nothing() -> Figure:
    figure, ((axis,),) = new_figure(1, 1, 4, 1)
    _no_runs(axis)
    return figure
