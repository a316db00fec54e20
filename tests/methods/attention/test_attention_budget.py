"""Attention within a budget: references, closed forms, statistics, bad input, claims, controls."""

import math

import numpy as np
import pytest

from kernellab.compute.attention import attention_weights, softmax_attention
from kernellab.compute.rates import log_log_slope
from kernellab.datasets import digits
from kernellab.methods.attention import attention_budget as ab
from tests.naive import attention_budget as naive


def cloud(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def some_tokens(n=30, d=4, p=3, seed=0):
    return ab.Tokens(*(cloud(n, width, seed=seed + i) for i, width in enumerate((d, d, p))))


def last(run):
    *_, (_, (state, _)) = run
    return state


# 0. Errors and tokens


def test_error_of_the_mean_is_one():
    exact = cloud(20, 3)
    assert ab.spectral_error(exact, exact) == 0
    assert ab.spectral_error(np.tile(exact.mean(axis=0), (20, 1)), exact) == pytest.approx(1)


def test_clusters_are_where_they_should_be():
    tight = ab.clustered_tokens(200, 5, 4, 0.0, 0)
    assert np.allclose(np.linalg.norm(tight.queries, axis=1), 1)
    both = np.vstack([tight.queries, tight.keys])
    assert len(np.unique(both.round(9), axis=0)) == 4
    loud = ab.clustered_tokens(200, 5, 4, 0.0, 0, uneven=0.5)
    assert np.std(np.log(np.linalg.norm(loud.keys, axis=1))) == pytest.approx(0.5, rel=0.2)
    assert np.allclose(np.linalg.norm(loud.queries, axis=1), 1)


# 1. Buckets and samples


@pytest.mark.parametrize("r", [1, 2, 5])
def test_ranks_are_places_in_the_gray_code(r):
    words = naive.gray_words(r)
    rows = 2.0 * np.array(words) - 1.0
    assert (ab.angular_ranks(rows, np.eye(r)) == np.arange(2**r)).all()
    for word, before in zip(words, [words[-1], *words[:-1]], strict=True):
        assert sum(a != b for a, b in zip(word, before, strict=True)) == 1
    x, planes = cloud(40, 3), cloud(r, 3, seed=1)
    places = {word: place for place, word in enumerate(words)}
    want = [places[tuple(bits)] for bits in (x @ planes.T > 0).astype(int).tolist()]
    assert (ab.angular_ranks(x, planes) == want).all()


def test_62_planes_do_not_overflow():
    x = cloud(50, 3)
    found = ab.angular_ranks(x, cloud(62, 3, seed=1))
    assert found.min() >= 0 and found.dtype == np.int64


@pytest.mark.compiled
@pytest.mark.parametrize("n, size, s", [(24, 6, 10), (25, 6, 0), (7, 7, 3), (9, 1, 40), (1, 1, 0)])
def test_buckets_and_sample_match_the_reference(n, size, s):
    t = some_tokens(n, seed=n)
    buckets = ab.random_buckets(n, size, 1)
    sample = ab.sample_keys(ab.key_probabilities("value norm", t), s, 2)
    found = ab.kdeformer_attention(t, buckets, sample, 0.7)
    want = naive.buckets_and_sample(*t, buckets, *sample, 0.7)
    assert np.allclose(found, want, atol=1e-12)
    for i in range(0, n, 5):
        row = ab.seen_by(i, t, sample, buckets, 0.7)
        assert np.allclose(row @ t.values, want[i]) and row.sum() == pytest.approx(1)


def test_one_bucket_is_exact_attention():
    t = some_tokens(40)
    exact = softmax_attention(*t, scale=3.0)
    sample = ab.sample_keys(ab.key_probabilities("uniform", t), 20, 0)
    found = ab.kdeformer_attention(t, ab.random_buckets(40, 40, 0), sample, 3.0)
    assert np.allclose(found, exact, atol=1e-12)


def test_large_scores_do_not_overflow():
    t = some_tokens(40)
    t = ab.Tokens(100 * t.queries, 100 * t.keys, t.values)
    buckets = ab.angular_buckets(t, 8, cloud(3, 4))
    sample = ab.sample_keys(ab.key_probabilities("column norm", t, 1.0), 8, 0)
    assert np.isfinite(ab.kdeformer_attention(t, buckets, sample)).all()
    assert np.isfinite(ab.sampled_attention(t, sample)).all()


@pytest.mark.parametrize("sampler", ab.SAMPLERS)
def test_sums_over_draws_are_right_on_average(sampler):
    t = some_tokens(50)
    p = ab.key_probabilities(sampler, t)
    assert p.sum() == pytest.approx(1) and p.min() > 0
    weights = np.exp(t.queries @ t.keys.T / 2)
    totals = []
    for draw in range(2000):
        chosen, logs = ab.sample_keys(p, 20, draw)
        totals.append((weights[:, chosen] * np.exp(logs)) @ t.values[chosen])
    totals, want = np.array(totals), weights @ t.values
    error = totals.std(axis=0) / math.sqrt(2000)
    assert (np.abs(totals.mean(axis=0) - want) < 5 * error).all()
    spread = [totals.std()]
    chosen = [ab.sample_keys(p, 80, draw) for draw in range(300)]
    spread.append(
        np.std([(weights[:, s.keys] * np.exp(s.log_weights)) @ t.values[s.keys] for s in chosen])
    )
    assert spread[1] < spread[0]


def test_error_falls_with_the_root_of_the_draws():
    t = ab.clustered_tokens(1024, 16, 16, 0.6, 0)
    exact, sizes = softmax_attention(*t, scale=4.0), [64, 128, 256, 512, 1024]
    p = ab.key_probabilities("column norm", t, 4.0, rows=np.arange(64))

    def error(s, weighed):
        found = []
        for draw in range(12):
            sample = ab.sample_keys(p, s, draw)
            logs = sample.log_weights if weighed else np.zeros(s)
            sample = ab.Sample(sample.keys, logs)
            found.append(ab.spectral_error(ab.sampled_attention(t, sample, 4.0), exact))
        return np.mean(found)

    slope = log_log_slope(sizes, [error(s, True) for s in sizes])
    assert -0.65 < slope < -0.4
    assert error(1024, False) > 1.5 * error(1024, True)  # unweighed draws have a bias


def test_column_norms_are_those_of_the_weights():
    t = some_tokens(20)
    squares = np.sum(attention_weights(t.queries, t.keys, scale=1.3) ** 2, axis=0)
    lengths = np.sum(t.values**2, axis=1)
    want = squares / squares.sum() + lengths / lengths.sum()
    assert np.allclose(ab.key_probabilities("column norm", t, 1.3), want / want.sum())


def test_value_norms_count_the_sum_of_weights():
    t = some_tokens(20)
    with_ones = np.column_stack([t.values, np.ones(20)])
    want = np.linalg.norm(with_ones, axis=1) / np.linalg.norm(with_ones, 2) + 1 / 20
    assert np.allclose(ab.key_probabilities("value norm", t), want / want.sum())
    # A key of value 0 belongs to the sum of weights, and has to be drawn as often as others.
    values = np.where(np.arange(400) < 200, 0.0, 0.1)[:, None]
    p = ab.key_probabilities("value norm", ab.Tokens(cloud(4, 2), cloud(400, 2), values))
    assert p.max() < 1.01 * p.min()


def test_seen_weights_give_the_output():
    t = some_tokens(30)
    sample = ab.sample_keys(ab.key_probabilities("value norm", t), 9, 0)
    buckets = ab.random_buckets(30, 7, 0)
    alone, both = ab.sampled_attention(t, sample), ab.kdeformer_attention(t, buckets, sample)
    for i in (0, 13, 29):
        assert np.allclose(ab.seen_by(i, t, sample) @ t.values, alone[i])
        assert np.allclose(ab.seen_by(i, t, sample, buckets) @ t.values, both[i])
    heavy = ab.Sample(sample.keys, sample.log_weights + 900.0)
    assert np.allclose(ab.seen_by(0, t, heavy), ab.seen_by(0, t, sample))


def test_bucket_mass():
    t = some_tokens(12)
    weights = attention_weights(t.queries, t.keys, scale=1.0)
    buckets = ab.random_buckets(12, 5, 0)
    home = np.arange(12) // 5
    inside = weights[np.ix_(buckets.query_order, buckets.key_order)] * (home[:, None] == home)
    assert ab.bucket_mass(t, buckets) == pytest.approx(inside.sum() / 12)


def test_angle_finds_clusters_and_random_buckets_do_not():
    for seed in range(5):
        t = ab.clustered_tokens(512, 16, 16, 0.3, seed)
        found = ab.bucket_mass(t, ab.angular_buckets(t, 32, cloud(7, 16, seed=seed)), 16.0)
        blind = ab.bucket_mass(t, ab.random_buckets(512, 32, seed), 16.0)
        assert found > 0.2 and blind < 0.12


# 2. Polynomials


@pytest.mark.compiled
@pytest.mark.parametrize("d, degree", [(1, 6), (3, 0), (3, 1), (3, 4), (5, 3)])
def test_features_are_all_monomials(d, degree):
    x, y = cloud(6, d), cloud(7, d, seed=1)
    found = ab.polynomial_features(x, degree)
    assert found.shape[1] == ab.feature_count(d, degree)
    want = naive.monomials(x, degree)
    assert np.allclose(np.sort(found, axis=1), np.sort(want, axis=1))
    s = x @ y.T
    series = sum(s**i / math.factorial(i) for i in range(degree + 1))
    assert np.allclose(found @ ab.polynomial_features(y, degree).T, series)


@pytest.mark.parametrize("kind", ab.POLYNOMIALS)
def test_polynomial_attention_is_its_weights(kind):
    t, c = some_tokens(40), ab.exponential_coefficients(5, 2.0, kind)
    weights = np.polynomial.polynomial.polyval(0.3 * t.queries @ t.keys.T, c)
    want = weights @ t.values / weights.sum(axis=1, keepdims=True)
    assert np.allclose(ab.polynomial_attention(t, c, 0.3), want)


def test_taylor_keeps_to_its_remainder_and_chebyshev_needs_no_more():
    for bound in (0.25, 1.0, 4.0, 9.0):
        for degree in (2, 6, 14):
            c = ab.exponential_coefficients(degree, bound)
            s = np.linspace(-bound, bound, 200)
            rest = sum(bound**i / math.factorial(i) for i in range(degree + 1, degree + 80))
            gap = np.abs(np.polynomial.polynomial.polyval(s, c) - np.exp(s)).max()
            assert gap <= rest * (1 + 1e-9) + 1e-12
        degrees = [ab.needed_degree(bound, 1e-3, kind) for kind in ab.POLYNOMIALS]
        assert degrees[1] <= degrees[0]


def test_needed_degree_is_the_least():
    degree = ab.needed_degree(4.0, 1e-3)
    errors = [
        ab.polynomial_error(ab.exponential_coefficients(g, 4.0), 4.0) for g in (degree - 1, degree)
    ]
    assert errors[0] > 1e-3 >= errors[1]


def test_enlarge_is_bilinear():
    image = cloud(3, 4, 2)
    found = ab.enlarge(image)
    for i in range(6):
        for j in range(8):
            want = naive.bilinear(image, (i + 0.5) / 2 - 0.5, (j + 0.5) / 2 - 0.5)
            assert np.allclose(found[i, j], want)


def test_grown_images():
    first, maps = cloud(4, 4, 2), (cloud(2, 3), cloud(2, 3, seed=1), cloud(2, 2, seed=2))

    def exact(t):
        weights = np.exp(t.queries @ t.keys.T / 3)
        return weights @ t.values / weights.sum(axis=1, keepdims=True)

    found = ab.grow_image(first, maps, 16, 1.0, exact)
    assert found.shape == (16, 16, 2)
    nothing = ab.grow_image(first, maps, 8, 1.0, lambda t: np.zeros_like(t.values))
    assert np.allclose(nothing, ab.enlarge(first))
    c = ab.exponential_coefficients(ab.needed_degree(1.0), 1.0)
    cheap = ab.grow_image(first, maps, 16, 1.0, lambda t: ab.polynomial_attention(t, c, 1 / 3))
    assert np.abs(cheap - found).max() < 1e-3 * np.ptp(found)
    loud = [
        ab.grow_image(first, maps, 16, 3.0, exact),
        ab.grow_image(first, maps, 16, 3.0, lambda t: ab.polynomial_attention(t, c, 1 / 3)),
    ]
    assert np.abs(loud[0] - loud[1]).max() > 1e-3 * np.ptp(loud[0])


def test_polynomials_win_below_a_bound_and_lose_above():
    def ratio(R):
        features = ab.feature_count(4, ab.needed_degree(R * R))
        return ab.multiplications(1360, 4, 3, features) / ab.multiplications(1360, 4, 3)

    assert ratio(1.0) < 0.3 and ratio(3.0) > 30
    sides = [32, 64, 128, 256]
    tokens = [sum(h * h for h in ab.pyramid(n)) for n in sides]
    assert 3.95 < log_log_slope(sides, [ab.multiplications(L, 4, 3) for L in tokens]) < 4.05
    assert 1.95 < log_log_slope(sides, [ab.multiplications(L, 4, 3, 210) for L in tokens]) < 2.05


# 3. Rows and columns


@pytest.mark.parametrize("kind", ab.KRONECKER)
@pytest.mark.parametrize("h, w", [(3, 4), (1, 5), (2, 1)])
def test_kronecker_matches_the_reference(kind, h, w):
    q, k, v = cloud(h, w, 3), cloud(h, w, 3, seed=1), cloud(h, w, 2, seed=2)
    found = ab.kronecker_attention(q, k, v, kind, 0.7)
    assert np.allclose(found, naive.kronecker(q, k, v, kind, 0.7))


def test_one_row_is_attention_with_a_mean_token():
    x = cloud(1, 6, 3)
    flat = x[0]
    lines = np.vstack([flat, flat.mean(axis=0)])
    want = softmax_attention(flat, lines, lines, scale=1.0)
    assert np.allclose(ab.kronecker_attention(x, x, x)[0], want)


def test_qkv_is_a_row_part_plus_a_column_part():
    x = cloud(5, 6, 2)
    out = ab.kronecker_attention(x, x, x, "QKV")
    mixed = out - out[:1] - out[:, :1] + out[:1, :1]
    assert np.abs(mixed).max() < 1e-12
    full = softmax_attention(*[x.reshape(-1, 2)] * 3, scale=1.0).reshape(x.shape)
    assert np.abs(full - full[:1] - full[:, :1] + full[:1, :1]).max() > 0.1


def test_matrix_normal_has_a_kronecker_covariance():
    a, b = cloud(2, 2), cloud(3, 3, seed=1)
    mean = cloud(2, 3, seed=2)
    draws = ab.matrix_normal(mean, a, b, 0, 40_000).reshape(40_000, -1)
    want = np.kron(a @ a.T, b @ b.T)
    assert np.allclose(np.cov(draws.T), want, atol=0.05 * np.abs(want).max())
    assert np.allclose(draws.mean(axis=0), mean.ravel(), atol=0.1)


def test_lines_follow_patterns_and_not_shuffled_ones():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(24, 1, 4)) + rng.normal(size=(1, 24, 4)) + cloud(24, 24, 4, seed=9) / 3
        shuffled = rng.permutation(x.reshape(-1, 4)).reshape(x.shape)
        errors = []
        for grid in (x, shuffled):
            exact = softmax_attention(*[grid.reshape(-1, 4)] * 3, scale=0.25)
            found = ab.kronecker_attention(grid, grid, grid, "KV", 0.25).reshape(-1, 4)
            errors.append(ab.spectral_error(found, exact))
        assert errors[0] < 0.7 and errors[1] > 0.85


