"""Patients with diabetes."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from kernellab.datasets import _files
from kernellab.datasets._tables import Table

_FILE = "diabetes.npz"


@dataclass(frozen=True, eq=False)
class Patients(Table):
    """What was measured of diabetes patients, and how far their disease had gone a year later."""

    progression: np.ndarray
    """(n,) float64: a score of the disease one year later, 25 to 346."""

    @property
    def names(self) -> list[str]:
        """The ten columns."""
        return [
            "age",
            "sex",
            "body mass index",
            "blood pressure",
            "total cholesterol",
            "low-density lipoproteins",
            "high-density lipoproteins",
            "cholesterol ratio",
            "log triglycerides",
            "blood sugar",
        ]


def diabetes() -> Patients:
    """442 diabetes patients, ten measurements each, and a score of their disease a year later.

    Returns
    -------
    Patients with ``measurements`` (442, 10), ``progression`` (442,), standardised ``x`` and
    ``names``.

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged.

    Cost O(n).
    Source: B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, 2004; see data/README.md.

    >>> diabetes().x.shape, float(diabetes().progression.max())
    ((442, 10), 346.0)
    """
    with np.load(io.BytesIO(_files.verified(_FILE)), allow_pickle=False) as file:
        return Patients(file["measurements"], file["progression"])
