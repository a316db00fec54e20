"""The command itself: help, unknown names, exit codes, expected failures."""

import subprocess
import sys

import pytest

from kernellab import __version__, cli
from kernellab.cli import main

NAMES = cli.command_names()


def test_overview_lists_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in NAMES)
    assert {"lab", "test", "check", "save", "new", "papers", "claims", "progress", "warm"} <= {
        *NAMES
    }


def test_without_a_command_it_is_wrong_use(capsys):
    assert main([]) == 2
    assert "usage: kernellab COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"usage: kernellab {name}" in capsys.readouterr().out
    assert main(["help", name]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_the_same_parts(name):
    module = cli.load(name)
    assert module.HELP and "\n" not in module.HELP
    assert callable(module.add_arguments) and callable(module.run)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kernellab {__version__}\n"


def test_a_typing_error_gets_a_suggestion(capsys):
    assert main(["paper"]) == 2
    assert "did you mean papers" in capsys.readouterr().err
    assert main(["papers", "--jsno"]) == 2
    assert "did you mean --json" in capsys.readouterr().err


def test_an_unknown_command_lists_all(capsys):
    assert main(["zzzzzz"]) == 2
    assert "commands: lab," in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (cli.CommandError("it broke"), 1, "it broke"),
        (cli.UsageError("not so"), 2, "not so"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_expected_failures_are_one_line(error, code, said, capsys, monkeypatch):
    def fail(args):
        raise error

    monkeypatch.setattr(cli.load("claims"), "run", fail)
    assert main(["claims"]) == code
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_a_closed_pipe_is_no_error():
    command = f'"{sys.executable}" -m kernellab.cli papers | head -1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
