"""The solutions pass, and every typical wrong answer hears its own sentence."""

import numpy as np
import pytest

from kernellab.compute.cameras import Camera
from kernellab.exercises.gaussian_splatting import splat_surface as exercises
from kernellab.lab.exercises import verify
from kernellab.methods.gaussian_splatting import splat_surface as methods


@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_exercise(exercise):
    verify(exercise)


def test_solutions_are_the_methods_of_the_lab():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (30, 2))
    level = methods.voxel_level(points, 0.4)
    ids, values, _ = methods.spline_stencils(level, points)
    kernel = exercises.bspline_kernel(points, level.nodes, 0.4)
    assert np.allclose(np.take_along_axis(kernel, ids, axis=1), values)
    camera = Camera(np.eye(3), np.zeros(3), (50, 50), (32, 32), 64, 64)
    peaks, widths = np.array([2.0, 2.6]), np.array([0.1, 0.2])
    splats = {
        "means": np.stack([[0, 0, z] for z in peaks]).astype(float),
        "quaternions": np.tile([1.0, 0, 0, 0], (2, 1)),
        "log_scales": np.log(np.repeat(widths[:, None], 3, axis=1)),
        "logits": np.array([0.4, 1.0]),
    }
    t = np.linspace(1.75, 4.0, 40)
    found = methods.ray_profile(camera, (32.0, 32.0), splats, t)
    wanted = exercises.ray_occupancy(t, peaks, widths, 1 / (1 + np.exp(-splats["logits"])))
    assert np.abs(found - wanted).max() < 0.011  # the method cuts at three standard deviations
    disparity = np.array([0.0, 3.0, -1.0, np.nan])
    assert np.array_equal(
        exercises.disparity_to_depth(disparity, 60.0, 0.3),
        methods.depth_from_disparity(disparity, 60.0, 0.3),
        equal_nan=True,
    )


@pytest.mark.parametrize("bad", [lambda *a: 3.0, lambda *a: (1, 2, 3), lambda *a: "no"])
@pytest.mark.parametrize("exercise", exercises.EXERCISES, ids=lambda exercise: exercise.id)
def test_nonsense_is_refused_in_a_sentence(exercise, bad):
    passed, message = exercise.judge(bad)
    assert not passed and 10 < len(message) < 300
