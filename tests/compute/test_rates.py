"""Slopes of power laws."""

import numpy as np
import pytest

from kernellab.compute.rates import log_log_slope


def test_a_power_law_gives_its_exponent_whatever_the_factor():
    x = np.array([3.0, 10.0, 40.0, 200.0])
    for exponent in (-1.5, 0.0, 0.25):
        assert log_log_slope(x, 7 * x**exponent) == pytest.approx(exponent, abs=1e-12)


def test_it_is_the_line_that_numpy_fits():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, 100, 20), rng.uniform(1, 100, 20)
    assert log_log_slope(x, y) == pytest.approx(np.polyfit(np.log(x), np.log(y), 1)[0])


@pytest.mark.parametrize(
    ("says", "x", "y"),
    [
        ("x must hold at least 2 values, got 1", [1.0], [1.0]),
        ("y must be positive, got 0.0", [1.0, 2.0], [1.0, 0.0]),
        ("x must be positive, got -1.0", [-1.0, 2.0], [1.0, 1.0]),
        ("x must hold at least 2 different values", [2.0, 2.0], [1.0, 1.0]),
        ("x and y|same", [1.0, 2.0], [1.0, 2.0, 3.0]),
        ("y", [1.0, 2.0], [1.0, np.nan]),
    ],
)
def test_bad_input_is_named(says, x, y):
    with pytest.raises(ValueError, match=says):
        log_log_slope(x, y)
