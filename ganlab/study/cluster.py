"""Running a study on a Dask cluster, each run an execution of ``experiment.ipynb``; resumable at any moment."""

import contextlib
import datetime
import itertools
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from ganlab.config import Config
from ganlab.files import write_atomic
from ganlab.notebooks import BATCH, execute, project_root
from ganlab.run import Run

if TYPE_CHECKING:
    from distributed import Client
from ganlab.study.plan import FAILED, Planned, Study, StudyError, _seconds, status

TICK_SECONDS = 5.0  # between two looks at the runs under way
ATTEMPTS = 2  # at a run, the second from its last checkpoint
SETTLED = 4  # runs ended, from which on the time left goes by what they took here


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
