"""Deep random features: closed forms, simulations, plain references, bad input, the claims."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute.kernels import ArcCosine, Polynomial
from kernellab.compute.rates import log_log_slope
from kernellab.compute.ridge import FeatureRidgePath
from kernellab.datasets import digits
from kernellab.methods.random_features import deep_random_features as drf
from tests.naive import deep_random_features as naive

A = drf.ACTIVATIONS


# 1. Random layers and their kernel


@pytest.mark.parametrize("name", sorted(A))
def test_derivatives_of_activations(name):
    z, h = np.array([-2.1, -0.7, -0.2, 0.3, 1.1, 2.6]), 1e-5
    s = A[name]
    assert np.allclose((s(z + h) - s(z - h)) / (2 * h), s.slope(z), atol=1e-8)
    assert np.allclose((s.slope(z + h) - s.slope(z - h)) / (2 * h), s.curvature(z), atol=1e-8)


def test_blend_goes_from_odd_to_even():
    z = np.linspace(-2, 2, 9)
    assert np.allclose(drf.blend(0)(z), np.tanh(z))
    assert np.allclose(drf.blend(1)(z), z * np.tanh(z))
    half = drf.blend(0.5)
    for part in ("value", "slope", "curvature"):
        ends = (getattr(A[name], part)(z) for name in ("tanh", "z tanh z"))
        assert np.allclose(getattr(half, part)(z), sum(ends) / 2)


def test_layers_have_the_gain_they_were_asked_for():
    layers = drf.random_layers(400, [300, 200], 0, gain=1.5)
    assert [w.shape for w in layers] == [(300, 400), (200, 300)]
    for w in layers:
        assert np.std(w) * math.sqrt(w.shape[1]) == pytest.approx(1.5, rel=0.02)


def test_features_pass_layer_by_layer():
    rng = np.random.default_rng(0)
    x, layers = rng.standard_normal((5, 3)), drf.random_layers(3, [4, 6], rng)
    by_hand = np.tanh(layers[1] @ np.tanh(layers[0] @ x.T)).T
    assert np.allclose(drf.deep_features(x, layers, A["tanh"]), by_hand)


def test_sphere_points_lie_on_the_sphere():
    points = drf.sphere_points(2000, 4, 0, radius=3.0)
    assert np.allclose(np.linalg.norm(points, axis=1), 3.0)
    assert np.allclose(points.mean(axis=0), 0, atol=0.15)


@pytest.mark.compiled
@pytest.mark.parametrize("layer", ["relu", "erf"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (13, 3)])
def test_kernel_layers_are_the_reference(layer, shape):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((shape[0], 4)), rng.standard_normal((shape[1], 4))
    y[0] = -2 * x[0]  # the angle pi
    gram = x @ y.T
    sizes = [np.linalg.norm(z, axis=1) for z in (x, y)]
    scales = sizes if layer == "relu" else [1 / np.sqrt(1 + 2 * z**2) for z in sizes]
    expected = getattr(naive, f"{layer}_layer")(gram, *scales)
    getattr(drf, f"_{layer}_layer")(gram, *scales)
    assert np.allclose(gram, expected, atol=1e-12)


def test_relu_kernel_is_the_arc_cosine_kernel():
    x = np.random.default_rng(2).standard_normal((6, 5))
    once = drf.wide_kernel(x, depth=1, activation="relu")
    assert np.allclose(once, ArcCosine(1).gram(x) / (2 * 5))
    # A layer without noise or bias keeps lengths: E relu(u)^2 is half the variance.
    assert np.allclose(np.diag(drf.wide_kernel(x, depth=3)), np.sum(x**2, axis=1) / 5 / 8)


@pytest.mark.parametrize(("name", "gain"), [("relu", 1.3), ("erf", 0.8)])
def test_wide_kernel_is_the_expectation(name, gain):
    x = np.array([[1.0, 0.5], [-0.3, 1.2], [0.0, 0.0]])
    gram = gain**2 * x @ x.T / 2
    # Two-dimensional Gauss-Hermite, the outer expectation of the last layer.
    nodes, weights = np.polynomial.hermite_e.hermegauss(160)
    weights = weights / weights.sum()
    expected = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            a, b = math.sqrt(gram[i, i]), math.sqrt(gram[j, j])
            c = gram[i, j] / (a * b) if a * b > 0 else 0.0
            u = a * nodes[:, None] + 0 * nodes
            v = b * (c * nodes[:, None] + math.sqrt(max(1 - c * c, 0)) * nodes)
            expected[i, j] = np.sum(weights[:, None] * weights * A[name](u) * A[name](v))
    got = drf.wide_kernel(x, depth=1, activation=name, gain=gain)
    assert np.allclose(got, expected, atol=3e-3 if name == "relu" else 1e-9)
    assert np.allclose(drf.wide_kernel(x, x[:2], depth=2, activation=name)[:2],
                       drf.wide_kernel(x[:2], depth=2, activation=name))  # fmt: skip


@given(st.integers(1, 4), st.sampled_from(["relu", "erf"]), st.integers(0, 1000))
@settings(max_examples=20)
def test_wide_kernels_are_positive_semidefinite(depth, name, seed):
    x = np.random.default_rng(seed).standard_normal((12, 3))
    values = np.linalg.eigvalsh(drf.wide_kernel(x, depth=depth, activation=name))
    assert values[0] > -1e-9 * values[-1]


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_wide_layers_tend_to_the_kernel(name):
    x = drf.sphere_points(20, 4, 0, 2.0)
    exact = drf.wide_kernel(x, depth=2, activation=name)
    gaps = []
    for width in (100, 1600):
        squares = []
        for seed in range(8):
            h = drf.deep_features(x, drf.random_layers(4, [width, width], seed), A[name])
            squares.append(np.mean((h @ h.T / width - exact) ** 2))
        gaps.append(math.sqrt(np.mean(squares)))
    assert -0.75 < log_log_slope([100, 1600], gaps) < -0.3


# 2. The formula


@pytest.mark.parametrize("r", [0.2, 1.0, 5.0])
def test_coefficients_in_closed_form(r):
    offset, slope, rest = drf.gaussian_coefficients(A["relu"], r)
    assert offset == pytest.approx(math.sqrt(r / (2 * math.pi)))
    assert slope == pytest.approx(0.5)
    assert rest == pytest.approx(r * (0.25 - 0.5 / math.pi))
    offset, slope, rest = drf.gaussian_coefficients(A["erf"], r)
    second = 2 / math.pi * math.asin(2 * r / (1 + 2 * r))
    assert offset == pytest.approx(0, abs=1e-12)
    assert slope == pytest.approx(2 / math.sqrt(math.pi * (1 + 2 * r)))
    assert rest == pytest.approx(second - r * slope**2)
    offset, slope, rest = drf.gaussian_coefficients(A["sign"], r)
    assert slope == pytest.approx(math.sqrt(2 / (math.pi * r)))
    assert rest == pytest.approx(1 - 2 / math.pi)
    assert drf.gaussian_coefficients(A["z tanh z"], r)[1] == pytest.approx(0, abs=1e-12)


@given(st.floats(0.05, 20), st.floats(-3, 3), st.floats(-2, 2), st.floats(-2, 2))
@settings(max_examples=30)
def test_a_line_leaves_no_rest(r, mean, a, b):
    offset, slope, rest = drf.gaussian_coefficients(lambda u: a * u + b, r, mean)
    assert offset == pytest.approx(a * mean + b, abs=1e-8)
    assert slope == pytest.approx(a, abs=1e-8)
    assert rest == pytest.approx(0, abs=1e-7)


def test_coefficients_of_many_units_at_once():
    r, mean = np.array([0.5, 1.0, 2.0]), np.array([0.0, -1.0, 0.4])
    together = np.array(drf.gaussian_coefficients(A["tanh"], r, mean))
    alone = [drf.gaussian_coefficients(A["tanh"], *pair) for pair in zip(r, mean, strict=True)]
    assert np.allclose(together.T, alone, atol=1e-9)


def test_coefficients_on_every_scale():
    _, slope, _ = drf.gaussian_coefficients(np.tanh, [1e-8, 1.0, 1e4])
    assert slope[0] == pytest.approx(1.0, rel=1e-6)
    assert slope[2] == pytest.approx(math.sqrt(2 / math.pi) / 100, rel=1e-3)
    together = drf.gaussian_coefficients(lambda u: u, [1e-6, 4.0], [5.0, -1e3])
    assert np.allclose(together, [[5.0, -1e3], [1.0, 1.0], [0.0, 0.0]])
    assert drf.gaussian_coefficients(A["sign"], 1e-8)[1] == pytest.approx(
        1e4 * math.sqrt(2 / math.pi)
    )
    offset, slope, _ = drf.gaussian_coefficients(A["relu"], 1e-4, [-1.0, 0.0, 1.0])
    assert np.allclose(slope, [0.0, 0.5, 1.0]) and np.allclose(offset[[0, 2]], [0.0, 1.0])


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_linear_equivalent_has_the_moments_of_samples(name):
    rng = np.random.default_rng(0)
    layers = drf.random_layers(60, [50, 40], rng)
    root = rng.standard_normal((60, 60)) / 8
    omega0 = root @ root.T + 0.5 * np.eye(60)
    twin = drf.linear_equivalent(layers, A[name], omega0)
    x = rng.standard_normal((100_000, 60)) @ np.linalg.cholesky(omega0).T
    h = drf.deep_features(x, layers, A[name])
    # All units of an even part follow |x|^2 together; the recursion leaves that direction out.
    allowed = {"tanh": 0.1, "relu": 0.35}[name]
    covariance = np.cov(h.T)
    size = np.linalg.norm(covariance, 2)
    assert np.linalg.norm(covariance - twin.covariance, 2) < allowed * size
    assert np.trace(covariance) == pytest.approx(np.trace(twin.covariance), rel=0.1)
    assert np.abs(h.mean(axis=0) - twin.mean).max() < 0.03 * max(np.abs(twin.mean).max(), 1)
    cross = h.T @ x / len(x)
    assert np.linalg.norm(cross - twin.cross) < 0.15 * np.linalg.norm(cross)
    bare = drf.linear_equivalent(layers, A[name], omega0, keep_rest=False)
    assert np.linalg.matrix_rank(bare.covariance) == 40
    assert np.trace(bare.covariance) < 0.95 * np.trace(twin.covariance)


def test_a_linear_network_has_an_exact_equivalent():
    layers = drf.random_layers(7, [9, 5], 3)
    product = layers[1] @ layers[0]
    twin = drf.linear_equivalent(layers, lambda z: 1.0 * z)
    assert np.allclose(twin.covariance, product @ product.T, atol=1e-9)
    assert np.allclose(twin.cross, product, atol=1e-9)
    beta = np.arange(1.0, 8.0)
    theta, noise = twin.target(beta, beta @ beta)
    # 5 features of 7 inputs: what theta reaches and what it does not share the variance.
    assert theta @ twin.covariance @ theta + noise == pytest.approx(beta @ beta)
    assert noise > 0


def test_the_recursion_misses_the_exact_covariance_like_1_over_d():
    def gap(d, keep):
        w = drf.random_layers(d, [d], 0)[0]
        exact = drf.wide_kernel(math.sqrt(d) * w, depth=1, activation="erf")
        got = drf.linear_equivalent([w], A["erf"], keep_rest=keep).covariance
        return np.linalg.norm(exact - got, 2) / np.linalg.norm(exact, 2)

    sizes = (50, 100, 200)
    assert log_log_slope(sizes, [gap(d, True) for d in sizes]) < -0.8
    assert log_log_slope(sizes, [gap(d, False) for d in sizes]) > -0.4


def test_formula_for_equal_eigenvalues():
    """Isotropic: n = k/(1 + kappa) + ridge/kappa is quadratic in kappa."""
    k, n, ridge, noise = 30, 45, 4.0, 0.3
    theta = np.random.default_rng(0).standard_normal(k)
    formula = drf.RidgeFormula(np.eye(k), theta, noise)
    b = n - k - ridge
    kappa = (-b + math.sqrt(b * b + 4 * n * ridge)) / (2 * n)
    assert formula.effective_ridge(n, ridge) == pytest.approx(kappa)
    bias = (kappa / (1 + kappa)) ** 2 * theta @ theta
    expected = (bias + noise) / (1 - k / (1 + kappa) ** 2 / n)
    assert formula.error(n, ridge) == pytest.approx(expected)


def test_formula_ends_at_the_noise_and_starts_at_the_variance():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((10, 12))
    omega, theta = root @ root.T / 12, rng.standard_normal(10)
    formula = drf.RidgeFormula(omega, theta, 0.7)
    assert formula.error(10**7, 1.0) == pytest.approx(0.7, rel=1e-4)
    assert formula.error(1, 1e9) == pytest.approx(theta @ omega @ theta + 0.7, rel=1e-4)
    assert drf.RidgeFormula(np.zeros((3, 3)), np.ones(3), 0.5).error(4, 1.0) == pytest.approx(0.5)


def test_formula_has_its_limit_without_ridge():
    formula = drf.RidgeFormula(np.eye(3), np.ones(3), 0.1)
    for ridge in (1e-300, 1e-12):
        assert formula.error(6, ridge) == pytest.approx(0.1 / (1 - 3 / 6))
        assert formula.error(2, ridge) == pytest.approx((3 * (1 / 3) ** 2 + 0.1) / (1 - 2 / 3))
    assert drf.RidgeFormula(1e-10 * np.eye(3), np.ones(3)).error(1, 1.0) == pytest.approx(3e-10)


def test_formula_on_gaussian_vectors():
    rng = np.random.default_rng(2)
    k = 80
    values = 1.0 / np.arange(1, k + 1)
    theta = rng.standard_normal(k)
    formula = drf.RidgeFormula(np.diag(values), theta, 0.1)
    for n in (40, 80, 200):
        errors = []
        for _ in range(60):
            phi = rng.standard_normal((n, k)) * np.sqrt(values)
            y = phi @ theta + math.sqrt(0.1) * rng.standard_normal(n)
            w = drf.fit_head(phi, y, 0.05, intercept=False).weights
            errors.append((w - theta) ** 2 @ values + 0.1)
        spread = np.std(errors) / math.sqrt(60)
        assert abs(np.mean(errors) - formula.error(n, 0.05)) < 4 * spread + 0.03 * np.mean(errors)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_formula_on_networks(depth):
    pairs = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        layers = drf.random_layers(100, [120] * depth, rng)
        twin = drf.linear_equivalent(layers, A["tanh"])
        theta = rng.standard_normal(120)
        theta /= math.sqrt(theta @ twin.covariance @ theta)
        h, tests = (
            drf.deep_features(rng.standard_normal((n, 100)), layers, A["tanh"]) for n in (120, 1000)
        )
        y = h @ theta + math.sqrt(0.1) * rng.standard_normal(120)
        guess = drf.fit_head(h, y, 0.1, intercept=False).predict(tests)
        formula = drf.RidgeFormula(twin.covariance, theta, 0.1)
        pairs.append([np.mean((guess - tests @ theta) ** 2) + 0.1, formula.error(120, 0.1)])
    simulated, expected = np.mean(pairs, axis=0)
    assert simulated == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
@pytest.mark.parametrize("outputs", [None, 3])
def test_head_is_ridge_regression(shape, outputs):
    rng = np.random.default_rng(0)
    h = rng.standard_normal(shape) + 2
    y = rng.standard_normal(shape[0] if outputs is None else (shape[0], outputs)) + 5
    head = drf.fit_head(h, y, 0.4)
    path = FeatureRidgePath(h - h.mean(axis=0), y - y.mean(axis=0))
    assert np.allclose(head.weights, path.weights(0.4))
    assert np.allclose(head.predict(h).mean(axis=0), y.mean(axis=0))
    plain = drf.fit_head(h, y, 0.4, intercept=False)
    assert np.allclose(plain.weights, FeatureRidgePath(h, y).weights(0.4))
    assert np.all(plain.offset == 0)


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_logistic_head_is_logistic_regression(ridge):
    sklearn = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    h = rng.standard_normal((60, 8))
    y = np.where(h @ rng.standard_normal(8) + rng.standard_normal(60) > 0, 1.0, -1.0)
    w = drf.fit_logistic_head(h, y, ridge)
    peer = sklearn.LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-10, max_iter=2000)
    assert np.allclose(w, peer.fit(h, y).coef_[0], atol=1e-4)
    slope = ridge * w - h.T @ (y / (1 + np.exp(y * (h @ w))))
    assert np.abs(slope).max() < 1e-5


def test_logistic_error_is_that_of_gaussian_vectors():
    rates = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        layers = drf.random_layers(80, [100, 100], rng)
        root = np.linalg.cholesky(drf.linear_equivalent(layers, A["tanh"]).covariance)
        theta, row = rng.standard_normal(100), []
        real = drf.deep_features(rng.standard_normal((1200, 80)), layers, A["tanh"])
        for h in (
            real,
            rng.standard_normal((1200, 100)) @ root.T,
            rng.standard_normal((1200, 100)),
        ):
            y = np.where(h @ theta > 0, 1.0, -1.0)
            w = drf.fit_logistic_head(h[:200], y[:200], 0.1)
            row.append(np.mean((h[200:] @ w > 0) != (y[200:] > 0)))
        rates.append(row)
    real, surrogate, isotropic = np.mean(rates, axis=0)
    assert abs(real - surrogate) < 0.02 and abs(real - isotropic) > 0.04


# 3. A wide teacher


def test_noisy_linear_kernel_is_that_of_draws():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3))
    _, rho, rest = drf.gaussian_coefficients(A["tanh"], 1.0)
    v, xi = rng.standard_normal((200_000, 3)), rng.standard_normal((200_000, 4))
    answers = rho * v @ x.T / math.sqrt(3) + math.sqrt(rest) * xi
    gram = drf.noisy_linear_kernel(x, activation="tanh")
    assert np.allclose(gram, answers.T @ answers / 200_000, atol=0.02)
    cross = drf.noisy_linear_kernel(x, x, activation="tanh")
    assert np.allclose(gram - cross, rest * np.eye(4))


def test_bayes_curve_is_a_refit_at_every_size():
    rng = np.random.default_rng(1)
    points = rng.standard_normal((20, 3))
    joint = drf.wide_kernel(points, depth=1, activation="erf")
    gram, cross, prior = joint[:15, :15], joint[15:, :15], np.diag(joint)[15:]
    curve = drf.bayes_curve(gram, cross, prior, 0.2)
    assert curve.errors[0] == pytest.approx(prior.mean()) and curve.information[0] == 0
    for n in (1, 7, 15):
        system = gram[:n, :n] + 0.2 * np.eye(n)
        left = prior - np.diag(cross[:, :n] @ np.linalg.solve(system, cross[:, :n].T))
        assert curve.errors[n] == pytest.approx(left.mean())
        nats = 0.5 * np.linalg.slogdet(system / 0.2)[1]
        assert curve.information[n] == pytest.approx(nats)
    assert np.all(np.diff(curve.errors) <= 1e-12) and np.all(np.diff(curve.information) >= 0)


def _teachers(d, n, seed):
    rng = np.random.default_rng(seed)
    x, tests = (drf.sphere_points(m, d, rng, math.sqrt(d)) for m in (n, 150))
    wide = {"depth": 1, "activation": "erf"}
    own = drf.wide_kernel(tests[:1], **wide)[0, 0], drf.noisy_linear_kernel(tests[:1])[0, 0]
    return (
        drf.bayes_curve(
            drf.wide_kernel(x, **wide), drf.wide_kernel(tests, x, **wide), np.full(150, own[0]), 0.1
        ),
        drf.bayes_curve(
            drf.noisy_linear_kernel(x),
            drf.noisy_linear_kernel(tests, x),
            np.full(150, own[1]),
            0.1,
        ),
    )


def test_a_network_is_a_noisy_line_until_samples_are_many():
    def excess(d, n):
        curves = [_teachers(d, n, seed) for seed in range(3)]
        return np.mean([line.errors[-1] / net.errors[-1] - 1 for net, line in curves])

    few = [excess(d, d) for d in (20, 40, 80)]
    assert log_log_slope((20, 40, 80), few) < -0.5 and few[-1] < 0.02
    many = [excess(d, d**3) for d in (6, 8)]
    assert min(many) > 0.5  # the control: at n = d^3 the line has lost


def test_a_finite_teacher_is_met_by_the_wide_learner():
    """The Gaussian process's promise holds for teachers with 2,000 units."""
    rng = np.random.default_rng(3)
    found, promised = [], []
    for _ in range(6):
        x = drf.sphere_points(210, 10, rng, math.sqrt(10))
        w = drf.random_layers(10, [2000], rng)
        f = drf.deep_features(x, w, A["erf"]) @ rng.standard_normal(2000) / math.sqrt(2000)
        joint = drf.wide_kernel(x, depth=1, activation="erf")
        y = f[:60] + math.sqrt(0.1) * rng.standard_normal(60)
        guess = joint[60:, :60] @ np.linalg.solve(joint[:60, :60] + 0.1 * np.eye(60), y)
        found.append(np.mean((guess - f[60:]) ** 2))
        curve = drf.bayes_curve(joint[:60, :60], joint[60:, :60], np.diag(joint)[60:], 0.1)
        promised.append(curve.errors[-1])
    assert np.mean(found) == pytest.approx(np.mean(promised), rel=0.3)


