"""What all figures share: colours, sizes, sheets of images."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

DPI = 110
WIDE = 500  # pixels; a sheet of images above 32 x 32 is
COLOURS = tuple(sns.color_palette("colorblind").as_hex())
REAL, FAKE, GENERATOR = COLOURS[:3]


def new_figure(
    rows: int, columns: int, width: float, height: float, style: str | None = None, **layout: Any
) -> tuple[Figure, Any]:
    """A figure that is shown only when it is a cell's value (or shown by hand), never twice.

    style: one of seaborn's. layout: more arguments of ``plt.subplots``."""
    size, look = (width, height), {"dpi": DPI, "layout": "constrained", "squeeze": False}
    with sns.axes_style(style):
        figure, axes = plt.subplots(rows, columns, figsize=size, **look, **layout)
    plt.close(figure)
    return figure, axes


def nothing_yet(axis: plt.Axes, said: str = "no runs yet") -> None:
    axis.text(0.5, 0.5, said, transform=axis.transAxes, ha="center", va="center", color="0.3")
    axis.set(xticks=[], yticks=[])


def nothing(said: str = "no runs yet") -> Figure:
    """A figure that says why there is nothing to see."""
    figure, ((axis,),) = new_figure(1, 1, 6, 0.8)
    nothing_yet(axis, said)
    return figure


def sheet_figure(sheet: np.ndarray, across: tuple[str, ...] = (), down: tuple[str, ...] = ()) -> Figure:
    """A sheet uint8 (H, W, 3) with headings above its equal parts and names to the left of its rows.

    Each pixel is drawn as exactly 2x2 screen pixels, or as one on a sheet wider than ``WIDE``: scaling by a fraction
    doubles a PNG's size.
    """
    height, width = (side * (1 if sheet.shape[1] > WIDE else 2) for side in sheet.shape[:2])
    top, left = 22 * bool(across), 90 * bool(down)
    figure = plt.figure(figsize=((left + width) / DPI, (top + height) / DPI), dpi=DPI)
    plt.close(figure)
    axis = figure.add_axes((left / (left + width), 0, width / (left + width), height / (top + height)))
    show(axis, sheet)
    axis.set_aspect("auto")  # the axis has exactly the sheet's pixels
    words: dict[str, Any] = {"transform": axis.transAxes, "size": 7 if down else 9}
    for place, heading in enumerate(across):
        axis.text((place + 0.5) / len(across), 1 + 6 / height, heading, ha="center", **words)
    for place, name in enumerate(down):
        axis.text(-6 / width, 1 - (place + 0.5) / len(down), name, ha="right", va="center", **words)
    return figure


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 times powers of ten, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def show(axis: plt.Axes, sheet: np.ndarray, title: str = "") -> None:
    axis.imshow(sheet, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def fewer_colours(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 rounded to 32 levels a channel, which nobody sees and takes a third off a PNG."""
    return ((pictures.float() * 31 / 255).round() * 255 / 31).round().byte()
