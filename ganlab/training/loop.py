"""The loop around the training step. ``for event in train(config, run): ...`` is the only way to train.

A notebook, the command line and a test all watch the same generator of events.
"""

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from ganlab.config import Config
from ganlab.data import ImageSet, load_data
from ganlab.errors import ConfigError
from ganlab.latents import evaluation_grid
from ganlab.machine import provenance
from ganlab.networks.generators import generate
from ganlab.run import Run, RunError
from ganlab.scoring.evaluate import FEWEST, Scorer, evaluate_run
from ganlab.training.step import Event, Training

CLOCK = ("seconds", "images_per_second")


def train(config: Config, run: Run, data: ImageSet | None = None) -> Iterator[Event]:
    """Trains to ``config.epochs``, from the last checkpoint if ``run`` has one; returns at once if it is finished.

    data: the images of ``load_data(config)``, for a caller that has them already; the evaluation loads them itself.
    SIGTERM and Ctrl-C finish the step, save a checkpoint and then stop. Raises ``ConfigError``, ``DataError`` or
    ``RunError`` before anything is written; ``DivergedError`` when a loss is not finite, the last good checkpoint kept.
    """
    data = data or load_data(config)
    if config.conditional and len(data.names) < 2:
        raise ConfigError(f"conditional on {config.dataset}, which has one class, {data.names[0]!r}: switch it off")
    if len(data) < config.batch_size * config.d_steps:
        raise ConfigError(
            f"one step takes {config.batch_size} x {config.d_steps} images (batch_size x d_steps), more than "
            f"the {len(data)} selected: make batch_size smaller or select more classes"
        )
    with run.lock():
        run.check(config, data)
        if run.is_finished(config):
            yield Event("finished", config.epochs, run.metrics["steps"], run.metrics["steps"], run.metrics)
            return
        checkpoint = run.read_checkpoint(config)
        session, began = Training(config, data), provenance()
        score = Scorer(config, data) if config.eval_every else None
        if checkpoint:
            if (before := checkpoint.get("device", session.device.type)) != session.device.type:
                raise RunError(
                    f"{run.path} was trained on {before}, and this is {session.device.type}, whose random numbers are "
                    f"others: go on with device {before}, or choose another folder"
                )
            try:
                session.load_state_dict(checkpoint)
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                raise RunError(
                    f"the checkpoint in {run.path} was written by another version of ganlab ({error}): delete "
                    "checkpoint*.pt there to start the run again, or choose another folder"
                ) from None
        run.claim(config, data)
        if checkpoint:
            run.write_history(session.history)
            yield session.event("resumed")
        with stop_signals() as stop:
            yield from _epochs(session, run, stop, score)
        yield _finish(session, run, data, began, score)


def _epochs(session: "Training", run: Run, stop: "Stop", score: Scorer | None) -> Iterator[Event]:
    """Steps, and an event for whatever a watcher may care about. The clock stands still while the watcher has it."""
    config, unsaved, unsaid = session.config, 0.0, 0.0  # unsaved, unsaid: seconds since a checkpoint, since an event
    while session.epoch < config.epochs:
        started = time.perf_counter()
        session.train_step()
        seconds = time.perf_counter() - started
        session.seconds += seconds
        unsaved, unsaid = unsaved + seconds, unsaid + seconds
        if session.epoch_is_over:
            session.check_finite()
            row = session.end_epoch()
            if score and (session.epoch % config.eval_every == 0 or session.epoch == config.epochs):
                _score(session, run, score, row)
            run.write_history(session.history)
            unsaid = 0.0
            yield session.event("epoch", row=row)
            if session.epoch in config.snapshots():
                images = generate(session.ema.network, *evaluation_grid(session.config))
                run.write_grid(session.epoch, images)
                yield session.event("snapshot", images=images)
        elif unsaid >= 1:
            unsaid = 0.0
            yield session.event("progress")
        if stop.requested or unsaved >= config.checkpoint_seconds:
            session.check_finite()
            run.write_checkpoint(session.state_dict())
            unsaved = 0.0
            yield session.event("checkpoint")
        stop.check()


def _score(session: "Training", run: Run, score: Scorer, row: dict[str, Any]) -> None:
    """Adds the scores of the averaged generator to the epoch's row; keeps the generator if its FD is the best yet."""
    started = time.perf_counter()
    scores = score(session.ema.network)
    row.update(scores)
    distance = next(iter(scores))  # the Frechet distance comes first
    if scores[distance] < session.best.get(distance, math.inf):  # a best of another extractor is no match
        session.best = {"epoch": session.epoch, **scores}
        run.write_generator(session.ema.network, session.config, best=True)
    session.scoring_seconds += time.perf_counter() - started


def _finish(session: "Training", run: Run, data: ImageSet, began: dict[str, Any], score: Scorer | None) -> Event:
    """Leaves the run's last checkpoint (more epochs can follow), its generator and, last of all, its metrics."""
    config = session.config
    run.write_checkpoint(session.state_dict())
    run.write_generator(session.ema.network, session.config)
    trained = sum(row["seconds"] for row in session.history)
    metrics = {
        "identity": config.identity(data.fingerprint),
        "epochs": session.epoch,
        "steps": session.step,
        "images_seen": session.images_seen,
        "training_seconds": round(trained, 2),
        "images_per_second": round(session.images_seen / trained, 1),
        "precision": session.precision,
        "device": str(session.device),
        "scoring_seconds": round(session.scoring_seconds, 2),
        "final": {key: session.history[-1][key] for key in session.history[-1] if key not in CLOCK},
        "best": session.best,
        "scored": score.about(config) if score else None,
        "evaluation": _evaluation(run, config) if score and len(data) >= FEWEST else None,
        "provenance": began,
    }
    run.write_json("metrics.json", metrics)
    return session.event("finished", row=metrics)


def _evaluation(run: Run, config: Config) -> list[dict[str, Any]]:
    """The rows of ``evaluate`` for the generator as it was just written."""
    return json.loads(evaluate_run(run, config.final_judges()).to_json(orient="records", double_precision=6))


class Stop:
    """Remembers the first request to stop, so that the step under way is finished and saved before it is obeyed."""

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None

    def request(self, number: int, _: object) -> None:
        self.requested = signal.Signals(number)
        for watched in (signal.SIGINT, signal.SIGTERM):
            signal.signal(watched, signal.SIG_DFL if watched == signal.SIGTERM else signal.default_int_handler)

    def check(self) -> None:
        """Raises what the signal would have raised."""
        if self.requested == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        if self.requested:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Catches SIGINT and SIGTERM while it lasts; outside the main thread Python lets nobody, and nothing is caught."""
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for watched in (signal.SIGINT, signal.SIGTERM):
            before[watched] = signal.signal(watched, stop.request)
    try:
        yield stop
    finally:
        for watched, handler in before.items():
            signal.signal(watched, handler)
