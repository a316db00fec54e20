"""Guess first: the reader commits to an answer before the lab shows the measured one.

A guess is kept with the progress and shown again on the next run. What the notebook saves and nbval
compares is the question with its measured answer, so it is the same whoever guessed what.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from html import escape

from kernellab.lab import cards, progress
from kernellab.lab.numbers import fmt

_STEPS = 100  # of the slider


class Prediction(cards.Card):
    """A question that takes a guess before it shows its measured answer."""

    def __init__(self, question, measured, options, span, explain, show):
        self.question = question
        self.measured = measured
        self.options = options  # the choices, or None for a slider
        self.span = span  # (low, high, step) of the slider, or None
        self.explain = explain
        self._show = show
        self._reveal = None

    @property
    def guess(self) -> str | None:
        """The last committed guess, kept across runs, or None."""
        kept = progress.guesses(self.question, limit=1)
        return kept[0].guess if kept else None

    def commit(self, guess) -> None:
        """Keep a guess, and show the measured answer beside it.

        Raises
        ------
        ValueError if the guess is no option, or no number on the slider.
        """
        progress.store_guess(self.question, self._guess_text(guess))
        if self._reveal is not None:
            self._reveal.value = self._answer(guess)

    def text(self) -> str:
        """One line that does not depend on what was guessed."""
        return f"predict · {self.question} · {self._choices()} · measured: {self._measured_text()}"

    def markdown(self) -> str:
        """The question for a page that runs no widgets: the answer stays hidden there."""
        return f"**Predict:** {self.question}\n\n{self._choices()}. Run this cell to guess."

    def build(self):
        """The card: radio buttons or a slider, a button to commit, then the answer."""
        picker = self._radio_buttons() if self.options else self._slider()
        button = cards.button(
            "Commit my guess", disabled=self.options is not None and picker.value is None
        )
        self._reveal = cards.html("")

        def chosen(change):
            button.disabled = change["new"] is None

        def committed(_button):
            self.commit(picker.value)
            button.description = "Commit another guess"

        if self.options:
            picker.observe(chosen, "value")
        button.on_click(committed)
        earlier = self.guess
        if earlier is not None:
            again = cards.head(f"Your guess last time: {earlier}. Guess again to see the answer.")
            self._reveal.value = again
        return cards.card(
            cards.head("Predict, before you look") + cards.statement(self.question),
            picker,
            button,
            self._reveal,
        )

    def _radio_buttons(self):
        import ipywidgets

        return ipywidgets.RadioButtons(
            options=self.options, value=None, layout={"width": "max-content"}
        )

    def _slider(self):
        import ipywidgets

        low, high, step = self.span
        middle = low + step * round((high - low) / 2 / step)
        whole = all(isinstance(v, int) for v in self.span)
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        extra = {} if whole else {"readout_format": ".4g"}
        return kind(
            value=middle,
            min=low,
            max=high,
            step=step,
            description="my guess",
            layout={"width": "480px", "max_width": "100%"},
            **extra,
        )

    def _choices(self) -> str:
        if self.options:
            return " | ".join(self.options)
        low, high, _step = self.span
        return f"from {self._show(low)} to {self._show(high)}"

    def _measured_text(self) -> str:
        return self.measured if self.options else self._show(self.measured)

    def _guess_text(self, guess) -> str:
        if self.options:
            if guess not in self.options:
                raise ValueError(f"guess must be one of {list(self.options)}, got {guess!r}")
            return guess
        low, high, _step = self.span
        if not _is_number(guess) or not low <= guess <= high:
            raise ValueError(f"guess must be a number from {low} to {high}, got {guess!r}")
        return f"{guess:,.6g}{self._show.unit}"

    def _answer(self, guess) -> str:
        measured = self._measured_text()
        if guess == self.measured or self._guess_text(guess) == measured:
            word = "as you guessed"
        elif self.options:
            word = "not what you guessed"
        else:
            side = "above" if self.measured > guess else "below"
            word = f"{self._show(abs(self.measured - guess))} {side} your guess"
        why = f'<p style="margin: 8px 0 0">{escape(self.explain)}</p>' if self.explain else ""
        note = progress.problem()
        return (
            cards.pair(
                cards.side("You guessed", [("", self._guess_text(guess))], ""),
                cards.side("Measured", [("", measured)], word, "good"),
            )
            + why
            + (cards.head(note) if note else "")
        )


class _Shown:
    """Numbers of one question, printed alike."""

    def __init__(self, digits: int, unit: str):
        self.digits = digits
        self.unit = f" {unit}" if unit else ""

    def __call__(self, value) -> str:
        return fmt(value, self.digits) + self.unit


def predict(
    question: str,
    *,
    answer: float | str | Callable[[], float | str],
    options: Sequence[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    unit: str = "",
    digits: int = 2,
    explain: str = "",
) -> Prediction:
    """Ask for a guess before a surprise; the measured answer shows only after it.

    Parameters
    ----------
    question : one line; guesses are kept under it.
    answer : the measured answer, or a function that measures it: one of ``options``, or a number.
    options : the choices, at least two; or else
    low, high : ends of the slider, with ``step`` (a hundredth of the way by default, or 1 between
        integers) and ``unit``. The answer may lie outside.
    digits : significant digits of the answer, as in :func:`kernellab.lab.numbers.fmt`.
    explain : shown with the answer.

    Returns
    -------
    Prediction, a card.

    Raises
    ------
    ValueError if an argument is not what is described here.
    """
    question = cards.one_line("question", question, forbid="·")
    if not isinstance(explain, str):
        raise ValueError(f"explain must be a string, got {explain!r}")
    if not isinstance(unit, str):
        raise ValueError(f"unit must be a string, got {unit!r}")
    if (options is None) == (low is None and high is None):
        raise ValueError("give either options, or low and high, got both or neither")
    span = None if options is not None else _span(low, high, step)
    options = None if options is None else _options(options)
    measured = answer() if callable(answer) else answer
    if options and measured not in options:
        raise ValueError(f"answer must be one of the options {list(options)}, got {measured!r}")
    if span and not _is_number(measured):
        raise ValueError(f"answer must be a finite number, got {measured!r}")
    made = Prediction(question, measured, options, span, explain, _Shown(digits, unit))
    made.text()  # prints the answer once: while saving, a doubtful digit fails here
    return made


def _is_number(value) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and math.isfinite(value)


def _options(options: Sequence[str]) -> tuple[str, ...]:
    if isinstance(options, str):
        raise ValueError(f"options must be a sequence of strings, got the string {options!r}")
    texts = tuple(cards.one_line("options", option, forbid="·") for option in options)
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise ValueError(f"options must be at least two different strings, got {list(options)!r}")
    return texts


def _span(low, high, step) -> tuple[float, float, float]:
    for name, value in (("low", low), ("high", high)):
        if not _is_number(value):
            raise ValueError(f"{name} must be a finite number, got {value!r}")
    if not low < high:
        raise ValueError(f"low must be less than high, got low={low!r}, high={high!r}")
    if step is None:
        whole = isinstance(low, int) and isinstance(high, int) and high - low >= 5
        step = max(1, round((high - low) / _STEPS)) if whole else (high - low) / _STEPS
    if not _is_number(step) or not 0 < step <= high - low:
        raise ValueError(f"step must lie in (0, high - low], got {step!r}")
    return low, high, step
