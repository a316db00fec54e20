"""`kernellab check`: the files agree with one another. Executes nothing, takes seconds."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from kernellab import paths
from kernellab.cli import OK, PROBLEMS, UsageError
from kernellab.commands import _labcheck as rules
from kernellab.commands import _notebooks as notebooks
from kernellab.commands._notebooks import Fault
from kernellab.paths import NOTEBOOKS, ROOT

HELP = "check in seconds that catalogue, notebooks, modules and tests agree"
DESCRIPTION = """\
Check that catalogue, notebooks, modules, exercises and tests agree, that every lab is complete and
every notebook in normal form. Executes nothing. One line a problem; exit code 1 if there is any."""

# What README.md promises to hold, and what `.ci/run` looks for there.
COMMAND_MARKERS = ("open-command", "test-command")


def add_arguments(parser):
    """Declare what the command takes."""
    parser.add_argument(
        "lab", nargs="*", metavar="LAB", help="only these labs (default: everything)"
    )


def readme_command(marker: str) -> str | None:
    """The command in the code block that follows ``<!-- marker -->`` in README.md."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {marker} -->\s*```sh\n(.+?)\n```", text, re.DOTALL)
    return found[1].strip() if found else None


def check_project() -> Iterator[tuple[Path, Fault]]:
    """README.md and environment.yml say what pyproject.toml says."""
    for marker in COMMAND_MARKERS:
        if not readme_command(marker):
            yield ROOT / "README.md", Fault("", f"no command after <!-- {marker} -->")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for message in rules.broken_links(ROOT, readme, known=[]):
        yield ROOT / "README.md", Fault("", message)
    for message in environment_faults():
        yield ROOT / "environment.yml", Fault("", message)


def environment_faults() -> list[str]:
    """Where environment.yml differs from pyproject.toml."""
    import yaml
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    try:
        environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    except OSError:
        return ["is missing"]
    entries = environment["dependencies"]
    plain = {re.split(r"[=<>! ]", entry)[0]: entry for entry in entries if isinstance(entry, str)}
    found = []
    version = re.fullmatch(r"python=(\d+\.\d+)", plain.get("python", ""))
    if not version:
        found.append("must pin python as python=X.Y")
    elif not SpecifierSet(project["requires-python"]).contains(version[1]):
        found.append(f"python {version[1]} is not {project['requires-python']}")
    if set(plain) != {"python", "pip"}:
        found.append("lists packages: they belong into pyproject.toml, here only python and pip")
    installed = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    if len(installed) != 1 or not installed[0].startswith("-e ."):
        return [*found, "must install this checkout, and nothing else, by pip: -e ."]
    extras = Requirement("kernellab" + installed[0].removeprefix("-e .")).extras
    if unknown := sorted(extras - set(project["optional-dependencies"])):
        found.append(f"asks for the extra {unknown[0]}, which pyproject.toml does not have")
    return found


def check_layout() -> Iterator[tuple[Path, Fault]]:
    """Every notebook and module has its place in the catalogue, and every folder is a package."""
    from kernellab.lab import catalogue

    labs = catalogue.labs()
    expected = {lab.notebook for lab in labs} | {NOTEBOOKS / "00_start_here.ipynb"}
    for path in notebooks.notebook_paths():
        if path not in expected:
            yield path, Fault("", "is not where the catalogue puts a lab (part, number or name)")
    for kind in ("module", "exercises"):
        by_path = {getattr(lab, kind): lab for lab in labs}
        folder = labs[0].module.parents[1] if kind == "module" else labs[0].exercises.parents[1]
        for path in sorted(folder.glob("*/*.py")):
            if path.name.startswith("_"):
                continue
            if path not in by_path:
                yield path, Fault("", "belongs to no lab of the catalogue")
            elif not by_path[path].notebook.is_file():
                yield path, Fault("", f"its lab has no notebook {by_path[path].notebook.name}")
        for path in sorted(folder.glob("*/")):
            if list(path.glob("*.py")) and not (path / "__init__.py").is_file():
                yield path, Fault("", "has no __init__.py")


