"""A prediction takes the guess first, keeps it, and shows the measured answer after it."""

import math

import pytest

from kernellab.lab import cards, progress
from kernellab.lab.predictions import predict


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERNELLAB_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(progress, "_pending", [])
    monkeypatch.setattr(progress, "_notes", {})


def which(**changes):
    arguments = {
        "question": "Which fit is smoother?",
        "answer": lambda: "ridge",
        "options": ["ridge", "interpolation"],
        "explain": "It shrinks the small eigenvalues.",
    }
    return predict(**{**arguments, **changes})


def how_many(**changes):
    arguments = {"question": "How many rounds?", "answer": 12.34, "low": 0, "high": 50}
    return predict(**{**arguments, **changes})


def everything(prediction):
    return "".join(str(getattr(child, "value", "")) for child in prediction.widget().children)


def test_text_is_one_line_whoever_guessed_what():
    prediction = which()
    line = "predict · Which fit is smoother? · ridge | interpolation · measured: ridge"
    assert prediction.text() == line
    prediction.commit("interpolation")
    assert prediction.text() == which().text() == line
    assert how_many(unit="dB").text() == (
        "predict · How many rounds? · from 0 dB to 50 dB · measured: 12 dB"
    )


def test_the_answer_shows_after_the_guess_only():
    prediction = which()
    assert "Measured" not in everything(prediction)
    assert "measured: ridge" not in prediction.markdown()
    _style, _question, picker, button, _reveal = prediction.widget().children
    assert picker.value is None and button.disabled
    picker.value = "interpolation"
    assert not button.disabled and "Measured" not in everything(prediction)
    button.click()
    shown = everything(prediction)
    assert "You guessed" in shown and "not what you guessed" in shown
    assert "It shrinks the small eigenvalues." in shown
    picker.value = "ridge"
    button.click()
    assert "as you guessed" in everything(prediction)


def test_a_guess_is_shown_on_the_next_run_without_the_answer():
    assert which().guess is None
    which().commit("ridge")
    again = which()
    assert again.guess == "ridge"
    assert "Your guess last time: ridge" in everything(again)
    assert "Measured" not in everything(again)


def test_slider():
    prediction = how_many()
    _style, _question, slider, button, _reveal = prediction.widget().children
    assert (slider.min, slider.max, slider.step, slider.value) == (0, 50, 1, 25)
    slider.value = 7
    button.click()
    assert prediction.guess == "7"
    assert ">12</div>" in everything(prediction)
    assert "5.3 above your guess" in everything(prediction)
    prediction.commit(12)
    assert "as you guessed" in everything(prediction)
    prediction.commit(50)
    assert "38 below your guess" in everything(prediction)
    assert how_many(low=0.0, high=1.0).widget().children[2].step == pytest.approx(0.01)
    assert how_many(low=0, high=1).widget().children[2].value == pytest.approx(0.5)


def test_three_forms():
    bundle = which()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/markdown", cards.WIDGET_MIME}


@pytest.mark.parametrize("guess", ["neither", None, 3])
def test_a_guess_must_be_an_option(guess):
    with pytest.raises(ValueError, match="guess must be one of"):
        which().commit(guess)


@pytest.mark.parametrize("guess", [51, -1, math.nan, "3", True])
def test_a_guess_must_be_on_the_slider(guess):
    with pytest.raises(ValueError, match="guess must be a number from 0 to 50"):
        how_many().commit(guess)


@pytest.mark.parametrize(
    ("make", "changes", "complaint"),
    [
        (which, {"question": ""}, "question"),
        (which, {"question": "a · b"}, "question"),
        (which, {"answer": "lasso"}, "answer"),
        (which, {"options": ["ridge"]}, "options"),
        (which, {"options": ["ridge", "ridge"]}, "options"),
        (which, {"options": "ridge"}, "options"),
        (which, {"options": None}, "either options, or low and high"),
        (which, {"low": 1, "high": 2}, "either options, or low and high"),
        (which, {"explain": None}, "explain"),
        (how_many, {"answer": math.nan}, "answer"),
        (how_many, {"answer": "12"}, "answer"),
        (how_many, {"low": None}, "low"),
        (how_many, {"high": 0}, "low must be less than high"),
        (how_many, {"high": math.inf}, "high"),
        (how_many, {"step": 0}, "step"),
        (how_many, {"unit": 3}, "unit"),
        (how_many, {"digits": 0}, "digits"),
    ],
)
def test_wrong_use_is_refused(make, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        make(**changes)


def test_a_doubtful_answer_is_refused_while_saving(monkeypatch):
    monkeypatch.setenv("KERNELLAB_SAVING", "1")
    with pytest.raises(ValueError, match="prints as"):
        how_many(answer=12.5000000001)
