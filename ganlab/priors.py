"""The latent distributions: what z is drawn from. One row of a table each; never reads a config or a network.

Every prior is a deterministic map from uniforms to latents, and sampling is that map on fresh uniforms. So the same
uniforms through two priors give paired latents: the comparisons of the study stand on that. For most priors the map is
the inverse CDF of one coordinate, and the coordinates are independent; ``spherical`` and ``one_hot`` map whole rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from scipy.special import iti0k0

from ganlab.config import CHOICES
from ganlab.errors import ConfigError, unknown

TINY = 2.0**-53  # uniforms are kept this far from 0 and 1, so that every latent is finite


@dataclass(frozen=True)
class Prior:
    """A distribution of latents. ``mean`` and ``std`` are those of one coordinate, after the arm was applied.

    quantile: uniforms float64 in (0, 1) -> the raw distribution's values float64; elementwise if ``iid``, otherwise
        from all d uniforms of a row to all d values of a latent
    raw_mean, raw_std: of one raw coordinate; nan where they depend on d, until ``at(d)`` takes them from ``moments``
    discrete: finitely or countably many values. bounded: none beyond some distance. symmetric: z and its mirror image
        about the mean have one law. unimodal: the density never rises on the way out from one point. heavy_tailed: the
        tail falls no faster than an exponential. rotation_invariant: no direction of the latent space differs from
        another
    arm: what is done to the raw values, z = (raw - shift) / scale
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
    unimodal: bool = True
    iid: bool = True
    moments: Callable[[int], tuple[float, float]] | None = None
    definition: str = ""
    arm: str = "raw"

    @property
    def shift(self) -> float:
        return 0.0 if self.arm == "raw" else self.raw_mean

    @property
    def scale(self) -> float:
        return self.raw_std if self.arm == "standardised" else 1.0

    @property
    def mean(self) -> float:
        return (self.raw_mean - self.shift) / self.scale

    @property
    def std(self) -> float:
        return self.raw_std / self.scale

    @property
    def truncatable(self) -> bool:
        """Whether "nearer to the centre" has one meaning: a continuous density that falls away from its mean."""
        return self.iid and self.symmetric and self.unimodal and not self.discrete

    def at(self, d: int) -> "Prior":
        """This prior for latents of d coordinates: only ``one_hot`` has moments that depend on d.

        Raises ``ConfigError`` for ``one_hot`` with d = 1, which is constant.
        """
        if self.moments is None:
            return self
        mean, std = self.moments(d)
        return replace(self, raw_mean=mean, raw_std=std)

    def icdf(self, uniforms: torch.Tensor) -> torch.Tensor:
        """uniforms: float64 (..., d) in [0, 1]; returns float32 latents of that shape, always finite.

        Any shape will do for an iid prior. Raises ``ConfigError`` for ``one_hot`` with d = 1, which is constant.
        """
        prior = self if self.moments is None else self.at(uniforms.shape[-1])
        return ((prior.quantile(uniforms.clamp(TINY, 1 - TINY)) - prior.shift) / prior.scale).float()

    def sample(self, n: int, d: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Latents (n, d) float32 on the generator's device (the CPU without one)."""
        return self.icdf(uniforms(n, d, generator))

    def interpolate(self, start: torch.Tensor, end: torch.Tensor, t: float) -> torch.Tensor:
        """The latents (n, d) a share t in [0, 1] of the way between two that are given by their uniforms (n, d).

        The uniforms' Gaussian scores are mixed, brought back to variance 1 and mapped through the prior, so that every
        point of the path is distributed as the prior (Agustsson 2019). The ends are the given latents, bit for bit. A
        discrete prior moves in steps.
        """
        if t in (0, 1):
            return self.icdf(end if t else start)
        a, b = (torch.special.ndtri(u.clamp(TINY, 1 - TINY)) for u in (start, end))
        return self.icdf(torch.special.ndtr(((1 - t) * a + t * b) / math.hypot(1 - t, t)))

    def truncate(self, uniforms: torch.Tensor, share: float) -> torch.Tensor:
        """Uniforms (n, d) float64 whose latents are drawn from the central ``share`` in (0, 1] of each coordinate.

        That is the prior under the condition |z - mean| <= its quantile at (1 + share) / 2: what drawing again beyond
        a threshold does (Brock 2019, section 3.1), without drawing again. A share of 1 changes nothing.

        Raises ``ConfigError`` for a share outside (0, 1] and for a prior that is not ``truncatable``: where latents are
        discrete or one-sided, have two modes, or lie on a sphere, fewer of them are not nearer to a typical one.
        """
        if not self.truncatable:
            names = ", ".join(name for name, prior in PRIORS.items() if prior.truncatable)
            raise ConfigError(f"prior {self.name!r} has no truncation: it is defined for {names}")
        if not 0 < share <= 1:
            raise ConfigError(f"the share that truncation keeps is {share}: it must be above 0 and at most 1")
        return (1 - share) / 2 + uniforms * share


def uniforms(n: int, d: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """(n, d) float64 in [0, 1): float64 so that the tails of a prior are not cut at the 24 bits of a float32."""
    device = generator.device if generator is not None else "cpu"
    return torch.rand(n, d, dtype=torch.float64, generator=generator, device=device)


def get(name: str, arm: str = "standardised", d: int | None = None) -> Prior:
    """The prior of that name under an arm: ``standardised`` (mean 0, variance 1), ``centred`` (mean 0) or ``raw``.

    d: the number of latent coordinates. Only the ``mean`` and ``std`` of ``one_hot`` need it; latents never do.

    Raises ``ConfigError`` for a name or an arm that does not exist, and for ``one_hot`` with d = 1.
    """
    if name not in PRIORS:
        raise unknown("prior", name, PRIORS)
    if arm not in CHOICES["arm"]:
        raise unknown("arm", arm, CHOICES["arm"])
    prior = replace(PRIORS[name], arm=arm)
    return prior if d is None else prior.at(d)


def lerp(z0: torch.Tensor, z1: torch.Tensor, t: float) -> torch.Tensor:
    """The latents (n, d) a share t in [0, 1] of the straight way from z0 to z1, both (n, d) float32.

    It leaves the prior: half-way between independent latents the variance is half (White 2016). To compare with
    ``Prior.interpolate``.
    """
    return torch.lerp(z0, z1, t)


def slerp(z0: torch.Tensor, z1: torch.Tensor, t: float) -> torch.Tensor:
    """The latents (n, d) a share t in [0, 1] of the way from z0 to z1, both (n, d) float32, at an even angle per row.

    Shoemake 1985; for latents White 2016. Rows of one norm keep it: so it keeps ``spherical``, nearly keeps a Gaussian
    of many coordinates, and leaves every other prior. A row without an arc (zero, parallel or opposite vectors) is that
    of ``lerp``.
    """
    a, b = (torch.nn.functional.normalize(z.double(), dim=-1) for z in (z0, z1))
    # Not the arc cosine of a . b, which loses half of its digits on small angles (Kahan 2006).
    angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    arc = (angle.sin() > 1e-6) & (a.norm(dim=-1, keepdim=True) > 0) & (b.norm(dim=-1, keepdim=True) > 0)
    turned = (((1 - t) * angle).sin() * z0 + (t * angle).sin() * z1) / angle.sin()
    return torch.where(arc, turned.to(z0.dtype), lerp(z0, z1, t))


# Ways from one latent to another: (prior, uniforms of the start, of the end, both (n, d), share t) -> latents (n, d).
PATHS: dict[str, Callable[[Prior, torch.Tensor, torch.Tensor, float], torch.Tensor]] = {
    "matched": Prior.interpolate,
    "lerp": lambda prior, start, end, t: lerp(prior.icdf(start), prior.icdf(end), t),
    "slerp": lambda prior, start, end, t: slerp(prior.icdf(start), prior.icdf(end), t),
}


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


def _read(depth: torch.Tensor, x: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """x where an increasing table of depths reaches the wanted ones, linearly between its rows."""
    right = torch.searchsorted(depth, wanted).clamp(1, len(depth) - 1)
    share = (wanted - depth[right - 1]) / (depth[right] - depth[right - 1])
    return torch.lerp(x[right - 1], x[right], share)


def _multiplicative(u: torch.Tensor) -> torch.Tensor:
    depth, x = (table.to(u.device) for table in _normal_product_table())
    return torch.copysign(_read(depth, x, -torch.log(torch.minimum(u, 1 - u))), u - 0.5)


def _rademacher(u: torch.Tensor) -> torch.Tensor:
    return 2 * _bernoulli(u) - 1


def _student_t(u: torch.Tensor) -> torch.Tensor:
    """3 degrees of freedom: P(x > sqrt(3) / tan(a / 2)) = (a - sin a) / 2 pi, Kepler's equation of eccentricity 1."""
    wanted = 2 * math.pi * torch.minimum(u, 1 - u)
    root = (6 * wanted) ** (1 / 3)
    start = root + root**3 / 60 + root**5 / 1400
    a = start
    for _ in range(3):
        a = a - (a - a.sin() - wanted) / (2 * (a / 2).sin() ** 2)
    a = torch.where(root < 0.05, start, a)  # far out a - sin a has lost its digits, and the series has them all
    return torch.copysign(3**0.5 / torch.tan(a / 2), u - 0.5)


INSIDE = math.erf(2**0.5)  # P(|N(0, 1)| <= 2)


def _truncated_normal(u: torch.Tensor) -> torch.Tensor:
    return torch.special.ndtri(0.5 + INSIDE * (u - 0.5)).clamp(-2, 2)


def _censored_normal(u: torch.Tensor) -> torch.Tensor:
    return torch.special.ndtri(u).clamp(min=0)


def _spherical(u: torch.Tensor) -> torch.Tensor:
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


def _gaussian_mixture(u: torch.Tensor) -> torch.Tensor:
    """Newton's steps on the closed-form tail, from a table that is right to 1e-4: two leave nothing to correct."""
    depth, table = (part.to(u.device) for part in _mixture_table())
    tail = torch.minimum(u, 1 - u)
    x = _read(depth, table, -torch.log(tail))
    for _ in range(2):
        density = (torch.exp(-2 * (x - 1) ** 2) + torch.exp(-2 * (x + 1) ** 2)) / (2 * math.pi) ** 0.5
        x = x + (_mixture_tail(x) - tail) / density
    return torch.copysign(x, u - 0.5)


def _one_hot(u: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(u.argmax(-1), u.shape[-1]).double()


def _one_hot_moments(d: int) -> tuple[float, float]:
    if d < 2:
        raise ConfigError(f"prior 'one_hot' with latent_dim {d} is the same latent every time: take at least 2")
    return 1 / d, (d - 1) ** 0.5 / d


PRIORS: dict[str, Prior] = {
    prior.name: prior
    for prior in (
        Prior("gaussian", torch.special.ndtri, 0.0, 1.0, rotation_invariant=True, definition="N(0, 1)"),
        Prior("uniform", lambda u: 2 * u - 1, 0.0, 3**-0.5, bounded=True, definition="U(-1, 1)"),
        Prior("poisson", _poisson, 1.0, 1.0, discrete=True, symmetric=False, definition="Poisson(1)"),
        Prior("exponential", _exponential, 1.0, 1.0, symmetric=False, heavy_tailed=True, definition="Exponential(1)"),
        Prior("laplacian", _laplacian, 0.0, 2**0.5, heavy_tailed=True, definition="Laplace(0, 1)"),
        Prior(
            "bernoulli",
            _bernoulli,
            0.5,
            0.5,
            discrete=True,
            bounded=True,
            unimodal=False,
            definition="Bernoulli(1/2) on {0, 1}",
        ),
        Prior(
            "multiplicative",
            _multiplicative,
            0.0,
            1.0,
            heavy_tailed=True,
            definition="a b with a and b independent N(0, 1)",
        ),
        # Of the latents that Brock 2019 (appendix E) tried, Bernoulli and the censored normal trained best.
        Prior(
            "rademacher",
            _rademacher,
            0.0,
            1.0,
            discrete=True,
            bounded=True,
            unimodal=False,
            definition="1/2 on {-1, +1}",
        ),
        Prior("student_t", _student_t, 0.0, 3**0.5, heavy_tailed=True, definition="Student t, 3 degrees of freedom"),
        Prior(
            "truncated_normal",
            _truncated_normal,
            0.0,
            (1 - 4 * math.exp(-2) / (2 * math.pi) ** 0.5 / INSIDE) ** 0.5,
            bounded=True,
            definition="N(0, 1) given that it lies in [-2, 2]",
        ),
        Prior(
            "censored_normal",
            _censored_normal,
            (2 * math.pi) ** -0.5,
            (0.5 - 0.5 / math.pi) ** 0.5,
            symmetric=False,
            definition="max(N(0, 1), 0)",
        ),
        Prior(
            "spherical",
            _spherical,
            0.0,
            1.0,
            bounded=True,
            rotation_invariant=True,
            iid=False,
            definition="uniform on the sphere of radius sqrt(d)",
        ),
        # The modes' deviation is half their distance from 0: the density at 0 is 27 % of that at the modes, so there
        # are two of them and still a way across.
        Prior(
            "gaussian_mixture",
            _gaussian_mixture,
            0.0,
            1.25**0.5,
            unimodal=False,
            definition="N(-1, 1/4) or N(1, 1/4), each with 1/2",
        ),
        Prior(
            "one_hot",
            _one_hot,
            math.nan,
            math.nan,
            discrete=True,
            symmetric=False,
            bounded=True,
            iid=False,
            moments=_one_hot_moments,
            definition="1 at one of the d coordinates, each as likely, 0 at the others",
        ),
    )
}


CORE = tuple(PRIORS)[:7]
EXTENDED = tuple(PRIORS)[7:]
