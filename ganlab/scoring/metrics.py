"""Scores of generated images from their features, class probabilities or pixels: pure functions, numbers out.

Never loads a network, samples a latent or reads a file. Features are (N, F), probabilities (N, C), images
(N, 3, H, W) uint8, torch or NumPy; all is computed in float64. Input that can give no result raises ``MetricError``;
a value that does not mean what it seems to comes with a ``DegenerateWarning``.
"""

import math
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import t

from ganlab.errors import GanlabError

Array = torch.Tensor | np.ndarray
BLOCK = 2**20  # distances held at once, 8 MB: small enough for caches, large enough for matrix products
ROUNDING = 1e-12  # a squared distance under this share of the squared lengths is rounding, and counts as 0


class MetricError(GanlabError, ValueError):
    """Input that no metric can be computed from."""


class DegenerateWarning(UserWarning):
    """The value is a bound or a bias rather than a finding."""


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error under a fresh draw of as many samples (nan: nothing to read it from)."""

    value: float
    standard_error: float


def frechet_distance(features_a: Array, features_b: Array) -> float:
    """Squared Frechet distance of the Gaussians fitted to features (N, F) and (M, F) (Dowson 1982; Heusel 2017).

    In squared feature units, at least 0; covariances divide by N - 1. With fewer samples than features (a warning) it
    reads high by an amount that depends on the generator.
    """
    a, b = _pair(features_a, features_b)
    n, width = min(len(a), len(b)), a.shape[1]
    if n < width:
        _warn(
            f"{n} samples for {width} features: the Frechet distance is biased by an amount that depends on the "
            f"generator, so draw {width} samples or more, or use kernel_distance"
        )
    roots = []  # (R, F) whose R^T R are the covariances
    for x in (a, b):
        root = (x - x.mean(0)) / math.sqrt(len(x) - 1)
        roots.append(torch.linalg.qr(root, mode="r").R if len(root) > width else root)
    # The trace of (cov_a cov_b)^(1/2) is the sum of these singular values: real, never negative, and since nothing is
    # squared and rooted again a rank-deficient covariance keeps its digits.
    cross = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(shift + roots[0].square().sum() + roots[1].square().sum() - 2 * cross))


def kernel_distance(
    features_a: Array, features_b: Array, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> Estimate:
    """Kernel distance (KID on Inception features): unbiased squared MMD, kernel (x.y / F + 1)^3 (Binkowski 2018).

    Mean over random subsets of ``subset_size`` samples of each set. Its expectation does not depend on the counts; for
    equal distributions it scatters around 0. Subsets overlap, so the standard error is more than their spread over
    sqrt(subsets): it counts what all subsets share, and is nan when a subset is a whole set.
    """
    a, b = _pair(features_a, features_b)
    n = min(len(a), len(b))
    if subsets < 1 or not 2 <= subset_size <= n:
        raise MetricError(
            f"{subsets} subsets of {subset_size} from {len(a)} and {len(b)} samples: take at least 1, of 2 to {n}"
        )
    rng = np.random.RandomState(seed)  # the generator and order of torch-fidelity, hence the same subsets
    values = []
    for _ in range(subsets):
        x, y = (f[torch.from_numpy(rng.choice(len(f), subset_size, replace=False))] for f in (a, b))
        values.append(_squared_mmd(x, y))
    if subsets == 1 or subset_size == n:
        return Estimate(float(np.mean(values)), math.nan)
    # A subset scatters around the whole sample's value by c (1/size - 1/n), the whole sample around the truth by c/n.
    share = subset_size / n
    variance = np.var(values, ddof=1) * (1 / subsets + share / (1 - share))
    return Estimate(float(np.mean(values)), math.sqrt(variance))


def _squared_mmd(x: torch.Tensor, y: torch.Tensor) -> float:
    n, width = x.shape
    k_xx, k_yy, k_xy = ((u @ v.T / width + 1) ** 3 for u, v in ((x, x), (y, y), (x, y)))
    within = (k_xx.sum() - k_xx.trace() + k_yy.sum() - k_yy.trace()) / (n * (n - 1))
    return float(within - 2 * k_xy.mean())


def inception_score(probabilities: Array, splits: int = 10) -> Estimate:
    """exp of the mean KL(p(y|x) || p(y)), mean over splits; probabilities (N, C) (Salimans 2016).

    From 1 (a warning) to C or a split's count. Splits follow the given order.
    """
    p = _probabilities(probabilities)
    if splits < 1 or len(p) < 2 * splits:
        raise MetricError(f"{len(p)} images in {splits} splits: take at least 1 split, of 2 images or more")
    parts = [p[i:j] for i, j in pairwise(n * len(p) // splits for n in range(splits + 1))]
    entropy = torch.special.entr
    scores = [float((entropy(q.mean(0)).sum() - entropy(q).sum(1).mean()).exp().clamp(min=1)) for q in parts]
    value = float(np.mean(scores))
    if value <= 1.001:
        _warn(
            f"the Inception score is {value:.3f}, the lowest that exists and no sign of diversity: all {len(p)} images "
            "got the same probabilities, as from a collapsed generator or a single class"
        )
    return Estimate(value, float(np.std(scores, ddof=1) / math.sqrt(splits)) if splits > 1 else math.nan)


class PRDC(NamedTuple):
    """precision, recall, coverage: 0..1. density: from 0, about 1 for equal distributions, above for dense fakes."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(real: Array, fake: Array, k: int = 5) -> PRDC:
    """Quality (precision, density) apart from diversity (recall, coverage); features (N, F) and (M, F).

    A sample's ball reaches up to, and not including, its k-th nearest neighbour in its own set.
    precision: share of fakes in a real ball; recall: share of reals in a fake ball (Kynkaanniemi 2019).
    density: real balls around a fake, over k, mean; coverage: share of real balls with a fake in (Naeem 2020).
    """
    real, fake = _pair(real, fake, ("real", "fake"))
    if not 1 <= k < min(len(real), len(fake)):
        raise MetricError(
            f"k is {k}: it must be at least 1 and under {len(real)} (real) and {len(fake)} (fake samples)"
        )
    real_radius, fake_radius = (_nearest(x, x, k + 1)[0][:, k] for x in (real, fake))  # the first is the sample itself
    precise = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    recalled = covered = pairs = 0
    for rows, distances in _distance_blocks(real, fake):
        inside = distances < real_radius[rows, None]
        precise |= inside.any(0)
        pairs += int(inside.sum())
        covered += int(inside.any(1).sum())
        recalled += int((distances < fake_radius).any(1).sum())
    n, m = len(real), len(fake)
    return PRDC(int(precise.sum()) / m, recalled / n, pairs / (k * m), covered / n)


