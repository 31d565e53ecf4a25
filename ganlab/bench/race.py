"""How good per minute: the Frechet distance of a contender over minutes of training.

A race leaves a row a mark, judge and metric: contender, seed, minutes, images, metric, extractor, value, floor.
ImageNet features decide: the contender ``fast`` looks through a network that saw CIFAR-10's labels.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from ganlab import figures
from ganlab.bench.contenders import CLASS, CONTENDERS, RACERS, BenchError
from ganlab.bench.throughput import markdown
from ganlab.bench.waits import met_bars
from ganlab.config import Config
from ganlab.errors import unknown
from ganlab.files import tile, write_atomic, write_png
from ganlab.machine import provenance
from ganlab.run import Run
from ganlab.scoring.evaluate import SAMPLES, evaluate, references

MARKS = (1, 2, 4, 10, 15, 20, 40, 60)  # minutes at which a race is scored
METRICS = ("fd", "precision", "recall", "density", "coverage")
JUDGES = ("efficientnet_lite0", "cifar_resnet")  # the first decides


def run_race(out: Path, contender: str, minutes: float, seed: int) -> Iterator[pd.DataFrame]:
    """Trains a contender to ``minutes`` and scores it at the marks on the way: a frame of rows a mark.

    The rows are kept with a grid in ``out``/race, and a generator of ganlab's in a folder of its own there. Returns at
    once if that was done before; a race that was broken off starts again. Minutes are converted to images at the rate
    in bench.json before a contender's first race; its later ones keep that rate. So a race means the same on a busy
    machine, and several may run side by side on a thread each. Raises ``ConfigError`` for an unknown contender,
    ``BenchError`` if there is no bench.json or ``minutes`` is not positive.
    """
    if contender not in RACERS:
        raise unknown("contender", contender, RACERS)
    if not 0 < minutes < math.inf:
        raise BenchError(f"--race is {minutes:g}: give the minutes of training to race for, as --race 20")
    if not (out / "bench.json").exists():
        raise BenchError(f"{out} has no bench.json, which says how many images a minute are: run 'ganlab bench' first")
    name = f"{contender.replace(', ', '-').replace(' ', '-')}-s{seed}"
    path = out / "race" / f"{name}.csv"
    if path.exists() and pd.read_csv(path)["minutes"].max() >= minutes:
        return
    rate, began = _rate(out, contender), provenance()
    racer = CONTENDERS[contender][0](seed)
    train, _ = references(Config.from_preset("fast", classes=[CLASS] if RACERS[contender] == CLASS else []))
    train = train.first(SAMPLES)
    images, rows = 0, []
    for mark in [mark for mark in MARKS if mark < minutes] + [minutes]:
        while images < mark * 60 * rate:
            racer.step()
            images += racer.images
        drawn = racer.draw(SAMPLES)
        about = {"contender": contender, "seed": seed, "minutes": mark, "images": images}
        table = evaluate(drawn, train, None, list(JUDGES))
        table = table[table["metric"].isin(METRICS)].drop_duplicates(["metric", "extractor"])  # FD: the most images
        rows.append(table.assign(**about)[[*about, "metric", "extractor", "value", "floor"]])
        write_atomic(path, lambda file: pd.concat(rows).round(4).to_csv(file, index=False))
        _write_grid(out / "race" / f"{name}-{mark:g}min.png", drawn, racer.classes)
        if racer.keep:
            racer.keep(Run(out / "race" / name))
        yield rows[-1]
    write_atomic(out / "race" / "about.json", lambda file: file.write_text(json.dumps(began, indent=2) + "\n"))


def _write_grid(path: Path, drawn: torch.Tensor, classes: int) -> None:
    """64 images, or of several classes 8 each, a class a row."""
    grid = drawn[:64]
    if classes > 1:
        grid = drawn[: 8 * classes].unflatten(0, (8, classes)).transpose(0, 1).flatten(0, 1)
    write_atomic(path, lambda file: write_png(file, tile(grid)))


def _rate(out: Path, contender: str) -> float:
    """The images a second that a contender's minutes are made of."""
    for path in sorted((out / "race").glob("*.csv")):
        rows = pd.read_csv(path)
        if rows["contender"].iloc[0] == contender:
            return rows["images"].iloc[-1] / rows["minutes"].iloc[-1] / 60
    measured = json.loads((out / "bench.json").read_text())["contenders"]
    if contender not in measured:
        raise BenchError(f"{out}/bench.json has no rate of {contender!r}: run 'ganlab bench' again, into {out}")
    return measured[contender]["images_per_second"]


