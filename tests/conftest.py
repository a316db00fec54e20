"""What holds for every test: nothing of the user's own is touched, and runs repeat."""

import os
import tempfile

# Small matrices are slower on several threads, and results must not depend on their number. Set
# before NumPy is imported; whoever wants more threads says so in the environment.
for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

# A saved notebook's strictness is `kernellab save`'s business, not that of the tests.
os.environ.pop("KERNELLAB_SAVING", None)

# Attempts and guesses of the tests never reach the user's own progress. The folder stays for the
# whole session, subprocesses included.
_progress = tempfile.TemporaryDirectory(prefix="kernellab-tests-")
os.environ["KERNELLAB_DATA_DIR"] = _progress.name

from hypothesis import HealthCheck, settings  # noqa: E402

# No deadline: the first call of a compiled function may compile it.
_options = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("local", **_options)
settings.register_profile("ci", derandomize=True, print_blob=True, **_options)
settings.load_profile("ci" if os.environ.get("CI") else "local")