def test_filter_maps_are_convolutions():
    image, filters = cloud(1, 5, 6), cloud(2, 3, 3, seed=1)
    found = ab.filter_maps(image, filters)
    inside = np.sum(image[0, 1:4, 2:5] * filters[1])
    assert found[0, 2, 3, 1] == pytest.approx(max(inside, 0))
    corner = np.sum(image[0, :2, :2] * filters[0, 1:, 1:])
    assert found[0, 0, 0, 0] == pytest.approx(max(corner, 0))
    assert ab.kronecker_counts(56, 56)["full"] == 784 * ab.kronecker_counts(56, 56)["QKV"]


# 4. Nested bases


def test_cayley_is_orthogonal():
    a = cloud(3, 5, 5)
    u = ab.cayley(a - np.swapaxes(a, 1, 2))
    assert np.allclose(np.swapaxes(u, 1, 2) @ u, np.eye(5), atol=1e-12)
    assert np.allclose(ab.cayley(np.zeros((4, 4))), np.eye(4))
    q = a[0] - a[0].T
    assert np.allclose(u[0], (np.eye(5) - q) @ np.linalg.inv(np.eye(5) + q))


def test_principal_bases_keep_the_most():
    heads = ab.misaligned_heads(2, 50, 6, 0)
    bases = ab.principal_bases(heads)
    for h in range(2):
        values = np.linalg.svd(heads.keys[h], compute_uv=False)
        for r in range(7):
            kept = heads.keys[h] @ bases.keys[h][:, :r] @ bases.keys[h][:, :r].T
            lost = np.sum((heads.keys[h] - kept) ** 2)
            assert lost == pytest.approx(np.sum(values[r:] ** 2), abs=1e-9)


