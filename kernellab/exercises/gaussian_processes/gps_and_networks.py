"""Exercises of the lab on GPs and networks: a dual update, a reverse step, a mixture's posterior.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import math

import numpy as np

from kernellab.lab.exercises import (
    Exercise,
    Wrong,
    call,
    expect,
    expect_close,
    expect_shape,
)

# --- 1. New data as new terms --------------------------------------------------------------------


def dual_update(alpha, beta, cross, y, noise):
    """Return the dual variables after more data with Gaussian noise."""
    return alpha + cross @ y / noise, beta + cross @ cross.T / noise


def _forgets_the_old(alpha, beta, cross, y, noise):
    return cross @ y / noise, cross @ cross.T / noise


def _forgets_the_curvature(alpha, beta, cross, y, noise):
    return alpha + cross @ y / noise, beta


def _forgets_the_noise(alpha, beta, cross, y, noise):
    return alpha + cross @ y, beta + cross @ cross.T


def _averages(alpha, beta, cross, y, noise):
    n = len(y)
    return alpha + cross @ y / noise / n, beta + cross @ cross.T / noise / n


def _parts(found, on, m):
    expect(
        isinstance(found, tuple) and len(found) == 2,
        f"{on} return two arrays, the new alpha and the new beta",
    )
    expect_shape(found[0], (m,), f"{on}, alpha")
    expect_shape(found[1], (m, m), f"{on}, beta")
    return found


def _check_dual_update(candidate):
    rng = np.random.default_rng(0)
    cross, y = rng.standard_normal((4, 9)), rng.standard_normal(9)
    zero, nothing = np.zeros(4), np.zeros((4, 4))

    on = "with nothing known before and noise 1,"
    alpha, beta = _parts(call(candidate, zero, nothing, cross, y, 1.0, on=on), on, 4)
    expect(
        not np.allclose(np.asarray(alpha), cross @ y / len(y)),
        f"{on} you return means over the new points; every point counts in full, so add sums",
    )
    expect_close(alpha, cross @ y, f"{on} alpha is the sum of k(z, x_i) y_i")
    expect(
        np.abs(np.asarray(beta)).max() > 0,
        f"{on} beta is still 0: a point also adds its curvature, k(z, x_i) k(x_i, z) / noise; "
        "without it the mean has no brake",
    )
    expect_close(beta, cross @ cross.T, f"{on} beta is the sum of k(z, x_i) k(x_i, z)")

    on = "with noise 0.1,"
    alpha, beta = _parts(call(candidate, zero, nothing, cross, y, 0.1, on=on), on, 4)
    expect_close(
        alpha,
        10 * cross @ y,
        f"{on} a point says ten times as much as with noise 1: slopes and curvatures of log p are "
        "divided by the noise",
    )

    on = "in two chunks"
    first = _parts(call(candidate, zero, nothing, cross[:, :5], y[:5], 0.1, on=on), on, 4)
    second = _parts(call(candidate, *first, cross[:, 5:], y[5:], 0.1, on=on), on, 4)
    expect(
        not np.allclose(second[0], cross[:, 5:] @ y[5:] / 0.1),
        f"{on} the second chunk has wiped out the first: add to alpha and beta",
    )
    expect_close(second[0], alpha, f"{on} alpha is that of all the data at once")
    expect_close(second[1], beta, f"{on} beta is that of all the data at once")


DUAL_UPDATE = Exercise(
    "gps_and_networks/dual_update",
    title="New data are new terms",
    task=r"""
    A sparse GP keeps `alpha` $= \sum_i k(z, x_i)\,(\alpha_i + \beta_i f_i)$, shape `(M,)`, and
    `beta` $= \sum_i k(z, x_i)\, \beta_i\, k(x_i, z)$, shape `(M, M)`. For Gaussian noise of
    variance `noise`, $\beta_i = 1/\text{noise}$ and $\alpha_i + \beta_i f_i = y_i / \text{noise}$,
    whatever $f_i$ is. Write `dual_update(alpha, beta, cross, y, noise)`, which returns both after
    $n$ more points, with `cross` $= k(z, x)$, shape `(M, n)`, and `y`, shape `(n,)`. It must give
    the same as all data at once.
    """,
    function="dual_update",
    check=_check_dual_update,
    solution=dual_update,
    wrong=[
        Wrong("forgets the old data", _forgets_the_old, says="wiped out the first"),
        Wrong("forgets the curvature", _forgets_the_curvature, says="has no brake"),
        Wrong("forgets the noise", _forgets_the_noise, says="ten times as much"),
        Wrong("averages", _averages, says="add sums"),
    ],
    hints=[
        "cross @ y is the sum of k(z, x_i) y_i over the new points.",
        "cross @ cross.T is the sum of k(z, x_i) k(x_i, z).",
    ],
)

# --- 2. One step out of the noise ----------------------------------------------------------------


def reverse_step(y, gram, beta, kept, fresh):
    """Return y_{t-1} given y_t (S, n), with the best guess of the noise for GP(0, gram)."""
    mixed = kept * gram + (1 - kept) * np.eye(len(gram))
    guess = math.sqrt(1 - kept) * np.linalg.solve(mixed, y.T).T
    mean = (y - beta / math.sqrt(1 - kept) * guess) / math.sqrt(1 - beta)
    return mean + math.sqrt(beta) * fresh


def _no_fresh_noise(y, gram, beta, kept, fresh):
    return reverse_step(y, gram, beta, kept, 0 * fresh)


def _variance_as_deviation(y, gram, beta, kept, fresh):
    return reverse_step(y, gram, beta, kept, 0 * fresh) + beta * fresh


def _all_noise_at_once(y, gram, beta, kept, fresh):
    mixed = kept * gram + (1 - kept) * np.eye(len(gram))
    guess = math.sqrt(1 - kept) * np.linalg.solve(mixed, y.T).T
    return (y - math.sqrt(1 - kept) * guess) / math.sqrt(kept) + math.sqrt(beta) * fresh


def _no_rescaling(y, gram, beta, kept, fresh):
    return math.sqrt(1 - beta) * reverse_step(y, gram, beta, kept, 0 * fresh) + (
        math.sqrt(beta) * fresh
    )


def _ignores_the_kernel(y, gram, beta, kept, fresh):
    return reverse_step(y, np.eye(len(gram)), beta, kept, fresh)


def _check_reverse_step(candidate):
    rng = np.random.default_rng(0)
    y, fresh = rng.standard_normal((6, 4)), rng.standard_normal((6, 4))

    on = "for K = I, beta = 0.36"
    found = call(candidate, y, np.eye(4), 0.36, 0.5, 0 * fresh, on=on)
    expect_shape(found, (6, 4), f"{on}, one row a function")
    expect(
        not np.allclose(found, math.sqrt(1 - 0.36) * 0.8 * y),
        f"{on} the step shrinks too much: divide by sqrt(1 - beta), for the noising step had "
        "multiplied by it",
    )
    expect_close(
        found,
        0.8 * y,
        f"{on} and no fresh noise, y_(t-1) = sqrt(1 - beta) y_t = 0.8 y_t: only beta / sqrt(1 - "
        "kept) of the guessed noise is taken out in one step, not all of it",
    )
    moved = np.asarray(call(candidate, y, np.eye(4), 0.36, 0.5, fresh, on=on)) - found
    expect(
        np.abs(moved).max() > 0,
        f"{on} the fresh noise has no effect; without it all functions run to the mean",
    )
    expect_close(
        moved,
        0.6 * fresh,
        f"{on} the fresh noise has variance beta, so multiply it by sqrt(beta) = 0.6; then "
        "variance 1 before the step is variance 0.64 + 0.36 = 1 after it",
    )

    on = "for a smooth kernel"
    places = np.linspace(0, 1, 4)
    gram = np.exp(-((places[:, None] - places) ** 2))
    found = call(candidate, y, gram, 0.1, 0.5, fresh, on=on)
    expect(
        not np.allclose(found, reverse_step(y, np.eye(4), 0.1, 0.5, fresh)),
        f"{on} you treat every value on its own; the best guess is "
        "sqrt(1 - kept) (kept K + (1 - kept) I)^-1 y",
    )
    expect_close(found, reverse_step(y, gram, 0.1, 0.5, fresh), on)


REVERSE_STEP = Exercise(
    "gps_and_networks/reverse_step",
    title="One step out of the noise",
    task=r"""
    `y`, shape `(S, n)`, holds $S$ noisy functions $y_t$, and `gram` is their kernel matrix $K$,
    `(n, n)`. With `kept` $= \bar a_t$ and `beta`, write
    `reverse_step(y, gram, beta, kept, fresh)`, which returns
    $$y_{t-1} = \frac{1}{\sqrt{1 - \beta}} \Big( y_t - \frac{\beta}{\sqrt{1 - \bar a_t}}\,
    \hat\varepsilon \Big) + \sqrt{\beta}\, z, \qquad
    \hat\varepsilon = \sqrt{1 - \bar a_t}\, \big(\bar a_t K + (1 - \bar a_t) I\big)^{-1} y_t,$$
    with $z$ = `fresh`, standard normal, of the shape of `y`. For $K = I$ this keeps the variance at
    exactly 1: do you see why?
    """,
    function="reverse_step",
    check=_check_reverse_step,
    solution=reverse_step,
    wrong=[
        Wrong("no fresh noise", _no_fresh_noise, says="run to the mean"),
        Wrong("beta as deviation", _variance_as_deviation, says="multiply it by sqrt(beta)"),
        Wrong("all noise at once", _all_noise_at_once, says="not all of it"),
        Wrong("no rescaling", _no_rescaling, says="shrinks too much"),
        Wrong("ignores the kernel", _ignores_the_kernel, says="every value on its own"),
    ],
    hints=[
        "The rows of y are functions: np.linalg.solve(matrix, y.T).T applies an inverse to each.",
        "The two square roots of 1 - kept cancel.",
    ],
)

# --- 3. A mixture's posterior --------------------------------------------------------------------


def gmm_posterior(weights, means, sds, y, noise):
    """Return weights, means and s.d. of the posterior of theta after y = theta + noise."""
    total = sds**2 + noise**2
    w = weights * np.exp(-0.5 * (y - means) ** 2 / total) / np.sqrt(total)
    return w / w.sum(), (means * noise**2 + y * sds**2) / total, sds * noise / np.sqrt(total)


def _keeps_the_weights(weights, means, sds, y, noise):
    return weights, *gmm_posterior(weights, means, sds, y, noise)[1:]


def _forgets_to_normalise(weights, means, sds, y, noise):
    total = sds**2 + noise**2
    w = weights * np.exp(-0.5 * (y - means) ** 2 / total) / np.sqrt(2 * np.pi * total)
    return w, *gmm_posterior(weights, means, sds, y, noise)[1:]


def _weighs_by_the_prior(weights, means, sds, y, noise):
    w = weights * np.exp(-0.5 * ((y - means) / sds) ** 2) / sds
    return w / w.sum(), *gmm_posterior(weights, means, sds, y, noise)[1:]


def _swaps_the_pulls(weights, means, sds, y, noise):
    w, _, s = gmm_posterior(weights, means, sds, y, noise)
    return w, (y * noise**2 + means * sds**2) / (sds**2 + noise**2), s


def _returns_variances(weights, means, sds, y, noise):
    w, m, s = gmm_posterior(weights, means, sds, y, noise)
    return w, m, s**2


def _check_gmm_posterior(candidate):
    def ask(weights, means, sds, y, noise, on):
        arrays = (np.array(part, dtype=float) for part in (weights, means, sds))
        found = call(candidate, *arrays, y, noise, on=on)
        expect(
            isinstance(found, tuple) and len(found) == 3,
            f"{on} return three arrays: weights, means and standard deviations",
        )
        for part, name in zip(found, ("weights", "means", "s.d."), strict=True):
            expect_shape(part, (len(weights),), f"{on}, {name}")
        return found

    on = "for one component N(0, 3^2), y = 5 and noise 4,"
    w, m, s = ask([1.0], [0.0], [3.0], 5.0, 4.0, on)
    expect_close(
        m,
        np.array([5 * 9 / 25]),
        f"{on} the mean is 9 / 25 of the way from 0 to 5: the narrower of the two pulls more",
    )
    expect_close(
        s,
        np.array([12 / 5]),
        f"{on} the s.d. is 3 * 4 / sqrt(9 + 16) = 2.4; return deviations, not variances",
    )
    expect(
        abs(float(np.sum(w)) - 1) < 1e-9,
        f"{on} the weight is {float(np.sum(w)):.3g}, but weights sum to 1: divide by their sum",
    )

    on = "for N(-1, 0.1^2) and N(1, 2^2), half each, y = -1.5 and noise 1,"
    prior = np.array([0.5, 0.5]), np.array([-1.0, 1.0]), np.array([0.1, 2.0])
    w, m, s = ask(*prior, -1.5, 1.0, on)
    expect(
        not np.allclose(w, prior[0]),
        f"{on} the weights did not change; the component that foresaw y gains",
    )
    wanted = gmm_posterior(*prior, -1.5, 1.0)
    expect_close(
        w,
        wanted[0],
        f"{on} a component foresees y with N(y; mu_k, s_k^2 + noise^2): its own spread and the "
        "noise add up",
    )
    expect_close(m, wanted[1], f"{on} the means")
    expect_close(s, wanted[2], f"{on} the s.d.")


GMM_POSTERIOR = Exercise(
    "gps_and_networks/gmm_posterior",
    title="The posterior that a network has to match",
    task=r"""
    The prior of $\theta$ is a mixture $\sum_k w_k\, \mathcal{N}(\mu_k, s_k^2)$ (`weights`, `means`,
    `sds`, all `(K,)`), and $y = \theta + \mathcal{N}(0, \text{noise}^2)$ is seen. Write
    `gmm_posterior(weights, means, sds, y, noise)`, which returns weights, means and standard
    deviations of the posterior:
    $$w_k' \propto w_k\, \mathcal{N}(y;\, \mu_k,\, s_k^2 + \text{noise}^2), \qquad
    \frac{1}{s_k'^2} = \frac{1}{s_k^2} + \frac{1}{\text{noise}^2}, \qquad
    \mu_k' = s_k'^2 \Big( \frac{\mu_k}{s_k^2} + \frac{y}{\text{noise}^2} \Big).$$
    Then invent an experiment: for which priors does the trained network of this lab fail, and what
    would you have to add to its training?
    """,
    function="gmm_posterior",
    check=_check_gmm_posterior,
    solution=gmm_posterior,
    wrong=[
        Wrong("keeps the weights", _keeps_the_weights, says="the weights did not change"),
        Wrong("forgets to normalise", _forgets_to_normalise, says="sum to 1"),
        Wrong("weighs by the prior", _weighs_by_the_prior, says="noise add up"),
        Wrong("swaps the pulls", _swaps_the_pulls, says="9 / 25 of the way"),
        Wrong("returns variances", _returns_variances, says="not variances"),
    ],
    hints=[
        "With total = sds**2 + noise**2, the new deviations are sds * noise / sqrt(total).",
        "Divide the weights by their sum at the end.",
    ],
)


EXERCISES = (DUAL_UPDATE, REVERSE_STEP, GMM_POSTERIOR)
