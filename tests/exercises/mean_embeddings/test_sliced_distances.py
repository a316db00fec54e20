"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.mean_embeddings import sliced_distances as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.mean_embeddings import sliced_distances as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    x, y, theta = rng.random((14, 3)), rng.random((9, 3)), methods.spiral(20)
    assert np.isclose(exercises.sw2(x, y, theta), methods.sliced_squared(x, y, theta))
    assert np.allclose(exercises.spiral(37), methods.spiral(37))
    path = np.diag(np.ones(6), 1) + np.diag(np.ones(6), -1)
    eigenvalues, phi = methods.graph_functions(path)
    mu, nu = rng.dirichlet(np.ones(7)), rng.dirichlet(np.ones(7))
    weights = methods.heat_weights(eigenvalues, 1.0)
    expected = methods.intrinsic_squared(phi, phi, weights, mu, nu)
    assert np.isclose(exercises.isw(mu, nu, phi, eigenvalues), expected)


@pytest.mark.parametrize("bad", [lambda *a: 3.5, lambda *a: (1, 2, 3), lambda *a: np.zeros(2)])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
