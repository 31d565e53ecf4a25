"""Figures of images: sheets, paths between latents, directions, truncation."""

import io

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from ganlab import priors
from ganlab.config import Config
from ganlab.figures.style import (
    fewer_colours,
    sheet_figure,
    words_figure,
)
from ganlab.files import tile
from ganlab.latents import EVALUATION_SEED, REACH, labels_in_turn
from ganlab.latents import directions as leading_directions
from ganlab.networks.generators import generate


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
        return words_figure(f"truncation is not defined for {prior.name}")
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
        sheets.append(Image.fromarray(tile(fewer_colours(drawn), images).repeat(2, 0).repeat(2, 1)))
    file = io.BytesIO()
    sheets[0].save(file, format="PNG", save_all=True, append_images=sheets[1:], duration=120, loop=0)
    return file.getvalue()


def named_sheet(pictures: torch.Tensor, columns: int, names: list[str], across: tuple[str, ...] = ()) -> Figure:
    """One sheet with a name to the left of each row; about 80 images of CIFAR-10's size stay under 200 kB."""
    sheet = np.pad(tile(fewer_colours(pictures), columns), ((0, 1), (0, 0), (0, 0)), constant_values=255)  # equal rows
    figure = sheet_figure(sheet, across, tuple(name.replace("_", "\n") if len(name) > 12 else name for name in names))
    for text in figure.axes[0].texts:
        text.set_fontsize(7)
    return figure
