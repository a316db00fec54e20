"""The solutions pass, and every typical wrong answer hears its own sentence."""

import pytest

from kernellab.exercises.ridge_regression.ridge_rates import EXERCISES
from kernellab.lab.exercises import verify


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)
