"""Ridge regression and its neighbours, seen as filters on the eigenvalues of a kernel matrix.

Write K/n = U diag(l) U^T. Every method here predicts U h(l) U^T y at the training points for some
profile h, and the whole difference between ridge, early stopping, self-distillation, shrinkage and
semi-supervised learning is the shape of the curve h. The sections:

1. Filters: the spectrum, the profiles, fits, predictions and leave-one-out
2. Self-distilled ridge regression (Borup and Andersen 2021)
3. Self-distilled Gaussian processes (Borup and Andersen 2023)
4. Linear estimators of bounded bias (Segert 2023)
5. Spectrally transformed kernel regression (Zhai et al. 2024)
6. The exact error of a filter on the circle (Velikanov et al. 2024)
7. Receive beamforming (Wang et al.)

One scale throughout: ``ridge`` is the eta of l/(l + eta) on the eigenvalues of K/n, which is the
penalty n*eta on K itself (scikit-learn's ``alpha``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import lstsq
from scipy.optimize import brentq, minimize_scalar
from scipy.sparse.linalg import eigsh
from scipy.special import expit, log_expit, ndtri

from kernellab.compute import compiled
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    integer,
    nonnegative,
    one_of,
    positive,
    same_length,
    symmetric,
)
from kernellab.compute.iterative import richardson
from kernellab.compute.linalg import cholesky, clip_rounding, eigh

# ------------------------------------------------------------------------------------------------
# 1. Filters
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The eigenvalues of K/n, largest first, and the targets y in the eigenvectors' coordinates.

    Attributes
    ----------
    eigenvalues : (n,), l_1 >= ... >= l_n >= 0
    eigenvectors : (n, n), column i belongs to l_i
    coefficients : (n,), U^T y
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    coefficients: np.ndarray

    def fitted(self, h) -> np.ndarray:
        """Return U h(l) U^T y, the (n,) fitted values, for profile values h of shape (n,)."""
        return self.eigenvectors @ (_profile_values(h, self.eigenvalues) * self.coefficients)

    def dual(self, h) -> np.ndarray:
        """Return weights a, (n,), such that k(x)^T a predicts at x and K a is the fit.

        a = U (h(l) / (n l)) U^T y. Where rounding hides an eigenvalue (l = 0), h / l is continued
        from the weakest one left (for ridge regression that slope is 1 / ridge).
        """
        h = _profile_values(h, self.eigenvalues)
        seen = int(np.count_nonzero(self.eigenvalues))  # the largest come first
        if seen == 0:
            return np.zeros(h.size)
        slope = np.full(h.size, h[seen - 1] / self.eigenvalues[seen - 1])
        slope[:seen] = h[:seen] / self.eigenvalues[:seen]
        return self.eigenvectors @ (slope * self.coefficients) / h.size

    def predict(self, cross_gram, h) -> np.ndarray:
        """Return the (m,) predictions at m new points with cross_gram[i, j] = k(new_i, x_j)."""
        cross_gram = as_matrix("cross_gram", cross_gram, columns=self.eigenvalues.size)
        return cross_gram @ self.dual(h)


def kernel_eigensystem(gram) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (n,), largest first, and eigenvectors (n, n) of K/n.

    Raises ValueError for a matrix that is not symmetric or has an eigenvalue clearly below 0;
    eigenvalues that only rounding could have produced are 0. Cost: O(n^3).
    """
    values, vectors = eigh(gram)
    return clip_rounding(values) / values.size, vectors


def spectrum(gram, y) -> Spectrum:
    """Decompose K/n = U diag(l) U^T and rotate the targets.

    Parameters: gram (n, n), a positive semi-definite kernel matrix; y (n,), the targets.
    Returns a Spectrum. Raises ValueError for a matrix that is not symmetric or has an eigenvalue
    clearly below 0. Cost: O(n^3), once; every filter afterwards costs O(n^2).
    """
    eigenvalues, eigenvectors = kernel_eigensystem(gram)
    y = as_vector("y", y, length=eigenvalues.size)
    return Spectrum(eigenvalues, eigenvectors, eigenvectors.T @ y)


