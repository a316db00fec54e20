"""How far apart are two clouds of points? Five answers that generative models are judged by.

A cloud is a matrix with one point a row: images as feature vectors, responses of a network, points
in the plane. Each measure keeps something of a cloud and throws the rest away:

1. Clouds whose faults are known, to try the measures on
2. Two moments (FID) or everything a kernel sees (CMMD) (Jayasumana et al. 2024)
3. Which points lie inside the other cloud's k-NN balls (Kynkaanniemi et al. 2019)
4. The shape up to rotation, from few samples (Pospisil et al. 2024)
5. The spread, by nearest neighbours, and a generator that maximises it (Liu et al. 2023)
6. All measures at once, beside what two samples of one law would show
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import linprog, nnls
from scipy.spatial import cKDTree
from scipy.special import digamma

from kernellab.compute import compiled
from kernellab.compute.checks import (
    _real,
    as_matrix,
    as_rng,
    as_vector,
    between,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
    symmetric,
)
from kernellab.compute.kernels import Gaussian
from kernellab.compute.linalg import clip_rounding, eigh
from kernellab.compute.mmd import mmd_squared
from kernellab.compute.networks import Adam
from kernellab.compute.tiles import SQUARED, _measure, _padded_rows, _panels

# Sums may run on several lanes; NaN and infinity stay honest.
FAST = {"reassoc", "contract"}

# ------------------------------------------------------------------------------------------------
# 1. Clouds whose faults are known
# ------------------------------------------------------------------------------------------------


def ring_centres(modes: int = 8, radius: float = 2.0) -> np.ndarray:
    """Return the centres (modes, 2) of Gaussians that stand on a circle, evenly."""
    modes, radius = integer("modes", modes, low=1), positive("radius", radius)
    angles = 2 * np.pi * np.arange(modes) / modes
    return radius * np.column_stack([np.cos(angles), np.sin(angles)])


def sample_ring(
    n: int, rng, *, modes: int = 8, dropped: int = 0, radius: float = 2.0, sd: float = 0.15
) -> tuple[np.ndarray, np.ndarray]:
    """Draw from a ring of Gaussians of which the last ``dropped`` have gone missing.

    Parameters: n >= 1 points; rng, a Generator or an int seed; modes, 0 <= dropped < modes;
    radius of the ring and sd of a mode, both > 0.
    Returns points (n, 2) and the mode (n,) of each.
    """
    n, centres = integer("n", n, low=1), ring_centres(modes, radius)
    dropped, sd, rng = integer("dropped", dropped, 0, modes - 1), positive("sd", sd), as_rng(rng)
    mode = rng.integers(modes - dropped, size=n)
    return centres[mode] + sd * rng.standard_normal((n, 2)), mode


def truncate(points, towards, psi: float) -> np.ndarray:
    """Pull points towards others: w' = towards + psi (w - towards).

    Generators are often used this way, with psi < 1: safer samples, less variety.

    Parameters: points (n, d); towards (d,), or (n, d) for a target of its own a point; psi in
    [0, 1]. Returns (n, d). Raises ValueError for other shapes or numbers.
    """
    points, shape = as_matrix("points", points), np.shape(towards)
    if shape not in (points.shape, points.shape[1:]):
        raise ValueError(
            f"towards must have shape {points.shape} or {points.shape[1:]}, got {shape}"
        )
    towards = (as_matrix if len(shape) == 2 else as_vector)("towards", towards)
    return towards + between("psi", psi, 0, 1) * (points - towards)


def gaussian_twin(x, n: int, rng) -> np.ndarray:
    """Draw n points from the Gaussian with the mean and the covariance of the cloud x.

    Parameters: x (m, d), m >= 2; n >= 1; rng, a Generator or an int seed.
    Returns (n, d). Cost: O(m d^2 + d^3 + n d^2).
    """
    x, n, rng = as_matrix("x", x, min_rows=2), integer("n", n, low=1), as_rng(rng)
    root = _root(np.atleast_2d(np.cov(x, rowvar=False)))
    return x.mean(axis=0) + rng.standard_normal((n, x.shape[1])) @ root.T


def two_modes(n: int, d: int, separation: float, rng) -> np.ndarray:
    """Draw n points from 1/2 N(s e_1, I) + 1/2 N(-s e_1, I), s = ``separation``, in dimension d.

    Returns (n, d). Its mean is 0, and its covariance is I + s^2 e_1 e_1^T.
    """
    n, d, rng = integer("n", n, low=1), integer("d", d, low=1), as_rng(rng)
    x = rng.standard_normal((n, d))
    x[:, 0] += nonnegative("separation", separation) * rng.choice([-1.0, 1.0], size=n)
    return x


# ------------------------------------------------------------------------------------------------
# 2. Two moments, or everything a kernel sees
# ------------------------------------------------------------------------------------------------


def frechet(mean1, covariance1, mean2, covariance2) -> float:
    """Return the squared Frechet (2-Wasserstein) distance between two Gaussians.

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^{1/2})

    With C1 = A A^T and C2 = B B^T the last trace is the sum of the singular values of A^T B, which
    needs no root of a matrix that is not symmetric, and stands a singular C.

    Parameters: mean1, mean2 (d,); covariance1, covariance2 (d, d), symmetric, non-negative.
    Returns a float >= 0. Raises ValueError for other shapes or a clearly negative eigenvalue.
    Cost: O(d^3).

    Paper: rethinking-fid (Jayasumana et al. 2024, arXiv:2401.09603)

    >>> frechet([0.0], [[4.0]], [3.0], [[1.0]])
    10.0
    """
    mean1 = as_vector("mean1", mean1)
    mean2 = as_vector("mean2", mean2, length=mean1.size)
    covariances = []
    for name, matrix in (("covariance1", covariance1), ("covariance2", covariance2)):
        matrix = symmetric(name, matrix)
        if len(matrix) != mean1.size:
            raise ValueError(f"{name} must be {(mean1.size,) * 2}, got {matrix.shape}")
        covariances.append(matrix)
    root1, root2 = map(_factor, covariances)
    overlap = np.linalg.svd(root1.T @ root2, compute_uv=False).sum()
    traces = sum(np.trace(matrix) for matrix in covariances)
    return max(float(np.sum((mean1 - mean2) ** 2) + traces - 2 * overlap), 0.0)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """Return some A (d, d) with A A^T = C: Cholesky's, or from eigenvectors when C is singular."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return _root(covariance)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return A (d, d) with A A^T = C, from the eigenvectors."""
    values, vectors = eigh(covariance)
    if values.min() < -1e-8 * max(abs(values).max(), 1e-300):
        raise ValueError(f"a covariance has no negative eigenvalue, got {values.min():.3g}")
    return vectors * np.sqrt(clip_rounding(values))


