"""The metrics against other people's code on the same features, against closed forms, and against degenerate input."""

import math
import warnings

import numpy as np
import pytest
import torch

from ganlab.errors import GanlabError
from ganlab.scoring import metrics
from ganlab.scoring.metrics import DegenerateWarning, MetricError


def draw(n: int, width: int = 16, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randn(n, width) * scale + shift


def correlated(n: int, width: int, seed: int) -> np.ndarray:
    """Features with a covariance far from a multiple of the identity, non-negative like a network's after ReLU."""
    rng = np.random.RandomState(seed)
    return np.maximum(0, rng.randn(n, width) @ rng.randn(width, width) / math.sqrt(width) + rng.rand(width))


def clean_frechet(a: np.ndarray, b: np.ndarray) -> float:
    from cleanfid.fid import frechet_distance

    moments = [moment for x in (a, b) for moment in (x.mean(0), np.cov(x, rowvar=False))]
    try:
        return float(frechet_distance(*moments))
    except TypeError:
        pytest.skip("clean-fid calls scipy.linalg.sqrtm(disp=False), an argument that this SciPy no longer has")


# Other people's code, same features


@pytest.mark.parametrize("n, m, width", [(500, 400, 8), (2000, 3000, 64), (300, 700, 128)])
def test_frechet_equals_clean_fid_and_torch_fidelity(n, m, width):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    a, b = correlated(n, width, 0), correlated(m, width, 1)
    value = metrics.frechet_distance(a, b)
    assert value == pytest.approx(clean_frechet(a, b), rel=1e-6)
    statistics = [fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    assert value == pytest.approx(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"], rel=1e-6)


def test_kernel_distance_equals_torch_fidelity_subset_for_subset():
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = correlated(500, 32, 0), correlated(400, 32, 1)
    theirs = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=20, kid_subset_size=100, rng_seed=7, verbose=False
    )
    ours = metrics.kernel_distance(a, b, subsets=20, subset_size=100, seed=7)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    # They report the spread of one subset (ddof 0), we the standard error of the mean: 100 of 400 samples overlap.
    spread = theirs["kernel_inception_distance_std"] * math.sqrt(20 / 19)
    assert ours.standard_error == pytest.approx(spread * math.sqrt(1 / 20 + 0.25 / 0.75), rel=1e-9)


def test_kernel_distance_equals_clean_fid_subset_for_subset():
    from cleanfid.fid import kernel_distance

    a, b = correlated(500, 32, 0), correlated(400, 32, 1)
    state = np.random.get_state()
    np.random.seed(7)  # clean-fid draws from the global generator, its second argument first
    theirs = kernel_distance(b, a, num_subsets=20, max_subset_size=100)
    np.random.set_state(state)
    assert metrics.kernel_distance(a, b, subsets=20, subset_size=100, seed=7).value == pytest.approx(theirs, rel=1e-9)
    # Of all samples there is one subset, whatever the seed.
    whole = kernel_distance(a[:400], b, num_subsets=1, max_subset_size=400)
    assert metrics.kernel_distance(a[:400], b, subsets=1, subset_size=400).value == pytest.approx(whole, rel=1e-9)
    # On float32 features clean-fid computes in float32; we always take float64, so only some digits agree.
    single = kernel_distance(a[:400].astype(np.float32), b.astype(np.float32), num_subsets=1, max_subset_size=400)
    assert single == pytest.approx(whole, rel=1e-3)


def test_inception_score_equals_torch_fidelity():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 3 * torch.from_numpy(draw(1003, 10))
    theirs = isc_features_to_metric(logits, splits=10, shuffle=False, rng_seed=None)
    ours = metrics.inception_score(logits.softmax(1), splits=10)
    assert ours.value == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    # They report the spread of a split (ddof 0), we the standard error of the mean of 10: a factor of 3.
    assert ours.standard_error * 3 == pytest.approx(theirs["inception_score_std"], rel=1e-9)


@pytest.mark.parametrize("k, n, m", [(3, 400, 300), (5, 300, 400)])
def test_precision_recall_density_coverage_equal_prdc(k, n, m):
    from prdc import compute_prdc

    real, fake = draw(n, 8, seed=0), draw(m, 8, 0.5, 0.8, seed=1)
    ours = metrics.precision_recall_density_coverage(real, fake, k)
    assert ours._asdict() == pytest.approx(compute_prdc(real, fake, k), rel=1e-9)
    assert ours.precision != ours.recall


def test_precision_and_recall_equal_torch_fidelity_but_for_the_border():
    from torch_fidelity.metric_prc import prc_features_to_metric

    def theirs(real, fake):  # takes the fakes first
        given = (torch.from_numpy(x) for x in (fake, real))
        out = prc_features_to_metric(*given, prc_neighborhood=3, verbose=False)
        return out["precision"], out["recall"]

    real, fake = draw(400, 8, seed=0), draw(300, 8, 0.5, 0.8, seed=1)
    assert metrics.precision_recall_density_coverage(real, fake, 3)[:2] == pytest.approx(theirs(real, fake), rel=1e-6)
    # torch-fidelity counts the border of a ball, prdc and we do not. It shows where balls have radius 0: the one real
    # sample that a collapsed generator repeats counts as recalled there and not here.
    fake = np.repeat(real[:1], 300, axis=0)
    with pytest.warns(DegenerateWarning):
        ours = metrics.precision_recall_density_coverage(real, fake, 3)
    assert ours[:2] == (1, 0)
    assert theirs(real, fake) == pytest.approx((1, 1 / 400), rel=1e-6)


# Frechet and kernel distance


def test_frechet_of_2000_rank_deficient_features_is_real_and_exact():
    a = draw(150, 2000)
    trace = np.trace(np.cov(a, rowvar=False))
    with pytest.warns(DegenerateWarning, match="150 samples for 2000 features"):
        moved, doubled, same = (metrics.frechet_distance(a, b) for b in (a + 0.1, 2 * a, a))
    assert all(type(value) is float for value in (moved, doubled, same))
    assert moved == pytest.approx(2000 * 0.1**2, rel=1e-10)
    assert doubled == pytest.approx(trace + (a.mean(0) ** 2).sum(), rel=1e-10)
    assert same == pytest.approx(0, abs=1e-9)


def test_kernel_distance_standard_error_is_the_scatter_of_fresh_draws():
    pairs = [(draw(300, seed=2 * i), draw(300, 16, 0.3, 1.2, seed=2 * i + 1)) for i in range(40)]
    found = [metrics.kernel_distance(a, b, subsets=25, subset_size=75) for a, b in pairs]
    scatter = np.std([e.value for e in found], ddof=1)
    assert 0.7 < np.sqrt(np.mean([e.standard_error**2 for e in found])) / scatter < 1.4


def test_kernel_distance_has_no_error_bar_when_every_subset_is_the_whole_set():
    found = metrics.kernel_distance(draw(100), draw(100, seed=1), subsets=5, subset_size=100)
    assert math.isnan(found.standard_error)


def test_real_against_real_is_near_the_floor_and_far_below_a_shift_of_a_tenth():
    a, b, other = draw(2000, 64, seed=0), draw(2000, 64, seed=1), draw(2000, 64, shift=0.1, seed=2)
    assert metrics.frechet_distance(a, b) > 0.5  # the plain distance's floor: nearly as large as the shift
    floor, shifted = (metrics.kernel_distance(a, x, subsets=10, subset_size=500) for x in (b, other))
    assert abs(floor.value) < 2 * floor.standard_error
    assert shifted.value > 5 * shifted.standard_error


def test_a_seed_decides_the_subsets_and_the_global_generators_stay_untouched():
    a, b = draw(200), draw(200, seed=1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    one, again, other = (metrics.kernel_distance(a, b, subsets=4, subset_size=50, seed=seed) for seed in (3, 3, 4))
    assert one == again != other
    assert (np.random.get_state()[1] == before[0]).all() and torch.equal(torch.get_rng_state(), before[1])


# Inception score and classes


def test_inception_score_counts_the_classes_of_a_perfect_sampler():
    ten = np.eye(10)[np.arange(1000) % 10]
    three = np.eye(10)[np.arange(999) % 3]
    assert metrics.inception_score(ten).value == pytest.approx(10)
    assert metrics.inception_score(three, splits=3).value == pytest.approx(3)
    assert metrics.inception_score(ten).standard_error == pytest.approx(0, abs=1e-12)


def test_inception_score_of_one_answer_is_1_and_warns():
    for constant in (np.full((200, 10), 0.1), np.eye(10)[np.full(200, 8)]):
        with pytest.warns(DegenerateWarning, match="lowest that exists"):
            assert metrics.inception_score(constant).value == pytest.approx(1)
    with pytest.warns(DegenerateWarning):  # rounding does not take it below its bound
        rows = [np.tile(np.random.RandomState(seed).dirichlet(np.ones(10)), (20, 1)) for seed in range(50)]
        assert min(metrics.inception_score(row, splits=1).value for row in rows) >= 1


def test_a_sampler_that_drops_3_of_10_classes_covers_7_of_10():
    labels = np.arange(700) % 7
    assert metrics.class_coverage(labels, range(10)) == 7
    assert metrics.class_coverage(np.eye(10)[labels], range(10)) == 7


def test_a_classifiers_stray_mistakes_do_not_count_as_a_class():
    rng = np.random.RandomState(0)
    labels = np.arange(7000) % 7
    stray = rng.rand(7000) < 0.05
    labels[stray] = rng.randint(0, 10, stray.sum())
    assert metrics.class_coverage(labels, range(10)) == 7
    assert metrics.class_coverage(labels, range(10), threshold=0) == 10


def test_class_histogram_entropy_and_agreement_are_exact():
    labels = np.array([0, 0, 0, 2])
    assert metrics.class_histogram(labels, 4).tolist() == [3, 0, 1, 0]
    nats = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert metrics.class_entropy(labels, 4) == pytest.approx(nats / math.log(4))
    assert metrics.class_entropy(np.arange(50) % 10, 10) == pytest.approx(1)
    assert metrics.class_entropy(np.full(50, 3), 10) == 0
    assert metrics.target_agreement(labels, [0]) == 0.75
    assert metrics.target_agreement(np.eye(4)[labels], [2, 3]) == 0.25


# Neighbours


def test_a_collapsed_sampler_has_precision_1_and_recall_0():
    real = draw(500, 64)
    with pytest.warns(DegenerateWarning, match="fake are the same"):
        scores = metrics.precision_recall_density_coverage(real, np.repeat(real[:1], 400, axis=0))
    assert scores.precision == 1 and scores.recall == 0
    assert scores.coverage < 0.1


def test_a_sampler_of_noise_around_everything_has_recall_1_and_precision_0():
    real, fake = draw(500, 4, scale=0.1), draw(500, 4, scale=5, seed=1)
    scores = metrics.precision_recall_density_coverage(real, fake)
    assert scores.recall == 1 and scores.precision < 0.05 and scores.density < 0.05


def test_a_sampler_of_half_the_modes_keeps_precision_and_halves_recall_and_coverage():
    modes = 10 * np.eye(8)
    real = modes[np.arange(800) % 8] + draw(800, 8, scale=0.1)
    fake = modes[np.arange(800) % 4] + draw(800, 8, scale=0.1, seed=1)
    scores = metrics.precision_recall_density_coverage(real, fake)
    assert scores.precision > 0.75 and scores.density > 0.75
    assert 0.35 < scores.recall <= 0.5 and 0.35 < scores.coverage <= 0.5


def test_the_border_of_a_ball_is_outside():
    real, fake = np.array([[0.0], [2.0], [4.0]]), np.array([[-2.0], [6.0]])  # balls of radius 2 and 8
    assert metrics.precision_recall_density_coverage(real, fake, k=1) == (0, 1, 0, 0)


def test_a_set_against_itself_is_perfect():
    scores = metrics.precision_recall_density_coverage(draw(300), draw(300))
    assert (scores.precision, scores.recall, scores.coverage) == (1, 1, 1)


def test_blocks_stay_small_and_change_nothing(monkeypatch):
    real, fake = draw(200, seed=0), draw(300, shift=0.2, seed=1)
    whole = metrics.precision_recall_density_coverage(real, fake), metrics.nearest_neighbours(fake, real, 3)[1]
    monkeypatch.setattr(metrics, "BLOCK", 2100)
    parts = metrics.precision_recall_density_coverage(real, fake), metrics.nearest_neighbours(fake, real, 3)[1]
    assert parts[0] == whole[0] and torch.equal(parts[1], whole[1])
    sizes = [block.numel() for _, block in metrics._distance_blocks(*map(torch.from_numpy, (real, fake)))]
    assert max(sizes) <= 2100 and sum(sizes) == 200 * 300


def test_nearest_neighbours_are_those_of_brute_force():
    features, reference = draw(50), draw(80, seed=1)
    distances, indices = metrics.nearest_neighbours(features, reference, 4)
    brute = np.linalg.norm(features[:, None] - reference, axis=2)
    np.testing.assert_array_equal(indices, brute.argsort(1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(brute, 1)[:, :4], rtol=1e-10)


def test_a_copy_is_at_distance_exactly_0():
    reference = correlated(300, 1280, 0).astype(np.float32) + 5
    distances, indices = metrics.nearest_neighbours(reference[::-1].copy(), reference)
    assert (distances == 0).all() and indices[:, 0].tolist() == list(range(299, -1, -1))
    nudged = metrics.nearest_neighbours(reference + 1e-3, reference)[0]
    np.testing.assert_allclose(nudged, 1e-3 * math.sqrt(1280), rtol=1e-2)


# Duplicates


def test_duplicates_are_counted_exactly():
    images = np.random.RandomState(0).randint(0, 256, (100, 3, 8, 8), dtype=np.uint8)
    assert metrics.duplicate_rate(images) == 0
    assert metrics.duplicate_rate(images[np.arange(1000) % 100]) == 0.9
    nearly = np.repeat(images[:1], 2, axis=0)
    nearly[1, 2, 7, 7] ^= 1
    assert metrics.duplicate_rate(torch.from_numpy(nearly)) == 0
    with pytest.warns(DegenerateWarning, match="all 50 images are the same"):
        assert metrics.duplicate_rate(np.repeat(images[:1], 50, axis=0)) == 0.98


# What goes in


def test_healthy_input_warns_of_nothing_in_torch_and_numpy_alike():
    a, b = draw(200).astype(np.float32), draw(200, shift=0.3, seed=1).astype(np.float32)
    ta, tb = torch.from_numpy(a).requires_grad_(), torch.from_numpy(b)
    a.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.frechet_distance(a, b) == metrics.frechet_distance(ta, tb)
        assert metrics.kernel_distance(a, b, 5, 50) == metrics.kernel_distance(ta, tb, 5, 50)
        assert metrics.precision_recall_density_coverage(a, b) == metrics.precision_recall_density_coverage(ta, tb)
        p = ta.softmax(1)
        assert metrics.inception_score(p) == metrics.inception_score(p.detach().numpy())


GOOD, BROKEN = draw(50), np.where(np.arange(16) == 3, np.nan, draw(50))
LOGITS, IMAGES = draw(50, 10), np.zeros((4, 3, 8, 8))


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: metrics.frechet_distance(GOOD, BROKEN), "50 of 50 rows of features_b hold NaN"),
        (lambda: metrics.kernel_distance(GOOD * np.inf, GOOD), "features_a hold NaN or infinity"),
        (lambda: metrics.frechet_distance(GOOD, GOOD[:1]), r"features_b has shape \(1, 16\)"),
        (lambda: metrics.frechet_distance(GOOD[0], GOOD), r"it must be \(N, F\)"),
        (lambda: metrics.frechet_distance(GOOD, GOOD[:, :8]), "16 features and features_b 8"),
        (lambda: metrics.kernel_distance(GOOD, GOOD[:40], subset_size=50), "of 2 to 40"),
        (lambda: metrics.kernel_distance(GOOD, GOOD), "subsets of 1000 from 50"),
        (lambda: metrics.inception_score(LOGITS), "softmax"),
        (lambda: metrics.inception_score(np.full((19, 10), 0.1)), "19 images in 10 splits"),
        (lambda: metrics.precision_recall_density_coverage(GOOD, GOOD[:5], k=5), "k is 5"),
        (lambda: metrics.precision_recall_density_coverage(GOOD, BROKEN), "rows of fake"),
        (lambda: metrics.nearest_neighbours(GOOD, GOOD[:3], k=4), r"1\.\.3"),
        (lambda: metrics.class_histogram(np.array([0, 10]), 10), r"0\.\.9"),
        (lambda: metrics.class_histogram(np.array([0.5, 1]), 10), "integer labels"),
        (lambda: metrics.class_coverage(LOGITS, range(10)), "softmax"),
        (lambda: metrics.class_coverage(np.array([1]), [1, 1]), "each once"),
        (lambda: metrics.class_entropy(np.array([0]), 1), "at least 2"),
        (lambda: metrics.target_agreement(np.array([0]), []), "targets is empty"),
        (lambda: metrics.duplicate_rate(IMAGES), "uint8"),
        (lambda: metrics.duplicate_rate(IMAGES[:1].astype(np.uint8)), "2 or more"),
    ],
)
def test_impossible_input_raises_a_sentence(call, sentence):
    with pytest.raises(MetricError, match=sentence) as raised:
        call()
    assert isinstance(raised.value, GanlabError)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 200


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: metrics.frechet_distance(GOOD, GOOD[:10]), "10 samples for 16 features"),
        (lambda: metrics.frechet_distance(GOOD, np.ones((50, 16))), "all 50 rows of features_b are the same"),
        (lambda: metrics.kernel_distance(np.ones((50, 16)), GOOD, subset_size=20), "features_a are the same"),
    ],
)
def test_a_degenerate_result_warns_at_the_callers_line(call, sentence):
    with pytest.warns(DegenerateWarning, match=sentence) as caught:
        call()
    assert caught[0].filename == __file__
