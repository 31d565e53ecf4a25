"""A study survives what happens to long jobs: kills, lost workers, runs that fail, a hundred claims at once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import filelock
import pandas as pd
import psutil
import pytest
import yaml
from conftest import ROOT, TINY, ganlab

from ganlab import study
from ganlab.cli import main
from ganlab.config import Config
from ganlab.data import DataError
from ganlab.errors import ConfigError
from ganlab.run import Run
from ganlab.study import cluster, forecast, jobs
from ganlab.study.plan import StudyError
from ganlab.training.loop import train

SETTINGS = {key: value for key, value in TINY.items() if key not in ("epochs", "limit")} | {
    "preset": "conv-noise", "limit": 320, "epochs": 4, "checkpoint_seconds": 0.2, "snapshot_epochs": [4],
}  # fmt: skip
ONE = [{"name": "a", "priors": ["gaussian"], "seeds": [0]}]


def write(path: Path, conditions: list[dict], settings: dict | None = None, **about) -> Path:
    path.write_text(yaml.safe_dump({"settings": SETTINGS | (settings or {}), "conditions": conditions} | about))
    return path


def read(folder: Path, conditions: list[dict], settings: dict | None = None, **about) -> study.Study:
    return study.read(str(write(folder / "plan.yaml", conditions, settings, **about)), folder / "out")


def start(plan: Path, out: Path, *words: object, within: Sequence[str] = ()) -> subprocess.Popen:
    """The study as a process of its own; what it prints is to be read from ``stdout``. within: words that put the
    process elsewhere."""
    code = "import sys; from pathlib import Path; from ganlab import study\nif __name__ == '__main__':\n"
    code += "    study.follow(study.read(sys.argv[1], Path(sys.argv[2])), *sys.argv[3:4], workers=2)"
    command = [sys.executable, "-W", "error::DeprecationWarning:ganlab", "-c", code, str(plan), str(out), *words]
    return subprocess.Popen([*within, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(condition, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


# --- the plan -------------------------------------------------------------------------------------------------------


def test_the_shipped_study_is_the_protocols(tmp_path):
    plan = study.read("noise-study", tmp_path / "new")
    counts = {condition.name: len(plan.of(condition.name)) for condition in plan.conditions}
    assert counts == {"P1": 64, "S1": 24, "P2": 96, "S2-d2": 9, "S2-d8": 9, "S2-d32": 9, "S2-d100": 9, "S3": 24}
    assert len(plan.of("S2")) == 36 and len(plan.of("")) == len(plan.runs) == 244
    assert plan.judges == ("cifar_resnet", "efficientnet_lite0") and plan.margin == 1.1
    assert (ROOT / plan.protocol).exists()
    with pytest.raises(ConfigError, match="unknown condition 'P3': valid are P1, S1, P2"):
        plan.of("P3")


def test_no_two_runs_of_the_shipped_study_are_the_same_run(tmp_path):
    runs = study.read("noise-study", tmp_path / "new").runs
    assert len({run.config.identity("") for run in runs}) == len(runs)
    assert len({run.path for run in runs}) == len(runs)


def test_a_study_that_is_broken_off_is_a_smaller_study(tmp_path):
    runs = study.read("noise-study", tmp_path / "new").of("P1")
    for place in range(8):
        here = runs[place * 8 : place * 8 + 8]
        assert [run.prior for run in here].count("gaussian") == 2
        assert {run.seed for run in here if run.prior != "gaussian"} == {place}
        assert len({run.prior for run in here}) == 7
    assert [run.seed for run in runs if run.prior == "gaussian"] == list(range(16))


def test_runs_of_a_block_differ_in_nothing_but_prior_and_seed():
    runs = [run for run in study.read("noise-study").of("P2") if run.block == "horse"]
    for run in runs:
        changed = {line.split(":")[0] for line in run.config.differences(runs[0].config)}
        assert changed <= {"prior", "seed"}
        assert run.path.parts[-3:-1] == ("P2", "horse") and run.config.classes == ["horse"]
    assert study.read("noise-study").of("P1")[0].path == Path("results/noise-study/P1/gaussian-s0")


def test_a_prior_may_have_a_scaling_of_its_own():
    runs = study.read("noise-study").of("S1")
    assert {(run.prior, run.config.prior, run.config.scaling) for run in runs} == {
        ("gaussian", "gaussian", "standardised"),
        ("exponential-raw", "exponential", "raw"),
        ("exponential-centred", "exponential", "centred"),
    }


def test_finished_pilot_runs_are_control_runs_too(tmp_path):
    """They count, and nobody trains them: a folder without metrics is no run. One of other settings is refused."""
    about = ONE[0] | {"priors": ["gaussian", "uniform"], "pilot": "pilot/a"}
    config = read(tmp_path, [about]).runs[0].config
    for seed, metrics in ((0, True), (7, True), (8, False)):
        run = Run(tmp_path / f"pilot/a/gaussian-s{seed}")
        run.write_json("config.json", {"config": config.replace(seed=seed).to_dict()})
        if metrics:
            run.write_json("metrics.json", {"epochs": config.epochs})
    runs = read(tmp_path, [about]).runs
    assert [(run.prior, run.seed, run.status) for run in runs] == [
        ("gaussian", 0, "left"), ("uniform", 0, "left"), ("gaussian", 0, "done"), ("gaussian", 7, "done"),
    ]  # fmt: skip
    with pytest.raises(StudyError, match="is no control run of condition a .g_lr"):
        read(tmp_path, [about], {"g_lr": 1e-3})


PLAIN = "{name: a, priors: [gaussian], seeds: [0]}"


def test_a_key_without_a_value_means_the_default(tmp_path):
    (tmp_path / "plan.yaml").write_text(f"outcome:\nconditions: [{PLAIN}]")
    assert study.read(str(tmp_path / "plan.yaml"), tmp_path).last_scores == 5


def test_a_study_is_free_again_once_its_runs_have_ended(tmp_path):
    done = SimpleNamespace(root=tmp_path, of=lambda condition: [])
    runs = cluster.run(done)
    assert list(runs) == []
    filelock.FileLock(tmp_path / ".lock").acquire(timeout=0).lock.release()


def test_a_forecast_leaves_out_the_pilot_of_another_machine(tmp_path):
    """Controls of another machine do not narrow the intervals of this one's runs."""
    for place in range(3):
        pilot = Config.from_preset("conv-noise", **TINY | {"epochs": 1, "seed": 90 + place})
        list(train(pilot, Run(tmp_path / "pilot" / f"gaussian-s{90 + place}")))
    settings = {key: value for key, value in TINY.items() if key != "epochs"} | {"preset": "conv-noise", "epochs": 1}
    about = {"name": "a", "priors": ["gaussian", "uniform"], "seeds": [0, 1]}
    alone, joined = (read(tmp_path, [about | more], settings) for more in ({}, {"pilot": "pilot"}))
    assert len(joined.runs) == len(alone.runs) + 3
    pd.testing.assert_frame_equal(forecast.power(alone), forecast.power(joined))


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("conditions: 3", StudyError, "is no study: it takes 'conditions'"),
        ("a: [", StudyError, "cannot be read"),
        ("a: 2024-13-45", StudyError, "cannot be read (month must be in 1..12)"),
        ("a: " + "[" * 3_000, StudyError, "cannot be read (maximum recursion depth"),
        ("- a", StudyError, "is no study"),
        ("conditions: []", StudyError, "is no study"),
        ("conditions: [a]", StudyError, "is no study"),
        ("conditions: [{name: a, priors: [gaussian]}]", StudyError, "condition a has no seeds"),
        ("conditions: [{name: a, priors: [gaussian], seeds: 5}]", StudyError, "seeds of condition a is 5: give a list"),
        ("conditions: [{name: a, priors: [], seeds: [0]}]", StudyError, "has no prior or no seed"),
        (f"settings: 3\nconditions: [{PLAIN}]", StudyError, "settings is 3"),
        (f"swap: {{conditions: 5}}\nconditions: [{PLAIN}]", ConfigError, "it takes 'conditions', a list"),
        (f"swap: {{seeds: x}}\nconditions: [{PLAIN}]", ConfigError, "and 'seeds', a number"),
        (f"predictions: [5]\nconditions: [{PLAIN}]", ConfigError, "predictions are [5]: each is a mapping"),
        (f"outcome: {{last_scores: x}}\nconditions: [{PLAIN}]", StudyError, "'last_scores', at least 1"),
        (f"notebooks: [../notebooks/experiment]\nconditions: [{PLAIN}]", StudyError, "is no plain name"),
        (f"settings: {{latent_dim: x}}\nconditions: [{PLAIN}]", ConfigError, "latent_dim is 'x', a str"),
        (f"settings: {{preset: [x]}}\nconditions: [{PLAIN}]", ConfigError, "unknown preset ['x']"),
        ("conditions: [{name: a, priors: [{name: a, prior: [x], scaling: raw}], seeds: [0]}]", ConfigError, "a list"),
        (f"cells: []\nconditions: [{PLAIN}]", ConfigError, "unknown key of a plan 'cells'"),
        (f"order: random\nconditions: [{PLAIN}]", ConfigError, "unknown order 'random'"),
        (f"outcome: {{metric: kid}}\nconditions: [{PLAIN}]", StudyError, "it takes 'metric: fd'"),
        ("conditions: [{name: a, priors: [cauchy], seeds: [0]}]", ConfigError, "unknown prior 'cauchy'"),
        ("conditions: [{name: a, priors: [gaussian, gaussian], seeds: [0]}]", StudyError, "'gaussian' twice"),
        ("conditions: [{name: a, priors: [gaussian], seeds: [0, 0]}]", StudyError, "seed 0 twice"),
        (f"conditions: [{PLAIN}, {PLAIN}]", StudyError, "condition 'a' twice"),
        (f"conditions: [{PLAIN}, {PLAIN.replace('a,', 'A,', 1)}]", StudyError, "twice"),
        ("conditions: [{name: ../a, priors: [gaussian], seeds: [0]}]", StudyError, "'../a' is no plain name"),
        ("conditions: [{name: .., priors: [gaussian], seeds: [0]}]", StudyError, "'..' is no plain name"),
        ("conditions: [{name: a, blocks: [a/b], priors: [gaussian], seeds: [0]}]", StudyError, "no plain name"),
        ("conditions: [{name: a, priors: [bernoulli, rademacher], seeds: [0]}]", StudyError,
         "rademacher is bernoulli under scaling standardised: keep one"),
        ("conditions: [{name: a, priors: [exponential, {name: e, prior: exponential, scaling: centred}], seeds: [0]}]",
         StudyError, "e is exponential under scaling centred"),
        (f"margin: 0.9\nconditions: [{PLAIN}]", ConfigError, "margin is 0.9: give a ratio above 1"),
        (f"swap: {{conditions: [b]}}\nconditions: [{PLAIN}]", ConfigError, "unknown condition 'b'"),
        (f"predictions: [{{statement: s, kind: worse, condition: b}}]\nconditions: [{PLAIN}]", ConfigError,
         "unknown condition 'b'"),
        (f"predictions: [{{condition: a}}]\nconditions: [{PLAIN}]", ConfigError, "with 'statement' and 'kind'"),
        (f"settings: {{epoch: 3}}\nconditions: [{PLAIN}]", ConfigError, "did you mean 'ep"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_study_is_answered_in_one_sentence(tmp_path, text, error, sentence):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(error) as found:
        study.read(str(tmp_path / "plan.yaml"))
    assert sentence in str(found.value) and "\n" not in str(found.value)


def test_raw_rademacher_is_another_prior_than_raw_bernoulli(tmp_path):
    names = ["gaussian", "bernoulli", "rademacher"]
    plan = read(tmp_path, [{"name": "a", "priors": names, "seeds": [0], "settings": {"scaling": "raw"}}])
    assert [run.prior for run in plan.runs] == names


def test_empty_settings_and_a_number_for_a_name_are_taken(tmp_path):
    text = "settings:\nconditions: [{name: 8, priors: [gaussian], seeds: [0], settings: }]"
    (tmp_path / "plan.yaml").write_text(text)
    (run,) = study.read(str(tmp_path / "plan.yaml"), tmp_path).runs
    assert run.path == tmp_path / "8" / "gaussian-s0" and run.block == "all"


def test_an_unknown_study_names_those_there_are():
    with pytest.raises(ConfigError, match="unknown study 'quik'.*did you mean 'quick'.*noise-study"):
        study.read("quik")


def test_a_run_is_done_by_its_numbers_alone_and_a_folder_with_other_settings_is_refused(tmp_path):
    planned = read(tmp_path, ONE).runs[0]
    assert planned.status == "left"
    Run(planned.path).write_json("config.json", {"config": planned.config.to_dict()})
    Run(planned.path).write_json("metrics.json", {"epochs": planned.config.epochs})
    assert planned.status == "done", "a checkout has the numbers of all runs, the generators of a few"
    changed = read(tmp_path, ONE, {"g_lr": 1e-3}).runs[0]
    with pytest.raises(StudyError, match="holds another run .g_lr: 0.0005 -> 0.001.: start in a new folder"):
        _ = changed.status


# --- before anything is trained -------------------------------------------------------------------------------------


def test_the_plan_says_runs_images_and_what_it_can_find_and_writes_nothing(tmp_path, capsys):
    conditions = [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0, 1, 2], "control_seeds": [0, 1, 2, 3]}]
    plan = write(tmp_path / "plan.yaml", conditions)
    assert main(["study", "plan", "--study", str(plan), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert "8,960" in said and "SD 0.05" in said  # 7 runs of 4 epochs of 320 images
    assert not (tmp_path / "out").exists()


def test_the_power_table_takes_the_pilots_spread(tmp_path):
    plan = read(tmp_path, [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0, 1, 2]}])
    assert sorted(forecast.power(plan)["sd"]) == sorted(forecast.SDS)
    plan.root.mkdir()
    rows = ["condition,prior,log_fd_cifar_resnet", "conv-noise,gaussian,4.0", "conv-noise,gaussian,4.2"]
    (plan.root / "pilot.csv").write_text("\n".join(rows))
    assert forecast.power(plan)["sd"].tolist() == pytest.approx([0.1414], abs=1e-4)


