"""Where the checkout keeps its notebooks, data and tests.

kernellab is installed from a checkout in editable mode, so these folders stand beside the package.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
TESTS = ROOT / "tests"
