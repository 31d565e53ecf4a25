"""What several tests need: real images where they lie, a small finished run, the command line as a user calls it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REAL = os.environ.get("GANLAB_DATA")

needs_cifar10 = pytest.mark.skipif(not REAL, reason="needs real CIFAR-10: set GANLAB_DATA to a cifar10.npz")

# A run that takes about a second: 20 steps of a narrow network on shapes.
TINY = {
    "dataset": "shapes", "limit": 160, "batch_size": 16, "epochs": 2, "eval_every": 0,
    "g_channels": 4, "d_channels": 4, "latent_dim": 16,
}  # fmt: skip


def ganlab(*words: object, **environment: str) -> subprocess.CompletedProcess:
    """``python -m ganlab words...`` as a process of its own, from the project root."""
    command = [sys.executable, "-W", "error::DeprecationWarning", "-m", "ganlab", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300)


def options(config: dict, out: Path) -> list[object]:
    """The command-line options that say what a dict of config fields says."""
    words: list[object] = ["--out", out]
    for key, value in config.items():
        words += [f"--{key.replace('_', '-')}", *(value if isinstance(value, list) else [value])]
    return words


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is neither slow (kernels, processes, clusters) nor needs a browser is a unit test."""
    for item in items:
        if not {"slow", "browser"} & {mark.name for mark in item.iter_markers()}:
            item.add_marker("unit")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A small run trained to its end. Tests read it and never write to it."""
    from ganlab.config import Config
    from ganlab.run import Run
    from ganlab.training.loop import train

    run = Run(tmp_path_factory.mktemp("finished") / "run")
    for _ in train(Config.from_preset("conv-noise", **TINY), run):
        pass
    return run
