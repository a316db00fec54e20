import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kernellab.compute import checks
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    fits_in_memory,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
    symmetric,
)


def message(call, *arguments, **options) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_numbers_come_back_as_floats():
    for value in (2, 2.0, np.float32(2), np.int64(2), np.array(2.0), Fraction(4, 2)):
        for result in (positive("a", value), nonnegative("a", value), between("a", value, 1, 2)):
            assert type(result) is float and result == 2.0
    assert nonnegative("a", 0) == 0.0


@pytest.mark.parametrize(
    ("value", "came"),
    [
        (-1.0, "-1.0"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        ("1", "'1' (str)"),
        (True, "True (bool)"),
        (None, "None"),
        (1j, "1j (complex)"),
        ([1.0], "[1.0] (list)"),
        (np.ones(2), "an array of shape (2,)"),
        (10**400, "about 10^400"),
    ],
)
def test_numbers_that_are_refused(value, came):
    assert message(positive, "bandwidth", value) == (
        f"bandwidth must be a positive number, got {came}"
    )
    assert message(nonnegative, "ridge", value) == (
        f"ridge must be a number that is not negative, got {came}"
    )
    assert message(between, "p", value, 0, 1) == f"p must be a number between 0 and 1, got {came}"


def test_zero_is_not_positive():
    assert message(positive, "a", 0) == "a must be a positive number, got 0"


def test_integers():
    for value in (3, np.int8(3), np.array(3)):
        result = integer("n", value, low=3, high=3)
        assert type(result) is int and result == 3
    assert message(integer, "n", 0, low=1) == "n must be an integer of at least 1, got 0"
    assert message(integer, "n", 9, high=8) == "n must be an integer of at most 8, got 9"
    assert message(integer, "n", 9, low=1, high=8) == "n must be an integer between 1 and 8, got 9"
    assert message(integer, "n", 3.0) == "n must be an integer, got 3.0 (float)"
    assert message(integer, "n", True) == "n must be an integer, got True (bool)"
    assert message(integer, "n", np.True_).startswith("n must be an integer, got")
    assert message(integer, "n", None) == "n must be an integer, got None"


def test_one_of():
    assert one_of("kernel", "laplace", ["gaussian", "laplace"]) == "laplace"
    assert message(one_of, "kernel", "gausian", ["gaussian", "laplace"]) == (
        "kernel must be one of 'gaussian', 'laplace', got 'gausian' (str); did you mean 'gaussian'?"
    )
    assert "got [] (list)" in message(one_of, "kernel", [], {"gaussian": 1})
    assert "an array of shape (2,)" in message(one_of, "order", np.ones(2), (0, 1))


def test_a_good_matrix_is_not_copied():
    x = np.ones((3, 2))
    assert as_matrix("x", x) is x
    v = np.ones(3)
    assert as_vector("v", v) is v


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e308, 1e308)))
def test_finite_matrices_pass_in_any_layout(x):
    for same in (x, x.T.copy().T, x[::-1][::-1]):
        result = as_matrix("x", same)
        assert result.flags.c_contiguous and result.flags.writeable
        np.testing.assert_array_equal(result, x)


