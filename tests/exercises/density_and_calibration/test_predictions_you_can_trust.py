"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.density_and_calibration import predictions_you_can_trust as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.density_and_calibration import predictions_you_can_trust as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    f = rng.random(300)
    y = (rng.random(300) < f**2).astype(float)
    for width in (0.03, 0.2):
        ours = methods.smooth_ece(f, y, width)
        assert exercises.smooth_ece(f, y, width) == pytest.approx(ours, abs=1e-4)

    mean, cov = rng.normal(size=5), np.cov(rng.normal(size=(5, 9)))
    for ours, theirs in zip(
        methods.sdp_relu(mean, cov), exercises.sdp_relu(mean, cov), strict=True
    ):
        assert np.allclose(ours, theirs)

    # The lab's bound is never looser than Hoeffding's, so its widening is never larger.
    outside = rng.normal(size=(400, 20))
    assert methods.rcps_width(outside, 0.15, 0.1)[0] <= exercises.rcps_lambda(outside, 0.15, 0.1)


@pytest.mark.parametrize("bad", [lambda *a: -7.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
