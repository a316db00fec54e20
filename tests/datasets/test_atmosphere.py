"""Mauna Loa CO2: shapes, units and what everybody knows about the curve."""

import numpy as np
import pytest

from kernellab.datasets import mauna_loa_co2


def test_weeks():
    series = mauna_loa_co2()
    assert series.year.shape == series.co2.shape == (2225,)
    assert series.year.dtype == series.co2.dtype == np.float64
    assert (np.diff(series.year) > 0.018).all()
    assert 1958.2 < series.year[0] < 1958.3 and 2001.9 < series.year[-1] < 2002
    assert (series.co2 > 310).all() and (series.co2 < 375).all()
    slope = np.polyfit(series.year, series.co2, 1)[0]
    assert 1.2 < slope < 1.5  # ppm a year


def test_months_are_means_of_their_weeks():
    weeks, months = mauna_loa_co2(), mauna_loa_co2("month")
    assert months.year.shape == months.co2.shape == (521,)
    assert (np.diff(months.year) > 0.08).all()
    in_first_may = (weeks.year >= 1958 + 120 / 365) & (weeks.year < 1958 + 151 / 365)
    assert months.co2[2] == pytest.approx(weeks.co2[in_first_may].mean())
    assert months.year[2] == pytest.approx(1958 + 4.5 / 12)
    # The seasons: May stands above October by several ppm.
    of_year = np.round((months.year % 1) * 12 - 0.5).astype(int)
    gap = months.co2[of_year == 4][1:].mean() - months.co2[of_year == 9].mean()
    assert 4 < gap < 8


@pytest.mark.parametrize("every", ["day", "", None, 7])
def test_wrong_use_is_refused(every):
    with pytest.raises(ValueError, match="every must be"):
        mauna_loa_co2(every)
