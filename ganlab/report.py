"""results/README.md: every committed result with its picture, finding, command, date and hardware.

Nothing here is typed by hand: each row is read from what the command left.
"""

import datetime
import html
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ganlab.config import Config
from ganlab.files import write_atomic
from ganlab.run import Run

PICTURE_WIDTH = 220


@dataclass(frozen=True)
class Result:
    """A row of the index. link, picture: paths from the project root. provenance: as ``runs.provenance`` leaves it."""

    title: str
    link: Path
    picture: Path | None
    finding: str
    command: str
    provenance: dict[str, Any]


# --- findings, in one sentence --------------------------------------------------------------------------------------


def run_finding(run: Run) -> str:
    """What a finished run reached, for how much work."""
    metrics, evaluated = run.metrics, run.path / "evaluation.csv"
    work = f"{metrics['images_seen']:,} images in {metrics['training_seconds'] / 60:.0f} minutes of training"
    table = pd.read_csv(evaluated) if evaluated.exists() else pd.DataFrame(metrics.get("evaluation") or [])
    return f"{work}. {finding(table)}" if len(table) else f"{work}, not scored."


def finding(table: pd.DataFrame) -> str:
    """Distance, precision and recall of an evaluation in every extractor's features, each beside what real images score
    in their place."""
    rows = table[(table["split"] == "train") & (table["extractor"] != "pixels")]
    rows = rows.assign(name=rows["metric"].str.split("_").str[0])
    names = {"fid": "FID", "fd": "Frechet distance", "precision": "precision", "recall": "recall"}
    said = []
    for extractor, found in rows.groupby("extractor", sort=False):
        found = found.drop_duplicates("name").set_index("name")
        scores = [
            f"{words} **{found.value[name]:.3g}** (real images {found.floor[name]:.3g})"
            for name, words in names.items() if name in found.index
        ]  # fmt: skip
        about = found.loc["fid" if "fid" in found.index else "fd"]
        said.append(
            f"In the features of `{extractor}`, {int(about.generated):,} generated against {int(about.reference):,} "
            f"training images: {', '.join(scores)}."
        )
    said.append(
        "The lower the distance the better; precision is the share of generated images near real ones, recall that of "
        "real images near generated ones, by half as many of each."
    )
    return " ".join(said)


# --- the kinds of results -------------------------------------------------------------------------------------------


def runs(root: Path) -> Iterator[Result]:
    """The main experiment's runs."""
    for path in sorted(root.glob("main/*/metrics.json")):
        run = Run(path.parent)
        config = run.config
        grids = run.grids()
        classes = ", ".join(config.classes) or "all classes"
        yield Result(
            f"{classes}: `{config.preset}`, {config.prior}",
            run.path / "experiment.ipynb",
            grids[max(grids)] if grids else None,
            run_finding(run),
            make_command(config),
            run.metrics["provenance"],
        )


def make_command(config: Config) -> str:
    """The ``make experiment`` that trains it."""
    classes = " ".join(config.classes)
    words = [f"CLASS={classes}" if len(config.classes) == 1 else f'CLASS="{classes}"']
    words += [f"{name.upper()}={getattr(config, name)}" for name in ("preset", "prior", "epochs", "seed")]
    return f"make experiment {' '.join(words)}"


def studies(root: Path) -> Iterator[Result]:
    """The noise study, as far as it is."""
    from ganlab import study
    from ganlab.study import tables

    for path in sorted(root.glob("noise-study*/summary.csv")):
        plan = study.read("noise-study", path.parent)
        table = tables.runs_table(plan)
        said = tables.brief(table, tables.summary(table, plan), tables.unpaired(table, plan))
        done = [planned for planned in plan.runs if planned.status == "done"]
        last = max((Run(planned.path).metrics["provenance"] for planned in done), key=lambda about: about["date"])
        yield Result(
            f"the noise study, {len(done)} of {len(plan.runs)} runs",
            path.parent / "noise_study.ipynb",
            path.parent / "figures" / "verdict.png",
            "; ".join(said) + "." if said else "Too few runs yet to compare priors.",
            "make noise-study",
            last,
        )


def presets(root: Path) -> Iterator[Result]:
    """The presets side by side, as far as their runs are."""
    from ganlab import study
    from ganlab.study import comparison

    for path in sorted(root.glob("presets*/equal_minutes.csv")):
        plan = study.read("presets", path.parent)
        done = comparison.done(plan)
        yield Result(
            f"every preset, {len(done)} of {len(plan.runs)} runs",
            path.parent / "presets.ipynb",
            path.parent / "figures" / "race.png",
            comparison.answer(plan, comparison.histories(plan)),
            "make presets",
            max((Run(planned.path).metrics["provenance"] for planned in done), key=lambda about: about["date"]),
        )


