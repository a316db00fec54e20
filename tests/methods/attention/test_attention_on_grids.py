"""Attention on grids: references, identities, finite differences, bad input, claims, controls."""

import functools

import numpy as np
import pytest
from scipy.signal import lfilter

from kernellab.compute.attention import (
    block_mask,
    dense_mask,
    flex_attention,
    neighbourhood_attention,
    softmax_attention,
)
from kernellab.datasets import kspace_network, photograph
from kernellab.methods.attention import attention_on_grids as ag
from tests.naive import attention_on_grids as naive


def problem(n=36, d=4, p=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, d)), rng.normal(size=(n, p))


# 0. Dense attention and pictures


def test_dense_attention_is_softmax_attention_with_a_mask():
    q, k, v = problem()
    seen = np.random.default_rng(1).random((36, 36)) < 0.3
    seen[4] = False
    out = ag.dense_attention(q, k, v, seen)
    assert np.allclose(out, softmax_attention(q, k, v, mask=seen), atol=1e-14)
    assert np.all(out[4] == 0)


def test_psnr_of_a_known_error():
    truth = np.zeros((2, 4, 5))
    found = truth + np.array([0.1, 0.01])[:, None, None]
    assert np.allclose(ag.psnr(found, truth), [20.0, 40.0])


# 1. Rules


@pytest.mark.parametrize("rule", ag.RULES)
@pytest.mark.parametrize(("reach", "step"), [(0, 1), (1, 2), (2, 1)])
def test_rules_are_what_they_say(rule, reach, step):
    p = ag.menu_parameters(rule, side=6, reach=reach, step=step)
    want = [[naive.RULES[rule](i, j, 6, reach, step) for j in range(36)] for i in range(36)]
    alone = [[bool(ag.RULES[rule](i, j, p)) for j in range(36)] for i in range(36)]
    assert np.array_equal(alone, want)
    assert np.array_equal(dense_mask(ag.menu()[0], 36, 36, p), want)


@pytest.mark.parametrize("score", ag.SCORES)
@pytest.mark.parametrize("join", ag.JOINS)
def test_the_menu_joins_rules_and_gives_the_dense_result(join, score):
    q, k, v = problem()
    mask_rule, score_rule = ag.menu()
    for first in ag.RULES:
        options = {"side": 6, "reach": 1, "score": score, "slope": 0.3}
        p = ag.menu_parameters(first, "prefix", join, **options)
        one, two = (
            dense_mask(mask_rule, 36, 36, ag.menu_parameters(name, **options))
            for name in (first, "prefix")
        )
        seen = {"first alone": one, "AND": one & two, "OR": one | two}[join]
        assert np.array_equal(dense_mask(mask_rule, 36, 36, p), seen)
        dense = ag.dense_attention(q, k, v, seen, ag.SCORES[score], p)
        mask = block_mask(mask_rule, 36, 36, 8, p)
        found = flex_attention(q, k, v, score_mod=score_rule, mask=mask, parameters=p)
        assert np.allclose(found, dense, atol=1e-13)
        assert np.array_equal(ag.blocks_of(seen, 8), mask.kinds)


@pytest.mark.parametrize("block", [1, 3, 36, 100])
def test_online_softmax_ends_at_the_softmax(block):
    q, k, v = problem()
    scores = 30.0 * q @ k.T
    scores[3] = -np.inf
    scores[5, :20] = -np.inf
    *_, end = ag.online_softmax(scores, v, block)
    assert np.allclose(end.output, ag.dense_attention(60 * q, k, v, scores > -np.inf), atol=1e-12)
    assert np.all(end.output[3] == 0)
    *_, broken = ag.online_softmax(scores, v, block, rescale=False)
    assert block >= 36 or abs(broken.output - end.output).max() > 0.1


def test_sliding_windows_cost_window_and_two_blocks():
    def near(i, j, parameters):
        return abs(i - j) <= parameters[0]

    for n in (1024, 4096):
        for block, reach in ((16, 50), (32, 100), (64, 250)):
            mask = block_mask(near, n, n, block, [reach])
            assert 0.75 < mask.fraction * n / (2 * reach + 1 + 2 * block) < 1.25


# 2. Windows

CASES = [((1, 20), 5, 1), ((1, 20), 5, 3), ((6, 7), 3, 1), ((7, 6), 3, 2), ((5, 5), 5, 1)]