def test_the_time_left_is_that_of_the_workers_there_will_be(monkeypatch):
    counts = {"done": 1, "running": 0, "half done": 0, "left": 4, "failed": 0, "all": 5, "seconds_left": 7200}
    monkeypatch.setattr("ganlab.study.cluster._gpus", lambda: 4)
    assert study.describe(counts).endswith("about 0:30:00 left with 4 workers")
    assert study.describe(counts, 1).endswith("about 2:00:00 left with 1 worker")
    assert study.describe(counts, 1, pace=1.5).endswith("about 3:00:00 left at this pace")
    for asked in (-1, 10**24):
        with pytest.raises(StudyError, match=f"{asked} workers cannot be: give 1 to 1,024"):
            study.describe(counts, asked)


# --- one run at a time ----------------------------------------------------------------------------------------------


def test_next_trains_one_run_and_says_when_nothing_is_left(tmp_path, capsys):
    plan = write(tmp_path / "plan.yaml", [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0]}])
    words = ["study", "--next", "--study", str(plan), "--out", str(tmp_path / "out")]
    assert [main(words), main([words[0], "next", *words[2:]]), main(words)] == [0, 0, 3]
    assert capsys.readouterr().out.splitlines()[-1].endswith("nothing left to claim")
    assert not list((tmp_path / "out").rglob(jobs.ATTEMPT))


