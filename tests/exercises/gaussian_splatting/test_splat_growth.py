"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.splatting import plane_covariances
from kernellab.exercises.gaussian_splatting import splat_growth as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_splatting import splat_growth as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    thinner, factor = methods.relocation([0.8], [6])
    assert exercises.relocate(0.8, 2.0, 6) == pytest.approx((thinner[0], 2.0 * factor[0]))
    cov = plane_covariances(np.random.default_rng(0).normal(size=(5, 2)), np.arange(5.0))
    o = np.linspace(0.001, 0.02, 5)
    eta = np.random.default_rng(3).standard_normal((5, 2))
    found = exercises.sgld_noise(cov, o, eta)
    assert np.allclose(found, methods.langevin_noise(cov, o, 1.0, 3))
    losses = 0.99 ** np.arange(80)
    for step in (0, 30, 500):
        for tau in (0.1, 0.5):
            now = methods.birth_budget(step, losses, 40, 100, 1.0, 25, tau)
            assert exercises.budget(step, losses, 40, 100, 25, tau) == now


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
