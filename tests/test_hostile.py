"""What comes from outside is damaged, huge or hostile: one sentence each; nothing escapes or changes in silence."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, TINY, options
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save

from ganlab import data, latents
from ganlab.cli import main
from ganlab.config import Config
from ganlab.data import DataError, ImageSet
from ganlab.errors import ConfigError
from ganlab.report import Result, _row
from ganlab.run import Run, RunError
from ganlab.scoring import features
from ganlab.study import StudyError, read


def one_sentence(said: str) -> bool:
    return "Traceback" not in said and len(said.strip().splitlines()) == 1


def answer(capsys: pytest.CaptureFixture, *words: object) -> tuple[int | str | None, str]:
    """(exit code, what stood on stderr) of ``ganlab words...`` in this process."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().err


# --- names become paths and pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../escaped", "/etc", "a/b", "a\\b", "..", "", "x\n", "y\0"])
def test_a_class_is_a_plain_name(name):
    with pytest.raises(ConfigError, match=r"classes become folders|printable"):
        Config(classes=[name])


def test_a_generator_cannot_write_outside_the_folder_it_is_sampled_into(finished_run, tmp_path, capsys):
    """Its metadata names a class ``../../escaped``."""
    with safe_open(finished_run.path / "generator.safetensors", "pt") as file:
        about = json.loads(file.metadata()["config"]) | {"classes": ["../../escaped"], "conditional": True}
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "generator.safetensors").write_bytes(save(weights, {"config": json.dumps(about)}))
    code, said = answer(capsys, "sample", "--run", tmp_path / "run", "-n", 2, "--out", tmp_path / "a" / "b")
    assert code and one_sentence(said) and not (tmp_path / "escaped").exists()


def test_the_index_escapes_names(tmp_path):
    about = {"date": "2026-01-01", "gpu": None, "cpu": "a|b", "threads": 1}
    result = Result("<img src=x onerror=alert(1)>", tmp_path / "a b|c", None, ["x < y"], "ganlab | cat", about)
    row = _row(result, tmp_path)
    assert "<img" not in row and "a%20b%7Cc" in row and "x &lt; y" in row


# --- pictures -------------------------------------------------------------------------------------------------------


def eps(path):
    Image.new("RGB", (8, 8)).save(path, "EPS")


def huge(path):
    Image.new("1", (20_000, 20_000)).save(path, "PNG")


def cut_off(path):
    path.write_bytes(b"GIF89a")


@pytest.mark.parametrize("make", [eps, huge, os.mkfifo, lambda path: path.touch(), cut_off])
def test_a_picture_that_is_none_gets_a_sentence(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(DataError, match="cannot be read as an image") as found:
        data.load(str(tmp_path))
    assert one_sentence(str(found.value))


# --- data and caches ------------------------------------------------------------------------------------------------


@pytest.fixture
def npz(tmp_path, monkeypatch):
    """A small CIFAR-10 of noise, and a cache folder of its own."""
    stream = np.random.default_rng(0)
    arrays = {f"x_{split}": stream.integers(0, 256, (40, 32, 32, 3), np.uint8) for split in ("train", "test")}
    arrays |= {f"y_{split}": np.arange(40) % 10 for split in ("train", "test")}
    np.savez(tmp_path / "cifar10.npz", **arrays)
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path / "cifar10.npz"))
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "cache"))
    return arrays


