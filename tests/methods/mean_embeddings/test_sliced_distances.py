"""Sliced distances: plain references, closed forms, peers, bad input; the claims and controls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kernellab.compute.directions import random_directions, random_rotation
from kernellab.compute.rates import log_log_slope
from kernellab.methods.mean_embeddings import sliced_distances as sd
from tests.naive import sliced_distances as naive

PATH = np.diag(np.ones(5), 1) + np.diag(np.ones(5), -1)  # a path of six nodes


def clouds(n, m, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.exponential(1.0, (m, d)), random_directions(7, d, rng)


# 1. Shadows


@pytest.mark.compiled
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 5), (6, 6), (7, 4), (4, 7), (12, 18), (50, 50)])
def test_costs_and_gradient_are_the_reference(n, m):
    x, y, theta = clouds(n, m, 3)
    assert np.allclose(sd.shadow_costs(x, y, theta), naive.costs(x, y, theta), rtol=1e-12)
    value, gradient = sd.sliced_gradient(x, y, theta)
    assert value == pytest.approx(sd.sliced_squared(x, y, theta), rel=1e-12)
    assert np.allclose(gradient, naive.gradient(x, y, theta), atol=1e-13)
    again, by_x, by_y = sd.both_gradients(x, y, theta)
    assert again == pytest.approx(value, rel=1e-12) and np.allclose(by_x, gradient, atol=1e-13)
    assert np.allclose(by_y, naive.gradient(y, x, theta), atol=1e-13)


@pytest.mark.compiled
def test_many_blocks_give_what_one_gives(monkeypatch):
    x, y, theta = clouds(40, 30, 3)
    whole = sd.shadow_costs(x, y, theta), sd.sliced_gradient(x, y, theta)[1]
    monkeypatch.setattr(sd, "_BLOCK", 150)
    assert np.allclose(sd.shadow_costs(x, y, theta), whole[0], rtol=1e-12)
    assert np.allclose(sd.sliced_gradient(x, y, theta)[1], whole[1], atol=1e-14)


@pytest.mark.parametrize("sizes", [(9, 9), (8, 5)])
def test_gradient_is_the_slope(sizes):
    x, y, theta = clouds(*sizes, 4)
    gradient, step = sd.sliced_gradient(x, y, theta)[1], 1e-6
    for i, k in ((0, 0), (3, 2), (7, 3)):
        up, down = x.copy(), x.copy()
        up[i, k] += step
        down[i, k] -= step
        slope = (sd.sliced_squared(up, y, theta) - sd.sliced_squared(down, y, theta)) / (2 * step)
        assert gradient[i, k] == pytest.approx(slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("sizes", [(60, 60), (60, 45)])
def test_agrees_with_pot(sizes):
    ot = pytest.importorskip("ot")
    x, y, theta = clouds(*sizes, 3)
    expected = ot.sliced_wasserstein_distance(x, y, projections=theta.T.copy(), p=2) ** 2
    assert sd.sliced_squared(x, y, theta) == pytest.approx(expected, rel=1e-10)
    if sizes[0] == sizes[1]:
        plan = ot.emd2(np.full(60, 1 / 60), np.full(60, 1 / 60), ot.dist(x, y))
        assert sd.exact_wasserstein(x, y) == pytest.approx(math.sqrt(plan))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 1000))
def test_symmetric_zero_on_itself_and_blind_to_order(n, m, seed):
    x, y, theta = clouds(n, m, 3, seed)
    cost = sd.sliced_squared(x, y, theta)
    assert cost == pytest.approx(sd.sliced_squared(y, x, theta), rel=1e-10)
    assert sd.sliced_squared(x, x[::-1], theta) == pytest.approx(0, abs=1e-24)
    assert sd.sliced_squared(np.vstack([x, x]), y, theta) == pytest.approx(cost, rel=1e-10)
    shift = np.array([1.0, -2.0, 0.5])
    along = np.mean((theta @ shift) ** 2)
    assert sd.sliced_squared(x, x + shift, theta) == pytest.approx(along)


def test_sliced_is_below_exact():
    for seed in range(5):
        x, y, _ = clouds(40, 40, 3, seed)
        theta = sd.spiral(100)
        assert sd.sliced_squared(x, y, theta) <= sd.exact_wasserstein(x, y) ** 2


def test_one_step_on_the_axes_matches_every_histogram():
    x, y, _ = clouds(50, 50, 3)
    *_, (done, moved, value) = sd.sliced_flow(x, y, lambda step: np.eye(3), 1)
    assert done == 1.0 and value == pytest.approx(sd.sliced_squared(x, y, np.eye(3)))
    assert np.allclose(np.sort(moved, axis=0), np.sort(y, axis=0))
    assert np.allclose(np.argsort(moved, axis=0), np.argsort(x, axis=0))


def test_flow_with_turned_directions_arrives_and_fixed_ones_do_not():
    x, y = sd.solid("gaussian", 200, 0), sd.solid("torus", 200, 1)
    judge, weights = sd.sphere_quadrature(10)
    few, rng = random_directions(4, 3, 0), np.random.default_rng(0)
    ends = {}
    for name, rule in (
        ("fixed", lambda step: few),
        ("turned", lambda step: sd.turned(few, random_rotation(3, rng))),
    ):
        *_, (_, points, _) = sd.sliced_flow(x, y, rule, 60)
        ends[name] = math.sqrt(weights @ sd.shadow_costs(points, y, judge))
    assert ends["turned"] < 0.25 * ends["fixed"], ends


# 2. Directions


SETS = {
    "gaussian sobol": sd.gaussian_sobol,
    "equal area": sd.equal_area_sobol,
    "spiral": sd.spiral,
    "coulomb": sd.spread_directions,
    "distance": lambda count: sd.spread_directions(count, "distance"),
    "scrambled gaussian": lambda count: sd.gaussian_sobol(count, 0),
    "scrambled area": lambda count: sd.equal_area_sobol(count, 0),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_direction_sets_have_unit_rows(name, count):
    directions = SETS[name](count)
    assert directions.shape == (count, 3)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1.0)


@pytest.mark.parametrize("name", SETS)
def test_direction_sets_are_more_even_than_random_ones(name):
    random = np.median([sd.cap_discrepancy(random_directions(128, 3, seed)) for seed in range(20)])
    assert sd.cap_discrepancy(SETS[name](128)) < 0.75 * random


def test_spiral_by_hand():
    assert np.allclose(sd.spiral(2)[:, 2], [0.5, -0.5])
    angle = 1.8 * math.sqrt(2) * math.acos(0.5)
    assert np.allclose(
        sd.spiral(2)[0, :2], math.sqrt(0.75) * np.array([np.cos(angle), np.sin(angle)])
    )
    assert np.allclose(sd.spiral(1)[0, 2], 0.0)


@pytest.mark.compiled
@pytest.mark.parametrize("coulomb", [True, False])
def test_pair_energy_is_the_reference(coulomb):
    points = random_directions(23, 3, 1)
    force = np.empty_like(points)
    energy = sd._pair_energy(points, coulomb, force)
    expected, expected_force = naive.pair_energy(points, coulomb)
    assert energy == pytest.approx(expected) and np.allclose(force, expected_force)
    assert sd.pair_energy(points, "coulomb" if coulomb else "distance") == pytest.approx(expected)


def test_known_least_energies():
    # Thomson's problem: 2, 3, 4, 6 and 12 charges (pair, triangle, tetrahedron, octahedron, ...).
    for count, least in ((2, 0.5), (3, 1.732050808), (4, 3.674234614), (6, 9.985281374)):
        start = random_directions(count, 3, 0)
        found = sd.pair_energy(sd.spread_directions(count, start=start, steps=500))
        assert found == pytest.approx(least, rel=1e-5)
    pushed = sd.spread_directions(40, "distance", start=random_directions(40, 3, 0))
    assert sd.pair_energy(pushed, "distance") < sd.pair_energy(sd.spiral(40), "distance") + 1e-2


def test_quadrature_is_exact_for_polynomials():
    directions, weights = sd.sphere_quadrature(4)
    assert weights.sum() == pytest.approx(1)
    for power, mean in ((2, 1 / 3), (4, 1 / 5), (6, 1 / 7)):
        for axis in range(3):
            assert weights @ directions[:, axis] ** power == pytest.approx(mean)


def test_a_shift_costs_a_third_of_its_square():
    x, shift = sd.solid("torus", 80, 0), np.array([1.0, 2.0, -0.5])
    exact = shift @ shift / 3
    directions, weights = sd.sphere_quadrature(3)
    assert weights @ sd.shadow_costs(x, x + shift, directions) == pytest.approx(exact)
    assert abs(sd.sliced_squared(x, x + shift, sd.spiral(100)) - exact) < 1e-3 * exact
    random = [sd.sliced_squared(x, x + shift, random_directions(100, 3, s)) for s in range(20)]
    assert np.std(random) > 1e-2 * exact


def test_discrepancy_of_a_single_direction_and_of_two():
    pole = np.array([[0.0, 0.0, 1.0]])
    assert sd.cap_discrepancy(pole, pole) == pytest.approx(1.0)
    assert sd.cap_discrepancy(np.vstack([pole, -pole]), pole) == pytest.approx(0.5)


def errors(seed, count, repeats=20):
    rng = np.random.default_rng(seed)
    x, y = sd.solid("gaussian", 300, rng), sd.solid("skewed", 300, rng)
    judge, weights = sd.sphere_quadrature(40)
    truth = weights @ sd.shadow_costs(x, y, judge)
    random = [sd.sliced_squared(x, y, random_directions(count, 3, rng)) for _ in range(repeats)]
    spun = [
        sd.sliced_squared(x, y, sd.turned(sd.spiral(count), random_rotation(3, rng)))
        for _ in range(repeats)
    ]
    return truth, np.array(random), np.array(spun)


@pytest.mark.parametrize("seed", range(3))
def test_claim_spiral_is_far_better_than_random(seed):
    truth, random, spun = errors(seed, 100)
    fixed = abs(sd.sliced_squared(*pair(seed), sd.spiral(100)) - truth)
    assert 10 * fixed < np.mean(np.abs(random - truth))
    assert 10 * np.mean(np.abs(spun - truth)) < np.mean(np.abs(random - truth))


def pair(seed):
    rng = np.random.default_rng(seed)
    return sd.solid("gaussian", 300, rng), sd.solid("skewed", 300, rng)


def test_claim_slopes():
    counts = np.array([16, 64, 256, 1024])
    found = [errors(0, count, 30) for count in counts]
    rms = [[np.sqrt(np.mean((e - truth) ** 2)) for e in both] for truth, *both in found]
    random, spun = (log_log_slope(counts, column)[0] if isinstance(
        log_log_slope(counts, column), tuple) else log_log_slope(counts, column)
        for column in np.array(rms).T)  # fmt: skip
    assert random == pytest.approx(-0.5, abs=0.12)
    assert spun < -1.2


def test_claim_turning_is_unbiased_and_a_fixed_set_is_not():
    rng = np.random.default_rng(0)
    x, y = pair(0)
    judge, weights = sd.sphere_quadrature(40)
    truth = weights @ sd.shadow_costs(x, y, judge)
    base = sd.spiral(12)
    spun = [sd.sliced_squared(x, y, sd.turned(base, random_rotation(3, rng))) for _ in range(400)]
    error = np.std(spun) / 20
    assert abs(np.mean(spun) - truth) < 3 * error
    assert abs(sd.sliced_squared(x, y, base) - truth) > 5 * error


# 3. Lifts


@pytest.mark.parametrize("activation", ["leaky relu", "sine"])
def test_lift_and_its_derivatives(activation):
    rng = np.random.default_rng(0)
    lift = sd.random_lift(2, 5, rng, activation=activation)
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((9, 2)) + 0.5
    theta, penalty, step = random_directions(6, 7, rng), 0.3, 1e-6
    assert np.array_equal(lift(x)[:, :2], x)

    def objective(weights, offsets):
        state, _ = sd.lift_ascent(sd.Lift(weights, offsets, activation), x, y, theta, penalty)
        return state.distance - penalty * state.size

    state, (by_weights, by_offsets) = sd.lift_ascent(lift, x, y, theta, penalty)
    assert state.distance**2 == pytest.approx(sd.augmented_squared(x, y, lift, theta))
    move = np.zeros((2, 5))
    move[1, 3] = step
    slope = objective(lift.weights + move, lift.offsets) - objective(
        lift.weights - move, lift.offsets
    )
    assert by_weights[1, 3] == pytest.approx(slope / (2 * step), rel=1e-5)
    nudge = step * np.eye(5)[2]
    slope = objective(lift.weights, lift.offsets + nudge) - objective(
        lift.weights, lift.offsets - nudge
    )
    assert by_offsets[2] == pytest.approx(slope / (2 * step), rel=1e-5)

    upstream = rng.standard_normal((9, 7))
    by_x = lift.pull_back(x, upstream)[0]
    shifted = np.zeros_like(x)
    shifted[4, 1] = step
    slope = np.sum(upstream * (lift(x + shifted) - lift(x - shifted))) / (2 * step)
    assert by_x[4, 1] == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_lifted_distance_is_a_metric(seed):
    rng = np.random.default_rng(seed)
    lift = sd.random_lift(2, 6, rng)
    theta = random_directions(20, 8, rng)
    x, y, z = (rng.standard_normal((30, 2)) * scale for scale in (1, 2, 0.5))

    def distance(a, b):
        return math.sqrt(sd.augmented_squared(a, b, lift, theta))

    assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-12
    assert distance(x, y) == pytest.approx(distance(y, x)) and distance(x, x[::-1]) < 1e-7
    assert distance(x, y) > 0


def test_an_empty_lift_only_dilutes():
    x, y = sd.figure("blob", 100, 0), sd.figure("moons", 100, 1)
    empty = sd.random_lift(2, 8, 0, scale=0.0)
    theta = random_directions(50, 10, 0)
    inside = np.linalg.norm(theta[:, :2], axis=1)
    expected = np.mean(inside**2 * sd.shadow_costs(x, y, theta[:, :2] / inside[:, None]))
    assert sd.augmented_squared(x, y, empty, theta) == pytest.approx(expected, rel=1e-12)


def contrast(lift, target, rng, repeats=20, n=200):
    """Squared distance of two laws over that of two samples of one law, on fresh points."""
    big = sd.figure(target, 4000, 123)
    root, theta = np.linalg.cholesky(np.cov(big.T)), random_directions(200, 10, rng)

    def alike():
        return rng.standard_normal((n, 2)) @ root.T + big.mean(axis=0)

    between = [
        sd.augmented_squared(alike(), sd.figure(target, n, rng), lift, theta)
        for _ in range(repeats)
    ]
    within = [sd.augmented_squared(alike(), alike(), lift, theta) for _ in range(repeats)]
    return np.mean(between) / np.mean(within), alike


@pytest.mark.parametrize("target", ["eight", "moons"])
@pytest.mark.parametrize("seed", range(2))
def test_claim_a_learned_lift_tells_more_apart_on_fresh_points(target, seed):
    rng = np.random.default_rng(seed)
    plain, alike = contrast(sd.random_lift(2, 8, 0, scale=0.0), target, rng)
    start = sd.random_lift(2, 8, rng, activation="sine")
    *_, (done, state) = sd.learn_lift(alike(), sd.figure(target, 200, rng), start, 0.1, rng)
    assert done == 1.0
    assert contrast(state.lift, target, rng)[0] > 1.5 * plain
    assert contrast(start, target, rng)[0] < 1.4 * plain


def test_a_large_penalty_empties_the_lift():
    x, y = sd.figure("blob", 100, 0), sd.figure("rings", 100, 1)
    start = sd.random_lift(2, 8, 0)
    *_, (_, state) = sd.learn_lift(x, y, start, 2.0, 2)
    *_, (_, grown) = sd.learn_lift(x, y, start, 0.0, 2)
    raw = math.sqrt(np.mean(np.sum(x**2, axis=1)) + np.mean(np.sum(y**2, axis=1)))
    assert state.size < 1.1 * raw < grown.size


def test_ascent_of_nothing_at_all_stands_still():
    nothing = sd.Lift(np.zeros((2, 3)), np.zeros(3))
    state, gradient = sd.lift_ascent(nothing, np.zeros((4, 2)), np.zeros((5, 2)), np.eye(5), 0.1)
    assert state.distance == state.size == 0.0
    assert all(np.all(part == 0.0) for part in gradient)


def test_claim_for_the_same_sorting_plain_slices_win():
    ends = {"plain": [], "lifted": []}
    for seed in range(3):
        x, y = sd.figure("blob", 80, seed), sd.figure("rings", 80, seed + 10)
        lift = sd.random_lift(2, 8, seed)
        options = {"directions": 16, "step_size": 0.01}
        *_, (_, last) = sd.particle_flow(x, y, seed, steps=750, **options)
        ends["plain"].append(sd.exact_wasserstein(last.points, y))
        *_, (_, last) = sd.particle_flow(
            x, y, seed, lift=lift, ascent=2, penalty=0.01, steps=250, **options
        )
        ends["lifted"].append(sd.exact_wasserstein(last.points, y))
    assert np.median(ends["plain"]) < 0.8 * np.median(ends["lifted"]), ends


# 4. Eigenfunctions


def test_circle_functions_are_orthonormal_eigenfunctions():
    angles = 2 * np.pi * np.arange(64) / 64
    eigenvalues, values = sd.circle_functions(angles, 4)
    assert np.allclose(values.T @ values / 64, np.eye(8), atol=1e-12)
    assert np.array_equal(eigenvalues, [1, 1, 4, 4, 9, 9, 16, 16])
    assert np.allclose(values.mean(axis=0), 0, atol=1e-12)  # the constant is left out


def test_sphere_functions_are_orthonormal_and_harmonic():
    points, weights = sd.sphere_quadrature(10)
    points, weights = np.vstack([points, -points]), np.tile(weights, 2) / 2
    eigenvalues, values = sd.sphere_functions(points)
    assert np.allclose((values * weights[:, None]).T @ values, np.eye(15), atol=1e-10)
    # A homogeneous polynomial of degree l on the sphere with eigenvalue l (l + 1) is harmonic.
    x, h = np.array([0.3, -0.5, 0.8]), 1e-3

    def extended(p, degree):
        r = np.linalg.norm(p)
        return r**degree * sd.sphere_functions((p / r)[None])[1][0]

    for degree, kept in ((1, slice(0, 3)), (2, slice(3, 8)), (3, slice(8, 15))):
        assert np.all(eigenvalues[kept] == degree * (degree + 1))
        moves = h * np.vstack([np.eye(3), -np.eye(3)])
        laplacian = sum(extended(x + move, degree) for move in moves) - 6 * extended(x, degree)
        assert np.allclose(laplacian[kept] / h**2, 0, atol=1e-4)


def test_graph_functions_of_a_path():
    eigenvalues, values = sd.graph_functions(PATH)
    assert np.allclose(eigenvalues, 2 - 2 * np.cos(np.pi * np.arange(1, 6) / 6))
    assert np.allclose(values.T @ values / 6, np.eye(5), atol=1e-12)
    few = sd.graph_functions(PATH, 2)
    assert np.allclose(few[0], eigenvalues[:2]) and few[1].shape == (6, 2)
    laplacian = np.diag(PATH.sum(axis=1)) - PATH
    assert np.allclose(laplacian @ values, values * eigenvalues, atol=1e-12)


def test_layout_draws_a_path_as_a_line_and_lowers_the_stress():
    hops = np.abs(np.subtract.outer(np.arange(6), np.arange(6))).astype(float)

    def stress(places):
        return np.sum((np.linalg.norm(places[:, None] - places[None], axis=2) - hops) ** 2)

    found = [stress(sd.graph_layout(PATH, steps)) for steps in (0, 5, 50)]
    assert found[0] > found[1] > found[2] and found[2] < 1e-2


@pytest.mark.compiled
def test_weighted_costs_are_the_reference_and_repeat_points():
    rng = np.random.default_rng(0)
    x, y, weights = rng.standard_normal((9, 4)), rng.standard_normal((6, 4)), rng.random(4)
    a, b = rng.random(9), rng.random(6)
    found = sd.intrinsic_squared(x, y, weights, a, b)
    expected = sum(
        w * naive.w2_line(x[:, k], y[:, k], a / a.sum(), b / b.sum()) for k, w in enumerate(weights)
    )
    assert found == pytest.approx(expected, rel=1e-10)
    counts = rng.integers(0, 5, 9)
    counts[0] = 3
    repeated = sd.intrinsic_squared(np.repeat(x, counts, axis=0), y, weights)
    assert sd.intrinsic_squared(x, y, weights, counts) == pytest.approx(repeated, rel=1e-10)
    with_zeros = sd.intrinsic_squared(x, x, weights, counts, counts)
    assert with_zeros == pytest.approx(0, abs=1e-14)


def test_one_function_agrees_with_pot_and_bounds_scipy():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(1)
    x, y, a, b = rng.random((20, 1)), rng.random((30, 1)), rng.random(20), rng.random(30)
    found = sd.intrinsic_squared(x, y, [1.0], a, b)
    assert found == pytest.approx(ot.emd2_1d(x, y, a / a.sum(), b / b.sum()), rel=1e-9)
    first = stats.wasserstein_distance(x[:, 0], y[:, 0], a, b)
    assert found >= first**2
    shifted = sd.intrinsic_squared(x, x + 0.3, [1.0], a, a)
    assert shifted == pytest.approx(stats.wasserstein_distance(x[:, 0], x[:, 0] + 0.3, a, a) ** 2)


def test_quarter_turns_of_the_circle_change_nothing():
    rng = np.random.default_rng(2)
    a, b = rng.vonmises(0, 2, 50), rng.vonmises(1, 3, 40)

    def distance(turn):
        eigenvalues, left = sd.circle_functions(a + turn, 4)
        right = sd.circle_functions(b + turn, 4)[1]
        return sd.intrinsic_squared(left, right, sd.heat_weights(eigenvalues, 0.3))

    assert distance(np.pi / 2) == pytest.approx(distance(0.0), rel=1e-10)
    assert distance(np.pi) == pytest.approx(distance(0.0), rel=1e-10)


def test_claim_the_embedding_is_an_isometry():
    rng = np.random.default_rng(3)
    a, b = rng.vonmises(0, 2, 100), rng.vonmises(1, 3, 100)
    eigenvalues, left = sd.circle_functions(a, 5)
    right, weights = sd.circle_functions(b, 5)[1], sd.heat_weights(eigenvalues, 0.3)
    exact = sd.intrinsic_squared(left, right, weights)

    def embedded(levels, masses=None):
        pair = (sd.quantile_embedding(v, weights, levels, masses) for v in (left, right))
        return float(np.sum(np.subtract(*pair) ** 2))

    assert embedded(100) == pytest.approx(exact, rel=1e-12)
    assert embedded(100, np.ones(100)) == pytest.approx(exact, rel=1e-12)
    assert embedded(20) == pytest.approx(exact, rel=0.05)
    assert embedded(2) != pytest.approx(exact, rel=0.01)


def units_test(shift, seed, rng_offset=10_000):
    rng = np.random.default_rng(seed)
    first, second = sd.circle_units(20, 100, 0.0, rng), sd.circle_units(20, 100, shift, rng)
    eigenvalues = sd.circle_functions(first[0], 5)[0]
    weights = sd.heat_weights(eigenvalues, 0.5)
    embedded = [
        np.array([sd.quantile_embedding(sd.circle_functions(u, 5)[1], weights, 20) for u in group])
        for group in (first, second)
    ]
    pooled = stats.ks_2samp(first.ravel(), second.ravel()).pvalue
    fast = sd.combine_p_values(sd.coordinate_tests(*embedded))
    return sd.collection_test(*embedded, 199, seed + rng_offset).p_value, fast, pooled


def test_claim_the_level_is_kept_and_pooling_breaks_it():
    p = np.array([units_test(0.0, seed) for seed in range(200)])
    assert stats.kstest(p[:, 0], "uniform").pvalue > 0.01
    assert np.mean(p[:, 0] <= 0.05) < 0.09
    assert np.mean(p[:, 1] <= 0.05) < 0.09
    assert np.mean(p[:, 2] <= 0.05) > 0.5


def test_claim_power_rises_with_the_shift():
    power = [
        np.mean([units_test(shift, 500 + s)[0] <= 0.05 for s in range(40)]) for shift in (0.3, 0.8)
    ]
    assert power[0] < power[1] and power[1] > 0.7


def test_permutation_test_by_hand():
    first, second = np.array([[0.0], [0.0]]), np.array([[2.0], [2.0]])
    found = sd.collection_test(first, second, 500, 0)
    assert found.statistic == pytest.approx(4.0)
    assert set(np.round(found.null, 12)) == {0.0, 4.0}  # 2 of 6 labellings reach it
    assert found.p_value == pytest.approx(1 / 3, abs=0.07)


def test_coordinate_tests_are_welch():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((12, 5)), rng.standard_normal((9, 5)) * 2 + 0.5
    assert np.allclose(sd.coordinate_tests(a, b), stats.ttest_ind(a, b, equal_var=False).pvalue)
    a[:, 0] = b[:, 0] = 1.0
    assert sd.coordinate_tests(a, b)[0] == 1.0
    a[:, 0], b[:, 0] = 0.1, 0.3  # still in each group, and apart: Welch's limit
    assert sd.coordinate_tests(a, b)[0] == 0.0
    assert sd.coordinate_tests([[0.0], [0.0]], [[1.0], [1.0]])[0] == 0.0
    for scale in (1e-200, 1e200):
        assert np.allclose(sd.coordinate_tests(a * scale, b * scale), sd.coordinate_tests(a, b))


def test_combined_p_values():
    assert sd.combine_p_values([0.2, 0.2, 0.2]) == pytest.approx(0.2)
    assert sd.combine_p_values([1e-9, 0.5, 0.9]) < 1e-8
    assert sd.combine_p_values([0.04, 0.04], "harmonic") == pytest.approx(0.08)
    assert sd.combine_p_values([0.5], "harmonic") == 0.5
    rng = np.random.default_rng(0)
    same = rng.random(4000)  # complete dependence: the same p-value ten times
    for rule in ("cauchy", "harmonic"):
        rejected = np.mean([sd.combine_p_values(np.full(10, p), rule) <= 0.05 for p in same])
        assert rejected < 0.065


# Clouds


@pytest.mark.parametrize("name", ["gaussian", "skewed", "torus", "sphere"])
def test_solids(name):
    points = sd.solid(name, 500, 0)
    assert points.shape == (500, 3) and np.array_equal(points, sd.solid(name, 500, 0))
    if name == "sphere":
        assert np.allclose(np.linalg.norm(points, axis=1), 1)
    if name == "torus":
        around = np.hypot(points[:, 0], points[:, 1])
        assert np.allclose((around - 1) ** 2 + points[:, 2] ** 2, 0.35**2)
        assert around.mean() == pytest.approx(1 + 0.35**2 / 2, abs=0.03)  # even by area


@pytest.mark.parametrize("name", ["blob", "rings", "eight", "moons", "roll"])
def test_figures(name):
    points = sd.figure(name, 301, 0)
    assert points.shape == (301, 2) and np.abs(points).max() < 3.5
    if name == "rings":
        radius = np.linalg.norm(points, axis=1)
        assert np.all(np.minimum(abs(radius - 1), abs(radius - 2)) < 0.2)


def test_units():
    angles = sd.circle_units(200, 50, 0.5, 0)
    assert angles.shape == (200, 50) and np.all((angles >= -np.pi) & (angles < np.pi))
    points = sd.sphere_units(6, 20, 0.5, 0)
    assert points.shape == (6, 20, 3) and np.allclose(np.linalg.norm(points, axis=2), 1)
    shares = sd.graph_units(PATH, [1, 0, 0, 0, 0, 0], 30, 40, 0, time=0.3)
    assert shares.shape == (30, 6) and np.allclose(shares.sum(axis=1), 1)
    assert shares[:, 0].mean() > shares[:, 1].mean() > shares[:, 5].mean()


# Bad input

X, Y, THETA = np.zeros((4, 3)), np.ones((5, 3)), np.eye(3)
LIFT = sd.Lift(np.ones((2, 4)), np.zeros(4))
PLANE = np.arange(8.0).reshape(4, 2)
BAD = [
    (lambda: sd.shadow_costs(np.zeros(4), Y, THETA), "x"),
    (lambda: sd.shadow_costs(X, np.ones((5, 2)), THETA), "y"),
    (lambda: sd.sliced_squared(X, Y, np.eye(2)), "directions"),
    (lambda: sd.shadow_costs(X, 1e200 * Y, THETA), "y"),
    (lambda: sd.sliced_gradient(X, Y, 1e200 * THETA), "x and y"),
    (lambda: sd.both_gradients(1e200 * Y, X, THETA), "x"),
    (lambda: sd.exact_wasserstein(X, 1e200 + X), "y"),
    (lambda: sd.sliced_gradient(X, Y * np.nan, THETA), "y"),
    (lambda: sd.both_gradients(X, Y, np.eye(4)), "directions"),
    (lambda: sd.exact_wasserstein(X, Y), "y"),
    (lambda: next(sd.sliced_flow(X, Y, THETA, 3)), "directions"),
    (lambda: next(sd.sliced_flow(X, Y, lambda t: THETA, 0)), "steps"),
    (lambda: next(sd.sliced_flow(X, Y, lambda t: THETA, 3, step_size=3)), "step_size"),
    (lambda: sd.gaussian_sobol(0), "count"),
    (lambda: sd.equal_area_sobol(2.5), "count"),
    (lambda: sd.spiral(-1), "count"),
    (lambda: sd.spread_directions(5, "heat"), "energy"),
    (lambda: sd.spread_directions(2, start=np.zeros((2, 3))), "start"),
    (lambda: sd.spread_directions(2, steps=-1), "steps"),
    (lambda: sd.spread_directions(2, start=[[1, 0, 0], [2, 0, 0]]), "start"),
    (lambda: sd.spread_directions(2, "distance", start=[[1, 0, 0], [1, 0, 0]]), "start"),
    (lambda: sd.pair_energy(np.ones((2, 3))), "directions"),
    (lambda: sd.pair_energy(np.ones((2, 3)), "distance"), "directions"),
    (lambda: sd.pair_energy(np.eye(2)), "directions"),
    (lambda: sd.pair_energy(np.eye(3), "no"), "energy"),
    (lambda: sd.turned(THETA, 2 * np.eye(3)), "rotation"),
    (lambda: sd.sphere_quadrature(0), "order"),
    (lambda: sd.cap_discrepancy(np.eye(2)), "directions"),
    (lambda: sd.cap_discrepancy(10 * np.eye(3)), "directions"),
    (lambda: sd.cap_discrepancy(np.eye(3), 5 * np.eye(3)), "centres"),
    (lambda: sd.Lift(np.ones((2, 4)), np.zeros(3)), "offsets"),
    (lambda: sd.Lift(np.ones((2, 4)), np.zeros(4), "relu"), "activation"),
    (lambda: LIFT(X), "x"),
    (lambda: LIFT.pull_back(PLANE, np.zeros((4, 5))), "upstream"),
    (lambda: sd.random_lift(2, 0, 0), "m"),
    (lambda: sd.random_lift(2, 3, 0, scale=-1), "scale"),
    (lambda: sd.lift_ascent(LIFT, PLANE, PLANE + 1, np.eye(6), -0.1), "penalty"),
    (lambda: next(sd.learn_lift(PLANE, PLANE, LIFT, 0.1, 0, steps=0)), "steps"),
    (lambda: next(sd.learn_lift(PLANE, PLANE, LIFT, 0.1, 0, step_size=0)), "step"),
    (lambda: sd.augmented_squared(PLANE, PLANE, LIFT, np.eye(3)), "directions"),
    (lambda: sd.augmented_squared(PLANE, PLANE, None, np.eye(2)), "lift"),
    (lambda: sd.lift_ascent(3, PLANE, PLANE, np.eye(6), 0.1), "lift"),
    (lambda: next(sd.learn_lift(PLANE, PLANE, None, 0.1, 0)), "lift"),
    (lambda: next(sd.learn_lift(PLANE, PLANE, LIFT, -1, 0)), "penalty"),
    (lambda: next(sd.particle_flow(PLANE, PLANE, 0, lift=3)), "lift"),
    (lambda: next(sd.particle_flow(PLANE, PLANE, 0, penalty=-1)), "penalty"),
    (lambda: next(sd.particle_flow(PLANE, PLANE, 0, lift_step=0)), "lift_step"),
    (lambda: next(sd.particle_flow(PLANE, PLANE, 0, steps=0)), "steps"),
    (lambda: next(sd.particle_flow(PLANE, PLANE, 0, ascent=-1)), "ascent"),
    (lambda: sd.circle_functions([[0.0]], 2), "angles"),
    (lambda: sd.circle_functions([0.0], 0), "frequencies"),
    (lambda: sd.sphere_functions(2 * np.eye(3)), "points"),
    (lambda: sd.graph_functions(np.zeros((3, 3))), "adjacency"),
    (lambda: sd.graph_functions(-PATH), "adjacency"),
    (lambda: sd.graph_functions([[0.0]]), "adjacency"),
    (lambda: sd.graph_layout(-PATH), "adjacency"),
    (lambda: sd.graph_functions(PATH, 6), "count"),
    (lambda: sd.graph_layout(np.zeros((3, 3))), "adjacency"),
    (lambda: sd.graph_layout(PATH, -1), "steps"),
    (lambda: sd.heat_weights([-1.0], 1), "eigenvalues"),
    (lambda: sd.heat_weights([1.0], -1), "time"),
    (lambda: sd.intrinsic_squared(X, Y, [1.0, 1.0]), "weights"),
    (lambda: sd.intrinsic_squared(X, Y, [1.0, 1.0, -1.0]), "weights"),
    (lambda: sd.intrinsic_squared(X, Y, np.ones(3), x_masses=np.zeros(4)), "x_masses"),
    (lambda: sd.intrinsic_squared(X, 1e200 * Y, np.ones(3), x_masses=np.ones(4)), "y"),
    (lambda: sd.quantile_embedding(X, np.ones(3), 0), "levels"),
    (lambda: sd.quantile_embedding(X, np.ones(3), 4, masses=[1.0]), "masses"),
    (lambda: sd.collection_test(X, np.ones((5, 2)), 10, 0), "second"),
    (lambda: sd.collection_test(X, Y, 0, 0), "permutations"),
    (lambda: sd.coordinate_tests(X[:1], Y), "first"),
    (lambda: sd.combine_p_values([]), "p_values"),
    (lambda: sd.combine_p_values([1.5]), "p_values"),
    (lambda: sd.combine_p_values([0.5], "fisher"), "rule"),
    (lambda: sd.solid("cube", 5, 0), "name"),
    (lambda: sd.figure("cube", 5, 0), "name"),
    (lambda: sd.circle_units(0, 5, 0, 0), "units"),
    (lambda: sd.circle_units(2, 5, np.nan, 0), "shift"),
    (lambda: sd.circle_units(2, 2, None, 0), "shift"),
    (lambda: sd.sphere_units(2, 2, None, 0), "shift"),
    (lambda: sd.sphere_units(2, 0, 0, 0), "samples"),
    (lambda: sd.sphere_units(2, 5, np.inf, 0), "shift"),
    (lambda: sd.graph_units(PATH, [1.0], 2, 5, 0), "homes"),
    (lambda: sd.graph_units(-PATH, np.ones(6), 2, 5, 0), "adjacency"),
    (lambda: sd.graph_units(PATH, np.ones(6), 2, 5, 0, time=0), "time"),
]


@pytest.mark.parametrize(("wrong", "name"), BAD)
def test_bad_input_is_refused_by_name(wrong, name):
    with pytest.raises(ValueError, match=name):
        wrong()
