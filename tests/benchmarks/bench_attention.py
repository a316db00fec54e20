"""Attention beside NumPy, SciPy and PyTorch's scaled_dot_product_attention on one thread.

The peak counts what NumPy allocates; PyTorch's own memory is not seen.
"""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute import attention as at
from kernellab.compute.kernels import Gaussian


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for d in (32, 64):
        for n in (256, 1024, 4096, 8192):
            yield softmax(n, d)
    for n in (256, 1024, 4096):
        yield causal(n)
        yield gradients(n)
        yield sliding(n)
    for n in (256, 1024, 4096):
        yield line(n, 31)
    for side in (16, 32, 64):
        yield grid(side, 7)
    for n in (256, 1024, 4096):
        yield linear(n)
        yield relative(n)
        yield smoother(n)


def problem(n: int, d: int):
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((n, d)) for _ in range(3))


def torch_attention(q, k, v, **options):
    """PyTorch's fused attention."""
    import torch

    torch.set_num_threads(1)
    tensors = [torch.from_numpy(x)[None, None] for x in (q, k, v)]
    out = torch.nn.functional.scaled_dot_product_attention(*tensors, **options)
    return out[0, 0].numpy()


def numpy_weights(q, k, bias=None):
    """Softmax weights with as few temporaries as NumPy allows."""
    weights = q @ k.T
    weights *= q.shape[1] ** -0.5
    if bias is not None:
        weights += bias
    weights -= weights.max(axis=1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def softmax(n: int, d: int) -> Row:
    q, k, v = problem(n, d)

    def scipy():
        from scipy.special import softmax as scipy_softmax

        return scipy_softmax(q @ k.T * d**-0.5, axis=1) @ v

    peers = {
        "NumPy": lambda: numpy_weights(q, k) @ v,
        "SciPy": scipy,
        "PyTorch": lambda: torch_attention(q, k, v),
    }
    return Row(f"softmax attention, d={d}", f"n={n}", lambda: at.softmax_attention(q, k, v), peers)


def causal(n: int) -> Row:
    q, k, v = problem(n, 32)
    hidden = np.where(np.tril(np.ones((n, n), dtype=bool)), 0.0, -np.inf)
    peers = {
        "NumPy": lambda: numpy_weights(q, k, hidden) @ v,
        "PyTorch": lambda: torch_attention(q, k, v, is_causal=True),
    }
    ours = lambda: at.softmax_attention(q, k, v, causal=True)  # noqa: E731
    return Row("causal attention, d=32", f"n={n}", ours, peers)


def gradients(n: int) -> Row:
    """Forward and backward."""
    q, k, v = problem(n, 32)
    upstream = np.random.default_rng(1).standard_normal((n, 32))

    def ours():
        return np.stack(at.softmax_attention_gradients(q, k, v, upstream)[:3])

    def plain_numpy():
        weights = numpy_weights(q, k)
        slopes = upstream @ v.T
        slopes -= np.sum(upstream * (weights @ v), axis=1, keepdims=True)
        slopes *= weights
        scale = 32**-0.5
        return np.stack([scale * slopes @ k, scale * slopes.T @ q, weights.T @ upstream])

    def torch_gradients():
        import torch

        torch.set_num_threads(1)
        tensors = [torch.from_numpy(x)[None, None].requires_grad_() for x in (q, k, v)]
        out = torch.nn.functional.scaled_dot_product_attention(*tensors)
        out.backward(torch.from_numpy(upstream)[None, None])
        return np.stack([x.grad[0, 0].numpy() for x in tensors])

    peers = {"NumPy": plain_numpy, "PyTorch": torch_gradients}
    return Row("attention gradients, d=32", f"n={n}", ours, peers)


def near(i, j, parameters):
    return (j <= i) and (i - j < parameters[0])


def falling(score, i, j, parameters):
    return score - parameters[0] * abs(i - j)


def sliding(n: int) -> Row:
    """A causal window of 64 tokens with a linear bias; the peers get it as a dense bias."""
    q, k, v = problem(n, 32)
    mask = at.block_mask(near, n, n, 64, [64.0])
    distance = np.arange(n)[:, None] - np.arange(n)
    bias = np.where((distance >= 0) & (distance < 64), -0.1 * distance, -np.inf)

    def ours():
        return at.flex_attention(q, k, v, score_mod=falling, mask=mask, parameters=[0.1])

    def torch_masked():
        import torch

        return torch_attention(q, k, v, attn_mask=torch.from_numpy(bias))

    peers = {
        "NumPy": lambda: numpy_weights(q, k, bias) @ v,
        "PyTorch, dense mask": torch_masked,
    }
    return Row("window of 64 with ALiBi", f"n={n}", ours, peers)


def gathered(q, k, v, windows):
    """Neighbourhood attention by a gather of all windows."""
    scores = np.einsum("nd,nwd->nw", q, k[windows]) * q.shape[1] ** -0.5
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return np.einsum("nw,nwd->nd", scores, v[windows])


def torch_windows(q, k, v, windows):
    """PyTorch with the windows as a dense mask."""
    import torch

    mask = np.zeros((len(q), len(k)), dtype=bool)
    np.put_along_axis(mask, windows, True, axis=1)
    return torch_attention(q, k, v, attn_mask=torch.from_numpy(mask))


def line(n: int, window: int) -> Row:
    q, k, v = problem(n, 32)
    windows = at.neighbourhood_windows(n, window)
    peers = {
        "NumPy, gathered": lambda: gathered(q, k, v, windows),
        "PyTorch, dense mask": lambda: torch_windows(q, k, v, windows),
    }
    ours = lambda: at.neighbourhood_attention(q, k, v, window=window)  # noqa: E731
    return Row("neighbourhoods on a line", f"n={n}, w={window}", ours, peers)


def grid(side: int, window: int) -> Row:
    n = side * side
    q, k, v = problem(n, 32)
    along = at.neighbourhood_windows(side, window)
    windows = (along[:, None, :, None] * side + along[None, :, None, :]).reshape(n, -1)
    peers = {
        "NumPy, gathered": lambda: gathered(q, k, v, windows),
        "PyTorch, dense mask": lambda: torch_windows(q, k, v, windows),
    }

    def ours():
        return at.neighbourhood_attention(q, k, v, window=window, shape=(side, side))

    return Row("neighbourhoods on a grid", f"n={n}, w={window}x{window}", ours, peers)


def linear(n: int) -> Row:
    """Causal linear attention with 64 features."""
    rng = np.random.default_rng(0)
    a, b, v = rng.random((n, 64)), rng.random((n, 64)), rng.standard_normal((n, 32))

    def prefix_sums():
        states = np.cumsum(b[:, :, None] * v[:, None, :], axis=0)
        return np.einsum("nr,nrp->np", a, states) / np.sum(a * np.cumsum(b, axis=0), 1)[:, None]

    def dense():
        weights = np.tril(a @ b.T)
        return weights @ v / weights.sum(axis=1, keepdims=True)

    peers = {"NumPy, prefix sums": prefix_sums, "NumPy, dense": dense}
    ours = lambda: at.linear_attention(a, b, v, causal=True)  # noqa: E731
    return Row("causal linear attention", f"n={n}, r=64", ours, peers)


def relative(n: int) -> Row:
    """Linear attention with relative weights, 16 features and 8 values."""
    rng = np.random.default_rng(0)
    a, b, v = rng.random((n, 16)), rng.random((n, 16)), rng.standard_normal((n, 8))
    weights = 1.0 / (1.0 + abs(np.arange(1.0 - n, n)))

    def scipy():
        from scipy.linalg import matmul_toeplitz

        both = np.column_stack([v, np.ones(n)])
        stacked = (b[:, :, None] * both[:, None, :]).reshape(n, -1)
        product = matmul_toeplitz((weights[n - 1 :: -1], weights[n - 1 :]), stacked)
        sums = np.einsum("nr,nrp->np", a, product.reshape(n, 16, 9))
        return sums[:, :8] / sums[:, 8:]

    def dense():
        distance = np.arange(n) - np.arange(n)[:, None]
        matrix = (a @ b.T) * weights[distance + n - 1]
        return matrix @ v / matrix.sum(axis=1, keepdims=True)

    ours = lambda: at.toeplitz_attention(a, b, v, weights)  # noqa: E731
    return Row("relative weights by FFT", f"n={n}", ours, {"SciPy": scipy, "NumPy, dense": dense})


def smoother(n: int) -> Row:
    """Normalised Gaussian attention."""
    q, k, v = problem(n, 8)

    def scikit():
        from sklearn.metrics.pairwise import rbf_kernel

        weights = rbf_kernel(q, k, gamma=0.5)
        return weights @ v / weights.sum(axis=1, keepdims=True)

    ours = lambda: at.kernel_attention(Gaussian(1.0), q, k, v)  # noqa: E731
    return Row("Gaussian attention, d=8", f"n={n}", ours, {"scikit-learn": scikit})