def filtered_fit(gram, y, profile: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the fitted values U h(l) U^T y of the filter ``profile``, l the eigenvalues of K/n.

    Parameters: gram (n, n); y (n,); profile, a function of the (n,) eigenvalues.
    Returns (n,). Raises ValueError for a bad matrix, a length mismatch, or a profile that does not
    return n finite numbers. Cost: O(n^3).

    >>> filtered_fit(np.eye(2), np.array([1.0, 2.0]), lambda l: ridge_profile(l, 0.5))
    array([0.5, 1. ])
    """
    s = spectrum(gram, y)
    return s.fitted(profile(s.eigenvalues))


def ridge_profile(eigenvalues, ridge: float) -> np.ndarray:
    """Return l / (l + ridge): kernel ridge regression with penalty n * ridge on K.

    Parameters: eigenvalues, l >= 0, any length; ridge > 0 (units of l). Cost: O(n).
    """
    eigenvalues = _as_eigenvalues(eigenvalues)
    return eigenvalues / (eigenvalues + positive("ridge", ridge))


def gradient_descent_profile(eigenvalues, steps: int, step_size: float) -> np.ndarray:
    """Return 1 - (1 - step_size l)^steps: least squares by gradient descent, stopped early.

    Each step moves the fit f to f + step_size (K/n) (y - f), from f = 0.
    Parameters: eigenvalues l >= 0; steps >= 0; step_size with 0 < step_size max(l) < 2, or the
    iteration diverges (ValueError). Cost: O(n).
    """
    eigenvalues = _as_eigenvalues(eigenvalues)
    steps = integer("steps", steps, low=0)
    reach = positive("step_size", step_size) * eigenvalues
    if reach.max() >= 2:
        raise ValueError(
            f"step_size must be below 2 / (largest eigenvalue) = {2 / eigenvalues.max():.3g}, "
            f"got {step_size}"
        )
    slow = np.minimum(reach, 0.5)  # expm1 keeps the digits of directions that hardly moved
    return np.where(reach < 0.5, -np.expm1(steps * np.log1p(-slow)), 1 - (1 - reach) ** steps)


def gradient_flow_profile(eigenvalues, time: float) -> np.ndarray:
    """Return 1 - exp(-time l): gradient descent with tiny steps, stopped at ``time`` >= 0."""
    return -np.expm1(-nonnegative("time", time) * _as_eigenvalues(eigenvalues))


def distilled_profile(eigenvalues, ridge: float, rounds: int, truth_weight: float) -> np.ndarray:
    """Return the profile of ridge regression refitted ``rounds`` times to its own predictions.

    With B = l / (l + ridge) and q = (1 - alpha) B, the teacher is B, and after t rounds

        h = B q^t + alpha B (1 + q + ... + q^(t-1)).

    alpha = 0 gives B^(t+1): small eigenvalues vanish first. For alpha > 0, h tends to
    l / (l + ridge / alpha), plain ridge with a larger penalty.

    Parameters: eigenvalues l >= 0; ridge > 0; rounds t >= 0 (0 is the teacher itself);
    truth_weight alpha in [0, 1], the share of the true labels in each round's targets.
    Returns an array shaped like eigenvalues. Cost: O(n).
    Paper: even-your-teacher-needs-guidance (Borup and Andersen 2021, arXiv:2102.13088)
    """
    rounds = integer("rounds", rounds, low=0)
    truth_weight = between("truth_weight", truth_weight, 0, 1)
    teacher = ridge_profile(eigenvalues, ridge)
    q = (1 - truth_weight) * teacher
    # q < 1 because ridge > 0; 1 - q is summed without cancellation when q is close to 1.
    away = ridge / (_as_eigenvalues(eigenvalues) + ridge) + truth_weight * teacher
    return teacher * (q**rounds + truth_weight * (1 - q**rounds) / away)


def uniform_shrinkage_profile(eigenvalues, shrinkage: float) -> np.ndarray:
    """Return the constant 1 - shrinkage: least squares, all directions damped alike.

    Parameters: eigenvalues l >= 0; shrinkage in [0, 1].
    Paper: flat-minima-in-linear-estimation (Segert 2023, arXiv:2311.11093)
    """
    return np.full(_as_eigenvalues(eigenvalues).shape, 1 - between("shrinkage", shrinkage, 0, 1))


def clipped_shrinkage_profile(eigenvalues, ridge: float) -> np.ndarray:
    """Return min(1, l / ridge): strong directions are left alone, weak ones damped in proportion.

    Parameters: eigenvalues l >= 0; ridge > 0 (units of l).
    Paper: flat-minima-in-linear-estimation (Segert 2023, arXiv:2311.11093)
    """
    return np.minimum(1, _as_eigenvalues(eigenvalues) / positive("ridge", ridge))


def truncation_profile(eigenvalues, threshold: float) -> np.ndarray:
    """Return 1 where l >= threshold, else 0: principal component regression, a baseline."""
    return (_as_eigenvalues(eigenvalues) >= nonnegative("threshold", threshold)).astype(float)


def leave_one_out(basis, h, y) -> np.ndarray:
    """Return the mean squared leave-one-out error of smoothers S = U diag(h) U^H, without refits.

        mean_j |(y_j - (S y)_j) / (1 - S_jj)|^2

    Exact for ridge; for other profiles it holds the filter fixed, which a refit would move a
    little. A fit that passes through a point by force (S_jj = 1) scores infinity.

    Parameters
    ----------
    basis : (n, r), real or complex, orthonormal columns
    h : (r,) profile values in [0, 1], or (g, r) for g profiles at once
    y : (n,) or (n, p), real or complex; the error is summed over the p columns

    Returns: a (g,) array, or a float for one profile. Cost: O(g n r p).
    """
    basis = _as_complex_matrix("basis", basis)
    n, r = basis.shape
    profiles = np.atleast_2d(h)
    profiles = as_matrix("h", profiles, columns=r)
    targets = np.asarray(y)
    targets = _as_complex_matrix("y", targets[:, None] if targets.ndim == 1 else targets)
    same_length("basis", basis, "y", targets)
    rotated = basis.conj().T @ targets
    slack = np.maximum(1 - profiles @ (np.abs(basis) ** 2).T, 0)  # (g, n): 1 - S_jj
    errors = np.empty(len(profiles))
    for i, values in enumerate(profiles):
        residual = np.sum(np.abs(targets - basis @ (values[:, None] * rotated)) ** 2, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = np.where(slack[i] > n * np.finfo(float).eps, residual / slack[i] ** 2, np.inf)
        errors[i] = each.mean()
    return float(errors[0]) if np.ndim(h) == 1 else errors


def _as_eigenvalues(eigenvalues) -> np.ndarray:
    eigenvalues = as_vector("eigenvalues", eigenvalues)
    if eigenvalues.min() < 0:
        raise ValueError(f"eigenvalues must not be negative, got {eigenvalues.min():.3g}")
    return eigenvalues


def _profile_values(h, eigenvalues: np.ndarray) -> np.ndarray:
    return as_vector("h (the profile's values)", h, length=eigenvalues.size)


def _as_complex_matrix(name: str, value) -> np.ndarray:
    """Return a matrix of finite real or complex numbers, C-contiguous."""
    array = np.asarray(value)
    if array.dtype.kind != "c":
        return as_matrix(name, array)
    as_matrix(name, array.real)
    as_matrix(name, array.imag)
    return np.ascontiguousarray(array, dtype=complex)


# ------------------------------------------------------------------------------------------------
# 2. Self-distilled ridge regression
# ------------------------------------------------------------------------------------------------


def distill(gram, y, ridge: float, truth_weights: Sequence[float]) -> np.ndarray:
    """Refit ridge regression to its own predictions, mixed with the true labels, round by round.

    f_0 = K (K + n ridge I)^-1 y, then for each alpha of truth_weights

        targets = alpha y + (1 - alpha) f,   f = K (K + n ridge I)^-1 targets.

    Parameters: gram (n, n); y (n,); ridge > 0; truth_weights, one number a round (may be empty;
    inside [0, 1] it is a mixture, the best weight may lie outside).
    Returns (rounds + 1, n): the fits of the teacher and of every student.
    Cost: O(n^3 + rounds n^2).
    Paper: even-your-teacher-needs-guidance (Borup and Andersen 2021, arXiv:2102.13088)
    """
    gram, y, refit = _ridge_refit(gram, y, ridge)
    weights = np.asarray(truth_weights, dtype=float)
    if weights.size:
        weights = as_vector("truth_weights", truth_weights)
    fits = np.empty((weights.size + 1, y.size))
    fits[0] = gram @ refit(y)
    for t, alpha in enumerate(weights):
        fits[t + 1] = gram @ refit(alpha * y + (1 - alpha) * fits[t])
    return fits


def limit_ridge(ridge: float, truth_weight: float) -> float:
    """Return ridge / alpha, the penalty of the plain ridge fit that endless distillation reaches.

    Parameters: ridge > 0; truth_weight alpha in (0, 1]. With alpha = 0 there is no such penalty
    (the fit dies out), hence a ValueError.
    Paper: even-your-teacher-needs-guidance (Borup and Andersen 2021, arXiv:2102.13088)
    """
    return positive("ridge", ridge) / positive(
        "truth_weight", between("truth_weight", truth_weight, 0, 1)
    )


def best_truth_weight(student, fresh, y) -> float:
    """Return the mixture weight alpha that minimises ||y - (alpha fresh + (1 - alpha) student)||.

        alpha* = <y - student, fresh - student> / ||fresh - student||^2

    The next student is affine in alpha, so one scalar least-squares problem gives its best weight;
    nothing keeps alpha* inside [0, 1].

    Parameters: student (m,), predictions on validation points of the model refitted to f_t;
    fresh (m,), of the model fitted to the true labels; y (m,), the validation labels.
    Returns alpha*; 1.0 when the two predictions are the same. Cost: O(m).
    Paper: even-your-teacher-needs-guidance (Borup and Andersen 2021, arXiv:2102.13088)
    """
    y = as_vector("y", y)
    toward = as_vector("fresh", fresh, length=y.size) - as_vector("student", student, length=y.size)
    length = toward @ toward
    return float((y - student) @ toward / length) if length > 0 else 1.0


@dataclass(frozen=True, eq=False)
class TunedDistillation:
    """A chain of students, each with its best weight on validation data.

    truth_weights (rounds,); fits (rounds + 1, n) on the training points; predictions
    (rounds + 1, m) and errors (rounds + 1,), mean squares, on the validation points.
    """

    truth_weights: np.ndarray
    fits: np.ndarray
    predictions: np.ndarray
    errors: np.ndarray


def distill_tuned(gram, y, ridge: float, cross_gram, y_validation, rounds: int):
    """Distil ``rounds`` times, choosing every round's weight in closed form on validation data.

    Parameters: gram (n, n); y (n,); ridge > 0; cross_gram (m, n), kernel of validation to training
    points; y_validation (m,); rounds >= 0. Returns a TunedDistillation.
    Cost: O(n^3 + rounds (n^2 + n m)).
    Paper: even-your-teacher-needs-guidance (Borup and Andersen 2021, arXiv:2102.13088)
    """
    gram, y, refit = _ridge_refit(gram, y, ridge)
    cross_gram = as_matrix("cross_gram", cross_gram, columns=y.size)
    y_validation = as_vector("y_validation", y_validation, length=len(cross_gram))
    rounds = integer("rounds", rounds, low=0)
    fresh_dual = dual = refit(y)
    fresh = cross_gram @ fresh_dual
    weights, fits, predictions = [], [gram @ dual], [fresh]
    for _ in range(rounds):
        student_dual = refit(fits[-1])
        alpha = best_truth_weight(cross_gram @ student_dual, fresh, y_validation)
        dual = alpha * fresh_dual + (1 - alpha) * student_dual
        weights.append(alpha)
        fits.append(gram @ dual)
        predictions.append(cross_gram @ dual)
    errors = np.mean((np.array(predictions) - y_validation) ** 2, axis=1)
    return TunedDistillation(np.array(weights), np.array(fits), np.array(predictions), errors)


def _ridge_refit(gram, y, ridge):
    """Return checked gram and y, and the map targets -> (K + n ridge I)^-1 targets."""
    gram = symmetric("gram", gram)
    y = as_vector("y", y, length=len(gram))
    return gram, y, cholesky(gram, y.size * positive("ridge", ridge)).solve


# ------------------------------------------------------------------------------------------------
# 3. Self-distilled Gaussian processes
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class JointGaussian:
    """A Gaussian process's values at N points: mean (N,) and covariance (N, N).

    The first n points are the training points, the others those where we want to know.
    """

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """The (N,) standard deviations."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0))


def gp_prior(gram) -> JointGaussian:
    """Return the prior N(0, K) at the N points of ``gram`` (N, N)."""
    gram = symmetric("gram", gram)
    return JointGaussian(np.zeros(len(gram)), gram)


def condition(belief: JointGaussian, y, noise_variance: float) -> JointGaussian:
    """Update the belief about N function values with noisy values of the first n of them.

        mean + C_n (C_nn + g I)^-1 (y - mean_n),   C - C_n (C_nn + g I)^-1 C_n^T

    Parameters: belief, over N >= n points; y (n,); noise_variance g > 0, in squared units of y.
    Returns the posterior at the same N points. Cost: O(n^3 + N^2 n).
    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)
    """
    y = _observed(belief, y)
    n = y.size
    columns = belief.covariance[:, :n]
    factor = cholesky(columns[:n], positive("noise_variance", noise_variance))
    mean = belief.mean + columns @ factor.solve(y - belief.mean[:n])
    covariance = belief.covariance - columns @ factor.solve(columns.T)
    return JointGaussian(mean, (covariance + covariance.T) / 2)


def distill_data(gram, y, noise_variances: Sequence[float]) -> list[JointGaussian]:
    """Data-centric distillation: each round fits a fresh GP to the previous posterior mean.

    y_0 = y; round t fits noise g_t to (X, y_{t-1}) and passes on y_t = K (K + g_t I)^-1 y_{t-1}.
    The mean is ridge distillation without the truth; the covariance is always that of one fit.

    Parameters: gram (N, N) over training and new points; y (n,), n <= N; noise_variances, g_t > 0,
    one a round (one round is the ordinary posterior). Returns the posterior of every round.
    Cost: O(rounds (n^3 + N^2 n)).
    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)
    """
    prior = gp_prior(gram)
    targets = _observed(prior, y)
    rounds = []
    for g in as_vector("noise_variances", noise_variances):
        rounds.append(condition(prior, targets, g))
        targets = rounds[-1].mean[: targets.size]
    return rounds


def distill_distribution(gram, y, noise_variances: Sequence[float]) -> list[JointGaussian]:
    """Distribution-centric distillation: each round's posterior is the next round's prior.

    The same labels are conditioned on again and again, so t rounds are one GP regression with the
    noise ``combined_noise(noise_variances)``: it ends up sure of the noise it has seen.

    Parameters, returns and cost: as distill_data.
    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)
    """
    belief = gp_prior(gram)
    y = _observed(belief, y)
    rounds = []
    for g in as_vector("noise_variances", noise_variances):
        belief = condition(belief, y, g)
        rounds.append(belief)
    return rounds


def combined_noise(noise_variances: Sequence[float]) -> float:
    """Return g with 1/g = sum_t 1/g_t: t equal rounds act like one with noise g/t.

    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)

    >>> combined_noise([0.2, 0.2])
    0.1
    """
    variances = as_vector("noise_variances", noise_variances)
    return 1 / float(np.sum([1 / positive("noise_variances", g) for g in variances]))


def coverage(belief: JointGaussian, truth, level: float = 0.95) -> float:
    """Return the share of points where the truth lies in the belief's central ``level`` band.

    Parameters: belief over N points; truth (m,), the noise-free function at the LAST m of them
    (m <= N); level in (0, 1). Cost: O(m).
    """
    truth = as_vector("truth", truth)
    m = truth.size
    if m > belief.mean.size:
        raise ValueError(f"truth must have at most {belief.mean.size} values, got {m}")
    z = ndtri((1 + between("level", level, 1e-12, 1 - 1e-12)) / 2)
    return float(np.mean(np.abs(belief.mean[-m:] - truth) <= z * belief.deviation[-m:]))


def log_continuous_bernoulli_constant(p) -> np.ndarray:
    """Return log C(p), which makes C(p) p^y (1-p)^(1-y) a density of y on [0, 1].

        C(p) = 2 artanh(1 - 2p) / (1 - 2p),   C(1/2) = 2

    Parameters: p (n,), each in (0, 1). Returns (n,). 1 - 2p is exact near p = 1/2, so the quotient
    loses no digits there.
    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)
    """
    p = as_vector("p", p)
    if p.min() <= 0 or p.max() >= 1:
        raise ValueError(f"p must lie strictly between 0 and 1, got {p.min():g} to {p.max():g}")
    u = 1 - 2 * p
    ratio = np.ones_like(u)
    np.divide(np.arctanh(u), u, out=ratio, where=u != 0)
    return np.log(2 * ratio)


LIKELIHOODS = ("bernoulli", "continuous bernoulli")


def expected_target(latent, likelihood: str) -> np.ndarray:
    """Return E[y | f]: sigmoid(f), or for targets in [0, 1] coth(f/2)/2 + 1/2 - 1/f.

    Both likelihoods are exp(y f - A(f)) with A' the mean: a Bernoulli label y in {0, 1}, or a
    continuous Bernoulli label anywhere in [0, 1], p = sigmoid(f).
    Parameters: latent f (n,); likelihood, one of LIKELIHOODS.
    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)
    """
    f = as_vector("latent", latent)
    if one_of("likelihood", likelihood, LIKELIHOODS) == "bernoulli":
        return expit(f)
    series = 0.5 + f / 12 - f**3 / 720 + f**5 / 30240  # the closed form cancels near f = 0
    big = np.where(np.abs(f) < 0.05, 1.0, f)
    return np.where(np.abs(f) < 0.05, series, 0.5 + 0.5 / np.tanh(big / 2) - 1 / big)


def laplace_condition(belief, y, likelihood: str, copies: float = 1.0) -> JointGaussian:
    """Update the belief about latent values with class labels, by Laplace's approximation.

    Newton's method finds the mode of log p(y | f) - (f - m)^T C^-1 (f - m) / 2 at the training
    points; the likelihood is then replaced by a Gaussian of the same curvature W there. The step
    uses B = I + W^1/2 C W^1/2 (Rasmussen and Williams 2006, algorithm 3.1), which is never
    ill-conditioned.

    Parameters: belief over N points; y (n,), targets of the first n, in [0, 1] (0 or 1 for
    "bernoulli"); likelihood, one of LIKELIHOODS; copies > 0, how often each label counts.
    Returns the posterior of the latent values. Raises ValueError also when Newton does not settle.
    Cost: O(iterations n^3 + N^2 n).
    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)
    """
    y = _observed(belief, y)
    n = y.size
    one_of("likelihood", likelihood, LIKELIHOODS)
    copies = positive("copies", copies)
    if y.min() < 0 or y.max() > 1:
        raise ValueError(f"y must lie in [0, 1], got {y.min():g} to {y.max():g}")
    if likelihood == "bernoulli" and np.any((y != 0) & (y != 1)):
        raise ValueError("y must be 0 or 1 for the bernoulli likelihood, got values in between")
    columns, prior_mean = belief.covariance[:, :n], belief.mean[:n]
    dual = np.zeros(n)  # C^-1 (f - m)
    f, value = prior_mean, -np.inf
    for _ in range(100):
        root = np.sqrt(copies * _variance(f, likelihood))
        slope = copies * (y - expected_target(f, likelihood))
        factor = cholesky(root[:, None] * columns[:n] * root, 1.0)
        b = root**2 * (f - prior_mean) + slope
        inner = factor.solve(root * (columns[:n] @ b))
        step = b - root * inner - dual
        # A full Newton step can overshoot where the likelihood is flat: halve until it gains.
        for size in 0.5 ** np.arange(30):
            trial = dual + size * step
            moved = columns[:n] @ trial
            latent = prior_mean + moved
            new = copies * np.sum(_log_likelihood(y, latent, likelihood)) - trial @ moved / 2
            if new >= value - 1e-12 * abs(value):
                break
        gain, dual, f, value = new - value, trial, latent, new
        if abs(gain) < 1e-11 * max(1, abs(value)):
            break
    else:
        raise ValueError("y and belief: the mode was not found in 100 Newton steps")
    root = np.sqrt(copies * _variance(f, likelihood))
    factor = cholesky(root[:, None] * columns[:n] * root, 1.0)
    half = root[:, None] * columns.T
    covariance = belief.covariance - half.T @ factor.solve(half)
    return JointGaussian(belief.mean + columns @ dual, (covariance + covariance.T) / 2)


def class_probability(belief: JointGaussian, likelihood: str = "bernoulli") -> np.ndarray:
    """Return E[y] at the N points, the latent value integrated out by Gauss-Hermite quadrature.

    Parameters: belief over latent values; likelihood, one of LIKELIHOODS. Returns (N,) in (0, 1).
    Cost: O(32 N).
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    latent = belief.mean[:, None] + belief.deviation[:, None] * nodes
    values = expected_target(latent.ravel(), likelihood).reshape(latent.shape)
    return values @ (weights / weights.sum())


def distill_classifier_data(gram, y, rounds: int) -> list[JointGaussian]:
    """Data-centric distillation of a GP classifier: students learn the teacher's probabilities.

    The teacher sees labels 0 and 1; students see numbers between, to which a Bernoulli likelihood
    gives no density, so that they use the continuous Bernoulli. Round 1 is the teacher.

    Parameters: gram (N, N) over training and new points; y (n,) of 0 and 1; rounds >= 1.
    Returns the latent posterior of every round; probabilities: class_probability(belief,
    "bernoulli" for the first, "continuous bernoulli" for the others).
    Cost: O(rounds (n^3 + N^2 n)).
    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)
    """
    prior = gp_prior(gram)
    targets = _observed(prior, y)
    beliefs, likelihood = [], "bernoulli"
    for _ in range(integer("rounds", rounds, low=1)):
        beliefs.append(laplace_condition(prior, targets, likelihood))
        targets = class_probability(beliefs[-1], likelihood)[: targets.size]
        likelihood = "continuous bernoulli"
    return beliefs


def distill_classifier_distribution(gram, y, rounds: int) -> list[JointGaussian]:
    """Distribution-centric distillation of a GP classifier: the posterior becomes the prior.

    Close to seeing every label ``rounds`` times at once: laplace_condition(gp_prior(gram), y,
    "bernoulli", copies=rounds).
    Parameters, returns and cost: as distill_classifier_data.
    Paper: self-distillation-for-gaussian-process (Borup and Andersen 2023, arXiv:2304.02641)
    """
    beliefs = [gp_prior(gram)]
    for _ in range(integer("rounds", rounds, low=1)):
        beliefs.append(laplace_condition(beliefs[-1], y, "bernoulli"))
    return beliefs[1:]


def two_moons(n: int, noise: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """Draw two interleaved half circles of radius 1.

    Parameters: n >= 2 points, half of them (rounded up) on the upper moon; noise >= 0, the standard
    deviation added to both coordinates; rng, a Generator or an int seed.
    Returns points (n, 2), in random order, and labels (n,), 0 (upper) or 1.
    """
    n, noise, rng = integer("n", n, low=2), nonnegative("noise", noise), as_rng(rng)
    labels = (np.arange(n) >= (n + 1) // 2).astype(float)
    angle = np.pi * rng.random(n)
    upper = np.column_stack([np.cos(angle), np.sin(angle)])
    points = np.where(labels[:, None] == 0, upper, [1.0, 0.5] - upper)
    points = points + noise * rng.standard_normal((n, 2))
    order = rng.permutation(n)
    return points[order], labels[order]


def _observed(belief: JointGaussian, y) -> np.ndarray:
    y = as_vector("y", y)
    if y.size > belief.mean.size:
        raise ValueError(f"y must have at most {belief.mean.size} values, got {y.size}")
    return y


def _log_likelihood(y, f, likelihood: str) -> np.ndarray:
    """Return log p(y | f) = y f - A(f)."""
    if likelihood == "bernoulli":
        return y * f + log_expit(-f)
    # A(f) = f/2 + log(sinh(|f|/2) / (|f|/2)), with the exponentials arranged not to overflow.
    x = np.maximum(np.abs(f), 1e-3)
    large = x / 2 + np.log1p(-np.exp(-x)) - np.log(x)
    return (y - 0.5) * f - np.where(np.abs(f) < 1e-3, f**2 / 24, large)


def _variance(f, likelihood: str) -> np.ndarray:
    """Return A''(f), the variance of y given f: the curvature W of Laplace's approximation."""
    if likelihood == "bernoulli":
        return expit(f) * expit(-f)
    x = np.maximum(np.abs(f), 0.05)
    large = 1 / x**2 - np.exp(-x) / np.expm1(-x) ** 2
    return np.where(np.abs(f) < 0.05, 1 / 12 - f**2 / 240 + f**4 / 6048, large)


