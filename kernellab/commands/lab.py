"""`kernellab lab`: open the course in JupyterLab."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from kernellab.cli import CommandError, UsageError
from kernellab.commands import _server
from kernellab.commands._serve import serve
from kernellab.paths import NOTEBOOKS, ROOT

HELP = "open the course in JupyterLab"
DESCRIPTION = """\
Open a notebook of the course in JupyterLab (without a name: the start page). The server listens on
this machine only and asks for its token. Compiled functions are made ready in the background.
What follows `--` goes to JupyterLab, e.g. `kernellab lab -- --ServerApp.log_level=DEBUG`."""

START = NOTEBOOKS / "00_start_here.ipynb"
SETTINGS = Path(__file__).parent / "jupyter"


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument(
        "notebook",
        nargs="?",
        metavar="NOTEBOOK",
        help="a notebook's path, or the name of a lab such as ridge_filters",
    )
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(extra=[])  # what follows --


def find_notebook(name: str | None) -> Path:
    """The notebook somebody means by a path, by a lab's name, or by nothing at all."""
    if name is None:
        if START.is_file():
            return START
        raise CommandError(f"{START.relative_to(ROOT)} is missing from this checkout")
    if Path(name).is_file() and name.endswith(".ipynb"):
        return Path(name).resolve()
    stem = Path(name).stem
    found = [p for p in NOTEBOOKS.rglob("*.ipynb") if p.stem == stem or p.stem[3:] == stem]
    if len(found) != 1:
        from difflib import get_close_matches

        labs = sorted(path.stem[3:] for path in NOTEBOOKS.glob("*/*.ipynb"))
        near = get_close_matches(stem, labs, n=2) or labs
        raise UsageError(f"no notebook {name!r}; there is {', '.join(near) or 'none yet'}")
    return found[0]


def command(notebook: Path, port: int | None, browser: bool, extra: list[str]) -> list[str]:
    """The command line of JupyterLab."""
    # A notebook from elsewhere needs a server that can see it; ours need the whole checkout,
    # because they link to the code beside them.
    root = ROOT if notebook.is_relative_to(ROOT) else notebook.parent
    page = f"/lab/tree/{quote(notebook.relative_to(root).as_posix())}"
    arguments = [sys.executable, "-m", _server.__name__]
    arguments += [f"--ServerApp.root_dir={root}", f"--LabApp.default_url={page}"]
    if port is not None:
        arguments.append(f"--ServerApp.port={port}")
    if not browser:
        arguments.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in extra:
        # Jupyter refuses root by default. In a container everybody is root, and this server is
        # reachable from this machine only.
        arguments.append("--allow-root")
    return arguments + extra


def environment() -> dict[str, str]:
    """The environment of the server and its kernels: our settings come before the user's own.

    One BLAS thread unless the user says otherwise (see ``kernellab.lab.threads``): said here, the
    others are not even started.
    """
    paths = [str(SETTINGS), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    return {
        "OPENBLAS_NUM_THREADS": "1",
        **os.environ,
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths)),
    }


def start_warming() -> subprocess.Popen:
    """Compile what is missing beside the server, at low priority: the reader's clicks go first."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    if sys.platform == "win32":
        options["creationflags"] = subprocess.BELOW_NORMAL_PRIORITY_CLASS
    else:
        options["preexec_fn"] = lambda: os.nice(10)
    arguments = [sys.executable, "-m", "kernellab.cli", "warm", "--quiet"]
    return subprocess.Popen(arguments, stderr=subprocess.DEVNULL, **options)


def run(args) -> int:
    """Open the notebook; returns when the server has ended."""
    notebook = find_notebook(args.notebook)
    if args.port is not None and not 0 <= args.port <= 65535:
        raise UsageError(f"--port must lie between 0 and 65535, not {args.port}")
    warming = start_warming()
    server = subprocess.Popen(
        command(notebook, args.port, not args.no_browser, args.extra), env=environment()
    )
    return serve(server, warming)
