"""show_source shows the code that runs, with a link that is the same on every machine."""

import functools

import numpy as np
import pytest

from kernellab.lab import numbers, source
from kernellab.lab.source import show_source, source_of
from kernellab.paths import NOTEBOOKS, ROOT


def double(x):
    """Twice x.

    Much more about it.
    """
    return 2 * x


class Scale:
    """A scale.

    With details.
    """

    def __call__(self, x):
        """Apply it."""
        return x


class Compiled:
    """Like numba's dispatcher, which keeps its Python function."""

    def __init__(self, function):
        self.py_func = function


def test_code_and_link():
    shown = show_source(double)
    assert shown.markdown() == (
        "[tests/lab/test_source.py](../../tests/lab/test_source.py)\n\n"
        '```python\ndef double(x):\n    """Twice x."""\n    return 2 * x\n```'
    )
    assert repr(shown) == "source of double (tests/lab/test_source.py)"
    assert set(shown._repr_mimebundle_()) == {"text/markdown", "text/plain"}
    assert str(ROOT) not in shown.markdown() + repr(shown)


def test_whole_docstring_on_request():
    assert "Much more about it." in show_source(double, docstring=True).markdown()


def test_every_kind_of_function():
    wrapped = functools.lru_cache(double)
    for function in (Compiled(double), wrapped, functools.partial(double, 3), Compiled(wrapped)):
        assert show_source(function).code == show_source(double).code
    assert 'class Scale:\n    """A scale."""\n\n    def __call__' in show_source(Scale).code
    both = show_source(double, numbers.fmt)
    assert both.markdown().count("```python") == 2
    assert "[kernellab/lab/numbers.py](" in both.markdown()
    assert source_of(Scale.__call__).startswith("def __call__")


def test_shown_code_still_runs():
    for function in (numbers.fmt, numbers.table, numbers.Table, source.show_source):
        compile(show_source(function).code, "shown", "exec")


def test_start_page_is_one_folder_nearer(monkeypatch):
    monkeypatch.chdir(NOTEBOOKS)
    assert "](../tests/lab/test_source.py)" in show_source(double).markdown()


def test_code_from_outside_the_checkout_has_no_link(tmp_path, monkeypatch):
    (tmp_path / "somewhere_else.py").write_text("def f():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import somewhere_else

    shown = show_source(somewhere_else.f)
    assert shown.markdown() == "```python\ndef f():\n    return 1\n```"
    assert repr(shown) == "source of f"


@pytest.mark.parametrize("given", [(), (len,), (np.ones(3),), ("double",)])
def test_what_has_no_source_is_refused(given):
    with pytest.raises(ValueError, match="functions must"):
        show_source(*given)


def test_docstring_must_be_bool():
    with pytest.raises(ValueError, match="docstring"):
        show_source(double, docstring="yes")
