"""The methods of the ridge filters lab written out plainly: literal refits, loops, definitions."""

import numpy as np


def distill(gram, y, ridge, truth_weights):
    """Refit with the full inverse, round by round."""
    n = len(y)
    smoother = gram @ np.linalg.inv(gram + n * ridge * np.eye(n))
    fits = [smoother @ y]
    for alpha in truth_weights:
        fits.append(smoother @ (alpha * y + (1 - alpha) * fits[-1]))
    return np.array(fits)


def distilled_profile(eigenvalues, ridge, rounds, alpha):
    """Add up the terms of the closed form one by one."""
    b = eigenvalues / (eigenvalues + ridge)
    total = (1 - alpha) ** rounds * b**rounds
    for s in range(rounds):
        total = total + alpha * (1 - alpha) ** s * b**s
    return b * total


def gradient_descent(gram, y, steps, step_size):
    """Take the steps."""
    fit = np.zeros(len(y))
    for _ in range(steps):
        fit = fit + step_size * gram / len(y) @ (y - fit)
    return fit


def leave_one_out(gram, y, ridge):
    """Refit n times without one point, the penalty on K held fixed."""
    n = len(y)
    errors = []
    for i in range(n):
        rest = np.arange(n) != i
        system = gram[np.ix_(rest, rest)] + n * ridge * np.eye(n - 1)
        errors.append((y[i] - gram[i, rest] @ np.linalg.solve(system, y[rest])) ** 2)
    return np.mean(errors)


def gp_posterior(gram, y, noise_variance):
    """The textbook formula with explicit inverses."""
    n = len(y)
    gain = gram[:, :n] @ np.linalg.inv(gram[:n, :n] + noise_variance * np.eye(n))
    return gain @ y, gram - gain @ gram[:n]


def linear_risk(design, coefficients, noise, estimator):
    """Bias and variance of an explicit (d, n) estimator matrix L, not its singular values."""
    bias = (estimator @ design - np.eye(design.shape[1])) @ coefficients
    return bias @ bias + noise**2 * np.trace(estimator @ estimator.T)


def transformed_gram(gram, profile):
    """N s(A), straight from the eigenvectors."""
    n = len(gram)
    values, vectors = np.linalg.eigh(gram / n)
    return n * (vectors * profile(np.maximum(values, 0))) @ vectors.T


def fold(eigenvalues, energy, n):
    """Sum over harmonics l = -J..J, one by one, into the bin l mod N."""
    sums = np.zeros((4, n))
    half = len(eigenvalues) // 2
    for i, (lam, c2) in enumerate(zip(eigenvalues, energy, strict=True)):
        sums[:, (i - half) % n] += lam, c2, lam * c2, lam**2
    return sums


def circle_loss(eigenvalues, energy, n, noise_variance, h):
    """The loss formula, bin by bin."""
    lam_hat, s0, s1, s2 = fold(eigenvalues, energy, n)
    total = 0.0
    for k in range(n):
        r = h[k] / lam_hat[k]
        total += s0[k] - 2 * r * s1[k] + r**2 * s2[k] * (s0[k] + noise_variance / n)
    return total


def shifted_circle_loss(eigenvalues, coefficients, n, profile, shift):
    """The loss of one noise-free fit on a shifted grid, by circulant regression on the grid.

    coefficients are the complex c_l; the fit is solved with the discrete Fourier transform of the
    first row of the kernel matrix, no eigensolver.
    """
    half = len(eigenvalues) // 2
    orders = np.arange(-half, half + 1)
    points = 2 * np.pi * np.arange(n) / n + shift
    y = np.exp(1j * np.outer(points, orders)) @ coefficients
    row = np.exp(1j * np.outer(points - points[0], orders)) @ eigenvalues  # k(x_j, x_0)
    circulant = np.fft.fft(row).real  # eigenvalues of K
    dual = np.fft.ifft(profile(circulant / n) / circulant * np.fft.fft(y))
    estimate = eigenvalues * (np.exp(-1j * np.outer(orders, points)) @ dual)
    return np.sum(np.abs(coefficients - estimate) ** 2)


def beamforming_risk(beamformer, channel, noise, rng, draws):
    """Mean squared symbol error by simulation, Gaussian symbols."""

    def normal(*shape):
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)

    symbols = normal(draws, channel.shape[1])
    received = symbols @ channel.T + np.sqrt(noise) * normal(draws, len(channel))
    return np.mean(np.sum(np.abs(received @ beamformer.T - symbols) ** 2, axis=1))
