"""A study's plan: a YAML file becomes a table of runs, and what is done is read from the runs' folders alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ganlab.config import NULL, Config
from ganlab.errors import ConfigError, GanlabError, unknown
from ganlab.run import Run

if TYPE_CHECKING:
    pass


PLANS = Path(__file__).with_name("plans")
NULL_LATENTS = 1_000_000  # added to the seed, for the null's latents
FAILED = "failed.json"


class StudyError(GanlabError):
    """A study that cannot be read or run as asked."""


@dataclass(frozen=True)
class Planned:
    """One run of a study. prior: as the tables call it, ``gaussian-null`` included. path: its folder."""

    cell: str
    prior: str
    seed: int
    config: Config
    path: Path

    @property
    def status(self) -> str:
        """``done`` (its metrics are there: of many committed runs the generator is not), ``failed``, ``running``,
        ``half done`` or ``left``. Raises ``StudyError`` if the folder holds a run of other settings."""
        run = Run(self.path)
        if (self.path / "config.json").exists() and (differs := self.config.differences(run.config)):
            raise StudyError(
                f"{self.path} holds another run ({'; '.join(differs)}): start in a new folder with FRESH=1 or --out"
            )
        if run.finished_epochs == self.config.epochs:
            return "done"
        if (self.path / FAILED).exists():
            return "failed"
        if run.is_locked:
            return "running"
        return "half done" if run.checkpoint_path.exists() else "left"


@dataclass(frozen=True)
class Study:
    """runs: in the order they are run. references: for a cell without Gaussian runs, the cell whose it uses.
    notebooks: those that report it, the first of which gives the answer."""

    name: str
    root: Path
    runs: list[Planned]
    references: dict[str, str]
    notebooks: tuple[str, ...] = ("noise_study",)

    @property
    def report(self) -> Path:
        """Where the executed notebook with the answer lies."""
        return self.root / f"{self.notebooks[0]}.ipynb"

    @property
    def is_reported(self) -> bool:
        """The executed notebook is there, and no run has ended since."""
        ends = (planned.path / name for planned in self.runs for name in ("metrics.json", FAILED))
        last = max((path.stat().st_mtime for path in ends if path.exists()), default=0.0)
        return self.report.exists() and self.report.stat().st_mtime > last


# --- the plan -------------------------------------------------------------------------------------------------------


def read(name: str, root: str | Path = "") -> Study:
    """The study of that name in ganlab/study/plans, or of a YAML file; its runs lie under ``root`` (results/<name>).

    Cells keep their order; within a cell all priors of a seed come before the next seed, so that a study that is broken
    off is balanced; with ``seeds_first`` all cells of a seed do. Raises ``StudyError`` for a file that is no study,
    ``ConfigError`` for a config that cannot be.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PLANS / f"{name}.yaml"
    if not path.exists():
        raise unknown("study", name, [*sorted(path.stem for path in PLANS.glob("*.yaml")), "the path of a .yaml file"])
    try:
        plan = yaml.safe_load(path.read_text())
        cells = [
            (str(cell["name"]), list(cell["priors"]), list(cell["seeds"]), {**(cell.get("settings") or {})}, cell)
            for cell in plan["cells"]
        ]
        shared = {**(plan.get("settings") or {})}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, OSError, UnicodeDecodeError) as error:
        raise StudyError(
            f"{path} is no study ({error!r}): it takes 'cells', each with a name, a list of priors and one of seeds, "
            "and 'settings' of all or of a cell"
        ) from None
    root = Path(root or Path("results") / path.stem)
    runs = []
    for cell, priors, seeds, settings, about in cells:
        for seed in seeds:
            for prior in [*priors, *([NULL] if about.get("with_null") else [])]:
                runs.append(_planned(root, cell, prior, seed, {**shared, **settings}))
    if plan.get("seeds_first"):
        runs.sort(key=lambda run: run.seed)
    if len({run.path for run in runs}) < len(runs):
        raise StudyError(f"{path} names a cell, a prior or a seed twice: name each once")
    names = [cell for cell, *_ in cells]
    references = {cell: str(about["reference"]) for cell, *_, about in cells if about.get("reference")}
    for name in references.values():
        if name not in names:
            raise unknown("reference", name, names)
    return Study(path.stem, root, runs, references, tuple(plan.get("notebooks", ["noise_study"])))


def _planned(root: Path, cell: str, prior: str, seed: int, settings: dict[str, Any]) -> Planned:
    latents = {"prior": "gaussian", "latent_seed": NULL_LATENTS + seed} if prior == NULL else {"prior": prior}
    try:
        config = Config.from_preset(**{**settings, **latents, "seed": seed})
    except TypeError as error:
        raise ConfigError(f"cell {cell}: {error}") from None
    return Planned(cell, prior, seed, config, root / cell / f"{prior}-s{seed}")


def status(study: Study) -> dict[str, Any]:
    """How many runs are in each state, and ``seconds_left``: the mean of the cell's finished runs for each that is not
    done, on one worker; None until a run is finished."""
    states = {run.path: run.status for run in study.runs}
    counts = {state: list(states.values()).count(state) for state in ("done", "running", "half done", "left", "failed")}
    taken: dict[str, list[float]] = {}
    for run in study.runs:
        if states[run.path] == "done":
            taken.setdefault(run.cell, []).append(_seconds(Run(run.path)))
    every = [seconds for cell in taken.values() for seconds in cell]
    left = [run for run in study.runs if states[run.path] in ("running", "half done", "left")]
    means = [sum(taken.get(run.cell, every)) / len(taken.get(run.cell, every)) for run in left if every]
    return {**counts, "all": len(study.runs), "seconds_left": sum(means) if every else None}


def _seconds(run: Run) -> float:
    metrics = run.metrics
    return metrics["training_seconds"] + metrics["scoring_seconds"]
