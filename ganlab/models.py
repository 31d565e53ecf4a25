"""The networks. A table of generators and one of discriminators; both grow with the resolution (32, 64, 128).

G: z (N, d) float32 -> images (N, 3, R, R) in [-1, 1].  D: images (N, 3, R, R) -> logits (N,).
Conditional ones take labels (N,) int64 beside their input, places in the config's ``classes``.
Nothing here draws from torch's global random state: weights and dropout use the generators handed to them.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from ganlab import residual
from ganlab.config import Config
from ganlab.layers import (
    ConditionalNorm,
    Dropout,
    MinibatchDeviation,
    MinibatchDiscrimination,
    Network,
    Projection,
    SpectralNorm,
    UpsampleConv2d,
)

REACH = 6.0  # how far pages and sliders follow a direction, in standard deviations of one latent coordinate


def _batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, config: Config) -> nn.Module:
    """G's norm: of the config's classes where it is conditional."""
    return ConditionalNorm(norm, len(config.classes)) if config.conditional else norm


def _dropout(p: float) -> list[nn.Module]:
    return [Dropout(p)] if p else []


def _stages(config: Config) -> int:
    """How many doublings lead from 4x4 to the resolution."""
    return int(math.log2(config.resolution // 4))


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
    stages = _stages(config)
    channels = [config.g_channels * 2**i for i in reversed(range(stages + 1))]
    layers = _dense_stem(channels[0], config)
    for wide, narrow in pairwise(channels):
        layers += [
            UpsampleConv2d(wide, narrow),
            _batch_norm(nn.BatchNorm2d(narrow), config),
            nn.LeakyReLU(0.2),
            *_dropout(config.g_dropout),
        ]
    return Network(*layers, nn.Conv2d(channels[-1], 3, 3, padding=1), nn.Tanh())


def transposed_generator(config: Config) -> nn.Module:
    """DCGAN (Radford 2016): z as a 1x1 image, 4x4 transposed convolutions, batch norm, ReLU; Tanh; no dense layer."""
    stages = _stages(config)
    channels = [config.g_channels * 2**i for i in reversed(range(stages))]
    layers: list[nn.Module] = [
        nn.Unflatten(1, (config.latent_dim, 1, 1)),
        nn.ConvTranspose2d(config.latent_dim, channels[0], 4, 1, 0, bias=False),
        _batch_norm(nn.BatchNorm2d(channels[0]), config),
        nn.ReLU(),
        *_dropout(config.g_dropout),
    ]
    for wide, narrow in pairwise(channels):
        layers += [
            nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
            _batch_norm(nn.BatchNorm2d(narrow), config),
            nn.ReLU(),
            *_dropout(config.g_dropout),
        ]
    return Network(*layers, nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1), nn.Tanh())


def dense_transposed_generator(config: Config) -> nn.Module:
    """Dense stem to 4x4, then 4x4 transposed convolutions of stride 2, batch norm, LeakyReLU; Tanh."""
    stages = _stages(config)
    channels = [config.g_channels * 2**i for i in reversed(range(stages))]
    layers = _dense_stem(channels[0], config)
    for wide, narrow in pairwise(channels):
        layers += [
            nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
            _batch_norm(nn.BatchNorm2d(narrow), config),
            nn.LeakyReLU(0.2),
            *_dropout(config.g_dropout),
        ]
    return Network(*layers, nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1), nn.Tanh())


def _strided(config: Config) -> tuple[list[nn.Module], int]:
    """4x4 stride-2 convolutions down to 4x4, batch norm (not on the first), LeakyReLU, dropout; and the last width."""
    layers: list[nn.Module] = []
    width, before = config.d_channels, 3
    for stage in range(_stages(config)):
        layers += [
            nn.Conv2d(before, width, 4, 2, 1, bias=stage == 0 or config.d_norm != "batch"),
            *([nn.BatchNorm2d(width)] if stage and config.d_norm == "batch" else []),
            nn.LeakyReLU(0.2),
            *_dropout(config.d_dropout),
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


GENERATORS: dict[str, Callable[[Config], nn.Module]] = {
    "upsample": upsample_generator,
    "transposed": transposed_generator,
    "dense_transposed": dense_transposed_generator,
    "residual": residual.residual_generator,
    "r3": residual.r3_generator,
}


def sngan_discriminator(config: Config) -> nn.Module:
    """The standard CNN of SNGAN (Miyato 2018, table 3): 3x3 stride 1 that widens and 4x4 stride 2 in turn, to 4x4."""
    layers: list[nn.Module] = []
    width, before = config.d_channels, 3
    for _ in range(_stages(config)):
        layers += [
            *_normed(nn.Conv2d(before, width, 3, 1, 1), config),
            *_normed(nn.Conv2d(width, width, 4, 2, 1), config),
        ]
        before, width = width, 2 * width
    layers += _normed(nn.Conv2d(before, width, 3, 1, 1), config)
    return Network(*layers, *_dense_logit(width, config))


def _normed(convolution: nn.Conv2d, config: Config) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(convolution.out_channels)] if config.d_norm == "batch" else []
    return [convolution, *norm, nn.LeakyReLU(0.1), *_dropout(config.d_dropout)]


DISCRIMINATORS: dict[str, Callable[[Config], nn.Module]] = {
    "strided": strided_discriminator,
    "dcgan": dcgan_discriminator,
    "sngan": sngan_discriminator,
    "residual": residual.residual_discriminator,
    "r3": residual.r3_discriminator,
}


def build(config: Config, init: torch.Generator, dropout: torch.Generator | None = None) -> tuple[nn.Module, nn.Module]:
    """(G, D) of the config on the CPU, weights drawn from ``init``, dropout drawing from ``dropout``."""
    with torch.random.fork_rng(devices=[]):  # the layers' own initialisation is overwritten below
        networks = GENERATORS[config.generator](config), DISCRIMINATORS[config.discriminator](config)
        for network in networks:
            getattr(network, "initialise", partial(_initialise, network))(init)
            for module in network.modules():
                if isinstance(module, Dropout):
                    module.stream = dropout
        if config.d_norm == "spectral":
            for module in list(networks[1].modules()):
                if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                    register_parametrization(module, "weight", SpectralNorm(module.weight, init))
    return networks


@torch.no_grad()
def _initialise(network: nn.Module, stream: torch.Generator) -> None:
    """Weights N(0, 0.02), batch-norm scales N(1, 0.02), biases 0 (Radford 2016, section 4): for networks without an
    ``initialise`` of their own."""
    for module in network.modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        own["weight"].normal_(1.0 if is_norm else 0.0, 0.02, generator=stream)
        if own.get("bias") is not None:
            own["bias"].zero_()


def features_and_logit(discriminator: nn.Module) -> tuple[nn.Module, nn.Module]:
    """D in two parts that share its weights: images -> features, features -> logits (N,). They part before the first
    layer that compares the images of a batch, or else before the last layer with weights."""
    compare = [place for place, layer in enumerate(discriminator)
               if isinstance(layer, MinibatchDiscrimination | MinibatchDeviation)]  # fmt: skip
    place = compare[0] if compare else len(discriminator) - 2
    return discriminator[:place], discriminator[place:]


class Ema:
    """Exponential moving average of a network's weights AND batch-norm buffers.

    The half-life is counted in images, and is at most a twentieth of the images seen so far, so that the average
    leaves the initial weights behind quickly (Karras 2020, ADA, ramp-up 0.05). A half-life of 0 keeps a plain copy.
    """

    def __init__(self, network: nn.Module, half_life: int) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.half_life = half_life
        self._pairs = self._matched(network)

    def _matched(self, source: nn.Module) -> tuple[list, list, list, list]:
        ours, theirs = self.network.state_dict(), source.state_dict()
        floats = [key for key, value in ours.items() if value.is_floating_point()]
        counts = [key for key in ours if key not in floats]
        return (
            [ours[k] for k in floats],
            [theirs[k] for k in floats],
            [ours[k] for k in counts],
            [theirs[k] for k in counts],
        )

    @torch.no_grad()
    def update(self, images_seen: int, batch_size: int) -> None:
        """One step towards the network, of which ``images_seen`` images were trained in all."""
        averages, weights, our_counts, their_counts = self._pairs
        half_life = min(self.half_life, images_seen / 20)
        decay = 0.5 ** (batch_size / half_life) if half_life else 0.0
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for ours, theirs in zip(our_counts, their_counts, strict=True):
            ours.copy_(theirs)


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


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """[-1, 1] float -> 0..255 uint8."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).contiguous()


