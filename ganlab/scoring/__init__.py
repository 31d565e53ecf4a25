"""Scores: features of images, metrics of features, tables of metrics."""

from ganlab.scoring.evaluate import (
    EvaluationError,
    Scorer,
    classes_called,
    evaluate_run,
    judged,
    neighbours,
    references,
)
from ganlab.scoring.features import Extractor, FeatureError

__all__ = [
    "EvaluationError", "Extractor", "FeatureError", "Scorer", "classes_called", "evaluate_run",
    "judged", "neighbours", "references",
]  # fmt: skip
