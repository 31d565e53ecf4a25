"""The networks: G, D, their layers, the average of G, and the shipped classifier."""

from ganlab.networks.build import build, summary
from ganlab.networks.ema import Ema
from ganlab.networks.generators import generate

__all__ = ["Ema", "build", "generate", "summary"]
