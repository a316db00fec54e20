"""`kernellab test`: all tests of the project, stage by stage."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile

from kernellab.cli import OK, PROBLEMS, CommandError, UsageError
from kernellab.commands import _stages as stages
from kernellab.paths import NOTEBOOKS

HELP = "run all tests: style, units, notebooks, sweep, browser"
DESCRIPTION = "Run the tests, stage by stage:\n" + "\n".join(
    f"  {name:<12} {what}" for name, what in stages.STAGES.items()
)

NEEDED = ("pytest", "xdist", "nbval", "hypothesis", "ruff")


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(stages.STAGES),
        metavar="STAGE",
        help="run only these stages",
    )
    parser.add_argument("--lab", metavar="NAME", help="run only the tests of one lab")
    parser.add_argument(
        "--portable",
        action="store_true",
        help="notebooks and numerics as a plain processor with one thread would run them",
    )
    parser.add_argument(
        "--cold", action="store_true", help="start without any machine code in the cache"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--keep-going", action="store_true", default=True, help="run all stages (the default)"
    )
    group.add_argument(
        "--stop-early", action="store_true", help="stop after the first stage with a failure"
    )


def _chosen(args) -> list[str]:
    """The stages to run, in their fixed order."""
    possible = stages.PORTABLE_STAGES if args.portable else tuple(stages.STAGES)
    wanted = args.only or possible
    if outside := [stage for stage in wanted if stage not in possible]:
        raise UsageError(f"--portable has the stages {', '.join(possible)}, not {outside[0]}")
    return [stage for stage in possible if stage in wanted]


def _require(args) -> None:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CommandError(f"{', '.join(missing)} missing: pip install -e '.[test,browser]'")
    if args.lab and not any(NOTEBOOKS.glob(f"*/*_{args.lab}.ipynb")):
        known = sorted(path.stem.split("_", 1)[1] for path in NOTEBOOKS.glob("*/*.ipynb"))
        raise UsageError(f"no lab is called {args.lab!r}; labs: {', '.join(known) or 'none yet'}")


@contextlib.contextmanager
def _environment(args):
    """What the stages run in: progress in a temporary folder, caches as asked for."""
    with tempfile.TemporaryDirectory(prefix="kernellab-test-") as folder:
        environment = {
            "OPENBLAS_NUM_THREADS": "1",  # as in `kernellab lab`
            **os.environ,
            "KERNELLAB_DATA_DIR": os.path.join(folder, "data"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a warning of the debugger on every kernel
        }
        environment.pop("KERNELLAB_SAVING", None)
        if args.cold:
            environment["NUMBA_CACHE_DIR"] = os.path.join(folder, "cache")
        if args.portable:
            environment.update(stages.portable_environment())
        yield environment


def _title(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


def _warm(environment: dict, stages_to_run: list[str]) -> None:
    """Compile first, on all cores, so that the times of the stages are those of a second run."""
    _title("warm: compiling everything once")
    command = [sys.executable, "-m", "kernellab.cli", "warm"]
    if set(stages_to_run) - {"ruff", "boundscheck"}:
        subprocess.run(command, env=environment, check=False)
    if "boundscheck" in stages_to_run:
        subprocess.run(command, env={**environment, "NUMBA_BOUNDSCHECK": "1"}, check=False)


def _summary(outcomes: list[stages.Outcome]) -> int:
    """Print the table and the closing line; returns the exit code."""
    _title("summary")
    print(f"{'stage':<12} {'passed':>7} {'failed':>7} {'skipped':>8} {'time':>9}")
    for o in outcomes:
        row = f"{o.stage:<12} {o.passed:>7} {o.failed:>7} {o.skipped:>8} {o.seconds:>7.1f} s"
        print(f"{row}  {o.note}".rstrip())
    passed, failed, skipped = (
        sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("passed", "failed", "skipped")
    )
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return PROBLEMS if failed else OK


def run(args) -> int:
    """Run the stages; 1 when anything failed."""
    _require(args)
    chosen = _chosen(args)
    outcomes = []
    with _environment(args) as environment:
        if args.portable:
            names = ("NUMBA_CPU_NAME", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES")
            _title("as another machine: " + ", ".join(f"{n}={environment.get(n)}" for n in names))
        if not args.cold and set(chosen) - {"ruff"}:
            _warm(environment, chosen)
        for stage in chosen:
            _title(f"{stage}: {stages.STAGES[stage]}")
            outcome = stages.run_stage(stage, args.lab, environment, args.portable)
            if stage == "browser" and outcome.skipped and not outcome.passed + outcome.failed:
                print("No browser was found: the browser tests were skipped.")
            outcomes.append(outcome)
            if args.stop_early and outcome.failed:
                break
    return _summary(outcomes)