# 4. Boosting


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.floats(1e-3, 10))
@settings(max_examples=25)
def test_sandwich_is_the_kronecker_system(p, width, outputs, ridge):
    rng = np.random.default_rng(p + 10 * width)
    f, r = rng.standard_normal((12, p)), rng.standard_normal((12, outputs))
    w = rng.standard_normal((width, outputs))
    got = drf.sandwiched_least_squares(f, r, w, ridge)
    assert np.allclose(got, naive.sandwiched(f, r, w, ridge), atol=1e-8)


def test_variants_are_minimisers():
    rng = np.random.default_rng(0)
    f, r, w = (rng.standard_normal(shape) for shape in ((20, 4), (20, 3), (4, 3)))

    def loss(delta):
        return np.sum((r - f @ delta @ w) ** 2) / 20 + 0.1 * np.sum(delta**2)

    for variant, freedom in (("dense", np.ones((4, 4))), ("diagonal", np.eye(4))):
        best = drf.boosting_step(f, r, w, 0.1, variant)
        for _ in range(30):
            assert loss(best) <= loss(best + 0.01 * freedom * rng.standard_normal((4, 4)))
    scalar = drf.boosting_step(f, r, w, 0.1, "scalar")
    assert np.allclose(scalar, scalar[0, 0] * np.eye(4))

    def scalar_loss(c):  # here the penalty counts the one number once
        return np.sum((r - c * f @ w) ** 2) / 20 + 0.1 * c**2

    c = scalar[0, 0]
    assert scalar_loss(c) <= min(scalar_loss(c + 1e-3), scalar_loss(c - 1e-3))
    gradient = drf.boosting_step(f, r, w, 0.1, "gradient")

    def line(t):
        return np.sum((r - t * f @ gradient @ w) ** 2)

    assert line(1.0) <= min(line(0.99), line(1.01))