# ------------------------------------------------------------------------------------------------
# 4. Linear estimators of bounded bias
# ------------------------------------------------------------------------------------------------

BIAS_NORMS = ("spectral", "frobenius", "nuclear")


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """y = X b + e in the coordinates of the singular value decomposition X = U diag(s) V^T.

    Attributes: design X (n, d); coefficients b (d,); y (n,); noise, the standard deviation of e;
    left U (n, d), singular_values s (d,), right V (d, d); target V^T b (d,).
    """

    design: np.ndarray
    coefficients: np.ndarray
    y: np.ndarray
    noise: float
    left: np.ndarray = field(init=False)
    singular_values: np.ndarray = field(init=False)
    right: np.ndarray = field(init=False)
    target: np.ndarray = field(init=False)

    def __post_init__(self):
        left, singular_values, right = np.linalg.svd(self.design, full_matrices=False)
        for name, value in (
            ("left", left),
            ("singular_values", singular_values),
            ("right", right.T),
            ("target", right @ self.coefficients),
        ):
            object.__setattr__(self, name, value)


def power_law_problem(
    n: int, d: int, decay: float, growth: float, noise: float, rng
) -> LinearProblem:
    """Draw a Gaussian design with covariance eigenvalues i^-decay and a target <v_i, b> ~ i^growth.

    v_i are the design's own right singular vectors, strongest first: growth < 0 puts the target
    along the strong directions, growth = 0 spreads it evenly (ridge's home ground), growth > 0
    hides it in the weak ones. It is scaled so that the signal has mean square 1 on the rows, which
    makes ``noise`` comparable between problems; the signs are random.

    Parameters: n rows >= d; d columns >= 1; decay >= 0; growth; noise > 0, a standard deviation;
    rng, a Generator or an int seed. Returns a LinearProblem. Cost: O(n d^2).
    Paper: flat-minima-in-linear-estimation (Segert 2023, arXiv:2311.11093)
    """
    d = integer("d", d, low=1)
    n = integer("n", n, low=d)
    decay, growth = nonnegative("decay", decay), between("growth", growth, -50, 50)
    noise, rng = positive("noise", noise), as_rng(rng)
    index = np.arange(1.0, d + 1)
    design = rng.standard_normal((n, d)) * index ** (-decay / 2)
    _, singular_values, right = np.linalg.svd(design, full_matrices=False)
    target = index**growth * rng.choice([-1.0, 1.0], d)
    target *= np.sqrt(n / np.sum((singular_values * target) ** 2))
    coefficients = right.T @ target
    y = design @ coefficients + noise * rng.standard_normal(n)
    return LinearProblem(design, coefficients, y, noise)


