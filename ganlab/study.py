"""A study: a table of runs, each one execution of ``experiment.ipynb``, on a Dask cluster; resumable at any moment.

What is done is read from the runs' folders alone: a study that was killed goes on with the same command, repeats
nothing that was finished and resumes what was half done.
"""

import contextlib
import datetime
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import yaml

from ganlab import GanlabError
from ganlab.config import NULL, Config, ConfigError, unknown
from ganlab.notebooks import BATCH, execute, project_root
from ganlab.runs import Run, write_atomic

if TYPE_CHECKING:
    from distributed import Client

STUDIES = Path(__file__).parent / "studies"
NULL_LATENTS = 1_000_000  # added to the seed, for the null's latents
TICK_SECONDS = 5.0  # between two looks at the runs under way
ATTEMPTS = 2  # at a run, the second from its last checkpoint
SETTLED = 4  # runs ended, from which on the time left goes by what they took here
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
    """The study of that name in ganlab/studies, or of a YAML file; its runs lie under ``root`` (results/<name>).

    Cells keep their order; within a cell all priors of a seed come before the next seed, so that a study that is broken
    off is balanced; with ``seeds_first`` all cells of a seed do. Raises ``StudyError`` for a file that is no study,
    ``ConfigError`` for a config that cannot be.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{name}.yaml"
    if not path.exists():
        raise unknown(
            "study", name, [*sorted(path.stem for path in STUDIES.glob("*.yaml")), "the path of a .yaml file"]
        )
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


# --- one run, on a worker -------------------------------------------------------------------------------------------


def perform(root: str, path: str, config: dict[str, Any], threads: int, devices: int = 0) -> str | None:
    """Executes the experiment notebook for one run; returns None, or the traceback after ``ATTEMPTS`` failures.

    root: the checkout, the same path on every worker. threads: of the kernel that trains. devices: GPUs that the
    workers share, one each.
    """
    os.chdir(root)
    _take_device(devices)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ[BATCH] = "1"  # for good: another thread of this worker may be executing too
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)  # Dask sets it for its workers: it slows a training down
    named = ("preset", "dataset", "classes", "prior", "arm", "latent_dim", "epochs", "seed")
    parameters = {key: config[key] for key in named}
    usual = Config.from_preset(config["preset"]).to_dict()
    changed = {key: value for key, value in config.items() if key not in named and value != usual[key]}
    parameters |= {"out": path, "settings": changed}
    said = None
    for _ in range(ATTEMPTS):
        try:
            _wait_for(Run(path))
            execute("experiment", Path(path) / "experiment.ipynb", parameters, quiet=True)
        except Exception:
            said = traceback.format_exc()
        else:
            Path(path, FAILED).unlink(missing_ok=True)
            return None
    _record_failure(Path(path), said)
    return said


def _take_device(devices: int) -> None:
    """Of several GPUs a worker's kernels see the one that has the worker's number."""
    if devices > 1:
        from distributed import get_worker

        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(devices)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(get_worker().name) % len(visible)]


def _wait_for(run: Run, seconds: float = 60.0) -> None:
    """The kernel of a worker that was lost may still hold the folder: it dies by itself within seconds."""
    until = time.monotonic() + seconds
    while run.is_locked and time.monotonic() < until:
        time.sleep(0.5)


# --- all runs, on a cluster -----------------------------------------------------------------------------------------


def run(
    study: Study, scheduler: str = "", workers: int = 0, retry_failed: bool = False
) -> Iterator[tuple[Planned, str]]:
    """Runs what is not done, and yields each run with its state as it ends, or in between one that is ``running``; the
    study's folder is locked meanwhile.

    scheduler: the address of a Dask scheduler, as tcp://host:8786; without one a cluster is started here, ``workers``
    processes of one thread (0: as many as there are GPUs, else cores). Raises ``StudyError`` if another process has the
    study, if nothing answers at the address, or if the scheduler is lost.
    """
    from distributed.client import FuturesCancelledError
    from distributed.comm import CommClosedError

    checkout = str(project_root())
    study.root.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(study.root / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise StudyError(f"another process is running the study in {study.root}: wait for it, or stop it") from None
    with lock:
        skipped = ("done",) if retry_failed else ("done", "failed")
        waiting = [planned for planned in study.runs if planned.status not in skipped]
        if not waiting:
            return
        with _client(scheduler, workers) as client:
            print(f"Dask dashboard: {client.dashboard_link}", flush=True)
            try:
                yield from _feed(client, checkout, waiting, 0 if scheduler else _gpus())
            except (FuturesCancelledError, CommClosedError):
                raise StudyError(
                    f"the Dask scheduler of {study.root} is gone: start it again, or another, and give the same "
                    "command, which goes on where this one stopped"
                ) from None


@contextlib.contextmanager
def _client(scheduler: str, workers: int) -> Iterator["Client"]:
    """A client of the cluster at the address, or of one started here for as long as it lasts."""
    from distributed import Client, LocalCluster

    if scheduler:
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise StudyError(
                f"no Dask scheduler answers at {scheduler} ({error}): give one as tcp://host:8786"
            ) from None
        with client:
            yield client
        return
    count = worker_count(workers)
    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def worker_count(asked: int) -> int:
    """How many workers a cluster has that is started here: as many as asked for, for 0 one a GPU, or one a core."""
    if asked < 0:
        raise StudyError(f"{asked} workers cannot be: give their number, or 0 for one a GPU, else one a core")
    return asked or _gpus() or os.cpu_count() or 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _feed(client: "Client", root: str, waiting: list[Planned], devices: int) -> Iterator[tuple[Planned, str]]:
    """Keeps every thread of the cluster busy with the first runs that wait: in order, one more when one ends."""
    from distributed import wait

    queue, flying = iter(waiting), {}
    while True:
        slots = max(sum(client.nthreads().values()), 1)
        for planned in itertools.islice(queue, max(slots - len(flying), 0)):
            words = (root, str(planned.path), planned.config.to_dict(), 1, devices)
            flying[client.submit(perform, *words, key=f"{planned.path} {time.time()}", pure=False)] = planned
        if not flying:
            return
        with contextlib.suppress(TimeoutError):
            wait(list(flying), timeout=TICK_SECONDS, return_when="FIRST_COMPLETED")
        ended = [future for future in flying if future.done()]
        for future in ended:
            planned = flying.pop(future)
            if future.status != "finished":  # its worker was lost again and again
                _record_failure(planned.path, "".join(traceback.format_exception(future.exception())))
            yield planned, planned.status
        if not ended:
            yield next(iter(flying.values())), "running"


def _record_failure(path: Path, said: str) -> None:
    about = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "traceback": said}
    write_atomic(path / FAILED, lambda file: file.write_text(json.dumps(about, indent=2) + "\n"))


# --- for people -----------------------------------------------------------------------------------------------------


def describe(counts: dict[str, Any], workers: int = 0, pace: float = 0.0) -> str:
    """One line of what ``status`` counted, with the time left for so many workers (``worker_count``), or at a pace: the
    seconds that a second of one worker has taken so far."""
    words = [
        f"{counts[state]} {state}" for state in ("done", "running", "half done", "left", "failed") if counts[state]
    ]
    line = f"{', '.join(words)} of {counts['all']}"
    if counts["seconds_left"]:
        here = worker_count(workers)
        left = datetime.timedelta(seconds=round(counts["seconds_left"] * (pace or 1 / here)))
        line += f"; about {left} left " + ("at this pace" if pace else f"with {here} worker{'s' * (here > 1)}")
    return line


def follow(study: Study, scheduler: str = "", workers: int = 0, retry_failed: bool = False) -> None:
    """Runs a study to its end: a line for every run that ends, and in a terminal one more that says how far it is."""
    from tqdm import tqdm

    print(f"{study.root}: {describe(status(study), workers)}", flush=True)
    started, took = time.monotonic(), []
    with tqdm(bar_format="{desc}", disable=not sys.stderr.isatty(), leave=False) as line:
        for planned, state in run(study, scheduler, workers, retry_failed):
            passed = time.monotonic() - started
            if state == "done":
                took.append(_seconds(Run(planned.path)))
            said = describe(status(study), workers, passed / sum(took) if len(took) >= SETTLED else 0.0)
            if state != "running":
                line.write(f"{state}: {planned.path}; {said}", file=sys.stdout)
                sys.stdout.flush()
            line.set_description_str(f"{said}; {passed:.0f} s")
    print(f"{study.root}: {describe(status(study))}; this took {time.monotonic() - started:.0f} s", flush=True)