@pytest.mark.compiled
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("shape", "window", "dilation"), CASES)
def test_gathered_attention_is_the_loop(shape, window, dilation, padded):
    q, k, v = problem(shape[0] * shape[1])
    want = naive.neighbourhood(q, k, v, shape, window, dilation, padded)
    found = ag.gathered_attention(q, k, v, shape, window, dilation, padded)
    assert np.allclose(found, want, atol=1e-13)


@pytest.mark.parametrize("tile", [1, 2, 5, 100])
@pytest.mark.parametrize(("shape", "window", "dilation"), CASES)
def test_three_forms_of_neighbourhood_attention_agree(shape, window, dilation, tile):
    q, k, v = problem(shape[0] * shape[1])
    gathered = ag.gathered_attention(q, k, v, shape, window, dilation)
    tiled = ag.tiled_attention(q, k, v, shape, window, dilation, tile)
    options = {"window": window, "dilation": dilation, "tile": tile}
    if shape[0] > 1:
        options["shape"] = shape
    fused = neighbourhood_attention(q, k, v, **options)
    assert np.allclose(gathered, tiled, atol=1e-13) and np.allclose(gathered, fused, atol=1e-13)


def test_limits_of_the_window_and_the_border():
    q, k, v = problem(49)
    for attend in (ag.gathered_attention, ag.tiled_attention):
        assert np.allclose(attend(q, k, v, (7, 7), 1), v)
        assert np.allclose(attend(q, k, v, (7, 7), 7), softmax_attention(q, k, v))
    shifted = ag.gathered_attention(q, k, v, (7, 7), 3)
    padded = ag.gathered_attention(q, k, v, (7, 7), 3, padded=True)
    differs = abs(shifted - padded).max(axis=1).reshape(7, 7) > 1e-6
    assert differs[0].all() and differs[:, -1].all() and not differs[1:-1, 1:-1].any()


@pytest.mark.parametrize(("shape", "window", "dilation"), CASES)
def test_tiles_cover_each_query_once_and_hold_its_window(shape, window, dilation):
    seen = []
    for part in ag.tiles(shape, window, dilation, 3):
        assert len(np.unique(part.keys)) == len(part.keys)
        for query, place in zip(part.queries, part.places, strict=True):
            y, x = divmod(int(query), shape[1])
            want = [
                a * shape[1] + b
                for a in naive.places(y, shape[0], window, dilation, False)
                for b in naive.places(x, shape[1], window, dilation, False)
            ]
            assert part.keys[place].tolist() == want
        seen += part.queries.tolist()
    assert sorted(seen) == list(range(shape[0] * shape[1]))


def test_waste_is_its_formula_far_from_the_border():
    for window, tile in ((7, 8), (31, 16), (3, 32)):
        formula = (tile + window - 1) / window
        assert ag.waste((1, 8192), window, 1, tile) == pytest.approx(formula, rel=0.01)
    assert 0.9 < ag.waste((128, 128), 7, 1, 8) / 4.0 <= 1.0
    assert ag.waste((64, 64), 7, 1, 1) == 1.0


# 3. Scans


@pytest.mark.compiled
@pytest.mark.parametrize("length", [1, 2, 30])
@pytest.mark.parametrize(
    ("w", "u", "loud"), [(3, 1, 1), (-5, 2, 1), (200, 20, 1), (2000, -500, 1), (3, 1, 400)]
)
def test_bi_wkv_is_the_loop(w, u, loud, length):
    rng = np.random.default_rng(0)
    k, v = loud * rng.normal(size=(length, 2)), rng.normal(size=(length, 2))
    want = naive.bi_wkv(w, u, k, v)
    assert np.allclose(ag.bi_wkv(w, u, k, v), want, atol=1e-12)
    for c in range(2):
        attended = ag.wkv_as_attention(w, u, k[:, c], v[:, [c]])
        assert np.allclose(attended[:, 0], want[:, c], atol=1e-12)


@pytest.mark.compiled
def test_both_scans_agree_where_both_may_be_used(monkeypatch):
    rng = np.random.default_rng(0)
    w, u = np.array([40.0, -10.0, 0.0]), np.array([5.0, 0.0, -9.0])
    k, v = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    plain = ag.bi_wkv(w, u, k, v)
    monkeypatch.setattr(ag, "_SAFE_RANGE", 0.0)
    assert np.allclose(ag.bi_wkv(w, u, k, v), plain, atol=1e-13)


