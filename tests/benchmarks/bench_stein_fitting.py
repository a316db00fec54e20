"""The Stein fitting lab beside its peers: boundary features, a TKSD fit, coupled integrals."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.kernels import Gaussian, InverseMultiquadric
from kernellab.compute.stein import stein_gram
from kernellab.methods.mean_embeddings import stein_fitting as sf


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n, m in ((300, 30), (1000, 100), (3000, 200)):
        yield blocks(n, m)
    for n in (300, 1000):
        yield descent(n)
    for n in (70, 210, 420):
        yield coupled(n)
    for n, tasks in ((100, 5), (300, 5), (300, 10)):
        yield shared(n, tasks)


def colony(n: int, m: int):
    """Sightings, scores of a guess, border points."""
    x = sf.truncated_gaussian(n, [1.3, 1.0], sf.ISLAND, 0)
    return x, np.array([0.5, 0.5]) - x, sf.along_border(sf.ISLAND, m)


def blocks(n: int, m: int) -> Row:
    """Stein features of n points at m border points."""
    x, scores, border = colony(n, m)

    def plain_numpy():
        gap = x[:, None, :] - border
        k = np.exp(-0.5 * np.sum(gap**2, axis=2))
        return np.moveaxis((scores[:, None, :] - gap) * k[:, :, None], 2, 0)

    return Row(
        "boundary blocks",
        f"n={n}, m={m}",
        lambda: sf.boundary_blocks(Gaussian(1.0), x, scores, border),
        {"plain NumPy": plain_numpy},
    )


def descent(n: int) -> Row:
    """The discrepancy of 30 models in turn, as in a descent; the peer forms the pairs each time."""
    x, _, border = colony(n, 40)
    guesses = np.random.default_rng(0).normal(size=(30, 2))

    def ours():
        objective = sf.SteinObjective(Gaussian(1.0), x, boundary=border)
        return np.array([objective.value(guess - x) for guess in guesses])

    def plain_numpy():
        gap = x[:, None, :] - x
        squares = np.sum(gap**2, axis=2)
        k = np.exp(-0.5 * squares)
        reach = x[:, None, :] - border
        k_border = np.exp(-0.5 * np.sum(reach**2, axis=2))
        inner = border[:, None, :] - border
        corner = np.exp(-0.5 * np.sum(inner**2, axis=2)) + 1e-3 * np.eye(len(border))
        values = []
        for guess in guesses:
            s = guess - x
            turn = np.sum((s[:, None, :] - s) * gap, axis=2)
            pairs = (s @ s.T + turn + 2 - squares) * k
            at_border = np.mean((s[:, None, :] - reach) * k_border[:, :, None], axis=0)
            lost = np.sum(at_border * np.linalg.solve(corner, at_border))
            values.append(pairs.mean() - lost)
        return np.array(values)

    return Row("TKSD of 30 models", f"n={n}, m=40", ours, {"plain NumPy": plain_numpy})


def coupled(n: int) -> Row:
    """Two tasks' integrals for 21 couplings; the peer forms its Stein kernel from thinning's."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 1))
    task = np.repeat([0, 1], [n - n // 7, n // 7])
    values = np.sin(3 * x[:, 0]) + 0.1 * task
    couplings = [np.array([[1.0, b], [b, 1.0]]) for b in np.linspace(-0.95, 0.95, 21)]

    def ours():
        tasks = sf.TaskStein(InverseMultiquadric(1.0), x, -x, task)
        return np.array([tasks.fit(values, b, 1e-3).estimates for b in couplings])

    def plain():
        from stein_thinning.kernel import vfk0_imq

        i, j = np.divmod(np.arange(n * n), n)
        base = vfk0_imq(x[i], x[j], -x[i], -x[j], np.eye(1)).reshape(n, n)
        member = np.equal(task[:, None], [0, 1]).astype(float)
        found = []
        for b in couplings:
            matrix = base * b[np.ix_(task, task)] + 1e-3 * np.eye(n)
            solved = np.linalg.solve(matrix, np.column_stack([member, values]))
            found.append(np.linalg.solve(member.T @ solved[:, :2], member.T @ solved[:, 2]))
        return np.array(found)

    return Row("two coupled integrals, 21 b", f"N={n}", ours, {"stein-thinning + NumPy": plain})


def shared(n: int, tasks: int) -> Row:
    """T integrands known at the same n points; the peer solves the stacked system."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2))
    values = np.array([np.sin(x[:, 0] + phase) for phase in rng.random(tasks)])
    coupling = 0.8 * np.ones((tasks, tasks)) + 0.2 * np.eye(tasks)

    def scipy():
        from scipy.linalg import cho_factor, cho_solve

        base = stein_gram(Gaussian(1.0), x, -x)
        factor = cho_factor(np.kron(coupling, base) + 1e-3 * np.eye(n * tasks))
        member = np.repeat(np.eye(tasks), n, axis=0)
        solved = cho_solve(factor, np.column_stack([member, values.ravel()]))
        return np.linalg.solve(member.T @ solved[:, :tasks], member.T @ solved[:, tasks])

    return Row(
        "multi-task block solve",
        f"n={n}, T={tasks}",
        lambda: sf.shared_control(Gaussian(1.0), x, -x, values, coupling, 1e-3),
        {"SciPy": scipy},
    )
