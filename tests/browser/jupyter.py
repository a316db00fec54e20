"""A JupyterLab server and a real browser, as small as the browser tests need them.

``Server`` starts ``jupyter lab`` of this environment on a temporary copy of the notebooks;
``Lab`` is one notebook open in one page. What happens on the page (pictures, controls, the time
from a hand movement to the repaint) is read by the script ``page.js`` beside this file.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# No pop-up may cover a control, and no question about news may reach the network.
SETTINGS = {
    "apputils-extension/notification": {
        "checkForUpdates": False,
        "doNotDisturbMode": True,
        "fetchNews": "false",
    },
    "apputils-extension/kernels-settings": {"showStatusBarItem": True},
    "docmanager-extension/plugin": {"autosave": False},
}

KERNELS = "kernellab.commands._kernelspec.OwnKernelSpecManager"

# Console messages of JupyterLab itself, which no lab can avoid.
HARMLESS = (
    "favicon.ico",
    "/api/workspaces/",
    "/lsp/status",
    "/lab/api/news",
    "/api/contents/",
    "Failed to load resource: the server responded with a status of 404",
)


def free_port() -> int:
    """A loopback TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """``jupyter lab`` on a folder, with its own settings, run-time files and progress."""

    def __init__(self, folder: Path, notebooks: Path | None = None):
        self.folder = folder
        self.root = folder / "root"
        self.progress = folder / "progress"
        self.log = folder / "server.log"
        self.token = secrets.token_hex(16)
        self.port = 0
        self.process: subprocess.Popen | None = None
        self.root.mkdir(parents=True)
        self.progress.mkdir()
        if notebooks is not None and notebooks.is_dir():
            ignore = shutil.ignore_patterns(".ipynb_checkpoints")
            shutil.copytree(notebooks, self.root / "notebooks", ignore=ignore)
        for name, values in SETTINGS.items():
            path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, timeout: float = 60.0) -> None:
        """Start the server and wait until it answers. Raises RuntimeError with its log."""
        self.port = free_port()
        environment = dict(
            os.environ,
            KERNELLAB_DATA_DIR=str(self.progress),
            JUPYTER_CONFIG_DIR=str(self.folder / "config"),
            JUPYTER_DATA_DIR=str(self.folder / "data"),
            JUPYTER_RUNTIME_DIR=str(self.folder / "runtime"),
            JUPYTERLAB_SETTINGS_DIR=str(self.folder / "settings"),
            JUPYTERLAB_WORKSPACES_DIR=str(self.folder / "workspaces"),
            IPYTHONDIR=str(self.folder / "ipython"),
            JUPYTER_TOKEN=self.token,
        )
        environment.pop("KERNELLAB_SAVING", None)
        command = [
            *(sys.executable, "-m", "kernellab.commands._server"),
            "--no-browser",
            "--ip=127.0.0.1",
            f"--port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
            "--ServerApp.allow_root=True",
            "--LabApp.expose_app_in_browser=True",
            "--ServerApp.terminals_enabled=False",
            # As `kernellab lab` starts it.
            f"--ServerApp.kernel_spec_manager_class={KERNELS}",
            "--ServerApp.kernel_websocket_connection_class=kernellab.lab.websocket.PromptConnection",
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                self.api("status")
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise RuntimeError(f"jupyter lab did not start:\n{self.log.read_text()[-3000:]}")

    def api(self, path: str, method: str = "GET"):
        """The JSON answer of the server's REST call (None where it is empty)."""
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def kernel_process(self, kernel_id: str) -> psutil.Process:
        """The process of a kernel that this server started."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if any(kernel_id in word for word in child.cmdline()):
                    return child
            except psutil.Error:
                continue
        raise LookupError(f"no process of this server runs kernel {kernel_id}")

    def shut_down_kernels(self) -> None:
        """End every kernel, as closing all tabs with "shut down" would."""
        for session in self.api("sessions"):
            self.api(f"sessions/{session['id']}", method="DELETE")

    def kill(self) -> None:
        """End the server and its kernels at once, as a power cut would (SIGKILL)."""
        if self.process is None:
            return
        family = []
        if self.process.poll() is None:
            parent = psutil.Process(self.process.pid)
            family = [parent, *parent.children(recursive=True)]
        for member in family:
            try:
                member.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        self.process.wait(timeout=20)

    def stop(self, timeout: float = 15.0) -> None:
        """End the server politely; at once if it does not listen."""
        if self.process is None or self.process.poll() is not None:
            return
        with contextlib.suppress(OSError):
            self.shut_down_kernels()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()


class Lab:
    """One notebook, open in a page of JupyterLab."""

    def __init__(self, context, server: Server, path: str):
        self.server = server
        self.path = path
        self.page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.received_bytes = 0
        self.sent_bytes = 0
        self.page_errors: list[str] = []
        self.outside_requests: list[str] = []
        self.seconds_to_open = float("nan")
        self.seconds_to_run = float("nan")
        self.seconds_to_last_explorer = float("nan")
        self.page.on("websocket", self._count)
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("request", self._request)
        self.page.add_init_script(path=HERE / "page.js")

    def _count(self, websocket) -> None:
        def received(payload):
            self.received_bytes += len(payload)

        def sent(payload):
            self.sent_bytes += len(payload)

        websocket.on("framereceived", received)
        websocket.on("framesent", sent)

    def _console(self, message) -> None:
        if message.type != "error":
            return
        text = f"{message.text} ({message.location.get('url', '')})"
        if not any(part in text for part in HARMLESS):
            self.page_errors.append(text)

    def _request(self, request) -> None:
        if not request.url.startswith((self.server.url, "data:", "blob:", "ws://127.0.0.1")):
            self.outside_requests.append(request.url)

    # Opening and running -------------------------------------------------------------------

    def open(self, timeout: float = 60.0) -> "Lab":
        """Open the notebook and wait until its kernel is idle."""
        begin = time.monotonic()
        self.page.goto(f"{self.server.url}/lab/tree/{self.path}?token={self.server.token}&reset")
        deadline = begin + timeout
        while not self.page.evaluate("path => kernellabPage.ready(path)", self.path):
            if time.monotonic() > deadline:
                shown = self.page.evaluate("kernellabPage.whatIsOpen()")
                raise TimeoutError(f"{self.path} is not open after {timeout:g} s, but {shown}")
            self.page.wait_for_timeout(50)
        self.seconds_to_open = time.monotonic() - begin
        return self

    def run_all(self, timeout: float = 120.0) -> "Lab":
        """Run every cell by JupyterLab's own command; wait for the last explorer's picture."""
        begin = time.monotonic()
        self.page.evaluate("kernellabPage.runAll()")
        self._until("kernellabPage.finished()", timeout)
        self.seconds_to_run = time.monotonic() - begin
        self._until("kernellabPage.drawn()", timeout)
        self.seconds_to_last_explorer = time.monotonic() - begin
        return self

    def first_screen(self, path: Path) -> None:
        """Save a picture of what a reader sees first."""
        self.page.evaluate("kernellabPage.toTop()")
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=path)

    def start_cell(self, index: int, source: str | None = None) -> None:
        """Run one cell (counted from 0 over all cells), after replacing its source; don't wait."""
        arguments = [index, source]
        self.page.evaluate("([index, source]) => kernellabPage.runCell(index, source)", arguments)

    def run_cell(self, index: int, source: str | None = None, timeout: float = 60.0) -> None:
        """As ``start_cell``, then wait until the kernel is idle and all is drawn."""
        self.start_cell(index, source)
        self._until("kernellabPage.finished() && kernellabPage.drawn()", timeout)

    def _until(self, condition: str, timeout: float) -> None:
        """Wait for a condition in the page. Raises TimeoutError that names the cells at work."""
        deadline = time.monotonic() + timeout
        while not self.page.evaluate(condition):
            if time.monotonic() > deadline:
                cells = self.page.evaluate("kernellabPage.unfinished()")
                raise TimeoutError(f"{self.path}: cells {cells} still run after {timeout:g} s")
            self.page.wait_for_timeout(50)

    def errors(self) -> list[str]:
        """One line for each error output of the notebook, wherever it is shown."""
        return self.page.evaluate("kernellabPage.errors()")

    def warnings(self) -> list[str]:
        """What cells wrote to standard error."""
        return self.page.evaluate("kernellabPage.warnings()")

    def kernel_id(self) -> str:
        return self.page.evaluate("kernellabPage.kernelId()")

    def close(self) -> None:
        """Close the page and end its kernel."""
        try:
            for session in self.server.api("sessions"):
                if session["path"] == self.path:
                    self.server.api(f"sessions/{session['id']}", method="DELETE")
        except OSError:
            pass
        self.page.close()
