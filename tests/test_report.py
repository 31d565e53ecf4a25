"""The index of results: what stands in it comes from the files, and every link leads somewhere."""

import json
import shutil

import pandas as pd
import pytest
from check_pages import broken_links, picture_problem
from conftest import ROOT

from ganlab import report
from ganlab.bench import race
from ganlab.files import read_png, tile
from ganlab.latents import sample
from ganlab.run import Run
from ganlab.scoring import metrics

TABLE = pd.DataFrame(
    [("fd", 12.34, 0.8, 5000, "train"), ("fd", 99.0, 9.0, 2500, "train"),
     ("precision", 0.5, 0.9, 2500, "train"), ("recall", 0.25, 0.9, 2500, "train"),
     ("fd", 77.0, 7.0, 1000, "test")],
    columns=["metric", "value", "floor", "generated", "split"],
).assign(extractor="cifar_resnet", reference=5000)  # fmt: skip


def test_numbers_of_an_evaluation_are_those_against_the_training_images():
    other = TABLE.iloc[:1].assign(value=66.6, extractor="efficientnet_lite0")
    pixels = TABLE.iloc[:1].assign(metric="duplicate_rate", extractor="pixels")
    lines = report.evaluation_numbers(pd.concat([pixels, TABLE, other]))
    assert lines == [
        "Frechet distance (cifar_resnet): 12.3 (real images 0.8)",
        "precision (cifar_resnet): 0.5 (real images 0.9)",
        "recall (cifar_resnet): 0.25 (real images 0.9)",
        "Frechet distance (efficientnet_lite0): 66.6 (real images 0.8)",
    ]


@pytest.fixture
def results(tmp_path, finished_run):
    root = tmp_path / "results"
    shutil.copytree(finished_run.path, root / "main" / "shapes")
    (root / "main" / "shapes" / "experiment.ipynb").write_text("{}")
    shutil.copytree(ROOT / "results" / "bench", root / "bench")
    return root


def test_every_row_has_its_finding_command_date_and_hardware_and_its_links_lead_somewhere(results):
    page = report.write_index(results)
    text, about = page.read_text(), Run(results / "main" / "shapes").metrics["provenance"]
    assert broken_links(page) == []
    assert "ganlab experiment --preset conv-noise" in text and about["date"][:10] in text and about["cpu"] in text
    bars = json.loads((results / "bench" / "bench.json").read_text())["bars"]
    assert all(f"{bar['figure']}: {bar['measured']:.3g}" in text for bar in bars)
    assert page.read_text() == report.write_index(results).read_text()


def test_a_race_is_told_by_the_judge_that_decides(results):
    rows = pd.read_csv(results / "bench" / "race.csv")
    fast = rows[(rows["contender"] == "fast") & (rows["metric"] == "fd") & (rows["extractor"] == race.JUDGES[0])]
    last = fast[fast["minutes"] == fast["minutes"].max()]
    words = f"fast, {last['minutes'].iloc[0]:g} minutes: {last['value'].mean():.3g} ("
    text = report.write_index(results).read_text()
    assert words in text
    for contender, seeds in rows.groupby("contender")["seed"].unique().items():
        assert f"--contenders {contender} --seeds {' '.join(map(str, sorted(seeds)))}" in text, "only what was run"


def test_every_generator_has_a_card_with_its_images_and_scores(results):
    page = report.write_cards(results)
    run, text = Run(results / "main" / "shapes"), page.read_text()
    assert broken_links(page) == [] and text.count("<tr>") == 1
    assert all(line in text for line in report.run_numbers(run)) and "ganlab train --preset conv-noise" in text
    drawn = read_png(results / "generators" / "main-shapes.png")
    assert (drawn == tile(sample(run, 16), 4)).all()


def test_a_run_that_is_not_finished_is_no_result(results):
    (results / "main" / "shapes" / "metrics.json").unlink()
    assert "The main experiment" not in report.write_index(results).read_text()


def test_a_mean_stands_with_the_interval_over_the_seeds_where_there_is_one():
    shown = [metrics.shown_interval(*metrics.mean_interval(pd.Series(values))) for values in ([204.0, 206.0], [300.0])]
    assert shown == ["205 (192 to 218)", "300"]  # 12.7062 times a standard error of 1


def test_broken_links_and_heavy_pictures_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('[a](here.md) [b](gone.md#part) <img src="gone.png"> [web](https://a.b/c)\n```\n[no](link)\n```\n')
    (tmp_path / "here.md").write_text("")
    assert broken_links(page) == ["links to gone.md, which is not there", "links to gone.png, which is not there"]
    assert picture_problem(bytes(200_001)) and not picture_problem(bytes(200_000))
    moving = b"\x89PNG" + b"acTL"
    assert picture_problem(moving + bytes(500_000)) and not picture_problem(moving + bytes(300_000))


@pytest.mark.parametrize(("value", "said"), [(5.2, "no"), (4.2, "perhaps"), (2.0, "yes")])
def test_copying_is_answered_beside_real_images(value, said):
    rows = [
        ("nearest_train", "first", 1.0, 5.0, 5000, False),
        ("nearest_train", "second", value, 5.0, 5000, False),
        ("nearest_train", "kin", 1.0, 5.0, 5000, True),
        ("nearest_train", "saw fewer", 1.0, 5.0, 2500, False),
        ("duplicate_rate", "pixels", 0.01, 0.0, 0, False),
    ]
    table = pd.DataFrame(rows, columns=["metric", "extractor", "value", "floor", "reference", "trained_against"])
    assert report.copying(table).startswith(f"{said}: {value:.3g} to the nearest of 5,000 training images")
    assert report.copying(table).endswith("1 % drawn twice")
    sees_all = table.assign(reference=table["reference"].where(~table["trained_against"], 50_000))
    assert report.copying(sees_all).startswith("yes: 1 to the nearest of 50,000")
    assert report.copying(table.iloc[4:]).startswith("unknown")
