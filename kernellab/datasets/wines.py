"""Wines, analysed chemically."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from kernellab.datasets import _files
from kernellab.datasets._tables import Table

_FILE = "wine.npz"


@dataclass(frozen=True, eq=False)
class Wines(Table):
    """Wines, analysed chemically, and which kind each is."""

    cultivar: np.ndarray
    """(n,) int64: 0, 1 or 2, the cultivar the wine was made from."""

    @property
    def names(self) -> list[str]:
        """The 13 columns."""
        return [
            "alcohol",
            "malic acid",
            "ash",
            "alkalinity of ash",
            "magnesium",
            "phenols",
            "flavanoids",
            "other phenols",
            "proanthocyanins",
            "colour intensity",
            "hue",
            "dilution",
            "proline",
        ]


def wine() -> Wines:
    """178 wines of three cultivars, each with 13 chemical measurements.

    Returns
    -------
    Wines with ``measurements`` (178, 13), ``cultivar`` (178,), standardised ``x`` and ``names``.

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged.

    Cost O(n).
    Source: M. Forina and others, 1991; see data/README.md.

    >>> wine().x.shape, np.bincount(wine().cultivar).tolist()
    ((178, 13), [59, 71, 48])
    """
    with np.load(io.BytesIO(_files.verified(_FILE)), allow_pickle=False) as file:
        return Wines(file["measurements"], file["cultivar"].astype(np.int64))
