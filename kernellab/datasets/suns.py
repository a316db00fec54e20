"""Spots on the sun."""

from __future__ import annotations

import csv
from dataclasses import dataclass

import numpy as np

from kernellab.datasets import _files

_FILE = "sunspots.csv"


@dataclass(frozen=True, eq=False)
class SunspotNumbers:
    """Yearly means of the sunspot number."""

    year: np.ndarray
    """(n,) float64, increasing by 1."""
    number: np.ndarray
    """(n,) float64, >= 0: the mean sunspot number of the year."""


def sunspots() -> SunspotNumbers:
    """Yearly mean sunspot numbers from 1700 to 2008.

    Returns
    -------
    SunspotNumbers with ``year`` (309,) and ``number`` (309,).

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged.

    Cost O(n).
    Source: National Geophysical Data Center; see data/README.md.

    >>> sunspots().number[:3].tolist()
    [5.0, 11.0, 16.0]
    """
    rows = list(csv.reader(_files.verified(_FILE).decode().splitlines()))[1:]
    table = np.array([[float(cell) for cell in row] for row in rows])
    return SunspotNumbers(table[:, 0].copy(), table[:, 1].copy())
