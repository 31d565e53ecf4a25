"""The generators that the explorer reads, with what it takes to feed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import nn

from ganlab import latents as latent_space
from ganlab import priors
from ganlab.config import Config
from ganlab.networks.generators import generate
from ganlab.run import Run


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator that was read, with what it takes to feed it."""

    generator: nn.Module
    config: Config
    prior: priors.Prior

    def uniforms(self, seed: int) -> torch.Tensor:
        """(1, d): the point of latent space that a seed names, the same for every prior."""
        return priors.uniforms(1, self.config.latent_dim, torch.Generator().manual_seed(seed))

    def draw(self, latents: torch.Tensor, name: str | None = None) -> torch.Tensor:
        """uint8 (3, R, R) of latents (1, d); name: the class, of a conditional run, by default its first."""
        labels = latent_space.labels_in_turn(self.config, 1, [name] if name else None)
        return generate(self.generator, latents, labels)[0]

    @cached_property
    def directions(self) -> torch.Tensor:
        """(d, d) unit vectors, the one that changes most first."""
        return latent_space.directions(self.generator, self.config.latent_dim)[0]

    def along(self, latents: torch.Tensor, steps: Sequence[float]) -> torch.Tensor:
        """Latents (n, d) moved along the leading directions, ``steps`` in standard deviations of a coordinate."""
        ways = self.directions[: len(steps)]
        return latents + self.prior.at(latents.shape[1]).std * torch.tensor(steps[: len(ways)]) @ ways


def available() -> list[str]:
    """The folders under ``results`` that hold a trained generator, in order of their names."""
    return sorted(str(path.parent) for path in Path("results").rglob("generator.safetensors"))


@lru_cache(maxsize=32)
def _read(folder: str, changed: int) -> LoadedGenerator:
    generator, config = Run(folder).read_generator()
    return LoadedGenerator(generator, config, priors.get(config.prior, config.scaling))


def read(folder: str | Path) -> LoadedGenerator:
    """The generator of a run's folder, read once while its file stays the same. Raises ``RunError``."""
    path = Path(folder) / "generator.safetensors"
    return _read(str(folder), path.stat().st_mtime_ns if path.exists() else 0)
