"""Progress survives a killed kernel, several kernels at once, and a file that cannot be used."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from kernellab.lab import progress
from kernellab.paths import ROOT


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERNELLAB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(progress, "_pending", [])
    monkeypatch.setattr(progress, "_notes", {})
    return tmp_path / "data"


def start(code, **options):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def attempt(exercise="lab/one", passed=False, source="def f(): ..."):
    identity = progress.start_attempt(exercise, source)
    progress.finish_attempt(identity, passed, "why")
    return identity


def test_attempts_come_back_latest_first():
    attempt(source="first")
    attempt(source="second", passed=True)
    attempt("lab/two")
    progress.start_attempt("lab/two", "unfinished")
    second, first = progress.attempts("lab/one")
    assert (second.source, second.passed, second.message) == ("second", True, "why")
    assert (first.source, first.passed) == ("first", False)
    assert [a.passed for a in progress.attempts("lab/two")] == [None, False]
    assert len(progress.attempts()) == 4
    assert len(progress.attempts(limit=3)) == 3
    rows = progress.summary()
    assert [(r.exercise, r.attempts, r.passed) for r in rows] == [
        ("lab/one", 2, True),
        ("lab/two", 2, False),
    ]
    assert progress.problem() is None


def test_guesses_come_back_latest_first():
    progress.store_guess("how many?", "3")
    progress.store_guess("how many?", "5")
    progress.store_guess("why?", "noise")
    assert [g.guess for g in progress.guesses("how many?")] == ["5", "3"]
    assert [g.guess for g in progress.guesses(limit=1)] == ["noise"]


def test_nothing_is_written_by_reading(folder):
    assert progress.attempts() == progress.guesses() == progress.summary() == []
    assert not folder.exists()


def test_default_folder_is_the_users(monkeypatch):
    monkeypatch.delenv("KERNELLAB_DATA_DIR")
    assert progress.path().name == "progress.sqlite3"
    assert "kernellab" in str(progress.path().parent)


def test_an_attempt_survives_kill_9():
    """The kernel is killed while the learner's function still runs, right after check() began."""
    kernel = start(
        """
        import os, signal
        from kernellab.lab import progress
        identity = progress.start_attempt("lab/one", "def f(): while True: pass")
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    kernel.communicate(timeout=60)
    assert kernel.returncode == -9
    (kept,) = progress.attempts("lab/one")
    assert (kept.passed, kept.source) == (None, "def f(): while True: pass")


def test_several_kernels_write_at_once():
    code = """
        import sys
        from kernellab.lab import progress
        for i in range(25):
            identity = progress.start_attempt(f"lab/{sys.argv[1]}", str(i))
            progress.finish_attempt(identity, i % 2 == 0, "m")
        sys.exit(progress.problem() or 0)
    """
    kernels = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(n)], cwd=ROOT)
        for n in range(4)
    ]
    assert [kernel.wait(timeout=120) for kernel in kernels] == [0] * 4
    assert [(r.exercise, r.attempts) for r in progress.summary()] == [
        (f"lab/{n}", 25) for n in range(4)
    ]
    assert all(a.passed is not None for a in progress.attempts())


def test_a_broken_file_is_kept_and_a_new_one_begun(folder):
    folder.mkdir()
    (folder / "progress.sqlite3").write_bytes(b"this is not a database " * 100)
    attempt()
    (broken,) = folder.glob("progress-broken-*.sqlite3")
    assert broken.read_bytes().startswith(b"this is not a database")
    assert str(broken) in progress.problem()
    assert len(progress.attempts()) == 1


def test_a_broken_file_is_noticed_when_reading_too(folder):
    folder.mkdir()
    (folder / "progress.sqlite3").write_bytes(b"x" * 5000)
    assert progress.attempts() == []
    assert len(list(folder.glob("progress-broken-*.sqlite3"))) == 1
    assert "damaged" in progress.problem()


def test_damage_in_the_middle_of_the_file_is_kept_too(folder):
    for i in range(200):
        progress.store_guess(f"question {i}", "x" * 500)
    file = folder / "progress.sqlite3"
    with sqlite3.connect(file) as base:
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    base.close()
    content = bytearray(file.read_bytes())
    content[4096:40000] = bytes(b"\xff" * (40000 - 4096))
    file.write_bytes(content)
    progress.store_guess("new", "kept")
    assert [g.guess for g in progress.guesses("new")] == ["kept"]
    (broken,) = folder.glob("progress-broken-*.sqlite3")
    assert broken.stat().st_size == len(content)


def test_a_folder_that_cannot_be_made_costs_no_attempt(tmp_path, folder, monkeypatch):
    (tmp_path / "data").write_text("a file stands where the folder should be")
    attempt(source="mine")
    assert "could not be saved" in progress.problem()
    assert [a.source for a in progress.attempts()] == ["mine"]  # in this kernel
    (tmp_path / "data").unlink()
    attempt(source="later")
    assert progress.problem() is None
    progress._pending.clear()
    assert [a.source for a in progress.attempts()] == ["later", "mine"]  # and now on disk


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and file permissions")
def test_a_read_only_file_is_read_and_the_reader_told(monkeypatch):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        monkeypatch.setenv("KERNELLAB_DATA_DIR", name)
        attempt(source="old")
        (folder / "progress.sqlite3").chmod(0o444)
        folder.chmod(0o555)
        child = os.fork()
        if child == 0:  # root may write anything, so the child becomes somebody else
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                assert [a.source for a in progress.attempts()] == ["old"]
                progress.start_attempt("lab/one", "new")
                assert [a.source for a in progress.attempts()] == ["new", "old"]
                assert "could not be saved" in progress.problem()
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        folder.chmod(0o755)
        assert os.waitstatus_to_exitcode(status) == 0
        assert [a.source for a in progress.attempts()] == ["old"]


def test_a_locked_file_keeps_the_attempt_waiting(folder, monkeypatch):
    monkeypatch.setattr(progress, "_BUSY_SECONDS", 0.05)
    attempt(source="old")
    other = sqlite3.connect(folder / "progress.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    attempt(source="new")
    assert "locked" in progress.problem()
    assert [a.source for a in progress.attempts()] == ["new", "old"]
    other.execute("COMMIT")
    other.close()
    attempt(source="newest")
    assert progress.problem() is None
    assert [a.source for a in progress.attempts()] == ["newest", "new", "old"]


def test_a_newer_file_is_left_alone(folder):
    attempt()
    with sqlite3.connect(folder / "progress.sqlite3") as base:
        base.execute("PRAGMA user_version = 99")
    base.close()
    attempt()
    assert "newer kernellab" in progress.problem()
    assert not list(folder.glob("*broken*"))


@pytest.mark.parametrize(
    "call",
    [
        lambda: progress.start_attempt("", "x"),
        lambda: progress.start_attempt("lab/one", None),
        lambda: progress.finish_attempt("", True, ""),
        lambda: progress.store_guess("", "3"),
        lambda: progress.store_guess("how many?", 3),
    ],
)
def test_wrong_use_is_refused(call):
    with pytest.raises(ValueError, match="must be a"):
        call()