def _digits(split):
    data = digits()
    y = 2.0 * (data.labels[:, None] == np.arange(10)) - 1
    order = np.random.default_rng(split).permutation(len(data.x))
    train, test = order[:1198], order[1198:]
    x = (data.x - data.x[train].mean(axis=0)) / data.x.std()
    return x[train], y[train], x[test], y[test]


@pytest.mark.parametrize("variant", drf.VARIANTS)
@pytest.mark.parametrize("step", [0.3, 1.0])
def test_training_loss_falls_in_every_round(variant, step):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 5))
    y = np.column_stack([np.sin(2 * x[:, 0]), x[:, 1] * x[:, 2]])
    *_, (fraction, network) = drf.boost(x, y, 5, 1, width=10, frozen=20, step=step, variant=variant)
    assert fraction == 1.0 and len(network.losses) == 6 and len(network.blocks) == 5
    assert np.all(np.diff(network.losses) <= 1e-12)
    assert np.allclose(network.features(x), network.representation)
    left = np.sum((y - network.predict(x)) ** 2) / 80
    penalty = 1e-3 * np.sum(network.head.weights**2)
    assert network.losses[-1] == pytest.approx(left + penalty)


def test_no_round_is_ridge_regression():
    sklearn = pytest.importorskip("sklearn.linear_model")
    x, y, x_test, _ = _digits(0)
    ((fraction, network),) = drf.boost(x, y, 0, 0, width=40, head_ridge=0.01)
    assert fraction == 1.0
    peer = sklearn.Ridge(alpha=0.01 * len(x)).fit(network.representation, y)
    phi = np.tanh(x_test @ network.lift + network.shift)
    assert np.allclose(network.predict(x_test), peer.predict(phi))


