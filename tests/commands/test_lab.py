"""`kernellab lab`: which notebook, which settings; and one real start of the server."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from kernellab.cli import main
from kernellab.commands import lab
from tests.commands.helpers import markdown, write


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A checkout with a start page and two labs."""
    folder = tmp_path / "notebooks" / "01_part"
    folder.mkdir(parents=True)
    for name in ("01_alpha", "02_beta"):
        write(folder / f"{name}.ipynb", markdown("# x"))
    start = write(tmp_path / "notebooks" / "00_start_here.ipynb", markdown("# x"))
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    monkeypatch.setattr(lab, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(lab, "START", start)
    return tmp_path


def test_finds_what_is_meant(course):
    beta = course / "notebooks" / "01_part" / "02_beta.ipynb"
    assert lab.find_notebook(None).name == "00_start_here.ipynb"
    assert lab.find_notebook("beta") == lab.find_notebook("02_beta") == beta
    assert lab.find_notebook(str(beta)) == beta


def test_a_wrong_name_gets_a_suggestion(course, capsys):
    assert main(["lab", "btea"]) == 2
    assert "there is beta" in capsys.readouterr().err
    assert main(["lab", "--port", "70000"]) == 2
    assert main(["lab", "alpha", "beta"]) == 2
    assert "unrecognized argument: beta" in capsys.readouterr().err


def test_the_whole_checkout_is_served(course):
    arguments = lab.command(lab.find_notebook("alpha"), 9999, False, ["--debug"])
    assert f"--ServerApp.root_dir={course}" in arguments
    assert "--LabApp.default_url=/lab/tree/notebooks/01_part/01_alpha.ipynb" in arguments
    assert {"--ServerApp.port=9999", "--no-browser"} < set(arguments) and arguments[-1] == "--debug"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.loads(answer.read())


def test_a_real_server(tmp_path):
    """Its token is asked for, python3 is this Python, and no news is fetched."""
    path = write(tmp_path / "x.ipynb", markdown("# x"))
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "kernellab.cli", "lab", str(path)]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--no-browser", "--port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        address = rf"http://127\.0\.0\.1:{port}/lab/tree/x\.ipynb\?(token=\w+)"
        for _ in range(200):
            if found := re.search(address, log.read_text()):
                break
            time.sleep(0.1)
        assert found, log.read_text()
        base, token = f"http://127.0.0.1:{port}", found[1]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            get(f"{base}/api/kernelspecs")
        spec = get(f"{base}/api/kernelspecs?{token}")["kernelspecs"]["python3"]["spec"]
        assert spec["argv"][0] == sys.executable
        assert spec["argv"][-3:] == ["kernellab.commands._kernel", "-f", "{connection_file}"]
        plugin = "@jupyterlab/apputils-extension:notification"
        schema = get(f"{base}/lab/api/settings/{plugin}?{token}")["schema"]["properties"]
        assert schema["fetchNews"]["default"] == "false"
        assert schema["checkForUpdates"]["default"] is False
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    with pytest.raises(OSError, match="refused"):  # not an answer: the server is gone
        get(f"{base}/api/kernelspecs")
