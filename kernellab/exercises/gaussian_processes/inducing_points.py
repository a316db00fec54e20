"""Exercises of the inducing-points lab: a bound, a local prediction, a weighted coreset.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.compute.gp import ExactGP
from kernellab.compute.kernels import Gaussian
from kernellab.compute.sparse_gp import SparseGP, VariationalGP
from kernellab.lab.exercises import Exercise, Wrong, call, expect, expect_close, expect_shape

# --- 1. The bound of Titsias ---------------------------------------------------------------------


def titsias_elbo(k_uu, k_uf, k_ff, y, noise):
    """Return log N(y; 0, Q + noise I) - tr(K_ff - Q) / (2 noise), Q = K_fu K_uu^-1 K_uf."""
    q = k_uf.T @ np.linalg.solve(k_uu, k_uf)
    covariance = q + noise * np.eye(len(y))
    fit = y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1]
    evidence = -0.5 * (fit + len(y) * np.log(2 * np.pi))
    return evidence - (k_ff.sum() - np.trace(q)) / (2 * noise)


def _no_trace(k_uu, k_uf, k_ff, y, noise):
    return titsias_elbo(k_uu, k_uf, np.diag(k_uf.T @ np.linalg.solve(k_uu, k_uf)), y, noise)


def _adds_the_trace(k_uu, k_uf, k_ff, y, noise):
    return 2 * _no_trace(k_uu, k_uf, k_ff, y, noise) - titsias_elbo(k_uu, k_uf, k_ff, y, noise)


def _forgets_the_noise(k_uu, k_uf, k_ff, y, noise):
    gap = _no_trace(k_uu, k_uf, k_ff, y, noise) - titsias_elbo(k_uu, k_uf, k_ff, y, noise)
    return _no_trace(k_uu, k_uf, k_ff, y, noise) - gap * noise


def _no_inverse(k_uu, k_uf, k_ff, y, noise):
    return titsias_elbo(np.eye(len(k_uu)), k_uf, k_ff, y, noise)


def _no_constant(k_uu, k_uf, k_ff, y, noise):
    return titsias_elbo(k_uu, k_uf, k_ff, y, noise) + 0.5 * len(y) * np.log(2 * np.pi)


def _problem():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (25, 1))
    return Gaussian(0.5), x, np.sin(3 * x[:, 0]) + 0.2 * rng.normal(size=25)


def _check_titsias(candidate):
    kernel, x, y = _problem()
    noise, k_ff = 0.05, kernel.diagonal(x)

    def ask(z, on):
        got = call(candidate, kernel.gram(z), kernel.gram(z, x), k_ff, y, noise, on=on)
        expect_shape(got, (), f"{on}, one number")
        return float(got)

    far = np.array([[50.0]])
    on = "with one inducing point too far away to say anything"
    got = ask(far, on)
    plain = -0.5 * (y @ y / noise + 25 * np.log(2 * np.pi * noise))
    expect(
        not np.isclose(got, plain),
        f"{on} you return log N(y; 0, noise I), as if f were zero: charge the variance that is not "
        "explained, tr(K_ff - Q) / (2 noise)",
    )
    without = 0.5 * 25 * np.log(2 * np.pi)
    expect(
        not np.isclose(got, plain - 25 / (2 * noise) + without),
        f"{on} you are above by (n/2) log 2 pi: that constant belongs to a log density, and models "
        "with other likelihoods could not be compared without it",
    )
    expect(
        got < plain,
        f"{on} you return {got:.4g}, above log N(y; 0, noise I) = {plain:.4g}: the unexplained "
        "variance must lower the bound",
    )
    expect_close(got, plain - 25 / (2 * noise), f"{on} the trace is 25, to be divided by 2 noise")
    on = "with an inducing point at each input"
    evidence = ExactGP(kernel, x, y, noise).log_marginal_likelihood()
    shift = 1e-9 * np.eye(25)
    got = call(candidate, kernel.gram(x) + shift, kernel.gram(x), k_ff, y, noise, on=on)
    expect_close(got, evidence, f"{on} the bound is log p(y)", rtol=1e-4)
    z = np.linspace(-2, 2, 7)[:, None]
    expect_close(
        ask(z, "with seven inducing points"),
        SparseGP(kernel, x, y, noise, z).bound(),
        "with seven inducing points",
        rtol=1e-5,
    )


TITSIAS_ELBO = Exercise(
    "inducing_points/titsias_elbo",
    title="What the data say, at least",
    task=r"""
    Given $K_{uu}$ `(M, M)`, $K_{uf}$ `(M, n)`, the prior variances `k_ff` `(n,)`, the targets `y`
    and the variance `noise`, write `titsias_elbo(k_uu, k_uf, k_ff, y, noise)`, the lower bound
    $$\log \mathcal{N}(y;\, 0,\, Q + \text{noise}\, I) - \frac{1}{2\,\text{noise}}
    \operatorname{tr}(K_{ff} - Q), \qquad Q = K_{fu} K_{uu}^{-1} K_{uf}.$$
    What is it when every input has an inducing point? And when the inducing points know nothing?
    """,
    function="titsias_elbo",
    check=_check_titsias,
    solution=titsias_elbo,
    wrong=[
        Wrong("forgets the trace", _no_trace, says="charge the variance"),
        Wrong("adds the trace", _adds_the_trace, says="must lower the bound"),
        Wrong("trace without 1/noise", _forgets_the_noise, says="divided by 2 noise"),
        Wrong("K_fu K_uf", _no_inverse, says="an inducing point at each input"),
        Wrong("forgets 2 pi", _no_constant, says="(n/2) log 2 pi"),
    ],
    hints=[
        "np.linalg.solve(k_uu, k_uf) is K_uu^-1 K_uf; Q is k_uf.T @ that.",
        "np.linalg.slogdet(A)[1] is log det A.",
    ],
)

# --- 2. A prediction from H neighbours -----------------------------------------------------------


def local_predict(x, inducing, mean, deviations, h, kernel):
    """Return mean and variance of f(x) from the h nearest inducing values only."""
    squares = np.sum((inducing - x) ** 2, axis=1)
    near = np.argsort(squares, kind="stable")[:h]
    z = inducing[near]
    k = kernel.gram(z, x[None])[:, 0]
    a = np.linalg.solve(kernel.gram(z), k)
    variance = kernel.diagonal(x[None])[0] - a @ k + np.sum((a * deviations[near]) ** 2)
    return a @ mean[near], variance


def _uses_all(x, inducing, mean, deviations, h, kernel):
    return local_predict(x, inducing, mean, deviations, len(inducing), kernel)


def _solves_then_cuts(x, inducing, mean, deviations, h, kernel):
    k = kernel.gram(inducing, x[None])[:, 0]
    a = np.linalg.solve(kernel.gram(inducing), k)
    near = np.argsort(np.sum((inducing - x) ** 2, axis=1), kind="stable")[:h]
    a = np.where(np.isin(np.arange(len(a)), near), a, 0)
    return a @ mean, 1 - a @ k + np.sum((a * deviations) ** 2)


def _first_h(x, inducing, mean, deviations, h, kernel):
    return local_predict(x, inducing[:h], mean[:h], deviations[:h], h, kernel)


def _certain(x, inducing, mean, deviations, h, kernel):
    return local_predict(x, inducing, mean, 0 * deviations, h, kernel)


def _late_ties(x, inducing, mean, deviations, h, kernel):
    return local_predict(x, inducing[::-1], mean[::-1], deviations[::-1], h, kernel)


def _check_local(candidate):
    rng, kernel = np.random.default_rng(0), Gaussian(0.6)
    z = rng.uniform(-2, 2, (8, 2))
    m, s, x = rng.normal(size=8), rng.uniform(0.2, 0.8, 8), np.array([0.3, -0.4])
    full = VariationalGP(kernel, z, m, s, whitened=False).predict(x[None])

    def ask(on, place, points, means, spreads, h):
        got = call(candidate, place, points, means, spreads, h, kernel, on=on)
        expect_shape(got, (2,), f"{on}, a mean and a variance")
        return np.asarray(got, dtype=float)

    on = "with h = M = 8"
    got = ask(on, x, z, m, s, 8)
    expect(
        not np.isclose(got[1], local_predict(x, z, m, 0 * s, 8, kernel)[1]),
        f"{on} your variance takes the inducing values as known: add sum_j a_j^2 deviations_j^2",
    )
    expect_close(got, np.concatenate(full), f"{on} it is the usual sparse prediction", rtol=1e-6)
    on = "with h = 3"
    got, want = ask(on, x, z, m, s, 3), np.array(local_predict(x, z, m, s, 3, kernel))
    expect(
        not np.allclose(got, np.concatenate(full)),
        f"{on} you still use all 8 inducing values; pick the 3 nearest before you solve",
    )
    expect(
        not np.allclose(got, _solves_then_cuts(x, z, m, s, 3, kernel)),
        f"{on} you solve with all of K_uu and then drop weights; solve K_SS a = k_S with the 3 "
        "neighbours alone: that is what makes the cost O(h^3)",
    )
    expect(
        not np.allclose(got, _first_h(x, z, m, s, 3, kernel)),
        f"{on} you use the first 3 rows of Z; sort by distance to x",
    )
    expect_close(got, want, on, rtol=1e-6)
    on = "with two inducing points equally near and h = 1"
    pair, means = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([5.0, -5.0])
    got = ask(on, np.zeros(2), pair, means, np.array([0.1, 0.1]), 1)
    wanted = local_predict(np.zeros(2), pair, means, np.array([0.1, 0.1]), 1, kernel)
    expect_close(got, np.array(wanted), f"{on} the first of them counts", rtol=1e-6)


LOCAL_PREDICT = Exercise(
    "inducing_points/local_predict",
    title="Ask the neighbours",
    task=r"""
    $q(u_j) = \mathcal{N}(m_j, s_j^2)$ independently, at inducing points `inducing` `(M, d)`. Write
    `local_predict(x, inducing, mean, deviations, h, kernel)` for one point `x` `(d,)`. With $S$ the
    $h$ nearest inducing points (of equally near ones the first) and $a = K_{SS}^{-1} k_S(x)$,
    return the pair
    $$a^\top m_S, \qquad k(x, x) - a^\top k_S(x) + \sum_{j \in S} a_j^2 s_j^2 .$$
    `kernel.gram(A, B)` is the matrix of kernel values, `kernel.diagonal(A)` those of points with
    themselves.
    """,
    function="local_predict",
    check=_check_local,
    solution=local_predict,
    wrong=[
        Wrong("uses all points", _uses_all, says="pick the 3 nearest"),
        Wrong("solves, then cuts", _solves_then_cuts, says="O(h^3)"),
        Wrong("takes the first h", _first_h, says="sort by distance"),
        Wrong("no uncertainty in u", _certain, says="as known"),
        Wrong("last of equals", _late_ties, says="the first of them counts"),
    ],
    hints=[
        'np.argsort(..., kind="stable") keeps equals in their order.',
        "x[None] is the point as a matrix with one row.",
    ],
)

# --- 3. A weighted coreset -----------------------------------------------------------------------


def coreset_posterior(gram, targets, beta, noise):
    """Return mean and covariance of p(u) prod_m N(t_m; u_m, noise)^beta_m, normalised."""
    root = np.sqrt(beta / noise)
    inner = np.eye(len(gram)) + root[:, None] * gram * root
    solved = root[:, None] * np.linalg.solve(inner, root[:, None] * gram)
    return solved.T @ targets, gram - gram @ solved


def _unweighted(gram, targets, beta, noise):
    return coreset_posterior(gram, targets, np.ones_like(beta), noise)


def _weights_upside_down(gram, targets, beta, noise):
    inner = gram + np.diag(noise * beta)
    return gram @ np.linalg.solve(inner, targets), gram - gram @ np.linalg.solve(inner, gram)


def _divides_by_zero(gram, targets, beta, noise):
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = gram + np.diag(np.where(beta > 0, noise / beta, 1e3 * noise))
    return gram @ np.linalg.solve(inner, targets), gram - gram @ np.linalg.solve(inner, gram)


def _weighted_targets(gram, targets, beta, noise):
    mean, covariance = _unweighted(gram, beta * targets, beta, noise)
    return mean, covariance


def _covariance_of_the_data(gram, targets, beta, noise):
    mean, covariance = coreset_posterior(gram, targets, beta, noise)
    return mean, covariance + noise * np.eye(len(gram))


def _check_coreset(candidate):
    kernel, x, y = _problem()
    gram = kernel.gram(x) + 1e-9 * np.eye(25)
    one = np.array([[2.0]])
    on = "for one point with K = 2, target 3, noise 1"

    def ask(on, matrix, targets, beta, noise):
        got = call(candidate, matrix, targets, beta, noise, on=on)
        expect(
            isinstance(got, (tuple, list)) and len(got) == 2, f"{on} return a mean, a covariance"
        )
        n = len(targets)
        expect_shape(got[0], (n,), f"{on}, the mean")
        expect_shape(got[1], (n, n), f"{on}, the covariance")
        return np.asarray(got[0], float), np.asarray(got[1], float)

    mean, covariance = ask(on, one, np.array([3.0]), np.array([1.0]), 1.0)
    expect_close(covariance[0, 0], 2 / 3, f"{on} and beta = 1 the variance is 1 / (1/2 + 1)")
    expect_close(mean[0], 2.0, f"{on} and beta = 1")
    mean, covariance = ask(on, one, np.array([3.0]), np.array([4.0]), 1.0)
    expect(
        not np.isclose(mean[0], 8.0),
        f"{on} and beta = 4 the mean is 8, far above the target: a weight is no factor of the "
        "target, it says how often the same target was seen",
    )
    expect(
        not np.isclose(covariance[0, 0], 2 / 3),
        f"{on} and beta = 4 your variance is still that of beta = 1: four copies of a point know "
        "more than one, the precision is 1/K + beta / noise",
    )
    expect(
        covariance[0, 0] < 2 / 3,
        f"{on} and beta = 4 your variance rose above that of beta = 1: the noise of a point is "
        "divided by its weight, not multiplied",
    )
    expect_close(covariance[0, 0], 1 / 4.5, f"{on} and beta = 4 the precision is 1/2 + 4")
    expect_close(mean[0], 3 * 4 / 4.5, f"{on} and beta = 4")
    on = "with all weights 0"
    mean, covariance = ask(on, gram, y, np.zeros(25), 0.05)
    expect_close(covariance, gram, f"{on} nothing is observed, and K + noise/0 cannot be formed")
    expect_close(mean, np.zeros(25), f"{on} the mean is that of the prior")
    on = "with all data and weights 1"
    mean, covariance = ask(on, gram, y, np.ones(25), 0.05)
    exact = ExactGP(kernel, x, y, 0.05).predict(x, covariance=True)
    expect_close(mean, exact.mean, f"{on} it is the exact posterior", rtol=1e-4, atol=1e-6)
    expect_close(covariance, exact.variance, f"{on} it is exact", rtol=1e-4, atol=1e-6)


CORESET_POSTERIOR = Exercise(
    "inducing_points/coreset_posterior",
    title="A few heavy points",
    task=r"""
    `gram` is $K$ `(M, M)`, the prior covariance of $u$. Pseudo-targets `targets` with weights
    `beta` $\ge 0$ and the variance `noise` define
    $q(u) \propto p(u) \prod_m \mathcal{N}(t_m;\, u_m, \text{noise})^{\beta_m}$. Write
    `coreset_posterior(gram, targets, beta, noise)`, which returns its mean `(M,)` and covariance
    `(M, M)`,
    $$K (K + D)^{-1} t, \qquad K - K (K + D)^{-1} K, \qquad D = \text{noise}\,
    \operatorname{diag}(1 / \beta),$$
    and which also works for weights that are 0.
    Then invent an experiment: which points of a data set deserve the largest weights?
    """,
    function="coreset_posterior",
    check=_check_coreset,
    solution=coreset_posterior,
    wrong=[
        Wrong("ignores the weights", _unweighted, says="four copies"),
        Wrong("multiplies the noise", _weights_upside_down, says="divided by its weight"),
        Wrong("a large number for 1/0", _divides_by_zero, says="nothing is observed"),
        Wrong("scales the targets", _weighted_targets, says="no factor of the target"),
        Wrong("adds the noise", _covariance_of_the_data, says="1 / (1/2 + 1)"),
    ],
    hints=[
        "With r = sqrt(beta / noise): (K + D)^-1 = r (I + r K r)^-1 r, which needs no division.",
    ],
)


EXERCISES = (TITSIAS_ELBO, LOCAL_PREDICT, CORESET_POSTERIOR)
