"""A run is a function of its config: the same bits again, across kills, and with only the prior different."""

import math
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT, TINY, ganlab, options

from ganlab import data, machine
from ganlab.config import Config
from ganlab.data import load_data
from ganlab.errors import ConfigError
from ganlab.presets import PRESETS
from ganlab.run import Run
from ganlab.training import losses
from ganlab.training import step as training
from ganlab.training.loop import Event, train
from ganlab.training.state import DivergedError, Training
from ganlab.training.step import DStatistics, Gan

# Everything that draws random numbers is on: dropout, augmentation, instance noise.
NOISY = TINY | {"instance_noise": 0.1, "diffaugment": ["color", "translation", "cutout"], "d_dropout": 0.2}


def config(preset: str = "conv-noise", **changes) -> Config:
    return Config.from_preset(preset, **{**NOISY, **changes})


def run_to_the_end(settings: Config, path) -> list[Event]:
    return list(train(settings, Run(path)))


def assert_same_bits(first, second) -> None:
    """The generators byte for byte, the checkpoints value for value, the histories but for the clock."""
    assert (first / "generator.safetensors").read_bytes() == (second / "generator.safetensors").read_bytes()
    one, other = Run(first).read_checkpoint(), Run(second).read_checkpoint()
    for state in (one, other):
        state["counters"].pop("seconds")
        for row in state["history"]:
            row.pop("seconds"), row.pop("images_per_second")
    flat, again = (torch.utils._pytree.tree_flatten(state)[0] for state in (one, other))
    assert len(flat) == len(again)
    assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(flat, again, strict=True))


@pytest.mark.parametrize("resolution", [32, 128])  # test_models.py maps 64 too
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_at_every_resolution(tmp_path, preset, resolution):
    """With its own losses, penalties, layers and steps; narrow, and for two steps."""
    narrow = {"batch_size": 4, "g_channels": 4, "d_channels": 4, "latent_dim": 8, "eval_every": 0}
    steps = PRESETS[preset].get("d_steps", 1)
    settings = Config.from_preset(preset, **narrow, dataset="shapes", limit=8 * steps, resolution=resolution, epochs=1)
    events = run_to_the_end(settings, tmp_path)
    assert events[-1].row["steps"] == 2
    assert events[-2].images.shape[1:] == (3, resolution, resolution)
    row = events[-1].row["final"]
    assert (row["penalty"] > 0) == (settings.gradient_penalty + settings.r1 + settings.r2 > 0)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_with_classes(tmp_path, preset):
    narrow = {"batch_size": 4, "g_channels": 4, "d_channels": 4, "latent_dim": 8, "eval_every": 0, "limit": 20}
    data = {"dataset": "shapes", "classes": ["warm-disc", "cool-disc"], "conditional": True}
    events = run_to_the_end(Config.from_preset(preset, **narrow, **data, epochs=1), tmp_path)
    assert math.isfinite(events[-1].row["final"]["g_loss"])
    assert events[-2].images.shape[0] == 16, "a class a row"


def test_penalties_are_weighed_and_added_up():
    real, fake = torch.rand(16, 3, 32, 32), -torch.rand(16, 3, 32, 32)
    weights = {"d_norm": "none", "d_dropout": 0.0, "gradient_penalty": 10.0, "r1": 0.5, "r2": 3.0}
    session = Gan(config("nyu-wgan", **weights))
    for weight in session.d.parameters():  # as drawn, D is so flat that R1 and R2 would not be seen beside the other
        weight.data.mul_(8)
    before = session.streams["augment"].get_state()
    both = torch.cat([real, fake]).requires_grad_()
    found = session._penalty([both], [session.d(both)], None)
    session.streams["augment"].set_state(before)
    parts = [10 * losses.gradient_penalty(session.d, real, fake, session.streams["augment"])]
    for gamma, images in ((0.5, real.requires_grad_()), (3.0, fake.requires_grad_())):
        parts.append(gamma / 2 * losses.squared_gradient(session.d(images), images).mean())
    assert found.item() == pytest.approx(sum(parts).item(), rel=1e-5)
    assert min(parts) > 0.01 * found


@pytest.mark.parametrize("discriminator", ["r3", "residual", "dcgan", "strided"])
def test_penalties_of_logits_in_bf16_teach_d_what_those_in_float32_do(discriminator):
    real, fake = torch.rand(16, 3, 32, 32), -torch.rand(16, 3, 32, 32)
    gradients = {}
    for precision in ("fp32", "bf16"):
        gan = Gan(config("r3gan-small", discriminator=discriminator, d_dropout=0.0, r1=1.0, precision=precision))
        for weight in gan.d.parameters():  # as drawn, r3's blocks end in zeros
            weight.data += 0.05 * torch.randn(weight.shape, generator=gan.streams["augment"])
        seen = [torch.cat([real, fake]).requires_grad_()]
        with gan.autocast():
            logits = [gan.d(seen[0]).float()]
        gan._penalty(seen, logits, None).backward()
        gradients[precision] = torch.cat([w.grad.flatten() for w in gan.d.parameters() if w.grad is not None])
    difference = (gradients["bf16"] - gradients["fp32"]).norm() / gradients["fp32"].norm()
    assert 0 < difference < 0.05


