"""`kernellab claims`: what the labs measured, as their saved notebooks show it."""

from kernellab.commands._table import print_json
from kernellab.paths import ROOT

HELP = "list what the labs measured, each beside its control"


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def collect() -> list[dict]:
    """Every claim of the saved notebooks, in teaching order."""
    from kernellab.lab import catalogue, claims

    rows = []
    for lab in catalogue.labs():
        if not lab.notebook.is_file():
            continue
        for record in claims.from_notebook(lab.notebook):
            row = {key: value for key, value in vars(record).items() if key != "cell"}
            path = lab.notebook.relative_to(ROOT).as_posix()
            rows.append({"lab": lab.name, "notebook": path, **row})
    return rows


def run(args) -> int:
    """Print the claims."""
    rows = collect()
    if args.json:
        print_json(rows)
        return 0
    for row in rows:
        print(f"{row['slug']} ({row['lab']}): {row['statement']}")
        print(f"    {row['measured_label']}: {row['measured']}")
        print(f"    control, {row['control_label']}: {row['control']}, fails as it must")
    print(f"\n{len(rows)} claims" if rows else "No saved notebook shows a claim yet.")
    return 0
