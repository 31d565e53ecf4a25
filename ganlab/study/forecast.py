"""What a study is going to run, for how long on this machine, and what it can find. Trains for seconds at most."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import Any

import pandas as pd
import torch

from ganlab.config import Config
from ganlab.data import ImageSet
from ganlab.latents import evaluation_latents, labels_in_turn
from ganlab.machine import provenance
from ganlab.networks.build import build
from ganlab.networks.generators import generate
from ganlab.run import Run
from ganlab.scoring.evaluate import SAMPLES
from ganlab.scoring.features import get
from ganlab.study import statistics
from ganlab.study.cluster import worker_count
from ganlab.study.plan import Planned, Study, seconds
from ganlab.study.power import SDS, power_table
from ganlab.study.tables import outcome, read_csv
from ganlab.training.pace import rate
from ganlab.training.state import Training

MEASURED_SECONDS = 2.0  # of training, for a condition of which no run has ended here
SECOND_JUDGE_SECONDS = 60.0  # about, of one core: 2,500 samples through an ImageNet network
PILOT = "pilot.csv"


def epoch_images(config: Config, available: int = 5000) -> int:
    """About how many images an epoch takes: whole batches of a class of CIFAR-10, or of what the config limits."""
    if config.dataset == "cifar10" and not config.limit:
        available = 5000 * (len(config.classes) or 10)
    images = config.epoch_images or config.limit or available
    step = config.batch_size * config.d_steps
    return images // step * step


def overview(study: Study, condition: str = "", workers: int = 0, measure: bool = True) -> pd.DataFrame:
    """condition, title, runs, left, images (of all its runs) and hours (of what is left, with so many workers here)."""
    rows, workers = [], worker_count(workers)
    chosen = study.of(condition)
    for each in study.conditions:
        runs = [planned for planned in chosen if planned.condition == each.name]
        if not runs:
            continue
        left = [planned for planned in runs if planned.status not in ("done", "failed")]
        images = sum(epoch_images(planned.config) * planned.config.epochs for planned in runs)
        hours = len(left) * run_seconds(runs, measure) / 3600 / workers if left else 0.0
        rows.append((each.name, each.title, len(runs), len(left), images, hours))
    return pd.DataFrame(rows, columns=["condition", "title", "runs", "left", "images", "hours"])


def run_seconds(runs: list[Planned], measure: bool = True) -> float:
    """What a run of a condition takes here: the mean of those that ended on this kind of CPU, or a measurement."""
    here = provenance()["cpu"]
    ended = [Run(planned.path) for planned in runs if planned.status == "done"]
    taken = [seconds(run) for run in ended if run.metrics["provenance"]["cpu"] == here]
    if taken:
        return sum(taken) / len(taken)
    return measured_seconds(runs[0].config) if measure else float("nan")


def measured_seconds(config: Config) -> float:
    """Seconds of a run on one thread: of its training, measured for ``MEASURED_SECONDS``, and of its scores."""
    with one_thread():
        speed, per_image = training_rate(config), scoring_seconds(config)
    scores = config.epochs // config.eval_every if config.eval_every else 0
    images = scores * config.eval_samples + SAMPLES * bool(scores)
    others = len(config.final_judges()) - 1 if scores else 0
    return epoch_images(config) * config.epochs / speed + images * per_image + others * SECOND_JUDGE_SECONDS


@contextmanager
def one_thread() -> Iterator[None]:
    """torch takes one thread inside, and as many as before after it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def training_rates(configs: Mapping[str, Config], rounds: int = 3) -> dict[str, float]:
    """Images a second that each config trains on one thread: its median of ``rounds`` in which all take turns."""
    with one_thread():
        measured = [{name: training_rate(config) for name, config in configs.items()} for _ in range(rounds)]
    return {name: median(each[name] for each in measured) for name in configs}