def ideal_weights(problem: LinearProblem) -> np.ndarray:
    """Return the (d,) weights no filter can beat, which need the truth to compute.

    w_i = s_i^2 <v_i,b>^2 / (s_i^2 <v_i,b>^2 + noise^2): keep a direction as far as its signal
    exceeds the noise. Ridge has this shape when all <v_i,b>^2 are equal, uniform shrinkage when all
    s_i^2 <v_i,b>^2 are.
    """
    signal = (problem.singular_values * problem.target) ** 2
    return signal / (signal + positive("problem.noise", problem.noise) ** 2)


def schatten_norm(bias, norm: str) -> float:
    """Return the norm of a bias operator with singular values |bias|.

    "spectral": the largest; "frobenius": root of the sum of squares; "nuclear": the sum.
    Parameters: bias (d,); norm, one of BIAS_NORMS.
    """
    size = np.abs(as_vector("bias", bias))
    return float(
        {
            "spectral": size.max,
            "frobenius": lambda: np.sqrt(size @ size),
            "nuclear": size.sum,
        }[one_of("norm", norm, BIAS_NORMS)]()
    )


def bounded_bias_weights(singular_values, bias_bound: float, norm: str) -> np.ndarray:
    """Return the weights w of the least-variance estimator whose bias is at most ``bias_bound``.

    The estimator is L = V diag(w / s) U^T, its bias operator L X - I = -V diag(1 - w) V^T, and
    w minimises tr(L L^T) = sum w_i^2 / s_i^2 subject to ||1 - w|| <= bias_bound:

        spectral   w_i = 1 - bound                 (uniform shrinkage)
        frobenius  w_i = s_i^2 / (s_i^2 + lam)     (ridge regression)
        nuclear    w_i = min(1, s_i^2 / lam)       (clipped shrinkage)

    with lam such that the bound is met. bias_bound = 0 gives least squares (Gauss and Markov).

    Parameters: singular_values s (d,), > 0; bias_bound >= 0; norm, one of BIAS_NORMS.
    Returns w (d,) in [0, 1]. Cost: O(d) per step of a root finder.
    Paper: flat-minima-in-linear-estimation (Segert 2023, arXiv:2311.11093)
    """
    power = _as_singular_values(singular_values) ** 2
    bias_bound = nonnegative("bias_bound", bias_bound)
    d = power.size
    one_of("norm", norm, BIAS_NORMS)
    if bias_bound == 0:
        return np.ones(d)
    if bias_bound >= schatten_norm(np.ones(d), norm):
        return np.zeros(d)
    if norm == "spectral":
        return uniform_shrinkage_profile(power, bias_bound)
    profile = ridge_profile if norm == "frobenius" else clipped_shrinkage_profile

    def excess(log_penalty):
        return schatten_norm(1 - profile(power, np.exp(log_penalty)), norm) - bias_bound

    low, high = np.log(power.min()) - 60, np.log(power.max()) + 60
    if excess(low) >= 0:  # a bound so small that rounding hides it
        return np.ones(d)
    if excess(high) <= 0:
        return np.zeros(d)
    return profile(power, np.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-14)))


def weight_path(singular_values, norm: str, size: int = 200) -> np.ndarray:
    """Return weights (size, d) of one family from no shrinkage to (nearly) all, for tuning.

    Parameters: singular_values (d,); norm, one of BIAS_NORMS; size >= 2. Cost: O(size d).
    """
    power = _as_singular_values(singular_values) ** 2
    size = integer("size", size, low=2)
    if one_of("norm", norm, BIAS_NORMS) == "spectral":
        return np.repeat(np.linspace(1, 0, size)[:, None], power.size, axis=1)
    penalties = np.geomspace(power.min() * 1e-3, power.max() * 1e3, size)[:, None]
    if norm == "frobenius":
        return power / (power + penalties)
    return np.minimum(1, power / penalties)


def estimator_variance(weights, singular_values, noise: float) -> np.ndarray:
    """Return noise^2 sum w_i^2 / s_i^2 for weights (..., d): the trace of Var(L y)."""
    s = _as_singular_values(singular_values)
    return nonnegative("noise", noise) ** 2 * np.sum((_weights(weights, s) / s) ** 2, axis=-1)


def linear_risk(weights, singular_values, target, noise: float, prediction: bool = False):
    """Return the exact risk E ||L y - b||^2 of weights (..., d), no sampling involved.

        sum_i (1 - w_i)^2 <v_i, b>^2 + noise^2 sum_i w_i^2 / s_i^2

    ``prediction=True`` weighs each direction with s_i^2, which is the risk of X L y for X b.

    Parameters: weights (d,) or (g, d); singular_values s (d,); target V^T b (d,); noise >= 0, a
    standard deviation. Returns a float or (g,). Cost: O(g d).
    Paper: flat-minima-in-linear-estimation (Segert 2023, arXiv:2311.11093)
    """
    s = _as_singular_values(singular_values)
    w = _weights(weights, s)
    target = as_vector("target", target, length=s.size)
    noise = nonnegative("noise", noise)
    importance = s**2 if prediction else np.ones_like(s)
    risk = np.sum(importance * (((1 - w) * target) ** 2 + (noise * w / s) ** 2), axis=-1)
    return float(risk) if risk.ndim == 0 else risk