def test_without_keys_the_scan_is_a_pair_of_exponential_filters():
    rng = np.random.default_rng(0)
    v, w, u, length = rng.normal(size=200), 30.0, 12.0, 200
    decay = np.exp(-w / length)

    def sums(x):
        ahead = np.append(0.0, lfilter([1.0], [1.0, -decay], x)[:-1])
        behind = np.append(0.0, lfilter([1.0], [1.0, -decay], x[::-1])[:-1])[::-1]
        return ahead + behind + np.exp(u / length) * x

    found = ag.bi_wkv(w, u, np.zeros((length, 1)), v[:, None])[:, 0]
    assert np.allclose(found, sums(v) / sums(np.ones(length)), atol=1e-13)


def test_re_wkv_is_a_scan_of_rows_and_one_of_columns():
    rng = np.random.default_rng(0)
    k, v = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    scans = [ag.Scan("rows", 9.0, 1.0), ag.Scan("columns", 4.0, 2.0)]
    after_rows = naive.bi_wkv(9.0, 1.0, k, v)
    path = np.arange(20).reshape(4, 5).T.ravel()
    want = np.empty((20, 2))
    want[path] = naive.bi_wkv(4.0, 2.0, k[path], after_rows[path])
    assert np.allclose(ag.re_wkv(scans, k, v, (4, 5)), want, atol=1e-12)


@pytest.mark.parametrize("loud", [1.0, 300.0])
def test_receptive_field_is_a_row_of_the_linear_map(loud):
    rng = np.random.default_rng(0)
    k = loud * rng.normal(size=30)
    scans = [ag.Scan("rows", 9.0, 1.0), ag.Scan("columns", 20.0, 5.0), ag.Scan("rows", -3.0, 0.0)]
    rows = ag.re_wkv(scans, np.tile(k[:, None], (1, 30)), np.eye(30), (5, 6))
    for place in (0, 13, 29):
        field = ag.receptive_field(scans, k, (5, 6), place)
        assert np.allclose(field.ravel(), rows[place], atol=1e-13)
        assert field.sum() == pytest.approx(1.0)


def test_fields_of_one_scan_are_streaks_and_of_two_are_round():
    spread = {
        names: ag.field_spread(
            ag.receptive_field(
                [ag.Scan(name, 200.0, 0.0) for name in names], np.zeros(1024), (32, 32), 528
            )
        )
        for names in (("rows",), ("rows", "columns"), ("rows", "rows"))
    }
    assert spread[("rows",)] == pytest.approx((0.04, 38.6), abs=0.05)
    down, across = spread[("rows", "columns")]
    assert down == pytest.approx(across, rel=0.1)
    down, across = spread[("rows", "rows")]
    assert down < 0.1 * across


def test_two_directions_clean_better_than_the_better_one():
    camera, gains, twice = photograph("camera", 64), [], []
    zero = np.zeros((1024, 1))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y, x = rng.integers(0, 33, 2)
        clean = camera[y : y + 32, x : x + 32]
        noisy = (clean + 0.1 * rng.standard_normal((32, 32))).reshape(-1, 1)

        def best(*ways, clean=clean, noisy=noisy):
            outs = (
                ag.re_wkv([ag.Scan(way, w, u) for way in ways], zero, noisy, (32, 32))
                for w in (800.0, 1600.0, 3200.0, 6400.0)
                for u in (500.0, 1000.0, 1500.0, 2000.0)
            )
            return max(float(ag.psnr(out.reshape(32, 32), clean)) for out in outs)

        single = max(best("rows"), best("columns"))
        gains.append(best("rows", "columns") - single)
        twice.append(best("rows", "rows") - single)
    assert np.mean(gains) > 0.3 and np.mean(twice) < 0.0


@pytest.mark.compiled
def test_omni_shift_is_its_filters_and_merges_into_one():
    shift, x = ag.draw_shift(3, 0), np.random.default_rng(1).random((3, 6, 7))
    want = np.stack(
        [
            x[c] * shift.own[c] + sum(naive.filtered(x[c], part[c]) for part in shift[1:])
            for c in range(3)
        ]
    )
    assert np.allclose(ag.omni_shift(x, shift), want, atol=1e-13)
    assert np.allclose(ag.filter_channels(x, ag.merge_shift(shift)), want, atol=1e-12)
    off = np.roll(ag.merge_shift(shift), 1, axis=2)
    assert abs(ag.filter_channels(x, off) - want).max() > 0.1


