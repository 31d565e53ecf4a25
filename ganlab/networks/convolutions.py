"""Convolutions that compute what torch's do, in less time on a CPU. They know no config.

Their parameters have the names of torch's; outputs and gradients are tested against torch's.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

SMALL = 16  # places, height times width, of a map that is small


class Conv2d(nn.Conv2d):
    """torch's, with zeros around the image and no dilation. In bf16 on the CPU, where the output is small, its kernel's
    gradient is one matrix product: 1.3 ms where oneDNN's own way took 3.8 (AMX), 5.4 for 6.7 (AVX512-BF16). That
    product cannot be differentiated again: ``twice`` says that it will be, and then torch's own way is taken."""

    twice = False

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self.twice or self.groups > 1 or not _learns_in_bf16(x, weight):
            return super()._conv_forward(x, weight, bias)
        geometry = zip(x.shape[2:], self.kernel_size, self.stride, self.padding, strict=True)
        if math.prod((size + 2 * padding - kernel) // stride + 1 for size, kernel, stride, padding in geometry) > SMALL:
            return super()._conv_forward(x, weight, bias)
        output = super()._conv_forward(x, weight.detach(), None if bias is None else bias.detach())
        return _ToKernel.apply(output, x.detach(), weight, bias, self, False)


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's, without dilation, groups or output padding. Where the input is small, its kernel's gradient goes the way
    of that of ``Conv2d``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight, self.bias
        if not _learns_in_bf16(x, weight) or x.shape[2] * x.shape[3] > SMALL:
            return super().forward(x)
        frozen = None if bias is None else bias.detach()
        output = F.conv_transpose2d(x, weight.detach(), frozen, self.stride, self.padding)
        return _ToKernel.apply(output, x.detach(), weight, bias, self, True)


def _learns_in_bf16(x: torch.Tensor, weight: torch.Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and weight.requires_grad


class _ToKernel(torch.autograd.Function):
    """A convolution's output, unchanged; hands its gradient on to the kernel and to the bias."""

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None,
        layer: Conv2d | ConvTranspose2d, transposed: bool,
    ) -> torch.Tensor:  # fmt: skip
        ctx.save_for_backward(x)
        ctx.layer, ctx.transposed = layer, transposed
        ctx.mark_dirty(output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        small, large = (x, gradient) if ctx.transposed else (gradient, x)
        kernel = _kernel_gradient(small, large, ctx.layer)
        bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[3] else None
        return gradient, None, kernel, bias, None, None


def _kernel_gradient(small: torch.Tensor, large: torch.Tensor, layer: Conv2d | ConvTranspose2d) -> torch.Tensor:
    """(C, D, K, K) from the maps on both sides of a convolution, (N, C, h, w) and (N, D, H, W): the sum over images
    and places of the small map times the window of the large one that belongs to it."""
    (high, wide), (down, right), (above, left) = layer.kernel_size, layer.stride, layer.padding
    padded = F.pad(large.to(torch.bfloat16), (left, left, above, above)).permute(0, 2, 3, 1).contiguous()
    image, row, column, channel = padded.stride()
    shape = (len(small), *small.shape[2:], high, wide, large.shape[1])
    windows = padded.as_strided(shape, (image, row * down, column * right, row, column, channel))
    rows = small.to(torch.bfloat16).permute(0, 2, 3, 1).flatten(0, 2)
    product = rows.T @ windows.reshape(len(rows), -1)
    return product.view(-1, *shape[3:]).permute(0, 3, 1, 2)


class UpsampleConv2d(nn.Conv2d):
    """Nearest-neighbour upsampling by 2, then this 3x3 convolution with padding 1: (N, C, H, W) -> (N, D, 2H, 2W).

    Neighbours in the upsampled image are equal, so every second tap of the 3x3 kernel falls on a value that its
    neighbour has already read: the two steps are one 4x4 transposed convolution of stride 2, with a kernel of sums of
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


class DownsampleConv2d(nn.Conv2d):
    """This 3x3 convolution with padding 1, then the mean of each 2x2: (N, C, 2H, 2W) -> (N, D, H, W).

    What ``UpsampleConv2d`` does, the other way round: together they are one 4x4 convolution of stride 2 whose kernel
    holds sums of the 3x3 kernel's taps, with 2.25 times fewer multiplications; done on the CPU in float32.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
            return F.conv2d(x, self.folded(), self.bias, stride=2, padding=1)
        return F.avg_pool2d(super().forward(x), 2)

    def folded(self) -> torch.Tensor:
        """The (D, C, 4, 4) kernel: tap i of each side is the mean of the taps i - 1 and i of the 3x3 kernel."""
        kernel = F.pad(self.weight, (1, 1, 1, 1))
        rows = kernel[:, :, :-1] + kernel[:, :, 1:]
        return (rows[..., :-1] + rows[..., 1:]) / 4
