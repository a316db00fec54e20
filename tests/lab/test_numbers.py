"""fmt prints few digits, the same ones on every machine; table lines them up."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernellab.lab.numbers import RoundingBoundary, fmt, table


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.03456, 2, "0.035"),
        (12.3, 2, "12"),
        (3421.7, 2, "3,400"),
        (1e-05, 2, "1e-5"),
        (1.234e-7, 3, "1.23e-7"),
        (3.42e8, 2, "3.4e8"),
        (999999.0, 2, "1e6"),
        (123456.0, 2, "120,000"),
        (0.5, 1, "0.5"),
        (0.5, 2, "0.50"),
        (0.4996, 2, "0.50"),
        (9.96, 2, "10"),
        (0.0999, 2, "0.10"),
        (0.00099996, 3, "0.00100"),
        (-0.0, 2, "0"),
        (0.0, 3, "0"),
        (-0.031, 1, "-0.03"),
        (1024, 2, "1,024"),
        (-3, 1, "-3"),
        (True, 2, "True"),
        ("ridge", 2, "ridge"),
        (math.nan, 2, "nan"),
        (-math.inf, 2, "-inf"),
        (np.float32(0.25), 2, "0.25"),
        (np.int64(12345), 2, "12,345"),
        (np.bool_(False), 2, "False"),
        (np.array(0.125), 3, "0.125"),
        (5e-324, 2, "5e-324"),
    ],
)
def test_human_forms(value, digits, text):
    assert fmt(value, digits) == text


@pytest.mark.parametrize("value", [0.0, 3e-17, -3e-17, 0])
def test_floor_hides_rounding_error(value):
    assert fmt(value, floor=1e-10) == "< 1e-10"


def test_floor_keeps_what_is_larger():
    assert fmt(2e-10, floor=1e-10) == "2e-10"
    assert fmt(-0.2, floor=1e-10) == "-0.20"
    assert fmt(3, floor=1e-10) == "3"


@given(st.floats(-1e300, 1e300), st.integers(1, 6))
def test_text_is_the_value_to_its_digits(value, digits):
    text = fmt(value, digits)
    assert not text.startswith("-0") or float(text) != 0
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_saving_refuses_a_rounding_boundary(monkeypatch):
    assert fmt(0.1250000001) == "0.13"
    monkeypatch.setenv("KERNELLAB_SAVING", "1")
    with pytest.raises(RoundingBoundary, match=r"0\.125.* prints as 0\.13 .* as 0\.12 "):
        fmt(0.1250000001)
    with pytest.raises(RoundingBoundary):
        fmt(1.0000000001e-10, floor=1e-10)
    assert fmt(0.1250000001, digits=4) == "0.1250"
    assert fmt(0.5, digits=1) == "0.5"
    assert fmt(0.12, rtol=0.01) == "0.12"
    with pytest.raises(RoundingBoundary):
        fmt(0.12, rtol=0.1)
    assert fmt(25) == "25"  # integers are exact and have no boundary
    assert fmt(math.nan) == "nan"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"value": 1.0, "digits": 0}, "digits"),
        ({"value": 1.0, "digits": 18}, "digits"),
        ({"value": 1.0, "digits": 1.5}, "digits"),
        ({"value": 1.0, "digits": True}, "digits"),
        ({"value": 1.0, "floor": -1}, "floor"),
        ({"value": 1.0, "floor": math.nan}, "floor"),
        ({"value": 1.0, "rtol": 0.7}, "rtol"),
        ({"value": None}, "value"),
        ({"value": 1 + 2j}, "value"),
        ({"value": np.zeros(3)}, "value"),
    ],
)
def test_wrong_use_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        fmt(**arguments)


def test_table_from_mappings():
    shown = table(
        [
            {"method": "ridge", "error": 0.1234, "n": 1024},
            {"method": "a|b", "error": None, "n": 8},
        ]
    )
    assert repr(shown).splitlines() == [
        "method  error      n",
        "------  -----  -----",
        "ridge    0.12  1,024",
        "a|b         -      8",
    ]
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/markdown", "text/plain"}
    assert bundle["text/markdown"].splitlines() == [
        "| method | error | n |",
        "| --- | ---: | ---: |",
        "| ridge | 0.12 | 1,024 |",
        "| a\\|b | - | 8 |",
    ]


def test_table_from_sequences_with_digits_and_floor():
    shown = table([("exact", 1e-16), ("rough", 0.123456)], ["way", "gap"], digits=3, floor=1e-12)
    assert shown.cells == (("exact", "< 1e-12"), ("rough", "0.123"))


@pytest.mark.parametrize(
    ("rows", "columns", "complaint"),
    [
        ([], None, "rows"),
        ([(1, 2)], None, "columns"),
        ([(1, 2)], [], "columns"),
        ([(1, 2)], ["a"], "row 0 has 2"),
        ([{"a": 1}, {"b": 1}], None, "row 1 has columns"),
    ],
)
def test_table_refuses_ragged_rows(rows, columns, complaint):
    with pytest.raises(ValueError, match=complaint):
        table(rows, columns)
