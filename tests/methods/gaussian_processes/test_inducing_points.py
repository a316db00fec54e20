"""Inducing points: plain references, closed forms, bad input; the claims and their controls."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from kernellab.compute.gp import ExactGP
from kernellab.compute.kernels import Gaussian, Matern32
from kernellab.compute.likelihoods import GaussianNoise, Logit
from kernellab.compute.sparse_gp import SparseGP, VariationalGP
from kernellab.datasets import digits, mauna_loa_co2, photograph
from kernellab.methods.gaussian_processes import inducing_points as ip
from tests.naive import inducing_points as naive

KERNEL = 1.3 * Matern32(0.4)
CIRCLE = ip.CircleKernel(0.7, 60)
TURN = 2 * np.pi


def data(n=40, m=12, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (n, 2))
    return x, np.sin(5 * x[:, 0]) + 0.2 * rng.normal(size=n), rng.uniform(0, 1, (m, 2))


def around(m, offset=0.0):
    return TURN * (np.arange(m) + offset) / m


def circle_data(n=60, seed=0):
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, TURN, n)
    return ip.on_circle(t), np.sin(3 * t) + np.cos(2 * t) + 0.1 * rng.normal(size=n)


# 1. Neighbours


@pytest.mark.compiled
@pytest.mark.parametrize("h", [1, 2, 5, 12])
def test_local_weights_agree_with_the_loop(h):
    x, y, z = data()
    local = ip.local_weights(KERNEL, z, x, h, inverses=True)
    members, weights, logdets = naive.local_weights(KERNEL, z, x, h)
    assert np.array_equal(local.members, members)
    np.testing.assert_allclose(local.weights, weights, atol=1e-9)
    np.testing.assert_allclose(local.logdet, logdets, atol=1e-9)
    inverses = np.linalg.inv(np.array([KERNEL.gram(z[s]) for s in members]))
    np.testing.assert_allclose(local.inverse, inverses, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(
        local.explained, np.sum(weights * [KERNEL.gram(z[s], p[None])[:, 0]
                                           for s, p in zip(members, x, strict=True)], axis=1),
        atol=1e-10,
    )  # fmt: skip
    system, right = naive.neighbour_system(members, weights, inverses, y, 0.1, 12 / (h * 40), 12)
    found_system, found_right = np.zeros((12, 12)), np.zeros(12)
    ip._scatter(members.astype(np.int64), local.weights, local.inverse, y, 0.1, 12 / (h * 40),
                found_system, found_right)  # fmt: skip
    np.testing.assert_allclose(found_system, system, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(found_right, right, rtol=1e-7, atol=1e-7)


def test_all_neighbours_are_the_usual_sparse_process():
    x, y, z = data()
    rng = np.random.default_rng(1)
    m, s = rng.normal(size=12), rng.uniform(0.1, 1, 12)
    near, full = ip.NeighbourGP(KERNEL, z, m, s, 12), VariationalGP(KERNEL, z, m, s, whitened=False)
    np.testing.assert_allclose(near.predict(x).mean, full.predict(x).mean, atol=1e-10)
    np.testing.assert_allclose(near.predict(x).variance, full.predict(x).variance, atol=1e-10)
    for likelihood, targets in ((GaussianNoise(0.1), y), (Logit(), np.sign(y))):
        got = near.bound(x[:9], targets[:9], likelihood, n_total=40)
        assert got == pytest.approx(full.bound(x[:9], targets[:9], likelihood, 40), abs=1e-8)
    fitted = ip.fit_neighbours(KERNEL, x, y, 0.1, z, 12)
    best = SparseGP(KERNEL, x, y, 0.1, z).inducing_posterior().mean
    np.testing.assert_allclose(fitted.mean, best, atol=1e-8)


def test_gradient_is_that_of_the_bound_and_vanishes_at_the_fit():
    x, y, z = data()
    rng = np.random.default_rng(2)
    m, logs = rng.normal(size=12), rng.normal(size=12)

    def bound(theta):
        gp = ip.NeighbourGP(KERNEL, z, theta[:12], np.exp(theta[12:]), 5)
        return gp.bound(x[:20], y[:20], GaussianNoise(0.1), 40)

    slopes = ip.neighbour_gradient(KERNEL, x[:20], y[:20], 0.1, z, 5, m, np.exp(logs), 40)
    numeric = approx_fprime(np.concatenate([m, logs]), bound, 1e-6)
    np.testing.assert_allclose(np.concatenate(slopes), numeric, rtol=1e-3, atol=1e-2)
    fit = ip.fit_neighbours(KERNEL, x, y, 0.1, z, 5)
    slopes = ip.neighbour_gradient(KERNEL, x, y, 0.1, z, 5, fit.mean, fit.deviations, 40)
    assert np.abs(np.concatenate(slopes)).max() < 1e-8


def test_stochastic_steps_come_to_the_closed_form():
    x, y, z = data(200)
    best = ip.fit_neighbours(KERNEL, x, y, 0.1, z, 4)
    (*_, (done, gp)) = ip.train_neighbours(KERNEL, x, y, 0.1, z, 4, steps=800, batch=50, step=0.03)
    noise = GaussianNoise(0.1)
    start = ip.NeighbourGP(KERNEL, z, np.zeros(12), np.ones(12), 4).bound(x, y, noise)
    assert done == 1.0
    assert best.bound(x, y, noise) - gp.bound(x, y, noise) < 0.03 * (
        best.bound(x, y, noise) - start
    )


def test_few_observations_with_an_inducing_point_each_are_exact_in_the_mean():
    x, y, _ = data(6)
    near = ip.fit_neighbours(KERNEL, x, y, 0.1, x, 6)
    np.testing.assert_allclose(
        near.predict(x).mean, ExactGP(KERNEL, x, y, 0.1).predict(x).mean, atol=1e-8
    )


def test_unused_inducing_points_keep_their_prior():
    x, y, z = data()
    far = np.vstack([z, [[50.0, 50.0]]])
    gp = ip.fit_neighbours(KERNEL, x, y, 0.1, far, 3)
    assert gp.mean[-1] == 0.0 and gp.deviations[-1] == pytest.approx(np.sqrt(1.3))


def test_ties_take_the_first_inducing_point():
    z = np.array([[0.0], [2.0], [1.0], [-1.0]])
    local = ip.local_weights(Gaussian(1.0), z, [[0.5], [0.0]], 3)
    assert local.members.tolist() == [[0, 2, 1], [0, 2, 3]]


@pytest.mark.parametrize("length", [1e-6, 1e-2, 1.0, 1e3, 1e8])
@pytest.mark.parametrize("repeat", [False, True])
def test_edges_are_finite_and_say_their_jitter(length, repeat):
    x, y, z = data()
    z = np.vstack([z, z]) if repeat else z
    kernel = Gaussian(length)
    near = ip.fit_neighbours(kernel, x, y, 1e-4, z, 6)
    assert np.isfinite(near.predict(x)).all() and np.isfinite(near.bound(x, y, GaussianNoise(0.1)))
    assert (near.jitter > 0) == (repeat or length >= 1e3)
    core = ip.fit_coreset(kernel, x, y, 1e-4, z)
    assert np.isfinite(core.predict(x)).all() and np.isfinite(core.bound(x, y))
    both = ip.OrthogonalGP(kernel, x, y, 1e-4, z[:6], z[6:])
    assert np.isfinite(both.predict(x)).all() and np.isfinite(both.bound())
    one = ip.fit_neighbours(kernel, x[:1], y[:1], 0.1, x[:1], 1)
    assert one.predict(x[:1]).mean[0] == pytest.approx(y[0] / 1.1)


# 2. The circle


def test_circle_kernel_is_a_kernel():
    x, _ = circle_data(20)
    x = x * np.random.default_rng(0).uniform(0.5, 2, (20, 1))
    gram = CIRCLE.gram(x)
    assert np.linalg.eigvalsh(gram).min() > -1e-12
    np.testing.assert_allclose(np.diagonal(gram), CIRCLE.diagonal(x))
    np.testing.assert_allclose(CIRCLE.gram(x, x[:7]), gram[:, :7], atol=1e-12)
    np.testing.assert_allclose(CIRCLE.paired(x, x[::-1]), np.diagonal(gram[:, ::-1]), atol=1e-12)
    up, down = (ip.CircleKernel(0.7 * np.exp(s), 60).gram(x) for s in (1e-5, -1e-5))
    np.testing.assert_allclose(CIRCLE.gram_gradients(x)[0], (up - down) / 2e-5, atol=1e-7)


@pytest.mark.parametrize("activation", ip.ACTIVATIONS)
def test_levels_are_the_fourier_coefficients(activation):
    units = {
        "relu": lambda c: np.maximum(c, 0),
        "step": lambda c: (c > 0).astype(float),
        "softplus": lambda c: np.logaddexp(0, 8 * c) / 8,
    }
    t = TURN * (np.arange(200_000) + 0.5) / 200_000
    sigma = ip.activation_levels(activation, 12)
    for level in range(13):
        wanted = np.mean(units[activation](np.cos(t)) * np.cos(level * t)) * (2 if level else 1)
        assert sigma[level] == pytest.approx(wanted, abs=1e-5)
    blind = {"relu": [3, 5, 7], "step": [2, 4, 6], "softplus": []}[activation]
    assert np.all(sigma[blind] == 0)


@pytest.mark.parametrize("activation", ip.ACTIVATIONS)
def test_feature_covariances_by_quadrature(activation):
    """u = <f, g> means: the projection of g on the kernel's functions reproduces both blocks."""
    features = ip.CircleFeatures(CIRCLE, around(5, 0.2), activation)
    grid = around(4096)
    units = features.cross(ip.on_circle(grid))
    waves = np.exp(-1j * np.arange(61)[:, None] * grid) / 4096
    spectrum = waves @ units.T  # (levels, M)
    weight = np.where(np.arange(61) == 0, 1, 4) / CIRCLE.coefficients()
    # |g|^2 sums over cos and sin; each has coefficient 2 |spectrum| for l > 0.
    gram = np.real((spectrum.conj() * weight[:, None]).T @ spectrum)
    np.testing.assert_allclose(features.gram(), gram, rtol=1e-8, atol=1e-8)


