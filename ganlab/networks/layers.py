"""Layers that torch lacks, and ``SpectralNorm``, which takes less time than torch's. They know no config."""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


class Dropout(nn.Module):
    """Drops whole channels while training (Tompson 2015), from a stream of its own so that a resumed run repeats it."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.stream: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        kept = torch.rand(*x.shape[:2], 1, 1, generator=self.stream, device=x.device) >= self.p
        return x * (kept.to(x.dtype) / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}"


def dropout(p: float) -> list[nn.Module]:
    return [Dropout(p)] if p else []


def doublings(resolution: int, start: int = 4) -> int:
    """How many doublings lead from ``start`` to the resolution."""
    return int(math.log2(resolution // start))


class Network(nn.Sequential):
    """Layers in order; labels go to those that have ``takes_labels``. A slice is a network of the same layers."""

    def __getitem__(self, index: int | slice) -> nn.Module:
        if isinstance(index, slice):
            return Network(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        for layer in self:
            x = layer(x, labels) if getattr(layer, "takes_labels", False) else layer(x)
        return x


class Block(nn.Module):
    """shortcut(x) + branch(x), where the branch may drop channels at its end and pass labels to its norms."""

    takes_labels = True

    def __init__(self, *branch: nn.Module, shortcut: nn.Module, dropout: float) -> None:
        super().__init__()
        self.branch = Network(*branch, *([Dropout(dropout)] if dropout else []))
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return self.shortcut(x) + self.branch(x, labels)


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


class ConditionalNorm(nn.Module):
    """Batch norm with a scale and a shift for each class (Dumoulin 2017; Miyato & Koyama 2018)."""

    takes_labels = True

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, classes: int) -> None:
        super().__init__()
        self.norm = type(norm)(norm.num_features, affine=False)
        self.scale = nn.Embedding(classes, norm.num_features)  # around 1: what is learnt is the difference
        self.shift = nn.Embedding(classes, norm.num_features)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        shape = (x.shape[0], -1, *[1] * (x.ndim - 2))
        return torch.addcmul(self.shift(labels).view(shape), self.norm(x), 1 + self.scale(labels).view(shape))


class Projection(nn.Module):
    """Logit of features (N, F) that belong to a class: w f + e_y f (Miyato & Koyama 2018, equation 4)."""

    takes_labels = True

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.embedding = nn.Embedding(classes, features)

    def forward(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.linear(features) + (self.embedding(labels) * features).sum(1, keepdim=True)


def batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, classes: int) -> nn.Module:
    """The norm, or one with a scale and a shift for each class; classes: 0 where the network is not conditional."""
    return ConditionalNorm(norm, classes) if classes else norm


def dense_logit(features: int, classes: int) -> list[nn.Module]:
    """From features (N, F) to logits (N,); classes: 0 where the network is not conditional."""
    return [Projection(features, classes) if classes else nn.Linear(features, 1), nn.Flatten(0)]


class MinibatchDiscrimination(nn.Module):
    """Appends to features (N, F) how near each image's are to the others' of the batch: (N, F + B).

    Salimans 2016, section 3.2: rows of T f(x) in B x C, o_b(x_i) = sum over j != i of exp(-|M_ib - M_jb|_1).
    """

    def __init__(self, features: int, kernels: int = 32, width: int = 8) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features, kernels * width))
        self.kernels = kernels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        rows = features @ self.weight
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))  # the sum of 1 and the near ones drowns in bf16
        rows = rows.view(len(features), self.kernels, -1)
        near = torch.exp(-(rows[:, None] - rows[None]).abs().sum(3)).sum(1) - 1
        return torch.cat([features, near], 1)


class MinibatchDeviation(nn.Module):
    """Appends one channel to (N, C, H, W): the standard deviation over the batch, its mean over all places (Karras
    2018, section 3)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        deviation = (x.float().var(0, unbiased=False) + 1e-8).sqrt().mean().to(x.dtype)
        return torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], 1)


class SpectralNorm(nn.Module):
    """A parametrisation that divides a weight by its largest singular value (Miyato 2018, algorithm 1).

    What ``torch.nn.utils.parametrizations.spectral_norm`` does, one power iteration at every use while training, in
    fewer operations, and started from ``stream`` in place of torch's global random state.
    """

    def __init__(self, weight: torch.Tensor, stream: torch.Generator, warm_up: int = 15) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        for name, size in zip("uv", matrix.shape, strict=True):  # the first singular vectors, as far as they are known
            self.register_buffer(name, F.normalize(torch.randn(size, generator=stream), dim=0))
        for _ in range(warm_up):
            self._iterate(matrix)

    @torch.no_grad()
    def _iterate(self, matrix: torch.Tensor) -> None:
        self.u.copy_(F.normalize(torch.mv(matrix, self.v), dim=0))
        self.v.copy_(F.normalize(torch.mv(matrix.T, self.u), dim=0))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        matrix = weight.flatten(1)
        if self.training:
            self._iterate(matrix)
        return weight / torch.dot(self.u.clone(), torch.mv(matrix, self.v.clone()))  # the next use changes u and v
