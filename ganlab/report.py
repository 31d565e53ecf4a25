"""results/README.md: the main results, each with its picture, numbers, command, date and hardware.

Nothing here is typed by hand: each row is read from what the command left. A number stands as "name: value (floor or
interval)".
"""

import datetime
import html
import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from ganlab import figures
from ganlab.bench.race import JUDGES, race_bars, race_means
from ganlab.config import command
from ganlab.files import tile, write_atomic, write_png
from ganlab.latents import sample
from ganlab.machine import provenance
from ganlab.run import Run
from ganlab.scoring import augmentation
from ganlab.scoring.metrics import mean_interval, shown_interval, shown_name

PICTURE_WIDTH = 220
SHOWN = ("fd", "precision", "recall")  # of an evaluation


@dataclass(frozen=True)
class Result:
    """A row of the index. link, picture: paths from the project root. numbers: a line each. provenance: as
    ``machine.provenance`` leaves it."""

    title: str
    link: Path
    picture: Path | None
    numbers: list[str]
    command: str
    provenance: dict[str, Any]


# --- numbers, a line each -------------------------------------------------------------------------------------------


def run_numbers(run: Run) -> list[str]:
    """What a finished run reached, for how much work."""
    metrics, evaluated = run.metrics, run.path / "evaluation.csv"
    work = f"{metrics['images_seen']:,} images, {metrics['training_seconds'] / 60:.0f} minutes of training"
    table = pd.read_csv(evaluated) if evaluated.exists() else pd.DataFrame(metrics.get("evaluation") or [])
    return [work, *evaluation_numbers(table)]


def evaluation_numbers(table: pd.DataFrame) -> list[str]:
    """Distance, precision and recall against the training images, each with its floor, for every extractor."""
    if table.empty:
        return []
    rows = table[table["metric"].isin(SHOWN) & (table["split"] == "train")].drop_duplicates(["extractor", "metric"])
    if "trained_against" in rows:
        rows = rows.sort_values("trained_against", kind="stable")
    return [
        f"{shown_name(row.metric, row.extractor)}: {row.value:.3g} (real images {row.floor:.3g})"
        + ", trained against" * bool(getattr(row, "trained_against", False))
        for row in rows.itertuples()
    ]


def copying(table: pd.DataFrame) -> str:
    """Are the images copies of training images? ``no: ...``, judged by the extractor that saw the most training images;
    of several, by the last that D was not trained against (through kin of D's eyes copies look nearer than they are).

    The distance to the nearest one stands beside that of real test images: under 0.7 of it says yes, under 0.9 perhaps.
    """
    rows = table[table["metric"] == "nearest_train"]
    if rows.empty:
        return "unknown: there are no held-out images to compare with"
    independent = ~rows.get("trained_against", pd.Series(False, rows.index)).astype(bool)
    row = rows.assign(independent=independent).sort_values(["reference", "independent"], kind="stable").iloc[-1]
    twice = table.loc[table["metric"] == "duplicate_rate", "value"].max()
    share = row["value"] / row["floor"]
    verdict = "yes" if share < 0.7 else "perhaps" if share < 0.9 else "no"
    near = (
        f"{row['value']:.3g} to the nearest of {row['reference']:,} training images (real test images "
        f"{row['floor']:.3g}; {row['extractor']})"
    )
    return f"{verdict}: {near}; {100 * twice:.2g} % drawn twice"


# --- the kinds of results -------------------------------------------------------------------------------------------


def runs(root: Path) -> Iterator[Result]:
    """The main experiment's runs."""
    for path in sorted(root.glob("main/*/metrics.json")):
        run = Run(path.parent)
        config, grids = run.config, run.grids()
        yield Result(
            f"{', '.join(config.classes) or 'all classes'}: `{config.preset}`, {config.prior}, {config.resolution} px",
            run.path / "experiment.ipynb",
            grids[max(grids)] if grids else run.path / "figures" / "sixteen.png",
            run_numbers(run),
            command(config, run.path, "experiment"),
            run.metrics["provenance"],
        )


def studies(root: Path) -> Iterator[Result]:
    """The noise study, as far as it is: what each condition found, by each judge."""
    from ganlab.study import pages, tables
    from ganlab.study.plan import read

    for path in sorted(root.glob("noise-study*/verdicts.csv")):
        plan, found = read("noise-study", path.parent), tables.read_csv(path)
        done = [planned.path for planned in plan.runs if planned.status == "done"]
        if not done:
            continue
        summary = pages.summary(tables.read_csv(path.with_name("runs.csv")), found, plan)
        yield Result(
            f"the noise study, {len(done)} of {len(plan.runs)} runs",
            path.parent / "noise_study.ipynb",
            path.parent / "figures" / "primary.png",
            [
                f"{row['condition']} by {judge}: {row[judge]}"
                for row in summary.to_dict("records")
                for judge in plan.judges
                if row[judge] not in ("", pages.KIN_WORDS)
            ],
            "make noise-study",
            _newest(done),
        )