def test_raw_units_explain_more_than_there_is():
    x = ip.on_circle(around(200))
    for smoothed in (True, False):
        features = ip.CircleFeatures(CIRCLE, around(16, 0.3), levels=4, smoothed=smoothed)
        gram = features.gram() + 1e-9 * np.eye(16)
        q = np.sum(features.cross(x) * np.linalg.solve(gram, features.cross(x)), axis=0)
        assert (q.max() <= 1 + 1e-6) == smoothed


def test_orthogonal_points_complete_the_features():
    x, y = circle_data()
    features = ip.CircleFeatures(CIRCLE, around(8, 0.3))
    exact = ExactGP(CIRCLE, x, y, 0.01)
    both = ip.OrthogonalGP(CIRCLE, x, y, 0.01, features, x)
    np.testing.assert_allclose(both.predict(x).mean, exact.predict(x).mean, atol=1e-6)
    assert both.bound() <= exact.log_marginal_likelihood() + 1e-6
    # With u alone, and v of no use (far in a corner that u explains), it is the sparse process.
    z, extra = ip.on_circle(around(9)), ip.on_circle(around(7, 0.4))
    both = ip.OrthogonalGP(CIRCLE, x, y, 0.01, z, extra)
    joint = SparseGP(CIRCLE, x, y, 0.01, np.vstack([z, extra]))
    np.testing.assert_allclose(both.predict(x).mean, joint.predict(x).mean, atol=1e-7)
    assert SparseGP(CIRCLE, x, y, 0.01, z).bound() < both.bound() <= joint.bound() + 1e-8


