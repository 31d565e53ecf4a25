"""The latent distributions: what z is drawn from. One row of a table each; never reads a config or a network.

Every prior is a deterministic map from uniforms to latents, and sampling is that map on fresh uniforms. So the same
uniforms through two priors give paired latents: the comparisons of the study stand on that. For most priors the map is
the inverse CDF of one coordinate, and the coordinates are independent; ``spherical`` and ``one_hot`` map whole rows.
The maps stand in ``quantiles``; nothing here loads torch before a latent is drawn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ganlab.errors import ConfigError, unknown

if TYPE_CHECKING:
    import torch

TINY = 2.0**-53  # uniforms are kept this far from 0 and 1, so that every latent is finite
SCALINGS = ("standardised", "centred", "raw")


@dataclass(frozen=True)
class Prior:
    """A distribution of latents. ``mean`` and ``std`` are those of one coordinate, after the scaling was applied.

    raw_mean, raw_std: of one raw coordinate; nan where they depend on d, until ``at(d)`` takes them from ``moments``
    discrete: finitely or countably many values. symmetric: z and its mirror image about the mean have one law.
    unimodal: the density never rises on the way out from one point. iid: coordinates are independent
    scaling: what is done to the raw values, z = (raw - shift) / scale
    """

    name: str
    raw_mean: float
    raw_std: float
    definition: str
    discrete: bool = False
    symmetric: bool = True
    unimodal: bool = True
    iid: bool = True
    moments: Callable[[int], tuple[float, float]] | None = None
    scaling: str = "raw"

    @property
    def quantile(self) -> "Callable[[torch.Tensor], torch.Tensor]":
        """Uniforms -> the raw distribution's values: the function of this name in ``quantiles``."""
        from ganlab import quantiles

        return getattr(quantiles, self.name)

    @property
    def shift(self) -> float:
        return 0.0 if self.scaling == "raw" else self.raw_mean

    @property
    def scale(self) -> float:
        return self.raw_std if self.scaling == "standardised" else 1.0

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

    def icdf(self, uniforms: "torch.Tensor") -> "torch.Tensor":
        """uniforms: float64 (..., d) in [0, 1]; returns float32 latents of that shape, always finite.

        Any shape will do for an iid prior. Raises ``ConfigError`` for ``one_hot`` with d = 1, which is constant.
        """
        prior = self if self.moments is None else self.at(uniforms.shape[-1])
        return ((prior.quantile(uniforms.clamp(TINY, 1 - TINY)) - prior.shift) / prior.scale).float()

    def sample(self, n: int, d: int, generator: "torch.Generator | None" = None) -> "torch.Tensor":
        """Latents (n, d) float32 on the generator's device (the CPU without one)."""
        return self.icdf(uniforms(n, d, generator))

    def interpolate(self, start: "torch.Tensor", end: "torch.Tensor", t: float) -> "torch.Tensor":
        """The latents (n, d) a share t in [0, 1] of the way between two that are given by their uniforms (n, d).

        The uniforms' Gaussian scores are mixed, brought back to variance 1 and mapped through the prior, so that every
        point of the path is distributed as the prior (Agustsson 2019). The ends are the given latents, bit for bit. A
        discrete prior moves in steps.
        """
        from torch.special import ndtr

        if t in (0, 1):
            return self.icdf(end if t else start)
        a, b = scores(start), scores(end)
        return self.icdf(ndtr(((1 - t) * a + t * b) / math.hypot(1 - t, t)))

    def truncate(self, uniforms: "torch.Tensor", share: float) -> "torch.Tensor":
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


def uniforms(n: int, d: int, generator: "torch.Generator | None" = None) -> "torch.Tensor":
    """(n, d) float64 in [0, 1): float64 so that the tails of a prior are not cut at the 24 bits of a float32."""
    import torch

    device = generator.device if generator is not None else "cpu"
    return torch.rand(n, d, dtype=torch.float64, generator=generator, device=device)


def scores(uniforms: "torch.Tensor") -> "torch.Tensor":
    """The Gaussian scores of uniforms, float64 of any shape: always finite, as latents are."""
    import torch

    return torch.special.ndtri(uniforms.clamp(TINY, 1 - TINY))


def get(name: str, scaling: str = "standardised", d: int | None = None) -> Prior:
    """The prior of that name under a scaling: ``standardised`` (mean 0, variance 1), ``centred`` (mean 0) or ``raw``.

    d: the number of latent coordinates. Only the ``mean`` and ``std`` of ``one_hot`` need it; latents never do.

    Raises ``ConfigError`` for a name or a scaling that does not exist, and for ``one_hot`` with d = 1.
    """
    if name not in PRIORS:
        raise unknown("prior", name, PRIORS)
    if scaling not in SCALINGS:
        raise unknown("scaling", scaling, SCALINGS)
    prior = replace(PRIORS[name], scaling=scaling)
    return prior if d is None else prior.at(d)


