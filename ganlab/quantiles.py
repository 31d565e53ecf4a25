"""The priors' quantile functions, one of the prior's own name each: what maps uniforms to raw latents.

A quantile takes uniforms float64 in (0, 1) and returns float64: elementwise where the coordinates are independent,
otherwise from all d uniforms of a row to all d values of a latent.
"""

import math
from functools import cache

import numpy as np
import torch
from scipy.special import iti0k0, k0

INSIDE = math.erf(2**0.5)  # P(|N(0, 1)| <= 2)


def gaussian(u: torch.Tensor) -> torch.Tensor:
    return torch.special.ndtri(u)


def uniform(u: torch.Tensor) -> torch.Tensor:
    return 2 * u - 1


def exponential(u: torch.Tensor) -> torch.Tensor:
    return -torch.log1p(-u)


def laplacian(u: torch.Tensor) -> torch.Tensor:
    # Both tails from the smaller of u and 1 - u: log1p(1 - 2u) would lose the upper one to rounding.
    return torch.where(u < 0.5, torch.log(2 * u), -torch.log(2 * (1 - u)))


@cache
def _poisson_cdf() -> torch.Tensor:
    """P(k <= K) of Poisson(1) for K = 0..19; beyond that float64 reads 1."""
    return torch.tensor([math.exp(-1) / math.factorial(k) for k in range(20)], dtype=torch.float64).cumsum(0)


def poisson(u: torch.Tensor) -> torch.Tensor:
    return torch.searchsorted(_poisson_cdf().to(u.device), u).double()


def bernoulli(u: torch.Tensor) -> torch.Tensor:
    return (u >= 0.5).double()


@cache
def _normal_product_table() -> tuple[torch.Tensor, torch.Tensor]:
    """Upper tail -log P(ab > x) against x >= 0 for independent standard normals a, b.

    The density is K0(|x|) / pi (Craig 1936). Up to x = 8 the tail is 1/2 less its closed-form integral; from there
    on, where that difference has lost its digits, the density is integrated backwards from x = 60.
    """
    low = 8 * np.linspace(0, 1, 4097) ** 3  # dense near 0, where K0 has its logarithmic pole
    high = np.linspace(8, 60, 5201)[1:]
    density = k0(high) / np.pi
    steps = -np.diff(np.concatenate([np.log(density), [np.log(density[-1]) - 0.01]]))
    pieces = 0.01 * density * -np.expm1(-steps) / steps  # exact for a density that is exponential inside a piece
    tail_high = np.cumsum(pieces[::-1])[::-1]
    tail = np.concatenate([0.5 - iti0k0(low)[1] / np.pi, tail_high])
    return torch.from_numpy(-np.log(tail)), torch.from_numpy(np.concatenate([low, high]))


def _read(depth: torch.Tensor, x: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """x where an increasing table of depths reaches the wanted ones, linearly between its rows."""
    right = torch.searchsorted(depth, wanted).clamp(1, len(depth) - 1)
    share = (wanted - depth[right - 1]) / (depth[right] - depth[right - 1])
    return torch.lerp(x[right - 1], x[right], share)


def multiplicative(u: torch.Tensor) -> torch.Tensor:
    depth, x = (table.to(u.device) for table in _normal_product_table())
    return torch.copysign(_read(depth, x, -torch.log(torch.minimum(u, 1 - u))), u - 0.5)


def rademacher(u: torch.Tensor) -> torch.Tensor:
    return 2 * bernoulli(u) - 1


def student_t(u: torch.Tensor) -> torch.Tensor:
    """3 degrees of freedom: P(x > sqrt(3) / tan(a / 2)) = (a - sin a) / 2 pi, Kepler's equation of eccentricity 1."""
    wanted = 2 * math.pi * torch.minimum(u, 1 - u)
    root = (6 * wanted) ** (1 / 3)
    start = root + root**3 / 60 + root**5 / 1400
    a = start
    for _ in range(3):
        a = a - (a - a.sin() - wanted) / (2 * (a / 2).sin() ** 2)
    a = torch.where(root < 0.05, start, a)  # far out a - sin a has lost its digits, and the series has them all
    return torch.copysign(3**0.5 / torch.tan(a / 2), u - 0.5)


def truncated_normal(u: torch.Tensor) -> torch.Tensor:
    return torch.special.ndtri(0.5 + INSIDE * (u - 0.5)).clamp(-2, 2)


def censored_normal(u: torch.Tensor) -> torch.Tensor:
    return torch.special.ndtri(u).clamp(min=0)


def spherical(u: torch.Tensor) -> torch.Tensor:
    """Normal scores of each row, brought to radius sqrt(d) (Muller 1959). A row of zeros goes to (1, ..., 1)."""
    scores = torch.special.ndtri(u)
    radius = scores.norm(dim=-1, keepdim=True)
    return torch.where(radius > 0, scores / radius * u.shape[-1] ** 0.5, 1.0)


def _mixture_tail(x: torch.Tensor) -> torch.Tensor:
    return (torch.erfc(2**0.5 * (x - 1)) + torch.erfc(2**0.5 * (x + 1))) / 4


@cache
def _mixture_table() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(0, 5.2, 1041, dtype=torch.float64)
    return -torch.log(_mixture_tail(x)), x


def gaussian_mixture(u: torch.Tensor) -> torch.Tensor:
    """Newton's steps on the closed-form tail, from a table that is right to 1e-4: two leave nothing to correct."""
    depth, table = (part.to(u.device) for part in _mixture_table())
    tail = torch.minimum(u, 1 - u)
    x = _read(depth, table, -torch.log(tail))
    for _ in range(2):
        density = (torch.exp(-2 * (x - 1) ** 2) + torch.exp(-2 * (x + 1) ** 2)) / (2 * math.pi) ** 0.5
        x = x + (_mixture_tail(x) - tail) / density
    return torch.copysign(x, u - 0.5)


def one_hot(u: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(u.argmax(-1), u.shape[-1]).double()