def exercise_tests(lab) -> Path:
    """Where the tests of a lab's exercises are."""
    return paths.TESTS / "exercises" / lab.part / f"test_{lab.name}.py"


def check_lab(lab) -> Iterator[tuple[Path, Fault]]:
    """One lab: its files are there, its papers shown, its blocks in place."""
    files = {
        "module": lab.module,
        "exercises": lab.exercises,
        "tests": lab.tests,
        "tests of its exercises": exercise_tests(lab),
    }
    for what, path in files.items():
        if not path.is_file():
            yield path, Fault("", f"missing: the {what} of the lab {lab.name}")
        elif rules.PLACEHOLDER in path.read_text(encoding="utf-8"):
            yield path, Fault("", f"still says {rules.PLACEHOLDER}")
    if lab.exercises.is_file():
        for fault in rules.wrong_answers(lab.exercises):
            yield lab.exercises, fault
    for paper in lab.papers:
        for missing in paper.missing:
            yield lab.notebook, Fault("", f"{paper.slug}: lacks {missing}")
    cells = notebooks.read(lab.notebook)["cells"]
    for fault in [
        *rules.placeholders(cells),
        *rules.imports(cells),
        *rules.building_blocks(cells),
        *_foreign_anchors(lab, cells),
    ]:
        yield lab.notebook, fault


def _foreign_anchors(lab, cells: list[dict]) -> list[Fault]:
    """Sections of papers that the catalogue puts into another lab."""
    from kernellab.lab import catalogue

    homes = {paper.slug: paper.lab for paper in catalogue.papers()}
    return [
        Fault("", f"has a section of {slug}, which belongs to the lab {homes[slug]}")
        for slug in rules.anchors(cells)
        if homes.get(slug, lab.name) != lab.name
    ]


def check_notebook(path: Path) -> Iterator[tuple[Path, Fault]]:
    """One notebook, a lab or not: normal form, slides, links."""
    notebook = notebooks.read(path)
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    executed = not code or any(cell.get("execution_count") for cell in code)
    found = notebooks.difference(notebook) if executed else []
    for cell in cells:
        cell.setdefault("id", "?")
        cell.setdefault("metadata", {})
    if executed:
        found += notebooks.faults(notebook)
    else:  # one line instead of several for each cell
        found.append(Fault("", "was never executed; `kernellab save` executes and stores it"))
    found += rules.slides(cells) + rules.tags(cells) + rules.links(path, cells)
    for fault in found:
        yield path, fault


def _all_checks(names: list[str]) -> Iterator[tuple[Path, Fault]]:
    from kernellab.lab import catalogue

    chosen = [catalogue.lab(name) for name in names]
    if not chosen:
        yield from check_project()
        yield from check_layout()
    started = [lab for lab in chosen or catalogue.labs() if lab.notebook.is_file()]
    for lab in chosen:
        if lab not in started:
            yield lab.notebook, Fault("", "missing: the notebook of this lab")
    for lab in started:
        yield from check_lab(lab)
    for path in [lab.notebook for lab in started] if chosen else notebooks.notebook_paths():
        yield from check_notebook(path)


def run(args) -> int:
    """Print one line a problem."""
    from kernellab.lab import catalogue

    for name in args.lab:
        try:
            catalogue.lab(name)
        except ValueError as error:
            raise UsageError(str(error)) from None
    count = 0
    try:
        for path, fault in _all_checks(args.lab):
            where = notebooks.shown(path) + (f":{fault.cell}" if fault.cell else "")
            print(f"{where}: {fault.message}")
            count += 1
    except ValueError as error:  # a file that cannot be read at all ends the check
        print(error)
        count += 1
    if count:
        print(f"{count} problem{'s' if count > 1 else ''}")
        return PROBLEMS
    done = len([lab for lab in catalogue.labs() if lab.notebook.is_file()])
    print(f"no problems: {done} labs, {len(catalogue.papers())} papers in the catalogue")
    return OK
