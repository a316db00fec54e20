"""Controls know their allowed values, their ends and how a value is written."""

import numpy as np
import pytest

from kernellab.lab import choice, choices, int_slider, log_slider, slider, toggle

CONTROLS = {
    "slider": slider(-1, 1, 0.25, step=0.05),
    "log_slider": log_slider(1e-6, 1, 1e-2),
    "int_slider": int_slider(8, 256, 64, step=8),
    "choice": choice(["gaussian", "laplace"], "laplace"),
    "choices": choices(["ridge", "gd", "mean"], ["gd"]),
    "toggle": toggle(True),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_default_extremes_and_random_values_are_allowed(name):
    control = CONTROLS[name]
    rng = np.random.default_rng(0)
    values = [control.default, *control.extremes(), *(control.random(rng) for _ in range(50))]
    for value in values:
        assert control.check(name, value) == value
        assert control.format(value)


@pytest.mark.parametrize("name", CONTROLS)
def test_random_values_follow_the_seed_and_vary(name):
    control = CONTROLS[name]
    drawn = [[control.random(np.random.default_rng(s)) for s in range(20)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(map(str, drawn[0]))) > 1


@pytest.mark.parametrize("name", CONTROLS)
def test_the_browser_is_told_label_kind_and_help(name):
    spec = CONTROLS[name].spec("step_size")
    assert spec["label"] == "step size"
    assert spec["kind"] == name
    assert "help" in spec


def test_the_empty_selection_is_among_the_extremes():
    assert () in CONTROLS["choices"].extremes()
    assert CONTROLS["choices"].extremes()[-1] == ("ridge", "gd", "mean")


def test_a_selection_comes_in_the_order_of_the_options():
    assert CONTROLS["choices"].check("m", ["mean", "ridge"]) == ("ridge", "mean")


@pytest.mark.parametrize(
    ("control", "value", "text"),
    [
        (log_slider(1e-6, 1, 1e-2), 1e-2, "0.01"),
        (log_slider(1e-6, 1, 1e-2), 1e-5, "1e-05"),
        (slider(0, 1, 0.5), 0.30000000000000004, "0.3"),
        (int_slider(1, 2000, 5), 1024, "1024"),
        (choices(["a", "b"]), (), "none"),
        (choices(["a", "b"]), ("a", "b"), "a + b"),
        (toggle(), True, "on"),
    ],
)
def test_values_are_written_plainly(control, value, text):
    assert control.format(value) == text


@pytest.mark.parametrize(
    ("low", "high", "step"), [(0, 1, 0.01), (0.01, 1, 0.005), (-3, 3, 0.05), (0, 4e-5, 2e-7)]
)
def test_without_a_step_a_slider_stops_at_round_numbers(low, high, step):
    assert slider(low, high, low).step == pytest.approx(step, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("slider", 1.2, "width must lie between -1 and 1, got 1.2"),
        ("slider", "wide", "width must be a number"),
        ("slider", True, "width must be a number"),
        ("slider", float("nan"), "width must lie between"),
        ("log_slider", 0.0, "width must lie between 1e-06 and 1"),
        ("int_slider", 8.5, "width must be a whole number"),
        ("choice", "cauchy", "width must be one of 'gaussian', 'laplace', got 'cauchy'"),
        ("choices", "ridge", "width must be a list out of"),
        ("choices", ["ridge", "sgd"], "got 'sgd' in it"),
        ("toggle", 1, "width must be True or False, got 1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(name, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        CONTROLS[name].check("width", value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: slider(1, 0, 0.5),
        lambda: slider(0, 1, 2),
        lambda: slider(0, 1, 0.5, step=0),
        lambda: slider(0, float("inf"), 0.5),
        lambda: log_slider(0, 1, 0.5),
        lambda: int_slider(0, 10, 2.5),
        lambda: choice([]),
        lambda: choice(["a", "a"]),
        lambda: choice(["a"], "b"),
        lambda: choices(["a"], ["b"]),
        lambda: toggle("yes"),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError):
        make()
