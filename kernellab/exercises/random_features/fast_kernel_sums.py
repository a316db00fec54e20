"""Exercises of the fast kernel sums lab: greedy interpolation, a tree of counts, heavy and sampled.

Each ships a solution and typical wrong answers; the checkers say what a wrong answer forgets.
"""

from __future__ import annotations

import numpy as np

from kernellab.compute.kernels import Gaussian
from kernellab.lab.exercises import (
    Exercise,
    Refused,
    Wrong,
    call,
    describe,
    expect,
    expect_close,
    expect_shape,
)
from kernellab.methods.random_features.fast_kernel_sums import RadialKernel, tree_counts

# --- 1. Greedy interpolation ----------------------------------------------------------------------


def eim(matrix, tolerance):
    """Return the rows and columns chosen, and the largest residual left."""
    residual, rows, columns = matrix.copy(), [], []
    while np.abs(residual).max() > tolerance:
        r, c = np.unravel_index(np.argmax(np.abs(residual)), residual.shape)
        rows.append(int(r))
        columns.append(int(c))
        residual -= np.outer(residual[:, c], residual[r]) / residual[r, c]
    return rows, columns, np.abs(residual).max()


def _greedy(pick, subtract, stop=lambda residual, tolerance: np.abs(residual).max() <= tolerance):
    """The solution with one of its steps exchanged; never more than 60 rounds."""

    def eim(matrix, tolerance):
        residual, rows, columns = matrix.copy(), [], []
        for _ in range(60):
            if stop(residual, tolerance):
                break
            r, c = pick(residual)
            rows.append(int(r))
            columns.append(int(c))
            residual = subtract(residual, r, c)
        return rows, columns, np.abs(residual).max()

    return eim


def _right_pick(residual):
    return np.unravel_index(np.argmax(np.abs(residual)), residual.shape)


def _right_step(residual, r, c):
    return residual - np.outer(residual[:, c], residual[r]) / residual[r, c]


_signed = _greedy(
    lambda residual: np.unravel_index(np.argmax(residual), residual.shape), _right_step
)
_undivided = _greedy(_right_pick, lambda e, r, c: np.clip(e - np.outer(e[:, c], e[r]), -1e6, 1e6))


def _clears_a_point(residual, r, c):
    residual = residual.copy()
    residual[r, c] = 0.0
    return residual


_one_entry = _greedy(_right_pick, _clears_a_point)


def _mean_error(matrix, tolerance):
    return _greedy(_right_pick, _right_step, lambda e, t: np.abs(e).mean() <= t)(matrix, tolerance)


def _check_eim(candidate):
    rng = np.random.default_rng(0)

    def run(matrix, tolerance, on):
        result = call(candidate, matrix, tolerance, on=on)
        expect(
            isinstance(result, tuple) and len(result) == 3,
            f"{on}, return three things, rows, columns and error; you return {describe(result)}",
        )
        rows, columns, error = result
        expect(
            np.ndim(rows) == 1 and np.shape(rows) == np.shape(columns),
            f"{on}, rows and columns must be lists of the same length",
        )
        expect_shape(error, (), f"{on}, error is one number")
        return np.asarray(rows, int), np.asarray(columns, int), float(error)

    signs = np.outer([1.0, 2.0, -4.0], [3.0, -1.0, 1.0])
    on = "on a matrix of rank 1 whose largest entry is negative"
    rows, columns, error = run(signs, 1e-9, on)
    expect(
        len(rows) == 0 or (rows[0], columns[0]) != (1, 0),
        "the pivot is the entry of largest size; -12 is larger than 6",
    )
    again = len(rows) > 1 and (rows[1], columns[1]) == (rows[0], columns[0])
    expect(
        not again,
        "the entry that was chosen must vanish, and it comes up again: divide the outer product by "
        "the pivot",
    )
    expect(
        len(rows) == 1,
        f"{on}, one point is enough, you choose {len(rows)}: subtract the whole outer product of "
        "the pivot's column and row",
    )
    for rank in (2, 4):
        matrix = rng.standard_normal((12, rank)) @ rng.standard_normal((rank, 9))
        on = f"on a matrix of rank {rank}"
        rows, columns, error = run(matrix, 1e-9, on)
        expect(len(rows) == rank, f"{on}, {rank} points are enough; you choose {len(rows)}")
        expect(error <= 1e-9, f"{on}, the error must be at rounding level, yours is {error:.2g}")

    grid = np.linspace(0, 1, 30)[:, None]
    matrix = RadialKernel("log").gram(grid + 2.0, grid)
    on = "on log |x - y| between two intervals, tolerance 1e-6"
    rows, columns, error = run(matrix, 1e-6, on)
    rebuilt = matrix[:, columns] @ np.linalg.solve(matrix[np.ix_(rows, columns)], matrix[rows])
    worst = np.abs(matrix - rebuilt).max()
    expect(
        worst <= 1e-6 * (1 + 1e-6),
        f"{on}, the largest error is {worst:.2g}: stop when the largest residual is below the "
        "tolerance, not the average one",
    )
    expect_close(error, worst, f"{on}, error must be the largest residual", rtol=1e-3, atol=1e-12)


