"""Random Fourier features: a shift-invariant kernel as an average of cosines.

>>> import numpy as np
>>> from kernellab.compute.kernels import Gaussian
>>> x = np.array([[0.0, 0.0], [1.0, 0.5]])
>>> z = fourier_features(x, spectral_frequencies(Gaussian(1.0), 20_000, 2, rng=0))
>>> bool(abs(z @ z.T - Gaussian(1.0).gram(x)).max() < 0.02)
True
"""

import math

import numpy as np

from kernellab.compute.checks import as_matrix, as_rng, as_vector, fits_in_memory, integer
from kernellab.compute.compiled import compiled
from kernellab.compute.elementary import LARGEST_ANGLE, cos, sin
from kernellab.compute.kernels import Gaussian, Laplace, Matern12, Matern32, Matern52

__all__ = ["fourier_features", "scaled_cosines", "spectral_frequencies"]


def spectral_frequencies(kernel, m: int, d: int, rng) -> np.ndarray:
    """Return frequencies w drawn from a kernel's spectral density: k(x, y) = E cos(w.(x - y)).

    Normal for a Gaussian, Cauchy in each coordinate for a Laplace kernel, and for a Matern kernel
    of order nu a multivariate t with 2 nu degrees of freedom, all divided by the lengthscale.

    Parameters
    ----------
    kernel : ``Gaussian``, ``Laplace``, ``Matern12``, ``Matern32`` or ``Matern52``
    m : number of frequencies, >= 1
    d : dimension of x, >= 1
    rng : Generator or seed

    Returns
    -------
    shape (m, d)

    Raises
    ------
    ValueError : another kernel or number.

    Cost: O(m d). Source: Rahimi and Recht 2007, figure 1.
    """
    m, d, rng = integer("m", m, low=1), integer("d", d, low=1), as_rng(rng)
    if isinstance(kernel, Gaussian):
        return rng.standard_normal((m, d)) / kernel.bandwidth
    if isinstance(kernel, Laplace):
        return rng.standard_cauchy((m, d)) / kernel.bandwidth
    for family, twice_order in ((Matern12, 1), (Matern32, 3), (Matern52, 5)):
        if isinstance(kernel, family):
            shrink = np.sqrt(rng.chisquare(twice_order, size=(m, 1)) / twice_order)
            return rng.standard_normal((m, d)) / (shrink * kernel.lengthscale)
    raise ValueError(
        "kernel must be a Gaussian, Laplace, Matern12, Matern32 or Matern52 kernel, "
        f"got {type(kernel).__name__}"
    )


def fourier_features(x, frequencies, phases=None) -> np.ndarray:
    """Return features z(x) whose inner products estimate the kernel of the frequencies.

    Without phases z = [cos(W x), sin(W x)] / sqrt(m); with uniform phases b in [0, 2 pi)
    z = sqrt(2/m) cos(W x + b), half as long and with a larger variance.

    Parameters
    ----------
    x : shape (n, d)
    frequencies : W, shape (m, d)
    phases : b, shape (m,), or None

    Returns
    -------
    shape (n, 2 m), or (n, m) with phases

    Raises
    ------
    ValueError : shapes that do not fit, or a result that does not fit in memory.

    Cost: O(n m d). Source: Rahimi and Recht 2007, algorithm 1.
    """
    x = as_matrix("x", x)
    frequencies = as_matrix("frequencies", frequencies, columns=x.shape[1])
    m = len(frequencies)
    fits_in_memory("the features", 16 * len(x) * m)
    angles = x @ frequencies.T
    if phases is not None:
        angles += as_vector("phases", phases, length=m)
        return scaled_cosines(angles, math.sqrt(2.0 / m))
    features = np.empty((len(x), 2 * m))
    scale = 1.0 / math.sqrt(m)
    if _too_large(angles):
        features[:, :m], features[:, m:] = scale * np.cos(angles), scale * np.sin(angles)
    else:
        _cosines_and_sines(angles, scale, features)
    return features


def scaled_cosines(angles: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Return scale cos(angles), written over the angles, (n, m) float64 and C-contiguous.

    In vector instructions, many times as fast as ``np.cos``. Cost: O(n m).
    """
    if _too_large(angles):
        return scale * np.cos(angles)
    _cosines(angles, scale)
    return angles


def _too_large(angles: np.ndarray) -> bool:
    """Say whether our cosine cannot take these angles; NumPy's takes all, slowly."""
    return max(angles.max(), -angles.min()) > LARGEST_ANGLE


@compiled("void(float64[:,::1], float64)", fastmath={"contract"})
def _cosines(angles, scale):
    """Replace angles by scale times their cosines."""
    for i in range(angles.shape[0]):
        row = angles[i]
        for j in range(row.size):
            row[j] = scale * cos(row[j])


@compiled("void(float64[:,::1], float64, float64[:,::1])", fastmath={"contract"})
def _cosines_and_sines(angles, scale, out):
    """Fill rows of out with scale times the cosines, then the sines, of a row of angles."""
    m = angles.shape[1]
    for i in range(angles.shape[0]):
        row = angles[i]
        cosines, sines = out[i, :m], out[i, m:]
        for j in range(m):
            cosines[j] = scale * cos(row[j])
            sines[j] = scale * sin(row[j])
