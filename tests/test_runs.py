"""A run's folder survives damage, refuses strangers, and never holds half a file."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY, ganlab, options
from PIL import Image

from ganlab import figures, files
from ganlab.config import Config
from ganlab.data import load, load_data
from ganlab.files import FileError, read_png
from ganlab.run import Run, RunError
from ganlab.training.loop import train

SETTINGS = Config.from_preset("conv-noise", **TINY)


@pytest.fixture
def run(finished_run, tmp_path):
    """A copy of the finished run that may be damaged."""
    return Run(shutil.copytree(finished_run.path, tmp_path / "run"))


def to_the_end(settings, run):
    return list(train(settings, run))


def test_a_run_leaves_its_promised_files(finished_run):
    found = {str(path.relative_to(finished_run.path)) for path in finished_run.path.rglob("*") if path.is_file()}
    assert found - {".lock"} == {
        "config.json", "metrics.json", "history.csv", "generator.safetensors", "checkpoint.pt",
        "samples/epoch_0001.png", "samples/epoch_0002.png",
    }  # fmt: skip
    rights = {path.stat().st_mode for path in finished_run.path.glob("*.*")}
    assert len(rights) == 1  # who may read the config may read the generator
    assert finished_run.config == SETTINGS.replace(precision=finished_run.metrics["precision"]), "resolved"
    assert finished_run.metrics["identity"] == json.loads((finished_run.path / "config.json").read_text())["identity"]
    assert {"date", "commit", "versions", "cpu", "threads", "gpu"} <= set(finished_run.metrics["provenance"])


def test_checkpoints_and_generators_load_without_pickle(finished_run):
    torch.load(finished_run.checkpoint_path, weights_only=True)
    generator, config = finished_run.read_generator()
    assert config == finished_run.config
    assert not generator.training


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_corrupted_checkpoint_falls_back_to_the_one_before_it_and_says_so(run, damage):
    longer = SETTINGS.replace(epochs=4, checkpoint_seconds=0.0)
    for event in train(longer, run):
        if event.kind == "checkpoint" and event.step == 27:
            break
    content = bytearray(run.checkpoint_path.read_bytes())
    middle = len(content) // 2
    if damage == "flipped":
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
    run.checkpoint_path.write_bytes({"cut": content[:middle], "flipped": content, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="checkpoint.pt is damaged .*trying the checkpoint before it"):
        events = to_the_end(longer, run)
    assert (events[0].kind, events[0].step) == ("resumed", 26)
    assert events[-1].kind == "finished"


@pytest.mark.parametrize("change", [{"sums": torch.zeros(2)}, {"order": None}], ids=["other statistics", "missing"])
def test_a_checkpoint_of_another_version_says_so(run, change):
    run.write_checkpoint({key: value for key, value in (run.read_checkpoint() | change).items() if value is not None})
    with pytest.raises(RunError, match="was written by another version of ganlab .*start the run again, or choose"):
        to_the_end(SETTINGS.replace(epochs=3), run)


def test_a_checkpoint_of_another_device_is_refused_and_nothing_is_written(run):
    run.write_checkpoint(run.read_checkpoint() | {"device": "cuda"})
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="was trained on cuda, and this is cpu.*go on with device cuda, or choose"):
        to_the_end(SETTINGS.replace(epochs=3), run)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_deleted_generator_comes_back_from_the_checkpoint(run):
    before = (run.path / "generator.safetensors").read_bytes()
    (run.path / "generator.safetensors").unlink()
    assert to_the_end(SETTINGS, run)[-1].kind == "finished"
    assert (run.path / "generator.safetensors").read_bytes() == before


def test_a_deleted_history_comes_back_from_the_checkpoint_and_lost_samples_are_named(run):
    before = (run.path / "history.csv").read_bytes()
    (run.path / "history.csv").unlink()
    (run.path / "samples" / "epoch_0001.png").unlink()
    assert to_the_end(SETTINGS, run)[-1].kind == "finished"
    assert (run.path / "history.csv").read_bytes() == before
    with pytest.warns(UserWarning, match="has lost its samples of epoch 1: train in a new folder"):
        to_the_end(SETTINGS, run)


def test_a_finished_run_without_its_checkpoint_is_read_but_never_overwritten(run):
    """As in a fresh clone: checkpoints are not committed."""
    run.checkpoint_path.unlink()
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert to_the_end(SETTINGS, run)[-1].kind == "finished"
    with pytest.raises(RunError, match="finished run of 2 epochs without a checkpoint .*choose another folder"):
        to_the_end(SETTINGS.replace(epochs=3), run)
    assert {path: path.read_bytes() for path in before} == before


def test_fewer_epochs_than_the_checkpoint_has_are_refused(tmp_path):
    for event in train(SETTINGS.replace(epochs=9, checkpoint_seconds=0.0), Run(tmp_path)):
        if event.kind == "checkpoint" and event.epoch == 3:
            break
    with pytest.raises(RunError, match="has already run 3 epochs: ask for more"):
        to_the_end(SETTINGS, Run(tmp_path))


def test_a_lost_config_comes_back_from_the_checkpoint(run):
    before = (run.path / "config.json").read_bytes()
    (run.path / "config.json").unlink()
    with pytest.raises(RunError, match="holds another run .seed: 0 -> 9"):
        to_the_end(SETTINGS.replace(seed=9), run)
    (run.path / "metrics.json").unlink()
    to_the_end(SETTINGS, run)
    assert (run.path / "config.json").read_bytes() == before


def test_a_checkpoint_that_does_not_say_of_what_run_it_is_is_refused_without_a_config(run):
    (run.path / "config.json").unlink()
    (run.path / "metrics.json").unlink()
    run.write_checkpoint({key: value for key, value in run.read_checkpoint().items() if key != "run"})
    with pytest.raises(RunError, match="holds a checkpoint but no config.json"):
        to_the_end(SETTINGS, run)


def test_a_folder_deleted_in_mid_run_is_whole_again_at_the_end(tmp_path):
    run = Run(tmp_path / "run")
    for event in train(SETTINGS, run):
        if event.kind == "epoch" and event.epoch == 1:
            shutil.rmtree(run.path)
    assert run.metrics["epochs"] == SETTINGS.epochs and run.config == SETTINGS.replace(precision=run.config.precision)
    assert run.read_generator() and len(run.history) == SETTINGS.epochs


def test_two_corrupted_checkpoints_are_an_error_that_says_what_to_do(run):
    (run.path / "metrics.json").unlink()
    shutil.copy(run.checkpoint_path, run.previous_path)
    for path in (run.checkpoint_path, run.previous_path):
        path.write_bytes(b"nothing")
    with pytest.warns(UserWarning), pytest.raises(RunError, match="no checkpoint .* can be read: restore one"):
        to_the_end(SETTINGS, run)


def test_a_folder_of_another_run_is_refused_with_the_fields_and_left_alone(run):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="holds another run .*prior: 'gaussian' -> 'poisson'; seed: 0 -> 5"):
        to_the_end(SETTINGS.replace(prior="poisson", seed=5), run)
    with pytest.raises(RunError, match="the images .other pixels, labels or order"):
        to_the_end(SETTINGS.replace(limit=96), run)
    with pytest.raises(RunError, match="has already run 2 epochs: ask for more, or choose"):
        to_the_end(SETTINGS.replace(epochs=1), run)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_two_processes_cannot_train_in_one_folder(run):
    code = "import sys; from ganlab.run import Run\nwith Run(sys.argv[1]).lock(): print('in', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, run.path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "in\n"
    with pytest.raises(RunError, match="another process is training in"):
        to_the_end(SETTINGS, run)
    other.kill()  # and the lock of a killed process does not stay
    other.wait()
    other.stdin.close(), other.stdout.close()
    assert to_the_end(SETTINGS, run)[-1].kind == "finished"


STEPWISE = """
import sys
from ganlab.config import Config
from ganlab.errors import GanlabError
from ganlab.run import Run
from ganlab.training.loop import train
try:
    for event in train(Config.from_preset("conv-noise", **eval(sys.argv[2])), Run(sys.argv[1])):
        if event.kind == "checkpoint":
            print(event.step, flush=True), input()
