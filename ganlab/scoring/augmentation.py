"""The classification accuracy score: does a conditional run's synthetic data help a classifier with few real images?

Small classifiers learn from k real images a class, from the same with synthetic ones beside them that make half of what
is seen, and from synthetic ones alone (the score of Ravuri & Vinyals 2019, "Classification Accuracy Score for
Conditional Generative Models"). Real held-out images test them. All see the same number of images in the same number of
steps. Never trains a generator, never chooses anything by the test images.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ganlab.config import Config
from ganlab.data import ImageSet
from ganlab.errors import GanlabError
from ganlab.latents import labels_in_turn, sample
from ganlab.machine import provenance
from ganlab.run import GENERATORS, Run
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
    *("pairs", "difference", "difference_low", "difference_high"),
)


class CasError(GanlabError):
    """A run, or a number of real images, that no classification accuracy can be had for."""


# --- training -------------------------------------------------------------------------------------------------------


def classify(run: Run, real: list[int], seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Trains what classification.csv of ``run`` does not hold yet; yields its new rows, each when it is kept.

    real: k, real training images a class; those of a smaller k are among those of a larger one. For each seed one
    classifier learns from synthetic images alone (k = 0), and for each k one from real images, one from both.
    A row, columns ``COLUMNS``: k, one of ``TRAINING_SETS``, seed, number of synthetic images (none is seen twice),
    images seen, share of the test images called right, first 16 hex digits of the SHA-256 of the generator's file and
    the classifiers' recipe.
    The seed decides the real images, the latents, the initial weights and the order.
    Raises ``CasError`` for a run or numbers that it cannot be had for, ``RunError`` for a run without a generator.
    """
    config = run.read_generator()[1]
    _check_request(run, config, real, seeds)
    train, test = references(config)
    _check_images(run, config, train, test, real)
    made_with = hashlib.sha256((run.path / GENERATORS[0]).read_bytes() + repr((RECIPE, EPOCH)).encode()).hexdigest()[
        :16
    ]
    with run.lock():
        rows = read_rows(run).to_dict("records")
        if any(row["made_with"] != made_with for row in rows):
            raise CasError(
                f"{run.path / TABLE} was made with another {GENERATORS[0]} or another recipe of the classifiers: "
                "delete the table to begin again, or restore what it was made with"
            )
        done = {(row["real"], row["training_set"], row["seed"]) for row in rows}
        wanted = [(0, SYNTHETIC), *((k, name) for k in real for name in (REAL, BOTH))]
        for seed in seeds:
            left = [(k, name) for k, name in wanted if (k, name, seed) not in done]
            drawn = _synthetic(run, config, train, seed) if any(name != REAL for _, name in left) else None
            for k, name in left:
                session = Lesson(replace(RECIPE, seed=seed), *training_images(name, real_images(train, k, seed), drawn))
                for _ in range(RECIPE.epochs):
                    session.train_epoch()
                right = round(accuracy(session.network, test.images, test.labels, RECIPE.batch_size), 4)
                synthetic, seen = len(session.labels) - session.real, RECIPE.epochs * session.steps * RECIPE.batch_size
                rows.append(dict(zip(COLUMNS, (k, name, seed, synthetic, seen, right, made_with), strict=True)))
                run.write(TABLE, lambda path: pd.DataFrame(rows).to_csv(path, index=False))
                yield rows[-1]


def read_rows(run: Run) -> pd.DataFrame:
    """The rows that are kept so far, columns ``COLUMNS``. Raises ``CasError`` for a file that is damaged."""
    path = run.path / TABLE
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        rows = pd.read_csv(path, dtype={"made_with": str})  # sixteen digits and an e would be read as a number
    except ValueError:
        rows = pd.DataFrame()
    if tuple(rows) != COLUMNS or rows.isna().any(axis=None):
        raise CasError(f"{path} is damaged: it takes {', '.join(COLUMNS)} in every row; delete it to begin again")
    return rows


def real_images(train: ImageSet, k: int, seed: int) -> ImageSet:
    """The first k images of every class in the seed's order."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    chosen = torch.cat([order[train.labels[order] == label][:k] for label in range(len(train.names))])
    return replace(train, images=train.images[chosen], labels=train.labels[chosen])


def training_images(name: str, real: ImageSet, drawn: ImageSet | None) -> tuple[ImageSet, int]:
    """(the real images and then the synthetic ones that a training set of ``TRAINING_SETS`` has, how many are real).

    drawn: as many synthetic images as a classifier sees; None will do for ``real``.
    """
    if name == REAL:
        return real, len(real)
    n = len(drawn) // 2 if name == BOTH else len(drawn)
    images, labels = torch.cat([real.images, drawn.images[:n]]), torch.cat([real.labels, drawn.labels[:n]])
    return replace(real, images=images, labels=labels), len(real)


class Lesson(Session):
    """A training on images of which the first ``real`` are real. An epoch is ``EPOCH`` of them, half real and half
    synthetic if there are both. Over all epochs an image is seen as often as any other of its kind, give or take once.
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
        raise CasError(f"{run.path} is not conditional, so its images have no classes: train one with --conditional")
    if config.resolution != RESOLUTION:
        side, taken = config.resolution, RESOLUTION
        raise CasError(
            f"{run.path} draws {side}x{side} images and the classifiers take {taken}x{taken}: train one with "
            f"--resolution {taken}"
        )
    if min(real) < 1:
        raise CasError(f"--real is {min(real)}: give at least 1 real image a class")
    for option, given in (("--real", real), ("--seeds", seeds)):
        if twice := [number for number in given if given.count(number) > 1]:
            raise CasError(f"{option} names {twice[0]} more than once: name each number once")


