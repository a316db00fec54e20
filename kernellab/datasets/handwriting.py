"""Handwritten digits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kernellab.datasets import _files

_FILE = "digits.npz"


@dataclass(frozen=True, eq=False)
class Digits:
    """Small pictures of handwritten digits, with what they show."""

    images: np.ndarray
    """(n, 8, 8) float64: ink from 0 (none) to 1, in steps of 1/16."""
    labels: np.ndarray
    """(n,) int64: the digit, 0 to 9."""

    @property
    def x(self) -> np.ndarray:
        """(n, 64) float64: the pictures as rows, a view of ``images``."""
        return self.images.reshape(len(self.images), 64)


def digits(classes: Sequence[int] | None = None) -> Digits:
    """The 1,797 handwritten digits that many courses begin with, 8 by 8 pixels each.

    Parameters
    ----------
    classes : keep these digits only, such as ``(3, 8)``; all ten by default.

    Returns
    -------
    Digits with ``images`` (n, 8, 8) in [0, 1], ``labels`` (n,) and ``x`` (n, 64), in the order of
    the file (writers and digits are mixed).

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged; ValueError if ``classes`` is
    empty or holds anything but different digits from 0 to 9.

    Cost O(n).
    Source: E. Alpaydin and C. Kaynak, 1998; see data/README.md.

    >>> digits().x.shape, digits(classes=(3, 8)).labels[:4].tolist()
    ((1797, 64), [3, 8, 3, 8])
    """
    if classes is not None:
        classes = _checked(classes)
    with np.load(io.BytesIO(_files.verified(_FILE)), allow_pickle=False) as file:
        images, labels = file["images"] / 16.0, file["labels"].astype(np.int64)
    if classes is None:
        return Digits(images, labels)
    kept = np.isin(labels, classes)
    return Digits(images[kept], labels[kept])


def _checked(classes) -> list[int]:
    listed = list(classes) if np.iterable(classes) and not isinstance(classes, str) else []
    allowed = all(isinstance(c, int | np.integer) and not isinstance(c, bool) for c in listed)
    if not listed or not allowed or not {*listed} <= {*range(10)} or len({*listed}) < len(listed):
        raise ValueError(f"classes must be different digits from 0 to 9, got {classes!r}")
    return listed