except GanlabError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def stepwise(tmp_path):
    """A process that trains in tmp_path / "run", and stops at every checkpoint, that is step, for a line of input."""
    command = [sys.executable, "-c", STEPWISE, tmp_path / "run", repr(TINY | {"checkpoint_seconds": 0})]
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout.readline() == "1\n", process.stderr.read()
        yield process
        process.kill()


def contents(run):
    return {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_process_whose_lock_another_has_taken_stops_and_writes_nothing(stepwise, finished_run, tmp_path):
    run = Run(tmp_path / "run")
    (run.path / ".lock").unlink()
    other = ganlab("train", *options(TINY | {"preset": "conv-noise", "checkpoint_seconds": 0}, run.path))
    assert other.returncode == 0, other.stderr
    before = contents(run)
    said = stepwise.communicate("\n", timeout=60)[1]
    assert stepwise.returncode == 1 and len(said.splitlines()) == 1
    assert "was deleted, and another process has trained there since, so this one stops: leave the run to" in said
    assert contents(run) == before
    found, wanted = (each.read_generator()[0].state_dict() for each in (run, finished_run))
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["lock", "folder"])
def test_a_lost_lock_is_taken_again_and_keeps_others_out(lost, stepwise, tmp_path):
    run = Run(tmp_path / "run")
    (run.path / ".lock").unlink() if lost == "lock" else shutil.rmtree(run.path)
    stepwise.stdin.write("\n"), stepwise.stdin.flush()
    assert stepwise.stdout.readline() == "2\n"
    assert run.is_locked
    with pytest.raises(RunError, match="another process is training in"):
        to_the_end(SETTINGS.replace(checkpoint_seconds=0.0), run)
    assert not stepwise.communicate("\n" * 20, timeout=60)[1]
    assert stepwise.returncode == 0 and run.metrics["epochs"] == 2 and not run.is_locked