def test_ds_accuracy_is_that_of_pairs_where_the_loss_is():
    """The relativistic loss leaves the level of D's logits open: only which of two is higher says anything."""
    quiet = {"diffaugment": [], "instance_noise": 0.0, "d_dropout": 0.0}
    session = Gan(config("r3gan-small", **quiet))
    real, fake = (0.1 * torch.randn(16, 3, 32, 32, generator=session.streams["augment"]) for _ in range(2))
    right = (session.d(real) > session.d(fake)).float().mean()
    session._logits = lambda images, labels: session.d(images) + 100
    *_, on_real, on_fake = session.discriminator_step(real, fake)
    assert on_real == on_fake == right
    assert 0 < right < 1


@pytest.mark.parametrize("preset", ["conv-noise", "dcgan", "fast"])
def test_the_same_config_gives_the_same_bits(tmp_path, preset):
    for name in ("a", "b"):
        run_to_the_end(config(preset), tmp_path / name)
        torch.rand(7)  # whatever else a notebook draws in between
    assert_same_bits(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(("preset", "stop"), [("conv-noise", 3), ("conv-noise", 10), ("dcgan", 13), ("fast", 7),
                                              ("t2", 12), ("nyu-wgan", 3)])  # fmt: skip
def test_stopping_after_any_step_and_resuming_is_bit_exact(tmp_path, preset, stop):
    settings = config(preset, checkpoint_seconds=0.0, conditional=preset == "fast")
    run_to_the_end(settings, tmp_path / "whole")
    for event in train(settings, Run(tmp_path / "halves")):
        if event.kind == "checkpoint" and event.step == stop:
            break
    events = run_to_the_end(settings, tmp_path / "halves")
    assert (events[0].kind, events[0].step) == ("resumed", stop)
    assert_same_bits(tmp_path / "whole", tmp_path / "halves")


def test_compiled_networks_take_the_same_steps_and_their_checkpoint_goes_on_without(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "COMPILER", "aot_eager")  # traced, then run as written: rounds as ever, needs no g++
    settings = config("fast", checkpoint_seconds=0.0, conditional=True)
    run_to_the_end(settings, tmp_path / "whole")
    for event in train(settings.replace(compile=True), Run(tmp_path / "halves")):
        if event.kind == "checkpoint" and event.step == 7:
            break
    run_to_the_end(settings, tmp_path / "halves")
    assert_same_bits(tmp_path / "whole", tmp_path / "halves")


@pytest.mark.slow
def test_five_kill_9_at_random_moments_leave_the_bits_of_a_run_that_was_never_killed(tmp_path):
    settings = NOISY | {"checkpoint_seconds": 0.0, "epochs": 6}
    run_to_the_end(Config.from_preset(**settings), tmp_path / "whole")
    command = [sys.executable, "-m", "ganlab", "train", *map(str, options(settings, tmp_path / "killed"))]
    moments = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before, patience = checkpoint_time(tmp_path / "killed"), time.monotonic() + 60
        while checkpoint_time(tmp_path / "killed") == before and process.poll() is None and time.monotonic() < patience:
            time.sleep(0.005)
        time.sleep(moments.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert ganlab("train", *options(settings, tmp_path / "killed")).returncode == 0
    assert_same_bits(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".*.tmp"))


def checkpoint_time(path) -> int:
    try:
        return (path / "checkpoint.pt").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_polite_stop_saves_the_step_under_way(tmp_path, number, code):
    settings = NOISY | {"epochs": 400, "checkpoint_seconds": 1e6}
    command = [sys.executable, "-m", "ganlab", "train", *map(str, options(settings, tmp_path / "run"))]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    patience = time.monotonic() + 60
    while not (tmp_path / "run" / "history.csv").exists() and time.monotonic() < patience:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert Run(tmp_path / "run").read_checkpoint()["counters"]["step"] >= 10
    assert "goes on from the last checkpoint" in said or number == signal.SIGTERM


def test_runs_that_differ_only_in_their_prior_are_paired():
    first, second = (Training(config(prior=prior), load_data(config())) for prior in ("gaussian", "poisson"))
    for name in ("g", "d"):
        for a, b in zip(getattr(first.gan, name).parameters(), getattr(second.gan, name).parameters(), strict=True):
            assert torch.equal(a, b)
    first.train_step(), second.train_step()
    for stream in ("data", "augment", "dropout", "prior"):
        assert torch.equal(first.streams[stream].get_state(), second.streams[stream].get_state()), stream
    assert torch.equal(first.order, second.order)
    assert not torch.equal(next(first.gan.g.parameters()), next(second.gan.g.parameters()))


def test_latent_seed_moves_the_latents_and_nothing_else():
    first, second = (Training(config(latent_seed=seed), load_data(config())) for seed in (-1, 77))
    states = [{name: stream.get_state() for name, stream in session.streams.items()} for session in (first, second)]
    same = {name: torch.equal(state, states[1][name]) for name, state in states[0].items()}
    assert same == {"data": True, "augment": True, "prior": False, "dropout": True}


def test_training_uses_no_global_random_state(tmp_path):
    before = torch.get_rng_state()
    run_to_the_end(config(), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finished_run_returns_at_once_and_touches_nothing(tmp_path):
    run_to_the_end(config(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    events = run_to_the_end(config(), tmp_path)
    assert [event.kind for event in events] == ["finished"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"} == before


def test_more_epochs_continue_as_if_asked_for_from_the_start(tmp_path):
    run_to_the_end(config(epochs=4, snapshot_epochs=[1]), tmp_path / "whole")
    run_to_the_end(config(epochs=2, snapshot_epochs=[1]), tmp_path / "longer")
    events = run_to_the_end(config(epochs=4, snapshot_epochs=[1]), tmp_path / "longer")
    assert [event.epoch for event in events if event.kind == "epoch"] == [3, 4]
    assert Run(tmp_path / "longer").metrics["epochs"] == 4
    for part in ("g", "d"):
        one, other = (Run(tmp_path / name).read_checkpoint()["networks"][part] for name in ("whole", "longer"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_epoch_of_some_images_takes_others_each_time_and_resumes_bit_exact(tmp_path):
    settings = config(epoch_images=48, epochs=3, checkpoint_seconds=0.0)
    events = run_to_the_end(settings, tmp_path / "whole")
    assert {event.steps for event in events} == {9} and events[-1].row["images_seen"] == 3 * 48
    order = Run(tmp_path / "whole").read_checkpoint()["order"]
    fresh = Training(settings, load_data(settings)).order
    assert len(order) == len(fresh) == 48 and set(order.tolist()) != set(fresh.tolist())

    for event in train(settings, Run(tmp_path / "halves")):
        if event.kind == "checkpoint" and event.step == 4:
            break
    run_to_the_end(settings, tmp_path / "halves")
    assert_same_bits(tmp_path / "whole", tmp_path / "halves")


def test_events_tell_the_whole_story(tmp_path):
    events = run_to_the_end(config(epochs=3, snapshot_epochs=[2], checkpoint_seconds=0.0), tmp_path)
    assert [event.epoch for event in events if event.kind == "epoch"] == [1, 2, 3]
    assert [event.epoch for event in events if event.kind == "snapshot"] == [2, 3]
    assert sum(event.kind == "checkpoint" for event in events) == 30
    row = next(event.row for event in events if event.kind == "epoch")
    assert row["d_loss"] == pytest.approx(row["d_loss_real"] + row["d_loss_fake"], abs=1e-5)
    assert 0 <= row["d_acc_real"] <= 1
    assert row["images_seen"] == 160
    assert {"epoch", "step", "g_loss", "d_acc_fake", "seconds", "images_per_second"} <= set(row)
    assert events[-1].row["images_seen"] == 480
    assert list(Run(tmp_path).history["epoch"]) == [1, 2, 3]


@pytest.mark.parametrize("loss", ["relativistic", "hinge"])
def test_a_paired_loss_hands_g_the_real_logits_too_and_leaves_d_alone(loss):
    session = Gan(config("sngan", loss=loss))
    handed = []
    session.loss = session.loss._replace(generator=lambda fake, real: handed.append(real) or fake.mean())
    before = [p.clone() for p in session.d.parameters()]
    fake = session.g(session.prior.sample(16, 16, session.streams["prior"]))
    session.generator_step(fake, torch.ones(16, 3, 32, 32))
    assert [None if real is None else real.shape for real in handed] == [(16,) if loss == "relativistic" else None]
    assert all(torch.equal(a, b) and a.requires_grad for a, b in zip(session.d.parameters(), before, strict=True))


def test_feature_matching_brings_the_features_of_generated_images_nearer_to_the_real_ones_and_leaves_d_alone():
    changes = {"diffaugment": [], "instance_noise": 0.0, "d_dropout": 0.0, "g_dropout": 0.0}
    session = Gan(config(feature_matching=1e6, **changes))
    z, real = session.prior.sample(16, 16, session.streams["prior"]), torch.ones(16, 3, 32, 32)
    before = [p.clone() for p in session.d.parameters()]

    def distance() -> float:
        with torch.no_grad():
            return losses.feature_matching(*(session._features(images, None) for images in (real, session.g(z)))).item()

    distances = [distance()]
    for _ in range(3):
        session.generator_step(session.g(z), real)
        distances.append(distance())
    assert distances == sorted(distances, reverse=True)
    assert all(torch.equal(a, b) and a.grad is None for a, b in zip(session.d.parameters(), before, strict=True))


def test_real_augmentation_leaves_generated_images_alone():
    session = Training(config(real_augment=["crop"], diffaugment=[], instance_noise=0.0), load_data(config()))
    seen = []
    blind = DStatistics(*[torch.zeros(())] * 5)
    session.gan.discriminator_step = lambda real, fake, labels: seen.append((real, fake)) or blind
    session.train_step()
    (real, fake), chosen = seen[0], session.order[:16]
    assert not torch.equal(real, training.to_float(session.images[chosen]))
    assert real.min() == -1 and fake.shape == real.shape and fake.abs().max() < 1


def test_several_d_steps_see_several_batches_in_a_g_step(tmp_path):
    events = run_to_the_end(config(d_steps=3), tmp_path)
    assert events[-1].row["steps"] == 2 * (10 // 3)
    assert events[-1].row["images_seen"] == 2 * 3 * 3 * 16


def test_d_learns_and_g_answers(tmp_path):
    """On shapes D tells better than chance within a few epochs, and G's images gain the contrast of the data."""
    settings = config(epochs=12, limit=320, g_channels=8, d_channels=8, instance_noise=0.0, diffaugment=[])
    events = run_to_the_end(settings, tmp_path)
    rows = [event.row for event in events if event.kind == "epoch"]
    assert max(row["d_acc_real"] + row["d_acc_fake"] for row in rows) > 1.4
    contrast = {event.epoch: event.images.float().std().item() for event in events if event.kind == "snapshot"}
    assert contrast[12] > 1.2 * contrast[1]


@pytest.mark.filterwarnings("ignore::ganlab.scoring.metrics.DegenerateWarning")
def test_a_best_of_another_extractor_is_no_match_for_this_one(tmp_path):
    settings = config(eval_every=1, epochs=1)
    run_to_the_end(settings, tmp_path)
    state = Run(tmp_path).read_checkpoint()
    state["counters"]["best"] = {"epoch": 1, "extractor": "efficientnet_lite0", "fd": 0.001}
    Run(tmp_path).write_checkpoint(state)
    best = run_to_the_end(settings.replace(epochs=2), tmp_path)[-1].row["best"]
    assert best["epoch"] == 2 and best["extractor"] == "cifar_resnet"


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    settings = config(epochs=3)
    for event in train(settings.replace(checkpoint_seconds=0.0), Run(tmp_path)):
        if event.kind == "checkpoint" and event.step == 12:
            break
    session = Run(tmp_path).read_checkpoint()
    session["networks"]["d"]["0.weight"].fill_(float("nan"))
    Run(tmp_path).write_checkpoint(session)
    with pytest.raises(DivergedError, match="no longer finite in epoch 2 .*last good checkpoint is kept"):
        run_to_the_end(settings.replace(checkpoint_seconds=0.0), tmp_path)
    assert not (tmp_path / "metrics.json").exists()
    good = torch.load(tmp_path / "checkpoint.previous.pt", weights_only=True)
    assert all(value.isfinite().all() for value in good["networks"]["d"].values())


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="one step takes 256 x 1 images .*more than the 160 selected"):
        run_to_the_end(config(batch_size=256), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_asking_for_a_gpu_that_is_not_there_says_so():
    with pytest.raises(ConfigError, match="torch finds no GPU here: use device cpu or auto"):
        Training(config(device="cuda"), load_data(config()))


@pytest.mark.parametrize("preset", ["conv-noise", "t2"])
def test_bf16_autocast_stays_near_float32(tmp_path, preset, monkeypatch):
    monkeypatch.setattr(machine, "native_precision", lambda device: "bf16")  # tiny networks train in it anywhere
    rows = {}
    for precision in ("bf16", "fp32"):
        settings = config(preset, precision=precision, epochs=1, snapshot_epochs=[])
        rows[precision] = run_to_the_end(settings, tmp_path / precision)[-1].row
        assert rows[precision]["precision"] == precision
    exact, rough = (rows[precision]["final"]["d_loss"] for precision in ("fp32", "bf16"))
    assert rough != exact and rough == pytest.approx(exact, rel=0.02)


def test_images_are_loaded_once_a_run(tmp_path, monkeypatch):
    loaded = []
    real = data.shapes
    monkeypatch.setattr(data, "shapes", lambda n, seed=0: loaded.append(seed) or real(n, seed))
    run_to_the_end(config(eval_every=1, judges=["cifar_resnet"]), tmp_path)
    assert loaded == [0, 1], "the training images, and those held out from them"
