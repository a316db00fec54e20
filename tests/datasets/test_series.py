"""Sea temperatures and sunspots: shapes, units and what everybody knows about them."""

import numpy as np

from kernellab.datasets import el_nino, sunspots


def test_sea_temperatures():
    sea = el_nino()
    assert sea.year.shape == sea.celsius.shape == (732,) and sea.grid.shape == (61, 12)
    assert np.allclose(np.diff(sea.year), 1 / 12) and 1950 < sea.year[0] < 1950.1
    assert sea.celsius.min() > 18 and sea.celsius.max() < 30
    # The sea off Peru is warmest in March, coldest in September; 1983 and 1997 were El Ninos.
    assert np.argmax(sea.grid.mean(axis=0)) == 2 and np.argmin(sea.grid.mean(axis=0)) == 8
    unusual = (sea.grid - sea.grid.mean(axis=0)).mean(axis=1)
    assert {1983, 1997} <= {1950 + int(i) for i in np.argsort(unusual)[-3:]}


def test_sunspots():
    sun = sunspots()
    assert sun.year.shape == sun.number.shape == (309,)
    assert (np.diff(sun.year) == 1).all() and (sun.number >= 0).all() and sun.number.max() < 200
    centred = sun.number - sun.number.mean()
    lags = [centred[lag:] @ centred[:-lag] for lag in range(6, 16)]
    assert 6 + int(np.argmax(lags)) in (10, 11)  # a cycle takes eleven years, more or less
