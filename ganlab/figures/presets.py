"""The figure that compares presets."""

import pandas as pd
from matplotlib.figure import Figure

from ganlab.figures.style import GENERATOR, REAL, new_figure, plain_ticks

UNITS = {"minutes": "minutes of training", "images_seen": "real images seen"}


def presets_race(every: pd.DataFrame, axis: str, mark: float, floor: float, columns: int = 4) -> Figure:
    """Frechet distance of every run over ``minutes`` or ``images_seen`` (``comparison.histories``), a panel a
    condition: its runs in colour, the means of the other conditions in grey.

    Dotted: ``mark``, where the tables compare. Dashed: ``floor``, what real images score."""
    scored = every.dropna(subset="fd")
    scored = scored[scored[axis] <= 1.3 * mark]
    means = scored.groupby(["condition", "epoch"], sort=False)[[axis, "fd"]].mean()
    names = list(dict.fromkeys(scored["condition"]))
    rows = -(-len(names) // columns)
    figure, axes = new_figure(rows, columns, 10, 2.2 * rows + 0.3, sharex=True, sharey=True)
    for panel in axes.flat[len(names) :]:
        panel.axis("off")
    for panel, name in zip(axes.flat, names, strict=False):
        for other in names:
            if other != name:
                panel.plot(means.loc[other, axis], means.loc[other, "fd"], color="0.8", linewidth=1, zorder=1)
        for _, run in scored[scored["condition"] == name].groupby("seed"):
            panel.plot(run[axis], run["fd"], "o-", markersize=2.5, linewidth=1.3, color=GENERATOR)
        panel.axvline(mark, color="0.4", linestyle=":")
        panel.axhline(floor, color=REAL, linestyle="--", linewidth=1)
        panel.set(yscale="log", xlim=(0, 1.3 * mark))
        plain_ticks(panel.yaxis)
        panel.set_title(name, fontsize=10)
        panel.tick_params(labelsize=8, labelbottom=True)
        panel.grid(alpha=0.25, which="both")
    first = axes[0, 0]
    first.text(0.03, floor, "real images", color=REAL, fontsize=7, va="bottom", transform=first.get_yaxis_transform())
    figure.supxlabel(UNITS[axis], fontsize=9)
    figure.supylabel("Frechet distance\n(squared feature units)", fontsize=9)
    return figure
