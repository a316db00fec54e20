"""What a learner did, kept on their own disk: attempts at exercises, and guesses.

One SQLite file in the user's data folder (``KERNELLAB_DATA_DIR`` wins). Every write is committed
before anything is shown, so a kernel that dies a moment later loses nothing; each call opens the
file afresh, so several notebooks can share it. When the file cannot be written, work goes on: what
could not be saved is held in memory, tried again with the next write, and :func:`problem` says why.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_VERSION = 1
_BUSY_SECONDS = 10.0
# A file that SQLite itself calls corrupt, or no database. Anything else (locked, full, read-only)
# may pass, and says nothing about what is in the file.
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
    id TEXT PRIMARY KEY, exercise TEXT NOT NULL, time REAL NOT NULL,
    passed INTEGER, message TEXT, source TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS attempts_by_exercise ON attempts (exercise, time);
CREATE TABLE IF NOT EXISTS guesses (
    id TEXT PRIMARY KEY, question TEXT NOT NULL, time REAL NOT NULL, guess TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS guesses_by_question ON guesses (question, time);
"""


@dataclass(frozen=True)
class Attempt:
    """One try at an exercise; ``passed`` is None when the kernel stopped before the verdict."""

    id: str
    exercise: str
    time: float  # seconds since 1970, UTC
    passed: bool | None
    message: str
    source: str


@dataclass(frozen=True)
class Guess:
    """One committed guess at a prediction's question."""

    question: str
    time: float  # seconds since 1970, UTC
    guess: str


@dataclass(frozen=True)
class Summary:
    """An exercise's attempts in one row."""

    exercise: str
    attempts: int
    passed: bool
    last: float  # seconds since 1970, UTC


_lock = threading.RLock()
_pending: list[tuple[Path, str, tuple]] = []  # writes that found no file to go to, with its path
_notes: dict[tuple[Path, str], str] = {}  # what to tell the reader: (file, kind) to sentence