def test_a_block_is_the_same_before_and_after_merging():
    block, x = ag.draw_block(4, 0), np.random.default_rng(1).random((4, 9, 8))
    out = ag.restore_block(x, block)
    assert out.shape == x.shape and np.isfinite(out).all()
    assert np.allclose(out, ag.restore_block(x, block, merged=False), atol=1e-12)


# 4. Frequencies


def test_the_transform_is_its_definition_and_unitary():
    x = np.random.default_rng(0).random((8, 8))
    spectrum = ag.to_frequencies(x)
    assert np.allclose(spectrum, naive.transform(x), atol=1e-13)
    assert np.sum(abs(spectrum) ** 2) == pytest.approx(np.sum(x**2))  # Parseval
    assert np.allclose(ag.to_picture(spectrum), x, atol=1e-14)


@pytest.mark.parametrize("kind", ag.KINDS)
@pytest.mark.parametrize("rate", [0.1, 0.3, 1.0])
def test_masks_are_symmetric_and_of_the_wanted_size(kind, rate):
    mask = ag.sampling_mask(24, rate, 0, kind)
    assert np.array_equal(mask, np.roll(mask[::-1, ::-1], 1, axis=(0, 1)))
    assert mask[12, 12] and abs(mask.mean() - rate) < (0.09 if kind == "lines" else 0.01)


def test_codes_are_the_papers():
    codes = ag.frequency_codes(8, 12)
    place, row, column = 3 * 8 + 6, (3 - 4) / 8, (6 - 4) / 8
    rates = 250.0 / 10_000 ** (4 * np.arange(3) / 12)
    one = [f(rates * k) for k in (row, column) for f in (np.sin, np.cos)]
    assert np.allclose(codes[place], np.concatenate(one))


@functools.cache
def trained():
    return ag.with_weights(ag.kspace_transformer(0), kspace_network())


@functools.cache
def phantoms():
    pictures = ag.ellipse_phantoms(20, 24, 99)
    return pictures, ag.to_frequencies(pictures)


def small():
    return ag.kspace_transformer(0, side=8, coarse=4, d=8, heads=2)


def test_loss_has_the_slopes_of_finite_differences():
    import autograd

    network, rng = small(), np.random.default_rng(0)
    spectra = ag.to_frequencies(ag.ellipse_phantoms(2, 8, 1))
    mask = ag.sampling_mask(8, 0.5, 0)
    gradient = autograd.grad(network.loss)(network.weights, spectra, mask)
    vector = ag.weights_vector(network)
    flat = ag.weights_vector(ag.KSpaceTransformer(gradient))
    for _ in range(5):
        way = rng.normal(size=vector.size)
        losses = [
            network.loss(ag.with_weights(network, vector + h * way).weights, spectra, mask)
            for h in (1e-6, -1e-6)
        ]
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(flat @ way, rel=1e-5, abs=1e-8)


def test_loss_is_the_error_of_pictures():
    network, spectra = small(), ag.to_frequencies(ag.ellipse_phantoms(3, 8, 1))
    mask = ag.sampling_mask(8, 0.5, 0)
    found = network.reconstruct(spectra, mask)
    low = spectra[:, 2:6, 2:6] * 0.5
    fine = np.mean((found.pictures - ag.to_picture(spectra).real) ** 2)
    coarse = np.mean((found.coarse - ag.to_picture(low).real) ** 2)
    assert network.loss(network.weights, spectra, mask) == pytest.approx(fine + coarse)


def test_measured_frequencies_stay_and_the_picture_is_real():
    _, spectra = phantoms()
    for kind in ag.KINDS:
        mask = ag.sampling_mask(24, 0.3, 1, kind)
        found = trained().reconstruct(spectra, mask)
        assert abs(ag.to_frequencies(found.pictures) - spectra)[:, mask].max() < 1e-12
        assert abs(ag.to_picture(found.spectra).imag).max() < 1e-12
        assert np.array_equal(found.spectra[:, mask], spectra[:, mask])


