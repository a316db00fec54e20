import platform
import subprocess
import sys

import numpy as np
import pytest

from kernellab.compute import attention as at
from kernellab.compute.compiled import registry
from kernellab.compute.kernels import Gaussian, Laplace
from tests.naive import attention as naive

pytestmark = pytest.mark.compiled

SIZES = [(1, 1, 1, 1), (1, 7, 3, 2), (5, 1, 2, 1), (140, 300, 6, 5), (257, 129, 1, 3)]


def problem(n, m, d, p, seed=0):
    rng = np.random.default_rng(seed + n + m)
    return tuple(rng.standard_normal(shape) for shape in ((n, d), (m, d), (m, p)))


def toeplitz(vector, n, m):
    return np.array([[vector[j - i + n - 1] for j in range(m)] for i in range(n)])


# Softmax attention


@pytest.mark.parametrize(("n", "m", "d", "p"), SIZES)
def test_softmax_attention_is_the_loop(n, m, d, p):
    q, k, v = problem(n, m, d, p)
    rng = np.random.default_rng(1)
    bias, mask = rng.standard_normal((n, m)), rng.random((n, m)) < 0.5
    out, weights, logs = naive.softmax_attention(q, k, v, 0.7, bias, lambda i, j: mask[i, j])
    options = {"scale": 0.7, "bias": bias, "mask": mask}
    ours, our_logs = at.softmax_attention(q, k, v, log_sums=True, **options)
    np.testing.assert_allclose(ours, out, atol=1e-13)
    np.testing.assert_allclose(our_logs, logs, atol=1e-13)
    np.testing.assert_allclose(at.attention_weights(q, k, **options), weights, atol=1e-14)
    plain = naive.softmax_attention(q, k, v, d**-0.5)[0]
    np.testing.assert_allclose(at.softmax_attention(q, k, v), plain, atol=1e-13)


@pytest.mark.parametrize("n", [1, 3, 128, 300])
def test_causal_attention_looks_back_only(n):
    q, k, v = problem(n, n, 4, 3)
    out, weights, _ = naive.softmax_attention(q, k, v, 0.5, seen=lambda i, j: j <= i)
    np.testing.assert_allclose(at.softmax_attention(q, k, v, causal=True), out, atol=1e-13)
    np.testing.assert_allclose(at.attention_weights(q, k, causal=True), weights, atol=1e-14)


@pytest.mark.parametrize(("n", "m", "d", "p"), SIZES)
def test_a_bias_of_the_relative_position_is_a_toeplitz_bias(n, m, d, p):
    q, k, v = problem(n, m, d, p)
    vector = np.random.default_rng(2).standard_normal(n + m - 1)
    full = at.softmax_attention(q, k, v, bias=toeplitz(vector, n, m))
    np.testing.assert_allclose(at.softmax_attention(q, k, v, bias=vector), full, atol=1e-14)


def test_large_scores_do_not_overflow():
    q, k, v = problem(200, 600, 4, 3)
    bias = np.random.default_rng(0).choice([-1e4, 0.0, 1e4], (200, 600))
    out, logs = at.softmax_attention(q, k, v, bias=bias, log_sums=True)
    expected = naive.softmax_attention(q, k, v, 0.5, bias)
    np.testing.assert_allclose(out, expected[0], atol=1e-12)
    np.testing.assert_allclose(logs, expected[2], rtol=1e-14)


def test_a_query_without_keys_gives_zero():
    q, k, v = problem(150, 300, 4, 3)
    mask = np.ones((150, 300), dtype=bool)
    mask[[0, 149]] = False
    mask[5, :290] = False  # its first block of keys is hidden
    out, logs = at.softmax_attention(q, k, v, mask=mask, log_sums=True)
    assert not out[[0, 149]].any() and (logs[[0, 149]] == -np.inf).all()
    assert np.isfinite(out).all() and np.isfinite(logs[1:149]).all()
    assert not at.attention_weights(q, k, mask=mask)[[0, 149]].any()
    gradients = at.softmax_attention_gradients(q, k, v, out + 1.0, mask=mask)
    assert all(np.isfinite(part).all() for part in gradients[:3])
    assert not gradients.queries[[0, 149]].any()


