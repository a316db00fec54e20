"""Show the very code that runs, never a second copy of it."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from pathlib import Path

from kernellab.paths import NOTEBOOKS, ROOT


class Source:
    """Code of one or more functions: highlighted in a notebook, with links to its files."""

    def __init__(self, pieces: list[tuple[str, str, str]]):
        # (name, code, file from the root or ""). No line numbers: they would change in every saved
        # notebook with each edit further up in a module.
        self._pieces = pieces

    def markdown(self) -> str:
        """Each function as a fenced block, below a link to its file."""
        blocks = []
        for _name, code, file in self._pieces:
            if file:
                blocks.append(f"[{file}]({_up_to_the_root()}{file})")
            blocks.append(f"```python\n{code}\n```")
        return "\n\n".join(blocks)

    @property
    def code(self) -> str:
        """The code alone."""
        return "\n\n\n".join(code for _name, code, _file in self._pieces)

    def __repr__(self) -> str:
        places = [f"{name} ({file})" if file else name for name, _code, file in self._pieces]
        return "source of " + ", ".join(places)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/markdown": self.markdown(), "text/plain": repr(self)}


def show_source(*functions, docstring: bool = False) -> Source:
    """Show the source of functions or classes as it runs, with a link to the file.

    Parameters
    ----------
    functions : functions, classes or compiled functions, in the order to show them.
    docstring : keep whole docstrings; by default only their first line, so that code fits a slide.

    Returns
    -------
    Source, which Jupyter shows as highlighted Markdown.

    Raises
    ------
    ValueError if nothing is given, or something has no Python source (a built-in, an array).
    """
    if not functions:
        raise ValueError("functions must name at least one function or class, got none")
    if not isinstance(docstring, bool):
        raise ValueError(f"docstring must be True or False, got {docstring!r}")
    return Source([_piece(function, docstring) for function in functions])


def source_of(function) -> str:
    """The dedented source of a function or class, compiled or wrapped.

    Raises
    ------
    ValueError if it has none.
    """
    inner = plain(function)
    try:
        lines, _first = inspect.getsourcelines(inner)
    except (TypeError, OSError) as error:
        raise ValueError(
            f"functions must have Python source, {function!r:.80} has none ({error})"
        ) from error
    return textwrap.dedent("".join(lines)).rstrip()


def plain(function):
    """The Python function inside a compiled or decorated one."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif getattr(function, "py_func", None) is not None:
            function = function.py_func
        elif getattr(function, "__wrapped__", None) is not None:
            function = function.__wrapped__
        else:
            return function


def _piece(function, docstring: bool) -> tuple[str, str, str]:
    code = source_of(function)
    inner = plain(function)
    file = Path(inspect.getsourcefile(inner) or "").resolve()
    inside = file.is_relative_to(ROOT) and file.is_file()
    return (
        getattr(inner, "__qualname__", repr(inner)),
        code if docstring else _first_lines_of_docstrings(code),
        file.relative_to(ROOT).as_posix() if inside else "",
    )


def _up_to_the_root() -> str:
    # A lab lies two folders below the root, the start page one. Nothing else of where the kernel
    # runs may enter the text, which must be the same on every machine.
    return "../" if Path.cwd() == NOTEBOOKS else "../../"


def _first_lines_of_docstrings(code: str) -> str:
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a lambda cut out of the middle of its line
        return code
    lines = code.splitlines()
    owners = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    docs = [n.body[0] for n in owners if ast.get_docstring(n) is not None]
    for node in sorted(docs, key=lambda n: -n.lineno):  # from below, so that places hold
        if node.end_lineno > node.lineno:
            first = lines[node.lineno - 1].rstrip()
            opening = node.value.value.strip().splitlines()[0].strip()
            quotes = first.strip().lstrip("rRuU")[:3]
            prefix = first[: first.index(quotes)]
            lines[node.lineno - 1 : node.end_lineno] = [f"{prefix}{quotes}{opening}{quotes}"]
    return "\n".join(lines)
