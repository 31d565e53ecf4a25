"""The training step and the loop around it. ``for event in train(config, run): ...`` is the only way to train.

A notebook, the command line and a test all watch the same generator of events. Every random draw comes from a named
stream (init, data, augment, prior, dropout) that is saved with each checkpoint: two runs that differ only in their
prior share weights, batches and augmentation, and a killed and resumed run ends with the bits of one never killed.
"""

import contextlib
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from ganlab import GanlabError, priors
from ganlab.augment import augment, augment_real
from ganlab.config import Config, ConfigError
from ganlab.data import ImageSet, load
from ganlab.evaluate import FEWEST, Scorer, evaluate_run
from ganlab.losses import LOSSES, bce, feature_matching, gradient_penalty, squared_gradient
from ganlab.models import Ema, build, features_and_logit, generate, to_float
from ganlab.runs import Run, RunError, native_precision, provenance
from ganlab.sample import evaluation_grid

STREAMS = ("data", "augment", "prior", "dropout")  # and "init", which is drawn from once
COUNTERS = ("step", "epoch", "batch", "images_seen", "seconds", "scoring_seconds", "best")
CLOCK = ("seconds", "images_per_second")
COMPILER = "inductor"  # of torch.compile
STATISTICS = ("d_loss_real", "d_loss_fake", "penalty", "g_loss", "d_acc_real", "d_acc_fake")


class DivergedError(GanlabError):
    """A loss or a weight is no longer a finite number."""


@dataclass(frozen=True)
class Event:
    """kind: ``resumed``, ``progress`` (about once a second), ``epoch`` (row: its line of the history), ``snapshot``
    (images: uint8 (N, 3, R, R) of the EMA generator, 8 a row, the same latents every time), ``checkpoint``,
    ``finished`` (row: the run's metrics). epoch and step: how many are done; steps: how many the whole run has."""

    kind: str
    epoch: int
    step: int
    steps: int
    row: dict[str, Any] = field(default_factory=dict)
    images: torch.Tensor | None = None


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


def load_data(config: Config) -> ImageSet:
    """The images that the config names."""
    return load(config.dataset, config.classes, config.split, config.resolution, config.limit)


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


