"""`kernellab test`: stages, counting, environments. No stage of the real project is run here."""

import subprocess
import sys

import pytest

from kernellab.cli import main
from kernellab.commands import _browser, _stages
from kernellab.commands import test as command


@pytest.fixture
def small_project(tmp_path, monkeypatch):
    """A project with one test that passes, one that fails, one that is skipped."""
    (tmp_path / "tests" / "compute").mkdir(parents=True)
    (tmp_path / "tests" / "compute" / "test_alpha.py").write_text(
        "import pytest\n\n\ndef test_a():\n    pass\n\n\n"
        "def test_b():\n    assert False\n\n\n"
        "@pytest.mark.skip\ndef test_c():\n    pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = compiled\n browser\n sweep\n")
    monkeypatch.setattr(_stages, "ROOT", tmp_path)
    return tmp_path


def run_stages(*arguments):
    """The last lines and the exit code of the command."""
    return main(["test", "--cold", *arguments])


def test_counts_and_closing_line(small_project, capfd):
    assert run_stages("--only", "unit", "ruff") == 1
    lines = capfd.readouterr().out.splitlines()
    assert lines[-1] == "2 passed, 1 failed, 1 skipped"
    rows = {line.split()[0]: line.split()[1:4] for line in lines[-4:-1]}
    assert rows["unit"] == ["1", "1", "1"] and rows["ruff"] == ["1", "0", "0"]


def test_a_stage_without_tests_fails(small_project, capfd):
    (small_project / "tests" / "methods").mkdir()
    assert run_stages("--only", "boundscheck") == 1
    assert "no tests found" in capfd.readouterr().out


def test_a_broken_test_file_fails(small_project, capfd):
    (small_project / "tests" / "compute" / "test_alpha.py").write_text("import nothing_at_all\n")
    assert run_stages("--only", "unit") == 1
    assert capfd.readouterr().out.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_stop_early(small_project, capfd):
    (small_project / "bad.py").write_text("import os\n")
    assert run_stages("--only", "ruff", "unit", "--stop-early") == 1
    assert capfd.readouterr().out.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_wrong_use(capsys):
    assert main(["test", "--only", "everything"]) == 2
    assert main(["test", "--portable", "--only", "browser"]) == 2
    assert main(["test", "--lab", "no_such_lab"]) == 2
    assert "no lab is called 'no_such_lab'" in capsys.readouterr().err


def test_a_lab_has_its_own_tests(small_project):
    arguments = _stages.pytest_arguments("unit", "alpha", portable=False)
    assert arguments[0] == "tests/compute/test_alpha.py"
    assert _stages.pytest_arguments("boundscheck", "beta", portable=False) is None
    assert _stages.pytest_arguments("sweep", "alpha", portable=False)[-2:] == ["-k", "alpha"]


def test_notebooks_are_compared_strictly():
    arguments = _stages.pytest_arguments("notebooks", None, portable=False)
    assert {"notebooks", "--nbval"} <= set(arguments)
    assert not {"--nbval-lax", "--nbval-sanitize-with"}.intersection(arguments)


def test_stages_are_shared_out_but_never_the_timed_one(monkeypatch):
    monkeypatch.setattr(_stages, "WORKERS", 2)
    for stage in set(_stages.STAGES) - {"ruff"}:
        arguments = _stages.pytest_arguments(stage, None, portable=False)
        assert ("-n" in arguments) == (stage != "browser")
    notebooks = _stages.pytest_arguments("notebooks", None, portable=False)
    assert notebooks[-4:] == ["-n", "2", "--dist", "loadfile"]  # cells need their own kernel
    assert "-n" not in _stages.pytest_arguments("unit", "ridge_filters", portable=False)


def test_the_portable_environment_is_one_that_numpy_accepts():
    environment = _stages.portable_environment()
    assert environment["NUMBA_CPU_NAME"] == "generic"
    assert environment["NUMBA_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"] == "1"
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "import numpy._core._multiarray_umath as u\n"
        "print(any(u.__cpu_features__[name] for name in u.__cpu_dispatch__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment}, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


def test_features_are_asked_for_afresh(monkeypatch):
    before = _stages.dispatched_features()
    if before:
        monkeypatch.setenv("NPY_DISABLE_CPU_FEATURES", before[-1])
    assert _stages.dispatched_features() == before


def test_progress_of_the_tests_is_not_the_users(monkeypatch):
    class Arguments:
        cold, portable = True, False

    monkeypatch.setenv("KERNELLAB_DATA_DIR", "mine")
    with command._environment(Arguments) as environment:
        assert environment["KERNELLAB_DATA_DIR"] != "mine"
        assert environment["NUMBA_CACHE_DIR"].startswith(environment["KERNELLAB_DATA_DIR"][:-4])


def test_find_chromium(monkeypatch, tmp_path):
    monkeypatch.setenv("KERNELLAB_CHROMIUM", "")
    assert _browser.find_chromium() is None
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("KERNELLAB_CHROMIUM", str(program))
    assert _browser.find_chromium() == str(program)
    monkeypatch.setenv("KERNELLAB_CHROMIUM", str(tmp_path / "gone"))
    assert _browser.find_chromium() is None
    monkeypatch.delenv("KERNELLAB_CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _browser.find_chromium() == str(program)