def test_orthogonal_variance_is_the_dense_formula():
    x, y = circle_data()
    z, v = ip.on_circle(around(6)), ip.on_circle(around(5, 0.3))
    both = ip.OrthogonalGP(CIRCLE, x, y, 0.05, z, v)
    new = ip.on_circle(around(11, 0.1))
    kuu, kux = CIRCLE.gram(z), CIRCLE.gram(z, x)

    def c(a, b):
        return CIRCLE.gram(a, b) - CIRCLE.gram(a, z) @ np.linalg.solve(kuu, CIRCLE.gram(z, b))

    s_u = kuu @ np.linalg.solve(kuu + kux @ kux.T / 0.05, kuu)
    cvv, cvx = c(v, v), c(v, x)
    s_v = cvv @ np.linalg.solve(cvv + cvx @ cvx.T / 0.05, cvv)
    a, b = np.linalg.solve(kuu, CIRCLE.gram(z, new)), np.linalg.solve(cvv, c(v, new))
    variance = CIRCLE.diagonal(new) + np.sum(a * ((s_u - kuu) @ a), axis=0)
    variance += np.sum(b * ((s_v - cvv) @ b), axis=0)
    np.testing.assert_allclose(both.predict(new).variance, variance, atol=1e-8)


def test_points_that_add_nothing_change_nothing():
    x, y = circle_data()
    z = ip.on_circle(around(9))
    both = ip.OrthogonalGP(CIRCLE, x, y, 0.01, z, z[:4])
    alone = SparseGP(CIRCLE, x, y, 0.01, z)
    np.testing.assert_allclose(both.predict(x).mean, alone.predict(x).mean, atol=1e-5)
    assert both.jitter > 0 and both.bound() == pytest.approx(alone.bound(), abs=1e-3)


# 3. Coresets


def test_all_data_with_weight_one_are_exact():
    x, y, _ = data()
    core, exact = ip.CoresetGP(KERNEL, x, y, np.ones(40), 0.1), ExactGP(KERNEL, x, y, 0.1)
    assert core.bound(x, y) == pytest.approx(exact.log_marginal_likelihood(), abs=1e-8)
    new = x[:7] + 0.05
    np.testing.assert_allclose(core.predict(new).mean, exact.predict(new).mean, atol=1e-10)
    np.testing.assert_allclose(core.predict(new).variance, exact.predict(new).variance, atol=1e-10)


def test_coreset_is_its_dense_posterior():
    x, y, z = data()
    rng = np.random.default_rng(3)
    t, beta = rng.normal(size=12), rng.uniform(0.1, 30, 12)
    core = ip.CoresetGP(KERNEL, z, t, beta, 0.1)
    gram = KERNEL.gram(z)
    s = np.linalg.inv(np.linalg.inv(gram) + np.diag(beta) / 0.1)
    found = core.inducing_posterior()
    np.testing.assert_allclose(found.variance, s, atol=1e-9)
    np.testing.assert_allclose(found.mean, s @ (beta * t) / 0.1, atol=1e-9)
    free = VariationalGP(KERNEL, z, found.mean, np.linalg.cholesky(s), whitened=False)
    assert core.kl() == pytest.approx(free.kl(), rel=1e-7)
    for likelihood, targets in ((GaussianNoise(0.1), y), (Logit(), np.sign(y))):
        got = core.bound(x, targets, likelihood)
        assert got == pytest.approx(free.bound(x, targets, likelihood), rel=1e-7)
    assert core.bound(x[:10], y[:10], n_total=40) == pytest.approx(
        free.bound(x[:10], y[:10], GaussianNoise(0.1), 40), rel=1e-7
    )


