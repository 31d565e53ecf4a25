"""The networks: G, D, their layers, the average of G, and the shipped classifier."""

from ganlab.networks.build import build, summary
from ganlab.networks.classifier import Classifier, ClassifierError, read_classifier
from ganlab.networks.discriminators import DISCRIMINATORS, features_and_logit
from ganlab.networks.ema import Ema
from ganlab.networks.generators import GENERATORS, generate

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "Classifier",
    "ClassifierError",
    "Ema",
    "build",
    "features_and_logit",
    "generate",
    "read_classifier",
    "summary",
]
