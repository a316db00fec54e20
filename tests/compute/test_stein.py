import numpy as np
import pytest

from kernellab.compute.kernels import Gaussian, InverseMultiquadric, Laplace
from kernellab.compute.stein import ksd_squared, stein_bootstrap, stein_features, stein_gram
from tests.naive import kernels as naive_kernels
from tests.naive import stein as naive

pytestmark = pytest.mark.compiled

BASES = [
    (Gaussian(0.9), lambda a, b: naive_kernels.gaussian(a, b, 0.9)),
    (InverseMultiquadric(1.3), lambda a, b: naive_kernels.inverse_multiquadric(a, b, 1.3)),
]
every_base = pytest.mark.parametrize(("kernel", "plain"), BASES)


@every_base
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (2, 130, 2), (7, 5, 5)])
def test_the_stein_matrix_agrees_with_numerical_derivatives(kernel, plain, n, m, d):
    rng = np.random.default_rng(n + m)
    x, s, y, t = (rng.standard_normal((rows, d)) for rows in (n, n, m, m))
    expected = [[naive.langevin(plain, x[i], y[j], s[i], t[j]) for j in range(m)] for i in range(n)]
    np.testing.assert_allclose(stein_gram(kernel, x, s, y, t), expected, atol=2e-6)


@every_base
def test_the_stein_matrix_of_a_sample_is_symmetric_and_positive(kernel, plain):
    rng = np.random.default_rng(0)
    x, s = rng.standard_normal((150, 3)), rng.standard_normal((150, 3))
    gram = stein_gram(kernel, x, s)
    np.testing.assert_array_equal(gram, gram.T)
    assert np.linalg.eigvalsh(gram).min() > -1e-10
    np.testing.assert_allclose(gram, stein_gram(kernel, x, s, x, s), atol=1e-13)


@every_base
def test_stein_functions_integrate_to_zero(kernel, plain):
    """Gauss-Hermite quadrature under N(0, 1): each column of the matrix has mean 0."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    x, y = nodes[:, None], np.array([[-1.0], [0.3], [2.0]])
    gram = stein_gram(kernel, x, -x, y, -y)
    means = weights @ gram / weights.sum()
    np.testing.assert_allclose(means, 0.0, atol=1e-10)
    shifted = weights @ stein_gram(kernel, x, 1.0 - x, y, 1.0 - y) / weights.sum()
    assert abs(shifted).min() > 0.01


@every_base
@pytest.mark.parametrize("weighted", [False, True])
def test_stein_features_agree_with_numerical_derivatives(kernel, plain, weighted):
    rng = np.random.default_rng(0)
    x, s, at = (rng.standard_normal((rows, 2)) for rows in (6, 6, 4))
    weights = rng.standard_normal(6) if weighted else np.full(6, 1 / 6)
    expected = naive.features(plain, x, s, at, weights)
    ours = stein_features(kernel, x, s, at, weights if weighted else None)
    np.testing.assert_allclose(ours, expected, atol=1e-7)


def test_ksd_is_a_mean_of_entries():
    gram = np.array([[2.0, 0.5, 1.0], [0.5, 4.0, 0.0], [1.0, 0.0, 6.0]])
    assert ksd_squared(gram) == 0.5
    assert ksd_squared(gram, unbiased=False) == pytest.approx(15 / 9)


@pytest.mark.parametrize("kind", ["multinomial", "wild"])
def test_bootstrap_draws_are_quadratic_forms_without_the_diagonal(kind):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((12, 2))
    gram = stein_gram(Gaussian(1.0), x, -x)
    draws = stein_bootstrap(gram, 20, 7, kind)
    again = np.random.default_rng(7)
    if kind == "multinomial":
        draws_of_each = again.integers(12, size=(20, 12))
        counts = [[list(row).count(i) for i in range(12)] for row in draws_of_each]
        weights = (np.array(counts) - 1) / 12
    else:
        weights = (2 * again.integers(0, 2, size=(20, 12)) - 1) / 12
    expected = [
        sum(w[i] * w[j] * gram[i, j] for i in range(12) for j in range(12) if i != j)
        for w in weights
    ]
    np.testing.assert_allclose(draws, expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["multinomial", "wild"])
def test_the_bootstrap_keeps_its_level_and_sees_a_shift(kind):
    rejected, seen = 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((150, 1))
        for shift in (0.0, 0.5):
            gram = stein_gram(InverseMultiquadric(1.0), x, shift - x)
            threshold = np.quantile(stein_bootstrap(gram, 200, rng, kind), 0.95)
            above = ksd_squared(gram) > threshold
            rejected += above * (shift == 0.0)
            seen += above * (shift > 0.0)
    assert rejected / 200 < 0.1
    assert seen / 200 > 0.9


X = np.zeros((3, 2))
BAD = [
    (lambda: stein_gram(Laplace(1.0), X, X), "kernel must be a Gaussian"),
    (lambda: stein_gram(Gaussian(1.0), X, X[:2]), "scores must"),
    (lambda: stein_gram(Gaussian(1.0), X, X, X), "y and y_scores must be given together"),
    (lambda: stein_gram(Gaussian(1.0), X, X, X[:, :1], X[:, :1]), "y must"),
    (lambda: stein_gram(Gaussian(1.0), X, 1e200 + X), "below 1e308"),
    (lambda: stein_features(Gaussian(1.0), X, X, X[:, :1]), "at must"),
    (lambda: stein_features(Gaussian(1.0), X, X, X, [1.0]), "weights must"),
    (lambda: ksd_squared([[1.0]]), "gram must be of at least 2"),
    (lambda: ksd_squared([[1.0, 2.0], [0.0, 1.0]]), "gram must"),
    (lambda: stein_bootstrap([[1.0]], 3, 0), "gram must"),
    (lambda: stein_bootstrap(np.eye(3), 0, 0), "replicates must"),
    (lambda: stein_bootstrap(np.eye(3), 3, 0, "tame"), "kind must"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
