"""Digits: shapes, units, and the classes asked for."""

import numpy as np
import pytest

from kernellab.datasets import digits


def test_all():
    data = digits()
    assert data.images.shape == (1797, 8, 8) and data.x.shape == (1797, 64)
    assert data.images.dtype == np.float64 and data.labels.dtype == np.int64
    assert data.images.min() == 0 and data.images.max() == 1
    assert (data.images * 16 == np.round(data.images * 16)).all()
    assert sorted(set(data.labels.tolist())) == list(range(10))
    assert np.bincount(data.labels).min() > 170
    assert data.labels[:10].tolist() == list(range(10))
    assert data.x.flags.c_contiguous


def test_agrees_with_its_source():
    original = pytest.importorskip("sklearn.datasets").load_digits()
    np.testing.assert_array_equal(digits().x * 16, original.data)
    np.testing.assert_array_equal(digits().labels, original.target)


def test_some_classes():
    data, everything = digits(classes=(3, 8)), digits()
    assert set(data.labels.tolist()) == {3, 8}
    np.testing.assert_array_equal(data.x, everything.x[np.isin(everything.labels, (3, 8))])
    assert len(digits(classes=np.array([0])).labels) == 178
    assert len(digits(classes=range(10)).labels) == 1797


def test_each_call_gives_its_own_arrays():
    digits().images[:] = 5
    assert digits().images.max() == 1


@pytest.mark.parametrize("classes", [(), (10,), (-1,), (3, 3), 3, "38", (3.5,), (True,), (None,)])
def test_wrong_use_is_refused(classes):
    with pytest.raises(ValueError, match="classes must be different digits"):
        digits(classes)
