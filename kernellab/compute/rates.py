"""Rates: how fast one quantity falls with another."""

import numpy as np

from kernellab.compute.checks import as_vector, same_length


def log_log_slope(x, y) -> float:
    """Return the least-squares slope of log y against log x: the exponent of a power law.

    Parameters: x and y (n,), n >= 2, all positive, x with at least two different values.
    Returns a float. Raises ValueError otherwise. Cost: O(n).

    >>> round(log_log_slope([1, 10, 100], [1, 0.1, 0.01]), 6)
    -1.0
    """
    x, y = as_vector("x", x), as_vector("y", y)
    if same_length("x", x, "y", y) < 2:
        raise ValueError(f"x must hold at least 2 values, got {x.size}")
    for name, values in (("x", x), ("y", y)):
        if values.min() <= 0:
            raise ValueError(f"{name} must be positive, got {values.min()}")
    u = np.log(x) - np.log(x).mean()
    if not u.any():
        raise ValueError(f"x must hold at least 2 different values, got only {x[0]}")
    return float(u @ np.log(y) / (u @ u))
