"""The machine: the pace of a run, what one thread would do, and the precision that it multiplies in."""

import pytest
import torch
from conftest import TINY

from ganlab import machine
from ganlab.config import Config
from ganlab.data import load_data
from ganlab.errors import ConfigError
from ganlab.run import Run
from ganlab.training import loop, pace


def test_a_fall_to_under_half_is_told_once():
    watched, falls = pace.Pace(), []
    for rate in (100, 100, 60, 49, 49, 24):  # images a second, over windows of ten seconds
        falls.append(any(watched.fell(rate, 1.0) for _ in range(10)))
    assert falls == [False, False, False, True, False, True]


def test_nothing_is_measured_with_one_thread():
    config = Config.from_preset("conv-noise", **TINY)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert pace.busy(config, load_data(config)) is None
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("two, one, told", [(180.0, 422.0, True), (682.0, 422.0, False)])
def test_one_thread_is_advised_only_where_it_is_faster(two, one, told, monkeypatch):
    config = Config.from_preset("conv-noise", **TINY)
    threads = torch.get_num_threads()
    monkeypatch.setattr(pace, "rate", lambda training, seconds: one if torch.get_num_threads() == 1 else two)
    try:
        torch.set_num_threads(2)
        measured = pace.busy(config, load_data(config))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert measured == ({"threads": 2, "images_per_second": 180, "one_thread": 422} if told else None)


def test_measuring_leaves_the_run_its_bits(tmp_path, monkeypatch):
    config = Config.from_preset("conv-noise", **TINY)
    weights = []
    for name, fell in (("without", False), ("with", True)):
        monkeypatch.setattr(pace.Pace, "fell", lambda self, images, seconds, fell=fell: fell)
        monkeypatch.setattr(pace, "SECONDS", 0.01)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            for _ in loop.train(config, Run(tmp_path / name)):
                pass
        finally:
            torch.set_num_threads(threads)
        weights.append(Run(tmp_path / name).read_generator()[0].state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_bf16_is_refused_where_the_hardware_does_not_multiply_it(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(machine, "native_precision", lambda device: "fp32")
    with pytest.raises(ConfigError, match="precision is bf16.*25 times slower.*use precision auto or fp32"):
        machine.precision("bf16", cpu)
    assert machine.precision("auto", cpu) == "fp32"
    monkeypatch.setattr(machine, "native_precision", lambda device: "bf16")
    assert machine.precision("bf16", cpu) == machine.precision("auto", cpu) == "bf16"
