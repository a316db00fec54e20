"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.gaussian_splatting import splat_compact as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_splatting import splat_compact as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((60, 3))
    assert np.allclose(exercises.anchors(points, 0.6), methods.voxel_anchors(points, 0.6))
    x, mean, sigma = rng.standard_normal((3, 50))
    sigma = np.exp(sigma)
    assert np.allclose(
        exercises.rate_bits(x, mean, sigma, 0.3), methods.rate_bits(x, mean, sigma, 0.3)
    )
    # On a ring each point has the same two neighbours whether the graph is symmetric or not.
    angles = 2.0 * np.pi * np.arange(30) / 30
    ring = np.column_stack([np.cos(angles), np.sin(angles), 0.0 * angles])
    signal = rng.standard_normal(30)
    graph = methods.neighbour_graph(ring, 2)
    found = methods.graph_filter(graph, signal[:, None], methods.highpass)[:, 0]
    assert np.allclose(np.abs(found), exercises.highpass_score(ring, signal, 2))


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
