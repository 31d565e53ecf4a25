"""The study's figures: what is drawn is what the tables say, one colour a prior, and an empty table is no error."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from ganlab import priors
from ganlab.config import NULL, Config
from ganlab.figures import study as figures
from ganlab.figures.study import colour, in_order
from ganlab.latents import evaluation_latents
from ganlab.study import statistics, tables

pytestmark = pytest.mark.filterwarnings("error", "ignore::ResourceWarning")  # of what ran before in this process

CELL, RAW = "fast-d100-standardised", "fast-d100-raw"
NAMES = {name: 0.5 for name in tables.METRICS}
LESS_IS_BETTER = {"fd_train", "fd_test", "kid_train", "duplicate_rate_train"}
GROUPS = {"quality": list(tables.QUALITY), "diversity": list(tables.DIVERSITY)}


def noise_runs(priors_: tuple[str, ...] = (*priors.CORE, NULL), seeds: int = 5, cell: str = CELL) -> pd.DataFrame:
    """Runs whose seeds scatter together; laplacian's first two failed, poisson lies higher."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        common = rng.normal(0, 0.05)
        for prior in priors_:
            row = {"cell": cell, "preset": "fast", "prior": prior, "arm": "standardised", "latent_dim": 100}
            failed = prior == "laplacian" and seed < 2
            row |= {
                "seed": seed,
                "status": "failed" if failed else "done",
                "collapsed": np.nan if failed else seed == 3,
            }
            shift = 0.1 * (prior == "poisson")
            row |= {m: np.nan if failed else v + common + shift + rng.normal(0, 0.01) for m, v in NAMES.items()}
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return noise_runs()


@pytest.fixture(scope="module")
def summary(runs) -> pd.DataFrame:
    return statistics.compare(runs[runs["status"] == "done"], list(NAMES))


class Painter(nn.Module):
    """A generator (N, 4) -> (N, 3, 8, 8) that paints the first coordinate as grey, 8 as white."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, z):
        return (self.weight * z[:, :1] / 8)[:, :, None, None].expand(-1, 3, 8, 8)


def painters(names=priors.CORE) -> dict[str, tuple[nn.Module, Config]]:
    return {name: (Painter(), Config(prior=name, latent_dim=4)) for name in names}


def painted(latents: torch.Tensor) -> np.ndarray:
    """The first coordinates as ``Painter`` shows them, with the sheets' 32 levels."""
    bytes_ = ((latents[:, 0].clamp(-8, 8) / 8 + 1) * 127.5).round()
    return ((bytes_ * 31 / 255).round() * 255 / 31).round().numpy()


def sheet_of(figure) -> np.ndarray:
    return figure.axes[0].images[0].get_array()


def points(axis) -> dict[float, object]:
    """Lines of one point, by the row they stand in."""
    return {float(line.get_ydata()[0]): line for line in axis.lines if len(line.get_xdata()) == 1}


def bars(axis, width: float) -> dict[float, tuple[float, float]]:
    lines = [line for line in axis.lines if line.get_linewidth() == width and line.get_solid_capstyle() == "butt"]
    return {float(line.get_ydata()[0]): tuple(line.get_xdata()) for line in lines}


