"""A discriminator that looks through a frozen feature network (Projected GAN, Sauer 2021).

Images pass through a classifier that never changes. At each of its three scales a small head says how real the feature
map looks. D trains the heads alone, so it need not learn to see first. The feature network judges no run, and the
metrics of a run name it.
"""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ganlab.config import Config
from ganlab.errors import ConfigError
from ganlab.networks.classifier import MEAN, STD, Classifier, ClassifierError, read_classifier
from ganlab.networks.convolutions import Conv2d
from ganlab.networks.initial import normal

SHIPPED = Path(__file__).with_name("feature_network.safetensors")
LAST = 3  # pixels of a side on which a head decides


class FeatureNetwork(nn.Module):
    """images (N, 3, R, R) in [-1, 1] -> three feature maps (N, C, S, S), S about R/2, R/4 and R/8.

    The trunk of a classifier. Its weights are buffers, so no optimiser and no ``requires_grad_`` reaches them, and no
    checkpoint carries them. Gradients pass through to the images.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        layers = [classifier.whiten, *(layer for layer in classifier.blocks if isinstance(layer, nn.Conv2d))]
        for place, layer in enumerate(layers):
            self.register_buffer(f"weight{place}", layer.weight.detach(), persistent=False)
            self.register_buffer(f"bias{place}", layer.bias.detach(), persistent=False)
        self.register_buffer("mean", 2 * torch.tensor(MEAN).view(3, 1, 1) - 1, persistent=False)  # in [-1, 1]
        self.register_buffer("std", 2 * torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.widths = [layer.out_channels for layer in layers[2::2]]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = F.gelu(self._conv((images - self.mean) / self.std, 0, padding=0))  # (N, 24, R - 1, R - 1)
        maps = []
        for place in range(1, 2 * len(self.widths), 2):
            x = F.gelu(F.max_pool2d(self._conv(x, place), 2))
            x = F.gelu(self._conv(x, place + 1))
            maps.append(x)
        return maps

    def extra_repr(self) -> str:
        return "frozen"

    def _conv(self, x: torch.Tensor, place: int, padding: int = 1) -> torch.Tensor:
        return F.conv2d(x, getattr(self, f"weight{place}"), getattr(self, f"bias{place}"), padding=padding)


class Head(nn.Module):
    """A feature map (N, C, S, S), labels (N,) -> logits (N,).

    Convolutions halve the side down to 3, one more follows, and a 3x3 convolution gives the logit. Conditional: the
    mean of the last map times the embedding of the class is added (Miyato & Koyama 2018, equation 4). The paper mixes
    the channels first, at random and for good (section 3.1). Here that gained nothing (results/bench/attempts.csv).
    """

    def __init__(self, channels: int, side: int, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        while side > LAST:
            layers += [Conv2d(before, width, 4, 2, 1), nn.LeakyReLU(0.2)]
            before, width, side = width, 2 * width, side // 2
        self.trunk = nn.Sequential(*layers, Conv2d(before, width, 3, 1, 1), nn.LeakyReLU(0.2))
        self.logit = Conv2d(width, 1, LAST)
        self.embedding = nn.Embedding(classes, width) if classes else None

    def forward(self, feature_map: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        x = self.trunk(feature_map)  # (N, width, 3, 3)
        logit = self.logit(x).flatten()
        return logit if self.embedding is None else logit + (self.embedding(labels) * x.mean((2, 3))).sum(1)


class ProjectedDiscriminator(nn.Module):
    """images (N, 3, R, R), labels (N,) -> logits (N, 3), one a scale. ``features`` never change; ``logit`` learns."""

    frozen_features = True

    def __init__(self, eyes: FeatureNetwork, config: Config) -> None:
        super().__init__()
        self.eyes = eyes
        sides = [(config.resolution - 1) // 2 ** (place + 1) for place in range(len(eyes.widths))]
        self.heads = nn.ModuleList(
            Head(channels, side, config.d_channels, config.label_count)
            for channels, side in zip(eyes.widths, sides, strict=True)
        )

    @torch.no_grad()
    def initialise(self, stream: torch.Generator) -> None:
        normal(self, stream)

    def features(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> list[torch.Tensor]:
        return self.eyes(images)

    def logit(self, maps: list[torch.Tensor], labels: torch.Tensor | None = None) -> torch.Tensor:
        return torch.stack([head(x, labels) for head, x in zip(self.heads, maps, strict=True)], 1)

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.logit(self.features(images), labels)


def looked_through(config: Config) -> dict[str, str] | None:
    """Name and SHA-256 of the network that D looks through; None if it sees the pixels themselves.

    Raises ``ConfigError`` if its file is missing or damaged.
    """
    if config.discriminator != "projected":
        return None
    file, _ = _feature_network(config)
    return {"name": file.stem, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def projected_discriminator(config: Config) -> ProjectedDiscriminator:
    """Heads of ``d_channels`` on the feature network of the config.

    Raises ``ConfigError`` if its file is missing or damaged.
    """
    return ProjectedDiscriminator(FeatureNetwork(_feature_network(config)[1]), config)


def _feature_network(config: Config) -> tuple[Path, Classifier]:
    file = Path(config.feature_network or SHIPPED)
    try:
        return file, read_classifier(file)
    except ClassifierError as error:
        raise ConfigError(f"the feature network that D looks through: {error}") from None