def test_projected_attention_is_attention_with_cut_keys_and_values():
    heads = ab.misaligned_heads(2, 20, 6, 0)
    bases = ab.principal_bases(heads)
    full = ab.projected_attention(heads, bases, [6, 6], [6, 6])
    cut = ab.projected_attention(heads, bases, [2, 6], [3, 0])
    for h in range(2):
        want = softmax_attention(heads.queries[h], heads.keys[h], heads.values[h])
        assert np.allclose(full[h], want, atol=1e-12)
    u, v = bases.keys[0][:, :2], bases.values[0][:, :3]
    queries, keys, values = (x[0] for x in heads)
    short = softmax_attention(queries @ u, keys @ u, values @ v, scale=1 / math.sqrt(6))
    assert np.allclose(cut[0], short @ v.T) and np.allclose(cut[1], 0)
    assert ab.output_error(heads)(full) == pytest.approx(0, abs=1e-20)


def test_training_keeps_bases_orthogonal_and_lowers_the_loss_on_its_tokens():
    heads = ab.misaligned_heads(3, 60, 8, 0)
    loss, pca = ab.output_error(heads), ab.principal_bases(heads)
    bases = last(ab.train_bases(pca, [(heads, loss)], 0, 100, 0.03))
    for u in bases:
        assert np.allclose(np.swapaxes(u, 1, 2) @ u, np.eye(8), atol=1e-10)
    before, after = (loss(ab.projected_attention(heads, b, [2] * 3, [2] * 3)) for b in (pca, bases))
    assert after < 0.8 * before
    whole = ab.projected_attention(heads, bases, [8] * 3, [8] * 3)
    assert np.allclose(whole, loss.target, atol=1e-10)


