"""Figures of a single run, from whatever its folder holds."""

import numpy as np
import pandas as pd
import pytest
import torch

from ganlab import figures

HISTORY = pd.DataFrame({"epoch": [1, 2], "fd": [9.0, 4.0], "is": [1.0, 2.0]})
SCORED = {"extractor": "cifar_resnet", "generated": 1000, "floor": {"fd": 1.0, "is": 9.0}}
BEST = {"epoch": 2, "extractor": "cifar_resnet", "fd": 4.0, "is": 2.0}


def lines(axis) -> dict[str, list[float]]:
    return {line.get_label(): list(np.atleast_1d(line.get_ydata())) for line in axis.lines}


def test_scores_stand_beside_the_floor_and_the_best():
    distance, score = figures.score_curves(HISTORY, {"scored": SCORED, "best": BEST}).axes
    assert lines(distance) == {"averaged generator": [9.0, 4.0], "real test images": [1.0, 1.0], "best, epoch 2": [4.0]}
    assert distance.get_title() == "Frechet distance (cifar_resnet), 1000 images" and distance.get_yscale() == "log"
    assert lines(score) == {"averaged generator": [1.0, 2.0], "real test images": [9.0, 9.0]}


@pytest.mark.parametrize("scored", [None, SCORED | {"floor": None}])
def test_scores_of_another_extractor_or_of_before_have_no_floor_and_no_best(scored):
    distance, _ = figures.score_curves(HISTORY, {"scored": scored, "best": BEST | {"extractor": "other"}}).axes
    assert lines(distance) == {"averaged generator": [9.0, 4.0]}


@pytest.mark.parametrize(("real", "generated"), [(3, 24), (24, 3), (24, 24)])
def test_real_and_generated_sheets_of_any_number_stand_beside_each_other(real, generated):
    black, grey = (torch.full((n, 3, 32, 32), shade, dtype=torch.uint8) for n, shade in ((real, 0), (generated, 99)))
    sheet = figures.real_and_generated(black, grey).axes[0].images[0].get_array()
    height = max(-(-n // 6) for n in (real, generated)) * 33 - 1
    assert sheet.shape == (height, 2 * 197 + 8, 3)
    assert [(sheet == shade).all(2).sum() // 1024 for shade in (0, 99)] == [real, generated]
