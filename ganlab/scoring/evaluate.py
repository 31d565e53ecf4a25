"""Scores of a run or of a folder of images: one table, where no number stands alone.

Every row names its metric, extractor, counts and reference split, and carries the floor: the same number with real
images in the place of the generated ones, at the same counts. Never trains, never draws a figure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from ganlab import machine
from ganlab.combinations import KIN
from ganlab.config import DATASETS, Config
from ganlab.data import ImageSet, load, load_data
from ganlab.errors import GanlabError
from ganlab.latents import evaluation_latents, labels_in_turn, sample
from ganlab.networks.generators import generate
from ganlab.run import Run
from ganlab.scoring import features, metrics
from ganlab.scoring.features import Extractor, reference_features
from ganlab.scoring.metrics import Estimate

SAMPLES = 5000  # generated images in a table, where the training set has as many
MOST_SCORED = 100_000  # images: their features take a gigabyte
FEWEST = 40  # training images that a table takes: half of them play the generated ones
SEED = 20_250_301  # of the latents and of the cut of the training set in halves
COLUMNS = ("metric", "extractor", "split", "value", "low", "high", "floor", "generated", "reference")
TRAINED_AGAINST = "trained_against"  # a column more, of a run: its D looked through a near kin of the extractor


class EvaluationError(GanlabError):
    """Images that cannot be scored as asked."""


@dataclass(frozen=True)
class Seen:
    """What one extractor makes of everything at hand: features (N, F) of generated, training and held-out images (the
    first ones, where it is slow: ``Extractor.samples``)."""

    extractor: Extractor
    generated: torch.Tensor
    train: torch.Tensor
    test: torch.Tensor | None


def evaluate_run(
    run: Run,
    extractors: list[str] | None = None,
    n: int = 0,
    best: bool = False,
    images: str = "",
    real: tuple[ImageSet, ImageSet | None] | None = None,
) -> pd.DataFrame:
    """The table of a finished run, or of a folder of ``images`` beside the run's data; n and best as in ``judged``.

    extractors: None means the run's own judges. real: the run's ``references``, for a caller that has them already.
    Rows of an extractor that is near kin of what D looked through are marked ``trained_against``. Raises
    ``EvaluationError`` if no other extractor is asked.
    """
    config = run.config
    kin = set() if images else KIN.get(config.discriminator, set())
    if extractors and not set(extractors) - kin:
        raise EvaluationError(
            f"D of {run.path} was trained through a network close to {', '.join(extractors)}, so they cannot judge it: "
            "add an independent extractor, as --extractors cifar_resnet efficientnet_lite0"
        )
    asked = [features.get(name) for name in extractors or config.final_judges()]  # a wrong name is answered at once
    train, test = real or references(config)
    generated = judged(run, train, n, best, images)
    labels = None if images else labels_in_turn(config, len(generated))
    table = evaluate(generated, train, test, asked, machine.device("auto"), labels)
    return table.assign(**{TRAINED_AGAINST: table["extractor"].isin(kin)})


def judged(run: Run, train: ImageSet, n: int = 0, best: bool = False, images: str = "") -> torch.Tensor:
    """The images that a run is judged by, uint8 (n, 3, R, R), the same every time.

    n samples (0: as many as training images, at most 5,000) from the run's own prior, or the first n in a folder, some
    of every class. Raises ``EvaluationError`` for an n out of range.
    """
    if not 0 <= n <= MOST_SCORED:
        raise EvaluationError(f"n is {n}: score 1 to {MOST_SCORED:,} images, or 0 for as many as usual")
    n = n or min(SAMPLES, len(train))
    return load(images, resolution=run.config.resolution, limit=n).images if images else sample(run, n, SEED, best)


def references(config: Config, train: ImageSet | None = None) -> tuple[ImageSet, ImageSet | None]:
    """The images the run was trained on, and real ones of the same classes held out from it (a folder has none).

    train: those images, for a caller that has them already.
    """
    held_out = config.dataset in DATASETS and config.split == "train"
    test = load(config.dataset, config.classes, "test", config.resolution) if held_out else None
    return train or load_data(config), test


def evaluate(
    generated: torch.Tensor,
    train: ImageSet,
    test: ImageSet | None,
    extractors: list[str | Extractor],
    device: str | torch.device = "cpu",
    labels: torch.Tensor | None = None,
) -> pd.DataFrame:
    """generated: uint8 (N, 3, R, R); labels: (N,) the class that each was to show, of a conditional run. One row a
    metric, columns ``COLUMNS``; low and high bound a 95 % interval.

    Against ``train`` the distances use half of it, so that its other half can play the generated images in the floor;
    against ``test`` as many training images as there are test images play them. Raises ``EvaluationError`` for fewer
    than 20 images, ``MetricError`` for what a metric refuses.
    """
    if len(generated) < FEWEST // 2 or len(train) < FEWEST:
        raise EvaluationError(
            f"{len(generated)} generated and {len(train)} training images: scores need at least {FEWEST // 2} and "
            f"{FEWEST}"
        )
    if generated.shape[1:] != train.images.shape[1:]:
        raise EvaluationError(
            f"generated images are {tuple(generated.shape[1:])}, training images {tuple(train.images.shape[1:])}: "
            "compare images of one resolution"
        )
    real = train.images[: len(generated)]
    rows = [_row("duplicate_rate", metrics.duplicate_rate, "pixels", train.split, generated, real)]
    for name in extractors:
        extractor = features.get(name) if isinstance(name, str) else name
        parts = [extractor.features(generated[: extractor.samples], device=device)]
        parts += [reference_features(extractor, data, device) if data else None for data in (train, test)]
        seen = Seen(extractor, *(part if part is None else part.to(device) for part in parts))
        rows += [*_distances(seen), *_classes(seen, train, test, labels)]
    if train.source == "made":
        rows += _modes(generated, train)
    return pd.DataFrame([row for row in rows if row is not None], columns=list(COLUMNS))


class Scorer:
    """Scores the generator while it trains: always the same latents, against the first 5,000 training images.

    So its numbers compare along a run and between runs, but not with those of ``evaluate``, which draws more.
    """

    def __init__(self, config: Config, train: ImageSet, test: ImageSet | None) -> None:
        self.config, self.test = config, test
        self.device = machine.device(config.device)
        self.extractor = features.get(config.eval_extractor)
        self.train = train.first(SAMPLES)
        self.latents = evaluation_latents(config, config.eval_samples)
        self.labels = torch.arange(config.eval_samples) % len(train.names) if config.conditional else None

    @cached_property
    def reference(self) -> torch.Tensor:
        """Features of the training images: only when they are needed, the first step need not wait for them."""
        return reference_features(self.extractor, self.train, self.device).to(self.device)

    def __call__(self, generator: nn.Module) -> dict[str, float]:
        """The ``scores`` of the generator in evaluation mode."""
        return self.scores(generate(generator, self.latents, self.labels))

    def scores(self, images: torch.Tensor) -> dict[str, float]:
        """``fd``, ``kid``, ``precision``, ``recall`` and, of an extractor with classes, ``is``.

        Precision and recall stand against as many training images as there are generated ones.
        """
        found, reference = self.extractor.features(images, device=self.device).to(self.device), self.reference
        size = min(len(found), len(reference)) // 2
        scores = {
            "fd": metrics.frechet_distance(found, reference),
            "kid": metrics.kernel_distance(found, reference, 20, size).value,
        }
        if len(reference) >= FEWEST:
            near = metrics.precision_recall_density_coverage(reference[: len(found)], found)
            scores |= {"precision": near.precision, "recall": near.recall}
        if self.extractor.head is not None:
            scores["is"] = metrics.inception_score(self.extractor.probabilities(found)).value
        return {name: round(value, 6) for name, value in scores.items()}

    def about(self) -> dict[str, Any]:
        """What stands beside the scores: extractor, counts, split, and as floor the scores of real held-out images."""
        real = self.test.images[: self.config.eval_samples] if self.test else None
        return {
            "extractor": self.extractor.name,
            "version": self.extractor.version,
            "generated": len(self.latents),
            "reference": len(self.reference),
            "split": self.config.split,
            "floor": None if real is None else {"real": len(real), **self.scores(real)},
        }


# --- the parts of the table -----------------------------------------------------------------------------------------


def _row(
    metric: str,
    function: Callable[..., Any],
    extractor: str,
    split: str,
    generated: torch.Tensor,
    stand_in: torch.Tensor | None,
    *reference: torch.Tensor,
) -> dict[str, Any]:
    """``function(generated, *reference)``, and as its floor ``function(stand_in, *reference)`` of real images."""
    value, floor = function(generated, *reference), None
    if stand_in is not None:
        floor = function(stand_in, *reference)
    spread = 1.96 * value.standard_error if isinstance(value, Estimate) else np.nan
    number = _number(value)
    counts = {"generated": len(generated), "reference": len(reference[0]) if reference else 0}
    found = {"value": number, "low": number - spread, "high": number + spread, "floor": _number(floor)}
    return {"metric": metric, "extractor": extractor, "split": split, **found, **counts}


def _number(value: Estimate | float | None) -> float:
    return np.nan if value is None else value.value if isinstance(value, Estimate) else float(value)


def _distances(seen: Seen) -> list[dict[str, Any]]:
    """FD, KID, precision, recall, density, coverage against both splits; FD against the whole training set; memory."""
    extractor, train = seen.extractor, seen.train
    order = torch.from_numpy(np.random.RandomState(SEED % 2**32).permutation(len(train)))
    half = min(len(train) // 2, len(seen.generated))
    pairs = [("train", train[order[:half]], train[order[half : 2 * half]])]
    if seen.test is not None:
        count = min(len(seen.test), len(seen.generated), len(train))
        pairs.append(("test", seen.test[:count], train[order[:count]]))
    rows = []
    for split, reference, stand_in in pairs:
        generated = seen.generated[: len(reference)]
        arguments = (extractor.name, split, generated, stand_in, reference)
        if split == "train" or len(generated) >= generated.shape[1]:  # fewer images than features: all bias
            rows.append(_row("fd", metrics.frechet_distance, *arguments))
        rows.append(_row("kid", lambda a, b: metrics.kernel_distance(a, b, 100, min(1000, len(a) // 2)), *arguments))
        scored = metrics.precision_recall_density_coverage(reference, generated)
        floors = metrics.precision_recall_density_coverage(reference, stand_in)
        for metric, value in scored._asdict().items():
            values = (value, np.nan, np.nan, getattr(floors, metric), len(generated), len(reference))
            rows.append(dict(zip(COLUMNS, (metric, extractor.name, split, *values), strict=True)))
    if len(seen.generated) > half:
        rows.insert(0, _whole_training_set(seen, floor=rows[0]["floor"], half=half))
    if seen.test is not None:
        arguments = (extractor.name, "train", seen.generated, seen.test)
        row = _row("nearest_train", lambda x: metrics.nearest_neighbours(x, train)[0].median(), *arguments)
        rows.append(row | {"reference": len(train)})
    return rows


def _whole_training_set(seen: Seen, floor: float, half: int) -> dict[str, Any]:
    """FD of all samples against all training images.

    The floor of the halves is scaled to these counts: between real images FD is all bias, proportional to the sum of
    1 / count (Chong & Forsyth 2020).
    """
    counts = (len(seen.generated), len(seen.train))
    row = _row("fd", metrics.frechet_distance, seen.extractor.name, "train",
               seen.generated, None, seen.train)  # fmt: skip
    return row | {"floor": floor * sum(1 / count for count in counts) / (2 / half)}


def _classes(
    seen: Seen, train: ImageSet, test: ImageSet | None, labels: torch.Tensor | None
) -> list[dict[str, Any]]:
    """What the extractor's classifier, if it has one, calls the images: IS, agreement with the class that each image
    was to show, number and spread of classes.

    Without ``labels`` an image agrees if it is called any of the data's classes. Where these are all that the
    classifier knows, every image would agree, noise too: the row is left out.
    """
    extractor = seen.extractor
    if extractor.head is None:
        return []
    generated, real = (extractor.probabilities(part) for part in (seen.generated, seen.train[: len(seen.generated)]))
    rows = [_row("is", metrics.inception_score, extractor.name, train.split, generated, real)]
    if not set(train.names) <= set(extractor.classes):
        return rows
    targets = [extractor.classes.index(name) for name in train.names]
    others = train if seen.test is None else test
    held_out = real if seen.test is None else extractor.probabilities(seen.test[: len(seen.generated)])
    arguments = (extractor.name, others.split, generated, held_out)
    if labels is not None or len(targets) < len(extractor.classes):
        row = _row("target_agreement", lambda p: metrics.target_agreement(p, targets), *arguments)
        if labels is not None:
            own = [torch.tensor(targets)[given] for given in (labels, others.labels[: len(held_out)])]
            row["value"], row["floor"] = map(metrics.target_agreement, (generated, held_out), own)
        rows.append(row)
    if len(targets) > 1:
        rows.append(_row("classes_hit", lambda p: metrics.class_coverage(p, targets), *arguments))
        rows.append(_row("class_entropy", lambda p: metrics.class_entropy(p, len(extractor.classes)), *arguments))
    return rows


def _modes(generated: torch.Tensor, train: ImageSet) -> list[dict[str, Any]]:
    """On shapes the classes are known: an image's class is that of its nearest training image, pixel by pixel."""
    expected = range(len(train.names))

    def hit(images: torch.Tensor) -> int:
        return metrics.class_coverage(nearest_class(images, train), expected)

    return [_row("classes_hit", hit, "pixels", train.split, generated, train.images)] if len(expected) > 1 else []