def test_full_sampling_returns_the_picture():
    pictures, spectra = phantoms()
    everything = np.ones((24, 24), dtype=bool)
    assert np.allclose(trained().reconstruct(spectra, everything).pictures, pictures, atol=1e-13)
    assert np.allclose(ag.kernel_fill(spectra, everything, 1.0), spectra)


def test_the_order_of_tokens_does_not_matter():
    # The block's keys in another order, with nothing else changed.
    network, rng = small(), np.random.default_rng(0)
    queries, keys = rng.normal(size=(1, 5, 8)), rng.normal(size=(1, 7, 8))
    block = network.weights[2]
    out = network._block(block, queries, keys)
    assert np.allclose(network._block(block, queries, keys[:, rng.permutation(7)]), out, atol=1e-14)


def test_sample_weights_are_shares_of_samples():
    _, spectra = phantoms()
    mask = ag.sampling_mask(24, 0.3, 1)
    place = int(np.flatnonzero(~mask)[40])
    coarse, samples = trained().sample_weights(spectra[0], mask, place)
    assert coarse.sum() == pytest.approx(1.0) and samples.sum() == pytest.approx(1.0)
    assert coarse.min() >= 0 and samples.min() >= 0 and np.all(samples[~mask] == 0)


def test_the_network_beats_zeros_and_fixed_attention_and_shuffled_places_do_not():
    pictures, spectra = phantoms()
    over_zeros, over_gauss, shuffled = [], [], []
    for seed in range(4):
        mask = ag.sampling_mask(24, 0.3, 300 + seed)
        network = ag.psnr(trained().reconstruct(spectra, mask).pictures, pictures)
        zeros = ag.psnr(ag.zero_fill(spectra, mask), pictures)
        gauss = max(
            ag.psnr(ag.to_picture(ag.kernel_fill(spectra, mask, h)).real, pictures).mean()
            for h in (0.5, 1.0, 2.0)
        )
        wrong = ag.shuffle_samples(spectra, mask, seed)
        wrong = np.where(mask, spectra, trained().reconstruct(wrong, mask).spectra)
        over_zeros.append(network.mean() - zeros.mean())
        over_gauss.append(network.mean() - gauss)
        shuffled.append(ag.psnr(ag.to_picture(wrong).real, pictures).mean() - zeros.mean())
    assert np.mean(over_zeros) > 2 and np.mean(over_gauss) > 1 and np.mean(shuffled) < 0.0


@pytest.mark.parametrize("kind", ag.KINDS)
def test_shuffled_samples_are_the_same_values_of_a_real_picture(kind):
    _, spectra = phantoms()
    mask = ag.sampling_mask(24, 0.3, 1, kind)
    moved = ag.shuffle_samples(spectra, mask, 0)
    assert abs(ag.to_picture(moved).imag).max() < 1e-12
    assert np.array_equal(np.sort(moved[0, mask].real), np.sort(spectra[0, mask].real))
    assert np.mean(moved[:, mask] != spectra[:, mask]) > 0.9
    assert np.array_equal(moved[:, ~mask], spectra[:, ~mask])


def test_linear_fill_is_the_normal_conditional_mean():
    pictures, spectra = phantoms()
    known = ag.ellipse_phantoms(300, 24, 1)
    mask = ag.sampling_mask(24, 0.3, 1)
    # The same in pixels: samples are linear in them.
    flat = known.reshape(300, -1)
    mean, centred = flat.mean(axis=0), flat - flat.mean(axis=0)
    units = ag.to_frequencies(np.eye(576).reshape(-1, 24, 24))
    maps = ag.to_pairs(units)[:, mask.ravel()].reshape(576, -1)
    samples = centred @ maps
    gram = samples.T @ samples / 300 + 1e-4 * np.eye(samples.shape[1])
    given = (pictures.reshape(20, -1) - mean) @ maps
    want = mean + given @ np.linalg.solve(gram, samples.T @ centred / 300)
    found = ag.linear_fill(spectra, mask, ag.to_frequencies(known))
    missing = ~mask
    expected = ag.to_frequencies(want.reshape(-1, 24, 24))
    assert np.allclose(found[:, missing], expected[:, missing], atol=1e-8)
    assert np.array_equal(found[:, mask], spectra[:, mask])