def test_a_run_stays_in_its_folder_when_the_working_folder_changes(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    run = Run("runs/one")
    for event in train(SETTINGS, run):
        if (event.kind, event.epoch) == ("epoch", 1):
            monkeypatch.chdir(tmp_path / "elsewhere")
    assert not list((tmp_path / "elsewhere").iterdir())
    assert run.metrics["epochs"] == len(run.history) == len(run.grids()) == 2
    assert str(run.path) == "runs/one", "shown as it was given"
    assert str(run.write("a", lambda path: path.write_text(""))) == "runs/one/a"
    assert (tmp_path / "runs" / "one" / "a").exists()
    with pytest.raises(FileError, match="cannot write runs/one/a/b "):
        run.write("a/b", lambda path: path.write_text(""))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot write .*make room there, or choose another folder with --out"):
        to_the_end(SETTINGS, Run(tmp_path / "file" / "run"))
    with pytest.raises(FileError, match="cannot write /proc/ganlab"):
        to_the_end(SETTINGS, Run("/proc/ganlab"))


def test_claiming_a_folder_clears_its_own_litter_and_not_that_of_runs_below_it(run, tmp_path):
    data = load_data(SETTINGS)
    own, other = tmp_path / "samples" / ".a.png.1.tmp", tmp_path / "another" / ".checkpoint.pt.2.tmp"
    for path in (own, other):
        path.parent.mkdir()
        path.write_text("")
    Run(tmp_path).claim(SETTINGS, data)
    assert other.exists() and not own.exists()


def test_a_writer_that_fails_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def breaks(temporary):
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match="No space left on device"):
        files.write_atomic(path, breaks)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_damaged_generators_and_configs_are_named(run):
    (run.path / "generator.safetensors").write_bytes((run.path / "generator.safetensors").read_bytes()[:100])
    with pytest.raises(RunError, match="generator.safetensors is damaged .*run the training command again"):
        run.read_generator()
    (run.path / "generator.safetensors").unlink()
    with pytest.raises(RunError, match="has no generator.safetensors: train it to its end first"):
        run.read_generator()
    with pytest.raises(RunError, match="has no best.safetensors: never scored in training, or lost: use"):
        run.read_generator(best=True)
    (run.path / "config.json").write_text("{")
    with pytest.raises(RunError, match="config.json is damaged"):
        _ = run.config
    with pytest.raises(RunError, match="is no run: it has no config.json; make one with 'ganlab train"):
        _ = Run(run.path / "nowhere").config


