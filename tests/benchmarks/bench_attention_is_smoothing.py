"""The smoothing lab beside its peers: smoother, set block with slopes, descent, own values."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.methods.attention import attention_is_smoothing as sm


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (100, 400):
        yield smoother(n)
    for n in (10, 100, 1000):
        yield training(n)
    for d in (4, 16):
        yield descent(d)
    for frames in (300, 3000):
        yield own_value(frames)


def smoother(n: int) -> Row:
    """A local-constant regression at n places from n pairs."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 1)), rng.standard_normal((n, 1))

    def statsmodels():
        from statsmodels.nonparametric.kernel_regression import KernelReg

        return KernelReg(y[:, 0], x[:, 0], "c", reg_type="lc", bw=[0.3]).fit(x[:, 0])[0][:, None]

    def ours():
        return sm.smoothing_weights("Gaussian", x, x, 0.3) @ y

    return Row("Nadaraya-Watson", f"n={n}", ours, {"statsmodels": statsmodels})


def training(n: int) -> Row:
    """Outputs and slopes of a multihead block in which a set of n looks at itself."""
    rng, d = np.random.default_rng(0), 16
    block, x, up = sm.draw_block(d, rng), rng.standard_normal((n, d)), rng.standard_normal((n, d))

    def ours():
        out, _, pullback = sm.mab_pullback(block, x, x)
        slopes, up_x, up_y = pullback(up)
        return np.concatenate([out, up_x + up_y, slopes.query, slopes.row])

    def torch():
        import torch

        torch.set_num_threads(1)
        parts = [torch.from_numpy(part).requires_grad_() for part in block]
        query, key, value, last, row, bias = parts
        tokens = torch.from_numpy(x).requires_grad_()
        q, k, v = ((tokens @ w).reshape(n, 2, d // 2).transpose(0, 1) for w in (query, key, value))
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=d**-0.5)
        middle = tokens + seen.transpose(0, 1).reshape(n, d) @ last
        out = middle + torch.relu(middle @ row + bias)
        out.backward(torch.from_numpy(up))
        found = [out.detach(), tokens.grad, query.grad, row.grad]
        return np.concatenate([part.numpy() for part in found])

    return Row("MAB and its slopes, d=16", f"n={n}", ours, {"PyTorch": torch})


def descent(d: int) -> Row:
    """500 steps of gradient descent on a one-layer softmax model."""
    x, targets, layer = sm.attention_task(d, 0)

    def ours():
        return sm.descend("softmax", x, targets, layer, 500, 0.05)[1]

    def plain_numpy():
        query, key, value = layer
        losses = []
        for _ in range(501):
            q, k, v = x @ query, x @ key, x @ value
            scores = q @ k.swapaxes(1, 2)
            s = np.exp(scores - scores.max(axis=2, keepdims=True))
            s /= s.sum(axis=2, keepdims=True)
            out = np.einsum("ijl,il->ij", s, v)
            gap = out - targets
            losses.append(0.5 * np.sum(gap**2))
            up = gap[:, :, None] * s * (v[:, None, :] - out[:, :, None])
            up_query = np.einsum("ija,ijb->ab", x, up @ k)
            up_key = np.einsum("ija,ijb->ab", x, up.swapaxes(1, 2) @ q)
            up_value = np.einsum("ij,ijl,ila->a", gap, s, x)
            query, key = query - 0.05 * up_query, key - 0.05 * up_key
            value = value - 0.05 * up_value
        return np.array(losses)

    return Row("500 steps of descent", f"D={d}", ours, {"NumPy": plain_numpy})


def own_value(frames: int) -> Row:
    """Weights of four heads with three Gaussians each."""
    rng = np.random.default_rng(0)
    x, offsets = rng.standard_normal((frames, 64)), rng.standard_normal((4, 3))
    scales = 0.5 + rng.random((4, 3))

    def torch():
        import torch

        torch.set_num_threads(1)
        parts = torch.from_numpy(x).reshape(frames, 4, 1, 16)
        mean = parts.mean(dim=3, keepdim=True)
        spread = torch.sqrt(parts.var(dim=3, keepdim=True, unbiased=False) + 1e-8)
        c = torch.from_numpy(scales)[:, :, None]
        z = (parts - (mean + torch.from_numpy(offsets)[:, :, None])) / spread
        p = torch.exp(-(z**2) / (2 * c**2)) / torch.sqrt(2 * torch.pi * c**2)
        w = p.prod(dim=2)
        return (w / w.sum(dim=2, keepdim=True)).reshape(frames, 64).numpy()

    def ours():
        return sm.adaptive_weights(x, offsets, scales)

    return Row("Gaussian adaptive weights", f"T={frames}, F=64", ours, {"PyTorch": torch})
