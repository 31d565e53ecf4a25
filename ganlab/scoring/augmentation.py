"""The classification accuracy score: does a conditional run's synthetic data help a classifier with few real images?

Small classifiers learn from k real images a class, from the same with synthetic ones beside them that make half of what
is seen, and from synthetic ones alone (the score of Ravuri & Vinyals 2019, "Classification Accuracy Score for
Conditional Generative Models"). Real held-out images test them. All see the same number of images in the same number of
steps. Never trains a generator, never chooses anything by the test images.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from ganlab.config import Config
from ganlab.data import ImageSet
from ganlab.errors import GanlabError
from ganlab.latents import labels_in_turn, sample
from ganlab.run import GENERATOR_FILES, Run
from ganlab.scoring.classifier import Recipe, Session, accuracy
from ganlab.scoring.evaluate import references
from ganlab.scoring.metrics import mean_interval

# About 30 s of a core's time. With 100 real images a class it is right on 57.3 % of CIFAR-10's test images (seed 0);
# wider, (16, 48, 96), on 57.8 % for a third more time; in batches of 128 on 55.4 %.
RECIPE = Recipe(epochs=10, widths=(16, 32, 64), batch_size=64)
EPOCH = 2560  # images, however many different ones there are
RESOLUTION = 32  # of the classifier
TABLE = "classification.csv"
REAL, BOTH, SYNTHETIC = TRAINING_SETS = ("real", "real and synthetic", "synthetic")
COLUMNS = ("real", "training_set", "seed", "synthetic", "images_seen", "test_accuracy", "made_with")
SUMMARY = (
    *("real", "training_set", "seeds", "accuracy", "low", "high"),
    *("pairs", "difference", "difference_low", "difference_high", "verdict"),
)


class AugmentationError(GanlabError):
    """A run, or a request, that no accuracy can be computed for."""


def classify(run: Run, real: list[int], seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Trains what classification.csv of ``run`` does not hold yet; yields its new rows, each when it is kept.

    real: k, real training images a class; those of a smaller k are among those of a larger one. For each seed one
    classifier learns from synthetic images alone (k = 0), and for each k one from real images, one from both.
    A row, columns ``COLUMNS``: k, one of ``TRAINING_SETS``, seed, number of synthetic images (none is seen twice),
    images seen, share of the test images called right, first 16 hex digits of the SHA-256 of the generator's file and
    the classifiers' recipe.
    The seed decides the real images, the latents, the initial weights and the order.
    Raises ``AugmentationError`` for a run or numbers that it cannot be had for, ``RunError`` without a generator.
    """
    config = run.read_generator()[1]
    _check_request(run, config, real, seeds)
    train, test = references(config)
    _check_images(run, config, train, test, real)
    made_with = _made_with(run)
    with run.lock():
        rows = read_rows(run).to_dict("records")
        if any(row["made_with"] != made_with for row in rows):
            raise AugmentationError(
                f"{run.path / TABLE} was made with another {GENERATOR_FILES[0]} or another recipe of the classifiers: "
                "delete the table to begin again, or restore what it was made with"
            )
        done = {(row["real"], row["training_set"], row["seed"]) for row in rows}
        wanted = [(0, SYNTHETIC), *((k, name) for k in real for name in (REAL, BOTH))]
        for seed in seeds:
            left = [(k, name) for k, name in wanted if (k, name, seed) not in done]
            drawn = _synthetic(run, config, train, seed) if any(name != REAL for _, name in left) else None
            for k, name in left:
                lesson = Lesson(replace(RECIPE, seed=seed), *training_images(name, real_images(train, k, seed), drawn))
                rows.append(dict(zip(COLUMNS, (k, name, seed, *_taught(lesson, test), made_with), strict=True)))
                run.write(TABLE, lambda path: pd.DataFrame(rows).to_csv(path, index=False))
                yield rows[-1]


def _made_with(run: Run) -> str:
    """16 hex digits of the generator's file and the classifiers' recipe."""
    made_of = (run.path / GENERATOR_FILES[0]).read_bytes() + repr((RECIPE, EPOCH)).encode()
    return hashlib.sha256(made_of).hexdigest()[:16]


def _taught(lesson: "Lesson", test: ImageSet) -> tuple[int, int, float]:
    """Trains to the end; (synthetic images, images seen, share of the test images called right)."""
    for _ in range(RECIPE.epochs):
        lesson.train_epoch()
    right = round(accuracy(lesson.network, test.images, test.labels, RECIPE.batch_size), 4)
    return len(lesson.labels) - lesson.real, RECIPE.epochs * lesson.steps * RECIPE.batch_size, right


def read_rows(run: Run) -> pd.DataFrame:
    """The rows that are kept so far, columns ``COLUMNS``. Raises ``AugmentationError`` for a file that is damaged."""
    path = run.path / TABLE
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        rows = pd.read_csv(path, dtype={"made_with": str})  # sixteen digits and an e would be read as a number
    except ValueError:
        rows = pd.DataFrame()
    if tuple(rows) != COLUMNS or rows.isna().any(axis=None):
        raise AugmentationError(
            f"{path} is damaged: it takes {', '.join(COLUMNS)} in every row; delete it to begin again"
        )
    return rows


