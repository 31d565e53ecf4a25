"""The bench measures what it says it does: the right networks, real processes, scores at the minutes asked for."""

import json

import pandas as pd
import pytest
import torch
from conftest import needs_cifar10

from ganlab.bench import contenders, race, throughput, waits
from ganlab.config import Config
from ganlab.files import read_png
from ganlab.machine import native_precision
from ganlab.networks.build import build
from ganlab.run import Run


def test_plain_and_the_same_networks_in_ganlab_have_the_same_layers():
    ours = build(Config.from_preset("dcgan", instance_noise=0.0), torch.Generator())
    for one, other in zip(contenders.dcgan_example(), ours, strict=True):
        shapes = [tuple(p.shape) for p in one.parameters()], [tuple(p.shape) for p in other.parameters() if p.ndim > 1]
        assert [shape for shape in shapes[0] if len(shape) > 1] == shapes[1]


def test_a_worker_is_a_process_that_says_how_long_a_step_takes():
    worker = throughput.Worker("limit fp32", threads=1)
    worker.ready()
    side = round((worker.about["flop"] / 2) ** (1 / 3))
    assert worker.about["flop"] == 2 * side**3
    worker.start(0.05)
    assert 0 < worker.finish() < 10
    assert worker.peak > 2**26
    worker.stop()
    assert worker.process.returncode == 0


def test_a_worker_that_dies_is_named():
    worker = throughput.Worker("no such contender")
    with pytest.raises(contenders.BenchError, match="measures 'no such contender' ended with code 1"):
        worker.ready()


def test_the_bars_compare_what_was_measured():
    rates = {"same networks": (210.0, 1.4), "fast": (95.0, 0.7), "fast, networks alone": (100.0, 0.7)}
    table = pd.DataFrame(
        [
            {"contender": name, "images_per_second": rate, "ratio_to_plain": ratio, "share_of_limit": 0.5}
            for name, (rate, ratio) in rates.items()
        ]
    )
    seconds = dict.fromkeys(
        ("import ganlab", "ganlab --help", "data of a second start", "first step, imports done"), 0.2
    )
    seconds |= {"10,000 samples": 6.0, "one sample": 0.02}
    standing = waits.bars(table, together=[1.7, 1.95, 1.96], around=[0.3, 0.05, 0.01], waits=seconds)
    met = standing.set_index("figure")["met"]
    assert met["same networks / plain"] == (native_precision(torch.device("cpu")) == "fp32")  # 1.4 times plain
    assert standing.set_index("figure")["measured"]["all but the networks, share of a step"] == pytest.approx(0.05)
    assert met["two processes of one thread / one"]
    assert not met["10,000 samples, seconds"]
    assert not met["one sample, seconds"]


@pytest.mark.slow
@needs_cifar10
def test_resolutions_are_measured_each_in_its_own_process(tmp_path, monkeypatch):
    chosen = {name: throughput.SIZES[name] for name in ("fast at 32", "fast at 64")}
    monkeypatch.setattr(throughput, "SIZES", chosen)
    small, large = throughput.resolutions(tmp_path, rounds=1, seconds=0.01)
    assert small["batch"] == large["batch"] == 16 and small["peak_memory_mb"] > 100
    assert 3.5 < large["mflop_per_image"] / small["mflop_per_image"] < 6.5  # four times the pixels, and a stage more
    assert "| fast at 64" in (tmp_path / "resolutions.md").read_text()


def test_a_race_without_a_rate_for_its_minutes_is_a_sentence(tmp_path):
    (tmp_path / "bench.json").write_text(json.dumps({"contenders": {}}))
    with pytest.raises(contenders.BenchError, match="has no rate of 'fast'"):
        next(race.run_race(tmp_path, "fast", 1, 0))


def test_a_race_is_held_to_its_bars_where_both_have_run():
    marks = [("sngan", 10, 90.0, 0.1), ("fast", 4, 81.0, 0.1), ("fast", 20, 60.0, 0.3)]
    means = pd.DataFrame(marks, columns=["contender", "minutes", "fd", "recall"]).set_index(["contender", "minutes"])
    table = race.race_bars(means)
    assert table["measured"].tolist() == [0.9, 60.0, 0.3] and table["met"].tolist() == [True, False, True]
    assert len(race.race_bars(means.drop(("fast", 20)))) == 1
    assert race.race_bars(means.loc[["sngan"]]).empty


@pytest.mark.slow
@needs_cifar10
def test_both_precisions_of_a_preset_take_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "PRESETS", ["r3gan-small"])  # torch cannot count a penalty on gradients
    (row,) = throughput.precisions(tmp_path, rounds=1, seconds=0.01)
    assert row["fp32"] > 0 and 0 < row["auto / better"] <= 1
    assert ("bf16" in row) == (native_precision(torch.device("cpu")) == "bf16")
    assert "| r3gan-small" in (tmp_path / "precisions.md").read_text()


@pytest.mark.slow
@needs_cifar10
@pytest.mark.parametrize("contender", ["plain", "fast, conditional"])
def test_a_race_is_scored_at_its_minutes_and_not_run_twice(contender, tmp_path, monkeypatch):
    monkeypatch.setattr(race, "SAMPLES", 80)
    monkeypatch.setattr(race, "MARKS", (1,))
    record = {"contenders": {contender: {"images_per_second": 2.0}}}  # a minute is 120 images
    (tmp_path / "bench.json").write_text(json.dumps(record))
    rows = [table[table["metric"] == "fd"].iloc[0] for table in race.run_race(tmp_path, contender, 1.5, seed=3)]
    assert [row["minutes"] for row in rows] == [1, 1.5]
    assert [-(-images // 64) for images in (120, 180)] == [-(-row["images"] // 64) for row in rows]
    assert all(row["value"] > row["floor"] for row in rows)
    rows_of_images = [read_png(path).shape[0] // 32 for path in (tmp_path / "race").glob("*-s3-*min.png")]
    assert rows_of_images == ([8, 8] if contender == "plain" else [10, 10])  # a class a row
    assert list(race.run_race(tmp_path, contender, 1.5, seed=3)) == []

    (tmp_path / "bench.json").write_text(json.dumps({"contenders": {contender: {"images_per_second": 50.0}}}))
    (table,) = race.run_race(tmp_path, contender, 1, seed=4)
    assert table["images"].iloc[0] == rows[0]["images"], "a minute of one contender means the same in all of its races"
    assert json.loads((tmp_path / "race" / "about.json").read_text())["date"]

    kept = [Run(path.parent).read_generator()[1] for path in tmp_path.rglob("generator.safetensors")]
    assert [config.conditional for config in kept] == ([] if contender == "plain" else [True, True])

    report = race.draw_race(tmp_path).read_text()
    assert f"{rows[-1]['value']:.4g}" in report
    assert (tmp_path / "race.png").stat().st_size > 5000
