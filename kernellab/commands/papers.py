"""`kernellab papers`: find papers in the catalogue."""

from kernellab.cli import UsageError
from kernellab.commands._table import print_json, print_table

HELP = "find papers: words in title, authors or summary"
STATUSES = ("works", "in progress", "planned")


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument("words", nargs="*", metavar="WORDS", help="papers with all of these words")
    parser.add_argument("--part", help="only this part, e.g. ridge_regression")
    parser.add_argument("--lab", help="only this lab, e.g. ridge_filters")
    parser.add_argument("--status", choices=STATUSES, help="only papers in this state")
    parser.add_argument("--json", action="store_true", help="everything that is known, as JSON")


def _check_names(args) -> None:
    """Refuse a part or a lab that does not exist, naming the nearest."""
    from difflib import get_close_matches

    from kernellab.lab import catalogue

    for kind, entries in (("part", catalogue.parts()), ("lab", catalogue.labs())):
        wanted, names = getattr(args, kind), [entry.name for entry in entries]
        if wanted is not None and wanted not in names:
            near = get_close_matches(wanted, names, n=3) or names
            raise UsageError(f"no {kind} is called {wanted!r}; there is {', '.join(near)}")


def select(words: str, part: str | None, lab: str | None, status: str | None) -> list:
    """The papers that fit, best match first."""
    from kernellab.lab import catalogue

    found = catalogue.find(words) if words.split() else catalogue.papers()
    return [
        paper
        for paper in found
        if part in (None, paper.part)
        and lab in (None, paper.lab)
        and status in (None, paper.status)
    ]


def as_dict(paper) -> dict:
    """What is known about a paper, for JSON."""
    claim = paper.claim
    return {
        "slug": paper.slug,
        "title": paper.title,
        "authors": paper.authors,
        "year": paper.year,
        "link": paper.link,
        "part": paper.part,
        "lab": paper.lab,
        "summary": paper.summary,
        "functions": paper.functions,
        "claim": claim.statement if claim else None,
        "status": paper.status,
        "missing": [] if paper.status == "planned" else paper.missing,
    }


def run(args) -> int:
    """Print the papers that fit; 1 when there is none."""
    _check_names(args)
    found = select(" ".join(args.words), args.part, args.lab, args.status)
    if args.json:
        print_json([as_dict(paper) for paper in found])
        return 0 if found else 1
    if not found:
        print("No paper fits.")
        return 1
    rows = []
    for paper in found:
        claim = paper.claim
        functions = ", ".join(paper.functions)
        shown = claim.statement if claim else ""
        rows.append(
            [paper.slug, paper.title, paper.part, paper.lab, functions, shown, paper.status]
        )
    print_table(
        ["slug", "title", "part", "lab", "functions", "claim", "status"],
        rows,
        flexible=[1, 2, 3, 4, 5],
    )
    print(f"\n{len(found)} papers")
    return 0
