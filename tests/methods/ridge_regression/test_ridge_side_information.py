"""The side information lab: independent checks, properties, bad input, and every claim with its
control."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute.kernels import Gaussian, Polynomial
from kernellab.compute.linalg import eigh
from kernellab.compute.ridge import RidgePath
from kernellab.datasets import digits
from kernellab.methods.ridge_regression import ridge_side_information as si
from tests.naive import ridge_side_information as naive

LINEAR = Polynomial(1, offset=0.0)

# --- The shared problem -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair():
    return digits((3, 8))


def test_lit_digits_keeps_its_three_parts_apart(pair):
    second = pair.labels == 8
    world = si.lit_digits(pair.images, second, 4, 50, 0.0, 0.0, 0)
    assert world.x.shape == (8, 64)
    assert world.y.tolist() == [-1.0] * 4 + [1.0] * 4
    assert world.extra.shape == (50, 64) and world.extra_lamp.shape == (50, 1)
    rows = [{row.tobytes() for row in part} for part in (world.x, world.extra, world.new)]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]
    known = {row.tobytes(): s for row, s in zip(pair.x, np.where(second, 1.0, -1.0), strict=True)}
    assert all(known[row.tobytes()] == y for row, y in zip(world.new, world.new_y, strict=True))


def test_labelled_and_test_pictures_do_not_depend_on_the_extra_ones(pair):
    few = si.lit_digits(pair.images, pair.labels == 8, 4, 5, 0.0, 0.3, 1)
    many = si.lit_digits(pair.images, pair.labels == 8, 4, 300, 1.0, 0.3, 1)
    assert np.array_equal(few.x, many.x) and np.array_equal(few.new, many.new)
    more = si.lit_digits(pair.images, pair.labels == 8, 9, 5, 0.0, 0.3, 1)
    assert np.array_equal(more.x[:4], few.x[:4]) and np.array_equal(more.new, few.new)


def test_lamp_and_camera():
    image = np.zeros((1, 2, 3))
    image[0, 0, 0] = 1.0
    lit = si.relight(image, [-1.0], 0.5).reshape(2, 3)
    assert lit.tolist() == [[1.5, 0.0, -0.5], [0.5, 0.0, -0.5]]
    assert si.move_right(image, 1.0)[0].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert si.move_right(image, 0.25)[0, 0].tolist() == [0.75, 0.25, 0.0]


# --- A base model -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shots():
    rng = np.random.default_rng(0)
    x, new = rng.standard_normal((30, 3)), rng.standard_normal((11, 3))
    y, base, base_new = (rng.standard_normal((size, 4)) for size in (30, 30, 11))
    return x, new, Gaussian(1.0).gram(x), Gaussian(1.0).gram(new, x), y, base, base_new


def test_proximal_krr_is_sklearn_on_the_residual(shots):
    x, new, gram, cross, y, base, base_new = shots
    ridge = pytest.importorskip("sklearn.kernel_ridge").KernelRidge
    peer = ridge(alpha=0.3, kernel="rbf", gamma=0.5).fit(x, y - base)
    got = si.proximal_krr(gram, cross, y, base, base_new, 0.3)
    assert np.allclose(got, base_new + peer.predict(new), atol=1e-10)
    one = si.proximal_krr(gram, cross, y[:, 0], base[:, 0], base_new[:, 0], 0.3)
    assert np.allclose(one, got[:, 0], atol=1e-12)


def test_proximal_krr_minimises_its_objective(shots):
    _, _, gram, _, y, base, _ = shots
    ridge, rng = 0.3, np.random.default_rng(1)
    y, base = y[:, 0], base[:, 0]
    dual = np.linalg.solve(gram + ridge * np.eye(30), y - base)

    def objective(a):
        return np.sum((base + gram @ a - y) ** 2) + ridge * a @ gram @ a

    assert np.allclose(si.proximal_krr(gram, gram, y, base, base, ridge), base + gram @ dual)
    for _ in range(20):
        assert objective(dual) < objective(dual + 0.01 * rng.standard_normal(30))


def test_claim_endless_ridge_is_the_base_model_and_no_ridge_interpolates(shots):
    _, _, gram, cross, y, base, base_new = shots
    gap = np.abs(si.proximal_krr(gram, cross, y, base, base_new, 1e13) - base_new).max()
    assert gap < 1e-10
    assert np.abs(si.proximal_krr(gram, cross, y, base, base_new, 1.0) - base_new).max() > 0.1
    assert np.allclose(si.proximal_krr(gram, gram, y, base, base, 1e-9), y, atol=1e-4)


def test_cache_is_the_first_order_term(shots):
    _, _, gram, cross, y, base, base_new = shots
    ridge = 1e7
    first = base_new + cross @ (y - base) / ridge
    proximal = si.proximal_krr(gram, cross, y, base, base_new, ridge)
    assert np.abs(ridge * (proximal - first)).max() < 1e-4 * np.abs(y).max()
    cache = si.cache_scores(cross, y - base, base_new, 1 / ridge)
    assert np.allclose(cache, first, atol=1e-15)


def test_local_mean_and_local_linear():
    x = np.linspace(0, 1, 9)[:, None]
    new = np.array([[0.0], [0.4], [1.0]])
    cross = Gaussian(0.2).gram(new, x)
    line = 2 * x[:, 0] - 1
    assert np.allclose(si.local_linear(new, x, line, cross), 2 * new[:, 0] - 1, atol=1e-4)
    biased = si.local_mean(cross, line)
    assert biased[0] > -0.9 and biased[2] < 0.9  # the local mean is pulled inwards at both ends
    assert np.allclose(si.local_mean(cross, np.ones((9, 2))), 1)
    weights = cross / cross.sum(axis=1, keepdims=True)
    assert np.allclose(biased, weights @ line)
    same = np.full((9, 1), 0.3)
    assert np.allclose(si.local_linear(new, same, line, np.ones((3, 9))), line.mean(), atol=1e-5)


KERNELS = [Gaussian(width) for width in (0.3, 0.45, 0.6, 1.0)]
RIDGES = np.geomspace(0.01, 10, 7)


@pytest.fixture(scope="module")
def features():
    data = digits()
    centred = data.x - data.x.mean(axis=0)
    return si.unit_rows(centred @ eigh(centred.T @ centred, top=32).vectors), data.labels


def accuracies(features, per_class, seed):
    """Zero-shot, cache, kernel ridge and proximal accuracy, each tuned on validation pictures."""
    x, labels = features
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    groups = [order[labels[order] == c] for c in range(10)]
    first = np.concatenate([g[:3] for g in groups])
    prototypes = si.noisy_prototypes(x[first], labels[first], 10, 0.8, rng)
    train = np.concatenate([g[3 : 3 + per_class] for g in groups])
    rest = rng.permutation(np.concatenate([g[19:] for g in groups]))
    held, new = rest[:400], rest[400:1000]
    hot = np.eye(10)[labels[train]]
    best = dict.fromkeys(("cache", "ridge", "proximal"), (-1.0, 0.0))

    def right(scores, which):
        return np.mean(scores.argmax(axis=-1) == labels[which], axis=-1)

    def offer(name, held_scores, new_scores):
        value = right(held_scores, held)
        if value > best[name][0]:
            best[name] = value, right(new_scores, new)

    for kernel in KERNELS:
        cross = {id(held): kernel.gram(x[held], x[train]), id(new): kernel.gram(x[new], x[train])}
        for weight in np.geomspace(0.03, 30, 10):
            offer("cache", *(
                si.cache_scores(cross[id(w)], hot, x[w] @ prototypes.T, weight) for w in (held, new)
            ))  # fmt: skip
        for name, scale in (("ridge", 0), ("proximal", 0.5), ("proximal", 1), ("proximal", 2)):
            path = RidgePath(kernel.gram(x[train]), hot - scale * x[train] @ prototypes.T)
            for ridge in RIDGES:
                dual = path.coefficients(ridge)
                offer(name, *(
                    scale * x[w] @ prototypes.T + cross[id(w)] @ dual for w in (held, new)
                ))  # fmt: skip
    return [right(x[new] @ prototypes.T, new), *(best[name][1] for name in best)]


def test_claim_proximal_beats_the_cache_and_the_labels_alone(features):
    few = np.mean([accuracies(features, 1, s) for s in range(6)], axis=0)
    some = np.mean([accuracies(features, 8, s) for s in range(6)], axis=0)
    zero, cache, ridge, proximal = few
    assert 0.6 < zero < 0.8
    assert proximal > ridge + 0.08  # with one shot the base model is worth most
    assert not zero > ridge + 0.08  # control: an endless ridge is the base model itself
    zero, cache, ridge, proximal = some
    assert proximal > cache + 0.005
    assert not zero > cache + 0.005
    assert abs(proximal - ridge) < 0.03  # with eight the base model hardly matters any more


# --- A causal graph -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs():
    x1, x2, _ = si.simulate_collider(80, 0.0, 0)
    return x1, x2


def test_residual_gram_of_a_linear_kernel_is_the_product_of_residuals(pairs):
    mean = si.ConditionalMean(*pairs, LINEAR, Gaussian(0.5), 1e-3)
    a1, a2, _ = si.simulate_collider(7, 0.0, 1)
    b1, b2, _ = si.simulate_collider(200, 0.0, 2)
    left, right = a1 - mean.weights(a2) @ pairs[0], b1 - mean.weights(b2) @ pairs[0]
    assert np.allclose(mean.residual_gram(a1, a2, b1, b2), left @ right.T, atol=1e-9)
    assert np.allclose(mean.expected_gram(a2, b1), (mean.weights(a2) @ pairs[0]) @ b1.T, atol=1e-9)
    assert np.allclose(mean.expected_gram(b2, a1), (mean.weights(b2) @ pairs[0]) @ a1.T, atol=1e-9)


def test_conditional_mean_weights_are_kernel_ridge(pairs):
    ridge = pytest.importorskip("sklearn.kernel_ridge").KernelRidge
    mean = si.ConditionalMean(*pairs, LINEAR, Gaussian(0.5), 1e-3)
    peer = ridge(alpha=80 * 1e-3, kernel="rbf", gamma=2.0).fit(pairs[1], pairs[0])
    grid = np.linspace(-2, 2, 9)[:, None]
    assert np.allclose(mean.weights(grid) @ pairs[0], peer.predict(grid), atol=1e-9)


def test_linear_gaussian_case_is_analytic():
    # x1 = y + c x2 + e: f* = a (x1 - c x2) with a = var y / (var y + var e), and E[f* | x2] = 0.
    rng, c = np.random.default_rng(0), 0.8
    y, x2, e = rng.standard_normal((3, 800))
    x1 = y + c * x2 + 0.5 * e
    mean = si.ConditionalMean(x1[:, None], x2[:, None], LINEAR, LINEAR, 1e-6)
    fit = si.collider_ridge(x1[:, None], x2[:, None], y, mean, None, 1.0, "inside")
    test1, test2 = rng.standard_normal((2, 50, 1))
    want = (test1 - c * test2) / 1.25
    assert np.abs(fit.predict(test1, test2) - want[:, 0]).max() < 0.2
    plain = si.collider_ridge(x1[:, None], x2[:, None], y, mean, None, 1.0, "none")
    assert np.abs(plain.predict(test1, test2) - want[:, 0]).max() > 0.3
    assert np.abs(fit.predict(c * test2, test2)).max() < 0.2


@pytest.mark.parametrize("projection", ["after", "inside"])
def test_projected_fits_average_to_zero(projection):
    x1, x2, y = si.simulate_collider(40, 0.0, 3)
    u1, u2, _ = si.simulate_collider(800, 0.0, 4)
    mean = si.ConditionalMean(u1, u2, Gaussian(1.0), Gaussian(0.4), 1e-4)
    promised = {
        kind: si.collider_risks(
            si.collider_ridge(x1, x2, y, mean, Gaussian(1.0), 0.8, kind).predict, 0.0, 12
        )["promised"]
        for kind in ("none", projection)
    }
    assert promised[projection] < 0.2 * promised["none"]


def gain_gap(leak, f):
    risks = si.collider_risks(f, leak, 12)
    return abs(risks["plain"] - risks["projected"] - risks["promised"])


@pytest.mark.parametrize(
    "f",
    [
        lambda x1, x2: x1[:, 0] + x2[:, 0],
        lambda x1, x2: np.cos(3 * x1[:, 0]) * x2[:, 0],
        lambda x1, x2: np.exp(x2[:, 0] / 3) + 0 * x1[:, 0],
    ],
)
def test_claim_the_gain_is_known_beforehand(f):
    def holds(gap):
        return gap < 1e-9

    assert holds(gain_gap(0.0, f))
    assert not holds(gain_gap(0.5, f))  # the graph is wrong: y depends on x2


def collider_errors(leak, seed):
    rng = np.random.default_rng(seed)
    x1, x2, y = si.simulate_collider(40, leak, rng)
    u1, u2, _ = si.simulate_collider(300, leak, rng)
    t1, t2, truth = si.simulate_collider(1000, leak, rng)
    mean = si.ConditionalMean(u1, u2, Gaussian(1.0), Gaussian(0.4), 1e-3)
    fits = (
        si.collider_ridge(x1, x2, y, mean, Gaussian(1.0), 0.8, kind).predict(t1, t2)
        for kind in ("none", "after", "inside")
    )
    return [np.mean((truth - f) ** 2) for f in fits]


def test_claim_projection_helps_in_most_draws():
    def holds(errors, kind):
        return np.mean(errors[:, kind] < errors[:, 0]) >= 0.8

    right = np.array([collider_errors(0.0, s) for s in range(15)])
    wrong = np.array([collider_errors(1.0, s) for s in range(15)])
    for kind in (1, 2):
        assert holds(right, kind)
        assert not holds(wrong, kind)
        assert wrong[:, kind].mean() > 1.3 * wrong[:, 0].mean()


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 1000))
def test_project_out_is_a_projection(a, b, seed):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(a), b).T
    f = rng.standard_normal((a, b))
    once = si.project_out(f, weights)
    assert np.allclose(si.project_out(once, weights), once)
    assert np.allclose(si.project_out(np.tile(f[:1], (a, 1)), weights), 0)
    assert np.allclose((weights * once).sum(axis=0), 0)


# --- Unlabelled, shifted points -----------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_robust_losses_against_a_search_along_the_ray(gamma):
    rng = np.random.default_rng(0)
    theta, x = rng.standard_normal(3), rng.standard_normal((12, 3))
    y = rng.choice([-1.0, 1.0], 12)
    unit = theta / np.linalg.norm(theta)
    want = naive.robust_surrogate(theta, x, y, gamma)
    assert np.allclose(si.robust_surrogate(theta, x, y, gamma), want, atol=5e-3)
    pseudo = np.where(x @ unit >= 0, 1.0, -1.0)
    want = naive.robust_surrogate(theta, x, pseudo, gamma)
    assert np.allclose(si.robust_margin(theta, x, gamma), want, atol=5e-3)


def cloud_problem(seed, shift=0.0, labels=40, extra=4000, d=50):
    rng = np.random.default_rng(seed)
    mean = 2 * np.eye(d)[0]
    side = rng.standard_normal(d)
    side[0] = 0
    x, y = si.two_clouds(labels, mean, 1.0, rng)
    others, _ = si.two_clouds(extra, mean + shift * side / np.linalg.norm(side), 1.1, rng)
    return x, y, others, mean


@pytest.mark.parametrize(
    ("weight", "gamma", "steps", "n"), [(0.0, 1.0, 5, 3), (3.0, 0.5, 40, 200), (20.0, 2.0, 7, 1)]
)
def test_self_training_against_whole_arrays(weight, gamma, steps, n):
    x, y, others, _ = cloud_problem(0, extra=n, d=9)
    got = si.robust_self_training(x, y, others, weight, gamma, steps, 0.3)
    want = naive.robust_self_training(x, y, others, weight, gamma, steps, 0.3)
    assert got.shape == (steps + 1, 9)
    assert np.allclose(got, want, atol=1e-10)
    assert np.allclose(np.linalg.norm(got, axis=1), 1)


def test_self_training_in_one_dimension_and_without_steps():
    path = si.robust_self_training([[2.0]], [1.0], [[0.1], [-0.3]], 5.0, steps=3)
    assert np.allclose(path, 1)
    assert si.robust_self_training(np.eye(2), [1, -1], np.eye(2), 5.0, steps=0).shape == (1, 2)


def test_cloud_error_is_exact():
    theta, mean = np.array([1.0, 0.5]), np.array([0.7, 0.2])
    x, y = si.two_clouds(400_000, mean, 0.8, 0)
    assert np.mean(np.sign(x @ theta) != y) == pytest.approx(
        si.cloud_error(theta, mean, 0.8), abs=3e-3
    )
    assert si.cloud_error(np.array([theta, mean]), mean, 0.8)[1] < si.cloud_error(theta, mean, 0.8)


def share_of_excess_removed(shift, weight=20.0):
    errors = []
    for seed in range(10):
        x, y, others, mean = cloud_problem(seed, shift)
        path = si.robust_self_training(x, y, others, weight)
        errors.append(si.cloud_error(path[[0, -1]], mean, 1.0))
    before, after = np.mean(errors, axis=0) - si.cloud_error(mean, mean, 1.0)
    return 1 - after / before


def test_claim_shifted_unlabelled_points_remove_half_of_the_excess():
    def holds(share):
        return share >= 0.5

    assert holds(share_of_excess_removed(0.0))
    assert holds(share_of_excess_removed(0.5))
    assert not holds(share_of_excess_removed(0.5, weight=0.0))
    assert share_of_excess_removed(0.5, weight=0.0) == 0
    assert share_of_excess_removed(2.0) < 0  # so large a shift does harm


def test_excess_of_the_labels_falls_as_the_card_says():
    mean = 2 * np.eye(50)[0]
    sizes = np.array([100, 200, 400, 800])
    excess = [
        np.mean([
            si.cloud_error(si.class_mean_rule(*si.two_clouds(m, mean, 1.0, s)), mean, 1.0)
            for s in range(20)
        ]) - si.cloud_error(mean, mean, 1.0)
        for m in sizes
    ]  # fmt: skip
    slope = np.polyfit(np.log(sizes), np.log(excess), 1)[0]
    assert -1.2 < slope < -0.5


# --- Inputs learnt from unlabelled points -------------------------------------------------------


def test_fit_factors_agrees_with_sklearn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    world = si.factor_world(12, 3, 1.0, 0)
    x, _ = world.draw(4000, 1)
    model = si.fit_factors(x, 3)
    pca = decomposition.PCA(3, svd_solver="full").fit(x)
    assert model.noise_variance == pytest.approx(pca.noise_variance_, rel=1e-2)
    shared = model.loadings @ model.loadings.T + model.noise_variance * np.eye(12)
    assert np.allclose(shared, pca.get_covariance(), rtol=0.01, atol=0.01)
    peer = decomposition.FactorAnalysis(3, tol=1e-6, max_iter=5000).fit(x)
    assert np.linalg.norm(shared - peer.get_covariance()) < 0.05 * np.linalg.norm(shared)


def test_fit_factors_is_the_likeliest_model():
    world = si.factor_world(8, 2, 1.0, 3)
    x, _ = world.draw(200, 4)
    sample = x.T @ x / len(x)

    def loss(loadings):
        covariance = loadings @ loadings.T + np.eye(8)
        return np.linalg.slogdet(covariance)[1] + np.trace(np.linalg.solve(covariance, sample))

    best = si.fit_factors(x, 2, 1.0, np.zeros(8)).loadings
    rng = np.random.default_rng(5)
    for _ in range(50):
        assert loss(best) < loss(best + 0.02 * rng.standard_normal(best.shape))


def test_scores_are_the_posterior_mean():
    world = si.factor_world(30, 3, 1.0, 0)
    model = si.FactorModel(np.zeros(30), world.loadings, 1.0)
    x, _ = world.draw(5, 1)
    want = x @ np.linalg.solve(world.covariance, world.loadings)
    assert np.allclose(model.scores(x), want)


def test_excess_is_exact():
    world = si.factor_world(10, 2, 1.0, 0)
    best, open_variance = world.best()
    x, y = world.draw(400_000, 1)
    assert np.mean((y - x @ best) ** 2) == pytest.approx(open_variance, rel=0.02)
    other = best + 0.1
    risk = np.mean((y - x @ other - 0.3) ** 2)
    assert risk - open_variance == pytest.approx(world.excess(other, 0.3), rel=0.05)
    noisy = si.factor_world(10, 2, 1.0, 0, from_noise=True)
    x, y = noisy.draw(400_000, 1)
    assert np.mean((y - x @ noisy.best()[0]) ** 2) == pytest.approx(noisy.best()[1], rel=0.02)


def test_rotating_the_factors_changes_nothing():
    world = si.factor_world(20, 4, 1.0, 0)
    x, y = world.draw(50, 1)
    model = si.fit_factors(world.draw(500, 2)[0], 4, 1.0)
    turn, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((4, 4)))
    turned = si.FactorModel(model.mean, model.loadings @ turn, 1.0)
    new, _ = world.draw(30, 4)
    fits = [m.scores(new) @ si.fit_head(m.scores(x), y) for m in (model, turned)]
    assert np.abs(fits[0] - fits[1]).max() < 1e-10


def head_excess(n, seed, unlabelled=5000, from_noise=False):
    rng = np.random.default_rng(seed)
    world = si.factor_world(60, 4, 1.0, rng, from_noise=from_noise)
    cloud, _ = world.draw(unlabelled, rng)
    x, y = world.draw(n, rng)
    model = si.fit_factors(cloud, 4, 1.0, np.zeros(60))
    predicted = world.best()[1] * 4 / (n - 5)
    head = si.fit_head(model.scores(x), y)
    return world.excess_of(model, head), world.excess(si.fit_head(x, y)), predicted


@pytest.mark.parametrize("n", [40, 80, 150])
def test_claim_excess_follows_the_small_head(n):
    learnt, raw, predicted = np.mean([head_excess(n, s) for s in range(30)], axis=0)

    def holds(excess):
        return abs(excess / predicted - 1) < 0.3

    assert holds(learnt)
    assert not holds(raw)
    if n > 70:
        assert raw > 10 * learnt


def test_claim_pretraining_needs_labels_that_follow_the_factors():
    def holds(excess):
        return excess[0] < 0.1 * excess[1]

    assert holds(np.mean([head_excess(80, s) for s in range(15)], axis=0))
    assert not holds(np.mean([head_excess(80, s, from_noise=True) for s in range(15)], axis=0))


def test_least_squares_excess_on_raw_inputs():
    rng = np.random.default_rng(0)
    world = si.factor_world(10, 2, 1.0, rng)
    draws = [world.excess(si.fit_head(*world.draw(60, rng))) for _ in range(300)]
    assert np.mean(draws) == pytest.approx(world.best()[1] * 10 / (60 - 11), rel=0.1)


def mixture_error(seed, labels_per_class=1):
    rng = np.random.default_rng(seed)
    means = 0.8 * rng.standard_normal((3, 20))
    truth, known = rng.integers(0, 3, 2000), np.repeat(np.arange(3), labels_per_class)
    cloud, new, x = (
        means[c] + rng.standard_normal((len(c), 20))
        for c in (rng.integers(0, 3, 800), truth, known)
    )
    model = si.fit_mixture(cloud, 3, rng, steps=30)
    named = si.name_clouds(model.posterior(x), known, 3)
    centres = np.array([x[known == c].mean(axis=0) for c in range(3)])
    alone = np.argmin(((new[:, None] - centres) ** 2).sum(axis=-1), axis=1)
    return np.mean(named[model.posterior(new).argmax(1)] != truth), np.mean(alone != truth)


def test_claim_three_labels_name_three_clouds():
    def holds(error):
        return error < 0.05

    learnt, alone = np.mean([mixture_error(s) for s in range(8)], axis=0)
    assert holds(learnt)
    assert not holds(alone)


def test_mixture_agrees_with_sklearn():
    mixture = pytest.importorskip("sklearn.mixture").GaussianMixture
    rng = np.random.default_rng(0)
    x = np.r_[rng.standard_normal((300, 2)) - 4, rng.standard_normal((100, 2)) + [4, 0]]
    model = si.fit_mixture(x, 2, 1, steps=100)
    peer = mixture(2, covariance_type="spherical", random_state=0, tol=1e-9).fit(x)
    order, peer_order = np.argsort(model.shares), np.argsort(peer.weights_)
    assert np.allclose(model.means[order], peer.means_[peer_order], atol=0.02)
    assert np.allclose(model.shares[order], peer.weights_[peer_order], atol=0.01)
    assert np.allclose(model.posterior(x).sum(axis=1), 1)
    more = si.fit_mixture(x, 2, 1, steps=1).log_likelihood
    assert model.log_likelihood >= more
    assert si.fit_mixture(np.zeros((3, 2)), 2, 0).posterior(np.zeros((1, 2))).shape == (1, 2)


# --- Bad input ----------------------------------------------------------------------------------

X, Y, K = np.eye(3), np.array([1.0, -1.0, 1.0]), np.eye(3)
MEAN = (X, X, LINEAR, Gaussian(1.0), 0.1)


def fitted():
    return si.collider_ridge(X, X, Y, si.ConditionalMean(*MEAN), None, 1.0, "after")


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: si.lit_digits(np.eye(3), [1, 0, 1], 1, 1, 0, 0, 0), "images"),
        (lambda: si.lit_digits(np.zeros((9, 2, 2)), [1] * 8, 1, 1, 0, 0, 0), "is_second"),
        (lambda: si.lit_digits(np.zeros((9, 2, 2)), [1] * 9, 1, 1, 0, 0, 0), "is_second"),
        (lambda: si.lit_digits(np.zeros((9, 2, 2)), [1, 0, 1] * 3, 2, 1, 0, 0, 0), "per_class"),
        (lambda: si.lit_digits(np.zeros((9, 2, 2)), [1, 0, 1] * 3, 1, 0, 0, 0, 0), "extra"),
        (lambda: si.lit_digits(np.zeros((9, 2, 2)), [1, 0, 1] * 3, 1, 1, 2, 0, 0), "pixels"),
        (lambda: si.lit_digits(np.zeros((9, 2, 2)), [1, 0, 1] * 3, 1, 1, 0, -1, 0), "strength"),
        (lambda: si.relight(np.zeros((2, 2, 2)), [0.0], 1.0), "lamp"),
        (lambda: si.move_right(np.zeros((1, 2, 2)), np.nan), "pixels"),
        (lambda: si.proximal_krr(K, K, Y, Y, Y, 0.0), "ridge"),
        (lambda: si.proximal_krr(K, K, Y, Y[:2], Y, 1.0), "base_train"),
        (lambda: si.proximal_krr(K, K[:2], Y, Y, Y, 1.0), "base_new"),
        (lambda: si.proximal_krr(K, K[:, :2], Y, Y, Y, 1.0), "cross_gram"),
        (lambda: si.proximal_krr(K[:2], K, Y, Y, Y, 1.0), "matrix"),
        (lambda: si.proximal_krr(K, K, [1.0, np.nan, 0.0], Y, Y, 1.0), "y"),
        (lambda: si.cache_scores(K, Y, Y, -1.0), "weight"),
        (lambda: si.cache_scores(K, Y[:2], Y, 1.0), "cross_gram"),
        (lambda: si.local_mean(np.zeros((1, 3)), Y), "cross_gram"),
        (lambda: si.local_mean(-K, Y), "cross_gram"),
        (lambda: si.local_linear(X[:, :2], X, Y, K), "new"),
        (lambda: si.local_linear(X, X, Y, K, 0.0), "ridge"),
        (lambda: si.local_linear(X, X, Y[:2], K), "x"),
        (lambda: si.noisy_prototypes(X, [0, 1, 1], 3, 0.1, 0), "labels"),
        (lambda: si.noisy_prototypes(X, [0, 1, 2], 3, -0.1, 0), "noise"),
        (lambda: si.unit_rows([[0.0, 0.0]]), "x"),
        (lambda: si.ConditionalMean(X, X[:2], LINEAR, LINEAR, 0.1), "x1"),
        (lambda: si.ConditionalMean(X, X, LINEAR, LINEAR, 0.0), "smoothing"),
        (lambda: si.collider_ridge(X, X, Y[:2], si.ConditionalMean(*MEAN), None, 1, "none"), "y"),
        (
            lambda: si.collider_ridge(X, X, Y, si.ConditionalMean(*MEAN), None, 1, "before"),
            "projection",
        ),
        (lambda: si.collider_ridge(X, X, Y, si.ConditionalMean(*MEAN), None, 0, "none"), "ridge"),
        (lambda: fitted().predict(X[:, :2], X), "x1"),
        (lambda: fitted().predict(X, X[:2]), "x1"),
        (lambda: si.simulate_collider(0, 0.0, 0), "n"),
        (lambda: si.collider_risks(lambda a, b: a[:, 0], 0.0, 1), "order"),
        (lambda: si.collider_risks(lambda a, b: a, 0.0, 4), "f"),
        (lambda: si.project_out(X, X + 1), "conditional"),
        (lambda: si.project_out(X, X[:2]), "conditional"),
        (lambda: si.class_mean_rule(X, [1.0, 2.0, 1.0]), "y"),
        (lambda: si.robust_margin([0.0, 0.0, 0.0], X, 1.0), "x"),
        (lambda: si.robust_margin(Y, X[:, :2], 1.0), "x"),
        (lambda: si.robust_margin(Y, X, 0.0), "gamma"),
        (lambda: si.robust_surrogate(Y, X, [0.0, 1.0, 1.0], 1.0), "y"),
        (lambda: si.robust_self_training(X, Y, X[:, :2], 1.0), "extra"),
        (lambda: si.robust_self_training(X, Y, X, -1.0), "weight"),
        (lambda: si.robust_self_training(X, Y, X, 1.0, 0.0), "gamma"),
        (lambda: si.robust_self_training(X, Y, X, 1.0, steps=-1), "steps"),
        (lambda: si.robust_self_training(X, Y, X, 1.0, step_size=0.0), "step_size"),
        (lambda: si.robust_self_training(X, Y, np.full((2, 3), np.nan), 1.0), "extra"),
        (lambda: si.two_clouds(0, [1.0], 1.0, 0), "n"),
        (lambda: si.two_clouds(3, [1.0], -1.0, 0), "spread"),
        (lambda: si.cloud_error([1.0], [1.0, 2.0], 1.0), "theta"),
        (lambda: si.cloud_error([1.0], [1.0], 0.0), "spread"),
        (lambda: si.fit_factors(X, 3), "rank"),
        (lambda: si.fit_factors(X[:1], 1), "x"),
        (lambda: si.fit_factors(X, 1, 0.0), "noise_variance"),
        (lambda: si.fit_factors(X, 1, 1.0, [0.0]), "mean"),
        (lambda: si.fit_factors(X, 1).scores(X[:, :2]), "x"),
        (lambda: si.fit_head(X, Y[:2]), "y"),
        (lambda: si.fit_head(X, Y, -1.0), "ridge"),
        (lambda: si.factor_world(4, 4, 1.0, 0), "d"),
        (lambda: si.factor_world(4, 2, 0.0, 0), "strength"),
        (lambda: si.factor_world(4, 2, 1.0, 0, label_noise=0.0), "label_noise"),
        (lambda: si.factor_world(4, 2, 1.0, 0).draw(0, 0), "n"),
        (lambda: si.factor_world(4, 2, 1.0, 0).excess([1.0]), "weights"),
        (lambda: si.fit_mixture(X, 4, 0), "clouds"),
        (lambda: si.fit_mixture(X, 2, 0, steps=0), "steps"),
        (lambda: si.fit_mixture(X, 2, 0, starts=0), "starts"),
        (lambda: si.name_clouds(X, [0, 1, 2], 2), "labels"),
        (lambda: si.name_clouds(X, [0, 1], 2), "posterior"),
    ],
)
def test_bad_input_is_refused_by_name(call, names):
    with pytest.raises(ValueError, match=rf"\b{names}\b"):
        call()