def fid(x, y) -> float:
    """Return the Frechet distance between Gaussians fitted to two clouds of features.

    The fitted moments are noisy, and noise adds to a distance: two samples of one law have an FID
    near c / n, with c growing in the dimension.

    Parameters: x (n, d) and y (m, d), n, m >= 2.
    Returns a float >= 0. Cost: O((n + m) d^2 + d^3).

    Paper: rethinking-fid (Jayasumana et al. 2024, arXiv:2401.09603)
    """
    x, y = _clouds(x, y, 2)
    return frechet(x.mean(axis=0), _covariance(x), y.mean(axis=0), _covariance(y))


def cmmd(x, y, bandwidth: float = 10.0) -> float:
    """Return 1000 times the unbiased squared MMD with a Gaussian kernel.

        1000 [mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)],
        k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2))

    The mean over samples is the true distance of the laws at any n: 0 for one law, so that the
    value may be negative. (The factor 1000 is the paper's, for reading; 10 is its bandwidth.)

    Parameters: x (n, d) and y (m, d), n, m >= 2; bandwidth > 0, in the units of the features.
    Returns a float. Cost: O((n + m)^2 d) time, O((n + m) d) memory.

    Paper: rethinking-fid (Jayasumana et al. 2024, arXiv:2401.09603)
    """
    x, y = _clouds(x, y, 2)
    return 1000 * mmd_squared(x, y, Gaussian(positive("bandwidth", bandwidth)))


def gaussian_mmd_squared(shift: float, dimension: int, bandwidth: float) -> float:
    """Return the exact squared MMD between N(0, I) and N(m, I), |m| = ``shift``.

        2 (s^2 / (s^2 + 2))^{d/2} (1 - exp(-|m|^2 / (2 (s^2 + 2)))),  s = bandwidth

    Parameters: shift >= 0; dimension d >= 1; bandwidth > 0. Returns a float.
    """
    wide = positive("bandwidth", bandwidth) ** 2 + 2
    power = integer("dimension", dimension, low=1) / 2
    gap = -math.expm1(-(nonnegative("shift", shift) ** 2) / (2 * wide))
    return 2 * ((wide - 2) / wide) ** power * gap


def _covariance(x: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(x, rowvar=False))


def _clouds(x, y, min_rows: int) -> tuple[np.ndarray, np.ndarray]:
    x = as_matrix("x", x, min_rows=min_rows)
    return x, as_matrix("y", y, columns=x.shape[1], min_rows=min_rows)


# ------------------------------------------------------------------------------------------------
# 3. Inside or outside the other cloud's k-NN balls
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PrecisionRecall:
    """Share of generated points inside the real cloud, and of real points inside the generated."""

    precision: float
    recall: float


def neighbour_distances(x, k: int) -> np.ndarray:
    """Return each point's distances to its k nearest others, in ascending order.

    Parameters: x (n, d); 1 <= k < n.
    Returns (n, k). Raises ValueError for another k. Cost: O(n^2 d) time, O(n (d + k)) memory; many
    points in up to three dimensions go into a tree, O(n log n).
    """
    x = as_matrix("x", x, min_rows=2)
    k = integer("k", k, low=1, high=len(x) - 1)
    if x.shape[1] <= 3 and len(x) > 1000:
        return cKDTree(x).query(x, k + 1)[0][:, 1:]  # the first is the point itself, or its double
    nearest = np.full((len(x), k), np.inf)
    _nearest(_padded_rows(x), _panels(x), nearest)
    return np.sqrt(nearest)


@compiled("void(float64[:,::1], float64[:,::1], float64[:,::1])", fastmath={"contract"})
def _nearest(rows, panels, nearest):
    """Keep in each row of ``nearest`` the least squared distances so far, ascending."""
    n, k = nearest.shape
    tile = np.empty(256)
    for p in range(panels.shape[0]):
        first = 64 * p
        width = min(64, n - first)
        for i in range(0, n, 4):
            _measure(SQUARED, rows, i, panels[p], tile)
            for r in range(i, min(i + 4, n)):
                kept = nearest[r]
                values = tile[64 * (r - i) : 64 * (r - i + 1)]
                if first <= r < first + width:
                    values[r - first] = np.inf  # a point is not its own neighbour
                worst = kept[k - 1]
                for j in range(width):
                    if values[j] < worst:
                        place = k - 1
                        while place > 0 and kept[place - 1] > values[j]:
                            kept[place] = kept[place - 1]
                            place -= 1
                        kept[place] = values[j]
                        worst = kept[k - 1]


