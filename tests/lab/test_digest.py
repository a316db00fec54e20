"""The digest prints alike on machines whose last digits differ, and refuses what could not."""

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernellab.lab.digest import TooNear, figure_lines, summary


def test_nice_values_survive_small_differences():
    values = np.linspace(-1, 1, 21)
    expected = summary(values, mean=True)
    assert expected == "-1.0 to 1.0, mean 0.0"
    rng = np.random.default_rng(0)
    for _ in range(100):
        noisy = values * (1 + 1e-9 * rng.normal(size=21)) + 1e-10 * rng.normal(size=21)
        assert summary(noisy, mean=True) == expected


@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=20),
    st.integers(-8, 6),
    st.integers(0, 2**31),
)
def test_multiples_of_half_a_unit_never_sit_on_a_boundary(counts, power, seed):
    values = np.array(counts) * 0.5 * 10.0**power
    noise = 1 + 1e-9 * np.random.default_rng(seed).uniform(-1, 1, len(values))
    assert summary(values) == summary(values * noise)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20), st.integers(0, 2**31))
def test_what_strict_lets_through_prints_alike_elsewhere(values, seed):
    values = np.array(values)
    try:
        here = summary(values, strict=True, mean=True)
    except TooNear:
        return
    noise = 1 + 1e-9 * np.random.default_rng(seed).uniform(-1, 1, len(values))
    assert summary(values * noise, mean=True) == here


def test_a_value_on_a_boundary_is_refused_while_saving():
    on_boundary = (0.5 - 0.0137) * 0.1  # half a unit after the offset, for a spread near 1
    values = [on_boundary, 1.2]
    summary(values)
    with pytest.raises(TooNear, match="boundary"):
        summary(values, strict=True)


def test_rounding_noise_counts_as_zero_and_never_as_minus_zero():
    assert summary([1e-17, -3e-16]) == "0"
    assert summary([-1e-12, 1.0]) == "0.0 to 1.0"
    assert "-0.0" not in summary([-0.04, 1.0])


def test_log_axes_are_summarised_in_powers_of_ten():
    assert summary([1e-3, 1.0], log=True) == "10^-3.0 to 10^0.0"
    assert summary([1e-16, 1.0], log=True) == summary([3e-16, 1.0], log=True)


def test_gaps_are_left_out_and_equal_values_stand_once():
    assert summary([np.nan, 2.0, 2.0]) == "2.00"
    assert summary([np.nan]) == "none"


def drawn(name, y, kind="line", visible=True, **meta):
    meta = {"panel": "left", "kind": kind} | meta
    x = list(range(len(y)))
    return go.Scatter(x=x, y=y, name=name, visible=visible, meta=meta)


def test_lines_come_from_the_figures_own_data():
    figure = go.Figure(
        [
            drawn("fit", [1, 3, 5]),
            drawn("old", [1], visible=False),
            drawn("run", [7, 9], kind="points", coarse=True),
        ]
    )
    lines = figure_lines(figure)
    assert lines == [
        "left · fit: line of 3, x 0.0 to 2.0, y 1.0 to 5.0, mean 3.0",
        "left · run: points of 2",
    ]
    figure.data[0].y = [1, 3, 8]
    assert figure_lines(figure)[0] != lines[0]