def oracle_risk(problem: LinearProblem, norm: str, prediction: bool = False) -> float:
    """Return the risk of the family's best member, chosen with the truth in hand.

    Parameters: problem; norm, one of BIAS_NORMS; prediction, as in linear_risk. Cost: O(400 d).
    """
    s = problem.singular_values
    path = weight_path(s, norm, 400)
    return float(linear_risk(path, s, problem.target, problem.noise, prediction).min())


def estimate_coefficients(problem: LinearProblem, weights) -> np.ndarray:
    """Return L y = V diag(w / s) U^T y, the (d,) coefficients for weights (d,). Cost: O(n d)."""
    s = problem.singular_values
    return problem.right @ (as_vector("weights", weights, length=s.size) / s * _rotated(problem))


def leave_one_out_weights(problem: LinearProblem, norm: str) -> np.ndarray:
    """Return the family's member with the least leave-one-out error: weights (d,).

    Parameters: problem; norm, one of BIAS_NORMS. Cost: O(200 n d).
    Paper: flat-minima-in-linear-estimation (Segert 2023, arXiv:2311.11093)
    """
    path = weight_path(problem.singular_values, norm)
    return path[np.argmin(leave_one_out(problem.left, path, problem.y))]


def _rotated(problem: LinearProblem) -> np.ndarray:
    return problem.left.T @ problem.y


def _as_singular_values(singular_values) -> np.ndarray:
    s = as_vector("singular_values", singular_values)
    if s.min() <= 0:
        raise ValueError(f"singular_values must be positive, got {s.min():g}")
    return s


def _weights(weights, s: np.ndarray) -> np.ndarray:
    rows = as_matrix("weights", np.atleast_2d(weights), columns=s.size)
    return rows[0] if np.ndim(weights) == 1 else rows