def path() -> Path:
    """The progress file: in ``KERNELLAB_DATA_DIR``, or in the user's data folder."""
    chosen = os.environ.get("KERNELLAB_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser() / "progress.sqlite3"
    import platformdirs

    return platformdirs.user_data_path("kernellab", appauthor=False) / "progress.sqlite3"


def problem() -> str | None:
    """What went wrong with the progress file in this session, in words; None if nothing did."""
    file = path()
    return " ".join(note for (of, _kind), note in _notes.items() if of == file) or None


def start_attempt(exercise: str, source: str) -> str:
    """Store an attempt before it is judged, and return its id."""
    _check_text(exercise=exercise)
    if not isinstance(source, str):
        raise ValueError(f"source must be a string, got {source!r}")
    attempt = uuid.uuid4().hex
    _write(
        "INSERT INTO attempts (id, exercise, time, source) VALUES (?, ?, ?, ?)",
        (attempt, exercise, time.time(), source),
    )
    return attempt


def finish_attempt(attempt: str, passed: bool, message: str) -> None:
    """Add the verdict to an attempt stored before."""
    _check_text(attempt=attempt)
    _write(
        "UPDATE attempts SET passed = ?, message = ? WHERE id = ?",
        (int(bool(passed)), str(message), attempt),
    )


def attempts(exercise: str | None = None, limit: int = -1) -> list[Attempt]:
    """Attempts, the latest first; of one exercise or of all, at most ``limit`` of them."""
    rows = _read(
        "SELECT id, exercise, time, passed, message, source FROM attempts "
        "WHERE ?1 IS NULL OR exercise = ?1 ORDER BY time DESC, rowid DESC LIMIT ?2",
        (exercise, int(limit)),
    )
    return [
        Attempt(id_, name, when, None if passed is None else bool(passed), message or "", source)
        for id_, name, when, passed, message, source in rows
    ]


def summary() -> list[Summary]:
    """One row an exercise that was tried, by name."""
    rows = _read(
        "SELECT exercise, COUNT(*), MAX(COALESCE(passed, 0)), MAX(time) FROM attempts "
        "GROUP BY exercise ORDER BY exercise",
        (),
    )
    return [Summary(name, count, bool(passed), last) for name, count, passed, last in rows]


def store_guess(question: str, guess: str) -> None:
    """Keep a committed guess."""
    _check_text(question=question, guess=guess)
    _write(
        "INSERT INTO guesses (id, question, time, guess) VALUES (?, ?, ?, ?)",
        (uuid.uuid4().hex, question, time.time(), guess),
    )


def guesses(question: str | None = None, limit: int = -1) -> list[Guess]:
    """Guesses, the latest first; at one question or at all, at most ``limit`` of them."""
    rows = _read(
        "SELECT question, time, guess FROM guesses "
        "WHERE ?1 IS NULL OR question = ?1 ORDER BY time DESC, rowid DESC LIMIT ?2",
        (question, int(limit)),
    )
    return [Guess(*row) for row in rows]


def _check_text(**texts: str) -> None:
    for name, text in texts.items():
        if not isinstance(text, str) or not text:
            raise ValueError(f"{name} must be a non-empty string, got {text!r}")


def _write(sql: str, values: tuple) -> None:
    """Run one statement and commit it, with any that waited; or let it wait, and note why."""
    with _lock:
        file = path()
        _pending.append((file, sql, values))
        try:
            _retry_if_broken(file, lambda: _commit(file, _waiting(file)))
        except (sqlite3.Error, OSError) as error:
            _notes[file, "unsaved"] = (
                f"Your work could not be saved: {file} cannot be written ({error}). Everything "
                "works all the same, but is kept only as long as this kernel runs; set "
                "KERNELLAB_DATA_DIR to a folder that you can write to."
            )
        else:
            _pending[:] = [entry for entry in _pending if entry[0] != file]
            _notes.pop((file, "unsaved"), None)


def _read(sql: str, values: tuple) -> list[tuple]:
    """Rows of a query over what is saved and what still waits to be."""
    with _lock:
        file = path()
        try:
            return _retry_if_broken(file, lambda: _query(file, sql, values))
        except (sqlite3.Error, OSError) as error:
            _notes[file, "unread"] = f"Your earlier work cannot be read from {file} ({error})."
            return _query(None, sql, values)


def _query(file: Path | None, sql: str, values: tuple) -> list[tuple]:
    # A copy in memory takes the waiting writes, and leaves a read-only file alone. It is small.
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        if file is not None and file.is_file():
            with _reading(file) as saved:
                saved.backup(copy)
        copy.executescript(_SCHEMA)
        for statement, given in _waiting(path()):
            copy.execute(statement, given)
        return copy.execute(sql, values).fetchall()


def _commit(file: Path, statements: list[tuple[str, tuple]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with _connection(str(file)) as base:
        _prepare(base)
        base.execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            base.execute(sql, values)
        base.execute("COMMIT")


def _waiting(file: Path) -> list[tuple[str, tuple]]:
    return [(sql, values) for to, sql, values in _pending if to == file]


@contextlib.contextmanager
def _connection(name: str, uri: bool = False) -> Iterator[sqlite3.Connection]:
    base = sqlite3.connect(name, timeout=_BUSY_SECONDS, isolation_level=None, uri=uri)
    with contextlib.closing(base):
        yield base


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    # In a folder that cannot be written, a WAL file opens only as one that never changes.
    address = f"{file.resolve().as_uri()}?mode=ro"
    with contextlib.ExitStack() as stack:
        try:
            base = stack.enter_context(_connection(address, uri=True))
            _check_version(base)
        except sqlite3.OperationalError:
            base = stack.enter_context(_connection(address + "&immutable=1", uri=True))
            _check_version(base)
        yield base


def _prepare(base: sqlite3.Connection) -> None:
    if _check_version(base) == _VERSION:
        return
    # Readers do not wait for writers in WAL mode; some network file systems cannot have it.
    with contextlib.suppress(sqlite3.OperationalError):
        base.execute("PRAGMA journal_mode = WAL")
    base.execute("BEGIN IMMEDIATE")
    for statement in filter(str.strip, _SCHEMA.split(";")):
        base.execute(statement)
    base.execute(f"PRAGMA user_version = {_VERSION}")
    base.execute("COMMIT")


def _check_version(base: sqlite3.Connection) -> int:
    (version,) = base.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise sqlite3.NotSupportedError(f"a newer kernellab made it: version {version}")
    return version


def _retry_if_broken(file: Path, work: Callable[[], list[tuple] | None]):
    """Do the work; if the file turns out to be broken, put it aside and begin a new one."""
    seen = _identity(file)
    try:
        return work()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BROKEN:
            raise
        _set_aside(file, seen)
        return work()


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _set_aside(file: Path, seen: tuple[int, int] | None) -> None:
    """Rename a broken file, with its journal, so that nothing in it is lost."""
    if _identity(file) != seen:
        return  # another kernel met the same broken file and was faster
    name = f"{file.stem}-broken-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    kept = file.with_name(name + file.suffix)
    for ending in ("-wal", "-shm", "-journal", ""):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{file}{ending}", f"{kept}{ending}")
    _notes[file, "broken"] = (
        f"The file with your earlier work was damaged; it is kept as {kept}, and a new one begun."
    )
