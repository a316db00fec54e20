"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.attention import attention_budget as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.attention import attention_budget as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    errors = np.sort(rng.random((4, 6)), axis=1)[:, ::-1]
    for budget in range(21):
        assert (
            exercises.greedy_ranks(errors, budget) == methods.greedy_ranks(errors, budget)
        ).all()
    x, planes = rng.normal(size=(40, 3)), rng.normal(size=(5, 3))
    assert (exercises.angular_lsh(x, planes) == methods.angular_ranks(x, planes)).all()
    q, k, v = rng.normal(size=(5, 3)), rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    for degree in (0, 2, 4):
        c = methods.exponential_coefficients(degree, 1.0)
        found = methods.polynomial_attention(methods.Tokens(q, k, v), c)
        assert np.allclose(exercises.poly_attention(q, k, v, degree), found)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
