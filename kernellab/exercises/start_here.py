"""The one small exercise of the start page: it shows how exercises work."""

import numpy as np

from kernellab.lab.exercises import Exercise, Refused, Wrong, call, expect, expect_close


def ridge_weights(gram, y, ridge):
    """Return the weights a of the fit f(x) = sum_i a_i k(x, x_i)."""
    return np.linalg.solve(gram + ridge * np.eye(len(y)), y)


def _no_ridge(gram, y, ridge):
    return np.linalg.lstsq(gram, y, rcond=None)[0]


def _ridge_everywhere(gram, y, ridge):
    return np.linalg.lstsq(gram + ridge, y, rcond=None)[0]


def _fitted_values(gram, y, ridge):
    return gram @ ridge_weights(gram, y, ridge)


def _times_n(gram, y, ridge):
    return ridge_weights(gram, y, len(y) * ridge)


def _check_ridge_weights(candidate):
    gram, y, ridge = np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([1.0, 3.0]), 1.0
    got = call(candidate, gram, y, ridge, on="two points")
    expect(np.shape(got) == (2,), "Two points have two weights: return an array of shape (2,).")
    for wrong, sentence in (
        (_no_ridge, "These weights solve K a = y, without any ridge: they go through all noise."),
        (
            _ridge_everywhere,
            "You add the ridge to every entry of K; it belongs on the diagonal only: K + ridge I.",
        ),
        (_fitted_values, "These are the fitted values K a; return the weights a themselves."),
        (_times_n, "Your ridge is n times too strong: here it is not multiplied by n."),
    ):
        if np.allclose(got, wrong(gram, y, ridge)):
            raise Refused(sentence)
    expect_close(got, ridge_weights(gram, y, ridge), "On two points")
    rng = np.random.default_rng(0)
    for n in (1, 5, 30):
        x = np.sort(rng.uniform(0, 3, n))
        gram = np.exp(-((x[:, None] - x) ** 2))
        y = rng.standard_normal(n)
        got = call(candidate, gram, y, 0.1, on=f"{n} random points")
        expect_close(got, ridge_weights(gram, y, 0.1), f"On {n} random points")


RIDGE_WEIGHTS = Exercise(
    id="start_here/ridge_weights",
    title="The one line inside kernel ridge regression",
    task="""
    Given the Gram matrix `gram` $= K$, shape (n, n), the values `y`, shape (n,), and a number
    `ridge` $= \\eta > 0$, return the weights $a$ that solve $(K + \\eta I)\\,a = y$, shape (n,).
    """,
    function="ridge_weights",
    check=_check_ridge_weights,
    solution=ridge_weights,
    wrong=[
        Wrong("without the ridge", _no_ridge, says="without any ridge"),
        Wrong("the ridge on every entry", _ridge_everywhere, says="on the diagonal only"),
        Wrong("fitted values for weights", _fitted_values, says="the weights a themselves"),
        Wrong("a ridge times n", _times_n, says="n times too strong"),
    ],
    hints=["`np.eye(n)` is the identity matrix $I$.", "`np.linalg.solve(A, b)` solves $A a = b$."],
)

EXERCISES = (RIDGE_WEIGHTS,)