def words(figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


# Names, colours and numbers


def test_every_prior_has_its_own_colour_and_the_null_is_grey():
    shades = {str(colour(prior)) for prior in priors.PRIORS}
    assert len(shades) == len(priors.PRIORS) and colour(NULL) == "0.6" not in shades


def test_priors_stand_in_the_table_s_order_with_the_null_last():
    assert in_order([NULL, "one_hot", "poisson", "gaussian", "poisson"]) == ["gaussian", "poisson", "one_hot", NULL]


def test_metrics_have_names_units_and_directions():
    assert figures.about("fd_train") == ("Frechet distance, train", "squared feature units", False)
    assert figures.about("fd_cifar_resnet")[0] == "Frechet distance, cifar_resnet"
    assert figures.about("duplicate_rate")[0] == "duplicate rate"
    assert figures.about("fdx_train") == ("fdx_train", "", None)
    for metric in tables.METRICS:
        assert figures.about(metric)[2] is (metric not in LESS_IS_BETTER), metric


def test_ranges_leave_out_what_is_not_done_and_not_finite():
    runs = pd.DataFrame({"prior": ["poisson"] * 4 + ["gaussian"], "status": ["done"] * 3 + ["left"] + ["done"]})
    found = figures.ranges(runs.assign(fd=[1, 3, np.inf, 100, 7]), "fd")
    assert found.loc["poisson"].tolist() == [2, 1, 3, 2] and list(found.index) == ["gaussian", "poisson"]
    assert figures.ranges(runs, "fd").empty and figures.ranges(pd.DataFrame(), "fd").empty


def test_percent_is_of_gaussian_s_mean(summary):
    found, row = figures.as_percent(summary).iloc[0], summary.iloc[0]
    for name in ("difference", "ci_low", "t_high", "smallest_detectable"):
        assert found[name] == pytest.approx(100 * row[name] / row["reference_mean"])


def test_norms_and_cosines_have_the_known_moments():
    norms, cosines = figures.norms_and_cosines("bernoulli", 100, "standardised")
    assert norms.numpy() == pytest.approx(10) and abs(cosines.mean()) < 0.01
    norms, cosines = figures.norms_and_cosines("laplacian", 100, "standardised")
    assert norms.std() / norms.mean() == pytest.approx(0.111, abs=0.003)
    assert figures.norms_and_cosines("poisson", 100, "raw")[1].mean() == pytest.approx(0.5, abs=0.02)
    assert figures.norms_and_cosines("bernoulli", 4, "raw")[1].isfinite().all()  # one latent in 16 is 0


# Against gaussian


def test_forest_draws_the_differences_intervals_and_bands_of_the_table(summary):
    figure = figures.forest(summary, CELL, GROUPS)
    drawn = [axis for axis in figure.axes if axis.axison]
    assert len(drawn) == len(tables.METRICS)
    order = in_order(summary["prior"])
    for axis, metric in zip(drawn, tables.METRICS, strict=True):
        rows = summary[summary["metric"] == metric].set_index("prior")
        marks, thick, thin = points(axis), bars(axis, 4), bars(axis, 1)
        bands = {patch.get_y() + 0.5: patch for patch in axis.patches}
        for y, prior in enumerate(order):
            row = rows.loc[prior]
            assert marks[y].get_xdata()[0] == row["difference"]
            assert thick.get(y) == ((row["ci_low"], row["ci_high"]) if row["n"] >= 5 else None)
            assert thin[y] == (row["t_low"], row["t_high"])
            assert bands[y].get_width() == pytest.approx(2 * row["smallest_detectable"])
            assert bands[y].get_x() == pytest.approx(-row["smallest_detectable"])
            assert (marks[y].get_markerfacecolor() == "white") != (row["p_holm"] < 0.05)
            assert marks[y].get_color() == colour(prior)
        better = "lower" if metric in LESS_IS_BETTER else "higher"
        assert axis.get_title().endswith(f"{better} is better")
        assert [text.get_text() for text in axis.texts].count("n = 3") == 1  # laplacian lost two of its five runs
    assert [label.get_text() for label in drawn[0].get_yticklabels()] == order
    assert [axis.get_ylabel() for axis in drawn if axis.get_ylabel()] == ["quality", "quality", "diversity"]


def test_some_point_of_the_forest_is_filled_and_some_is_not(summary):
    significant = summary[summary["metric"] == "fd_train"].set_index("prior")["p_holm"] < 0.05
    assert significant["poisson"] and not significant[NULL]


def test_a_difference_that_is_the_same_in_all_pairs_is_half_filled():
    runs = pd.DataFrame(
        [(CELL, prior, seed, value) for prior, value in (("gaussian", 0.0), ("bernoulli", 0.95)) for seed in range(3)],
        columns=["cell", "prior", "seed", "duplicate_rate_train"],
    )
    table = statistics.compare(runs, ["duplicate_rate_train"])
    assert "alike in all pairs" in table["verdict"][0]
    (axis,) = figures.forest(table, CELL, {"diversity": ["duplicate_rate_train"]}).axes
    assert points(axis)[0].get_fillstyle() == "left"


def test_verdict_has_a_panel_a_cell_with_dunnett_s_ratios(runs):
    runs = pd.concat([runs, noise_runs(("gaussian", "one_hot", "poisson"), 3, "small")])
    together = statistics.dunnett(runs[runs["status"] == "done"], ["fd_train", "recall_train"], ["fd_train"])
    figure = figures.verdict(together, ["small", "planned", CELL], "fd_train", "One sentence")
    axes = [axis for axis in figure.axes if axis.axison]
    assert [axis.get_title() for axis in axes] == ["small", CELL]
    for axis in axes:
        rows = together[(together["cell"] == axis.get_title()) & (together["metric"] == "fd_train")].set_index("prior")
        order = in_order(rows.index)
        assert [tick.get_text() for tick in axis.get_yticklabels()] == order
        bars = {line.get_ydata()[0]: line for line in axis.lines if len(line.get_xdata()) == 2}
        for y, prior in enumerate(order):
            assert points(axis)[y].get_xdata()[0] == rows.loc[prior, "effect"]
            assert list(bars[y].get_xdata()) == rows.loc[prior, ["low", "high"]].tolist()
            filled = points(axis)[y].get_markerfacecolor() != "white"
            assert filled == (rows.loc[prior, "p"] < 0.05)
        assert axis.get_xlim()[0] < rows["low"].min() < rows["high"].max() < axis.get_xlim()[1]
    assert axes[0].get_xlim() == axes[1].get_xlim() and figure.get_suptitle() == "One sentence: lower is better"


def test_a_prior_with_one_pair_has_a_point_and_no_interval():
    figure = figures.forest(statistics.compare(noise_runs(seeds=1), ["fd_train"]), CELL, {"quality": ["fd_train"]})
    drawn = [y for y, point in points(figure.axes[0]).items() if np.isfinite(point.get_xdata()[0])]
    assert sorted(drawn) == [0, 1, 2, 4, 5, 6] and words(figure)[3] == "n = 0"  # laplacian's one run failed
    assert not figure.axes[0].patches
    figure.draw_without_rendering()


# Runs


def test_precision_recall_plane_takes_seeds_that_are_all_equal(runs):
    equal = runs.assign(recall_train=0.1, precision_train=0.1)  # (0.1 + 0.1 + 0.1) / 3 is more than 0.1
    assert figures.precision_recall_plane(equal, pd.Series(dtype=float), CELL).axes[0].lines


def test_precision_recall_plane_shows_runs_means_and_real_images(runs):
    floors = pd.Series({"recall_train": 0.8, "precision_train": 0.9})
    axis = figures.precision_recall_plane(runs, floors, CELL).axes[0]
    stars = [line for line in axis.lines if line.get_marker() == "*"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in stars] == [(0.8, 0.9)]
    means = {line.get_color(): line for line in axis.lines if line.get_markersize() == 9}
    poisson = runs[runs["prior"] == "poisson"]
    assert means[colour("poisson")].get_xdata()[0] == pytest.approx(poisson["recall_train"].mean())
    assert means[colour("poisson")].get_ydata()[0] == pytest.approx(poisson["precision_train"].mean())
    dots = [line for line in axis.lines if line.get_markersize() == 3]
    assert sum(len(line.get_xdata()) for line in dots) == (runs["status"] == "done").sum()


def test_learning_curves_are_means_of_the_scored_epochs_within_the_range_of_seeds():
    rows = [
        {"prior": prior, "seed": seed, "epoch": epoch, "images_seen": 100 * epoch, "fd_cifar_resnet": value}
        for prior in ("gaussian", "poisson")
        for seed in (0, 1)
        for epoch, value in ((1, np.nan), (2, 8 + 2 * seed), (3, np.nan), (4, 4 + 2 * seed))
    ]
    (axis,) = figures.learning_curves(pd.DataFrame(rows), floor=1.5).axes
    line = axis.lines[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([200, 400], [9, 5])
    assert axis.lines[-1].get_ydata()[0] == 1.5 and axis.get_yscale() == "log"
    corners = axis.collections[0].get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (4, 10)
    assert axis.lines[1].get_color() == colour("poisson")


def test_the_forest_of_cells_has_a_line_a_cell_in_percent_of_its_own_mean(runs):
    other = noise_runs(("gaussian", "one_hot"), 3, "small")
    found = statistics.compare(pd.concat([runs, other]), ["fd_train", "recall_train"])
    figure = figures.forest_cells(found, [CELL, "none yet", "small"], ["fd_train", "recall_train"])
    assert [axis.get_ylabel().replace("\n", "-") for axis in figure.axes] == [CELL, "", "small", ""]
    assert [label.get_text() for label in figure.axes[2].get_yticklabels()] == ["one_hot"]
    row = found[(found["cell"] == "small") & (found["metric"] == "recall_train")].iloc[0]
    assert points(figure.axes[3])[0].get_xdata()[0] == pytest.approx(100 * row["difference"] / row["reference_mean"])


def test_arrows_lead_from_the_standardised_mean_to_the_raw_one_over_the_seeds_of_both(runs):
    raw = noise_runs(("poisson", "one_hot"), 3, RAW)
    (axis,) = figures.arrows(pd.concat([runs, raw]), CELL, RAW).axes
    (arrow,) = [text for text in axis.texts if hasattr(text, "arrow_patch")]
    means = [
        frame[(frame["prior"] == "poisson") & (frame["seed"] < 3)][["recall_train", "precision_train"]].mean()
        for frame in (runs, raw)
    ]
    assert "one_hot" not in [line.get_label() for line in axis.lines]
    assert tuple(arrow.xyann) == pytest.approx(tuple(means[0])) and tuple(arrow.xy) == pytest.approx(tuple(means[1]))


def test_duplicates_has_a_panel_a_cell_and_a_point_a_run(runs):
    small = noise_runs(("gaussian", "bernoulli"), 3, "small").assign(duplicate_rate_train=[0, 0.9] * 3)
    figure = figures.duplicates(pd.concat([runs, small]))
    assert [axis.get_title() for axis in figure.axes] == [CELL, "small"]
    values = [list(line.get_xdata()) for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert values == [[0, 0, 0], [90, 90, 90]] and "90 %, n = 3" in words(figure)


def test_collapse_shows_share_interval_and_counts(runs):
    rates = statistics.rates(runs)
    figure = figures.collapse(rates)
    for axis, outcome in zip(figure.axes, ("collapsed", "status"), strict=True):
        row = rates[(rates["outcome"] == outcome) & (rates["prior"] == "laplacian")].iloc[0]
        y = in_order(runs["prior"]).index("laplacian")
        assert points(axis)[y].get_xdata()[0] == pytest.approx(100 * row["share"])
        assert axis.lines[2 * y].get_xdata() == pytest.approx([100 * row["ci_low"], 100 * row["ci_high"]])
    assert "2 of 5" in words(figure)


# Latents and images


def test_prior_grids_give_every_prior_the_same_uniforms():
    sheet = sheet_of(figures.prior_grids(painters(), n=5))
    assert sheet.shape == (7 * 9, 5 * 9 - 1, 3)  # seven rows of five images, each with a gap below and between
    uniforms = torch.special.ndtr(evaluation_latents(Config(latent_dim=4), 5).double())
    for place, prior in enumerate(priors.CORE):
        row = sheet[place * 9, ::9, 0]
        assert np.abs(row.astype(float) - painted(priors.get(prior).icdf(uniforms))).max() <= 9, prior  # one level


def test_interpolation_strips_share_their_ends_and_only_the_matched_one_keeps_a_discrete_prior():
    figure = figures.interpolation_strips(painters(("gaussian", "rademacher")), steps=9)
    rows = sheet_of(figure)[::9, ::9, 0]
    assert rows.shape == (2 * 3, 9)
    for prior in (rows[:3], rows[3:]):
        assert len(set(prior[:, 0])) == len(set(prior[:, -1])) == 1
    two = set(painted(torch.tensor([[-1.0], [1.0]])))
    assert set(rows[3]) <= two
    names = [text for text in words(figure) if not text.startswith("t =")]
    assert names == ["gaussian\nmatched", "lerp", "slerp", "rademacher\nmatched", "lerp", "slerp"]


def test_strips_follow_the_three_paths():
    generator, config = painters(["laplacian"])["laplacian"]
    matched, lerp, slerp = figures.strips(generator, config, 5)[:, 0, 0, 0].reshape(3, 5).int()
    assert abs(int(lerp[2]) - (int(lerp[0]) + int(lerp[4])) / 2) <= 1 and len({*matched.tolist()}) > 1
    assert (matched[0], matched[4]) == (lerp[0], lerp[4]) == (slerp[0], slerp[4])


def test_latent_distributions_name_the_spread_of_every_prior():
    figure = figures.latent_distributions(priors.CORE, 100)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(priors.CORE)
    spreads = [text.get_text() for text in figure.axes[0].texts]
    assert spreads[0].startswith("cv 0.07") and spreads[5] == "cv 0.000"
    assert len(figure.axes[1].texts) == 7
    figures.latent_distributions(["bernoulli"], 8).draw_without_rendering()  # all norms equal


def test_swap_heatmap_frames_each_prior_fed_with_itself():
    table = pd.DataFrame([[1.0, 20], [3, np.nan]], ["uniform", "gaussian"], ["uniform", "gaussian"])
    axis = figures.swap_heatmap(table).axes[0]
    assert [text.get_text() for text in axis.texts] == ["3", "20", "1"]  # gaussian comes first, one value is missing
    frames = [patch.get_xy() for patch in axis.patches]
    assert frames == [(0, 0), (1, 1)]


# All of them


def test_empty_tables_say_that_there_are_no_runs_yet(runs, summary):
    planned = runs[list(statistics.KEYS)].assign(status="left", latent_dim=100)
    for frame in (pd.DataFrame(), planned, planned.iloc[:0]):
        for figure in (
            figures.precision_recall_plane(frame, pd.Series(dtype=float), CELL),
            figures.arrows(frame, CELL, RAW),
            figures.duplicates(frame),
        ):
            assert "no runs yet" in words(figure)
    empty = runs.iloc[:0]
    nothing = statistics.compare(empty, ["fd_train"])
    for figure in (
        figures.forest(nothing, CELL, GROUPS),
        figures.forest(pd.DataFrame(), CELL, GROUPS),
        figures.forest_cells(nothing, [CELL], ["fd_train"]),
        figures.forest(summary, "another cell", GROUPS),
        figures.forest(summary.assign(difference=np.nan), CELL, GROUPS),
        figures.verdict(statistics.dunnett(empty, ["fd_train"]), [CELL], "fd_train", ""),
        figures.verdict(statistics.dunnett(runs, ["fd_train"]), [CELL], "fd_train", ""),  # no ratio
        figures.learning_curves(pd.DataFrame()),
        figures.learning_curves(pd.DataFrame({"prior": ["gaussian"], "seed": [0], "fd_x": [np.nan]})),
        figures.collapse(statistics.rates(empty)),
        figures.collapse(pd.DataFrame()),
        figures.prior_grids({}),
        figures.interpolation_strips({}),
        figures.latent_distributions([], 8),
        figures.swap_heatmap(pd.DataFrame()),
    ):
        assert "no runs yet" in words(figure)
        figure.draw_without_rendering()


def test_nothing_leaves_the_canvas(runs, summary):
    swap = pd.DataFrame(np.geomspace(30, 1300, 49).reshape(7, 7), priors.CORE, priors.CORE)
    other = pd.concat([summary, summary.assign(cell="conv-noise-d100-raw", n=3)])
    cells = pd.concat([runs.assign(cell=name) for name in "1234"])
    for figure in (
        figures.forest(summary, CELL, GROUPS),
        figures.forest(summary, CELL, {"quality": ["fd_train"]}),
        figures.verdict(statistics.dunnett(cells, ["fd_train"], ["fd_train"]), "1234", "fd_train", "The distance"),
        figures.forest_cells(other, [CELL, "conv-noise-d100-raw"], ["fd_train", "recall_train"]),
        figures.precision_recall_plane(runs, pd.Series(dtype=float), CELL),
        figures.duplicates(runs),
        figures.collapse(statistics.rates(runs)),
        figures.latent_distributions(list(priors.CORE), 8),
        figures.swap_heatmap(swap),
    ):
        figure.draw_without_rendering()
        taken, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        outside = max(-taken.x0, -taken.y0, taken.x1 - width, taken.y1 - height)
        assert outside < 0.02, f"{outside:.2f} inches of {figure.get_suptitle() or words(figure)} are cut off"


def test_pngs_are_small_enough_for_a_notebook(summary, tmp_path):
    class Clouds(Painter):
        """As hard to pack as the cars of a trained generator: noise of 16x16 pixels, smoothly enlarged."""

        def forward(self, z):
            stream = torch.Generator().manual_seed(0)
            grey, tint = (torch.randn(len(z), n, 16, 16, generator=stream) for n in (1, 3))
            return nn.functional.interpolate(0.3 * grey + 0.05 * tint, size=32, mode="bilinear")

    noise = {name: (Clouds(), Config(prior=name, latent_dim=4)) for name in priors.CORE}
    few = {name: noise[name] for name in ("gaussian", "poisson", "bernoulli")}
    for figure in (
        figures.forest(summary, CELL, GROUPS),
        figures.prior_grids(noise),
        figures.interpolation_strips(few),
    ):
        assert figure.get_figwidth() <= 10
        figure.savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size < 200_000
