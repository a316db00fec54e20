"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.cameras import Camera
from kernellab.compute.splatting import (
    plane_covariance_gradients,
    project,
    rasterise,
    space_covariances,
)
from kernellab.exercises.gaussian_splatting import splat_core as exercises
from kernellab.lab.exercises import verify


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_what_the_rasteriser_does():
    rng = np.random.default_rng(0)
    alphas, colors, sky = rng.uniform(0.1, 0.8, 4), rng.random((4, 3)), rng.random(3)
    picture = rasterise(
        np.full((4, 2), 0.5), np.tile(np.eye(2), (4, 1, 1)), alphas, colors,
        height=1, width=1, background=sky,
    )  # fmt: skip
    assert np.allclose(picture.image[0, 0], exercises.over(alphas, colors, sky))

    logs, angle, slopes = rng.normal(size=2), 0.7, np.array([[0.3, 0.1], [0.1, -0.4]])
    scales, turned = exercises.shape_slopes(logs, angle, slopes)
    found = plane_covariance_gradients(logs[None], np.array([angle]), slopes[None])
    assert np.allclose(scales, found[0][0]) and np.isclose(turned, found[1][0])

    camera = Camera.look_at((1, -5, 2), (0, 0, 0), height=32, width=32)
    quaternion, logs, mean = rng.normal(size=4), rng.normal(size=3), rng.normal(size=3)
    seen = project(mean[None], quaternion[None], logs[None], camera, blur=0.0)
    covariance = space_covariances(quaternion[None], logs[None])[0]
    assert np.allclose(exercises.project_cov(mean, covariance, camera), seen.covariances[0])
