"""Figures of images: sheets, rows with names, animations."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from ganlab.figures.style import fewer_colours, new_figure, nothing, sheet_figure, show
from ganlab.files import tile


def images(pictures: torch.Tensor, columns: int = 8) -> Figure:
    """uint8 (N, 3, H, W) as one sheet, filled row by row."""
    return sheet_figure(tile(pictures, columns))


def real_and_generated(real: torch.Tensor, generated: torch.Tensor, columns: int = 6) -> Figure:
    """Two sheets side by side, uint8 (N, 3, H, W) each, at least one image in each."""
    sheets = [tile(pictures, columns) for pictures in (real, generated)]
    height = max(len(sheet) for sheet in sheets)
    left, right = (np.pad(sheet, ((0, height - len(sheet)), (0, 0), (0, 0)), constant_values=255) for sheet in sheets)
    gap = np.full((height, 8, 3), 255, np.uint8)
    return sheet_figure(np.concatenate([left, gap, right], 1), across=("real", "generated"))


def directions(pictures: torch.Tensor, moves: Sequence[float]) -> Figure:
    """A row for each direction, a column a move (``latents.along_directions``)."""
    names = [f"direction {place + 1}" for place in range(len(pictures) // len(moves))]
    return named_sheet(pictures, len(moves), names, tuple(f"{move:+.1f}" for move in moves))


def truncation(rows: Mapping[float, torch.Tensor]) -> Figure:
    """A row for each share that truncation keeps (``latents.truncations``), a column the same uniforms."""
    if not rows:
        return nothing("truncation is not defined for this prior")
    names = [f"share {share:g}" for share in rows]
    return named_sheet(torch.cat(list(rows.values())), len(next(iter(rows.values()))), names)


def animation(frames: Sequence[torch.Tensor], columns: int = 0, scale: int = 2, last: int = 0) -> bytes:
    """An animated PNG of frames uint8 (N, 3, R, R) (``latents.journey``, ``Run.frames``), each pixel ``scale`` wide.

    columns: 0 means the N images side by side. last: milliseconds that the last frame stays, for a slow animation.
    """
    sheets = [tile(fewer_colours(frame), columns or len(frame)).repeat(scale, 0).repeat(scale, 1) for frame in frames]
    pictures = [Image.fromarray(sheet) for sheet in sheets]
    each = 350 if last else 120
    durations = [each] * (len(pictures) - 1) + [last or each]
    file = io.BytesIO()
    pictures[0].save(file, format="PNG", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return file.getvalue()


def named_sheet(pictures: torch.Tensor, columns: int, names: list[str], across: tuple[str, ...] = ()) -> Figure:
    """One sheet with a name to the left of each row; 80 images of CIFAR-10's size make a PNG of 100 kB."""
    sheet = np.pad(tile(fewer_colours(pictures), columns), ((0, 1), (0, 0), (0, 0)), constant_values=255)  # equal rows
    return sheet_figure(sheet, across, tuple(name.replace("_", "\n") if len(name) > 12 else name for name in names))


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