def test_boosting_halves_the_error_on_digits_and_noise_does_not():
    ratios = {False: [], True: []}
    for blind, found in ratios.items():
        for split in range(2):
            x, y, x_test, y_test = _digits(split)
            errors = [
                np.mean(network.predict(x_test).argmax(axis=1) != y_test.argmax(axis=1))
                for _, network in drf.boost(
                    x, y, 4, split, width=64, frozen=128, head_ridge=0.01, blind=blind
                )
            ]
            found.append(errors[-1] / errors[0])
    assert max(ratios[False]) < 0.5 and min(ratios[True]) > 0.8


# 5. Layer by layer


@pytest.mark.compiled
@pytest.mark.parametrize("shape", [(1, 1), (4, 2), (9, 7)])
def test_quadratics_are_the_reference(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    assert np.allclose(drf.quadratic_features(x), naive.quadratics(x), atol=1e-13)


def test_quadratics_are_orthonormal():
    x = np.random.default_rng(0).standard_normal((200_000, 3))
    f = drf.quadratic_features(x)
    assert np.allclose(f.T @ f / len(f), np.eye(6), atol=0.04)


def test_target_has_the_moments_it_promises():
    rng = np.random.default_rng(0)
    target = drf.hierarchical_target(30, rng, linear=0.7)
    assert np.trace(target.matrix) == pytest.approx(0, abs=1e-12)
    assert np.allclose(target.matrix, target.matrix.T)
    assert 2 * np.sum(target.matrix**2) == pytest.approx(1)
    x = rng.standard_normal((100_000, 30))
    p = target.inner(x)
    assert np.var(p) == pytest.approx(1, rel=0.03)
    plain = drf.hierarchical_target(5, 0)
    z = plain.inner(x[:, :5])
    assert np.allclose(plain(x[:, :5]), z + (z**2 - 1) / 2 + 0.3 * z**3)
    assert np.allclose(target(x[:9]), 0.7 * p[:9] + 0.5 * (p[:9] ** 2 - 1)
                       + 0.3 * (p[:9] ** 3 - 3 * p[:9]))  # fmt: skip


@pytest.mark.parametrize("shape", [(40, 6), (5, 9)])
def test_descent_in_closed_form_is_descent(shape):
    rng = np.random.default_rng(0)
    f, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
    for rate in (0.05, 100.0):  # the second one is cut down
        path = drf.descent_path(f, y, [0, 1, 7, 300], rate)
        for steps, w in zip((0, 1, 7, 300), path, strict=True):
            assert np.allclose(w, naive.descent(f, y, steps, rate), atol=1e-9)
    far = drf.descent_path(f, y, [10**9])[0]
    assert np.allclose(far, np.linalg.lstsq(f, y, rcond=None)[0], atol=1e-6)


def _layerwise(seed, linear=1.9, d=20):
    rng = np.random.default_rng(seed)
    target = drf.hierarchical_target(d, rng, linear)
    x, tests = rng.standard_normal((4 * d * d, d)), rng.standard_normal((1000, d))
    network = drf.train_layerwise(x, target(x), rng)
    truth = target(tests)
    error = np.mean((network.predict(tests) - truth) ** 2) / np.var(truth)
    correlation = np.corrcoef(network.hidden(tests), target.inner(tests))[0, 1]
    return correlation, error, (x, target(x), tests, truth)


def test_the_hidden_number_is_found_and_kernels_are_beaten():
    for seed in range(3):
        correlation, error, (x, y, tests, truth) = _layerwise(seed)
        assert correlation > 0.9 and error < 0.35
        if seed:
            continue
        kernel = Polynomial(2, 1.0, 1 / 20)  # the best degree here
        gram, cross = kernel.gram(x), kernel.gram(tests, x)
        errors = []
        for ridge in (0.1, 1.0, 10.0):
            system = gram + ridge * np.trace(gram) / len(x) * np.eye(len(x))
            guess = cross @ np.linalg.solve(system, y - y.mean()) + y.mean()
            errors.append(np.mean((guess - truth) ** 2) / np.var(truth))
        assert error < 0.75 * min(errors)


def test_without_a_linear_part_nothing_is_found():
    for seed in range(2):
        correlation, error, _ = _layerwise(seed, linear=0.0)
        assert abs(correlation) < 0.6 and error > 0.8


def test_an_identity_on_top_needs_no_second_stage():
    rng = np.random.default_rng(0)
    x, tests = rng.standard_normal((800, 12)), rng.standard_normal((500, 12))
    target = drf.HierarchicalTarget(drf.hierarchical_target(12, 1).matrix, 1.0, 0.0, 0.0)
    network = drf.train_layerwise(x, target(x), 0, steps=3000)
    assert np.corrcoef(network.hidden(tests), target(tests))[0, 1] > 0.999
    assert np.mean((network.predict(tests) - target(tests)) ** 2) < 0.02


# 6. Sensitivity


def _fit(kind, activation, d, n, units, seed):
    rng = np.random.default_rng(seed)
    x, y = drf.sphere_points(n, d, rng, math.sqrt(d)), rng.choice([-1.0, 1.0], n)
    directions = rng.standard_normal((units, d)) / math.sqrt(d)
    interpolate = {"rf": drf.interpolate_random_features, "ntk": drf.interpolate_tangent}[kind]
    return interpolate(x, y, directions, activation), x, y, rng


@pytest.mark.parametrize("kind", ["rf", "ntk"])
@pytest.mark.parametrize("name", ["tanh", "z tanh z", "erf"])
def test_interpolants_meet_their_labels_and_know_their_gradients(kind, name):
    fit, x, y, rng = _fit(kind, A[name], 6, 15, 60, 0)
    assert np.allclose(fit.predict(x), y, atol=1e-6)
    z, h = rng.standard_normal((5, 6)), 1e-5
    numeric = np.stack(
        [(fit.predict(z + h * e) - fit.predict(z - h * e)) / (2 * h) for e in np.eye(6)], axis=1
    )
    assert np.allclose(fit.gradient(z), numeric, atol=1e-4 * max(1, np.abs(numeric).max()))
    sizes = np.linalg.norm(z, axis=1) * np.linalg.norm(fit.gradient(z), axis=1)
    assert np.allclose(fit.sensitivity(z), sizes)


def test_interpolants_have_least_norm():
    fit, x, y, _ = _fit("rf", A["tanh"], 5, 12, 40, 1)
    features = np.tanh(x @ fit.directions.T)
    assert np.allclose(fit.weights, np.linalg.pinv(features) @ y)
    fit, x, y, rng = _fit("ntk", A["tanh"], 5, 12, 20, 1)
    slopes = A["tanh"].slope(x @ fit.directions.T)
    features = np.einsum("ni,nk->nki", x, slopes).reshape(12, -1)
    theta = np.linalg.pinv(features) @ y
    z = rng.standard_normal((4, 5))
    at = np.einsum("ni,nk->nki", z, A["tanh"].slope(z @ fit.directions.T)).reshape(4, -1)
    assert np.allclose(fit.predict(z), at @ theta)


def test_sensitivity_grows_but_for_even_tangent_features():
    def growth(kind, name, units_per_sample):
        sizes = (25, 50, 100)
        means = []
        for d in sizes:
            values = []
            for seed in range(3):
                fit, _, _, rng = _fit(kind, A[name], d, 2 * d, units_per_sample * 2 * d, seed)
                values.append(fit.sensitivity(drf.sphere_points(100, d, rng, math.sqrt(d))).mean())
            means.append(np.mean(values))
        return log_log_slope(sizes, means)

    assert abs(growth("ntk", "z tanh z", 1)) < 0.1
    assert growth("ntk", "tanh", 1) > 0.25
    assert growth("rf", "tanh", 8) > 1 / 6


@pytest.mark.parametrize("fit", [drf.interpolate_random_features, drf.interpolate_tangent])
def test_labels_out_of_reach_are_refused(fit):
    rng = np.random.default_rng(0)
    x, directions = rng.standard_normal((6, 4)), rng.standard_normal((40, 4))
    twice, y = np.vstack([x, x[:1]]), np.array([1.0, -1, 1, -1, 1, -1, -1])
    with pytest.raises(ValueError, match="y must be within reach"):
        fit(twice, y, directions, A["tanh"])
    if fit is drf.interpolate_random_features:
        with pytest.raises(ValueError, match="y must be within reach"):
            fit(
                np.vstack([x, rng.standard_normal((9, 4))]),
                np.sign(x[0, 0] + np.arange(15) % 2 - 0.5),
                1e-9 * directions,
                A["tanh"],
            )
    y[-1] = y[0]
    assert np.allclose(fit(twice, y, directions, A["tanh"]).predict(twice), y, atol=1e-6)


def test_smallest_flip_crosses_and_no_further():
    fit, _, _, rng = _fit("ntk", A["z tanh z"], 8, 20, 40, 2)
    z = drf.sphere_points(30, 8, rng, math.sqrt(8))
    moved = drf.smallest_flip(fit, z)
    before, after = fit.predict(z), fit.predict(moved)
    assert np.all(np.sign(after) != np.sign(before))
    assert np.all(np.abs(after) < 0.3 * np.abs(before).max())
    line = drf.RandomFeatureInterpolant(np.eye(2), drf.Activation("id", *[lambda z: z] * 3), [1, 1])
    assert line.predict([[1.0, 2.0]]) == pytest.approx(3.0)


# Bad input


X, Y = np.ones((4, 2)), np.ones((4, 1))
W = [np.ones((3, 2))]


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: drf.activation_named("tan"), "name must be one of"),
        (lambda: drf.blend(1.5), "even_share must"),
        (lambda: drf.sphere_points(0, 2, 0), "n must"),
        (lambda: drf.sphere_points(3, 2, 0, radius=0), "radius must"),
        (lambda: drf.random_layers(2, [], 0), "widths must name"),
        (lambda: drf.random_layers(2, [0], 0), "widths must"),
        (lambda: drf.random_layers(2, [3], 0, gain=-1), "gain must"),
        (lambda: drf.deep_features(np.ones((4, 3)), W, np.tanh), "layers must have 3 columns"),
        (lambda: drf.deep_features(np.ones(3), W, np.tanh), "x must be a matrix"),
        (lambda: drf.wide_kernel(X, depth=0), "depth must"),
        (lambda: drf.wide_kernel(X, np.ones((2, 3)), depth=1), "y must have 2 columns"),
        (lambda: drf.wide_kernel(X, depth=1, activation="tanh"), "activation must"),
        (lambda: drf.wide_kernel(X, depth=1, gain=0), "gain must"),
        (lambda: drf.gaussian_coefficients(np.tanh, 0.0), "variance must be positive"),
        (lambda: drf.linear_equivalent([], np.tanh), "layers must hold"),
        (lambda: drf.linear_equivalent(W, np.tanh, np.eye(3)), "input_covariance must be 2 by 2"),
        (lambda: drf.linear_equivalent([*W, np.ones((2, 2))], np.tanh), "layers must have 3"),
        (lambda: drf.linear_equivalent(W, np.tanh).target([1.0], 1.0), "linear_part must"),
        (lambda: drf.linear_equivalent(W, np.tanh).target([1.0, 1.0], -1.0), "variance must"),
        (lambda: drf.RidgeFormula(np.ones((2, 3)), [1, 1]), "covariance must"),
        (lambda: drf.RidgeFormula(np.eye(2), [1, 1, 1]), "theta must"),
        (lambda: drf.RidgeFormula(np.eye(2), [1, 1], -1), "noise must"),
        (lambda: drf.RidgeFormula(np.eye(2), [1, 1]).error(0, 1.0), "n must"),
        (lambda: drf.RidgeFormula(np.eye(2), [1, 1]).error(3, 0.0), "ridge must"),
        (lambda: drf.fit_head(X, np.ones(3), 1.0), "must"),
        (lambda: drf.fit_head(X, Y, 0.0), "ridge must"),
        (lambda: drf.fit_logistic_head(X, [1, -1, 0, 1], 1.0), "labels must be -1 or"),
        (lambda: drf.fit_logistic_head(X, [1, -1, 1], 1.0), "labels must"),
        (lambda: drf.fit_logistic_head(X, [1, -1, 1, 1], 0.0), "ridge must"),
        (lambda: drf.noisy_linear_kernel(X, activation="relu"), "activation must"),
        (lambda: drf.noisy_linear_kernel(X, np.ones((2, 3))), "y must have 2 columns"),
        (lambda: drf.bayes_curve(np.ones((2, 3)), X, [1.0], 1.0), "gram must"),
        (lambda: drf.bayes_curve(np.eye(2), np.ones((3, 3)), [1.0], 1.0), "cross must"),
        (lambda: drf.bayes_curve(np.eye(2), X, [1.0], 1.0), "prior must"),
        (lambda: drf.bayes_curve(np.eye(2), X, np.ones(4), 0.0), "noise must"),
        (lambda: drf.sandwiched_least_squares(X, np.ones((3, 1)), Y, 1.0), "residual must"),
        (lambda: drf.sandwiched_least_squares(X, Y, np.ones((2, 2)), 1.0), "head must"),
        (lambda: drf.sandwiched_least_squares(X, Y, np.ones((2, 1)), 0.0), "ridge must"),
        (lambda: drf.boosting_step(X, Y, np.ones((2, 1)), 1.0, "thick"), "variant must"),
        (lambda: drf.boosting_step(X, Y, np.ones((3, 1)), 1.0, "scalar"), "features must have 3"),
        (lambda: drf.boost(X, np.ones((3, 1)), 1, 0), "y must"),
        (lambda: drf.boost(math.nan * X, Y, 1, 0), "x must"),
        (lambda: drf.boost(X, Y, -1, 0), "rounds must"),
        (lambda: drf.boost(X, Y, 1, 0, width=1), "width must"),
        (lambda: drf.boost(X, Y, 1, 0, step=1.5), "step must"),
        (lambda: drf.hierarchical_target(3, 0, linear=math.nan), "linear must"),
        (lambda: drf.random_layers(3, 5, 0), "widths must be a list"),
        (lambda: drf.descent_path(X, np.ones(4), 5), "steps must be a list"),
        (lambda: drf.wide_kernel(1e200 * X, depth=1, activation="erf"), "must keep"),
        (lambda: drf.gaussian_coefficients(np.log, 1.0), "activation must be finite"),
        (lambda: drf.gaussian_coefficients(np.sum, 1.0), "activation must return"),
        (lambda: drf.gaussian_coefficients(np.tanh, [1.0, 2.0], [0.0] * 3), "variance must"),
        (lambda: drf.RidgeFormula(np.eye(3), np.ones(3), 0.1).error(3, 1e-300), "ridge must"),
        (lambda: drf.bayes_curve(np.eye(3), 5 * np.ones((2, 3)), np.ones(2), 0.1), "cross must"),
        (lambda: drf.fit_head(X, Y, 1.0).predict(np.ones((2, 3))), "features must have 2"),
        (lambda: _fit("rf", A["tanh"], 3, 4, 9, 0)[0].predict(X), "z must have 3"),
        (lambda: _fit("ntk", A["tanh"], 3, 4, 9, 0)[0].sensitivity(X), "z must have 3"),
        (lambda: drf.train_layerwise(X, np.ones(4), 0).predict(np.ones((2, 3))), "x must have 2"),
        (lambda: drf.interpolate_tangent(X, np.ones(4), np.ones((5, 2)), np.tanh), "activation"),
        (lambda: drf.hierarchical_target(1, 0), "d must"),
        (lambda: drf.hierarchical_target(3, 0)(X), "x must have 3 columns"),
        (lambda: drf.quadratic_features([1.0]), "x must be a matrix"),
        (lambda: drf.descent_path(X, np.ones(3), [1]), "y must"),
        (lambda: drf.descent_path(X, np.ones(4), [-1]), "steps must"),
        (lambda: drf.descent_path(X, np.ones(4), [1], 0.0), "rate must"),
        (lambda: drf.train_layerwise(X, np.ones(4), 0, steps=0), "steps must"),
        (lambda: drf.train_layerwise(X, np.ones(4), 0, units=0), "units must"),
        (lambda: drf.train_layerwise(X, np.ones(4), 0, ridge=0.0), "ridge must"),
        (
            lambda: drf.interpolate_random_features(X, np.ones(4), np.ones((3, 2)), A["tanh"]),
            "directions must hold at least 4 rows",
        ),
        (
            lambda: drf.interpolate_tangent(X, np.ones(4), np.ones((1, 2)), A["tanh"]),
            "directions must have at least 4 entries",
        ),
        (
            lambda: drf.interpolate_tangent(X, np.ones(3), np.ones((5, 2)), A["tanh"]),
            "y must",
        ),
        (
            lambda: drf.smallest_flip(_fit("rf", A["tanh"], 3, 4, 9, 0)[0], np.ones((2, 3)), 0),
            "steps must",
        ),
    ],
)
def test_bad_input_is_named(call, names):
    with pytest.raises(ValueError, match=names):
        call()