def test_weightless_points_are_the_prior():
    x, _, z = data()
    core = ip.CoresetGP(KERNEL, z, np.ones(12), np.zeros(12), 0.1)
    assert core.kl() == 0.0
    assert np.all(core.predict(x).mean == 0) and np.allclose(core.predict(x).variance, 1.3)


def test_fitted_weights_are_a_top():
    x, y, z = data()
    core = ip.fit_coreset(KERNEL, x, y, 0.1, z)
    sparse = SparseGP(KERNEL, x, y, 0.1, z)
    np.testing.assert_allclose(core.predict(x).mean, sparse.predict(x).mean, atol=1e-7)
    top = core.bound(x, y)
    assert top <= sparse.bound() + 1e-8
    rng = np.random.default_rng(0)
    for _ in range(5):
        t, beta = core.targets + 0.05 * rng.normal(size=12), core.weights
        assert ip.CoresetGP(KERNEL, z, t, beta, 0.1).bound(x, y) < top
        beta = core.weights * np.exp(0.1 * rng.normal(size=12))
        assert ip.fit_coreset(KERNEL, x, y, 0.1, z, beta).bound(x, y) < top + 1e-6


def test_steps_of_the_coreset_follow_the_gradient():
    x, y, z = data(30, 5)
    rng = np.random.default_rng(0)
    captured = []

    class Spy:
        def __init__(self, parameters, step):
            parameters[0][:], parameters[1][:] = rng.normal(size=5), rng.normal(size=5)
            self.start = np.concatenate([p.copy() for p in parameters])

        def update(self, gradients):
            captured.append((self.start, -np.concatenate(gradients)))

    before = ip.Adam
    ip.Adam = Spy
    try:
        next(ip.train_coreset(KERNEL, x, y, 0.1, z, steps=1, batch=30))
    finally:
        ip.Adam = before
    start, gradient = captured[0]

    def bound(theta):
        return ip.CoresetGP(KERNEL, z, theta[:5], np.exp(theta[5:]), 0.1).bound(x, y)

    np.testing.assert_allclose(gradient, approx_fprime(start, bound, 1e-6), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("whitened", [True, False])
def test_free_form_comes_to_the_optimum(whitened):
    x, y, z = data(100, 5)
    best = SparseGP(KERNEL, x, y, 0.1, z).bound()
    (*_, (_, free)) = ip.train_free(
        KERNEL, x, y, 0.1, z, whitened=whitened, steps=3000, batch=100, step=0.02, every=3000
    )
    assert free.bound(x, y, GaussianNoise(0.1)) == pytest.approx(best, abs=0.1)


# 4. Warps


@pytest.mark.compiled
@pytest.mark.parametrize("size", [1.0, 1e3])
def test_softmax_agrees_with_the_loop(size):
    rng = np.random.default_rng(0)
    values, labels = size * rng.normal(size=(7, 5, 3)), rng.integers(0, 3, 7)
    shares = rng.dirichlet(np.ones(5))
    for found, wanted in zip(
        ip.expected_log_softmax(values, labels, shares),
        naive.expected_log_softmax(values, labels, shares),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ip.WARPS)
def test_warps_rise_and_know_their_slopes(kind):
    rng = np.random.default_rng(0)
    values, numbers = rng.normal(size=(6, 4)), rng.normal(size=(6, 3, ip.WARPS[kind]))
    out, slope, by = ip.warp(kind, values, numbers)
    up, down = (ip.warp(kind, values + h, numbers)[0] for h in (1e-6, -1e-6))
    assert np.all(slope > 0)
    np.testing.assert_allclose(slope, (up - down) / 2e-6, rtol=1e-5, atol=1e-6)
    for p in range(ip.WARPS[kind]):
        shift = np.zeros(ip.WARPS[kind])
        shift[p] = 1e-6
        up, down = (ip.warp(kind, values, numbers + s * shift)[0] for s in (1, -1))
        np.testing.assert_allclose(by[..., p], (up - down) / 2e-6, rtol=1e-4, atol=1e-5)
    assert np.isfinite(ip.warp(kind, 1e6 * values, 50 * numbers)[0]).all()


def two_classes(n=40):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 1))
    return x, (np.sin(2 * x[:, 0]) + 0.3 * rng.normal(size=n) > 0).astype(int)


def toy(kind="affine", classes=3, m=6, seed=0):
    rng = np.random.default_rng(seed)
    network = ip.dense_network([1, 5, classes * ip.WARPS[kind]], rng)
    root = np.tril(0.3 * rng.normal(size=(m, m)), -1) + np.diag(rng.uniform(0.3, 1, m))
    z = np.linspace(-2, 2, m)[:, None]
    return ip.TransformedGP(Gaussian(0.8), z, rng.normal(size=m), root, network, kind, classes)


