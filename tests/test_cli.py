"""The command line: what it makes, and the one sentence it answers a mistake with."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, ganlab, options
from PIL import Image

from ganlab import priors
from ganlab.cli import main
from ganlab.config import Config
from ganlab.files import read_png
from ganlab.latents import sample
from ganlab.networks.generators import generate
from ganlab.run import Run
from ganlab.training.loop import train


def test_train_makes_a_run_and_the_same_command_returns(tmp_path):
    first = ganlab("train", *options(TINY, tmp_path / "run"))
    assert first.returncode == 0, first.stderr
    assert "finished: 2 epochs, 320 images seen" in first.stdout
    metrics = (tmp_path / "run" / "metrics.json").read_bytes()
    again = ganlab("train", *options(TINY, tmp_path / "run"))
    assert again.returncode == 0
    assert (tmp_path / "run" / "metrics.json").read_bytes() == metrics


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--prior", "cauchy"], "unknown prior 'cauchy': valid are gaussian, uniform, poisson, exponential"),
        (["train", "--preset", "dcgam"], "unknown preset 'dcgam' (did you mean 'dcgan'?)"),
        (["train", "--dataset", "cifar100"], "unknown dataset 'cifar100' (did you mean 'cifar10'?)"),
        (["train", "--dataset", "shapes", "--classes", "car"], "unknown class 'car': valid are warm-disc, cool-disc"),
        (["train", "--dataset", "./nowhere"], "there is no folder nowhere"),
        (["train", "--latent-dim", "0"], "latent_dim is 0: it must be at least 1"),
        (["experiment", "--prior", "cauchy"], "unknown prior 'cauchy'"),
        (["train", "--conditional", "--classes", "cat"], "conditional with one class, ['cat']: name two or more"),
        (["bench", "--rounds", "3"], "--rounds is 3: give 5 to 1,000 for a median"),
        (["bench", "--rounds", "1" + "0" * 24], "give 5 to 1,000 for a median"),
        (["bench", "--race", "inf"], "--race is inf: give the minutes"),
        (["study", "next", "--threads", "1" + "0" * 24], "give 1 to 1,024"),
        (["bench", "--race", "0"], "--race is 0: give the minutes"),
        (["bench", "--race", "1", "--contenders", "slow"], "unknown contender 'slow': valid are plain, sngan, fast"),
        (["bench", "--race", "1", "--out", "nowhere"], "nowhere has no bench.json"),
        (["sample", "--run", "nowhere", "--out", "x.npz"], "nowhere has no generator.safetensors"),
        (["sample", "--run", "nowhere", "--out", "x.jpg"], "give a folder for PNG files, or a name ending in .npz"),
        (["sample", "--run", "nowhere", "-n", "0", "--out", "x.npz"], "-n is 0: ask for 1 to"),
    ],
)
def test_a_mistake_gets_one_sentence_and_exit_code_2(words, sentence, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--latent-dimm", "0"], "unknown argument --latent-dimm (did you mean --latent-dim?)"),
        (["train", "--epochs", "many"], "invalid int value: 'many'; 'ganlab train --help' lists what is valid"),
        (["trian"], "invalid choice: 'trian'"),
        ([], "required: COMMAND; 'ganlab --help' lists what is valid"),
    ],
)
def test_an_option_that_does_not_exist_is_one_sentence_and_a_hint(words, sentence, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_a_wrong_name_is_answered_without_loading_torch():
    code = "import sys; from ganlab.__main__ import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "train", "--prior", "cauchy"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_data_that_is_gone_is_one_sentence_and_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GANLAB_DATA", str(tmp_path / "gone.npz"))
    assert main(["train", "--classes", "ship", "--out", str(tmp_path / "run")]) == 2
    assert "gone.npz does not exist: correct the path, or unset it to download" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written_is_one_sentence():
    answer = ganlab("train", *options(TINY, "/proc/ganlab"))
    assert answer.returncode == 2
    assert "cannot write /proc/ganlab" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_help_names_every_valid_choice(capsys):
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    for word in (
        "--prior",
        "laplacian",
        "--diffaugment",
        "translation",
        "--snapshot-epochs",
        "dcgan",
        "latent:",
        "optimiser:",
    ):
        assert word in said


def test_sample_writes_the_same_images_as_npz_and_as_png(finished_run, tmp_path, capsys):
    for out in ("x.npz", "png"):
        words = ["sample", "--run", finished_run.path, "-n", "12", "--out", tmp_path / out, "--seed", "3"]
        assert main(list(map(str, words))) == 0
    images = np.load(tmp_path / "x.npz")["images"]
    assert images.shape == (12, 32, 32, 3)
    assert images.dtype == np.uint8
    files = sorted((tmp_path / "png").iterdir())
    assert len(files) == 12
    assert all(np.array_equal(np.asarray(Image.open(file)), image) for file, image in zip(files, images, strict=True))
    assert main(["sample", "--run", str(finished_run.path), "-n", "2", "--out", str(tmp_path / "png")]) == 2
    assert "already holds PNG files" in capsys.readouterr().err


def test_samples_come_from_the_prior_that_the_run_was_trained_with(tmp_path):
    run = Run(tmp_path)
    list(train(Config.from_preset("conv-noise", **TINY | {"prior": "bernoulli", "scaling": "raw"}), run))
    generator, config = run.read_generator()
    latents = priors.get("bernoulli", "raw").sample(8, config.latent_dim, torch.Generator().manual_seed(5))
    assert set(latents.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(sample(run, 8, seed=5), generate(generator, latents))
    others = priors.get("gaussian").sample(8, config.latent_dim, torch.Generator().manual_seed(5))
    assert not torch.equal(sample(run, 8, seed=5), generate(generator, others))


def test_a_conditional_run_draws_the_classes_asked_for(tmp_path, capsys):
    run = Run(tmp_path / "run")
    settings = TINY | {"classes": ["cool-disc", "warm-ring", "cool-cross"], "conditional": True, "snapshot_epochs": [1]}
    list(train(Config.from_preset("fast", **settings), run))
    assert read_png(run.grids()[1]).shape == (3 * 33 - 1, 8 * 33 - 1, 3), "a class a row"

    assert main(["sample", "--run", str(run.path), "-n", "5", "--out", str(tmp_path / "some.npz")]) == 0
    with np.load(tmp_path / "some.npz") as file:
        assert file["labels"].tolist() == [0, 1, 2, 0, 1]
        assert file["names"].tolist() == settings["classes"]

    words = ["sample", "--run", str(run.path), "-n", "2", "--class", "warm-ring", "--out", str(tmp_path / "rings")]
    assert main(words) == 0
    assert sorted(path.name for path in (tmp_path / "rings" / "warm-ring").iterdir()) == ["000000.png", "000001.png"]

    capsys.readouterr()
    assert main([*words[:-3], "cat", "--out", str(tmp_path / "cats")]) == 2
    assert "unknown class 'cat': valid are cool-disc, warm-ring, cool-cross" in capsys.readouterr().err


def test_a_run_that_knows_no_classes_says_so(finished_run, tmp_path, capsys):
    assert main(["sample", "--run", str(finished_run.path), "--class", "ship", "--out", str(tmp_path / "x.npz")]) == 2
    assert "the run is not conditional, so classes ['ship'] cannot be chosen" in capsys.readouterr().err


def dry_run(*words: str) -> str:
    make = ["make", "--dry-run", "--directory", str(Path(__file__).parents[1]), *words]
    return subprocess.run(make, capture_output=True, text=True, check=True).stdout


def test_make_leaves_the_epochs_to_the_preset_unless_told():
    assert "--epochs" not in dry_run("experiment", "PRESET=t2")
    assert "--epochs 3 " in dry_run("experiment", "PRESET=t2", "EPOCHS=3")


def test_what_the_readme_suggests_trains_in_a_folder_of_its_own():
    """A run that is kept in the repository has other settings: its folder would refuse the training."""
    root = Path(__file__).parents[1]
    suggested = re.findall(r"^make experiment (.+?) *(?:#|$)", (root / "README.md").read_text(), re.MULTILINE)
    folders = [re.search(r"--out (\S+)", dry_run("experiment", *words.split()))[1] for words in suggested]
    folders += re.findall(r'out = \\"(\S+)\\"', (root / "notebooks" / "experiment.ipynb").read_text())
    assert len(folders) > 2
    kept = subprocess.run(["git", "-C", root, "ls-files", *folders], capture_output=True, text=True, check=True).stdout
    assert kept == ""


def test_a_study_goes_on_in_its_folder_and_starts_fresh_in_a_dated_one():
    def out(*words: str) -> str:
        return re.search(r"--out (\S+)", dry_run("noise-study", *words))[1]

    assert out("STUDY=quick") == "results/quick"
    assert "--condition P1" in dry_run("noise-study", "CONDITION=P1")
    assert "--condition" not in dry_run("noise-study")
    assert re.fullmatch(r"results/quick-\d{4}-\d\d-\d\d-\d{4}", out("STUDY=quick", "FRESH=1"))
