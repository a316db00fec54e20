"""Exercises: the learner writes a function, and is told at once, in one sentence, what is wrong.

An :class:`Exercise` ships its solution and typical wrong answers; :func:`verify` proves in the
tests that the solution passes and that each wrong answer is refused with its own sentence. An
attempt is on disk before it is judged, so nothing is lost when the function never comes back.
"""

from __future__ import annotations

import functools
import inspect
import re
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from kernellab.lab import cards, progress
from kernellab.lab.source import Source, plain, show_source, source_of

_ID = re.compile(r"[a-z0-9_]+/[a-z0-9_]+")
_ATTEMPTS_SHOWN = 5


class Refused(Exception):
    """What a checker raises: one helpful sentence for the learner."""


class NotWritten(Refused):
    """The function is still the stub that the notebook began with."""


@dataclass(frozen=True)
class Wrong:
    """A typical wrong answer; ``says`` must occur in the sentence that refuses it."""

    name: str
    function: Callable
    says: str

    def __post_init__(self):
        cards.one_line("name", self.name)
        cards.one_line("says", self.says)
        if not callable(self.function):
            raise ValueError(f"function must be a function, got {type(self.function).__name__}")


class Verdict(cards.Card):
    """Passed, or refused with one sentence. It is true when passed."""

    def __init__(self, exercise: str, passed: bool, message: str, notes: Sequence[str] = ()):
        self.exercise = exercise
        self.passed = passed
        self.message = message
        self._notes = notes

    def __bool__(self) -> bool:
        return self.passed

    def text(self) -> str:
        """The line that nbval compares: nothing in it depends on earlier attempts."""
        return f"{'passed' if self.passed else 'not yet'} · {self.exercise} · {self.message}"

    def markdown(self) -> str:
        """The verdict for a page that runs no widgets."""
        return f"**{'Passed' if self.passed else 'Not yet'}.** {self.message}"

    def build(self):
        """The verdict as a card, with notes that only this reader gets."""
        word = "Passed" if self.passed else "Not yet"
        kind = "good" if self.passed else "bad"
        notes = "".join(cards.head(note) for note in self._notes)
        return cards.card(
            f'<div class="kl-side kl-{kind}"><div class="kl-word">{word}</div>'
            f"<div>{escape(self.message[:1].upper() + self.message[1:])}</div></div>{notes}"
        )