def benches(root: Path) -> Iterator[Result]:
    """Throughput, and quality per minute."""
    from ganlab import bench

    path = root / "bench" / "bench.json"
    if not path.exists():
        return
    record = json.loads(path.read_text())
    bars = {bar["figure"]: bar["measured"] for bar in record["bars"]}
    fast = record["contenders"]["fast"]["images_per_second"]
    yield Result(
        "throughput",
        path.with_name("bench.md"),
        None,
        f"The default preset trains {fast:.0f} images a second; the networks of PyTorch's DCGAN example train "
        f"{bars['same networks / plain']:.2g} times as fast in ganlab as in plain PyTorch. "
        f"{sum(bar['met'] for bar in record['bars'])} of {len(bars)} figures that ganlab holds itself to are met.",
        "make bench",
        record["provenance"],
    )
    race = path.with_name("race.csv")
    if race.exists() and {"plain", "fast"} <= set((rows := pd.read_csv(race))["contender"]):
        standing = bench.race_bars(rows.groupby(["contender", "minutes"]).mean())
        missed = ", ".join(f"{bar.figure}: {bar.measured:.2g}, wanted {bar.wanted:g}" for bar in standing.itertuples()
                           if not bar.met)  # fmt: skip
        seeds = " ".join(map(str, sorted(rows.loc[rows["contender"] == "fast", "seed"].unique())))
        yield Result(
            "quality per minute", race.with_suffix(".md"), race.with_suffix(".png"),
            race_finding(rows) + f" Not met: {missed}." * bool(missed),
            f"ganlab bench --race 20 --contenders plain fast --seeds {seeds}",
            json.loads((path.parent / "race" / "about.json").read_text()),
        )  # fmt: skip


def race_finding(rows: pd.DataFrame) -> str:
    """Plain PyTorch against the default preset at the last minute that both reached."""
    means = rows.groupby(["contender", "minutes"])["fd_cifar_resnet"].mean().unstack(0)
    last = means[["plain", "fast"]].dropna().index.max()
    at_last = rows[rows["minutes"] == last].groupby("contender")
    scores = at_last["fd_cifar_resnet"].agg(["mean", "min", "max", "count"])
    a, b = (
        f"{row['mean']:.3g} ({row['min']:.3g} to {row['max']:.3g})"
        for _, row in scores.loc[["fast", "plain"]].iterrows()
    )
    return (
        f"After {last:g} minutes on one class the Frechet distance is {a} with `fast`, {b} in plain PyTorch, real "
        f"images {at_last['fd_floor'].first()['fast']:.2g}: means and range of {scores.loc['fast', 'count']:.0f} "
        "seeds, features of `cifar_resnet`."
    )


def classifications(root: Path) -> Iterator[Result]:
    """What synthetic images do for a classifier, for every run that was asked."""
    from ganlab.scoring import augmentation

    for path in sorted(root.rglob("classification.json")):
        run, record = Run(path.parent), json.loads(path.read_text())
        yield Result(
            "does synthetic data help a classifier?",
            path.with_suffix(".md"),
            run.path / "figures" / "classification.png",
            " ".join(augmentation.findings(augmentation.summary(augmentation.read_rows(run)))),
            record["command"],
            record["provenance"],
        )


def explorer(root: Path) -> Iterator[Result]:
    """The rendered explorer."""
    path = root / "explorer" / "explorer.ipynb"
    if path.exists():
        yield Result(
            "the explorer", path, path.with_name("lab.png"),
            "Sliders over the trained generators: paths between latents, one point of uniforms through seven priors, "
            "the generator's own directions. Stills here, moving in `make lab` or `make explore`.",
            "make report", json.loads(path.with_name("about.json").read_text()),
        )  # fmt: skip


KINDS: dict[str, Callable[[Path], Iterator[Result]]] = {
    "The noise study": studies,
    "The main experiment": runs,
    "The presets": presets,
    "Data augmentation": classifications,
    "The explorer": explorer,
    "Speed": benches,
}


# --- the page -------------------------------------------------------------------------------------------------------


def write_index(root: Path = Path("results")) -> Path:
    """Writes ``root``/README.md from what lies under ``root``."""
    parts = ["# Results", "Every result that is kept here, by the command that made it. Made by `make report`."]
    for heading, kind in KINDS.items():
        rows = [_row(result, root) for result in kind(root)]
        if rows:
            parts += [f"## {heading}", "| | |\n|---|---|\n" + "\n".join(rows)]
    return write_atomic(root / "README.md", lambda path: path.write_text("\n\n".join(parts) + "\n"))


def _row(result: Result, root: Path) -> str:
    def link(path: Path) -> str:
        return os.path.relpath(path, root)

    picture = ""
    if result.picture and result.picture.exists():
        words = html.escape(result.title.replace("`", ""))
        picture = f'<img src="{link(result.picture)}" width="{PICTURE_WIDTH}" alt="{words}">'
    about = result.provenance
    date = datetime.datetime.fromisoformat(about["date"]).date()
    hardware = f"{about['gpu'] or about['cpu']}, {about['threads']} thread{'s' * (about['threads'] > 1)}"
    finding = " ".join(result.finding.split())
    lines = [f"**[{result.title}]({link(result.link)})**", finding, f"`{result.command}`", f"{date}, {hardware}"]
    return f"| {picture} | {'<br>'.join(lines)} |"
