"""On a GPU a step is recorded once and replayed. These tests are skipped where there is none."""

import pytest
import torch
from conftest import TINY

from ganlab.config import Config
from ganlab.data import load, load_data
from ganlab.presets import PRESETS
from ganlab.priors import PRIORS
from ganlab.run import Run
from ganlab.scoring.evaluate import evaluate
from ganlab.training.loop import train
from ganlab.training.recorded import WARM_UP
from ganlab.training.state import Training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
NARROW = TINY | {"batch_size": 8, "latent_dim": 8, "precision": "fp32"}


def trained(settings: Config, steps: int, recorded: bool) -> Training:
    training = Training(settings, load_data(settings))
    if not recorded:
        training.gan.updates = training.gan._updates
    for _ in range(steps):
        training.train_step()
        if training.epoch_is_over:
            training.end_epoch()
    return training


@pytest.fixture
def exact():
    """Convolutions that add up in the same order every time, without TF32."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recorded_step_is_the_step_itself(exact, preset):
    """Same weights and the same state of the random streams, also after an epoch's end."""
    settings = Config.from_preset(preset, **NARROW | {"limit": 40 * PRESETS[preset].get("d_steps", 1)})
    one, other = (trained(settings, WARM_UP + 5, recorded) for recorded in (True, False))
    assert one.gan.updates.graph is not None
    for name in ("g", "d"):
        for a, b in zip(*(getattr(t.gan, name).state_dict().values() for t in (one, other)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    for name, stream in one.gan.streams.items():
        assert torch.equal(stream.get_state(), other.gan.streams[name].get_state()), name
    assert one.sums.isfinite().all()


@pytest.mark.parametrize("prior", PRIORS)
def test_every_prior_feeds_a_recorded_step(prior):
    trained_on = trained(Config.from_preset("conv-noise", **NARROW, prior=prior), WARM_UP + 2, recorded=True)
    assert trained_on.sums.isfinite().all()


@pytest.mark.parametrize("preset", ["fast", "conv-noise", "sngan-resnet"])
def test_a_conditional_recorded_step_takes_labels(exact, preset):
    settings = Config.from_preset(preset, **NARROW, conditional=True)
    one, other = (trained(settings, WARM_UP + 3, recorded) for recorded in (True, False))
    for a, b in zip(one.gan.g.parameters(), other.gan.g.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_run_on_a_gpu_resumes_where_it_was(tmp_path):
    for epochs in (1, 2):
        list(train(Config.from_preset("fast", **TINY | {"epochs": epochs}), Run(tmp_path)))
    assert Run(tmp_path).metrics["steps"] == 20
    assert Run(tmp_path).metrics["device"] == "cuda"


def test_scores_of_a_gpu_are_those_of_a_cpu():
    """Features without TF32, metrics in float64: to 1e-3 of the distance."""
    train_set, test_set = (load("shapes", split=split, limit=400) for split in ("train", "test"))
    drawn = load("shapes", ["warm-disc", "cool-ring"], split="test").images
    tables = [evaluate(drawn, train_set, test_set, ["cifar_resnet"], device) for device in ("cpu", "cuda")]
    values = [table.set_index(["metric", "split"])["value"] for table in tables]
    assert (values[0] - values[1]).abs().div(values[0].abs() + 1e-3).max() < 1e-3