class Exercise(cards.Card):
    """A task, its checker, its solution and the wrong answers that the checker must tell apart.

    Parameters
    ----------
    id : ``lab/name``; attempts are kept under it.
    title : one line.
    task : what to write, in Markdown.
    function : the name of the function to write.
    check : called with the learner's function; raises :class:`Refused` with one sentence, or
        returns None when all is well.
    solution : a function that passes.
    wrong : at least two typical wrong answers.
    hints : shown one by one when the learner asks.
    changes_input : allow the function to change the arrays it is given.

    Raises
    ------
    ValueError if an argument is not what is described here.
    """

    def __init__(
        self,
        id: str,
        *,
        title: str,
        task: str,
        function: str,
        check: Callable[[Callable], None],
        solution: Callable,
        wrong: Sequence[Wrong],
        hints: Sequence[str] = (),
        changes_input: bool = False,
    ):
        if not isinstance(id, str) or not _ID.fullmatch(id):
            raise ValueError(f"id must look like 'lab_name/exercise_name', got {id!r}")
        if not isinstance(function, str) or not function.isidentifier():
            raise ValueError(f"function must be the name of a function, got {function!r}")
        if not isinstance(task, str) or not task.strip():
            raise ValueError(f"task must be a non-empty string of Markdown, got {task!r}")
        for name, value in (("check", check), ("solution", solution)):
            if not callable(value):
                raise ValueError(f"{name} must be a function, got {type(value).__name__}")
        if len(wrong) < 2 or not all(isinstance(w, Wrong) for w in wrong):
            raise ValueError(f"wrong must hold at least two Wrong(...), got {list(wrong)!r}")
        if isinstance(hints, str) or not all(isinstance(h, str) and h.strip() for h in hints):
            raise ValueError(f"hints must be a sequence of non-empty strings, got {hints!r}")
        self.id = id
        self.title = cards.one_line("title", title)
        self.task = inspect.cleandoc(task)
        self.function = function
        self.solution = solution
        self.wrong = tuple(wrong)
        self.hints = tuple(hints)
        self._check = check
        self._changes_input = bool(changes_input)
        self._history = None

    @property
    def signature(self) -> str:
        """The line to write, taken from the solution, such as ``fit(gram, y, ridge)``."""
        return f"{self.function}{inspect.signature(plain(self.solution))}"

    def check(self, function: Callable) -> Verdict:
        """Keep the attempt on disk, then judge it.

        Returns
        -------
        Verdict: passed, or refused with one sentence. A function that raises is refused with a
        sentence that names the input; only a bug of the exercise itself or an interrupt raises.
        """
        attempt = progress.start_attempt(self.id, _source_or_name(function))
        try:
            passed, message = self.judge(function)
        except KeyboardInterrupt:
            progress.finish_attempt(attempt, False, "Stopped by hand before it came back.")
            raise
        progress.finish_attempt(attempt, passed, message)
        self._refresh_history()
        saved = progress.problem()
        return Verdict(self.id, passed, message, [saved] if saved else [])

    def judge(self, function: Callable) -> tuple[bool, str]:
        """As :meth:`check`, but nothing is kept: (passed, sentence)."""
        if not callable(function):
            return False, (
                f"Hand over the function itself, check({self.function}), without calling it: "
                f"this is {describe(function)}."
            )
        candidate = _Candidate(function, self.function, self._changes_input)
        try:
            self._check(candidate)
        except Refused as refusal:
            return False, str(refusal)
        except Exception as error:
            return False, candidate.explain(error)
        if not candidate.called:
            raise RuntimeError(f"the checker of {self.id} never called the function it was given")
        return True, f"{self.function} does what it should on every input that was tried."

    def show_solution(self) -> Source:
        """The solution's source, for when all else fails."""
        return show_source(self.solution)

    def restore(self) -> str:
        """The source of your last attempt, to copy into a cell."""
        last = progress.attempts(self.id, limit=1)
        return _Text(last[0].source if last else f"# No attempt at {self.id} is kept yet.")

    def text(self) -> str:
        """One line, the same on every machine and after any number of attempts."""
        return f"exercise · {self.id} · {self.title} · write {self.signature}"

    def markdown(self) -> str:
        """The task for a page that runs no widgets."""
        hints = "".join(
            f"\n\n<details><summary>Hint {number}</summary>\n\n{hint}\n\n</details>"
            for number, hint in enumerate(self.hints, 1)
        )
        return (
            f"**Exercise: {self.title}**\n\n{self.task}\n\n```python\ndef {self.signature}:\n```"
            f"{hints}"
        )

    def build(self):
        """The task card: task, signature, hints and your last attempts."""
        self._history = cards.html("")
        self._refresh_history()
        return cards.card(
            cards.head("Exercise") + cards.statement(self.title),
            cards.markdown_output(f"{self.task}\n\n```python\ndef {self.signature}:\n```"),
            *[_hint(number, hint) for number, hint in enumerate(self.hints, 1)],
            self._history,
        )

    def _refresh_history(self) -> None:
        if self._history is not None:
            self._history.value = _history(self.id)


