"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.kernels import Gaussian
from kernellab.compute.sparse_gp import SparseGP
from kernellab.exercises.gaussian_processes import inducing_points as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_processes import inducing_points as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng, kernel = np.random.default_rng(0), Gaussian(0.5)
    x, z = rng.uniform(-2, 2, (30, 1)), np.linspace(-2, 2, 7)[:, None]
    y, t = np.sin(3 * x[:, 0]), rng.normal(size=7)
    s = rng.uniform(0.1, 1, 7)
    bound = exercises.titsias_elbo(kernel.gram(z), kernel.gram(z, x), kernel.diagonal(x), y, 0.1)
    assert bound == pytest.approx(SparseGP(kernel, x, y, 0.1, z).bound(), rel=1e-7)
    gp = methods.NeighbourGP(kernel, z, t, s, 3)
    found = np.array([exercises.local_predict(p, z, t, s, 3, kernel) for p in x])
    np.testing.assert_allclose(found, np.transpose(gp.predict(x)), atol=1e-9)
    core = methods.CoresetGP(kernel, z, t, s, 0.1).inducing_posterior()
    for got, want in zip(exercises.coreset_posterior(kernel.gram(z), t, s, 0.1), core, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