def test_a_condition_alone_is_claimed(tmp_path):
    conditions = [{"name": name, "priors": ["gaussian"], "seeds": [0]} for name in ("a", "b-1", "b-2")]
    plan = read(tmp_path, conditions)
    assert [study.next_run(plan, "b").condition for _ in range(2)] == ["b-1", "b-2"]
    assert study.next_run(plan, "b") is None and plan.runs[0].status == "left"


def test_a_claimed_run_is_left_to_its_process(tmp_path):
    plan = read(tmp_path, [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0]}])
    with jobs.claim(plan.runs[0].path) as mine:
        assert mine
        assert study.next_run(plan).prior == "poisson"
        assert study.next_run(plan) is None


def test_a_run_that_another_process_trains_without_a_claim_has_not_failed(tmp_path):
    """As by hand, with ganlab train."""
    plan = read(tmp_path, [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0]}])
    planned = plan.runs[0]
    with Run(planned.path).lock():
        assert study.next_run(plan).prior == "poisson"
        assert study.next_run(plan) is None
        assert "another process is training in" in jobs.perform(planned.path, planned.config)
        assert planned.status == "running" and not list(planned.path.rglob("*.json"))
    assert study.next_run(plan) == planned and planned.status == "done"


def test_a_run_that_dies_twice_without_progress_has_failed_and_one_that_moves_never_does(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    for place in range(20):
        assert jobs.begin(path), "every attempt left a newer checkpoint"
        (path / "checkpoint.pt").write_text(str(place))
        os.utime(path / "checkpoint.pt", (place, place))
    assert jobs.begin(path) and jobs.begin(path) and not jobs.begin(path)


def test_a_run_that_fails_says_why_and_is_tried_again_when_asked(tmp_path, capsys):
    settings = {"g_lr": 1e30, "d_lr": 1e30, "checkpoint_seconds": 60.0}
    plan = write(tmp_path / "plan.yaml", ONE, settings)
    words = ["study", "next", "--study", str(plan), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "the loss is no longer finite" in capsys.readouterr().out
    assert main(words) == 3, "a failed run is nothing left to do"
    assert main([*words, "--retry-failed"]) == 1
    assert main([words[0], "status", *words[2:]]) == 1
    assert "1 failed of 1" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out/a/gaussian-s0/failed.json").read_text())["traceback"]) > 100


def test_data_that_is_gone_is_one_sentence_and_no_failed_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path / "gone.npz"))
    plan = write(tmp_path / "plan.yaml", ONE, {"dataset": "cifar10", "classes": ["ship"]})
    words = ["study", "next", "--study", str(plan), "--out", str(tmp_path / "out")]
    assert [main(words) for _ in range(3)] == [2, 2, 2]
    assert "gone.npz does not exist" in capsys.readouterr().err
    assert study.read(str(plan), tmp_path / "out").runs[0].status == "left"


