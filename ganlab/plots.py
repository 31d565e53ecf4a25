"""Every figure. Takes images, frames and runs; returns matplotlib figures; computes nothing that a test would want."""

import io
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from ganlab import priors
from ganlab.config import Config
from ganlab.models import REACH, generate
from ganlab.models import directions as leading_directions
from ganlab.runs import Run, read_png, tile
from ganlab.sample import EVALUATION_SEED, labels_in_turn

DPI = 110
COLOURS = (  # seaborn's palette "colorblind"; to import seaborn takes longer than to draw
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9",
)  # fmt: skip
REAL, FAKE, GENERATOR = COLOURS[0], COLOURS[1], COLOURS[2]


def new_figure(rows: int, columns: int, width: float, height: float, **layout: Any) -> tuple[Figure, Any]:
    """A figure that is shown only when it is a cell's value (or shown by hand), never twice. layout: of its rows."""
    size, look = (width, height), {"dpi": DPI, "layout": "constrained", "squeeze": False}
    figure, axes = plt.subplots(rows, columns, figsize=size, **look, **layout)
    plt.close(figure)
    return figure, axes


def images(pictures: torch.Tensor, columns: int = 8) -> Figure:
    """uint8 (N, 3, H, W) as one sheet, filled row by row."""
    return _sheet(tile(pictures, columns))


def _words(said: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure, axes = new_figure(1, 1, 6, 0.6)
    axes[0, 0].text(0, 0.5, said)
    axes[0, 0].axis("off")
    return figure


def _sheet(sheet: np.ndarray, across: tuple[str, ...] = (), down: tuple[str, ...] = ()) -> Figure:
    """A sheet uint8 (H, W, 3) twice its size, with headings above its equal parts and names to the left of its rows.

    Every pixel becomes exactly 2x2 on the screen: what is resampled by a fraction doubles the size of a PNG.
    """
    height, width = (2 * side for side in sheet.shape[:2])
    top, left = 22 * bool(across), 90 * bool(down)
    figure = plt.figure(figsize=((left + width) / DPI, (top + height) / DPI), dpi=DPI)
    plt.close(figure)
    axis = figure.add_axes((left / (left + width), 0, width / (left + width), height / (top + height)))
    show(axis, sheet)
    axis.set_aspect("auto")  # the axis has exactly the sheet's pixels
    for place, heading in enumerate(across):
        axis.text((place + 0.5) / len(across), 1 + 6 / height, heading, transform=axis.transAxes, ha="center", size=9)
    for place, name in enumerate(down):
        axis.text(
            -6 / width, 1 - (place + 0.5) / len(down), name, transform=axis.transAxes, ha="right", va="center", size=9
        )
    return figure


def show(axis: plt.Axes, sheet: np.ndarray, title: str = "") -> None:
    axis.imshow(sheet, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def snapshots(run: Run, most: int = 6, columns: int = 8) -> Figure:
    """A row an epoch, a column a latent: the first ``columns`` images of the grids that the run drew, at most ``most``
    of them."""
    grids = run.grids()
    if not grids:
        return _words("the grids that were drawn while it trained are not kept here")
    epochs = sorted(grids)
    chosen = [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, min(most, len(epochs))).round().astype(int))]
    side = run.config.resolution
    rows = [
        np.pad(read_png(grids[epoch])[:side, : columns * (side + 1) - 1], ((0, 1), (0, 0), (0, 0)), constant_values=255)
        for epoch in chosen
    ]
    sheet = _fewer_colours(torch.from_numpy(np.concatenate(rows))).numpy()
    return _sheet(sheet, down=tuple(f"epoch {epoch}" for epoch in chosen))


def real_and_generated(real: torch.Tensor, generated: torch.Tensor, columns: int = 6) -> Figure:
    """Two sheets side by side, uint8 (N, 3, H, W) each, at least one image in each."""
    sheets = [tile(pictures, columns) for pictures in (real, generated)]
    height = max(len(sheet) for sheet in sheets)
    left, right = (np.pad(sheet, ((0, height - len(sheet)), (0, 0), (0, 0)), constant_values=255) for sheet in sheets)
    gap = np.full((height, 8, 3), 255, np.uint8)
    return _sheet(np.concatenate([left, gap, right], 1), across=("real", "generated"))


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


