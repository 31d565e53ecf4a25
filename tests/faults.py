"""Faults at chosen moments: a process dies, a file is torn, a disk is full, at the k-th write that reaches the disk.

Every scenario runs in a forked process whose calls of ``fsync`` and ``rename`` are counted: each is a moment at which
something is half done. Afterwards the same work is asked for again, without a fault, and must end with the bits of a
run that was never disturbed. Run as a program, it tries every moment, fuzzes the readers of outside bytes, and writes
results/faults.md.
"""

import contextlib
import errno
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import TINY

import ganlab.scoring.evaluate
import ganlab.study.jobs
import ganlab.training.loop  # noqa: F401  before the first fork: a child that had to import all of it would take seconds

SMALL = TINY | {"limit": 48}  # three steps an epoch
SEEDS = [0]
KILLED, LATE, TORN, FULL, BROKEN = "killed", "killed after", "torn", "full", "broken"
DEATHS, REFUSALS = (KILLED, LATE, TORN), (FULL, BROKEN)
CODES = {FULL: errno.ENOSPC, BROKEN: errno.EIO}
FINE, SENTENCE, DEAD, TRACEBACK = 0, 2, 137, 99  # exit codes of a scenario's process


# --- scenarios: each leaves its work under a folder, and names the files that must have the same bytes in the end -----


def training(folder: Path) -> None:
    from ganlab.config import Config
    from ganlab.run import Run
    from ganlab.training.loop import train

    for _ in train(Config.from_preset("conv-noise", **SMALL | {"checkpoint_seconds": 0.0}), Run(folder / "run")):
        pass


def scored(folder: Path) -> None:
    from ganlab.config import Config
    from ganlab.run import Run
    from ganlab.training.loop import train

    settings = SMALL | {"eval_every": 1, "eval_samples": 40, "checkpoint_seconds": 1e9}
    for _ in train(Config.from_preset("sngan", **settings), Run(folder / "run")):
        pass


def study(folder: Path) -> None:
    import yaml

    from ganlab import study as studies

    settings = {key: value for key, value in SMALL.items() if key != "epochs"} | {"preset": "conv-noise", "epochs": 1}
    plan = folder / "plan.yaml"
    conditions = [{"name": "a", "priors": ["gaussian", "uniform"], "seeds": SEEDS}]
    plan.write_text(yaml.safe_dump({"settings": settings, "conditions": conditions, "notebooks": ["noise_study"]}))
    plan = studies.read(str(plan), folder / "out")
    while studies.next_run(plan, retry_failed=True):
        pass


def caches(folder: Path) -> None:
    import numpy as np

    from ganlab import data
    from ganlab.scoring import features

    stream = np.random.default_rng(0)
    arrays = {f"x_{split}": stream.integers(0, 256, (40, 32, 32, 3), np.uint8) for split in ("train", "test")}
    arrays |= {f"y_{split}": np.arange(40) % 10 for split in ("train", "test")}
    if not (folder / "cifar10.npz").exists():
        np.savez(folder / "cifar10.npz", **arrays)
        os.utime(folder / "cifar10.npz", (0, 0))
    os.environ["GANLAB_DATA"] = str(folder / "cifar10.npz")
    images = data.load("cifar10", split="train")
    extractor = features.Extractor("mean", "v1", 3, lambda x: x.float().mean((2, 3)))
    found = features.reference_features(extractor, images)
    (folder / "digest").write_text(hashlib.sha256(images.images.numpy().tobytes() + found.numpy().data).hexdigest())


SCENARIOS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "training": (training, ("run/generator.safetensors", "run/samples/epoch_0002.png")),
    "scored training": (scored, ("run/generator.safetensors", "run/best.safetensors")),
    "study": (study, ("out/a/gaussian-s0/generator.safetensors", "out/a/uniform-s0/generator.safetensors")),
    "caches": (caches, ("digest",)),
}


# --- a process with a fault in it -------------------------------------------------------------------------------------


def perform(scenario: str, folder: Path, fault: str = "", moment: int = 0) -> tuple[int, str, int]:
    """(exit code, what it said, moments counted): the scenario in a process of its own; the fault comes at that moment.

    Exit codes: ``FINE``, ``SENTENCE`` for a ``GanlabError``, ``DEAD``, ``TRACEBACK`` for any other exception."""
    said, counted = folder / ".said", folder / ".counted"
    child = os.fork()
    if child == 0:
        code = TRACEBACK
        try:
            os.environ["GANLAB_CACHE"] = str(folder / "cache")
            code = _disturbed(scenario, folder, fault, moment, said, counted)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    words = said.read_text() if said.exists() else ""
    number = int(counted.read_text()) if counted.exists() else 0
    for path in (said, counted):
        path.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), words, number


