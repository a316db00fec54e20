"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.attention import kernel_attention
from kernellab.compute.kernels import Gaussian
from kernellab.exercises.attention import attention_is_smoothing as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.attention import attention_is_smoothing as sm


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    gather, spread = sm.draw_block(8, rng), sm.draw_block(8, rng)
    x, points = rng.standard_normal((7, 8)), rng.standard_normal((3, 8))
    found = exercises.isab(x, points, (gather, spread))
    assert np.allclose(found, sm.isab(gather, spread, points, x))
    q, k, v = rng.standard_normal((5, 3)), rng.standard_normal((9, 3)), rng.standard_normal((9, 2))
    for normalise in (True, False):
        found = exercises.gauss_attention(q, k, v, normalise)
        assert np.allclose(found, kernel_attention(Gaussian(1.0), q, k, v, normalise))
    for gram in (
        sm.position_gram("power", 30, 0.3, 1.5),
        sm.position_gram("log", 30, 2.0, 0.5),
        sm.position_gram("power", 30, 1.0, 2.5),
        np.eye(4),
    ):
        assert exercises.cpd_offset(gram) == pytest.approx(sm.psd_offset(gram), rel=1e-6)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
