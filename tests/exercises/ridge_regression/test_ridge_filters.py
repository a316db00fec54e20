"""The exercises of the ridge filters lab can be trusted, and one can solve them in several ways."""

import numpy as np
import pytest

from kernellab.exercises.ridge_regression import ridge_filters as lab
from kernellab.lab.exercises import verify
from kernellab.methods.ridge_regression import ridge_filters as methods


@pytest.mark.parametrize("exercise", lab.EXERCISES, ids=lambda e: e.id)
def test_exercise_can_be_trusted(exercise):
    verify(exercise)
    assert exercise.id == f"ridge_filters/{exercise.function}"


def bincount_loss(eigenvalues, energy, n, h, noise_variance):
    half = eigenvalues.size // 2
    bins = np.arange(-half, half + 1) % n
    lam, s0, s1, s2 = (
        np.bincount(bins, weights)
        for weights in (eigenvalues, energy, eigenvalues * energy, eigenvalues**2)
    )
    r = h / lam
    return np.sum(s0 - 2 * r * s1 + r**2 * s2 * (s0 + noise_variance / n))


@pytest.mark.parametrize(
    ("exercise", "other"),
    [
        (lab.FILTERED_FIT, methods.filtered_fit),
        (lab.DISTILL, lambda gram, y, ridge, w: methods.distill(gram, y, ridge, w)[-1]),
        (lab.CIRCLE_LOSS, bincount_loss),
        (
            lab.CIRCLE_LOSS,
            lambda lam, c2, n, h, s: methods.circle_loss(methods.fold_circle(lam, c2, n, s), h),
        ),
    ],
)
def test_another_right_answer_passes(exercise, other):
    passed, message = exercise.judge(other)
    assert passed, message


@pytest.mark.parametrize(
    ("exercise", "answer", "says"),
    [
        (lab.FILTERED_FIT, lambda gram, y, profile: gram @ y, "with h = 1"),
        (lab.FILTERED_FIT, lambda gram, y, profile: y, "with h = 0"),
        (lab.FILTERED_FIT, lambda gram, y, profile: 1.0, "one fitted value"),
        (lab.DISTILL, lambda g, y, r, w: methods.distill(g, y, r, w), "last fit only"),
        (lab.DISTILL, lambda g, y, r, w: methods.distill(g, y, r, [w[0]] * len(w))[-1], "raised"),
        (lab.DISTILL, lambda g, y, r, w: methods.distill(g, y, r, w[::-1])[-1], "in their order"),
        (lab.CIRCLE_LOSS, lambda lam, c2, n, h, s: 0.0, "with h = 0"),
        (lab.CIRCLE_LOSS, lambda lam, c2, n, h, s: None, "Not written yet"),
    ],
)
def test_other_mistakes_get_their_sentence(exercise, answer, says):
    passed, message = exercise.judge(answer)
    assert not passed
    assert says in message
