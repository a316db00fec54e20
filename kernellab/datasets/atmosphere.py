"""Carbon dioxide in the air over Mauna Loa."""

from __future__ import annotations

import calendar
import csv
from dataclasses import dataclass
from datetime import date

import numpy as np

from kernellab.datasets import _files

_FILE = "mauna_loa_co2.csv"


@dataclass(frozen=True, eq=False)
class CO2Series:
    """A series of measurements of carbon dioxide in the air."""

    year: np.ndarray
    """(n,) float64, increasing: time in decimal years, such as 1958.24."""
    co2: np.ndarray
    """(n,) float64: mole fraction in parts per million (ppm)."""

    def seasonal_cycle(self) -> tuple[np.ndarray, np.ndarray]:
        """The time of year and the deviation from the mean over the year around each measurement.

        Returns
        -------
        season (m,), in [0, 1) with 0 on 1 January, and anomaly (m,) in ppm; the half years at both
        ends have no full year around them and are left out.

        Cost O(n).
        """
        start, end = (np.searchsorted(self.year, self.year + shift) for shift in (-0.5, 0.5))
        sums = np.concatenate([[0.0], np.cumsum(self.co2)])
        anomaly = self.co2 - (sums[end] - sums[start]) / (end - start)
        inside = (self.year >= self.year[0] + 0.5) & (self.year <= self.year[-1] - 0.5)
        return (self.year % 1)[inside], anomaly[inside]


def mauna_loa_co2(every: str = "week") -> CO2Series:
    """Carbon dioxide at Mauna Loa, Hawaii, from March 1958 to December 2001.

    Parameters
    ----------
    every : ``"week"``, the 2,225 flask measurements (59 weeks have none), or ``"month"``, their 521
        means over calendar months, each placed in the middle of its month.

    Returns
    -------
    CO2Series with ``year`` (n,) in decimal years and ``co2`` (n,) in ppm.

    Raises
    ------
    FileNotFoundError or ValueError if the file is missing or damaged; ValueError for another
    ``every``.

    Cost O(n).
    Source: C. D. Keeling and T. P. Whorf, Carbon Dioxide Information Analysis Center, 2004; see
    data/README.md.

    >>> series = mauna_loa_co2()
    >>> series.co2.shape, float(series.co2[0])
    ((2225,), 316.1)
    """
    if every not in ("week", "month"):
        raise ValueError(f"every must be 'week' or 'month', got {every!r}")
    rows = list(csv.reader(_files.verified(_FILE).decode().splitlines()))[1:]
    days = [date.fromisoformat(day) for day, _value in rows]
    co2 = np.array([float(value) for _day, value in rows])
    if every == "week":
        return CO2Series(np.array([_decimal_year(day) for day in days]), co2)
    month = np.array([12 * day.year + day.month - 1 for day in days])
    months, where = np.unique(month, return_inverse=True)
    mean = np.bincount(where, weights=co2) / np.bincount(where)
    return CO2Series((months + 0.5) / 12, mean)


def _decimal_year(day: date) -> float:
    length = 366 if calendar.isleap(day.year) else 365
    return day.year + (day.timetuple().tm_yday - 1) / length
