"""The attention-on-grids lab beside its peers, on one thread: NumPy, SciPy and PyTorch.

The peak counts what NumPy allocates; PyTorch's own memory is not seen.
"""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.attention import block_mask, flex_attention, neighbourhood_attention
from kernellab.methods.attention import attention_on_grids as ag


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for rule in ("causal", "window on the grid", "documents"):
        for side in (16, 32, 64):
            yield program(rule, side)
    for side in (16, 32, 64):
        yield window(side, 7)
    yield window(64, 13)
    for length in (1024, 16384, 131072):
        yield scan(length, 1)
    for length in (1024, 4096, 16384):
        yield scan(length, 32)
    for side in (64, 256):
        yield shift(side)
    for batch in (1, 16):
        yield reconstruction(batch)


def tokens(n: int, d: int = 32):
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((n, d)) for _ in range(3))


def torch_masked(q, k, v, seen):
    """PyTorch's fused attention with a mask of booleans."""
    import torch

    torch.set_num_threads(1)
    tensors = [torch.from_numpy(x)[None, None] for x in (q, k, v)]
    mask = torch.from_numpy(seen)[None, None]
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(*tensors, attn_mask=mask)[0, 0].numpy()


def allowed(rule: str, side: int) -> np.ndarray:
    """The mask as NumPy makes it."""
    i, j = np.arange(side * side)[:, None], np.arange(side * side)
    if rule == "causal":
        return j <= i
    if rule == "documents":
        return i // side // 4 == j // side // 4
    return (abs(i // side - j // side) <= 3) & (abs(i % side - j % side) <= 3)


def program(rule: str, side: int) -> Row:
    """Attention with a rule, the mask ready before: 32 numbers a token."""
    n = side * side
    q, k, v = tokens(n)
    parameters = ag.menu_parameters(rule, side=side, reach=3)
    mask = block_mask(ag.RULES[rule], n, n, 64 if rule == "causal" else 32, parameters)
    seen = allowed(rule, side)
    return Row(
        f"rule: {rule}",
        f"n={n}",
        lambda: flex_attention(q, k, v, mask=mask),
        {
            "NumPy (dense)": lambda: ag.dense_attention(q, k, v, seen),
            "PyTorch (masked)": lambda: torch_masked(q, k, v, seen),
        },
    )


def window(side: int, size: int) -> Row:
    """Windows of a grid, shifted inside at the border: 32 numbers a token."""
    n = side * side
    q, k, v = tokens(n)
    places = list(ag.tiles((side, side), size, 1, 1))
    near = np.stack([part.keys[part.places[0]] for part in places])
    seen = np.zeros((n, n), dtype=bool)
    np.put_along_axis(seen, near, True, axis=1)

    def gathered():
        scores = np.einsum("id,iwd->iw", q, k[near]) / np.sqrt(32)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("iw,iwp->ip", weights, v[near])

    return Row(
        f"windows of {size} x {size}",
        f"{side} x {side}",
        lambda: neighbourhood_attention(q, k, v, window=size, shape=(side, side)),
        {
            "token by token, compiled": lambda: ag.gathered_attention(q, k, v, (side, side), size),
            "NumPy (gathered)": gathered,
            "PyTorch (masked)": lambda: torch_masked(q, k, v, seen),
        },
    )


def scan(length: int, channels: int) -> Row:
    """Two-sided exponential attention; with equal keys it is two recursive filters."""
    v = np.random.default_rng(0).standard_normal((length, channels))
    keys, w, u = np.zeros((length, channels)), 50.0, 5.0
    decay, bonus = np.exp(-w / length), np.exp(u / length)

    def scipy():
        from scipy.signal import lfilter

        both = np.column_stack([v, np.ones(length)])
        ahead, behind = (
            np.vstack([np.zeros((1, channels + 1)), lfilter([1.0], [1.0, -decay], x, axis=0)[:-1]])
            for x in (both, both[::-1])
        )
        sums = ahead + behind[::-1] + bonus * both
        return sums[:, :-1] / sums[:, -1:]

    peers = {"SciPy (lfilter)": scipy}
    if length <= 4096 and channels == 1:
        gap = abs(np.arange(length)[:, None] - np.arange(length))

        def numpy():
            weights = np.where(gap > 0, np.exp(-(gap - 1.0) * w / length), bonus)
            return weights @ v / weights.sum(axis=1, keepdims=True)

        peers["NumPy (all pairs)"] = numpy
    return Row(
        "two-sided scan",
        f"T={length}, {channels} channels",
        lambda: ag.bi_wkv(w, u, keys, v),
        peers,
    )


def shift(side: int) -> Row:
    """The merged omni-shift of 8 channels."""
    filters = ag.merge_shift(ag.draw_shift(8, 0))
    pictures = np.random.default_rng(1).random((8, side, side))

    def torch():
        import torch

        x, w = torch.from_numpy(pictures)[None], torch.from_numpy(filters)[:, None]
        return torch.nn.functional.conv2d(x, w, padding=2, groups=8)[0].numpy()

    return Row(
        "omni-shift, merged",
        f"8 x {side} x {side}",
        lambda: ag.filter_channels(pictures, filters),
        {"PyTorch": torch},
    )


def reconstruction(batch: int) -> Row:
    """The k-space network on 24 x 24 phantoms with 30 % of the frequencies."""
    network = ag.kspace_transformer(0)
    spectra = ag.to_frequencies(ag.ellipse_phantoms(batch, 24, 1))
    mask = ag.sampling_mask(24, 0.3, 0)

    def torch():
        return _torch_reconstruction(network, spectra, mask)

    return Row(
        "k-space network",
        f"{batch} phantoms",
        lambda: network.reconstruct(spectra, mask).pictures,
        {"PyTorch": torch},
        tolerance=1e-8,
    )


def _torch_reconstruction(network, spectra, mask):
    """The same layers in PyTorch."""
    import torch

    torch.set_num_threads(1)
    as_tensor, side, coarse = torch.from_numpy, network.side, network.coarse
    value, encoder, to_coarse, coarse_out, enlarged, to_fine, fine_out = network.weights
    seen, missing, low = np.flatnonzero(mask), np.flatnonzero(~mask), ag._low(side, coarse)
    codes = as_tensor(ag.frequency_codes(side, network.d))
    size = as_tensor(ag.amplitudes(side))[:, None]

    def dense(layers, x):
        for w, b in layers[:-1]:
            x = torch.tanh(x @ as_tensor(w) + as_tensor(b))
        return x @ as_tensor(layers[-1][0]) + as_tensor(layers[-1][1])

    def split(x):
        return x.reshape(*x.shape[:2], network.heads, -1).transpose(1, 2)

    def block(weights, queries, keys):
        q, k, v = (split(x @ as_tensor(w)) for x, w in zip((queries, keys, keys), weights[:3],
                                                         strict=True))  # fmt: skip
        found = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        hidden = queries + found.transpose(1, 2).reshape(queries.shape) @ as_tensor(weights[3])
        return hidden + dense(weights[4], hidden)

    pairs = as_tensor(ag.to_pairs(spectra))
    tokens = dense(value, pairs[:, seen] / size[seen]) + codes[seen]
    tokens = block(encoder, tokens, tokens)
    asked = block(to_coarse, codes[low].expand(len(spectra), -1, -1), tokens)
    known = as_tensor(mask.ravel()[low])[:, None]
    values = torch.where(known, pairs[:, low], dense(coarse_out, asked) * size[low])
    small = torch.tensordot(values * (coarse / side), as_tensor(ag._inverse_matrix(coarse)), 2)
    up = torch.tensordot(small, as_tensor(ag._enlarging_matrix(side, coarse)), 1)[:, missing]
    queries = dense(enlarged, up / size[missing]) + codes[missing]
    fine = up + size[missing] * dense(fine_out, block(to_fine, queries, asked))
    filled = spectra.reshape(len(spectra), -1).copy()
    filled[:, missing] = fine[..., 0].numpy() + 1j * fine[..., 1].numpy()
    filled = filled.reshape(spectra.shape)
    filled[:, ~mask] = 0.5 * (filled + np.conj(ag._mirrored(filled)))[:, ~mask]
    return ag.to_picture(filled).real
