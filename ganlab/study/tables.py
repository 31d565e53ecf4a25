"""What a study found: its runs as one table, compared with Gaussian, and what became of the predictions.

Everything here is computed from the runs' ``metrics.json`` and ``history.csv`` and can be thrown away and made again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import ks_2samp
from torch import nn

from ganlab import priors
from ganlab.config import NULL, Config
from ganlab.latents import evaluation_latents, labels_in_turn
from ganlab.networks.build import build
from ganlab.networks.generators import generate
from ganlab.run import Run
from ganlab.scoring import metrics
from ganlab.scoring.evaluate import references
from ganlab.scoring.features import get as extractor
from ganlab.scoring.features import reference_features
from ganlab.study import statistics
from ganlab.study.plan import Planned, Study

# Columns of the tables: quality and diversity are read apart.
QUALITY = ("fd_train", "fd_test", "kid_train", "precision_train", "density_train", "target_agreement_test")
DIVERSITY = ("recall_train", "coverage_train", "duplicate_rate_train")
METRICS = QUALITY + DIVERSITY
HEADLINE = {"fd_train": "Frechet distance", "recall_train": "recall"}  # what the answer goes through one by one
COLLAPSE = 2.0  # a run whose last distance is so many times its best has collapsed
COPIES = 0.5  # of the images, from which on recall says nothing: a copy's nearest neighbours are copies too
SWAPPED = 2000  # samples of each prior that every other prior's generator is fed with
OUTLIER = 2.0  # a run whose distance is so many times its prior's median is spoken of


# --- tables ---------------------------------------------------------------------------------------------------------


def runs_table(study: Study) -> pd.DataFrame:
    """One row a planned run, in the study's order: ``cell, preset, prior, arm, latent_dim, seed, status, collapsed,
    images_seen, training_seconds, best_epoch, last_score, best_score`` (Frechet distances while it trained) and the
    metrics of the final generator, NaN where a run is not done. status: done, failed or left, whatever is under way.
    Recall is NaN where most images are copies: the balls that it draws around them have no radius."""
    found = pd.DataFrame([_row(planned) for planned in study.runs])
    outcomes = ("collapsed", "images_seen", "training_seconds", "best_epoch", "last_score", "best_score", *METRICS)
    return found.reindex(columns=[*found, *(name for name in outcomes if name not in found)])


def _row(planned: Planned) -> dict[str, Any]:
    config, status = planned.config, planned.status
    status = status if status in ("done", "failed") else "left"
    row: dict[str, Any] = {
        "cell": planned.cell, "preset": config.preset, "prior": planned.prior, "arm": config.arm,
        "latent_dim": config.latent_dim, "seed": planned.seed, "status": status,
    }  # fmt: skip
    if status != "done":
        return row
    found = Run(planned.path).metrics
    last, best = found["final"], found["best"]
    distance = next((name for name in best if name.startswith(("fd", "fid"))), None)
    row |= {
        "collapsed": bool(last[distance] > COLLAPSE * best[distance]) if distance else None,
        "images_seen": found["images_seen"],
        "training_seconds": found["training_seconds"],
        "best_epoch": best.get("epoch"),
        "last_score": last.get(distance),
        "best_score": best.get(distance),
    }
    for name, values in _evaluation(found).items():
        row[name] = values["value"]
    if row.get("duplicate_rate_train", 0) > COPIES:
        row |= {name: math.nan for name in row if name.startswith("recall_")}
    return row


def _evaluation(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a run's evaluation by column: metric and split; of two counts the first, which is the larger. The
    extractor stands in the table of floors, so an FID is a Frechet distance here."""
    rows: dict[str, dict[str, Any]] = {}
    for values in found["evaluation"] or []:
        metric = values["metric"].removesuffix(f"_{values['extractor']}").replace("fid", "fd")
        rows.setdefault(f"{metric}_{values['split']}", values)
    return rows


def floors(study: Study) -> pd.DataFrame:
    """metric, floor, extractor, generated, reference, split: what real images score, from the first finished run."""
    for planned in study.runs:
        if planned.status == "done":
            rows = _evaluation(Run(planned.path).metrics)
            about = ("floor", "extractor", "generated", "reference", "split")
            return pd.DataFrame([{"metric": name} | {key: row[key] for key in about} for name, row in rows.items()])
    return pd.DataFrame(columns=["metric", "floor", "extractor", "generated", "reference", "split"])


def judged_by(table: pd.DataFrame) -> str:
    """A sentence on what the distances and the recall of an answer are, from ``floors``."""
    rows = table.set_index("metric")
    if not {"fd_train", "recall_train"} <= set(rows.index):
        return ""
    distance, recall = rows.loc["fd_train"], rows.loc["recall_train"]
    return (
        f"Judged by {distance['generated']:,} samples of a run's final averaged generator against "
        f"{distance['reference']:,} training images, recall by {recall['generated']:,} against "
        f"{recall['reference']:,}, in the features of one extractor, `{distance['extractor']}`. Real images in the "
        f"place of generated ones have a distance of {distance['floor']:.2g} and a recall of {recall['floor']:.2g}."
    )


