"""The explorer: sliders over trained generators."""

from ganlab.explorer.generators import available, read
from ganlab.explorer.panels import directions, every_prior, interpolation

__all__ = ["available", "directions", "every_prior", "interpolation", "read"]
