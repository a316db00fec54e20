"""The attention budget lab beside its peers: buckets and draws, monomials, lines, nested bases."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.attention import softmax_attention
from kernellab.methods.attention import attention_budget as ab


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (1024, 4096, 16384):
        yield buckets(n)
    for n in (1024, 4096):
        yield exact(n)
    for n in (2048, 8192):
        yield drawn(n)
    for n, d, degree in ((4096, 4, 6), (16384, 4, 6), (4096, 16, 3)):
        yield monomials(n, d, degree)
    for side in (32, 64, 128):
        yield lines(side)
    for n in (64, 256):
        yield turning(n)


def cloud(*shape, seed: int = 0):
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def problem(n: int):
    """Clustered tokens, buckets of 64, and 64 draws."""
    t = ab.clustered_tokens(n, 16, 32, 0.3, 0, p=16)
    where = ab.angular_buckets(t, 64, cloud(7, 16, seed=1))
    return t, where, ab.sample_keys(ab.key_probabilities("value norm", t), 64, 0)


def buckets(n: int) -> Row:
    """Exact in buckets of 64 of the same order, 64 draws outside; PyTorch with batched products."""
    t, where, sample = problem(n)

    def torch():
        import torch

        q, k, v = (torch.from_numpy(x) for x in t)
        to_query, to_key = (torch.from_numpy(x) for x in where[:2])
        q, near_k, near_v = (x.reshape(-1, 64, 16) for x in (q[to_query], k[to_key], v[to_key]))
        place = torch.empty(n, dtype=torch.int64)
        place[to_key] = torch.arange(n)
        chosen = torch.from_numpy(sample.keys)
        far = 16.0 * q @ k[chosen].T + torch.from_numpy(sample.log_weights)
        own = (place[chosen] // 64)[None] == torch.arange(n // 64)[:, None]
        far = far.masked_fill(own[:, None], -torch.inf)
        near = 16.0 * q @ near_k.transpose(1, 2)
        weights = torch.softmax(torch.cat([near, far], 2), 2)
        out = weights[:, :, :64] @ near_v + weights[:, :, 64:] @ v[chosen]
        back = torch.empty(n, 16, dtype=torch.float64)
        back[to_query] = out.reshape(n, 16)
        return back.numpy()

    return Row(
        "buckets and draws",
        f"n={n}, 64 + 64 keys",
        lambda: ab.kdeformer_attention(t, where, sample, 16.0),
        {"PyTorch (batched)": torch},
    )


def exact(n: int) -> Row:
    """All pairs: what the budget is counted against."""
    t = problem(n)[0]

    def torch():
        import torch

        q, k, v = (torch.from_numpy(x)[None] for x in t)
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(q, k, v, scale=16.0)[0].numpy()

    def scipy():
        from scipy.special import softmax

        return softmax(16.0 * t.queries @ t.keys.T, axis=1) @ t.values

    return Row(
        "exact attention",
        f"n={n}, d=16",
        lambda: softmax_attention(*t, scale=16.0),
        {"PyTorch": torch, "SciPy": scipy},
    )


def drawn(n: int) -> Row:
    """Attention over 128 drawn keys with their weights."""
    t = problem(n)[0]
    sample = ab.sample_keys(ab.key_probabilities("value norm", t), 128, 0)

    def torch():
        import torch

        q, k, v = (torch.from_numpy(x) for x in t)
        chosen = torch.from_numpy(sample.keys)
        bias = torch.from_numpy(sample.log_weights)[None].expand(n, -1)
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(q[None], k[chosen][None], v[chosen][None], bias[None], scale=16.0)[0].numpy()

    return Row(
        "attention over draws",
        f"n={n}, 128 keys",
        lambda: ab.sampled_attention(t, sample, 16.0),
        {"PyTorch": torch},
    )


def monomials(n: int, d: int, degree: int) -> Row:
    """All monomials up to a degree, sorted row by row; ours carry 1/sqrt(a!), undone here."""
    x = cloud(n, d) / np.sqrt(d)
    weights = np.sum(ab.polynomial_features(x, degree) ** 2, axis=1)

    def sklearn():
        from sklearn.preprocessing import PolynomialFeatures

        made = PolynomialFeatures(degree)
        features = made.fit_transform(x)
        factorials = np.cumprod(np.append(1.0, np.arange(1.0, degree + 1)))
        features /= np.sqrt(np.prod(factorials[made.powers_], axis=1))
        return np.sum(features**2, axis=1)

    def ours():
        features = ab.polynomial_features(x, degree)
        return np.einsum("nf,nf->n", features, features)

    assert np.allclose(weights, ours())
    return Row(
        "monomial features", f"n={n}, d={d}, degree {degree}", ours, {"scikit-learn": sklearn}
    )


def lines(side: int) -> Row:
    """Pixels ask row and column means."""
    x = cloud(side, side, 8)

    def torch():
        import torch

        x_ = torch.from_numpy(x)
        c = torch.cat([x_.mean(0), x_.mean(1)])[None]
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(x_.reshape(1, -1, 8), c, c, scale=1.0).reshape(x.shape).numpy()

    return Row(
        "Kronecker KV",
        f"{side} x {side} x 8",
        lambda: ab.kronecker_attention(x, x, x),
        {"PyTorch": torch},
    )


def turning(n: int) -> Row:
    """20 steps of training nested bases for 4 heads of 16 dimensions."""
    heads = ab.misaligned_heads(4, n, 16, 0)
    loss, start = ab.output_error(heads), ab.principal_bases(heads)

    def ours():
        run = ab.train_bases(start, [(heads, loss)], 0, steps=20, nested=False)
        return np.array([value for _, (_, value) in run])

    def torch():
        import torch

        q, k, v, target, u, w = map(torch.from_numpy, (*heads, loss.target, *start))
        spread = ((target - target.mean(-2, keepdim=True)) ** 2).sum()
        skews = torch.zeros(2, 4, 16, 16, dtype=torch.float64, requires_grad=True)
        keep, eye, losses = (torch.arange(16) < 8).double(), torch.eye(16).double(), []
        adam = torch.optim.Adam([skews], lr=0.02)
        for step in range(20):
            adam.param_groups[0]["lr"] = 0.02 * (1 - 0.9 * step / 20)
            turn = 2 * torch.linalg.inv(eye + skews - skews.transpose(-1, -2)) - eye
            a, b = u @ turn[0], w @ turn[1]
            weights = torch.softmax(q @ a @ (k @ a * keep).transpose(-1, -2) / 4.0, -1)
            out = weights @ (v @ b * keep) @ b.transpose(-1, -2)
            value = ((out - target) ** 2).sum() / spread
            adam.zero_grad()
            value.backward()
            adam.step()
            losses.append(value.item())
        return np.array(losses)

    return Row(
        "nested bases, 20 steps", f"4 heads, n={n}, d=16", ours, {"PyTorch": torch}, tolerance=1e-6
    )
