"""Elementary functions that vectorise inside compiled loops.

numba from PyPI has no vector library for ``np.exp`` and its like: a loop with them stays scalar.
The functions here are straight-line arithmetic, selections and moves of bits, which LLVM turns into
vector instructions on any processor. They are inlined into the loop that calls them:

    @compiled("void(float64[::1])", fastmath={"contract"})
    def negative_exponential(values):
        for i in range(values.size):
            values[i] = exp(-values[i])

Allow ``contract`` (a product and a sum become one instruction where the processor has it) but no
other fast-math flag in such loops: reordering would undo the careful sums below.
"""

import math

import numpy as np

from kernellab.compute.compiled import compiled

# Adding 1.5 * 2^52 rounds a float to the nearest integer, which then stands in its lowest bits.
_ROUNDER = 6755399441055744.0
_LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first has so few digits that its product with an exponent is exact.
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
_EXP_LOWEST = -708.396418532264  # below, exp is smaller than the smallest normal number
_EXP_HIGHEST = 709.782712893384  # above, exp is larger than the largest number

_TWO_OVER_PI = 0.6366197723675814
# pi/2 in three parts; the first two have 33 bits, so that products with whole numbers below 2^20
# are exact. Source: fdlibm (Sun Microsystems, 1993), e_rem_pio2.c.
_HALF_PI_1 = 1.57079632673412561417
_HALF_PI_2 = 6.07710050630396597660e-11
_HALF_PI_3 = 2.02226624879595063154e-21
LARGEST_ANGLE = 1e6  # radians, for ``cos`` and ``sin``

_SQRT_HALF = math.sqrt(0.5)
_HALF_PI = math.pi / 2


@compiled("float64(float64)", forceinline=True, fastmath={"contract"})
def exp(x):
    """Return e^x with a relative error below 1e-15.

    e^x = 2^k e^r with an integer k and |r| <= ln(2)/2, where the Taylor polynomial of degree 12 is
    exact to rounding. Results below 2.2e-308 (the subnormal ones) are 0; NaN gives NaN.
    """
    shifted = x * _LOG2_E + _ROUNDER
    k = shifted - _ROUNDER
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    p = p * r + 1.0
    p = p * r + 1.0
    # Times 2^k: the lowest bits of ``shifted`` hold k, and the exponent's bits begin at 52.
    bits = np.float64(p).view(np.int64) + (np.float64(shifted).view(np.int64) << np.int64(52))
    y = np.int64(bits).view(np.float64)
    y = 0.0 if x < _EXP_LOWEST else y
    return np.inf if x > _EXP_HIGHEST else y


@compiled("float64(float64)", forceinline=True, fastmath={"contract"})
def log(x):
    """Return ln x for a normal number x > 0, with an error near 1e-16 (1 + |ln x|).

    x = 2^k m with m between sqrt(1/2) and sqrt(2); ln m = 2 artanh(f) with f = (m - 1)/(m + 1),
    by the series f + f^3/3 + f^5/5 + ...  Infinity gives infinity.
    """
    bits = np.float64(x).view(np.int64)
    # Exponents counted so that the fraction falls into [sqrt(1/2), sqrt(2)).
    offset = bits - np.int64(0x3FE6A09E667F3BCD)
    m = np.int64(bits - (offset & np.int64(-0x10000000000000))).view(np.float64)
    # An integer to a float: place it into the lowest bits of 1.5 * 2^52, and take that away.
    k = np.int64((offset >> np.int64(52)) + np.int64(0x4338000000000000)).view(np.float64)
    k -= _ROUNDER
    f = (m - 1.0) / (m + 1.0)
    z = f * f
    p = 1 / 21
    p = p * z + 1 / 19
    p = p * z + 1 / 17
    p = p * z + 1 / 15
    p = p * z + 1 / 13
    p = p * z + 1 / 11
    p = p * z + 1 / 9
    p = p * z + 1 / 7
    p = p * z + 1 / 5
    p = p * z + 1 / 3
    y = k * _LN2_HIGH + (2.0 * f + (2.0 * f * z * p + k * _LN2_LOW))
    return x if x == np.inf else y


@compiled("float64(float64)", forceinline=True, fastmath={"contract"})
def log1p(x):
    """Return ln(1 + x) for x >= 0, with a relative error near 1e-16 also for tiny x."""
    w = 1.0 + x
    # What rounding took from 1 + x comes back to first order.
    lost = x - (w - 1.0)
    y = log(w) + lost / w
    return x if x == np.inf else y


@compiled("float64(float64)", forceinline=True, fastmath={"contract"})
def arcsin(x):
    """Return arcsin x for 0 <= x <= 1, with an error near 1e-16.

    Below 1/2 by a rational approximation, above by arcsin x = pi/2 - 2 arcsin sqrt((1 - x)/2).
    Source: the coefficients are those of fdlibm (Sun Microsystems, 1993), e_asin.c.
    """
    high = x > 0.5
    rest = (1.0 - x) * 0.5
    z = rest if high else x * x
    t = math.sqrt(z) if high else x
    p = 3.47933107596021167570e-05
    p = p * z + 7.91534994289814532176e-04
    p = p * z - 4.00555345006794114027e-02
    p = p * z + 2.01212532134862925881e-01
    p = p * z - 3.25565818622400915405e-01
    p = p * z + 1.66666666666666657415e-01
    q = 7.70381505559019352791e-02
    q = q * z - 6.88283971605453293030e-01
    q = q * z + 2.02094576023350569471e00
    q = q * z - 2.40339491173441421878e00
    q = q * z + 1.0
    y = t + t * (z * p / q)
    return _HALF_PI - 2.0 * y if high else y


@compiled("float64(float64)", forceinline=True, fastmath={"contract"})
def cos(x):
    """Return cos x for |x| <= LARGEST_ANGLE = 1e6, with an error below 3e-16.

    x = q pi/2 + r with a whole number q and |r| <= pi/4; q mod 4 says which of cos r, -sin r,
    -cos r and sin r it is, each by its Taylor polynomial.
    """
    return _cos_quarters(x, np.int64(0))


@compiled("float64(float64)", forceinline=True, fastmath={"contract"})
def sin(x):
    """Return sin x = cos(x - pi/2) for |x| <= LARGEST_ANGLE = 1e6, with an error below 3e-16."""
    return _cos_quarters(x, np.int64(3))


@compiled("float64(float64, int64)", forceinline=True, fastmath={"contract"})
def _cos_quarters(x, quarters):
    """Return cos(x + quarters pi/2)."""
    shifted = x * _TWO_OVER_PI + _ROUNDER
    q = shifted - _ROUNDER
    r = ((x - q * _HALF_PI_1) - q * _HALF_PI_2) - q * _HALF_PI_3
    z = r * r
    s = -1 / 1307674368000
    s = s * z + 1 / 6227020800
    s = s * z - 1 / 39916800
    s = s * z + 1 / 362880
    s = s * z - 1 / 5040
    s = s * z + 1 / 120
    s = s * z - 1 / 6
    sine = r + r * z * s
    c = 1 / 20922789888000
    c = c * z - 1 / 87178291200
    c = c * z + 1 / 479001600
    c = c * z - 1 / 3628800
    c = c * z + 1 / 40320
    c = c * z - 1 / 720
    c = c * z + 1 / 24
    c = c * z - 1 / 2
    cosine = 1.0 + z * c
    # The lowest bits of ``shifted`` hold q.
    turn = np.float64(shifted).view(np.int64) + quarters
    value = sine if turn & np.int64(1) else cosine
    return -value if (turn + np.int64(1)) & np.int64(2) else value
