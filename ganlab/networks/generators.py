"""Generators of plain convolutions, which grow with the resolution (32, 64, 128), and the images that one draws."""

from itertools import pairwise

import torch
from torch import nn

from ganlab.config import Config
from ganlab.data import to_uint8
from ganlab.networks.convolutions import ConvTranspose2d, UpsampleConv2d
from ganlab.networks.families import Generator
from ganlab.networks.layers import batch_norm, doublings, dropout


def _dense_stem(width: int, config: Config) -> list[nn.Module]:
    """From z (N, d) to (N, width, 4, 4)."""
    return [
        nn.Linear(config.latent_dim, width * 16, bias=False),
        batch_norm(nn.BatchNorm1d(width * 16), config.label_count),
        nn.LeakyReLU(0.2),
        nn.Unflatten(1, (width, 4, 4)),
    ]


def _stage(convolution: nn.Module, width: int, activation: nn.Module, config: Config) -> list[nn.Module]:
    """The convolution, G's norm of its ``width`` channels, the activation, dropout."""
    norm = batch_norm(nn.BatchNorm2d(width), config.label_count)
    return [convolution, norm, activation, *dropout(config.g_dropout)]


def _transposed_stages(channels: list[int], activation: type[nn.Module], config: Config, *slope: float) -> list:
    """4x4 transposed convolutions of stride 2 from the first of ``channels`` to the last, then to the image; Tanh."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(channels):
        layers += _stage(ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), narrow, activation(*slope), config)
    return [*layers, ConvTranspose2d(channels[-1], 3, 4, 2, 1), nn.Tanh()]


def upsample_generator(config: Config) -> Generator:
    """Dense stem to 4x4, then nearest-neighbour upsampling + 3x3 convolution, batch norm, LeakyReLU, dropout; Tanh."""
    channels = [config.g_channels * 2**i for i in reversed(range(doublings(config.resolution) + 1))]
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(channels):
        layers += _stage(UpsampleConv2d(wide, narrow), narrow, nn.LeakyReLU(0.2), config)
    image = nn.Conv2d(channels[-1], 3, 3, padding=1)
    return Generator(_dense_stem(channels[0], config), [*layers, image, nn.Tanh()])


def transposed_generator(config: Config) -> Generator:
    """DCGAN (Radford 2016): z as a 1x1 image, 4x4 transposed convolutions, batch norm, ReLU; Tanh; no dense layer."""
    channels = [config.g_channels * 2**i for i in reversed(range(doublings(config.resolution)))]
    first = ConvTranspose2d(config.latent_dim, channels[0], 4, 1, 0, bias=False)
    stem = [nn.Unflatten(1, (config.latent_dim, 1, 1)), *_stage(first, channels[0], nn.ReLU(), config)]
    return Generator(stem, _transposed_stages(channels, nn.ReLU, config))


def dense_transposed_generator(config: Config) -> Generator:
    """Dense stem to 4x4, then 4x4 transposed convolutions of stride 2, batch norm, LeakyReLU; Tanh."""
    channels = [config.g_channels * 2**i for i in reversed(range(doublings(config.resolution)))]
    return Generator(_dense_stem(channels[0], config), _transposed_stages(channels, nn.LeakyReLU, config, 0.2))


@torch.no_grad()
def generate(
    generator: nn.Module, latents: torch.Tensor, labels: torch.Tensor | None = None, batch_size: int = 128
) -> torch.Tensor:
    """latents (N, d), labels (N,) of a conditional G -> images uint8 (N, 3, R, R) on the CPU, G in evaluation mode.

    [-1, 1] becomes 0..255 by rounding, the same for every image: no image is rescaled by its own range.
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