def race_means(rows: pd.DataFrame, judge: str = JUDGES[0]) -> pd.DataFrame:
    """Means over the seeds by one judge, a row (contender, minutes), a column a metric, and the images seen."""
    rows, keys = rows[rows["extractor"] == judge], ["contender", "minutes"]
    means = rows.pivot_table("value", keys, "metric", sort=False)[list(METRICS)]
    return means.assign(images=rows.groupby(keys)["images"].mean())


def race_bars(means: pd.DataFrame) -> pd.DataFrame:
    """What ganlab holds ``fast`` to on one class, as far as it has raced; means: as ``race_means``, by ImageNet
    features."""
    marks, rows = set(means.index), []
    if {("fast", 4), ("sngan", 10)} <= marks:
        ratio = means.loc[("fast", 4), "fd"] / means.loc[("sngan", 10), "fd"]
        rows.append(("distance of fast after 4 minutes / of sngan after 10", ratio, "at most", 1.0))
    if ("fast", 20) in marks:
        at_20 = means.loc[("fast", 20)]
        rows.append(("distance of fast after 20 minutes", at_20["fd"], "at most", 45))
        rows.append(("recall of fast after 20 minutes", at_20["recall"], "at least", 0.2))
    return met_bars(rows)


def _shown(rows: pd.DataFrame, judge: str) -> pd.DataFrame:
    """``race_means`` with whole images and the number of seeds."""
    means = race_means(rows, judge)
    seeds = rows.groupby(["contender", "minutes"], sort=False)["seed"].nunique()
    return means.assign(images=means["images"].round().astype(int), seeds=seeds).reset_index()


def draw_race(out: Path) -> Path:
    """Gathers every race in ``out``/race into race.csv, race.png and a table of means over the seeds, race.md."""
    rows = pd.concat([pd.read_csv(path) for path in sorted((out / "race").glob("*.csv"))], ignore_index=True)
    rows = rows.sort_values("contender", key=lambda names: names.map(list(RACERS).index), kind="stable")
    write_atomic(out / "race.csv", lambda path: rows.to_csv(path, index=False))
    distances = rows[(rows["metric"] == "fd") & (rows["extractor"] == JUDGES[0])]
    figure = figures.race(distances.assign(classes=distances["contender"].map(RACERS)))
    write_atomic(out / "race.png", lambda path: figure.savefig(path, format="png"))
    means = race_means(rows)
    minutes = (means["images"] / means.index.get_level_values("minutes")).groupby("contender", sort=False).last()
    floors = rows.assign(classes=rows["contender"].map(RACERS)).groupby(["classes", "extractor", "metric"], sort=False)
    parts = [
        "# Quality per minute",
        f"`ganlab bench --race MINUTES --contenders ... --seeds ...`. Means over the seeds. {SAMPLES} samples of the "
        f"averaged generator, or of the generator where there is no average, against the first {SAMPLES} training "
        "images; `efficientnet_lite0` takes 2,500 of the samples against 2,500 images; precision and the others stand "
        "against half of the images. Minutes are converted to images at the rate in bench.json.",
        markdown(minutes.round().astype(int).rename("images a minute").reset_index()),
    ]
    for judge in JUDGES:
        parts += [f"## {judge}", markdown(_shown(rows, judge), digits=4)]
    parts += ["What `fast` is held to on one class:", markdown(race_bars(means), digits=3)]
    parts += ["Floors, real images in the place of generated ones:"]
    parts += [markdown(floors["floor"].first().unstack()[list(METRICS)].reset_index())]
    report = "\n\n".join(parts)
    write_atomic(out / "race.md", lambda path: path.write_text(report + "\n"))
    return out / "race.md"