def test_greedy_ranks_are_best_for_convex_rows():
    rng = np.random.default_rng(0)
    for _ in range(20):
        errors = np.cumsum(np.sort(rng.random((3, 5)), axis=1), axis=1)[:, ::-1]
        for budget in range(13):
            places = ab.greedy_ranks(errors, budget)
            assert places.sum() == budget
            total = errors[np.arange(3), places].sum()
            best = min(
                errors[0, a] + errors[1, b] + errors[2, c]
                for a, b, c in np.ndindex(5, 5, 5)
                if a + b + c == budget
            )
            assert total == pytest.approx(best)


def test_search_takes_the_cheapest_cut():
    heads = ab.misaligned_heads(3, 30, 6, 0)
    bases, loss = ab.principal_bases(heads), ab.output_error(heads)
    assert ab.search_ranks(heads, loss, bases, 18).tolist() == [6, 6, 6]
    found = ab.search_ranks(heads, loss, bases, 17)
    losses = [
        loss(ab.projected_attention(heads, bases, cut, cut)) for cut in 6 - np.eye(3, dtype=int)
    ]
    assert np.argmin(losses) == np.argmin(found) and found.sum() == 17
    small = ab.search_ranks(heads, loss, bases, 3)
    assert small.tolist() == [1, 1, 1]