def _disturbed(scenario: str, folder: Path, fault: str, moment: int, said: Path, counted: Path) -> int:
    from ganlab.errors import GanlabError

    with _counted(fault, moment) as calls:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                SCENARIOS[scenario][0](folder)
        except GanlabError as error:
            said.write_text(str(error))
            return SENTENCE
        except BaseException:
            said.write_text(traceback.format_exc())
            return TRACEBACK
    counted.write_text(str(len(calls)))
    return FINE


@contextlib.contextmanager
def _counted(fault: str, moment: int) -> Iterator[list[str]]:
    """Counts ``os.fsync`` and ``os.replace``; at the wanted moment the process dies or the system says no."""
    calls: list[str] = []
    real = {"fsync": os.fsync, "replace": os.replace}

    def watched(name: str) -> Callable:
        def call(*arguments: object) -> object:
            calls.append(name)
            if fault and len(calls) == moment:
                if fault == TORN and name == "fsync":
                    with contextlib.suppress(OSError):  # a folder cannot be torn
                        os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                if fault == LATE:
                    real[name](*arguments)
                if fault in DEATHS:
                    os._exit(DEAD)
                raise OSError(CODES[fault], os.strerror(CODES[fault]))
            return real[name](*arguments)

        return call

    for name in real:
        setattr(os, name, watched(name))
    try:
        yield calls
    finally:
        for name, function in real.items():
            setattr(os, name, function)


# --- a moment, and what must hold after it ----------------------------------------------------------------------------


def undisturbed(scenario: str) -> tuple[dict[str, str], int]:
    """(digests of the files that count, how many moments there are)."""
    folder = Path(tempfile.mkdtemp(prefix="faults"))
    try:
        code, words, moments = perform(scenario, folder)
        assert code == FINE, words
        return digests(scenario, folder), moments
    finally:
        shutil.rmtree(folder)


def digests(scenario: str, folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in SCENARIOS[scenario][1]}


def problem(scenario: str, fault: str, moment: int, wanted: dict[str, str]) -> str:
    """What is wrong after a fault at a moment: a traceback, or other bytes when asked again. Empty: nothing."""
    folder = Path(tempfile.mkdtemp(prefix="faults"))
    where = f"{scenario}, {fault} at {moment}"
    try:
        code, words, _ = perform(scenario, folder, fault, moment)
        if code == TRACEBACK or (fault in DEATHS and code != DEAD):
            return f"{where}: exit code {code}\n{words}"
        code, words, _ = perform(scenario, folder)
        if code != FINE:
            return f"{where}: asked again, exit code {code}\n{words}"
        found = digests(scenario, folder)
        changed = [name for name in wanted if found[name] != wanted[name]]
        return f"{where}: other bytes in {changed}" if changed else ""
    except OSError as error:
        return f"{where}: {error}"
    finally:
        shutil.rmtree(folder)


# --- outside bytes ----------------------------------------------------------------------------------------------------


def mutated(content: bytes, stream) -> bytes:
    """A few bytes changed, cut out, repeated, or the end missing."""
    content = bytearray(content)
    for _ in range(int(stream.integers(1, 5))):
        if not content:
            break
        place, kind = int(stream.integers(len(content))), int(stream.integers(4))
        if kind == 0:
            content[place] = int(stream.integers(256))
        elif kind == 1:
            del content[place : place + int(stream.integers(1, 64))]
        elif kind == 2:
            content[place:place] = content[place : place + int(stream.integers(1, 64))]
        else:
            del content[place:]
    return bytes(content)


