"""The temperature of the sea off Peru, where El Nino shows first."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np

from kernellab.datasets import _files

_FILE = "el_nino.csv"


@dataclass(frozen=True, eq=False)
class SeaTemperatures:
    """Monthly means of the sea surface temperature."""

    year: np.ndarray
    """(n,) float64, increasing: the middle of each month in decimal years, such as 1950.04."""
    celsius: np.ndarray
    """(n,) float64: degrees Celsius."""

    @property
    def grid(self) -> np.ndarray:
        """(years, 12) float64: one row a year, January to December."""
        return self.celsius.reshape(-1, 12)


def el_nino() -> SeaTemperatures:
    """Monthly sea surface temperature in the region Nino 1+2 (0-10 S, 90-80 W), 1950 to 2010.

    Returns
    -------
    SeaTemperatures with ``year`` (732,), ``celsius`` (732,) and ``grid`` (61, 12).

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged.

    Cost O(n).
    Source: Climate Prediction Center, ERSST V3b; see data/README.md.

    >>> sea = el_nino()
    >>> sea.celsius.shape, float(sea.celsius[0])
    ((732,), 23.11)
    """
    rows = list(csv.reader(_files.verified(_FILE).decode().splitlines()))[1:]
    year = np.array([int(year) + (int(month) - 0.5) / 12 for year, month, _value in rows])
    return SeaTemperatures(year, np.array([float(value) for *_when, value in rows]))
