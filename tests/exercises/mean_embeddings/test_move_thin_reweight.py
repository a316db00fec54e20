"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.kernels import Gaussian
from kernellab.exercises.mean_embeddings import move_thin_reweight as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.mean_embeddings import move_thin_reweight as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    x, y = np.round(rng.standard_normal(30), 1), np.round(rng.standard_normal(40), 1)
    assert np.allclose(exercises.energy_grad_1d(x, y), methods.energy_gradient_1d(x, y))

    eta = 5 * rng.standard_normal((20, 3))
    assert np.allclose(exercises.unmirror(eta), methods.unmirror(eta))

    points = rng.standard_normal((64, 2))
    coins = np.random.default_rng(5).random(32)
    kept = exercises.kernel_halve(Gaussian(1.0).gram(points), 0.5, coins)
    assert np.array_equal(kept, methods.halve(points, Gaussian(1.0), 5).kept)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