def test_two_classes_with_one_map_are_logistic_regression():
    """G_1 = f, G_2 = 0 in the limit a_2 -> 0: the bound is that of the binary process."""
    x, labels = two_classes()
    gp = toy(classes=2)
    # Output layer: p = (0, 0) for class 0 and p_1 = -1e9 (a = e^-2), so subtract what is left.
    (w, b), (w2, b2) = gp.network
    gp = ip.TransformedGP(
        gp.kernel, gp.inducing, gp.mean, gp.root, [(w, b), (0 * w2, np.array([0.0, 0, -50, 0]))],
        "affine", 2,
    )  # fmt: skip
    bound, _ = ip.transformed_step(gp, x, 1 - labels)
    gain = 1 - np.exp(-2.0)  # softmax only sees the difference G_1 - G_2 = (1 - e^-2) f
    plain = VariationalGP(gain**2 * gp.kernel, gp.inducing, gp.mean, gp.root)
    wanted = plain.bound(x, np.where(labels == 0, -1.0, 1.0), Logit())
    assert bound == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("kind", ip.WARPS)
def test_step_gradients(kind):
    x, labels = two_classes(15)
    gp = toy(kind)
    _, (by_mean, by_root, by_network) = ip.transformed_step(gp, x, labels)

    def bound(mean=gp.mean, root=gp.root, network=gp.network):
        changed = ip.TransformedGP(gp.kernel, gp.inducing, mean, root, network, kind, 3)
        return ip.transformed_step(changed, x, labels)[0]

    np.testing.assert_allclose(by_mean, approx_fprime(gp.mean, bound, 1e-6), rtol=1e-3, atol=1e-3)
    shift = np.zeros((6, 6))
    shift[4, 2] = 1e-6
    numeric = (bound(root=gp.root + shift) - bound(root=gp.root - shift)) / 2e-6
    assert by_root[4, 2] == pytest.approx(numeric, rel=1e-3, abs=1e-4)
    stretch = np.eye(6)
    stretch[3, 3] = np.exp(1e-6)
    on_diagonal = gp.root.copy()
    on_diagonal[3, 3] *= np.exp(1e-6)
    numeric = (bound(root=on_diagonal) - bound()) / 1e-6
    assert by_root[3, 3] == pytest.approx(numeric, rel=1e-2, abs=1e-2)
    nudged = [(w.copy(), b.copy()) for w, b in gp.network]
    nudged[0][0][0, 2] += 1e-6
    numeric = (bound(network=nudged) - bound()) / 1e-6
    assert by_network[0][0][0, 2] == pytest.approx(numeric, rel=1e-2, abs=1e-3)


def test_quadrature_agrees_with_draws():
    gp, x = toy(), np.linspace(-2, 2, 9)[:, None]
    mean, variance = gp.latent(x)
    draws = np.random.default_rng(0).standard_normal((9, 40_000))
    values = gp.warped(x, mean[:, None] + np.sqrt(variance)[:, None] * draws)
    np.testing.assert_allclose(gp.probabilities(x), ip._softmax(values).mean(axis=1), atol=0.01)


def test_affine_copies_share_one_covariance():
    """cov(f_c(x), f_c'(x')) = a_c(x) a_c'(x') k(x, x')."""
    gp, x = toy(), np.array([[0.1], [0.9]])
    k = gp.kernel.gram(x)
    draws = np.linalg.cholesky(k) @ np.random.default_rng(0).standard_normal((2, 200_000))
    f = gp.warped(x, draws)
    a = gp.warped(x, np.array([[0.0, 1.0], [0.0, 1.0]]))
    a = a[:, 1] - a[:, 0]
    found = np.cov(f[0, :, 0], f[1, :, 2])[0, 1]
    assert found == pytest.approx(a[0, 0] * a[1, 2] * k[0, 1], rel=0.03)


def test_independent_gradients():
    x, labels = two_classes(15)
    rng = np.random.default_rng(0)
    z = np.linspace(-2, 2, 5)[:, None]
    roots = np.array([np.eye(5), 0.5 * np.eye(5)])
    means = rng.normal(size=(2, 5))

    def step(means):
        gp = ip.IndependentGPs((Gaussian(0.8),) * 2, z, means.reshape(2, 5), roots)
        return ip.independent_step(gp, x, labels, 50, 7)

    numeric = approx_fprime(means.ravel(), lambda m: step(m)[0], 1e-6)
    np.testing.assert_allclose(step(means)[1][0].ravel(), numeric, rtol=1e-3, atol=1e-3)


def test_training_learns_two_classes():
    x, labels = two_classes(120)
    z = np.linspace(-2, 2, 10)[:, None]
    for training in (
        ip.train_transformed(4 * Gaussian(0.8), x, labels, 2, z, steps=150),
        ip.train_independent([4 * Gaussian(0.8)] * 2, x, labels, z, steps=150),
    ):
        (*_, (_, gp)) = training
        assert np.mean(gp.probabilities(x).argmax(axis=1) == labels) > 0.8
        assert np.allclose(gp.probabilities(x).sum(axis=1), 1)


# Properties


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.floats(-3, 3))
def test_any_neighbourhood_gives_positive_variances_and_a_lower_bound(seed, h, log_length):
    x, y, z = data(20, 8, seed)
    kernel = Gaussian(np.exp(log_length))
    near = ip.fit_neighbours(kernel, x, y, 0.1, z, h)
    prediction = near.predict(x)
    assert np.isfinite(prediction).all() and np.all(prediction.variance >= 0)
    core = ip.fit_coreset(kernel, x, y, 0.1, z)
    assert core.bound(x, y) <= ExactGP(kernel, x, y, 0.1).log_marginal_likelihood() + 1e-4


