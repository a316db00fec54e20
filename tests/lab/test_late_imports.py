"""A lab loads no grammars, and who needs them still gets them: asked in a fresh process."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
import kernellab.lab.figures
assert "lark" not in sys.modules
import jsonschema
iri = jsonschema.Draft202012Validator({"format": "iri"}, format_checker=jsonschema.FormatChecker())
print(iri.is_valid("https://example.org/ä"), iri.is_valid("no address"), "lark" in sys.modules)
import rfc3987_syntax
print(rfc3987_syntax.is_valid_syntax_iri("https://example.org"), rfc3987_syntax.__name__)
"""


def test_grammars_are_built_at_their_first_use():
    pytest.importorskip("rfc3987_syntax")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "False", "True", "True", "rfc3987_syntax"]
