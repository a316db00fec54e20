import numpy as np
import pytest
from scipy import stats

from kernellab.compute.kernels import ArcCosine, Gaussian, Laplace, Polynomial
from kernellab.compute.mmd import (
    energy_distance,
    median_bandwidth,
    mmd_permutation_test,
    mmd_squared,
)
from tests.naive import kernels as naive_kernels
from tests.naive import mmd as naive

pytestmark = pytest.mark.compiled


def clouds(n, m, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.5


@pytest.mark.parametrize("kernel", [Gaussian(0.8), Laplace(1.1), Polynomial(2), ArcCosine(1)])
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (3, 70, 2), (64, 64, 5), (130, 33, 3)])
def test_totals_are_the_sums_of_gram_matrices(kernel, n, m, d):
    x, y = clouds(n, m, d)
    np.testing.assert_allclose(kernel.total(x), kernel.gram(x).sum(), rtol=1e-12)
    np.testing.assert_allclose(kernel.total(x, y), kernel.gram(x, y).sum(), rtol=1e-12)


def test_a_total_does_not_depend_on_the_number_of_threads(monkeypatch):
    x, _ = clouds(2200, 1, 2)
    totals = set()
    for threads in ("1", "2", "3"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        totals.add(Gaussian(1.0).total(x))
    assert len(totals) == 1


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize(("n", "m", "d"), [(2, 2, 1), (5, 9, 3), (70, 40, 2)])
def test_mmd_agrees_with_a_double_loop(n, m, d, unbiased):
    x, y = clouds(n, m, d)
    expected = naive.mmd_squared(x, y, lambda a, b: naive_kernels.gaussian(a, b, 0.8), unbiased)
    assert mmd_squared(x, y, Gaussian(0.8), unbiased=unbiased) == pytest.approx(expected, abs=1e-12)


def test_mmd_has_its_closed_form_between_normal_laws():
    shift, d, n = 1.0, 3, 4000
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((n, d)), rng.standard_normal((n, d))
    y[:, 0] += shift
    exact = 2 * (1 / 3) ** (d / 2) * (1 - np.exp(-(shift**2) / 6))
    assert mmd_squared(x, y, Gaussian(1.0)) == pytest.approx(exact, abs=0.006)


def test_mmd_is_unbiased():
    values = [mmd_squared(*clouds(20, 30, 2, seed), Gaussian(1.0)) for seed in range(400)]
    null = []
    for seed in range(400):
        x, y = clouds(20, 30, 2, seed)
        null.append(mmd_squared(x, y - 0.5, Gaussian(1.0)))
    assert abs(np.mean(null)) < 3 * np.std(null) / 20
    assert np.mean(values) > 3 * np.std(values) / 20


@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (5, 9, 3), (70, 40, 2)])
def test_energy_distance_agrees_with_a_double_loop(n, m, d):
    x, y = clouds(n, m, d)
    assert energy_distance(x, y) == pytest.approx(naive.energy_distance(x, y), abs=1e-12)


def test_energy_distance_is_scipys_squared_in_one_dimension():
    x, y = clouds(50, 70, 1)
    expected = stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_energy_distance_scales_with_the_clouds_even_where_squares_overflow():
    x, y = clouds(9, 7, 2)
    assert energy_distance(1e200 * x, 1e200 * y) == pytest.approx(1e200 * energy_distance(x, y))
    assert energy_distance([[0.0]], [[0.0]]) == 0.0


def test_the_median_bandwidth_leaves_repeats_out():
    assert median_bandwidth([[0.0], [0.0], [0.0], [2.0]]) == 2.0
    assert median_bandwidth([[0.0]], [[3.0]]) == 3.0
    assert median_bandwidth(np.random.default_rng(0).standard_normal((5000, 1))) > 0.5


def test_permutation_p_values_are_uniform_under_the_null_and_small_otherwise():
    same, different = [], []
    for seed in range(200):
        x, y = clouds(25, 35, 2, seed)
        different.append(mmd_permutation_test(x, y + 0.5, Gaussian(1.0), 99, seed).p_value)
        same.append(mmd_permutation_test(x, y - 0.5, Gaussian(1.0), 99, seed).p_value)
    assert stats.kstest(same, "uniform").pvalue > 0.01
    assert np.mean(np.array(different) <= 0.05) > 0.8


def test_the_permutation_statistic_is_the_mmd():
    x, y = clouds(12, 17, 2)
    result = mmd_permutation_test(x, y, Gaussian(1.0), 50, 0)
    assert result.statistic == pytest.approx(mmd_squared(x, y, Gaussian(1.0)), abs=1e-12)
    again = mmd_permutation_test(x, y, Gaussian(1.0), 50, 0)
    np.testing.assert_array_equal(result.null, again.null)
    assert result.null.shape == (50,)


BAD = [
    (lambda: mmd_squared([1.0, 2.0], [[1.0]], Gaussian(1.0)), "x must"),
    (lambda: mmd_squared([[1.0]], [[1.0]], Gaussian(1.0)), "x must"),
    (lambda: mmd_squared([[1.0], [2.0]], [[1.0, 2.0]], Gaussian(1.0)), "y must"),
    (lambda: mmd_squared([[1.0], [np.nan]], [[1.0], [2.0]], Gaussian(1.0)), "x must"),
    (lambda: energy_distance([[1.0]], np.zeros((0, 1))), "y must"),
    (lambda: median_bandwidth([[1.0], [1.0]]), "x must hold two different points"),
    (lambda: mmd_permutation_test([[1.0], [2.0]], [[1.0], [2.0]], Gaussian(1.0), 0, 0), "permut"),
    (lambda: mmd_permutation_test([[1.0], [2.0]], [[1.0], [2.0]], Gaussian(1.0), 9, "x"), "rng"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