EIM = Exercise(
    "fast_kernel_sums/eim",
    title="Interpolate where it hurts most",
    task=r"""
    Write `eim(matrix, tolerance)` for kernel values $K(x_i, y_j)$ between two far groups of points.
    Start with the residual $R = K$. As long as its largest entry (in size) is above `tolerance`:
    note its row $r$ and column $c$, and subtract $R_{:c} R_{r:} / R_{rc}$.

    Return `(rows, columns, error)`: two lists of indices in the order of choice, and the largest
    entry of the residual that is left.
    """,
    function="eim",
    check=_check_eim,
    solution=eim,
    wrong=[
        Wrong("forgets the sign", _signed, says="largest size"),
        Wrong("does not divide by the pivot", _undivided, says="divide the outer product"),
        Wrong("clears one entry", _one_entry, says="whole outer product"),
        Wrong("stops at the average", _mean_error, says="not the average one"),
    ],
    hints=[
        "np.unravel_index(np.argmax(np.abs(R)), R.shape) gives the largest entry's row and column.",
        "np.outer(R[:, c], R[r]) / R[r, c] equals R in row r and in column c.",
    ],
)

# --- 2. A tree of counts --------------------------------------------------------------------------


def tree_query(nodes, first, last):
    """Return the number of points in bins first .. last - 1 and how many nodes were added up."""
    bins = len(nodes) // 2
    total, touched = 0.0, 0
    a, b = first + bins, last + bins
    while a < b:
        if a % 2 == 1:
            total, touched, a = total + nodes[a], touched + 1, a + 1
        if b % 2 == 1:
            total, touched, b = total + nodes[b - 1], touched + 1, b - 1
        a, b = a // 2, b // 2
    return total, touched


def _leaves(nodes, first, last):
    bins = len(nodes) // 2
    return nodes[bins + first : bins + last].sum(), last - first


def _includes_the_last(nodes, first, last):
    bins = len(nodes) // 2
    return tree_query(nodes, first, min(last + 1, bins)) if last > first else (0.0, 0)


def _keeps_the_ends(nodes, first, last):
    """Climbs without stepping inwards after a node was added."""
    bins = len(nodes) // 2
    total, touched = 0.0, 0
    a, b = first + bins, last + bins
    while a < b:
        if a % 2 == 1:
            total, touched = total + nodes[a], touched + 1
        if b % 2 == 1:
            total, touched = total + nodes[b - 1], touched + 1
        a, b = a // 2, b // 2
    return total, touched


def _only_the_left(nodes, first, last):
    bins = len(nodes) // 2
    total, touched = 0.0, 0
    a, b = first + bins, last + bins
    while a < b:
        if a % 2 == 1:
            total, touched, a = total + nodes[a], touched + 1, a + 1
        a, b = a // 2, b // 2
    return total, touched


