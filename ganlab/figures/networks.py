"""A network as drawn blocks."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from ganlab.figures.style import new_figure

LARGEST = 32.0  # a side of this many pixels or more is drawn at full height


def blocks(rows: Sequence[dict[str, Any]], start: str, colour: str) -> Figure:
    """Each shape that a tensor takes on its way, left to right: higher for more pixels, wider for more channels.

    rows: ``networks.summary``. start: what goes in, as "100". Above an arrow stands the layer that changes the shape.
    """
    shapes, layers = [start], [""]
    for row in rows:
        if row["output"] and row["output"] != shapes[-1]:
            shapes.append(row["output"])
            layers.append(row["layer"].split("(")[0])
    figure, ((axis,),) = new_figure(1, 1, 10, 2.5)
    x, before = 0.0, None
    for shape, layer in zip(shapes, layers, strict=True):
        sides = [int(side) for side in shape.split(" x ")]
        width = 0.18 + 0.1 * math.log2(1 + sides[0])
        height = 0.25 + 0.75 * min(1.0, (sides[-1] if len(sides) > 1 else 1) / LARGEST)
        axis.add_patch(Rectangle((x, -height / 2), width, height, facecolor=colour, alpha=0.55, edgecolor="0.2"))
        axis.text(x + width / 2, -0.62, shape.replace(" x ", " x\n", 1), ha="center", va="top", fontsize=8)
        if before is not None:
            axis.add_patch(FancyArrowPatch((before, 0), (x, 0), arrowstyle="-|>", mutation_scale=9, color="0.3"))
            axis.text((before + x) / 2, 0.6, layer, ha="center", va="bottom", fontsize=7, rotation=25)
        before, x = x + width, x + width + 0.75
    axis.set(xlim=(-0.1, x - 0.6), ylim=(-1.0, 1.15))
    axis.axis("off")
    return figure
