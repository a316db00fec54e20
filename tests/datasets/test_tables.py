"""Diabetes, wine and iris: shapes, classes, and columns that are what their names say."""

import numpy as np
import pytest

from kernellab.datasets import diabetes, iris, wine


@pytest.mark.parametrize(
    ("load", "shape"), [(diabetes, (442, 10)), (wine, (178, 13)), (iris, (150, 4))]
)
def test_shapes_and_scale(load, shape):
    data = load()
    assert data.measurements.shape == data.x.shape == shape and len(data.names) == shape[1]
    assert np.allclose(data.x.mean(axis=0), 0) and np.allclose(data.x.std(axis=0), 1)


def test_diabetes_columns_are_what_their_names_say():
    data = diabetes()
    column = dict(zip(data.names, data.measurements.T, strict=True))
    assert column["age"].min() > 18 and column["age"].max() < 80
    assert set(column["sex"]) == {1.0, 2.0}
    ratio = column["total cholesterol"] / column["high-density lipoproteins"]
    assert np.corrcoef(ratio, column["cholesterol ratio"])[0, 1] > 0.95
    assert np.corrcoef(column["body mass index"], data.progression)[0, 1] > 0.5


def test_kinds_differ_as_is_known():
    flowers, wines = iris(), wine()
    petals = flowers.measurements[:, flowers.names.index("petal length")]
    assert petals[flowers.species == 0].max() < petals[flowers.species > 0].min()
    alcohol = wines.measurements[:, wines.names.index("alcohol")]
    assert alcohol[wines.cultivar == 0].mean() > alcohol[wines.cultivar == 1].mean() + 1
    assert set(flowers.species) == set(wines.cultivar) == {0, 1, 2}
