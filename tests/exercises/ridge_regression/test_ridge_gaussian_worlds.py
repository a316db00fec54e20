"""The exercises of the ridge Gaussian worlds lab can be trusted, and have several right answers."""

import numpy as np
import pytest
from scipy.integrate import quad

from kernellab.exercises.ridge_regression import ridge_gaussian_worlds as lab
from kernellab.lab.exercises import verify
from kernellab.methods.ridge_regression import ridge_gaussian_worlds as methods


@pytest.mark.parametrize("exercise", lab.EXERCISES, ids=lambda e: e.id)
def test_exercise_can_be_trusted(exercise):
    verify(exercise)
    assert exercise.id == f"ridge_gaussian_worlds/{exercise.function}"


def by_quadrature(f, lam):
    a, b = (1 - np.sqrt(lam)) ** 2, (1 + np.sqrt(lam)) ** 2

    def weighted(s):
        return f(np.array([s]))[0] * methods.marchenko_pastur_density([s], lam)[0]

    atom = max(0, 1 - 1 / lam) * f(np.zeros(1))[0] if lam > 1 else 0
    return quad(weighted, a, b, limit=200)[0] + atom


def by_rule(f, lam):
    s, weights = methods.marchenko_pastur(lam)
    return weights @ f(s)


def by_certificate(x, w, sigma):
    failed = methods.certify(x, w, sigma, 2, 1.5, 2.0).failed
    return "band mass" not in failed and "band moments" not in failed


@pytest.mark.parametrize(
    ("exercise", "other"),
    [
        (lab.MP_MOMENT, by_quadrature),
        (lab.MP_MOMENT, by_rule),
        (lab.SIGN_AE_ERROR, methods.autoencoder_risk),
        (lab.BAND_TEST, by_certificate),
    ],
)
def test_another_right_answer_passes(exercise, other):
    passed, message = exercise.judge(other)
    assert passed, message


@pytest.mark.parametrize(
    ("exercise", "answer", "says"),
    [
        (lab.MP_MOMENT, lambda f, lam: None, "Not written yet"),
        (lab.MP_MOMENT, lambda f, lam: f(np.ones(1))[0], "1 + lam"),
        (lab.SIGN_AE_ERROR, lambda b: 0.0, "B = I"),
        (lab.BAND_TEST, lambda x, w, sigma: False, "Gaussian points"),
        (lab.BAND_TEST, lambda x, w, sigma: True, "slab at the boundary"),
    ],
)
def test_other_mistakes_get_their_sentence(exercise, answer, says):
    passed, message = exercise.judge(answer)
    assert not passed
    assert says in message
