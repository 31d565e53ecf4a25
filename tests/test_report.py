"""The index of results: what stands in it comes from the files, and every link leads somewhere."""

import json
import shutil

import pandas as pd
import pytest
from check_pages import broken_links, picture_problem
from conftest import ROOT

from ganlab import report
from ganlab.run import Run

TABLE = pd.DataFrame(
    [("fd_cifar_resnet", 12.34, 0.8, 5000, "train"), ("fd_cifar_resnet", 99.0, 9.0, 2500, "train"),
     ("precision_cifar_resnet", 0.5, 0.9, 2500, "train"), ("recall_cifar_resnet", 0.25, 0.9, 2500, "train"),
     ("fd_cifar_resnet", 77.0, 7.0, 1000, "test")],
    columns=["metric", "value", "floor", "generated", "split"],
).assign(extractor="cifar_resnet", reference=5000)  # fmt: skip


def test_a_finding_names_value_floor_extractor_and_counts():
    other = TABLE.iloc[:1].assign(metric="fd_efficientnet_lite0", value=66.6, extractor="efficientnet_lite0")
    pixels = TABLE.iloc[:1].assign(metric="duplicate_rate", extractor="pixels")
    said = report.finding(pd.concat([pixels, TABLE, other]))
    assert "Frechet distance **12.3** (real images 0.8), precision **0.5** (real images 0.9), recall **0.25**" in said
    assert "`cifar_resnet`, 5,000 generated against 5,000 training images" in said
    assert "`efficientnet_lite0`, 5,000 generated against 5,000 training images: Frechet distance **66.6**" in said
    assert "99" not in said and "77" not in said and "FID" not in said and "pixels" not in said


def test_only_inception_features_make_an_fid():
    assert "FID **12.3**" in report.finding(TABLE.replace({"metric": {"fd_cifar_resnet": "fid"}}))


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
    assert "make experiment" in text and about["date"][:10] in text and about["cpu"] in text
    assert "320 images in 0 minutes of training, not scored." in text
    rate = json.loads((results / "bench" / "bench.json").read_text())["contenders"]["fast"]["images_per_second"]
    assert f"trains {rate:.0f} images a second" in text
    assert page.read_text() == report.write_index(results).read_text()


def test_a_run_that_is_not_finished_is_no_result(results):
    (results / "main" / "shapes" / "metrics.json").unlink()
    assert "The main experiment" not in report.write_index(results).read_text()


def test_the_race_is_told_at_the_last_minute_that_both_reached():
    rows = pd.DataFrame([("plain", 4, 40.0), ("plain", 8, 20.0), ("fast", 4, 6.0), ("fast", 8, 3.0), ("fast", 8, 5.0),
                         ("fast", 12, 1.0)], columns=["contender", "minutes", "fd_cifar_resnet"])  # fmt: skip
    said = report.race_finding(rows.assign(fd_floor=0.84))
    assert said.startswith(
        "After 8 minutes on one class the Frechet distance is 4 (3 to 5) with `fast`, 20 (20 to 20) in"
    )
    assert "real images 0.84: means and range of 2 seeds" in said


def test_targets_that_are_missed_stand_in_the_index_too(results):
    text = report.write_index(results).read_text()
    record = json.loads((results / "bench" / "bench.json").read_text())
    assert f"{sum(bar['met'] for bar in record['bars'])} of {len(record['bars'])} figures" in text
    assert "Not met: distance after 4 minutes, plain / fast: " in text and ", wanted 8" in text


def test_a_race_of_one_alone_is_no_result(results):
    rows = pd.read_csv(results / "bench" / "race.csv")
    rows[rows["contender"] != "plain"].to_csv(results / "bench" / "race.csv", index=False)
    assert "quality per minute" not in report.write_index(results).read_text()


def test_broken_links_and_heavy_pictures_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('[a](here.md) [b](gone.md#part) <img src="gone.png"> [web](https://a.b/c)\n```\n[no](link)\n```\n')
    (tmp_path / "here.md").write_text("")
    assert broken_links(page) == ["links to gone.md, which is not there", "links to gone.png, which is not there"]
    assert picture_problem(bytes(200_001)) and not picture_problem(bytes(200_000))
    moving = b"\x89PNG" + b"acTL"
    assert picture_problem(moving + bytes(500_000)) and not picture_problem(moving + bytes(300_000))