def test_a_generator_in_fp16_draws_the_pictures_of_the_trained_one(finished_run):
    from ganlab import networks
    from ganlab.latents import evaluation_latents

    small, config = finished_run.read_generator()
    whole = networks.build(config, torch.Generator())[0]
    whole.load_state_dict(finished_run.read_checkpoint()["ema"])
    latents = evaluation_latents(config)
    difference = networks.generate(small, latents).int() - networks.generate(whole, latents).int()
    assert difference.abs().max() <= 2


def test_a_picture_is_read_as_png_alone(tmp_path):
    """Others start programs, as Ghostscript."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", "EPS")
    with pytest.raises(OSError, match="cannot identify"):
        read_png(tmp_path / "a.png")


def test_grids_tile_row_by_row_and_read_back(tmp_path):
    images = torch.arange(6 * 3 * 4 * 4, dtype=torch.uint8).view(6, 3, 4, 4)
    sheet = files.tile(images, columns=3, gap=1)
    assert sheet.shape == (9, 14, 3)
    assert np.array_equal(sheet[5:9, 5:9], images[4].permute(1, 2, 0).numpy())
    assert (sheet[4] == 255).all()
    many = torch.arange(80, dtype=torch.uint8)[:, None, None, None].expand(80, 3, 4, 4)
    assert files.untile(files.tile(many), 8)[:, 0, 0, 0].tolist() == [0, 9, 18, 27, 44, 53, 62, 71], "of every row some"
    Run(tmp_path).write_grid(12, images)
    (tmp_path / "samples" / "epoch_10000.png").touch()  # by name it stands before the other
    assert list(Run(tmp_path).grids()) == [12, 10_000]
    assert np.asarray(Image.open(tmp_path / "samples" / "epoch_0012.png")).shape == (4, 8 * 5 - 1, 3)


def test_charts_and_images_are_kept_small_in_256_colours(run):
    chart, axes = figures.new_figure(1, 1, 4, 3)
    axes[0, 0].plot([0, 1, 0], color="tab:blue")
    shown = run.write_figure("chart", chart)
    kept = run.path / "figures" / "chart.png"
    assert shown.data == kept.read_bytes()
    with Image.open(kept) as small:
        assert small.mode == "P"
        exact, _ = figures.new_figure(1, 1, 4, 3)
        exact.axes[0].plot([0, 1, 0], color="tab:blue")
        exact.savefig(run.path / "exact.png")
        difference = np.abs(read_png(run.path / "exact.png").astype(int) - np.asarray(small.convert("RGB")))
    assert difference.mean() < 0.2 and kept.stat().st_size < (run.path / "exact.png").stat().st_size
    pictures = load("shapes", limit=16).images
    run.write_figure("pictures", figures.images(pictures))
    sheet, whole = read_png(run.path / "figures" / "pictures.png"), files.tile(pictures).repeat(2, 0).repeat(2, 1)
    assert np.abs(sheet.astype(int) - whole).mean() < 6