def test_matrices_are_converted():
    read_only = np.ones((2, 2))
    read_only.flags.writeable = False
    swapped = np.ones((2, 2)).astype(">f8")
    for value in (
        read_only,
        swapped,
        [[1, 1], [1, 1]],
        np.ones((2, 2), bool),
        np.ones((2, 2), "f4"),
    ):
        result = as_matrix("x", value)
        assert result.dtype == np.dtype("=f8") and result.dtype.isnative
        assert result.flags.writeable and result.flags.c_contiguous
        np.testing.assert_array_equal(result, 1.0)
    assert read_only.flags.writeable is False


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (
            np.zeros(5),
            {},
            (
                "x must be a matrix with one row per point, shape (n, d), got shape (5,): "
                "use x.reshape(-1, 1) for 5 points on a line, "
                "or x.reshape(1, -1) for one point in dimension 5"
            ),
        ),
        (
            np.zeros((2, 3, 4)),
            {},
            (
                "x must be a matrix with one row per point, shape (n, d), got shape (2, 3, 4): "
                "use x.reshape(len(x), -1) to make each entry one row"
            ),
        ),
        (
            3.0,
            {},
            "x must be a matrix with one row per point, shape (n, d), got shape ()",
        ),
        (np.zeros((0, 2)), {}, "x must have at least 1 row, got shape (0, 2)"),
        (np.zeros((1, 2)), {"min_rows": 2}, "x must have at least 2 rows, got shape (1, 2)"),
        (np.zeros((2, 0)), {}, "x must have at least one column, got shape (2, 0)"),
        (np.zeros((2, 3)), {"columns": 2}, "x must have 2 columns, got shape (2, 3)"),
        (np.zeros((2, 3)), {"rows": 1}, "x must have 1 row, got shape (2, 3)"),
        ([[0, 1], [math.nan, 1]], {}, "x must be finite, got nan at index (1, 0)"),
        (
            [[0, -math.inf], [math.nan, 1]],
            {},
            "x must be finite, got -inf at index (0, 1) (2 such entries)",
        ),
        ([[1, 2], [3]], {}, "x must be an array of numbers, got rows of different lengths"),
        ([[1j]], {}, "x must hold real numbers, got complex numbers"),
        ([["1"]], {}, "x must hold real numbers, got text"),
        ([[None]], {}, "x must hold real numbers, got objects (list)"),
        (None, {}, "x must hold real numbers, got objects (NoneType)"),
        (
            np.array([["2020-01-01"]], dtype="datetime64[D]"),
            {},
            "x must hold real numbers, got values of dtype datetime64[D]",
        ),
        (np.ma.masked_less([[1.0, -1.0]], 0), {}, "x must not have masked entries, got 1"),
    ],
)
def test_matrices_that_are_refused(value, options, expected):
    assert message(as_matrix, "x", value, **options) == expected


def test_large_finite_entries_are_not_mistaken_for_infinity():
    x = np.full((2, 2), 1e308)
    assert as_matrix("x", x) is x


def test_vectors_that_are_refused():
    assert message(as_vector, "v", [[1.0], [2.0]]) == (
        "v must be a vector, shape (n,), got shape (2, 1): use .ravel()"
    )
    assert message(as_vector, "v", np.ones((2, 2))) == (
        "v must be a vector, shape (n,), got shape (2, 2)"
    )
    assert message(as_vector, "v", []) == "v must not be empty, got shape (0,)"
    assert message(as_vector, "v", [1.0], length=2) == "v must have length 2, got length 1"
    assert message(as_vector, "v", [1.0, math.nan]) == "v must be finite, got nan at index 1"


def test_one_entry_of_a_large_matrix_breaks_its_symmetry():
    matrix = np.ones((300, 300))
    assert checks.symmetric("a", matrix) is not None
    matrix[290, 5] = 1.5
    with pytest.raises(ValueError, match=r"got 1 at \(5, 290\) but 1.5 at \(290, 5\)"):
        checks.symmetric("a", matrix)


def test_symmetric():
    good = np.array([[2.0, 1.0], [1.0 + 1e-15, 3.0]])
    assert symmetric("k", good) is good
    assert message(symmetric, "k", np.ones((2, 3))) == "k must be square, got shape (2, 3)"
    assert message(symmetric, "k", [[1, 2], [3, 4]]) == (
        "k must be symmetric, got 2 at (0, 1) but 3 at (1, 0)"
    )


def test_same_length():
    assert same_length("x", [1, 2], "y", np.ones((2, 3))) == 2
    assert message(same_length, "x", [1], "y", [1, 2]) == (
        "x and y must have the same length, got 1 and 2"
    )


def test_as_rng():
    generator = np.random.default_rng(0)
    assert as_rng(generator) is generator
    assert as_rng(7).random() == as_rng(np.int64(7)).random()
    for bad in (None, -1, 1.0, True, np.random.RandomState(0)):
        assert message(as_rng, bad).startswith(
            "rng must be a numpy.random.Generator or an integer seed of at least 0, got "
        )


def test_fits_in_memory(monkeypatch):
    assert fits_in_memory("a", 1000) == 1000
    monkeypatch.setattr(checks, "available_memory", lambda: 10**9)
    assert fits_in_memory("a", 10**9) == 10**9
    assert message(fits_in_memory, "the Gram matrix", 32 * 10**9) == (
        "the Gram matrix must fit in memory: it would take 32.0 GB, and 1.0 GB are available"
    )


def test_available_memory_is_plausible(monkeypatch):
    assert checks.available_memory() > 1e7
    # Elsewhere than on Linux, half of what is built in.
    monkeypatch.setattr(checks, "_free_on_linux", lambda: None)
    monkeypatch.setattr(checks, "_left_in_container", lambda: None)
    assert checks.available_memory() > 1e7
