"""Residual networks: SNGAN's ResNet and a small R3GAN, each with initial weights of its own.

Shapes and labels are those of ``families``; R is 32, 64 or 128.
"""

import math
from itertools import pairwise

from torch import nn

from ganlab.config import Config
from ganlab.networks.convolutions import DownsampleConv2d, UpsampleConv2d
from ganlab.networks.families import Discriminator, Generator
from ganlab.networks.initial import fixup, xavier
from ganlab.networks.layers import (
    Basis,
    Block,
    ClassConcat,
    batch_norm,
    dense_logit,
    doublings,
)


def residual_generator(config: Config) -> Generator:
    """z (N, d), labels (N,) -> images (N, 3, R, R): SNGAN's ResNet (Miyato 2018, appendix B, table 4).

    Dense to (C, 4, 4), a block a doubling, all C = ``g_channels`` wide, batch norm, ReLU, 3x3 convolution, Tanh. Block:
    norm, ReLU, upsampling, 3x3, norm, ReLU, 3x3, channel dropout; shortcut: 1x1, upsampling (which commute, and this
    order costs a quarter). A bias that a later batch norm takes away again is left out. Conditional: every norm is.
    """
    width, classes = config.g_channels, config.label_count
    stem = [nn.Linear(config.latent_dim, width * 16), nn.Unflatten(1, (width, 4, 4))]
    blocks = []
    for _ in range(doublings(config.resolution)):
        branch = [
            batch_norm(nn.BatchNorm2d(width), classes),
            nn.ReLU(),
            UpsampleConv2d(width, width),
            batch_norm(nn.BatchNorm2d(width), classes),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        ]
        shortcut = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.Upsample(scale_factor=2.0))
        blocks.append(Block(*branch, shortcut=shortcut, dropout=config.g_dropout))
    norm, image = batch_norm(nn.BatchNorm2d(width), classes), nn.Conv2d(width, 3, 3, padding=1)
    return Generator(stem, [*blocks, norm, nn.ReLU(), image, nn.Tanh()], xavier)


def residual_discriminator(config: Config) -> Discriminator:
    """images (N, 3, R, R), labels (N,) -> logits (N,): SNGAN's ResNet (Miyato 2018, appendix B, table 4).

    Blocks that halve, down to 8x8, and two that do not, all C = ``d_channels`` wide; ReLU, the sum over space: features
    (N, C). Block: ReLU, 3x3, ReLU, 3x3, mean of 2x2, channel dropout; the first has no ReLU before its first
    convolution, which sees the image itself. Shortcut: mean of 2x2, 1x1; nothing where the block keeps the size. No
    norm of activations: made for ``d_norm`` "spectral".
    """
    width, halvings = config.d_channels, doublings(config.resolution, 8)
    layers: list[nn.Module] = []
    for place in range(halvings + 2):
        before, halves = width if place else 3, place < halvings
        shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(before, width, 1, bias=False))
        branch = [
            *([nn.ReLU()] if place else []),
            nn.Conv2d(before, width, 3, padding=1),
            nn.ReLU(),
            DownsampleConv2d(width, width) if halves else nn.Conv2d(width, width, 3, padding=1),
        ]
        layers.append(Block(*branch, shortcut=shortcut if halves else nn.Identity(), dropout=config.d_dropout))
    sum_pooling = nn.AvgPool2d(8, divisor_override=1)
    return Discriminator(
        [*layers, nn.ReLU(), sum_pooling, nn.Flatten()], dense_logit(width, config.label_count), xavier
    )


def _r3_block(width: int, dropout: float) -> Block:
    """1x1 to twice the width, 3x3 in groups of 16 channels, 1x1 back; (N, C, H, W) -> (N, C, H, W)."""
    wide = 2 * width
    groups = wide // math.gcd(wide, 16)  # a width that is no multiple of 8 has smaller groups
    branch = [
        nn.Conv2d(width, wide, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(wide, wide, 3, padding=1, groups=groups),
        nn.LeakyReLU(0.2),
        nn.Conv2d(wide, width, 1, bias=False),
    ]
    return Block(*branch, shortcut=nn.Identity(), dropout=dropout)


def _r3_widths(channels: int, config: Config) -> list[int]:
    """From full resolution to 4x4."""
    return [channels * 2**i for i in range(doublings(config.resolution) + 1)]


def r3_generator(config: Config) -> Generator:
    """z (N, d), labels (N,) -> images (N, 3, R, R): a small R3GAN (Huang 2024, "The GAN is dead", section 3 and their
    code). Made for relativistic losses with R1 and R2.

    A linear map of z weighs a learnt 4x4 basis; a block a resolution, with 1x1 convolution and bilinear upsampling
    between; 1x1 convolution to the image. No norm at all. Theirs is 768 wide with two blocks a resolution, and has no
    Tanh: here it keeps the images in range. Conditional: z and as many coordinates of the class, as theirs.
    """
    widths = _r3_widths(config.g_channels, config)[::-1]
    labelled = [ClassConcat(config.latent_dim, config.label_count)] if config.conditional else []
    stem: list[nn.Module] = [
        *labelled,
        nn.Linear(config.latent_dim * (1 + len(labelled)), widths[0], bias=False),
        nn.Unflatten(1, (widths[0], 1, 1)),
        Basis(widths[0]),
    ]
    layers: list[nn.Module] = [_r3_block(widths[0], config.g_dropout)]
    for wide, narrow in pairwise(widths):
        upsampling = nn.Upsample(scale_factor=2.0, mode="bilinear")
        layers += [nn.Conv2d(wide, narrow, 1, bias=False), upsampling, _r3_block(narrow, config.g_dropout)]
    return Generator(stem, [*layers, nn.Conv2d(widths[-1], 3, 1), nn.Tanh()], fixup)


def r3_discriminator(config: Config) -> Discriminator:
    """images (N, 3, R, R), labels (N,) -> logits (N,): the mirror image of ``r3_generator`` (Huang 2024).

    1x1 convolution from the image; a block a resolution, with bilinear downsampling (halving, that is the mean of 2x2)
    and 1x1 convolution between; a 4x4 convolution of each channel: features (N, C). No norm at all, and none of the
    weights either: spectral norm would divide by the zero that a block's last convolution starts at.
    """
    widths = _r3_widths(config.d_channels, config)
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 1, bias=False), _r3_block(widths[0], config.d_dropout)]
    for narrow, wide in pairwise(widths):
        layers += [nn.AvgPool2d(2), nn.Conv2d(narrow, wide, 1, bias=False), _r3_block(wide, config.d_dropout)]
    basis = nn.Conv2d(widths[-1], widths[-1], 4, groups=widths[-1], bias=False)
    return Discriminator([*layers, basis, nn.Flatten()], dense_logit(widths[-1], config.label_count), fixup)
