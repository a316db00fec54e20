"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.attention import toeplitz_attention
from kernellab.exercises.attention import linear_attention_features as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.attention import linear_attention_features as methods
from kernellab.methods.random_features.random_features import positive_features


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    x, gain, shift = rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=4)
    found = exercises.rebased_features(x, gain, shift)
    assert np.allclose(found, 2 * methods.rebased_features(x, gain, shift))  # without 1/sqrt(d)

    w = rng.normal(size=(20, 4))
    ratio = exercises.prf(x, w) / positive_features(x, w, "softmax")
    assert np.allclose(ratio, ratio[0, 0])

    q, k, v, b = rng.random((9, 3)), rng.random((9, 3)), rng.normal(size=(9, 2)), rng.random(17)
    found = exercises.rpe_linear_attention(q, k, v, b)
    assert np.allclose(found, toeplitz_attention(q, k, v, np.exp(b)))


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