def presets(root: Path) -> Iterator[Result]:
    """The presets, a long run each, as far as they are trained."""
    from ganlab.study.plan import read

    for path in sorted(root.glob("presets*/about.csv")):
        plan, about = read("presets", path.parent), pd.read_csv(path)
        trained = [planned.path for planned in plan.shown if planned.status == "done"]
        if not trained:
            continue
        yield Result(
            f"{len(trained)} of {len(plan.shown)} recipes trained, Frechet distance ({plan.judges[0]})",
            path.parent / "presets.ipynb",
            trained[0] / "figures" / "snapshots.png",
            [
                f"{row.condition}: {row.distance:.3g} (real images {row.real:.3g})"
                for row in about.rename(columns={"real images": "real"}).dropna(subset="distance").itertuples()
            ],
            "make presets",
            _newest(trained),
        )


def _newest(paths: list[Path]) -> dict[str, Any]:
    """The provenance of the run that was finished last."""
    return max((Run(path).metrics["provenance"] for path in paths), key=lambda about: about["date"])


def benches(root: Path) -> Iterator[Result]:
    """Throughput, and quality per minute."""
    path = root / "bench" / "bench.json"
    if not path.exists():
        return
    record = json.loads(path.read_text())
    met = [bar["met"] for bar in record["bars"]]
    numbers = _bars(record["bars"])
    title = f"throughput, {sum(met)} of {len(met)} bars met"
    yield Result(title, path.with_name("bench.md"), None, numbers, "make bench", record["provenance"])
    race = path.with_name("race.csv")
    if race.exists():
        rows = pd.read_csv(race)
        fd = rows[(rows["metric"] == "fd") & (rows["extractor"] == JUDGES[0])]
        last = fd.groupby(["contender", "seed"], sort=False).tail(1).groupby(["contender", "minutes"], sort=False)
        numbers = [
            f"{name}, {minutes:g} minutes: {shown_interval(*mean_interval(at['value']))}"
            for (name, minutes), at in last
        ]
        runs = rows.groupby(["contender", "seed"], sort=False)["minutes"].max().reset_index()
        words = "; ".join(
            shlex.join(
                ["ganlab", "bench", "--race", f"{minutes:g}", "--contenders", contender, "--seeds"]
                + [str(seed) for seed in sorted(asked["seed"])]
            )
            for (contender, minutes), asked in runs.groupby(["contender", "minutes"], sort=False)
        )
        about = json.loads((path.parent / "race" / "about.json").read_text())
        bars = race_bars(race_means(rows)).to_dict("records")
        numbers += _bars(bars)
        met = f"{sum(bar['met'] for bar in bars)} of {len(bars)} bars met"
        title = f"quality per minute, Frechet distance ({JUDGES[0]}), {met}"
        yield Result(title, race.with_suffix(".md"), race.with_suffix(".png"), numbers, words, about)


def _bars(bars: list[dict[str, Any]]) -> list[str]:
    """``figure: measured (at least what was wanted)``, a line a bar."""
    return [f"{bar['figure']}: {bar['measured']:.3g} ({bar['bar']} {bar['wanted']:g})" for bar in bars]


def classifications(root: Path) -> Iterator[Result]:
    """What synthetic images do for a classifier, for every run that was asked."""
    for path in sorted(root.rglob("classification.json")):
        run = Run(path.parent)
        record, table = run.read_json(path.name), augmentation.summary(augmentation.read_rows(run))
        yield Result(
            "does synthetic data help a classifier?",
            path.with_suffix(".md"),
            run.path / "figures" / "classification.png",
            [
                f"{row.real} real images a class: {row.verdict} ({100 * row.difference_low:+.1f} to "
                f"{100 * row.difference_high:+.1f} points)"
                for row in table[table["pairs"] > 0].itertuples()
            ],
            record["command"],
            record["provenance"],
        )


def page(root: Path, name: str, title: str, words: str, picture: str = "") -> Iterator[Result]:
    """An executed notebook that belongs to no run; words: the command that makes it."""
    path = root / name / f"{name}.ipynb"
    if path.exists():
        about = json.loads(path.with_name("about.json").read_text())
        yield Result(title, path, path.with_name(picture) if picture else None, [], words, about)


KINDS: dict[str, Callable[[Path], Iterator[Result]]] = {
    "The noise study": studies,
    "The tutorial": partial(page, name="tutorial", title="a GAN, step by step", words="make tutorial"),
    "The main experiment": runs,
    "The presets": presets,
    "Data augmentation": classifications,
    "The explorer": partial(
        page, name="explorer", title="the explorer, in stills", words="make report", picture="lab.png"
    ),
    "Speed": benches,
}


