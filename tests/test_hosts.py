"""A study over several hosts: network namespaces with a folder that they share. One is cut off, one dies."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from conftest import ROOT
from test_study import start, wait_until, write

from ganlab import study
from ganlab.run import Run
from ganlab.training.loop import train

ADDRESSES = {"scheduler": "10.77.0.1", "first": "10.77.0.2", "second": "10.77.0.3"}
SCHEDULER = f"tcp://{ADDRESSES['scheduler']}:8786"
RUNS = [{"name": "a", "priors": ["gaussian", "poisson"], "seeds": [0]}]


def within(host: subprocess.Popen) -> list[str]:
    """The words before a command that is run on a host."""
    return ["nsenter", "--target", str(host.pid), "--user", "--net", "--preserve-credentials"]


def on(host: subprocess.Popen, *commands: str) -> None:
    for command in commands:
        subprocess.run([*within(host), *command.split()], check=True, capture_output=True, text=True)


def new_host(*words: str) -> subprocess.Popen:
    """A process that does nothing, in a network of its own."""
    host = subprocess.Popen([*words, "sleep", "infinity"], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: Path(f"/proc/{host.pid}/comm").read_text() == "sleep\n" or host.poll() is not None)
    if host.poll() is not None:
        raise OSError(host.stderr.read().strip())
    return host


@pytest.fixture
def hosts() -> Iterator[dict[str, subprocess.Popen]]:
    """Three hosts by name, joined by a bridge on the first; nobody has to be root."""
    found: dict[str, subprocess.Popen] = {}
    try:
        for name, address in ADDRESSES.items():
            outside = within(found["scheduler"]) if found else []
            found[name] = new_host(*outside, "unshare", "--net", *([] if found else ["--map-root-user"]))
            if name == "scheduler":
                link = "lan"
                on(found[name], f"ip link add {link} type bridge")
            else:
                link = "uplink"
                on(
                    found["scheduler"],
                    f"ip link add {name} type veth peer name {link} netns {found[name].pid}",
                    f"ip link set {name} master lan up",
                )
            on(found[name], f"ip addr add {address}/24 dev {link}", f"ip link set {link} up", "ip link set lo up")
        yield found
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', '') or error}")
    finally:
        for host in found.values():
            host.kill()
            host.wait()
            host.stderr.close()


@pytest.fixture
def dask(hosts, tmp_path):
    """Starts a Dask scheduler or worker, by name, on a host. A lost connection is noticed as soon as Dask allows."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
        "WATCHED": str(tmp_path),
    }
    processes = []

    def started(kind: str, host: str, *words: str) -> subprocess.Popen:
        about = ["--host", ADDRESSES[host], "--no-dashboard", "--preload", str(ROOT / "tests" / "watcher.py")]
        command = [*within(hosts[host]), sys.executable, "-m", "dask", kind, *words, *about]
        with open(tmp_path / "said", "a") as said:
            processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said))
        return processes[-1]

    yield started
    for process in processes[::-1]:
        process.kill()
        process.wait(30)


@pytest.mark.slow
def test_a_host_cut_off_and_one_that_dies_cost_no_bit_and_nothing_is_trained_twice_at_once(hosts, dask, tmp_path):
    plan, out = write(tmp_path / "plan.yaml", RUNS, {"checkpoint_seconds": 0.0}), tmp_path / "out"
    runs = {planned.path.name: planned for planned in study.read(str(plan), out).runs}

    def log(*words: str) -> list[list[str]]:
        path = tmp_path / "log"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if set(words) <= set(line)]

    def worker(host: str, name: str) -> subprocess.Popen:
        local = ["--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / name)]
        return dask("worker", host, SCHEDULER, "--name", name, *local)

    dask("scheduler", "scheduler", "--port", "8786")
    _, second = worker("first", "first"), worker("second", "second")
    wait_until(lambda: len(log("joined")) == 2)
    job = start(plan, out, SCHEDULER, within=within(hosts["scheduler"]))
    try:
        wait_until(lambda: len(log("checkpoint", "20")) == 2)
        (cut,), (killed,) = ([line[1] for line in log("20", name)] for name in ("first", "second"))
        (tmp_path / f"{killed}-40").touch()

        on(hosts["first"], "ip link set uplink down")
        (tmp_path / f"{cut}-20").touch()
        wait_until(lambda: log("checkpoint", cut, "40"))  # it trains on
        alone = {name: Run(tmp_path / "alone" / name) for name in runs}
        for name, run in alone.items():
            list(train(runs[name].config, run))
        wait_until(lambda: log("lost", "first"))
        on(hosts["first"], "ip link set uplink up")
        worker("first", "again")
        wait_until(lambda: log("joined", "again"))

        second.kill()
        wait_until(lambda: log("lost", "second"))
        wait_until(lambda: runs[killed].status == "done")
        assert job.poll() is None, "the study waits for the run of the worker that was cut off"
        (tmp_path / f"{cut}-40").touch()
        said = job.communicate(timeout=300)[0]
    finally:
        job.kill()
        job.wait()
        job.stdout.close()

    assert said.splitlines()[-1].startswith(f"{out}: 2 done of 2"), said
    for name, planned in runs.items():
        steps = [int(line[4]) for line in log("checkpoint", name)]
        assert steps == [*sorted(set(steps)), 80], "no step is taken twice; the last is kept again at the end"
        processes = [process for process, _ in groupby(line[3] for line in log("checkpoint", name))]
        assert len(processes) == len(set(processes)), "no process comes back after another"
        assert not list(planned.path.glob("*fail*")) + list(planned.path.glob("attempt*"))
        places = [run.path / "generator.safetensors" for run in (alone[name], Run(planned.path))]
        assert places[0].read_bytes() == places[1].read_bytes()
    assert [line[2] for line in log("checkpoint", killed, "21")] == ["again"], "it goes on from the last checkpoint"
