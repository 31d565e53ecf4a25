"""Residual networks: SNGAN's ResNet and a small R3GAN. Rows for the tables of ``models``, with initial weights of their
own, drawn from the stream that is handed to them and never from torch's global random state.

G: z (N, d) float32 -> images (N, 3, R, R) in [-1, 1].  D: images (N, 3, R, R) -> logits (N,).  R is 32, 64 or 128.
Conditional ones take labels (N,) int64 beside their input. D's last two layers turn features (N, F) into the logit.
"""

import math
from itertools import pairwise

import torch
from torch import nn

from ganlab.config import Config
from ganlab.networks.layers import ConditionalNorm, DownsampleConv2d, Dropout, Network, Projection, UpsampleConv2d


class Block(nn.Module):
    """shortcut(x) + branch(x), where the branch may drop channels at its end and pass labels to its norms."""

    takes_labels = True

    def __init__(self, *branch: nn.Module, shortcut: nn.Module, dropout: float) -> None:
        super().__init__()
        self.branch = Network(*branch, *([Dropout(dropout)] if dropout else []))
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.shortcut(x) + self.branch(x, labels)


class Residual(Network):
    """Layers and blocks in order, with the initial weights of SNGAN's ResNet."""

    @torch.no_grad()
    def initialise(self, stream: torch.Generator) -> None:
        """Xavier-uniform weights (Glorot & Bengio 2010), of gain sqrt(2) in the blocks' branches and 1 elsewhere, as in
        the authors' code; norms with scale 1 and shift 0; biases 0."""
        inner = {layer for block in self if isinstance(block, Block) for layer in block.branch}
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                gain = math.sqrt(2) if module in inner else 1.0
                nn.init.xavier_uniform_(module.weight, gain, generator=stream)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, Projection):
                nn.init.xavier_uniform_(module.embedding.weight, generator=stream)
            elif isinstance(module, ConditionalNorm):
                module.scale.weight.zero_()
                module.shift.weight.zero_()
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()


def _norm(width: int, config: Config) -> nn.Module:
    norm = nn.BatchNorm2d(width)
    return ConditionalNorm(norm, len(config.classes)) if config.conditional else norm


def _logit(features: int, config: Config) -> list[nn.Module]:
    dense = Projection(features, len(config.classes)) if config.conditional else nn.Linear(features, 1)
    return [nn.Flatten(), dense, nn.Flatten(0)]


