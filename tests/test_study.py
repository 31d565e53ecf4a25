"""A study survives what happens to long jobs: kills, lost workers, runs that fail. Real processes, real notebooks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import ROOT, TINY

from ganlab import study
from ganlab.cli import main
from ganlab.config import NULL
from ganlab.errors import ConfigError
from ganlab.notebooks import NotebookError
from ganlab.run import Run
from ganlab.study import cluster
from ganlab.study.plan import StudyError

SETTINGS = {key: value for key, value in TINY.items() if key not in ("epochs", "limit")} | {
    "preset": "conv-noise", "limit": 320, "epochs": 4, "checkpoint_seconds": 0.2, "snapshot_epochs": [4],
}  # fmt: skip


def write(path: Path, cells: list[dict], **settings) -> Path:
    path.write_text(yaml.safe_dump({"settings": SETTINGS | settings, "cells": cells}))
    return path


def start(plan: Path, out: Path, *words: object) -> subprocess.Popen:
    """The study as a process of its own, one kernel thread a worker; what it prints is to be read from ``stdout``."""
    code = "import sys; from pathlib import Path; from ganlab import study; study.follow(study.read(sys.argv[1], "
    code += "Path(sys.argv[2])), *sys.argv[3:4], workers=2)"
    command = [sys.executable, "-W", "error::DeprecationWarning:ganlab", "-c", code, str(plan), str(out), *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(condition, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


# --- the plan -------------------------------------------------------------------------------------------------------


def test_all_priors_of_a_seed_come_before_the_next_seed_and_cells_keep_their_order():
    plan = study.read("noise-study")
    cells = [planned.cell for planned in plan.runs]
    assert list(dict.fromkeys(cells)) == ["fast-d100-standardised", "conv-noise-d100-raw", "fast-d100-raw",
                                          "fast-d8-standardised", "fast-d100-extended",
                                          "fast-d8-new-seeds"]  # fmt: skip
    assert [cells.count(cell) for cell in dict.fromkeys(cells)] == [40, 24, 15, 24, 21, 15]
    first = plan.runs[:40]
    assert [planned.seed for planned in first] == sorted(planned.seed for planned in first)
    assert {planned.prior for planned in first[:8]} == {planned.prior for planned in first[8:16]}


def test_runs_of_a_cell_differ_in_nothing_but_latents_and_seed():
    runs = [planned for planned in study.read("noise-study").runs if planned.cell == "fast-d100-standardised"]
    gaussian = next(planned for planned in runs if planned.prior == "gaussian" and planned.seed == 2)
    for planned in runs:
        if planned.seed == 2:
            changed = {line.split(":")[0] for line in planned.config.differences(gaussian.config)}
            assert changed <= ({"latent_seed"} if planned.prior == NULL else {"prior"})


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("cells: 3", StudyError, "is no study"),
        ("a: [", StudyError, "is no study"),
        ("cells: [{name: a, priors: [gaussian]}]", StudyError, "a list of priors and one of seeds"),
        ("cells: [{name: a, priors: [gaussian], seeds: 5}]", StudyError, "is no study"),
        ("cells: [a]", StudyError, "is no study"),
        ("settings: 3\ncells: [{name: a, priors: [gaussian], seeds: [0]}]", StudyError, "is no study"),
        ("cells: [{name: ab, priors: [gaussian], seeds: [0], reference: a}]", ConfigError, "unknown reference 'a'"),
        ("cells: [{name: a, priors: [cauchy], seeds: [0]}]", ConfigError, "unknown prior 'cauchy'"),
        ("cells: [{name: a, priors: [gaussian, gaussian], seeds: [0]}]", StudyError, "twice"),
        ("{settings: {epoch: 3}, cells: [{name: a, priors: [gaussian], seeds: [0]}]}", ConfigError, "did you mean 'ep"),
    ],
)
def test_a_file_that_is_no_study_is_answered(tmp_path, text, error, sentence):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(error, match=sentence):
        study.read(str(tmp_path / "plan.yaml"))


def test_empty_settings_and_a_number_for_a_name_are_taken(tmp_path):
    (tmp_path / "plan.yaml").write_text("settings:\ncells: [{name: 8, priors: [gaussian], seeds: [0], settings: }]")
    (run,) = study.read(str(tmp_path / "plan.yaml"), tmp_path).runs
    assert run.path == tmp_path / "8" / "gaussian-s0"


def test_the_time_left_is_that_of_the_workers_there_will_be(monkeypatch):
    counts = {"done": 1, "running": 0, "half done": 0, "left": 4, "failed": 0, "all": 5, "seconds_left": 7200}
    monkeypatch.setattr("ganlab.study.cluster._gpus", lambda: 4)
    assert study.describe(counts).endswith("about 0:30:00 left with 4 workers")
    assert study.describe(counts, 1).endswith("about 2:00:00 left with 1 worker")
    assert study.describe(counts, 1, pace=1.5).endswith("about 3:00:00 left at this pace")
    with pytest.raises(StudyError, match="-1 workers cannot be: give their number"):
        study.describe(counts, -1)


def test_a_study_that_cannot_begin_leaves_no_folder(tmp_path, monkeypatch):
    plan = study.read(str(write(tmp_path / "plan.yaml", [{"name": "a", "priors": ["gaussian"], "seeds": [0]}])), "out")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotebookError, match="not inside a ganlab checkout"):
        next(study.run(plan))
    assert not (tmp_path / "out").exists()


def test_an_unknown_study_names_those_there_are():
    with pytest.raises(ConfigError, match="unknown study 'quik'.*did you mean 'quick'.*noise-study"):
        study.read("quik")


@pytest.mark.slow
def test_two_workers_of_a_machine_with_two_gpus_take_one_each(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for visible, taken in ((None, {"0", "1"}), ("3,5", {"3", "5"})):
        if visible:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with cluster._client("", 2) as client:
            assert set(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == {visible}
            for _ in range(2):  # run after run it stays the same
                for address in client.scheduler_info()["workers"]:
                    client.submit(cluster._take_device, 2, workers=[address], pure=False).result()
                assert set(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == taken


@pytest.mark.slow
def test_nobody_answers_at_a_wrong_address(tmp_path):
    plan = write(tmp_path / "plan.yaml", [{"name": "a", "priors": ["gaussian"], "seeds": [0]}])
    with pytest.raises(StudyError, match="no Dask scheduler answers at tcp://127.0.0.1:1"):
        list(study.run(study.read(str(plan), tmp_path / "out"), "tcp://127.0.0.1:1"))


def test_a_run_is_done_by_its_numbers_alone_and_a_folder_with_other_settings_is_refused(tmp_path):
    cells = [{"name": "a", "priors": ["gaussian"], "seeds": [0]}]
    planned = study.read(str(write(tmp_path / "plan.yaml", cells)), tmp_path / "out").runs[0]
    assert planned.status == "left"
    Run(planned.path).write_json("config.json", {"config": planned.config.to_dict()})
    Run(planned.path).write_json("metrics.json", {"epochs": planned.config.epochs})
    assert planned.status == "done", "a checkout has the numbers of all runs, the generators of a few"
    changed = study.read(str(write(tmp_path / "plan.yaml", cells, g_lr=1e-3)), tmp_path / "out").runs[0]
    with pytest.raises(StudyError, match="holds another run .g_lr: 0.0002 -> 0.001.: start in a new folder"):
        _ = changed.status


@pytest.mark.parametrize("name", ["presets", "noise-study"])
def test_nothing_is_reported_of_a_study_without_a_run(name, tmp_path, capsys):
    assert main(["study", "report", "--study", name, "--out", str(tmp_path / "out")]) == 2
    assert f"holds no run of {name} that has ended: 'ganlab study --study {name} --out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_study_is_reported_until_another_run_ends(tmp_path, capsys):
    cells = [{"name": "a", "priors": ["gaussian"], "seeds": [0, 1]}]
    words = ["study", "--study", str(write(tmp_path / "plan.yaml", cells)), "--out", str(tmp_path / "out")]
    found = study.read(words[2], words[4])
    for planned in found.runs:
        planned.path.mkdir(parents=True)
        (planned.path / "failed.json").write_text("{}")
    assert not found.is_reported
    found.report.write_text("{}")
    assert main(words) == 0
    assert f"{found.report} tells of all of them; 'ganlab study report' makes it again" in capsys.readouterr().out
    os.utime(found.runs[0].path / "failed.json", (2e9, 2e9))
    assert not found.is_reported


# --- running --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was_and_a_run_that_fails_stops_no_other(tmp_path):
    cells = [
        {"name": "diverges", "priors": ["gaussian"], "seeds": [0], "settings": {"g_lr": 1e30, "d_lr": 1e30}},
        {"name": "works", "priors": ["gaussian", "bernoulli"], "seeds": [0], "settings": {"epochs": 25}},
    ]
    plan, out = write(tmp_path / "plan.yaml", cells), tmp_path / "out"
    runs = study.read(str(plan), out).runs

    first = start(plan, out)
    wait_until(lambda: any(planned.status == "done" for planned in runs))
    second = start(plan, out)
    assert "another process is running the study" in second.communicate(timeout=60)[0]
    wait_until(lambda: any(planned.status == "running" for planned in runs[1:]))
    half_done = next(planned for planned in runs[1:] if planned.status == "running")
    wait_until(half_done.path.joinpath("checkpoint.pt").exists)
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    alive = psutil.wait_procs(children, timeout=30)[1]
    assert not [child for child in alive if child.status() != "zombie"], "nobody is left behind"
    finished = [planned.path / "metrics.json" for planned in runs if planned.status == "done"]
    written = [path.stat().st_mtime_ns for path in finished]

    said = start(plan, out).communicate(timeout=300)[0]
    assert [planned.status for planned in runs] == ["failed", "done", "done"], said
    assert [path.stat().st_mtime_ns for path in finished] == written
    assert "going on from the checkpoint" in (half_done.path / "experiment.ipynb").read_text()
    assert "the loss is no longer finite" in json.loads((runs[0].path / "failed.json").read_text())["traceback"]

    again = start(plan, out).communicate(timeout=60)[0]
    assert "2 done, 1 failed of 3" in again
    assert not (out / "works" / "gaussian-s0" / "experiment.partial.ipynb").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["worker", "scheduler"])
def test_a_cluster_started_by_hand_survives_a_lost_worker_and_a_lost_scheduler_is_one_sentence(lost, tmp_path):
    cells = [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0], "settings": {"epochs": 40}}]
    plan, out = write(tmp_path / "plan.yaml", cells), tmp_path / "out"
    runs = study.read(str(plan), out).runs
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    address = f"tcp://127.0.0.1:{_free_port()}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", address.rsplit(":", 1)[1], "--no-dashboard"]
    worker = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
    processes = [subprocess.Popen([*dask, *words], cwd=ROOT, env=environment) for words in (scheduler, worker, worker)]
    try:
        job = start(plan, out, address)
        wait_until(lambda: all(planned.status in ("running", "done") for planned in runs))
        wait_until(lambda: all((planned.path / "checkpoint.pt").exists() for planned in runs))
        processes[lost == "worker"].send_signal(signal.SIGKILL)
        said = job.communicate(timeout=300)[0]
        if lost == "scheduler":
            assert "is gone: start it again, or another, and give the same command" in said.splitlines()[-1]
            return
        assert [planned.status for planned in runs] == ["done", "done"], said
        assert [Run(planned.path).metrics["epochs"] for planned in runs] == [40, 40]
    finally:
        for process in processes[::-1]:
            process.kill()  # a worker without its scheduler would wait for the run under way
            process.wait(30)


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
