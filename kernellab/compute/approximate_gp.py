"""Gaussian processes with any likelihood: Laplace, variational and expectation-propagation fits.

All three stand in for each p(y_i | f_i) with a Gaussian site exp(shift_i f_i - precision_i f_i^2/2)
and differ in how they choose it. The posterior is then N(mean, (K^{-1} + diag(precision))^{-1}).

>>> from kernellab.compute.kernels import Gaussian
>>> from kernellab.compute.likelihoods import Probit
>>> fit = expectation_propagation(Gaussian(1.0), [[-1.0], [1.0]], [-1, 1], Probit())
>>> fit.probability([[1.0]]).round(2).tolist()
[0.65]
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.linalg as sla

from kernellab.compute.checks import as_matrix, as_vector, integer, positive
from kernellab.compute.gp import Prediction
from kernellab.compute.kernels import Kernel, as_kernel
from kernellab.compute.likelihoods import Likelihood

__all__ = [
    "SitePosterior",
    "expectation_propagation",
    "laplace",
    "posterior_from_sites",
    "variational",
]


@dataclass(frozen=True, eq=False)
class SitePosterior:
    """A Gaussian posterior of f given by Gaussian sites, and what they say of the evidence.

    Attributes
    ----------
    kernel, x, y, likelihood : the model; inputs (n, d), targets (n,)
    shift, precision : the sites, shapes (n,); a precision may be negative
    mean, variance : of f at the data, shapes (n,)
    logdet : log det(I + K diag(precision))
    method : "laplace", "variational", "expectation propagation", or "sites" for given ones
    evidence : the method's own approximation of log p(y)
    iterations : how many times all sites were renewed
    converged : whether the sites came to rest within the given tolerance
    """

    kernel: Kernel
    x: np.ndarray
    y: np.ndarray
    likelihood: Likelihood
    shift: np.ndarray
    precision: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    logdet: float
    method: str = "sites"
    evidence: float = math.nan
    iterations: int = 0
    converged: bool = True

    @property
    def coefficients(self) -> np.ndarray:
        """K^{-1} mean = shift - precision mean, shape (n,)."""
        return self.shift - self.precision * self.mean

    def predict(self, x, covariance: bool = False) -> Prediction:
        """Return mean and variance of f at points x (t, d); covariance: the matrix (t, t).

        Cost: O(n^3 + t n^2).
        """
        x = as_matrix("x", x, columns=self.x.shape[1])
        cross = self.kernel.gram(self.x, x)
        mean = cross.T @ self.coefficients
        # (K + W^{-1})^{-1} = W (I + K W)^{-1}, which also holds for sites of precision 0.
        system = np.eye(len(self.x)) + self.kernel.gram(self.x) * self.precision
        inner = self.precision[:, None] * np.linalg.solve(system, cross)
        if covariance:
            full = self.kernel.gram(x) - cross.T @ inner
            return Prediction(mean, 0.5 * (full + full.T))
        variance = self.kernel.diagonal(x) - (cross * inner).sum(axis=0)
        return Prediction(mean, np.maximum(variance, 0.0))

    def probability(self, x) -> np.ndarray:
        """Return P(y = 1) at points x (t, d), for likelihoods of labels."""
        if not hasattr(self.likelihood, "probability"):
            raise ValueError(f"likelihood must be one of labels, got {self.likelihood!r}")
        return self.likelihood.probability(*self.predict(x))

    def log_predictive(self, x, y) -> np.ndarray:
        """Return log p(y_j | data) at points x (t, d) for targets y (t,), shape (t,)."""
        mean, variance = self.predict(x)
        return self.likelihood.averaged(self.likelihood.as_targets(y, len(mean)), mean, variance)[0]

    def elbo(self) -> float:
        """Return the evidence lower bound sum_i E log p(y_i | f_i) - KL(q || p) at these sites."""
        return self._bound(self.likelihood.expected(self.y, self.mean, self.variance)[0])

    def _bound(self, expected) -> float:
        """Return the evidence lower bound from E log p(y_i | f_i), (n,)."""
        # KL = (tr K^{-1} S - n + m^T K^{-1} m + log det K - log det S) / 2, in terms of the sites.
        kl = float(self.mean @ self.coefficients - self.precision @ self.variance) + self.logdet
        return float(expected.sum()) - 0.5 * kl

    def ep_evidence(self) -> float:
        """Return the expectation-propagation estimate of log p(y) at these sites.

        log int p(f) prod t_i df + sum_i [log int p(y_i | f) c_i df - log int t_i c_i df], with the
        cavities c_i: the posterior without site i.

        Raises ValueError when a cavity has no positive variance.
        Source: Rasmussen and Williams (2006), equation 3.65; at variational sites: Li, John and
        Solin 2023, arXiv:2306.04201.
        """
        mean, variance = self.cavities()
        if not (variance > 0).all():
            raise ValueError("a site takes away more variance than there is: no cavity is left")
        whole = 0.5 * (float(self.shift @ self.mean) - self.logdet)
        tilted = self.likelihood.averaged(self.y, mean, variance)[0]
        total = 1.0 + self.precision * variance
        sites = self.shift * mean + 0.5 * self.shift**2 * variance
        sites = (sites - 0.5 * self.precision * mean**2) / total - 0.5 * np.log(total)
        return whole + float((tilted - sites).sum())

    def evidence_gradient(self) -> np.ndarray:
        """Return the gradient of ``evidence`` in the logarithms of the kernel's hyper-parameters.

        (1/2) tr[(a a^T - (K + W^{-1})^{-1}) dK / d log theta_j], with a = K^{-1} mean: at the
        sites where EP or the variational method rest, nothing else changes to first order. For
        Laplace the mode moves the curvatures with it, which adds a term. Shape (p,).

        Raises ValueError for a posterior from given sites. Cost: O((p + 1) n^3).
        Source: Rasmussen and Williams (2006), equations 5.22-5.27.
        """
        if self.method == "sites":
            raise ValueError("the sites must come from a method that is at rest, not be given")
        changes = self.kernel.gram_gradients(self.x)
        gram, a = self.kernel.gram(self.x), self.coefficients
        inverse = np.linalg.inv(np.eye(len(self.x)) + gram * self.precision)
        weights = np.outer(a, a) - self.precision[:, None] * inverse
        gradient = np.array([0.5 * np.vdot(weights, change) for change in changes])
        if self.method == "laplace":
            pull = 0.5 * self.variance * self.likelihood.third_derivative(self.y, self.mean)
            gradient += (changes @ a) @ (inverse.T @ pull)
        return gradient

    def cavities(self) -> tuple[np.ndarray, np.ndarray]:
        """Return means and variances (n,) of f_i when site i is taken away."""
        left = 1.0 - self.precision * self.variance
        with np.errstate(divide="ignore", invalid="ignore"):
            return (self.mean - self.shift * self.variance) / left, self.variance / left


def posterior_from_sites(kernel, x, y, likelihood, shift, precision) -> SitePosterior:
    """Return the posterior N(S shift, S), S = (K^{-1} + diag(precision))^{-1}, of given sites.

    Its ``evidence`` is the evidence lower bound.

    Parameters: kernel; x (n, d); y (n,); likelihood; shift (n,); precision (n,).
    Raises ValueError for arguments that do not fit, or sites that leave no proper posterior.
    Cost: O(n^3).
    """
    model = _Model(kernel, x, y, likelihood)
    n = len(model.x)
    shift, precision = as_vector("shift", shift, n), as_vector("precision", precision, n)
    posterior = model.posterior(shift, precision)
    if posterior is None:
        raise ValueError("precision must leave a proper posterior, got one that is too negative")
    return model.finish("sites", posterior, posterior.elbo(), 0, True)


def laplace(kernel, x, y, likelihood, *, tolerance=1e-10, max_iterations=200) -> SitePosterior:
    """Return the Gaussian at the posterior's mode, with the curvature there.

    Newton's method on log p(y | f) - f^T K^{-1} f / 2, with steps halved until it rises; then
    precision = -(log p)'' and evidence = log p(y | f) - f^T K^{-1} f / 2 - log det(I + K W) / 2.

    Parameters
    ----------
    kernel : a ``kernellab.compute.kernels.Kernel``
    x, y : inputs (n, d) and targets (n,)
    likelihood : of ``kernellab.compute.likelihoods``
    tolerance : change of the objective at which to stop
    max_iterations : most Newton steps

    Raises
    ------
    ValueError : arguments that do not fit, or a mode with no positive curvature.

    Cost: O(n^3) a step. Source: Rasmussen and Williams (2006), algorithm 3.1.
    """
    model = _Model(kernel, x, y, likelihood)
    tolerance = positive("tolerance", tolerance)
    y = model.y
    coefficients, f = np.zeros(len(y)), np.zeros(len(y))
    value, iteration, converged = float(likelihood.log_density(y, f).sum()), 0, False
    for _ in range(integer("max_iterations", max_iterations, low=1)):
        iteration += 1
        weights = likelihood.curvature(y, f)
        shift = weights * f + likelihood.derivatives(y, f)[0]
        direction = _coefficients(model.gram, shift, weights) - coefficients
        turn, step, before = model.gram @ direction, 1.0, value
        while step > 1e-10:
            new, new_f = coefficients + step * direction, f + step * turn
            new_value = float(likelihood.log_density(y, new_f).sum()) - 0.5 * float(new @ new_f)
            if new_value >= value - 1e-14 * (1.0 + abs(value)):  # a fall by rounding is none
                coefficients, f, value = new, new_f, new_value
                break
            step *= 0.5
        if abs(value - before) < tolerance:
            converged = True
            break
    first, second = likelihood.derivatives(y, f)
    posterior = model.posterior(first - second * f, -second)
    if posterior is None:
        raise ValueError("the posterior has no positive curvature at the mode that was found")
    return model.finish("laplace", posterior, value - 0.5 * posterior.logdet, iteration, converged)


def variational(
    kernel, x, y, likelihood, *, step=1.0, tolerance=1e-10, max_iterations=500, start=None
) -> SitePosterior:
    """Return the Gaussian posterior of highest evidence lower bound, by natural gradients (CVI).

    With E_i(m, v) = E_{N(m, v)} log p(y_i | f): shift <- (1 - b) shift + b (dE/dm - 2 m dE/dv),
    precision <- (1 - b) precision - 2 b dE/dv. The step b is halved whenever the bound would fall.

    Parameters
    ----------
    kernel, x, y, likelihood, max_iterations : as in ``laplace``
    step : b, in (0, 1]
    tolerance : change of the bound at which to stop
    start : a ``SitePosterior`` whose sites to start from (of a near-by model)

    Returns
    -------
    SitePosterior : its evidence is the bound

    Cost: O(n^3) a step. Source: Khan and Lin, Conjugate-computation variational inference (2017).
    """
    model = _Model(kernel, x, y, likelihood)
    step, tolerance = min(positive("step", step), 1.0), positive("tolerance", tolerance)
    current = model.start(start)
    expected, by_mean, by_variance = likelihood.expected(model.y, current.mean, current.variance)
    bound, iteration, converged = current._bound(expected), 0, False
    for _ in range(integer("max_iterations", max_iterations, low=1)):
        iteration += 1
        shift = by_mean - 2.0 * current.mean * by_variance
        proposal = model.between(current, shift, -2.0 * by_variance, step)
        new_bound = -math.inf
        if proposal is not None:
            averages = likelihood.expected(model.y, proposal.mean, proposal.variance)
            new_bound = proposal._bound(averages[0])
        if new_bound < bound - 1e-13 * abs(bound):
            step *= 0.5
            if step < 1e-6:
                break
            continue
        moved = new_bound - bound
        current, bound = proposal, new_bound
        _, by_mean, by_variance = averages
        if moved < tolerance * step:
            converged = True
            break
        step = min(1.0, 1.5 * step)
    return model.finish("variational", current, bound, iteration, converged)


def expectation_propagation(
    kernel, x, y, likelihood, *, step=1.0, tolerance=1e-9, max_iterations=500, start=None
) -> SitePosterior:
    """Return the posterior whose marginals match those of p(y_i | f_i) in its cavity (EP).

    Each site i is chosen so that mean and variance of cavity times site are those of cavity times
    likelihood; all sites at once, with a step that shrinks when they do not come to rest.

    Parameters
    ----------
    kernel, x, y, likelihood, max_iterations : as in ``laplace``
    step : how far sites go, in (0, 1]
    tolerance : change of posterior means and standard deviations at which to stop
    start : as in ``variational``

    Returns
    -------
    SitePosterior : with EP's estimate of the evidence

    Raises
    ------
    ValueError : arguments that do not fit, or sites that end without a proper cavity.

    Cost: O(n^3) a step. Source: Minka (2001); Rasmussen and Williams (2006), section 3.6.
    """
    model = _Model(kernel, x, y, likelihood)
    step, tolerance = min(positive("step", step), 1.0), positive("tolerance", tolerance)
    current, last, iteration, converged = model.start(start), math.inf, 0, False
    for _ in range(integer("max_iterations", max_iterations, low=1)):
        iteration += 1
        mean, variance = current.cavities()
        proper = np.isfinite(variance) & (variance > 0.0)
        mean, variance = np.where(proper, mean, 0.0), np.where(proper, variance, 1.0)
        _, first, second = likelihood.averaged(model.y, mean, variance)
        left = 1.0 + variance * second  # tilted variance over the cavity's
        proper &= left > 1e-10
        left = np.where(proper, left, 1.0)
        # Where there is no cavity the site waits for the others.
        shift = np.where(proper, (first - second * mean) / left, current.shift)
        precision = np.where(proper, -second / left, current.precision)
        proposal = model.between(current, shift, precision, step)
        if proposal is None or not (proposal.precision * proposal.variance < 1.0).all():
            step *= 0.5
            if step < 1e-4:
                break
            continue
        change = float(np.abs(proposal.mean - current.mean).max())
        spreads = np.sqrt(proposal.variance) - np.sqrt(current.variance)
        change = max(change, float(np.abs(spreads).max()))
        current = proposal
        if change < tolerance * step:
            converged = True
            break
        if change > last:
            step = max(0.7 * step, 0.05)
        last = change
    return model.finish(
        "expectation propagation", current, current.ep_evidence(), iteration, converged
    )


class _Model:
    """Checked arguments, the Gram matrix, and posteriors from sites."""

    def __init__(self, kernel, x, y, likelihood):
        if not isinstance(likelihood, Likelihood):
            raise ValueError(
                f"likelihood must be one of kernellab.compute.likelihoods, got {likelihood!r}"
            )
        self.kernel, self.x = as_kernel(kernel), as_matrix("x", x)
        self.likelihood, self.y = likelihood, likelihood.as_targets(y, len(self.x))
        self.gram = self.kernel.gram(self.x)

    def start(self, start: SitePosterior | None) -> SitePosterior:
        """Return the prior, or the sites of a near-by model under this one."""
        n = len(self.y)
        if start is not None:
            if not isinstance(start, SitePosterior) or len(start.shift) != n:
                raise ValueError(f"start must be a SitePosterior of {n} points")
            posterior = self.posterior(start.shift, start.precision)
            if posterior is not None:
                return posterior
        return self.posterior(np.zeros(n), np.zeros(n))

    def between(self, current, shift, precision, step: float) -> SitePosterior | None:
        """Return the posterior with sites moved by ``step`` towards the given ones."""
        return self.posterior(
            current.shift + step * (shift - current.shift),
            current.precision + step * (precision - current.precision),
        )

    def posterior(self, shift, precision) -> SitePosterior | None:
        """Return the posterior of sites, or None where it would not be proper."""
        solved = _marginals(self.gram, shift, precision)
        if solved is None:
            return None
        mean, variance, logdet = solved
        return SitePosterior(
            self.kernel, self.x, self.y, self.likelihood, shift, precision, mean, variance, logdet
        )

    def finish(self, method, posterior, evidence, iterations, converged) -> SitePosterior:
        fields = {**posterior.__dict__, "method": method, "evidence": float(evidence)}
        return SitePosterior(**fields | {"iterations": iterations, "converged": converged})


def _coefficients(gram, shift, precision) -> np.ndarray:
    """Return K^{-1} mean = shift - W^{1/2} B^{-1} W^{1/2} K shift for precisions W >= 0."""
    root = np.sqrt(precision)
    lower = _whitened_factor(gram, root)
    inner = sla.cho_solve((lower, True), root * (gram @ shift), check_finite=False)
    return shift - root * inner


def _whitened_factor(gram, root) -> np.ndarray:
    """Return the Cholesky factor of B = I + W^{1/2} K W^{1/2}, whose eigenvalues are >= 1."""
    system = root[:, None] * gram
    system *= root
    system[np.diag_indices(len(gram))] += 1.0
    return sla.cholesky(system, lower=True, overwrite_a=True, check_finite=False)


def _marginals(gram, shift, precision) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Return mean and variances of S shift, S, with S = (K^{-1} + W)^{-1}, and log det(I + K W).

    None where S is not positive.
    """
    if not (np.isfinite(precision).all() and np.isfinite(shift).all()):
        return None
    if (precision >= 0.0).all():
        root = np.sqrt(precision)
        lower = _whitened_factor(gram, root)
        inner = sla.cho_solve((lower, True), root * (gram @ shift), check_finite=False)
        mean = gram @ (shift - root * inner)
        half = sla.solve_triangular(
            lower, root[:, None] * gram, lower=True, overwrite_b=True, check_finite=False
        )
        variance = np.diagonal(gram) - np.einsum("ij,ij->j", half, half)
        logdet = 2.0 * float(np.log(np.diagonal(lower)).sum())
        return mean, np.maximum(variance, 0.0), logdet
    # Sites of negative precision (outliers of a heavy tail): no root, so a general solve.
    system = np.eye(len(gram)) + gram * precision
    sign, logdet = np.linalg.slogdet(system)
    if sign <= 0:
        return None
    covariance = np.linalg.solve(system, gram)
    covariance = 0.5 * (covariance + covariance.T)
    variance = np.diagonal(covariance)
    lowest = np.linalg.eigvalsh(covariance)[0]
    if lowest < -1e-9 * np.trace(gram) or variance.min() < 0.0:
        return None
    return covariance @ shift, variance.copy(), float(logdet)