def with_references(runs: pd.DataFrame, study: Study, paired: bool = True) -> pd.DataFrame:
    """The runs, and for each cell without Gaussian runs those of the cell it refers to, of the seeds it has, or
    unpaired of all; the null stays where it is, ``summary`` takes all its pairs."""
    frames = [runs]
    for cell, other in study.references.items():
        borrowed = runs[(runs["cell"] == other) & (runs["prior"] == statistics.REFERENCE)]
        seeds = runs.loc[runs["cell"] == cell, "seed"] if paired else borrowed["seed"]
        frames.append(borrowed[borrowed["seed"].isin(seeds)].assign(cell=cell))
    return pd.concat(frames, ignore_index=True)


def finished(runs: pd.DataFrame, study: Study, paired: bool = True) -> pd.DataFrame:
    """The finished runs of every cell that can be compared with Gaussian, borrowed references included."""
    every = with_references(runs, study, paired)
    done = every[every["status"] == "done"]
    compared = done.loc[~done["prior"].isin(["gaussian", NULL]), "cell"]  # a cell of references alone has nothing yet
    return done[done["cell"].isin(done.loc[done["prior"] == "gaussian", "cell"]) & done["cell"].isin(compared)]


def summary(runs: pd.DataFrame, study: Study, names: list[str] | None = None) -> pd.DataFrame:
    """``compare`` of every cell that has a finished Gaussian run, one row a cell, metric and prior. A cell that
    refers to another's Gaussian runs is held against that one's null."""
    done = finished(runs, study)
    names = [name for name in names or METRICS if name in done]
    nulls = {cell: other for cell, other in study.references.items() if {cell, other} <= set(done["cell"])}
    return statistics.compare(done, names, nulls)


def unpaired(runs: pd.DataFrame, study: Study) -> pd.DataFrame:
    """``dunnett`` of distance and recall of every cell that has a finished Gaussian run. A cell that refers to
    another's Gaussian runs is held against all of them."""
    return statistics.dunnett(finished(runs, study, paired=False), list(HEADLINE), ["fd_train"])


