"""`kernellab bench`: our methods beside the fastest peers, on the same work, in one process.

Each module ``tests/benchmarks/bench_*.py`` has a function ``rows()`` that yields ``Row``s.
"""

import contextlib
import fnmatch
import importlib.util
import math
import os
import re
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

from kernellab.paths import ROOT, TESTS

HELP = "compare the speed of compiled methods with other packages"
DESCRIPTION = """\
Time our methods and their peers side by side: results are compared first, then all sides take
turns. All of them use one thread, unless --threads says otherwise."""

OURS = "kernellab"
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_COLUMNS = "{:<28} {:<16} {:<26} {:>11} {:>11} {:>9}  {}"


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    name : what is computed
    size : at which size, e.g. ``"n=2000, d=20"``; the growth of the cost is shown over the first
        number, for rows that agree in the rest
    ours : computes it, and returns an array
    peers : how others compute it; a peer that raises ImportError is shown as not installed
    tolerance : how far results may differ, relative to the largest entry
    """

    name: str
    size: str
    ours: Callable
    peers: dict[str, Callable]
    tolerance: float = 1e-9


@dataclass
class Timing:
    """What one side of a row took; ``problem`` says why there is no time."""

    name: str
    size: str
    side: str
    best: float = math.nan  # seconds
    median: float = math.nan  # seconds
    peak: int = 0  # bytes that one call allocates, seen by Python's and NumPy's allocators
    ratio: float = math.nan  # best time over ours
    problem: str = ""
    times: list[float] = field(default_factory=list, repr=False)


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument("--only", metavar="PATTERN", help="rows whose name or module matches")
    parser.add_argument("--quick", action="store_true", help="few repeats, no largest sizes")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads for all sides")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the times to FILE (-: only that)"
    )


def run(args) -> int:
    """Time all rows that were asked for."""
    from kernellab.cli import CommandError, UsageError

    if args.threads < 1:
        raise UsageError(f"--threads must be at least 1, not {args.threads}")
    # Libraries read these when they are first imported, which happens below.
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(args.threads)
    # Peers may print while they build; with --json - only JSON may reach the standard output.
    only_json = args.json == "-"
    with contextlib.redirect_stdout(sys.stderr) if only_json else contextlib.nullcontext():
        rows, problems = find_rows(args.only, args.quick)
        if not rows and not problems:
            raise CommandError(f"no row matches {args.only!r}" if args.only else "no benchmarks")
        print(_COLUMNS.format("work", "size", "by", "best", "median", "peak", "times ours"))
        timings = []
        for row in rows:
            for timing in measure(row, budget=0.2 if args.quick else 1.5):
                print(_line(timing), flush=True)
                timings.append(timing)
        growth = growth_exponents(timings)
        _print_growth(growth)
        for problem in problems:
            print(f"left out: {problem}", file=sys.stderr)
    if args.json:
        _write_json(args.json, args.threads, timings, growth)
    wrong = [timing for timing in timings if timing.problem.startswith("disagrees")]
    return 1 if wrong or problems else 0


# Rows


def find_rows(pattern: str | None = None, quick: bool = False) -> tuple[list[Row], list[str]]:
    """Return the rows of all benchmark modules, and why a module could not yield its rows."""
    rows, problems = [], []
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # benchmarks may use tests.naive
    for path in sorted((TESTS / "benchmarks").glob("bench_*.py")):
        found = []
        try:
            for row in _load(path).rows():
                found.append(row)
        except ImportError as error:
            problems.append(f"rows of {path.name} after {len(found)}: {error}")
        if quick:
            found = _without_largest(found)
        rows += [row for row in found if pattern is None or _matches(pattern, row.name, path.stem)]
    return rows, problems


def _load(path):
    # A name of its own: an installed package may be called "tests", too.
    spec = importlib.util.spec_from_file_location(f"kernellab_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _matches(pattern: str, *names: str) -> bool:
    return any(fnmatch.fnmatch(name.lower(), f"*{pattern.lower()}*") for name in names)


def _without_largest(rows: list[Row]) -> list[Row]:
    """Return the rows without the largest size of each work that comes in several sizes."""
    sizes = {}
    for row in rows:
        sizes.setdefault(row.name, set()).add(_leading_size(row.size))
    return [
        row
        for row in rows
        if len(sizes[row.name]) == 1 or _leading_size(row.size) < max(sizes[row.name])
    ]


def _leading_size(size: str) -> int:
    return int(re.search(r"\d+", size).group())


# Timing


def measure(row: Row, budget: float) -> Iterator[Timing]:
    """Yield the timing of ours, then of each peer.

    All sides take turns, so that a slow moment of the machine meets them alike, until together they
    took ``budget`` seconds a side, but at least three turns.
    """
    expected = row.ours()
    sides, timings = {OURS: row.ours}, {OURS: Timing(row.name, row.size, OURS)}
    for name, peer in row.peers.items():
        timings[name] = Timing(row.name, row.size, name)
        timings[name].problem = _problem(peer, expected, row.tolerance)
        if not timings[name].problem:
            sides[name] = peer
    del expected
    for name, call in sides.items():
        timings[name].peak = _peak_memory(call)
    end = time.perf_counter() + budget * len(sides)
    turns = 0
    while turns < 3 or (turns < 50 and time.perf_counter() < end):
        for name, call in sides.items():
            start = time.perf_counter()
            call()
            timings[name].times.append(time.perf_counter() - start)
        turns += 1
    for timing in timings.values():
        if timing.times:
            timing.best = min(timing.times)
            timing.median = statistics.median(timing.times)
            timing.ratio = timing.best / timings[OURS].best
        yield timing


def _problem(peer: Callable, expected, tolerance: float) -> str:
    """Return why a peer cannot be compared, or nothing when its result agrees with ours."""
    import numpy as np

    try:
        result = np.asarray(peer())
    except ImportError as error:
        return f"not installed ({error.name or error})"
    if result.shape != np.shape(expected):
        return f"disagrees: shape {result.shape}, ours {np.shape(expected)}"
    if result.size == 0:
        return ""
    gap = np.abs(result - expected).max() / max(np.abs(expected).max(), 1e-300)
    return "" if gap <= tolerance else f"disagrees by {gap:.1e} of the largest entry"


def _peak_memory(call: Callable) -> int:
    """Return how many bytes one call holds at its peak beyond what was there before."""
    tracemalloc.start()
    try:
        result = call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del result
    return peak


# Growth


def growth_exponents(timings: list[Timing]) -> dict[tuple[str, str, str], float]:
    """Return the slopes of log(time) over log(size), by work, other sizes and side."""
    groups = {}
    for timing in timings:
        if timing.times:
            leading = _leading_size(timing.size)
            rest = re.sub(r"^\D*\d+(, )?", "", timing.size)
            groups.setdefault((timing.name, rest, timing.side), {})[leading] = timing.best
    return {key: _slope(times) for key, times in groups.items() if len(times) > 1}


def _slope(times: dict[int, float]) -> float:
    x, y = [math.log(size) for size in times], [math.log(seconds) for seconds in times.values()]
    return statistics.linear_regression(x, y).slope


# Output


def _line(timing: Timing) -> str:
    if timing.problem:
        shown = ("-", "-", "-", timing.problem)
    else:
        ratio = "" if timing.side == OURS else f"{timing.ratio:.2f}"
        shown = (_seconds(timing.best), _seconds(timing.median), _bytes(timing.peak), ratio)
    return _COLUMNS.format(timing.name, timing.size, timing.side, *shown).rstrip()


def _print_growth(growth: dict[tuple[str, str, str], float]) -> None:
    if growth:
        print("\ngrowth: time ~ size^exponent")
    for (name, rest, side), exponent in growth.items():
        print(f"{name:<28} {rest:<16} {side:<26} {exponent:>11.2f}")


def _write_json(path: str, threads: int, timings: list[Timing], growth: dict) -> None:
    from pathlib import Path

    from kernellab.commands._table import print_json

    report = {
        "threads": threads,
        "timings": [_without_nan(asdict(timing)) for timing in timings],
        "growth": [
            {"name": name, "other sizes": rest, "side": side, "exponent": round(exponent, 3)}
            for (name, rest, side), exponent in growth.items()
        ],
    }
    if path == "-":
        print_json(report)
        return
    with Path(path).open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        print_json(report)


def _without_nan(values: dict) -> dict:
    """Return values that JSON can hold, NaN as null."""
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in values.items()
    }


def _seconds(value: float) -> str:
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


def _bytes(value: int) -> str:
    return f"{value / 1e6:.1f} MB"
