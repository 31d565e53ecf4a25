"""Running a study on a Dask cluster, one thread a worker; resumable at any moment."""

import collections
import contextlib
import datetime
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from ganlab.config import Config
from ganlab.run import Run
from ganlab.study import jobs
from ganlab.study.plan import STATES, Planned, Study, StudyError, seconds, status

if TYPE_CHECKING:
    from distributed import Client

ANSWER_SECONDS = 10  # that a scheduler elsewhere gets to answer
TICK_SECONDS = 5.0  # between two looks at the runs under way
CLAIM_SECONDS = 60.0  # to wait for a run that a lost worker may still have
MOST_WORKERS = 1024  # processes started here
SETTLED = 4  # after so many runs the time left is computed from their own pace
# of the workers started here: one thread each, and not Dask's MALLOC_TRIM_THRESHOLD_, which slows a training down
ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}


# --- one run, on a worker -------------------------------------------------------------------------------------------


def perform(root: str, path: str, config: dict[str, Any], devices: int = 0, retry_failed: bool = False) -> str | None:
    """Trains one run on a thread of its own; returns None, or why it failed.

    root: the folder that relative paths start from, the same on every worker. devices: GPUs that the workers share.
    """
    import torch

    os.chdir(root)
    torch.set_num_threads(1)
    if devices > 1:
        from distributed import get_worker

        torch.cuda.set_device(int(get_worker().name) % devices)  # the GPU with the worker's number
    with jobs.claim(Path(path), CLAIM_SECONDS) as mine:
        if not mine:
            return f"another process has {path}"
        return jobs.perform(Path(path), Config.from_dict(config), retry_failed)


# --- all runs, on a cluster -----------------------------------------------------------------------------------------


def run(
    study: Study, scheduler: str = "", workers: int = 0, retry_failed: bool = False, condition: str = ""
) -> Iterator[tuple[Planned, str]]:
    """Runs what is not done, and yields each run with its state as it ends, or in between one that is ``running``; the
    study's folder is locked meanwhile.

    scheduler: the address of a Dask scheduler, as tls://host:8786; without one a cluster is started here, ``workers``
    processes of one thread (0: as many as there are GPUs, else cores). Raises ``StudyError`` if another process has the
    study, if nothing answers at the address, or if the scheduler is lost.
    """
    from distributed.client import FuturesCancelledError

    study.root.mkdir(parents=True, exist_ok=True)
    try:
        lock = filelock.FileLock(study.root / ".lock").acquire(timeout=0)
    except filelock.Timeout:
        raise StudyError(f"another process is running the study in {study.root}: wait for it, or stop it") from None
    with lock:
        skipped = ("done",) if retry_failed else ("done", "failed")
        waiting = [planned for planned in study.of(condition) if planned.status not in skipped]
        if not waiting:
            return
        with _client(scheduler, workers) as client:
            print(f"Dask dashboard: {client.dashboard_link}", flush=True)
            try:
                yield from _feed(client, waiting, 0 if scheduler else _gpus(), retry_failed)
            except (FuturesCancelledError, OSError):  # connections that break or cannot be made again
                raise StudyError(
                    f"the Dask scheduler of {study.root} is gone: start it again, or another, and give the same "
                    "command, which goes on where this one stopped"
                ) from None


@contextlib.contextmanager
def _client(scheduler: str, workers: int) -> Iterator["Client"]:
    """A client of the cluster at the address, or of one started here for as long as it lasts. Loopback is no wall
    between the users of a machine, so that one speaks TLS with certificates that nobody else has."""
    import dask
    from distributed import Client, LocalCluster
    from distributed.security import Security

    if scheduler:
        try:
            client = Client(scheduler, timeout=ANSWER_SECONDS)
        except (OSError, ValueError) as error:
            raise StudyError(
                f"no Dask scheduler answers at {scheduler} ({error}): give one as tls://host:8786"
            ) from None
        with client:
            yield client
        return
    security = Security.temporary()
    logging.getLogger("distributed.nanny").setLevel(logging.ERROR)  # it warns when workers stop slowly
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT}),
        LocalCluster(
            n_workers=worker_count(workers), threads_per_worker=1, memory_limit=0, host="127.0.0.1",
            protocol="tls://", security=security, dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, security=security) as client,
    ):  # fmt: skip
        yield client


