"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.kernels import Matern32
from kernellab.compute.state_space import state_space
from kernellab.exercises.gaussian_processes import structured_gps as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_processes import structured_gps as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    x = np.random.default_rng(0).random((20, 2))
    gram = Matern32(0.5).gram(x)
    near = [np.argsort(np.sum((x[:i] - x[i]) ** 2, axis=1))[:4] for i in range(20)]
    assert np.allclose(exercises.sic_factor(gram, near), methods.sic_factor(gram, near))

    model = methods.QuasiPeriodic(methods.seasonal_row(5, 1.0, 2.0, 0.3), 0.7)
    y = model.sample(6, 1, 0)[0]
    found = exercises.qp_loglik(y.reshape(6, 5), 0.7, model.covariance(1))
    assert found == pytest.approx(model.log_likelihood(y))

    a, q = exercises.matern32_ssm(0.4, 0.7)
    system = state_space(Matern32(0.7))
    rate = 3**0.5 / 0.7
    units = np.diag([1.0, rate])  # the library's state is f, f' / rate
    step = system.transitions(np.array([0.4]))[0]
    assert np.allclose(a, units @ step @ np.linalg.inv(units))
    rest = np.diag([1.0, rate**2])
    assert np.allclose(q, rest - a @ rest @ a.T)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