def empty(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


def zeroed(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


def unclosed(content: bytes) -> bytes:
    """A header that numpy cannot take apart: it answers with a ``tokenize.TokenError``."""
    return content.replace(b"), }", b"   }", 1)


@pytest.mark.parametrize("damage", [empty, flipped, zeroed, unclosed])
def test_a_damaged_unpacked_copy_is_made_again(npz, tmp_path, damage):
    first = data.load("cifar10").images
    (place,) = (tmp_path / "cache" / "unpacked").glob("*-train-images.npy")
    place.write_bytes(damage(place.read_bytes()))
    with pytest.warns(UserWarning, match="unpacked copy of .* is damaged .* made again"):
        again = data.load("cifar10").images
    assert torch.equal(first, again) and torch.equal(data.load("cifar10").images, first)


def test_what_an_ended_process_left_in_a_cache_is_cleared(npz, tmp_path):
    extractor = features.Extractor("mean", "v1", 3, lambda images: images.float().mean((2, 3)))
    old, new = [], []
    for folder in ("unpacked", "features"):
        (tmp_path / "cache" / folder).mkdir(parents=True)
        old.append(tmp_path / "cache" / folder / ".a.1.npy.tmp")
        new.append(tmp_path / "cache" / folder / ".b.2.npy.tmp")
    for path in (*old, *new):
        path.touch()
    for path in old:
        os.utime(path, (0, 0))
    features.reference_features(extractor, data.load("cifar10"))
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in new), "another process may be at work"


@pytest.mark.parametrize("damage", [empty, flipped, zeroed])
def test_damaged_features_are_computed_again(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path))
    extractor = features.Extractor("mean", "v1", 3, lambda images: images.float().mean((2, 3)))
    pixels = torch.arange(96, dtype=torch.uint8).view(2, 3, 4, 4)
    images = ImageSet(pixels, torch.zeros(2).long(), ["a"], "made", "train")
    first = features.reference_features(extractor, images)
    (place,) = (tmp_path / "features").iterdir()
    place.write_bytes(damage(place.read_bytes()) if damage is not flipped else _last_byte_flipped(place.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged"):
        assert torch.equal(features.reference_features(extractor, images), first)


def _last_byte_flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "arrays",
    [
        {"x_train": np.zeros((4, 32, 32, 3), np.uint8), "y_train": np.array(["a"] * 4)},
        {"x_train": np.zeros(4, dtype=[("a", "u1")]), "y_train": np.arange(4)},
        {"x_train": np.zeros((4, 32, 32, 3)), "y_train": np.arange(4)},
    ],
)
def test_an_npz_of_other_things_is_answered(tmp_path, monkeypatch, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path / "x.npz"))
    with pytest.raises(DataError) as found:
        data.load("cifar10")
    assert one_sentence(str(found.value))


def test_an_npz_that_unpacks_to_more_than_memory_is_not_unpacked(npz, monkeypatch):
    monkeypatch.setattr(data, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match=r"unpacks to .* GB"):
        data.load("cifar10")


# --- artefacts ------------------------------------------------------------------------------------------------------


def copied(run: Run, path) -> Run:
    path.mkdir()
    for name in ("config.json", "metrics.json", "history.csv", "generator.safetensors"):
        (path / name).write_bytes((run.path / name).read_bytes())
    return Run(path)


def test_a_flipped_bit_in_a_generator_is_noticed(finished_run, tmp_path):
    run = copied(finished_run, tmp_path / "run")
    place = run.path / "generator.safetensors"
    place.write_bytes(flipped(place.read_bytes()))
    with pytest.raises(RunError, match="is damaged .its checksum is wrong"):
        run.read_generator()


def test_nan_weights_and_a_config_that_does_not_fit_are_refused(finished_run, tmp_path):
    run = copied(finished_run, tmp_path / "run")
    with safe_open(run.path / "generator.safetensors", "pt") as file:
        about = {key: value for key, value in json.loads(file.metadata()["config"]).items() if key != "sha256"}
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    nan = {key: value * float("nan") for key, value in weights.items() if value.is_floating_point()}
    for changed, values in ((about, nan), (about | {"g_channels": 8}, weights)):
        (run.path / "generator.safetensors").write_bytes(save(weights | values, {"config": json.dumps(changed)}))
        with pytest.raises(RunError, match="is damaged") as found:
            run.read_generator()
        assert one_sentence(str(found.value))


def changed_digit(path):
    """One decimal place of the file is another."""
    text = path.read_text()
    at = next(match.start() for match in re.finditer(r"(?<=\.)\d(?=\d)", text))
    path.write_text(f"{text[:at]}{9 - int(text[at])}{text[at + 1 :]}")


@pytest.mark.parametrize("name", ["metrics.json", "history.csv", "config.json"])
def test_a_changed_digit_is_noticed(finished_run, tmp_path, name):
    run = copied(finished_run, tmp_path / "run")
    assert run.metrics and run.config and len(run.history) == 2
    changed_digit(run.path / name)
    with pytest.raises(RunError, match=f"{name} is damaged .its checksum is wrong.: restore it, or delete it"):
        _ = run.metrics, run.history, run.config


@pytest.mark.parametrize("name", ["metrics.json", "history.csv"])
def test_a_changed_digit_stops_a_study_s_report_with_a_sentence(finished_run, tmp_path, capsys, name):
    settings = {key: value for key, value in TINY.items() if key != "limit"} | {"preset": "conv-noise", "limit": 160}
    conditions = [{"name": "a", "priors": ["gaussian"], "seeds": [0]}]
    plan, out = tmp_path / "plan.yaml", tmp_path / "out"
    plan.write_text(yaml.safe_dump({"settings": settings, "conditions": conditions}))
    (out / "a").mkdir(parents=True)
    run = copied(finished_run, out / "a" / "gaussian-s0")
    changed_digit(run.path / name)
    assert main(["study", "report", "--study", str(plan), "--out", str(out), "--tables-only"]) == 2
    said = capsys.readouterr().err
    assert one_sentence(said) and f"{name} is damaged (its checksum is wrong)" in said
    assert not list(out.glob("*.csv"))


