"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.clustering import weighted_kmeans
from kernellab.exercises.gaussian_splatting import rbf_fields as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_splatting import rbf_fields as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    points, weights = rng.random((80, 2)), rng.random(80)
    centres, _, _ = weighted_kmeans(points, weights, 6, 0, steps=60)
    assert np.allclose(exercises.kmeans_step(points, weights, centres), centres)
    widths = np.array([0.3, 0.7])
    jets, _ = methods.gaussian_jets(points, centres[:1], np.log(widths)[None])
    assert np.allclose(exercises.gauss_laplacian(points, centres[0], widths), jets[3, :, 0])
    frequencies = np.array([0.5, 4.0])
    assert np.allclose(
        exercises.harmonic_rbf(weights, frequencies) * frequencies,
        methods.harmonics(weights, frequencies),
    )


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