def test_a_constant_added_to_the_bias_changes_nothing():
    q, k, v = problem(60, 60, 4, 3)
    vector = -np.abs(np.arange(-59.0, 60.0))
    one, other = (at.attention_weights(q, k, bias=vector + c) for c in (0.0, 3.0))
    np.testing.assert_allclose(one, other, atol=1e-14)


def test_parts_merge_into_the_whole():
    q, k, v = problem(40, 90, 4, 3)
    mask = np.ones((40, 90), dtype=bool)
    mask[3, :30] = mask[7] = False
    parts = [slice(0, 30), slice(30, 31), slice(31, 90)]
    found = [at.softmax_attention(q, k[s], v[s], mask=mask[:, s], log_sums=True) for s in parts]
    out, logs = at.merge_attention(*zip(*found, strict=True))
    whole = at.softmax_attention(q, k, v, mask=mask, log_sums=True)
    np.testing.assert_allclose(out, whole[0], atol=1e-14)
    np.testing.assert_allclose(logs, whole[1], atol=1e-14)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "full", "relative"])
def test_gradients_agree_with_central_differences(causal, kind):
    n = m = 7
    q, k, v = problem(n, m, 3, 2)
    rng = np.random.default_rng(3)
    bias = {"none": None, "full": rng.standard_normal((n, m)), "relative": rng.random(n + m - 1)}
    upstream, inputs = rng.standard_normal((n, 2)), {"q": q, "k": k, "v": v, "bias": bias[kind]}

    def loss():
        out = at.softmax_attention(q, k, v, scale=0.8, bias=inputs["bias"], causal=causal)
        return np.sum(upstream * out)

    options = {"scale": 0.8, "bias": bias[kind], "causal": causal}
    ours = at.softmax_attention_gradients(q, k, v, upstream, **options)
    for array, slopes in zip(inputs.values(), ours, strict=True):
        if array is None:
            assert slopes is None
            continue
        assert slopes.shape == array.shape
        for place in np.ndindex(array.shape):
            middle, step = array[place], 1e-5
            array[place] = middle + step
            above = loss()
            array[place] = middle - step
            slope = (above - loss()) / (2 * step)
            array[place] = middle
            assert slopes[place] == pytest.approx(slope, abs=1e-9)
    forward = at.softmax_attention(q, k, v, log_sums=True, **options)
    again = at.softmax_attention_gradients(q, k, v, upstream, forward=forward, **options)
    np.testing.assert_array_equal(again.queries, ours.queries)


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_many_blocks_agree_with_autograd(causal):
    import autograd
    import autograd.numpy as anp

    n = 300
    q, k, v = problem(n, n, 5, 4)
    rng = np.random.default_rng(3)
    bias, upstream = rng.standard_normal((n, n)), rng.standard_normal((n, 4))
    hidden = np.where(np.tril(np.ones((n, n))), 0.0, -1e9) if causal else 0.0

    def loss(q, k, v, bias):
        scores = 0.3 * q @ k.T + bias + hidden
        weights = anp.exp(scores - anp.max(scores, axis=1, keepdims=True))
        return anp.sum(upstream * (weights @ v) / anp.sum(weights, axis=1, keepdims=True))

    expected = autograd.grad(loss, (0, 1, 2, 3))(q, k, v, bias)
    ours = at.softmax_attention_gradients(q, k, v, upstream, scale=0.3, bias=bias, causal=causal)
    for slopes, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(slopes, other, atol=1e-12)


# Kernels