def test_every_result_that_is_kept_is_read():
    """Those of before there were checksums too."""
    kept = [Run(path.parent) for path in (ROOT / "results").rglob("metrics.json")]
    assert len(kept) > 100 and all(len(run.history) == run.metrics["epochs"] for run in kept)


@pytest.mark.parametrize("content", ["", 'epoch\n"', "\0\xff"])
def test_a_history_of_other_things_is_damaged(tmp_path, content):
    (tmp_path / "history.csv").write_bytes(content.encode("latin1"))
    with pytest.raises(RunError, match="history.csv is damaged"):
        _ = Run(tmp_path).history


@pytest.mark.parametrize("content", ["null", "3", "[]", '{"config": 3}', "{}"])
def test_a_config_file_of_other_things_is_damaged(finished_run, tmp_path, capsys, content):
    run = copied(finished_run, tmp_path / "run")
    (run.path / "config.json").write_text(content)
    code, said = answer(capsys, "evaluate", "--run", run.path)
    assert code == 2 and one_sentence(said), said


# --- numbers without bounds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "1" + "0" * 400],
        ["--latent-dim", 10**9],
        ["--g-channels", 10**7],
        ["--g-channels", 4096, "--latent-dim", 100_000, "--resolution", 128],
        ["--batch-size", 10**6, "--resolution", 128],
        ["--seed", 10**24],
        ["--out", ""],
        ["--out", "x" * 5000],
        ["--dataset", "x" * 5000],
    ],
)
def test_a_number_without_bounds_gets_a_sentence(tmp_path, capsys, words):
    out = [] if "--out" in words else ["--out", tmp_path / "run"]
    code, said = answer(capsys, "train", "--dataset", "shapes", *words, *out)
    assert code in (1, 2) and one_sentence(said), said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["-n", 10**24], ["-n", 0], ["--seed", 10**24], ["--seed", -1]])
def test_samples_without_bounds_get_a_sentence(finished_run, tmp_path, capsys, words):
    code, said = answer(capsys, "sample", "--run", finished_run.path, "--out", tmp_path / "s", *words)
    assert code == 2 and one_sentence(said), said
    assert not (tmp_path / "s").exists() and latents.MOST_SAMPLES < 10**24


@pytest.mark.parametrize("n", [10**24, 10**8, -1])
def test_scores_without_bounds_get_a_sentence(finished_run, capsys, n):
    assert main(["evaluate", "--run", str(finished_run.path), "-n", str(n)]) == 2
    assert "score 1 to 100,000 images" in capsys.readouterr().err


def test_a_bomb_of_aliases_is_refused(tmp_path):
    lines = ["a: &a [x, x, x]", *(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]" for i in range(20))]
    (tmp_path / "plan.yaml").write_text("\n".join(lines))
    with pytest.raises(StudyError, match="takes no aliases"):
        read(str(tmp_path / "plan.yaml"))


# --- the system says no ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("most", [0, 1000, 40_000, 200_000])
def test_a_full_disk_is_a_sentence_and_the_run_goes_on_afterwards(tmp_path, most):
    """No file may grow beyond ``most`` bytes: a checkpoint, a generator, a picture fails, wherever it is."""
    words = ["train", *map(str, options(TINY | {"checkpoint_seconds": 0}, tmp_path / "run"))]
    code = (
        "import resource, signal, sys; from ganlab.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *words]
    full = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if full.returncode:
        said = [line for line in full.stderr.splitlines() if not re.match(r"\s*(epoch|\d+%|step)|\r", line)]
        assert "Traceback" not in full.stderr and "cannot write" in said[-1], full.stderr
    assert main(words) == 0
    assert Run(tmp_path / "run").metrics["epochs"] == 2


def test_the_last_line_of_defence_is_a_sentence(monkeypatch, capsys, tmp_path):
    from ganlab import cli

    monkeypatch.delenv("GANLAB_DEBUG", raising=False)
    for error in (OSError(5, "Input/output error", "x"), MemoryError(), RuntimeError("kernel failed\nat line 3")):
        def fail(options, error=error):
            raise error

        monkeypatch.setitem(cli.COMMANDS, "report", (fail, cli.report_arguments))
        assert cli.main(["report"]) == 1
        assert one_sentence(capsys.readouterr().err)
    monkeypatch.setenv("GANLAB_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.main(["report"])
