"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.density_and_calibration import kde_high_dim as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.density_and_calibration import kde_high_dim as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 5)), rng.normal(size=(40, 5))
    squares = methods.squared_distances(x, y)
    effective = methods.smooth(squares, 0.7, 5).effective[0, 0]
    assert exercises.neff(-squares[0] / (2 * 0.7**2)) == pytest.approx(effective)

    low = y @ methods.random_projection(5, 2, 0)
    kernel = methods.Radial("gaussian", 0.7)
    assert np.allclose(
        exercises.lift_mode(y, low, low[3], 0.7), methods.lift_mode(kernel, y, low, low[3])
    )

    places, scores = rng.normal(size=(40, 2)), rng.normal(size=40)
    regression = methods.map_regression(methods.MapKernel(1.0, 1.5, 1.2), places, scores)
    assert np.allclose(exercises.nw_loo(places, scores, 1.5, 1.2), scores - regression)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