def worker_count(asked: int) -> int:
    """How many workers a cluster has that is started here: as many as asked for, for 0 one a GPU, or one a core."""
    if not 0 <= asked <= MOST_WORKERS:
        raise StudyError(
            f"{asked} workers cannot be: give 1 to {MOST_WORKERS:,}, or 0 for as many as there are GPUs, else cores"
        )
    return asked or _gpus() or os.cpu_count() or 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _feed(
    client: "Client", waiting: list[Planned], devices: int, retry_failed: bool
) -> Iterator[tuple[Planned, str]]:
    """Keeps every thread of the cluster busy with the first runs that wait: in order, one more when one ends. A run
    whose workers were lost again and again goes on as long as its checkpoint moves in between; one that another process
    has is asked for again after the others."""
    from distributed import wait

    queue, flying, reached = collections.deque((planned, retry_failed) for planned in waiting), {}, {}

    def submit(planned: Planned, again: bool) -> None:
        reached[planned.path] = jobs.progress(planned.path)
        words = (os.getcwd(), str(planned.path), planned.config.to_dict(), devices, again)
        flying[client.submit(perform, *words, key=f"{planned.path} {time.time()}", pure=False)] = planned

    while True:
        slots = max(sum(client.nthreads().values()), 1)
        while queue and len(flying) < slots:
            submit(*queue.popleft())
        if not flying:
            return
        with contextlib.suppress(TimeoutError):
            wait(list(flying), timeout=TICK_SECONDS, return_when="FIRST_COMPLETED")
        ended = [future for future in flying if future.done()]
        for future in ended:
            planned = flying.pop(future)
            error = future.exception() if future.status != "finished" else None
            if isinstance(error, jobs.NOT_THE_RUNS):
                raise error
            if error:  # its workers were lost
                if jobs.progress(planned.path) != reached[planned.path]:
                    submit(planned, False)
                    continue
                jobs.record_failure(planned.path, "".join(traceback.format_exception(error)))
            if planned.status in ("done", "failed"):
                yield planned, planned.status
            else:
                queue.append((planned, False))
        if not ended:
            yield next(iter(flying.values())), "running"


# --- for people -----------------------------------------------------------------------------------------------------


def describe(counts: dict[str, Any], workers: int = 0, pace: float = 0.0) -> str:
    """One line of what ``status`` counted, with the time left for so many workers (``worker_count``). pace: wall-clock
    seconds that one second of training has taken so far."""
    line = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) + f" of {counts['all']}"
    if counts["seconds_left"]:
        here = worker_count(workers)
        left = datetime.timedelta(seconds=round(counts["seconds_left"] * (pace or 1 / here)))
        line += f"; about {left} left " + ("at this pace" if pace else f"with {here} worker{'s' * (here > 1)}")
    return line


def follow(
    study: Study, scheduler: str = "", workers: int = 0, retry_failed: bool = False, condition: str = ""
) -> None:
    """Runs a study to its end: a line for every run that ends, and in a terminal one more that says how far it is."""
    from tqdm import tqdm

    print(f"{study.root}: {describe(status(study, condition), workers)}", flush=True)
    started, took = time.monotonic(), []
    with tqdm(bar_format="{desc}", disable=not sys.stderr.isatty(), leave=False) as line:
        for planned, state in run(study, scheduler, workers, retry_failed, condition):
            passed = time.monotonic() - started
            if state == "done":
                took.append(seconds(Run(planned.path)))
            counts = status(study, condition)
            said = describe(counts, workers, passed / sum(took) if len(took) >= SETTLED else 0.0)
            if state != "running":
                line.write(f"{state}: {planned.path}; {said}", file=sys.stdout)
                sys.stdout.flush()
            line.set_description_str(f"{said}; {passed:.0f} s")
    passed = time.monotonic() - started
    print(f"{study.root}: {describe(status(study, condition))}; this took {passed:.0f} s", flush=True)
