"""A claim is measured, its control fails it, and the saved line can be read back."""

import json
import math

import numpy as np
import pytest

from kernellab.lab import claims
from kernellab.lab.claims import ClaimError, claim

GOOD = {
    "measured": lambda: 3e-15,
    "holds": lambda gap: gap < 1e-10,
    "control": lambda: 0.1234,
    "control_label": "ridge at λ",
    "measured_label": "largest difference",
    "floor": 1e-10,
}


def make(**changes):
    arguments = {"paper": "some-paper", "statement": "distillation is ridge at λ/α", **GOOD}
    return claim(**{**arguments, **changes})


def test_one_deterministic_line():
    line = (
        "claim holds · some-paper · distillation is ridge at λ/α · largest difference: < 1e-10"
        " · control (ridge at λ): 0.12, fails as it must"
    )
    assert make().text() == repr(make()) == line


def test_dicts_show_as_pairs_and_holds_gets_the_very_value():
    given = {"slope": -0.83, "best": 2}
    seen = []

    def holds(value):
        seen.append(value)
        return value["slope"] < -0.8

    shown = make(
        measured=lambda: given, holds=holds, control=lambda: {"slope": -0.5, "best": 3}, unit="dB"
    )
    assert seen[0] is given
    assert "largest difference: slope -0.83 dB, best 2 dB · control" in shown.text()


def test_a_false_claim_and_a_control_that_cannot_fail_are_errors():
    with pytest.raises(ClaimError, match=r"some-paper: the claim does not hold.*0\.2"):
        make(measured=lambda: 0.2)
    with pytest.raises(ClaimError, match=r"control satisfies the claim too.*2e-16"):
        make(control=lambda: 2e-16)


@pytest.mark.parametrize("which", ["measured", "control"])
def test_nan_decides_nothing(which):
    with pytest.raises(ClaimError, match=f"{which} gave NaN"):
        make(**{which: lambda: math.nan})
    with pytest.raises(ClaimError, match=f"{which} gave NaN"):
        make(**{which: lambda: {"a": 1.0, "b": np.float64("nan")}}, holds=lambda v: True)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"paper": "Not A Slug"}, "paper"),
        ({"statement": ""}, "statement"),
        ({"statement": "two\nlines"}, "statement"),
        ({"statement": "a · b"}, "statement"),
        ({"control_label": ""}, "control_label"),
        ({"measured_label": "a: b"}, "measured_label"),
        ({"measured": lambda: {"a · b": 0.0}, "holds": lambda v: v != 0.1234}, "'·'"),
        ({"measured": 0.1}, "measured must be a function"),
        ({"control": None}, "control must be a function"),
        ({"holds": True}, "holds must be a function"),
        ({"holds": lambda v: np.array([True, False])}, "holds must return one bool"),
        ({"measured": lambda: "small"}, "measured must return a number"),
        ({"measured": lambda: np.zeros(2)}, "measured must return a number"),
        ({"measured": dict}, "empty dict"),
        ({"digits": 0}, "digits"),
        ({"unit": 3}, "unit"),
    ],
)
def test_wrong_use_is_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        make(**changes)


def test_doubtful_digits_are_refused_while_saving(monkeypatch):
    monkeypatch.setenv("KERNELLAB_SAVING", "1")
    with pytest.raises(ValueError, match="prints as"):
        make(control=lambda: 0.1250000001)


def test_button_runs_the_control_again():
    answers = iter([0.12, 0.34, 1e-12, RuntimeError("no data")])

    def control():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    card = make(control=control).widget()
    *_, button, live = card.children
    assert live.value == ""
    for expected in ("0.34", "holds, which it must not", "RuntimeError: no data"):
        button.click()
        assert expected in live.value
        assert not button.disabled


def test_card_has_three_forms():
    shown = make(statement="<b>a</b> & b")
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/markdown", claims.cards.WIDGET_MIME}
    everything = "".join(getattr(child, "value", "") for child in shown.widget().children)
    assert "&lt;b&gt;a&lt;/b&gt; &amp; b" in everything
    assert "fails as it must" in everything
    assert shown.widget() is shown.widget()


def test_claims_are_read_back_from_a_notebook(tmp_path):
    lines = [make().text(), make(measured=lambda: {"a": 1e-12}, holds=lambda v: v != 0.1234).text()]
    outputs = [
        {"output_type": "execute_result", "data": {"text/plain": [line]}, "metadata": {}}
        for line in lines
    ]
    cells = [
        {"cell_type": "markdown", "source": "claim holds"},
        {"cell_type": "code", "source": "", "outputs": [{"output_type": "stream", "text": "x"}]},
        {"cell_type": "code", "source": "", "outputs": outputs},
    ]
    path = tmp_path / "lab.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    first, second = claims.from_notebook(path)
    assert (first.slug, first.statement) == ("some-paper", "distillation is ridge at λ/α")
    assert (first.measured_label, first.measured) == ("largest difference", "< 1e-10")
    assert (first.control_label, first.control, first.cell) == ("ridge at λ", "0.12", 2)
    assert second.measured == "a < 1e-10"


@pytest.mark.parametrize("content", [None, "not json", "[]", "{}"])
def test_no_notebook_is_a_clear_error(tmp_path, content):
    path = tmp_path / "lab.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=r"path must be a Jupyter notebook, .*lab\.ipynb"):
        claims.from_notebook(path)


def test_claims_of_this_process_are_kept_once():
    claims._MADE.clear()
    make()
    make()
    make(statement="another")
    assert [c.statement for c in claims.made()] == ["distillation is ridge at λ/α", "another"]
