"""Low-rank approximations against full matrices, plain loops and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.kernel_approximation import Nystroem

from kernellab.compute import iterative, lowrank
from tests.naive import linalg as naive

KERNEL = naive.PlainGaussian(0.5)


def points(n=60, d=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, d))


# Pivoted Cholesky


@pytest.mark.compiled
@pytest.mark.parametrize("rank", [1, 2, 5, 23])
def test_pivoted_cholesky_agrees_with_the_plain_one(rank):
    gram = KERNEL.gram(points())
    factor, pivots, errors = naive.pivoted_cholesky(gram, rank)
    result = lowrank.pivoted_cholesky(gram, rank=rank)
    np.testing.assert_array_equal(result.pivots, pivots)
    np.testing.assert_allclose(result.factor, factor, atol=1e-10)
    np.testing.assert_allclose(result.trace_errors, errors, atol=1e-11)
    rest = np.diagonal(gram - result.factor @ result.factor.T)
    np.testing.assert_allclose(result.residual_diagonal, rest, atol=1e-12)


@pytest.mark.compiled
def test_kernel_and_matrix_give_the_same_factor_over_several_blocks():
    x = points(n=2500)
    from_kernel = lowrank.pivoted_cholesky(KERNEL, x, rank=11)
    from_matrix = lowrank.pivoted_cholesky(KERNEL.gram(x), rank=11)
    np.testing.assert_array_equal(from_kernel.pivots, from_matrix.pivots)
    np.testing.assert_allclose(from_kernel.factor, from_matrix.factor, atol=1e-13)
    assert from_kernel.factor.shape == (2500, 11)
    assert from_kernel.trace_errors.shape == (12,)


@pytest.mark.compiled
def test_it_stops_at_the_numerical_rank():
    x = np.repeat(points(n=5), 4, axis=0)
    result = lowrank.pivoted_cholesky(KERNEL, x, rank=20)
    assert result.rank == 5
    np.testing.assert_allclose(result.factor @ result.factor.T, KERNEL.gram(x), atol=1e-13)
    assert lowrank.pivoted_cholesky(np.zeros((3, 3)), rank=2).factor.shape == (3, 0)
    assert lowrank.pivoted_cholesky([[4.0]], rank=1).factor.tolist() == [[2.0]]


@pytest.mark.compiled
def test_tolerance_is_relative_to_the_trace():
    gram = 100.0 * KERNEL.gram(points())
    result = lowrank.pivoted_cholesky(gram, rank=60, tolerance=0.05)
    assert result.trace_errors[-1] <= 0.05 * result.trace_errors[0] < result.trace_errors[-2]


@pytest.mark.compiled
def test_random_pivots_are_distinct_repeatable_and_valid():
    gram = KERNEL.gram(points())
    first = lowrank.pivoted_cholesky(gram, rank=20, pivots="random", rng=3)
    second = lowrank.pivoted_cholesky(gram, rank=20, pivots="random", rng=3)
    np.testing.assert_array_equal(first.pivots, second.pivots)
    assert len(set(first.pivots)) == 20
    rows = first.factor[first.pivots]
    np.testing.assert_allclose(rows, np.tril(rows), atol=1e-13)
    assert np.all(np.diff(first.trace_errors) < 0)
    assert not np.array_equal(
        first.pivots, lowrank.pivoted_cholesky(gram, rank=20, pivots="random", rng=4).pivots
    )


@pytest.mark.compiled
def test_random_pivots_follow_the_diagonal():
    gram = np.diag([0.0, 1.0, 3.0])
    firsts = [
        lowrank.pivoted_cholesky(gram, rank=1, pivots="random", rng=seed).pivots[0]
        for seed in range(400)
    ]
    assert np.bincount(firsts, minlength=3)[0] == 0
    assert 0.65 < np.mean(np.array(firsts) == 2) < 0.85


@pytest.mark.compiled
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 9999), st.booleans())
def test_what_is_left_is_positive_semidefinite(n, d, seed, repeated):
    x = points(n, d, seed)
    if repeated:
        x = np.round(2 * x)
    gram = KERNEL.gram(x)
    result = lowrank.pivoted_cholesky(KERNEL, x, rank=n)
    rest = gram - result.factor @ result.factor.T
    assert np.linalg.eigvalsh(rest).min() > -1e-10
    assert result.trace_errors[-1] <= 1e-10
    assert len(set(result.pivots)) == result.rank


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"kernel": KERNEL, "rank": 1}, "x must be given"),
        ({"kernel": KERNEL, "x": np.ones(3), "rank": 1}, "x must be a matrix"),
        ({"kernel": "gaussian", "x": np.ones((3, 1)), "rank": 1}, "kernel must have"),
        ({"kernel": np.ones((2, 3)), "rank": 1}, "kernel must be square"),
        ({"kernel": -np.eye(2), "rank": 1}, "positive semidefinite"),
        ({"kernel": np.eye(2), "rank": 3}, "rank"),
        ({"kernel": np.eye(2), "rank": 0}, "rank"),
        ({"kernel": np.eye(2), "rank": 1, "tolerance": -1.0}, "tolerance"),
        ({"kernel": np.eye(2), "rank": 1, "pivots": "largest"}, "pivots"),
        ({"kernel": np.eye(2), "rank": 1, "pivots": "random"}, "rng"),
    ],
)
def test_pivoted_cholesky_refuses_what_does_not_fit(arguments, named):
    with pytest.raises(ValueError, match=named):
        lowrank.pivoted_cholesky(**arguments)


# Nystrom


def test_nystrom_is_the_projection_on_the_landmarks():
    x = points()
    landmarks = x[::6]
    approximation = lowrank.Nystrom(KERNEL, landmarks)
    cross = KERNEL.gram(x, landmarks)
    dense = cross @ np.linalg.pinv(KERNEL.gram(landmarks), rcond=1e-14) @ cross.T
    np.testing.assert_allclose(approximation.gram(x), dense, atol=1e-9)
    np.testing.assert_allclose(approximation.gram(landmarks), KERNEL.gram(landmarks), atol=1e-9)
    np.testing.assert_allclose(approximation.diagonal(x), np.diagonal(dense), atol=1e-9)
    v = np.random.default_rng(0).normal(size=(60, 2))
    np.testing.assert_allclose(
        approximation.matvec(x[:7], x, v), approximation.gram(x[:7], x) @ v, atol=1e-10
    )
    np.testing.assert_allclose(
        approximation.matvec(x[:7], x, v[:, 0]), approximation.gram(x[:7], x) @ v[:, 0], atol=1e-10
    )


def test_nystrom_agrees_with_scikit_learn():
    x = points(d=5)
    peer = Nystroem(kernel="rbf", gamma=2.0, n_components=12, random_state=0).fit(x)
    ours = lowrank.Nystrom(KERNEL, peer.components_).features(x)
    theirs = peer.transform(x)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-10)


def test_repeated_and_nearly_equal_landmarks_do_no_harm():
    x = points()
    landmarks = x[:10]
    crowded = np.concatenate([landmarks, landmarks, landmarks + 1e-12])
    approximation = lowrank.Nystrom(KERNEL, crowded)
    assert approximation.rank == 10
    np.testing.assert_allclose(
        approximation.gram(x), lowrank.Nystrom(KERNEL, landmarks).gram(x), atol=1e-8
    )
    assert lowrank.Nystrom(KERNEL, landmarks[:1]).features(x).shape == (60, 1)


def test_nystrom_on_pivots_is_the_pivoted_cholesky_approximation():
    x = points()
    partial = lowrank.pivoted_cholesky(KERNEL, x, rank=8)
    approximation = lowrank.Nystrom(KERNEL, x[partial.pivots])
    np.testing.assert_allclose(approximation.gram(x), partial.factor @ partial.factor.T, atol=1e-10)


def test_nystrom_ridge_with_all_points_is_kernel_ridge():
    x, new = points(), points(9, seed=1)
    y = np.random.default_rng(2).normal(size=(60, 2))
    coefficients = naive.ridge_coefficients(KERNEL.gram(x), y, 0.1)
    for landmarks in (x, np.arange(60)):
        model = lowrank.nystrom_ridge(KERNEL, x, y, landmarks, 0.1)
        np.testing.assert_allclose(
            model.predict(new), KERNEL.gram(new, x) @ coefficients, atol=1e-7
        )
        np.testing.assert_allclose(model.predict(x), model.fitted, atol=1e-7)


def test_nystrom_ridge_minimises_its_objective():
    x, y = points(), np.random.default_rng(2).normal(size=60)
    chosen = np.arange(0, 60, 7)
    model = lowrank.nystrom_ridge(KERNEL, x, y, chosen, 0.3)
    cross, gram = KERNEL.gram(x, x[chosen]), KERNEL.gram(x[chosen])
    direct = np.linalg.solve(cross.T @ cross + 0.3 * gram, cross.T @ y)
    np.testing.assert_allclose(model.coefficients, direct, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("how", ["uniform", "pivoted", "random pivoted", "leverage"])
def test_landmarks_are_distinct_indices(how):
    x = points()
    chosen = lowrank.choose_landmarks(KERNEL, x, 10, how=how, ridge=0.1, rng=0)
    again = lowrank.choose_landmarks(KERNEL, x, 10, how=how, ridge=0.1, rng=0)
    np.testing.assert_array_equal(chosen, again)
    assert len(set(chosen)) == 10
    assert chosen.min() >= 0
    assert chosen.max() < 60
    assert len(lowrank.choose_landmarks(KERNEL, x[:1], 1, how=how, ridge=0.1, rng=0)) == 1


def test_nystrom_functions_refuse_what_does_not_fit():
    x, y = points(), np.ones(60)
    with pytest.raises(ValueError, match="landmarks"):
        lowrank.Nystrom(KERNEL, np.zeros((0, 2)))
    with pytest.raises(ValueError, match="kernel must have"):
        lowrank.Nystrom(None, x)
    approximation = lowrank.Nystrom(KERNEL, x[:3])
    with pytest.raises(ValueError, match="x must have 2 columns"):
        approximation.features(np.ones((3, 1)))
    with pytest.raises(ValueError, match="y and v"):
        approximation.matvec(x, x, np.ones(3))
    for bad, named in [
        ({"ridge": 0.0}, "ridge"),
        ({"y": np.ones(3)}, "y must have length 60"),
        ({"landmarks": [60]}, "landmarks must be indices"),
        ({"landmarks": [-1]}, "landmarks must be indices"),
        ({"landmarks": [0.5]}, "landmarks"),
        ({"landmarks": []}, "landmarks"),
        ({"landmarks": np.ones((2, 3))}, "landmarks must have 2 columns"),
    ]:
        with pytest.raises(ValueError, match=named):
            lowrank.nystrom_ridge(
                **{"kernel": KERNEL, "x": x, "y": y, "landmarks": [0, 1], "ridge": 1.0, **bad}
            )
    with pytest.raises(ValueError, match="x must have 2 columns"):
        lowrank.nystrom_ridge(KERNEL, x, y, [0], 1.0).predict(np.ones((2, 1)))
    for bad, named in [
        ({"count": 0}, "count"),
        ({"count": 61}, "count"),
        ({"how": "best"}, "how"),
        ({"how": "leverage"}, "ridge must be given"),
        ({"rng": None}, "rng"),
    ]:
        with pytest.raises(ValueError, match=named):
            lowrank.choose_landmarks(**{"kernel": KERNEL, "x": x, "count": 3, "rng": 0, **bad})


# Low rank plus diagonal


@pytest.mark.parametrize(("n", "r"), [(20, 4), (6, 9), (1, 1)])
@pytest.mark.parametrize("many", [False, True])
def test_low_rank_plus_diagonal_agrees_with_the_dense_matrix(n, r, many):
    rng = np.random.default_rng(n)
    factor = rng.normal(size=(n, r))
    noise = rng.uniform(0.1, 2.0, n) if many else 0.3
    dense = factor @ factor.T + np.diag(np.broadcast_to(noise, n))
    both = lowrank.LowRankPlusDiagonal(factor, noise)
    for v in (rng.normal(size=n), rng.normal(size=(n, 3))):
        np.testing.assert_allclose(both.solve(v), np.linalg.solve(dense, v), atol=1e-11)
        np.testing.assert_allclose(both.matvec(v), dense @ v, atol=1e-11)
    assert both.logdet() == pytest.approx(np.linalg.slogdet(dense)[1])
    np.testing.assert_allclose(both.inverse_diagonal(), np.diagonal(np.linalg.inv(dense)))


def test_tiny_noise_projects_out_the_factor():
    rng = np.random.default_rng(0)
    factor, v = rng.normal(size=(30, 3)), rng.normal(size=30)
    outside = v - factor @ np.linalg.lstsq(factor, v, rcond=None)[0]
    for noise in (1e-10, 1e-20):
        both = lowrank.LowRankPlusDiagonal(factor, noise)
        np.testing.assert_allclose(noise * both.solve(v), outside, atol=1e-9)
        assert both.logdet() == pytest.approx(
            27 * np.log(noise) + np.linalg.slogdet(factor.T @ factor)[1]
        )


@pytest.mark.compiled
def test_pivoted_cholesky_preconditions_conjugate_gradients():
    x, y = points(n=300), np.random.default_rng(1).normal(size=300)
    system = KERNEL.gram(x) + 1e-4 * np.eye(300)
    partial = lowrank.pivoted_cholesky(KERNEL, x, rank=40)
    preconditioner = lowrank.LowRankPlusDiagonal(partial.factor, 1e-4)
    plain = iterative.conjugate_gradients(system, y, max_iterations=3000)
    quick = iterative.conjugate_gradients(system, y, preconditioner=preconditioner.solve)
    assert quick.converged
    assert quick.iterations < plain.iterations / 5


def test_low_rank_plus_diagonal_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="noise"):
        lowrank.LowRankPlusDiagonal(np.ones((3, 1)), 0.0)
    with pytest.raises(ValueError, match="noise must be positive"):
        lowrank.LowRankPlusDiagonal(np.ones((3, 1)), [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="noise must have length 3"):
        lowrank.LowRankPlusDiagonal(np.ones((3, 1)), [1.0])
    with pytest.raises(ValueError, match="factor"):
        lowrank.LowRankPlusDiagonal(np.ones(3), 1.0)
    with pytest.raises(ValueError, match="v must have length 3"):
        lowrank.LowRankPlusDiagonal(np.ones((3, 1)), 1.0).solve(np.ones(2))


# Leverage


def test_leverage_scores_are_the_hat_diagonal():
    gram = KERNEL.gram(points())
    scores = lowrank.leverage_scores(gram, 0.1)
    np.testing.assert_allclose(scores, np.diagonal(naive.hat_matrix(gram, 0.1)), atol=1e-10)
    dimension = lowrank.effective_dimension(np.clip(np.linalg.eigvalsh(gram), 0, None), 0.1)
    assert scores.sum() == pytest.approx(dimension)
    np.testing.assert_allclose(lowrank.leverage_scores(np.eye(3), 0.0), 1.0)
    assert lowrank.effective_dimension([2.0, 0.0], 0.0) == 1.0


@pytest.mark.parametrize(("n", "ridge"), [(300, 1.0), (300, 0.01), (1, 1.0), (20, 1e3)])
def test_approximate_scores_are_near_the_exact_ones(n, ridge):
    x = points(n)
    exact = lowrank.leverage_scores(KERNEL.gram(x), ridge)
    near = lowrank.approximate_leverage_scores(KERNEL, x, ridge, rng=0)
    assert near.shape == (n,)
    ratio = near / exact
    assert ratio.min() > 0.6
    assert ratio.max() < 2.0


def test_landmarks_count_by_how_likely_they_were():
    x = points()
    chosen = np.arange(0, 60, 4)
    chances = np.random.default_rng(5).uniform(0.2, 1.0, len(chosen))
    scores = lowrank._scores_from(KERNEL, x, x[chosen], chances, 0.1)
    weighted = KERNEL.gram(x, x[chosen]) / np.sqrt(chances)
    inner = KERNEL.gram(x[chosen]) / np.sqrt(np.outer(chances, chances)) + 0.1 * np.eye(15)
    left = KERNEL.gram(x) - weighted @ np.linalg.solve(inner, weighted.T)
    np.testing.assert_allclose(scores, np.clip(np.diagonal(left) / 0.1, 0, 1), atol=1e-10)


def test_approximate_scores_survive_repeated_points():
    scores = lowrank.approximate_leverage_scores(KERNEL, np.zeros((200, 2)), 1e-6, rng=0)
    assert np.all((scores > 0) & (scores <= 1))


def test_leverage_functions_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="gram"):
        lowrank.leverage_scores(np.ones((2, 3)), 1.0)
    with pytest.raises(ValueError, match="ridge"):
        lowrank.leverage_scores(np.eye(2), -1.0)
    with pytest.raises(ValueError, match="eigenvalues must not be negative"):
        lowrank.effective_dimension([-1.0, 1.0], 1.0)
    for bad, named in [
        ({"ridge": 0.0}, "ridge"),
        ({"oversampling": 0.0}, "oversampling"),
        ({"rng": None}, "rng"),
        ({"x": np.ones(3)}, "x must be a matrix"),
        ({"kernel": 3}, "kernel must have"),
    ]:
        with pytest.raises(ValueError, match=named):
            lowrank.approximate_leverage_scores(
                **{"kernel": KERNEL, "x": points(), "ridge": 1.0, "rng": 0, **bad}
            )
