"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.random_features import deep_random_features as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.random_features import deep_random_features as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    for r in (0.5, 3.0):
        expected = methods.gaussian_coefficients(np.tanh, r)[1:]
        assert np.allclose(exercises.gauss_coeffs(np.tanh, r), expected, rtol=1e-4)
    root = rng.standard_normal((20, 25))
    omega, theta = root @ root.T / 20, rng.standard_normal(20)
    expected = methods.RidgeFormula(omega, theta, 0.2).error(30, 0.7)
    assert exercises.det_equiv_error(omega, theta, 30, 0.7, 0.2) == pytest.approx(expected)
    f, phi = rng.standard_normal((15, 6)), rng.standard_normal((15, 4))
    w, y = rng.standard_normal((4, 2)), rng.standard_normal((15, 2))
    expected = phi + f @ methods.sandwiched_least_squares(f, y - phi @ w, w, 0.3)
    assert np.allclose(exercises.boost_layer(f, phi, w, y, 0.3), expected)


@pytest.mark.parametrize("bad", [lambda *a: "no", lambda *a: (1, 2, 3), lambda *a: None])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
