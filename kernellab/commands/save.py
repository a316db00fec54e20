"""`kernellab save`: execute a notebook and store it in normal form."""

import asyncio
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from kernellab.cli import OK, PROBLEMS, CommandError, UsageError
from kernellab.commands import _notebooks as notebooks
from kernellab.commands._browser import MISSING, find_chromium
from kernellab.commands._notebooks import PLOTLY, Fault

HELP = "execute notebooks from top to bottom and store them in normal form"
DESCRIPTION = """\
Execute notebooks from top to bottom and store them in normal form: outputs kept; widget state,
times and machine details stripped; stable cell ids; each explorer's first scene as a picture.
A notebook with an error, or of more than 500 kB, is not stored."""

TIMEOUT = 300  # seconds one cell may take


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument("notebook", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument(
        "--check",
        action="store_true",
        help="execute and change nothing, only say what is not normal",
    )


def _settle_paths(given: list[Path]) -> list[Path]:
    """The notebooks that were named; a folder stands for all notebooks below it."""
    paths = []
    for path in given:
        if path.is_dir():
            found = (p for p in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
            paths += sorted(found)
        elif path.suffix != ".ipynb":
            raise UsageError(f"{path} is not a notebook (a file that ends in .ipynb)")
        elif not path.is_file():
            raise UsageError(f"there is no notebook {path}")
        else:
            paths.append(path)
    if not paths:
        raise UsageError(f"no notebook below {', '.join(map(str, given))}")
    return paths


def _print_faults(path: Path, faults: list[Fault]) -> None:
    for fault in faults:
        where = f"{notebooks.shown(path)}:{fault.cell}" if fault.cell else notebooks.shown(path)
        print(f"{where}: {fault.message}", file=sys.stderr)


@contextmanager
def saving_environment():
    """The environment of a kernel that saves: numbers are strict, progress goes nowhere."""
    with tempfile.TemporaryDirectory(prefix="kernellab-") as folder:
        changes = {"KERNELLAB_SAVING": "1", "KERNELLAB_DATA_DIR": folder}
        before = {name: os.environ.get(name) for name in changes}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def execute(notebook: dict, folder: Path) -> dict:
    """The notebook with fresh outputs, from a new kernel of this environment.

    Raises CommandError naming the cell that failed.
    """
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    from kernellab.commands._kernelspec import OwnKernelSpecManager

    node = nbformat.from_dict(notebook)
    client = NotebookClient(
        node,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=OwnKernelSpecManager()),
        timeout=TIMEOUT,
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
    )
    try:
        with saving_environment():
            client.execute()
    except CellExecutionError as error:
        raise CommandError(_failure(node, f"{error.ename}: {error.evalue}")) from None
    except CellTimeoutError:
        raise CommandError(_failure(node, f"took longer than {TIMEOUT} s")) from None
    except DeadKernelError:
        raise CommandError(_failure(node, "the kernel died")) from None
    return nbformat.from_dict(node)


def _failure(notebook, reason: str) -> str:
    """Which cell was running when the execution ended: the first code cell that did not finish."""
    for cell in notebook["cells"]:
        errors = [o for o in cell.get("outputs", []) if o["output_type"] == "error"]
        unfinished = cell["source"].strip() and cell.get("execution_count") is None
        if cell["cell_type"] == "code" and (errors or unfinished):
            return f"cell {cell['id']}: {reason}; nothing was stored"
    return f"{reason}; nothing was stored"


def _old_posters(notebook: dict) -> dict[tuple[str, int], str]:
    """Pictures that are stored already, by cell id and number of the output."""
    return {
        (cell.get("id", ""), index): output["data"]["image/png"]
        for cell in notebook["cells"]
        for index, output in enumerate(cell.get("outputs", []))
        if "image/png" in output.get("data", {})
    }


def add_posters(notebook: dict, old: dict, draw) -> list[Fault]:
    """Replace each explorer's figure by a picture; ``draw`` is None where there is no browser."""
    notes = []
    for cell in notebook["cells"]:
        for index, output in enumerate(cell.get("outputs", [])):
            data = output.get("data", {})
            if PLOTLY not in data:
                continue
            figure = data.pop(PLOTLY)
            if draw is not None:
                data["image/png"] = draw(figure)
            elif (cell["id"], index) in old:
                data["image/png"] = old[cell["id"], index]
                notes.append(Fault(cell["id"], "kept the old picture"))
            else:
                notes.append(Fault(cell["id"], "has no picture"))
    return notes


def rebuild(path: Path, notebook: dict, draw) -> tuple[dict, list[Fault]]:
    """Execute and normalise one notebook; returns it with what is missing for want of a browser."""
    import nbformat

    old = _old_posters(notebook)
    prepared = notebooks.normalise(notebook)
    for cell in prepared["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    result = notebooks.normalise(execute(prepared, path.resolve().parent))
    notes = add_posters(result, old, draw)
    nbformat.validate(nbformat.from_dict(result))
    return result, notes


def _check(path: Path) -> int:
    notebook = notebooks.read(path)
    found = notebooks.difference(notebook) + notebooks.faults(notebook)
    _print_faults(path, found)
    print(f"{notebooks.shown(path)}: {'not normalised' if found else 'normalised'}")
    return PROBLEMS if found else OK


def _save(path: Path, draw) -> int:
    started = time.perf_counter()
    notebook = notebooks.read(path)
    try:
        result, notes = rebuild(path, notebook, draw)
    except CommandError as error:
        _print_faults(path, [Fault("", str(error))])
        return PROBLEMS
    if found := notebooks.faults(result):
        _print_faults(path, [*found, Fault("", "nothing was stored")])
        return PROBLEMS
    _print_faults(path, notes)
    notebooks.write(path, result)
    kilobytes = path.stat().st_size / 1000
    seconds = time.perf_counter() - started
    print(f"{notebooks.shown(path)}: saved, {kilobytes:.0f} kB, {seconds:.1f} s")
    return OK


@contextmanager
def _drawer():
    """What turns a figure into a picture: None (with a word about it) where nothing can."""
    chromium = find_chromium()
    try:
        import playwright  # noqa: F401
    except ImportError:
        problem = "playwright is not installed: pip install -e '.[browser]'"
    else:
        problem = None if chromium else MISSING
    if problem:
        print(f"kernellab save: no new pictures: {problem}", file=sys.stderr)
        yield None
        return
    # Playwright's event loop and the kernel client's do not share a thread, so the browser gets its
    # own. It starts with the first figure and serves all others.
    with ThreadPoolExecutor(max_workers=1) as thread:
        maker = None

        def draw(figure) -> str:
            nonlocal maker
            if maker is None:
                from kernellab.commands._posters import PosterMaker

                maker = thread.submit(PosterMaker(chromium).__enter__).result()
            return thread.submit(maker.base64, figure).result()

        try:
            yield draw
        finally:
            if maker is not None:
                thread.submit(maker.__exit__).result()


def run(args) -> int:
    """Save (or only check) every notebook named; 1 when one of them has problems."""
    paths = _settle_paths(args.notebook)
    try:
        if args.check:
            return max(_check(path) for path in paths)
        if sys.platform == "win32":
            asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
        with _drawer() as draw:
            return max([_save(path, draw) for path in paths])
    except ValueError as error:
        raise CommandError(str(error)) from None
