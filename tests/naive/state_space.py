"""The textbook Kalman filter and Rauch-Tung-Striebel smoother, with all matrices written out."""

import numpy as np
from scipy.linalg import expm
from scipy.stats import norm


def filter_and_smooth(feedback, stationary, measurement, times, y, noise):
    """Return the log likelihood, and smoothed means and variances of f at sorted times."""
    mean, covariance = np.zeros(len(measurement)), stationary
    predicted, filtered, steps, value = [], [], [], 0.0
    for t in range(len(times)):
        a = expm(feedback * (times[t] - times[t - 1])) if t else np.eye(len(measurement))
        driving = stationary - a @ stationary @ a.T
        mean, covariance = a @ mean, a @ covariance @ a.T + (driving if t else 0.0)
        predicted.append((mean, covariance))
        steps.append(a)
        spread = measurement @ covariance @ measurement + noise[t]
        value += norm.logpdf(y[t], measurement @ mean, np.sqrt(spread))
        gain = covariance @ measurement / spread
        mean = mean + gain * (y[t] - measurement @ mean)
        covariance = covariance - spread * np.outer(gain, gain)
        filtered.append((mean, covariance))
    smoothed = [filtered[-1]]
    for t in range(len(times) - 2, -1, -1):
        (m, p), (next_m, next_p) = filtered[t], predicted[t + 1]
        gain = p @ steps[t + 1].T @ np.linalg.pinv(next_p)
        later_m, later_p = smoothed[0]
        smoothed.insert(0, (m + gain @ (later_m - next_m), p + gain @ (later_p - next_p) @ gain.T))
    means = np.array([measurement @ m for m, _ in smoothed])
    return value, means, np.array([measurement @ p @ measurement for _, p in smoothed])