@pytest.mark.parametrize("normalise", [False, True])
def test_kernel_attention_is_a_kernel_smoother(normalise):
    q, k, v = problem(9, 20, 3, 2)
    kernels = [
        (Gaussian(0.8), lambda x, y: np.exp(-np.sum((x - y) ** 2) / (2 * 0.8**2))),
        (Laplace(1.3), lambda x, y: np.exp(-np.sum(abs(x - y)) / 1.3)),
    ]
    for kernel, plain in kernels:
        expected = naive.kernel_attention(plain, q, k, v, normalise)
        ours = at.kernel_attention(kernel, q, k, v, normalise)
        np.testing.assert_allclose(ours, expected, atol=1e-13)


def test_the_widest_gaussian_gives_the_mean():
    q, k, v = problem(5, 7, 2, 3)
    for bandwidth in (1e100, 1e200):
        found = at.kernel_attention(Gaussian(bandwidth), q, k, v)
        np.testing.assert_allclose(found, np.tile(v.mean(axis=0), (5, 1)), atol=1e-14)


def test_gaussian_attention_moves_with_its_points_and_bears_far_queries():
    q, k, v = problem(30, 40, 3, 2)
    here = at.kernel_attention(Gaussian(0.5), q, k, v)
    there = at.kernel_attention(Gaussian(0.5), q + 1e4, k + 1e4, v)
    np.testing.assert_allclose(there, here, atol=1e-9)
    far = at.kernel_attention(Gaussian(0.5), np.full((1, 3), 1e3), k, v)
    nearest = np.argmax(k.sum(axis=1))
    np.testing.assert_allclose(far[0], v[nearest], atol=1e-12)
    assert not at.kernel_attention(Laplace(0.5), np.full((1, 3), 1e5), k, v).any()


# Linear attention


@pytest.mark.parametrize(("n", "r", "p"), [(1, 1, 1), (5, 3, 2), (64, 4, 1), (200, 7, 3)])
def test_linear_attention_is_the_loop(n, r, p):
    rng = np.random.default_rng(n)
    a, b, v = rng.random((n, r)), rng.random((n, r)), rng.standard_normal((n, p))
    for causal in (False, True):
        expected = naive.linear_attention(a, b, v, causal=causal)
        np.testing.assert_allclose(at.linear_attention(a, b, v, causal), expected, atol=1e-13)
    whole = at.linear_attention(a, b, v, normalise=False)
    np.testing.assert_allclose(whole, a @ b.T @ v, atol=1e-11)
    past = at.linear_attention(a, b, v, causal=True, normalise=False)
    np.testing.assert_allclose(past, np.tril(a @ b.T) @ v, atol=1e-11)
    assert not at.linear_attention(0 * a, b, v).any()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (6, 1), (17, 17), (40, 33)])
def test_toeplitz_attention_is_the_loop(n, m):
    rng = np.random.default_rng(n)
    a, b, v = rng.random((n, 3)), rng.random((m, 3)), rng.standard_normal((m, 2))
    weights = np.exp(rng.standard_normal(n + m - 1))
    expected = naive.linear_attention(a, b, v, weights)
    np.testing.assert_allclose(at.toeplitz_attention(a, b, v, weights), expected, atol=1e-13)
    product = toeplitz(weights, n, m) @ v
    np.testing.assert_allclose(at.toeplitz_product(weights, v, n), product, atol=1e-12)
    without = at.toeplitz_attention(a, b, v, np.ones(n + m - 1))
    np.testing.assert_allclose(without, at.linear_attention(a, b, v), atol=1e-13)
    if n == m:
        past = np.where(np.arange(2 * n - 1) < n, weights, 0.0)
        expected = naive.linear_attention(a, b, v, weights, causal=True)
        np.testing.assert_allclose(at.toeplitz_attention(a, b, v, past), expected, atol=1e-12)


# Neighbourhood attention


