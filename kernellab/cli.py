"""The `kernellab` command: finds the subcommand, imports only its module, reports problems plainly.

Each module of `kernellab.commands` (those without a leading underscore) is one subcommand and has
``HELP`` (one line), ``add_arguments(parser)`` and ``run(args) -> int``. Exit codes: 0 all is well,
1 problems were found, 2 the command was used wrongly, 130 interrupted.
"""

import argparse
import difflib
import importlib
import os
import sys
from pathlib import Path

from kernellab import __version__

OK, PROBLEMS, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

# In the order in which people meet them; a command that is not listed comes last, by name.
ORDER = (
    "lab", "papers", "claims", "progress", "present",
    "new", "save", "check", "test", "warm", "bench",
)  # fmt: skip


class CommandError(Exception):
    """An expected failure: its message goes to stderr, without a traceback; exit code 1."""


class UsageError(CommandError):
    """The command cannot be used this way; exit code 2."""


def command_names() -> list[str]:
    """Names of all subcommands, without importing any of them."""
    folder = Path(__file__).parent / "commands"
    names = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    rank = {name: index for index, name in enumerate(ORDER)}
    return sorted(names, key=lambda name: (rank.get(name, len(ORDER)), name))


def load(name: str):
    """The module of one subcommand."""
    return importlib.import_module(f"kernellab.commands.{name}")


def _overview() -> str:
    """What `kernellab` and `kernellab --help` print."""
    lines = [f"  {name:<10} {load(name).HELP}" for name in command_names()]
    return "\n".join(
        [
            "usage: kernellab COMMAND [options]",
            "",
            "An interactive course and atlas of kernel methods.",
            "",
            "commands:",
            *lines,
            "",
            "Start with:      kernellab lab",
            "One command:     kernellab COMMAND --help",
            "Version:         kernellab --version",
        ]
    )


def _unknown(name: str) -> int:
    """Complain about an unknown subcommand, suggesting what may have been meant."""
    names = command_names()
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"commands: {', '.join(names)}"
    kind = "option" if name.startswith("-") else "command"
    print(f"kernellab: unknown {kind} {name!r}; {hint}", file=sys.stderr)
    return WRONG_USE


def _parser(name: str, module) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"kernellab {name}",
        description=getattr(module, "DESCRIPTION", module.HELP),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return parser


def _parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse, naming the nearest option when one is misspelt (argparse only says "unrecognized").

    A command with a default for ``extra`` gets there what follows ``--``, for a program it starts.
    """
    passed_on = None
    if parser.get_default("extra") is not None and "--" in arguments:
        end = arguments.index("--")
        arguments, passed_on = arguments[:end], arguments[end + 1 :]
    args, extra = parser.parse_known_args(arguments)
    if passed_on is not None:
        args.extra = passed_on
    if extra:
        options = [option for action in parser._actions for option in action.option_strings]
        near = difflib.get_close_matches(extra[0], options, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"unrecognized argument: {extra[0]}{hint}")
    return args


def _run(name: str, arguments: list[str]) -> int:
    module = load(name)
    try:
        args = _parse(_parser(name, module), arguments)
        return int(module.run(args) or OK)
    except CommandError as error:
        print(f"kernellab {name}: {error}", file=sys.stderr)
        return WRONG_USE if isinstance(error, UsageError) else PROBLEMS
    except KeyboardInterrupt:
        print(f"\nkernellab {name}: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # `kernellab papers | head`: the reader has seen enough. Python would complain once more
        # while it flushes stdout at exit, so stdout is pointed to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else OK


def main(argv: list[str] | None = None) -> int:
    """Run the `kernellab` command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return OK if arguments else WRONG_USE
    if arguments[0] == "help":
        return main([*arguments[1:2], "--help"])
    if arguments[0] in ("-V", "--version"):
        print(f"kernellab {__version__}")
        return OK
    if arguments[0] not in command_names():
        return _unknown(arguments[0])
    return _run(arguments[0], arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
