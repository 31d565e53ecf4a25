"""Augmentation of D's inputs, differentiable and the same on real and generated images, and instance noise.

Real images alone can be augmented too; G then learns to draw the augmented images.

Images are (N, 3, H, W) float in [-1, 1]. Every draw comes from the generator that is handed in.
"""

import math

import torch
import torch.nn.functional as F

from ganlab.choices import AUGMENTATIONS, REAL_AUGMENTATIONS, function


def augment(images: torch.Tensor, names: list[str], noise: float, generator: torch.Generator) -> torch.Tensor:
    """The named augmentations of ``AUGMENTATIONS`` in order, then N(0, noise^2) on every value."""
    for name in names:
        images = function("diffaugment", AUGMENTATIONS, name)(images, generator)
    if noise:
        drawn = torch.randn(images.shape, generator=generator, device=images.device, dtype=torch.float32)
        images = images + noise * drawn
    return images


def _per_image(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One uniform in [0, 1) an image, shaped (N, 1, 1, 1) to broadcast."""
    return torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device)


def color(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Brightness +-0.5, saturation x0..2, contrast x0.5..1.5 (Zhao 2020, DiffAugment)."""
    images = images + (_per_image(images, generator) - 0.5)
    grey = images.mean(1, keepdim=True)
    images = torch.lerp(grey, images, 2 * _per_image(images, generator))
    flat = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(flat, images, 0.5 + _per_image(images, generator))


def translation(images: torch.Tensor, generator: torch.Generator, ratio: float = 0.125) -> torch.Tensor:
    """A shift by up to ``ratio`` of the side in each direction, zeros moving in (Zhao 2020)."""
    n, _, height, width = images.shape
    reach_y, reach_x = int(height * ratio + 0.5), int(width * ratio + 0.5)
    device = images.device
    dy = torch.randint(0, 2 * reach_y + 1, (n,), generator=generator, device=device)
    dx = torch.randint(0, 2 * reach_x + 1, (n,), generator=generator, device=device)
    padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y)).permute(0, 2, 3, 1)
    rows = dy[:, None, None] + torch.arange(height, device=device)[:, None]
    columns = dx[:, None, None] + torch.arange(width, device=device)
    return padded[torch.arange(n, device=device)[:, None, None], rows, columns].permute(0, 3, 1, 2)


def cutout(images: torch.Tensor, generator: torch.Generator, ratio: float = 0.5) -> torch.Tensor:
    """A square hole of ``ratio`` of the side, its centre anywhere in the image (Zhao 2020)."""
    n, _, height, width = images.shape
    device = images.device
    half = int(height * ratio + 0.5) // 2
    y = torch.randint(0, height + 1, (n, 1, 1), generator=generator, device=device)
    x = torch.randint(0, width + 1, (n, 1, 1), generator=generator, device=device)
    down, right = torch.arange(height, device=device)[:, None] - y, torch.arange(width, device=device) - x
    inside = (down >= -half) & (down < half) & (right >= -half) & (right < half)
    return images * ~inside[:, None]


def augment_real(images: torch.Tensor, names: list[str], generator: torch.Generator) -> torch.Tensor:
    """The named augmentations of ``REAL_AUGMENTATIONS`` in order."""
    for name in names:
        images = function("real_augment", REAL_AUGMENTATIONS, name)(images, generator)
    return images


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirrors each image left to right with probability 1/2."""
    return torch.where(_per_image(images, generator) < 0.5, images.flip(3), images)


def crop(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """An eighth of the side of black all around, then a crop of the old size anywhere."""
    return translation(images + 1, generator) - 1


def rotation(images: torch.Tensor, generator: torch.Generator, degrees: float = 15.0) -> torch.Tensor:
    """A turn by up to ``degrees`` either way about the centre, bilinear, black moving in."""
    angle = (2 * _per_image(images, generator).flatten() - 1) * math.radians(degrees)
    zero = torch.zeros_like(angle)
    rows = [torch.stack(row, 1) for row in ((angle.cos(), -angle.sin(), zero), (angle.sin(), angle.cos(), zero))]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1
