import numpy as np
import pytest
from scipy import stats

from kernellab.compute.directions import (
    orthogonal_directions,
    random_directions,
    random_rotation,
    sobol_points,
)


@pytest.mark.parametrize("draw", [random_directions, orthogonal_directions])
def test_directions_have_length_one_and_each_is_uniform(draw):
    rng = np.random.default_rng(0)
    assert draw(5, 1, rng).shape == (5, 1)
    directions = draw(3001, 3, rng)
    assert directions.shape == (3001, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0, atol=1e-12)
    # On the sphere in three dimensions each coordinate is uniform (Archimedes).
    for coordinate in directions.T:
        assert stats.kstest(coordinate, stats.uniform(-1, 2).cdf).pvalue > 0.001


def test_orthogonal_directions_are_orthogonal_within_blocks():
    directions = orthogonal_directions(7, 4, 1)
    np.testing.assert_allclose(directions[:4] @ directions[:4].T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(directions[4:] @ directions[4:].T, np.eye(3), atol=1e-12)
    assert abs(directions[:4] @ directions[4:].T).max() > 0.1


def test_rotations_are_orthogonal_and_haar():
    rng = np.random.default_rng(2)
    rotations = np.array([random_rotation(2, rng) for _ in range(2000)])
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), [np.eye(2)] * 2000, atol=1e-12
    )
    angles = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 0.001
    assert abs(np.mean(np.linalg.det(rotations))) < 0.1  # reflections as often as rotations


def test_sobol_points_are_evenly_spread_inside_the_cube():
    plain, scrambled = sobol_points(256, 2), sobol_points(256, 2, rng=0)
    for points in (plain, scrambled):
        assert points.shape == (256, 2)
        assert points.min() > 0 and points.max() < 1
        assert stats.qmc.discrepancy(points) < 1e-4
    assert stats.qmc.discrepancy(np.random.default_rng(0).random((256, 2))) > 5e-4
    np.testing.assert_array_equal(scrambled, sobol_points(256, 2, rng=0))
    assert sobol_points(1, 1).tolist() == [[0.5]]


BAD = [
    (lambda: random_directions(0, 2, 0), "n must"),
    (lambda: random_directions(2, 0, 0), "d must"),
    (lambda: orthogonal_directions(2, 2.5, 0), "d must"),
    (lambda: random_rotation(2, None), "rng must"),
    (lambda: sobol_points(2, 30000), "d must"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