@pytest.mark.parametrize(
    ("n", "window", "dilation", "causal"),
    [
        (1, 1, 1, False),
        (9, 3, 1, False),
        (9, 9, 1, False),
        (10, 3, 3, False),
        (101, 7, 4, False),
        (150, 45, 2, False),
        (9, 4, 2, True),
        (130, 40, 1, True),
        (130, 11, 5, True),
    ],
)
def test_neighbourhood_attention_on_a_line(n, window, dilation, causal):
    q, k, v = problem(n, n, 4, 3)
    seen = naive.sees_on_grid((1, n), (1, window), (1, dilation), causal)
    expected = naive.softmax_attention(q, k, v, 0.5, seen=seen)[0]
    options = {"window": window, "dilation": dilation, "causal": causal}
    ours = at.neighbourhood_attention(q, k, v, **options)
    np.testing.assert_allclose(ours, expected, atol=1e-13)
    found = at.neighbourhood_windows(n, **options)
    for i in range(n):
        row = naive.window(i, n, window, dilation, causal)
        assert found[i].tolist() == [-1] * (window - len(row)) + row


@pytest.mark.parametrize(
    ("shape", "window", "dilation", "causal"),
    [
        ((1, 1), 1, 1, False),
        ((6, 9), 3, 1, False),
        ((9, 7), (9, 7), 1, False),
        ((17, 19), (5, 9), (3, 2), False),
        ((20, 21), 7, 2, False),
        ((12, 11), (3, 4), (2, 2), True),
    ],
)
def test_neighbourhood_attention_on_a_grid(shape, window, dilation, causal):
    n = shape[0] * shape[1]
    q, k, v = problem(n, n, 4, 3)
    sizes, steps = np.broadcast_to(window, 2), np.broadcast_to(dilation, 2)
    seen = naive.sees_on_grid(shape, sizes, steps, causal)
    expected = naive.softmax_attention(q, k, v, 0.5, seen=seen)[0]
    options = {"window": window, "dilation": dilation, "causal": causal, "shape": shape}
    ours = at.neighbourhood_attention(q, k, v, **options)
    np.testing.assert_allclose(ours, expected, atol=1e-13)


@pytest.mark.parametrize("tile", [1, 2, 5, 1000])
def test_the_tile_does_not_change_neighbourhood_attention(tile):
    q, k, v = problem(120, 120, 4, 3)
    for options in ({"window": 9, "dilation": 2}, {"window": (3, 5), "shape": (10, 12)}):
        ours = at.neighbourhood_attention(q, k, v, tile=tile, **options)
        np.testing.assert_allclose(ours, at.neighbourhood_attention(q, k, v, **options), atol=1e-14)


def test_the_smallest_and_the_largest_window():
    q, k, v = problem(25, 25, 4, 3)
    np.testing.assert_allclose(at.neighbourhood_attention(q, k, v, window=1), v, atol=1e-15)
    for shape in (None, (5, 5)):
        side = 25 if shape is None else 5
        whole = at.neighbourhood_attention(q, k, v, window=side, shape=shape)
        np.testing.assert_allclose(whole, at.softmax_attention(q, k, v), atol=1e-14)


def test_neighbourhood_attention_bears_large_scores():
    q, k, v = problem(50, 50, 4, 3)
    out = at.neighbourhood_attention(q * 1e3, k * 1e2, v, window=5)
    assert np.isfinite(out).all() and abs(out).max() <= abs(v).max()


# Rules


def causal(i, j, parameters):
    return j <= i


def near(i, j, parameters):
    return abs(i - j) < parameters[0]


def same_document(i, j, parameters):
    return parameters[i] == parameters[j]


def slope(score, i, j, parameters):
    return score - parameters[0] * abs(i - j)


def capped(score, i, j, parameters):
    return 2.0 * np.tanh(score / 2.0)


def first_ones(count):
    return lambda i, j, parameters: j < count


