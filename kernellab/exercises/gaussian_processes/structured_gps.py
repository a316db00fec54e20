"""Exercises of the lab on structured Gaussian processes: one factor, one likelihood, one system.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import math

import numpy as np

from kernellab.compute.kernels import Matern32
from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_shape,
)

# --- 1. A sparse factor of the inverse -----------------------------------------------------------


def sic_factor(gram, pattern):
    """Return lower triangular U (n, n): row i is (e_i - b_i) / sqrt(d_i)."""
    factor = np.zeros_like(gram)
    for i, near in enumerate(pattern):
        b = np.linalg.solve(gram[np.ix_(near, near)], gram[near, i])
        factor[i, near] = -b
        factor[i, i] = 1.0
        factor[i] /= np.sqrt(gram[i, i] - b @ gram[near, i])
    return factor


def _divides_by_variance(gram, pattern):
    factor = sic_factor(gram, pattern)
    return factor * np.diagonal(factor)[:, None]


def _keeps_prior_variance(gram, pattern):
    factor = sic_factor(gram, pattern)
    return factor / (np.diagonal(factor) * np.sqrt(np.diagonal(gram)))[:, None]


def _adds_neighbours(gram, pattern):
    factor = sic_factor(gram, pattern)
    return 2 * np.diag(np.diagonal(factor)) - factor


def _neighbours_apart(gram, pattern):
    factor = np.eye(len(gram))
    for i, near in enumerate(pattern):
        factor[i, near] = -gram[near, i] / np.diagonal(gram)[near]
        factor[i] /= np.sqrt(sic_factor(gram, pattern)[i, i] ** -2)
    return factor


def _cuts_the_exact_factor(gram, pattern):
    exact = np.linalg.inv(np.linalg.cholesky(gram))
    factor = np.diag(1 / np.sqrt(np.diagonal(gram)))
    for i, near in enumerate(pattern):
        if len(near):
            factor[i, near], factor[i, i] = exact[i, near], exact[i, i]
    return factor


def _kl(gram, factor):
    ratio = factor @ np.linalg.cholesky(gram)
    return 0.5 * (np.sum(ratio**2) - len(gram)) - np.log(np.diagonal(ratio)).sum()


def _check_sic_factor(candidate):
    x = np.random.default_rng(0).random((14, 2))
    gram = 2.0 * Matern32(0.6).gram(x)
    nobody = [np.array([], dtype=int)] * 14

    on = "with an empty pattern"
    found = call(candidate, gram, nobody, on=on)
    expect_shape(found, (14, 14), f"{on}")
    found = np.asarray(found, dtype=float)
    expect_close(
        found,
        np.eye(14) / np.sqrt(2.0),
        f"{on} all values stand alone with variance d_i = 2, and row i is e_i / sqrt(d_i)",
    )

    on = "with the full pattern"
    full = [np.arange(i) for i in range(14)]
    found = np.asarray(call(candidate, gram, full, on=on), dtype=float)
    own = np.diagonal(found)
    expect(
        not np.allclose(own, 1 / np.sqrt(np.diagonal(gram))),
        f"{on} your rows are scaled by the prior variance; d_i = k_ii - b . k_S is what the "
        "neighbours leave",
    )
    exact = np.linalg.inv(np.linalg.cholesky(gram))
    expect(
        not np.allclose(np.tril(found, -1), -np.tril(exact, -1)),
        f"{on} the signs are turned round: what the neighbours predict is taken away, e_i - b",
    )
    expect_close(
        found,
        exact,
        f"{on} U is the inverse of the Cholesky factor of K: solve K_SS b = k_S for all neighbours "
        "together",
    )

    near = [np.argsort(np.sum((x[:i] - x[i]) ** 2, axis=1))[:3] for i in range(14)]
    on = "with three neighbours each"
    found = np.asarray(call(candidate, gram, near, on=on), dtype=float)
    best = sic_factor(gram, near)
    value, least = _kl(gram, np.tril(found)), _kl(gram, best)
    expect(
        value < least + 1e-8,
        f"{on} your KL is {value:.3g} where {least:.3g} is possible: cutting the exact factor is "
        "not the same as the best factor with the pattern",
    )
    expect_close(found, best, on)


SIC_FACTOR = Exercise(
    "structured_gps/sic_factor",
    title="A sparse factor of the inverse",
    task=r"""
    `gram` is a covariance matrix $K$ `(n, n)`, `pattern[i]` the numbers $S_i$ of some points before
    point $i$ (an array, possibly empty). Write `sic_factor(gram, pattern)`, which returns the lower
    triangular $U$ `(n, n)` with
    $$U_i = \frac{e_i - b_i}{\sqrt{d_i}}, \qquad b_i = K_{SS}^{-1} k_{S i}, \qquad
    d_i = k_{ii} - b_i^\top k_{S i},$$
    $b_i$ standing in the columns $S_i$. With the full pattern, what is $U^\top U$?
    """,
    function="sic_factor",
    check=_check_sic_factor,
    solution=sic_factor,
    wrong=[
        Wrong("divides by the variance", _divides_by_variance, says="e_i / sqrt(d_i)"),
        Wrong("keeps the prior variance", _keeps_prior_variance, says="prior variance"),
        Wrong("adds the neighbours", _adds_neighbours, says="signs are turned round"),
        Wrong("one neighbour at a time", _neighbours_apart, says="all neighbours together"),
        Wrong("cuts the exact factor", _cuts_the_exact_factor, says="cutting the exact factor"),
    ],
    hints=[
        "near = pattern[i]; gram[np.ix_(near, near)] is K_SS, gram[near, i] is k_S.",
        "np.linalg.solve also takes the empty system.",
    ],
)

# --- 2. The likelihood, period by period ---------------------------------------------------------


def qp_loglik(blocks, omega, cov):
    """Return log N(vec; 0, Omega (x) cov) of blocks (k, p)."""
    k, p = blocks.shape
    fresh = blocks.copy()
    fresh[1:] = (blocks[1:] - omega * blocks[:-1]) / math.sqrt(1 - omega**2)
    fit = np.sum(fresh * np.linalg.solve(cov, fresh.T).T)
    logdet = k * np.linalg.slogdet(cov)[1] + (k - 1) * p * math.log(1 - omega**2)
    return -0.5 * (fit + logdet + k * p * math.log(2 * math.pi))


def _no_jacobian(blocks, omega, cov):
    k, p = blocks.shape
    return qp_loglik(blocks, omega, cov) + 0.5 * (k - 1) * p * math.log(1 - omega**2)


def _unscaled_noise(blocks, omega, cov):
    k, p = blocks.shape
    fresh = blocks.copy()
    fresh[1:] -= omega * blocks[:-1]
    fit = np.sum(fresh * np.linalg.solve(cov, fresh.T).T)
    return -0.5 * (fit + k * np.linalg.slogdet(cov)[1] + k * p * math.log(2 * math.pi))


def _forgets_the_first(blocks, omega, cov):
    return qp_loglik(blocks, omega, cov) - qp_loglik(blocks[:1], omega, cov)


def _independent(blocks, omega, cov):
    return qp_loglik(blocks, 0.0, cov)


def _check_qp_loglik(candidate):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    cov, blocks = root @ root.T + np.eye(3), rng.normal(size=(4, 3))

    def dense(omega, rows):
        place = np.arange(len(rows))
        whole = np.kron(omega ** np.abs(place[:, None] - place), cov)
        fit = rows.ravel() @ np.linalg.solve(whole, rows.ravel())
        return -0.5 * (fit + np.linalg.slogdet(whole)[1] + rows.size * math.log(2 * math.pi))

    on = "with a single block"
    expect_close(
        call(candidate, blocks[:1].copy(), 0.6, cov, on=on),
        dense(0.6, blocks[:1]),
        f"{on} nothing comes before it: log N(X_1; 0, K_p)",
    )
    on = "with omega = 0"
    expect_close(
        call(candidate, blocks.copy(), 0.0, cov, on=on),
        dense(0.0, blocks),
        f"{on} the blocks are independent, and their log densities add up",
    )
    on = "with omega = 0.6"
    found = float(call(candidate, blocks.copy(), 0.6, cov, on=on))
    right = dense(0.6, blocks)
    expect(
        not np.isclose(found, dense(0.0, blocks)),
        f"{on} you return what omega = 0 gives: block j + 1 has mean omega X_j",
    )
    expect(
        not np.isclose(found - right, 4.5 * math.log(1 - 0.36)),
        f"{on} the determinants of the fresh parts are missing: each (1 - omega^2) K_p has "
        "determinant (1 - omega^2)^p |K_p|",
    )
    expect_close(
        found,
        right,
        f"{on} e_j = X_(j+1) - omega X_j has covariance (1 - omega^2) K_p; the dense matrix "
        "Omega (x) K_p",
    )


QP_LOGLIK = Exercise(
    "structured_gps/qp_loglik",
    title="The likelihood, period by period",
    task=r"""
    `blocks` `(k, p)` holds the periods $X_1, \dots, X_k$ of a series with $X_1 \sim N(0, K_p)$ and
    $X_{j+1} = \omega X_j + e_j$, $e_j \sim N(0, (1 - \omega^2) K_p)$; `cov` is $K_p$ `(p, p)`.
    Write `qp_loglik(blocks, omega, cov)`, the log density of the whole
    series, with matrices of size $p$
    only. (The series has covariance $\Omega \otimes K_p$, $\Omega_{ij} = \omega^{|i-j|}$: you may
    check yourself with it, but not use it.)
    """,
    function="qp_loglik",
    check=_check_qp_loglik,
    solution=qp_loglik,
    wrong=[
        Wrong("no determinants", _no_jacobian, says="determinants of the fresh parts"),
        Wrong("unscaled noise", _unscaled_noise, says="(1 - omega^2) K_p"),
        Wrong("forgets X_1", _forgets_the_first, says="nothing comes before it"),
        Wrong("independent blocks", _independent, says="what omega = 0 gives"),
    ],
    hints=[
        "log p(X_1) + sum_j log p(X_{j+1} | X_j); what is the mean of X_{j+1} given X_j?",
        "Divide e_j by sqrt(1 - omega^2): then all k vectors have covariance K_p.",
    ],
)

# --- 3. A kernel as a system in time -------------------------------------------------------------


def matern32_ssm(dt, lengthscale):
    """Return A = expm(F dt) and Q = P - A P A^T for the state (f, f')."""
    rate = math.sqrt(3) / lengthscale
    decay = math.exp(-rate * dt)
    a = decay * np.array([[1 + rate * dt, dt], [-(rate**2) * dt, 1 - rate * dt]])
    p = np.diag([1.0, rate**2])
    return a, p - a @ p @ a.T


def _short_step(dt, lengthscale):
    rate = math.sqrt(3) / lengthscale
    a = np.eye(2) + dt * np.array([[0, 1], [-(rate**2), -2 * rate]])
    p = np.diag([1.0, rate**2])
    return a, p - a @ p @ a.T


def _no_root_three(dt, lengthscale):
    return matern32_ssm(dt, math.sqrt(3) * lengthscale)


def _noise_of_rest(dt, lengthscale):
    rate = math.sqrt(3) / lengthscale
    return matern32_ssm(dt, lengthscale)[0], np.diag([1.0, rate**2])


def _noise_by_step(dt, lengthscale):
    rate = math.sqrt(3) / lengthscale
    return matern32_ssm(dt, lengthscale)[0], np.diag([0.0, 4 * rate**3 * dt])


def _no_speed(dt, lengthscale):
    a, q = matern32_ssm(dt, lengthscale)
    a[1] = [0, math.exp(-math.sqrt(3) / lengthscale * dt)]
    return a, q


def _check_matern32_ssm(candidate):
    ell = 0.8

    def both(dt, on):
        found = call(candidate, dt, ell, on=on)
        expect(
            isinstance(found, (tuple, list)) and len(found) == 2,
            "return two matrices, A and Q",
        )
        a, q = (np.asarray(part, dtype=float) for part in found)
        expect_shape(a, (2, 2), f"{on}, A")
        expect_shape(q, (2, 2), f"{on}, Q")
        return a, q

    on = "with dt = 0"
    a, q = both(0.0, on)
    expect_close(a, np.eye(2), f"{on} no time passes and the state stays: A = I")
    expect(
        np.abs(q).max() < 1e-12,
        f"{on} no time passes and no noise comes in: Q = P - A P A^T must be zero",
    )

    p = np.diag([1.0, 3 / ell**2])
    for dt in (0.3, 2.0):
        on = f"with dt = {dt}"
        a, q = both(dt, on)
        kernel = float(Matern32(ell).gram(np.zeros((1, 1)), np.full((1, 1), dt))[0, 0])
        expect(
            abs((a @ p)[0, 0] - kernel) < 1e-9,
            f"{on} cov(f(t + dt), f(t)) = (A P)_11 is {(a @ p)[0, 0]:.4g}, but the kernel is "
            f"{kernel:.4g}: A = expm(F dt), with rate sqrt(3) / lengthscale, not its first terms",
        )
        right_a, right_q = matern32_ssm(dt, ell)
        expect_close(a, right_a, f"{on} the second row says how f' moves on")
        expect_close(
            q,
            right_q,
            f"{on} the state must stay at rest, A P A^T + Q = P: the noise fills up what was lost",
        )


MATERN32_SSM = Exercise(
    "structured_gps/matern32_ssm",
    title="A kernel as a system in time",
    task=r"""
    The Matern-3/2 process with variance 1 has the state $z = (f, f')$ and
    $$dz = F z\, dt + \text{noise}, \qquad F = \begin{pmatrix} 0 & 1 \\ -\lambda^2 & -2\lambda
    \end{pmatrix}, \qquad \lambda = \sqrt{3} / \ell, \qquad P = \begin{pmatrix} 1 & 0 \\ 0 &
    \lambda^2 \end{pmatrix}$$
    with $P$ the covariance of $z$ at rest. Write `matern32_ssm(dt, lengthscale)`, which returns
    $A = e^{F\,dt}$ and $Q = P - A P A^\top$, so that $z(t + dt) = A z(t) + N(0, Q)$. Here
    $F + \lambda I$ squares to zero, so that $e^{F dt} = e^{-\lambda dt} (I + (F + \lambda I)\,dt)$.
    Then invent an experiment: which time step makes a simulation by $A \approx I + F\,dt$ explode?
    """,
    function="matern32_ssm",
    check=_check_matern32_ssm,
    solution=matern32_ssm,
    wrong=[
        Wrong("first terms only", _short_step, says="not its first terms"),
        Wrong("no square root of 3", _no_root_three, says="rate sqrt(3)"),
        Wrong("all the noise at once", _noise_of_rest, says="no noise comes in"),
        Wrong("noise for a short step", _noise_by_step, says="A P A^T + Q = P"),
        Wrong("the slope alone", _no_speed, says="how f' moves on"),
    ],
    hints=[
        "F + lam I = [[lam, 1], [-lam^2, -lam]]: its square is zero.",
        "scipy.linalg.expm(F * dt) is welcome, too.",
    ],
)


EXERCISES = (SIC_FACTOR, QP_LOGLIK, MATERN32_SSM)
