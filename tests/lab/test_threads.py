"""One BLAS thread in a lab: asked in processes of their own, for it is a matter of the process."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy
from kernellab.lab import Explorer
import scipy.linalg
import threadpoolctl
pools = threadpoolctl.threadpool_info()
print({pool["num_threads"] for pool in pools if pool["user_api"] == "blas"})
"""


@pytest.mark.parametrize(("asked", "found"), [({}, "{1}"), ({"OPENBLAS_NUM_THREADS": "2"}, "{2}")])
def test_a_lab_uses_one_thread_unless_asked_for_more(asked, found):
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core: there is nothing to choose")
    plain = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=plain | asked, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if "OPENBLAS_NUM_THREADS" in asked and "openblas" not in _libraries():
        pytest.skip("NumPy's BLAS is not OpenBLAS here")
    assert done.stdout.strip() == found


def _libraries() -> str:
    import threadpoolctl

    return " ".join(pool["internal_api"] for pool in threadpoolctl.threadpool_info())
