import math
import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute import compiled
from kernellab.compute.elementary import LARGEST_ANGLE, arcsin, cos, exp, log, log1p, sin

pytestmark = pytest.mark.compiled


@compiled("void(float64[::1], float64[::1])", fastmath={"contract"})
def exp_all(x, out):
    for i in range(x.size):
        out[i] = exp(x[i])


@compiled("void(float64[::1], float64[::1])", fastmath={"contract"})
def log_all(x, out):
    for i in range(x.size):
        out[i] = log(x[i])


@compiled("void(float64[::1], float64[::1])", fastmath={"contract"})
def log1p_all(x, out):
    for i in range(x.size):
        out[i] = log1p(x[i])


@compiled("void(float64[::1], float64[::1])", fastmath={"contract"})
def arcsin_all(x, out):
    for i in range(x.size):
        out[i] = arcsin(x[i])


@compiled("void(float64[::1], float64[::1])", fastmath={"contract"})
def cos_all(x, out):
    for i in range(x.size):
        out[i] = cos(x[i])


@compiled("void(float64[::1], float64[::1])", fastmath={"contract"})
def sin_all(x, out):
    for i in range(x.size):
        out[i] = sin(x[i])


LOOPS = [exp_all, log_all, log1p_all, arcsin_all, cos_all, sin_all]


def values(loop, x):
    x = np.array(x, dtype=float)
    out = np.empty_like(x)
    loop(x, out)
    return out


def spread(low, high):
    """Return points between powers of 10, with their neighbours."""
    x = np.geomspace(10.0**low, 10.0**high, 100_001)
    return np.concatenate([x, np.nextafter(x, 0), np.nextafter(x, np.inf)])


@pytest.mark.parametrize(
    ("loop", "reference", "x"),
    [
        (exp_all, np.exp, np.linspace(-708.39, 709.78, 400_001)),
        (exp_all, np.exp, -spread(-300, 2.85)),
        (exp_all, np.exp, np.arange(-1000, 1000) * math.log(2) / 2),
        (log_all, np.log, spread(-307, 308)),
        (log_all, np.log, np.linspace(0.5, 2, 100_001)),
        (log1p_all, np.log1p, spread(-307, 308)),
        (log1p_all, np.log1p, np.linspace(0, 4, 100_001)),
        (arcsin_all, np.arcsin, np.linspace(0, 1, 100_001)),
        (arcsin_all, np.arcsin, spread(-300, -1e-12)[:300_000]),
    ],
)
def test_all_digits_but_the_last(loop, reference, x):
    if loop is arcsin_all:
        x = np.minimum(x, 1.0)
    np.testing.assert_allclose(values(loop, x), reference(x), rtol=1e-15, atol=0)


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=30))
def test_exp_of_anything(x):
    with np.errstate(over="ignore", under="ignore"):
        expected = np.exp(np.array(x))
    # Subnormal results are 0.
    np.testing.assert_allclose(values(exp_all, x), expected, rtol=1e-15, atol=2.3e-308)


def test_special_values():
    assert values(exp_all, [0.0, -0.0]).tolist() == [1.0, 1.0]
    assert values(exp_all, [-math.inf, -1e308, -750.0, -709.0]).tolist() == [0.0] * 4
    assert values(exp_all, [math.inf, 1e308, 710.0]).tolist() == [math.inf] * 3
    assert np.isnan(values(exp_all, [math.nan, -math.nan])).all()
    assert values(log_all, [1.0, math.inf]).tolist() == [0.0, math.inf]
    assert values(log1p_all, [0.0, math.inf]).tolist() == [0.0, math.inf]
    assert values(arcsin_all, [0.0, 1.0]).tolist() == [0.0, math.pi / 2]


@pytest.mark.parametrize(("loop", "reference"), [(cos_all, np.cos), (sin_all, np.sin)])
def test_cosines_and_sines(loop, reference):
    rng = np.random.default_rng(0)
    for largest in (1e-9, 1.0, 30.0, 1e4, LARGEST_ANGLE):
        x = rng.uniform(-largest, largest, 100_000)
        np.testing.assert_allclose(values(loop, x), reference(x), rtol=0, atol=3e-16)
    quarters = np.arange(-4000, 4000) * math.pi / 8
    edges = np.concatenate([quarters, np.nextafter(quarters, -99), [LARGEST_ANGLE, 0.0, -0.0]])
    np.testing.assert_allclose(values(loop, edges), reference(edges), rtol=0, atol=3e-16)


def test_exp_does_not_depend_on_the_place_in_the_array():
    x = np.random.default_rng(0).uniform(-50, 0, 77)
    together = values(exp_all, x)
    one_by_one = [values(exp_all, [each])[0] for each in x]
    np.testing.assert_allclose(together, one_by_one, rtol=3e-16)


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_loops_are_vectorised(loop):
    import numba

    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("reads x86 assembly")
    if numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK:
        pytest.skip("bounds checks forbid vectors")
    if numba.config.CPU_NAME == "generic":
        pytest.skip("no packed instructions were found for this simulated processor")
    # Compiled afresh: what comes out of the cache has no assembly to read.
    fresh = numba.njit(loop.signature, **loop.options)(loop.py_func)
    assembly = "\n".join(fresh.inspect_asm().values())
    packed = ("mulpd", "addpd", "pd\t%ymm", "pd\t%zmm")
    assert any(word in assembly for word in packed)
    assert "call" not in assembly or "exp@" not in assembly  # no call of the scalar library