def interpolation(generator: nn.Module, config: Config, strips: int = 4, steps: int = 10) -> Figure:
    """From one latent to another along the path that keeps the prior: a strip a pair and, if conditional, a class."""
    prior = priors.get(config.prior, config.arm)
    stream = torch.Generator().manual_seed(EVALUATION_SEED + 1)
    start, end = (priors.uniforms(strips, config.latent_dim, stream) for _ in range(2))
    latents = torch.stack([prior.interpolate(start, end, t) for t in np.linspace(0, 1, steps)], 1).flatten(0, 1)
    labels = labels_in_turn(config, strips)
    labels = None if labels is None else labels.repeat_interleave(steps)
    return images(generate(generator, latents, labels), columns=steps)


def directions(generator: nn.Module, config: Config, k: int = 5, steps: int = 9, reach: float = REACH) -> Figure:
    """A row for each of G's k leading directions (``models.directions``): one latent moved along it, up to ``reach``
    standard deviations of a coordinate to either side."""
    prior = priors.get(config.prior, config.arm, config.latent_dim)
    stream = torch.Generator().manual_seed(EVALUATION_SEED + 1)
    latent = prior.sample(1, config.latent_dim, stream)
    ways = leading_directions(generator, min(k, config.latent_dim))[0]
    moves = np.linspace(-reach, reach, steps)
    latents = torch.cat([latent + prior.std * move * way for way in ways for move in moves.tolist()])
    labels = labels_in_turn(config, 1)
    pictures = generate(generator, latents, None if labels is None else labels.repeat(len(latents)))
    names = [f"direction {place + 1}" for place in range(len(ways))]
    return named_sheet(pictures, steps, names, tuple(f"{move:+.1f}" for move in moves))


def truncation(generator: nn.Module, config: Config, shares: tuple[float, ...] = (1.0, 0.7, 0.4, 0.1)) -> Figure:
    """A row for each share of every coordinate that truncation keeps, a column the same uniforms; for a prior without
    truncation a sentence."""
    prior = priors.get(config.prior, config.arm)
    if not prior.truncatable:
        return _words(f"truncation is not defined for {prior.name}")
    stream = torch.Generator().manual_seed(EVALUATION_SEED + 1)
    uniforms, labels = priors.uniforms(10, config.latent_dim, stream), labels_in_turn(config, 10)
    rows = [generate(generator, prior.icdf(prior.truncate(uniforms, share)), labels) for share in shares]
    return named_sheet(torch.cat(rows), 10, [f"share {share:g}" for share in shares])


def animation(generator: nn.Module, config: Config, images: int = 5, frames: int = 18) -> bytes:
    """An animated PNG: ``images`` latents side by side, each on its way to the next and the last to the first, on the
    path that keeps the prior."""
    prior = priors.get(config.prior, config.arm)
    stream = torch.Generator().manual_seed(EVALUATION_SEED + 1)
    start = priors.uniforms(images, config.latent_dim, stream)
    labels = labels_in_turn(config, images)
    sheets = []
    for t in np.linspace(0, 1, frames, endpoint=False):
        drawn = generate(generator, prior.interpolate(start, start.roll(-1, 0), float(t)), labels)
        sheets.append(Image.fromarray(tile(_fewer_colours(drawn), images).repeat(2, 0).repeat(2, 1)))
    file = io.BytesIO()
    sheets[0].save(file, format="PNG", save_all=True, append_images=sheets[1:], duration=120, loop=0)
    return file.getvalue()


def named_sheet(pictures: torch.Tensor, columns: int, names: list[str], across: tuple[str, ...] = ()) -> Figure:
    """One sheet with a name to the left of each row; about 80 images of CIFAR-10's size stay under 200 kB."""
    sheet = np.pad(tile(_fewer_colours(pictures), columns), ((0, 1), (0, 0), (0, 0)), constant_values=255)  # equal rows
    figure = _sheet(sheet, across, tuple(name.replace("_", "\n") if len(name) > 12 else name for name in names))
    for text in figure.axes[0].texts:
        text.set_fontsize(7)
    return figure


