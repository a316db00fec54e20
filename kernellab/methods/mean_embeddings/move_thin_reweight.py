"""Make two clouds agree: choose points, re-weight them, move them, or learn a map that moves them.

The squared maximum mean discrepancy (MMD) between two laws is

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y).

The sections differ in what they change to make it, or a relative of it, small:

1. Laws to aim at: mixtures of bumps, the Dirichlet law, a logistic posterior
2. Choose a subset: kernel thinning (Dwivedi and Mackey 2022)
3. Re-weight, beyond the data: kernel method of moments (Kremer et al. 2023)
4. Move, by ranks along random lines: sliced energy flows (Hertrich et al. 2024)
5. Move, with observations held fixed: posterior flows (Hagemann et al. 2024)
6. Move by scores inside a constraint set: mirrored Stein operators (Shi et al. 2022)
7. Learn an invertible map: kernelised normalising flows (English et al. 2024)

Long runs are generators of (fraction done, state), so that they can be drawn and stopped.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import pdist
from scipy.special import logsumexp

from kernellab.compute import compiled
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
)
from kernellab.compute.directions import random_directions
from kernellab.compute.features import fourier_features
from kernellab.compute.kernels import Gaussian, Matern12, Matern32, Matern52
from kernellab.compute.networks import Adam

# Sums may run on several lanes; NaN and infinity stay honest.
FAST = {"reassoc", "contract"}
_SMALL = 2048  # points whose Gram matrix (32 MB) may be stored

# ------------------------------------------------------------------------------------------------
# 1. Laws to aim at
# ------------------------------------------------------------------------------------------------


class Bumps:
    """A mixture of round Gaussian bumps, sum_j weights_j N(means_j, spread^2 I).

    Parameters: means (m, d); spread > 0; weights (m,) >= 0, equal if not given.
    """

    def __init__(self, means, spread: float, weights=None):
        self.means = as_matrix("means", means)
        self.spread = positive("spread", spread)
        count = len(self.means)
        weights = np.ones(count) if weights is None else as_vector("weights", weights, count)
        if weights.min() < 0 or weights.sum() <= 0:
            raise ValueError(f"weights must be at least 0 and not all 0, got {weights}")
        self.weights = weights / weights.sum()

    def sample(self, n: int, rng) -> np.ndarray:
        """Draw n independent points (n, d)."""
        n, rng = integer("n", n, low=1), as_rng(rng)
        which = rng.choice(len(self.means), n, p=self.weights)
        return self.means[which] + self.spread * rng.standard_normal((n, self.means.shape[1]))

    def score(self, x) -> np.ndarray:
        """Return grad log p at the rows of x (n, d), shape (n, d). Cost: O(n m d)."""
        x = as_matrix("x", x, columns=self.means.shape[1])
        squares = ((x[:, None] - self.means) ** 2).sum(axis=2)
        logits = np.log(np.maximum(self.weights, 1e-300)) - squares / (2 * self.spread**2)
        shares = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
        return (shares @ self.means - x) / self.spread**2


def moons() -> Bumps:
    """Two interleaved half circles of radius 1, as a mixture of 24 bumps."""
    angle = np.linspace(0, np.pi, 12)
    upper = np.column_stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25])
    return Bumps(np.vstack([upper, -upper]), 0.12)


def petals() -> Bumps:
    """Six bumps on a circle, one of them three times as heavy as the others."""
    angle = 2 * np.pi * np.arange(6) / 6
    return Bumps(1.3 * np.column_stack([np.cos(angle), np.sin(angle)]), 0.2, [3.0, 1, 1, 1, 1, 1])


def spiral() -> Bumps:
    """A spiral of one and a half turns, as a mixture of 30 bumps."""
    t = np.linspace(0.25, 1, 30)
    angle = 3 * np.pi * t
    return Bumps(1.7 * t[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]), 0.1)


@dataclass(frozen=True)
class Dirichlet:
    """The Dirichlet law on shares that add up to 1, density proportional to prod s_i^(a_i - 1).

    Points are the first d of the d + 1 shares. ``concentration`` (d + 1,) is positive.
    """

    concentration: tuple

    def __post_init__(self):
        values = as_vector("concentration", self.concentration)
        if values.size < 2 or values.min() <= 0:
            raise ValueError(f"concentration must be two or more positive numbers, got {values}")
        object.__setattr__(self, "concentration", tuple(values.tolist()))

    def sample(self, n: int, rng) -> np.ndarray:
        """Draw n independent points (n, d)."""
        n, rng = integer("n", n, low=1), as_rng(rng)
        return rng.dirichlet(self.concentration, n)[:, :-1]

    def score(self, theta) -> np.ndarray:
        """Return grad log p with respect to the first d shares, (n, d)."""
        theta = _inside("theta", theta, len(self.concentration) - 1)
        a = np.asarray(self.concentration) - 1
        return a[:-1] / theta - (a[-1] / (1 - theta.sum(axis=1)))[:, None]


class LogisticPosterior:
    """The posterior of logistic regression weights under a N(0, prior^2 I) prior.

    Parameters: x (n, d); y (n,) of 0 and 1; prior > 0, the prior's standard deviation.
    """

    def __init__(self, x, y, prior: float = 3.0):
        self.x, self.y = as_matrix("x", x), as_vector("y", y)
        same_length("x", self.x, "y", self.y)
        if not np.isin(self.y, (0, 1)).all():
            raise ValueError("y must hold only 0 and 1")
        self.prior = positive("prior", prior)

    def log_density(self, theta) -> np.ndarray:
        """Return log p up to a constant, (K,), for weights theta (K, d). Cost: O(K n d)."""
        theta = as_matrix("theta", theta, columns=self.x.shape[1])
        logits = theta @ self.x.T
        fit = logits @ self.y - np.logaddexp(0, logits).sum(axis=1)
        return fit - (theta**2).sum(axis=1) / (2 * self.prior**2)

    def score(self, theta) -> np.ndarray:
        """Return grad log p, (K, d)."""
        theta = as_matrix("theta", theta, columns=self.x.shape[1])
        chance = _sigmoid(theta @ self.x.T)
        return (self.y - chance) @ self.x - theta / self.prior**2

    def metric(self, theta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the Fisher information G (K, d, d), its inverse, and div G^-1 (K, d).

        G = x^T diag(p (1 - p)) x + I/prior^2 and (div G^-1)_a = sum_c d(G^-1)_ac / d theta_c.
        """
        theta = as_matrix("theta", theta, columns=self.x.shape[1])
        chance = _sigmoid(theta @ self.x.T)
        spread = chance * (1 - chance)
        identity = np.eye(self.x.shape[1]) / self.prior**2
        fisher = np.einsum("kn,na,nb->kab", spread, self.x, self.x, optimize=True) + identity
        inverse = np.linalg.inv(fisher)
        # dG/dtheta_c = x^T diag(p (1 - p) (1 - 2p) x_c) x, and dG^-1 = -G^-1 dG G^-1.
        bend = spread * (1 - 2 * chance)
        change = np.einsum("kn,na,nb,nc->kabc", bend, self.x, self.x, self.x, optimize=True)
        return fisher, inverse, -np.einsum("kae,kefc,kfc->ka", inverse, change, inverse)


class Standardised:
    """A law in units of its own spread: z = (theta - centre) / spread.

    Parameters: law with ``score``; centre (d,); spread (d,), positive.
    """

    def __init__(self, law, centre, spread):
        self.law, self.centre = law, as_vector("centre", centre)
        self.spread = as_vector("spread", spread, self.centre.size)
        if self.spread.min() <= 0:
            raise ValueError(f"spread must be positive, got {self.spread}")

    def score(self, z) -> np.ndarray:
        """Return grad_z log p, (n, d), for z (n, d)."""
        z = as_matrix("z", z, columns=self.centre.size)
        return self.spread * self.law.score(self.centre + self.spread * z)


def metropolis(log_density: Callable, start, steps: int, scale: float, rng) -> np.ndarray:
    """Walk at random through a law, by Gaussian proposals that are accepted or refused.

    Parameters: log_density of points (1, d) -> (1,); start (d,); steps >= 1; scale > 0, the
    proposal's standard deviation; rng. Returns the walk (steps, d). Cost: a density a step.
    Raises ValueError where the density at the start is 0 or not a number.
    """
    here = as_vector("start", start)
    steps, scale, rng = integer("steps", steps, low=1), positive("scale", scale), as_rng(rng)
    level = float(log_density(here[None])[0])
    if not math.isfinite(level):
        raise ValueError(f"start must have a finite log density, got {level} at {here}")
    walk = np.empty((steps, here.size))
    for t in range(steps):
        there = here + scale * rng.standard_normal(here.size)
        value = float(log_density(there[None])[0])
        if math.log(rng.random()) < value - level:
            here, level = there, value
        walk[t] = here
    return walk


# ------------------------------------------------------------------------------------------------
# 2. Choose a subset: kernel thinning
# ------------------------------------------------------------------------------------------------


