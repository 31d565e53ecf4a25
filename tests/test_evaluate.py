"""A run's table names everything a number rests on, and says of known samplers what is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY, needs_cifar10

from ganlab import data
from ganlab.cli import main
from ganlab.config import Config
from ganlab.data import ImageSet, load
from ganlab.run import Run
from ganlab.scoring import classifier, evaluate
from ganlab.scoring.evaluate import EvaluationError
from ganlab.scoring.features import Extractor
from ganlab.scoring.metrics import frechet_distance, shown_name
from ganlab.training.loop import train

needs_classifier = pytest.mark.skipif(not classifier.WEIGHTS.exists(), reason="needs the shipped classifier")


def coarse(images: torch.Tensor) -> torch.Tensor:
    """A quick extractor: the image at 4x4, 48 numbers."""
    return torch.nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)


EXTRACTOR = Extractor("coarse", "1", None, coarse)


@pytest.fixture(scope="module")
def shapes() -> tuple[ImageSet, ImageSet]:
    return load("shapes", limit=2000), load("shapes", split="test")


def fresh(n: int, seed: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels, _ = data.shapes(n, seed)
    return images, labels


def table(generated, shapes) -> pd.DataFrame:
    return evaluate.evaluate(generated, *shapes, [EXTRACTOR]).set_index(["metric", "split", "reference"])


def test_every_row_names_what_it_rests_on(shapes):
    found = evaluate.evaluate(fresh(2000)[0], *shapes, [EXTRACTOR])
    assert list(found.columns) == list(evaluate.COLUMNS)
    assert found["floor"].notna().all()
    assert found["extractor"].isin(["coarse", "pixels"]).all()
    assert found["split"].isin(["train", "test"]).all()
    assert (found["generated"] > 0).all()
    assert {"fd", "kid", "precision", "recall", "density", "coverage",
            "nearest_train", "duplicate_rate", "classes_hit"} == set(found["metric"])  # fmt: skip


def test_only_inception_features_are_called_fid():
    assert shown_name("fd", "inception") == "FID"
    assert "FID" not in shown_name("fd", "cifar_resnet")


def test_real_images_in_place_of_generated_ones_score_at_their_floor(shapes):
    found = table(fresh(2000)[0], shapes)
    for split, count in (("train", 1000), ("test", 1000)):
        row = found.loc[("fd", split, count)]
        assert row["value"] == pytest.approx(row["floor"], rel=0.5)
        for metric in ("precision", "recall", "coverage"):
            row = found.loc[(metric, split, count)]
            assert row["value"] == pytest.approx(row["floor"], abs=0.05)
        kid = found.loc[("kid", split, count)]
        assert kid["low"] < kid["floor"] + 1e-3 * abs(kid["value"])
    assert found.loc[("nearest_train", "train", 2000), "value"] == pytest.approx(
        found.loc[("nearest_train", "train", 2000), "floor"], rel=0.1
    )


def test_the_floor_of_the_whole_training_set_is_the_one_that_more_real_images_measure(shapes):
    """Scaled from halves of 1,000 it must match what disjoint real sets of 2,000 measure directly."""
    found = coarse(fresh(12_000)[0][torch.randperm(12_000, generator=torch.Generator().manual_seed(0))]).split(2000)
    measured = np.mean([frechet_distance(found[i], found[j]) for i in range(6) for j in range(i)])
    scaled = table(fresh(2000)[0], shapes).loc[("fd", "train", 2000), "floor"]
    assert scaled == pytest.approx(measured, rel=0.3)


def test_a_sampler_that_drops_3_of_10_classes_is_reported_as_7(shapes):
    images, labels = fresh(2000)
    found = table(images[labels < 7], shapes)
    assert found.loc["classes_hit"]["value"].item() == 7
    assert found.loc["classes_hit"]["floor"].item() == 10
    whole = table(images, shapes)
    assert whole.loc["classes_hit"]["value"].item() == 10
    recall = ("recall", "train", 1000)
    assert found.loc[recall, "value"] < whole.loc[recall, "value"] - 0.1


def test_the_nearest_training_image_knows_the_class_of_a_shape(shapes):
    images, labels = fresh(1000)
    assert (evaluate.nearest_class(images, shapes[0]) == labels).float().mean() > 0.99


def test_a_collapsed_sampler_has_no_recall_and_says_so(shapes):
    with pytest.warns(UserWarning, match="collapsed"):
        found = table(shapes[0].images[:1].expand(500, -1, -1, -1), shapes)
    assert found.loc[("recall", "train", 500), "value"] < 0.01
    assert found.loc["duplicate_rate"]["value"].item() == pytest.approx(499 / 500)
    assert found.loc["classes_hit"]["value"].item() == 1


def test_copies_of_training_images_are_nearer_than_real_ones(shapes):
    found = table(shapes[0].images[:800], shapes).loc["nearest_train"]
    assert found["value"].item() == 0
    assert found["floor"].item() > 0


def test_the_same_table_twice_to_the_last_digit(shapes):
    images = fresh(600)[0]
    pd.testing.assert_frame_equal(table(images, shapes), table(images, shapes), check_exact=True)


def test_images_that_cannot_be_compared_are_refused(shapes):
    with pytest.raises(EvaluationError, match="10 generated and 2000 training images"):
        table(fresh(10)[0], shapes)
    with pytest.raises(EvaluationError, match="compare images of one resolution"):
        table(torch.zeros(50, 3, 64, 64, dtype=torch.uint8), shapes)


@pytest.fixture(scope="module")
def scored_run(tmp_path_factory) -> Run:
    """Four epochs, scored at 2 and 4."""
    run = Run(tmp_path_factory.mktemp("scored") / "run")
    list(train(Config.from_preset("conv-noise", **TINY | {"epochs": 4, "eval_every": 2}), run))
    return run


@needs_classifier
def test_training_scores_into_history_and_reports_final_and_best(scored_run):
    history, metrics = scored_run.history, scored_run.metrics
    assert history["fd"].notna().tolist() == [False, True, False, True]
    assert metrics["final"]["fd"] == history["fd"].iloc[-1]
    best = history["fd"].min()
    assert metrics["best"]["fd"] == best
    assert metrics["best"]["epoch"] == history["epoch"][history["fd"].idxmin()]
    assert metrics["scored"]["floor"]["fd"] < best
    assert {"extractor", "generated", "reference", "split"} <= set(metrics["scored"])
    assert metrics["scoring_seconds"] > 0
    for name in ("precision", "recall"):
        assert 0 <= history[name].iloc[-1] <= metrics["scored"]["floor"][name] <= 1
    assert metrics["scored"]["floor"]["recall"] > 0.5


@needs_classifier
def test_scoring_does_not_move_a_bit_of_the_training(scored_run, tmp_path):
    list(train(scored_run.config.replace(eval_every=0), Run(tmp_path)))
    scored, unscored = (run.read_generator()[0].state_dict() for run in (scored_run, Run(tmp_path)))
    assert all(torch.equal(scored[key], unscored[key]) for key in scored)


@needs_classifier
def test_evaluate_prints_and_keeps_the_same_table_twice(scored_run, capsys):
    said = []
    for _ in range(2):
        assert main(["evaluate", "--run", str(scored_run.path), "-n", "100"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "cifar_resnet" in said[0]
    kept = pd.read_csv(scored_run.path / "evaluation.csv")
    assert list(kept.columns) == [*evaluate.COLUMNS, evaluate.TRAINED_AGAINST]


@pytest.mark.slow
@needs_classifier
def test_the_evaluation_notebook_runs_in_batch(scored_run):
    from check_pages import problems

    assert main(["evaluate", "--run", str(scored_run.path), "-n", "100", "--notebook"]) == 0
    assert problems(scored_run.path / "evaluation.ipynb", executed=True) == []
    figures = {path.stem for path in (scored_run.path / "figures").iterdir()}
    assert {"scores", "curves", "judged", "precision_recall", "classes", "neighbours"} <= figures


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--run", "nowhere"], "nowhere is no run: it has no config.json"),
        (["--run", "RUN", "--extractors", "inceptoin"], "unknown extractor 'inceptoin' (did you mean 'inception'?)"),
        (["--run", "RUN", "--images", "./nowhere"], "there is no folder nowhere"),
        (["--run", "RUN", "-n", "5"], "5 generated and 160 training images: scores need at least 20 and 40"),
    ],
)
def test_a_mistake_gets_one_sentence(words, sentence, finished_run, capsys):
    words = [str(finished_run.path) if word == "RUN" else word for word in words]
    assert main(["evaluate", *words]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
@needs_cifar10
@needs_classifier
def test_images_that_were_to_show_a_class_are_held_against_it():
    train_set, test_set = (load("cifar10", ["cat", "ship"], split, limit=200) for split in ("train", "test"))
    for labels, right in ((test_set.labels, True), (1 - test_set.labels, False)):
        table = evaluate.evaluate(test_set.images, train_set, test_set, ["cifar_resnet"], labels=labels)
        row = table.set_index("metric").loc["target_agreement"]
        assert row["floor"] > 0.85 and row["value"] == pytest.approx(row["floor"]) if right else row["value"] < 0.1


@pytest.mark.slow
@needs_cifar10
@needs_classifier
@pytest.mark.parametrize(("classes", "told", "shown"), [((), False, False), ((), True, True), (("cat",), False, True)])
def test_agreement_is_left_out_where_every_image_would_agree(classes, told, shown):
    train_set = load("cifar10", classes, limit=200)
    labels = train_set.labels if told else None
    table = evaluate.evaluate(train_set.images, train_set, None, ["cifar_resnet"], labels=labels)
    assert ("target_agreement" in set(table["metric"])) == shown


@pytest.mark.slow
@needs_cifar10
@needs_classifier
def test_on_real_cifar10_held_out_images_score_at_the_floor_and_noise_far_from_it():
    train_set = load("cifar10", ["automobile"])
    test_set = load("cifar10", ["automobile"], "test")
    real = evaluate.evaluate(test_set.images, train_set, None, ["cifar_resnet"]).set_index("metric")
    noise = torch.randint(0, 256, (1000, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    bad = evaluate.evaluate(noise, train_set, None, ["cifar_resnet"]).set_index("metric")
    assert real.loc["target_agreement", "value"] > 0.9
    assert bad.loc["target_agreement", "value"] < 0.5
    distance = "fd"  # 1,000 against 1,000 of the training images
    assert real.loc[distance, "value"] < 2 * real.loc[distance, "floor"]
    assert bad.loc[distance, "value"] > 30 * real.loc[distance, "floor"]
