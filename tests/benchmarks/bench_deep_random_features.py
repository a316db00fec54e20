"""The deep random features lab beside its peers: kernels, ridge heads, boosting, gradients."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.datasets import digits
from kernellab.methods.random_features import deep_random_features as drf


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (500, 1000, 2000):
        yield wide_kernel(n, "relu")
    yield wide_kernel(1000, "erf")
    for n, k in ((2000, 500), (500, 2000)):
        yield head(n, k)
    for p, width in ((32, 8), (64, 16)):
        yield sandwich(p, width)
    for n in (1000, 4000):
        yield quadratics(n)
    for n in (200, 800):
        yield learning_curve(n)
    yield tangent_gradients(400)


def wide_kernel(n: int, activation: str) -> Row:
    """The kernel of three infinitely wide layers between n points in 10 dimensions."""
    x = np.random.default_rng(0).standard_normal((n, 10))

    def plain():
        gram = x @ x.T / 10
        for _ in range(3):
            q = np.diag(gram).copy()
            if activation == "relu":
                size = np.sqrt(np.outer(q, q))
                c = np.clip(gram / size, -1, 1)
                t = np.arccos(c)
                gram = size * (np.sin(t) + (np.pi - t) * c) / (2 * np.pi)
            else:
                scale = np.sqrt(1 + 2 * q)
                gram = 2 / np.pi * np.arcsin(2 * gram / np.outer(scale, scale))
        return gram

    return Row(
        f"wide {activation} kernel, 3 layers",
        f"n={n}",
        lambda: drf.wide_kernel(x, depth=3, activation=activation),
        {"NumPy": plain},
    )


def head(n: int, k: int) -> Row:
    """Ridge regression of three outputs on the last layer, with an intercept."""
    rng = np.random.default_rng(0)
    h, y = rng.standard_normal((n, k)), rng.standard_normal((n, 3))

    def peer():
        from sklearn.linear_model import Ridge

        return Ridge(alpha=1.0, solver="cholesky").fit(h, y).coef_.T

    return Row(
        "ridge head", f"n={n}, k={k}", lambda: drf.fit_head(h, y, 1.0).weights,
        {"scikit-learn Ridge": peer},
    )  # fmt: skip


def sandwich(p: int, width: int) -> Row:
    """One boosting step on the digits' one-hot labels; the peer solves for all entries at once."""
    data = digits()
    rng = np.random.default_rng(0)
    y = 2.0 * (data.labels[:, None] == np.arange(10)) - 1
    f = np.tanh(data.x @ rng.standard_normal((64, p)))
    w = rng.standard_normal((width, 10))

    def peer():
        system = np.kron(w @ w.T, f.T @ f) + 0.1 * len(y) * np.eye(p * width)
        right = (f.T @ y @ w.T).T.ravel()
        return np.linalg.solve(system, right).reshape(width, p).T

    return Row(
        "sandwiched least squares",
        f"p={p}, D={width}",
        lambda: drf.sandwiched_least_squares(f, y, w, 0.1),
        {"NumPy, Kronecker system": peer},
    )


def quadratics(n: int) -> Row:
    """All products of two of 24 inputs."""
    x = np.random.default_rng(0).standard_normal((n, 24))

    def peer():
        from sklearn.preprocessing import PolynomialFeatures

        out = PolynomialFeatures(2, include_bias=False).fit_transform(x)[:, 24:]
        squares = np.cumsum([0, *range(24, 1, -1)])
        out[:, squares] = (out[:, squares] - 1) / np.sqrt(2)
        return out

    return Row(
        "quadratic features", f"n={n}, d=24", lambda: drf.quadratic_features(x),
        {"scikit-learn PolynomialFeatures": peer},
    )  # fmt: skip


def learning_curve(n: int) -> Row:
    """The Bayes error of a Gaussian process at 20 sample sizes; ours gives all n of them."""
    rng = np.random.default_rng(0)
    x, tests = rng.standard_normal((n, 8)), rng.standard_normal((100, 8))
    gram, cross = (drf.wide_kernel(z, x, depth=1, activation="erf") for z in (x, tests))
    prior = np.diag(drf.wide_kernel(tests, depth=1, activation="erf")).copy()
    sizes = np.linspace(1, n, 20).astype(int)

    def peer():
        from scipy.linalg import cho_factor, cho_solve

        errors = []
        for m in sizes:
            factor = cho_factor(gram[:m, :m] + 0.1 * np.eye(m))
            c = cross[:, :m]
            errors.append(np.mean(prior - np.sum(c * cho_solve(factor, c.T).T, axis=1)))
        return np.array(errors)

    return Row(
        "Bayes error by sample size",
        f"n={n}",
        lambda: drf.bayes_curve(gram, cross, prior, 0.1).errors[sizes],
        {"SciPy, a factor a size": peer},
    )


def tangent_gradients(n: int) -> Row:
    """Gradients of a tangent model at 200 points; the peer differentiates with autograd."""
    rng = np.random.default_rng(0)
    d = n // 2
    x, z = (drf.sphere_points(m, d, rng, np.sqrt(d)) for m in (n, 200))
    directions = rng.standard_normal((n, d)) / np.sqrt(d)
    tanh = drf.ACTIVATIONS["tanh"]
    fit = drf.interpolate_tangent(x, rng.choice([-1.0, 1.0], n), directions, tanh)

    def peer():
        import autograd.numpy as anp
        from autograd import grad

        at_points = tanh.slope(x @ directions.T)

        def total(points):
            slopes = 1 - anp.tanh(points @ directions.T) ** 2
            return anp.sum((points @ x.T) * (slopes @ at_points.T) @ fit.coefficients)

        return grad(total)(z)

    return Row("tangent gradients", f"N=k={n}, d={d}", lambda: fit.gradient(z), {"autograd": peer})
