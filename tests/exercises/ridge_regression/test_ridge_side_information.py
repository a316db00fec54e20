"""The exercises of the side information lab can be trusted; other right answers pass too."""

import numpy as np
import pytest

from kernellab.exercises.ridge_regression import ridge_side_information as lab
from kernellab.lab.exercises import verify
from kernellab.methods.ridge_regression import ridge_side_information as methods


@pytest.mark.parametrize("exercise", lab.EXERCISES, ids=lambda e: e.id)
def test_exercise_can_be_trusted(exercise):
    verify(exercise)
    assert exercise.id == f"ridge_side_information/{exercise.function}"


@pytest.mark.parametrize(
    ("exercise", "other"),
    [
        (lab.PROXIMAL_KRR, methods.proximal_krr),
        (lab.PROJECT_OUT, methods.project_out),
        (lab.PROJECT_OUT, lambda f, c: f - np.einsum("ab,ab->b", c, f)),
        (lab.ROBUST_MARGIN, methods.robust_margin),
    ],
)
def test_another_right_answer_passes(exercise, other):
    passed, message = exercise.judge(other)
    assert passed, message


@pytest.mark.parametrize(
    ("exercise", "answer", "says"),
    [
        (lab.PROXIMAL_KRR, lambda k, c, y, b, bn, r: bn, "kernel ridge regression"),
        (lab.PROXIMAL_KRR, lambda k, c, y, b, bn, r: b, "one prediction"),
        (lab.PROJECT_OUT, lambda f, c: 0 * f, "depends on x2 only"),
        (lab.PROJECT_OUT, lambda f, c: f.sum(), "same shape"),
        (lab.ROBUST_MARGIN, lambda t, x, g: np.zeros(len(x)), "0.5"),
        (lab.ROBUST_MARGIN, lambda t, x, g: None, "Not written yet"),
    ],
)
def test_other_mistakes_get_their_sentence(exercise, answer, says):
    passed, message = exercise.judge(answer)
    assert not passed
    assert says in message