def test_training_lowers_the_loss_and_leaves_its_start_alone():
    network = small()
    before = ag.weights_vector(network)
    spectra = ag.to_frequencies(ag.ellipse_phantoms(40, 8, 1))
    mask = ag.sampling_mask(8, 0.5, 7)
    run = ag.train_kspace(network, spectra, 80, 0, batch=4, step=1e-2, rates=(0.4, 0.6))
    states = list(run)
    learned = states[-1][1][0].weights
    assert network.loss(learned, spectra, mask) < 0.9 * network.loss(network.weights, spectra, mask)
    assert np.array_equal(ag.weights_vector(network), before)
    assert states[-1][0] == 1.0


def test_the_network_weighs_as_many_pairs_as_are_counted(monkeypatch):
    _, spectra = phantoms()
    mask, weighed, attend = ag.sampling_mask(24, 0.3, 1), [], ag._attend

    def counted(queries, keys, values):
        weighed.append(queries.shape[2] * keys.shape[2])
        return attend(queries, keys, values)

    monkeypatch.setattr(ag, "_attend", counted)
    trained().reconstruct(spectra[:1], mask)
    encoder, *decoder = weighed
    assert encoder == mask.sum() ** 2
    assert sum(decoder) == ag.decoding_pairs(24, 8, int(mask.sum()))["two stages"]


def test_pairs_are_counted():
    pairs = ag.decoding_pairs(24, 8, 173)
    assert pairs == {
        "two stages": 64 * 173 + 403 * 64,
        "missing ask samples": 403 * 173,
        "all ask all": 576**2,
    }


# Bad input

X, SEEN = np.ones((4, 2)), np.ones((4, 4), dtype=bool)
NAN = np.full((4, 2), np.nan)
MASK8 = np.ones((8, 8), dtype=bool)
SPECTRA8 = np.ones((2, 8, 8), dtype=complex)
SHIFT = ag.draw_shift(2, 0)
SCANS = [ag.Scan("rows", 1.0, 1.0)]
ODD = MASK8.copy()
ODD[4, 5] = False

HUGE, COMPLEX = 1e200 * X, 1j * SPECTRA8
PICTURES = np.ones((2, 4, 4))

