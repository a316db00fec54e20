import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kernellab.compute import tiles
from kernellab.compute.kernels import (
    ArcCosine,
    Gaussian,
    InverseMultiquadric,
    Laplace,
    Matern12,
    Matern32,
    Matern52,
    Periodic,
    Polynomial,
    RationalQuadratic,
)
from tests.naive import kernels as naive

pytestmark = pytest.mark.compiled

KERNELS = [
    (Gaussian(0.8), naive.gaussian, {"bandwidth": 0.8}),
    (Laplace(1.3), naive.laplace, {"bandwidth": 1.3}),
    (Matern12(0.7), naive.matern12, {"lengthscale": 0.7}),
    (Matern32(0.7), naive.matern32, {"lengthscale": 0.7}),
    (Matern52(1.7), naive.matern52, {"lengthscale": 1.7}),
    (RationalQuadratic(0.9, 1.5), naive.rational_quadratic, {"lengthscale": 0.9, "alpha": 1.5}),
    (InverseMultiquadric(0.6), naive.inverse_multiquadric, {"scale": 0.6}),
    (Periodic(1.9, 0.8), naive.periodic, {"period": 1.9, "lengthscale": 0.8}),
    (Polynomial(3, 0.5, 2.0), naive.polynomial, {"degree": 3, "offset": 0.5, "scale": 2.0}),
    (ArcCosine(0), naive.arc_cosine, {"order": 0}),
    (ArcCosine(1), naive.arc_cosine, {"order": 1}),
    (ArcCosine(2), naive.arc_cosine, {"order": 2}),
]
IDS = [repr(kernel) for kernel, _, _ in KERNELS]
every_kernel = pytest.mark.parametrize(("kernel", "reference", "parameters"), KERNELS, ids=IDS)

# The plain loops take the arccos of a rounded inner product, which is good to 1e-8 near 1.
TOLERANCE = {ArcCosine: 3e-8}


def close(kernel, ours, expected):
    tolerance = TOLERANCE.get(type(kernel), 1e-13)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=tolerance * scale)


@every_kernel
@pytest.mark.parametrize(
    ("n", "m", "d"),
    [(1, 1, 1), (1, 3, 2), (5, 1, 40), (4, 64, 4), (5, 65, 5), (33, 130, 3), (7, 63, 1)],
)
def test_gram_and_matvec_agree_with_plain_loops(kernel, reference, parameters, n, m, d):
    rng = np.random.default_rng(n + m + d)
    x, y = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    expected = naive.gram(reference, x, y, **parameters)
    close(kernel, kernel.gram(x, y), expected)
    for v in (rng.standard_normal(m), rng.standard_normal((m, 1)), rng.standard_normal((m, 3))):
        product = kernel.matvec(x, y, v)
        assert product.shape == (n, *v.shape[1:])
        close(kernel, product / m, expected @ v / m)


@every_kernel
def test_diagonal_is_the_diagonal_of_the_gram_matrix(kernel, reference, parameters):
    x = np.random.default_rng(0).standard_normal((20, 3))
    np.testing.assert_allclose(kernel.diagonal(x), np.diag(kernel.gram(x)), rtol=1e-13)


@every_kernel
@pytest.mark.parametrize("d", [1, 3, 40])
def test_gram_is_exactly_symmetric_and_positive_semidefinite(kernel, reference, parameters, d):
    x = np.random.default_rng(d).standard_normal((70, d))
    x[30:40] = x[:10]  # repeated points
    gram = kernel.gram(x)
    np.testing.assert_array_equal(gram, gram.T)
    eigenvalues = np.linalg.eigvalsh(gram)
    # One eigenvalue of order 0 inherits the 1e-8 of opposite points when d = 1.
    assert eigenvalues[0] > -1e-12 * eigenvalues[-1]


@every_kernel
def test_gram_of_x_with_itself_is_the_same_with_and_without_y(kernel, reference, parameters):
    x = np.random.default_rng(0).standard_normal((66, 5))
    np.testing.assert_array_equal(kernel.gram(x), kernel.gram(x, x.copy()))
    np.testing.assert_array_equal(
        kernel.matvec(x, None, np.ones(66)), kernel.matvec(x, x, np.ones(66))
    )


