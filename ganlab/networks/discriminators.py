"""Discriminators of plain convolutions, which grow with the resolution (32, 64, 128)."""

from torch import nn

from ganlab.config import Config
from ganlab.networks.convolutions import Conv2d
from ganlab.networks.families import Discriminator
from ganlab.networks.layers import MinibatchDeviation, MinibatchDiscrimination, dense_logit, doublings, dropout


def _strided(config: Config) -> tuple[list[nn.Module], int]:
    """4x4 stride-2 convolutions down to 4x4, batch norm (not on the first), LeakyReLU, dropout; and the last width."""
    layers: list[nn.Module] = []
    width, before = config.d_channels, 3
    for stage in range(doublings(config.resolution)):
        layers += [
            Conv2d(before, width, 4, 2, 1, bias=stage == 0 or config.d_norm != "batch"),
            *([nn.BatchNorm2d(width)] if stage and config.d_norm == "batch" else []),
            nn.LeakyReLU(0.2),
            *dropout(config.d_dropout),
        ]
        before, width = width, 2 * width
    return layers, before


def strided_discriminator(config: Config) -> Discriminator:
    """Strided convolutions to 4x4 and one dense logit."""
    layers, width = _strided(config)
    return _with_dense_logit(layers, width, config)


def _with_dense_logit(layers: list[nn.Module], width: int, config: Config) -> Discriminator:
    """From (N, width, 4, 4) to logits (N,), by way of the layer that compares a batch's images, if there is one."""
    if config.minibatch == "deviation":
        logit = [MinibatchDeviation(), nn.Flatten(), *dense_logit(16 * (width + 1), config.label_count)]
        return Discriminator(layers, logit)
    features = 16 * width
    if config.minibatch == "discrimination":
        compare = MinibatchDiscrimination(features)
        logit = [compare, *dense_logit(features + compare.kernels, config.label_count)]
    else:
        logit = dense_logit(features, config.label_count)
    return Discriminator([*layers, nn.Flatten()], logit)


def dcgan_discriminator(config: Config) -> Discriminator:
    """DCGAN (Radford 2016): strided convolutions to 4x4 and a 4x4 convolution to the logit; no dense layer."""
    layers, width = _strided(config)
    if config.conditional:
        return _with_dense_logit(layers, width, config)
    deviation = [MinibatchDeviation()] if config.minibatch == "deviation" else []
    return Discriminator(layers, [*deviation, Conv2d(width + len(deviation), 1, 4, 1, 0), nn.Flatten(0)])


def sngan_discriminator(config: Config) -> Discriminator:
    """The standard CNN of SNGAN (Miyato 2018, table 3): 3x3 stride 1 that widens and 4x4 stride 2 in turn, to 4x4."""
    layers: list[nn.Module] = []
    width, before = config.d_channels, 3
    for _ in range(doublings(config.resolution)):
        layers += [
            *_normed(Conv2d(before, width, 3, 1, 1), config),
            *_normed(Conv2d(width, width, 4, 2, 1), config),
        ]
        before, width = width, 2 * width
    layers += _normed(Conv2d(before, width, 3, 1, 1), config)
    return _with_dense_logit(layers, width, config)


def _normed(convolution: Conv2d, config: Config) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(convolution.out_channels)] if config.d_norm == "batch" else []
    return [convolution, *norm, nn.LeakyReLU(0.1), *dropout(config.d_dropout)]