def to_float(images: torch.Tensor) -> torch.Tensor:
    """0..255 uint8 -> [-1, 1] float32."""
    return images.float() / 127.5 - 1


@torch.no_grad()
def summary(network: nn.Module, *example: torch.Tensor) -> list[dict[str, object]]:
    """One row a layer (what it is, the shape it returns for one example (a z or an image, and a
    label where there are classes), its parameters), and one for the total."""
    rows: list[dict[str, object]] = []

    def note(module: nn.Module, _: tuple, output: torch.Tensor) -> None:
        count = sum(p.numel() for p in module.parameters())
        name = f"{type(module).__name__.removeprefix('Parametrized')}({module.extra_repr()})"
        name += ", spectral norm" * is_parametrized(module)
        rows.append({"layer": name, "output": " x ".join(map(str, output.shape[1:])) or "1", "parameters": count})

    network = copy.deepcopy(network).eval()
    layers = [
        module for name, module in network.named_modules()
        if "parametrizations" not in name and (is_parametrized(module) or not list(module.children()))
    ]  # fmt: skip
    hooks = [module.register_forward_hook(note) for module in layers]
    network(*example)
    for hook in hooks:
        hook.remove()
    return [*rows, {"layer": "total", "output": "", "parameters": sum(p.numel() for p in network.parameters())}]


def directions(generator: nn.Module, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """((k, d) unit vectors of latents, their (k,) strengths): the steps that move G's first activations most.

    Closed-form factorisation (SeFa, Shen & Zhou 2021, equation 8): the right singular vectors of the first layer's
    matrix, here times the scale of the batch norm behind it, which in evaluation mode is part of the same linear map.
    The sign is chosen so that the largest coordinate is positive. Raises ``ValueError`` if k is not in 1..d.
    """
    stem = next(place for place, layer in enumerate(generator) if isinstance(layer, nn.Linear | nn.ConvTranspose2d))
    layer, norm = generator[stem], generator[stem + 1]
    norm = norm.norm if isinstance(norm, ConditionalNorm) else norm
    weight = layer.weight.detach().double()  # dense (F, d); transposed convolution (d, C, 4, 4)
    maps = weight.view(-1, 1, weight.shape[1]) if isinstance(layer, nn.Linear) else weight.flatten(2).permute(1, 2, 0)
    if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
        scale = (norm.running_var.double() + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight.detach())
        maps = maps * scale[:, None, None]
    classes = getattr(generator[0], "embedding", None)  # coordinates of the class, which stand behind those of z
    matrix = maps.flatten(0, 1)[:, : -classes.embedding_dim if classes else None]
    if not 1 <= k <= matrix.shape[1]:
        raise ValueError(f"k is {k}: a generator of {matrix.shape[1]} latent coordinates has 1 to that many directions")
    _, strengths, vectors = torch.linalg.svd(matrix, full_matrices=False)
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return (vectors * largest.sign())[:k].float(), strengths[:k].float()
