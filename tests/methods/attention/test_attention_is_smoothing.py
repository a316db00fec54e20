"""Attention as smoothing: plain references, closed forms, bad input; claims and controls."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernellab.compute.attention import attention_weights, kernel_attention, softmax_attention
from kernellab.compute.kernels import Gaussian
from kernellab.methods.attention import attention_is_smoothing as sm
from tests.naive import attention_is_smoothing as naive


def cloud(n, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


# 1. One smoother, many kernels


@pytest.mark.parametrize("rule", sm.RULES)
def test_weights_are_those_of_the_loops(rule):
    q, k, bias = cloud(5), cloud(8, seed=1), cloud(5, 8, seed=2)
    found = sm.smoothing_weights(rule, q, k, 0.7, bias)
    assert np.allclose(found, naive.smoothing_weights(rule, q, k, 0.7, bias), rtol=1e-6)
    plain = sm.smoothing_weights(rule, q, k, 0.7)
    assert np.allclose(plain, naive.smoothing_weights(rule, q, k, 0.7, 0 * bias), rtol=1e-6)


def test_gaussian_rule_is_the_shared_smoother_and_nadaraya_watson():
    q, k, v = cloud(6, 1), cloud(30, 1, 1), cloud(30, 1, 2)
    found = sm.smoothing_weights("Gaussian", q, k, 0.4) @ v
    assert np.allclose(found, kernel_attention(Gaussian(0.4), q, k, v))
    regression = pytest.importorskip("statsmodels.nonparametric.kernel_regression")
    local = regression.KernelReg(v[:, 0], k[:, 0], "c", reg_type="lc", bw=[0.4])
    assert np.allclose(found[:, 0], local.fit(q[:, 0])[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 3.0))
def test_on_a_sphere_softmax_and_gaussian_are_one(seed, bandwidth):
    q, k = cloud(4, seed=seed), cloud(7, seed=seed + 1)
    k *= 1.3 / np.linalg.norm(k, axis=1, keepdims=True)
    dot = sm.smoothing_weights("dot product", q, k, bandwidth)
    assert np.allclose(dot, sm.smoothing_weights("Gaussian", q, k, bandwidth), atol=1e-9)


def test_far_queries_have_weights():
    weights = sm.smoothing_weights("Gaussian", cloud(3) + 1e4, cloud(9), 0.1)
    assert np.allclose(weights.sum(axis=1), 1.0)


def test_effective_keys():
    assert np.allclose(sm.effective_keys(np.ones((2, 7))), 7.0)
    assert np.allclose(sm.effective_keys(np.eye(4)), 1.0)
    assert np.allclose(sm.effective_keys([[1e308, 1e308], [1e-320, 0.0]]), [2.0, 1.0])


def test_landmarks_are_two_softmaxes():
    q, marks, k, v = cloud(5), cloud(4, seed=1), cloud(9, seed=2), cloud(9, 2, 3)
    both = attention_weights(q, marks, scale=0.8) @ attention_weights(marks, k, scale=0.8)
    assert np.allclose(sm.landmark_attention(q, marks, k, v, 0.8), both @ v)
    assert np.linalg.matrix_rank(both) == 4  # factorised: no more than there are landmarks


def test_random_features_tend_to_softmax():
    q, k, v = 0.5 * cloud(5), 0.5 * cloud(9, seed=1), cloud(9, 2, 2)
    exact = softmax_attention(q, k, v, scale=1.0)
    features = sm.draw_features(200_000, 3, 0)
    assert np.abs(sm.feature_attention(features, q, k, v) - exact).max() < 0.02
    weights = sm.feature_weights(features, q, k)
    assert np.allclose(weights @ v, sm.feature_attention(features, q, k, v))


def test_features_survive_long_tokens():
    q, k, v = 300 * cloud(5), 300 * cloud(9, seed=1), cloud(9, 2, 2)
    found = sm.feature_attention(sm.draw_features(16, 3, 0), q, k, v)
    assert np.isfinite(found).all()


def test_learned_features_mimic_better_than_drawn_ones():
    tokens, fresh, v = cloud(200), cloud(100, seed=1), cloud(100, 1, 2)
    exact = softmax_attention(fresh, fresh, v, scale=1.0)
    ratios = []
    for seed in range(6):
        drawn = sm.draw_features(16, 3, seed)
        learned, losses = sm.learn_features(tokens, 16, seed, scales=(0.5, 2.0))
        before, after = (
            np.sqrt(np.mean((sm.feature_attention(f, fresh, fresh, v) - exact) ** 2))
            for f in (drawn, learned)
        )
        ratios.append(before / after)
        assert losses.shape == (300,) and losses.min() > -1e-9
    assert np.median(ratios) > 1.25 and min(ratios) > 0.8
    untrained, _ = sm.learn_features(tokens, 16, 5, steps=0)
    assert np.allclose(untrained.frequencies, drawn.frequencies)


def test_mimicry_of_far_tokens_is_finite():
    features, losses = sm.learn_features(1e6 * cloud(6), 4, 0, steps=20, batch=4)
    assert np.isfinite(losses).all() and np.isfinite(features.frequencies).all()


def test_slopes_of_the_mimicry():
    x, features = cloud(6), sm.FeatureMap(cloud(4, seed=1), cloud(4, 1, 2)[:, 0])
    target = attention_weights(x, x, scale=1.0)
    _, slopes = sm._mimic(features, x, target)

    def loss(w, b):
        phi_q = anp.exp(x @ w.T + b)
        phi_k = anp.exp(x @ w.T + b - 0.5 * np.sum(x * x, 1)[:, None])
        a = phi_q @ phi_k.T
        return -anp.mean(anp.sum(target * (anp.log(a) - anp.log(a.sum(1))[:, None]), 1))

    assert np.allclose(slopes.frequencies, autograd.grad(loss, 0)(*features))
    assert np.allclose(slopes.offsets, autograd.grad(loss, 1)(*features))


# 2. Networks on sets


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_blocks_are_those_of_the_loops(heads):
    gather, spread = sm.draw_block(8, 0), sm.draw_block(8, 1)
    gather = gather._replace(bias=cloud(1, 8)[0])
    x, y = cloud(5, 8, 2), cloud(7, 8, 3)
    assert np.allclose(sm.mab(gather, x, y, heads), naive.mab(gather, x, y, heads))
    inner = naive.mab(gather, x, y, heads)
    out, weights, _ = sm.mab_pullback(gather, x, y, heads)
    assert np.allclose(out, inner) and np.allclose(weights.sum(axis=-1), 1.0)
    assert weights.shape == (heads, 5, 7)
    assert np.allclose(sm.isab(gather, spread, x, y, heads), naive.mab(spread, y, inner, heads))
    assert np.allclose(sm.sab(gather, x, heads), naive.mab(gather, x, x, heads))
    stacked = sm.mab(gather, x, np.stack([y, y + 1]), heads)
    assert np.allclose(stacked[1], naive.mab(gather, x, y + 1, heads))


def test_pooling_with_a_silent_row_layer_is_a_softmax_average():
    zero, eye = np.zeros((4, 4)), np.eye(4)
    block = sm.Block(eye, eye, eye, eye, zero, np.zeros(4))
    seed, x = np.zeros((1, 4)), cloud(6, 4)
    assert np.allclose(sm.pma(block, seed, x, heads=1), x.mean(axis=0))  # a seed of 0 asks nothing
    seed = cloud(1, 4, 1)
    weights = attention_weights(seed, x, scale=0.5)
    assert np.allclose(sm.pma(block, seed, x, heads=1), seed + weights @ x)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_equivariance_and_invariance(seed, n):
    rng = np.random.default_rng(seed)
    a, b, x, p = sm.draw_block(8, rng), sm.draw_block(8, rng), cloud(n, 8, seed), rng.permutation(n)
    points = rng.standard_normal((3, 8))
    assert np.allclose(sm.sab(a, x[p]), sm.sab(a, x)[p], atol=1e-12)
    assert np.allclose(sm.isab(a, b, points, x[p]), sm.isab(a, b, points, x)[p], atol=1e-12)
    assert np.allclose(sm.pma(a, points, x[p]), sm.pma(a, points, x), atol=1e-12)


@pytest.mark.parametrize("encoder", sm.ENCODERS)
@pytest.mark.parametrize("pool", sm.POOLS)
def test_slopes_of_set_networks(encoder, pool):
    network = sm.SetNetwork(encoder, pool, 0, d=4, inducing=3)
    rng = np.random.default_rng(0)
    sets, up = rng.random((5, 4, 1)), rng.standard_normal(5)
    _, _, slopes = network.pullback(sets)
    found = slopes(up)
    for place in range(0, network.vector.size, 5):
        old = network.vector[place]
        ends = []
        for step in (1e-6, -1e-6):
            network.vector[place] = old + step
            ends.append(up @ network.predict(sets))
        network.vector[place] = old
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(found[place], abs=1e-6)


def test_attention_pools_find_the_largest_and_means_do_not():
    ratios = []
    for seed in range(2):
        errors = {}
        for pool in ("attention", "mean", "max"):
            network = sm.SetNetwork("rows", pool, seed)
            steps = list(sm.train_on_maximum(network, 100 + seed))
            assert steps[-1][0] == 1.0 and steps[-1][1] < steps[0][1]
            errors[pool] = sm.maximum_error(network, 1000)
        ratios.append(errors["mean"] / errors["attention"])
        assert errors["max"] < 0.02  # the task is its own
    assert min(ratios) > 3
    network = sm.SetNetwork("rows", "attention", 0)
    assert sm.maximum_error(network, 1000) > 0.1  # before training


def test_a_pool_that_does_not_listen_stays_a_mean():
    network = sm.SetNetwork("rows", "attention", 0)
    network.pooling[1].query[:] = network.pooling[1].key[:] = 0.0
    for _ in sm.train_on_maximum(network, 0, steps=20):
        pass
    assert np.allclose(network.attention(np.random.default_rng(0).random((3, 5, 1))), 0.2)


def test_pools_have_equally_many_weights():
    sizes = [sm.SetNetwork("rows", pool).vector.size for pool in sm.POOLS]
    assert max(sizes) < 1.03 * min(sizes)


# 3. Kernels of the position


@pytest.mark.parametrize("family", ["power", "log"])
@pytest.mark.parametrize("r2", [0.3, 1.0, 1.8])
def test_offset_is_that_of_bisection_and_of_the_determinant_lemma(family, r2):
    gram = sm.position_gram(family, 30, 0.7, r2)
    c = sm.psd_offset(gram)
    assert c == pytest.approx(naive.psd_offset(gram), rel=1e-4)
    assert c == pytest.approx(-1.0 / np.linalg.inv(gram).sum(), rel=1e-6)
    assert np.linalg.eigvalsh(gram + c)[0] > -1e-9
    assert np.linalg.eigvalsh(gram + 0.99 * c)[0] < -1e-6
    assert sm.centred_least(gram) > 0


@pytest.mark.parametrize("n", [2, 3, 10, 200])
def test_offset_of_a_line_is_half_its_length(n):
    assert sm.psd_offset(sm.position_gram("power", n, 1.0, 1.0)) == pytest.approx((n - 1) / 2)


def test_offsets_at_the_edges():
    assert sm.psd_offset(np.eye(5)) == 0.0
    assert sm.psd_offset([[-2.0]]) == 2.0
    assert sm.psd_offset(sm.position_gram("power", 20, 1.0, 2.5)) == np.inf
    assert sm.centred_least(sm.position_gram("power", 20, 1.0, 2.5)) < -1
    # at exponent 2 the bias is still CPD, but no constant suffices
    square = sm.position_gram("power", 20, 1.0, 2.0)
    assert sm.centred_least(square) > -1e-9 and sm.psd_offset(square) == np.inf
    assert np.linalg.eigvalsh(square + 1e6)[0] < -1e-6
    assert sm.psd_offset(np.zeros((3, 3))) == 0.0
    for scale in (1e-200, 1e200):  # nothing depends on the unit
        gram = scale * sm.position_gram("power", 5, 1.0, 1.0)
        assert sm.psd_offset(gram) == pytest.approx(2.0 * scale)
        assert sm.centred_least(gram) == pytest.approx(scale * sm.centred_least(gram / scale))


def test_the_constant_is_hidden_by_the_division():
    gram = sm.position_gram("power", 50, 1.0, 1.0)
    q, k = cloud(50), cloud(50, seed=1)
    plain = attention_weights(q, k, bias=gram)
    assert np.abs(attention_weights(q, k, bias=gram + 24.5) - plain).max() < 1e-14


def test_window_of_a_line_is_finite_and_that_of_the_log_grows():
    windows = {}
    for family, r1 in (("power", 0.05), ("log", 1.0)):
        for n in (256, 1024, 4096):
            bias = sm.position_bias(family, np.arange(n), r1, 1.0)
            windows[family, n] = sm.effective_keys(np.exp(bias)[None])[0]
    assert windows["power", 256] == pytest.approx(54.4, abs=0.1)
    assert windows["power", 4096] == pytest.approx(windows["power", 256], rel=0.01)
    assert windows["log", 4096] > 1.5 * windows["log", 1024] > 2 * windows["log", 256]


@pytest.mark.parametrize("family", sm.FAMILIES)
def test_forecasts_are_those_of_the_loops(family):
    series = sm.local_level(60, 0)
    head = sm.Forecaster(family, 0.8, 0.3, 0.7)
    found = head.predict(series, 20)
    wanted = naive.forecast(series, 20, 0.8, lambda d: float(sm.position_bias(family, d, 0.3, 0.7)))
    assert np.allclose(found, wanted)
    assert head.weights(series, 20).shape == (40, 19)
    assert head.error(series, 20) == pytest.approx(np.mean((found - series[20:]) ** 2))
    # slopes of the scores in the logarithms of the three numbers
    gaps, distance, *_ = sm._windows(series, 20)
    scores, *slopes = sm._past(head, gaps, distance)
    for place, slope in enumerate(slopes[: 3 if family != "none" else 1]):
        moved = np.log(head[1:])
        moved[place] += 1e-6
        other = sm._past(sm.Forecaster(family, *np.exp(moved)), gaps, distance)[0]
        assert np.allclose((other - scores) / 1e-6, np.broadcast_to(slope, scores.shape), atol=1e-4)


def test_a_bias_reaches_beyond_the_training_length():
    for seed in range(2):
        train, test = sm.local_level(1000, seed), sm.local_level(2256, 50 + seed)
        ratio = {}
        for family in sm.FAMILIES:
            head = sm.fit_forecaster(family, train, steps=150)
            ratio[family] = head.error(test, 256) / head.error(test[224:], 32)
        assert ratio["none"] > 1.12 and max(ratio["power"], ratio["log"]) < 1.1


# 4. What gradient descent sees of the kernel


@pytest.mark.compiled
@pytest.mark.parametrize("kernel", sm.KERNELS)
def test_loss_and_slopes(kernel):
    x, targets, layer = sm.attention_task(5, 0, sequences=3, tokens=4)
    loss, slopes = sm.layer_loss(kernel, x, targets, layer)
    assert loss == pytest.approx(naive.layer_loss(kernel, x, targets, layer))
    for name in sm.Layer._fields:
        part = getattr(layer, name)
        for place in range(0, part.size, 3):
            ends = []
            for step in (1e-6, -1e-6):
                moved = part.copy()
                moved.flat[place] += step
                changed = layer._replace(**{name: moved})
                ends.append(naive.layer_loss(kernel, x, targets, changed))
            wanted = (ends[0] - ends[1]) / 2e-6
            assert getattr(slopes, name).flat[place] == pytest.approx(wanted, abs=1e-7)


@pytest.mark.compiled
@pytest.mark.parametrize("kernel", sm.KERNELS)
def test_descent_is_the_rule_step_by_step(kernel):
    x, targets, layer = sm.attention_task(4, 0)
    last, losses, norms = sm.descend(kernel, x, targets, layer, 7, 0.2, ("query", "value"))
    at = layer
    for t in range(7):
        loss, slopes = sm.layer_loss(kernel, x, targets, at)
        assert losses[t] == pytest.approx(loss)
        assert norms[t] == pytest.approx(np.linalg.norm(slopes.query))
        at = sm.Layer(at.query - 0.2 * slopes.query, at.key, at.value - 0.2 * slopes.value)
    assert all(np.allclose(a, b) for a, b in zip(last, at, strict=True))
    assert np.array_equal(last.key, layer.key)
    _, losses, _ = sm.descend(kernel, x, 1e6 * targets, layer, 50, 100.0)
    assert np.isfinite(losses).all()


@pytest.mark.compiled
def test_slice_is_the_loss_at_its_places():
    x, targets, layer = sm.attention_task(4, 0)
    directions, reach = cloud(8, 4).reshape(2, 4, 4), np.array([-1.0, 0.0, 0.5])
    found = sm.loss_slice("Gaussian", x, targets, layer, directions, reach)
    moved = layer._replace(query=layer.query + 0.5 * directions[0] - 1.0 * directions[1])
    assert found[0, 2] == pytest.approx(sm.layer_loss("Gaussian", x, targets, moved)[0])
    assert found[1, 1] == pytest.approx(sm.layer_loss("Gaussian", x, targets, layer)[0])


def test_the_jacobian_of_a_row_forgets_constants():
    s = sm._softmax(cloud(1, 9))[0]
    assert np.abs((np.diag(s) - np.outer(s, s)) @ np.ones(9)).max() < 1e-15


@pytest.mark.parametrize("seed", range(4))
def test_equal_values_stop_what_is_divided(seed):
    task = sm.attention_task(8, seed, spread=0.0)
    losses = {}
    for kernel in sm.KERNELS:
        _, losses[kernel], norms = sm.descend(kernel, *task, step=0.1, train=("query",))
        assert (norms[0] > 0.1) == (kernel == "Gaussian")
    assert losses["Gaussian"][-1] < 0.1 * losses["Gaussian"][0]
    assert losses["softmax"][-1] == pytest.approx(losses["softmax"][0])
    slopes = sm.layer_loss("softmax", *sm.attention_task(8, seed, spread=0.1))[1]
    assert np.linalg.norm(slopes.query) > 1e-3


def test_wide_layers_fit():
    for kernel in sm.KERNELS[:2]:
        medians = [
            np.median([sm.descend(kernel, *sm.attention_task(d, s))[1][-1] for s in range(6)])
            for d in (4, 16)
        ]
        assert medians[0] > 1e-2 and medians[1] < 1e-6


def test_values_of_a_task_are_spread_as_asked():
    x, targets, layer = sm.attention_task(6, 0, 50, 5, spread=0.2)
    assert (x @ layer.value).std() == pytest.approx(0.2, rel=0.15)
    equal, _, layer = sm.attention_task(6, 0, spread=0.0)
    assert np.allclose(equal @ layer.value, 1.0)
    assert targets.mean() == pytest.approx(1.0, abs=0.15)


# 5. Weights from a feature's own value


def test_adaptive_weights_are_those_of_the_loops():
    x, offsets, scales = cloud(6, 12), cloud(4, 3, 1), cloud(4, 3, 2)
    found = sm.adaptive_weights(x, offsets, scales)
    assert np.allclose(found, naive.adaptive_weights(x, offsets, scales))
    assert np.allclose(found.reshape(6, 4, 3).sum(axis=2), 1.0, atol=1e-12)


def test_a_product_of_gaussians_is_one_gaussian():
    x, offsets, scales = cloud(6, 12), cloud(2, 4, 1), 0.5 + np.abs(cloud(2, 4, 2))
    delta, c = sm.one_gaussian(offsets, scales)
    both = (
        sm.adaptive_weights(x, offsets, scales),
        sm.adaptive_weights(x, delta[:, None], c[:, None]),
    )
    assert np.allclose(*both, atol=1e-12)
    assert (c <= np.abs(scales).min(axis=1)).all()


def test_adaptive_weights_do_not_feel_shift_and_scale_at_offset_zero():
    x, zero, scales = cloud(6, 12), np.zeros((2, 3)), cloud(2, 3, 2)
    found = sm.adaptive_weights(x, zero, scales)
    assert np.allclose(sm.adaptive_weights(3.0 * x + 5.0, zero, scales), found, atol=1e-6)
    other = sm.adaptive_weights(3.0 * x, zero + 1.0, scales)
    assert not np.allclose(other, sm.adaptive_weights(x, zero + 1.0, scales))


def test_wide_gaussians_weight_alike():
    assert np.allclose(sm.adaptive_weights(cloud(5, 8), [[0.0]], [[1e6]]), 1 / 8)


def test_importance_follows_height_not_relevance():
    ones = np.ones((1, 3))
    for seed in range(3):
        for signal in (0.0, 1.0):
            made = sm.band_frames(300, seed, signal=signal)
            auc = [
                sm.ranking_auc(sm.importance(made.x, delta * ones, ones), made.band)
                for delta in (0.0, 1.5, 2.4)
            ]
            assert auc[0] < 0.05 and min(auc[1:]) > 0.95
    wander = [sm.band_frames(300, seed, wander=True) for seed in range(12)]
    aucs = [sm.ranking_auc(sm.importance(f.x, 2.4 * ones, ones), f.band) for f in wander]
    assert 0.3 < np.mean(aucs) < 0.7


def test_auc():
    assert sm.ranking_auc([3.0, 2.0, 1.0], np.array([True, False, False])) == 1.0
    assert sm.ranking_auc([1.0, 1.0], np.array([True, False])) == 0.5


def test_training_behind_the_layer_brings_no_gain_on_frames():
    for seed in range(2):
        made, fresh = sm.band_frames(300, seed), sm.band_frames(2000, 90 + seed)
        plain = sm.train_head(made.x, made.labels, seed, attention=False)
        layered = sm.train_head(made.x, made.labels, seed)
        assert plain.accuracy(fresh.x, fresh.labels) > 0.96
        assert 0.7 < layered.accuracy(fresh.x, fresh.labels) < plain.accuracy(fresh.x, fresh.labels)


def test_slopes_of_the_adaptive_layer():
    x, offsets, scales, up = cloud(6, 8), cloud(2, 3, 1), cloud(2, 3, 2), cloud(6, 8, 3)
    w = sm._adaptive(x, offsets, scales)
    up_w = up.reshape(6, 2, 4)
    up_scores = w * (up_w - np.sum(w * up_w, axis=2, keepdims=True))
    slopes = sm._layer_gradients(up_scores, *sm._standardised(x, 2), offsets, scales)
    for which, slope in enumerate(slopes):
        for place in range(6):
            ends = []
            for step in (1e-6, -1e-6):
                both = [offsets.copy(), scales.copy()]
                both[which].flat[place] += step
                ends.append(np.sum(up * sm.adaptive_weights(x, *both)))
            assert slope.flat[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-5)


# Bad input

X, V = cloud(5), cloud(5, 2)
TASK = sm.attention_task(4, 0)
NET, LINE = sm.SetNetwork(d=4), np.zeros(40)
HEAD = sm.train_head(X, np.array([0, 1, 0, 1, 1]), 0, steps=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: sm.smoothing_weights("cosine", X, X),
        lambda: sm.smoothing_weights("Gaussian", X, cloud(5, 2)),
        lambda: sm.smoothing_weights("Gaussian", X, X, 0.0),
        lambda: sm.smoothing_weights("Gaussian", X, X, 1e-200),
        lambda: sm.smoothing_weights("Gaussian", X * np.nan, X),
        lambda: sm.smoothing_weights("Gaussian", X, X, bias=np.zeros((5, 4))),
        lambda: sm.smoothing_weights("Gaussian, not normalised", X, X, bias=np.full((5, 5), 800.0)),
        lambda: sm.smoothing_weights("Gaussian", 1e200 * X, X),
        lambda: sm.smoothing_weights("own value", X, 1e200 * X),
        lambda: sm.effective_keys(np.zeros((2, 2))),
        lambda: sm.effective_keys([[1.0, -1.0]]),
        lambda: sm.landmark_attention(X, cloud(3, 2), X, V),
        lambda: sm.draw_features(0, 3, 0),
        lambda: sm.feature_attention(sm.draw_features(4, 2, 0), X, X, V),
        lambda: sm.feature_weights(sm.FeatureMap(cloud(4), np.zeros(3)), X, X),
        lambda: sm.learn_features(X, 4, 0, batch=6),
        lambda: sm.learn_features(X, 4, 0, steps=-1, batch=4),
        lambda: sm.learn_features(X, 4, 0, scales=(0.0, 1.0), batch=4),
        lambda: sm.learn_features(X, 4, 0, scales=(1.0,), batch=4),
        lambda: sm.learn_features(X, 4, 0, scales=(2.0, 1.0), batch=4),
        lambda: sm.learn_features(X[:1], 4, 0),
        lambda: sm.draw_features(10**7, 10**5, 0),
        lambda: sm.feature_weights(sm.draw_features(4, 3, 0), 1e200 * X, 1e200 * X),
        lambda: sm.draw_block(0, 0),
        lambda: sm.mab(sm.draw_block(4, 0), X, X),
        lambda: sm.mab(sm.draw_block(3, 0), X, X, heads=2),
        lambda: sm.mab(sm.draw_block(3, 0), X[:0], X, heads=1),
        lambda: sm.mab(sm.draw_block(3, 0), np.zeros((2, 4, 3)), np.zeros((3, 4, 3)), heads=1),
        lambda: sm.mab(sm.draw_block(3, 0), np.full((2, 4, 3), np.nan), X, heads=1),
        lambda: sm.mab(sm.draw_block(3, 0)._replace(key=np.eye(2)), X, X, heads=1),
        lambda: sm.SetNetwork("cnn"),
        lambda: sm.SetNetwork(pool="median"),
        lambda: sm.SetNetwork(d=5, heads=2),
        lambda: sm.SetNetwork(inducing=0),
        lambda: NET.predict(np.zeros((3, 0, 1))),
        lambda: NET.predict(np.zeros((3, 4))),
        lambda: NET.predict(np.full((1, 3, 1), np.nan)),
        lambda: sm.SetNetwork(pool="mean").attention(np.zeros((3, 1))),
        lambda: list(sm.train_on_maximum(NET, 0, steps=0)),
        lambda: list(sm.train_on_maximum(NET, 0, step=-1.0)),
        lambda: sm.maximum_error(NET, 0, sizes=[0]),
        lambda: sm.maximum_error(NET, 0, sizes=[]),
        lambda: sm.position_bias("power", [1e200], 1.0, 2.0),
        lambda: sm.position_gram("log", 10**7, 1.0, 1.0),
        lambda: sm.position_bias("cubic", [1.0], 1.0, 1.0),
        lambda: sm.position_bias("log", [-1.0], 1.0, 1.0),
        lambda: sm.position_bias("log", [], 1.0, 1.0),
        lambda: sm.position_bias("log", [1.0], -1.0, 1.0),
        lambda: sm.position_bias("log", [1.0], 1.0, 0.0),
        lambda: sm.position_gram("log", 0, 1.0, 1.0),
        lambda: sm.centred_least([[1.0]]),
        lambda: sm.centred_least([[1.0, 2.0], [0.0, 1.0]]),
        lambda: sm.psd_offset([[1.0, 2.0], [0.0, 1.0]]),
        lambda: sm.psd_offset(np.eye(2), rtol=0.0),
        lambda: sm.local_level(0, 0),
        lambda: sm.local_level(5, 0, step=-1.0),
        lambda: sm.fit_forecaster("cubic", LINE),
        lambda: sm.fit_forecaster("log", LINE, length=40),
        lambda: sm.fit_forecaster("log", LINE, length=1),
        lambda: sm.Forecaster("log", 1.0, 1.0, 1.0).predict(LINE * np.nan, 8),
        lambda: sm.Forecaster("log", 0.0, 1.0, 1.0).predict(LINE, 8),
        lambda: sm.Forecaster("log", 1.0, 1.0, 1.0).predict(1e200 * np.arange(40.0), 8),
        lambda: sm.attention_task(1, 0),
        lambda: sm.attention_task(4, 0, spread=-1.0),
        lambda: sm.layer_loss("cosine", *TASK),
        lambda: sm.layer_loss("softmax", TASK[0][0], TASK[1], TASK[2]),
        lambda: sm.layer_loss("softmax", TASK[0], TASK[1][:2], TASK[2]),
        lambda: sm.layer_loss("softmax", TASK[0], TASK[1], TASK[2]._replace(value=np.zeros(3))),
        lambda: sm.layer_loss("softmax", *TASK[:2], TASK[2][:2]),
        lambda: sm.layer_loss("softmax", 1e200 * TASK[0], *TASK[1:]),
        lambda: sm.descend("softmax", *TASK, steps=-1),
        lambda: sm.descend("softmax", *TASK, step=0.0),
        lambda: sm.descend("softmax", *TASK, train=("bias",)),
        lambda: sm.loss_slice("softmax", *TASK, (np.eye(3), np.eye(4)), [0.0]),
        lambda: sm.loss_slice("softmax", *TASK, (np.eye(4),), [0.0]),
        lambda: sm.loss_slice("softmax", *TASK, (1e300 * np.eye(4),) * 2, [1e10]),
        lambda: sm.adaptive_weights(1e200 * X, [[0.0]], [[1.0]]),
        lambda: sm.one_gaussian([[0.0]], [[1e200]]),
        lambda: sm.adaptive_weights(X, np.zeros((2, 1)), np.ones((2, 1))),
        lambda: sm.adaptive_weights(X, np.zeros((1, 2)), np.ones((1, 1))),
        lambda: sm.adaptive_weights(X, [[0.0]], [[0.0]]),
        lambda: sm.one_gaussian([[0.0]], [[0.0]]),
        lambda: sm.one_gaussian([[0.0]], [[1.0, 2.0]]),
        lambda: sm.importance(X[0], [[0.0]], [[1.0]]),
        lambda: sm.ranking_auc([1.0, 2.0], np.array([True, True])),
        lambda: sm.ranking_auc([1.0, 2.0], np.array([1, 0])),
        lambda: sm.band_frames(1, 0),
        lambda: sm.band_frames(5, 0, lift=np.inf),
        lambda: sm.train_head(X, np.zeros(4, int), 0),
        lambda: sm.train_head(X, np.array([0, 1, 0, 1, -1]), 0),
        lambda: sm.train_head(X, np.zeros(5), 0),
        lambda: sm.train_head(X, np.array([0, 1, 0, 1, 10**12]), 0),
        lambda: sm.train_head(1e200 * X, np.array([0, 1, 0, 1, 1]), 0),
        lambda: HEAD.accuracy(X, [0, 1]),
        lambda: HEAD.accuracy(X[:, :2], [0, 1, 0, 1, 1]),
        lambda: sm.train_head(X, np.array([0, 1, 0, 1, 1]), 0, heads=2),
        lambda: sm.train_head(X, np.array([0, 1, 0, 1, 1]), 0, steps=0),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match=r"\w{3,}"):
        call()