# The claims of the notebook


@functools.cache
def photo(side, neighbours, seed=0, random=False):
    picture = photograph("camera", 64)
    places = np.stack(np.meshgrid(np.arange(64), np.arange(64), indexing="ij"), -1)
    places, values = places.reshape(-1, 2).astype(float), picture.ravel() - picture.mean()
    rng = np.random.default_rng(seed)
    order = rng.permutation(4096)
    train, test = order[:3000], order[3000:]
    line = (np.arange(side) + 0.5) * 64 / side - 0.5
    z = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    kernel = 0.06 * Matern32(6.8)
    if neighbours is None:
        found = SparseGP(kernel, places[train], values[train], 0.002, z).predict(places[test])
    else:
        chosen = [rng.integers(0, side**2, (len(part), neighbours)) for part in (train, test)]
        chosen = chosen if random else (None, None)
        gp = ip.fit_neighbours(
            kernel, places[train], values[train], 0.002, z, neighbours, chosen[0]
        )
        found = gp.predict(places[test], chosen[1])
    return np.sqrt(np.mean((found.mean - values[test]) ** 2))


@pytest.mark.parametrize("seed", range(3))
def test_nine_neighbours_nearly_match_all(seed):
    assert photo(20, 9, seed) / photo(20, None, seed) < 1.05
    assert photo(20, 9, seed, random=True) / photo(20, None, seed) > 1.5


@functools.cache
def seasons(per_circle):
    series = mauna_loa_co2()
    year = series.year
    inside = (year >= year[0] + 0.5) & (year <= year[-1] - 0.5)
    chosen = np.sort(np.random.default_rng(0).permutation(inside.sum())[:400])
    t = TURN * (year[inside][chosen] % per_circle) / per_circle
    return ip.on_circle(t), series.seasonal_cycle()[1][chosen] / 2.0


@pytest.mark.parametrize(("years", "blind"), [(1, False), (2, False), (3, True), (5, True)])
def test_relu_units_do_not_see_odd_waves(years, blind):
    x, y = seasons(years)
    kernel = ip.CircleKernel(0.3, 100)
    grid = ip.on_circle(around(300))
    exact = ExactGP(kernel, x, y, 0.04).predict(grid).mean
    units = SparseGP(kernel, x, y, 0.04, ip.CircleFeatures(kernel, around(32, 0.3)))
    error = np.sqrt(np.mean((units.predict(grid).mean - exact) ** 2))
    assert (error > 0.8) == blind and (error < 0.2) != blind


def test_orthogonal_points_repair_odd_and_mixed_targets_only():
    ratios = {}
    targets = {
        "odd": lambda t: np.sin(3 * t) + 0.7 * np.cos(5 * t),
        "mixed": lambda t: np.sin(3 * t) + np.cos(2 * t) + 0.5 * np.cos(t),
        "even": lambda t: np.cos(2 * t) + 0.7 * np.sin(4 * t),
    }
    kernel, grid = ip.CircleKernel(1.0, 200), around(300)
    for name, target in targets.items():
        rng = np.random.default_rng(0)
        t = rng.uniform(0, TURN, 300)
        x, y = ip.on_circle(t), target(t) + 0.1 * rng.normal(size=300)
        units = SparseGP(kernel, x, y, 0.01, ip.CircleFeatures(kernel, around(16, 0.3)))
        half = ip.CircleFeatures(kernel, around(8, 0.3))
        both = ip.OrthogonalGP(kernel, x, y, 0.01, half, ip.on_circle(around(8)))
        errors = [
            np.sqrt(np.mean((gp.predict(ip.on_circle(grid)).mean - target(grid)) ** 2))
            for gp in (both, units)
        ]
        ratios[name] = errors[0] / errors[1]
    assert ratios["odd"] < 0.8 and ratios["mixed"] < 0.8 and ratios["even"] > 1


@pytest.mark.parametrize("seed", range(3))
def test_coresets_are_ahead_after_two_hundred_steps(seed):
    season, anomaly = mauna_loa_co2().seasonal_cycle()
    x, y = season[:, None], anomaly / 2
    z = (np.arange(15)[:, None] + 0.5) / 15
    kernel, noise = Gaussian(0.1), 0.04
    bounds = {}
    for name, tempered in (("coreset", True), ("beta = 1", False)):
        (*_, (_, gp)) = ip.train_coreset(
            kernel, x, y, noise, z, steps=200, tempered=tempered, every=200, rng=seed
        )
        bounds[name] = gp.bound(x, y)
    for whitened in (True, False):
        (*_, (_, gp)) = ip.train_free(
            kernel, x, y, noise, z, whitened=whitened, steps=200, every=200, rng=seed
        )
        bounds[whitened] = gp.bound(x, y, GaussianNoise(noise))
    best_free = max(bounds[True], bounds[False])
    assert bounds["coreset"] > best_free + 200 > bounds["beta = 1"] + 200


