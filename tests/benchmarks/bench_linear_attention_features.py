"""The linear attention lab beside its peers: features, their attention, positions by FFT."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.attention import linear_attention, softmax_attention, toeplitz_product
from kernellab.methods.attention import linear_attention_features as la


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n, d in ((1000, 16), (4000, 16), (4000, 64)):
        yield squares(n, d)
    for n in (1024, 4096, 16384):
        yield causal(n)
    for n in (1024, 4096, 16384):
        yield positions(n)
    for n in (1024, 4096):
        yield head(n)
    for n in (1000, 4000):
        yield distillation_step(n)


def cloud(n: int, d: int, seed: int = 0):
    """Normal tokens of a length near 1."""
    return np.random.default_rng(seed).normal(size=(n, d)) / np.sqrt(d)


def squares(n: int, d: int) -> Row:
    """Attention with the kernel 1 + s + s^2 / 2, features and sums."""
    x, v = cloud(n, d), cloud(n, 8, 1)

    def torch():
        import torch

        x_, v_ = torch.from_numpy(x), torch.from_numpy(np.column_stack([v, np.ones(n)]))
        i, j = torch.triu_indices(d, d)
        root = torch.where(i == j, 0.5**0.5, 1.0).double() / d**0.5
        phi = torch.cat([torch.ones(n, 1).double(), x_ / d**0.25, x_[:, i] * x_[:, j] * root], 1)
        sums = phi @ (phi.T @ v_)
        return (sums[:, :-1] / sums[:, -1:]).numpy()

    def ours():
        phi = la.taylor_features(x)
        return linear_attention(phi, phi, v)

    return Row("Based, features and sums", f"n={n}, d={d}", ours, {"PyTorch": torch})


def causal(n: int) -> Row:
    """Causal linear attention with 32 positive features."""
    phi, v = la.elu_features(cloud(n, 32)), cloud(n, 16, 1)

    def torch():
        import torch

        f, v_ = torch.from_numpy(phi), torch.from_numpy(v)
        state = torch.cumsum(f[:, :, None] * v_[:, None, :], 0)
        total = torch.cumsum(f, 0)
        return (torch.einsum("nm,nmp->np", f, state) / (f * total).sum(1, keepdim=True)).numpy()

    return Row(
        "causal linear attention",
        f"n={n}, m=32, p=16",
        lambda: linear_attention(phi, phi, v, causal=True),
        {"PyTorch (cumsum)": torch},
    )


def positions(n: int) -> Row:
    """Products with a matrix of relative positions, 64 columns."""
    c, x = la.position_weights(n, "logarithmic", 1.0, 4.0), cloud(n, 64)

    def scipy():
        from scipy.linalg import matmul_toeplitz

        return matmul_toeplitz((c[n - 1 :: -1], c[n - 1 :]), x)

    return Row(
        "relative positions by FFT",
        f"n={n}, 64 columns",
        lambda: toeplitz_product(c, x, n),
        {"SciPy (matmul_toeplitz)": scipy},
    )


def head(n: int) -> Row:
    """A softmax head, which the features replace."""
    x, v = 4 * la.unit_rows(cloud(n, 10)), cloud(n, 1, 1)

    def torch():
        import torch

        q, v_ = torch.from_numpy(x)[None], torch.from_numpy(v)[None]
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(q, q, v_, scale=1.0)[0].numpy()

    return Row(
        "softmax head, exact",
        f"n={n}, d=10",
        lambda: softmax_attention(x, x, v, scale=1.0),
        {"PyTorch": torch},
    )


def distillation_step(n: int) -> Row:
    """Loss and gradient of 32 trained features on one head of n tokens, 20 times."""
    x, v = 4 * la.unit_rows(cloud(n, 10)), cloud(n, 1, 1)
    targets = softmax_attention(x, x, v, scale=1.0)
    start = la.feature_network(10, 32, "gated", 0, "exp")

    def ours():
        run = la.distil(start, [(x, x, v, targets)], steps=20)
        return np.array([loss for _, (_, loss) in run])

    def torch():
        import torch

        layers = [torch.from_numpy(layer.copy()).requires_grad_() for layer in start.layers]
        x_, t = torch.from_numpy(x), torch.from_numpy(targets)
        v_ = torch.from_numpy(np.column_stack([v, np.ones(n)]))
        spread = ((t - t.mean(0)) ** 2).sum()
        optimiser, losses = torch.optim.Adam(layers, lr=0.02), []
        for step in range(20):
            optimiser.param_groups[0]["lr"] = 0.02 * (1 - 0.9 * step / 20)
            gate = torch.sigmoid(x_ @ layers[2] + layers[3])
            phi = torch.exp((x_ @ layers[0] + layers[1]) * gate)
            sums = phi @ (phi.T @ v_)
            loss = ((sums[:, :-1] / sums[:, -1:] - t) ** 2).sum() / spread
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return np.array(losses)

    return Row("distil 20 steps", f"n={n}, m=32", ours, {"PyTorch": torch}, tolerance=1e-6)
