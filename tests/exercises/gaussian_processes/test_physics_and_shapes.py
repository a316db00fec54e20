"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.gaussian_processes import physics_and_shapes as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_processes import physics_and_shapes as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    points, others = rng.random((6, 2)), rng.random((5, 2))
    gram = methods.EquationKernel("heat", 0.7).gram(points, others)
    found = exercises.heat_kernel(points[:, :1], points[:, 1:], *others.T, 0.7)
    assert np.allclose(found, gram)
    a, b = (np.eye(n) + 0.1 for n in (3, 4))
    v = rng.normal(size=12)
    assert np.allclose(exercises.kron_solve(a, b, v), methods.kron_solve(a, b, v))
    frames = np.linalg.qr(rng.normal(size=(2, 4, 2)))[0]
    assert np.allclose(exercises.align(*frames), methods.align(*frames))


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