@pytest.mark.slow
def test_ten_at_once_train_every_run_once_to_the_bits_of_one_alone(tmp_path):
    conditions = [{"name": "a", "priors": ["gaussian", "poisson", "bernoulli"], "seeds": [0, 1]}]
    plan, out = write(tmp_path / "plan.yaml", conditions), tmp_path / "out"
    runs = study.read(str(plan), out).runs
    command = [sys.executable, "-m", "ganlab", "study", "--next", "--study", str(plan), "--out", str(out)]
    started = [subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
                                text=True) for _ in range(10)]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in started]
    assert sorted(process.returncode for process in started) == [0] * 6 + [3] * 4, said
    lines = [line for text in said for line in text.splitlines() if line.startswith("done: ")]
    assert sorted(lines) == sorted(f"done: {run.path}" for run in runs), "once each, none twice"
    alone = Run(tmp_path / "alone")
    list(train(runs[3].config, alone))
    name = "generator.safetensors"
    assert (alone.path / name).read_bytes() == (runs[3].path / name).read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path):
    plan, out = write(tmp_path / "plan.yaml", ONE, {"epochs": 40}), tmp_path / "out"
    (run,) = study.read(str(plan), out).runs
    command = [sys.executable, "-m", "ganlab", "study", "--next", "--study", str(plan), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    wait_until((run.path / "checkpoint.pt").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run.status == "half done"
    assert ganlab(*command[3:], OMP_NUM_THREADS="1").returncode == 0
    alone = Run(tmp_path / "alone")
    list(train(run.config, alone))
    name = "generator.safetensors"
    assert run.status == "done" and (alone.path / name).read_bytes() == (run.path / name).read_bytes()


# --- on a cluster ---------------------------------------------------------------------------------------------------


def test_nobody_answers_at_a_wrong_address(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.5)
    with pytest.raises(StudyError, match="no Dask scheduler answers at tcp://127.0.0.1:1"):
        list(study.run(read(tmp_path, ONE), "tcp://127.0.0.1:1"))


@pytest.mark.slow
def test_a_mistake_of_this_machine_stops_a_study_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path / "gone.npz"))
    plan = read(tmp_path, ONE, {"dataset": "cifar10", "classes": ["ship"]})
    with pytest.raises(DataError, match="gone.npz does not exist"):
        list(study.run(plan, workers=1))
    assert plan.runs[0].status == "left"


