"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.gaussian_processes import gp_hyperparameters as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_processes import gp_hyperparameters as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    x, y, theta = rng.random((9, 2)), rng.normal(size=9), np.log([0.8, 0.4, 0.3])
    posterior = methods.HyperPosterior(x, y).evidence_alone()
    # One length for all columns: the derivatives of the columns' lengths add up.
    ours = np.array([theta[0], theta[1], theta[1], theta[2]])
    values, gradients = posterior.log_density(ours[None])
    value, gradient = exercises.lml_and_grad(theta, x, y)
    assert value == pytest.approx(values[0], rel=1e-10)
    joined = [gradients[0, 0], gradients[0, 1] + gradients[0, 2], gradients[0, 3]]
    assert np.allclose(gradient, joined, rtol=1e-8)

    momentum = rng.normal(size=4)
    want = methods.leapfrog(posterior, ours, momentum, 0.1, 5)
    got = exercises.leapfrog(ours, momentum, lambda t: posterior.log_density(t[None])[1][0], 0.1, 5)
    assert np.allclose(got[0], want[0]) and np.allclose(got[1], want[1])

    factor = rng.normal(size=(10, 4))
    blocks = methods.groups(10, 3, "random", 0)
    assert exercises.fischer_bound(factor @ factor.T, blocks) == pytest.approx(
        methods.fischer_bound(factor @ factor.T, blocks)
    )


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