def nearest_neighbours(features: Array, reference: Array, k: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The k rows of the reference (M, F) nearest to each feature (N, F).

    Returns Euclidean distances (N, k) float64, ascending, and indices (N, k) int64 into the reference.
    """
    features, reference = _pair(features, reference, ("features", "reference"), least=1)
    if not 1 <= k <= len(reference):
        raise MetricError(f"k is {k}: it must lie in 1..{len(reference)}, the reference's samples")
    return _nearest(features, reference, k)


def class_histogram(predictions: Array, classes: int) -> torch.Tensor:
    """Images per predicted class, (classes,) int64; predictions: probabilities (N, C) or integer labels (N,)."""
    labels = _labels(predictions)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise MetricError(f"labels run from {low} to {high}: with {classes} classes they lie in 0..{classes - 1}")
    return torch.bincount(labels, minlength=classes)


def class_coverage(predictions: Array, expected: Collection[int], threshold: float = 0.1) -> int:
    """How many of the expected classes are hit; predictions as in ``class_histogram``.

    Hit means one image at least, and ``threshold`` of the even share N / len(expected): a tenth keeps a classifier's
    stray mistakes from counting as a class, 0 counts any image.
    """
    labels = _labels(predictions)
    if not expected or len(set(expected)) < len(expected):
        raise MetricError(f"the expected classes are {list(expected)}: name at least one, each once")
    needed = max(1.0, threshold * len(labels) / len(expected))
    return sum(int((labels == label).sum()) >= needed for label in expected)


def class_entropy(predictions: Array, classes: int) -> float:
    """Entropy of the ``class_histogram`` over log(classes): 0 for one class only, 1 for an even spread."""
    if classes < 2:
        raise MetricError(f"classes is {classes}: an entropy needs at least 2")
    counts = class_histogram(predictions, classes).double()
    return float(torch.special.entr(counts / counts.sum()).sum()) / math.log(classes)


def target_agreement(predictions: Array, targets: Collection[int] | torch.Tensor) -> float:
    """Share of images, 0..1, whose predicted class is one of the targets, or each image's own where targets is a tensor
    (N,); predictions as in ``class_histogram``."""
    if not len(targets):
        raise MetricError("targets is empty: name the classes that the images should show")
    labels = _labels(predictions)
    if isinstance(targets, torch.Tensor):
        return float((labels == targets.to(labels.device)).double().mean())
    return float(torch.isin(labels, torch.tensor(list(targets), device=labels.device)).double().mean())


def duplicate_rate(images: Array) -> float:
    """Share of images (N, 3, H, W) uint8 that equal an earlier one byte for byte, 0 to (N - 1) / N."""
    images = torch.as_tensor(images)
    if images.dtype != torch.uint8 or images.ndim != 4 or len(images) < 2:
        raise MetricError(f"images are {tuple(images.shape)} {images.dtype}: hand in 2 or more, (N, 3, H, W) uint8")
    different = len({image.tobytes() for image in images.cpu().numpy()})
    if different == 1:
        _warn(f"all {len(images)} images are the same: the generator has collapsed")
    return 1 - different / len(images)


def _nearest(features: torch.Tensor, reference: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    nearest = features.new_empty(len(features), k)
    indices = torch.empty(len(features), k, dtype=torch.int64, device=features.device)
    for rows, distances in _distance_blocks(features, reference):
        # Copied into place: small tensors kept from between the blocks would fragment the heap to a gigabyte.
        nearest[rows], indices[rows] = distances.topk(k, largest=False)
    return nearest, indices


def _distance_blocks(rows: torch.Tensor, columns: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Euclidean distances from some rows to all columns, block by block. Equal samples are at exactly 0."""
    centre = columns.mean(0)
    rows, columns = rows - centre, columns - centre
    row_lengths, column_lengths = rows.square().sum(1, keepdim=True), columns.square().sum(1)
    step = max(1, BLOCK // len(columns))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        lengths = row_lengths[block] + column_lengths
        squared = torch.addmm(lengths, rows[block], columns.T, alpha=-2)
        yield block, squared.masked_fill_(squared < ROUNDING * lengths, 0).sqrt_()


def _tensor(given: Array) -> torch.Tensor:
    return given.detach() if isinstance(given, torch.Tensor) else torch.from_numpy(np.array(given))


def _matrix(name: str, given: Array, least: int) -> torch.Tensor:
    """(N, F) float64, finite, N at least ``least``."""
    x = _tensor(given)
    if x.ndim != 2 or len(x) < least:
        raise MetricError(f"{name} has shape {tuple(x.shape)}: it must be (N, F) with N at least {least}")
    broken = int((~x.isfinite()).any(1).sum())
    if broken:
        raise MetricError(f"{broken} of {len(x)} rows of {name} hold NaN or infinity: look at where they come from")
    return x.double()


def _pair(
    a: Array, b: Array, names: tuple[str, str] = ("features_a", "features_b"), least: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    a, b = _matrix(names[0], a, least), _matrix(names[1], b, least)
    if a.shape[1] != b.shape[1]:
        raise MetricError(
            f"{names[0]} has {a.shape[1]} features and {names[1]} {b.shape[1]}: use one extractor for both"
        )
    for name, x in zip(names, (a, b), strict=True):
        if len(x) > 1 and bool((x == x[0]).all()):
            _warn(f"all {len(x)} rows of {name} are the same: a collapsed generator or a broken extractor", level=4)
    return a, b


def _probabilities(given: Array) -> torch.Tensor:
    p = _matrix("probabilities", given, least=1)
    if p.min() < 0 or ((p.sum(1) - 1).abs() > 1e-3).any():
        raise MetricError("rows of probabilities must be at least 0 and sum to 1: hand in softmax(logits)")
    return p


def _labels(predictions: Array) -> torch.Tensor:
    """(N,) int64, from labels or from probabilities by their largest."""
    given = _tensor(predictions)
    if given.ndim == 2:
        return _probabilities(given).argmax(1)
    if given.ndim != 1 or not len(given) or given.is_floating_point():
        raise MetricError(
            f"predictions are {tuple(given.shape)} {given.dtype}: hand in probabilities (N, C) or integer labels (N,)"
        )
    return given.long()


def _warn(message: str, level: int = 3) -> None:
    """``level`` 3 points at the caller of the public function that warns, 4 if a check warns on its behalf."""
    warnings.warn(message, DegenerateWarning, stacklevel=level)


def shown_interval(mean: float, low: float, high: float) -> str:
    """``mean (low to high)``; the mean alone where there is no interval."""
    return f"{mean:.3g}" + (f" ({low:.3g} to {high:.3g})" if low < high else "")


def shown_name(metric: str, extractor: str) -> str:
    """What a reader sees: only Inception's features make a Frechet distance an FID."""
    if metric == "fd":
        return "FID" if extractor == "inception" else f"Frechet distance ({extractor})"
    return metric.replace("_", " ") + (f" ({extractor})" if extractor else "")


def mean_interval(values: pd.Series) -> tuple[float, float, float]:
    """(mean, low, high) of Student's 95 % interval. low and high are nan for fewer than two values, and where
    all are equal: no spread can be estimated then."""
    n, mean = len(values), float(values.mean())
    if n < 2 or np.ptp(values) <= ROUNDING * np.abs(values).max():
        return mean, math.nan, math.nan
    low, high = t.interval(0.95, n - 1, mean, values.sem())
    return mean, float(low), float(high)