# --- the pages ------------------------------------------------------------------------------------------------------


def write_index(root: Path = Path("results")) -> Path:
    """Writes ``root``/README.md from what lies under ``root``."""
    parts = ["# Results", "The main results, each with the command that made it. Made by `make report`."]
    for heading, kind in KINDS.items():
        rows = [_row(result, root) for result in kind(root)]
        if rows:
            parts += [f"## {heading}", "<table>\n" + "\n".join(rows) + "\n</table>"]
    return write_atomic(root / "README.md", lambda path: path.write_text("\n\n".join(parts) + "\n"))


def _row(result: Result, root: Path) -> str:
    """A line of an HTML table whose columns have a fixed width; names from outside are escaped."""

    def link(path: Path) -> str:
        return html.escape(quote(Path(os.path.relpath(path, root)).as_posix()))

    title, picture = html.escape(result.title.replace("`", "")), ""
    if result.picture and result.picture.exists():
        picture = f'<img src="{link(result.picture)}" width="{PICTURE_WIDTH}" alt="{title}">'
    about = result.provenance
    date = datetime.datetime.fromisoformat(about["date"]).date()
    hardware = f"{about['gpu'] or about['cpu']}, {about['threads']} thread{'s' * (about['threads'] > 1)}"
    lines = [
        f'<b><a href="{link(result.link)}">{title}</a></b>',
        *(html.escape(number.replace("`", "")) for number in result.numbers),
        f"<code>{html.escape(result.command)}</code>",
        html.escape(f"{date}, {hardware}"),
    ]
    return f'<tr><td width="{PICTURE_WIDTH + 20}">{picture}</td><td width="640">{"<br>".join(lines)}</td></tr>'


def write_cards(root: Path = Path("results")) -> Path:
    """Writes ``root``/generators.md: a card for every generator that is kept with its scores, and 16 of its images."""
    rows = []
    for path in sorted(root.rglob("generator.safetensors")):
        run, page = Run(path.parent), path.with_name("experiment.ipynb")
        if not (run.path / "metrics.json").exists():
            continue
        config, name = run.config, run.path.relative_to(root)
        picture = root / "generators" / f"{'-'.join(name.parts)}.png"
        write_atomic(picture, lambda file, run=run: write_png(file, tile(sample(run, 16), 4)))
        size = f"{path.stat().st_size / 1e6:.1f} MB; latents: {config.latent_dim} x {config.prior}, {config.scaling}"
        rows.append(Result(
            name.as_posix(), page if page.exists() else run.path / "config.json", picture,
            [f"`{config.preset}`, {', '.join(config.classes) or 'all classes'}", size, *run_numbers(run)],
            command(config, run.path, "train"), run.metrics["provenance"],
        ))  # fmt: skip
    parts = ["# Generators", "A card for each that is kept here. Made by `make report`."]
    parts += ["<table>\n" + "\n".join(_row(row, root) for row in rows) + "\n</table>"]
    return write_atomic(root / "generators.md", lambda path: path.write_text("\n\n".join(parts) + "\n"))


def write_classification(run: Run) -> Path:
    """Writes classification.md, classification.json (command, rows, provenance) and figures/classification.png from the
    rows that are kept in ``run``. Without new rows the date stays what it was."""
    rows, kept = augmentation.read_rows(run), run.path / "classification.json"
    record = run.read_json(kept.name) if kept.exists() else {}
    about = record["provenance"] if record.get("rows") == len(rows) else provenance()
    table = augmentation.summary(rows)
    run.write_figure("classification", figures.classification(table))
    seeds, real = (
        " ".join(str(n) for n in sorted(set(rows[name])) if n or name == "seed") for name in ("seed", "real")
    )
    words = f"ganlab classify --run {shlex.quote(str(run.path))} --real {real} --seeds {seeds}"
    run.write_json("classification.json", {"command": words, "rows": len(rows), "provenance": about})
    percent = ["accuracy", "low", "high", "difference", "difference_low", "difference_high"]
    shown = table.assign(**(100 * table[percent]).round(1))
    parts = [
        "# Does synthetic data help a classifier?",
        f"`{words}`, {about['date'][:10]}, {about['cpu']}, torch {about['versions']['torch']}.",
        "![accuracy over real images](figures/classification.png)",
        shown.astype(object).fillna("").to_markdown(index=False, disable_numparse=True),
        "Per cent of real test images that a small classifier calls right. Neither the classifier nor the generator "
        "learned from these images. Difference: what synthetic images add to the same real ones, in points. Intervals "
        "are Student's 95 % over seeds. A seed decides the real images, the latents and the classifier's initial "
        "weights. The generator learned from all training images of its run: this is what its images are worth, not "
        "what k images alone can give.",
    ]
    return run.write("classification.md", lambda path: path.write_text("\n\n".join(parts) + "\n"))