@pytest.mark.parametrize("seed", range(3))
def test_one_process_classifies_like_ten_and_needs_its_maps(seed):
    everything, order = digits(), np.random.default_rng(seed).permutation(1797)
    train, test = order[:400], order[400:]
    mean = everything.x[train].mean(axis=0)
    axes = np.linalg.svd(everything.x[train] - mean, full_matrices=False)[2][:8]
    x = (everything.x - mean) @ axes.T
    x /= x[train].std(axis=0)
    labels, z = everything.labels, x[train][:30]
    options = {"steps": 120, "step": 0.025, "rng": seed}
    runs = {
        "one": ip.train_transformed(Gaussian(3.0), x[train], labels[train], 10, z, **options),
        "one map": ip.train_transformed(
            Gaussian(3.0), x[train], labels[train], 10, z, everywhere=True, **options
        ),
        "ten": ip.train_independent(
            [9 * Gaussian(3.0)] * 10, x[train], labels[train], z, steps=120, step=0.08, rng=seed
        ),
    }
    right = {}
    for name, run in runs.items():
        (*_, (_, gp)) = run
        right[name] = np.mean(gp.probabilities(x[test]).argmax(axis=1) == labels[test])
    assert right["one"] > right["ten"] - 0.03 > right["one map"]


@functools.cache
def loss_on_greys(seed, **options):
    grey = photograph("camera", 64).ravel()
    labels = np.searchsorted(np.quantile(grey, (0.25, 0.5, 0.75)), grey)
    order = np.random.default_rng(seed).permutation(4096)
    train, test = order[:600], order[3000:]
    places = np.stack(np.meshgrid(np.arange(64.0), np.arange(64.0), indexing="ij"), -1)
    x, line = (places.reshape(-1, 2) - 31.5) / 32, (np.arange(8) - 3.5) / 4
    z = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    run = ip.train_transformed(
        Matern32(0.4), x[train], labels[train], 4, z, steps=120, step=0.03, rng=seed, **options
    )
    (*_, (_, gp)) = run
    return -np.mean(np.log(gp.probabilities(x[test])[np.arange(len(test)), labels[test]]))


@pytest.mark.parametrize("seed", range(4))
def test_the_process_adds_detail_that_neither_its_maps_nor_one_map_have(seed):
    both, maps = loss_on_greys(seed), loss_on_greys(seed, with_gp=False)
    assert both < maps - 0.05 < loss_on_greys(seed, everywhere=True)


def counted(kind, setting, work):
    """How many values of a kernel some work asks for."""
    asked = []

    class Counted(kind):
        def _gram(self, x, y):
            asked.append(len(x) * len(y))
            return super()._gram(x, y)

        def _paired(self, x, y):
            asked.append(len(x))
            return super()._paired(x, y)

    work(Counted(setting))
    return sum(asked)


def test_kernel_values_of_a_local_step_stop_growing():
    x, y, _ = data(50)
    values = {"local": [], "all": []}
    for m in (100, 400, 800):
        z, zero, one = np.random.default_rng(1).random((m, 2)), np.zeros(m), np.ones(m)

        def local(kernel, z=z, zero=zero, one=one):
            return ip.neighbour_gradient(kernel, x, y, 0.1, z, 10, zero, one, 50)

        def full(kernel, z=z, zero=zero, one=one):
            return VariationalGP(kernel, z, zero, one).predict(x)

        values["local"].append(counted(Matern32, 0.1, local))
        values["all"].append(counted(Matern32, 0.1, full))
    # 50 points with 10 neighbours: 10 values to x and 55 among the neighbours for each.
    assert values["local"] == [50 * 65] * 3
    assert values["all"] == [m * m + 50 * m for m in (100, 400, 800)]


@pytest.mark.parametrize("classes", [2, 50])
def test_kernel_values_of_one_process_do_not_grow_with_the_classes(classes):
    rng = np.random.default_rng(0)
    x, z, labels = rng.normal(size=(30, 2)), rng.normal(size=(8, 2)), np.arange(30) % classes
    network = ip.dense_network([2, 4, 2 * classes], 0)

    def one(kernel):
        gp = ip.TransformedGP(kernel, z, np.zeros(8), np.eye(8), network, "affine", classes)
        return ip.transformed_step(gp, x, labels)

    def many(kernel):
        roots = np.array([np.eye(8)] * classes)
        gp = ip.IndependentGPs((kernel,) * classes, z, np.zeros((classes, 8)), roots)
        return ip.independent_step(gp, x, labels, 4, 0)

    values = 8 * 8 + 8 * 30
    assert counted(Gaussian, 1.0, one) == values
    assert counted(Gaussian, 1.0, many) == classes * values


# Bad input

