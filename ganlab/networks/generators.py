"""The generators, a table that grows with the resolution (32, 64, 128), and the images that one draws.

G: z (N, d) float32 -> images (N, 3, R, R) in [-1, 1]. Conditional ones take labels (N,) int64 beside their input,
places in the config's ``classes``.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from ganlab.config import Config
from ganlab.data import to_uint8
from ganlab.networks import residual
from ganlab.networks.layers import ConditionalNorm, Network, UpsampleConv2d, doublings, dropout


def _batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, config: Config) -> nn.Module:
    """G's norm: of the config's classes where it is conditional."""
    return ConditionalNorm(norm, len(config.classes)) if config.conditional else norm


def _dense_stem(width: int, config: Config) -> list[nn.Module]:
    """From z (N, d) to (N, width, 4, 4)."""
    return [
        nn.Linear(config.latent_dim, width * 16, bias=False),
        _batch_norm(nn.BatchNorm1d(width * 16), config),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, (width, 4, 4)),
    ]


def upsample_generator(config: Config) -> nn.Module:
    """Dense stem to 4x4, then nearest-neighbour upsampling + 3x3 convolution, batch norm, LeakyReLU, dropout; Tanh."""
    stages = doublings(config)
    channels = [config.g_channels * 2**i for i in reversed(range(stages + 1))]
    layers = _dense_stem(channels[0], config)
    for wide, narrow in pairwise(channels):
        layers += [
            UpsampleConv2d(wide, narrow),
            _batch_norm(nn.BatchNorm2d(narrow), config),
            nn.LeakyReLU(0.2),
            *dropout(config.g_dropout),
        ]
    return Network(*layers, nn.Conv2d(channels[-1], 3, 3, padding=1), nn.Tanh())


def transposed_generator(config: Config) -> nn.Module:
    """DCGAN (Radford 2016): z as a 1x1 image, 4x4 transposed convolutions, batch norm, ReLU; Tanh; no dense layer."""
    stages = doublings(config)
    channels = [config.g_channels * 2**i for i in reversed(range(stages))]
    layers: list[nn.Module] = [
        nn.Unflatten(1, (config.latent_dim, 1, 1)),
        nn.ConvTranspose2d(config.latent_dim, channels[0], 4, 1, 0, bias=False),
        _batch_norm(nn.BatchNorm2d(channels[0]), config),
        nn.ReLU(),
        *dropout(config.g_dropout),
    ]
    for wide, narrow in pairwise(channels):
        layers += [
            nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
            _batch_norm(nn.BatchNorm2d(narrow), config),
            nn.ReLU(),
            *dropout(config.g_dropout),
        ]
    return Network(*layers, nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1), nn.Tanh())


def dense_transposed_generator(config: Config) -> nn.Module:
    """Dense stem to 4x4, then 4x4 transposed convolutions of stride 2, batch norm, LeakyReLU; Tanh."""
    stages = doublings(config)
    channels = [config.g_channels * 2**i for i in reversed(range(stages))]
    layers = _dense_stem(channels[0], config)
    for wide, narrow in pairwise(channels):
        layers += [
            nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
            _batch_norm(nn.BatchNorm2d(narrow), config),
            nn.LeakyReLU(0.2),
            *dropout(config.g_dropout),
        ]
    return Network(*layers, nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1), nn.Tanh())


GENERATORS: dict[str, Callable[[Config], nn.Module]] = {
    "upsample": upsample_generator,
    "transposed": transposed_generator,
    "dense_transposed": dense_transposed_generator,
    "residual": residual.residual_generator,
    "r3": residual.r3_generator,
}


@torch.no_grad()
def generate(
    generator: nn.Module, latents: torch.Tensor, labels: torch.Tensor | None = None, batch_size: int = 128
) -> torch.Tensor:
    """Images uint8 (N, 3, R, R), on the CPU, of latents (N, d) and, if it is conditional, labels (N,), by G in
    evaluation mode.

    [-1, 1] becomes 0..255 by rounding, the same for every image: nothing is rescaled by its own range.
    """
    was_training = generator.training
    generator.eval()
    device = next(generator.parameters()).device
    images = []
    for start in range(0, len(latents), batch_size):
        part = [given[start : start + batch_size].to(device) for given in (latents, labels) if given is not None]
        images.append(to_uint8(generator(*part)).cpu())
    generator.train(was_training)
    return torch.cat(images)