@pytest.mark.slow
def test_a_run_that_a_lost_worker_still_trains_is_waited_for(tmp_path, monkeypatch):
    from distributed import Client, LocalCluster

    monkeypatch.setattr(cluster, "CLAIM_SECONDS", 0.1)
    plan, ended = read(tmp_path, [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0]}]), []
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as here,
        Client(here) as client,
        contextlib.ExitStack() as lost,
    ):
        assert lost.enter_context(jobs.claim(plan.runs[0].path))
        for planned, state in cluster._feed(client, plan.runs, 0, False):
            if state != "running":
                ended.append((planned.prior, state))
                lost.close()
    assert ended == [("poisson", "done"), ("gaussian", "done")]


@pytest.mark.slow
def test_a_cluster_started_here_speaks_tls_and_lets_no_stranger_in():
    from distributed import Client

    with cluster._client("", 1) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(os.getenv, "MALLOC_TRIM_THRESHOLD_").result() is None
        assert client.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
        with pytest.raises((OSError, TypeError, ValueError)):
            Client(address.replace("tls", "tcp"), timeout=3)


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was_and_a_run_that_fails_stops_no_other(tmp_path, capsys):
    conditions = [
        {"name": "diverges", "priors": ["gaussian"], "seeds": [0], "settings": {"g_lr": 1e30, "d_lr": 1e30}},
        {"name": "works", "priors": ["gaussian", "bernoulli"], "seeds": [0], "settings": {"epochs": 40}},
    ]
    plan, out = write(tmp_path / "plan.yaml", conditions), tmp_path / "out"
    runs = study.read(str(plan), out).runs

    first = start(plan, out)
    wait_until(lambda: any((run.path / "checkpoint.pt").exists() for run in runs[1:]))
    second = start(plan, out)
    assert "another process is running the study" in second.communicate(timeout=60)[0]
    children = psutil.Process(first.pid).children(recursive=True)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    alive = psutil.wait_procs(children, timeout=30)[1]
    assert not [child for child in alive if child.status() != "zombie"], "nobody is left behind"

    said = start(plan, out).communicate(timeout=300)[0]
    assert [run.status for run in runs] == ["failed", "done", "done"], said
    assert "the loss is no longer finite" in json.loads((runs[0].path / "failed.json").read_text())["traceback"]
    study.follow(study.read(str(plan), out), workers=2)
    assert "2 done, 1 failed of 3" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["worker", "scheduler"])
