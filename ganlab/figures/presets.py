"""Figures that compare presets."""

import pandas as pd
from matplotlib.figure import Figure

from ganlab.figures.style import COLOURS, GENERATOR, REAL, new_figure


def presets_race(every: pd.DataFrame, marks: dict[str, float], floor: float) -> Figure:
    """Frechet distance of every run over minutes and over images seen (``comparison.histories``).

    A colour a condition, a line a run; dotted: where the tables compare. floor: what real images score."""
    figure, axes = new_figure(1, 2, 10, 4)
    scored = every.dropna(subset="fd")
    for axis, (name, value) in zip(axes[0], marks.items(), strict=True):
        for colour, (condition, runs) in zip(COLOURS, scored.groupby("condition", sort=False), strict=False):
            for place, (_, run) in enumerate(runs.groupby("seed")):
                label = "" if place else condition
                axis.plot(run[name], run["fd"], "o-", markersize=2, linewidth=1, alpha=0.8, color=colour, label=label)
        axis.axvline(value, color="0.4", linestyle=":")
        unit = f"Frechet distance\n(squared feature units; real images {floor:.0f})"
        axis.set(xlabel=name.replace("_", " "), ylabel=unit, yscale="log")
        axis.grid(alpha=0.25, which="both")
    axes[0, 1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _first_seed(every: pd.DataFrame) -> pd.DataFrame:
    """Of each condition the first seed's run."""
    return every[every["seed"] == every.groupby("condition")["seed"].transform("min")]


def presets_games(every: pd.DataFrame, columns: int = 3) -> Figure:
    """A panel a condition: losses of D and G over images seen, the first seed's run; above, D's accuracy at the end."""
    conditions = list(_first_seed(every).groupby("condition", sort=False))
    figure, axes = new_figure(-(-len(conditions) // columns), columns, 10, 2.1 * -(-len(conditions) // columns))
    for axis in axes.flat[len(conditions) :]:
        axis.axis("off")
    for axis, (condition, run) in zip(axes.flat, conditions, strict=False):
        thousands = run["images_seen"] / 1000
        for column, label, colour in (("d_loss", "D", REAL), ("g_loss", "G", GENERATOR)):
            axis.plot(thousands, run[column], color=colour, label=label, linewidth=1.3)
        if (run[["d_loss", "g_loss"]] < 0).any(axis=None):
            axis.axhline(0, color="0.6", linewidth=0.8)
        right = f"D right on real {run['d_acc_real'].iloc[-1]:.0%}, generated {run['d_acc_fake'].iloc[-1]:.0%}"
        axis.set_title(f"{condition}\n{right}", fontsize=8)
        axis.set_xlabel("thousand images", fontsize=8)
        axis.set_ylabel("loss", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    axes[0, 0].legend(fontsize=7, frameon=False)
    return figure


def presets_accuracies(every: pd.DataFrame) -> Figure:
    """D's accuracy on real and on generated images over images seen, the first seed's run, a colour a condition."""
    figure, axes = new_figure(1, 2, 10, 3)
    for axis, (column, words) in zip(axes[0], (("d_acc_real", "real"), ("d_acc_fake", "generated")), strict=True):
        for colour, (condition, run) in zip(COLOURS, _first_seed(every).groupby("condition", sort=False), strict=False):
            axis.plot(run["images_seen"] / 1000, run[column], color=colour, label=condition, linewidth=1.3)
        axis.set(xlabel="thousand images", ylabel="share called right", ylim=(0, 1.02))
        axis.set_title(f"D on {words} images", fontsize=10)
        axis.grid(alpha=0.25)
    axes[0, 1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