def training_rate(config: Config) -> float:
    """Images a second of training on random images."""
    count = max(256, 2 * config.batch_size * config.d_steps)
    shape = (count, 3, config.resolution, config.resolution)
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    names = list(config.classes) or ["measured", "images"]
    data = ImageSet(images, torch.arange(count) % len(names), names, "made", "train")
    return rate(Training(config, data), MEASURED_SECONDS)


def scoring_seconds(config: Config, n: int = 128) -> float:
    """Seconds that the first judge takes an image, its drawing among them."""
    classes = {"classes": ["cat", "dog"]} if config.conditional and not config.classes else {}
    config = config.replace(**classes)
    generator = build(config, torch.Generator().manual_seed(0))[0]
    started = time.perf_counter()
    drawn = generate(generator, evaluation_latents(config, n), labels_in_turn(config, n))
    get(config.eval_extractor).features(drawn)
    return (time.perf_counter() - started) / n


# --- what it can find -----------------------------------------------------------------------------------------------


def pilot_sds(study: Study) -> dict[str, float]:
    """preset -> SD of the first judge's outcome between Gaussian's seeds, from ``pilot.csv`` in the study's folder: the
    ``runs.csv`` of the study ``pilot``, whose conditions are called after presets. Empty without it."""
    table = read_csv(study.root / PILOT)
    if table.empty:
        return {}
    value = outcome(study.judges[0])
    done = table[table["prior"] == statistics.CONTROL].dropna(subset=value)
    return {str(preset): float(rows[value].std()) for preset, rows in done.groupby("condition") if len(rows) > 1}


def power(study: Study, condition: str = "") -> pd.DataFrame:
    """``power_table`` of the conditions that compare priors, at the pilot's SD where there is one, else at ``SDS``."""
    pilot, frames, chosen = pilot_sds(study), [], study.of(condition)
    for each in study.conditions:
        # without the pilot's runs: they come from other machines, each of which has a level of its own in the model
        runs = [run for run in chosen if run.condition == each.name and study.root in run.path.parents]
        names = [run.prior for run in runs]
        if statistics.CONTROL not in names or len(set(names)) < 2:
            continue
        found, preset = statistics.design(names, [run.block for run in runs]), runs[0].config.preset
        if found.is_estimable:
            sds = (pilot[preset],) if preset in pilot else SDS
            frames.append(power_table({each.name: found}, sds, study.margin))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def show(study: Study, condition: str = "", workers: int = 0) -> None:
    """Prints both tables."""
    about = overview(study, condition, workers)
    total: dict[str, Any] = {"condition": "all", "title": "", **about[["runs", "left", "images", "hours"]].sum()}
    whole = pd.concat([about, pd.DataFrame([total])], ignore_index=True) if len(about) > 1 else about
    words = whole.assign(images=whole["images"].map("{:,.0f}".format), hours=whole["hours"].map("{:.2g}".format),
                         runs=whole["runs"].astype(int), left=whole["left"].astype(int))  # fmt: skip
    here = worker_count(workers)
    print(f"{study.name}, in {study.root}; hours: of what is left, with {here} worker{'s' * (here > 1)} here "
          f"({os.cpu_count()} cores)\n")  # fmt: skip
    print(words.to_string(index=False))
    table = power(study, condition)
    if table.empty:
        return
    cells = [f"{row.half_width:.0%}, {row.equivalent:.0%}, {row.detectable:.2f}" for row in table.itertuples()]
    shown = table.assign(cell=cells).pivot(index="condition", columns="sd", values="cell")
    shown = shown.loc[list(dict.fromkeys(table["condition"]))].rename(columns="SD {:.3g}".format).fillna("")
    print(f"\nWhat it can find, by the SD of log FD between seeds, at a margin of {study.margin:g}:")
    print("half-width of the simultaneous 95 % intervals, the chance that an equal prior is called equivalent,")
    print("and the ratio that is found different four times in five\n")
    print(shown.rename_axis(columns=None).reset_index().to_string(index=False))