def _check_images(run: Run, config: Config, train: ImageSet, test: ImageSet | None, real: list[int]) -> None:
    if test is None:
        raise CasError(
            f"{run.path} was trained on {config.dataset} ({config.split}), which leaves no real images to test on: "
            "give a run on the train split of cifar10 or shapes"
        )
    counts = torch.bincount(train.labels, minlength=len(train.names)).tolist()
    fewest, name = min(zip(counts, train.names, strict=True))
    if max(real) > fewest:
        raise CasError(f"--real is {max(real)} and {name} has {fewest} training images: give at most {fewest}")
    places = RECIPE.epochs * EPOCH // 2
    if (most := places // len(train.names)) < max(real):
        raise CasError(
            f"--real is {max(real)} for each of {len(train.names)} classes and a classifier sees {places} real images "
            f"beside synthetic ones: give at most {most}"
        )


# --- what came of it ------------------------------------------------------------------------------------------------


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a (k, training set), columns ``SUMMARY``, from rows with ``COLUMNS``.

    accuracy: the mean over the seeds, a share, with its 95 % Student interval. Only of real and synthetic images:
    difference: the mean, over the ``pairs`` of one seed, of what they add to the accuracy of the same real images
    alone, with its 95 % Student interval. An interval is nan under two seeds, and where all values are equal: that
    says nothing of how they spread.
    """
    table = rows.pivot(index="seed", columns=["real", "training_set"], values="test_accuracy")
    found = []
    for k in sorted(set(rows["real"])):
        for name in TRAINING_SETS:
            if (k, name) not in table:
                continue
            values = table[k, name].dropna()
            paired = (values - table[k, REAL]).dropna() if name == BOTH and (k, REAL) in table else values[:0]
            found.append((k, name, len(values), *mean_interval(values), len(paired), *mean_interval(paired)))
    return pd.DataFrame(found, columns=list(SUMMARY))


def findings(table: pd.DataFrame) -> list[str]:
    """For each k of a summary one sentence: whether synthetic images helped, hurt, or neither was found."""
    said = []
    for row in table[table["pairs"] > 0].itertuples():
        low, high = row.difference_low, row.difference_high
        verdict = "neither help nor harm was found"
        if low > 0 or high < 0:
            verdict = f"synthetic images {'helped' if low > 0 else 'hurt'}"
        interval = "no interval" if math.isnan(low) else f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
        said.append(
            f"With {row.real} real image{'s' * (row.real > 1)} a class {verdict}: {100 * row.difference:+.1f} points "
            f"of accuracy ({interval}, {row.pairs} seed{'s' * (row.pairs > 1)})."
        )
    return said


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """A summary in words and per cent, for a reader."""
    columns = {
        "real images a class": table["real"].astype(str),
        "training set": table["training_set"],
        "seeds": table["seeds"].astype(str),
        "accuracy, % (95 % interval)": _said(table, ("accuracy", "low", "high"), ".1f"),
        "added to real alone, points (95 % interval)": _said(
            table, ("difference", "difference_low", "difference_high"), "+.1f"
        ),
    }
    return pd.DataFrame(columns)


def describe(row: dict[str, Any]) -> str:
    """One line for a classifier."""
    counts = f"{row['real']} real a class, {row['synthetic']:,} synthetic"
    return f"seed {row['seed']}, {row['training_set']} ({counts}): {100 * row['test_accuracy']:.1f} % right"


def write_report(run: Run) -> Path:
    """Writes classification.md, classification.json (command, rows, provenance) and figures/classification.png from the
    rows that are kept in ``run``. Without new rows the date stays what it was."""
    from ganlab import figures

    rows, kept = read_rows(run), run.path / "classification.json"
    record = json.loads(kept.read_text()) if kept.exists() else {}
    table, about = summary(rows), record["provenance"] if record.get("rows") == len(rows) else provenance()
    run.write_figure("classification", figures.classification(rows))
    date, seen = about["date"][:10], " or ".join(f"{n:,}" for n in sorted(set(rows["images_seen"])))
    seeds = " ".join(map(str, sorted(set(rows["seed"]))))
    real = " ".join(str(k) for k in sorted(set(rows["real"])) if k)
    command = f"ganlab classify --run {run.path} --real {real} --seeds {seeds}"
    run.write_json("classification.json", {"command": command, "rows": len(rows), "provenance": about})
    parts = [
        "# Does synthetic data help a classifier?",
        f"`{command}`, {date}, {about['cpu']}, torch {about['versions']['torch']}. Accuracy of small classifiers on "
        f"real test images that neither they nor the generator learned from. Each saw {seen} images, half of them "
        "synthetic where there were both.",
        "\n".join(f"- {sentence}" for sentence in findings(table)),
        shown(table).to_markdown(index=False, disable_numparse=True),
        "![accuracy over real images](figures/classification.png)",
        "Intervals: Student's, over seeds, each by itself and not corrected for how many there are. A seed decides the "
        "real images, the latents and the classifier's initial weights; the generator is one and the same, so they say "
        "nothing of another training of it. It learned from all training images of its run, also from those that the "
        "classifiers were not given: this is what its images are worth, not what can be had from k images.",
    ]
    return run.write("classification.md", lambda path: path.write_text("\n\n".join(filter(None, parts)) + "\n"))


def _said(table: pd.DataFrame, columns: tuple[str, str, str], digits: str) -> list[str]:
    """``12.3 (11.1 to 13.5)``, without what is nan."""
    said = []
    for value, low, high in (100 * table[list(columns)]).itertuples(index=False):
        interval = "" if math.isnan(low) else f" ({low:{digits}} to {high:{digits}})"
        said.append("" if math.isnan(value) else f"{value:{digits}}{interval}")
    return said