def test_nested_training_keeps_a_readers_answers_better_than_pca():
    data = digits()
    for seed in range(2):
        order = np.random.default_rng(40 + seed).permutation(len(data.labels))
        train, test = data.images[order[:1200]], data.images[order[1200:]]
        net = last(ab.train_reader(train, data.labels[order[:1200]], seed, steps=200, batch=48))
        heads = net.heads(test)
        full = ab.output_error(heads).target
        logs = net.log_probabilities(test, full)
        assert np.mean(logs.argmax(axis=1) == data.labels[order[1200:]]) > 0.85
        assert np.allclose(np.exp(logs).sum(axis=1), 1)
        loss, pca = net.divergence(test, full), ab.principal_bases(net.heads(train[:512]))
        assert loss(full) == pytest.approx(0, abs=1e-12)
        batches = []
        for i in range(0, 1152, 48):
            part = net.heads(train[i : i + 48])
            batches.append((part, net.divergence(train[i : i + 48], ab.output_error(part).target)))

        def divergence(bases, heads=heads, loss=loss):
            return loss(ab.projected_attention(heads, bases, [2] * 4, [2] * 4))

        nested = last(ab.train_bases(pca, batches, seed, 150, 0.02))
        half = last(ab.train_bases(pca, batches, seed, 150, 0.02, nested=False))
        assert divergence(nested) < 0.6 * divergence(pca)
        assert divergence(half) > 0.6 * divergence(pca)