DOCUMENTS = np.repeat([0.0, 1.0, 2.0], [30, 50, 20])
RULES = [
    ("none", None, None, None, None),
    ("causal", causal, None, None, None),
    ("near", near, [7.0], slope, [0.3]),
    ("document", same_document, DOCUMENTS, capped, None),
    ("both", at.and_masks(causal, near), [9.0], slope, [0.1]),
    ("prefix", at.or_masks(causal, first_ones(10)), None, capped, None),
    ("three", at.and_masks(causal, near, at.or_masks(near, causal)), [5.0], None, None),
]


@pytest.mark.parametrize("block", [1, 16, 33, 200])
@pytest.mark.parametrize(("name", "mask_mod", "numbers", "score_mod", "others"), RULES)
def test_rules_give_the_dense_result(name, mask_mod, numbers, score_mod, others, block):
    q, k, v = problem(100, 100, 4, 3)
    block_mask = None
    seen = score = None
    if mask_mod is not None:
        block_mask = at.block_mask(mask_mod, 100, 100, block, numbers)
        dense = at.dense_mask(mask_mod, 100, 100, numbers)
        assert dense.any() and not dense.all()
        seen = lambda i, j: dense[i, j]  # noqa: E731
        for a, b in np.ndindex(block_mask.kinds.shape):
            inside = dense[a * block : (a + 1) * block, b * block : (b + 1) * block]
            kind = at.FULL if inside.all() else at.PARTIAL if inside.any() else at.EMPTY
            assert block_mask.kinds[a, b] == kind
    if score_mod is not None:
        score = lambda s, i, j: score_mod(s, i, j, others)  # noqa: E731
    out, _, logs = naive.softmax_attention(q, k, v, 0.5, None, seen, score)
    ours, our_logs = at.flex_attention(
        q, k, v, score_mod=score_mod, mask=block_mask, parameters=others, log_sums=True
    )
    np.testing.assert_allclose(ours, out, atol=1e-13)
    np.testing.assert_allclose(our_logs, logs, atol=1e-13)


def test_masks_are_what_their_rules_say():
    near_plain = [[abs(i - j) < 3 for j in range(40)] for i in range(30)]
    np.testing.assert_array_equal(at.dense_mask(near, 30, 40, [3.0]), near_plain)
    either = at.dense_mask(at.or_masks(causal, first_ones(5)), 30, 40)
    plain = [[j <= i or j < 5 for j in range(40)] for i in range(30)]
    np.testing.assert_array_equal(either, plain)


def test_rules_are_compiled_once_for_their_code_and_constants():
    programs = [at._program("mask_mod", first_ones(count)) for count in (3, 3, 4)]
    assert programs[0] is programs[1] and programs[0] is not programs[2]
    for count in (3, 4):
        assert at.dense_mask(first_ones(count), 2, 9).sum(axis=1).tolist() == [count, count]
    before = at._compiled_program.cache_info().misses
    for width in (3.0, 5.0, 9.0):
        at.block_mask(near, 50, 50, 16, [width])
    assert at._compiled_program.cache_info().misses <= before + 1


def test_empty_blocks_are_not_computed():
    """A NaN or an infinity in a block that is skipped does not matter; rows without keys give 0."""
    never = at.block_mask(lambda i, j, parameters: i < 0, 40, 40, 8)
    assert never.computed == 0 and never.fraction == 0.0
    q, k, v = problem(40, 40, 4, 3)
    out, logs = at.flex_attention(q, k, v, mask=never, log_sums=True)
    assert not out.any() and (logs == -np.inf).all()
    band = at.block_mask(near, 512, 512, 32, [33.0])
    assert band.computed == 3 * 16 - 2


# Compiled loops and bad input


