"""Layers that compute what torch's own layers compute, in less time; outputs and gradients are tested against them.

Each has the parameters of the layer that it stands for, under the same names.
"""

import torch
import torch.nn.functional as F
from torch import nn


class UpsampleConv2d(nn.Conv2d):
    """Nearest-neighbour upsampling by 2, then this 3x3 convolution with padding 1: (N, C, H, W) -> (N, D, 2H, 2W).

    Neighbours in the upsampled image are equal, so every second tap of the 3x3 kernel falls on a value that its
    neighbour has already read: the two steps are one 4x4 transposed convolution of stride 2 whose kernel holds sums of
    the 3x3 kernel's taps, with 2.25 times fewer multiplications and no upsampled image in memory. On the CPU in
    float32 that is 1.5 to 2.5 times as fast, so it is done there; elsewhere the two steps are taken as they are.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = False) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            return F.conv_transpose2d(x, self.folded(), self.bias, stride=2, padding=1)
        return super().forward(F.interpolate(x, scale_factor=2.0))

    def folded(self) -> torch.Tensor:
        """The (C, D, 4, 4) kernel: tap i of each side is the sum of the taps i - 1 and i of the flipped 3x3 kernel."""
        kernel = F.pad(self.weight.flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
        rows = kernel[:, :, :-1] + kernel[:, :, 1:]
        return rows[..., :-1] + rows[..., 1:]


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
