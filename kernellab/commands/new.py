"""`kernellab new`: the scaffold of a lab."""

from difflib import get_close_matches

from kernellab.cli import CommandError, UsageError
from kernellab.commands._notebooks import normalise, shown, write

HELP = "start a lab: notebook, module, exercises and tests to fill in"
DESCRIPTION = """\
Write the files a lab starts from, with one section for each of its papers. Part and lab must stand
in the catalogue (data/papers/). Nothing is overwritten. `kernellab check` names every place that is
still to be filled in."""


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument("part", metavar="PART", help="e.g. ridge_regression")
    parser.add_argument("lab", metavar="LAB", help="e.g. ridge_filters")


def _one_of(kind: str, name: str, entries: list):
    """The entry with this name, or a UsageError that names the nearest."""
    by_name = {entry.name: entry for entry in entries}
    if name not in by_name:
        near = get_close_matches(name, by_name, n=3) or list(by_name)
        raise UsageError(f"no {kind} is called {name!r}; there is {', '.join(near)}")
    return by_name[name]


def run(args) -> int:
    """Write the scaffold, or nothing at all."""
    from kernellab.commands import _scaffold as scaffold
    from kernellab.lab import catalogue

    part = _one_of("part", args.part, catalogue.parts())
    lab = _one_of(f"lab of {part.name}", args.lab, part.labs)
    texts = scaffold.files(lab, part)
    taken = [path for path in (lab.notebook, *texts) if path.exists()]
    if taken:
        raise CommandError(f"{shown(taken[0])} exists already; nothing was written")
    for path, text in {**scaffold.packages(lab, part), **texts}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote {shown(path)}")
    lab.notebook.parent.mkdir(parents=True, exist_ok=True)
    write(lab.notebook, normalise(scaffold.notebook(lab)))
    print(f"wrote {shown(lab.notebook)}")
    print(f"Fill in what says FILL IN; `kernellab check {lab.name}` lists what is left.")
    return 0