# Bad input

T, GRID = some_tokens(6), cloud(3, 4, 2)
B6, S6 = ab.random_buckets(6, 2, 0), ab.sample_keys(np.full(6, 1 / 6), 3, 0)
HEADS = ab.misaligned_heads(2, 5, 4, 0)
BASES, LOSS = ab.principal_bases(HEADS), ab.output_error(HEADS)
IMAGES, NET_RUN = np.random.default_rng(0).random((4, 8, 8)), ab.train_reader
MAPS = (cloud(2, 3), cloud(2, 3), cloud(2, 2))


def zero(t):
    return 0 * t.values


@pytest.mark.parametrize(
    "call",
    [
        lambda: ab.spectral_error(cloud(3, 2), cloud(4, 2)),
        lambda: ab.spectral_error(np.ones((3, 2)), np.ones((3, 2))),
        lambda: ab.clustered_tokens(0, 2, 2, 0.1, 0),
        lambda: ab.clustered_tokens(5, 2, 2, -0.1, 0),
        lambda: ab.clustered_tokens(5, 2, 2, 0.1, 0, uneven=-1),
        lambda: ab.clustered_tokens(50, 2, 2, 0.1, 0, uneven=1e4),
        lambda: ab.angular_ranks(cloud(3, 2), cloud(2, 3)),
        lambda: ab.angular_ranks(cloud(3, 2), cloud(63, 2)),
        lambda: ab.angular_ranks(cloud(3, 2) * np.nan, cloud(2, 2)),
        lambda: ab.key_probabilities("best", T),
        lambda: ab.key_probabilities("column norm", T, rows=[6]),
        lambda: ab.key_probabilities("column norm", T, rows=[0.5]),
        lambda: ab.key_probabilities("uniform", ab.Tokens(T.queries, T.keys, cloud(5, 2))),
        lambda: ab.key_probabilities("column norm", T._replace(keys=1e200 * T.keys), 1e200),
        lambda: ab.key_probabilities("value norm", T._replace(values=1e200 * T.values)),
        lambda: ab.key_probabilities("uniform", None),
        lambda: ab.key_probabilities("uniform", (T.queries, T.keys)),
        lambda: ab.sample_keys([0.5, 0.6], 3, 0),
        lambda: ab.sample_keys([1.5, -0.5], 3, 0),
        lambda: ab.sample_keys([1.0], -1, 0),
        lambda: ab.sampled_attention(T, ab.sample_keys(np.full(6, 1 / 6), 0, 0)),
        lambda: ab.sampled_attention(T, ab.Sample(np.array([7]), np.zeros(1))),
        lambda: ab.sampled_attention(T, ab.Sample(np.array([1, 2]), np.zeros(1))),
        lambda: ab.sampled_attention(T, S6, -1.0),
        lambda: ab.sampled_attention(T, None),
        lambda: ab.seen_by(0, T._replace(queries=1e200 * T.queries, keys=1e200 * T.keys), S6),
        lambda: ab.angular_buckets(T, 7, cloud(2, 4)),
        lambda: ab.angular_buckets(T._replace(queries=cloud(5, 4)), 2, cloud(2, 4)),
        lambda: ab.random_buckets(6, 0, 0),
        lambda: ab.bucket_mass(T, ab.random_buckets(5, 2, 0)),
        lambda: ab.kdeformer_attention(T, B6._replace(size=0), S6),
        lambda: ab.kdeformer_attention(T, B6._replace(key_order=np.zeros(6, int)), S6),
        lambda: ab.kdeformer_attention(T, B6, ab.Sample(np.array([-1]), np.zeros(1))),
        lambda: ab.kdeformer_attention(T, B6, ab.Sample(np.array([1]), np.array([np.inf]))),
        lambda: ab.kdeformer_attention(
            T._replace(queries=1e200 * T.queries, keys=1e200 * T.keys), B6, S6
        ),
        lambda: ab.seen_by(6, T, S6),
        lambda: ab.seen_by(0, T, ab.Sample(np.zeros(0, int), np.zeros(0))),
        lambda: ab.feature_count(0, 2),
        lambda: ab.feature_count(2, -1),
        lambda: ab.exponential_coefficients(61, 1.0),
        lambda: ab.exponential_coefficients(3, 0.0),
        lambda: ab.exponential_coefficients(3, 1.0, "Fourier"),
        lambda: ab.exponential_coefficients(40, 1e-10, "Chebyshev"),
        lambda: ab.exponential_coefficients(4, 1e4, "Chebyshev"),
        lambda: ab.polynomial_error([], 1.0),
        lambda: ab.polynomial_error([1.0, 1.0], 1e6),
        lambda: ab.needed_degree(4.0, 1e-15),
        lambda: ab.polynomial_attention(T, np.ones(200)),
        lambda: ab.needed_degree(100.0),
        lambda: ab.needed_degree(1.0, 0.0),
        lambda: ab.polynomial_features(cloud(3), 2),
        lambda: ab.polynomial_features(cloud(3, 40), 40),
        lambda: ab.polynomial_attention(T, []),
        lambda: ab.polynomial_attention(T._replace(keys=1e200 * T.keys), [1.0, 1.0, 1.0]),
        lambda: ab.pyramid(12),
        lambda: ab.multiplications(0, 2, 2),
        lambda: ab.multiplications(2, 2, 2, 0),
        lambda: ab.enlarge(cloud(3, 4)),
        lambda: ab.grow_image(cloud(4, 5, 2), MAPS, 8, 1.0, zero),
        lambda: ab.grow_image(cloud(4, 4, 2), MAPS[:2], 8, 1.0, zero),
        lambda: ab.grow_image(cloud(4, 4, 3), MAPS, 8, 1.0, zero),
        lambda: ab.grow_image(cloud(4, 4, 2), MAPS, 8, 0.0, zero),
        lambda: ab.grow_image(cloud(4, 4, 2), None, 8, 1.0, zero),
        lambda: ab.grow_image(cloud(4, 4, 2), MAPS, 8, 1.0, lambda t: t.values[:1]),
        lambda: ab.grow_image(cloud(4, 4, 2), MAPS, 8, 1.0, lambda t: t.values * np.nan),
        lambda: ab.line_means(cloud(3, 4)),
        lambda: ab.kronecker_attention(GRID, GRID[:2], GRID),
        lambda: ab.kronecker_attention(GRID, GRID, GRID, "K"),
        lambda: ab.kronecker_attention(GRID, GRID * np.nan, GRID),
        lambda: ab.kronecker_counts(0, 3),
        lambda: ab.matrix_normal(cloud(2, 3), cloud(3, 3), cloud(3, 3), 0),
        lambda: ab.matrix_normal(cloud(2, 3), cloud(2, 2), cloud(3, 3), 0, 0),
        lambda: ab.filter_maps(cloud(5, 5), cloud(1, 3, 3)),
        lambda: ab.filter_maps(cloud(1, 5, 5), cloud(1, 2, 3)),
        lambda: ab.misaligned_heads(0, 5, 4, 0),
        lambda: ab.principal_bases(ab.Heads(HEADS.queries, HEADS.keys, HEADS.values[:1])),
        lambda: ab.principal_bases(HEADS._replace(keys=HEADS.keys * np.nan)),
        lambda: ab.principal_bases(None),
        lambda: ab.cayley(cloud(2, 3)),
        lambda: ab.cayley(-np.eye(2)),
        lambda: ab.cayley(np.full((2, 2), np.nan)),
        lambda: ab.projected_attention(HEADS, None, [4, 4], [4, 4]),
        lambda: ab.projected_attention(
            ab.Heads(*(1e200 * x for x in HEADS)), BASES, [4, 4], [4, 4]
        ),
        lambda: ab.output_error(HEADS._replace(values=0 * HEADS.values)),
        lambda: ab.projected_attention(HEADS, BASES, [5, 4], [4, 4]),
        lambda: ab.projected_attention(HEADS, BASES, [4], [4]),
        lambda: ab.projected_attention(HEADS, BASES._replace(keys=2 * BASES.keys), [4, 4], [4, 4]),
        lambda: ab.output_error(ab.Heads(T.queries, T.keys, T.values)),
        lambda: list(ab.train_bases(BASES, [], 0)),
        lambda: ab.train_bases(BASES, None, 0),
        lambda: ab.train_bases(BASES, [(HEADS, 3)], 0),
        lambda: ab.train_bases(BASES, [(HEADS, LOSS), (ab.misaligned_heads(3, 5, 4, 0), LOSS)], 0),
        lambda: ab.search_ranks(HEADS, lambda out: np.nan, BASES, 4),
        lambda: ab.train_bases(BASES, [(HEADS, LOSS)], 0, steps=0),
        lambda: ab.train_bases(BASES, [(HEADS, LOSS)], 0, step=0.0),
        lambda: ab.search_ranks(HEADS, LOSS, BASES, 1),
        lambda: ab.greedy_ranks([[1.0, 0.0]], 2),
        lambda: ab.greedy_ranks([1.0, 0.0], 1),
        lambda: NET_RUN(IMAGES[:, :7], np.zeros(4, int), 0),
        lambda: NET_RUN(IMAGES, np.zeros(3, int), 0),
        lambda: NET_RUN(IMAGES, np.full(4, 10), 0),
        lambda: NET_RUN(IMAGES, np.zeros(4, int), 0, heads=0),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(ValueError, match=r"\w{3,}"):
        call()