def power_kernel(kernel, power: float, d: int):
    """Return the kernel whose spectrum on R^d is the given kernel's to the ``power``.

    A Gaussian of bandwidth s gives one of bandwidth sqrt(power) s. A Matern kernel of order nu
    gives the one of order power (nu + d/2) - d/2 with the same sqrt(2 nu)/lengthscale; it must be
    1/2, 3/2 or 5/2 here, where the kernel has a closed form.

    Parameters: kernel, Gaussian or Matern; power in (0, 1]; d, the points' dimension.
    Returns a kernel. Raises ValueError where there is no closed form.
    """
    power, d = between("power", power, 1e-3, 1.0), integer("d", d, low=1)
    if isinstance(kernel, Gaussian):
        return Gaussian(math.sqrt(power) * kernel.bandwidth)
    orders = {Matern12: 0.5, Matern32: 1.5, Matern52: 2.5}
    if type(kernel) not in orders:
        raise ValueError(f"kernel must be Gaussian or Matern, got {kernel!r}")
    order = orders[type(kernel)]
    new = power * (order + d / 2) - d / 2
    for family, known in orders.items():
        if math.isclose(new, known, abs_tol=1e-9):
            return family(kernel.lengthscale * math.sqrt(known / order))
    raise ValueError(
        f"power must lead to order 1/2, 3/2 or 5/2, got {power:g}, which leads to {new:g}"
    )


@dataclass(frozen=True, eq=False)
class Halving:
    """One halving: ``kept`` and ``left`` (n/2,) are row numbers; ``trace`` (n/2, 4) tells of each
    pair b^2, the balance alpha, the bound a, and the chance that its second point was kept."""

    kept: np.ndarray
    left: np.ndarray
    trace: np.ndarray

    def discrepancy(self) -> np.ndarray:
        """Return how far the halves are apart after each pair, (n/2,): |sum left - sum kept| / n.

        In the kernel's space; a pair adds b^2 + 2 alpha to the square, or b^2 - 2 alpha.
        """
        signs = 2.0 * (self.kept % 2) - 1.0
        squares = np.cumsum(self.trace[:, 0] + 2 * signs * self.trace[:, 1])
        return np.sqrt(np.maximum(squares, 0.0)) / (2 * len(signs))