def present(found: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of the metrics that a summary has."""
    return [name for name in names if name in set(found["metric"])]


def floor_values(table: pd.DataFrame) -> pd.Series:
    return table.set_index("metric")["floor"]


def beside(runs: pd.DataFrame, cell: str) -> pd.DataFrame:
    """What is measured beside the comparisons: a row a prior, means over the seeds of a cell's finished runs. The last
    and the best score while they trained, the epoch of the best, and each run's median distance from a generated image
    to the nearest training image (small where a generator copies)."""
    names = ["last_score", "best_score", "best_epoch", "nearest_train_train"]
    done = runs[(runs["cell"] == cell) & (runs["status"] == "done")]
    return done.reindex(columns=["prior", *names]).groupby("prior", sort=False)[names].mean().reset_index()


def null_sentence(found: pd.DataFrame, cell: str, metric: str = "fd_train") -> str:
    """What no effect looks like in a cell: the null's own difference, and what can be found beside it."""
    rows = found[(found["cell"] == cell) & (found["metric"] == metric)]
    null = rows[rows["prior"] == NULL]
    if null.empty or null["smallest_detectable"].isna().all():
        return "There are too few pairs of the null to say what no effect looks like."
    row, own = null.iloc[0], statistics.detectable(rows[(rows["prior"] != NULL) & (rows["n"] >= 2)])
    low, high = statistics.spread_range(row["n"])
    return (
        f"Between Gaussian and Gaussian with other latents, {row['n']} pairs, {metric} differs by "
        f"{row['difference']:+.3g} (95 % interval {row['t_low']:+.3g} to {row['t_high']:+.3g}) at a mean of "
        f"{row['reference_mean']:.3g}. By that spread one uncorrected test on as many pairs finds a difference of "
        f"{row['smallest_detectable']:.3g} ({row['smallest_detectable'] / row['reference_mean']:.0%} of that mean) "
        f"four times in five, by the priors' own spreads one of {own.min():.3g} to {own.max():.3g}; to correct for "
        f"{len(rows) - 1} priors asks for more, and from {row['n']} pairs a spread is known to a factor of "
        f"{low:.1f} to {high:.1f} only."
    )


def score_floor(study: Study) -> float | None:
    """What real images score in the place of the generated ones while a run trains; None without a scored run."""
    for planned in study.runs:
        if planned.status == "done" and (scored := Run(planned.path).metrics.get("scored")):
            return next((value for name, value in (scored["floor"] or {}).items() if name.startswith("f")), None)
    return None


def histories(study: Study, cell: str) -> pd.DataFrame:
    """The histories of a cell's finished runs, a borrowed Gaussian's among them, one below the other, with ``prior``
    and ``seed``."""
    frames = [
        Run(planned.path).history.assign(prior=planned.prior, seed=planned.seed)
        for planned in _runs(study, cell)
        if planned.status == "done"
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _runs(study: Study, cell: str) -> list[Planned]:
    """The runs of a cell, and before them those of Gaussian that it borrows."""
    own = [planned for planned in study.runs if planned.cell == cell]
    lender, seeds = study.references.get(cell), {planned.seed for planned in own}
    return [p for p in study.runs if (p.cell, p.prior) == (lender, statistics.REFERENCE) and p.seed in seeds] + own


def pairing_sentence(runs: pd.DataFrame, cell: str, metric: str = "fd_train") -> str:
    """What pairing by seed buys in a cell: how alike the seeds rank with a prior and with Gaussian."""
    done = runs[(runs["cell"] == cell) & (runs["status"] == "done")]
    table = done.pivot(index="seed", columns="prior", values=metric).dropna()
    if len(table) < 3 or statistics.REFERENCE not in table or table.shape[1] < 2:
        return ""
    likeness = table.drop(columns=statistics.REFERENCE).corrwith(table[statistics.REFERENCE])
    return (
        f"Over {len(table)} seeds the correlation of {metric} with Gaussian's goes from {likeness.min():+.2f} "
        f"({likeness.idxmin()}) to {likeness.max():+.2f} ({likeness.idxmax()}), {likeness.mean():+.2f} in the mean. "
        "Only as far as it is positive does pairing shorten an interval."
    )


# --- generators -----------------------------------------------------------------------------------------------------


def generators(study: Study, cell: str, seed: int | None = None) -> dict[str, tuple[torch.nn.Module, Any]]:
    """prior -> (generator, config) of the finished runs of a cell, a borrowed Gaussian's among them, and a seed (by
    default the first that it has), as far as their generators are there; none of a cell without a run of its own."""
    chosen = [p for p in _runs(study, cell) if p.prior != NULL and Run(p.path).is_finished(p.config)]
    if not any(p.cell == cell for p in chosen):
        return {}
    seed = chosen[0].seed if seed is None else seed
    return {p.prior: Run(p.path).read_generator() for p in chosen if p.seed == seed}


def swap(trained: dict[str, tuple[torch.nn.Module, Any]], n: int = SWAPPED) -> pd.DataFrame:
    """Trained with one prior (rows), sampled with another (columns): the Frechet distance in the run's own extractor of
    n samples (at most as many as training images) to these, the same uniforms everywhere. The diagonal is the matched
    case."""
    if not trained:
        return pd.DataFrame()
    config = next(iter(trained.values()))[1]
    judge = extractor(config.eval_extractor)
    train = references(config)[0]
    real, n = reference_features(judge, train), min(n, len(train))
    rows = {}
    for row, (generator, config) in trained.items():
        rows[row] = {
            column: metrics.frechet_distance(
                judge.features(
                    generate(generator, evaluation_latents(config.replace(prior=column), n), labels_in_turn(config, n))
                ),
                real,
            )
            for column in trained
        }
    return pd.DataFrame(rows).T


def swap_sentence(table: pd.DataFrame, n: int = SWAPPED) -> str:
    """What ``swap`` says in a sentence."""
    if len(table) < 2:
        return "Fewer than two generators are here to swap."
    own = pd.Series({name: table.loc[name, name] for name in table.index})
    spread = (table.sub(own, axis=0).abs().max(axis=1) / own).max()
    best = int((table.idxmin(axis=1) == table.index).sum())
    return (
        f"Fed with another prior a generator's distance moves by {spread:.0%} of its own at the most, and in {best} of "
        f"{len(table)} rows its own prior is the best. {n:,} samples (at most as many as training images) where the "
        "tables have up to 5,000, so these distances are a little higher; one seed, and no interval."
    )


# --- predictions ----------------------------------------------------------------------------------------------------

MARGIN = 0.25  # of Gaussian's mean: what lies within it is called as good
Found = tuple[str, str]  # (yes, no, undecided or open, the numbers)


@dataclass(frozen=True)
class Prediction:
    """statement: what was expected. test: (runs, summary) -> whether it held. written: before or after the runs that
    it speaks of, or that it needs none."""

    statement: str
    test: Callable[[pd.DataFrame, pd.DataFrame], Found]
    written: str = "before its runs"


def _decided(rows: pd.DataFrame) -> tuple[bool, bool]:
    """(some prior of a summary's rows differs; all 95 % intervals lie within ``MARGIN``)"""
    reach = np.maximum(rows["t_low"].abs(), rows["t_high"].abs()) / rows["reference_mean"].abs()
    return bool((rows["p_holm"] < statistics.ALPHA).any()), bool((reach <= MARGIN).all())


def _rows(found: pd.DataFrame, cell: str, metric: str, *names: str) -> pd.DataFrame:
    """A cell's rows of a metric that have two pairs or more, of the priors named or of all."""
    rows = found[(found["cell"] == cell) & (found["metric"] == metric) & (found["prior"] != NULL) & (found["n"] >= 2)]
    return rows[rows["prior"].isin(names)] if names else rows


def _each(rows: pd.DataFrame, between: str) -> str:
    """Every row's prior, difference and interval, in per cent of Gaussian's mean; as they are where that is 0."""

    def words(value: float, mean: float) -> str:
        return f"{value / abs(mean):+.0%}" if mean else f"{value:+.3g}"

    return between.join(
        f"{row.prior} {words(row.difference, row.reference_mean)} "
        f"({words(row.t_low, row.reference_mean)} to {words(row.t_high, row.reference_mean)})"
        for row in rows.itertuples()
    )


def _numbers(rows: pd.DataFrame) -> str:
    return f"{_each(rows, ', ')}; smallest Holm-adjusted p {rows['p_holm'].min():.2g}"


def _ties(cell: str, *names: str) -> Callable[[pd.DataFrame, pd.DataFrame], Found]:
    """yes: every prior, or each of those named, is as good as Gaussian."""

    def test(runs: pd.DataFrame, found: pd.DataFrame) -> Found:
        rows = _rows(found, cell, "fd_train", *names)
        if rows.empty:
            return "open", "no pairs yet"
        apart, alike = _decided(rows)
        return "yes" if alike else "no" if apart else "undecided", f"fd_train: {_numbers(rows)}"

    return test


def _some_effect(cell: str) -> Callable[[pd.DataFrame, pd.DataFrame], Found]:
    """The contrary of ``_ties``."""

    def test(runs: pd.DataFrame, found: pd.DataFrame) -> Found:
        held, numbers = _ties(cell)(runs, found)
        return {"yes": "no", "no": "yes"}.get(held, held), numbers

    return test


def _better(*wanted: tuple[str, str, str, int]) -> Callable[[pd.DataFrame, pd.DataFrame], Found]:
    """wanted: (cell, prior, metric, the sign that is better). yes: each differs from Gaussian for the better; no: one
    for the worse, or it is as good."""

    def test(runs: pd.DataFrame, found: pd.DataFrame) -> Found:
        parts = [(_rows(found, cell, metric, prior), sign) for cell, prior, metric, sign in wanted]
        if any(rows.empty for rows, _ in parts):
            return "open", "no pairs yet"
        held = []
        for rows, sign in parts:
            apart, alike = _decided(rows)
            good = sign * rows["difference"].iloc[0] > 0
            held.append("yes" if apart and good else "no" if apart or alike else "undecided")
        said = "; ".join(f"{rows['metric'].iloc[0]}: {_numbers(rows)}" for rows, _ in parts)
        return "no" if "no" in held else "undecided" if "undecided" in held else "yes", said

    return test


def _raw_is_absorbed(standardised: str, raw: str) -> Callable[[pd.DataFrame, pd.DataFrame], Found]:
    """Of each prior the logarithm of raw over standardised, paired by seed. yes: all 95 % intervals lie within
    ``MARGIN``; no: one p times their number is under 0.05."""

    def test(runs: pd.DataFrame, found: pd.DataFrame) -> Found:
        done = runs[(runs["status"] == "done") & runs["cell"].isin([standardised, raw])]
        wide = done.pivot_table(index=["prior", "seed"], columns="cell", values="fd_train")
        wide = wide.reindex(columns=[standardised, raw]).dropna().groupby("prior").filter(lambda pairs: len(pairs) >= 2)
        if wide.empty:
            return "open", "no pairs yet"
        logs = np.log(wide).rename(columns={standardised: statistics.REFERENCE, raw: "raw"})
        pairs = logs.reset_index(names=["cell", "seed"]).melt(["cell", "seed"], var_name="prior", value_name="log")
        rows = statistics.compare(pairs, ["log"])
        words = ", ".join(
            f"{row.cell} {np.exp(row.difference):.2f} ({np.exp(row.t_low):.2f} to {np.exp(row.t_high):.2f})"
            for row in rows.itertuples()
        )
        p = rows["p"].min() * len(rows)
        alike = (rows[["t_low", "t_high"]].abs() <= np.log(1 + MARGIN)).all(axis=None)
        held = "no" if p < statistics.ALPHA else "yes" if alike else "undecided"
        return held, f"fd_train, raw / standardised: {words}; smallest p, times {len(rows)}: {min(p, 1):.2g}"

    return test


def _duplicates(cell: str, prior: str, above: float) -> Callable[[pd.DataFrame, pd.DataFrame], Found]:
    """yes: more duplicates than ``above`` with the prior, and hardly any with a continuous one."""

    def test(runs: pd.DataFrame, found: pd.DataFrame) -> Found:
        rows = runs[(runs["cell"] == cell) & (runs["status"] == "done")]
        rates = rows.groupby("prior")["duplicate_rate_train"].mean().dropna()
        if prior not in rates:
            return "open", "no runs yet"
        other = [name for name in rates.index if name != NULL and not priors.PRIORS[name].discrete]
        words = ", ".join(f"{name} {rate:.1%}" for name, rate in rates.items())
        return "yes" if rates[prior] > above and (rates[other] < 0.01).all() else "no", words

    return test


def stem_shares(d: int = 100, n: int = 2000) -> pd.DataFrame:
    """How much of what follows G's first layer and its batch norm depends on z: the share (0 to 1) of a channel's
    variance over n raw latents and all places that is not a fixed pattern of the places. A row a core prior, a column a
    stem, at initial weights; nothing is trained."""
    shares: dict[str, dict[str, float]] = {}
    for stem, family in (("dense", "upsample"), ("transposed", "transposed")):
        config = Config(generator=family, latent_dim=d)
        network = build(config, torch.Generator().manual_seed(0))[0].train()
        norm = next(place for place, layer in enumerate(network) if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d))
        for prior in priors.CORE:
            latents = evaluation_latents(config.replace(prior=prior, arm="raw"), n)
            with torch.no_grad():
                values = network[: norm + 1](latents).double().flatten(2 if stem == "transposed" else 1)
            moving, pattern = (
                values.var(0),
                values.mean(0) - values.mean((0, -1) if values.ndim > 2 else 0, keepdim=True),
            )
            shares.setdefault(prior, {})[stem] = float(moving.mean() / (moving.mean() + pattern.square().mean()))
    return pd.DataFrame.from_dict(shares, orient="index").rename_axis("prior")


def _stems(runs: pd.DataFrame, found: pd.DataFrame) -> Found:
    shares = stem_shares()
    shifted = shares.loc[["poisson", "exponential", "bernoulli"], "transposed"]
    held = (
        shares["dense"].min() > 0.99 and shares.loc["gaussian", "transposed"] > 0.99 and shifted.between(0.4, 0.6).all()
    )
    words = ", ".join(f"{row.Index} {row.dense:.3f} and {row.transposed:.3f}" for row in shares.itertuples())
    return "yes" if held else "no", f"share behind a dense and a transposed stem: {words}"


def path_departures(d: int = 100, n: int = 400) -> pd.DataFrame:
    """How far half way between two latents is from the prior: Kolmogorov and Smirnov's distance (0 to 1) of n points'
    coordinates to as many fresh ones; chance alone gives 0.01. A row a core prior, a column a path."""
    found: dict[str, dict[str, float]] = {}
    for name in priors.CORE:
        prior, stream = priors.get(name, "standardised"), torch.Generator().manual_seed(0)
        start, end = (priors.uniforms(n, d, stream) for _ in range(2))
        fresh = prior.sample(n, d, stream).flatten()
        found[name] = {
            path: float(ks_2samp(move(prior, start, end, 0.5).flatten(), fresh).statistic)
            for path, move in priors.PATHS.items()
        }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("prior")


def _paths(runs: pd.DataFrame, found: pd.DataFrame) -> Found:
    far = path_departures()
    left = far > 0.03
    expected = pd.DataFrame({"matched": False, "lerp": True, "slerp": far.index != "gaussian"}, index=far.index)
    held = (left == expected).all(axis=None)
    words = ", ".join(f"{row.Index} {row.matched:.2f}, {row.lerp:.2f}, {row.slerp:.2f}" for row in far.itertuples())
    return "yes" if held else "no", f"distance of matched, lerp and slerp to the prior: {words}"


PREDICTIONS = {
    "near-ties at d = 100": Prediction(
        "At d = 100 a unit of the first layer sums many coordinates and is nearly Gaussian whatever the prior, so with "
        "standardised latents no prior differs from Gaussian.",
        _ties("fast-d100-standardised"),
    ),
    "the stem absorbs the raw mean": Prediction(
        "Behind a dense stem with batch norm a constant shift and a scale of z do nothing, so raw latents draw as "
        "well as standardised ones.",
        _raw_is_absorbed("fast-d100-standardised", "fast-d100-raw"),
    ),
    "so it does in the source's networks": Prediction(
        "The stem of conv-noise is dense as well, so with raw latents too no prior differs from Gaussian.",
        _ties("conv-noise-d100-raw"),
    ),
    "a transposed stem keeps the raw mean": Prediction(
        "Behind a transposed convolution one batch norm serves all places of a channel, so a raw mean stays as a fixed "
        "pattern, and about half of the variance no longer depends on z. No cell has such a stem: this is a forward "
        "pass of untrained generators.",
        _stems,
        written="known before; computed",
    ),
    "duplicates at d = 8": Prediction(
        "Eight Bernoulli coordinates make 256 different latents, so of 5,000 samples more than 90 % are duplicates; "
        "continuous priors draw none.",
        _duplicates("fast-d8-standardised", "bernoulli", 0.9),
    ),
    "duplicates of one_hot": Prediction(
        "One coordinate of 100 is 1, so there are 100 latents, and more than 97 % of 5,000 samples are duplicates.",
        _duplicates("fast-d100-extended", "one_hot", 0.97),
    ),
    "effects at d = 8": Prediction(
        "At d = 8 the sum is short and the shape of the prior reaches the first layer: at least one prior differs from "
        "Gaussian.",
        _some_effect("fast-d8-standardised"),
    ),
    "recall at d = 8, new seeds": Prediction(
        "With the seeds of fast-d8-standardised multiplicative had a higher recall than Gaussian by Dunnett's test, "
        "not by the paired one, which was to decide. So it is asked again: with five new seeds it has.",
        _better(("fast-d8-new-seeds", "multiplicative", "recall_train", 1)),
    ),
    "distance at d = 8, new seeds": Prediction(
        "There Laplacian had the lowest distance, by no test. With five new seeds it is lower than Gaussian's.",
        _better(("fast-d8-new-seeds", "laplacian", "fd_train", -1)),
    ),
    "gaps between modes": Prediction(
        "A connected latent cannot leave the space between modes empty (Tanielian 2020), a discrete one can: at d = 8 "
        "Bernoulli is more precise than Gaussian.",
        _better(("fast-d8-standardised", "bernoulli", "precision_train", 1)),
    ),
    "tails": Prediction(
        "A Lipschitz generator makes no tail heavier than its latent's (Jalal 2019; Pareto GAN, Huster 2021), but "
        "pixels are bounded, so heavier latents gain nothing: Laplacian and multiplicative are as good as Gaussian.",
        _ties("fast-d100-standardised", "laplacian", "multiplicative"),
        written="after its runs",
    ),
    "paths": Prediction(
        "Half way between two latents lerp has left the prior, slerp too unless it is Gaussian, and the matched path "
        "has not (Agustsson 2019).",
        _paths,
        written="known before; computed",
    ),
    "BigGAN's uniform": Prediction(
        "BigGAN found U(-1, 1) about equal to the normal (Brock 2019): raw uniform latents are as good as Gaussian.",
        _ties("fast-d100-raw", "uniform"),
    ),
    "BigGAN's latents": Prediction(
        "BigGAN trained best with Bernoulli and with censored normal latents (Brock 2019): here too raw Bernoulli and "
        "censored normal (standardised, unlike theirs) have a lower distance than Gaussian.",
        _better(
            ("fast-d100-raw", "bernoulli", "fd_train", -1), ("fast-d100-extended", "censored_normal", "fd_train", -1)
        ),
    ),
}


def judged(runs: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """prediction, statement, written, held (yes, no, undecided, or open: nothing to judge by) and the numbers, a row
    each."""
    rows = []
    for name, prediction in PREDICTIONS.items():
        held, numbers = prediction.test(runs, found)
        rows.append({"prediction": name, "statement": prediction.statement, "written": prediction.written,
                     "held": held, "numbers": numbers})  # fmt: skip
    return pd.DataFrame(rows)


# --- the answer -----------------------------------------------------------------------------------------------------


def answer(runs: pd.DataFrame, found: pd.DataFrame, together: pd.DataFrame, study: Study) -> str:
    """The study's answer in Markdown, a paragraph a cell that has runs, the first in any case: distance, diversity,
    stability; every number from ``runs_table``, ``summary`` and ``unpaired``."""
    cells = list(dict.fromkeys(runs["cell"]))
    begun = [cell for cell in cells if cell == cells[0] or (runs["status"][runs["cell"] == cell] == "done").any()]
    return "\n\n".join(_answer(runs, found, _told(together, cell), study, cell) for cell in begun)


def brief(runs: pd.DataFrame, found: pd.DataFrame, together: pd.DataFrame) -> list[str]:
    """The answer in a clause a cell that has pairs: who differs, and how far a distance may be."""
    said = []
    for cell in dict.fromkeys(runs["cell"]):
        rows = pd.concat([_rows(found, cell, metric) for metric in HEADLINE])
        if rows.empty:
            continue
        apart = rows[rows["p_holm"] < statistics.ALPHA]
        named = ", ".join(f"{row.prior} in {HEADLINE[row.metric]}" for row in apart.itertuples())
        text = f"`{cell}`: {named or 'none'} differs (smallest Holm-adjusted p {rows['p_holm'].min():.2g})"
        told = _told(together, cell)
        differs = told["p"] < statistics.ALPHA
        for row in told[differs].itertuples():
            text += f", without pairs {row.prior} in {HEADLINE[row.metric]} (p {row.p:.2g})"
        distance = told["metric"] == "fd_train"
        if len(rest := told[distance & ~differs]):
            whose = "the other distances" if (distance & differs).any() else "distances"
            text += f", {whose} within {rest['low'].min():.2f} to {rest['high'].max():.2f} times Gaussian's"
        said.append(text)
    return said


def _answer(runs: pd.DataFrame, found: pd.DataFrame, together: pd.DataFrame, study: Study, cell: str) -> str:
    here = runs[runs["cell"] == cell]
    done = here[here["status"] == "done"]
    said = [
        f"**`{cell}`**, {len(done)} of {len(here)} runs ({(here['status'] == 'failed').sum()} failed, "
        f"{int(done['collapsed'].fillna(False).sum()) if len(done) else 0} collapsed).",
        *_setting(done, study, cell),
    ]
    for metric, words in HEADLINE.items():
        rows = _rows(found, cell, metric)
        said.append(_compared(words, rows) if len(rows) else f"Too few pairs yet to say anything of {words}.")
    said += [*_together(together), *_others(found, cell)]
    if copied := sorted(set(done.loc[done["duplicate_rate_train"] > COPIES, "prior"])):
        said.append(f"Recall is not told of {', '.join(copied)}: most images are copies.")
    return " ".join(
        [*said, *_outlier(runs, study, cell), *_borrowed(runs, study, cell), *_recognised(runs, study, cell)]
    )


def _compared(words: str, rows: pd.DataFrame) -> str:
    mean, pairs = rows["reference_mean"].iloc[0], f"{rows['n'].min()} pairs each"
    apart = rows[rows["p_holm"] < statistics.ALPHA]
    if len(apart):
        small = apart.loc[apart["difference"].abs() < apart["smallest_detectable"], "prior"]
        return (
            f"**In {words} these differ from Gaussian** (Gaussian's mean {mean:.3g}, {pairs}; differences in per cent "
            f"of it with 95 % intervals, Holm-adjusted p < 0.05): {_each(apart, '; ')}."
            + f" Less than one test finds four times in five, by the null's spread: {', '.join(small)}."
            * bool(len(small))
            + " Of the others no difference was found." * (len(apart) < len(rows))
        )
    reach = ""
    if mean:
        low, high = rows["t_low"].min() / mean, rows["t_high"].max() / mean
        reach = f"; one by one, the 95 % intervals of the differences reach from {low:+.0%} to {high:+.0%} of that mean"
        reach += " (nothing falls by more than 100 %, which Student's interval does not know)" * bool(low < -1)
    return (
        f"**No difference from Gaussian was found in {words}** by the paired test (Gaussian's mean {mean:.3g}, "
        f"{pairs}, smallest Holm-adjusted p {rows['p_holm'].min():.2g}){reach}."
    )


def _told(together: pd.DataFrame, cell: str) -> pd.DataFrame:
    """The rows of ``unpaired`` that an answer speaks of: priors of a cell with two runs or more, without the null."""
    rows = together[(together["cell"] == cell) & (together["prior"] != NULL) & (together["n"] >= 2)]
    return rows.dropna(subset="p")


def _together(rows: pd.DataFrame) -> list[str]:
    """A sentence on what ``_told`` leaves of a cell."""
    said = []
    for metric, words in HEADLINE.items():
        here = rows[rows["metric"] == metric]
        if here.empty:
            continue
        form, unit = (".2f", " times Gaussian's") if (here["scale"] == "ratio").all() else ("+.2f", " from Gaussian's")
        differs = here["p"] < statistics.ALPHA
        parts = [
            f"of {row.prior} {row.effect:{form}} ({row.low:{form}} to {row.high:{form}})"
            for row in here[differs].itertuples()
        ]
        if len(rest := here[~differs]):
            whose = "of the others" if parts else "of all"
            parts.append(f"{whose} within {rest['low'].min():{form}} to {rest['high'].max():{form}}")
        said.append(f"{words} {', '.join(parts)}{unit}, smallest p {here['p'].min():.2g}")
    opening = "Without pairs, all runs of the cell sharing one spread (Dunnett's test, 95 % for all priors at once)"
    return [f"{opening}: {'; '.join(said)}."] if said else []


def _without(here: pd.DataFrame, far: pd.Series) -> str:
    """A sentence on what the differences of a cell are without one run, and so without its pairs; the null's beside
    them, as whoever leaves out one prior's worst run makes that prior look better."""
    said = []
    for runs in (here, here.drop(index=far.name)):
        reference = runs.loc[runs["prior"] == statistics.REFERENCE, "fd_train"]
        if reference.empty:
            return ""
        pairs = statistics.paired_differences(runs, ["fd_train"]).groupby("prior")["difference"]
        shares = pairs.mean()[pairs.count() >= 2] / reference.mean()
        null, shares = shares.get(NULL), shares.drop(NULL, errors="ignore")
        if shares.empty:
            return ""
        beside = "" if null is None else f" (Gaussian with other latents {null:+.0%})"
        said.append(f"{shares.min():+.0%} to {shares.max():+.0%}{beside}")
    return f"With it the priors lie {said[0]} from Gaussian, without it {said[1]}. "


def _setting(done: pd.DataFrame, study: Study, cell: str) -> list[str]:
    """A sentence on what the finished runs of a cell are, and whether they were still getting better."""
    config = next((planned.config for planned in study.runs if planned.cell == cell), None)
    if config is None or done.empty:
        return []
    scored = done.dropna(subset="best_score")
    best = (scored["best_score"] == scored["last_score"]).sum()
    said = (
        f"Preset `{config.preset}` on {', '.join(config.classes) or 'all classes'}, {config.latent_dim} {config.arm} "
        f"latents, {done['images_seen'].mean():,.0f} images a run"
    )
    if len(scored):
        said += f"; {best} scored best at their end" + ", so this speaks of early training" * bool(
            2 * best > len(scored)
        )
    return [said + "."]


def _others(found: pd.DataFrame, cell: str) -> list[str]:
    """A sentence on the metrics that the answer does not go through one by one."""
    rows = found[(found["cell"] == cell) & (found["prior"] != NULL) & ~found["metric"].isin(HEADLINE)]
    rows = rows.dropna(subset="p_holm")
    if rows.empty:
        return []
    apart, least = rows[rows["p_holm"] < statistics.ALPHA], rows.loc[rows["p_holm"].idxmin()]
    if len(apart):
        named = ", ".join(f"{row.prior} in {row.metric} ({row.difference:+.3g})" for row in apart.itertuples())
        return [f"In the other {rows['metric'].nunique()} metrics these differ: {named}."]
    return [
        f"In the other {rows['metric'].nunique()} metrics no difference was found (smallest Holm-adjusted p "
        f"{least['p_holm']:.2g}, {least['prior']} in {least['metric']})."
    ]


def _borrowed(runs: pd.DataFrame, study: Study, cell: str) -> list[str]:
    """A sentence on the Gaussian runs that a cell borrows: what the chance of their seeds alone does to their owner."""
    if cell not in study.references or (lender := study.references[cell]) not in set(runs["cell"]):
        return []
    done = runs[runs["status"] == "done"]
    seeds = sorted(set(done.loc[done["cell"] == cell, "seed"]))
    there = done[done["cell"] == lender]
    here = there[there["seed"].isin(seeds)]
    whole, part = (rows.loc[rows["prior"] == statistics.REFERENCE, "fd_train"] for rows in (there, here))
    if part.empty or len(part) == len(whole):
        return []
    rows = statistics.compare(here, ["fd_train"])
    shares = rows["difference"] / rows["reference_mean"]
    return [
        f"Its Gaussian runs are those of `{lender}` with seeds {', '.join(map(str, seeds))}, whose mean is "
        f"{part.mean():.3g} ({whole.mean():.3g} over all seeds there); on these seeds the priors of that cell, the "
        f"null among them, lie {shares.min():+.0%} to {shares.max():+.0%} from it, so as much here says nothing."
    ]


def _recognised(runs: pd.DataFrame, study: Study, cell: str) -> list[str]:
    """A sentence on whether a cell's generators draw their class at all: a tie of those that do not says little."""
    done = finished(runs, study)
    share = done.loc[(done["cell"] == cell) & (done["prior"] == statistics.REFERENCE), "target_agreement_test"].mean()
    if math.isnan(share):
        return []
    real = floor_values(floors(study))["target_agreement_test"]
    return [f"A classifier takes {share:.0%} of Gaussian's samples for their class, of real images {real:.0%}."]


def _outlier(runs: pd.DataFrame, study: Study, cell: str) -> list[str]:
    """A sentence on the run whose distance is the largest beside its prior's median, if it is twice that: what the
    comparison says on logarithms, where one such run weighs less."""
    done = finished(runs, study)
    here = done[done["cell"] == cell].dropna(subset="fd_train")
    if here.empty:
        return []
    ratios = here["fd_train"] / here.groupby("prior")["fd_train"].transform("median")
    far = here.loc[ratios.idxmax()]
    rows = statistics.compare(here.assign(log=np.log(here["fd_train"])), ["log"])
    rows = rows[(rows["prior"] != NULL) & (rows["n"] >= 2)]
    if ratios.max() < OUTLIER or rows.empty:
        return []
    late = ", and it was still getting better" * bool(far["last_score"] == far["best_score"])
    return [
        f"One run stands out: {far['prior']}, seed {far['seed']}, at {far['fd_train']:.3g}, {ratios.max():.1f} times "
        f"its prior's median{late}. {_without(here, far)}On logarithms, taken after this was seen, the smallest "
        f"Holm-adjusted p is {rows['p_holm'].min():.2g}, and the intervals reach from "
        f"{np.exp(rows['t_low'].min()):.2f} to {np.exp(rows['t_high'].max()):.2f} times Gaussian's."
    ]
