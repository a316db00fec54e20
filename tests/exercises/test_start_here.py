"""The start page's exercise: its solution passes, each typical wrong answer hears why it fails."""

import pytest

from kernellab.exercises.start_here import EXERCISES
from kernellab.lab.exercises import verify


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)
