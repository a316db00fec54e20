"""A checker answers with one helpful sentence, and an attempt is kept before it is judged."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from kernellab.lab import exercises, progress
from kernellab.lab.exercises import (
    Exercise,
    Refused,
    Wrong,
    call,
    expect,
    expect_close,
    expect_raises,
    expect_shape,
    verify,
)
from kernellab.paths import ROOT


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERNELLAB_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(progress, "_pending", [])
    monkeypatch.setattr(progress, "_notes", {})
    return tmp_path


def centre(x):
    """Subtract the mean."""
    return x - x.mean()


def forgets(x):
    return x.copy()


def halves(x):
    return x - x.mean() / 2


def check(candidate):
    x = np.array([1.0, 2.0, 6.0])
    got = call(candidate, x, on="three points")
    expect_shape(got, (3,), says="on three points")
    expect(not np.array_equal(got, x), "nothing was subtracted: the mean of your result is 3")
    expect_close(got, [-2, -1, 3], says="on three points")


def make(**changes):
    arguments = {
        "id": "means/centre",
        "title": "Centre a sample",
        "task": "Return $x - \\bar x$.",
        "function": "centre",
        "check": check,
        "solution": centre,
        "wrong": [
            Wrong("forgets", forgets, says="nothing was subtracted"),
            Wrong("halves", halves, says="entry [0] is -0.5, it must be -2"),
        ],
        "hints": ["What is the mean?"],
    }
    return Exercise(**{**arguments, **changes})


def test_solution_passes_and_is_kept():
    exercise = make()
    verdict = exercise.check(centre)
    assert verdict and verdict.passed
    assert verdict.text() == (
        "passed · means/centre · centre does what it should on every input that was tried."
    )
    (attempt,) = progress.attempts()
    assert attempt.passed and attempt.message == verdict.message
    assert attempt.source.startswith('def centre(x):\n    """Subtract')
    assert repr(exercise.restore()) == attempt.source
    assert "return x - x.mean()" in exercise.show_solution().markdown()


def sentence(function, **changes):
    passed, message = make(**changes).judge(function)
    assert not passed
    return message


def test_wrong_answers_get_their_own_sentence():
    verify(make())
    assert sentence(halves) == "on three points: entry [0] is -0.5, it must be -2"
    assert not make().check(halves)


def test_stubs_are_recognised():
    def raises(x):
        raise NotImplementedError

    for stub in (lambda x: None, lambda x: ..., raises):
        assert sentence(stub) == (
            "Not written yet: centre returns nothing so far; complete it and check again."
        )


def test_an_exception_names_its_input():
    def divides(x):
        return 1 / (len(x) - 3)

    assert sentence(divides) == (
        "It raised ZeroDivisionError (division by zero) on three points, centre([1., 2., 6.]), "
        "in the line `return 1 / (len(x) - 3)`."
    )
    assert "TypeError" in sentence(lambda: 3)


def test_results_of_the_wrong_kind():
    assert sentence(lambda x: x[:2]) == (
        "on three points: you return an array of shape (2,), it must be an array of shape (3,)"
    )
    assert "a single number" in sentence(lambda x: 1.5)
    assert "the function itself" in sentence(centre(np.ones(3)))

    def checker(candidate):
        return candidate(2) + np.ones(3)

    message = sentence(lambda x: "text", check=checker)
    assert message.startswith("The check could not use 'text', which centre(2) returned")


def test_spoilt_input_is_refused_unless_allowed():
    def in_place(x):
        x -= x.mean()
        return x

    assert "changes the array it was given" in sentence(in_place)
    exercise = make(changes_input=True, check=lambda c: expect_close(c(np.ones(2)), [0, 0], "ones"))
    assert exercise.judge(in_place)[0]


@pytest.mark.parametrize(
    ("got", "want", "fragment"),
    [
        ([1.0, np.nan], [1.0, 2.0], "entry [1] is nan, it must be 2"),
        ([[1.0, 2.0], [3.0, 5.0]], [[1, 2], [3, 4]], "entry [1, 1] is 5, it must be 4"),
        (0.012, 0.0, "you return 0.012, it must be 0"),
        ("x", 0.0, "you return 'x', it must be numbers"),
        ([np.inf, 1.0], [1.0, 1.0], "entry [0] is inf"),
        ([1j], [1.0], "it must be numbers"),
    ],
)
def test_expect_close_says_what_is_off(got, want, fragment):
    with pytest.raises(Refused) as refusal:
        expect_close(got, want, says="here")
    assert str(refusal.value).startswith("here: ")
    assert fragment in str(refusal.value)


def test_expect_close_accepts():
    expect_close(1 + 1e-12, 1.0, says="close")
    expect_close([np.inf, -np.inf, 0.0], [np.inf, -np.inf, 1e-12], says="infinite")
    expect_close([], [], says="empty")
    expect_close([1j], [1j], says="complex")