def halve(x, kernel, rng, *, delta: float = 0.5, rounds: int = 1, fair: bool = False) -> Halving:
    """Split points into two halves that look alike to the kernel, by a coin that balances itself.

    The pairs (x, x') come one after the other. With b^2 = k(x,x) + k(x',x') - 2 k(x,x') and

        alpha = sum over points left - sum over points kept of [k(z, x) - k(z, x')],
        a     = max(b sigma sqrt(2 log(2/delta')), b^2),    delta' = delta / (rounds n),

    x' is kept with probability (1 - alpha/a)/2 clipped to [0, 1], else x. Then sigma^2 grows by
    b^2 (1 + (b^2 - 2a) sigma^2/a^2), if that is positive.

    Parameters
    ----------
    x : (n, d), n even
    kernel : with ``gram``
    rng : Generator or seed
    delta : in (0, 1), the chance that some probability had to be clipped
    rounds : how often the points will be halved in all
    fair : toss a fair coin instead (for comparison)

    Returns a Halving. Raises ValueError for an odd n or bad numbers.
    Cost: n^2/2 kernel evaluations, O(n) memory.
    Paper: generalized-kernel-thinning (Dwivedi and Mackey 2022, arXiv:2110.01593), algorithm 1a
    """
    x = as_matrix("x", x, min_rows=2)
    n = len(x)
    if n % 2:
        raise ValueError(f"x must have an even number of rows, got {n}")
    delta, rounds = between("delta", delta, 1e-12, 1 - 1e-12), integer("rounds", rounds, low=1)
    # One uniform number a pair: also on another machine the same coins fall.
    uniforms = as_rng(rng).random(n // 2)
    factor = math.sqrt(2 * math.log(2 * rounds * n / delta))
    signs, keeps, trace = np.zeros(n), np.empty(n // 2, np.int64), np.empty((n // 2, 4))
    variance, block, numbers = 0.0, 128, np.arange(n)
    for start in range(0, n, block):
        stop = min(start + block, n)
        rows = kernel.gram(x[start:stop], x[:stop])
        variance = _halve(
            rows,
            numbers,
            numbers,
            True,
            start,
            factor,
            fair,
            variance,
            uniforms,
            signs,
            keeps,
            trace,
        )
    pairs = np.arange(0, n, 2)
    return Halving(pairs + keeps, pairs + 1 - keeps, trace)


@compiled(
    "float64(float64[:,::1], int64[::1], int64[::1], boolean, int64, float64, boolean, float64, "
    "float64[::1], float64[::1], int64[::1], float64[:,::1])",
    fastmath=FAST,
)
def _halve(
    gram, rows, columns, plain, start, factor, fair, variance, uniforms, signs, keeps, trace
):
    """Decide the next pairs, from point ``start`` on; signs are -1 for points kept, +1 for left.

    The similarity of points start + i and z is gram[rows[i], columns[z]]; plain: columns are 0, 1,
    2, ..., so that neighbours in memory can be read together.
    """
    for i in range(0, min(len(rows), len(gram), len(columns) - start), 2):
        first, second, x = gram[rows[i]], gram[rows[i + 1]], start + i
        step = first[columns[x]] + second[columns[x + 1]] - 2.0 * first[columns[x + 1]]
        step = max(step, 0.0)  # b^2
        balance = 0.0  # alpha
        if plain:
            for z in range(x):
                balance += signs[z] * (first[z] - second[z])
        else:
            for z in range(x):
                balance += signs[z] * (first[columns[z]] - second[columns[z]])
        bound = max(np.sqrt(step * variance) * factor, step)  # a
        tilt = balance / bound if bound > 0.0 else 0.0
        chance = 0.5 if fair else min(max((1.0 - tilt) / 2.0, 0.0), 1.0)
        if bound > 0.0:
            growth = step * (1.0 + (step - 2.0 * bound) * variance / (bound * bound))
            variance += max(growth, 0.0)
        pair = x // 2
        keep = 1 if uniforms[pair] < chance else 0
        keeps[pair] = keep
        signs[x + keep], signs[x + 1 - keep] = -1.0, 1.0
        trace[pair, 0], trace[pair, 1] = step, balance
        trace[pair, 2], trace[pair, 3] = bound, chance
    return variance


def split(x, rounds: int, kernel, rng, *, delta: float = 0.5, fair: bool = False) -> np.ndarray:
    """Halve points again and again: 2^rounds coresets, rows of (2^rounds, n / 2^rounds) numbers.

    Parameters: x (n, d), n divisible by 2^rounds; rounds >= 0; kernel; rng; delta and fair as in
    ``halve``. Raises ValueError otherwise. Cost: about n^2 kernel evaluations.
    Paper: generalized-kernel-thinning (Dwivedi and Mackey 2022, arXiv:2110.01593), KT-SPLIT
    """
    x, rounds, rng = as_matrix("x", x), integer("rounds", rounds, low=0), as_rng(rng)
    return _coresets(x, rounds, kernel, rng, delta, fair)


def _coresets(x, rounds, kernel, rng, delta, fair, known=None):
    """What ``split`` returns; ``known`` is the Gram matrix of all points, if there is one."""
    if len(x) % 2**rounds:
        raise ValueError(f"x must have a multiple of {2**rounds} rows, got {len(x)}")
    delta = between("delta", delta, 1e-12, 1 - 1e-12)
    coresets = np.arange(len(x))[None]
    while len(coresets) < 2**rounds and coresets.shape[1] > _SMALL:  # too large for a Gram matrix
        halves = []
        for rows in coresets:
            halving = halve(x[rows], kernel, rng, delta=delta, rounds=rounds, fair=fair)
            halves += [rows[halving.kept], rows[halving.left]]
        coresets = np.array(halves)
    left = rounds - len(coresets).bit_length() + 1
    made = []
    for rows in coresets:
        gram = kernel.gram(x[rows]) if known is None else known
        found = np.empty((2**left, len(rows) >> left), np.int64)
        found[:] = np.arange(len(rows)).reshape(found.shape)
        _split(gram, left, rounds, delta, fair, rng.random((left, len(rows) // 2)), found)
        made.append(rows[found])
    return np.concatenate(made)


@compiled(
    "void(float64[:,::1], int64, int64, float64, boolean, float64[:,::1], int64[:,::1])",
    fastmath=FAST,
)
def _split(gram, left, rounds, delta, fair, uniforms, found):
    """Halve the points of one Gram matrix ``left`` times; found holds the coresets as rows."""
    n = len(gram)
    members = found.reshape(n)
    signs, keeps, trace = np.empty(n), np.empty(n // 2, np.int64), np.empty((n // 2, 4))
    for level in range(left):
        size = n >> level
        factor = np.sqrt(2.0 * np.log(2.0 * rounds * size / delta))
        for part in range(1 << level):
            rows = members[part * size : (part + 1) * size].copy()
            coins = uniforms[level, part * size // 2 : (part + 1) * size // 2]
            plain = level == 0  # nothing has been reordered yet
            _halve(gram, rows, rows, plain, 0, factor, fair, 0.0, coins, signs, keeps, trace)
            for pair in range(size // 2):
                members[part * size + pair] = rows[2 * pair + keeps[pair]]
                members[part * size + size // 2 + pair] = rows[2 * pair + 1 - keeps[pair]]


def swap(x, coreset, kernel, means=None) -> Iterator[tuple[float, np.ndarray]]:
    """Polish a coreset: each of its places takes the point of x that makes the MMD smallest.

    With m points z, replacing place i by x changes m^2 MMD^2 by k(x, x) + 2 sum_{j != i} k(z_j, x)
    - 2 m mean_x' k(x, x'), up to a constant.

    Parameters: x (n, d); coreset (m,) row numbers; kernel; means (n,), mean_j k(x_i, x_j), if
    known. Yields (fraction done, row numbers (m,)), the start included.
    Cost: O(m n) evaluations, and n^2 for the means.
    Paper: generalized-kernel-thinning (Dwivedi and Mackey 2022, arXiv:2110.01593), KT-SWAP
    """
    points = _Points(x, kernel, means, keep=False)
    return _swap(points, _rows("coreset", coreset, len(points.x)).copy())


class _Points:
    """Similarities of points that are named by their row numbers; a small Gram matrix is kept."""

    def __init__(self, x, kernel, means=None, keep=True):
        self.x, self.kernel = as_matrix("x", x), kernel
        n = len(self.x)
        self.gram = kernel.gram(self.x) if keep and n <= _SMALL else None
        if means is not None:
            self.means = as_vector("means", means, n)
        else:
            small = self.gram is not None
            self.means = self.gram.mean(axis=1) if small else mean_similarity(self.x, kernel)

    def among(self, rows):
        """Similarities between some points."""
        if self.gram is None:
            return self.kernel.gram(self.x[rows])
        return self.gram[rows[:, None], rows]

    def to_all(self, rows):
        """Similarities of some points to all, an array of their own."""
        if self.gram is None:
            return self.kernel.gram(self.x[rows], self.x)
        return self.gram[rows]

    def nearest(self, candidates):
        """The row of candidates (c, m) with the smallest MMD to all points."""
        if self.gram is None:
            within = np.array([self.among(rows).mean() for rows in candidates])
        else:
            within = self.gram[candidates[:, :, None], candidates[:, None, :]].mean(axis=(1, 2))
        return candidates[np.argmin(within - 2 * self.means[candidates].mean(axis=1))]

    def mmd(self, rows):
        """The MMD between some points and all."""
        square = self.among(rows).mean() + self.means.mean() - 2 * self.means[rows].mean()
        return math.sqrt(max(square, 0.0))


def _swap(points, coreset):
    m = len(coreset)
    cross = points.to_all(coreset)
    score = points.kernel.diagonal(points.x) - 2 * m * points.means + 2 * cross.sum(axis=0)
    yield 0.0, coreset.copy()
    for i in range(m):
        score -= 2 * cross[i]
        best = int(np.argmin(score))
        if best != coreset[i]:
            coreset[i] = best
            cross[i] = points.to_all(coreset[i : i + 1])[0]
        score += 2 * cross[i]
        yield (i + 1) / m, coreset.copy()


def mean_similarity(x, kernel) -> np.ndarray:
    """Return mean_j k(x_i, x_j), (n,), for x (n, d). Cost: n^2 evaluations, O(n) memory."""
    x = as_matrix("x", x)
    return kernel.matvec(x, None, np.full(len(x), 1.0 / len(x)))


def coreset_mmd(x, coreset, kernel, means=None) -> float:
    """Return the MMD between a coreset (m,) of row numbers and all of x (n, d)."""
    points = _Points(x, kernel, means, keep=False)
    return points.mmd(_rows("coreset", coreset, len(points.x)))


def kernel_thin(
    x, rounds: int, kernel, rng, *, split_kernel=None, delta: float = 0.5, fair: bool = False,
    polish: bool = True,
) -> np.ndarray:  # fmt: skip
    """Compress n points to n / 2^rounds of them: split, take the best coreset, polish it by swaps.

    Parameters
    ----------
    x : (n, d), n divisible by 2^rounds
    rounds : m >= 0; m = log2(n)/2 gives sqrt(n) points
    kernel : the kernel of the MMD
    rng : Generator or seed
    split_kernel : the kernel that the coin looks at: None for ``kernel`` itself (target KT), a
        ``power_kernel`` (power KT) or the sum of both, ``k + k_power`` (KT+)
    delta, fair : as in ``halve``
    polish : False skips the swaps, and takes the first coreset

    Returns row numbers (n / 2^rounds,). Raises ValueError for bad arguments.
    Cost: about 2 n^2 kernel evaluations, O(n^1.5) memory for sqrt(n) points.
    Paper: generalized-kernel-thinning (Dwivedi and Mackey 2022, arXiv:2110.01593), algorithm 1
    """
    x, rounds, rng = as_matrix("x", x), integer("rounds", rounds, low=0), as_rng(rng)
    if not polish:
        return split(x, rounds, split_kernel or kernel, rng, delta=delta, fair=fair)[0]
    points = _Points(x, kernel)
    gram = points.gram if split_kernel is None else None
    coresets = _coresets(x, rounds, split_kernel or kernel, rng, delta, fair, gram)
    candidates = np.vstack([coresets, standard_thinning(len(x), coresets.shape[1])])
    return finish(_swap(points, points.nearest(candidates).copy()))


def standard_thinning(n: int, m: int) -> np.ndarray:
    """Return every (n/m)-th row number, the last one included: the usual thinning of a chain."""
    n, m = integer("n", n, low=1), integer("m", m, low=1)
    if m > n:
        raise ValueError(f"m must be at most n = {n}, got {m}")
    return ((np.arange(m) + 1) * n) // m - 1


# ------------------------------------------------------------------------------------------------
# 3. Re-weight, beyond the data: kernel method of moments
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class MomentFit:
    """What a law pays to satisfy moment conditions: ``value`` R (inf if no law can), ``weights``
    (r,) of the law found on the reference points (NaN if there is none), ``multipliers`` h (q,),
    ``coefficients`` a (p,) of the witness f = features a, and Newton's ``steps``."""

    value: float
    weights: np.ndarray
    multipliers: np.ndarray
    coefficients: np.ndarray
    steps: int


def moment_profile(
    data_features, reference_features, psi, epsilon: float, *, penalty: float = 0.0, start=None
) -> MomentFit:
    """Find the law nearest to the data, in MMD, among those that satisfy E psi = 0.

    R = min over P of 1/2 MMD^2(P, data) + epsilon KL(P | reference), subject to E_P psi = 0. Its
    dual, with f = features a and the scale of P eliminated, is the concave problem

        max over a, h of  mean_data f - |a|^2/2 - penalty |h|^2/2
                          - epsilon log mean_reference exp((f - h.psi)/epsilon),

    and P weights the reference points by exp((f - h.psi)/epsilon). Solved by Newton's method.

    Parameters
    ----------
    data_features : (n, p), features of the data with k(x, x') = phi(x).phi(x')
    reference_features : (r, p), of the reference points, on which P may live
    psi : (r, q), the moment functions at the reference points
    epsilon : > 0, the price of leaving the reference law
    penalty : >= 0, on the multipliers; positive for many conditions that need not hold exactly
    start : a MomentFit to start from

    Returns a MomentFit. Raises ValueError for bad shapes. Cost: O(r (p + q)^2) a step.
    Paper: estimation-beyond-data-reweighting (Kremer et al. 2023, arXiv:2305.10898)
    """
    data_features = as_matrix("data_features", data_features)
    p = data_features.shape[1]
    reference_features = as_matrix("reference_features", reference_features, columns=p)
    psi = as_matrix("psi", psi, rows=len(reference_features))
    epsilon, penalty = positive("epsilon", epsilon), nonnegative("penalty", penalty)
    if penalty == 0 and np.any((psi.min(axis=0) > 0) | (psi.max(axis=0) < 0)):
        nothing = (np.full(len(psi), math.nan), np.full(psi.shape[1], math.nan), np.zeros(p))
        return MomentFit(math.inf, *nothing, 0)  # one sign everywhere: no mean of it can be 0
    design = np.hstack([reference_features, -psi])
    linear = np.concatenate([data_features.mean(axis=0), np.zeros(psi.shape[1])])
    curvature = np.concatenate([np.ones(p), np.full(psi.shape[1], penalty)])
    point = np.zeros(linear.size)
    if start is not None and start.coefficients.size + start.multipliers.size == point.size:
        point = np.nan_to_num(np.concatenate([start.coefficients, start.multipliers]))
    point, value, weights, steps = _maximise(design, linear, curvature, epsilon, point)
    unmet = np.abs(weights @ psi - penalty * point[p:])
    scale = np.abs(psi).mean(axis=0) + 1e-300
    if np.any(unmet > 1e-5 * scale) or not np.isfinite(value):
        value = math.inf  # the dual grows without end: no law on the reference points will do
    return MomentFit(value, weights, point[p:], point[:p], steps)


def _maximise(design, linear, curvature, epsilon, point, most=60):
    """Maximise linear.v - curvature.v^2/2 - epsilon log mean exp(design v/epsilon) over v."""
    r = len(design)

    def objective(v):
        logits = design @ v / epsilon
        top = logits.max()
        raw = np.exp(logits - top)
        total = raw.sum()
        level = top + math.log(total / r)
        return linear @ v - curvature @ (v * v) / 2 - epsilon * level, raw / total

    value, weights = objective(point)
    step = 0
    while step < most:
        step += 1
        mean = weights @ design
        gradient = linear - curvature * point - mean
        centred = design - mean
        hessian = (centred * weights[:, None]).T @ centred / epsilon
        hessian[np.diag_indices(len(hessian))] += curvature + 1e-10 * (1 + np.trace(hessian))
        direction = np.linalg.solve(hessian, gradient)
        slope = float(gradient @ direction)
        if slope < 1e-13 * (1 + abs(value)):  # so near that a last full step is exact to rounding
            point = point + direction
            value, weights = objective(point)
            break
        length = 1.0
        while length > 1e-10:  # halve the step until the objective grows as its slope promises
            trial, trial_weights = objective(point + length * direction)
            if trial >= value + 0.1 * length * slope:
                break
            length /= 2
        point, value, weights = point + length * direction, trial, trial_weights
    return point, value, weights, step


def empirical_likelihood(psi) -> tuple[float, np.ndarray]:
    """Re-weight the data points themselves until E psi = 0, keeping sum log(n w) largest.

    w_i = 1/(n (1 + lambda.psi_i)) with the lambda that maximises mean log(1 + lambda.psi_i).

    Parameters: psi (n, q). Returns (mean log(1 + lambda.psi), weights (n,)); the value is inf and
    the weights are NaN when 0 lies outside the convex hull of the psi_i. Cost: O(n q^2) a step.
    Source: Owen 1988, 2001, with his log that continues as a parabola below 1/n.
    """
    psi = as_matrix("psi", psi)
    n = len(psi)
    if np.any((psi.min(axis=0) > 0) | (psi.max(axis=0) < 0)):  # one sign: no mean can be 0
        return math.inf, np.full(n, math.nan)
    multiplier = np.zeros(psi.shape[1])

    def star(z):  # log, continued below 1/n by a parabola; with two derivatives
        low, safe = z < 1 / n, np.maximum(z, 1 / n)
        value = np.where(low, -math.log(n) - 1.5 + 2 * n * z - (n * z) ** 2 / 2, np.log(safe))
        return (
            value,
            np.where(low, 2 * n - n**2 * z, 1 / safe),
            np.where(low, -(n**2), -1 / safe**2),
        )

    for _ in range(100):
        value, first, second = star(1 + psi @ multiplier)
        gradient = first @ psi / n
        hessian = (psi * -second[:, None]).T @ psi / n
        hessian[np.diag_indices(len(hessian))] += 1e-12 * np.trace(hessian) + 1e-300
        direction = np.linalg.solve(hessian, gradient)
        if gradient @ direction < 1e-16:
            break
        length = 1.0
        while star(1 + psi @ (multiplier + length * direction))[0].mean() < value.mean():
            length /= 2
            if length < 1e-12:
                break
        multiplier = multiplier + length * direction
    weights = star(1 + psi @ multiplier)[1] / n
    if abs(weights.sum() - 1) > 1e-6 or (1 + psi @ multiplier).min() < 1 / n - 1e-9:
        return math.inf, np.full(n, math.nan)
    return float(star(1 + psi @ multiplier)[0].mean()), weights


def exponential_tilting(psi) -> tuple[float, np.ndarray]:
    """Re-weight the data points with the least KL(P | data) such that E_P psi = 0.

    Parameters: psi (n, q). Returns (KL, weights (n,)); inf where empirical likelihood is inf too.
    Source: Kitamura and Stutzer 1997.
    """
    psi = as_matrix("psi", psi)
    nothing = np.zeros((len(psi), 1))
    fit = moment_profile(nothing, nothing, psi, 1.0)
    return fit.value, fit.weights


def jittered_copies(x, copies: int, spread: float, rng) -> np.ndarray:
    """Return x (n, d) followed by ``copies`` times n points drawn from its density estimate.

    Each is a data point plus Gaussian noise of ``spread`` times the column's standard deviation.
    Returns (n (1 + copies), d).
    """
    x, copies, rng = as_matrix("x", x), integer("copies", copies, low=0), as_rng(rng)
    spread = nonnegative("spread", spread)
    chosen = x[rng.integers(len(x), size=copies * len(x))]
    noise = spread * x.std(axis=0) * rng.standard_normal(chosen.shape)
    return np.vstack([x, chosen + noise])


@dataclass(frozen=True, eq=False)
class Instrumented:
    """Data of y = effect t + confounder, with an instrument z that moves t only; each (n,)."""

    y: np.ndarray
    t: np.ndarray
    z: np.ndarray

    def __post_init__(self):
        n = np.size(self.y)
        for name in ("y", "t", "z"):
            values = as_vector(name, getattr(self, name), n)
            if values.min() == values.max():
                raise ValueError(f"{name} must vary, got {n} times {values[0]:g}")
            object.__setattr__(self, name, values)


def instrument_problem(n: int, effect: float, confounding: float, rng) -> Instrumented:
    """Draw y = effect t + u, t = sin(2 z) + z/2 + confounding-driven noise, z uniform on [-2, 2].

    u has a spread that depends on z and shares ``confounding`` of its variance with t's noise.
    """
    n, rng = integer("n", n, low=4), as_rng(rng)
    share = between("confounding", confounding, 0.0, 1.0)
    z = rng.uniform(-2, 2, n)
    common, own, other = rng.standard_normal((3, n))
    t = np.sin(2 * z) + z / 2 + common
    u = (0.5 + 0.5 * np.abs(z)) * (math.sqrt(share) * common + math.sqrt(1 - share) * own)
    return Instrumented(effect * t + u, t + 0.1 * other, z)


def least_squares_slope(data: Instrumented) -> float:
    """Return the ordinary least-squares slope of y on t, which believes all that moves with t."""
    t = data.t - data.t.mean()
    return float(t @ data.y / (t @ t))


def gmm_slope(data: Instrumented, instruments) -> float:
    """Return the two-step, optimally weighted method-of-moments slope for E[(y - th t) b(z)] = 0.

    Parameters: data; instruments b(z) (n, q). Source: Hansen 1982.
    """
    b = as_matrix("instruments", instruments, rows=len(data.y))
    yb, tb = data.y @ b, data.t @ b

    def slope(weight):
        image = np.linalg.solve(weight, tb)
        return float(yb @ image / (tb @ image))

    ridge = 1e-9 * np.eye(b.shape[1])
    first = slope(b.T @ b + ridge * len(b))
    residual = (data.y - first * data.t)[:, None] * b
    return slope(residual.T @ residual + ridge * len(b))


def polynomial_instruments(z, q: int) -> np.ndarray:
    """Return 1, z, ..., z^(q-1) as instruments, orthonormal over the sample z (n,): (n, q).

    Raises ValueError where z has fewer than q different values.
    """
    z, q = as_vector("z", z), integer("q", q, low=1)
    different = np.unique(z).size
    if q > different:
        raise ValueError(f"q must be at most {different}, the number of different z, got {q}")
    largest = max(np.abs(z).max(), 1e-300)
    basis, _ = np.linalg.qr(np.vander(z / largest, q, increasing=True))
    return basis * math.sqrt(len(z))


def kernel_moments_slope(
    data: Instrumented, epsilon: float, rng, *, copies: int = 1, spread: float = 0.1,
    features: int = 40, instruments: int = 6, penalty: float = 1e-2,
) -> float:  # fmt: skip
    """Estimate the slope by the kernel method of moments for E[y - th t | z] = 0.

    h(z) is a polynomial of ``instruments`` terms; the law may move off the data onto jittered
    copies of it. R(th) is minimised over th within 0.5 of the two-step method of moments with the
    instruments 1 and z.

    Parameters: data; epsilon > 0; rng; copies, spread as in ``jittered_copies``; features, of a
    Gaussian kernel on standardised (y, t, z); penalty on h. Returns th.
    Cost: about 20 solves of ``moment_profile``.
    Paper: estimation-beyond-data-reweighting (Kremer et al. 2023, arXiv:2305.10898)
    """
    rng = as_rng(rng)
    points = np.column_stack([data.y, data.t, data.z])
    reference = jittered_copies(points, copies, spread, rng)
    scale = points.std(axis=0)
    frequencies = rng.standard_normal((integer("features", features, low=1), 3)) / math.sqrt(3)
    phi = [fourier_features(x / scale, frequencies) for x in (points, reference)]
    z = reference[:, 2] / np.abs(data.z).max()
    basis = np.polynomial.legendre.legvander(z, integer("instruments", instruments, low=1) - 1)
    fit = None

    def profile(slope):
        nonlocal fit
        psi = (reference[:, 0] - slope * reference[:, 1])[:, None] * basis
        fit = moment_profile(*phi, psi, epsilon, penalty=penalty, start=fit)
        return fit.value

    start = gmm_slope(data, polynomial_instruments(data.z, 2))
    around = (start - 0.5, start + 0.5)
    return float(minimize_scalar(profile, bounds=around, method="bounded").x)


# ------------------------------------------------------------------------------------------------
# 4. Move, by ranks along random lines: sliced energy flows
# ------------------------------------------------------------------------------------------------


def slicing_constant(d: int, r: float = 1.0) -> float:
    """Return c with |x|^r = c E|<xi, x>|^r for xi uniform on the unit sphere of R^d.

    c = sqrt(pi) Gamma((d + r)/2) / (Gamma(d/2) Gamma((r + 1)/2)).

    >>> round(slicing_constant(1), 12), round(slicing_constant(3), 12)
    (1.0, 2.0)
    """
    d, r = integer("d", d, low=1), between("r", r, 1e-6, 2.0)
    log = math.lgamma((d + r) / 2) - math.lgamma(d / 2) - math.lgamma((r + 1) / 2)
    return math.sqrt(math.pi) * math.exp(log)


def energy_gradient_1d(x, y) -> np.ndarray:
    """Return the gradient of half the energy distance between points on a line, from ranks.

    dF/dx_i = (2 r_y - M)/(N M) - (2 r_x - N - 1)/N^2, where r_y counts the y below x_i and r_x is
    the place of x_i among x, from 1; ties share their ranks.

    Parameters: x (N,), y (M,). Returns (N,). Cost: O((N + M) log(N + M)).
    Paper: generative-sliced-mmd-flows-with-riesz (Hertrich et al. 2024, arXiv:2305.11463)

    >>> energy_gradient_1d([0.0], [1.0, 2.0])
    array([-1.])
    """
    x, y = as_vector("x", x), as_vector("y", y)
    gradient = np.zeros((x.size, 1))
    _sliced(x[None], np.argsort(x)[None], np.sort(y)[None], np.ones((1, 1)), gradient)
    return gradient[:, 0]


def sliced_energy_gradient(x, y, directions) -> np.ndarray:
    """Return the gradient of half the energy distance, from its shadows on a few lines.

    grad_i = c_d mean_xi xi F_1'(xi.x)_i with F_1' as in ``energy_gradient_1d``.

    Parameters: x (N, d); y (M, d); directions (P, d), unit vectors. Returns (N, d). Raises
    ValueError for bad shapes, or directions of another length than 1.
    Cost: O(P (N + M) (d + log(N + M))) time, O(N + M) memory (32 slices at a time).
    Paper: generative-sliced-mmd-flows-with-riesz (Hertrich et al. 2024, arXiv:2305.11463)
    """
    x, y, directions = _sliced_input(x, y, directions)
    gradient = np.zeros_like(x)
    _all_slices(x, y, directions, gradient)
    gradient *= slicing_constant(x.shape[1]) / len(directions)
    return gradient


def sliced_energy_distance(x, y, directions) -> float:
    """Return the energy distance 2E|x-y| - E|x-x'| - E|y-y'|, estimated from shadows on lines.

    Parameters and cost as ``sliced_energy_gradient``.
    """
    x, y, directions = _sliced_input(x, y, directions)
    total = _all_slices(x, y, directions, np.zeros_like(x))
    return slicing_constant(x.shape[1]) * total / len(directions)


def _sliced_input(x, y, directions):
    x = as_matrix("x", x)
    y = as_matrix("y", y, columns=x.shape[1])
    directions = as_matrix("directions", directions, columns=x.shape[1])
    lengths = np.linalg.norm(directions, axis=1)
    worst = lengths[np.argmax(np.abs(lengths - 1))]
    if abs(worst - 1) > 1e-6:
        raise ValueError(f"directions must have length 1, got one of length {worst:g}")
    return x, y, directions


def _all_slices(x, y, directions, gradient) -> float:
    """Add xi F_1'(xi.x) of all directions to gradient; return the sum of the energy distances."""
    total = 0.0
    for start in range(0, len(directions), 32):
        some = directions[start : start + 32]
        shadows, others = some @ x.T, np.sort(some @ y.T, axis=1)
        # NumPy sorts with vector instructions, which a compiled loop's argsort does not have.
        total += _sliced(shadows, np.argsort(shadows, axis=1), others, some, gradient)
    return total


@compiled(
    "float64(float64[:,::1], int64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1])",
    fastmath=FAST,
)
def _sliced(shadows, orders, others, directions, gradient):
    """Merge each shadow with the sorted targets: ranks give the slope, gaps between the
    distribution functions give the energy distance."""
    n, m, d = shadows.shape[1], others.shape[1], directions.shape[1]
    total = 0.0
    for p in range(len(directions)):
        xi, shadow, order, other = directions[p], shadows[p], orders[p], others[p]
        below = 0  # of y
        upto = 0
        last = min(shadow[order[0]], other[0])
        start = 0
        while start < n:
            at = shadow[order[start]]
            end = start + 1
            while end < n and shadow[order[end]] == at:
                end += 1
            while below < m and other[below] < at:
                gap = start / n - below / m
                total += 2.0 * gap * gap * (other[below] - last)
                last = other[below]
                below += 1
            upto = max(below, upto)
            while upto < m and other[upto] == at:
                upto += 1
            gap = start / n - below / m
            total += 2.0 * gap * gap * (at - last)
            last = at
            slope = (below + upto - m) / (n * m) - (start + end - n) / (n * n)
            for k in range(start, end):
                i = order[k]
                for c in range(d):
                    gradient[i, c] += slope * xi[c]
            start = end
        while below < m:
            gap = 1.0 - below / m
            total += 2.0 * gap * gap * (other[below] - last)
            last = other[below]
            below += 1
    return total


def riesz_gradient(x, y, r: float = 1.0) -> np.ndarray:
    """Return the gradient of F = E|x-y|^r - E|x-x'|^r/2 with respect to each x_i, from all pairs.

    Parameters: x (N, d); y (M, d); r in (0, 2). Returns (N, d). Cost: O(N (N + M) d).
    Paper: generative-sliced-mmd-flows-with-riesz (Hertrich et al. 2024, arXiv:2305.11463)
    """
    x = as_matrix("x", x)
    y = as_matrix("y", y, columns=x.shape[1])
    gradient = np.zeros_like(x)
    _pull(x, y, between("r", r, 1e-3, 2 - 1e-3), 1.0 / (len(x) * len(y)), gradient)
    _pull(x, x, r, -1.0 / len(x) ** 2, gradient)
    return gradient


@compiled("void(float64[:,::1], float64[:,::1], float64, float64, float64[:,::1])", fastmath=FAST)
def _pull(x, y, r, factor, gradient):
    """Add factor sum_j grad |x_i - y_j|^r to each row; coinciding points do not pull."""
    d = x.shape[1]
    for i in range(len(x)):
        for j in range(len(y)):
            square = 0.0
            for c in range(d):
                square += (x[i, c] - y[j, c]) ** 2
            if square > 0.0:
                size = 1.0 / np.sqrt(square) if r == 1.0 else r * square ** (r / 2 - 1)
                for c in range(d):
                    gradient[i, c] += factor * size * (x[i, c] - y[j, c])


def energy_flow(
    x, y, steps: int, rng, *, step_size: float = 1.0, momentum: float = 0.0, slices: int = 32,
    moving: int | None = None, r: float = 1.0, exact: bool = False,
) -> Iterator[tuple[float, np.ndarray]]:  # fmt: skip
    """Move points down the energy distance to a sample: v <- momentum v - step N grad, x <- x + v.

    Parameters
    ----------
    x : (N, d), the points at the start; they are copied
    y : (M, d), the target sample
    steps : number of steps
    rng : Generator or seed, of the directions; new ones at each step
    step_size : > 0, momentum in [0, 1)
    slices : P, random directions a step
    moving : only the first ``moving`` coordinates move, the others are held (None: all move)
    r : exponent of the Riesz kernel -|x - y|^r; other than 1 needs ``exact``
    exact : take the gradient from all pairs instead of slices

    Yields (fraction done, points (N, d)), the start included. Raises ValueError for bad arguments.
    Cost: that of a gradient, a step.
    Paper: generative-sliced-mmd-flows-with-riesz (Hertrich et al. 2024, arXiv:2305.11463), and
    posterior-sampling-based-on-gradient-flows (Hagemann et al. 2024, arXiv:2310.03054) for moving
    """
    x = as_matrix("x", x).copy()
    y = as_matrix("y", y, columns=x.shape[1])
    d = x.shape[1]
    steps, slices = integer("steps", steps, low=1), integer("slices", slices, low=1)
    step_size, momentum = positive("step_size", step_size), between("momentum", momentum, 0, 0.999)
    moving = d if moving is None else integer("moving", moving, low=1, high=d)
    if r != 1.0 and not exact:
        raise ValueError(f"r must be 1 for slices by ranks, got {r:g}; use exact=True")
    rng = as_rng(rng)
    return _flow(x, y, steps, rng, step_size, momentum, slices, moving, r, exact)


def _flow(x, y, steps, rng, step_size, momentum, slices, moving, r, exact):
    speed = np.zeros((len(x), moving))
    yield 0.0, x.copy()
    for step in range(1, steps + 1):
        if exact:
            gradient = riesz_gradient(x, y, r)
        else:
            gradient = sliced_energy_gradient(x, y, random_directions(slices, x.shape[1], rng))
        speed = momentum * speed - step_size * len(x) * gradient[:, :moving]
        x[:, :moving] += speed
        yield step / steps, x.copy()


@dataclass(frozen=True, eq=False)
class FlowMaps:
    """A chain of kernel-ridge maps x <- x + k(x, points_b) coefficients_b, one a block of steps."""

    kernel: object
    points: list = field(default_factory=list)
    coefficients: list = field(default_factory=list)

    def push(self, x) -> np.ndarray:
        """Send new points (n, d) through the chain."""
        x = as_matrix("x", x)
        for points, coefficients in zip(self.points, self.coefficients, strict=True):
            x = x + self.kernel.matvec(x, points, coefficients)
        return x


def fit_flow_maps(path, kernel, ridge: float) -> FlowMaps:
    """Learn where a flow takes points: kernel ridge regression from each state to the next.

    Parameters: path, a list of states (N, d) at the ends of blocks; kernel; ridge > 0, on the
    scale of K/N. Returns FlowMaps. Cost: O(N^3) a block.
    The paper trains a network for each block; kernel ridge stands in for it here.
    Paper: generative-sliced-mmd-flows-with-riesz (Hertrich et al. 2024, arXiv:2305.11463)
    """
    path = [as_matrix(f"path[{i}]", state) for i, state in enumerate(path)]
    if len(path) < 2 or len({state.shape for state in path}) > 1:
        raise ValueError("path must hold two or more states of one shape")
    ridge = positive("ridge", ridge)
    coefficients = []
    for state, following in zip(path[:-1], path[1:], strict=True):
        gram = kernel.gram(state)
        gram[np.diag_indices(len(gram))] += ridge * len(gram)
        coefficients.append(np.linalg.solve(gram, following - state))
    return FlowMaps(kernel, path[:-1], coefficients)


# ------------------------------------------------------------------------------------------------
# 5. Move, with observations held fixed: posterior flows
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LinearInverse:
    """Observations y = operator x + noise of an x from a mixture of bumps.

    prior, Bumps in R^d; operator (q, d); noise > 0, the standard deviation. The posterior is again
    a mixture of Gaussians, known in closed form.
    """

    prior: Bumps
    operator: np.ndarray
    noise: float

    def __post_init__(self):
        d = self.prior.means.shape[1]
        object.__setattr__(self, "operator", as_matrix("operator", self.operator, columns=d))
        object.__setattr__(self, "noise", positive("noise", self.noise))

    def sample(self, n: int, rng) -> tuple[np.ndarray, np.ndarray]:
        """Draw pairs: x (n, d) and y (n, q)."""
        rng = as_rng(rng)
        x = self.prior.sample(n, rng)
        return x, x @ self.operator.T + self.noise * rng.standard_normal((n, len(self.operator)))

    def posterior(self, y0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return weights (m,), means (m, d) and the shared covariance (d, d) of x given y = y0."""
        y0 = as_vector("y0", y0, len(self.operator))
        a, spread = self.operator, self.prior.spread
        evidence = spread**2 * a @ a.T + self.noise**2 * np.eye(len(a))
        gain = spread**2 * np.linalg.solve(evidence, a).T
        residual = y0 - self.prior.means @ a.T
        logits = np.log(np.maximum(self.prior.weights, 1e-300))
        logits = logits - 0.5 * (residual * np.linalg.solve(evidence, residual.T).T).sum(axis=1)
        means = self.prior.means + residual @ gain.T
        covariance = spread**2 * (np.eye(a.shape[1]) - gain @ a)
        return np.exp(logits - logsumexp(logits)), means, (covariance + covariance.T) / 2

    def sample_posterior(self, y0, n: int, rng) -> np.ndarray:
        """Draw n points (n, d) of x given y = y0."""
        weights, means, covariance = self.posterior(y0)
        n, rng = integer("n", n, low=1), as_rng(rng)
        which = rng.choice(len(weights), n, p=weights)
        lower = np.linalg.cholesky(covariance)
        return means[which] + rng.standard_normal((n, len(lower))) @ lower.T

    def posterior_mean(self, y) -> np.ndarray:
        """Return E[x | y] for each row of y (n, q), shape (n, d)."""
        y = as_matrix("y", y, columns=len(self.operator))
        means = []
        for y0 in y:
            weights, centres, _ = self.posterior(y0)
            means.append(weights @ centres)
        return np.array(means)


def posterior_flow(
    x_data, y_data, steps: int, rng, *, weight: float = 1.0, step_size: float = 0.05,
    momentum: float = 0.9, slices: int = 16, hold: bool = True,
) -> Iterator[tuple[float, np.ndarray]]:  # fmt: skip
    """Turn noise into samples of x given y, for all observations y at once.

    Particles (x_i, y_i) start with x_i ~ N(0, var of the data) and y_i the data's observations; x
    flows down the energy distance to the joint data while y is held.

    Parameters
    ----------
    x_data : (n, d); y_data : (n, q)
    weight : > 0, factor on y within the distance: larger ties x more closely to its y
    step_size, momentum, slices : as in ``energy_flow``
    hold : False lets y move too (for comparison)

    Yields (fraction done, particles (n, d + q)) with y in its own units. Raises ValueError.
    Cost: that of a sliced gradient, a step.
    Paper: posterior-sampling-based-on-gradient-flows (Hagemann et al. 2024, arXiv:2310.03054)
    """
    x_data, y_data, rng = as_matrix("x_data", x_data), as_matrix("y_data", y_data), as_rng(rng)
    same_length("x_data", x_data, "y_data", y_data)
    weight, d = positive("weight", weight), x_data.shape[1]
    joint = np.hstack([x_data, weight * y_data])
    noise = x_data.mean(axis=0) + x_data.std(axis=0) * rng.standard_normal(x_data.shape)
    start = np.hstack([noise, weight * y_data])
    path = energy_flow(
        start, joint, steps, rng, step_size=step_size, momentum=momentum, slices=slices,
        moving=d if hold else None,
    )  # fmt: skip
    unweight = np.concatenate([np.ones(d), np.full(y_data.shape[1], 1 / weight)])
    return ((fraction, particles * unweight) for fraction, particles in path)


# ------------------------------------------------------------------------------------------------
# 6. Move by scores inside a constraint set: mirrored Stein operators
# ------------------------------------------------------------------------------------------------


def mirror(theta) -> np.ndarray:
    """Map shares to the dual plane: eta_i = log theta_i - log(1 - sum theta).

    Parameters: theta (n, d), the first d of d + 1 positive shares. Returns (n, d). It is the
    gradient of the negative entropy, sum of s log s over all d + 1 shares.
    Raises ValueError for points that are not inside the simplex.
    """
    theta = _inside("theta", theta)
    return np.log(theta) - np.log1p(-theta.sum(axis=1))[:, None]


def unmirror(eta) -> np.ndarray:
    """Map the dual plane back into the simplex: theta_i = exp eta_i / (1 + sum_j exp eta_j).

    Parameters: eta (n, d). Returns (n, d). Large entries do not overflow.
    """
    eta = as_matrix("eta", eta)
    top = np.maximum(eta.max(axis=1, keepdims=True), 0.0)
    raw = np.exp(eta - top)
    return raw / (raw.sum(axis=1, keepdims=True) + np.exp(-top))


def entropy_metric(theta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the Hessian H (K, d, d) of the negative entropy, H^-1, and div H^-1 (K, d).

    H = diag(1/theta) + 1 1'/(1 - sum theta), H^-1 = diag(theta) - theta theta', and
    (div H^-1)_a = sum_c d(H^-1)_ac/d theta_c = 1 - (d + 1) theta_a.
    """
    theta = _inside("theta", theta)
    d = theta.shape[1]
    identity = np.eye(d)
    hessian = identity / theta[:, :, None] + (1 / (1 - theta.sum(axis=1)))[:, None, None]
    inverse = identity * theta[:, :, None] - theta[:, :, None] * theta[:, None, :]
    return hessian, inverse, 1 - (d + 1) * theta


def identity_metric(theta) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the metric of the plain plane: I, I and 0, one a row of theta (K, d)."""
    theta = as_matrix("theta", theta)
    identity = np.broadcast_to(np.eye(theta.shape[1]), (*theta.shape, theta.shape[1]))
    return identity, identity, np.zeros_like(theta)


def median_width(theta) -> float:
    """Return the median distance between particles (K, d); 1 for one particle, never 0."""
    theta = as_matrix("theta", theta)
    if len(theta) == 1:
        return 1.0
    return max(float(np.median(pdist(theta))), 1e-8)


def mirrored_direction(theta, score, metric, width: float | None = None) -> np.ndarray:
    """Return mirrored SVGD's direction for each particle, in the dual space.

    g_i = mean_j [ k(th_i, th_j) s_j + H_j^-1 grad_j k(th_j, th_i) ], where
    s = H^-1 grad log p + div H^-1 is the score of the mirrored law, and
    k(th, th') = (1 + |th - th'|^2/width^2)^(-1/2).

    Parameters: theta (K, d); score (K, d), grad log p at theta; metric = (H, H^-1, div H^-1), as
    from ``entropy_metric``; width, the median distance if not given. Returns (K, d).
    Cost: O(K^2 d + K d^2).
    Paper: sampling-with-mirrored-stein-operators (Shi et al. 2022, arXiv:2106.12506)
    """
    theta, score, (_, inverse, divergence) = _particles(theta, score, metric)
    width = median_width(theta) if width is None else positive("width", width)
    drift = np.ascontiguousarray(_apply(inverse, score) + divergence)
    direction = np.zeros_like(theta)
    _stein(theta, drift, np.ascontiguousarray(inverse), 1 / width**2, direction)
    return direction


@compiled(
    "void(float64[:,::1], float64[:,::1], float64[:,:,::1], float64, float64[:,::1])",
    fastmath=FAST,
)
def _stein(theta, drift, inverse, rate, direction):
    """Fill direction with mirrored SVGD's step; ``rate`` is 1/width^2."""
    count, d = theta.shape
    slope = np.empty(d)
    for i in range(count):
        for j in range(count):
            square = 0.0
            for c in range(d):
                slope[c] = theta[j, c] - theta[i, c]
                square += slope[c] * slope[c]
            similarity = 1.0 / np.sqrt(1.0 + rate * square)
            bend = -rate * similarity * similarity * similarity  # grad_j k = bend (th_j - th_i)
            for a in range(d):
                push = 0.0
                for c in range(d):
                    push += inverse[j, a, c] * slope[c]
                direction[i, a] += (similarity * drift[j, a] + bend * push) / count


def inverse_multiquadric(theta, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return k(th_i, th_j) = (1 + |th_i - th_j|^2/width^2)^(-1/2), (K, K), and its gradient with
    respect to th_i, (K, K, d), for theta (K, d)."""
    theta, width = as_matrix("theta", theta), positive("width", width)
    apart = theta[:, None] - theta
    gram = 1 / np.sqrt(1 + (apart**2).sum(axis=2) / width**2)
    return gram, -(gram**3)[:, :, None] * apart / width**2


def mirror_descent_direction(theta, score, metric, width: float | None = None) -> np.ndarray:
    """Return Stein variational mirror descent's direction: the kernel itself bends with H.

    The matrix kernel is K(th_i, th_l) = mean_t r(i, t) H_t r(t, l) with r = k^(1/2), the root of
    the kernel with respect to the particles, from the eigenvectors of their Gram matrix, and

        g_i = mean_l [ K(i, l) s_l + div_l (K(i, l) H_l^-1) ]    (s without div H^-1),

    where the divergence sees that th_l is also one of the th_t. With one particle g = grad log p.

    Parameters, cost: as ``mirrored_direction`` and O(K^3).
    Paper: sampling-with-mirrored-stein-operators (Shi et al. 2022, arXiv:2106.12506)
    """
    theta, score, (hessian, inverse, divergence) = _particles(theta, score, metric)
    count = len(theta)
    width = median_width(theta) if width is None else positive("width", width)
    gram, slope = inverse_multiquadric(theta, width)
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-5 * values[-1]
    values, vectors = values[kept] / count, vectors[:, kept] * math.sqrt(count)
    root = (vectors * np.sqrt(values)) @ vectors.T  # r(t, l)
    # grad_l r(t, th_l) = mean_m A(t, m) grad_l k(th_l, th_m), by the eigenfunctions' own equation.
    a = (vectors / np.sqrt(values)) @ vectors.T
    root_slope = np.tensordot(a, slope, axes=(1, 1)) / count
    drift = _apply(inverse, score) + divergence
    inner = root @ drift + np.einsum("lab,tlb->ta", inverse, root_slope)
    direction = root @ _apply(hessian, inner / count) / count
    # The share of each particle in its own kernel, which makes one particle descend exactly.
    itself = np.diagonal(root)[:, None]
    own_slope = np.einsum("llb->lb", root_slope)
    own = np.einsum("ilb,l->ib", root_slope, np.diagonal(root)) + root @ own_slope
    own -= root @ (itself * _apply(hessian, divergence))
    return direction + own / count**2


def to_simplex(points, floor: float = 0.0) -> np.ndarray:
    """Return the nearest points (n, d) whose d + 1 shares are all at least ``floor``.

    Parameters: points (n, d), the first d coordinates; the last is 1 minus their sum.
    Cost: O(n d log d). Source: projection onto the simplex by sorting (Duchi et al. 2008).
    """
    points = as_matrix("points", points)
    count = points.shape[1] + 1
    floor = between("floor", floor, 0.0, 1.0 / count)
    mass = 1 - count * floor
    if mass <= 0:
        return np.full_like(points, 1.0 / count)  # only the centre is left
    shares = np.column_stack([points, 1 - points.sum(axis=1)]) - floor
    # A shift changes nothing about the answer; this one keeps the largest shares exact.
    shares -= shares.max(axis=1, keepdims=True)
    ordered = -np.sort(-shares, axis=1)
    excess = (np.cumsum(ordered, axis=1) - mass) / np.arange(1, count + 1)
    last = np.maximum((ordered > excess).sum(axis=1) - 1, 0)
    cut = excess[np.arange(len(points)), last]
    return np.maximum(shares - cut[:, None], 0.0)[:, :-1] + floor


STEIN_METHODS = ("mirrored", "mirror descent", "projected")


def stein_path(
    theta, law, steps: int, *, method: str = "mirrored", step_size: float = 0.1,
    width: float | None = None, normalised: bool = True, floor: float = 1e-4,
) -> Iterator[tuple[float, np.ndarray]]:  # fmt: skip
    """Move particles within the simplex towards a law of which only the score is known.

    "mirrored" (MSVGD) and "mirror descent" (SVMD) step in the dual plane and map back; "projected"
    is plain SVGD, projected onto the shares above ``floor`` after each step.

    Parameters
    ----------
    theta : (K, d), inside the simplex
    law : with ``score``
    steps : number of steps
    method : one of STEIN_METHODS
    step_size : > 0; normalised divides each coordinate's step by a running root mean square
    width : of the kernel; None for the median distance at each step

    Yields (fraction done, particles (K, d)), the start included. Raises ValueError.
    Paper: sampling-with-mirrored-stein-operators (Shi et al. 2022, arXiv:2106.12506)
    """
    theta = _inside("theta", theta).copy()
    steps, method = integer("steps", steps, low=1), one_of("method", method, STEIN_METHODS)
    step_size, floor = positive("step_size", step_size), between("floor", floor, 1e-12, 0.1)
    width = None if width is None else positive("width", width)
    return _stein_path(theta, law, steps, method, step_size, width, normalised, floor)


def _stein_path(theta, law, steps, method, step_size, width, normalised, floor):
    rule = mirror_descent_direction if method == "mirror descent" else mirrored_direction
    square = None
    yield 0.0, theta
    for step in range(1, steps + 1):
        metric = identity_metric(theta) if method == "projected" else entropy_metric(theta)
        move = rule(theta, law.score(theta), metric, width)
        if normalised:
            square = _running_square(square, move)
            move = move / (np.sqrt(square) + 1e-8)
        if method == "projected":
            theta = to_simplex(theta + step_size * move, floor)
        else:
            theta = _open(unmirror(mirror(theta) + step_size * move))
        yield step / steps, theta


def natural_path(
    theta,
    law,
    steps: int,
    *,
    natural: bool = True,
    step_size: float = 0.1,
    width: float | None = None,
) -> Iterator[tuple[float, np.ndarray]]:
    """Move particles on R^d by Stein variational natural gradients, or by plain SVGD.

    The natural one steps by G_i^-1 g_i, g as in ``mirror_descent_direction`` with the law's metric
    G in the place of H; like Newton's method it overshoots where G is nearly singular. Plain SVGD
    steps by g, each coordinate over a running root mean square.

    Parameters: theta (K, d); law with ``score``, and ``metric`` if natural; steps; natural;
    step_size > 0; width of the kernel, the median distance if not given. Yields (fraction done,
    particles (K, d)), the start included.
    Paper: sampling-with-mirrored-stein-operators (Shi et al. 2022, arXiv:2106.12506), SVNG
    """
    theta = as_matrix("theta", theta)
    steps, step_size = integer("steps", steps, low=1), positive("step_size", step_size)
    width = None if width is None else positive("width", width)
    if natural and not hasattr(law, "metric"):
        raise ValueError(f"law must have a metric if natural, got a {type(law).__name__}")
    return _natural_path(theta, law, steps, natural, step_size, width)


def _natural_path(theta, law, steps, natural, step_size, width):
    square = None
    yield 0.0, theta
    for step in range(1, steps + 1):
        score = law.score(theta)
        if natural:
            metric = law.metric(theta)
            move = _apply(metric[1], mirror_descent_direction(theta, score, metric, width))
        else:
            move = mirrored_direction(theta, score, identity_metric(theta), width)
            square = _running_square(square, move)
            move = move / (np.sqrt(square) + 1e-8)
        theta = theta + step_size * move
        yield step / steps, theta


def _running_square(square, move):
    return move**2 if square is None else 0.9 * square + 0.1 * move**2


def _open(theta: np.ndarray) -> np.ndarray:
    """Keep shares a hair above 0: rounding may not push a particle onto the edge."""
    shares = np.maximum(np.column_stack([theta, 1 - theta.sum(axis=1)]), 1e-12)
    return (shares / shares.sum(axis=1, keepdims=True))[:, :-1]


def _particles(theta, score, metric):
    theta = as_matrix("theta", theta)
    n, d = theta.shape
    score = as_matrix("score", score, rows=n, columns=d)
    shapes = [np.shape(part) for part in metric]
    if shapes != [(n, d, d), (n, d, d), (n, d)]:
        raise ValueError(f"metric must have shapes {(n, d, d)} twice and {(n, d)}, got {shapes}")
    if not all(np.isfinite(part).all() for part in metric):
        raise ValueError("metric must be finite, got NaN or infinity")
    return theta, score, metric


def _apply(matrices, vectors):
    return np.einsum("kab,kb->ka", matrices, vectors)


# ------------------------------------------------------------------------------------------------
# 7. Learn an invertible map: kernelised normalising flows
# ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class KernelLayer:
    """One coupling layer: z_moved = exp(s(u)) x_moved + t(u), u = x_given, others stay.

    s(u) = k(u, W) A_s and t(u) = k(u, W) A_t with a Gaussian kernel.

    given, moved : coordinates that are read, and that are changed
    anchors : W (M, du); scale : (1,), log of the kernel's length
    shift, stretch : A_t and A_s (M, dv)
    """

    given: np.ndarray
    moved: np.ndarray
    anchors: np.ndarray
    scale: np.ndarray
    stretch: np.ndarray
    shift: np.ndarray

    @property
    def parameters(self) -> list:
        """All arrays that are learned."""
        return [self.anchors, self.scale, self.stretch, self.shift]

    def features(self, u) -> np.ndarray:
        """Return k(u, W), (n, M)."""
        return Gaussian(math.exp(self.scale[0])).gram(u, self.anchors)

    def pull_back(self, u, phi, change) -> tuple[np.ndarray, list]:
        """Return the gradients with respect to u, and to anchors and scale, from those to phi."""
        rate = math.exp(-2 * self.scale[0])
        weighted = change * phi
        rows, columns = weighted.sum(axis=1), weighted.sum(axis=0)
        to_anchors = weighted @ self.anchors
        to_u = rate * (to_anchors - rows[:, None] * u)
        to_w = rate * (weighted.T @ u - columns[:, None] * self.anchors)
        squares = rows @ (u * u) - 2 * (u * to_anchors).sum(axis=0) + columns @ self.anchors**2
        return to_u, [to_w, np.array([rate * squares.sum()])]

    def penalty(self) -> tuple[float, list]:
        """Return tr A' K_WW A, summed over A_s and A_t, with its gradients."""
        gram = self.features(self.anchors)
        change = self.stretch @ self.stretch.T + self.shift @ self.shift.T
        value = float((gram * change).sum())
        to_u, (to_w, to_scale) = self.pull_back(self.anchors, gram, change)
        return value, [to_u + to_w, to_scale, 2 * gram @ self.stretch, 2 * gram @ self.shift]


@dataclass(eq=False)
class NeuronLayer:
    """The same coupling with a small network: s, t = tanh(u V + c) A + b (the usual RealNVP)."""

    given: np.ndarray
    moved: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    stretch: np.ndarray
    shift: np.ndarray

    @property
    def parameters(self) -> list:
        """All arrays that are learned."""
        return [self.weights, self.biases, self.stretch, self.shift]

    def features(self, u) -> np.ndarray:
        """Return the hidden neurons and a constant, (n, H + 1)."""
        hidden = np.tanh(u @ self.weights + self.biases)
        return np.column_stack([hidden, np.ones(len(u))])

    def pull_back(self, u, phi, change) -> tuple[np.ndarray, list]:
        """Return the gradients with respect to u, and to weights and biases."""
        inner = (change * (1 - phi**2))[:, :-1]
        return inner @ self.weights.T, [u.T @ inner, inner.sum(axis=0)]

    def penalty(self) -> tuple[float, list]:
        """Return the sum of squares of the outer weights, with its gradients."""
        value = float((self.stretch**2).sum() + (self.shift**2).sum())
        zeros = [np.zeros_like(part) for part in (self.weights, self.biases)]
        return value, [*zeros, 2 * self.stretch, 2 * self.shift]


@dataclass(eq=False)
class CouplingFlow:
    """An invertible map from data to a standard normal: standardise, then coupling layers.

    log p(x) = log N(f(x); 0, I) + log|det f'(x)|, and the determinant is a sum of the s.
    """

    centre: np.ndarray
    spread: np.ndarray
    layers: list

    @property
    def size(self) -> int:
        """The number of learned parameters."""
        return sum(part.size for layer in self.layers for part in layer.parameters)

    def forward(self, x) -> tuple[np.ndarray, np.ndarray]:
        """Return f(x) (n, d) and log|det f'(x)| (n,). Cost: O(n M d) a layer."""
        x = as_matrix("x", x, columns=self.centre.size)
        z = (x - self.centre) / self.spread
        log_det = np.full(len(z), -np.log(self.spread).sum())
        for layer in self.layers:
            phi = layer.features(np.ascontiguousarray(z[:, layer.given]))
            s = phi @ layer.stretch
            z[:, layer.moved] = np.exp(s) * z[:, layer.moved] + phi @ layer.shift
            log_det += s.sum(axis=1)
        return z, log_det

    def inverse(self, z) -> np.ndarray:
        """Return f^-1(z) (n, d): the layers undone, the last one first."""
        x = as_matrix("z", z, columns=self.centre.size).copy()
        for layer in reversed(self.layers):
            phi = layer.features(np.ascontiguousarray(x[:, layer.given]))
            moved = x[:, layer.moved] - phi @ layer.shift
            x[:, layer.moved] = np.exp(-(phi @ layer.stretch)) * moved
        return x * self.spread + self.centre

    def log_density(self, x) -> np.ndarray:
        """Return log p at the rows of x, (n,)."""
        z, log_det = self.forward(x)
        return log_det - 0.5 * (z**2).sum(axis=1) - 0.5 * z.shape[1] * math.log(2 * math.pi)

    def sample(self, n: int, rng) -> np.ndarray:
        """Draw n points (n, d)."""
        n, rng = integer("n", n, low=1), as_rng(rng)
        return self.inverse(rng.standard_normal((n, self.centre.size)))

    def loss_gradient(self, x, penalty: float) -> tuple[float, list]:
        """Return -mean log p(x) + penalty sum_layers tr A' K A, and its gradients by layer.

        Cost: O(n M d) a layer. The gradients are written out: one sweep back through the layers.
        """
        x = as_matrix("x", x, columns=self.centre.size)
        penalty = nonnegative("penalty", penalty)
        n, d = x.shape
        z, kept = (x - self.centre) / self.spread, []
        loss = np.log(self.spread).sum() + 0.5 * d * math.log(2 * math.pi)
        for layer in self.layers:
            u, v = np.ascontiguousarray(z[:, layer.given]), z[:, layer.moved]
            phi = layer.features(u)
            s = phi @ layer.stretch
            scaled = np.exp(s) * v
            kept.append((u, phi, s, scaled))
            z[:, layer.moved] = scaled + phi @ layer.shift
            loss -= s.sum() / n
        loss += 0.5 * (z**2).sum() / n
        back, gradients = z / n, []
        for layer, (u, phi, s, scaled) in zip(reversed(self.layers), reversed(kept), strict=True):
            to_t = back[:, layer.moved]
            to_s = to_t * scaled - 1 / n
            change = to_s @ layer.stretch.T + to_t @ layer.shift.T
            to_u, inner = layer.pull_back(u, phi, change)
            back[:, layer.moved] = to_t * np.exp(s)
            back[:, layer.given] += to_u
            gradients.append([*inner, phi.T @ to_s, phi.T @ to_t])
        gradients.reverse()
        for layer, parts in zip(self.layers, gradients, strict=True):
            value, slopes = layer.penalty()
            loss += penalty * value
            for part, slope in zip(parts, slopes, strict=True):
                part += penalty * slope
        return float(loss), gradients


def coupling_flow(
    x, layers: int, units: int, rng, *, kind: str = "kernel", length: float = 1.0
) -> CouplingFlow:
    """Set up a flow for data: identity at the start, with anchors (or neurons) at random.

    Parameters
    ----------
    x : (n, d), d >= 2; standardises, and lends its points as first anchors
    layers : even coordinates are read first, odd ones next, and so on
    units : M anchors, or neurons, a layer
    kind : "kernel" or "neurons"
    length : of the kernel at the start, in standard deviations

    Returns a CouplingFlow. Raises ValueError for one column or bad numbers.
    Paper: kernelised-normalising-flows (English et al. 2024, arXiv:2307.14839)
    """
    x = as_matrix("x", x, min_rows=2)
    n, d = x.shape
    if d < 2:
        raise ValueError(f"x must have at least two columns, got {d}")
    layers, units = integer("layers", layers, low=1), integer("units", units, low=1)
    kind, rng = one_of("kind", kind, ("kernel", "neurons")), as_rng(rng)
    length = positive("length", length)
    centre, spread = x.mean(axis=0), x.std(axis=0)
    if spread.min() == 0:
        raise ValueError("x must vary in every column")
    standard, made = (x - centre) / spread, []
    for i in range(layers):
        given, moved = np.arange(i % 2, d, 2), np.arange(1 - i % 2, d, 2)
        if kind == "kernel":
            chosen = rng.choice(n, units, replace=units > n)
            anchors = np.ascontiguousarray(standard[chosen][:, given])
            inner = [anchors, np.array([math.log(length)])]
            rows = units
        else:
            inner = [rng.standard_normal((given.size, units)), rng.standard_normal(units)]
            rows = units + 1
        outer = [np.zeros((rows, moved.size)) for _ in range(2)]
        layer = KernelLayer if kind == "kernel" else NeuronLayer
        made.append(layer(given, moved, *inner, *outer))
    return CouplingFlow(centre, spread, made)


@dataclass(frozen=True, eq=False)
class FlowTraining:
    """A flow in training, with the log-likelihood of training and held-out points so far."""

    flow: CouplingFlow
    train: list
    held_out: list


def train_flow(
    flow: CouplingFlow, x, steps: int, *, penalty: float = 0.01, step_size: float = 0.02,
    held_out=None, every: int = 20,
) -> Iterator[tuple[float, FlowTraining]]:  # fmt: skip
    """Maximise the penalised likelihood by Adam, with a step size that falls to 0 like a cosine.

    Parameters: flow, changed in place; x (n, d); steps; penalty >= 0; step_size > 0; held_out
    (m, d) or None; every, steps between reports. Yields (fraction done, FlowTraining).
    Cost: O(n M d layers) a step.
    Paper: kernelised-normalising-flows (English et al. 2024, arXiv:2307.14839)
    """
    x = as_matrix("x", x, columns=flow.centre.size)
    held_out = x if held_out is None else as_matrix("held_out", held_out, columns=x.shape[1])
    steps, every = integer("steps", steps, low=1), integer("every", every, low=1)
    penalty, step_size = nonnegative("penalty", penalty), positive("step_size", step_size)
    return _train(flow, x, steps, penalty, step_size, held_out, every)


def _train(flow, x, steps, penalty, step_size, held_out, every):
    adam = Adam([layer.parameters for layer in flow.layers], step=step_size)
    record = FlowTraining(flow, [], [])
    for step in range(steps):
        if step % every == 0:
            _report(record, x, held_out)
            yield step / steps, record
        adam.step = step_size * 0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-12
        adam.update(flow.loss_gradient(x, penalty)[1])
    _report(record, x, held_out)
    yield 1.0, record


def _report(record: FlowTraining, x, held_out) -> None:
    record.train.append(float(record.flow.log_density(x).mean()))
    record.held_out.append(float(record.flow.log_density(held_out).mean()))


# ------------------------------------------------------------------------------------------------
# What the sections share
# ------------------------------------------------------------------------------------------------


def finish(path: Iterator):
    """Run a generator of (fraction, state) to its end and return the last state."""
    state = None
    for _, state in path:  # noqa: B007, the last one is wanted
        pass
    return state


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def _rows(name: str, value, n: int) -> np.ndarray:
    rows = np.asarray(value)
    if rows.ndim != 1 or rows.size == 0 or rows.dtype.kind not in "iu":
        raise ValueError(f"{name} must be a vector of row numbers, got shape {rows.shape}")
    if rows.min() < 0 or rows.max() >= n:
        raise ValueError(f"{name} must lie between 0 and {n - 1}, got {rows.min()} to {rows.max()}")
    return rows.astype(np.int64)


def _inside(name: str, theta, d: int | None = None) -> np.ndarray:
    theta = as_matrix(name, theta, columns=d)
    if theta.min() <= 0 or theta.sum(axis=1).max() >= 1:
        raise ValueError(f"{name} must lie inside the simplex: shares positive, their sum below 1")
    return theta