def lerp(z0: "torch.Tensor", z1: "torch.Tensor", t: float) -> "torch.Tensor":
    """The latents (n, d) a share t in [0, 1] of the straight way from z0 to z1, both (n, d) float32.

    It leaves the prior: half-way between independent latents the variance is half (White 2016). To compare with
    ``Prior.interpolate``.
    """
    return z0.lerp(z1, t)


def slerp(z0: "torch.Tensor", z1: "torch.Tensor", t: float) -> "torch.Tensor":
    """The latents (n, d) a share t in [0, 1] of the way from z0 to z1, both (n, d) float32, at an even angle per row.

    Shoemake 1985; for latents White 2016. Rows of one norm keep it: so it keeps ``spherical``, nearly keeps a Gaussian
    of many coordinates, and leaves every other prior. A row without an arc (zero, parallel or opposite vectors) is that
    of ``lerp``.
    """
    import torch

    a, b = (torch.nn.functional.normalize(z.double(), dim=-1) for z in (z0, z1))
    # Not the arc cosine of a . b, which loses half of its digits on small angles (Kahan 2006).
    angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    arc = (angle.sin() > 1e-6) & (a.norm(dim=-1, keepdim=True) > 0) & (b.norm(dim=-1, keepdim=True) > 0)
    turned = (((1 - t) * angle).sin() * z0 + (t * angle).sin() * z1) / angle.sin()
    return torch.where(arc, turned.to(z0.dtype), lerp(z0, z1, t))


# Ways from one latent to another: (prior, uniforms of the start, of the end, both (n, d), share t) -> latents (n, d).
PATHS: "dict[str, Callable[[Prior, torch.Tensor, torch.Tensor, float], torch.Tensor]]" = {
    "matched": Prior.interpolate,
    "lerp": lambda prior, start, end, t: lerp(prior.icdf(start), prior.icdf(end), t),
    "slerp": lambda prior, start, end, t: slerp(prior.icdf(start), prior.icdf(end), t),
}


# --- the table ------------------------------------------------------------------------------------------------------


def _one_hot_moments(d: int) -> tuple[float, float]:
    if d < 2:
        raise ConfigError(f"prior 'one_hot' with latent_dim {d} is the same latent every time: take at least 2")
    return 1 / d, (d - 1) ** 0.5 / d


# Of the latents that Brock 2019 (appendix E) tried, Bernoulli and the censored normal trained best. The modes of
# gaussian_mixture have a deviation of half their distance from 0: the density at 0 is 27 % of that at the modes.
PRIORS: dict[str, Prior] = {
    prior.name: prior
    for prior in (
        Prior("gaussian", 0.0, 1.0, "N(0, 1)"),
        Prior("uniform", 0.0, 3**-0.5, "U(-1, 1)"),
        Prior("poisson", 1.0, 1.0, "Poisson(1)", discrete=True, symmetric=False),
        Prior("exponential", 1.0, 1.0, "Exponential(1)", symmetric=False),
        Prior("laplacian", 0.0, 2**0.5, "Laplace(0, 1)"),
        Prior("bernoulli", 0.5, 0.5, "Bernoulli(1/2) on {0, 1}", discrete=True, unimodal=False),
        Prior("multiplicative", 0.0, 1.0, "a b with a and b independent N(0, 1)"),
        Prior("rademacher", 0.0, 1.0, "1/2 on {-1, +1}", discrete=True, unimodal=False),
        Prior("student_t", 0.0, 3**0.5, "Student t, 3 degrees of freedom"),
        Prior(
            "truncated_normal",
            0.0,
            (1 - 4 * math.exp(-2) / (2 * math.pi) ** 0.5 / math.erf(2**0.5)) ** 0.5,
            "N(0, 1) given that it lies in [-2, 2]",
        ),
        Prior(
            "censored_normal", (2 * math.pi) ** -0.5, (0.5 - 0.5 / math.pi) ** 0.5, "max(N(0, 1), 0)", symmetric=False
        ),
        Prior("spherical", 0.0, 1.0, "uniform on the sphere of radius sqrt(d)", iid=False),
        Prior("gaussian_mixture", 0.0, 1.25**0.5, "N(-1, 1/4) or N(1, 1/4), each with 1/2", unimodal=False),
        Prior(
            "one_hot",
            math.nan,
            math.nan,
            "1 at one of the d coordinates, each as likely, 0 at the others",
            discrete=True,
            symmetric=False,
            iid=False,
            moments=_one_hot_moments,
        ),
    )
}
CORE = tuple(PRIORS)[:7]
EXTENDED = tuple(PRIORS)[7:]
