"""The kernel of the course: an ordinary ipykernel that gets ready while the page still opens.

The labs' libraries take about a second to import. Between a kernel's start and the reader's first
click there is time for that. Each import is one step of the kernel's own event loop, so that
messages get their turn in between and no second thread can meet a half-imported module.
"""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

LIBRARIES = (
    "numpy",
    "scipy.linalg",
    "plotly.graph_objects",
    "kernellab.lab.figures",
    "kernellab.lab.explorer",
    "numba",
)


def steps() -> Iterator[Callable[[], object]]:
    """What to do before the first cell, piece by piece."""
    for name in LIBRARIES:
        yield lambda name=name: importlib.import_module(name)
    yield _load_compiled


def _load_compiled() -> None:
    """Load the loop behind all Gram matrices from numba's cache; never compile here."""
    from kernellab.compute import tiles

    if tiles._gram.is_cached():
        tiles._gram.compile()


def prepare_soon(call_later: Callable[[float, Callable], object], pause: float = 0.01) -> None:
    """Schedule the steps one after another on an event loop."""
    remaining = steps()

    def take() -> None:
        step = next(remaining, None)
        if step is None:
            return
        # What cannot be imported fails again, with its message, in the cell that needs it.
        with contextlib.suppress(Exception):
            step()
        call_later(pause, take)

    call_later(pause, take)


def main() -> None:
    """Start the kernel, as ``python -m ipykernel_launcher`` does."""
    if sys.path[0] == "" or Path(sys.path[0]) == Path.cwd():
        del sys.path[0]  # modules in the notebook's folder must not shadow the kernel's own
    from ipykernel.kernelapp import IPKernelApp
    from tornado.ioloop import IOLoop

    app = IPKernelApp.instance()
    app.initialize()
    prepare_soon(IOLoop.current().call_later)
    app.start()


if __name__ == "__main__":
    main()