def residual_generator(config: Config) -> nn.Module:
    """z (N, d), labels (N,) -> images (N, 3, R, R): SNGAN's ResNet (Miyato 2018, appendix B, table 4).

    Dense to (C, 4, 4), a block a doubling, all C = ``g_channels`` wide, batch norm, ReLU, 3x3 convolution, Tanh. Block:
    norm, ReLU, upsampling, 3x3, norm, ReLU, 3x3, channel dropout; shortcut: 1x1, upsampling (which commute, and this
    order costs a quarter). A bias that a later batch norm takes away again is left out. Conditional: every norm is.
    """
    width = config.g_channels
    layers: list[nn.Module] = [nn.Linear(config.latent_dim, width * 16), nn.Unflatten(1, (width, 4, 4))]
    for _ in range(int(math.log2(config.resolution // 4))):
        branch = [
            _norm(width, config),
            nn.ReLU(),
            UpsampleConv2d(width, width),
            _norm(width, config),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        ]
        shortcut = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.Upsample(scale_factor=2.0))
        layers.append(Block(*branch, shortcut=shortcut, dropout=config.g_dropout))
    return Residual(*layers, _norm(width, config), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())


def residual_discriminator(config: Config) -> nn.Module:
    """images (N, 3, R, R), labels (N,) -> logits (N,): SNGAN's ResNet (Miyato 2018, appendix B, table 4).

    Blocks that halve, down to 8x8, and two that do not, all C = ``d_channels`` wide; ReLU, the sum over space: features
    (N, C). Block: ReLU, 3x3, ReLU, 3x3, mean of 2x2, channel dropout; the first has no ReLU before its first
    convolution, which sees the image itself. Shortcut: mean of 2x2, 1x1; nothing where the block keeps the size. No
    norm of activations: made for ``d_norm`` "spectral".
    """
    width, halvings = config.d_channels, int(math.log2(config.resolution // 8))
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
    return Residual(*layers, nn.ReLU(), sum_pooling, *_logit(width, config))


class ClassConcat(nn.Module):
    """Appends to z (N, d) as many learnt coordinates of its class: (N, 2d)."""

    takes_labels = True

    def __init__(self, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, latent_dim)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.cat([z, self.embedding(labels)], 1)


class Basis(nn.Module):
    """Weighs (N, C, 1, 1) one learnt 4x4 image a channel: (N, C, 4, 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


class Fixup(Residual):
    """Layers and blocks in order, with the initial weights of R3GAN."""

    @torch.no_grad()
    def initialise(self, stream: torch.Generator) -> None:
        """Normal weights of variance gain^2 / fan-in (He 2015). In a branch the gain is LeakyReLU's times L^(-1/4) for
        L blocks, and 0 in its last convolution (Zhang 2019, Fixup, with three layers a branch): every block starts as
        the identity. Elsewhere it is 1. Basis and class coordinates: N(0, 1), as the latents. Biases 0."""
        blocks = [layer for layer in self if isinstance(layer, Block)]
        gain = nn.init.calculate_gain("leaky_relu", 0.2) * len(blocks) ** -0.25
        gains: dict[nn.Module, float] = {}
        for block in blocks:
            expand, grouped, back = (layer for layer in block.branch if isinstance(layer, nn.Conv2d))
            gains |= {expand: gain, grouped: gain, back: 0.0}
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.normal_(0, gains.get(module, 1.0) / module.weight[0].numel() ** 0.5, generator=stream)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, Projection):
                module.embedding.weight.normal_(0, module.embedding.embedding_dim**-0.5, generator=stream)
            elif isinstance(module, ClassConcat):
                module.embedding.weight.normal_(generator=stream)
            elif isinstance(module, Basis):
                module.weight.normal_(generator=stream)


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
    return [channels * 2**i for i in range(int(math.log2(config.resolution // 4)) + 1)]


def r3_generator(config: Config) -> nn.Module:
    """z (N, d), labels (N,) -> images (N, 3, R, R): a small R3GAN (Huang 2024, "The GAN is dead", section 3 and their
    code). Made for relativistic losses with R1 and R2.

    A linear map of z weighs a learnt 4x4 basis; a block a resolution, with 1x1 convolution and bilinear upsampling
    between; 1x1 convolution to the image. No norm at all. Theirs is 768 wide with two blocks a resolution, and has no
    Tanh: here it keeps the images in range. Conditional: z and as many coordinates of the class, as theirs.
    """
    widths = _r3_widths(config.g_channels, config)[::-1]
    labelled = [ClassConcat(config.latent_dim, len(config.classes))] if config.conditional else []
    layers: list[nn.Module] = [
        *labelled,
        nn.Linear(config.latent_dim * (1 + len(labelled)), widths[0], bias=False),
        nn.Unflatten(1, (widths[0], 1, 1)),
        Basis(widths[0]),
        _r3_block(widths[0], config.g_dropout),
    ]
    for wide, narrow in pairwise(widths):
        upsampling = nn.Upsample(scale_factor=2.0, mode="bilinear")
        layers += [nn.Conv2d(wide, narrow, 1, bias=False), upsampling, _r3_block(narrow, config.g_dropout)]
    return Fixup(*layers, nn.Conv2d(widths[-1], 3, 1), nn.Tanh())


def r3_discriminator(config: Config) -> nn.Module:
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
    return Fixup(*layers, basis, *_logit(widths[-1], config))
