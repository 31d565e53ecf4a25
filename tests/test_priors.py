"""The priors are the distributions that they say they are, and a scaling changes what it says it changes."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from scipy.special import iti0k0

from ganlab import priors
from ganlab.errors import ConfigError

NAMES = list(priors.PRIORS)
IID = [name for name in NAMES if priors.PRIORS[name].iid]
TRUNCATABLE = ["gaussian", "uniform", "laplacian", "multiplicative", "student_t", "truncated_normal"]
DRAWS = 200_000


def mixture_cdf(x):
    return (stats.norm(-1, 0.5).cdf(x) + stats.norm(1, 0.5).cdf(x)) / 2


def product_cdf(x):
    return 0.5 + np.sign(x) * iti0k0(np.abs(x))[1] / np.pi


LAWS = {
    "gaussian": stats.norm(),
    "uniform": stats.uniform(-1, 2),
    "exponential": stats.expon(),
    "laplacian": stats.laplace(),
    "multiplicative": SimpleNamespace(cdf=product_cdf),
    "student_t": stats.t(3),
    "truncated_normal": stats.truncnorm(-2, 2),
    "gaussian_mixture": SimpleNamespace(
        cdf=mixture_cdf, ppf=np.vectorize(lambda u: brentq(lambda x: mixture_cdf(x) - u, -6, 6, xtol=1e-14))
    ),
    "poisson": stats.poisson(1),
    "bernoulli": stats.bernoulli(0.5),
    "rademacher": SimpleNamespace(pmf=lambda x: np.where(np.abs(x) == 1, 0.5, 0.0)),
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def raw_draws(name: str, seed: int = 1) -> np.ndarray:
    return priors.get(name, "raw").sample(DRAWS // 100, 100, seeded(seed)).double().flatten().numpy()


def p_value(name: str, latents: torch.Tensor) -> float:
    """How likely raw latents (n, d) so far from the stated law are, if they follow it; 0 off the support."""
    x, (n, d) = latents.double().numpy(), latents.shape
    if name == "one_hot":
        return stats.chisquare(x.sum(0)).pvalue if is_one_hot(x) else 0.0
    if name == "spherical":  # one coordinate of each row, because the d of them lean on each other
        if not np.allclose(np.linalg.norm(x, axis=1), d**0.5, rtol=1e-6):
            return 0.0
        law = stats.beta((d - 1) / 2, (d - 1) / 2)
        return stats.kstest((x[np.arange(n), np.arange(n) % d] / d**0.5 + 1) / 2, law.cdf).pvalue
    if name == "censored_normal":
        share = stats.binomtest(int((x == 0).sum()), x.size, 0.5).pvalue if x.min() == 0 else 0.0
        return min(share, stats.kstest(x[x > 0], stats.halfnorm.cdf).pvalue)
    if not priors.PRIORS[name].discrete:
        return stats.kstest(x.flatten(), LAWS[name].cdf).pvalue
    support = np.arange(-1, 20)
    expected = LAWS[name].pmf(support)
    counts = (x.flatten()[:, None] == support[expected * x.size > 5]).sum(0)
    if not np.isin(x, support[expected > 0]).all():
        return 0.0
    kept = expected[expected * x.size > 5]
    return stats.chisquare(counts, kept / kept.sum() * counts.sum()).pvalue


def is_one_hot(x: np.ndarray) -> bool:
    return bool(((x == 0) | (x == 1)).all() and (x.sum(1) == 1).all())


def test_the_table_and_the_vocabulary_agree():
    assert tuple(priors.PRIORS) == priors.CORE + priors.EXTENDED
    assert (len(priors.CORE), priors.CORE[-1], priors.EXTENDED[0]) == (7, "multiplicative", "rademacher")
    assert all(name == prior.name and prior.definition for name, prior in priors.PRIORS.items())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scaling", priors.SCALINGS)
def test_moments_are_within_sampling_error(name, scaling):
    # 4.5 standard errors, that of the variance from the draws' own fourth moment. Student's t has no fourth moment, so
    # that its band is wide; the next test is exact.
    prior = priors.get(name, scaling, 100)
    draws = prior.sample(DRAWS // 100, 100, seeded(2)).double().flatten()
    fourth = ((draws - prior.mean) ** 4).mean()
    assert draws.mean() == pytest.approx(prior.mean, abs=4.5 * prior.std / DRAWS**0.5)
    assert draws.var() == pytest.approx(prior.std**2, abs=4.5 * float((fourth / DRAWS) ** 0.5))


@pytest.mark.parametrize("name", IID)
def test_moments_are_the_integrals_of_the_quantile_function(name):
    # Over the Gaussian score of u, on a grid of 1.6e-4: a step inside one cell costs about that much. The t's tail
    # beyond a score of 8 holds 2e-5 of its variance.
    prior, score = priors.get(name, "raw"), np.linspace(-8, 8, 100_001)
    weight = stats.norm.pdf(score) * (score[1] - score[0])
    latents = prior.icdf(torch.from_numpy(stats.norm.cdf(score))).double().numpy()
    mean = (weight * latents).sum()
    assert mean == pytest.approx(prior.mean, abs=2e-4)
    assert (weight * (latents - mean) ** 2).sum() == pytest.approx(prior.std**2, rel=4e-4)


@pytest.mark.parametrize("name", NAMES)
def test_arms_shift_and_scale_the_same_draws(name):
    raw, centred, standardised = (priors.get(name, scaling, 8) for scaling in ("raw", "centred", "standardised"))
    u = priors.uniforms(50, 8, seeded(3))
    assert (standardised.mean, standardised.std) == pytest.approx((0, 1))
    assert (centred.mean, centred.std) == pytest.approx((0, raw.std))
    torch.testing.assert_close(centred.icdf(u), raw.icdf(u) - raw.mean)
    torch.testing.assert_close(standardised.icdf(u) * raw.std, raw.icdf(u) - raw.mean)
    assert torch.equal(standardised.icdf(u), priors.get(name).icdf(u))


@pytest.mark.parametrize("name", NAMES)
def test_raw_draws_follow_the_stated_law(name):
    assert p_value(name, priors.get(name, "raw").sample(DRAWS // 100, 100, seeded(1))) > 1e-3


@pytest.mark.parametrize(
    "name", ["gaussian", "uniform", "exponential", "laplacian", "student_t", "truncated_normal", "gaussian_mixture"]
)
def test_quantiles_are_scipys(name):
    u = torch.tensor([1e-15, 1e-12, 1e-7, 1e-4, 0.02, 0.3, 0.499, 0.5, 0.7, 0.9, 1 - 1e-9], dtype=torch.float64)
    np.testing.assert_allclose(priors.get(name, "raw").icdf(u), LAWS[name].ppf(u.numpy()), rtol=1e-6, atol=1e-7)
    # in float64 up to 0.9: closer to 1, u itself is too coarse for scipy's cdf to be inverted
    ours = priors.PRIORS[name].quantile(u[:-1]).double()
    np.testing.assert_allclose(ours, LAWS[name].ppf(u[:-1].numpy()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["laplacian", "multiplicative", "student_t", "truncated_normal", "gaussian_mixture"])
def test_quantiles_of_symmetric_priors_are_mirrored_far_into_both_tails(name):
    u = 2.0 ** -torch.arange(1, 50, dtype=torch.float64)
    quantile = priors.PRIORS[name].quantile
    torch.testing.assert_close(quantile(1 - u), -quantile(u), rtol=1e-9, atol=1e-12)


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


@pytest.mark.parametrize("name", NAMES)
def test_the_flags_are_true(name):
    prior, draws = priors.get(name, "raw", 100), raw_draws(name)
    centred = draws - prior.mean
    assert prior.discrete == (len(np.unique(draws)) < 30)
    # the mirror image: sampling alone puts the two apart by about 0.003, an asymmetric law by 0.2 and more
    assert prior.symmetric == (stats.ks_2samp(centred, -centred).statistic < 0.01)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_draw_and_another_seed_another(name):
    prior = priors.get(name)
    assert torch.equal(prior.sample(20, 5, seeded(5)), prior.sample(20, 5, seeded(5)))
    assert not torch.equal(prior.sample(20, 5, seeded(5)), prior.sample(20, 5, seeded(6)))


@given(
    u=st.lists(st.floats(0, 1), min_size=1, max_size=50),
    name=st.sampled_from(IID),
    scaling=st.sampled_from(priors.SCALINGS),
)
@settings(max_examples=200, deadline=None)
def test_every_uniform_has_a_finite_latent_and_order_is_kept(u, name, scaling):
    latents = priors.get(name, scaling).icdf(torch.tensor(sorted(u), dtype=torch.float64))
    assert latents.isfinite().all()
    assert latents.dtype == torch.float32
    assert (latents.diff() >= 0).all()


@given(u=st.lists(st.floats(0, 1), min_size=2, max_size=50))
@settings(max_examples=50, deadline=None)
def test_every_row_of_uniforms_is_a_point_of_the_sphere_and_one_hot(u):
    u = torch.tensor([u], dtype=torch.float64)
    point = priors.get("spherical").icdf(u)
    assert point.dtype == torch.float32
    assert float(point.double().norm()) == pytest.approx(u.shape[1] ** 0.5, rel=1e-6)
    assert is_one_hot(priors.get("one_hot", "raw").icdf(u).numpy())


def test_the_middle_of_the_uniforms_is_a_point_of_the_sphere_too():
    assert torch.equal(priors.get("spherical").icdf(torch.full((2, 9), 0.5, dtype=torch.float64)), torch.ones(2, 9))


def test_the_same_uniforms_give_the_same_ranks_under_every_prior():
    u = priors.uniforms(50, 20, seeded(10))
    order = u.flatten().argsort()
    for name in IID:
        assert (priors.get(name).icdf(u).flatten()[order].diff() >= 0).all(), name
    gaussian, spherical, one_hot = (priors.get(name).icdf(u) for name in ("gaussian", "spherical", "one_hot"))
    assert torch.equal(spherical.argsort(1), gaussian.argsort(1))
    assert torch.equal(one_hot.argmax(1), gaussian.argmax(1))


@pytest.mark.parametrize("d", [2, 8, 100])
def test_one_hots_moments_and_values_depend_on_d(d):
    raw, standardised = priors.get("one_hot", "raw", d), priors.get("one_hot", "standardised")
    assert (raw.mean, raw.std) == pytest.approx((1 / d, math.sqrt((1 / d) * (1 - 1 / d))))
    values = standardised.sample(500, d, seeded(11)).unique().tolist()
    assert values == pytest.approx([-((d - 1) ** -0.5), (d - 1) ** 0.5])


@pytest.mark.parametrize("scaling", priors.SCALINGS)
def test_one_hot_of_one_coordinate_is_refused(scaling):
    with pytest.raises(ConfigError, match="'one_hot' with latent_dim 1 .*at least 2"):
        priors.get("one_hot", scaling).sample(3, 1, seeded(0))
    with pytest.raises(ConfigError, match="'one_hot' with latent_dim 1"):
        priors.get("one_hot", scaling, 1)


# Fixed examples and one in a million: a path that keeps the prior always passes, one that does not stands out by far.
EVERY_PATH = settings(max_examples=4, deadline=None, derandomize=True)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**31), t=st.floats(0.02, 0.98))
@EVERY_PATH
def test_interpolation_keeps_the_prior_all_the_way(name, seed, t):
    stream, prior = seeded(seed), priors.get(name, "raw")
    start, end = priors.uniforms(4000, 5, stream), priors.uniforms(4000, 5, stream)
    for share in (t, 0.5):
        assert p_value(name, prior.interpolate(start, end, share)) > 1e-6


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**31), scaling=st.sampled_from(priors.SCALINGS))
@EVERY_PATH
def test_interpolation_begins_and_ends_with_the_given_latents(name, seed, scaling):
    stream, prior = seeded(seed), priors.get(name, scaling)
    start, end = priors.uniforms(20, 10, stream), priors.uniforms(20, 10, stream)
    start[:5] *= 1e-13  # far out, where scores do not lead back to the bits of the uniforms
    end[5:10] *= 1e-13
    path = [prior.interpolate(start, end, t) for t in np.linspace(0, 1, 3)]
    assert torch.equal(path[0], prior.icdf(start))
    assert torch.equal(path[-1], prior.icdf(end))
    assert prior.discrete or not (torch.equal(path[1], path[0]) or torch.equal(path[1], path[-1]))


@pytest.mark.parametrize("name", NAMES)
def test_lerp_leaves_every_prior(name):
    z0, z1 = (priors.get(name, "raw").sample(4000, 5, seeded(seed)) for seed in (12, 13))
    assert p_value(name, priors.lerp(z0, z1, 0.5)) < 1e-6


@pytest.mark.parametrize("name", ["spherical", "gaussian", "uniform", "laplacian", "bernoulli"])
def test_slerp_keeps_the_sphere_and_leaves_other_priors(name):
    z0, z1 = (priors.get(name, "raw").sample(4000, 5, seeded(seed)) for seed in (12, 13))
    kept = p_value(name, priors.slerp(z0, z1, 0.5))
    assert kept > 1e-3 if name == "spherical" else kept < 1e-6


@given(seed=st.integers(0, 2**31), d=st.integers(1, 100), t=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_lerp_and_slerp_join_their_ends_and_slerp_keeps_a_common_norm(seed, d, t):
    z0, z1 = priors.get("gaussian").sample(20, d, seeded(seed)).chunk(2)
    for path in (priors.lerp, priors.slerp):
        assert torch.equal(path(z0, z1, 0.0), z0)
        assert torch.equal(path(z0, z1, 1.0), z1)
        assert path(z0, z1, t).dtype == torch.float32
    torch.testing.assert_close(priors.lerp(z0, z1, t), (1 - t) * z0 + t * z1)
    if d > 1:
        a, b = (3 * torch.nn.functional.normalize(z, dim=1) for z in (z0, z1))
        turned = priors.slerp(a, b, t)
        torch.testing.assert_close(turned.norm(dim=1), torch.full((10,), 3.0), rtol=1e-4, atol=0)
        # at an even speed: the angle from the start is t times the whole one
        whole, part = (torch.acos(((a * z).sum(1) / 9).clamp(-1, 1)) for z in (b, turned))
        torch.testing.assert_close(part, t * whole, rtol=1e-3, atol=2e-3)


def test_slerp_is_lerp_where_there_is_no_arc():
    z = priors.get("gaussian").sample(6, 7, seeded(14))
    for other in (z, 2 * z, -z, -3 * z, torch.zeros_like(z)):
        for a, b in ((z, other), (other, z)):
            torch.testing.assert_close(priors.slerp(a, b, 0.3), priors.lerp(a, b, 0.3))
    mixed = torch.cat([z[:3], -z[3:].roll(1, 0)])  # a row without an arc leaves the rows beside it alone
    mixed[0] = -z[0]
    torch.testing.assert_close(priors.slerp(z, mixed, 0.3)[1:], priors.slerp(z[1:], mixed[1:], 0.3))


@pytest.mark.parametrize("name", TRUNCATABLE)
@given(seed=st.integers(0, 2**31), share=st.floats(0.01, 0.99))
@EVERY_PATH
def test_truncation_is_the_prior_under_a_bound(name, seed, share):
    prior, u = priors.get(name, "raw"), priors.uniforms(2000, 10, seeded(seed))
    latents = prior.icdf(prior.truncate(u, share))
    bound = float(prior.icdf(torch.tensor([(1 + share) / 2], dtype=torch.float64)))
    assert 0.98 * bound < latents.abs().max() <= bound * (1 + 1e-6)
    conditional = (LAWS[name].cdf(latents.double().flatten().numpy()) - (1 - share) / 2) / share
    assert stats.kstest(conditional, stats.uniform.cdf).pvalue > 1e-6


@pytest.mark.parametrize("name", TRUNCATABLE)
def test_truncation_that_keeps_all_changes_nothing(name):
    u = priors.uniforms(50, 8, seeded(15))
    assert torch.equal(priors.get(name).truncate(u, 1.0), u)


def test_truncation_is_refused_where_it_has_no_meaning():
    u = priors.uniforms(2, 8, seeded(16))
    for name in NAMES:
        if name not in TRUNCATABLE:
            with pytest.raises(ConfigError, match=f"{name!r} has no truncation.*{', '.join(TRUNCATABLE)}$"):
                priors.get(name).truncate(u, 0.5)
    for share in (0.0, -0.1, 1.01, math.nan):
        with pytest.raises(ConfigError, match=f"share .* is {share}: it must be above 0 and at most 1"):
            priors.get("gaussian").truncate(u, share)


def test_unknown_prior_and_arm_name_the_valid_ones():
    with pytest.raises(
        ConfigError, match=r"'gausian' \(did you mean 'gaussian'\?\): valid are gaussian, uniform, poisson"
    ):
        priors.get("gausian")
    with pytest.raises(ConfigError, match="standardised, centred, raw"):
        priors.get("gaussian", "scaled")
