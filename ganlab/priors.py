"""The latent distributions: what z is drawn from. One row of a table each; never reads a config or a network.

Every prior is a map from uniforms to latents (its inverse CDF), and sampling is that map on fresh uniforms. So the
same uniforms through two priors give comrades: the comparisons of the study stand on that. Coordinates are
independent and identically distributed unless a prior says otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from scipy.special import iti0k0

from ganlab.config import CHOICES, unknown


@dataclass(frozen=True)
class Prior:
    """A distribution of latents. ``mean`` and ``std`` are those of one coordinate, after the arm was applied.

    quantile: uniforms float64 in (0, 1) -> the raw distribution's values float64, elementwise
    shift, scale: what the arm does, z = (raw - shift) / scale
    """

    name: str
    quantile: Callable[[torch.Tensor], torch.Tensor]
    raw_mean: float
    raw_std: float
    discrete: bool = False
    symmetric: bool = True
    bounded: bool = False
    heavy_tailed: bool = False
    rotation_invariant: bool = False
    definition: str = ""
    shift: float = 0.0
    scale: float = 1.0

    @property
    def mean(self) -> float:
        return (self.raw_mean - self.shift) / self.scale

    @property
    def std(self) -> float:
        return self.raw_std / self.scale

    def icdf(self, uniforms: torch.Tensor) -> torch.Tensor:
        """uniforms: float64, any shape, in [0, 1]; returns float32 latents of that shape, always finite."""
        tiny = 2.0**-53
        return ((self.quantile(uniforms.clamp(tiny, 1 - tiny)) - self.shift) / self.scale).float()

    def sample(self, n: int, d: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Latents (n, d) float32 on the generator's device (the CPU without one)."""
        return self.icdf(uniforms(n, d, generator))

    def interpolate(self, start: torch.Tensor, end: torch.Tensor, t: float) -> torch.Tensor:
        """The latents (n, d) a share t of the way between two that are given by their uniforms (n, d).

        The uniforms' Gaussian scores are mixed, brought back to variance 1 and mapped through the prior, so that every
        point of the path is distributed as the prior (Agustsson 2019). A discrete prior moves in steps.
        """
        a, b = (torch.special.ndtri(u.clamp(2.0**-53, 1 - 2.0**-53)) for u in (start, end))
        return self.icdf(torch.special.ndtr(((1 - t) * a + t * b) / math.hypot(1 - t, t)))


def uniforms(n: int, d: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """(n, d) float64 in [0, 1): float64 so that the tails of a prior are not cut at the 24 bits of a float32."""
    device = generator.device if generator is not None else "cpu"
    return torch.rand(n, d, dtype=torch.float64, generator=generator, device=device)


def get(name: str, arm: str = "standardised") -> Prior:
    """The prior of that name under an arm: ``standardised`` (mean 0, variance 1), ``centred`` (mean 0) or ``raw``.

    Raises ``ConfigError`` for a name or an arm that does not exist.
    """
    if name not in PRIORS:
        raise unknown("prior", name, PRIORS)
    if arm not in CHOICES["arm"]:
        raise unknown("arm", arm, CHOICES["arm"])
    prior = PRIORS[name]
    shift = 0.0 if arm == "raw" else prior.raw_mean
    scale = prior.raw_std if arm == "standardised" else 1.0
    return replace(prior, shift=shift, scale=scale)


def _exponential(u: torch.Tensor) -> torch.Tensor:
    return -torch.log1p(-u)


def _laplacian(u: torch.Tensor) -> torch.Tensor:
    # Both tails from the smaller of u and 1 - u: log1p(1 - 2u) would lose the upper one to rounding.
    return torch.where(u < 0.5, torch.log(2 * u), -torch.log(2 * (1 - u)))


@cache
def _poisson_cdf() -> torch.Tensor:
    """P(k <= K) of Poisson(1) for K = 0..19; beyond that float64 reads 1."""
    return torch.tensor([math.exp(-1) / math.factorial(k) for k in range(20)], dtype=torch.float64).cumsum(0)


def _poisson(u: torch.Tensor) -> torch.Tensor:
    return torch.searchsorted(_poisson_cdf().to(u.device), u).double()


def _bernoulli(u: torch.Tensor) -> torch.Tensor:
    return (u >= 0.5).double()


@cache
def _normal_product_table() -> tuple[torch.Tensor, torch.Tensor]:
    """Upper tail -log P(ab > x) against x >= 0 for independent standard normals a, b.

    The density is K0(|x|) / pi (Craig 1936). Up to x = 8 the tail is 1/2 less its closed-form integral; from there
    on, where that difference has lost its digits, the density is integrated backwards from x = 60.
    """
    from scipy.special import k0

    low = 8 * np.linspace(0, 1, 4097) ** 3  # dense near 0, where K0 has its logarithmic pole
    high = np.linspace(8, 60, 5201)[1:]
    density = k0(high) / np.pi
    steps = -np.diff(np.concatenate([np.log(density), [np.log(density[-1]) - 0.01]]))
    pieces = 0.01 * density * -np.expm1(-steps) / steps  # exact for a density that is exponential inside a piece
    tail_high = np.cumsum(pieces[::-1])[::-1]
    tail = np.concatenate([0.5 - iti0k0(low)[1] / np.pi, tail_high])
    return torch.from_numpy(-np.log(tail)), torch.from_numpy(np.concatenate([low, high]))


def _multiplicative(u: torch.Tensor) -> torch.Tensor:
    depth, x = (table.to(u.device) for table in _normal_product_table())
    wanted = -torch.log(torch.minimum(u, 1 - u))
    right = torch.searchsorted(depth, wanted).clamp(1, len(depth) - 1)
    share = (wanted - depth[right - 1]) / (depth[right] - depth[right - 1])
    return torch.copysign(torch.lerp(x[right - 1], x[right], share), u - 0.5)


PRIORS: dict[str, Prior] = {
    prior.name: prior
    for prior in (
        Prior("gaussian", torch.special.ndtri, 0.0, 1.0, rotation_invariant=True, definition="N(0, 1)"),
        Prior("uniform", lambda u: 2 * u - 1, 0.0, 3**-0.5, bounded=True, definition="U(-1, 1)"),
        Prior("poisson", _poisson, 1.0, 1.0, discrete=True, symmetric=False, definition="Poisson(1)"),
        Prior("exponential", _exponential, 1.0, 1.0, symmetric=False, heavy_tailed=True, definition="Exponential(1)"),
        Prior("laplacian", _laplacian, 0.0, 2**0.5, heavy_tailed=True, definition="Laplace(0, 1)"),
        Prior("bernoulli", _bernoulli, 0.5, 0.5, discrete=True, bounded=True, definition="Bernoulli(1/2) on {0, 1}"),
        Prior(
            "multiplicative",
            _multiplicative,
            0.0,
            1.0,
            heavy_tailed=True,
            definition="a b with a and b independent N(0, 1)",
        ),
    )
}
