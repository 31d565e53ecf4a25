"""Every classifier sees as much as any other, and the same real images; nothing is done twice; sums match by hand."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from scipy.stats import ttest_rel

from ganlab import figures, report
from ganlab.cli import main
from ganlab.config import Config
from ganlab.data import ImageSet, load
from ganlab.files import read_png
from ganlab.latents import sample
from ganlab.networks.build import build
from ganlab.run import Run, RunError
from ganlab.scoring import augmentation
from ganlab.scoring.augmentation import BOTH, COLUMNS, REAL, SYNTHETIC, AugmentationError, Lesson
from ganlab.scoring.classifier import Recipe
from ganlab.scoring.evaluate import references

CLASSES = ["cool-disc", "warm-ring", "cool-cross"]
CONFIG = Config.from_preset("fast", **TINY | {"classes": CLASSES, "conditional": True, "prior": "uniform"})
EPOCHS, EPOCH, BATCH = 2, 32, 16
SEEN = EPOCHS * EPOCH


def untrained(path, config: Config = CONFIG, seed: int = 0) -> Run:
    """A folder that holds a generator and nothing else."""
    run = Run(path)
    run.write_generator(build(config, torch.Generator().manual_seed(seed))[0], config)
    return run


@pytest.fixture(scope="module")
def splits() -> tuple[ImageSet, ImageSet]:
    """(training images, a fifth of the test images: most of the time goes into scoring)"""
    train, test = references(CONFIG)
    return train, replace(test, images=test.images[:60], labels=test.labels[:60])


@pytest.fixture
def run(tmp_path, monkeypatch, splits) -> Run:
    monkeypatch.setattr(augmentation, "references", lambda config: splits)
    monkeypatch.setattr(augmentation, "RECIPE", Recipe(epochs=EPOCHS, widths=(8, 8, 16), batch_size=BATCH))
    monkeypatch.setattr(augmentation, "EPOCH", EPOCH)
    return untrained(tmp_path / "run")


@pytest.fixture
def lessons(monkeypatch) -> list[Lesson]:
    """Every training that is made: its images, how many are real, and ``steps_taken``, the places seen in each."""
    made = []

    class Noted(Lesson):
        def __init__(self, recipe, data, real):
            super().__init__(recipe, data, real)
            self.data, self.steps_taken = data, []
            made.append(self)

        def _augmented(self, chosen):
            self.steps_taken.append(chosen)
            return super()._augmented(chosen)

    monkeypatch.setattr(augmentation, "Lesson", Noted)
    return made


def table(values: dict[tuple[int, str], list[float]]) -> pd.DataFrame:
    """Rows of classification.csv from accuracies by (k, training set), seeds 0, 1, ..."""
    rows = [
        (k, name, seed, 0, 64, right, "0") for (k, name), found in values.items() for seed, right in enumerate(found)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


# --- training -------------------------------------------------------------------------------------------------------


def test_a_row_a_classifier_with_its_counts(run):
    rows = list(augmentation.classify(run, [2, 5], [3, 4]))
    synthetic = {REAL: 0, BOTH: SEEN // 2, SYNTHETIC: SEEN}
    per_seed = [(0, SYNTHETIC), (2, REAL), (2, BOTH), (5, REAL), (5, BOTH)]
    wanted = [(k, name, seed, synthetic[name], SEEN) for seed in (3, 4) for k, name in per_seed]
    assert [tuple(row.values())[:5] for row in rows] == wanted
    assert tuple(rows[0]) == COLUMNS
    assert all(0 <= row["test_accuracy"] <= 1 for row in rows)
    pd.testing.assert_frame_equal(augmentation.read_rows(run), pd.DataFrame(rows))
    assert {path.name for path in run.path.iterdir()} == {"generator.safetensors", augmentation.TABLE, ".lock"}


def test_every_test_image_of_the_runs_classes_scores_a_trained_classifier(run, lessons, monkeypatch):
    scored = []

    def accuracy(network, images, labels, batch_size):
        scored.append((network is lessons[-1].network and lessons[-1].epoch == EPOCHS, images, labels))
        return 0.123456

    monkeypatch.setattr(augmentation, "accuracy", accuracy)
    monkeypatch.setattr(augmentation, "references", references)
    assert [row["test_accuracy"] for row in augmentation.classify(run, [2], [0])] == [0.1235] * 3
    test = load("shapes", CLASSES, "test")
    assert len(test) == 300
    for is_trained, images, labels in scored:
        assert is_trained
        assert torch.equal(images, test.images) and torch.equal(labels, test.labels)


def test_all_see_the_same_number_of_images_in_the_same_number_of_steps(run, lessons):
    rows = list(augmentation.classify(run, [2, 5], [0]))
    assert len(lessons) == 5
    for row, lesson in zip(rows, lessons, strict=True):
        assert [len(step) for step in lesson.steps_taken] == [BATCH] * (SEEN // BATCH)
        assert row["images_seen"] == SEEN


def test_half_of_each_epoch_is_synthetic_and_no_image_is_seen_more_often_than_another(run, lessons):
    list(augmentation.classify(run, [2, 5], [0]))
    for lesson in lessons:
        epochs = torch.cat(lesson.steps_taken).view(EPOCHS, EPOCH)
        shares = (epochs >= lesson.real).float().mean(1).tolist()
        assert shares == [{0: 1.0, len(lesson.data): 0.0}.get(lesson.real, 0.5)] * EPOCHS
        times = torch.bincount(epochs.flatten(), minlength=len(lesson.data))
        assert (times[lesson.real :] == 1).all(), "a synthetic image is seen once"
        if lesson.real:
            assert times[: lesson.real].max() - times[: lesson.real].min() <= 1


def test_both_arms_have_the_same_real_images_k_of_each_class(run, lessons, splits):
    list(augmentation.classify(run, [5, 2], [0, 1]))
    train, _ = splits
    real = [lesson.data.images[: lesson.real] for lesson in lessons]
    for start in (0, 5):
        _, alone5, both5, alone2, both2 = real[start : start + 5]
        assert torch.equal(alone5, both5) and torch.equal(alone2, both2)
        assert len(alone5.unique(dim=0)) == 15
        assert all((alone5 == image).flatten(1).all(1).any() for image in alone2), "a smaller k's are among a larger's"
        assert all((train.images == image).flatten(1).all(1).any() for image in alone5)
    assert not torch.equal(real[1], real[6]), "another seed, other images"
    assert lessons[1].labels.bincount().tolist() == [5, 5, 5]
    assert torch.equal(lessons[1].labels, lessons[2].labels[:15])


def test_synthetic_images_are_the_runs_own_samples_of_that_seed_classes_in_turn(run, lessons):
    list(augmentation.classify(run, [2], [0, 7]))
    for lesson, seed in ((lessons[0], 0), (lessons[3], 7)):
        assert torch.equal(lesson.data.images, sample(run, SEEN, seed))
        assert lesson.labels.tolist() == [place % 3 for place in range(SEEN)]
    both = lessons[2]
    assert torch.equal(both.data.images[both.real :], lessons[0].data.images[: SEEN // 2])


def test_one_seed_is_one_set_of_initial_weights(run, lessons, splits):
    train, _ = splits
    other = replace(train, images=255 - train.images[:64], labels=train.labels[:64])
    one, two, three = (
        Lesson(replace(augmentation.RECIPE, seed=seed), data, len(data)).network
        for seed, data in ((0, train), (0, other), (1, train))
    )
    for weights in ("head.weight", "blocks.14.weight"):
        assert torch.equal(one.state_dict()[weights], two.state_dict()[weights])
        assert not torch.equal(one.state_dict()[weights], three.state_dict()[weights])
    assert one.head.out_features == 3
    list(augmentation.classify(run, [2], [0, 7]))
    assert [lesson.recipe.seed for lesson in lessons] == [0, 0, 0, 7, 7, 7]


def test_images_of_the_right_class_teach_it(run, monkeypatch):
    """Real images in the place of synthetic ones: labels that did not belong to their images would end at a third."""
    monkeypatch.setattr(augmentation, "RECIPE", replace(augmentation.RECIPE, epochs=4))
    monkeypatch.setattr(augmentation, "EPOCH", 160)
    train = references(CONFIG.replace(limit=0))[0]
    order = [torch.where(train.labels == label)[0] for label in range(3)]

    def real_in_turn(run, n, seed):
        return train.images[torch.stack([order[place % 3][place // 3] for place in range(n)])]

    monkeypatch.setattr(augmentation, "sample", real_in_turn)
    rows = list(augmentation.classify(run, [1], [0]))
    assert rows[0]["test_accuracy"] > 0.8
    assert rows[2]["test_accuracy"] > 0.8


# --- starting again -------------------------------------------------------------------------------------------------


def test_a_second_start_trains_nothing(run, monkeypatch):
    assert len(list(augmentation.classify(run, [2], [0]))) == 3
    kept = (run.path / augmentation.TABLE).read_bytes()
    monkeypatch.setattr(augmentation, "Lesson", None)
    monkeypatch.setattr(augmentation, "sample", None)
    assert list(augmentation.classify(run, [2], [0])) == []
    assert (run.path / augmentation.TABLE).read_bytes() == kept


def test_a_start_that_was_broken_off_goes_on_to_the_same_rows(run, tmp_path):
    whole = untrained(tmp_path / "whole")
    rows = list(augmentation.classify(whole, [2, 5], [0, 1]))
    broken = augmentation.classify(run, [2, 5], [0, 1])
    first = [next(broken) for _ in range(7)]
    broken.close()
    assert len(augmentation.read_rows(run)) == 7
    assert first + list(augmentation.classify(run, [2, 5], [0, 1])) == rows
    assert (run.path / augmentation.TABLE).read_bytes() == (whole.path / augmentation.TABLE).read_bytes()


def test_more_seeds_and_numbers_are_added_to_what_there_is(run):
    list(augmentation.classify(run, [2], [0]))
    assert [(row["real"], row["seed"]) for row in augmentation.classify(run, [5, 2], [0, 1])] == [
        *((5, 0), (5, 0)),
        *((0, 1), (5, 1), (5, 1), (2, 1), (2, 1)),
    ]


def test_rows_of_another_generator_are_not_mixed(run, tmp_path):
    list(augmentation.classify(run, [2], [0]))
    kept = (run.path / augmentation.TABLE).read_bytes()
    shutil.copy(untrained(tmp_path / "other", seed=1).path / "generator.safetensors", run.path)
    with pytest.raises(
        AugmentationError, match=r"classification\.csv was made with another generator\.safetensors or another recipe"
    ):
        next(augmentation.classify(run, [5], [0]))
    assert (run.path / augmentation.TABLE).read_bytes() == kept


def test_rows_of_another_recipe_are_not_mixed(run, monkeypatch):
    list(augmentation.classify(run, [2], [0]))
    monkeypatch.setattr(augmentation, "RECIPE", replace(augmentation.RECIPE, lr=augmentation.RECIPE.lr / 2))
    with pytest.raises(AugmentationError, match="another recipe of the classifiers: delete the table to begin again"):
        next(augmentation.classify(run, [5], [0]))


def test_the_digits_of_what_made_it_are_no_number(run):
    row = table({(2, REAL): [0.5]}).assign(made_with="0000000000012e45")
    row.to_csv(run.path / augmentation.TABLE, index=False)
    assert augmentation.read_rows(run)["made_with"].tolist() == ["0000000000012e45"]


def test_two_processes_do_not_write_one_table(run):
    with run.lock(), pytest.raises(RunError, match="another process"):
        next(augmentation.classify(run, [2], [0]))


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("real", "seeds", "sentence"),
    [
        ([2, 0], [0], "--real is 0: give at least 1 real image a class"),
        ([60], [0], "--real is 60 and cool-cross has 48 training images: give at most 48"),
        ([11], [0], "--real is 11 for each of 3 classes and a classifier sees 32 real images .* give at most 10"),
        ([2, 5, 2], [0], "--real names 2 more than once"),
        ([2], [1, 1], "--seeds names 1 more than once"),
        ([2], [-1], "a seed is 0 to"),
        ([2], [10**24], "a seed is 0 to"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_trained(run, lessons, real, seeds, sentence):
    with pytest.raises(AugmentationError, match=sentence):
        next(augmentation.classify(run, real, seeds))
    assert lessons == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"conditional": False}, "is not conditional, so its images have no classes: train one with --conditional"),
        ({"resolution": 64}, "draws 64x64 images and the classifiers take 32x32: train one with --resolution 32"),
        ({"split": "test"}, r"was trained on shapes \(test\), which leaves no real images to test on"),
    ],
)
def test_a_run_that_cannot_be_asked_is_refused(tmp_path, changes, sentence):
    with pytest.raises(AugmentationError, match=sentence):
        next(augmentation.classify(untrained(tmp_path, CONFIG.replace(**changes)), [2], [0]))


def test_a_damaged_table_is_refused(run):
    for content in ("", "real,seed\n1,2\n", ",".join(COLUMNS) + "\n2,real,0\n"):
        (run.path / augmentation.TABLE).write_text(content)
        with pytest.raises(AugmentationError, match=r"classification\.csv is damaged"):
            next(augmentation.classify(run, [2], [0]))


# --- what came of it ------------------------------------------------------------------------------------------------

ACCURACIES = {(20, REAL): [0.50, 0.54], (20, BOTH): [0.56, 0.62, 0.60], (0, SYNTHETIC): [0.40, 0.40]}


def test_the_summary_is_what_a_hand_finds():
    # t of 1 degree of freedom at 97.5 % is 12.7062, of 2 degrees 4.3027; standard error: deviation / sqrt(n).
    found = augmentation.summary(table(ACCURACIES)).set_index(["real", "training_set"])
    assert list(found.index) == [(0, SYNTHETIC), (20, REAL), (20, BOTH)]
    assert found["seeds"].tolist() == [2, 2, 3]
    assert found["pairs"].tolist() == [0, 0, 2]
    values = ["accuracy", "low", "high"]
    assert found.loc[(20, REAL), values].tolist() == pytest.approx([0.52, 0.52 - 0.254124, 0.52 + 0.254124], abs=1e-5)
    reach = 4.302653 * np.sqrt((0.0333333**2 + 0.0266667**2 + 0.0066667**2) / 2 / 3)
    wanted = [0.5933333, 0.5933333 - reach, 0.5933333 + reach]
    assert found.loc[(20, BOTH), values].tolist() == pytest.approx(wanted, abs=1e-5)
    assert found.loc[(0, SYNTHETIC), "accuracy"] == pytest.approx(0.4)
    assert found.loc[(0, SYNTHETIC), ["low", "high"]].isna().all(), "equal values say nothing of their spread"

    differences = ["difference", "difference_low", "difference_high"]  # 0.06 and 0.08: seed 2 has no pair
    wanted = [0.07, 0.07 - 0.127062, 0.07 + 0.127062]
    assert found.loc[(20, BOTH), differences].tolist() == pytest.approx(wanted, abs=1e-5)
    interval = ttest_rel([0.56, 0.62], [0.50, 0.54]).confidence_interval()
    assert found.loc[(20, BOTH), differences[1:]].tolist() == pytest.approx(list(interval))
    assert found.loc[[(20, REAL), (0, SYNTHETIC)], differences].isna().all(axis=None)


def test_the_order_of_the_rows_changes_nothing():
    rows = table(ACCURACIES)
    pd.testing.assert_frame_equal(augmentation.summary(rows), augmentation.summary(rows[::-1]))


@pytest.mark.parametrize(
    ("added", "verdict"),
    [
        ([0.04, 0.05, 0.06], "helped"),
        ([-0.04, -0.05, -0.06], "hurt"),
        ([-0.01, 0.05, 0.02], "open"),
        ([0.1, 0.1], "open"),  # equal values have no interval
        ([0.1], "open"),
    ],
)
def test_help_or_harm_is_said_only_where_the_interval_says_it(added, verdict):
    real = [0.3, 0.35, 0.32][: len(added)]
    both = [a + b for a, b in zip(real, added, strict=True)]
    found = augmentation.summary(table({(20, REAL): real, (20, BOTH): both, (0, SYNTHETIC): real}))
    assert found.set_index("training_set")["verdict"].to_dict() == {REAL: "", BOTH: verdict, SYNTHETIC: ""}


def test_the_figure_draws_the_means_and_the_band():
    rows = table(ACCURACIES | {(100, REAL): [0.7, 0.8], (0, SYNTHETIC): [0.38, 0.42]})
    (axis,) = figures.classification(augmentation.summary(rows)).axes
    real, both = (container.lines[0] for container in axis.containers)
    assert real.get_ydata().tolist() == pytest.approx([0.52, 0.75])
    assert both.get_ydata().tolist() == pytest.approx([0.5933333])
    assert axis.get_xscale() == "log"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["20", "100"]
    (band,) = axis.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.4 - 0.254124, 0.4 + 0.254124), abs=1e-5)


def test_the_command_says_and_keeps_what_it_found(run, capsys):
    words = ["classify", "--run", str(run.path), "--real", "2", "5", "--seeds", "0", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.count("test_accuracy") == 10
    page = (run.path / "classification.md").read_text()
    (row,) = report.classifications(run.path.parent)
    assert len(row.numbers) == 2 and row.numbers[0].startswith("2 real images a class: ")
    assert row.command in page and row.link.exists() and row.picture.exists()
    assert "--real 2 5 --seeds 0 1" in page and "real and synthetic" in page
    assert read_png(run.path / "figures" / "classification.png").shape[2] == 3

    record = run.path / "classification.json"
    before = record.read_text()
    assert main(words) == 0
    assert "test_accuracy" not in capsys.readouterr().out, "nothing is trained again"
    assert record.read_text() == before, "nor dated again"
    assert main([*words, "2"]) == 0
    assert capsys.readouterr().out.count("test_accuracy") == 5
    assert record.read_text() != before


def test_a_mistake_of_the_command_is_one_sentence(finished_run, capsys):
    for folder, sentence in ((finished_run.path, "is not conditional"), ("nowhere", "has no generator.safetensors")):
        assert main(["classify", "--run", str(folder)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("ganlab classify: ") and sentence in said
        assert said.count("\n") == 1


def test_help_says_what_it_takes_and_the_defaults_are_those(capsys, monkeypatch):
    assert main(["classify", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for word in ("--run DIR", "(default 20 100 500)", "(default 0 1 2 3 4)", "a classifier that has few real ones"):
        assert word in said
    asked = []
    monkeypatch.setattr(augmentation, "classify", lambda run, real, seeds: asked.extend([real, seeds]) or [])
    monkeypatch.setattr(augmentation, "read_rows", lambda run: table({(20, REAL): [0.5]}))
    monkeypatch.setattr(report, "write_classification", lambda run: "")
    assert main(["classify", "--run", "nowhere"]) == 0
    assert asked == [[20, 100, 500], [0, 1, 2, 3, 4]]