def _check_tree_query(candidate):
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 50, 16).astype(float)
    nodes = tree_counts(counts)

    def ask(tree, first, last):
        on = f"for bins {first} to {last - 1} of {len(tree) // 2}"
        result = call(candidate, tree, first, last, on=on)
        expect(
            isinstance(result, tuple) and len(result) == 2,
            f"{on}, return two things, the sum and how many nodes; you return {describe(result)}",
        )
        expect_shape(result[0], (), f"{on}, the sum is one number")
        expect_shape(result[1], (), f"{on}, the number of nodes is one number")
        return float(result[0]), float(result[1])

    for first, last in [(0, 16), (3, 3), (5, 6), (4, 8), (1, 15), (3, 11), (7, 9)]:
        total, touched = ask(nodes, first, last)
        want = counts[first:last].sum()
        longer = counts[first : min(last + 1, 16)].sum()
        expect(
            not (np.isclose(total, longer) and longer != want),
            f"bins {first} to {last} are counted; the interval ends before bin {last}",
        )
        left = _only_the_left(nodes, first, last)[0]
        expect(
            not (np.isclose(total, left) and not np.isclose(left, want)),
            "the right end is forgotten: when b is odd, step left to b - 1 and add that node",
        )
        doubled = _keeps_the_ends(nodes, first, last)[0]
        expect(
            not (np.isclose(total, doubled) and not np.isclose(doubled, want)),
            "a node that was added must not be added again through its parent: step inwards "
            "(a + 1, b - 1) before climbing",
        )
        expect_close(total, want, f"for bins {first} to {last - 1}, the sum", rtol=1e-12)
    total, touched = ask(nodes, 0, 16)
    expect(
        touched == 1,
        f"the whole range is one node, the root; you add {touched:g}, and each brings its noise",
    )
    large = tree_counts(rng.integers(1, 9, 1024).astype(float))
    for _ in range(20):
        first, last = np.sort(rng.integers(0, 1025, 2))
        _, touched = ask(large, int(first), int(last))
        expect(
            touched <= 20,
            f"1024 bins need at most 2 log2(1024) = 20 nodes; you add {touched:g}",
        )


TREE_QUERY = Exercise(
    "fast_kernel_sums/tree_query",
    title="Few nodes, little noise",
    task=r"""
    A binary tree of counts over $B$ bins ($B$ a power of 2) is one array `nodes` of length $2B$:
    the root is `nodes[1]`, the children of $k$ are $2k$ and $2k + 1$, and bin $i$ is
    `nodes[B + i]`. Every node carries its own privacy noise, so an answer should add few of them.

    Write `tree_query(nodes, first, last)` that returns `(total, touched)`: the count in bins
    `first` to `last - 1`, and how many nodes were added, at most $2 \log_2 B$.

    Start with $a = \text{first} + B$ and $b = \text{last} + B$, and climb while $a < b$.
    """,
    function="tree_query",
    check=_check_tree_query,
    solution=tree_query,
    wrong=[
        Wrong("adds the leaves", _leaves, says="one node, the root"),
        Wrong("includes the last bin", _includes_the_last, says="ends before bin"),
        Wrong("counts twice", _keeps_the_ends, says="step inwards"),
        Wrong("forgets the right end", _only_the_left, says="right end is forgotten"),
    ],
    hints=[
        "An odd left end a is a right child; its parent brings too much: add nodes[a], take a + 1.",
        "After both ends are settled, a and b both become their parents: a // 2, b // 2.",
    ],
)

# --- 3. Heavy entries and a sample ----------------------------------------------------------------


def heavy_sample_matvec(gram, x, threshold, draws):
    """Return the estimate of K x: entries >= threshold exactly, the others from drawn columns."""
    heavy = np.where(gram >= threshold, gram, 0.0)
    light = gram - heavy
    chance = x**2 / (x @ x)
    sampled = light[:, draws] @ (x[draws] / chance[draws]) / len(draws)
    return heavy @ x + sampled


