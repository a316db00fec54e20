"""Cloud metrics: closed forms, plain references, peers, bad input; the claims and controls."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes, sqrtm
from scipy.optimize import minimize

from kernellab.compute.kernels import Gaussian
from kernellab.compute.mmd import median_bandwidth, mmd_squared
from kernellab.compute.rates import log_log_slope
from kernellab.datasets import digits
from kernellab.methods.mean_embeddings import cloud_metrics as cm
from tests.naive import cloud_metrics as naive

# 1. Clouds whose faults are known


def test_sample_ring_keeps_to_its_modes():
    points, mode = cm.sample_ring(4000, 0, dropped=3)
    assert set(mode) == set(range(5))
    gaps = points - cm.ring_centres()[mode]
    assert np.std(gaps) == pytest.approx(0.15, rel=0.05)
    assert np.array_equal(points, cm.sample_ring(4000, np.random.default_rng(0), dropped=3)[0])
    assert np.allclose(np.linalg.norm(cm.ring_centres(5, 3.0), axis=1), 3.0)


def test_truncate():
    points = np.array([[2.0, 0.0], [0.0, 4.0]])
    assert np.allclose(cm.truncate(points, [0.0, 0.0], 0.5), points / 2)
    assert np.array_equal(cm.truncate(points, points, 0.3), points)
    assert np.allclose(cm.truncate(points, points[::-1], 0.0), points[::-1])


def test_gaussian_twin_has_the_moments_also_of_a_flat_cloud():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 3)) @ np.array([[1.0, 2, 0], [0, 1, 0], [0, 0, 0]]) + [1, 2, 3]
    twin = cm.gaussian_twin(x, 40_000, 2)
    assert np.allclose(twin.mean(axis=0), x.mean(axis=0), atol=0.05)
    assert np.allclose(np.cov(twin.T), np.cov(x.T), atol=0.15)


def test_two_modes_have_mean_0_and_the_named_covariance():
    x = cm.two_modes(40_000, 3, 2.0, 0)
    assert np.allclose(x.mean(axis=0), 0, atol=0.05)
    assert np.allclose(np.cov(x.T), np.diag([5.0, 1, 1]), atol=0.1)


# 2. Two moments, or everything a kernel sees


def covariance(d, rng, rank=None):
    a = rng.standard_normal((d, rank or d))
    return a @ a.T / d


@pytest.mark.parametrize("d", [1, 2, 7, 20])
def test_frechet_is_the_formula_with_a_matrix_root(d):
    rng = np.random.default_rng(d)
    a, b = covariance(d, rng), covariance(d, rng)
    m1, m2 = rng.standard_normal((2, d))
    root = sqrtm(a @ b).real
    want = np.sum((m1 - m2) ** 2) + np.trace(a + b - 2 * root)
    assert cm.frechet(m1, a, m2, b) == pytest.approx(want, rel=1e-7)
    assert cm.frechet(m2, b, m1, a) == pytest.approx(want, rel=1e-7)
    assert cm.frechet(m1, a, m1, a) == pytest.approx(0, abs=1e-7)


def test_frechet_of_commuting_and_singular_covariances():
    a, b = np.diag([4.0, 9, 0]), np.diag([1.0, 0, 2])
    assert cm.frechet(np.zeros(3), a, np.zeros(3), b) == pytest.approx(1 + 9 + 2)
    rng = np.random.default_rng(0)
    flat = covariance(6, rng, rank=2)
    assert cm.frechet(np.zeros(6), flat, np.zeros(6), 4 * flat) == pytest.approx(np.trace(flat))


def test_fid_is_0_for_one_cloud_and_sees_a_shift():
    x = np.random.default_rng(0).standard_normal((50, 4))
    assert cm.fid(x, x) == pytest.approx(0, abs=1e-7)
    assert cm.fid(x, x + [3, 0, 0, 4]) == pytest.approx(25, abs=1e-6)
    assert cm.fid(x[:, :1], x[:, :1] + 2) == pytest.approx(4, abs=1e-6)


def test_mmd_of_shifted_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    for shift, d, s in ((1.0, 5, 1.5), (2.0, 2, 1.0), (0.5, 1, 3.0)):
        move = np.zeros(d)
        move[0] = shift
        values = [
            cm.cmmd(rng.standard_normal((300, d)), rng.standard_normal((250, d)) + move, s) / 1000
            for _ in range(60)
        ]
        error = np.std(values) / np.sqrt(60)
        assert abs(np.mean(values) - cm.gaussian_mmd_squared(shift, d, s)) < 4 * error
    assert cm.gaussian_mmd_squared(0.0, 3, 1.0) == 0


def same_law_fids(n, d, rng, pairs):
    return [cm.fid(*rng.standard_normal((2, n, d))) for _ in range(pairs)]


def test_claim_fid_of_one_law_falls_like_1_over_n_and_a_real_distance_does_not():
    rng = np.random.default_rng(0)
    sizes = (50, 100, 200, 400, 800, 1600)
    same = [np.mean(same_law_fids(n, 20, rng, 20)) for n in sizes]
    assert log_log_slope(sizes, same) == pytest.approx(-1, abs=0.1)
    move = np.r_[1.0, np.zeros(19)]
    other = [
        np.mean([cm.fid(rng.standard_normal((n, 20)), rng.standard_normal((n, 20)) + move)
                 for _ in range(10)])
        for n in sizes
    ]  # fmt: skip
    assert log_log_slope(sizes, other) > -0.6


def test_claim_cmmd_of_one_law_is_0_on_average_and_the_biased_one_is_not():
    rng, kernel = np.random.default_rng(1), Gaussian(4.0)
    for unbiased in (True, False):
        worst = 0.0
        for n in (20, 80):
            draws = [
                mmd_squared(*rng.standard_normal((2, n, 20)), kernel, unbiased=unbiased)
                for _ in range(200)
            ]
            worst = max(worst, abs(np.mean(draws)) / (np.std(draws) / np.sqrt(200)))
        assert (worst < 3) == unbiased


def test_claim_cmmd_sees_what_fid_cannot():
    rng, n, separation = np.random.default_rng(2), 2000, 3.0
    spread = np.sqrt([1 + separation**2, 1.0])
    kernel = Gaussian(1.5)
    null_fid, null_mmd, fids, mmds = [], [], [], []
    for _ in range(5):
        x, other = cm.two_modes(n, 2, separation, rng), cm.two_modes(n, 2, separation, rng)
        twin = spread * rng.standard_normal((n, 2))
        null_fid.append(cm.fid(x, other))
        null_mmd.append(mmd_squared(x, other, kernel))
        fids.append(cm.fid(x, twin))
        mmds.append(mmd_squared(x, twin, kernel))
    assert min(mmds) > 50 * np.std(null_mmd)
    assert np.mean(fids) < 6 * max(null_fid)  # 0.05 where one lost mode of two gives 9 and more


# 3. Inside or outside the other cloud's balls


@pytest.mark.compiled
@pytest.mark.parametrize(
    ("n", "d", "k"), [(2, 1, 1), (5, 3, 4), (63, 2, 3), (64, 5, 1), (130, 9, 7)]
)
def test_neighbour_distances_are_the_reference(n, d, k):
    x = np.random.default_rng(n).standard_normal((n, d))
    assert np.allclose(cm.neighbour_distances(x, k), naive.neighbour_distances(x, k), atol=1e-12)


def test_many_points_in_the_plane_go_into_a_tree_with_the_same_answer():
    x = np.random.default_rng(0).standard_normal((1200, 2))
    x[100:110] = x[0]  # eleven equal points
    flat = np.column_stack([x, np.zeros((1200, 2))])  # in four dimensions there is no tree
    assert np.allclose(cm.neighbour_distances(x, 4), cm.neighbour_distances(flat, 4), atol=1e-12)
    assert np.all(cm.knn_radii(x, 3)[100:110] == 0)


@pytest.mark.compiled
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (60, 60, 2), (67, 130, 3), (130, 65, 6)])
def test_inside_and_realism_are_the_reference(n, m, d):
    rng = np.random.default_rng(n + m)
    points, centres = 1.5 * rng.standard_normal((n, d)), rng.standard_normal((m, d))
    radii = rng.uniform(0, 1, m)
    assert np.array_equal(cm.inside(points, centres, radii), naive.inside(points, centres, radii))
    if m > 3:
        for prune in (True, False):
            want = naive.realism(points, centres, 3, prune)
            assert np.allclose(cm.realism(points, centres, 3, prune=prune), want)


def test_an_edge_belongs_to_its_ball():
    rng = np.random.default_rng(0)
    for _ in range(50):
        centre, point = rng.standard_normal((2, 1, 5))
        assert cm.inside(point, centre, [np.linalg.norm(point - centre)]).all()
    assert cm.inside([[1.0, 2.0]], [[1.0, 2.0]], [0.0]).all()


@pytest.mark.compiled
@pytest.mark.parametrize("k", [1, 3, 29])
def test_precision_recall_is_the_definition(k):
    rng = np.random.default_rng(k)
    real, generated = rng.standard_normal((60, 2)), 0.7 * rng.standard_normal((30, 2)) + 0.5
    found = cm.precision_recall(real, generated, k)
    assert (found.precision, found.recall) == naive.precision_recall(real, generated, k)


@pytest.mark.parametrize(("n", "d", "k"), [(200, 2, 3), (300, 16, 5)])
def test_precision_recall_is_that_of_prdc(n, d, k):
    prdc = pytest.importorskip("prdc")
    rng = np.random.default_rng(n)
    real, generated = rng.standard_normal((n, d)), 0.8 * rng.standard_normal((n, d)) + 0.2
    peer = prdc.compute_prdc(real, generated, nearest_k=k)
    found = cm.precision_recall(real, generated, k)
    assert (found.precision, found.recall) == (peer["precision"], peer["recall"])


def test_precision_recall_at_its_limits():
    rng = np.random.default_rng(0)
    real = rng.standard_normal((40, 3))
    assert cm.precision_recall(real, real, 3) == cm.PrecisionRecall(1.0, 1.0)
    doubled = np.vstack([real, real])
    assert cm.precision_recall(doubled, real, 1) == cm.PrecisionRecall(1.0, 1.0)
    collapsed = np.repeat(real[:1], 10, axis=0)
    assert cm.precision_recall(real, collapsed, 3) == cm.PrecisionRecall(1.0, 1 / 40)
    near = cm.precision_recall(real, rng.standard_normal((40, 3)), 39)
    assert near == cm.PrecisionRecall(1.0, 1.0)
    assert cm.precision_recall(real, real + 100, 3) == cm.PrecisionRecall(0.0, 0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.integers(1, 3), st.integers(1, 3))
def test_precision_and_recall_are_each_others_mirror_and_grow_with_k(seed, n, d, k):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((n, d)), rng.standard_normal((n + 3, d)) * rng.uniform(0.5, 2)
    one, two = cm.precision_recall(a, b, k), cm.precision_recall(b, a, k)
    assert (one.precision, one.recall) == (two.recall, two.precision)
    if k + 1 < n:
        more = cm.precision_recall(a, b, k + 1)
        assert more.precision >= one.precision and more.recall >= one.recall
    moved = cm.precision_recall(3 * a + 1, 3 * b + 1, k)
    assert abs(moved.precision - one.precision) < 1e-9


def test_realism_says_who_is_inside_until_balls_are_pruned():
    rng = np.random.default_rng(0)
    real, points = rng.standard_normal((100, 2)), 2 * rng.standard_normal((80, 2))
    scores = cm.realism(points, real, 3, prune=False)
    assert np.array_equal(scores >= 1, cm.inside(points, real, cm.knn_radii(real, 3)))
    assert np.all(cm.realism(points, real, 3) <= scores)
    assert np.isinf(cm.realism(real[:1], real, 3, prune=False)).all()
    # One outlier makes a far point look real; pruning repairs that.
    outlier = np.vstack([real, [[12.0, 12.0]]])
    far = np.array([[7.0, 8.0]])
    assert cm.realism(far, outlier, 3, prune=False)[0] > 1 > cm.realism(far, outlier, 3)[0]


def mean_balls(rng, draws, make):
    found = [make(rng) for _ in range(draws)]
    return np.mean([[f.precision, f.recall] for f in found], axis=0)


@pytest.mark.parametrize("n", [400, 1000])
def test_claim_dropped_modes_lower_recall_by_their_share(n):
    rng = np.random.default_rng(n)

    def dropped(j):
        return lambda rng: cm.precision_recall(
            cm.sample_ring(n, rng)[0], cm.sample_ring(n, rng, dropped=j)[0]
        )

    same = mean_balls(rng, 4, dropped(0))
    for j in range(1, 7):
        precision, recall = mean_balls(rng, 4, dropped(j))
        assert precision == pytest.approx(same[0], abs=0.05)
        assert recall == pytest.approx((8 - j) / 8 * same[1], abs=0.05)


def test_claim_truncation_trades_recall_and_shrinking_does_not():
    rng, real = np.random.default_rng(0), cm.sample_ring(1000, 5)[0]
    generated, mode = cm.sample_ring(1000, rng)
    own = [
        cm.precision_recall(real, cm.truncate(generated, cm.ring_centres()[mode], psi))
        for psi in (1.0, 0.8, 0.6, 0.4, 0.3)
    ]
    recalls = [found.recall for found in own]
    assert recalls == sorted(recalls, reverse=True) and recalls[0] - recalls[-1] > 0.4
    assert all(found.precision > own[0].precision - 0.03 for found in own)
    shrunk = cm.precision_recall(real, cm.truncate(generated, [0.0, 0.0], 0.6))
    assert shrunk.precision < 0.2


# 4. Shape up to rotation


@pytest.mark.compiled
@pytest.mark.parametrize(("n", "d", "m"), [(1, 1, 1), (7, 3, 2), (40, 5, 9)])
def test_suffix_product_is_the_reference(n, d, m):
    rng = np.random.default_rng(n)
    a, v = rng.standard_normal((n, d)), rng.standard_normal((n, m))
    assert np.allclose(cm._later(a, v), naive.suffix_product(a, v), atol=1e-12)


@pytest.mark.compiled
@pytest.mark.parametrize(("n", "p"), [(8, 1), (8, 2), (8, 3), (8, 4), (6, 3)])
def test_spectral_moments_are_sums_over_all_cycles(n, p):
    rng = np.random.default_rng(n + p)
    x, y = rng.standard_normal((n, 3)), rng.standard_normal((n, 2))
    assert cm.spectral_moments(x, y, p)[-1] == pytest.approx(naive.spectral_moment(x, y, p))


def test_spectral_moments_of_one_column():
    # With N = 1 every cycle's product is that of all x_i y_i in it: elementary symmetric sums.
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 9, 1))
    products = (x * y).ravel()
    for p, value in enumerate(cm.spectral_moments(x, y, 4), 1):
        cycles = [math.prod(chosen) for chosen in itertools.combinations(products, 2 * p)]
        assert value == pytest.approx(np.mean(cycles))


def planted(n, s, rng):
    return cm.simulate_responses(n, s, rng)


def test_claim_moments_are_unbiased_and_those_of_the_plug_in_are_not():
    s = np.r_[np.linspace(0.9, 0.2, 20), np.zeros(10)]
    truth = np.array([np.sum(s ** (2 * p)) for p in (1, 2, 3)])
    rng, moments, plug_in = np.random.default_rng(0), [], []
    for _ in range(200):
        data = planted(150, s, rng)
        moments.append(cm.spectral_moments(data.x, data.y, 3))
        values = np.linalg.svd(data.x.T @ data.y / 150, compute_uv=False)
        plug_in.append([np.sum(values ** (2 * p)) for p in (1, 2, 3)])

    def worst(found):
        gaps = np.mean(found, axis=0) - truth
        return np.abs(gaps / (np.std(found, axis=0) / np.sqrt(200))).max()

    assert worst(moments) < 3.5
    assert worst(plug_in) > 20


def test_claim_the_plug_in_of_independent_responses_follows_the_quarter_circle():
    rng, width = np.random.default_rng(0), 50
    for n in (400, 800, 1600):
        data = planted(n, np.zeros(width), rng)
        law = 8 / (3 * np.pi) * width**1.5 / np.sqrt(n)
        assert cm.plug_in_nuclear_norm(data.x, data.y) == pytest.approx(law, rel=0.05)


def test_claim_a_tight_limit_beats_the_plug_in_and_a_loose_one_shrinks():
    s, rng = np.r_[np.linspace(0.9, 0.18, 30), np.zeros(20)], np.random.default_rng(1)
    plug_in, found = [], {8.0: [], 30.0: []}
    for _ in range(30):
        data = planted(100, s, rng)
        moments = cm.spectral_moments(data.x, data.y, 3)
        spread = cm.moment_covariance(data.x, data.y, 3)
        plug_in.append(cm.plug_in_nuclear_norm(data.x, data.y))
        for limit, values in found.items():
            values.append(cm.moment_nuclear_norm(moments, spread, limit, 1.0, 50).value)
    truth = s.sum()
    bias = abs(np.mean(plug_in) - truth)
    assert abs(np.mean(found[8.0]) - truth) < bias / 3
    assert abs(np.mean(found[30.0]) - truth) > bias / 2


def test_moment_covariance_is_about_the_scatter_over_draws():
    s, rng = np.linspace(0.8, 0.1, 10), np.random.default_rng(2)
    draws, estimates = [], []
    for _ in range(150):
        data = planted(200, s, rng)
        draws.append(cm.spectral_moments(data.x, data.y, 2))
        estimates.append(np.diag(cm.moment_covariance(data.x, data.y, 2)))
    ratio = np.sqrt(np.mean(estimates, axis=0)) / np.std(draws, axis=0)
    assert np.all(ratio > 0.8) and np.all(ratio < 1.7)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_root_polynomial_keeps_the_limit_and_solves_the_programme(order):
    rng = np.random.default_rng(order)
    spread = covariance(order, rng)
    least = cm.smallest_limit(order, 1.0, 10)
    u = np.sin(np.linspace(0, np.pi / 2, 200)[1:]) ** 2
    powers = u[:, None] ** np.arange(1, order + 1)
    for limit in (1.2 * least, 2 * least):
        g = cm.root_polynomial(spread, limit, 1.0, 10)
        errors = 10 * np.abs(powers @ g - np.sqrt(u))
        assert errors.max() <= limit * (1 + 1e-5)
        peer = minimize(
            lambda w, spread=spread: w @ spread @ w,
            g,
            jac=lambda w, spread=spread: 2 * spread @ w,
            constraints=[
                {"type": "ineq", "fun": lambda w, b=limit: b - 10 * (powers @ w - np.sqrt(u))},
                {"type": "ineq", "fun": lambda w, b=limit: b + 10 * (powers @ w - np.sqrt(u))},
            ],
            method="SLSQP",
        )
        assert g @ spread @ g <= peer.fun * (1 + 1e-3)
    with pytest.raises(ValueError, match="limit must be at least"):
        cm.root_polynomial(spread, 0.9 * least, 1.0, 10)


def test_root_polynomial_does_not_depend_on_units():
    spread = covariance(3, np.random.default_rng(0))
    g = cm.root_polynomial(spread, 2.0, 1.0, 10)
    scale = 25.0 ** np.arange(1, 4)  # responses times 5 each: eigenvalues times 625 = 25^2
    there = cm.root_polynomial(spread * np.outer(scale**2, scale**2), 50.0, 625.0, 10)
    assert np.allclose(there * scale**2, 25 * g, rtol=1e-5)


def test_moment_estimate_without_correlation_and_its_interval():
    data = cm.simulate_responses(200, np.full(10, 0.6), 0)
    moments = cm.spectral_moments(data.x, data.y, 3)
    spread = cm.moment_covariance(data.x, data.y, 3)
    found = cm.moment_nuclear_norm(moments, spread, 1.5, 1.0, 10)
    low, high = found.interval
    assert low < data.nuclear_norm < high
    assert found.value == pytest.approx(found.coefficients @ moments)
    assert data.singular_values.sum() == pytest.approx(6.0)


def test_shape_distance_is_that_of_scipy_and_ignores_rotations():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 60, 4))
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    norm = cm.plug_in_nuclear_norm(x, y)
    assert norm == pytest.approx(orthogonal_procrustes(x, y)[1] / 60)
    traces = np.sum(x**2) / 60, np.sum(y**2) / 60
    rotation = orthogonal_procrustes(x, y)[0]
    want = np.linalg.norm(x @ rotation - y) / np.sqrt(60)
    assert cm.shape_distance(*traces, norm, "procrustes") == pytest.approx(want)
    same = cm.plug_in_nuclear_norm(x, x @ turn)
    assert cm.shape_distance(traces[0], traces[0], same) == pytest.approx(0, abs=1e-6)
    assert cm.shape_distance(1.0, 1.0, -0.1) == pytest.approx(np.pi / 2)


# 5. Spread by nearest neighbours


@pytest.mark.parametrize(("d", "k"), [(1, 1), (2, 1), (2, 3), (3, 3)])
def test_entropy_of_a_gaussian(d, k):
    rng = np.random.default_rng(d)
    spread = np.linspace(0.5, 2, d)
    found = np.mean([cm.entropy(spread * rng.standard_normal((2000, d)), k) for _ in range(4)])
    want = d / 2 * np.log(2 * np.pi * np.e) + np.sum(np.log(spread))
    assert found == pytest.approx(want, abs=0.05)


def test_entropy_grows_by_the_log_of_the_volume():
    x = np.random.default_rng(0).standard_normal((200, 3))
    assert cm.entropy(2 * x) - cm.entropy(x) == pytest.approx(3 * np.log(2))
    with pytest.raises(ValueError, match="more than k = 1"):
        cm.entropy(np.vstack([x, x]))


def test_buffer_entropy_and_its_gradient_by_differences():
    rng = np.random.default_rng(0)
    codes, buffer = rng.standard_normal((6, 3)), rng.standard_normal((20, 3))
    value, gradient = cm.buffer_entropy(codes, buffer)
    gaps = np.sum((codes[:, None] - buffer) ** 2, axis=2).min(axis=1)
    assert value == pytest.approx(np.log(np.mean(gaps) / 3))
    for i in range(6):
        for j in range(3):
            step = np.zeros_like(codes)
            step[i, j] = 1e-6
            there = cm.buffer_entropy(codes + step, buffer)[0]
            back = cm.buffer_entropy(codes - step, buffer)[0]
            assert gradient[i, j] == pytest.approx((there - back) / 2e-6, abs=1e-6)


def ring_gan(c, seed, **settings):
    rng = np.random.default_rng(seed)
    data = cm.sample_ring(1000, rng, radius=0.5, sd=0.04)[0]
    return cm.EntropyGan(data, cm.GanSettings(entropy=c, **settings), rng)


def test_network_gradients_by_differences():
    rng = np.random.default_rng(0)
    network = cm._Network([2, 5, 4, 3], 1e-3, rng)
    x, weight = rng.standard_normal((7, 2)), rng.standard_normal((7, 3))
    gradients, at_input = cm._backward(
        network.layers, cm._forward(network.layers, x), weight.copy()
    )
    flat = np.concatenate([part.ravel() for layer in gradients for part in layer])

    def loss():
        return np.sum(weight * cm._forward(network.layers, x)[-1])

    for i in range(network.vector.size):
        network.vector[i] += 1e-6
        up = loss()
        network.vector[i] -= 2e-6
        down = loss()
        network.vector[i] += 1e-6
        assert flat[i] == pytest.approx((up - down) / 2e-6, abs=1e-5)
    moved = x.copy()
    moved[0, 1] += 1e-6
    change = np.sum(weight * (cm._forward(network.layers, moved)[-1])) - loss()
    assert at_input[0, 1] == pytest.approx(change / 1e-6, abs=1e-4)


def test_spectral_norms_and_the_gradient_through_them():
    gan = ring_gan(0.0, 0, gain=2.0)
    for _ in range(200):  # the power iteration settles on fixed weights
        layers = gan._normalised()
    for w, _ in layers:
        assert np.linalg.norm(w, 2) == pytest.approx(2.0, rel=1e-2)
    rng = np.random.default_rng(1)
    slopes = [(rng.standard_normal(w.shape), np.zeros(b.shape)) for w, b in layers]
    carried = gan._through_norms(slopes, layers)
    index, step = (1, 2), 1e-5

    def loss():
        for _ in range(50):
            now = gan._normalised()
        return np.sum(slopes[1][0] * now[1][0])

    gan.critic.layers[1][0][index] += step
    up = loss()
    gan.critic.layers[1][0][index] -= 2 * step
    down = loss()
    assert carried[1][0][index] == pytest.approx((up - down) / (2 * step), rel=0.02, abs=1e-3)


def test_training_is_repeatable_and_reports():
    one, two = ring_gan(0.02, 3), ring_gan(0.02, 3)
    assert list(one.train(40, every=15)) == [15 / 40, 30 / 40, 1.0]
    assert list(two.train(40)) == [25 / 40, 1.0]
    assert np.array_equal(one.sample(50, 0), two.sample(50, 0))
    assert np.abs(one.sample(50, 0)).max() <= 1
    assert one.steps == 40 and one.weight == pytest.approx(0.02 * 40 / 50)
    assert one.fake_buffer.shape == (256, 4)


def test_one_step_per_round_of_critics_and_without_norms():
    gan = ring_gan(0.1, 0, gain=None, critic_steps=3, buffer=16, batch=32)
    gan.step()
    gan.step()
    assert np.all(np.isfinite(gan.critic.vector)) and gan.real_buffer.shape == (16, 4)


def test_claim_entropy_in_the_loss_reaches_more_modes():
    found = {}
    for c in (0.0, 0.02):
        ends = []
        for seed in (2, 3):
            gan = ring_gan(c, seed)
            *_, _ = gan.train(2000)
            ends.append(cm.modes_found(gan.sample(1000, 7), cm.ring_centres(8, 0.5), 0.12)[0])
        found[c] = np.mean(ends)
    # Untrained generators reach none, and their entropy is higher: modes tell, entropy does not.
    assert found[0.02] >= 5 and found[0.0] < 4


def test_modes_found():
    centres = cm.ring_centres()
    points = np.repeat(centres[:3], 10, axis=0)
    assert cm.modes_found(points, centres, 0.1) == (3, 1.0)
    assert cm.modes_found(np.zeros((10, 2)), centres, 0.1) == (0, 0.0)


# 6. All measures at once


def test_report_and_alarm():
    rng = np.random.default_rng(0)
    null = [cm.report(*rng.standard_normal((2, 100, 2)), bandwidth=1.0) for _ in range(8)]
    assert list(null[0]) == ["FID", "MMD²", "precision", "recall", "entropy"]
    far = cm.report(rng.standard_normal((100, 2)), rng.standard_normal((100, 2)) + 2, bandwidth=1.0)
    alarms = cm.alarm(far, null)
    assert min(alarms["FID"], alarms["MMD²"], alarms["precision"]) > 5
    again = cm.alarm(null[0], null)
    assert max(again.values()) < 3
    assert cm.alarm({"precision": 1.0}, [{"precision": 1.0}] * 3) == {"precision": 0.0}


def test_digits_fid_takes_the_gaussian_twin_for_real_and_precision_does_not():
    x = digits().x
    x = (x - x.mean(axis=0)) @ np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:32].T
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    real, other, twin = x[order[:400]], x[order[400:800]], cm.gaussian_twin(x, 400, rng)
    assert cm.fid(real, twin) < 1.3 * cm.fid(real, other)
    assert cm.precision_recall(real, twin).precision < 0.4
    assert cm.precision_recall(real, other).precision > 0.8
    # The median distance is too wide a ruler here; a quarter of it is not.
    wide, fine = (Gaussian(f * median_bandwidth(x)) for f in (1.0, 0.25))
    null = [mmd_squared(*np.split(x[rng.permutation(len(x))[:800]], 2), fine) for _ in range(10)]
    assert mmd_squared(real, twin, fine) > 5 * np.std(null)
    assert mmd_squared(real, twin, wide) < 0.002


# Bad input

CLOUD = np.random.default_rng(0).standard_normal((10, 2))
EYE = np.eye(2)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: cm.ring_centres(0), "modes"),
        (lambda: cm.ring_centres(8, -1.0), "radius"),
        (lambda: cm.sample_ring(0, 0), "n must"),
        (lambda: cm.sample_ring(5, 0, dropped=8), "dropped"),
        (lambda: cm.sample_ring(5, 0, sd=0.0), "sd"),
        (lambda: cm.sample_ring(5, "a"), "rng"),
        (lambda: cm.truncate(CLOUD, [0.0], 0.5), "towards"),
        (lambda: cm.truncate(CLOUD, [0.0, 0.0], 1.5), "psi"),
        (lambda: cm.gaussian_twin(CLOUD[:1], 5, 0), "x must"),
        (lambda: cm.gaussian_twin(CLOUD, 0, 0), "n must"),
        (lambda: cm.two_modes(5, 0, 1.0, 0), "d must"),
        (lambda: cm.two_modes(5, 2, -1.0, 0), "separation"),
        (lambda: cm.frechet([0.0, 0], EYE, [0.0], EYE), "mean2"),
        (lambda: cm.frechet([0.0, 0], np.eye(3), [0.0, 0], EYE), "covariance1"),
        (lambda: cm.frechet([0.0, 0], [[1.0, 2], [0, 1]], [0.0, 0], EYE), "symmetric"),
        (lambda: cm.frechet([0.0, 0], -EYE, [0.0, 0], EYE), "negative"),
        (lambda: cm.fid(CLOUD, CLOUD[:, :1]), "y must"),
        (lambda: cm.fid(CLOUD[:1], CLOUD), "x must"),
        (lambda: cm.cmmd(CLOUD, CLOUD, 0.0), "bandwidth"),
        (lambda: cm.cmmd(CLOUD, CLOUD[:1]), "y must"),
        (lambda: cm.gaussian_mmd_squared(-1.0, 2, 1.0), "shift"),
        (lambda: cm.gaussian_mmd_squared(1.0, 0, 1.0), "dimension"),
        (lambda: cm.neighbour_distances(CLOUD, 10), "k must"),
        (lambda: cm.knn_radii(CLOUD, 0), "k must"),
        (lambda: cm.knn_radii([[np.nan, 1], [0, 1]], 1), "x must"),
        (lambda: cm.inside(CLOUD, CLOUD, np.ones(3)), "radii"),
        (lambda: cm.inside(CLOUD, CLOUD, -np.ones(10)), "radii"),
        (lambda: cm.inside(CLOUD, CLOUD[:, :1], np.ones(10)), "centres"),
        (lambda: cm.precision_recall(CLOUD, CLOUD[:3], 3), "k must"),
        (lambda: cm.precision_recall(CLOUD, CLOUD[:, :1]), "generated"),
        (lambda: cm.realism(CLOUD[:, :1], CLOUD), "points"),
        (lambda: cm.realism(CLOUD, CLOUD, 10), "k must"),
        (lambda: cm.simulate_responses(10, [1.5], 0), "singular_values"),
        (lambda: cm.simulate_responses(0, [0.5], 0), "n must"),
        (lambda: cm.plug_in_nuclear_norm(CLOUD, CLOUD[:5]), "same length"),
        (lambda: cm.spectral_moments(CLOUD, CLOUD, 6), "order"),
        (lambda: cm.spectral_moments(CLOUD, CLOUD[:4], 1), "same length"),
        (lambda: cm.moment_covariance(CLOUD, CLOUD, 2, blocks=1), "blocks"),
        (lambda: cm.root_polynomial(EYE, 0.0, 1.0, 2), "limit"),
        (lambda: cm.root_polynomial(EYE, 1.0, -1.0, 2), "reach"),
        (lambda: cm.root_polynomial(EYE, 1.0, 1.0, 0), "rank"),
        (lambda: cm.root_polynomial([[1.0, 2], [0, 1]], 1.0, 1.0, 2), "covariance"),
        (lambda: cm.smallest_limit(0, 1.0, 2), "order"),
        (lambda: cm.moment_nuclear_norm([1.0], EYE, 5.0, 1.0, 2), "moments"),
        (lambda: cm.shape_distance(0.0, 1.0, 0.5), "trace_x"),
        (lambda: cm.shape_distance(1.0, 1.0, np.nan), "nuclear_norm"),
        (lambda: cm.shape_distance(1.0, 1.0, 0.5, "cosine"), "kind"),
        (lambda: cm.entropy(CLOUD, 10), "k must"),
        (lambda: cm.buffer_entropy(CLOUD, CLOUD), "codes must differ"),
        (lambda: cm.buffer_entropy(CLOUD, CLOUD[:, :1]), "buffer"),
        (lambda: cm.GanSettings(entropy=-1.0), "entropy"),
        (lambda: cm.GanSettings(batch=1), "batch"),
        (lambda: cm.GanSettings(gain=0.0), "gain"),
        (lambda: cm.EntropyGan(5 * CLOUD, cm.GanSettings(), 0), "data"),
        (lambda: list(ring_gan(0.0, 0).train(0)), "steps"),
        (lambda: cm.modes_found(CLOUD, CLOUD, 0.0), "radius"),
        (lambda: cm.report(CLOUD, CLOUD + 1, bandwidth=0.0), "bandwidth"),
        (lambda: cm.modes_found(CLOUD, CLOUD, 0.1, share=0), "share"),
        (lambda: cm.truncate(CLOUD, [np.nan, 0.0], 0.5), "towards"),
        (lambda: cm.truncate(CLOUD, CLOUD + np.inf, 0.5), "towards"),
        (lambda: cm.truncate(CLOUD, None, 0.5), "towards"),
        (lambda: cm.shape_distance(1.0, 1.0, None), "nuclear_norm"),
        (lambda: cm.EntropyGan(CLOUD / 9, None, 0), "settings"),
        (lambda: cm.alarm({}, [{}]), "same_law"),
        (lambda: cm.alarm({}, None), "same_law"),
        (lambda: cm.alarm(None, [{}] * 3), "found"),
        (lambda: cm.alarm({"FID": np.nan}, [{"FID": 1.0}] * 3), "found"),
        (lambda: cm.alarm({"FID": 1.0}, [{"FID": np.nan}] * 3), "same_law"),
        (lambda: cm.alarm({"FID": 1.0}, [{}] * 3), "same_law"),
        (lambda: cm.alarm({"precision": 0.9}, [{"precision": 1.0}] * 3), "spread"),
    ],
)
def test_bad_input_is_refused_by_name(call, match):
    with pytest.raises(ValueError, match=match):
        call()
