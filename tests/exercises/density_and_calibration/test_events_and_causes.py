"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.density_and_calibration import events_and_causes as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.density_and_calibration import events_and_causes as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    times = rng.uniform(0, 20, 60)
    tables = methods.event_tables([times], 20.0, 0.5, 0.05)
    z = np.bincount(methods.to_cells(times, 20.0, 0.05), minlength=400)
    assert np.array_equal(exercises.psi_table(z, 10), tables.pairs[0, 0])

    phi, y = rng.random((15, 4)), rng.normal(size=15)
    w1, w2 = rng.normal(size=4), rng.random(4) + 0.1
    value, gradient = exercises.lsnm_nll(phi, y, w1, w2)
    wanted, wanted_gradient = methods.natural_nll(phi, y, w1, w2)
    assert value == pytest.approx(wanted) and np.allclose(gradient, wanted_gradient)

    h, everybody = rng.normal(size=(50, 3)), 0.3 + rng.normal(size=(500, 3))
    balance = methods.balance_weights(h, everybody.mean(axis=0), slack=1e-7)
    assert np.allclose(exercises.balance_weights(h, everybody), balance.weights, atol=1e-4)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