BAD = [
    (lambda: ag.dense_attention(NAN, X, X, SEEN), "queries"),
    (lambda: ag.dense_attention(HUGE, HUGE, X, SEEN), "queries and keys must keep"),
    (lambda: ag.dense_attention(X, X[:, :1], X, SEEN), "keys"),
    (lambda: ag.dense_attention(X, X, X, SEEN, lambda s, i, j, p: s * np.nan), "score_mod"),
    (lambda: ag.dense_attention(X, X, X, SEEN, ag.alibi, [1.0]), "parameters must be as many"),
    (lambda: ag.dense_attention(X, X, X, SEEN, ag.alibi, ["a"]), "parameters"),
    (lambda: ag.dense_attention(X, X, X, SEEN.astype(int)), "seen"),
    (lambda: ag.dense_attention(X, X, X, SEEN[:2]), "seen"),
    (lambda: ag.dense_attention(X, X, X[:2], SEEN), "values"),
    (lambda: ag.psnr(X, X[:2]), "found"),
    (lambda: ag.psnr(X, X), "found"),
    (lambda: ag.psnr(NAN, X), "found must be finite"),
    (lambda: ag.psnr(X, 1j * X), "truth must hold real"),
    (lambda: ag.psnr(X[:0], X[:0]), "found must not be empty"),
    (lambda: ag.blocks_of(SEEN, 0), "block"),
    (lambda: ag.blocks_of(np.ones(3, dtype=bool), 1), "seen"),
    (lambda: ag.menu_parameters("some", side=2), "first"),
    (lambda: ag.menu_parameters("causal", join="XOR", side=2), "join"),
    (lambda: ag.menu_parameters("causal", side=0), "side"),
    (lambda: ag.menu_parameters("causal", side=2, reach=-1), "reach"),
    (lambda: ag.menu_parameters("causal", side=2, slope=0.0), "slope"),
    (lambda: ag.menu_parameters("causal", side=2, score="x"), "score"),
    (lambda: ag.online_softmax(NAN, X, 1), "scores"),
    (lambda: ag.online_softmax(np.full((2, 2), np.inf), X[:2], 1), "scores"),
    (lambda: ag.online_softmax(np.ones((2, 3)), X, 1), "values"),
    (lambda: ag.online_softmax(np.ones((2, 4)), X, 0), "block"),
    (lambda: ag.gathered_attention(X, X, X, (2, 3), 1), "queries"),
    (lambda: ag.gathered_attention(X, X, X, (2, 2), 2), "window"),
    (lambda: ag.gathered_attention(X, X, X, (2, 2), 3, padded=True), "window"),
    (lambda: ag.gathered_attention(X, X, X, (2, 2), 1, 0), "dilation"),
    (lambda: ag.gathered_attention(X, X, X, 4, 1), "shape"),
    (lambda: ag.gathered_attention(HUGE, HUGE, X, (2, 2), 1), "queries and keys must keep"),
    (lambda: ag.tiled_attention(X, X, X[:3], (2, 2), 1), "values"),
    (lambda: ag.tiled_attention(HUGE, HUGE, X, (2, 2), 1), "queries and keys must keep"),
    (lambda: ag.tiled_attention(X, X, X, (2, 2), 1, tile=0), "tile"),
    (lambda: ag.tiles((2, 2), 3), "window"),
    (lambda: ag.waste((2, 2), 1, 1, 0), "tile"),
    (lambda: ag.bi_wkv(1.0, 1.0, NAN, X), "keys"),
    (lambda: ag.bi_wkv(1.0, 1.0, X, X[:3]), "values"),
    (lambda: ag.bi_wkv(np.ones(3), 1.0, X, X), "w must"),
    (lambda: ag.bi_wkv(np.nan, 1.0, X, X), "w must"),
    (lambda: ag.bi_wkv(1.0, 1e301, X, X), "w, u and keys"),
    (lambda: ag.bi_wkv(1.0, 1.0, X, 1e308 * X), "values must keep all sums finite"),
    (lambda: ag.bi_wkv(5000.0, 1.0, X, 1e308 * X), "values must keep all sums finite"),
    (lambda: ag.wkv_as_attention(1.0, 1.0, X, X), "keys"),
    (lambda: ag.wkv_as_attention(1.0, 1.0, np.ones(3), X), "values"),
    (lambda: ag.re_wkv([], X, X, (2, 2)), "scans"),
    (lambda: ag.re_wkv([ag.Scan("up", 1.0, 1.0)], X, X, (2, 2)), "direction"),
    (lambda: ag.re_wkv([("rows", 1.0, 1.0)], X, X, (2, 2)), "scans must be a list of Scan"),
    (lambda: ag.re_wkv(SCANS[0], X, X, (2, 2)), "scans must be a list of Scan"),
    (lambda: ag.re_wkv(SCANS, X, X, (2, 3)), "keys"),
    (lambda: ag.receptive_field(SCANS, np.ones(4), (2, 2), 4), "place"),
    (lambda: ag.receptive_field(SCANS, np.ones(3), (2, 2), 0), "keys"),
    (lambda: ag.field_spread(-X), "weights"),
    (lambda: ag.omni_shift(np.ones((3, 4, 4)), SHIFT), "pictures"),
    (lambda: ag.omni_shift(np.ones((2, 4)), SHIFT), "pictures"),
    (lambda: ag.merge_shift(SHIFT._replace(five=SHIFT.three)), "shift"),
    (lambda: ag.filter_channels(np.ones((2, 4, 4)), np.ones((1, 3, 3))), "pictures"),
    (lambda: ag.filter_channels(np.ones((2, 4, 4)), np.ones((2, 4, 4))), "kernels"),
    (lambda: ag.filter_channels(np.nan * PICTURES, PICTURES[:, :3, :3]), "pictures must be finite"),
    (
        lambda: ag.filter_channels(PICTURES[:, :0], PICTURES[:, :3, :3]),
        "pictures must not be empty",
    ),
    (lambda: ag.filter_channels(PICTURES, 1j * PICTURES[:, :3, :3]), "kernels must hold real"),
    (lambda: ag.omni_shift(np.nan * PICTURES, SHIFT), "pictures must be finite"),
    (lambda: ag.restore_block(1e200 * PICTURES, ag.draw_block(2, 0)), "pictures and their sums"),
    (lambda: ag.draw_shift(0, 0), "channels"),
    (lambda: ag.draw_block(0, 0), "channels"),
    (lambda: ag.restore_block(np.ones((3, 4, 4)), ag.draw_block(2, 0)), "pictures"),
    (lambda: ag.ellipse_phantoms(0, 24, 0), "count"),
    (lambda: ag.ellipse_phantoms(1, 3, 0), "side"),
    (lambda: ag.ellipse_phantoms(1, 8, 0, -1), "parts"),
    (lambda: ag.sampling_mask(9, 0.3, 0), "side"),
    (lambda: ag.sampling_mask(8, 1.3, 0), "rate"),
    (lambda: ag.sampling_mask(8, 0.0, 0), "rate"),
    (lambda: ag.sampling_mask(8, 0.3, 0, "spiral"), "kind"),
    (lambda: ag.to_frequencies(np.full((2, 2), np.nan)), "pictures must hold finite"),
    (lambda: ag.to_picture(np.array([["a"]])), "spectra must hold finite"),
    (lambda: ag.to_frequencies(np.ones((2, 3))), "pictures"),
    (lambda: ag.to_picture(np.ones(3)), "spectra"),
    (lambda: ag.to_pairs(np.ones((3, 2, 4))), "spectra"),
    (lambda: ag.amplitudes(0), "side"),
    (lambda: ag.frequency_codes(8, 6), "d must"),
    (lambda: ag.kspace_transformer(0, side=9), "side"),
    (lambda: ag.kspace_transformer(0, coarse=7), "coarse"),
    (lambda: ag.kspace_transformer(0, d=32, heads=5), "heads"),
    (lambda: ag.with_weights(small(), np.ones(3)), "vector"),
    (lambda: small().reconstruct(SPECTRA8[:, :4], MASK8), "spectra"),
    (lambda: small().reconstruct(SPECTRA8 * np.nan, MASK8), "spectra"),
    (lambda: small().reconstruct(SPECTRA8, MASK8[:4]), "mask"),
    (lambda: small().reconstruct(SPECTRA8, ~MASK8), "mask"),
    (lambda: small().reconstruct(SPECTRA8, ODD), "mask"),
    (lambda: small().sample_weights(SPECTRA8[0], MASK8, 0), "place"),
    (lambda: ag.train_kspace(small(), SPECTRA8, 0, 0), "steps"),
    (lambda: ag.train_kspace(small(), SPECTRA8, 1, 0, batch=3), "batch"),
    (lambda: ag.train_kspace(small(), SPECTRA8, 1, 0, batch=1, step=0.0), "step"),
    (lambda: ag.train_kspace(small(), SPECTRA8, 1, 0, batch=1, rates=(0.1, 2.0)), "rates"),
    (lambda: ag.train_kspace(small(), SPECTRA8, 1, 0, batch=1, kinds=("x",)), "kinds"),
    (lambda: ag.train_kspace(small(), SPECTRA8, 1, 0, batch=1, rates=(0.5, 0.2)), "rates"),
    (lambda: ag.train_kspace(small(), SPECTRA8, 1, 0, batch=1, rates=(0.5,)), "rates"),
    (lambda: ag.train_kspace(small(), SPECTRA8, 1, 0, batch=1, kinds=()), "kinds"),
    (lambda: ag.zero_fill(SPECTRA8, MASK8[:4]), "mask"),
    (lambda: ag.zero_fill(3.0, MASK8), "spectra"),
    (lambda: ag.zero_fill(np.ones((1, 9, 9)), np.ones((9, 9), dtype=bool)), "mask"),
    (lambda: ag.zero_fill(COMPLEX, MASK8), "spectra must be of real pictures"),
    (lambda: small().reconstruct(COMPLEX, MASK8), "spectra must be of real pictures"),
    (lambda: ag.shuffle_samples(COMPLEX, MASK8, 0), "spectra must be of real pictures"),
    (lambda: ag.shuffle_samples(SPECTRA8, MASK8[:4], 0), "mask"),
    (lambda: ag.kernel_fill(SPECTRA8, ~ODD, 1.0), "mask"),
    (lambda: ag.kernel_fill(SPECTRA8, _middle(), 0.0), "bandwidth"),
    (lambda: ag.linear_fill(SPECTRA8, MASK8, SPECTRA8[:, :4]), "spectra"),
    (lambda: ag.decoding_pairs(8, 9, 3), "coarse"),
    (lambda: ag.decoding_pairs(8, 4, 65), "samples"),
]


def _middle():
    return ag.sampling_mask(8, 0.4, 0)


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
