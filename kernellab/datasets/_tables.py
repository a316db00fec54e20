"""What tables of measurements share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Table:
    """Measurements, one row a specimen."""

    measurements: np.ndarray
    """(n, d) float64, in the units that data/README.md names; columns as in ``names``."""

    @property
    def x(self) -> np.ndarray:
        """(n, d) float64: the measurements, each column with mean 0 and standard deviation 1."""
        centred = self.measurements - self.measurements.mean(axis=0)
        return centred / centred.std(axis=0)
