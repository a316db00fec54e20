"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.random_features import random_features as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.random_features import random_features as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    ours, theirs = exercises.simplex_directions(7), methods.simplex_directions(7)
    assert np.allclose(ours @ ours.T, theirs @ theirs.T)  # the same simplex, turned

    z = np.random.default_rng(0).uniform(-1, 1, 300)
    for shaper in (methods.sigma_delta(1), methods.sigma_delta(2)):
        q, u = exercises.sigma_delta(z, shaper.lags, shaper.weights, shaper.step)
        answers, states = methods.shape_noise(z[None, :], shaper)
        assert np.array_equal(q, answers[0]) and np.allclose(u, states[0], atol=1e-12)

    class Scripted:
        """Stands for a Generator: chooses by given marks, as the compiled sampler does."""

        def __init__(self, marks):
            self.marks = iter(marks)

        def choice(self, g, p):
            return int(np.searchsorted(np.cumsum(p), next(self.marks), side="right"))

    phi = methods.legendre_basis(methods.interval_grid(60), 5)
    marks = np.random.default_rng(3).random((20, 5))
    drawn = methods.projection_dpp(phi, 20, 3)
    for row, chosen in zip(marks, drawn, strict=True):
        assert np.array_equal(exercises.dpp_sample(phi, Scripted(row)), chosen)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
