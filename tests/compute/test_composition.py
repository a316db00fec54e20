"""Sums, products and stretches of kernels, their hyper-parameters and derivatives."""

import numpy as np
import pytest

from kernellab.compute.kernels import (
    ArcCosine,
    Coregionalised,
    Cosine,
    Gaussian,
    InverseMultiquadric,
    Laplace,
    Matern12,
    Matern32,
    Matern52,
    OnColumns,
    Oscillator,
    Periodic,
    Polynomial,
    Product,
    RationalQuadratic,
    Scaled,
    Stretched,
    Sum,
)

pytestmark = pytest.mark.compiled

ELEMENTARY = [
    Gaussian(0.8),
    Laplace(1.3),
    Matern12(0.7),
    Matern32(0.7),
    Matern52(1.7),
    RationalQuadratic(0.9, 1.5),
    InverseMultiquadric(0.6),
    Periodic(1.9, 0.8),
    Cosine(1.7),
    Polynomial(3, 0.5, 2.0),
    Polynomial(2, 0.0, 0.7),
    ArcCosine(0),
    ArcCosine(1),
    ArcCosine(2),
]
COMPOSED = [
    Gaussian(0.8) + 0.5 * Matern32(0.7) + Periodic(1.1, 0.9),
    2.0 * (Matern52(0.7) * Periodic(1.3, 0.8)),
    Gaussian(0.8) * (Laplace(0.5) + 3.0 * Polynomial(2)),
    Stretched(2.0 * RationalQuadratic(1.0, 0.7), (0.5, 1.5, 3.0)),
    Stretched(Matern32(1.0) * Cosine(1.2) + Gaussian(2.0), (0.5, 1.5, 3.0)),
    OnColumns(Gaussian(0.7), (2, 0)) + OnColumns(Matern12(0.5), 1),
    Stretched(OnColumns(Gaussian(0.7), (2, 0)), (0.5, 1.5, 3.0)),
    Stretched(Stretched(Laplace(1.0), (0.5, 1.5, 3.0)), (2.0, 1.0, 1.0)),
]
EVERY = ELEMENTARY + [Stretched(k, (0.5, 1.5, 3.0)) for k in ELEMENTARY] + COMPOSED
every = pytest.mark.parametrize("kernel", EVERY, ids=repr)


def points(n=9, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, 3))
    x[3] = x[1]  # a repeated point
    return x


@every
def test_gradients_are_finite_differences(kernel):
    x = points()
    theta = np.log(list(kernel.hyperparameters.values()))
    gradients = kernel.gram_gradients(x)
    assert gradients.shape == (len(theta), 9, 9)
    for j in range(len(theta)):
        step = np.zeros(len(theta))
        step[j] = 1e-5
        above, below = (kernel.with_log_hyperparameters(theta + s).gram(x) for s in (step, -step))
        np.testing.assert_allclose(gradients[j], (above - below) / 2e-5, rtol=1e-6, atol=3e-8)


