"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.kernels import Gaussian
from kernellab.compute.likelihoods import GaussianNoise
from kernellab.compute.networks import dense_network, network_jacobian
from kernellab.exercises.gaussian_processes import gps_and_networks as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_processes import gps_and_networks as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    y, fresh = rng.standard_normal((5, 6)), rng.standard_normal((5, 6))
    gram = Gaussian(0.5).gram(np.linspace(-1, 1, 6)[:, None])
    guess = methods.GaussianDenoiser(gram).noise(y, 0.3)
    assert np.allclose(
        exercises.reverse_step(y, gram, 0.1, 0.3, fresh),
        methods.reverse_step(y, guess, 0.1, 0.3, fresh),
    )

    priors = methods.random_priors(1, 0)
    found = methods.mixture_posterior(priors, [[0.7]], [1])
    w, m, s = exercises.gmm_posterior(
        np.exp(priors.log_weights[0]), priors.means[0], np.exp(priors.log_sds[0]), 0.7, 0.4
    )
    assert np.allclose(w, np.exp(found.log_weights[0])) and np.allclose(m, found.means[0])
    assert np.allclose(s, np.exp(found.log_sds[0]))

    # Few points, so that K_zz is far from singular and the plain formulas may be used.
    network, x = dense_network([1, 8, 1], 0), np.array([[-1.0], [0.2], [0.9]])
    values = rng.standard_normal(3)
    model = methods.FunctionSpaceGP(network, GaussianNoise(0.1), 0.5, x).with_data(x, values)
    slopes = network_jacobian(network, x)
    gram = slopes @ slopes.T / 0.5
    alpha, beta = exercises.dual_update(np.zeros(3), np.zeros((3, 3)), gram, values, 0.1)
    mean = gram @ np.linalg.solve(gram + beta, alpha)
    assert np.allclose(model.predict(x).mean, mean, atol=1e-6)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
