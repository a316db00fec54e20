"""Clustering: plain references, scikit-learn, what never may happen, bad input."""

import numpy as np
import pytest

from kernellab.compute.clustering import nearest_centres, weighted_kmeans
from tests.naive import clustering as naive


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.compiled
@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(("n", "k"), [(30, 7), (3, 5), (1, 1), (1100, 2)])
def test_nearest_centres_equal_two_loops(dimension, n, k):
    points, centres = draw(n, dimension), draw(k, dimension, seed=1)
    label, squared = nearest_centres(points, centres)
    want = naive.nearest_centres(points, centres)
    assert np.array_equal(label, want[0]) and np.allclose(squared, want[1], rtol=1e-13)


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_of_equal_centres_the_first_is_chosen(dimension):
    label, squared = nearest_centres(draw(9, dimension), np.ones((4, dimension)))
    assert np.all(label == 0) and np.all(squared > 0)


@pytest.mark.parametrize("seed", range(4))
def test_lloyd_step_by_step(seed):
    rng = np.random.default_rng(seed)
    points, weights = rng.random((120, 2)), rng.random(120)
    chances = weights / weights.sum()
    start = points[np.random.default_rng(5).choice(120, 6, replace=False, p=chances)]
    for steps in (1, 2, 5):
        found, label, inertia = weighted_kmeans(points, weights, 6, 5, steps)
        assert np.allclose(found, naive.lloyd(points, weights, start, steps))
        want, squared = naive.nearest_centres(points, found)
        assert np.array_equal(label, want) and inertia[-1] == pytest.approx(weights @ squared)


@pytest.mark.parametrize("seed", range(4))
def test_it_descends_and_points_without_weight_do_not_count(seed):
    rng = np.random.default_rng(seed)
    points, weights = rng.random((200, 2)), rng.random(200) * (rng.random(200) < 0.5)
    centres, label, inertia = weighted_kmeans(points, weights, 9, seed)
    assert inertia.shape == (21,) and np.all(np.diff(inertia) <= 1e-12)
    points[weights == 0] = rng.random((np.sum(weights == 0), 2))
    assert np.allclose(weighted_kmeans(points, weights, 9, seed)[0], centres)
    assert label.max() == 8


def test_a_weight_of_three_is_three_points():
    points, weights = draw(40, 2), np.repeat([1.0, 3.0], 20)
    thrice = np.repeat(points, np.repeat([1, 3], 20), axis=0)
    centres, _, inertia = weighted_kmeans(points, weights, 4, 0, steps=50)
    again = naive.lloyd(thrice, np.ones(80), centres, 1)
    assert np.allclose(again, centres)
    assert inertia[-1] == pytest.approx(naive.nearest_centres(thrice, centres)[1].sum())


def test_once_nothing_moves_the_rest_is_the_same():
    points, weights = draw(100, 2), np.ones(100)
    long, short = (weighted_kmeans(points, weights, 4, 0, steps=s) for s in (400, 200))
    assert len(long[2]) == 401 and np.all(long[2][200:] == short[2][-1])
    assert np.array_equal(long[0], short[0]) and np.array_equal(long[1], short[1])


def test_an_empty_centre_moves_to_the_costliest_point():
    points = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    weights = np.array([1.0, 1, 1, 1e-3, 1e-3])  # the start: three times the same place
    centres, _, inertia = weighted_kmeans(points, weights, 3, 0)
    assert np.allclose(np.sort(centres[:, 0]), [0, 1, 5]) and inertia[-1] < 1e-20


@pytest.mark.parametrize("steps", [1, 3])
def test_identical_points_and_one_point(steps):
    centres, label, inertia = weighted_kmeans(np.ones((5, 2)), np.ones(5), 3, 0, steps)
    assert np.all(centres == 1) and np.all(label == 0) and np.all(inertia == 0)
    centres, label, _ = weighted_kmeans([[2.0, 3.0, 4.0]], [0.5], 1, 0, steps)
    assert np.array_equal(centres, [[2, 3, 4]]) and label.tolist() == [0]


@pytest.mark.parametrize("dimension", [2, 3, 5])
def test_scikit_learn_finds_nothing_better_from_here(dimension):
    cluster = pytest.importorskip("sklearn.cluster")
    points, weights = draw(300, dimension), np.random.default_rng(1).random(300)
    centres, _, inertia = weighted_kmeans(points, weights, 8, 0, steps=100)
    peer = cluster.KMeans(8, init=centres, n_init=1, max_iter=300, tol=0)
    assert peer.fit(points, sample_weight=weights).inertia_ == pytest.approx(inertia[-1])


@pytest.mark.parametrize(
    ("says", "call"),
    [
        ("points", lambda: nearest_centres(np.ones(3), np.ones((2, 1)))),
        ("points", lambda: nearest_centres([[np.nan, 0]], np.ones((2, 2)))),
        ("centres", lambda: nearest_centres(np.ones((3, 2)), np.ones((2, 3)))),
        ("centres", lambda: nearest_centres(np.ones((3, 2)), np.ones((0, 2)))),
        ("points", lambda: weighted_kmeans(np.ones((0, 2)), [], 1)),
        ("points", lambda: weighted_kmeans(np.ones((3, 0)), np.ones(3), 1)),
        ("weights", lambda: weighted_kmeans(np.ones((3, 2)), [1, 1], 1)),
        ("weights", lambda: weighted_kmeans(np.ones((3, 2)), [1, -1, 1], 1)),
        ("weights", lambda: weighted_kmeans(np.ones((3, 2)), [1, np.inf, 1], 1)),
        ("count", lambda: weighted_kmeans(np.ones((3, 2)), [1, 0, 1], 3)),
        ("count", lambda: weighted_kmeans(np.ones((3, 2)), [1, 1, 1], 0)),
        ("steps", lambda: weighted_kmeans(np.ones((3, 2)), [1, 1, 1], 1, steps=0)),
    ],
)
def test_bad_input_is_named(says, call):
    with pytest.raises(ValueError, match=says):
        call()