def verify(exercise: Exercise) -> None:
    """Prove that an exercise can be trusted; the tests call it for each one.

    Raises
    ------
    AssertionError if the solution is refused, a wrong answer passes, is refused with a sentence
    that lacks its ``says`` or with another one's sentence, or a stub is not recognised.
    """
    passed, message = exercise.judge(exercise.solution)
    if not passed:
        raise AssertionError(f"{exercise.id}: the solution is refused: {message}")
    sentences: dict[str, str] = {}
    for wrong in exercise.wrong:
        passed, message = exercise.judge(wrong.function)
        if passed:
            raise AssertionError(f"{exercise.id}: the wrong answer {wrong.name!r} passes")
        if wrong.says not in message:
            raise AssertionError(
                f"{exercise.id}: {wrong.name!r} is refused with {message!r}, "
                f"which does not say {wrong.says!r}"
            )
        if message in sentences:
            raise AssertionError(
                f"{exercise.id}: {wrong.name!r} and {sentences[message]!r} get the same sentence: "
                f"{message!r}"
            )
        sentences[message] = wrong.name
    for stub in (lambda *args, **kwargs: None, lambda *args, **kwargs: ...):
        passed, message = exercise.judge(stub)
        if passed or not message.startswith("Not written yet"):
            raise AssertionError(f"{exercise.id}: an empty function gets {message!r}")


# Helpers for checkers: each raises Refused with one sentence, or comes back.


def call(candidate: Callable, *args, on: str = "", **kwargs):
    """Call the learner's function; ``on`` names the input in every sentence that follows."""
    if isinstance(candidate, _Candidate):
        candidate.on = on
    return candidate(*args, **kwargs)


def expect(condition: bool, sentence: str) -> None:
    """Refuse with the sentence unless the condition holds."""
    if not condition:
        raise Refused(sentence)


def expect_close(got, want, says: str, *, rtol: float = 1e-7, atol: float = 1e-9) -> None:
    """Refuse unless ``got`` is, entry by entry, within ``atol + rtol |want|`` of ``want``.

    The sentence begins with ``says`` and tells the shape, or the first entry that is furthest off.
    """
    want = np.asarray(want)
    try:
        array = np.asarray(got, dtype=complex if np.iscomplexobj(want) else float)
    except (TypeError, ValueError):
        raise Refused(f"{says}: you return {describe(got)}, it must be numbers") from None
    if array.shape != want.shape:
        raise Refused(f"{says}: you return {_shape(array)}, it must be {_shape(want)}")
    with np.errstate(invalid="ignore"):
        off = np.abs(array - want)
        bad = ~((off <= atol + rtol * np.abs(want)) | (array == want))
    if not bad.any():
        return
    score = np.where(bad, np.nan_to_num(off, nan=np.inf, posinf=np.inf), -1.0)
    where = np.unravel_index(np.argmax(score), want.shape) if want.shape else ()
    place = f"entry {_index(where)} is" if want.shape else "you return"
    raise Refused(f"{says}: {place} {_short(array[where])}, it must be {_short(want[where])}")


def expect_shape(got, shape: tuple[int, ...], says: str) -> None:
    """Refuse unless ``got`` is an array of this shape."""
    if np.shape(got) != tuple(shape):
        raise Refused(
            f"{says}: you return {_shape(np.asarray(got))}, it must be {_shape(np.empty(shape))}"
        )


def expect_raises(error: type[Exception], candidate: Callable, *args, says: str, **kwargs) -> None:
    """Refuse unless the learner's function raises ``error`` on this input."""
    try:
        got = candidate(*args, **kwargs)
    except error:
        return
    except NotWritten:
        raise
    except Exception as other:
        raise Refused(
            f"{says}: it raises {type(other).__name__}, it must raise {error.__name__}"
        ) from other
    raise Refused(f"{says}: you return {describe(got)}, it must raise {error.__name__}")


def describe(value) -> str:
    """A value in a few words: small ones as they are, arrays by their shape."""
    if isinstance(value, np.ndarray):
        if value.size <= 6 and value.dtype.kind in "biuf":
            return " ".join(np.array2string(value, precision=4, separator=", ").split())
        return _shape(value)
    if isinstance(value, bool | int | float | complex | np.generic):
        return _short(value)
    if inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, _Candidate):
        return f"the function {getattr(value, '__name__', 'given')}"
    text = repr(value)
    if len(text) <= 40 and " at 0x" not in text:
        return text
    return f"a {type(value).__name__}" + (f" of {len(value)}" if hasattr(value, "__len__") else "")


