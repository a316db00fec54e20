"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.kernels import Gaussian
from kernellab.compute.mmd import mmd_squared
from kernellab.exercises.mean_embeddings import cloud_metrics as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.mean_embeddings import cloud_metrics as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 3)), 1.2 * rng.standard_normal((40, 3))
    assert exercises.mmd2_unbiased(x, y, 0.9) == pytest.approx(mmd_squared(x, y, Gaussian(0.9)))
    moments = x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T)
    assert exercises.frechet(*moments) == pytest.approx(methods.frechet(*moments))
    found = methods.precision_recall(x, y, 4)
    assert exercises.precision_recall(x, y, 4) == (found.precision, found.recall)


@pytest.mark.parametrize("bad", [lambda *a: [1.0] * 3, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
