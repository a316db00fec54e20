"""Breast tumours: shapes, order of the columns, and what the measurements mean."""

import numpy as np

from kernellab.datasets import breast_cancer


def test_shapes_and_scale():
    data = breast_cancer()
    assert data.measurements.shape == data.x.shape == (569, 30)
    assert data.malignant.tolist().count(1) == 212 and set(data.malignant.tolist()) == {0, 1}
    assert np.allclose(data.x.mean(axis=0), 0) and np.allclose(data.x.std(axis=0), 1)


def test_columns_are_what_their_names_say():
    data = breast_cancer()
    column = {name: data.measurements[:, i] for i, name in enumerate(data.names)}
    assert len(column) == 30
    assert (column["worst radius"] >= column["mean radius"]).all()
    # Area and perimeter follow from the radius.
    disc = np.pi * column["mean radius"] ** 2
    assert np.corrcoef(disc, column["mean area"])[0, 1] > 0.99
    larger = data.measurements[data.malignant == 1].mean(axis=0)
    smaller = data.measurements[data.malignant == 0].mean(axis=0)
    assert larger[data.names.index("mean area")] > 1.5 * smaller[data.names.index("mean area")]
