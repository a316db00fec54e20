"""`kernellab present`: what it starts, for which lab, and what it says when that is missing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernellab.cli import main
from kernellab.commands import lab, present
from kernellab.commands._serve import serve
from tests.commands.helpers import markdown, write

STATIC = Path(present.__file__).parent / "jupyter" / "present"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A checkout with one lab."""
    folder = tmp_path / "notebooks" / "01_part"
    folder.mkdir(parents=True)
    write(folder / "01_alpha.ipynb", markdown("# x"))
    monkeypatch.setattr(lab, "ROOT", tmp_path)
    monkeypatch.setattr(lab, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path


@pytest.fixture
def started(course, monkeypatch):
    """Notes what would be started instead of starting it."""
    calls = []

    class Ended:
        def wait(self):
            return 0

        terminate = poll = wait

    def popen(command, env):
        calls.append((command, env))
        return Ended()

    monkeypatch.setattr(present.subprocess, "Popen", popen)
    monkeypatch.setattr(present, "check_installed", lambda form: None)
    monkeypatch.setattr(present.lab, "start_warming", Ended)
    return calls


@pytest.mark.parametrize(
    ("options", "package"), [([], "jupyterlab-slideshow"), (["--app"], "voila")]
)
def test_says_what_to_install(course, monkeypatch, capsys, options, package):
    monkeypatch.setattr(present.importlib.util, "find_spec", lambda name: None)
    assert main(["present", "alpha", *options]) == 2
    message = capsys.readouterr().err
    assert package in message and "pip install -e '.[present]'" in message


def test_wrong_use(started, capsys):
    assert main(["present"]) == 2
    assert main(["present", "alhpa"]) == 2
    assert "there is alpha" in capsys.readouterr().err
    assert main(["present", "alpha", "--port", "70000"]) == 2
    assert not started


def test_slides_open_in_jupyterlab(started, course):
    assert main(["present", "alpha", "--no-browser", "--port", "9999", "--", "--debug"]) == 0
    [(command, env)] = started
    assert command[1:3] == ["-m", "kernellab.commands._server"] and command[-1] == "--debug"
    assert "--LabApp.default_url=/lab/tree/notebooks/01_part/01_alpha.ipynb" in command
    assert {"--no-browser", "--ServerApp.port=9999"} < set(command)
    assert env["JUPYTER_PATH"].split(os.pathsep)[0] == str(STATIC)
    # The slides' settings come before those of `kernellab lab`, which still hold.
    assert env["JUPYTER_CONFIG_PATH"].split(os.pathsep)[:2] == [str(STATIC), str(lab.SETTINGS)]


def test_slides_leave_the_readers_own_jupyterlab_alone(started, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("JUPYTERLAB_SETTINGS_DIR", str(own))
    main(["present", "alpha"])
    [(command, _)] = started
    for kind in ("user_settings_dir", "workspaces_dir"):
        [value] = [part for part in command if part.startswith(f"--LabApp.{kind}=")]
        folder = Path(value.partition("=")[2])
        assert folder != own and not folder.exists(), "a folder of this session, gone with it"
    assert list(own.iterdir()) == []


@pytest.mark.parametrize("options", [[], ["--app", "--no-browser"]])
def test_every_showing_starts_without_guesses(started, tmp_path, monkeypatch, options):
    monkeypatch.setenv("KERNELLAB_DATA_DIR", str(tmp_path / "mine"))
    main(["present", "alpha", *options])
    [(_, env)] = started
    kept = Path(env["KERNELLAB_DATA_DIR"])
    assert kept != tmp_path / "mine" and not kept.parent.exists(), "gone with the session"


def test_the_page_is_served_by_voila(started, course, capsys):
    assert main(["present", "alpha", "--app", "--no-browser", "--port", "9998"]) == 0
    [(command, env)] = started
    assert command[1:3] == ["-m", "voila"]
    assert command[3] == str(course / "notebooks" / "01_part" / "01_alpha.ipynb")
    assert {
        "--port=9998",
        "--Voila.ip=127.0.0.1",
        "--Voila.auto_token=True",
        "--VoilaConfiguration.template=kernellab",
        "--VoilaConfiguration.strip_sources=True",
    } < set(command)
    token = env["JUPYTER_TOKEN"]
    assert len(token) >= 24 and not any(token in part for part in command)
    assert f"http://127.0.0.1:9998/?token={token}" in capsys.readouterr().out


def test_the_help_names_the_keys(capsys):
    assert main(["present", "--help"]) == 0
    text = capsys.readouterr().out
    assert "next scene" in text and "n or ]" in text and "Space" in text


def test_jupyterlab_finds_the_extension(tmp_path):
    from jupyterlab_server.config import get_federated_extensions

    found = get_federated_extensions([str(STATIC / "labextensions")])
    build = found["kernellab-deck"]["jupyterlab"]["_build"]
    assert (STATIC / "labextensions" / "kernellab-deck" / build["load"]).is_file()
    overrides = json.loads((STATIC / "labconfig" / "default_setting_overrides.json").read_text())
    assert overrides["@jupyterlab/docmanager-extension:plugin"] == {"autosave": False}


def test_ending_the_command_ends_the_server(tmp_path):
    script = tmp_path / "command.py"
    script.write_text(
        "import subprocess, sys\n"
        "from kernellab.commands._serve import serve\n"
        "program = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "server = subprocess.Popen([sys.executable, '-c', program])\n"
        "sys.exit(serve(server) != 0)\n"
    )
    command = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    server = int(command.stdout.readline())
    time.sleep(0.5)  # by now it waits for its server
    command.send_signal(signal.SIGTERM)
    assert command.wait(20) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
    command.stdout.close()


def test_serve_returns_what_the_server_says():
    assert serve(subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])) == 3
