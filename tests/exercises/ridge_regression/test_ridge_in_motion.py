"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.kernels import Gaussian
from kernellab.compute.online import KernelDictionary
from kernellab.exercises.ridge_regression import ridge_in_motion as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.ridge_regression import ridge_in_motion as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    kernel, rng = Gaussian(0.3), np.random.default_rng(0)
    x = rng.random((40, 1))
    dictionary, inverse = x[:1], np.ones((1, 1))
    for point in x[1:]:
        dictionary, inverse, _ = exercises.ald_step(dictionary, inverse, point, kernel, 1e-2)
    known = KernelDictionary(kernel, 1e-2)
    known.observe(x)
    assert np.array_equal(known.points, dictionary)
    assert np.allclose(known.inverse(), inverse, rtol=1e-6)

    gram, target = kernel.gram(x), np.sin(5 * x[:, 0])
    values, chosen = exercises.greedy_teach(np.zeros(40), target, gram, 0.5, 20)
    taught = methods.teach(gram, target, 20)
    assert np.array_equal(chosen, taught.chosen[:, 0]) and np.allclose(values, taught.values[0])

    cross, centres = gram[:, :5], kernel.gram(x[:5]) + 0.1 * np.eye(5)
    weights = rng.standard_normal(5)
    expected = methods.projected_step(
        weights, cross @ weights - target, cross, lambda h: np.linalg.solve(centres, h), 0.1
    )
    assert np.allclose(exercises.projected_step(weights, target, cross, centres, 0.1), expected)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