def nearest_class(images: torch.Tensor, train: ImageSet) -> torch.Tensor:
    """The label (N,) of each image's nearest training image in pixels."""
    _, nearest = metrics.nearest_neighbours(images.flatten(1).float(), train.images.flatten(1).float())
    return train.labels[nearest[:, 0]]


# --- what the evaluation notebook looks at --------------------------------------------------------------------------


def neighbours(
    images: torch.Tensor, train: ImageSet, extractor: str = "cifar_resnet"
) -> tuple[torch.Tensor, torch.Tensor]:
    """The training images (N, 3, R, R) nearest to ``images`` in an extractor's features, and their distances (N,)."""
    judge = features.get(extractor)
    distances, nearest = metrics.nearest_neighbours(judge.features(images), reference_features(judge, train))
    return train.images[nearest[:, 0]], distances[:, 0]


def classes_called(images: torch.Tensor, train: ImageSet) -> pd.Series:
    """How many images are called what: by the CIFAR-10 classifier, or on other data by the nearest training image."""
    judge = features.cifar_resnet()
    if set(train.names) <= set(judge.classes):
        names, called = judge.classes, judge.probabilities(judge.features(images))
    else:
        names, called = train.names, nearest_class(images, train)
    return pd.Series(metrics.class_histogram(called, len(names)).tolist(), index=list(names), name="images")