@every_kernel
def test_other_layouts_and_types_give_the_same(kernel, reference, parameters):
    x = np.random.default_rng(0).integers(-3, 4, (12, 4)) + 0.25
    expected = kernel.gram(x)
    read_only = x.copy()
    read_only.flags.writeable = False
    spread = np.zeros((24, 8))
    spread[::2, ::2] = x
    for same in (
        x.astype(np.float32),
        np.asfortranarray(x),
        spread[::2, ::2],
        read_only,
        x.tolist(),
    ):
        np.testing.assert_array_equal(kernel.gram(same), expected)
    integers = np.arange(1, 9).reshape(4, 2)
    np.testing.assert_array_equal(kernel.gram(integers), kernel.gram(integers.astype(float)))


points = arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.just(3)),
    elements=st.floats(-1e3, 1e3) | st.sampled_from([0.0, 1.0, -1.0]),
)


@settings(max_examples=40, deadline=None)
@given(x=points, y=points)
def test_any_points_agree_with_plain_loops(x, y):
    for kernel, reference, parameters in KERNELS:
        if isinstance(kernel, (ArcCosine, Periodic, Polynomial)):
            continue  # their plain loops are inexact, or undefined, for huge, tiny or zero points
        expected = naive.gram(reference, x, y, **parameters)
        np.testing.assert_allclose(kernel.gram(x, y), expected, rtol=1e-11, atol=1e-300)


@settings(max_examples=40, deadline=None)
@given(x=points, y=points, length=st.floats(1e-300, 1e300))
def test_any_length_gives_values_between_0_and_1(x, y, length):
    for kind in (Gaussian, Laplace, Matern12, Matern32, Matern52, InverseMultiquadric):
        try:
            gram = kind(length).gram(x, y)
        except ValueError as error:
            assert "must not be so small" in str(error)
        else:
            assert ((gram >= 0) & (gram <= 1)).all()
            same = (x[:, None] == y).all(axis=2)
            assert (gram[same] == 1).all()


@pytest.mark.parametrize("length", [1e-200, 1e-8, 1.0, 1e8, 1e200])
@pytest.mark.parametrize("kind", [Gaussian, Laplace, Matern12, Matern32, Matern52])
def test_only_distance_over_length_matters(kind, length):
    x = np.random.default_rng(0).standard_normal((9, 3))
    np.testing.assert_allclose(kind(length).gram(x * length), kind(1.0).gram(x), rtol=1e-12)


def test_near_points_far_from_the_origin_keep_their_distance():
    x = np.array([[1e8], [1e8 + 0.5], [1e8 + 1]])
    expected = np.exp(-(np.array([[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]]) ** 2) / 2)
    np.testing.assert_allclose(Gaussian(1.0).gram(x), expected, rtol=1e-15)


def test_rational_quadratic_approaches_the_gaussian():
    x = np.random.default_rng(0).standard_normal((30, 2))
    gaussian = Gaussian(0.7).gram(x)
    for alpha in (1e13, 1e200):
        np.testing.assert_allclose(RationalQuadratic(0.7, alpha).gram(x), gaussian, rtol=1e-8)


def test_periodic_repeats_itself():
    x = np.linspace(0, 1, 7)[:, None]
    kernel = Periodic(period=0.5, lengthscale=0.3)
    np.testing.assert_allclose(kernel.gram(x, x + 1.5), kernel.gram(x), atol=1e-13)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_is_the_covariance_of_random_units(order):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3))
    weights = rng.standard_normal((3, 400_000))
    inputs = x @ weights
    outputs = (inputs > 0) * inputs**order
    expected = 2 * outputs @ outputs.T / weights.shape[1]
    np.testing.assert_allclose(ArcCosine(order).gram(x), expected, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_is_defined_at_zero_and_for_opposite_points(order):
    x = np.array([[0.0, 0.0], [1.0, 0.0], [-2.0, 0.0], [0.0, 3.0]])
    gram = ArcCosine(order).gram(x)
    assert np.isfinite(gram).all()
    assert gram[1, 2] == pytest.approx(0, abs=1e-8)
    expected = [1.0, 0.5, 0.5, 0.5] if order == 0 else [0.0] * 4
    np.testing.assert_allclose(gram[0], expected, atol=1e-15)


@pytest.mark.parametrize("degree", [1, 2, 5, 16, 31])
def test_polynomial_of_any_degree(degree):
    x = np.random.default_rng(0).uniform(-1, 1, (9, 2))
    expected = naive.gram(naive.polynomial, x, x, degree=degree)
    np.testing.assert_allclose(Polynomial(degree).gram(x), expected, rtol=1e-12)


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch):
    x = np.random.default_rng(0).standard_normal((2100, 2))
    kernel, results = Gaussian(0.5), []
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        results.append((kernel.gram(x), kernel.matvec(x, None, x)))
    for gram, product in results[1:]:
        np.testing.assert_array_equal(gram, results[0][0])
        np.testing.assert_array_equal(product, results[0][1])


