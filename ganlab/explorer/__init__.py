"""The explorer: sliders over trained generators."""

from ganlab.explorer.panels import available, directions, every_prior, interpolation, read

__all__ = ["available", "directions", "every_prior", "interpolation", "read"]
