"""Photographs: shapes, range, smaller sizes as averages."""

import numpy as np
import pytest

from kernellab.datasets import photograph


@pytest.mark.parametrize(
    ("name", "channels"), [("camera", ()), ("coffee", (3,)), ("astronaut", (3,))]
)
def test_shapes_and_sizes(name, channels):
    full = photograph(name)
    assert full.shape == (128, 128, *channels) and full.dtype == np.float64
    assert full.min() >= 0 and full.max() <= 1 and full.std() > 0.15
    for size in (8, 16, 32, 64):
        small = photograph(name, size)
        assert small.shape == (size, size, *channels)
        np.testing.assert_allclose(small.mean(), full.mean(), atol=1e-12)
    block = full[32:64, 96:128].mean(axis=(0, 1))
    np.testing.assert_allclose(photograph(name, np.int64(8))[2:4, 6:8].mean(axis=(0, 1)), block)


def test_they_show_what_they_should():
    camera = photograph("camera")
    assert camera[:30].mean() > 0.6 > 0.3 > camera[60:80, 45:60].mean()  # sky above a dark coat
    red, _green, blue = np.moveaxis(photograph("coffee", 16), -1, 0)
    assert red.mean() > 1.5 * blue.mean()  # coffee and wood


@pytest.mark.parametrize("name", ["lena", "", None, 3, ["camera"]])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="name must be 'camera', 'coffee' or 'astronaut', got"):
        photograph(name)


@pytest.mark.parametrize("size", [0, 12, 256, -8, 32.0, True, None, "32"])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match="size must be one of 8, 16, 32, 64, 128, got"):
        photograph("camera", size)
