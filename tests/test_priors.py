"""The priors are the distributions that they say they are, and an arm changes what it says it changes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ganlab import priors
from ganlab.config import CHOICES, ConfigError

NAMES = list(priors.PRIORS)
DRAWS = 400_000


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raw_draws(name: str, seed: int = 1) -> np.ndarray:
    return priors.get(name, "raw").sample(DRAWS // 100, 100, seeded(seed)).double().flatten().numpy()


def test_the_table_and_the_vocabulary_agree():
    assert tuple(priors.PRIORS) == CHOICES["prior"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arm", CHOICES["arm"])
def test_moments_are_within_sampling_error(name, arm):
    prior = priors.get(name, arm)
    draws = prior.sample(DRAWS // 100, 100, seeded(2)).double().flatten()
    fourth = ((draws - prior.mean) ** 4).mean()
    assert draws.mean() == pytest.approx(prior.mean, abs=4.5 * prior.std / DRAWS**0.5)
    assert draws.var() == pytest.approx(prior.std**2, abs=4.5 * float((fourth / DRAWS) ** 0.5))


@pytest.mark.parametrize("name", NAMES)
def test_arms_shift_and_scale_the_same_draws(name):
    raw, centred, standardised = (priors.get(name, arm) for arm in ("raw", "centred", "standardised"))
    u = priors.uniforms(50, 8, seeded(3))
    assert (standardised.mean, standardised.std) == pytest.approx((0, 1))
    assert (centred.mean, centred.std) == pytest.approx((0, raw.std))
    torch.testing.assert_close(centred.icdf(u), raw.icdf(u) - raw.mean)
    torch.testing.assert_close(standardised.icdf(u) * raw.std, raw.icdf(u) - raw.mean)


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("gaussian", stats.norm()),
        ("uniform", stats.uniform(-1, 2)),
        ("exponential", stats.expon()),
        ("laplacian", stats.laplace()),
    ],
)
def test_continuous_priors_follow_scipys_law(name, law):
    assert stats.kstest(raw_draws(name), law.cdf).pvalue > 1e-3
    u = torch.tensor([1e-12, 1e-4, 0.3, 0.5, 0.9, 1 - 1e-9], dtype=torch.float64)
    np.testing.assert_allclose(priors.get(name, "raw").icdf(u), law.ppf(u.numpy()), rtol=1e-6, atol=1e-7)


def test_multiplicative_is_the_product_of_two_independent_normals():
    stream = np.random.default_rng(4)
    product = stream.standard_normal(DRAWS) * stream.standard_normal(DRAWS)
    assert stats.ks_2samp(raw_draws("multiplicative"), product).pvalue > 1e-3


def test_multiplicative_quantiles_invert_the_closed_form():
    from scipy.integrate import quad
    from scipy.special import k0

    for u in (0.51, 0.6, 0.75, 0.9, 0.99, 0.999, 1 - 1e-6, 1 - 1e-9):
        x = float(priors.PRIORS["multiplicative"].quantile(torch.tensor([u], dtype=torch.float64)))
        tail = quad(lambda t: k0(t) / np.pi, x, np.inf, epsabs=0, epsrel=1e-10, limit=200)[0]
        assert tail == pytest.approx(1 - u, rel=2e-4)


@pytest.mark.parametrize(("name", "law"), [("poisson", stats.poisson(1)), ("bernoulli", stats.bernoulli(0.5))])
def test_discrete_priors_follow_scipys_law(name, law):
    values, counts = np.unique(raw_draws(name), return_counts=True)
    kept = law.pmf(values) * DRAWS > 5
    expected = law.pmf(values[kept])
    assert set(values) <= set(range(20))
    assert stats.chisquare(counts[kept], expected / expected.sum() * counts[kept].sum()).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_flags_are_true(name):
    prior, draws = priors.PRIORS[name], raw_draws(name)
    centred = draws - prior.raw_mean
    assert prior.discrete == (len(np.unique(draws)) < 30)
    assert prior.bounded == (np.abs(centred).max() <= 1)
    assert prior.symmetric == (abs(stats.skew(draws)) < 0.1)
    assert prior.heavy_tailed == (stats.kurtosis(draws) > 2)
    assert prior.rotation_invariant == (name == "gaussian")


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_draw_and_another_seed_another(name):
    prior = priors.get(name)
    assert torch.equal(prior.sample(20, 5, seeded(5)), prior.sample(20, 5, seeded(5)))
    assert not torch.equal(prior.sample(20, 5, seeded(5)), prior.sample(20, 5, seeded(6)))


@given(
    u=st.lists(st.floats(0, 1), min_size=1, max_size=50),
    name=st.sampled_from(NAMES),
    arm=st.sampled_from(CHOICES["arm"]),
)
@settings(max_examples=200, deadline=None)
def test_every_uniform_has_a_finite_latent_and_order_is_kept(u, name, arm):
    latents = priors.get(name, arm).icdf(torch.tensor(sorted(u), dtype=torch.float64))
    assert latents.isfinite().all()
    assert latents.dtype == torch.float32
    assert (latents.diff() >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_interpolation_keeps_the_prior_and_its_ends(name):
    prior = priors.get(name, "raw")
    start, end = priors.uniforms(1000, 100, seeded(7)), priors.uniforms(1000, 100, seeded(8))
    middle = prior.interpolate(start, end, 0.5).double().flatten().numpy()
    torch.testing.assert_close(prior.interpolate(start, end, 0.0), prior.icdf(start))
    torch.testing.assert_close(prior.interpolate(start, end, 1.0), prior.icdf(end))
    direct = raw_draws(name)[: len(middle)]
    if prior.discrete:
        assert set(middle) <= set(raw_draws(name)) | set(range(20))
        counts = [np.bincount(part.astype(int), minlength=20)[:5] for part in (middle, direct)]
        assert stats.chi2_contingency(np.array(counts)[:, np.sum(counts, 0) > 0]).pvalue > 1e-3
    else:
        assert stats.ks_2samp(middle, direct).pvalue > 1e-3


def test_unknown_prior_and_arm_name_the_valid_ones():
    with pytest.raises(
        ConfigError, match=r"'gausian' \(did you mean 'gaussian'\?\): valid are gaussian, uniform, poisson"
    ):
        priors.get("gausian")
    with pytest.raises(ConfigError, match="standardised, centred, raw"):
        priors.get("gaussian", "scaled")
