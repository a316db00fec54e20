"""Fast kernel sums: against direct sums, closed forms, brute force and peers."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.spatial.distance import cdist

from kernellab.compute.kernels import Gaussian
from kernellab.compute.rates import log_log_slope
from kernellab.methods.random_features import fast_kernel_sums as fks
from tests.naive import fast_kernel_sums as naive

RNG = np.random.default_rng(0)
POINTS = RNG.random((60, 2))
CHARGES = RNG.standard_normal(60)


def kernels(length=0.2):
    return [fks.RadialKernel(name, length) for name in fks.PROFILES]


# --- 1. the sum itself ---------------------------------------------------------------------------


@pytest.mark.compiled
@pytest.mark.parametrize("kernel", kernels(), ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("dimension", [1, 2])
def test_direct_sum(kernel, dimension):
    x, y = POINTS[:20, :dimension], POINTS[:, :dimension]
    want = naive.kernel_sum(kernel.name, kernel.length, x, y, CHARGES)
    assert np.allclose(kernel.matvec(x, y, CHARGES), want, rtol=1e-12, atol=1e-12)
    assert np.allclose(kernel.gram(x, y) @ CHARGES, want, rtol=1e-12, atol=1e-12)
    assert np.allclose(kernel.gram(y) @ CHARGES, kernel.matvec(y, None, CHARGES), rtol=1e-11)


@pytest.mark.compiled
def test_direct_sum_of_more_than_one_batch():
    x = RNG.random((1500, 2))
    v = RNG.standard_normal(1500)
    want = np.exp(-(cdist(x[:9], x) ** 2) / (2 * 0.1**2)) @ v
    assert np.allclose(fks.RadialKernel("gaussian", 0.1).matvec(x[:9], x, v), want)


@pytest.mark.compiled
def test_waves_far_away():
    x, y = np.array([[0.0]]), np.geomspace(1e-3, 1e5, 400)[:, None]
    want = np.cos(y[:, 0]) / y[:, 0]
    got = fks.RadialKernel("oscillating").gram(x, y)[0]
    assert np.abs(got - want).max() < 1e-12 * 1e3 and np.abs((got - want) * y[:, 0]).max() < 1e-10


# --- 2. interpolation and multipoles -------------------------------------------------------------


@pytest.mark.compiled
@pytest.mark.parametrize("kernel", kernels(0.5), ids=lambda kernel: kernel.name)
def test_greedy_choice(kernel):
    matrix = kernel.gram(POINTS[:40] + [2, 0], POINTS[40:])
    rows, columns, errors = naive.greedy(matrix, 1e-6)
    found = fks.empirical_interpolation(matrix, 1e-6)
    assert np.array_equal(found.rows, rows) and np.array_equal(found.columns, columns)
    assert np.allclose(found.errors, errors, rtol=1e-5, atol=1e-12 * errors[0])


@pytest.mark.compiled
def test_greedy_choice_is_exact_on_low_rank_and_on_its_points():
    for rank in (1, 3, 6):
        matrix = RNG.standard_normal((30, rank)) @ RNG.standard_normal((rank, 20))
        assert fks.empirical_interpolation(matrix, 1e-10).rank == rank
    assert fks.empirical_interpolation(np.zeros((4, 3)), 0.0).rank == 0
    assert fks.empirical_interpolation(RNG.random((9, 9)), 0.0, max_rank=4).rank == 4
    kernel = fks.RadialKernel("1/r")
    x, y = POINTS[:30] + [2, 0], POINTS[30:]
    found = fks.empirical_interpolation(kernel.gram(x, y), 1e-4)
    rebuilt = fks.interpolated(kernel, x, y, found, x, y)
    gram = kernel.gram(x, y)
    assert np.allclose(rebuilt[found.rows], gram[found.rows], rtol=1e-9)
    assert np.allclose(rebuilt[:, found.columns], gram[:, found.columns], rtol=1e-9)
    assert np.isclose(np.abs(rebuilt - gram).max(), found.errors[-1], rtol=1e-6)


def box_pair(offset, side):
    grid = np.linspace(-0.5, 0.5, side)
    sources = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    return sources + [offset, 0], sources


@pytest.mark.parametrize("kernel", kernels(0.8), ids=lambda kernel: kernel.name)
def test_estimate_off_the_grid_and_the_number_of_points(kernel):
    at, sources = box_pair(2, 12)
    off_at, off_sources = RNG.uniform(-0.5, 0.5, (2, 400, 2))
    off_at = off_at + [2, 0]
    gram = kernel.gram(at, sources)
    found = fks.empirical_interpolation(gram, 1e-6)
    rebuilt = fks.interpolated(kernel, at, sources, found, off_at, off_sources)
    true = np.abs(kernel.gram(off_at, off_sources) - rebuilt).max()
    assert 1 / 3 < found.errors[-1] / true < 3
    assert fks.rank_for(gram, 1e-6) <= found.rank
    order = 1
    while fks.chebyshev_error(kernel, order, off_at, off_sources) > 1e-6 * np.abs(gram).max():
        order += 1
    assert found.rank / order**2 <= 0.45


def test_rank_explodes_when_boxes_touch():
    kernel = fks.RadialKernel("1/r")
    ranks = [
        fks.empirical_interpolation(kernel.gram(*box_pair(offset, 14)), 1e-6).rank
        for offset in (1.0, 2.0)
    ]
    assert ranks[0] > 2 * ranks[1]


def test_chebyshev_is_exact_for_polynomials_and_at_its_nodes():
    kernel = fks.RadialKernel("gaussian", 3.0)
    at, sources = box_pair(2, 9)
    errors = [fks.chebyshev_error(kernel, order, at, sources) for order in (2, 4, 8, 12)]
    assert all(b < a / 10 for a, b in zip(errors, errors[1:], strict=False))
    node = np.cos(np.pi / 6) / 2
    assert fks.chebyshev_error(kernel, 3, at, np.array([[node, -node], [0.0, node]])) < 1e-12


@pytest.mark.compiled
@pytest.mark.parametrize("kernel", kernels(0.1), ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-8])
def test_multipole_sum(kernel, dimension, tolerance):
    x = np.random.default_rng(1).random((1200, dimension))
    v = np.random.default_rng(2).standard_normal(1200)
    want = kernel.matvec(x, None, v)
    for depth in (None, 0, 1, 2, 4):
        plan = fks.Multipole(kernel, x, tolerance, depth)
        error = np.linalg.norm(plan.sum(v) - want) / np.linalg.norm(want)
        assert error < (1e-12 if plan.depth < 2 else 10 * tolerance)


@pytest.mark.compiled
def test_multipole_on_clusters_lines_and_twins():
    kernel, rng = fks.RadialKernel("log"), np.random.default_rng(3)
    centres = rng.random((4, 2)).repeat(300, axis=0)
    clusters = centres + 0.01 * rng.standard_normal((1200, 2))
    line = np.column_stack([rng.random(800), np.full(800, 0.5)])
    twins = np.repeat(rng.random((100, 2)), 4, axis=0)
    for x in (clusters, line, twins, rng.random((3, 2)), np.ones((5, 2))):
        v = rng.standard_normal(len(x))
        want = kernel.matvec(x, None, v)
        got = fks.Multipole(kernel, x, 1e-6).sum(v)
        assert np.abs(got - want).max() <= 1e-5 * max(np.abs(want).max(), 1e-300)


@pytest.mark.compiled
def test_near_field_and_boxes():
    kernel = fks.RadialKernel("1/r")
    x, v = np.random.default_rng(4).random((400, 2)), np.random.default_rng(5).standard_normal(400)
    plan = fks.Multipole(kernel, x, 1e-4, depth=3)
    out = np.zeros(400)
    fks._near(2, 1.0, plan._sorted, v[plan._order], plan._starts, plan._leaf_cells, 1, out)
    want = naive.near_sum(kernel, x, v, plan.low, plan.size, 3)
    assert np.allclose(out, want[plan._order], rtol=1e-10, atol=1e-8)
    boxes = plan.boxes(3)
    assert np.abs(x[:, None] - boxes[None]).max(axis=2).min(axis=1).max() <= plan.size / 16 * 1.01
    assert len(plan.boxes(0)) == 1 and len(plan.ranks) == 2 and len(plan.errors) == 2


@pytest.mark.compiled
def test_skeleton_stands_for_its_box():
    for kernel in kernels(0.3):
        skeleton = fks.box_skeleton(kernel, 0.1, 2.0, 1e-6)
        y = RNG.uniform(-0.1, 0.1, (50, 2))
        far = RNG.uniform(-2, 2, (400, 2))
        far = far[np.abs(far).max(axis=1) > 0.3]
        charges = skeleton.charges(kernel.gram(skeleton.checks, y))
        scale = 1.0 if kernel.name in ("gaussian", "matern") else np.abs(kernel.gram(far, y)).max()
        error = np.abs(kernel.gram(far, y) - kernel.gram(far, skeleton.points) @ charges).max()
        assert error < 5e-6 * scale and skeleton.error <= 1e-6


@pytest.mark.compiled
@pytest.mark.parametrize("length", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("dimension", [1, 2])
def test_smooth_sum(length, dimension):
    x, v = RNG.random((1300, dimension)), RNG.standard_normal(1300)
    kernel = fks.RadialKernel("gaussian", length)
    want = kernel.matvec(x, None, v)
    for tolerance in (1e-3, 1e-6, 1e-9):
        plan = fks.SmoothSum(kernel, x, tolerance)
        error = np.linalg.norm(plan.sum(v) - want) / np.linalg.norm(want)
        assert error < 10 * tolerance and plan.error <= tolerance
    assert plan.evaluations == 4 * 1300 * plan.rank
    few = fks.SmoothSum(kernel, x[:50], 1e-3)
    assert np.allclose(few.sum(v[:50]), kernel.matvec(x[:50], None, v[:50]))
    assert few.evaluations == 2500


def test_work_of_multipole_grows_like_n():
    kernel, sizes = fks.RadialKernel("log"), [2000, 4000, 8000, 16000, 32000, 64000]
    work = [fks.Multipole(kernel, RNG.random((n, 2)), 1e-3).evaluations for n in sizes]
    assert log_log_slope(sizes, work) < 1.15
    assert work[-1] < 0.02 * sizes[-1] ** 2


def test_multipole_agrees_with_fmm3dpy():
    fmm3dpy = pytest.importorskip("fmm3dpy")
    x, v = RNG.random((700, 2)), RNG.standard_normal(700)
    sources = np.asfortranarray(np.column_stack([x, np.zeros(700)]).T)
    peer = fmm3dpy.lfmm3d(eps=1e-9, sources=sources, charges=v, pg=1).pot
    ours = fks.Multipole(fks.RadialKernel("1/r"), x, 1e-8).sum(v)
    peer = 4 * np.pi * peer  # its kernel is 1 / (4 pi r)
    assert np.linalg.norm(peer - ours) < 1e-6 * np.linalg.norm(ours)


# --- 3. heavy entries and samples ----------------------------------------------------------------

QUERIES, KEYS, X = fks.tokens(150, 6, 12, 0.3, 0)
GAUSSIAN = Gaussian(0.8)
GRAM = GAUSSIAN.gram(QUERIES, KEYS)


def test_heavy_entries_and_markov():
    for threshold in (0.01, 0.3, 1.0):
        heavy = fks.heavy_entries(GAUSSIAN, QUERIES, KEYS, threshold)
        assert np.array_equal(heavy.toarray(), np.where(threshold > GRAM, 0.0, GRAM))
        mass = fks.mass_per_row(GAUSSIAN, QUERIES, KEYS)
        assert np.isclose(mass, GRAM.sum() / 150)
        assert heavy.nnz <= mass * 150 / threshold


def test_collision_probability_by_integration_and_by_drawing():
    for distance in (0.3, 1.0, 4.0):
        ratio = 1.5 / distance

        def density(s, ratio=ratio):
            return 2 * stats.norm.pdf(s) * (1 - s / ratio)

        assert np.isclose(fks.collision_probability(distance, 1.5), quad(density, 0, ratio)[0])
        rng = np.random.default_rng(0)
        a, b = rng.standard_normal(100_000) * distance, rng.uniform(0, 1.5, 100_000)
        met = np.floor(b / 1.5) == np.floor((a + b) / 1.5)
        assert abs(met.mean() - fks.collision_probability(distance, 1.5)) < 4 * 0.5 / math.sqrt(1e5)


@pytest.mark.compiled
def test_hash_tables_find_what_shares_a_bucket():
    tables = fks.HashTables(KEYS, 2.0, 3, 4, 1)
    slabs = [np.floor(p @ tables._directions.T + tables._shifts) for p in (QUERIES, KEYS)]
    pairs = naive.bucket_pairs(*slabs, 3)
    heavy, looked = tables.heavy(QUERIES, 0.8, 0.05)
    want = {(i, j) for i, j in pairs if GRAM[i, j] >= 0.05}
    rows, columns = heavy.nonzero()
    found = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert want == found
    assert np.allclose(heavy[rows, columns], GRAM[rows, columns])
    assert looked == len(pairs)
    sure, looked = fks.HashTables(KEYS, 1e6, 1, 1, 0).heavy(QUERIES, 0.8, 0.05)
    assert looked >= 0.99 * 150**2 and sure.nnz == (GRAM >= 0.05).sum()


@pytest.mark.compiled
def test_recall_is_what_the_formula_says():
    rng = np.random.default_rng(2)
    keys = rng.standard_normal((4000, 8)) * 100
    step = rng.standard_normal((4000, 8))
    queries = keys + 1.5 * step / np.linalg.norm(step, axis=1, keepdims=True)
    tables = fks.HashTables(keys, 4.0, 5, 6, 3)
    heavy, _ = tables.heavy(queries, 1.0, 0.1)
    found = heavy.diagonal().astype(bool).mean()
    # All queries share the projections, so their finds are correlated: a wide margin.
    assert abs(found - float(tables.recall(1.5))) < 0.12


def test_sampling_is_unbiased_with_any_heavy_part_and_its_error_is_the_closed_form():
    heavy = fks.heavy_entries(GAUSSIAN, QUERIES, KEYS, 0.1)
    half = heavy.copy()
    half.data[::2] = 0.0  # a search that missed half of them
    half.eliminate_zeros()
    exact = GRAM @ X
    for part in (None, heavy, half):
        runs = np.array(
            [
                fks.sampled_matvec(GAUSSIAN, QUERIES, KEYS, X, 40, seed, part) - exact
                for seed in range(400)
            ]
        )
        light = GRAM if part is None else GRAM - part.toarray()
        predicted = fks.sampling_error(light, X, 40)
        measured = np.sqrt((runs**2).sum(axis=1).mean())
        assert abs(measured / predicted - 1) < 0.15
        assert np.linalg.norm(runs.mean(axis=0)) < 3 * predicted / math.sqrt(400)
    light = GRAM - heavy.toarray()
    mass = fks.mass_per_row(GAUSSIAN, QUERIES, KEYS)
    assert fks.sampling_error(light, X, 40) <= math.sqrt(0.1 * mass * 150 / 40) * np.linalg.norm(X)


def test_sampled_charges():
    w = np.mean([fks.sampled_charges(X, 30, seed) for seed in range(3000)], axis=0)
    assert np.abs(w - X).max() < 0.35 * np.abs(X).max()
    assert np.count_nonzero(fks.sampled_charges(X, 5, 0)) <= 5
    one = fks.sampled_charges([0.0, -2.0, 0.0], 7, 0)
    assert np.array_equal(one, [0.0, -2.0, 0.0])
    everything = fks.heavy_entries(GAUSSIAN, QUERIES, KEYS, 1e-300)
    got = fks.sampled_matvec(GAUSSIAN, QUERIES, KEYS, X, 3, 0, everything)
    assert np.allclose(got, GRAM @ X)


# --- 4. private sums -----------------------------------------------------------------------------


@pytest.mark.compiled
def test_tree_queries():
    counts = RNG.integers(0, 9, 64).astype(float)
    nodes = fks.tree_counts(counts)
    assert nodes[1] == counts.sum()
    values = np.repeat((np.arange(64) + 0.5) / 64, counts.astype(int))
    tree = fks.PrivateTree(values, math.inf, 0, 1, 64, 0)
    assert np.array_equal(tree.nodes, nodes) and tree.total == counts.sum()
    for first in range(0, 64, 5):
        for last in range(first, 65, 3):
            total, touched = naive.interval(nodes, first, last)
            assert tree.count(first, last) == total
            assert tree.nodes_touched(first, last) == touched <= 12


def test_one_point_changes_one_node_a_level():
    x = RNG.random(50)
    full = fks.PrivateTree(x, math.inf, 0, 1, 256, 0)
    for left_out in range(0, 50, 7):
        less = fks.PrivateTree(np.delete(x, left_out), math.inf, 0, 1, 256, 0)
        assert np.abs(full.nodes - less.nodes).sum() == 9 == full.levels


def test_noise_is_laplace_of_the_promised_scale():
    tree = fks.PrivateTree(RNG.random(10), 0.5, 0, 1, 4096, 1)
    clean = fks.PrivateTree(RNG.random(10), math.inf, 0, 1, 4096, 1)
    noise = tree.nodes[1:] - np.round(tree.nodes[1:] * 0)
    assert tree.scale == 13 / 0.5 and clean.scale == 0
    assert stats.kstest(noise[2000:], stats.laplace(scale=26).cdf).pvalue > 1e-3


@pytest.mark.compiled
@pytest.mark.parametrize("profile", fks.DISTANCE_PROFILES)
def test_shell_sums(profile):
    x = RNG.beta(2, 5, 400)
    tree = fks.PrivateTree(x, math.inf, 0, 1, 128, 0)
    f = {
        "distance": lambda r: r,
        "exponential": lambda r: math.exp(-r / 0.3),
        "reciprocal": lambda r: 1 / (1 + r / 0.3),
    }[profile]
    y = np.array([-0.2, 0.0, 0.2501, 0.77, 1.0, 1.3])
    for growth in (0.0, 0.3, 2.0):
        got, deviation = tree.sums(y, growth, profile, 0.3)
        counts = tree.nodes[128:]
        want = [naive.shell_sum(counts, p * 128, growth, lambda r: f(r / 128)) for p in y]
        assert np.allclose(got, want) and (deviation == 0).all()
    exact = np.array([sum(f(abs(a - p)) for a in x) for p in y])
    fine, _ = fks.PrivateTree(x, math.inf, 0, 1, 8192, 0).sums(y, 0.0, profile, 0.3)
    assert np.allclose(fine, exact, rtol=1e-3)


@pytest.mark.compiled
def test_values_and_questions_far_outside_of_the_range():
    tree = fks.PrivateTree([-1e300, 0.2, 1e300], math.inf, 0, 1, 8, 0)
    assert tree.count(0, 1) == 1 and tree.count(7, 8) == 1 and tree.total == 3
    values, _ = tree.sums([-1e6, 1e6], 0.1)
    assert np.allclose(values, 3e6, rtol=1e-5)


@pytest.mark.compiled
def test_deviation_of_a_private_sum():
    y = np.array([0.1, 0.5])
    runs = np.array([fks.PrivateTree([0.5], 1.0, 0, 2, 64, s).sums(y, 0.2)[0] for s in range(1500)])
    deviation = fks.PrivateTree([0.5], 1.0, 0, 2, 64, 0).sums(y, 0.2)[1]
    assert np.abs(runs.std(axis=0) / deviation - 1).max() < 0.12


def test_private_distances_and_kernel_sums_without_noise():
    x, y = RNG.uniform(-1, 1, (300, 3)), RNG.uniform(-1, 1, (20, 3))
    exact = np.abs(x[None] - y[:, None]).sum(axis=(1, 2))
    distances = fks.PrivateDistances(x, math.inf, -1, 1, 4096, 0)
    assert np.allclose(distances.sums(y, 0.0), exact, rtol=2e-3) and distances.total == 300
    v = np.where(RNG.random(300) < 0.5, -1.0, 1.0)
    sums = fks.PrivateKernelSums(x, 0.7, 20_000, math.inf, 0, v)
    want = Gaussian(0.7).gram(y, x) @ v
    assert np.abs(sums.sums(y) - want).max() < 5 * np.linalg.norm(v) * 300**0.5 / math.sqrt(20_000)
    assert sums.total == 300


def test_sensitivity_of_the_feature_vector():
    x = RNG.standard_normal((30, 4))
    for m in (5, 50):
        full = fks.PrivateKernelSums(x, 1.0, m, math.inf, 3)
        less = fks.PrivateKernelSums(x[1:], 1.0, m, math.inf, 3)
        assert np.abs(full.vector - less.vector).sum() + 1 <= math.sqrt(2 * m) + 1
        assert fks.PrivateKernelSums(x, 1.0, m, 2.0, 3).scale == (math.sqrt(2 * m) + 1) / 2
    noisy = fks.PrivateKernelSums(x, 1.0, 4000, 1.0, 5, noise=6)
    noise = noisy.vector - fks.PrivateKernelSums(x, 1.0, 4000, math.inf, 5).vector
    assert stats.kstest(noise, stats.laplace(scale=noisy.scale).cdf).pvalue > 1e-3


def test_releases_with_the_same_features_have_noise_of_their_own():
    x = RNG.standard_normal((30, 4))
    clean = fks.PrivateKernelSums(x, 1.0, 500, math.inf, 3)
    noise, y = np.random.default_rng(0), RNG.standard_normal((5, 4))
    for source in (None, noise):
        first, second = (fks.PrivateKernelSums(x, 1.0, 500, 1.0, 3, noise=source) for _ in range(2))
        errors = np.array([first.vector - clean.vector, second.vector - clean.vector])
        assert abs(np.corrcoef(errors)[0, 1]) < 0.3 and first.total != second.total
        assert np.array_equal(first._frequencies, second._frequencies)
    again = [fks.PrivateKernelSums(x, 1.0, 50, 1.0, 3, noise=8).sums(y) for _ in range(2)]
    assert np.array_equal(*again)


@pytest.mark.compiled
@pytest.mark.parametrize("profile", fks.DISTANCE_PROFILES)
def test_flat_histogram(profile):
    x, y = RNG.beta(2, 5, 300), np.array([-0.3, 0.2, 0.71, 1.4])
    f = {
        "distance": lambda r: r,
        "exponential": lambda r: np.exp(-r / 0.3),
        "reciprocal": lambda r: 1 / (1 + r / 0.3),
    }[profile]
    counts = np.bincount((x * 50).astype(int), minlength=50)
    want = f(np.abs(y[:, None] - (np.arange(50) + 0.5) / 50))
    got, deviation = fks.PrivateHistogram(x, math.inf, 0, 1, 50, 0).sums(y, profile, 0.3)
    assert np.allclose(got, want @ counts) and (deviation == 0).all()
    runs = [fks.PrivateHistogram(x, 0.5, 0, 1, 50, s).sums(y, profile, 0.3) for s in range(1500)]
    deviation = runs[0][1]
    assert np.allclose(deviation, math.sqrt(8) * np.linalg.norm(want, axis=1))
    assert np.abs(np.std([run[0] for run in runs], axis=0) / deviation - 1).max() < 0.12


def test_products_between_boxes():
    for points in (RNG.random((700, 2)), RNG.random((700, 2)) ** 4, RNG.random((400, 1))):
        plan = fks.Multipole(fks.RadialKernel("log"), points, 1e-2, depth=4)
        want, above = 2 * len(plan.boxes(4)) * plan.ranks[-1] ** 2, None
        for level, rank in zip(range(2, 5), plan.ranks, strict=True):
            cells = (plan.boxes(level) - plan.low) * 2**level // plan.size
            if points.shape[1] == 1:
                cells[:, 1] = 0
            gaps = np.abs(cells[:, None] - cells).max(axis=2)
            parents = np.abs(cells[:, None] // 2 - cells // 2).max(axis=2)
            want += np.count_nonzero((gaps > 1) & (parents <= 1)) * rank**2
            if above is not None:
                want += 2 * len(cells) * rank * above
            above = rank
        assert plan.products == want
    assert fks.Multipole(fks.RadialKernel("log"), points, 1e-2, depth=0).products == 0


def test_private_logistic():
    sklearn = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2000, 3))
    labels = (x @ [2.0, -1.0, 0.5] + 0.3 * rng.standard_normal(2000) > 0.2).astype(float)
    w = fks.private_logistic(x, labels, math.inf, 0, steps=200, clip=100.0)
    peer = sklearn.LogisticRegression(C=1e3).fit(x, labels)
    agree = ((x @ w[:3] + w[3]) > 0) == peer.predict(x).astype(bool)
    assert agree.mean() > 0.98
    noisy = fks.private_logistic(x, labels, 1.0, 0)
    assert (((x @ noisy[:3] + noisy[3]) > 0) == labels.astype(bool)).mean() > 0.85
    tiny = [fks.private_logistic(x, labels, 1e-3, s) for s in range(8)]
    assert np.mean([(((x @ t[:3] + t[3]) > 0) == labels.astype(bool)).mean() for t in tiny]) < 0.8


def test_classes():
    assert np.array_equal(fks.nearest_class([[1.0, 5.0], [2.0, 4.0]]), [1, 0])
    assert fks.rank_for(np.diag([1.0, 1e-3, 1e-9]), 1e-6) == 2


# --- bad input -----------------------------------------------------------------------------------

LOG = fks.RadialKernel("log")
TREE = fks.PrivateTree([0.5], 1.0, 0, 1, 8, 0)
EIM = fks.empirical_interpolation(LOG.gram(POINTS + [2, 0], POINTS), 1e-3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fks.RadialKernel("gausian"), "did you mean 'gaussian'"),
        (lambda: fks.RadialKernel("log", 0), "length must be a positive"),
        (lambda: fks.RadialKernel("log", 1e-200), "length must be a number between"),
        (lambda: LOG.gram(POINTS, POINTS[:, :1]), "y must have 2 columns"),
        (lambda: LOG.gram([[1e308], [-1e308]]), "x must have coordinates up to"),
        (lambda: LOG.gram(np.ones((3, 3))), "x must have one or two columns"),
        (lambda: LOG.gram(np.ones(3)), "x must be a matrix"),
        (lambda: LOG.matvec(POINTS, None, CHARGES[1:]), "v must have length 60"),
        (lambda: LOG.matvec(POINTS, np.ones((2, 3)), [1, 1]), "y must have one or two columns"),
        (lambda: fks.empirical_interpolation([1.0], 1e-3), "matrix must be a matrix"),
        (lambda: fks.empirical_interpolation([[1.0]], -1), "tolerance must be"),
        (lambda: fks.empirical_interpolation([[1.0]], 0, 0), "max_rank must be"),
        (lambda: fks.empirical_interpolation([[1.0]], 0, scale=0), "scale must be"),
        (lambda: fks.interpolated(LOG, POINTS, POINTS, None, POINTS, POINTS), "found must be"),
        (lambda: fks.interpolated(LOG, POINTS[:2], POINTS, EIM, POINTS, POINTS), "training set"),
        (lambda: fks.chebyshev_error(LOG, 0, POINTS, POINTS), "order must be"),
        (lambda: fks.chebyshev_error(LOG, 2, POINTS[:, 0], POINTS), "at must be a matrix"),
        (lambda: fks.chebyshev_error(LOG, 2, POINTS[:, :1], POINTS), "at must have 2 columns"),
        (lambda: fks.box_skeleton("x", 1.0, 9.0, 1e-3), "kernel must be a RadialKernel"),
        (lambda: fks.box_skeleton(LOG, 1.0, 2.0, 1e-3), "reach must be above"),
        (lambda: fks.box_skeleton(LOG, -1.0, 2.0, 1e-3), "half_width must be"),
        (lambda: fks.box_skeleton(LOG, 1.0, 9.0, 0), "tolerance must be"),
        (lambda: fks.box_skeleton(LOG, 1.0, 9.0, 1e-3, 3), "dimension must be"),
        (lambda: fks.Multipole(LOG, np.ones((4, 3)), 1e-3), "points must have one or two"),
        (lambda: fks.Multipole(LOG, POINTS, 0), "tolerance must be"),
        (lambda: fks.Multipole(LOG, POINTS, 10.0), "tolerance must be below 1"),
        (lambda: fks.Multipole("gaussian", POINTS, 1e-3), "kernel must be a RadialKernel"),
        (lambda: fks.Multipole(GAUSSIAN, POINTS, 1e-3), "kernel must be a RadialKernel"),
        (lambda: fks.Multipole(LOG, [[1e308], [-1e308]], 1e-3), "points must have coordinates"),
        (lambda: fks.Multipole(LOG, POINTS, 1e-3, depth=10), "depth must be"),
        (lambda: fks.Multipole(LOG, POINTS, 1e-3).sum(CHARGES[1:]), "charges must have length 60"),
        (lambda: fks.Multipole(LOG, POINTS, 1e-3, depth=2).boxes(3), "level must be"),
        (lambda: fks.SmoothSum(LOG, POINTS, 1e-3), "kernel must be a Gaussian"),
        (lambda: fks.SmoothSum(fks.RadialKernel("gaussian"), POINTS, 1.0), "tolerance must be"),
        (
            lambda: fks.SmoothSum(fks.RadialKernel("gaussian", 1e-4), POINTS, 1e-3),
            "at most 200 bandwidths",
        ),
        (
            lambda: fks.SmoothSum(fks.RadialKernel("gaussian"), POINTS, 1e-3).sum([1.0]),
            "charges must have length 60",
        ),
        (lambda: fks.mass_per_row(GAUSSIAN, QUERIES, KEYS[0]), "keys must be a matrix"),
        (lambda: fks.heavy_entries(GAUSSIAN, QUERIES, KEYS, 0), "threshold must be"),
        (lambda: fks.heavy_entries(None, QUERIES, KEYS, 0.1), "kernel must have a method gram"),
        (lambda: fks.sampled_matvec(None, QUERIES, KEYS, X, 3, 0), "kernel must have a method"),
        (lambda: fks.collision_probability(0.0, 1.0), "distance must be positive"),
        (lambda: fks.collision_probability(1.0, 0.0), "width must be"),
        (lambda: fks.HashTables(KEYS, 0, 3, 4, 0), "width must be"),
        (lambda: fks.HashTables(KEYS, 1.0, 0, 4, 0), "projections must be"),
        (lambda: fks.HashTables(KEYS, 1.0, 3, 0, 0), "tables must be"),
        (lambda: fks.HashTables(KEYS, 1.0, 3, 2, "x"), "rng must be"),
        (lambda: fks.HashTables(KEYS, 1.0, 3, 2, 0).heavy(QUERIES, 1.0, 2.0), "at most 1"),
        (lambda: fks.HashTables(KEYS, 1.0, 3, 2, 0).heavy(QUERIES[:, :2], 1.0, 0.1), "6 columns"),
        (lambda: fks.sampled_charges([0.0, 0.0], 3, 0), "not zero"),
        (lambda: fks.sampled_charges(X, 0, 0), "samples must be"),
        (lambda: fks.sampled_matvec(GAUSSIAN, QUERIES, KEYS, X[1:], 3, 0), "x must have length"),
        (lambda: fks.sampled_matvec(GAUSSIAN, QUERIES, KEYS, X, 3, 0, GRAM[1:]), "heavy must be"),
        (lambda: fks.sampling_error(GRAM, X[1:], 3), "x must have length"),
        (lambda: fks.sampling_error(GRAM, X, 0), "samples must be"),
        (lambda: fks.tokens(0, 2, 3, 0.1, 0), "n must be"),
        (lambda: fks.tokens(5, 2, 3, -0.1, 0), "spread must be"),
        (lambda: fks.PrivateTree([[0.5]], 1.0, 0, 1, 8, 0), "x must be a vector"),
        (lambda: fks.PrivateTree([0.5], 0.0, 0, 1, 8, 0), "epsilon must be"),
        (lambda: fks.PrivateTree([0.5], 1.0, 1, 1, 8, 0), "low must be below high"),
        (lambda: fks.PrivateTree([0.5], 1.0, 0, 1, 9, 0), "power of 2"),
        (lambda: fks.PrivateTree([0.5], 1.0, 0, 1, 2**50, 0), "bins"),
        (lambda: fks.PrivateTree([0.5], 1.0, None, 1, 8, 0), "low must be"),
        (lambda: fks.PrivateTree([0.5], 1.0, 1, 1 + 1e-300, 8, 0), "low must be"),
        (lambda: fks.PrivateDistances([[0.5]], 1.0, [0, 0], 1, 8, 0), "low must be"),
        (lambda: fks.PrivateHistogram([0.5], 1.0, 0, 1, 0, 0), "bins must be"),
        (lambda: fks.PrivateHistogram([0.5], 1.0, 0, 1, 8, 0).sums([1e300]), "y must lie"),
        (lambda: TREE.sums([1e300]), "y must lie within"),
        (lambda: TREE.count(0, 9), "last must be"),
        (lambda: TREE.count(5, 4), "last must be"),
        (lambda: TREE.nodes_touched(-1, 4), "first must be"),
        (lambda: TREE.sums([0.1], -0.1), "growth must be"),
        (lambda: TREE.sums([0.1], profile="square"), "profile must be one of"),
        (lambda: TREE.sums([0.1], scale=0.0), "scale must be"),
        (lambda: fks.tree_counts([1.0, 2.0, 3.0]), "power of 2"),
        (lambda: fks.PrivateDistances([0.5], 1.0, 0, 1, 8, 0), "x must be a matrix"),
        (lambda: fks.PrivateDistances([[0.5]], 1.0, 0, 1, 8, 0).sums([[1, 2]]), "y must have 1"),
        (lambda: fks.PrivateKernelSums(KEYS, 1.0, 0, 1.0, 0), "features must be"),
        (lambda: fks.PrivateKernelSums(KEYS, 0.0, 5, 1.0, 0), "bandwidth must be"),
        (lambda: fks.PrivateKernelSums(KEYS, 1.0, 5, -1.0, 0), "epsilon must be"),
        (lambda: fks.PrivateKernelSums(KEYS, 1.0, 5, 1.0, 0, X), "v must lie in"),
        (lambda: fks.PrivateKernelSums(KEYS, 1.0, 5, 1.0, 0).sums([[1.0]]), "y must have 6"),
        (lambda: fks.PrivateKernelSums(KEYS, 1.0, 5, 1.0, 0, noise="x"), "noise must be"),
        (lambda: fks.private_logistic(KEYS, X, 1.0, 0), "labels must be 0 or 1"),
        (lambda: fks.private_logistic(KEYS, X > 0, 1.0, 0, delta=1.0), "delta must be below 1"),
        (lambda: fks.private_logistic(KEYS, X > 0, 1.0, 0, clip=0), "clip must be"),
        (lambda: fks.nearest_class([1.0]), "similarities must be a matrix"),
        (lambda: fks.rank_for(GRAM, 0), "tolerance must be"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
