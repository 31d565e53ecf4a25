"""One run at a time, without a cluster: claim a pending run, train it, and say how it ended.

Safe when called many times at once on a shared folder: a run's claim is a lock on a file in its folder, which dies with
its process. A run that dies is tried again from its checkpoint; it fails when it dies twice without a new one.
"""

import contextlib
import datetime
import json
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from ganlab.config import Config
from ganlab.data import DataError
from ganlab.errors import ConfigError
from ganlab.files import FileError, write_atomic
from ganlab.run import Run
from ganlab.scoring.features import FeatureError
from ganlab.scoring.metrics import DegenerateWarning
from ganlab.study.plan import CLAIM, FAILED, Planned, Study

ATTEMPT = "attempt.json"  # where the attempt under way began; gone when the run has ended
DEATHS = 2  # without progress, after which a run has failed
NOT_THE_RUNS = (ConfigError, DataError, FeatureError, FileError)  # mistakes of the plan or of this machine
PATIENCE = 0.5  # seconds to wait for a claim that another process only tests


@contextlib.contextmanager
def claim(path: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Whether this process has the run in that folder, for as long as the block lasts. seconds: to wait for it."""
    path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path / CLAIM)
    with contextlib.suppress(filelock.Timeout):
        lock.acquire(timeout=seconds, poll_interval=0.02)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def next_run(study: Study, condition: str = "", retry_failed: bool = False) -> Planned | None:
    """Claims the first pending run, trains it to its end and returns it; None when nothing is left to claim."""
    pending = [planned for planned in study.of(condition) if is_pending(planned, retry_failed)]
    for seconds in (0.0, PATIENCE):
        for planned in pending:
            with claim(planned.path, seconds) as mine:
                # another process may have ended it since; one without a claim, as ganlab train, may be at it
                if mine and is_pending(planned, retry_failed) and not Run(planned.path).is_locked:
                    perform(planned.path, planned.config, retry_failed)
                    return planned
    return None


def is_pending(planned: Planned, retry_failed: bool = False) -> bool:
    """Whether there is something left to do. Does not touch the run's locks."""
    if Run(planned.path).finished_epochs == planned.config.epochs:
        return False
    return retry_failed or not (planned.path / FAILED).exists()


def perform(path: Path, config: Config, retry_failed: bool = False) -> str | None:
    """Trains a claimed run to its end, from its last checkpoint; returns None, or the last traceback: the run failed,
    or another process has taken it.

    Raises one of ``NOT_THE_RUNS``, which would stop every run here; the run is as if it had not been tried.
    """
    path.mkdir(parents=True, exist_ok=True)
    if retry_failed:
        for name in (FAILED, ATTEMPT):
            (path / name).unlink(missing_ok=True)
    said = "the process died without a word"
    while begin(path):
        try:
            train(path, config)
        except NOT_THE_RUNS:
            (path / ATTEMPT).unlink(missing_ok=True)
            raise
        except Exception:
            said = traceback.format_exc()
            if Run(path).is_locked:
                (path / ATTEMPT).unlink(missing_ok=True)
                return said
        else:
            for name in (FAILED, ATTEMPT):
                (path / name).unlink(missing_ok=True)
            return None
    record_failure(path, said)
    return said


def train(path: Path, config: Config) -> None:
    """The training alone. Raises ``GanlabError`` and whatever else stops it."""
    from ganlab.training.loop import train as events

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)  # the tables flag small samples
        for _ in events(config, Run(path)):
            pass


def begin(path: Path) -> bool:
    """Records an attempt; False after ``DEATHS`` deaths without a newer checkpoint."""
    reached, before = progress(path), _attempt(path)
    deaths = 0 if before is None or before["progress"] != reached else before["deaths"] + 1
    if deaths >= DEATHS:
        return False
    about = {"progress": reached, "deaths": deaths, "date": _now()}
    write_atomic(path / ATTEMPT, lambda file: file.write_text(json.dumps(about) + "\n"))
    return True


def progress(path: Path) -> int:
    """A number that changes with every checkpoint; 0 without one."""
    with contextlib.suppress(FileNotFoundError):
        return Run(path).checkpoint_path.stat().st_mtime_ns
    return 0


def record_failure(path: Path, said: str) -> None:
    """Leaves ``failed.json``: the run is not tried again until someone asks for it."""
    about = {"date": _now(), "traceback": said}
    write_atomic(path / FAILED, lambda file: file.write_text(json.dumps(about, indent=2) + "\n"))


def reason(path: Path) -> str:
    """The last line of what a failed run said."""
    said = json.loads((path / FAILED).read_text())["traceback"]
    return (said.strip().splitlines() or [said])[-1]


def _attempt(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads((path / ATTEMPT).read_text())
    except (FileNotFoundError, ValueError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
