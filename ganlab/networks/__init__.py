"""The networks: G, D, their layers, the average of G, and the shipped classifier."""

from ganlab.networks.build import build, summary
from ganlab.networks.classifier import Classifier, ClassifierError, read_classifier
from ganlab.networks.ema import Ema
from ganlab.networks.families import Discriminator, Generator
from ganlab.networks.generators import generate

__all__ = [
    "Classifier", "ClassifierError", "Discriminator", "Ema", "Generator", "build", "generate", "read_classifier",
    "summary",
]  # fmt: skip
