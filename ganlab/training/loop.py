"""The loop around the training step. ``for event in train(config, run): ...`` is the only way to train.

A notebook, the command line and a test all watch the same generator of events.
"""

import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ganlab import machine
from ganlab.config import Config, command
from ganlab.data import ImageSet, load_data
from ganlab.errors import ConfigError
from ganlab.latents import evaluation_grid
from ganlab.networks.generators import generate
from ganlab.networks.projected import looked_through
from ganlab.run import Run, RunError
from ganlab.scoring.evaluate import FEWEST, Scorer, evaluate_run, references
from ganlab.training.pace import Pace, busy
from ganlab.training.signals import Stop, stop_signals
from ganlab.training.state import Training

CLOCK = ("seconds", "images_per_second")


@dataclass(frozen=True)
class Event:
    """kind: ``resumed``, ``progress`` (about once a second), ``epoch`` (row: its line of the history), ``snapshot``
    (images: uint8 (N, 3, R, R) of the EMA generator, 8 a row, the same latents every time), ``checkpoint``, ``busy``
    (one thread would be faster; row: what ``pace.busy`` measured, and the command for it), ``finished`` (row: the
    run's metrics). epoch and step: how many are done; steps: how many the whole run has."""

    kind: str
    epoch: int
    step: int
    steps: int
    row: dict[str, Any] = field(default_factory=dict)
    images: torch.Tensor | None = None


def train(config: Config, run: Run, data: ImageSet | None = None) -> Iterator[Event]:
    """Trains to ``config.epochs``, from the last checkpoint if ``run`` has one; returns at once if it is finished.

    data: the images of ``load_data(config)``, for a caller that has them already. SIGTERM and Ctrl-C finish the step,
    save a checkpoint and then stop. Raises ``ConfigError``, ``DataError`` or ``RunError`` before anything is written;
    ``DivergedError`` when a loss is not finite, the last good checkpoint kept.
    """
    data = data or load_data(config)
    _check_data(config, data)
    config = config.resolved(data.names, machine.precision(config.precision, machine.device(config.device)))
    eyes = looked_through(config)  # a missing file is answered before the folder is touched
    with run.lock():
        run.check(config, data)
        if run.is_finished(config):
            _mind_lost(config, run)
            yield Event("finished", config.epochs, run.metrics["steps"], run.metrics["steps"], run.metrics)
            return
        checkpoint, began = run.read_checkpoint(config), machine.provenance()
        training = Training(config, data)
        scorer = Scorer(config, *references(config, data)) if config.eval_every else None
        if checkpoint:
            _restore(training, checkpoint, run)
        run.claim(config, data)
        if checkpoint:
            run.write_history(training.history)
            yield _event(training, "resumed")
        yield from _busy(training, run, data)
        with stop_signals() as stop:
            yield from _epochs(training, run, data, stop, scorer)
        yield _finish(training, run, data, scorer, {"looked_through": eyes, "provenance": began})


def _mind_lost(config: Config, run: Run) -> None:
    """Warns of missing snapshots of a finished run: they were drawn while it trained."""
    lost = sorted({*config.snapshots()} - {*run.grids()})
    if lost:
        epochs = ", ".join(map(str, lost))
        warnings.warn(f"{run.path} has lost its samples of epoch {epochs}: train in a new folder", stacklevel=3)


def _check_data(config: Config, data: ImageSet) -> None:
    if config.conditional and len(data.names) < 2:
        raise ConfigError(f"conditional on {config.dataset}, which has one class, {data.names[0]!r}: switch it off")
    if len(data) < config.batch_size * config.d_steps:
        raise ConfigError(
            f"one step takes {config.batch_size} x {config.d_steps} images (batch_size x d_steps), more than "
            f"the {len(data)} selected: make batch_size smaller or select more classes"
        )


def _restore(training: Training, checkpoint: dict[str, Any], run: Run) -> None:
    here, before = training.device.type, checkpoint.get("device", training.device.type)
    if before != here:
        raise RunError(
            f"{run.path} was trained on {before}, and this is {here}, which draws other random numbers: go on with "
            f"device {before}, or choose another folder"
        )
    try:
        training.load_state_dict(checkpoint)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunError(
            f"the checkpoint in {run.path} was written by another version of ganlab ({error}): delete "
            "checkpoint*.pt there to start the run again, or choose another folder"
        ) from None


