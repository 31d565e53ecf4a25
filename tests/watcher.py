"""Loaded by the Dask scheduler and the workers of ``test_hosts``: a line in $WATCHED/log for whatever happens there.

A training waits after its checkpoints of steps 20 and 40 until a file <run>-<step> lies in $WATCHED.
"""

import os
import time
from pathlib import Path

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

FOLDER = Path(os.environ["WATCHED"])
GATES = (20, 40)
PATIENCE = 300.0


def note(*words: object) -> None:
    with open(FOLDER / "log", "a") as log:
        log.write(" ".join(map(str, words)) + "\n")


class Watcher(SchedulerPlugin):
    """Notes who joins and who is lost, by name."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def add_worker(self, scheduler, worker: str) -> None:
        self.names[worker] = scheduler.workers[worker].name
        note("joined", self.names[worker])

    def remove_worker(self, scheduler, worker: str, **about) -> None:
        note("lost", self.names[worker])


def dask_setup(node) -> None:
    if isinstance(node, Scheduler):
        node.add_plugin(Watcher())
        return
    from ganlab.run import Run
    from ganlab.study import cluster

    cluster.CLAIM_SECONDS = 1.0
    write = Run.write_checkpoint

    def watched(run: Run, state: dict) -> None:
        write(run, state)
        step, until = state["counters"]["step"], time.monotonic() + PATIENCE
        note("checkpoint", run.path.name, node.name, os.getpid(), step)
        while step in GATES and not (FOLDER / f"{run.path.name}-{step}").exists():
            assert time.monotonic() < until, "waited in vain"
            time.sleep(0.02)

    Run.write_checkpoint = watched