def test_threads_are_used_for_large_work_only(monkeypatch):
    parts = []
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    tiles._over_rows(lambda start, stop: parts.append((start, stop)), 100, 1000)
    assert parts == [(0, 100)]
    parts.clear()
    tiles._over_rows(lambda start, stop: parts.append((start, stop)), 1000, 10**7)
    assert len(parts) > 1
    assert sorted(parts)[0][0] == 0 and sorted(parts)[-1][1] == 1000
    assert all(a[1] == b[0] for a, b in zip(sorted(parts), sorted(parts)[1:], strict=False))


@pytest.mark.parametrize("kernel", [Gaussian(1.0), Polynomial(2), ArcCosine(1), Periodic(1, 1)])
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: k.gram([1.0, 2.0]), r"x must be a matrix .* x.reshape\(-1, 1\)"),
        (lambda k: k.gram(np.zeros((0, 2))), "x must have at least 1 row"),
        (lambda k: k.gram(np.zeros((2, 0))), "x must have at least one column"),
        (lambda k: k.gram([[1.0, np.nan]]), r"x must be finite, got nan at index \(0, 1\)"),
        (lambda k: k.gram([[1.0]], [[1.0, 2.0]]), "y must have 1 column"),
        (lambda k: k.gram([[1.0]], [[np.inf]]), "y must be finite"),
        (lambda k: k.gram([[1j]]), "x must hold real numbers, got complex"),
        (lambda k: k.matvec([[1.0]], [[1.0], [2.0]], [1.0]), "v must have length 2"),
        (lambda k: k.matvec([[1.0]], None, [[1.0], [2.0]]), "v must have 1 row"),
        (lambda k: k.matvec([[1.0]], None, [np.nan]), "v must be finite"),
        (lambda k: k.matvec([[1.0]], None, 1.0), "v must be a matrix"),
        (lambda k: k.diagonal([1.0]), "x must be a matrix"),
    ],
)
def test_bad_points_are_refused(kernel, call, message):
    with pytest.raises(ValueError, match=message):
        call(kernel)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(-1.0), "bandwidth must be a positive number, got -1.0"),
        (lambda: Gaussian(0), "bandwidth must be a positive number, got 0"),
        (lambda: Gaussian("wide"), "bandwidth must be a positive number, got 'wide'"),
        (lambda: Laplace(math.inf), "bandwidth must be a positive number, got inf"),
        (lambda: Matern12(math.nan), "lengthscale must be a positive number, got nan"),
        (lambda: Matern32(None), "lengthscale must be a positive number, got None"),
        (lambda: Matern52(-1), "lengthscale"),
        (lambda: RationalQuadratic(1.0, 0.0), "alpha must be a positive number"),
        (lambda: RationalQuadratic(0.0, 1.0), "lengthscale must be a positive number"),
        (lambda: InverseMultiquadric(-2), "scale must be a positive number"),
        (lambda: Periodic(0, 1), "period must be a positive number"),
        (lambda: Periodic(1, 0), "lengthscale must be a positive number"),
        (lambda: Polynomial(0), "degree must be an integer of at least 1, got 0"),
        (lambda: Polynomial(2.5), "degree must be an integer of at least 1"),
        (lambda: Polynomial(2, offset=-1), "offset must be a number that is not negative"),
        (lambda: Polynomial(2, scale=0), "scale must be a positive number"),
        (lambda: ArcCosine(3), "order must be an integer between 0 and 2, got 3"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_values_beyond_a_float_are_refused():
    x = np.array([[1e200], [1.0]])
    with pytest.raises(ValueError, match="x must be small enough"):
        Polynomial(2).gram(x)
    with pytest.raises(ValueError, match="x must be small enough"):
        ArcCosine(1).gram(x)
    with pytest.raises(ValueError, match="bandwidth must not be so small"):
        Gaussian(1e-200).gram(x)


def test_a_gram_matrix_beyond_memory_is_refused_at_once():
    x = np.zeros((2_000_000, 1))
    with pytest.raises(ValueError, match="the Gram matrix must fit in memory"):
        Gaussian(1.0).gram(x)


def test_kernels_are_values():
    assert Gaussian(1) == Gaussian(1.0)
    assert len({Matern32(1.0), Matern32(1.0), Matern52(1.0)}) == 2
    with pytest.raises(AttributeError):
        Gaussian(1.0).bandwidth = 2.0
