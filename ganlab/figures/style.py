"""What all figures share: colours, sizes, sheets of images."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

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


def words_figure(said: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure, axes = new_figure(1, 1, 6, 0.6)
    axes[0, 0].text(0, 0.5, said)
    axes[0, 0].axis("off")
    return figure


def sheet_figure(sheet: np.ndarray, across: tuple[str, ...] = (), down: tuple[str, ...] = ()) -> Figure:
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


def fewer_colours(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 rounded to 32 levels a channel, which nobody sees and takes a third off a PNG."""
    return ((pictures.float() * 31 / 255).round() * 255 / 31).round().byte()