# ------------------------------------------------------------------------------------------------
# 5. Spectrally transformed kernel regression
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PowerSeries:
    """The transform s(l) = sum_p pi_p l^p, p = 1, 2, ...; coefficients (pi_1, ..., pi_P) >= 0."""

    coefficients: tuple[float, ...]

    def __post_init__(self):
        values = as_vector("coefficients", self.coefficients)
        if values.min() < 0 or values.max() == 0:
            raise ValueError(f"coefficients must be >= 0 and not all 0, got {self.coefficients}")

    @property
    def first(self) -> float:
        """pi_1, the share of the base kernel itself."""
        return self.coefficients[0]

    def profile(self, eigenvalues) -> np.ndarray:
        """Return s(l)."""
        eigenvalues = _as_eigenvalues(eigenvalues)
        return self.first * eigenvalues + eigenvalues**2 * self.tail_profile(eigenvalues)

    def tail_profile(self, eigenvalues) -> np.ndarray:
        """Return sum_{p >= 2} pi_p l^(p-2)."""
        return np.polyval(self.coefficients[:0:-1] or (0.0,), eigenvalues)

    def apply_tail(self, average_gram: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Return [sum_{p >= 2} pi_p A^(p-2)] block by Horner's rule: P - 2 products with A."""
        result = np.zeros_like(block)
        for weight in self.coefficients[:0:-1]:
            result = average_gram @ result + weight * block
        return result


@dataclass(frozen=True)
class InverseLaplacian:
    """The transform s(l) = l / (1 - eta l) = l + eta l^2 + eta^2 l^3 + ..., with eta < 1 / l_1."""

    eta: float
    tolerance: float = 1e-12

    def __post_init__(self):
        nonnegative("eta", self.eta)
        positive("tolerance", self.tolerance)

    @property
    def first(self) -> float:
        """pi_1 = 1."""
        return 1.0

    def profile(self, eigenvalues) -> np.ndarray:
        """Return s(l)."""
        eigenvalues = _as_eigenvalues(eigenvalues)
        _check_below(self.eta, eigenvalues.max())
        return eigenvalues / (1 - self.eta * eigenvalues)

    def tail_profile(self, eigenvalues) -> np.ndarray:
        """Return sum_{p >= 2} eta^(p-1) l^(p-2) = eta / (1 - eta l)."""
        _check_below(self.eta, np.max(eigenvalues))
        return self.eta / (1 - self.eta * eigenvalues)

    def apply_tail(self, average_gram: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Return eta (I - eta A)^-1 block by Richardson's iteration."""
        return self.eta * inverse_laplacian_solve(average_gram, block, self.eta, self.tolerance)[0]


def inverse_laplacian_solve(average_gram, block, eta: float, tolerance: float = 1e-12):
    """Solve (I - eta A) v = block by v <- block + eta A v, which only multiplies by A.

    Richardson's iteration: the error shrinks by eta l_1 a step (l_1 the largest eigenvalue of A),
    so the number of steps grows like 1 / (1 - eta l_1). No power of A is ever formed.

    Parameters: average_gram A (N, N); block (N,) or (N, q); eta in [0, 1 / l_1); tolerance > 0, on
    the residual relative to each column of block.
    Returns v, shaped like block, and the number of steps. Cost: O(N^2 q) a step.
    Paper: spectrally-transformed-kernel-regression (Zhai et al. 2024, arXiv:2402.00645)
    """
    average_gram = symmetric("average_gram", average_gram)
    eta, tolerance = nonnegative("eta", eta), positive("tolerance", tolerance)
    _check_below(eta, largest_eigenvalue(average_gram))
    if np.shape(block)[:1] != (len(average_gram),):
        raise ValueError(f"block must have {len(average_gram)} rows, got shape {np.shape(block)}")
    solution = richardson(
        lambda v: v - eta * (average_gram @ v), block, tolerance=tolerance, max_iterations=200_000
    )
    if solution.reason != "converged":
        raise ValueError(f"eta is too close to 1 / (largest eigenvalue) to iterate, got {eta:g}")
    return solution.x, len(solution.residuals) - 1


def largest_eigenvalue(matrix) -> float:
    """Return the largest eigenvalue of a symmetric matrix (N, N), by Lanczos when N is large."""
    matrix = symmetric("matrix", matrix)
    if len(matrix) < 32:
        return float(np.linalg.eigvalsh(matrix)[-1])
    start = np.ones(len(matrix))
    return float(eigsh(matrix, k=1, which="LA", v0=start, return_eigenvectors=False)[0])


@dataclass(frozen=True, eq=False)
class TransformedFit:
    """A fitted transformed-kernel regression.

    labelled (n,) indices; dual a (n,); lifted (N,), the part of the weights that reaches new points
    through the unlabelled ones; fitted (N,), the transductive predictions at all N points.
    """

    labelled: np.ndarray
    first: float
    dual: np.ndarray
    lifted: np.ndarray
    fitted: np.ndarray

    def predict(self, cross_gram) -> np.ndarray:
        """Return inductive predictions (m,) at points never seen, cross_gram (m, N).

        f(x) = pi_1 k_lab(x)^T a + k(x)^T lifted / N. Cost: O(m N).
        """
        cross_gram = as_matrix("cross_gram", cross_gram, columns=self.lifted.size)
        through = cross_gram @ self.lifted / self.lifted.size
        return self.first * (cross_gram[:, self.labelled] @ self.dual) + through


def fit_transformed(
    gram, labelled, y, transform: PowerSeries | InverseLaplacian, ridge: float, eigensystem=None
) -> TransformedFit:
    """Ridge regression with the kernel sum_i s(l_i) psi_i(x) psi_i(z), eigenpairs from all points.

    With A = G/N over N labelled and unlabelled points, the transformed Gram matrix is N s(A); its
    labelled columns are pi_1 G_lab + A T with T = [sum_{p>=2} pi_p A^(p-2)] G_lab, and

        a = (G_s[lab, lab] + n ridge I)^-1 y,   f = G_s[:, lab] a.

    Parameters
    ----------
    gram : (N, N), base kernel of all points
    labelled : (n,), indices of the labelled ones
    y : (n,), their targets
    transform : PowerSeries or InverseLaplacian
    ridge : > 0, the penalty is n ridge
    eigensystem : (eigenvalues, eigenvectors) of gram/N if at hand; without it T comes from
        products with A alone (Horner or Richardson)

    Returns: a TransformedFit. Cost: O(steps N^2 n), or O(N^2 n) with the eigensystem.
    Paper: spectrally-transformed-kernel-regression (Zhai et al. 2024, arXiv:2402.00645)
    """
    gram = symmetric("gram", gram)
    labelled = _as_indices("labelled", labelled, len(gram))
    y = as_vector("y", y, length=labelled.size)
    ridge = positive("ridge", ridge)
    columns = np.ascontiguousarray(gram[:, labelled])
    average = gram / len(gram)
    if eigensystem is None:
        tail = transform.apply_tail(average, columns)
    else:
        eigenvalues, eigenvectors = eigensystem
        eigenvalues = as_vector("eigensystem[0]", eigenvalues, length=len(gram))
        scale = transform.tail_profile(np.maximum(eigenvalues, 0))
        tail = eigenvectors @ (scale[:, None] * (eigenvectors.T @ columns))
    transformed = transform.first * columns + average @ tail
    corner = transformed[labelled]
    factor = cholesky((corner + corner.T) / 2, labelled.size * ridge)
    dual = factor.solve(y)
    return TransformedFit(labelled, transform.first, dual, tail @ dual, transformed @ dual)


def fit_kernel_pca(gram, labelled, y, components: int, eigensystem=None) -> TransformedFit:
    """Least squares on the top eigenfunctions: what to do when no transform s is known.

    psi_i at the N points is sqrt(N) u_i, and at a new point k(x)^T u_i / (sqrt(N) l_i).

    Parameters: gram (N, N); labelled (n,) indices; y (n,); components in 1..N (more than n makes
    the least-squares solution the smallest one). Returns a TransformedFit (dual weights 0).
    Raises ValueError also when an asked component has no variance. Cost: O(N^3 + n components^2).
    Paper: spectrally-transformed-kernel-regression (Zhai et al. 2024, arXiv:2402.00645)
    """
    gram = symmetric("gram", gram)
    n_points = len(gram)
    labelled = _as_indices("labelled", labelled, n_points)
    y = as_vector("y", y, length=labelled.size)
    components = integer("components", components, low=1, high=n_points)
    if eigensystem is None:
        eigensystem = kernel_eigensystem(gram)
    eigenvalues, eigenvectors = (part[..., :components] for part in eigensystem)
    if eigenvalues[-1] <= n_points * np.finfo(float).eps * eigenvalues[0]:
        raise ValueError(f"components must be at most the rank of gram, got {components}")
    features = np.sqrt(n_points) * eigenvectors
    weights = lstsq(features[labelled], y, check_finite=False)[0]
    lifted = features @ (weights / eigenvalues)
    return TransformedFit(labelled, 0.0, np.zeros(labelled.size), lifted, features @ weights)


def _check_below(eta: float, top: float) -> None:
    if eta * top >= 1:
        raise ValueError(
            f"eta must be below 1 / (largest eigenvalue of K/N) = {1 / top:.4g}, got {eta:.6g}"
        )


def _as_indices(name: str, value, n: int) -> np.ndarray:
    indices = np.asarray(value)
    if indices.ndim != 1 or indices.size == 0 or indices.dtype.kind not in "iu":
        raise ValueError(f"{name} must be a vector of integers, got shape {indices.shape}")
    if indices.min() < 0 or indices.max() >= n:
        raise ValueError(f"{name} must lie in 0..{n - 1}, got {indices.min()} to {indices.max()}")
    if np.unique(indices).size != indices.size:
        raise ValueError(f"{name} must not name a point twice, got {indices.tolist()}")
    return indices


# ------------------------------------------------------------------------------------------------
# 6. The exact error of a filter on the circle
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Circle:
    """A regression problem on N equispaced points of the circle, folded onto its N frequencies.

    Harmonics l and l + N look alike on the grid. For each k = 0..N-1, summed over l = k mod N:
    eigenvalues lam_hat = sum lam_l (the eigenvalues of K/N); energy S0 = sum c_l^2;
    aligned S1 = sum lam_l c_l^2; leakage S2 = sum lam_l^2. noise_variance is sigma^2.
    """

    eigenvalues: np.ndarray
    energy: np.ndarray
    aligned: np.ndarray
    leakage: np.ndarray
    noise_variance: float


@compiled("void(float64[::1], float64[::1], int64, float64[:,::1])")
def _fold(eigenvalues, energy, first, out):
    """Add lam, c^2, lam c^2 and lam^2 of every harmonic to the rows of its bin (l mod N)."""
    n = out.shape[0]
    k = first % n  # 0 <= k < n, also for a negative first harmonic
    for i in range(eigenvalues.size):
        lam, c2 = eigenvalues[i], energy[i]
        out[k, 0] += lam
        out[k, 1] += c2
        out[k, 2] += lam * c2
        out[k, 3] += lam * lam
        k += 1
        if k == n:
            k = 0


def fold_circle(eigenvalues, energy, n: int, noise_variance: float) -> Circle:
    """Fold the 2J+1 harmonics l = -J..J of kernel and target onto N equispaced points.

    Parameters: eigenvalues lam_l (2J+1,) > 0 of the kernel sum_l lam_l exp(i l (x - z)); energy
    c_l^2 (2J+1,) >= 0 of the target; n = N >= 1 points; noise_variance sigma^2 >= 0.
    Returns a Circle. Raises ValueError for an even number of harmonics, or too few to give every
    bin an eigenvalue. Cost: O(J + N).
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    eigenvalues, energy, n = _harmonics(eigenvalues, energy, n)
    out = np.zeros((n, 4))
    _fold(eigenvalues, energy, -(eigenvalues.size // 2), out)
    lam_hat, s0, s1, s2 = np.ascontiguousarray(out.T)
    return Circle(lam_hat, s0, s1, s2, nonnegative("noise_variance", noise_variance))


def power_laws(smoothness: float, target_smoothness: float, n: int, per_bin: int = 20):
    """Return kernel eigenvalues (1+|l|)^-nu and target energies (1+|l|)^-(kappa+1), |l| <= J.

    Parameters: smoothness nu > 1; target_smoothness kappa > 0; n points; per_bin >= 1, harmonics
    per bin, so that J = n per_bin / 2. Returns two arrays of shape (2J+1,).
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    half = integer("n", n, low=1) * integer("per_bin", per_bin, low=2) // 2
    if not positive("smoothness", smoothness) > 1:
        raise ValueError(f"smoothness must be above 1, got {smoothness}")
    positive("target_smoothness", target_smoothness)
    order = 1.0 + np.abs(np.arange(-half, half + 1))
    return order**-smoothness, order ** -(target_smoothness + 1)


@dataclass(frozen=True, eq=False)
class Wave:
    """A real function on the circle, f(x) = Re sum_{l=0}^{J} c_l exp(2 pi i l x).

    coefficients (J+1,), complex; positions are in turns, so that x and x + 1 are the same place.
    """

    coefficients: np.ndarray

    def __call__(self, x) -> np.ndarray:
        """Return f at the positions x (m,). Cost: O(m J)."""
        turns = np.outer(as_vector("x", x), np.arange(self.coefficients.size))
        return (np.exp(2j * np.pi * turns) @ self.coefficients).real


def random_wave(energy, rng) -> Wave:
    """Draw phases for a target with energies c_l^2 (2J+1,), l = -J..J, as power_laws gives them.

    Parameters: energy >= 0, the same for l and -l; rng, a Generator or an int seed. Cost: O(J).
    """
    energy, _, _ = _harmonics(energy, energy, 1, positive_eigenvalues=False)
    half = energy.size // 2
    size = np.sqrt(energy[half:]) * np.where(np.arange(half + 1) > 0, 2, 1)
    phases = np.exp(2j * np.pi * as_rng(rng).random(half + 1))
    phases[0] = 1  # the constant of a real function is real
    return Wave(size * phases)


def fit_wave(x, y, orders: int) -> Wave:
    """Return the least-squares wave of frequencies 0..orders through (x, y), both (n,).

    Raises ValueError when n < 2 orders + 1. Cost: O(n orders^2).
    """
    x = as_vector("x", x)
    y = as_vector("y", y, length=x.size)
    orders = integer("orders", orders, low=0, high=(x.size - 1) // 2)
    angles = 2 * np.pi * np.outer(x, np.arange(orders + 1))
    weights = lstsq(np.hstack([np.cos(angles), np.sin(angles[:, 1:])]), y, check_finite=False)[0]
    sines = np.concatenate([[0.0], weights[orders + 1 :]])
    return Wave(weights[: orders + 1] - 1j * sines)


def circle_gram(x, z, eigenvalues) -> np.ndarray:
    """Return K[i, j] = sum_l lam_l cos(2 pi l (x_i - z_j)), a kernel given by its spectrum.

    Parameters: x (n,) and z (m,), positions in turns; eigenvalues lam_l > 0 (2J+1,), l = -J..J, the
    same for l and -l. Returns (n, m). Cost: O((n + m) J + n m J).
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    x, z = as_vector("x", x), as_vector("z", z)
    eigenvalues, _, _ = _harmonics(eigenvalues, eigenvalues, 1)
    half = eigenvalues.size // 2
    size = np.sqrt(eigenvalues[half:] * np.where(np.arange(half + 1) > 0, 2, 1))
    # cos(a - b) = cos a cos b + sin a sin b: one product of two thin matrices.
    left, right = (_cosines_and_sines(points, size) for points in (x, z))
    return left @ right.T


def _cosines_and_sines(points: np.ndarray, size: np.ndarray) -> np.ndarray:
    angles = 2 * np.pi * np.outer(points, np.arange(size.size))
    return np.hstack([size * np.cos(angles), size * np.sin(angles)])


def circle_loss_parts(circle: Circle, h) -> tuple[np.ndarray, np.ndarray]:
    """Return what each of the N frequencies adds to the expected loss of profile values h.

    With r = h / lam_hat: the signal not recovered (or misplaced by aliasing), S0 - 2 r S1 +
    r^2 S2 S0, and the noise let through, r^2 S2 sigma^2 / N.

    Parameters: circle; h (N,), the profile at circle.eigenvalues. Returns two (N,) arrays; the sum
    of all entries is the loss. Cost: O(N).
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    r = _profile_values(h, circle.eigenvalues) / circle.eigenvalues
    signal = circle.energy * (1 + r**2 * circle.leakage) - 2 * r * circle.aligned
    return signal, r**2 * circle.leakage * circle.noise_variance / circle.eigenvalues.size


def circle_loss(circle: Circle, h) -> float:
    """Return the exact expected squared error of the filter h, averaged over shifts of the grid.

        E[h] = sum_k S0 - 2 (h / lam_hat) S1 + (h / lam_hat)^2 S2 (S0 + sigma^2 / N)

    Parameters: circle; h (N,). Cost: O(N).
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    signal, noise = circle_loss_parts(circle, h)
    return float(np.sum(signal + noise))


def optimal_profile(circle: Circle) -> np.ndarray:
    """Return the (N,) profile no filter can beat: h* = lam_hat S1 / (S2 (S0 + sigma^2 / N)).

    The loss is a separate parabola in every h_k, and h* is each one's lowest point. A frequency
    with neither target nor noise gets 0.
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    price = circle.leakage * (circle.energy + circle.noise_variance / circle.eigenvalues.size)
    gain = circle.eigenvalues * circle.aligned
    return np.divide(gain, price, out=np.zeros_like(gain), where=price > 0)


def by_frequency(values) -> np.ndarray:
    """Add the bins k and N-k, which are one frequency: (N,) -> (N//2 + 1,) for |l| = 0..N//2."""
    values = as_vector("values", values)
    n = values.size
    folded = np.zeros(n // 2 + 1)
    np.add.at(folded, np.minimum(np.arange(n), n - np.arange(n)), values)
    return folded


CIRCLE_METHODS = ("ridge", "gradient flow", "truncation")


def circle_profile(circle: Circle, method: str, strength: float) -> np.ndarray:
    """Return a method's profile at the circle's eigenvalues, all on one scale of strength eta.

    "ridge": l / (l + eta); "gradient flow": 1 - exp(-l / eta); "truncation": 1 where l >= eta.
    Parameters: circle; method, one of CIRCLE_METHODS; strength eta > 0. Cost: O(N).
    """
    one_of("method", method, CIRCLE_METHODS)
    strength = positive("strength", strength)
    if method == "ridge":
        return ridge_profile(circle.eigenvalues, strength)
    if method == "gradient flow":
        return gradient_flow_profile(circle.eigenvalues, 1 / strength)
    return truncation_profile(circle.eigenvalues, strength)


def tuned_circle_loss(circle: Circle, method: str) -> tuple[float, float]:
    """Return the best strength eta of a method and the loss there.

    A scan in log eta from l_N / 1000 to 1000 l_1, then a refinement around its best point.
    Parameters: circle; method, one of CIRCLE_METHODS. Cost: O(100 N).
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    low, high = np.log(circle.eigenvalues.min() / 1e3), np.log(circle.eigenvalues.max() * 1e3)
    grid = np.linspace(low, high, 61)

    def loss(log_strength):
        return circle_loss(circle, circle_profile(circle, method, np.exp(log_strength)))

    losses = [loss(point) for point in grid]
    best = int(np.argmin(losses))
    around = grid[max(best - 1, 0)], grid[min(best + 1, 60)]
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-6})
    if found.fun <= losses[best]:
        return float(np.exp(found.x)), float(found.fun)
    return float(np.exp(grid[best])), float(losses[best])


def learning_curve(
    smoothness: float, target_smoothness: float, noise_variance: float, sizes: Sequence[int], method
) -> np.ndarray:
    """Return the tuned losses of a method ("optimal": of h*) for every number of points.

    Parameters: as power_laws and fold_circle; sizes, integers >= 1; method, one of CIRCLE_METHODS
    or "optimal". Returns (len(sizes),). Cost: O(100 sum of sizes).
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    one_of("method", method, (*CIRCLE_METHODS, "optimal"))
    losses = []
    for n in sizes:
        laws = power_laws(smoothness, target_smoothness, n)
        circle = fold_circle(*laws, n, noise_variance)
        if method == "optimal":
            losses.append(circle_loss(circle, optimal_profile(circle)))
        else:
            losses.append(tuned_circle_loss(circle, method)[1])
    return np.array(losses)


def simulate_circle(eigenvalues, energy, n: int, noise_variance: float, profile, rng) -> float:
    """Draw one shifted grid, phases and noise, fit the filter literally, and return its loss.

    x_j = 2 pi j / N + shift; f = sum_l c_l exp(i (l x + phase_l)), real; fhat = k(x)^T a with a
    from the eigenvectors of the full N x N kernel matrix; loss = sum_l |f_l - fhat_l|^2.

    Parameters: eigenvalues, energy, n, noise_variance as in fold_circle; profile, a function of
    eigenvalues; rng, a Generator or an int seed. Returns a float. Cost: O(N^3 + N J).
    Paper: generalization-error-of-spectral-algorithms (Velikanov et al. 2024, arXiv:2403.11696)
    """
    rng = as_rng(rng)
    n = integer("n", n, low=1)
    points = 2 * np.pi * np.arange(n) / n + rng.uniform(0, 2 * np.pi)
    return _simulate(eigenvalues, energy, points, noise_variance, profile, rng)


def simulate_random_design(eigenvalues, energy, n: int, noise_variance, profile, rng) -> float:
    """Like simulate_circle, at n points drawn uniformly: does the grid's lesson carry over?"""
    rng = as_rng(rng)
    points = rng.uniform(0, 2 * np.pi, integer("n", n, low=1))
    return _simulate(eigenvalues, energy, points, noise_variance, profile, rng)


def _simulate(eigenvalues, energy, points, noise_variance, profile, rng) -> float:
    eigenvalues, energy, n = _harmonics(eigenvalues, energy, points.size)
    deviation = np.sqrt(nonnegative("noise_variance", noise_variance))
    half = eigenvalues.size // 2
    if not np.allclose(eigenvalues, eigenvalues[::-1]) or not np.allclose(energy, energy[::-1]):
        raise ValueError("eigenvalues and energy must be the same for l and -l (a real problem)")
    phases = np.exp(2j * np.pi * rng.random(half + 1))
    phases[0] = rng.choice([-1.0, 1.0])  # the constant harmonic of a real function is real
    target = np.sqrt(energy) * np.concatenate([phases[:0:-1].conj(), phases])
    waves = np.exp(1j * np.outer(points, np.arange(-half, half + 1)))
    gram = ((waves * eigenvalues) @ waves.conj().T).real
    y = (waves @ target).real + deviation * rng.standard_normal(n)
    s = spectrum((gram + gram.T) / 2, y)
    estimate = eigenvalues * (waves.conj().T @ s.dual(profile(s.eigenvalues)))
    return float(np.sum(np.abs(target - estimate) ** 2))


def _harmonics(eigenvalues, energy, n, positive_eigenvalues: bool = True):
    eigenvalues = as_vector("eigenvalues", eigenvalues)
    energy = as_vector("energy", energy, length=eigenvalues.size)
    n = integer("n", n, low=1)
    if eigenvalues.size % 2 == 0:
        raise ValueError(f"eigenvalues must have odd length (l = -J..J), got {eigenvalues.size}")
    if eigenvalues.size < n:
        raise ValueError(f"n must be at most the {eigenvalues.size} harmonics, got {n}")
    if energy.min() < 0 or (positive_eigenvalues and eigenvalues.min() <= 0):
        raise ValueError("eigenvalues must be positive and energy must not be negative")
    return eigenvalues, energy, n


# ------------------------------------------------------------------------------------------------
# 7. Receive beamforming
# ------------------------------------------------------------------------------------------------

CONSTELLATIONS = ("qpsk", "gaussian")


@dataclass(frozen=True, eq=False)
class Snapshots:
    """What an antenna array received: received (L, N) and the symbols sent (L, M), complex."""

    received: np.ndarray
    symbols: np.ndarray


@dataclass(frozen=True, eq=False)
class Covariances:
    """R_x = E x x^H (N, N), R_sx = E s x^H (M, N) and R_s = E s s^H (M, M)."""

    received: np.ndarray
    cross: np.ndarray
    symbols: np.ndarray


def random_channel(n_antennas: int, n_sources: int, rng) -> np.ndarray:
    """Return an (N, M) channel H with independent complex Gaussian entries of mean power 1."""
    n_antennas = integer("n_antennas", n_antennas, low=1)
    n_sources = integer("n_sources", n_sources, low=1)
    return _complex_normal(as_rng(rng), (n_antennas, n_sources))


def antenna_snapshots(
    channel,
    n_snapshots: int,
    noise: float,
    rng,
    constellation: str = "qpsk",
    saturation: float = 0.0,
    impulse_rate: float = 0.0,
    impulse_size: float = 10.0,
) -> Snapshots:
    """Simulate x = amplifier(H s) + v at N antennas.

    Parameters
    ----------
    channel : H (N, M), complex
    n_snapshots : L >= 1
    noise : >= 0, variance of the complex receiver noise v at each antenna (symbols have power 1)
    rng : a Generator or an int seed
    constellation : "qpsk" sends (+-1 +- i)/sqrt(2), "gaussian" complex Gaussian symbols
    saturation : g >= 0; the amplifier turns real and imaginary parts u into tanh(g u)/g (0: linear)
    impulse_rate : in [0, 1], probability of an impulse in one entry of x
    impulse_size : >= 0, its standard deviation

    Returns: Snapshots. Cost: O(L N M).
    Paper: distributionally-robust-receive-beamforming (Wang et al.)
    """
    channel = _as_complex_matrix("channel", channel)
    n_snapshots, rng = integer("n_snapshots", n_snapshots, low=1), as_rng(rng)
    noise, saturation = nonnegative("noise", noise), nonnegative("saturation", saturation)
    rate = between("impulse_rate", impulse_rate, 0, 1)
    size = nonnegative("impulse_size", impulse_size)
    n_antennas, n_sources = channel.shape
    if one_of("constellation", constellation, CONSTELLATIONS) == "qpsk":
        signs = rng.choice([-1.0, 1.0], (2, n_snapshots, n_sources))
        symbols = (signs[0] + 1j * signs[1]) / np.sqrt(2)
    else:
        symbols = _complex_normal(rng, (n_snapshots, n_sources))
    received = symbols @ channel.T
    if saturation > 0:
        received = np.tanh(saturation * received.real) + 1j * np.tanh(saturation * received.imag)
        received /= saturation
    shape = (n_snapshots, n_antennas)
    received = received + np.sqrt(noise) * _complex_normal(rng, shape)
    hit = rng.random(shape) < rate
    return Snapshots(received + hit * size * _complex_normal(rng, shape), symbols)


def sample_covariances(snapshots: Snapshots) -> Covariances:
    """Return the averages of x x^H, s x^H and s s^H over the L snapshots. Cost: O(L N^2)."""
    x, s = _snapshots(snapshots)
    return Covariances(x.T @ x.conj() / len(x), s.T @ x.conj() / len(x), s.T @ s.conj() / len(x))


def channel_covariances(channel, noise: float) -> Covariances:
    """Return the true covariances of a linear array: R_x = H H^H + noise I, R_sx = H^H, R_s = I."""
    channel = _as_complex_matrix("channel", channel)
    identity = np.eye(len(channel))
    return Covariances(
        channel @ channel.conj().T + nonnegative("noise", noise) * identity,
        channel.conj().T,
        np.eye(channel.shape[1]),
    )


def linear_beamformer(covariances: Covariances, loading: float = 0.0) -> np.ndarray:
    """Return W = R_sx (R_x + loading I)^-1, (M, N): s_hat = W x.

    loading = 0 is least squares (or, with the true covariances, the best linear receiver);
    loading > 0 is diagonal loading, optimal against every R_x within loading of the given one.
    A singular R_x (fewer snapshots than antennas) is inverted on its range.
    Parameters: covariances; loading >= 0, a power. Cost: O(N^3).
    Paper: distributionally-robust-receive-beamforming (Wang et al.)
    """
    loading = nonnegative("loading", loading)
    return _beamformer(covariances, lambda power: power + loading)


def threshold_beamformer(covariances: Covariances, floor: float) -> np.ndarray:
    """Return W = R_sx (U max(l, floor) U^H)^-1, (M, N): weak directions of R_x are lifted.

    As a filter this is min(1, l / floor), clipped shrinkage.
    Parameters: covariances; floor > 0, a power. Cost: O(N^3).
    Paper: distributionally-robust-receive-beamforming (Wang et al.)
    """
    floor = positive("floor", floor)
    return _beamformer(covariances, lambda power: np.maximum(power, floor))


def estimate_symbols(beamformer, received) -> np.ndarray:
    """Return W x for every snapshot: beamformer (M, N), received (L, N) -> (L, M)."""
    beamformer = _as_complex_matrix("beamformer", beamformer)
    received = _as_complex_matrix("received", received)
    if received.shape[1] != beamformer.shape[1]:
        raise ValueError(
            f"received must have {beamformer.shape[1]} columns (antennas), "
            f"got shape {received.shape}"
        )
    return received @ beamformer.T


def beamforming_risk(beamformer, covariances: Covariances, loading: float = 0.0) -> float:
    """Return E ||W x - s||^2 = tr(W R_x W^H - 2 Re W R_xs + R_s), worst over a set of R_x.

    The set holds every R_x between R - loading I and R + loading I. Its worst member is R +
    loading I whatever W is, because W D W^H only grows with D: the risk gains loading ||W||_F^2.
    Parameters: beamformer (M, N); covariances; loading >= 0, a power. Cost: O(M N^2).
    Paper: distributionally-robust-receive-beamforming (Wang et al.)
    """
    w = _as_complex_matrix("beamformer", beamformer)
    if w.shape != covariances.cross.shape:
        raise ValueError(f"beamformer must have shape {covariances.cross.shape}, got {w.shape}")
    loading = nonnegative("loading", loading)
    quadratic = np.sum((w @ covariances.received) * w.conj()).real
    cross = np.sum(w * covariances.cross.conj()).real
    return float(
        quadratic
        - 2 * cross
        + np.trace(covariances.symbols).real
        + loading * np.sum(np.abs(w) ** 2)
    )


def stack_reals(values) -> np.ndarray:
    """Return complex (L, N) as real (L, 2N): real parts, then imaginary parts."""
    values = _as_complex_matrix("values", values)
    return np.hstack([values.real, values.imag])


def kernel_beamformer(gram, symbols, loading: float) -> np.ndarray:
    """Return the dual weights (K + L loading I)^-1 S, (L, M), of kernel diagonal loading.

    Diagonal loading of the covariance of phi(x), which may be infinite, written with the kernel.
    Parameters: gram (L, L), kernel of the pilots' stacked snapshots; symbols (L, M), complex;
    loading > 0. Predictions: cross_gram @ weights. Cost: O(L^3).
    Paper: distributionally-robust-receive-beamforming (Wang et al.)
    """
    gram = symmetric("gram", gram)
    symbols = _as_complex_matrix("symbols", symbols)
    same_length("gram", gram, "symbols", symbols)
    factor = cholesky(gram, len(gram) * positive("loading", loading))
    return factor.solve(np.ascontiguousarray(symbols.real)) + 1j * factor.solve(symbols.imag)


def symbol_mse(estimates, symbols) -> float:
    """Return the mean of |s_hat - s|^2 over snapshots and sources, both (L, M) complex."""
    estimates = _as_complex_matrix("estimates", estimates)
    symbols = _as_complex_matrix("symbols", symbols)
    if estimates.shape != symbols.shape:
        raise ValueError(f"estimates must have shape {symbols.shape}, got {estimates.shape}")
    return float(np.mean(np.abs(estimates - symbols) ** 2))


def tune_loading(snapshots: Snapshots, loadings) -> float:
    """Return the loading with the least leave-one-out error on the pilots, no channel needed.

    Parameters: snapshots, the pilots; loadings (g,), candidates > 0.
    Cost: O(L N^2 + g L N M): one singular value decomposition serves every candidate.
    Paper: distributionally-robust-receive-beamforming (Wang et al.)
    """
    x, s = _snapshots(snapshots)
    loadings = as_vector("loadings", loadings)
    positive("loadings", loadings.min())
    basis, values, _ = np.linalg.svd(x, full_matrices=False)
    power = values**2 / len(x)
    errors = leave_one_out(basis, power / (power + loadings[:, None]), s)
    return float(loadings[np.argmin(errors)])


def tune_kernel_loading(gram, symbols, loadings) -> float:
    """Return the kernel loading with the least leave-one-out error on the pilots.

    Parameters: gram (L, L); symbols (L, M), complex; loadings (g,), candidates > 0.
    Cost: O(L^3 + g L^2 M).
    Paper: distributionally-robust-receive-beamforming (Wang et al.)
    """
    loadings = as_vector("loadings", loadings)
    positive("loadings", loadings.min())
    eigenvalues, eigenvectors = kernel_eigensystem(gram)
    return float(
        loadings[
            np.argmin(
                leave_one_out(
                    eigenvectors, eigenvalues / (eigenvalues + loadings[:, None]), symbols
                )
            )
        ]
    )


def _beamformer(covariances: Covariances, lift) -> np.ndarray:
    power, vectors = np.linalg.eigh(covariances.received)
    power = np.maximum(power, 0)
    lifted = lift(power)
    usable = lifted > len(power) * np.finfo(float).eps * max(power[-1], np.finfo(float).tiny)
    inverse = np.zeros_like(lifted)
    inverse[usable] = 1 / lifted[usable]
    return covariances.cross @ (vectors * inverse) @ vectors.conj().T


def _snapshots(snapshots: Snapshots) -> tuple[np.ndarray, np.ndarray]:
    x = _as_complex_matrix("snapshots.received", snapshots.received)
    s = _as_complex_matrix("snapshots.symbols", snapshots.symbols)
    same_length("snapshots.received", x, "snapshots.symbols", s)
    return x, s


def _complex_normal(rng: np.random.Generator, shape) -> np.ndarray:
    """Return complex Gaussian numbers with E |z|^2 = 1."""
    parts = rng.standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]) / np.sqrt(2)