class _Candidate:
    """The learner's function, watched: what it was given last, and whether it spoilt its input."""

    def __init__(self, function: Callable, name: str, changes_input: bool):
        functools.update_wrapper(self, function, updated=())
        self.function = function
        self.name = name
        self.on = ""
        self.called = False
        self._changes_input = changes_input
        self._arguments = ""
        self._result: object = None
        self._raised: BaseException | None = None

    def __call__(self, *args, **kwargs):
        self.called = True
        pieces = [describe(a) for a in args] + [f"{k}={describe(v)}" for k, v in kwargs.items()]
        self._arguments = f"{self.name}({', '.join(pieces)})"
        before = [(a, a.copy()) for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
        self._raised = None
        try:
            self._result = result = self.function(*args, **kwargs)
        except NotImplementedError as error:
            raise NotWritten(self._not_written()) from error
        except Exception as error:
            self._raised = error
            raise
        if result is None or result is Ellipsis:
            raise NotWritten(self._not_written())
        for array, old in before:
            if not self._changes_input and not np.array_equal(array, old, equal_nan=_floats(old)):
                raise Refused(
                    f"{self.name} changes the array it was given, so the next use of that array is "
                    "wrong; work on a copy."
                )
        return result

    def explain(self, error: Exception) -> str:
        """One sentence on an exception that reached the checker's caller."""
        reason = f"{type(error).__name__} ({_first_line(error)})"
        on = f"{self.on}, {self._arguments}" if self.on else self._arguments
        if error is self._raised:
            line = _line_in(self.function, error)
            return f"It raised {reason} on {on}" + (f", in the line `{line}`." if line else ".")
        if not self.called:
            raise error
        return f"The check could not use {describe(self._result)}, which {on} returned: {reason}."

    def _not_written(self) -> str:
        return f"Not written yet: {self.name} returns nothing so far; complete it and check again."


class _Text(str):
    """A string that a notebook shows as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _source_or_name(function) -> str:
    try:
        return source_of(function)
    except ValueError:
        return f"# no source: {describe(function)}"


def _line_in(function, error: BaseException) -> str:
    """The learner's line in which the exception was raised, or passed through last."""
    file = getattr(getattr(plain(function), "__code__", None), "co_filename", None)
    lines = [f.line for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return lines[-1].strip() if lines and lines[-1] else ""


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "no message"


def _floats(array: np.ndarray) -> bool:
    return array.dtype.kind in "fc"


def _shape(array: np.ndarray) -> str:
    return f"an array of shape {array.shape}" if np.ndim(array) else "a single number"


def _index(where: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(int(i)) for i in where) + "]"


def _short(value) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float | complex):
        return f"{value:.4g}"
    return repr(value)


def _hint(number: int, hint: str):
    import ipywidgets

    inside = ipywidgets.Accordion(
        children=(cards.markdown_output(hint),), titles=(f"Hint {number}",)
    )
    inside.selected_index = None
    return inside


def _history(exercise: str) -> str:
    kept = progress.attempts(exercise)
    note = progress.problem()
    lines = [cards.head(note)] if note else []
    if not kept:
        return "".join([*lines, cards.head("No attempts yet. They are kept on your own disk.")])
    word = {True: "passed", False: "not yet", None: "never came back"}
    rows = "".join(
        f"<tr><td>{time.strftime('%Y-%m-%d %H:%M', time.localtime(a.time))}</td>"
        f"<td>{word[a.passed]}</td><td>{escape(a.message)}</td></tr>"
        for a in kept[:_ATTEMPTS_SHOWN]
    )
    passed = "passed" if any(a.passed for a in kept) else "not passed yet"
    many = "1 attempt" if len(kept) == 1 else f"{len(kept)} attempts"
    return "".join(
        [
            *lines,
            f"<details><summary>Your work: {many}, {passed}</summary><table>{rows}</table>",
            f"<pre>{escape(kept[0].source)}</pre></details>",
        ]
    )
