"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.exercises.random_features import fast_kernel_sums as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.random_features import fast_kernel_sums as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    kernel = methods.RadialKernel("1/r")
    x, y = rng.random((40, 2)) + [2, 0], rng.random((30, 2))
    matrix = kernel.gram(x, y)
    rows, columns, error = exercises.eim(matrix, 1e-5 * matrix.max())
    found = methods.empirical_interpolation(matrix, 1e-5)
    assert np.array_equal(rows, found.rows) and np.array_equal(columns, found.columns)
    assert np.isclose(error, found.errors[-1])

    tree = methods.PrivateTree(rng.random(200), 1.0, 0, 1, 64, rng)
    for first, last in ((0, 64), (3, 50), (17, 18), (9, 9)):
        total, touched = exercises.tree_query(tree.nodes, first, last)
        assert np.isclose(total, tree.count(first, last))
        assert touched == tree.nodes_touched(first, last)

    queries, keys, v = methods.tokens(30, 2, 3, 0.3, 0)
    gaussian = methods.Gaussian(0.5)
    heavy = methods.heavy_entries(gaussian, queries, keys, 0.2)
    counts = np.random.default_rng(5).multinomial(50, v**2 / (v @ v))
    draws = np.repeat(np.arange(30), counts)
    ours = methods.sampled_matvec(gaussian, queries, keys, v, 50, np.random.default_rng(5), heavy)
    gram = gaussian.gram(queries, keys)
    assert np.allclose(exercises.heavy_sample_matvec(gram, v, 0.2, draws), ours)


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
