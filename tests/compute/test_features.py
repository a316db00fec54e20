import numpy as np
import pytest

from kernellab.compute.features import fourier_features, scaled_cosines, spectral_frequencies
from kernellab.compute.kernels import (
    Gaussian,
    InverseMultiquadric,
    Laplace,
    Matern12,
    Matern32,
    Matern52,
)


@pytest.mark.parametrize(
    "kernel", [Gaussian(0.7), Laplace(1.5), Matern12(0.9), Matern32(0.9), Matern52(1.4)]
)
@pytest.mark.parametrize("with_phases", [False, True])
def test_features_estimate_the_kernel(kernel, with_phases):
    rng = np.random.default_rng(0)
    x, m = rng.standard_normal((8, 3)), 40_000
    phases = rng.uniform(0, 2 * np.pi, m) if with_phases else None
    z = fourier_features(x, spectral_frequencies(kernel, m, 3, rng), phases)
    assert z.shape == (8, m if with_phases else 2 * m)
    np.testing.assert_allclose(z @ z.T, kernel.gram(x), atol=6 / np.sqrt(m))


def test_features_without_phases_are_exact_on_the_diagonal():
    z = fourier_features([[1.0], [5.0]], spectral_frequencies(Gaussian(1.0), 3, 1, 0))
    np.testing.assert_allclose(np.sum(z**2, axis=1), 1.0, atol=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize("size", [1.0, 1e3, 1e5, 1e9])
def test_features_are_numpys_cosines_at_any_angle(size):
    rng = np.random.default_rng(3)
    x, w = size * rng.standard_normal((5, 2)), rng.standard_normal((70, 2))
    phases = rng.uniform(0, 2 * np.pi, 70)
    angles = x @ w.T
    expected = np.hstack([np.cos(angles), np.sin(angles)]) / np.sqrt(70)
    np.testing.assert_allclose(fourier_features(x, w), expected, atol=1e-16)
    expected = np.sqrt(2 / 70) * np.cos(angles + phases)
    np.testing.assert_allclose(fourier_features(x, w, phases), expected, atol=1e-16)
    np.testing.assert_allclose(scaled_cosines(angles.copy()), np.cos(angles), atol=3e-16)


BAD = [
    (lambda: spectral_frequencies(InverseMultiquadric(1.0), 3, 1, 0), "kernel must"),
    (lambda: spectral_frequencies(Gaussian(1.0), 0, 1, 0), "m must"),
    (lambda: fourier_features([1.0], [[1.0]]), "x must"),
    (lambda: fourier_features([[1.0]], [[1.0, 2.0]]), "frequencies must"),
    (lambda: fourier_features([[1.0]], [[1.0]], [1.0, 2.0]), "phases must"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
