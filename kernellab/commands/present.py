"""`kernellab present`: a lab as slides with live explorers, or as a page without code."""

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

from kernellab.cli import UsageError
from kernellab.commands import lab
from kernellab.commands._serve import serve

HELP = "show a lab as slides with live explorers, or as a page (--app)"
DESCRIPTION = """\
Show a lab as slides with live explorers: JupyterLab opens on the lab, runs all of it and starts the
slides. Or, with --app, as a page without code, by Voila. Both listen on this machine only and ask
for a token; neither changes the notebook or your progress, so every lecture starts afresh.

keys while slides are shown:
  Space, Shift-Space   next and previous step (fragment, slide below, slide); also Page Down and
                       Page Up, which a presenter's remote control sends
  arrow keys           left and right by slides, up and down within one
  n or ]               the explorer's next scene
  p or [               its previous scene
  F11                  full screen (a key of the browser)
  Escape               leave the slides

The scene keys also work in the page, for the explorer most in view. While a text field has the
focus, all keys are its own; a slider keeps the arrow keys until you click beside it.

What follows `--` goes to JupyterLab, with --app to Voila: `kernellab present LAB -- --debug`."""

SETTINGS = lab.SETTINGS / "present"
NEEDED = {"slides": "jupyterlab_slideshow", "app": "voila"}

# What a page without code needs of JupyterLab's extensions; without the others it opens sooner.
APP_EXTENSIONS = [
    "@voila-dashboards/widgets-manager8",
    "@jupyter-widgets/jupyterlab-manager",
    "anywidget",
]

KERNELS = "kernellab.commands._kernelspec.OwnKernelSpecManager"
CONNECTION = "kernellab.lab.websocket.PromptConnection"


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument(
        "notebook", metavar="LAB", help="a lab's name such as ridge_filters, or a notebook's path"
    )
    parser.add_argument("--app", action="store_true", help="a page without code, not slides")
    parser.add_argument("--port", type=int, help="port to listen on (default: a free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(extra=[])  # what follows --


def check_installed(form: str) -> None:
    """Raise UsageError with what to install, if the extra that shows labs is missing."""
    if importlib.util.find_spec(NEEDED[form]) is None:
        package = NEEDED[form].replace("_", "-")
        raise UsageError(f"{package} is not installed; pip install -e '.[present]' adds it")


def environment(form: str, folder: Path) -> dict[str, str]:
    """The environment of the server: our settings come before the user's own.

    The slides' extension and the page's template are found through ``JUPYTER_PATH``. Guesses and
    attempts are kept in ``folder``, for this session only: yesterday's guess would give today's
    answer away, and the exercises' cells, which run too, are nobody's attempts.
    """
    settings = lab.environment()
    if form == "slides":
        settings["JUPYTER_CONFIG_PATH"] = os.pathsep.join(
            [str(SETTINGS), settings["JUPYTER_CONFIG_PATH"]]
        )
    paths = [str(SETTINGS), os.environ.get("JUPYTER_PATH", "")]
    return {
        **settings,
        "JUPYTER_PATH": os.pathsep.join(filter(None, paths)),
        "KERNELLAB_DATA_DIR": str(folder / "progress"),
    }


def slides_command(
    notebook: Path, folder: Path, port: int | None, browser: bool, extra: list[str]
) -> list[str]:
    """The command line of JupyterLab for slides.

    ``folder`` takes the settings and the layout of this one session, because the slides change
    both: the user's own JupyterLab must not open in slide mode tomorrow.
    """
    own = [
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}",
    ]
    return lab.command(notebook, port, browser, own + extra)


def app_command(notebook: Path, port: int, extra: list[str]) -> list[str]:
    """The command line of Voila. It opens no browser, because it would leave out the token."""
    return [
        *(sys.executable, "-m", "voila", str(notebook)),
        "--no-browser",
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
        "--Voila.port_retries=0",
        "--Voila.auto_token=True",
        f"--Voila.kernel_websocket_connection_class={CONNECTION}",
        f"--VoilaConfiguration.kernel_spec_manager_class={KERNELS}",
        "--VoilaConfiguration.template=kernellab",
        "--VoilaConfiguration.strip_sources=True",
        f"--VoilaConfiguration.extension_allowlist={json.dumps(APP_EXTENSIONS)}",
        *extra,
    ]


def copy_settings(folder: Path) -> None:
    """Start the session from the user's own JupyterLab settings (theme, font size)."""
    from jupyterlab.commands import get_user_settings_dir

    with contextlib.suppress(OSError):  # a session without them is still a session
        shutil.copytree(get_user_settings_dir(), folder / "settings", dirs_exist_ok=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _open_when_up(server: subprocess.Popen, address: str) -> None:
    """Open the browser as soon as the server answers (also with "who are you?")."""
    base = address.partition("?")[0]
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{base}api/kernels/none", timeout=5).close()
        except urllib.error.HTTPError:
            webbrowser.open(address)
            return
        except OSError:
            time.sleep(0.2)


def _show_slides(notebook: Path, folder: Path, args) -> int:
    copy_settings(folder)
    command = slides_command(notebook, folder, args.port, not args.no_browser, args.extra)
    print("Slides: Space goes on, n and p step an explorer's scenes, F11 fills the screen.")
    return serve(subprocess.Popen(command, env=environment("slides", folder)), lab.start_warming())


def _show_app(notebook: Path, folder: Path, args) -> int:
    port = _free_port() if args.port is None else args.port
    token = secrets.token_urlsafe(24)
    address = f"http://127.0.0.1:{port}/?token={token}"
    # In the environment, not on the command line, which other users of the machine can read.
    settings = {**environment("app", folder), "JUPYTER_TOKEN": token}
    server = subprocess.Popen(app_command(notebook, port, args.extra), env=settings)
    print(f"The page (it runs the lab first, which takes some seconds): {address}", flush=True)
    if not args.no_browser:
        threading.Thread(target=_open_when_up, args=(server, address), daemon=True).start()
    return serve(server, lab.start_warming())


def run(args) -> int:
    """Show the lab; returns when the server has ended."""
    check_installed("app" if args.app else "slides")
    notebook = lab.find_notebook(args.notebook)
    if args.port is not None and not 0 <= args.port <= 65535:
        raise UsageError(f"--port must lie between 0 and 65535, not {args.port}")
    show = _show_app if args.app else _show_slides
    with tempfile.TemporaryDirectory(prefix="kernellab-", ignore_cleanup_errors=True) as folder:
        return show(notebook, Path(folder), args)
