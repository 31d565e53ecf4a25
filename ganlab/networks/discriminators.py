"""The discriminators, a table that grows with the resolution (32, 64, 128).

D: images (N, 3, R, R) -> logits (N,). Conditional ones take labels (N,) int64 beside their input, places in the
config's ``classes``.
"""

from collections.abc import Callable

from torch import nn

from ganlab.config import Config
from ganlab.networks import residual
from ganlab.networks.layers import MinibatchDeviation, MinibatchDiscrimination, Network, Projection, doublings, dropout


def _strided(config: Config) -> tuple[list[nn.Module], int]:
    """4x4 stride-2 convolutions down to 4x4, batch norm (not on the first), LeakyReLU, dropout; and the last width."""
    layers: list[nn.Module] = []
    width, before = config.d_channels, 3
    for stage in range(doublings(config)):
        layers += [
            nn.Conv2d(before, width, 4, 2, 1, bias=stage == 0 or config.d_norm != "batch"),
            *([nn.BatchNorm2d(width)] if stage and config.d_norm == "batch" else []),
            nn.LeakyReLU(0.2),
            *dropout(config.d_dropout),
        ]
        before, width = width, 2 * width
    return layers, before


def strided_discriminator(config: Config) -> nn.Module:
    """Strided convolutions to 4x4 and one dense logit."""
    layers, width = _strided(config)
    return Network(*layers, *_dense_logit(width, config))


def _dense_logit(width: int, config: Config) -> list[nn.Module]:
    """From (N, width, 4, 4) to logits (N,), by way of the layer that compares a batch's images, if there is one."""
    deviation = [MinibatchDeviation()] if config.minibatch == "deviation" else []
    features = 16 * (width + len(deviation))
    compare = MinibatchDiscrimination(features) if config.minibatch == "discrimination" else None
    features += compare.kernels if compare else 0
    dense = Projection(features, len(config.classes)) if config.conditional else nn.Linear(features, 1)
    return [*deviation, nn.Flatten(), *([compare] if compare else []), dense, nn.Flatten(0)]


def dcgan_discriminator(config: Config) -> nn.Module:
    """DCGAN (Radford 2016): strided convolutions to 4x4 and a 4x4 convolution to the logit; no dense layer."""
    layers, width = _strided(config)
    if config.conditional:
        return Network(*layers, *_dense_logit(width, config))
    deviation = [MinibatchDeviation()] if config.minibatch == "deviation" else []
    return Network(*layers, *deviation, nn.Conv2d(width + len(deviation), 1, 4, 1, 0), nn.Flatten(0))


def sngan_discriminator(config: Config) -> nn.Module:
    """The standard CNN of SNGAN (Miyato 2018, table 3): 3x3 stride 1 that widens and 4x4 stride 2 in turn, to 4x4."""
    layers: list[nn.Module] = []
    width, before = config.d_channels, 3
    for _ in range(doublings(config)):
        layers += [
            *_normed(nn.Conv2d(before, width, 3, 1, 1), config),
            *_normed(nn.Conv2d(width, width, 4, 2, 1), config),
        ]
        before, width = width, 2 * width
    layers += _normed(nn.Conv2d(before, width, 3, 1, 1), config)
    return Network(*layers, *_dense_logit(width, config))


def _normed(convolution: nn.Conv2d, config: Config) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(convolution.out_channels)] if config.d_norm == "batch" else []
    return [convolution, *norm, nn.LeakyReLU(0.1), *dropout(config.d_dropout)]


DISCRIMINATORS: dict[str, Callable[[Config], nn.Module]] = {
    "strided": strided_discriminator,
    "dcgan": dcgan_discriminator,
    "sngan": sngan_discriminator,
    "residual": residual.residual_discriminator,
    "r3": residual.r3_discriminator,
}


def features_and_logit(discriminator: nn.Module) -> tuple[nn.Module, nn.Module]:
    """D in two parts that share its weights: images -> features, features -> logits (N,). They part before the first
    layer that compares the images of a batch, or else before the last layer with weights."""
    compare = [place for place, layer in enumerate(discriminator)
               if isinstance(layer, MinibatchDiscrimination | MinibatchDeviation)]  # fmt: skip
    place = compare[0] if compare else len(discriminator) - 2
    return discriminator[:place], discriminator[place:]
