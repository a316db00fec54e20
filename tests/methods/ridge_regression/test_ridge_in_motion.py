"""Ridge in motion: plain references, closed forms, bad input; the claims and their controls."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute.kernels import Gaussian, Matern12, Matern32, Periodic, Polynomial
from kernellab.compute.online import KernelDictionary, RecursiveLeastSquares
from kernellab.datasets import digits, mauna_loa_co2, photograph
from kernellab.methods.ridge_regression import ridge_in_motion as motion
from tests.naive import ridge_in_motion as naive

KERNEL = Gaussian(0.2)


def squares(predictions, y):
    return float(np.sum((predictions - y) ** 2))


# 1. The plain step


def test_expansion_predicts_and_measures_itself():
    rng = np.random.default_rng(0)
    points, weights, x = rng.random((7, 2)), rng.normal(size=(7, 3)), rng.random((5, 2))
    f = motion.Expansion(KERNEL, points, weights)
    assert np.allclose(f.predict(x), KERNEL.gram(x, points) @ weights)
    assert f.norm() ** 2 == pytest.approx(np.trace(weights.T @ KERNEL.gram(points) @ weights))


def test_sine_stream():
    x, y = motion.sine_stream(2000, 0.1, 3)
    assert x.shape == (2000, 1) and x.min() >= 0 and x.max() <= 1
    assert np.std(y - np.sin(2 * np.pi * x[:, 0])) == pytest.approx(0.1, rel=0.1)
    assert np.array_equal(y, motion.sine_stream(2000, 0.1, np.random.default_rng(3))[1])


@pytest.mark.compiled
@pytest.mark.parametrize("step_size", [None, 0.5])
@pytest.mark.parametrize("radius", [0.7, 50.0])
@pytest.mark.parametrize("n", [1, 60])
def test_full_gradient_is_the_reference(n, radius, step_size):
    x, y = motion.sine_stream(n, 0.3, 1)
    gram = Gaussian(0.1).gram(x)
    run = motion.full_online_gradient(gram, y, radius, step_size)
    predictions, coefficients = naive.full_gradient(gram, y, radius, step_size)
    assert np.allclose(run.predictions, predictions, atol=1e-12)
    assert np.allclose(run.coefficients, coefficients, atol=1e-12)
    assert run.kernel_evaluations == n * (n + 1) // 2
    if radius < 1 and n > 1:  # the ball was reached, and kept
        assert np.sqrt(coefficients @ gram @ coefficients) <= radius * (1 + 1e-12)


def test_full_online_ridge_is_a_batch_fit_before_every_example():
    x, y = motion.sine_stream(60, 0.2, 0)
    gram, ridge = KERNEL.gram(x), 0.3
    run = motion.full_online_ridge(gram, y, ridge)
    for t in range(60):
        before = gram[:t, :t] + ridge * np.eye(t)
        expected = gram[t, :t] @ np.linalg.solve(before, y[:t]) if t else 0.0
        assert run.predictions[t] == pytest.approx(expected, abs=1e-9)
    assert np.allclose(run.coefficients, np.linalg.solve(gram + ridge * np.eye(60), y))
    # An identity of Vovk: discounted online losses add up to the batch fit's penalised loss.
    lower = np.linalg.cholesky(gram + ridge * np.eye(60))
    online = np.sum((run.predictions - y) ** 2 / (np.diagonal(lower) ** 2 / ridge))
    fit = gram @ run.coefficients
    batch = np.sum((fit - y) ** 2) + ridge * run.coefficients @ fit
    assert online == pytest.approx(batch)


# 2. A dictionary that admits only new directions


@pytest.mark.compiled
@pytest.mark.parametrize("step_size", [None, 0.4])
@pytest.mark.parametrize("radius", [1.0, 20.0])
@pytest.mark.parametrize("threshold", [0.3, 1e-2, 1e-4])
def test_dictionary_gradient_is_the_reference(threshold, radius, step_size):
    x, y = motion.sine_stream(70, 0.2, 5)
    learner = motion.OnlineGradient(KERNEL, threshold, radius, step_size)
    predictions = learner.learn(x, y)
    expected, coefficients, members = naive.dictionary_gradient(
        KERNEL, x, y, threshold, radius, step_size
    )
    assert np.allclose(predictions, expected, atol=1e-8)
    assert np.array_equal(learner.dictionary.points, x[members])
    grid = np.linspace(0, 1, 30)[:, None]
    assert np.allclose(
        learner.function.predict(grid), KERNEL.gram(grid, x[members]) @ coefficients, atol=1e-7
    )
    assert learner.function.norm() == pytest.approx(np.linalg.norm(learner.weights), rel=1e-6)


@pytest.mark.compiled
@pytest.mark.parametrize(("curvature", "bound"), [(None, np.inf), (None, 0.5), (0.2, 1.2), (3, 1)])
def test_newton_is_the_reference(curvature, bound):
    x, y = motion.sine_stream(80, 0.3, 2)
    learner = motion.OnlineNewton(KERNEL, 1e-3, 0.5, curvature, None if bound == np.inf else bound)
    predictions = learner.learn(x, y)
    features, sizes = motion.OnlineNewton(KERNEL, 1e-3)._features(x)
    expected, weights, matrix = naive.newton(features, sizes, y, 0.5, curvature, bound)
    assert np.allclose(predictions, expected, atol=1e-9)
    assert np.allclose(learner.weights, weights, atol=1e-8)
    assert np.allclose(learner.inverse @ matrix, np.eye(learner.size), atol=1e-8)
    assert np.array_equal(learner.inverse, learner.inverse.T)
    if bound < np.inf:
        assert np.abs(predictions).max() <= bound * (1 + 1e-12)


def test_features_are_orthonormal_coordinates_of_the_projection():
    x, _ = motion.sine_stream(200, 0.0, 0)
    learner = motion.OnlineNewton(KERNEL, 1e-2)
    features, sizes = learner._features(x)
    coefficients, residuals = learner.dictionary.project(x)
    # Late points met the whole dictionary.
    late = sizes == learner.size
    inner = coefficients @ learner.dictionary.kernel.gram(learner.dictionary.points)
    assert np.allclose(features[late] @ features[late].T, (inner @ coefficients.T)[late][:, late])
    assert np.allclose(np.sum(features[late] ** 2, axis=1), 1 - residuals[late])
    first = sizes[0]
    assert first == 1 and np.count_nonzero(features[0]) == 1 and features[0, 0] == 1


def test_own_curvature_is_recursive_least_squares_on_the_features():
    x, y = motion.sine_stream(300, 0.1, 4)
    learner = motion.OnlineNewton(KERNEL, 1e-4, ridge=0.2)
    predictions = learner.learn(x, y)
    features, _ = motion.OnlineNewton(KERNEL, 1e-4)._features(x)
    peer = RecursiveLeastSquares(features.shape[1], ridge=0.2)
    assert np.allclose(y - peer.update(features, y), predictions, atol=1e-10)
    assert np.allclose(peer.weights, learner.weights, atol=1e-10)


@pytest.mark.parametrize("kernel", [Gaussian(0.15), Gaussian(0.3), Matern32(0.2)])
def test_threshold_zero_is_the_full_learner(kernel):
    x, y = motion.sine_stream(300, 0.1, 0)
    gram = kernel.gram(x)
    gradient = motion.OnlineGradient(kernel, 0.0, 5.0).learn(x, y)
    assert np.allclose(gradient, motion.full_online_gradient(gram, y, 5.0).predictions, atol=1e-6)
    newton = motion.OnlineNewton(kernel, 0.0, 0.5).learn(x, y)
    assert np.allclose(newton, motion.full_online_ridge(gram, y, 0.5).predictions, atol=1e-6)


def test_threshold_zero_is_the_full_learner_to_1e8_where_all_points_are_distinct():
    # On a grid as wide as the kernel nothing is left to rounding, and every new point joins.
    kernel, rng = Matern32(0.2), np.random.default_rng(1)
    x = rng.permutation(np.repeat(np.linspace(0, 1, 20), 10))[:, None]
    y = np.sin(6 * x[:, 0]) + 0.1 * rng.standard_normal(200)
    gradient = motion.OnlineGradient(kernel, 0.0, 1.5)
    full = motion.full_online_gradient(kernel.gram(x), y, 1.5)
    assert np.abs(gradient.learn(x, y) - full.predictions).max() < 1e-8
    newton = motion.OnlineNewton(kernel, 0.0, 0.5)
    full = motion.full_online_ridge(kernel.gram(x), y, 0.5)
    assert np.abs(newton.learn(x, y) - full.predictions).max() < 1e-8
    assert gradient.size == newton.size == 20


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 50), max_size=4), newton=st.booleans())
def test_a_stream_may_be_cut_anywhere(cuts, newton):
    x, y = motion.sine_stream(50, 0.1, 7)

    def fresh():
        return motion.OnlineNewton(KERNEL, 1e-3) if newton else motion.OnlineGradient(KERNEL, 1e-3)

    whole, parts = fresh(), fresh()
    expected = whole.learn(x, y)
    edges = sorted({0, *cuts, 50})
    found = [parts.learn(x[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]
    assert np.allclose(np.concatenate(found), expected, atol=1e-10)
    assert np.allclose(parts.weights, whole.weights, atol=1e-9)
    assert parts.kernel_evaluations == whole.kernel_evaluations and parts.seen == 50


def test_stream_yields_states_that_can_be_stopped_and_continued():
    x, y = motion.sine_stream(100, 0.1, 0)
    learner = motion.OnlineNewton(KERNEL, 1e-3)
    states = list(itertools.islice(motion.stream(learner, x, y, block=15), 3))
    assert [s.seen for s in states] == [15, 30, 45]
    states += list(motion.stream(learner, x[45:], y[45:], block=20))
    assert states[-1].seen == 100 and len(states[-1].predictions) == 15
    expected = motion.OnlineNewton(KERNEL, 1e-3).learn(x, y)
    assert np.allclose(np.concatenate([s.predictions for s in states]), expected, atol=1e-10)
    assert states[2].loss == pytest.approx(squares(expected[:45], y[:45]))
    assert states[0].size <= states[-1].size == learner.size
    # An earlier state keeps its function while the learner goes on.
    again = motion.OnlineNewton(KERNEL, 1e-3)
    again.learn(x[:15], y[:15])
    grid = np.linspace(0, 1, 9)[:, None]
    assert np.allclose(states[0].function.predict(grid), again.function.predict(grid))


def test_kernel_evaluations_and_a_closed_dictionary():
    x, y = motion.sine_stream(50, 0.1, 0)
    learner = motion.OnlineGradient(KERNEL, 1e-3, max_size=4)
    learner.learn(x, y)
    assert learner.size == 4
    observed = KernelDictionary(KERNEL, 1e-3, 4).observe(x)
    before = observed.sizes - observed.added
    assert learner.kernel_evaluations == int(np.sum(before + 1))


def test_a_dictionary_that_nothing_joins():
    x, y = motion.sine_stream(10, 0.1, 0)
    for learner in (motion.OnlineGradient(KERNEL, 2.0), motion.OnlineNewton(KERNEL, 2.0)):
        assert np.array_equal(learner.learn(x, y), np.zeros(10))
        with pytest.raises(ValueError, match="threshold below k"):
            _ = learner.function
    # A point that the kernel maps to 0 teaches nothing, and nothing breaks.
    linear = Polynomial(1, offset=0.0)
    for kind in (motion.OnlineGradient, motion.OnlineNewton):
        learner = kind(linear, 1e-6)
        assert np.array_equal(learner.learn([[0.0], [1.0], [0.0]], [1.0, 2.0, 1.0])[[0, 2]], [0, 0])


def dictionary_loss_ratio(threshold, seed):
    """Cumulative loss of online Newton on a dictionary over that of the full kernel."""
    x, y = motion.sine_stream(2000, 0.1, seed)
    full = motion.full_online_ridge(Gaussian(0.5).gram(x), y, 0.1)
    learner = motion.OnlineNewton(Gaussian(0.5), threshold, ridge=0.1)
    loss = squares(learner.learn(x, y), y)
    ratio = full.kernel_evaluations / learner.kernel_evaluations
    return loss / squares(full.predictions, y), ratio


@pytest.mark.parametrize("seed", range(5))
def test_claim_a_small_dictionary_loses_nothing(seed):
    loss, saved = dictionary_loss_ratio(1e-4, seed)
    assert loss < 1.05 and saved > 20
    loss, _ = dictionary_loss_ratio(0.1, seed)  # the control: too coarse for so wide a kernel
    assert loss > 1.05


@pytest.mark.parametrize("seed", range(5))
def test_claim_the_dictionary_stops_growing(seed):
    def growth(kernel, threshold):
        sizes = []
        for n in (100, 1600):
            learner = motion.OnlineNewton(kernel, threshold)
            learner.learn(*motion.sine_stream(n, 0.1, seed))
            sizes.append(learner.size)
        return sizes[1] / sizes[0]

    assert growth(Gaussian(0.2), 1e-3) < 1.5
    assert growth(Matern12(0.2), 1e-2) > 3  # slow decay of the spectrum: the control


@pytest.mark.parametrize("seed", range(5))
def test_claim_newton_steps_lose_less_than_gradient_steps(seed):
    x, y = motion.sine_stream(2000, 0.1, seed)
    gram = Gaussian(0.15).gram(x)
    dual = motion.full_online_ridge(gram, y, 1.0).coefficients
    batch = squares(gram @ dual, y)
    newton = squares(motion.OnlineNewton(Gaussian(0.15), 1e-4).learn(x, y), y) - batch
    gradient = squares(motion.OnlineGradient(Gaussian(0.15), 1e-4).learn(x, y), y) - batch
    assert newton < 8 < 20 < gradient  # regret against the batch fit
    bounded = motion.OnlineNewton(Gaussian(0.15), 1e-4, curvature=1 / (4 * 1.2**2), bound=1.2)
    assert squares(bounded.learn(x, y), y) - batch < 18


def test_claim_on_the_real_stream_of_co2():
    season, anomaly = mauna_loa_co2().seasonal_cycle()
    x, kernel = season[:, None], Periodic(1.0, 1.0)
    learner = motion.OnlineNewton(kernel, 1e-3, ridge=0.1)
    first = learner.learn(x[:104], anomaly[:104])
    size = learner.size
    rest = learner.learn(x[104:], anomaly[104:])
    full = motion.full_online_ridge(kernel.gram(x), anomaly, 0.1)
    loss = squares(np.concatenate([first, rest]), anomaly)
    assert learner.size <= size + 1 <= 18  # two years fill it, forty more add nothing
    assert loss < 1.02 * squares(full.predictions, anomaly)
    assert full.kernel_evaluations > 40 * learner.kernel_evaluations


# 3. Fixed centres, preconditioning, projection


@pytest.fixture(scope="module")
def handwriting():
    data = digits()
    order = np.random.default_rng(0).permutation(1797)
    train, test = order[:1400], order[1400:]
    targets = motion.one_hot(data.labels, 10)
    return data.x[train], targets[train], data.x[test], data.labels[test]


def problem(n=80, p=12, s=30, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, 2))
    y = np.column_stack([np.sin(5 * x[:, 0]), x[:, 1] ** 2])[:, :outputs]
    y = y + 0.1 * rng.standard_normal(y.shape)
    return x, (y if outputs > 1 else y[:, 0]), x[:p] + 0.01, x[-s:]


def test_eigenfunctions_have_unit_norm_and_diagonalise_the_sample():
    kernel, points = Gaussian(0.3), np.random.default_rng(0).random((40, 2))
    p = motion.nystrom_preconditioner(kernel, points, 6)
    assert p.level == 6
    assert np.allclose(p.map.T @ kernel.gram(points) @ p.map, np.eye(6), atol=1e-8)
    psi = p.eigenfunctions(points)
    assert np.allclose(psi.T @ psi / 40, np.diag(p.eigenvalues), atol=1e-10)
    # P takes the strongest eigenvalue of the sample's operator down to the tail.
    values, vectors = np.linalg.eigh(kernel.gram(points) / 40)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inside = vectors[:, ::-1][:, :6]
    damped = root @ (np.eye(40) - (inside * p.damping) @ inside.T) @ root
    assert np.linalg.eigvalsh(damped)[-1] == pytest.approx(p.tail)
    assert motion.critical_batch(p) == round(1 / p.tail)
    assert motion.critical_batch(motion.nystrom_preconditioner(kernel, points, 0), 0.01) == 1


@pytest.mark.parametrize("level", [0, 5])
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_step_is_a_step_in_function_space_and_a_projection(level, outputs):
    kernel = Matern32(0.5)
    x, y, centres, sample = problem(outputs=outputs)
    model = motion.ProjectedGradient(
        kernel, x, y, centres, motion.nystrom_preconditioner(kernel, sample, level), batch=9
    )
    model.step()
    before, order = model.weights.copy(), model._order[:9]
    residual = kernel.gram(x[order], centres) @ before - y[order]
    values, vectors = np.linalg.eigh(kernel.gram(sample) / len(sample))
    values, vectors = values[::-1], vectors[:, ::-1]
    moved = kernel.gram(centres, x[order]) @ residual
    for i in range(level):  # entry by entry, as the formula says
        psi = kernel.gram(centres, sample) @ vectors[:, i]
        part = vectors[:, i] @ kernel.gram(sample, x[order]) @ residual
        weight = (1 - values[level] / values[i]) / (len(sample) * values[i])
        moved = moved - weight * np.multiply.outer(psi, part)
    theta = np.linalg.solve(kernel.gram(centres), moved)
    model.step()
    assert np.allclose(model.weights, before - model.step_size * theta, atol=1e-10)
    # The public step does the same.
    p = motion.nystrom_preconditioner(kernel, sample, level)
    directions = (p.eigenfunctions(centres), p.damping, p.eigenfunctions(x[order]))
    weights = motion.projected_step(
        before,
        residual,
        kernel.gram(x[order], centres),
        lambda h: np.linalg.solve(kernel.gram(centres), h),
        model.step_size,
        directions if level else None,
    )
    assert np.allclose(weights, model.weights, atol=1e-10)


def test_with_all_points_as_centres_it_is_kernel_gradient_descent():
    kernel = Matern12(0.5)
    x, y, _, _ = problem(n=40, outputs=1)
    model = motion.ProjectedGradient(kernel, x, y, x, batch=7, rng=3)
    weights, gram = np.zeros(40), kernel.gram(x)
    for _ in range(20):
        order = model._order if model._order.size else None
        if order is None:
            state = model._rng.bit_generator.state
            order = model._rng.permutation(40)
            model._rng.bit_generator.state = state
        batch = order[:7]
        weights[batch] -= model.step_size * (gram[batch] @ weights - y[batch])
        model.step()
        assert np.allclose(model.weights, weights, atol=1e-9)


@pytest.mark.parametrize(("level", "inside"), [(0, False), (4, False), (4, True)])
def test_full_batches_tend_to_the_fixed_point(level, inside):
    kernel = Matern32(1.0)
    x, y, centres, sample = problem(p=8)
    sample = centres if inside else sample
    p = motion.nystrom_preconditioner(kernel, sample, level)
    model = motion.ProjectedGradient(kernel, x, y, centres, p, batch=len(x))
    for _ in range(40_000 if level == 0 else 4000):
        model.step()
    cross = kernel.gram(x, centres)
    exact = np.linalg.lstsq(cross, y, rcond=None)[0]
    assert np.allclose(cross @ model.weights, cross @ model.fixed_point(), atol=1e-6)
    assert np.allclose(cross @ model.best(), cross @ exact, atol=1e-8)
    gap = np.abs(cross @ (model.fixed_point() - exact)).max()
    assert gap < 1e-8 if level == 0 or inside else gap > 1e-4
    assert model.mse(model.fixed_point()) >= model.mse(model.best()) - 1e-12


def test_steps_and_epochs_count_their_work_and_repeat():
    kernel = Matern12(0.5)
    x, y, centres, sample = problem(n=50, p=10, s=20)
    p = motion.nystrom_preconditioner(kernel, sample, 3)

    def model():
        return motion.ProjectedGradient(kernel, x, y, centres, p, batch=16, rng=1)

    first, second = model(), model()
    states = list(first.epochs(2))
    assert [s.step for s in states] == [0, 4, 8] and [s.epoch for s in states] == [0, 1, 2]
    assert states[-1].kernel_evaluations == 100 * (10 + 20)
    assert states[0].mse == pytest.approx(np.mean(y**2)) and states[-1].mse < states[0].mse
    watched = list(itertools.islice(second.steps(every=2), 5))
    assert [s.step for s in watched] == [0, 2, 4, 6, 8]
    assert np.array_equal(watched[-1].weights, states[-1].weights)
    assert watched[-1].multiply_adds == states[-1].multiply_adds > 0
    grid = np.random.default_rng(0).random((4, 2))
    assert np.allclose(
        first.function.predict(grid), kernel.gram(grid, centres) @ states[-1].weights
    )
    plain = motion.ProjectedGradient(kernel, x, y, centres, batch=16)
    plain.step()
    assert plain.kernel_evaluations == 16 * 10
    assert plain.step_size == pytest.approx(
        motion.stable_step(motion.nystrom_preconditioner(kernel, x, 0).tail, 16)
    )


def test_a_sample_too_small_for_its_level_diverges_and_says_so(handwriting):
    x, y, _, _ = handwriting
    kernel = Gaussian(2.0)
    p = motion.nystrom_preconditioner(kernel, x[:50], 49)
    states = list(motion.ProjectedGradient(kernel, x, y, x[-200:], p).epochs(60))
    assert states[-1].diverged and len(states) < 20 and np.isfinite(states[-1].mse)
    wider = motion.nystrom_preconditioner(kernel, x[:300], 49)
    states = list(motion.ProjectedGradient(kernel, x, y, x[-200:], wider).epochs(10))
    assert not any(s.diverged for s in states) and states[-1].mse < 0.02


def epochs_needed(handwriting, level, factor, seed, count):
    x, y, _, _ = handwriting
    rng = np.random.default_rng(seed)
    kernel = Matern12(3.0)
    centres, sample = x[rng.permutation(1400)[:300]], x[rng.permutation(1400)[:300]]
    p = motion.nystrom_preconditioner(kernel, sample, level)
    model = motion.ProjectedGradient(kernel, x, y, centres, p, batch=200, rng=rng)
    errors = [s.mse for s in model.epochs(count)]
    return motion.epochs_to_reach(errors, factor * model.mse(model.best()))


@pytest.mark.parametrize("seed", range(3))
def test_claim_preconditioning_saves_epochs(handwriting, seed):
    assert epochs_needed(handwriting, 30, 2.0, seed, 10) <= 2
    assert epochs_needed(handwriting, 30, 1.2, seed, 10) <= 6
    assert epochs_needed(handwriting, 0, 2.0, seed, 10) > 10  # the control: P = I


@pytest.mark.parametrize("seed", range(3))
def test_claim_the_fixed_point_is_near_least_squares_not_on_it(handwriting, seed):
    x, y, _, _ = handwriting
    rng = np.random.default_rng(seed)
    kernel = Matern12(3.0)
    centres, sample = x[rng.permutation(1400)[:100]], x[rng.permutation(1400)[:300]]
    p = motion.nystrom_preconditioner(kernel, sample, 60)
    model = motion.ProjectedGradient(kernel, x, y, centres, p, batch=1400)
    *_, last = model.epochs(150)
    fixed, best = model.fixed_point(), model.best()
    assert model.mse(last.weights - fixed + best) == pytest.approx(model.mse(best), rel=1e-4)
    assert 1.01 < model.mse(fixed) / model.mse(best) < 1.08
    cross = kernel.gram(x, centres)
    scale = np.linalg.norm(cross @ fixed)
    assert np.linalg.norm(cross @ (last.weights - fixed)) / scale < 1e-5
    assert np.linalg.norm(cross @ (last.weights - best)) / scale > 1e-3  # the control


def test_claim_data_and_model_size_are_decoupled(handwriting):
    x, y, test, labels = handwriting
    kernel, order = Matern12(3.0), np.random.default_rng(1).permutation(1400)

    def wrong(n, p):
        p_conditioner = motion.nystrom_preconditioner(kernel, x[order[: min(n, 300)]], 30)
        model = motion.ProjectedGradient(
            kernel, x[order[:n]], y[order[:n]], x[order[-p:]], p_conditioner
        )
        *_, _ = model.epochs(15)
        return float(np.mean(np.argmax(model.function.predict(test), axis=1) != labels))

    assert wrong(1400, 200) < 0.6 * wrong(150, 200)
    assert wrong(1400, 300) < 0.6 * wrong(1400, 40)


@pytest.mark.parametrize("seed", range(3))
def test_claim_at_their_critical_batches_levels_save_steps_not_kernel_evaluations(
    handwriting, seed
):
    x, y, _, _ = handwriting
    rng = np.random.default_rng(seed)
    kernel = Matern12(3.0)
    centres, sample = x[rng.permutation(1400)[:300]], x[rng.permutation(1400)[:300]]

    def work(level, every):
        p = motion.nystrom_preconditioner(kernel, sample, level)
        model = motion.ProjectedGradient(kernel, x, y, centres, p, rng=seed)
        goal = 1.2 * model.mse(model.best())
        return next(s for s in model.steps(every) if s.mse < goal or s.epoch > 30)

    plain, calm = work(0, 46), work(30, 1)
    assert plain.step > 40 * calm.step
    assert 0.25 < plain.kernel_evaluations / calm.kernel_evaluations < 2
    assert plain.multiply_adds > 8 * calm.multiply_adds


def test_matching_level():
    points = np.random.default_rng(0).random((60, 2))
    for batch in (1, 5, 40, 1000):
        q = motion.matching_level(Matern32(0.5), points, batch)
        values = np.linalg.eigvalsh(Matern32(0.5).gram(points) / 60)[::-1]
        assert q == 0 or 1 / values[q] <= batch
        assert q == 59 or 1 / values[q + 1] > batch


def test_small_helpers():
    assert motion.epochs_to_reach([3.0, 2.0, 1.0, 2.0], 2.0) == 1
    assert motion.epochs_to_reach([3.0], 2.0) == np.inf
    assert motion.one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert motion.stable_step(0.5, 1) == 1 and motion.stable_step(0.5, 3, beta=2) == 1 / 3


# 4. A teacher


@pytest.mark.compiled
@pytest.mark.parametrize("step_size", [0.5, 1.9])
def test_teaching_is_the_reference(step_size):
    gram = Gaussian(0.2).gram(motion.unit_grid(6))
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(3, 36))
    taught = motion.teach(gram, targets, 25, step_size)
    for j in range(3):
        values, coefficients, losses, chosen = naive.teach(gram, targets[j], 25, step_size)
        assert np.array_equal(taught.chosen[:, j], chosen)
        assert np.allclose(taught.values[j], values, atol=1e-10)
        assert np.allclose(taught.coefficients[j], coefficients, atol=1e-10)
        assert np.allclose(taught.losses[:, j], losses, atol=1e-12)
    assert np.allclose(taught.coefficients @ gram, taught.values, atol=1e-10)
    shown = motion.teach(gram, targets, 25, step_size, teacher="random", rng=4)
    values, *_ = naive.teach(gram, targets[1], 25, step_size, shown.chosen[:, 1])
    assert np.allclose(shown.values[1], values, atol=1e-10)


@pytest.mark.parametrize("teacher", motion.TEACHERS)
@pytest.mark.parametrize("communicate", [False, True])
def test_lessons_can_be_watched(teacher, communicate):
    gram = Gaussian(0.15).gram(motion.unit_grid(7))
    rng = np.random.default_rng(2)
    targets, start = rng.normal(size=(2, 49)), rng.normal(size=(2, 49))
    taught = motion.teach(gram, targets, 12, 0.5, teacher, communicate, start, rng=1)
    steps = motion.teach_steps(gram, targets, 0.5, teacher, communicate, start, rng=1)
    lessons = list(itertools.islice(steps, 13))
    assert [lesson.number for lesson in lessons] == list(range(13))
    assert np.allclose(lessons[-1].values, taught.values, atol=1e-10)
    assert np.allclose(lessons[-1].coefficients, taught.coefficients, atol=1e-10)
    assert np.allclose([lesson.losses for lesson in lessons], taught.losses, atol=1e-12)
    assert np.array_equal(np.array([lesson.chosen for lesson in lessons[1:]]), taught.chosen)
    assert taught.mixtures.shape == (12, 2, 2)
    assert np.array_equal(taught.mixtures[0], np.eye(2)) != communicate


def test_no_lessons_leave_the_start():
    gram = Gaussian(0.2).gram(motion.unit_grid(3))
    for communicate in (False, True):
        taught = motion.teach(gram, np.ones(9), 0, communicate=communicate, start=2 * np.ones(9))
        assert np.array_equal(taught.values, 2 * np.ones((1, 9)))
        assert taught.losses.tolist() == [[1.0]] and taught.chosen.shape == (0, 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("teacher", motion.TEACHERS)
def test_claim_every_lesson_lowers_the_rkhs_distance_by_the_formula(teacher, seed):
    gram = Gaussian(0.1).gram(motion.unit_grid(12))
    target, wanted = motion.smooth_target(gram, 10, seed)

    def changes(step_size):
        lessons = itertools.islice(
            motion.teach_steps(gram, target, step_size, teacher, rng=seed), 60
        )
        lessons = list(lessons)
        distance = [motion.rkhs_distance_squared(gram, a.coefficients[0], wanted) for a in lessons]
        residual = [(a.values[0] - target)[b.chosen[0]] for a, b in itertools.pairwise(lessons)]
        return np.diff(distance), (step_size**2 - 2 * step_size) * np.square(residual)

    found, formula = changes(0.5)
    assert np.allclose(found, formula, atol=1e-9)
    assert found.max() < 1e-12
    with pytest.raises(ValueError, match="step_size must be below 2"):  # beyond, it would rise
        motion.teach(gram, target, 1, 2.0)


@pytest.mark.parametrize("seed", range(5))
def test_claim_greedy_teaching_wins_on_smooth_targets_and_not_on_an_edge(seed):
    points = motion.unit_grid(32)
    gram = Gaussian(0.06).gram(points)

    def advantage(target):
        greedy = motion.teach(gram, target, 200)
        random = motion.teach(gram, target, 200, teacher="random", rng=seed)
        return random.losses[200, 0] / greedy.losses[200, 0]

    assert advantage(motion.smooth_target(gram, 20, seed)[0]) > 20
    assert advantage(motion.step_target(points)) < 5  # the control


@pytest.mark.parametrize("seed", range(3))
def test_on_an_edge_the_greedy_teacher_stays_and_a_random_one_wins(seed):
    points = motion.unit_grid(32)
    gram, target = Gaussian(0.06).gram(points), motion.step_target(points)
    greedy = motion.teach(gram, target, 600)
    random = motion.teach(gram, target, 600, teacher="random", rng=seed)
    assert random.losses[600, 0] < 0.7 * greedy.losses[600, 0]
    near = np.abs(points[greedy.chosen[200:, 0], 1] - 0.5) < 2 / 32
    assert near.mean() > 0.8


def test_best_mixture_is_least_squares_and_never_harms():
    rng = np.random.default_rng(0)
    functions, targets = rng.normal(size=(3, 30)), rng.normal(size=(3, 30))
    mixture = motion.best_mixture(functions, targets)
    direct = targets @ functions.T @ np.linalg.inv(functions @ functions.T)
    assert np.allclose(mixture, direct)
    for other in [np.eye(3), *rng.normal(size=(20, 3, 3))]:
        assert np.sum((mixture @ functions - targets) ** 2) <= np.sum(
            (other @ functions - targets) ** 2
        )
    assert np.array_equal(motion.best_mixture(np.zeros((2, 5)), np.ones((2, 5))), np.zeros((2, 2)))


@pytest.mark.parametrize("seed", range(3))
def test_claim_mixed_up_learners_are_sorted_out_by_one_mixture(seed):
    rng = np.random.default_rng(seed)
    targets = photograph("coffee", 16).reshape(-1, 3).T
    gram = Gaussian(0.1).gram(motion.unit_grid(16))
    start = rng.normal(size=(3, 3)) @ targets
    mixed = motion.teach(gram, targets, 1, communicate=True, start=start)
    alone = motion.teach(gram, targets, 1, start=start)
    assert mixed.losses[1].max() < 1e-10 < 1e-3 < alone.losses[1].max()


@pytest.mark.parametrize("teacher", motion.TEACHERS)
def test_claim_mixing_lowers_the_loss_at_every_lesson(teacher):
    targets = photograph("coffee", 16).reshape(-1, 3).T
    gram = Gaussian(0.1).gram(motion.unit_grid(16))
    steps = motion.teach_steps(gram, targets, 0.5, teacher, True, rng=0)
    for before, after in itertools.pairwise(itertools.islice(steps, 100)):
        mixed = after.mixture @ before.values
        assert np.sum((mixed - targets) ** 2) <= np.sum((before.values - targets) ** 2) + 1e-12


def test_mixing_may_undo_greedy_lessons():
    # The mixture that lowers the loss can bring back the error that was just corrected, so that
    # the greedy teacher shows the same point again and again; a random teacher gets out.
    targets = photograph("coffee", 32).reshape(-1, 3).T
    targets = targets - targets.mean(axis=1, keepdims=True)
    gram = Gaussian(0.1).gram(motion.unit_grid(32))
    stuck = motion.teach(gram, targets, 150, communicate=True).losses.mean(axis=1)
    alone = motion.teach(gram, targets, 150).losses.mean(axis=1)
    assert stuck[10] < 0.9 * alone[10] and stuck[150] > 1.1 * alone[150]
    free = motion.teach(gram, targets, 150, 0.5, "random", True, rng=0).losses.mean(axis=1)
    assert free[150] < 0.8 * stuck[150]


def test_targets_and_grids():
    grid = motion.unit_grid(4)
    assert grid.shape == (16, 2) and grid[1].tolist() == [0.125, 0.375]
    assert motion.step_target(grid).reshape(4, 4)[0].tolist() == [-1, -1, 1, 1]
    gram = Gaussian(0.3).gram(grid)
    values, coefficients = motion.smooth_target(gram, 3, 0)
    assert values.std() == pytest.approx(1) and np.count_nonzero(coefficients) == 3
    assert np.allclose(gram @ coefficients, values)
    assert motion.smooth_target([[1.0]], 1, 0)[0].shape == (1,)


# Bad input

X, Y = motion.sine_stream(6, 0.1, 0)
GRAM = KERNEL.gram(X)
CENTRES = X[:3]
P = motion.nystrom_preconditioner(Matern12(0.5), X, 2)


def projected(**changes):
    arguments = {"kernel": Matern12(0.5), "x": X, "y": Y, "centres": CENTRES} | changes
    return motion.ProjectedGradient(**arguments)


def step(**changes):
    arguments = {
        "weights": np.zeros(3),
        "residual": np.ones(6),
        "cross": np.ones((6, 3)),
        "solve_centres": lambda h: h,
        "step_size": 0.1,
    } | changes
    return motion.projected_step(**arguments)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: motion.sine_stream(0, 0.1, 0), "n must be an integer of at least 1"),
        (lambda: motion.sine_stream(5, -1, 0), "noise must be"),
        (lambda: motion.sine_stream(5, 0.1, None), "rng must be"),
        (lambda: motion.full_online_gradient(GRAM[:4], Y, 1.0), "gram must be square"),
        (lambda: motion.full_online_gradient(GRAM, Y[:4], 1.0), "y must have length 6"),
        (lambda: motion.full_online_gradient(GRAM, Y, 0.0), "radius must be a positive"),
        (lambda: motion.full_online_gradient(GRAM, Y, 1.0, -1), "step_size must be a positive"),
        (lambda: motion.full_online_ridge(GRAM, Y, 0.0), "ridge must be a positive"),
        (lambda: motion.full_online_ridge(GRAM, Y[1:], 1.0), "y must have length 6"),
        (lambda: motion.OnlineGradient("rbf", 0.1), "kernel must have the methods"),
        (lambda: motion.OnlineGradient(KERNEL, -0.1), "threshold must be"),
        (lambda: motion.OnlineGradient(KERNEL, 0.1, np.inf), "radius must be a positive"),
        (lambda: motion.OnlineGradient(KERNEL, 0.1, step_size=0), "step_size must be a positive"),
        (lambda: motion.OnlineGradient(KERNEL, 0.1, max_size=0), "max_size must be"),
        (lambda: motion.OnlineGradient(KERNEL, 0.1).learn(X[:, 0], Y), "x must be a matrix"),
        (lambda: motion.OnlineGradient(KERNEL, 0.1).learn(X, Y[:2]), "y must have length 6"),
        (lambda: motion.OnlineGradient(KERNEL, 0.1).learn(X, Y * np.nan), "y must be finite"),
        (lambda: motion.OnlineGradient(KERNEL, 0.1).function, "the dictionary is empty after 0"),
        (lambda: motion.OnlineNewton(KERNEL, 0.1, ridge=0), "ridge must be a positive"),
        (lambda: motion.OnlineNewton(KERNEL, 0.1, curvature=1.0), "bound must be given"),
        (lambda: motion.OnlineNewton(KERNEL, 0.1, curvature=0, bound=1), "curvature must be"),
        (lambda: motion.OnlineNewton(KERNEL, 0.1, bound=-1), "bound must be a positive"),
        (lambda: motion.stream("learner", X, Y), "learner must be an OnlineGradient"),
        (lambda: motion.stream(motion.OnlineNewton(KERNEL, 0.1), X, Y, 0), "block must be"),
        (lambda: motion.stream(motion.OnlineNewton(KERNEL, 0.1), X, Y[1:]), "y must have length"),
        (lambda: motion.nystrom_preconditioner(KERNEL, X, 6), "level must be an integer between"),
        (lambda: motion.nystrom_preconditioner(KERNEL, X[:, 0], 1), "points must be a matrix"),
        (
            lambda: motion.nystrom_preconditioner(KERNEL, np.zeros((5, 1)), 2),
            "level must be below the sample's rank 1",
        ),
        (lambda: motion.critical_batch(P, 0), "beta must be a positive"),
        (lambda: motion.matching_level(KERNEL, X, 0), "batch must be an integer"),
        (lambda: motion.matching_level(KERNEL, X[:, 0], 5), "points must be a matrix"),
        (lambda: motion.stable_step(0.0, 5), "tail must be a positive"),
        (lambda: motion.stable_step(0.1, 0), "batch must be an integer"),
        (lambda: step(weights=np.zeros((3, 2))), "weights and residual must have the same outputs"),
        (lambda: step(cross=np.ones((6, 4))), "cross must have 3 columns"),
        (lambda: step(step_size=0), "step_size must be a positive"),
        (lambda: step(solve_centres=np.eye(3)), "solve_centres must be a function"),
        (
            lambda: step(directions=(np.ones((2, 1)), np.ones(1), np.ones((6, 1)))),
            r"directions\[0\] must have 3 rows",
        ),
        (
            lambda: step(directions=(np.ones((3, 1)), np.ones(2), np.ones((6, 1)))),
            r"directions\[1\] must have length 1",
        ),
        (lambda: projected(y=Y[:5]), "x and y must have the same length"),
        (lambda: projected(centres=np.ones((2, 3))), "centres must have 1 column"),
        (lambda: projected(preconditioner=5), "preconditioner must come from"),
        (lambda: projected(batch=7), "batch must be an integer between 1 and 6"),
        (lambda: projected(step_size=-1), "step_size must be a positive"),
        (lambda: projected(rng="seed"), "rng must be"),
        (lambda: projected().mse(np.zeros(4)), r"weights must have shape \(3,\)"),
        (lambda: projected().steps(0), "every must be"),
        (lambda: projected().epochs(-1), "count must be"),
        (lambda: motion.epochs_to_reach([], 1.0), "errors must not be empty"),
        (lambda: motion.one_hot([0, 3], 3), r"labels must lie in 0\.\.2"),
        (lambda: motion.one_hot([0.5], 3), "labels must be a vector of integers"),
        (lambda: motion.one_hot([0], 0), "n_classes must be"),
        (lambda: motion.teach(GRAM, Y[:5], 3), "targets must have one column a point"),
        (lambda: motion.teach(GRAM, Y, -1), "lessons must be"),
        (lambda: motion.teach(GRAM, Y, 3, 0.0), "step_size must be a positive"),
        (lambda: motion.teach(GRAM, Y, 3, 2.5), "step_size must be below 2"),
        (lambda: motion.teach(GRAM, Y, 3, teacher="gready"), "did you mean 'greedy'"),
        (lambda: motion.teach(GRAM, Y, 3, teacher="random"), "rng must be given"),
        (lambda: motion.teach(GRAM, Y, 3, start=Y[:2]), "start must have the shape of targets"),
        (
            lambda: motion.teach(GRAM[:, ::-1] + np.arange(6), Y, 3),
            "gram must be a symmetric matrix",
        ),
        (lambda: motion.teach(GRAM[:4], Y, 3), "gram must be a symmetric matrix"),
        (lambda: motion.teach_steps(GRAM, Y, teacher="random"), "rng must be given"),
        (lambda: motion.best_mixture(np.ones((2, 5)), np.ones((3, 5))), "targets must have 2 rows"),
        (lambda: motion.rkhs_distance_squared(GRAM, Y, Y[1:]), "target_coefficients must have"),
        (lambda: motion.rkhs_distance_squared(GRAM, Y[1:], Y), "coefficients must have length 6"),
        (lambda: motion.unit_grid(0), "side must be"),
        (lambda: motion.smooth_target(GRAM, 7, 0), "bumps must be an integer between 1 and 6"),
        (lambda: motion.smooth_target(GRAM, 2, -3), "rng must be"),
        (lambda: motion.step_target(X, 1.5), "position must be a number between 0 and 1"),
        (lambda: motion.step_target(X[:, 0]), "points must be a matrix"),
        (lambda: motion.Expansion(KERNEL, X, Y).predict(X[:, 0]), "x must be a matrix"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