def _fewer_colours(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 rounded to 32 levels a channel, which nobody sees and takes a third off a PNG."""
    return ((pictures.float() * 31 / 255).round() * 255 / 31).round().byte()


def scores(history: pd.DataFrame, metrics: dict[str, Any]) -> Figure:
    """Frechet distance and Inception score of the averaged generator over training, with the floor of real images."""
    scored = [name for name in history if name.startswith(("fd_", "fid", "is_"))]
    figure, axes = new_figure(1, max(len(scored), 1), 10, 3)
    if not scored:
        axes[0, 0].text(0.5, 0.5, "not scored while it trained (eval_every was 0)", ha="center")
        axes[0, 0].axis("off")
    about, best = metrics.get("scored") or {}, metrics.get("best") or {}
    floor = about.get("floor") or {}
    for axis, name in zip(axes[0], scored, strict=False):
        rows = history.dropna(subset=name)
        axis.plot(rows["epoch"], rows[name], "o-", markersize=3, color=GENERATOR, label="averaged generator")
        if name in floor:
            axis.axhline(floor[name], color=REAL, linestyle="--", label="real test images")
        if name.startswith("f"):
            axis.set_yscale("log")
            if name in best:
                words = f"best, epoch {best['epoch']}"
                axis.plot(best["epoch"], best[name], "*", markersize=11, color=FAKE, label=words)
        axis.set(title=f"{name}, {about['generated']} images" if about else name, xlabel="epoch")
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.25, which="both")
        axis.legend(fontsize=8, frameon=False)
    return figure


def neighbours(generated: torch.Tensor, nearest: torch.Tensor, distances: torch.Tensor, real_distance: float) -> Figure:
    """Generated images in one row, the training image nearest to each below it, and how far it is."""
    figure, axes = new_figure(2, len(generated), 10, 2.7)
    for row, pictures in enumerate((generated, nearest)):
        for axis, picture in zip(axes[row], pictures, strict=True):
            show(axis, picture.permute(1, 2, 0).numpy())
    for axis, distance in zip(axes[1], distances, strict=True):
        axis.set_title(f"{distance:.2f}", fontsize=8)
    title = f"generated, and the nearest training image (distance; real test images: median {real_distance:.2f})"
    figure.suptitle(title, fontsize=10)
    return figure


def precision_recall(table: pd.DataFrame) -> Figure:
    """Quality against diversity, generated (dot) and real images (cross) for each extractor and split."""
    figure, axes = new_figure(1, 2, 8, 3.6)
    pairs = (("recall", "precision"), ("coverage", "density"))
    for axis, (x, y) in zip(axes[0], pairs, strict=True):
        rows = table[table["metric"].str.startswith((x, y))]
        for colour, ((extractor, split), group) in zip(COLOURS, rows.groupby(["extractor", "split"]), strict=False):
            found = group.set_index(group["metric"].str.split("_").str[0])
            count = found["generated"].iloc[0]
            label = f"{extractor}, {count} against {split}"
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
    the mean of each contender."""
    distance = next(name for name in rows if name.startswith("fd_") and not name.endswith("_floor"))
    unit = f"Frechet distance\n({distance.removeprefix('fd_')}, squared feature units)"
    panels = list(rows.groupby("classes", sort=False))
    figure, axes = new_figure(1, len(panels), 5 * len(panels), 4)
    for axis, (classes, panel) in zip(axes[0], panels, strict=True):
        for colour, (contender, runs) in zip(COLOURS, panel.groupby("contender", sort=False), strict=False):
            for _, run in runs.groupby("seed"):
                axis.plot(run["minutes"], run[distance], color=colour, linewidth=0.7, alpha=0.5)
            mean, seeds = runs.groupby("minutes")[distance].mean(), runs["seed"].nunique()
            label = f"{contender} ({seeds} seed{'s' * (seeds > 1)})"
            axis.plot(mean.index, mean, "o-", color=colour, markersize=3, label=label)
        axis.axhline(panel["fd_floor"].iloc[0], color="0.4", linestyle=":", label="real images (floor)")
        axis.set(xlabel="minutes of training", ylabel=unit, yscale="log", title=classes)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8, frameon=False)
    return figure


