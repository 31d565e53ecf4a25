"""A small CIFAR-10 classifier: the network, and the file that this project ships. ``scoring.classifier`` trains it."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import nn

from ganlab.errors import GanlabError

WIDTHS = (32, 112, 224)
WEIGHTS = Path(__file__).with_name("cifar_resnet.safetensors")
COMMAND = "python -m ganlab.scoring.classifier"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training pixels in [0, 1]


class ClassifierError(GanlabError):
    """A classifier file that is missing, damaged or of another layout."""


class Classifier(nn.Module):
    """images (N, 3, 32, 32), 0..255 of any dtype -> logits (N, classes). Spatial sizes 32 -> 31 -> 15 -> 7 -> 3 -> 1.

    A whitening layer (2x2 patches, both signs of the 12 principal axes), then three blocks of conv, max pool, norm,
    GELU, conv, norm, GELU, then the maximum over space: that vector is the features. ``norm=False`` is the shipped
    form, with each batch norm folded into the convolution before it (its scale is positive, so it passes the max pool).
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, norm: bool = True, classes: int = 10) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        layers: list[nn.Module] = []
        for before, width in zip((24, *widths[:-1]), widths, strict=True):
            layers += [_conv(before, width, norm), nn.MaxPool2d(2), *_norm(width, norm), nn.GELU()]
            layers += [_conv(width, width, norm), *_norm(width, norm), nn.GELU()]
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], classes, bias=False)
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(STD).view(3, 1, 1), persistent=False)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """images (N, 3, 32, 32), 0..255 -> (N, widths[-1])."""
        x = self.normalised(images)  # (N, 3, 32, 32)
        x = F.gelu(self.whiten(x))  # (N, 24, 31, 31)
        return self.blocks(x).amax((2, 3))  # (N, F, 3, 3) -> (N, F)

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        return ((images.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """features (N, F) -> (N, classes)."""
        return self.head(features) / 9

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(self.features(images))


def _conv(before: int, width: int, norm: bool) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, padding=1, bias=not norm)


def _norm(width: int, norm: bool) -> list[nn.Module]:
    """Batch norm with a learned bias and a fixed scale of 1."""
    if not norm:
        return []
    layer = nn.BatchNorm2d(width)
    layer.weight.requires_grad_(False)
    return [layer]


def read_classifier(path: Path = WEIGHTS) -> Classifier:
    """The classifier of a file, fp32, in evaluation mode. Raises ``ClassifierError`` if it is missing or damaged."""
    if not path.exists():
        raise ClassifierError(
            f"there is no classifier at {path}: train it with '{COMMAND} --out {path}' (40 minutes on 2 cores)"
        )
    try:
        with safe_open(path, "pt") as file:
            widths = tuple(json.loads(file.metadata()["about"])["recipe"]["widths"])
            weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        with torch.random.fork_rng(devices=[]):
            network = Classifier(widths, norm=False, classes=len(weights["head.weight"]))
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ClassifierError(
            f"{path} is damaged or no classifier ({error}): restore it, or train it with '{COMMAND} --out {path}'"
        ) from None
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