def real_images(train: ImageSet, k: int, seed: int) -> ImageSet:
    """The first k images of every class in the seed's order."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    chosen = torch.cat([order[train.labels[order] == label][:k] for label in range(len(train.names))])
    return replace(train, images=train.images[chosen], labels=train.labels[chosen])


def training_images(name: str, real: ImageSet, drawn: ImageSet | None) -> tuple[ImageSet, int]:
    """(the images of a training set of ``TRAINING_SETS``, real ones first; how many are real).

    drawn: as many synthetic images as a classifier sees, or None for ``real``.
    """
    if name == REAL:
        return real, len(real)
    n = len(drawn) // 2 if name == BOTH else len(drawn)
    images, labels = torch.cat([real.images, drawn.images[:n]]), torch.cat([real.labels, drawn.labels[:n]])
    return replace(real, images=images, labels=labels), len(real)


class Lesson(Session):
    """A training on images: the first ``real`` are real, the others synthetic.

    An epoch takes ``EPOCH`` images, half of each kind if there are both. Images of one kind are seen equally often,
    give or take once.
    """

    def __init__(self, recipe: Recipe, data: ImageSet, real: int) -> None:
        super().__init__(recipe, data)
        self.real, self.steps = real, EPOCH // recipe.batch_size
        kinds = [kind for kind in (torch.arange(real), torch.arange(real, len(data))) if len(kind)]
        share = EPOCH // len(kinds)
        self.plan = torch.cat([self._rounds(kind, recipe.epochs * share).view(-1, share) for kind in kinds], 1)

    def order(self) -> torch.Tensor:
        images = self.plan[self.epoch]
        return images[torch.randperm(len(images), generator=self.streams["data"])]

    def _rounds(self, kind: torch.Tensor, n: int) -> torch.Tensor:
        """(n,) places: all of ``kind`` in random order, again and again."""
        rounds = [kind[torch.randperm(len(kind), generator=self.streams["data"])] for _ in range(-(-n // len(kind)))]
        return torch.cat(rounds)[:n]


def _synthetic(run: Run, config: Config, train: ImageSet, seed: int) -> ImageSet:
    """As many images of the run's generator as a classifier sees, the classes in turn."""
    n = RECIPE.epochs * EPOCH
    return replace(train, images=sample(run, n, seed), labels=labels_in_turn(config, n))


def _check_request(run: Run, config: Config, real: list[int], seeds: list[int]) -> None:
    if not config.conditional:
        raise AugmentationError(
            f"{run.path} is not conditional, so its images have no classes: train one with --conditional"
        )
    if config.resolution != RESOLUTION:
        side, taken = config.resolution, RESOLUTION
        raise AugmentationError(
            f"{run.path} draws {side}x{side} images and the classifiers take {taken}x{taken}: train one with "
            f"--resolution {taken}"
        )
    if min(real) < 1:
        raise AugmentationError(f"--real is {min(real)}: give at least 1 real image a class")
    if min(seeds) < 0 or max(seeds) >= 2**63:
        raise AugmentationError(f"--seeds are {seeds}: a seed is 0 to 2^63 - 1")
    for option, given in (("--real", real), ("--seeds", seeds)):
        if twice := [number for number in given if given.count(number) > 1]:
            raise AugmentationError(f"{option} names {twice[0]} more than once: name each number once")


def _check_images(run: Run, config: Config, train: ImageSet, test: ImageSet | None, real: list[int]) -> None:
    if test is None:
        raise AugmentationError(
            f"{run.path} was trained on {config.dataset} ({config.split}), which leaves no real images to test on: "
            "give a run on the train split of cifar10 or shapes"
        )
    counts = torch.bincount(train.labels, minlength=len(train.names)).tolist()
    fewest, name = min(zip(counts, train.names, strict=True))
    if max(real) > fewest:
        raise AugmentationError(f"--real is {max(real)} and {name} has {fewest} training images: give at most {fewest}")
    places = RECIPE.epochs * EPOCH // 2
    if (most := places // len(train.names)) < max(real):
        raise AugmentationError(
            f"--real is {max(real)} for each of {len(train.names)} classes and a classifier sees {places} real images "
            f"beside synthetic ones: give at most {most}"
        )


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a (k, training set), columns ``SUMMARY``, from rows with ``COLUMNS``.

    accuracy: the mean over the seeds, a share, with its 95 % Student interval. Only of real and synthetic images:
    difference: the mean, over the ``pairs`` of one seed, of what they add to the accuracy of the same real images
    alone, with its 95 % Student interval; verdict: helped, hurt, or open. An interval is nan under two seeds, and where
    all values are equal: that says nothing of how they spread.
    """
    table = rows.pivot(index="seed", columns=["real", "training_set"], values="test_accuracy")
    found = []
    for k in sorted(set(rows["real"])):
        for name in TRAINING_SETS:
            if (k, name) not in table:
                continue
            values = table[k, name].dropna()
            paired = (values - table[k, REAL]).dropna() if name == BOTH and (k, REAL) in table else values[:0]
            mean, low, high = mean_interval(paired)
            verdict = "" if paired.empty else "helped" if low > 0 else "hurt" if high < 0 else "open"
            found.append((k, name, len(values), *mean_interval(values), len(paired), mean, low, high, verdict))
    return pd.DataFrame(found, columns=list(SUMMARY))