def readers(folder: Path) -> dict[str, tuple[Path, Callable[[], object]]]:
    """name -> (a valid file, what reads it): each reader either takes a changed file or answers with a sentence."""
    import numpy as np
    import yaml
    from PIL import Image

    from ganlab import data
    from ganlab import study as studies
    from ganlab.config import Config
    from ganlab.run import Run
    from ganlab.training.loop import train

    run = Run(folder / "run")
    for _ in train(Config.from_preset("conv-noise", **TINY | {"epochs": 1}), run):
        pass
    np.savez_compressed(folder / "x.npz", x_train=np.zeros((20, 32, 32, 3), np.uint8), y_train=np.arange(20) % 10)
    (folder / "pictures").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save(folder / "pictures" / "a.png")
    conditions = [{"name": "a", "priors": ["gaussian"], "seeds": [0, 1]}]
    (folder / "plan.yaml").write_text(yaml.safe_dump({"settings": {"preset": "conv-noise"}, "conditions": conditions}))

    def npz() -> None:
        os.environ["GANLAB_DATA"] = str(folder / "x.npz")
        data.load("cifar10", split="train")

    return {
        "npz": (folder / "x.npz", npz),
        "picture": (folder / "pictures" / "a.png", lambda: data.load(str(folder / "pictures"))),
        "checkpoint": (run.checkpoint_path, run.read_checkpoint),
        "generator": (run.path / "generator.safetensors", run.read_generator),
        "config.json": (run.path / "config.json", lambda: (run.config, run.images)),
        "metrics.json": (run.path / "metrics.json", lambda: (run.metrics, run.finished_epochs)),
        "history.csv": (run.path / "history.csv", lambda: run.history),
        "plan": (folder / "plan.yaml", lambda: studies.read(str(folder / "plan.yaml"), folder / "out")),
    }


def fuzz(cases: int, seed: int = 0) -> dict[str, tuple[int, int, list[str]]]:
    """reader -> (cases, answered with a sentence, tracebacks)."""
    import numpy as np

    from ganlab.errors import GanlabError

    stream, found, before = np.random.default_rng(seed), {}, dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="fuzz") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["GANLAB_CACHE"] = str(Path(name) / "cache")
        for reader, (path, read) in readers(Path(name)).items():
            content, refused, wrong = path.read_bytes(), 0, []
            for _ in range(cases):
                path.write_bytes(mutated(content, stream))
                try:
                    read()
                except GanlabError as error:
                    refused += 1
                    if "\n" in str(error).strip():
                        wrong.append(f"{reader}: more than a sentence: {error}")
                except Exception:
                    wrong.append(f"{reader}: {traceback.format_exc()}")
            path.write_bytes(content)
            found[reader] = (cases, refused, wrong)
    os.environ.clear()
    os.environ.update(before)
    return found


# --- the whole of it --------------------------------------------------------------------------------------------------


def main(cases: int = 1700, epochs: int = 6, seeds: int = 3) -> int:
    SMALL["epochs"], SEEDS[:] = epochs, range(seeds)
    began, lines, wrong, points = time.monotonic(), [], [], dict.fromkeys((DEATHS, REFUSALS), 0)
    with multiprocessing.get_context("fork").Pool() as pool:
        for scenario in SCENARIOS:
            wanted, moments = undisturbed(scenario)
            for fault in (*DEATHS, *REFUSALS):
                asked = [(scenario, fault, moment, wanted) for moment in range(1, moments + 1)]
                bad = [words for words in pool.starmap(problem, asked, chunksize=1) if words]
                wrong += bad
                points[DEATHS if fault in DEATHS else REFUSALS] += moments
                lines.append(f"| {scenario} | {fault} | {moments} | {moments - len(bad)} | {len(bad)} |")
                print(lines[-1], flush=True)
    table = ["| bytes of | cases | answered with a sentence | tracebacks |", "|---|---|---|---|"]
    for reader, (count, refused, bad) in fuzz(cases).items():
        wrong += bad
        table.append(f"| {reader} | {count} | {refused} | {len(bad)} |")
        print(table[-1], flush=True)
    page = Path(__file__).parent.parent / "results" / "faults.md"
    head = (
        f"# Faults\n\n`make faults`: {points[DEATHS]:,} deaths, {points[REFUSALS]:,} refusals of the system, "
        f"{len(wrong)} of all answered wrongly. A moment\nis a call of fsync or rename. *killed*: the process dies "
        "before it, *killed after*: behind it, *torn*: half of the\nfile is lost, then it dies. *full*, *broken*: the "
        "system answers that the disk is full, or an input/output error.\nSurvived: no traceback, and the same work "
        "asked for again ends with the same bytes.\n\n"
        "| scenario | fault | moments | survived | lost |\n|---|---|---|---|---|\n"
    )
    fuzzed = "\n\nFiles with a few bytes changed, cut out, repeated or missing. The others were read as they are.\n\n"
    page.write_text(head + "\n".join(lines) + fuzzed + "\n".join(table) + "\n")
    print(f"{page}; {time.monotonic() - began:.0f} s; {len(wrong)} wrong", *wrong[:20], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