def knn_radii(x, k: int) -> np.ndarray:
    """Return each point's distance (n,) to its k-th nearest other point; see neighbour_distances.

    Paper: improved-precision-and-recall-metric (Kynkaanniemi et al. 2019, arXiv:1904.06991)
    """
    return np.ascontiguousarray(neighbour_distances(x, k)[:, -1])


def inside(points, centres, radii) -> np.ndarray:
    """Tell which points lie in the union of balls: |point - centre_j| <= radius_j for some j.

    Parameters: points (n, d); centres (m, d); radii (m,), not negative.
    Returns (n,) of bool. Raises ValueError for other shapes. Cost: O(n m d) at most; a point is
    settled with the first ball that holds it.

    Paper: improved-precision-and-recall-metric (Kynkaanniemi et al. 2019, arXiv:1904.06991)
    """
    points, centres, radii = _balls(points, centres, radii)
    limits = np.full(-(-len(centres) // 64) * 64, -1.0)
    limits[: radii.size] = radii**2 * (1 + 1e-15)  # a root and its square must not lose the edge
    found = np.zeros(len(points), dtype=np.bool_)
    _inside(_padded_rows(points), _panels(centres), limits, found)
    return found


@compiled("void(float64[:,::1], float64[:,::1], float64[::1], boolean[::1])", fastmath={"contract"})
def _inside(rows, panels, limits, found):
    n = len(found)
    tile = np.empty(256)
    for i in range(0, n, 4):
        count = min(4, n - i)
        settled = 0
        for p in range(panels.shape[0]):
            _measure(SQUARED, rows, i, panels[p], tile)
            for r in range(count):
                if not found[i + r]:
                    hits = 0
                    for j in range(64):
                        hits += 1 if tile[64 * r + j] <= limits[64 * p + j] else 0
                    if hits > 0:
                        found[i + r] = True
                        settled += 1
            if settled == count:
                break


def precision_recall(real, generated, k: int = 3) -> PrecisionRecall:
    """Compare two clouds by the k-NN balls around their points.

    Each cloud stands for the union of balls that reach from its points to their k-th neighbours
    inside the cloud. Precision is the share of generated points in the real union, recall the share
    of real points in the generated union.

    Parameters
    ----------
    real : (n, d)
    generated : (m, d); the paper takes n = m
    k : >= 1 and smaller than both counts; 3 in the paper

    Returns a PrecisionRecall. Raises ValueError for other shapes or k.
    Cost: O((n + m)^2 d) time, O((n + m) (d + k)) memory.

    Paper: improved-precision-and-recall-metric (Kynkaanniemi et al. 2019, arXiv:1904.06991)
    """
    real = as_matrix("real", real, min_rows=2)
    generated = as_matrix("generated", generated, columns=real.shape[1], min_rows=2)
    k = integer("k", k, low=1, high=min(len(real), len(generated)) - 1)
    return PrecisionRecall(
        float(np.mean(inside(generated, real, knn_radii(real, k)))),
        float(np.mean(inside(real, generated, knn_radii(generated, k)))),
    )


def realism(points, real, k: int = 3, *, prune: bool = True) -> np.ndarray:
    """Score single points: how deep each one lies in the balls of the real cloud.

        R(g) = max_r |r - NN_k(r)| / |g - r|

    R >= 1 means that g lies in some ball. An outlier of the real cloud has a huge ball, which makes
    everything look real; ``prune`` keeps only the smaller half of the balls.

    Parameters: points (n, d); real (m, d); 1 <= k < m; prune.
    Returns (n,), infinite on top of a real point. Cost: O((n + m) m d).

    Paper: improved-precision-and-recall-metric (Kynkaanniemi et al. 2019, arXiv:1904.06991)
    """
    real = as_matrix("real", real, min_rows=2)
    points = as_matrix("points", points, columns=real.shape[1])
    radii = knn_radii(real, k)
    if prune:
        small = radii <= np.median(radii)
        real, radii = np.ascontiguousarray(real[small]), radii[small]
    padded = np.full(-(-len(real) // 64) * 64, -1.0)
    padded[: radii.size] = radii**2
    best = np.zeros(len(points))
    _deepest(_padded_rows(points), _panels(real), padded, best)
    return np.sqrt(best)


@compiled("void(float64[:,::1], float64[:,::1], float64[::1], float64[::1])", fastmath={"contract"})
def _deepest(rows, panels, squared_radii, best):
    n = len(best)
    tile = np.empty(256)
    for i in range(0, n, 4):
        for p in range(panels.shape[0]):
            _measure(SQUARED, rows, i, panels[p], tile)
            for r in range(min(4, n - i)):
                for j in range(64):
                    radius, distance = squared_radii[64 * p + j], tile[64 * r + j]
                    if radius >= 0.0:
                        ratio = np.inf if distance == 0.0 else radius / distance
                        best[i + r] = max(best[i + r], ratio)


def _balls(points, centres, radii):
    points = as_matrix("points", points)
    centres = as_matrix("centres", centres, columns=points.shape[1])
    radii = as_vector("radii", radii, length=len(centres))
    if radii.min() < 0:
        raise ValueError(f"radii must not be negative, got {radii.min():.3g}")
    return points, centres, radii


# ------------------------------------------------------------------------------------------------
# 4. Shape up to rotation, from few samples
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Responses:
    """Two populations of responses to the same stimuli, and the truth about them.

    x, y (n, N), one row a stimulus, with mean 0; singular_values (N,) of S = E[x y^T];
    trace_x, trace_y, the total variances.
    """

    x: np.ndarray
    y: np.ndarray
    singular_values: np.ndarray
    trace_x: float
    trace_y: float

    @property
    def nuclear_norm(self) -> float:
        """The sum of the singular values of S."""
        return float(self.singular_values.sum())


def simulate_responses(n: int, singular_values, rng) -> Responses:
    """Draw two populations of unit variance whose cross-covariance has given singular values.

    x = z and y_i = s_i z_i + sqrt(1 - s_i^2) e_i with independent standard normal z and e, both
    turned by random rotations.

    Parameters: n >= 1 stimuli; singular_values (N,) in [0, 1]; rng, a Generator or an int seed.
    Returns Responses. Cost: O(n N^2 + N^3).
    """
    n, rng = integer("n", n, low=1), as_rng(rng)
    s = as_vector("singular_values", singular_values)
    if s.min() < 0 or s.max() > 1:
        raise ValueError(f"singular_values must lie in [0, 1], got {s.min():.3g} to {s.max():.3g}")
    turns = [np.linalg.qr(rng.standard_normal((s.size, s.size)))[0] for _ in range(2)]
    z, e = rng.standard_normal((2, n, s.size))
    y = s * z + np.sqrt(1 - s**2) * e
    return Responses(z @ turns[0], y @ turns[1], np.sort(s)[::-1], float(s.size), float(s.size))


def plug_in_nuclear_norm(x, y) -> float:
    """Return the sum of the singular values of X^T Y / n, the estimate everyone would try.

    It is biased upwards: noise has singular values too. For independent x and y with unit
    variances and N columns it is about 0.85 N^1.5 / sqrt(n) where 0 would be right.

    Parameters: x (n, N) and y (n, M), centred. Returns a float >= 0. Cost: O(n N M + N^3).

    Paper: estimating-shape-distances-on-neural (Pospisil et al. 2024, arXiv:2310.05742)
    """
    x, y = _paired(x, y, 1)
    return float(np.linalg.svd(x.T @ y / len(x), compute_uv=False).sum())


def spectral_moments(x, y, order: int) -> np.ndarray:
    """Estimate W_p = tr (S S^T)^p, S = E[x y^T], without bias, for p = 1 .. order.

    The product of 2p inner products along a cycle of 2p *distinct* samples,

        (y_1.y_2) (x_2.x_3) (y_3.y_4) ... (x_2p.x_1),

    has the mean W_p. The estimate is the average over all cycles with ascending indices, which are
    paths through the strictly upper triangles A of Y Y^T and B of X X^T:
    W_p = sum_ij [A (B A)^{p-1}]_ij (X X^T)_ij / C(n, 2p). A and B are never formed: A v at i is
    y_i^T (sum_{j > i} y_j v_j^T), a sum that is carried along from the last sample to the first.

    Parameters
    ----------
    x : (n, N), with mean 0
    y : (n, M), with mean 0
    order : P >= 1, with 2 P <= n

    Returns (P,). Raises ValueError for other shapes. Cost: O(P n N (N + M)) time, O(n N) memory.

    Paper: estimating-shape-distances-on-neural (Pospisil et al. 2024, arXiv:2310.05742)
    """
    x, y = _paired(x, y, 2)
    order = integer("order", order, low=1, high=len(x) // 2)
    moments, paths = np.empty(order), x
    for p in range(1, order + 1):
        paths = _later(y, paths if p == 1 else _later(x, paths))
        moments[p - 1] = np.sum(x * paths) / math.comb(len(x), 2 * p)
    return moments


def _later(a: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return triu(a a^T, 1) @ v."""
    out = np.empty_like(v)
    _suffix_product(a, v, out)
    return out


@compiled("void(float64[:,::1], float64[:,::1], float64[:,::1])", fastmath=FAST)
def _suffix_product(a, v, out):
    """Fill out_i = a_i^T sum_{j > i} a_j v_j^T."""
    n, m = v.shape
    carried = np.zeros((a.shape[1], m))
    for i in range(n - 1, -1, -1):
        for c in range(m):
            out[i, c] = 0.0
        for f in range(a.shape[1]):
            factor = a[i, f]
            for c in range(m):
                out[i, c] += factor * carried[f, c]
                carried[f, c] += factor * v[i, c]


def moment_covariance(x, y, order: int, blocks: int = 10) -> np.ndarray:
    """Estimate the covariance of ``spectral_moments`` by leaving out one block at a time.

        (G - 1) / G sum_g (w_g - w)(w_g - w)^T,  w_g without block g of G (the jackknife)

    (A bootstrap would repeat samples, and a cycle must not meet the same sample twice.)

    Parameters: x (n, N) and y (n, M), with mean 0; order P; blocks G from 2 to n.
    Returns (P, P). Cost: G times that of ``spectral_moments``.

    Paper: estimating-shape-distances-on-neural (Pospisil et al. 2024, arXiv:2310.05742)
    """
    x, y = _paired(x, y, 4)
    blocks = integer("blocks", blocks, low=2, high=len(x))
    block = np.arange(len(x)) % blocks
    left = np.array([spectral_moments(x[block != g], y[block != g], order) for g in range(blocks)])
    gaps = left - left.mean(axis=0)
    return (blocks - 1) / blocks * gaps.T @ gaps


def root_polynomial(covariance, limit: float, reach: float, rank: int) -> np.ndarray:
    """Return the polynomial sum_p g_p t^p near sqrt(t) whose moment estimate scatters least.

    minimise g^T Cov g  subject to  rank |sum_p g_p t^p - sqrt(t)| <= limit  on [0, reach].

    On a grid of t this is a quadratic programme with linear constraints, solved exactly as the
    point of a polyhedron that is nearest to 0 (least-distance programming, by one NNLS).

    Parameters
    ----------
    covariance : (P, P) of the moment estimates, symmetric, non-negative
    limit : > 0, the bias that is allowed in the nuclear norm
    reach : > 0, the largest eigenvalue of S S^T to care for
    rank : >= 1, the number of eigenvalues

    Returns g (P,). Raises ValueError when no polynomial of this order keeps to the limit, naming
    the smallest limit. Cost: a linear and a quadratic programme with P unknowns on 200 points.
    Source: Lawson and Hanson (1974), Solving Least Squares Problems, chapter 23.

    Paper: estimating-shape-distances-on-neural (Pospisil et al. 2024, arXiv:2310.05742)
    """
    covariance = symmetric("covariance", covariance)
    limit, reach = positive("limit", limit), positive("reach", reach)
    order, rank = len(covariance), integer("rank", rank, low=1)
    u = np.sin(np.linspace(0, np.pi / 2, 200)[1:]) ** 2  # t = reach u, denser at both ends
    powers = u[:, None] ** np.arange(1, order + 1)
    allowed = limit / (rank * math.sqrt(reach))  # in units of sqrt(reach)
    scale = reach ** np.arange(1, order + 1)  # g_p t^p = (g_p reach^p) u^p
    scaled = covariance / np.outer(scale, scale)
    spread = scaled.diagonal().max()
    if spread <= 0:
        spread, scaled = 1.0, np.zeros_like(scaled)
    # A little on the diagonal keeps the problem strictly convex when moments move together.
    factor = np.linalg.cholesky(scaled / spread + 1e-9 * np.eye(order))
    rows = solve_triangular(factor, np.vstack([powers, -powers]).T, lower=True).T
    bounds = np.concatenate([np.sqrt(u) - allowed, -np.sqrt(u) - allowed])
    system = np.vstack([rows.T, bounds])
    target = np.zeros(order + 1)
    target[-1] = 1.0
    weights, distance = nnls(system, target, maxiter=5000)
    if distance < 1e-6:
        least = smallest_limit(order, reach, rank)
        raise ValueError(
            f"limit must be at least {least:.3g} for moments up to order {order}, got {limit:.3g}"
        )
    gap = system @ weights - target
    nearest = -gap[:-1] / gap[-1]
    return solve_triangular(factor, nearest, lower=True, trans=1) * math.sqrt(reach) / scale


def smallest_limit(order: int, reach: float, rank: int) -> float:
    """Return the least bias limit that a polynomial of this order can keep; see root_polynomial.

    It is rank sqrt(reach) times the best uniform error of sqrt(u) on [0, 1]. Cost: one linear
    programme with order + 1 unknowns.
    """
    order, rank = integer("order", order, low=1), integer("rank", rank, low=1)
    u = np.sin(np.linspace(0, np.pi / 2, 200)[1:]) ** 2
    powers = u[:, None] ** np.arange(1, order + 1)
    ones = np.ones((u.size, 1))
    found = linprog(
        np.append(np.zeros(order), 1.0),
        A_ub=np.block([[powers, -ones], [-powers, -ones]]),
        b_ub=np.concatenate([np.sqrt(u), -np.sqrt(u)]),
        bounds=[(None, None)] * order + [(0, None)],
    )
    return float(found.fun) * rank * math.sqrt(positive("reach", reach))


@dataclass(frozen=True, eq=False)
class MomentEstimate:
    """A nuclear norm from moments: value, spread, what its bias may be, and the polynomial.

    value; standard_error; bias_limit (what the polynomial keeps to); coefficients (P,).
    """

    value: float
    standard_error: float
    bias_limit: float
    coefficients: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """Two standard errors and the allowed bias to each side; a norm is not negative."""
        reach = 2 * self.standard_error + self.bias_limit
        return max(self.value - reach, 0.0), max(self.value + reach, 0.0)


def moment_nuclear_norm(
    moments, covariance, limit: float, reach: float, rank: int
) -> MomentEstimate:
    """Estimate |S|_* = sum sqrt(t) by a polynomial in the moments, sum_p g_p W_p.

    Parameters: moments (P,) and covariance (P, P) from ``spectral_moments`` and
    ``moment_covariance``; limit, reach and rank as in ``root_polynomial``. A small limit gives
    little bias and much scatter, a large one the reverse.
    Returns a MomentEstimate. Raises ValueError as ``root_polynomial`` does.

    Paper: estimating-shape-distances-on-neural (Pospisil et al. 2024, arXiv:2310.05742)
    """
    covariance = symmetric("covariance", covariance)
    moments = as_vector("moments", moments, length=len(covariance))
    g = root_polynomial(covariance, limit, reach, rank)
    spread = math.sqrt(max(float(g @ covariance @ g), 0.0))
    return MomentEstimate(float(g @ moments), spread, float(limit), g)


def shape_distance(
    trace_x: float, trace_y: float, nuclear_norm: float, kind: str = "angular"
) -> float:
    """Return a distance between two responses that no rotation changes.

        "procrustes": sqrt(tr Cx + tr Cy - 2 |S|_*)    "angular": arccos(|S|_* / sqrt(tr Cx tr Cy))

    Parameters: trace_x, trace_y > 0, total variances; nuclear_norm of S = E[x y^T]; kind.
    Returns a float >= 0 (radians for "angular"). Estimates outside their range are clipped.

    Paper: estimating-shape-distances-on-neural (Pospisil et al. 2024, arXiv:2310.05742)
    """
    trace_x, trace_y = positive("trace_x", trace_x), positive("trace_y", trace_y)
    kind = one_of("kind", kind, ("procrustes", "angular"))
    nuclear_norm = _real("nuclear_norm", nuclear_norm, "a finite number")
    if kind == "procrustes":
        return math.sqrt(max(trace_x + trace_y - 2 * nuclear_norm, 0.0))
    return math.acos(min(max(nuclear_norm / math.sqrt(trace_x * trace_y), 0.0), 1.0))


def _paired(x, y, min_rows: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = as_matrix("x", x, min_rows=min_rows), as_matrix("y", y)
    same_length("x", x, "y", y)
    return x, y


# ------------------------------------------------------------------------------------------------
# 5. Spread by nearest neighbours, and a generator that maximises it
# ------------------------------------------------------------------------------------------------


def entropy(x, k: int = 1) -> float:
    """Estimate the differential entropy of a cloud from nearest-neighbour distances, in nats.

        H = psi(n) - psi(k) + log V_d + (d / n) sum_i log r_i

    r_i is the distance to the k-th neighbour, V_d the volume of the unit ball, psi the digamma
    function (Kozachenko and Leonenko 1987).

    Parameters: x (n, d), without points that stand k + 1 times; 1 <= k < n.
    Returns a float. Raises ValueError for repeated points. Cost: O(n^2 d).

    Paper: combating-mode-collapse-in-gans-via-manifold (Liu et al. 2023, arXiv:2208.12055)
    """
    x = as_matrix("x", x, min_rows=2)
    n, d = x.shape
    radii = knn_radii(x, k)
    if radii.min() == 0:
        raise ValueError(f"x must hold no point more than k = {k} times: its entropy is -infinite")
    log_ball = d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)
    return float(digamma(n) - digamma(k) + log_ball + d * np.mean(np.log(radii)))


def buffer_entropy(codes, buffer) -> tuple[float, np.ndarray]:
    """Return the entropy proxy of codes against a buffer of earlier codes, and its gradient.

        H = log mean_i min_b |z_i - b|^2 / q

    It grows when codes keep away from what was produced lately.

    Parameters: codes z (n, q); buffer (B, q).
    Returns H and dH/dz (n, q). Cost: O(n B q).

    Paper: combating-mode-collapse-in-gans-via-manifold (Liu et al. 2023, arXiv:2208.12055)
    """
    codes = as_matrix("codes", codes)
    buffer = as_matrix("buffer", buffer, columns=codes.shape[1])
    value, gradient = _buffer_entropy(codes, buffer)
    if value == -math.inf:
        raise ValueError("codes must differ from the buffer: their entropy is -infinite")
    return value, gradient


def _buffer_entropy(codes, buffer):
    # Which b is nearest to z: |z|^2 is the same for all of them, and left out.
    nearest = np.argmin(np.einsum("bi,bi->b", buffer, buffer) - 2 * codes @ buffer.T, axis=1)
    gaps = codes - buffer[nearest]
    total = float(np.sum(gaps**2))
    return (math.log(total / codes.size) if total else -math.inf), 2 * gaps / max(total, 1e-300)


@dataclass(frozen=True)
class GanSettings:
    """How a small GAN is built and trained.

    entropy : c >= 0, the weight of the entropy terms; 0 is the plain GAN
    locality, linearity : weights of the two regularisers of the embedding
    hidden, codes, noise : units a layer, dimension q of the embedding and of the generator's input
    batch, buffer, critic_steps : sizes, and critic steps a generator step
    step : of Adam
    jitter : standard deviation of the augmentation
    ramp : generator steps over which the entropy's weight grows to c
    gain : largest singular value that every critic layer is scaled to; None leaves them alone
    """

    entropy: float = 0.0
    locality: float = 0.02
    linearity: float = 0.02
    hidden: int = 32
    codes: int = 4
    noise: int = 4
    batch: int = 64
    buffer: int = 256
    critic_steps: int = 1
    step: float = 7e-4
    jitter: float = 0.02
    ramp: int = 50
    gain: float | None = 2.0

    def __post_init__(self):
        for name in ("entropy", "locality", "linearity", "jitter"):
            nonnegative(name, getattr(self, name))
        for name in ("hidden", "codes", "noise", "buffer", "critic_steps", "ramp"):
            integer(name, getattr(self, name), low=1)
        integer("batch", self.batch, low=2)
        positive("step", self.step)
        if self.gain is not None:
            positive("gain", self.gain)


class EntropyGan:
    """A GAN whose critic is an embedding, with nearest-neighbour entropy against mode collapse.

    The critic D sends a point to a code z in R^q, drawn as mu + sigma o noise, its layers divided
    by their largest singular values. Its loss has four terms:

    1. -mean z(real) + mean z(fake), the distance of the two mean codes;
    2. locality: |z(x) - z(x + jitter)|^2, the second code held fixed;
    3. linearity: |z(a x + (1 - a) g) - (a z(x) + (1 - a) z(g) + noise)|^2 along random chords
       between real x and fake g, the second code held fixed;
    4. -c H of the real codes against a buffer of the last real codes.

    The generator's loss is -mean z(fake) - c H of its codes against a buffer of its own.

    Parameters: data (n, d), inside [-1, 1] because the generator ends in tanh; settings, a
    GanSettings; rng, a Generator or an int seed.
    Cost of ``step``: (critic_steps + 1) forward and backward passes of both networks.

    Paper: combating-mode-collapse-in-gans-via-manifold (Liu et al. 2023, arXiv:2208.12055)
    """

    def __init__(self, data, settings: GanSettings, rng):
        self.data = as_matrix("data", data)
        if np.abs(self.data).max() > 1:
            raise ValueError(
                f"data must lie in [-1, 1], got a value of size {np.abs(self.data).max():.3g}"
            )
        if not isinstance(settings, GanSettings):
            raise ValueError(f"settings must be GanSettings, got {type(settings).__name__}")
        self.settings, self.rng, self.steps = settings, as_rng(rng), 0
        s, d = settings, self.data.shape[1]
        self.generator = _Network([s.noise, s.hidden, s.hidden, d], s.step, self.rng)
        self.critic = _Network([d, s.hidden, s.hidden, 2 * s.codes], s.step, self.rng)
        self.critic.layers[-1][1][s.codes :] = -2.0  # the codes start with little noise
        self._directions = [self.rng.standard_normal(w.shape[1]) for w, _ in self.critic.layers]
        self.real_buffer, self.fake_buffer = self.rng.uniform(-1, 1, (2, s.buffer, s.codes))

    @property
    def weight(self) -> float:
        """The entropy's weight now: it grows from 0 to c over the first steps."""
        return self.settings.entropy * min(self.steps / self.settings.ramp, 1.0)

    def sample(self, n: int, rng) -> np.ndarray:
        """Return n points (n, d) of the generator as it is now."""
        noise = as_rng(rng).standard_normal((integer("n", n, low=1), self.settings.noise))
        return np.tanh(_forward(self.generator.layers, noise)[-1])

    def step(self) -> None:
        """Take the critic's steps and one step of the generator."""
        for _ in range(self.settings.critic_steps):
            self._critic_step()
        self._generator_step()
        self.steps += 1

    def train(self, steps: int, every: int = 25) -> Iterator[float]:
        """Take ``steps`` steps, yielding the share done after every ``every`` of them."""
        steps, every = integer("steps", steps, low=1), integer("every", every, low=1)
        for i in range(1, steps + 1):
            self.step()
            if i % every == 0 or i == steps:
                yield i / steps

    def _critic_step(self) -> None:
        s, rng = self.settings, self.rng
        real = self.data[rng.integers(len(self.data), size=s.batch)]
        fake = self.sample(s.batch, rng)
        a = rng.standard_normal((s.batch, 1))
        layers = self._normalised()
        points = np.vstack([real, fake, a * real + (1 - a) * fake])
        outputs = _forward(layers, points)
        codes, noise, sigma = self._codes(outputs[-1])
        z_real, z_fake, z_mix = np.split(codes, 3)
        moved = points[: 2 * s.batch] + s.jitter * rng.standard_normal((2 * s.batch, fake.shape[1]))
        z_moved = self._codes(_forward(layers, moved)[-1])[0]
        chord = a * z_real + (1 - a) * z_fake + s.jitter * rng.standard_normal(z_real.shape)
        pull = np.full_like(z_real, 1.0 / z_real.size)
        slope = 2 * s.locality / s.batch * (codes[: 2 * s.batch] - z_moved)
        slope = np.vstack([slope, 2 * s.linearity / s.batch * (z_mix - chord)])
        slope[: s.batch] -= pull
        slope[s.batch : 2 * s.batch] += pull
        if self.weight:
            slope[: s.batch] -= self.weight * _buffer_entropy(z_real, self.real_buffer)[1]
        gradients, _ = _backward(layers, outputs, np.hstack([slope, slope * noise * sigma]))
        self.critic.update(self._through_norms(gradients, layers))
        self.real_buffer = np.vstack([self.real_buffer[s.batch :], z_real])[-s.buffer :]

    def _generator_step(self) -> None:
        s = self.settings
        noise = self.rng.standard_normal((s.batch, s.noise))
        made = _forward(self.generator.layers, noise)
        fake = np.tanh(made[-1])
        layers = self._normalised()
        outputs = _forward(layers, fake)
        codes, code_noise, sigma = self._codes(outputs[-1])
        slope = np.full_like(codes, -1.0 / codes.size)
        if self.weight:
            slope -= self.weight * _buffer_entropy(codes, self.fake_buffer)[1]
        _, at_points = _backward(layers, outputs, np.hstack([slope, slope * code_noise * sigma]))
        gradients, _ = _backward(self.generator.layers, made, at_points * (1 - fake**2))
        self.generator.update(gradients)
        self.fake_buffer = np.vstack([self.fake_buffer[s.batch :], codes])[-s.buffer :]

    def _codes(self, output: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw z = mu + sigma o noise; return z, noise and sigma."""
        mean, log_sigma = np.hsplit(output, 2)
        noise = self.rng.standard_normal(mean.shape)
        sigma = np.exp(np.minimum(log_sigma, 2.0))
        return mean + sigma * noise, noise, sigma

    def _normalised(self) -> list:
        """Return the critic's layers divided by their largest singular values, roughly."""
        if self.settings.gain is None:
            return self.critic.layers
        layers = []
        self._singular = []
        for i, (w, b) in enumerate(self.critic.layers):
            u = w @ self._directions[i]  # one step of the power iteration, from where it stood
            u /= np.linalg.norm(u)
            v = w.T @ u
            sigma = np.linalg.norm(v)
            v /= sigma
            sigma /= self.settings.gain
            self._directions[i] = v
            self._singular.append((sigma, u, v))
            layers.append((w / sigma, b))
        return layers

    def _through_norms(self, gradients, layers) -> list:
        """Carry gradients from the divided weights W / sigma(W) back to W."""
        if self.settings.gain is None:
            return gradients
        carried = []
        for (dw, db), (w, _), (sigma, u, v) in zip(gradients, layers, self._singular, strict=True):
            along = np.sum(dw * w) / self.settings.gain
            carried.append(((dw - along * np.outer(u, v)) / sigma, db))
        return carried


_LEAK = 0.2  # slope of the units where they are off


class _Network:
    """Layers (W (in, out), b (out,)) that are views of one vector, and Adam for that vector."""

    def __init__(self, sizes, step: float, rng):
        shapes = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.vector = np.zeros(sum((n + 1) * m for n, m in shapes))
        self.layers, start = [], 0
        for n, m in shapes:
            w = self.vector[start : start + n * m].reshape(n, m)
            # As wide as keeps the variance through leaky units.
            w[:] = rng.standard_normal((n, m)) * math.sqrt(2 / ((1 + _LEAK**2) * n))
            start += (n + 1) * m
            self.layers.append((w, self.vector[start - m : start]))
        self._adam = Adam(self.vector, step=step, decay=(0.5, 0.9))

    def update(self, gradients) -> None:
        """Take a step down, on round numbers.

        Training magnifies the last bits, in which processors differ. Nine decimals of the slope and
        six of the weights are kept: what differs is rounded away before it can grow.
        """
        slope = np.concatenate([part.ravel() for layer in gradients for part in layer])
        self._adam.update(np.round(slope, 9))
        np.round(self.vector, 6, out=self.vector)


def _forward(layers, x) -> list[np.ndarray]:
    """Return the input, the hidden units of every layer, and the linear output."""
    outputs = [x]
    for i, (w, b) in enumerate(layers):
        x = x @ w + b
        if i < len(layers) - 1:
            x = np.maximum(x, _LEAK * x)
        outputs.append(x)
    return outputs


def _backward(layers, outputs, slope) -> tuple[list, np.ndarray]:
    """Return the gradients of all layers, and at the input, from the slope at the output."""
    gradients = []
    for i in range(len(layers) - 1, -1, -1):
        w, _ = layers[i]
        gradients.append((outputs[i].T @ slope, slope.sum(axis=0)))
        slope = slope @ w.T
        if i:
            slope *= _LEAK + (1 - _LEAK) * (outputs[i] > 0)
    return gradients[::-1], slope


def modes_found(points, centres, radius: float, share: float = 0.25) -> tuple[int, float]:
    """Count the modes that a generator reaches, and the share of its points near any mode.

    A mode counts when at least ``share`` times its fair part of the points lies within ``radius``.

    Parameters: points (n, d); centres (m, d); radius > 0; share in (0, 1].
    Returns the number of modes and the share of points on a mode. Cost: O(n m d).
    """
    points = as_matrix("points", points)
    centres = as_matrix("centres", centres, columns=points.shape[1])
    radius = positive("radius", radius)
    if between("share", share, 0, 1) == 0:
        raise ValueError(f"share must be above 0, or every mode counts, got {share}")
    gaps = np.sum((points[:, None, :] - centres) ** 2, axis=2)
    nearest, near = gaps.argmin(axis=1), gaps.min(axis=1) <= radius**2
    counts = np.bincount(nearest[near], minlength=len(centres))
    return int(np.sum(counts >= share * len(points) / len(centres))), float(near.mean())


# ------------------------------------------------------------------------------------------------
# 6. All measures at once
# ------------------------------------------------------------------------------------------------


def report(real, generated, *, k: int = 3, bandwidth: float) -> dict[str, float]:
    """Compare two clouds by FID, squared MMD, precision, recall and the gain in entropy.

    Parameters: real (n, d) and generated (m, d); k of the balls; bandwidth of the kernel.
    Returns the five numbers by name; "entropy" is that of the generated cloud minus the real one's.
    Cost: O((n + m)^2 d + d^3).
    """
    real, generated = _clouds(real, generated, 3)
    balls = precision_recall(real, generated, k)
    return {
        "FID": fid(real, generated),
        "MMD²": mmd_squared(real, generated, Gaussian(positive("bandwidth", bandwidth))),
        "precision": balls.precision,
        "recall": balls.recall,
        "entropy": entropy(generated, k) - entropy(real, k),
    }


def alarm(found: Mapping[str, float], same_law: list[Mapping[str, float]]) -> dict[str, float]:
    """Say how far measures stand from what two samples of one law show, in standard deviations.

        |value - mean of the same-law values| / their standard deviation

    Parameters: found, a ``report``; same_law, at least three reports of pairs from one law, of the
    same sizes. Returns a number >= 0 for each measure: below 3 nothing is proved.
    Raises ValueError for a measure that is missing there, is no finite number, or never varies
    there though the value differs: without a spread, no distance can be told.
    """
    if not isinstance(found, Mapping):
        raise ValueError(f"found must be a report, got {type(found).__name__}")
    if not isinstance(same_law, list | tuple) or len(same_law) < 3:
        came = len(same_law) if isinstance(same_law, list | tuple) else type(same_law).__name__
        raise ValueError(f"same_law must be a list of at least 3 reports, got {came}")
    return {name: _standing(name, value, same_law) for name, value in found.items()}


def _standing(name: str, value: float, same_law) -> float:
    """Return how many standard deviations one measure lies from its same-law mean."""
    value = _real(f"found[{name!r}]", value, "a finite number")
    if not all(isinstance(other, Mapping) and name in other for other in same_law):
        raise ValueError(f"same_law must be reports that all hold {name!r}, as found does")
    null = as_vector(f"same_law[...][{name!r}]", [other[name] for other in same_law])
    if np.ptp(null) == 0:
        if value == null[0]:
            return 0.0
        raise ValueError(
            f"same_law must show some spread in {name!r}, got {null[0]:.3g} each time; "
            "take more points or another k"
        )
    return float(abs(value - null.mean()) / null.std(ddof=1))