def test_a_cluster_started_by_hand_survives_a_lost_worker_and_a_lost_scheduler_is_one_sentence(lost, tmp_path):
    conditions = [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0], "settings": {"epochs": 40}}]
    plan, out = write(tmp_path / "plan.yaml", conditions), tmp_path / "out"
    runs = study.read(str(plan), out).runs
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    address = f"tcp://127.0.0.1:{_free_port()}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", address.rsplit(":", 1)[1], "--no-dashboard"]
    worker = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
    processes = [subprocess.Popen([*dask, *words], cwd=ROOT, env=environment) for words in (scheduler, worker, worker)]
    try:
        job = start(plan, out, address)
        wait_until(lambda: all((run.path / "checkpoint.pt").exists() for run in runs))
        processes[lost == "worker"].send_signal(signal.SIGKILL)
        said = job.communicate(timeout=300)[0]
        if lost == "scheduler":
            assert "is gone: start it again, or another, and give the same command" in said.splitlines()[-1]
            return
        assert [run.status for run in runs] == ["done", "done"], said
        assert [Run(run.path).metrics["epochs"] for run in runs] == [40, 40]
    finally:
        for process in processes[::-1]:
            process.kill()  # a worker without its scheduler would wait for the run under way
            process.wait(30)


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# --- pages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["presets", "noise-study"])
def test_nothing_is_reported_of_a_study_without_a_run(name, tmp_path, capsys):
    assert main(["study", "report", "--study", name, "--out", str(tmp_path / "out")]) == 2
    assert f"holds no run of {name} that has ended: 'ganlab study --study {name} --out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_study_is_reported_until_another_run_ends(tmp_path):
    found = read(tmp_path, [{"name": "a", "priors": ["gaussian"], "seeds": [0, 1]}])
    for planned in found.runs:
        planned.path.mkdir(parents=True)
        (planned.path / "failed.json").write_text("{}")
    assert not found.is_reported
    for name in found.notebooks:
        (found.root / f"{name}.ipynb").write_text("{}")
    assert found.is_reported
    os.utime(found.runs[0].path / "failed.json", (2e9, 2e9))
    assert not found.is_reported