class Training:
    """What changes while a run trains: networks, optimisers, average, streams, counters. Knows no files."""

    def __init__(self, config: Config, data: ImageSet) -> None:
        if config.conditional:
            config = config.replace(classes=data.names)  # a generator's file must say which label is which class
        self.config = config
        self.device = _device(config.device)
        self.precision = config.precision if config.precision != "auto" else native_precision(self.device)
        self.streams = {name: torch.Generator(self.device).manual_seed(_seed(config, name)) for name in STREAMS}
        init = torch.Generator().manual_seed(_seed(config, "init"))  # weights are drawn on the CPU: same on any device
        networks = build(config, init, self.streams["dropout"])
        self.g, self.d = (n.to(self.device, memory_format=torch.channels_last) for n in networks)
        self.ema = Ema(self.g, config.ema_half_life)
        if config.compile:
            for network in (self.g, self.d):
                network.compile(backend=COMPILER)  # in place: the names of the weights stay
        betas = (config.beta1, config.beta2)
        self.g_optimiser = torch.optim.Adam(self.g.parameters(), config.g_lr, betas, fused=True)
        self.d_optimiser = torch.optim.Adam(self.d.parameters(), config.d_lr, betas, fused=True)
        self.loss = bce(config.real_label, config.fake_label) if config.loss == "bce" else LOSSES[config.loss]
        self.d_features, self.d_logit = features_and_logit(self.d)
        self.prior = priors.get(config.prior, config.arm)
        self.images = data.images.to(self.device)
        self.labels = data.labels.to(self.device) if config.conditional else None
        self.step = self.epoch = self.batch = self.images_seen = 0
        self.seconds = 0.0  # of training, in the epoch under way
        self.sums = torch.zeros(len(STATISTICS), device=self.device)
        self.scoring_seconds = 0.0
        self.best: dict[str, float] = {}  # the scores of the best generator so far, and its epoch
        self.history: list[dict[str, float]] = []
        self.order = self._shuffled()

    def train_step(self) -> None:
        """D on ``d_steps`` batches, then G against the last of them; the average follows G."""
        config, n = self.config, self.config.batch_size
        for _ in range(config.d_steps):
            chosen = self._next_batch()
            real = to_float(self.images[chosen]).to(memory_format=torch.channels_last)
            real = augment_real(real, config.real_augment, self.streams["augment"])
            labels = self.labels[chosen] if config.conditional else None  # the fakes get those of the real images
            latents = self.prior.sample(n, config.latent_dim, self.streams["prior"])
            with self.autocast():
                fake = self.g(latents, labels)
            d_losses = self.discriminator_step(real, fake.detach(), labels)
        g_loss = self.generator_step(fake, real, labels)
        self.step += 1
        self.images_seen += n * config.d_steps
        self.ema.update(self.images_seen, n * config.d_steps)
        d_real, d_fake, penalty, *correct = d_losses
        self.sums += torch.stack([d_real, d_fake, penalty, g_loss, *correct]).detach()

    def discriminator_step(
        self, real: torch.Tensor, fake: torch.Tensor, labels: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """(loss on real, on fake, penalty, share of real, of fake that D is right about) before the update."""
        if self.config.d_norm == "batch" or self.config.minibatch != "none":  # real and fake each have their own batch
            seen = [self._augmented(real), self._augmented(fake)]
            real_logits, fake_logits = (self._logits(images, labels) for images in seen)
        else:
            both = None if labels is None else labels.repeat(2)
            together = self._augmented(torch.cat([real, fake]))
            seen = together.chunk(2)
            real_logits, fake_logits = self._logits(together, both).chunk(2)
        d_real, d_fake = self.loss.discriminator(real_logits, fake_logits)
        penalty = self._penalty(*seen, labels)
        self.d_optimiser.zero_grad()
        (d_real + d_fake + penalty).backward()
        self.d_optimiser.step()
        paired, boundary = self.loss.paired, self.loss.boundary
        right = (
            (real_logits > (fake_logits if paired else boundary)).float().mean(),
            (fake_logits < (real_logits if paired else boundary)).float().mean(),
        )
        return d_real, d_fake, penalty, *right

    def _penalty(self, real: torch.Tensor, fake: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The weighted penalties on D's gradient, at the images as D saw them, in float32; 0 without any."""
        config, total = self.config, torch.zeros((), device=self.device)

        def judge(images: torch.Tensor) -> torch.Tensor:
            return self.d(images, labels)

        if config.gradient_penalty:
            total = total + config.gradient_penalty * gradient_penalty(judge, real, fake, self.streams["augment"])
        for gamma, images in ((config.r1, real), (config.r2, fake)):
            if gamma:
                total = total + gamma / 2 * squared_gradient(judge, images).mean()
        return total

    def generator_step(
        self, fake: torch.Tensor, real: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """G's loss before the update; ``fake`` still hangs on the graph that made it."""
        config = self.config
        self.d.requires_grad_(False)  # G's gradient passes through D, but D's own need not be computed
        if config.feature_matching or self.loss.paired:
            features, real_features = (self._features(self._augmented(images), labels) for images in (fake, real))
            with self.autocast():
                logits, real_logits = (self.d_logit(f, labels).float() for f in (features, real_features))
            g_loss = self.loss.generator(logits, real_logits)
            if config.feature_matching:
                g_loss = g_loss + config.feature_matching * feature_matching(real_features.float(), features.float())
        else:
            g_loss = self.loss.generator(self._logits(self._augmented(fake), labels), None)
        self.g_optimiser.zero_grad()
        g_loss.backward()
        self.g_optimiser.step()
        self.d.requires_grad_(True)
        return g_loss

    def _augmented(self, images: torch.Tensor) -> torch.Tensor:
        """What D sees of images."""
        images = augment(images.float(), self.config.diffaugment, self.config.instance_noise, self.streams["augment"])
        return images.contiguous(memory_format=torch.channels_last)

    def _logits(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """D's logits (N,) float32 of images as it sees them."""
        with self.autocast():
            return self.d(images, labels).float()

    def _features(self, images: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        with self.autocast():
            return self.d_features(images, labels)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def epoch_is_over(self) -> bool:
        """No whole step is left in the order of this epoch (what remains of it is dropped)."""
        return self.batch + self.config.d_steps > len(self.order) // self.config.batch_size

    def event(self, kind: str, **content: Any) -> Event:
        steps_an_epoch = len(self.order) // self.config.batch_size // self.config.d_steps
        return Event(kind, self.epoch, self.step, self.config.epochs * steps_an_epoch, **content)

    def _next_batch(self) -> torch.Tensor:
        start = self.batch * self.config.batch_size
        self.batch += 1
        return self.order[start : start + self.config.batch_size]

    def _shuffled(self) -> torch.Tensor:
        """Places of an epoch's images, in the order they are taken."""
        order = torch.randperm(len(self.images), generator=self.streams["data"], device=self.device)
        return order[: self.config.epoch_images or None]

    def end_epoch(self) -> dict[str, float]:
        """Closes the epoch: its line of the history, fresh sums, a new order of the images."""
        steps = self.step - (self.history[-1]["step"] if self.history else 0)
        means = dict(zip(STATISTICS, (self.sums / steps).tolist(), strict=True))
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "images_seen": self.images_seen,
            "d_loss": means["d_loss_real"] + means["d_loss_fake"],
            **means,
            "seconds": self.seconds,
            "images_per_second": steps * self.config.batch_size * self.config.d_steps / self.seconds,
        }
        self.history.append({key: round(value, 6) for key, value in row.items()})
        self.sums.zero_()
        self.seconds, self.batch, self.order = 0.0, 0, self._shuffled()
        return self.history[-1]

    def check_finite(self) -> None:
        """Raises ``DivergedError`` if a loss of this epoch or a weight is not finite."""
        weights = [*self.g.parameters(), *self.d.parameters()]
        total = self.sums.sum() + torch.stack(torch._foreach_norm(weights)).sum()
        if not math.isfinite(total.item()):
            raise DivergedError(
                f"the loss is no longer finite in epoch {self.epoch + 1} (step {self.step}); the last good checkpoint "
                "is kept: train with a lower g_lr and d_lr, another loss, or precision fp32"
            )

    def state_dict(self) -> dict[str, Any]:
        return {
            "networks": {name: getattr(self, name).state_dict() for name in ("g", "d")},
            "ema": self.ema.network.state_dict(),
            "optimisers": [self.g_optimiser.state_dict(), self.d_optimiser.state_dict()],
            "streams": {name: stream.get_state() for name, stream in self.streams.items()},
            "counters": {name: getattr(self, name) for name in COUNTERS},
            "sums": self.sums,
            "order": self.order,
            "history": self.history,
            "device": self.device.type,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.g.load_state_dict(state["networks"]["g"])
        self.d.load_state_dict(state["networks"]["d"])
        self.ema.network.load_state_dict(state["ema"])
        self.g_optimiser.load_state_dict(state["optimisers"][0])
        self.d_optimiser.load_state_dict(state["optimisers"][1])
        for name, stream in self.streams.items():
            stream.set_state(state["streams"][name])
        for name, value in state["counters"].items():
            setattr(self, name, value)
        self.sums.copy_(state["sums"])
        self.order = state["order"].to(self.device)
        self.history = state["history"]


def _seed(config: Config, stream: str) -> int:
    """A stream's own seed: streams never overlap, and ``latent_seed`` moves the training latents alone."""
    seed = config.latent_seed if stream == "prior" and config.latent_seed >= 0 else config.seed
    return int.from_bytes(hashlib.sha256(f"{stream} {seed}".encode()).digest()[:7], "big")


def _device(wanted: str) -> torch.device:
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise ConfigError("device is cuda, but torch finds no GPU here: use device cpu or auto")
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


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
