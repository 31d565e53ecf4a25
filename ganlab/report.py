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
from ganlab.runs import Run, write_atomic

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
    metrics = run.metrics
    work = f"{metrics['images_seen']:,} images in {metrics['training_seconds'] / 60:.0f} minutes of training"
    table = pd.DataFrame(metrics.get("evaluation") or [])
    if table.empty and (run.path / "evaluation.csv").exists():
        table = pd.read_csv(run.path / "evaluation.csv")
    return f"{work}. {finding(table)}" if len(table) else f"{work}, not scored."


def finding(table: pd.DataFrame) -> str:
    """Distance, precision and recall of an evaluation, each beside what real images score in their place."""
    rows = table[table["split"] == "train"]
    rows = rows.assign(name=rows["metric"].str.split("_").str[0]).drop_duplicates("name").set_index("name")
    names = {"fid": "FID", "fd": "Frechet distance", "precision": "precision", "recall": "recall"}
    scores = [
        f"{words} **{rows.value[name]:.3g}** (real images {rows.floor[name]:.3g})"
        for name, words in names.items() if name in rows.index
    ]  # fmt: skip
    about = rows.loc["fid" if "fid" in rows.index else "fd"]
    return (
        f"{', '.join(scores)}; the lower the distance the better, precision is quality, recall diversity. In the "
        f"features of `{about.extractor}`, {int(about.generated):,} generated against {int(about.reference):,} "
        "training images."
    )


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
    words = [f"CLASS={'+'.join(config.classes)}" if len(config.classes) == 1 else f'CLASS="{" ".join(config.classes)}"']
    words += [f"{name.upper()}={getattr(config, name)}" for name in ("preset", "prior", "epochs", "seed")]
    return f"make experiment {' '.join(words)}"


def studies(root: Path) -> Iterator[Result]:
    """The noise study, as far as it is."""
    from ganlab import findings, study

    for path in sorted(root.glob("noise-study*/summary.csv")):
        plan = study.read("noise-study", path.parent)
        table = findings.runs_table(plan)
        done = [planned for planned in plan.runs if planned.status == "done"]
        last = max((Run(planned.path).metrics["provenance"] for planned in done), key=lambda about: about["date"])
        yield Result(
            f"the noise study, {len(done)} of {len(plan.runs)} runs",
            path.parent / "noise_study.ipynb",
            path.parent / "figures" / "verdict.png",
            findings.answer(table, findings.summary(table, plan), plan),
            "make noise-study",
            last,
        )


def presets(root: Path) -> Iterator[Result]:
    """The presets side by side, as far as their runs are."""
    from ganlab import comparison, study

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
        f"{bars['same networks / plain']:.2g} times as fast in ganlab as in plain PyTorch.",
        "make bench",
        record["provenance"],
    )
    race = path.with_name("race.csv")
    if race.exists():
        yield Result(
            "quality per minute", race.with_suffix(".md"), race.with_suffix(".png"), race_finding(pd.read_csv(race)),
            "ganlab bench --race 20", record["provenance"],
        )  # fmt: skip


def race_finding(rows: pd.DataFrame) -> str:
    """Plain PyTorch against the default preset at the last minute that both reached."""
    means = rows.groupby(["contender", "minutes"])["fd_cifar_resnet"].mean().unstack(0)
    both = means[["plain", "fast"]].dropna()
    last = both.index.max()
    a, b = both.loc[last, "fast"], both.loc[last, "plain"]
    return f"After {last:g} minutes on one class the Frechet distance is {a:.3g} with `fast`, {b:.3g} in plain PyTorch."


def classifications(root: Path) -> Iterator[Result]:
    """What synthetic images do for a classifier, for every run that was asked."""
    from ganlab import cas

    for path in sorted(root.rglob("classification.json")):
        run, record = Run(path.parent), json.loads(path.read_text())
        yield Result(
            "does synthetic data help a classifier?",
            path.with_suffix(".md"),
            run.path / "figures" / "classification.png",
            " ".join(cas.findings(cas.summary(cas.read_rows(run)))),
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