def _counts_twice(gram, x, threshold, draws):
    heavy = np.where(gram >= threshold, gram, 0.0)
    chance = x**2 / (x @ x)
    return heavy @ x + gram[:, draws] @ (x[draws] / chance[draws]) / len(draws)


def _no_weights(gram, x, threshold, draws):
    heavy = np.where(gram >= threshold, gram, 0.0)
    return heavy @ x + (gram - heavy)[:, draws] @ x[draws] * len(x) / len(draws)


def _no_average(gram, x, threshold, draws):
    heavy = np.where(gram >= threshold, gram, 0.0)
    chance = x**2 / (x @ x)
    return heavy @ x + (gram - heavy)[:, draws] @ (x[draws] / chance[draws])


def _drops_the_light(gram, x, threshold, draws):
    return np.where(gram >= threshold, gram, 0.0) @ x


def _check_heavy(candidate):
    rng = np.random.default_rng(2)
    keys = rng.uniform(0, 3, (7, 1))
    gram = Gaussian(0.4).gram(keys)
    x = rng.standard_normal(7)
    chance, exact = x**2 / (x @ x), gram @ x
    two = np.array([0, 4])

    def run(threshold, draws, on):
        got = call(candidate, gram, x, threshold, draws, on=on)
        expect_shape(got, (7,), f"{on}, there is one sum a query")
        return np.asarray(got, float)

    got = run(2.0, two, "with a threshold that no entry reaches")
    expect(np.abs(got).max() > 0, "the light entries are dropped: estimate them from the draws")
    expect(
        not np.allclose(got, _no_weights(gram, x, 2.0, two)),
        "columns are drawn in proportion to x_j^2, not evenly: divide each by its own chance "
        "p_j = x_j^2 / ||x||^2",
    )
    expect(
        not np.allclose(got, _no_average(gram, x, 2.0, two)),
        "each draw estimates the whole sum: average over the draws, divide by their number",
    )
    expect_close(got, heavy_sample_matvec(gram, x, 2.0, two), "pure sampling", rtol=1e-7)
    got = run(0.0, two, "with threshold 0")
    expect(
        not np.allclose(got, _counts_twice(gram, x, 0.0, two)),
        "an entry that was added exactly must be left out of the sample, or it counts twice",
    )
    expect_close(got, exact, "with threshold 0 every entry is heavy and the answer exact")
    mean = sum(chance[j] * run(0.3, np.array([j]), f"with the single draw {j}") for j in range(7))
    expect_close(mean, exact, "averaged over all single draws, with their chances, it must be K x")
    if np.allclose(run(0.3, two, "with threshold 0.3"), exact):
        raise Refused(
            "this is the exact product; sum only over the drawn columns and heavy entries"
        )


HEAVY_SAMPLE = Exercise(
    "fast_kernel_sums/heavy_sample_matvec",
    title="Exact where it counts, sampled elsewhere",
    task=r"""
    Write `heavy_sample_matvec(gram, x, threshold, draws)`, an estimate of $Kx$ for the matrix
    `gram`. Entries $K_{ij} \ge$ `threshold` are added exactly. All others are estimated from the
    columns in `draws`, an array of $S$ indices (repeats allowed) that were drawn with chances
    $p_j = x_j^2 / \|x\|^2$: a draw of $j$ stands for $K_{ij} x_j / p_j$.
    """,
    function="heavy_sample_matvec",
    check=_check_heavy,
    solution=heavy_sample_matvec,
    wrong=[
        Wrong("counts heavy entries twice", _counts_twice, says="counts twice"),
        Wrong("forgets the chances", _no_weights, says="divide each by its own chance"),
        Wrong("adds instead of averaging", _no_average, says="average over the draws"),
        Wrong("drops the light entries", _drops_the_light, says="light entries are dropped"),
    ],
    hints=[
        "heavy = np.where(gram >= threshold, gram, 0) and light = gram - heavy split the matrix.",
        "light[:, draws] has one column a draw; weight it by x[draws] / p[draws] and average.",
    ],
)

EXERCISES = [EIM, TREE_QUERY, HEAVY_SAMPLE]