X, Y, Z = data()
ONE = np.ones(12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ip.local_weights("k", Z, X, 3), "kernel must be a kernel"),
        (lambda: ip.local_weights(KERNEL, Z, X, 13), "neighbours must be"),
        (lambda: ip.local_weights(KERNEL, Z, X, 0), "neighbours must be"),
        (lambda: ip.local_weights(KERNEL, Z, X[:, :1], 3), "x must have 2 columns"),
        (lambda: ip.local_weights(KERNEL, Z, X[:0], 3), "x must"),
        (lambda: ip.local_weights(KERNEL, Z, np.full((2, 2), np.nan), 3), "x must be finite"),
        (lambda: ip.local_weights(KERNEL, Z, X, 3, np.zeros((40, 2), int)), "members must be"),
        (lambda: ip.local_weights(KERNEL, Z, X, 1, np.full((40, 1), 12)), "members must lie"),
        (lambda: ip.NeighbourGP(KERNEL, Z, ONE[1:], ONE, 3), "mean must have length 12"),
        (lambda: ip.NeighbourGP(KERNEL, Z, ONE, 0 * ONE, 3), "deviations must be positive"),
        (lambda: ip.fit_neighbours(KERNEL, X, Y, 0.0, Z, 3), "noise must be a positive"),
        (lambda: ip.fit_neighbours(KERNEL, X, Y[1:], 0.1, Z, 3), "y must have length 40"),
        (lambda: next(ip.train_neighbours(KERNEL, X, Y, 0.1, Z, 3, batch=41)), "batch must be"),
        (lambda: ip.neighbour_gradient(KERNEL, X, Y, 0.1, Z, 3, ONE, ONE[1:], 40), "deviations"),
        (lambda: ip.neighbour_gradient(KERNEL, X, Y, 0.1, Z, 3, ONE, -ONE, 40), "deviations"),
        (lambda: ip.neighbour_gradient(KERNEL, X, Y, 0.1, Z, 3, ONE, ONE, 39), "n_total must be"),
        (lambda: ip.on_circle([[1.0]]), "angles must"),
        (lambda: ip.CircleKernel(0.0), "lengthscale must be a positive"),
        (lambda: ip.CircleKernel(1.0, 0), "levels must be"),
        (lambda: CIRCLE.gram(np.ones((3, 1))), "x must have 2 columns"),
        (lambda: ip.activation_levels("tanh", 5), "activation must be"),
        (lambda: ip.CircleFeatures(KERNEL, [0.0]), "kernel must be a CircleKernel"),
        (lambda: ip.CircleFeatures(CIRCLE, [0.0], levels=61), "levels must be"),
        (lambda: ip.CircleFeatures(CIRCLE, []), "directions must"),
        (lambda: ip.CircleFeatures(ip.CircleKernel(1e300, 3), [0.0]), "kernel must give weight"),
        (lambda: ip.OrthogonalGP(KERNEL, X, Y, -1.0, Z, Z), "noise must be a positive"),
        (lambda: ip.OrthogonalGP(KERNEL, X, Y, 0.1, Z, Z[:, :1]), "extra must have 2 columns"),
        (lambda: ip.CoresetGP(KERNEL, Z, ONE, -ONE, 0.1), "weights must not be negative"),
        (lambda: ip.CoresetGP(KERNEL, Z, ONE[1:], ONE, 0.1), "targets must have length 12"),
        (lambda: ip.CoresetGP(KERNEL, Z, ONE, ONE, 0.1).bound(X, Y[1:]), "y must have length"),
        (lambda: ip.fit_coreset(KERNEL, X, Y, 0.1, Z, 0 * ONE), "weights must be positive"),
        (lambda: ip.fit_coreset(CIRCLE, X, Y, 0.1, ip.CircleFeatures(CIRCLE, [0.0])), "inducing"),
        (lambda: next(ip.train_coreset(KERNEL, X, Y, 0.1, Z, steps=0)), "steps must be"),
        (lambda: next(ip.train_free(KERNEL, X, Y, 0.1, Z, steps=9, every=10)), "every must be"),
        (lambda: next(ip.train_free(KERNEL, X, Y, 0.1, Z[:, :1])), "inducing must have 2 columns"),
        (lambda: ip.warp("cubic", X, np.ones((40, 2, 2))), "kind must be"),
        (lambda: ip.warp("affine", X, np.ones((40, 2, 4))), "numbers must have shape"),
        (lambda: ip.warp("affine", X, np.full((40, 2, 2), np.nan)), "numbers must be finite"),
        (lambda: replace(toy(), mean=ONE), "mean must have length 6"),
        (lambda: replace(toy(), root=0 * toy().root), "root must have a positive diagonal"),
        (lambda: replace(toy(), classes=4), "network must have 8 outputs"),
        (lambda: replace(toy(), kind="no"), "kind must be"),
        (lambda: ip.IndependentGPs((KERNEL,) * 2, Z, np.ones((2, 12)), []), "roots must be 2"),
        (lambda: ip.IndependentGPs((KERNEL,) * 2, Z, np.ones((1, 12)), []), "means must have"),
        (lambda: ip.expected_log_softmax(np.ones((2, 2)), [0, 1], [1.0]), "values must be"),
        (lambda: ip.expected_log_softmax(np.ones((2, 1, 3)), [0, 3], [1.0]), "labels must lie"),
        (lambda: ip.expected_log_softmax(np.ones((2, 1, 3)), [0.5, 1], [1.0]), "whole numbers"),
        (lambda: ip.expected_log_softmax(np.ones((2, 1, 3)), [0, 1], [1.0, 1]), "shares must"),
        (
            lambda: next(ip.train_transformed(KERNEL, X, np.zeros(40, int), 1, Z)),
            "classes must be",
        ),
        (
            lambda: next(ip.train_transformed(KERNEL, X, np.zeros(40, int), 2, Z, kind="no")),
            "kind must be",
        ),
        (lambda: next(ip.train_independent([KERNEL], X, np.zeros(40, int), Z)), "at least 2"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
