"""The figures of the study: what is drawn is what the tables say, and an empty table is a figure that says so."""

import numpy as np
import pandas as pd
import pytest
import torch
from check_pages import picture_problem
from test_tables import runs_of
from torch import nn

from ganlab import figures, priors
from ganlab.config import Config
from ganlab.figures.palette import PALETTE, colour, in_order
from ganlab.figures.style import nothing
from ganlab.files import figure_png
from ganlab.study import tables

RUNS = runs_of({"uniform": 0.4})
VERDICTS = tables.verdicts(RUNS, ("a", "b"))


def test_every_prior_has_one_colour_and_a_treatment_that_of_its_prior():
    assert len(set(PALETTE.values())) == len(priors.PRIORS)
    assert colour("exponential-raw") == colour("exponential")
    assert in_order(["uniform", "exponential-raw", "gaussian", "uniform"]) == ["gaussian", "uniform", "exponential-raw"]


def test_the_primary_figure_has_a_panel_a_judge_a_dot_a_run_and_the_margin():
    figure = figures.primary(RUNS, VERDICTS, "P", ["a", "b"], 1.1)
    assert [axis.get_title() for axis in figure.axes] == ["judge: a", "judge: b"]
    axis = figure.axes[0]
    dots = [line for line in axis.lines if line.get_marker() in "os" and len(line.get_xdata()) == 1]
    assert len(dots) == len(RUNS)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["gaussian", "uniform", "poisson"]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["", "", ""]
    bars = [line.get_xdata() for line in axis.lines if len(line.get_xdata()) == 2 and len(set(line.get_ydata())) == 1]
    rows = VERDICTS[VERDICTS["judge"] == "a"]
    assert sorted(map(tuple, bars)) == sorted(zip(rows["low"], rows["high"], strict=True))
    own = [line.get_xdata()[0] for line in dots if line.get_color() == colour("gaussian")]
    assert np.log(own).mean() == pytest.approx(0, abs=1e-9), "Gaussian's own row is about 1"


SAID = ("no runs yet", "these generators are not in this checkout")


def test_a_table_without_runs_makes_a_figure_that_says_so():
    none, verdicts = RUNS.iloc[:0], VERDICTS.iloc[:0]
    empty = pd.DataFrame()
    drawn = [
        figures.primary(none, verdicts, "P", ["a"], 1.1),
        figures.conditions(verdicts, ["a"], 1.1),
        figures.secondary(empty, "P"),
        figures.takeoff(empty),
        figures.latent_size(none, ["P"], "a"),
        figures.learning_curves(pd.DataFrame(columns=["prior", "seed", "images_seen", "fd"]), "a"),
        figures.no_effect(np.array([]), 1.1, "a"),
        figures.prior_grids({}),
        figures.interpolation_strips({}),
        figures.swap_heatmap(empty),
        nothing(),
    ]
    assert all(figure.axes[0].texts[0].get_text() in SAID for figure in drawn)


def test_all_charts_stay_small_enough_for_a_page():
    sizes = pd.concat([RUNS, RUNS.assign(latent_dim=8)])
    curves = pd.DataFrame({"prior": "gaussian", "seed": [0, 0, 1, 1], "images_seen": [1, 2] * 2, "fd": [9, 4, 8, 5.0]})
    swap = pd.DataFrame(np.eye(3) * 0.1 + 1, index=RUNS["prior"].unique(), columns=RUNS["prior"].unique())
    drawn = [
        figures.primary(RUNS, VERDICTS, "P", ["a", "b"], 1.1),
        figures.conditions(VERDICTS, ["a", "b"], 1.1),
        figures.secondary(tables.secondary(RUNS), "P"),
        figures.takeoff(tables.takeoff(RUNS)),
        figures.latent_size(sizes, ["P"], "a"),
        figures.learning_curves(curves, "a", 1.1),
        figures.no_effect(np.exp(np.linspace(-0.1, 0.1, 50)), 1.1, "a"),
        figures.prior_shapes(priors.CORE),
        figures.swap_heatmap(swap),
        figures.by_size(pd.DataFrame({"prior": ["gaussian"], 2: [0.1], 8: [0.2]}), "distance"),
    ]
    assert [picture_problem(figure_png(figure)) for figure in drawn] == [None] * len(drawn)


class Clouds(nn.Module):
    """As hard to pack as the cars of a trained generator: noise of 16x16 pixels, smoothly enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3 * 16 * 16, generator=torch.Generator().manual_seed(0)))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        small = (z @ self.weight).tanh().view(-1, 3, 16, 16)
        return nn.functional.interpolate(small, size=32, mode="bilinear")


def test_pictures_of_seven_priors_stay_small_enough_for_a_page():
    clouds = {name: (Clouds(), Config(prior=name, latent_dim=4)) for name in priors.CORE}
    few = {name: clouds[name] for name in ("gaussian", "bernoulli", "exponential")}
    drawn = [figures.prior_grids(clouds), figures.interpolation_strips(few, 6)]
    assert [picture_problem(figure_png(figure)) for figure in drawn] == [None, None]