def _event(training: Training, kind: str, **content: Any) -> Event:
    return Event(kind, training.epoch, training.step, training.steps, **content)


def _busy(training: Training, run: Run, data: ImageSet) -> Iterator[Event]:
    """An event if one thread would train faster than all of them do now."""
    if measured := busy(training.config, data):
        words = f"OMP_NUM_THREADS=1 {command(training.config, run.path)}"
        yield _event(training, "busy", row=measured | {"command": words})


def _epochs(training: Training, run: Run, data: ImageSet, stop: Stop, scorer: Scorer | None) -> Iterator[Event]:
    """Steps, and an event for whatever a watcher may care about. The clock stands still while the watcher has it."""
    config, unsaved, unsaid = training.config, 0.0, 0.0  # seconds since a checkpoint, since an event
    pace = Pace()
    while training.epoch < config.epochs:
        seconds, images = training.seconds, training.images_seen
        training.train_step()
        seconds, images = training.seconds - seconds, training.images_seen - images
        unsaved, unsaid = unsaved + seconds, unsaid + seconds
        if pace.fell(images, seconds):
            yield from _busy(training, run, data)
        if training.epoch_is_over:
            unsaid = 0.0
            yield from _end_epoch(training, run, scorer)
        elif unsaid >= 1:
            unsaid = 0.0
            yield _event(training, "progress")
        if stop.requested or unsaved >= config.checkpoint_seconds:
            training.check_finite()
            _save(training, run, data)
            unsaved = 0.0
            yield _event(training, "checkpoint")
        stop.check()


def _save(training: Training, run: Run, data: ImageSet) -> None:
    """A checkpoint, which says of what run it is."""
    run.write_checkpoint(training.state_dict() | {"run": run.described(training.config, data)})


def _end_epoch(training: Training, run: Run, scorer: Scorer | None) -> Iterator[Event]:
    config = training.config
    training.check_finite()
    row = training.end_epoch()
    if scorer and (training.epoch % config.eval_every == 0 or training.epoch == config.epochs):
        _score(training, run, scorer, row)
    run.write_history(training.history)
    yield _event(training, "epoch", row=row)
    if training.epoch in config.snapshots():
        images = generate(training.gan.ema.network, *evaluation_grid(config))
        run.write_grid(training.epoch, images)
        yield _event(training, "snapshot", images=images)


def _score(training: Training, run: Run, scorer: Scorer, row: dict[str, Any]) -> None:
    """Adds the scores of the averaged generator to the epoch's row; keeps the generator if its FD is the best yet."""
    started = time.perf_counter()
    scores, best, extractor = scorer(training.gan.ema.network), training.best, scorer.extractor.name
    row.update(scores)
    if best.get("extractor") != extractor or scores["fd"] < best["fd"]:
        training.best = {"epoch": training.epoch, "extractor": extractor, **scores}
        run.write_generator(training.gan.ema.network, training.config, best=True)
    training.scoring_seconds += time.perf_counter() - started


def _finish(training: Training, run: Run, data: ImageSet, scorer: Scorer | None, began: dict[str, Any]) -> Event:
    """Leaves the run's last checkpoint (more epochs can follow), its generator and, last of all, its metrics.

    began: what was known when the run began, and stands in its metrics.
    """
    config = training.config
    run.claim(config, data)  # again: someone may have deleted the folder since
    run.write_history(training.history)
    _save(training, run, data)
    run.write_generator(training.gan.ema.network, config)
    seconds = sum(row["seconds"] for row in training.history)
    evaluation = None
    if scorer and len(data) >= FEWEST:  # the rows of ``evaluate`` for the generator as it was just written
        table = evaluate_run(run, real=(data, scorer.test))
        evaluation = json.loads(table.to_json(orient="records", double_precision=6))
    metrics = {
        "identity": config.identity(data.fingerprint),
        "epochs": training.epoch,
        "steps": training.step,
        "images_seen": training.images_seen,
        "training_seconds": round(seconds, 2),
        "images_per_second": round(training.images_seen / seconds, 1),
        "precision": config.precision,
        "device": str(training.device),
        "scoring_seconds": round(training.scoring_seconds, 2),
        "final": {key: value for key, value in training.history[-1].items() if key not in CLOCK},
        "best": training.best,
        "scored": scorer.about() if scorer else None,
        "evaluation": evaluation,
        **began,
    }
    run.write_metrics(metrics)
    return _event(training, "finished", row=metrics)