def test_expect_raises():
    def strict(x):
        if x < 0:
            raise ValueError("negative")
        return x

    expect_raises(ValueError, strict, -1, says="negative x")
    with pytest.raises(Refused, match="negative x: you return 3, it must raise ValueError"):
        expect_raises(ValueError, strict, 3, says="negative x")
    with pytest.raises(Refused, match="it raises ValueError, it must raise KeyError"):
        expect_raises(KeyError, strict, -1, says="negative x")


def test_verify_finds_untrustworthy_exercises():
    with pytest.raises(AssertionError, match="the solution is refused"):
        verify(make(solution=halves))
    with pytest.raises(AssertionError, match="'right' passes"):
        verify(make(wrong=[Wrong("right", centre, "x"), Wrong("halves", halves, "entry")]))
    with pytest.raises(AssertionError, match="does not say 'banana'"):
        verify(make(wrong=[Wrong("forgets", forgets, "banana"), Wrong("halves", halves, "entry")]))
    with pytest.raises(AssertionError, match="get the same sentence"):
        verify(make(wrong=[Wrong("one", halves, "entry"), Wrong("two", halves, "entry")]))

    def blind(candidate):
        try:
            candidate(1)
        except Exception:
            raise Refused("something") from None

    with pytest.raises(AssertionError):
        verify(make(check=blind))


def test_a_checker_that_never_calls_is_a_bug():
    with pytest.raises(RuntimeError, match="never called"):
        make(check=lambda candidate: None).judge(centre)

    def broken(candidate):
        raise KeyError("of the checker")

    with pytest.raises(KeyError):
        make(check=broken).judge(centre)


def test_an_interrupt_is_kept_and_passed_on():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make().check(interrupted)
    assert progress.attempts()[0].message == "Stopped by hand before it came back."


def test_text_does_not_depend_on_progress():
    exercise = make()
    before = exercise.text(), exercise.markdown(), make().check(halves).text()
    exercise.check(centre)
    assert before == (exercise.text(), exercise.markdown(), make().check(halves).text())
    assert exercise.text() == "exercise · means/centre · Centre a sample · write centre(x)"
    assert "<summary>Hint 1</summary>" in exercise.markdown()
    assert set(exercise._repr_mimebundle_()) == {
        "text/plain",
        "text/markdown",
        exercises.cards.WIDGET_MIME,
    }


def test_card_shows_the_last_attempts_at_once():
    exercise = make()
    history = exercise.widget().children[-1]
    assert "No attempts yet" in history.value
    exercise.check(halves)
    assert "1 attempt, not passed yet" in history.value
    exercise.check(centre)
    assert "2 attempts, passed" in history.value
    assert "x.mean() / 2" not in history.value  # the source of the latest
    assert str(make(id="means/other").restore()) == "# No attempt at means/other is kept yet."


def test_a_file_that_cannot_be_written_is_told_and_costs_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KERNELLAB_DATA_DIR", str(tmp_path / "file"))
    exercise = make()
    verdict = exercise.check(centre)
    assert verdict
    shown = "".join(getattr(child, "value", "") for child in verdict.widget().children)
    assert "could not be saved" in shown
    assert "could not be saved" not in verdict.text()
    assert "return x - x.mean()" in exercise.restore()


def test_an_attempt_is_on_disk_while_the_function_still_runs(folder):
    """Killed in an endless loop, as somebody restarting a hung kernel would do."""
    code = """
        from kernellab.lab.exercises import Exercise, Wrong
        def endless(x):
            print("running", flush=True)
            while True: pass
        wrong = [Wrong("a", endless, "x"), Wrong("b", endless, "x")]
        Exercise("lab/endless", title="t", task="t", function="endless", check=lambda c: c(1),
                 solution=endless, wrong=wrong).check(endless)
    """
    kernel = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert kernel.stdout.readline() == b"running\n"
    os.kill(kernel.pid, signal.SIGKILL)
    kernel.communicate()
    (kept,) = progress.attempts("lab/endless")
    assert kept.passed is None
    assert time.time() - kept.time < 60


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"id": "no slash"}, "id"),
        ({"function": "not a name"}, "function"),
        ({"title": "two\nlines"}, "title"),
        ({"task": " "}, "task"),
        ({"check": None}, "check"),
        ({"solution": 3}, "solution"),
        ({"wrong": [Wrong("one", halves, "x")]}, "at least two"),
        ({"wrong": [1, 2]}, "wrong"),
        ({"hints": "one"}, "hints"),
    ],
)
def test_wrong_use_is_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        make(**changes)


@pytest.mark.parametrize(
    "arguments", [("", halves, "x"), ("name", 3, "x"), ("name", halves, "")]
)  # fmt: skip
def test_wrong_answers_are_checked(arguments):
    with pytest.raises(ValueError, match="must be"):
        Wrong(*arguments)