def presets_race(every: pd.DataFrame, marks: dict[str, float], floor: float) -> Figure:
    """Frechet distance of every run over minutes and over images seen (``comparison.histories``), a colour a cell, a
    line a run; dotted: where the tables compare. floor: what real images score, for the axis' words."""
    figure, axes = new_figure(1, 2, 10, 4)
    scored = every.dropna(subset="fd")
    for axis, (name, value) in zip(axes[0], marks.items(), strict=True):
        for colour, (cell, runs) in zip(COLOURS, scored.groupby("cell", sort=False), strict=False):
            for place, (_, run) in enumerate(runs.groupby("seed")):
                label = "" if place else cell
                axis.plot(run[name], run["fd"], "o-", markersize=2, linewidth=1, alpha=0.8, color=colour, label=label)
        axis.axvline(value, color="0.4", linestyle=":")
        unit = f"Frechet distance\n(squared feature units; real images {floor:.0f})"
        axis.set(xlabel=name.replace("_", " "), ylabel=unit, yscale="log")
        axis.grid(alpha=0.25, which="both")
    axes[0, 1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _first_seed(every: pd.DataFrame) -> pd.DataFrame:
    """Of each cell the first seed's run."""
    return every[every["seed"] == every.groupby("cell")["seed"].transform("min")]


def presets_games(every: pd.DataFrame, columns: int = 3) -> Figure:
    """A panel a cell: losses of D and G over images seen, the first seed's run; above, D's accuracy at the end."""
    cells = list(_first_seed(every).groupby("cell", sort=False))
    figure, axes = new_figure(-(-len(cells) // columns), columns, 10, 2.1 * -(-len(cells) // columns))
    for axis in axes.flat[len(cells) :]:
        axis.axis("off")
    for axis, (cell, run) in zip(axes.flat, cells, strict=False):
        thousands = run["images_seen"] / 1000
        for column, label, colour in (("d_loss", "D", REAL), ("g_loss", "G", GENERATOR)):
            axis.plot(thousands, run[column], color=colour, label=label, linewidth=1.3)
        if (run[["d_loss", "g_loss"]] < 0).any(axis=None):
            axis.axhline(0, color="0.6", linewidth=0.8)
        right = f"D right on real {run['d_acc_real'].iloc[-1]:.0%}, generated {run['d_acc_fake'].iloc[-1]:.0%}"
        axis.set_title(f"{cell}\n{right}", fontsize=8)
        axis.set_xlabel("thousand images", fontsize=8)
        axis.set_ylabel("loss", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    axes[0, 0].legend(fontsize=7, frameon=False)
    return figure


def presets_accuracies(every: pd.DataFrame) -> Figure:
    """D's accuracy on real and on generated images over images seen, the first seed's run, a colour a cell."""
    figure, axes = new_figure(1, 2, 10, 3)
    for axis, (column, words) in zip(axes[0], (("d_acc_real", "real"), ("d_acc_fake", "generated")), strict=True):
        for colour, (cell, run) in zip(COLOURS, _first_seed(every).groupby("cell", sort=False), strict=False):
            axis.plot(run["images_seen"] / 1000, run[column], color=colour, label=cell, linewidth=1.3)
        axis.set(xlabel="thousand images", ylabel="share called right", ylim=(0, 1.02))
        axis.set_title(f"D on {words} images", fontsize=10)
        axis.grid(alpha=0.25)
    axes[0, 1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def classification(rows: pd.DataFrame) -> Figure:
    """Test accuracy over real images a class, with and without synthetic ones beside them, from rows of
    ``cas.classify``; as a band what synthetic images alone reach. Bars and band: 95 % Student intervals."""
    from ganlab import cas

    table = cas.summary(rows)
    figure, ((axis,),) = new_figure(1, 1, 6.5, 4)
    for name, colour, shift in ((cas.REAL, REAL, 0.98), (cas.BOTH, GENERATOR, 1.02)):  # bars side by side
        group = table[table["training_set"] == name]
        reach = (group["accuracy"] - group["low"]).fillna(0)
        axis.errorbar(group["real"] * shift, group["accuracy"], reach, fmt="o-", color=colour, markersize=4,
                      capsize=3, linewidth=1.3, label=name)  # fmt: skip
    for row in table[table["training_set"] == cas.SYNTHETIC].itertuples():
        axis.axhline(row.accuracy, color=FAKE, linestyle="--", linewidth=1.3, label=f"{row.training_set} alone")
        if row.low < row.high:
            axis.axhspan(row.low, row.high, color=FAKE, alpha=0.2, linewidth=0)
    ticks = sorted(set(table["real"]) - {0})
    axis.set(xscale="log", xlabel="real images a class", ylabel="share of test images called right")
    axis.set_xticks(ticks, [str(k) for k in ticks])
    axis.minorticks_off()
    axis.grid(alpha=0.25)
    words = f"mean and 95 % interval, {rows['seed'].nunique()} seeds"
    axis.legend(fontsize=8, frameon=False, title=words, title_fontsize=8)
    return figure