def test_the_exponentials_are_vectorised():
    import numba

    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("reads x86 assembly")
    if numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK:
        pytest.skip("bounds checks forbid vectors")
    if numba.config.CPU_NAME == "generic":
        pytest.skip("no packed instructions were found for this simulated processor")
    loop = at._exponentials
    loop.compile()  # teaches numba what a compiled helper is
    fresh = numba.njit(loop.signature, **loop.options)(loop.py_func)
    assembly = "\n".join(fresh.inspect_asm().values())
    packed = ("mulpd", "addpd", "pd\t%ymm", "pd\t%zmm")
    assert any(word in assembly for word in packed)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 31, 64])
def test_the_largest_is_found_at_every_place(size):
    for place in range(size):
        row = -np.arange(1.0, size + 1.0)
        row[place] = 5.0
        assert at._largest(row) == 5.0
    assert at._largest(np.full(size, -np.inf)) == -np.inf


def test_no_weights_are_stored():
    """8192 x 8192 weights would be 512 MB; a process of its own tells the largest it ever was."""
    pytest.importorskip("resource")
    if not sys.platform.startswith("linux"):
        pytest.skip("the unit of ru_maxrss is Linux's")
    script = """
import resource
import numpy as np
from kernellab.compute import attention as at
def near(i, j, parameters):
    return abs(i - j) < 40
def run(n):
    x = np.random.default_rng(0).standard_normal((n, 2))
    at.softmax_attention(x, x, x)
    at.softmax_attention_gradients(x, x, x, x)
    at.flex_attention(x, x, x, mask=at.block_mask(near, n, n))
    at.neighbourhood_attention(x, x, x, window=31)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small = run(64)
print(run(8192) - small)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < 16_000  # kilobytes


X, LONG = np.ones((4, 2)), np.ones((6, 2))
MASK = at.BlockMask(causal, 3, 4, 2, np.ones((2, 2), dtype=np.int8), np.empty(0))
WRONG_KINDS = at.BlockMask(causal, 4, 4, 2, np.ones((1, 2), dtype=np.int8), np.empty(0))
BAD = [
    (lambda: at.softmax_attention(X, X[:, :1], X), "keys must have 2 columns"),
    (lambda: at.softmax_attention(X, X, LONG), "values must have 4 rows"),
    (lambda: at.softmax_attention(X[:0], X, X), "queries must"),
    (lambda: at.softmax_attention(X * np.nan, X, X), "queries must be finite"),
    (lambda: at.softmax_attention(X, X, X, scale=-1.0), "scale must"),
    (lambda: at.softmax_attention(X, X, X, bias=X), "bias must"),
    (lambda: at.softmax_attention(X, X, X, bias=np.ones(8)), "bias must have length 7"),
    (lambda: at.softmax_attention(X, X, X, mask=np.ones((4, 4))), "mask must hold booleans"),
    (lambda: at.softmax_attention(X, X, X, mask=X > 0), "mask must have shape"),
    (lambda: at.softmax_attention(X, LONG, LONG, causal=True), "the same length when causal"),
    (lambda: at.softmax_attention(X * 1e200, X * 1e200, X), "below 1e300"),
    (lambda: at.softmax_attention(X, X, X * 1.7e308), "values must keep all sums finite"),
    (lambda: at.attention_weights(X, LONG[:, :1]), "keys must"),
    (lambda: at.softmax_attention_gradients(X, X, X, LONG), "upstream must"),
    (lambda: at.softmax_attention_gradients(X, X, X, X, forward=X[0, 0]), "forward must"),
    (lambda: at.softmax_attention_gradients(X, X, X, X, forward=(X, X)), "forward must"),
    (lambda: at.merge_attention([], []), "outputs must hold"),
    (lambda: at.merge_attention([X], []), "must have the same length"),
    (lambda: at.merge_attention([X], [X]), "log_sums must"),
    (lambda: at.kernel_attention(Gaussian(1.0), X, X, LONG), "values must"),
    (lambda: at.linear_attention(X, X[:, :1], X), "key_features must"),
    (lambda: at.linear_attention(X, LONG, LONG, causal=True), "the same length when causal"),
    (lambda: at.linear_attention(1e160 * X, 1e160 * X, X), "query_features, key_features must"),
    (lambda: at.kernel_attention(Gaussian(1e-200), *[np.eye(4)] * 3), "all scores below 1e300"),
    (lambda: at.linear_attention(1e160 * X, 1e150 * X, 1e-5 * X), "query_features"),
    (lambda: at.toeplitz_attention(X, X, X, np.ones(6)), "weights must have length 7"),
    (lambda: at.toeplitz_attention(X, X, X, np.full(7, 1.7e308)), "query_features, key_"),
    (lambda: at.toeplitz_attention(1e160 * X, 1e160 * X, X, np.ones(7)), "query_features, key_"),
    (lambda: at.toeplitz_product(np.full(7, 1.7e308), X, 4), "weights, x must keep"),
    (lambda: at.toeplitz_product(np.ones(7), X, 0), "n must"),
    (lambda: at.neighbourhood_attention(X, X, X, window=2), "window must be odd"),
    (lambda: at.neighbourhood_attention(X, X, X, window=5), "window times dilation"),
    (lambda: at.neighbourhood_attention(X, X, X, window=3, dilation=2), "window times dilation"),
    (lambda: at.neighbourhood_attention(X, X, X, window=0), "window must"),
    (lambda: at.neighbourhood_attention(X, X, X, window=1, dilation=0), "dilation must"),
    (lambda: at.neighbourhood_attention(X, X, X, window=(1, 1)), "window must"),
    (lambda: at.neighbourhood_attention(X, X, X, window=1, shape=(2, 3)), "shape must"),
    (lambda: at.neighbourhood_attention(X, X, X, window=1, shape=(2, 2, 1)), "shape must"),
    (lambda: at.neighbourhood_attention(X, LONG, LONG, window=1), "queries and keys must"),
    (lambda: at.neighbourhood_windows(4, 6, causal=True), "window times dilation"),
    (lambda: at.block_mask(causal, 4, 4, block=0), "block must"),
    (lambda: at.block_mask(causal, 0, 4), "n must"),
    (lambda: at.block_mask("causal", 4, 4), "mask_mod must be a plain function"),
    (lambda: at.block_mask(lambda i: True, 4, 4), "mask_mod must be a function of"),
    (lambda: at.block_mask(lambda i, j, p: nowhere(i), 4, 4), "mask_mod must be what numba"),  # noqa: F821
    (lambda: at.block_mask(near, 4, 4), "parameters must be as many as mask_mod reads, got 0"),
    (lambda: at.flex_attention(X, X, X, score_mod=slope), "parameters must be as many as score"),
    (lambda: at.flex_attention(X, X, X, mask=WRONG_KINDS), "mask must have a kind for each"),
    (lambda: at.dense_mask(causal, 4, -1), "m must"),
    (lambda: at.flex_attention(X, X, X, mask=MASK), "mask must be of 4 x 4"),
    (lambda: at.flex_attention(X, X, X, mask=X > 0), "mask must be a BlockMask"),
    (lambda: at.flex_attention(X, X, X, score_mod=lambda s: s), "score_mod must be a function of"),
    (lambda: at.flex_attention(X, X, X, score_mod=lambda s, i, j, p: np.nan), "score_mod and"),
    (lambda: at.flex_attention(X, X, X, score_mod=lambda s, i, j, p: np.inf), "score_mod and"),
    (lambda: at.flex_attention(X, X, X, parameters=X), "parameters must"),
    (lambda: at.and_masks(), "mask_mods must"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_rules_are_no_functions_of_the_package():
    listed = registry()
    assert at.dense_mask(lambda i, j, parameters: i >= 2 * j, 4, 3).sum() == 6
    with pytest.raises(ValueError, match="mask_mod must be what numba can compile"):
        at.dense_mask(lambda i, j, parameters: nowhere_at_all, 4, 3)  # noqa: F821
    assert registry() == listed