@every
def test_all_views_of_a_kernel_agree(kernel):
    x, y = points(), points(70, 1)
    gram, v = kernel.gram(x, y), np.random.default_rng(2).standard_normal((70, 2))
    np.testing.assert_allclose(kernel.matvec(x, y, v), gram @ v, rtol=1e-11, atol=1e-10)
    np.testing.assert_allclose(kernel.total(x, y), gram.sum(), rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(kernel.total(x), kernel.gram(x).sum(), rtol=1e-11, atol=1e-9)
    np.testing.assert_allclose(kernel.diagonal(x), np.diag(kernel.gram(x)), rtol=1e-12)
    np.testing.assert_allclose(kernel.paired(x, y[:9]), np.diag(gram), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(kernel.gram(x), kernel.gram(x).T)


@every
def test_hyperparameters_go_round(kernel):
    values = kernel.hyperparameters
    same = kernel.with_log_hyperparameters(np.log(list(values.values())))
    assert list(same.hyperparameters) == list(values)
    np.testing.assert_allclose(list(same.hyperparameters.values()), list(values.values()))
    assert hash(kernel) == hash(kernel)


def test_sums_and_products_are_what_they_say():
    x, a, b = points(), Gaussian(0.8), Matern32(0.5)
    np.testing.assert_allclose((a + b).gram(x), a.gram(x) + b.gram(x))
    np.testing.assert_allclose((a * b).gram(x), a.gram(x) * b.gram(x))
    np.testing.assert_allclose((np.float64(3.0) * a).gram(x), 3.0 * a.gram(x))
    stretched = Stretched(a, (0.5, 2.0, 1.0))
    np.testing.assert_allclose(stretched.gram(x), a.gram(x / [0.5, 2.0, 1.0]))
    np.testing.assert_allclose(OnColumns(a, (0, 2)).gram(x), a.gram(x[:, [0, 2]]))
    assert a + b + a == Sum((a, b, a))
    assert a * b * a == Product((a, b, a))
    assert 2.0 * (3.0 * a) == Scaled(a, 6.0)


def test_a_cosine_is_a_plane_wave():
    x = points()
    lags = (x[:, None] - x).sum(axis=2)
    np.testing.assert_allclose(Cosine(1.7).gram(x), np.cos(2 * np.pi * lags / 1.7), atol=1e-13)
    far = x + 1.7e9  # whole periods away, in one column of three
    far[:, 1:] = x[:, 1:]
    np.testing.assert_allclose(Cosine(1.7).gram(far, x), Cosine(1.7).gram(x), atol=1e-5)


def test_coregionalised_is_a_kronecker_product():
    rng = np.random.default_rng(0)
    x, mixing = rng.standard_normal((6, 2)), np.array([[1.0, 0.0], [-0.5, 0.8], [0.3, 0.2]])
    kernel = Coregionalised(Matern32(0.7) + Gaussian(0.3), mixing)
    both = np.vstack([np.column_stack([x, np.full(6, i)]) for i in range(3)])
    expected = np.kron(mixing @ mixing.T, kernel.kernel.gram(x))
    np.testing.assert_allclose(kernel.gram(both), expected, atol=1e-14)
    np.testing.assert_allclose(kernel.diagonal(both), np.diag(expected))
    v = rng.standard_normal(18)
    np.testing.assert_allclose(kernel.matvec(both, None, v), expected @ v)
    np.testing.assert_allclose(kernel.paired(both, both[::-1]), np.diag(expected[:, ::-1]))
    theta = np.log(list(kernel.hyperparameters.values()))
    assert len(theta) == 7
    for j, gradient in enumerate(kernel.gram_gradients(both)):
        step = 1e-5 * np.eye(7)[j]
        change = kernel.with_log_hyperparameters(theta + step).gram(both)
        change -= kernel.with_log_hyperparameters(theta - step).gram(both)
        np.testing.assert_allclose(gradient, change / 2e-5, atol=1e-9)
    stretched = Stretched(Coregionalised(Gaussian(1.0), mixing), (0.5, 2.0, 1.0))
    np.testing.assert_allclose(
        stretched.gram(both), np.kron(mixing @ mixing.T, Gaussian(1.0).gram(x / [0.5, 2.0]))
    )


@pytest.mark.parametrize("quality", [0.1, 0.4, 0.5, 0.500001, 0.7, 5.0])
def test_an_oscillator_solves_its_equation(quality):
    x = np.sort(np.random.default_rng(0).uniform(0, 3, 8))[:, None]
    kernel = 1.3 * Oscillator(1.7, quality)
    theta = np.log(list(kernel.hyperparameters.values()))
    for j, gradient in enumerate(kernel.gram_gradients(x)):
        step = 1e-5 * np.eye(3)[j]
        change = kernel.with_log_hyperparameters(theta + step).gram(x)
        change -= kernel.with_log_hyperparameters(theta - step).gram(x)
        np.testing.assert_allclose(gradient, change / 2e-5, atol=1e-7)
    np.testing.assert_allclose(np.diag(kernel.gram(x)), kernel.diagonal(x))
    np.testing.assert_allclose(kernel.paired(x, x[::-1]), np.diag(kernel.gram(x)[:, ::-1]))
    assert np.linalg.eigvalsh(kernel.gram(x))[0] > -1e-12
    # k'' + (w/Q) k' + w^2 k = 0 away from 0, and k is even.
    w, h = 2 * np.pi / 1.7, 1e-4
    lags = np.linspace(0.2, 3.0, 9)
    low, at, high = (
        Oscillator(1.7, quality).gram((lags + s)[:, None], [[0.0]])[:, 0] for s in (-h, 0, h)
    )
    equation = (high - 2 * at + low) / h**2 + w / quality * (high - low) / (2 * h) + w**2 * at
    np.testing.assert_allclose(equation, 0.0, atol=1e-5)
    with pytest.raises(ValueError, match="x must have 1 column for an Oscillator"):
        kernel.gram(points())


def test_a_critical_oscillator_is_a_matern_kernel():
    x = np.linspace(0, 3, 8)[:, None]
    period = 2 * np.pi / np.sqrt(3) * 0.8
    np.testing.assert_allclose(Oscillator(period, 0.5).gram(x), Matern32(0.8).gram(x), atol=1e-11)


@pytest.mark.parametrize("length", [1e-300, 1e-9, 1e9, 1e300])
@pytest.mark.parametrize(
    "kind", [Gaussian, Laplace, Matern12, Matern32, Matern52, InverseMultiquadric]
)
def test_gradients_stay_finite_for_extreme_lengths(kind, length):
    x = points() * 1e-5
    for kernel in (kind(length), Stretched(kind(1.0), (length, 1.0, length))):
        assert np.isfinite(kernel.gram_gradients(x)).all()
    assert np.isfinite(RationalQuadratic(length, 2.0).gram_gradients(x)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sum(()), "kernels must be a tuple of at least one kernel"),
        (lambda: Sum((1.0,)), "kernel must be a kernel"),
        (lambda: Scaled(Gaussian(1.0), -1.0), "variance must be a positive number, got -1.0"),
        (lambda: 0.0 * Gaussian(1.0), "variance must be a positive number"),
        (lambda: Stretched(Gaussian(1.0), (1.0, 0.0)), r"lengthscales\[1\] must be a positive"),
        (lambda: Stretched(Gaussian(1.0), (1.0,)).gram(points()), "x must have 1 columns"),
        (lambda: OnColumns(Gaussian(1.0), (3,)).gram(points()), "x must have a column 3"),
        (lambda: OnColumns(Gaussian(1.0), (1, 1)), "columns must be different"),
        (lambda: Coregionalised(Gaussian(1.0), [1.0]), "mixing must be a matrix"),
        (
            lambda: Coregionalised(Gaussian(1.0), [[1.0]]).gram([[0.0, 1.0]]),
            "last column of x must be an output's number from 0 to 0, got 1",
        ),
        (lambda: Coregionalised(Gaussian(1.0), [[1.0]]).gram([[0.0]]), "x must have inputs"),
        (lambda: Gaussian(1.0).with_log_hyperparameters([1.0, 2.0]), "vector must have length 1"),
        (lambda: Gaussian(1.0).with_log_hyperparameters([800.0]), "vector must lie between"),
        (lambda: Gaussian(1.0).with_log_hyperparameters([np.nan]), "vector must be finite"),
        (lambda: ArcCosine(1).with_log_hyperparameters([1.0]), "vector must be empty"),
        (lambda: Gaussian(1.0).paired([[0.0]], [[0.0], [1.0]]), "y must have 1 row"),
    ],
)
def test_bad_compositions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_only_kernels_and_numbers_compose():
    with pytest.raises(TypeError):
        Gaussian(1.0) + 1.0
    with pytest.raises(TypeError):
        Gaussian(1.0) * "two"
