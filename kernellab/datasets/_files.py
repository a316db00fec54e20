"""What the loaders share: a data file's bytes, verified against the table in data/README.md."""

from __future__ import annotations

import hashlib
import re

from kernellab import paths

_SHA256 = re.compile(r"[0-9a-f]{64}")


def verified(file: str) -> bytes:
    """The bytes of a file in the data folder, once their checksum is right.

    Raises
    ------
    FileNotFoundError if the file, or the table of checksums, is missing.
    ValueError if the bytes are not those that the table speaks of, or it has no row for the file.

    Cost O(bytes).
    """
    expected = _checksum(file)
    try:
        content = (paths.DATA / file).read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the data file {file} is missing from {paths.DATA}; {_remedy(file)}"
        ) from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(
            f"the data file {file} is damaged or was changed: its checksum is not the one in "
            f"data/README.md; {_remedy(file)}"
        )
    return content


def checksums() -> dict[str, str]:
    """SHA-256 of every file in the table of data/README.md."""
    readme = paths.DATA / "README.md"
    try:
        text = readme.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the table of checksums {readme} is missing; {_remedy('README.md')}"
        ) from error
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    # A row is "| file | ... | sha256 |": its first and last pieces are empty.
    return {row[1]: row[-2] for row in rows if len(row) >= 4 and _SHA256.fullmatch(row[-2])}


def _checksum(file: str) -> str:
    known = checksums()
    if file not in known:
        raise ValueError(
            f"data/README.md must list {file} with its SHA-256; it lists {sorted(known)}"
        )
    return known[file]


def _remedy(file: str) -> str:
    return f"get it back with: git checkout -- data/{file}"
