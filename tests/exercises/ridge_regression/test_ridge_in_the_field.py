"""The exercises of the lab in the field can be trusted, and one can solve them in several ways."""

import numpy as np
import pytest

from kernellab.exercises.ridge_regression import ridge_in_the_field as lab
from kernellab.lab.exercises import verify
from kernellab.methods.ridge_regression import ridge_in_the_field as methods


@pytest.mark.parametrize("exercise", lab.EXERCISES, ids=lambda e: e.id)
def test_exercise_can_be_trusted(exercise):
    verify(exercise)
    assert exercise.id == f"ridge_in_the_field/{exercise.function}"


def module_loss(ta, xa, tb, xb, delay, bandwidth):
    curves = (methods.LightCurve(t, x, np.full(t.size, 0.1)) for t, x in ((ta, xa), (tb, xb)))
    return methods.delay_losses(*curves, [delay], bandwidth)[0]


@pytest.mark.parametrize(
    ("exercise", "other"),
    [
        (lab.EDGE_FEATURES, lambda image: methods.edge_features(image, 0)),
        (lab.SELECT_BEACONS, methods.select_beacons),
        (lab.DELAY_LOSS, module_loss),
    ],
)
def test_another_right_answer_passes(exercise, other):
    passed, message = exercise.judge(other)
    assert passed, message


@pytest.mark.parametrize(
    ("exercise", "answer", "says"),
    [
        (lab.EDGE_FEATURES, lambda image: methods.edge_features(image, 1.0), "these are"),
        (lab.EDGE_FEATURES, lambda image: None, "Not written yet"),
        (lab.SELECT_BEACONS, lambda b, keep: methods.select_beacons(b, keep)[::-1], "ascending"),
        (lab.SELECT_BEACONS, lambda b, keep: methods.select_beacons(b, keep + 1), "as many"),
        (lab.DELAY_LOSS, lambda *a: np.ones(3), "one number"),
        (lab.DELAY_LOSS, lambda *a: 2 * lab.delay_loss(*a), "three steps"),
    ],
)
def test_other_mistakes_get_their_sentence(exercise, answer, says):
    passed, message = exercise.judge(answer)
    assert not passed
    assert says in message
