"""Physics and shapes: closed forms, finite differences, references, bad input, the claims."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from kernellab.compute.kernels import Cosine, Gaussian, Matern52, Stretched
from kernellab.methods.gaussian_processes import physics_and_shapes as ps
from tests.naive import physics_and_shapes as naive

POINTS = np.random.default_rng(0).random((9, 2)) * [10, 3] + [0, 0.1]
STENCIL = ((-1, 1), (0, -2), (1, 1))  # of a second derivative
EQUATIONS = [ps.HEAT, ps.WAVE, ps.POND]


# 1. Kernels whose samples solve an equation


@pytest.mark.parametrize("equation", ps.EQUATIONS)
def test_kernel_is_the_integral_over_the_variety(equation):
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    kernel = ps.EquationKernel(equation, 1.3, 0.6)
    z = ps.EQUATIONS[equation].variety(nodes[:, None] / 1.3, 0.6)
    waves = np.exp(np.einsum("ia,bja->bij", POINTS, z))
    want = np.einsum("bij,j,bkj->ik", waves, weights, waves.conj()).real / len(z)
    assert np.allclose(kernel.gram(POINTS), want, atol=1e-9)
    assert np.allclose(kernel.diagonal(POINTS), np.diagonal(want), atol=1e-9)
    assert np.allclose(kernel.paired(POINTS[:4], POINTS[4:8]), np.diagonal(want[:4, 4:8]))


@pytest.mark.parametrize("equation", ps.EQUATIONS)
@pytest.mark.parametrize("stretched", [False, True])
def test_kernel_gradients(equation, stretched):
    kernel = ps.EquationKernel(equation, 1.1, 0.7)
    kernel = Stretched(kernel, (1.3, 0.8)) if stretched else 2.0 * kernel
    theta = np.log(list(kernel.hyperparameters.values()))
    for gradient, e in zip(kernel.gram_gradients(POINTS), np.eye(len(theta)), strict=True):
        up, down = (kernel.with_log_hyperparameters(theta + s * e) for s in (1e-6, -1e-6))
        assert np.allclose((up.gram(POINTS) - down.gram(POINTS)) / 2e-6, gradient, atol=1e-7)


@pytest.mark.parametrize("equation", ps.EQUATIONS)
@pytest.mark.parametrize("width", [0.05, 1.0, 50.0])
def test_kernel_is_positive_and_its_functions_solve_the_equation(equation, width):
    kernel = ps.EquationKernel(equation, width, 0.8)
    assert np.linalg.eigvalsh(kernel.gram(POINTS)).min() > -1e-10
    rng = np.random.default_rng(1)
    probes = rng.uniform([2, 1], [8, 2], (20, 2))
    weights = rng.normal(size=len(POINTS))

    def field(p):
        return kernel.gram(p, POINTS) @ weights

    if width >= 1:
        defect, terms = ps.pde_residual(equation, field, probes, 0.02 * width, 0.8)
        assert defect < 1e-6 * terms
        assert ps.pde_residual(equation, field, probes, 0.02 * width, 0.4)[0] > 0.05 * terms


@pytest.mark.parametrize("equation", ps.EQUATIONS)
def test_exact_fields_solve_their_equation(equation):
    bumps = ps.random_bumps(3)
    probes = np.random.default_rng(0).uniform([1, 0.5], [9, 2.5], (30, 2))
    defect, terms = ps.pde_residual(
        equation, lambda p: ps.exact_field(equation, bumps, p, 0.7), probes, 0.02, 0.7
    )
    assert defect < 1e-6 * terms


def test_wave_is_dalemberts():
    bumps = ps.Bumps(np.ones(1), np.zeros(1), np.ones(1))
    at = ps.exact_field("wave", bumps, [[3.0, 3.0], [0.0, 3.0]])
    assert at == pytest.approx([0.5 * (1 + np.exp(-18.0)), np.exp(-4.5)])


def test_stones_solve_the_wave_equation_and_start_as_bumps():
    stones = np.array([[0.1, -0.2, 0.3, 1.5]])
    line = np.column_stack([np.linspace(-1, 1, 9), np.full(9, -0.2), np.full(9, 0.3)])
    bump = 1.5 * np.exp(-0.5 * ((line[:, 0] - 0.1) / 0.25) ** 2)
    assert np.allclose(ps.ripples(line, stones), bump, atol=1e-6)
    step, at = 0.01, np.array([0.3, 0.1, 0.8])
    bend = [
        sum(w * ps.ripples((at + k * step * e)[None], stones)[0] for k, w in STENCIL)
        for e in np.eye(3)
    ]
    assert bend[2] == pytest.approx(bend[0] + bend[1], rel=2e-2)


@pytest.mark.compiled
@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda e: e.name)
def test_features_are_the_exponentials(equation):
    rng = np.random.default_rng(0)
    points = rng.random((7, equation.dimensions))
    frequencies = rng.normal(size=(4, equation.dimensions - 1)) * 3
    found = ps.exponential_features(equation, points, frequencies, 0.5)
    z = equation.variety(frequencies, 0.5)
    assert np.allclose(found, naive.exponentials(points, z.reshape(-1, z.shape[-1])), atol=1e-12)
    assert np.abs(equation.symbol(z, 0.5)).max() < 1e-9
    assert np.abs(equation.symbol(z, 0.6)).max() > 1e-2


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda e: e.name)
def test_evidence_gradient_of_the_exponentials(equation):
    rng = np.random.default_rng(0)
    points, values = rng.random((12, equation.dimensions)), rng.normal(size=12)
    frequencies = rng.normal(size=(3, equation.dimensions - 1))
    deviations = np.array([0.5, 1.0, 2.0])

    def evidence(flat):
        w, s, noise = flat[: frequencies.size], flat[frequencies.size : -1], flat[-1]
        return ps.ExponentialField(
            equation, points, values, w.reshape(frequencies.shape), np.exp(s), np.exp(noise)
        )

    at = np.concatenate([frequencies.ravel(), np.log(deviations), [-2.0]])
    by_frequency, by_size, by_noise = evidence(at).gradients()
    numeric = approx_fprime(at, lambda v: evidence(v).evidence, 1e-6)
    found = np.concatenate([by_frequency.ravel(), by_size, [by_noise]])
    assert np.allclose(found, numeric, atol=1e-4 * (1 + np.abs(numeric).max()))


def test_many_atoms_approach_the_closed_kernel():
    rng = np.random.default_rng(0)
    frequencies = rng.normal(size=(4000, 1)) / 1.2
    phi = ps.exponential_features(ps.HEAT, POINTS, frequencies)
    gram = phi @ phi.T / 4000
    assert np.allclose(gram, ps.EquationKernel("heat", 1.2).gram(POINTS), atol=0.06)


def test_exponential_field_learns_interpolates_and_repeats():
    rng = np.random.default_rng(0)
    points = np.repeat(POINTS, 2, axis=0)  # repeated inputs
    values = ps.exact_field("heat", ps.random_bumps(0), points)
    field = ps.ExponentialField(
        ps.HEAT, points, values, rng.normal(size=(20, 1)), np.std(values) / 20**0.5, 1e-4
    )
    *_, learned = field.learn(20)
    assert learned.evidence > field.evidence + 1
    assert np.abs(learned.predict(points) - values).max() < 0.1
    assert (learned.spread(points) >= 0).all() and learned.spread([[5.0, 0.0]]) > 0
    one = ps.ExponentialField(ps.HEAT, points[:1], values[:1], [[0.0]], 1.0, 1e-8)
    assert np.isfinite(one.predict(points)).all()


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("prior", ["heat", "wave", "smooth"])
def test_fit_survives_the_edges(prior, n):
    kernel = (
        Stretched(Gaussian(1.0), (1.0, 1.0)) if prior == "smooth" else ps.EquationKernel(prior, 1)
    )
    for points in (np.repeat(POINTS[:1], n, axis=0), np.random.default_rng(0).random((n, 2))):
        for values in (np.zeros(n), np.ones(n)):
            fit = ps.fit_field(kernel, points, values, 1e-10)
            mean, variance = fit.predict(POINTS)
            assert np.isfinite(mean).all() and np.isfinite(variance).all() and fit.jitter >= 0


# 2. A spectrum, and equations on a grid


@pytest.mark.parametrize("profile, inner", [("gaussian", Gaussian), ("matern", Matern52)])
def test_spectrum_is_the_composed_kernel(profile, inner):
    spectrum = ps.Spectrum([0.7, 0.3], [2.0, 5.0], [3.0, 0.5], profile)
    x = np.linspace(0, 1, 13)[:, None]
    want = sum(
        w * (inner(1 / np.sqrt(2 * rho)) * Cosine(1 / mu)).gram(x)[0]
        for w, mu, rho in zip(spectrum.weights, spectrum.frequencies, spectrum.decays, strict=True)
    )  # fmt: skip
    k, bent = spectrum.columns(x[:, 0])
    assert np.allclose(k, want, atol=1e-12)
    inside = spectrum.columns(np.linspace(0.1, 0.9, 5))[1]
    step = 1e-4
    values = [spectrum.columns(np.linspace(0.1, 0.9, 5) + s * step)[0] for s in (-1, 0, 1)]
    assert np.allclose((values[0] - 2 * values[1] + values[2]) / step**2, inside, atol=1e-3)
    near = spectrum.columns([0.0, step])[0]
    assert 2 * (near[1] - near[0]) / step**2 == pytest.approx(bent[0], rel=1e-3)


@pytest.mark.parametrize("profile", ["gaussian", "matern"])
@pytest.mark.parametrize("potential", [0.0, 3.0])
def test_evidence_gradient_of_the_spectrum(profile, potential):
    grid = np.linspace(0, 1, 16)
    problem = ps.GridProblem(
        np.sin(9 * grid), [0.1, -0.2], potential=potential, equation_error=0.3, boundary_error=0.1
    )
    spectrum = ps.Spectrum([0.5, 0.2, 0.9], [0.5, 1.5, 3.0], [30.0, 40.0, 60.0], profile)
    value, gradient = problem.evidence_gradient(spectrum)
    assert value == pytest.approx(problem.solve(spectrum).evidence)

    def evidence(t):
        return problem.solve(spectrum.with_theta(t)).evidence

    theta, step = spectrum.theta, 1e-4
    numeric = [
        (evidence(theta + step * e) - evidence(theta - step * e)) / (2 * step) for e in np.eye(9)
    ]
    assert np.allclose(gradient, numeric, atol=2e-4 * (1 + np.abs(gradient).max()))


def test_solution_minimises_the_joint_density():
    """Against least squares for U itself, with an explicit inverse."""
    grid = np.linspace(0, 1, 14)
    source, spectrum = np.cos(7 * grid), ps.Spectrum([1.0, 0.5], [0.0, 1.0], [20.0, 30.0])
    problem = ps.GridProblem(source, [0.3, -0.1], 1.0, 2.0, equation_error=0.1, boundary_error=0.05)
    solution = problem.solve(spectrum)
    distance = np.abs(np.subtract.outer(grid, grid))
    k, bent = (c.reshape(14, 14) for c in spectrum.columns(distance.ravel()))
    gram = k + solution.jitter * np.eye(14)
    bend = bent @ np.linalg.inv(gram) + 2.0 * np.eye(14)
    v = (0.1 * np.sqrt(np.mean(source**2))) ** -2
    ends = np.zeros((2, 14))
    ends[0, 0] = ends[1, -1] = 1.0
    left = np.linalg.inv(gram) + v * bend.T @ bend + 0.05**-2 * ends.T @ ends
    right = v * bend.T @ source + 0.05**-2 * ends.T @ [0.3, -0.1]
    assert np.allclose(solution.u, np.linalg.solve(left, right), atol=1e-5)


def test_right_frequency_solves_and_a_long_smooth_kernel_does_not():
    grid = np.linspace(0, 1, 200)
    truth = np.sin(100 * grid)
    problem = ps.GridProblem(-1e4 * truth, truth[[0, -1]])
    right = problem.solve(ps.Spectrum([1.0], [100 / (2 * np.pi)], [1.0])).u
    assert np.linalg.norm(right - truth) < 1e-3 * np.linalg.norm(truth)
    for length in (0.3, 0.1, 0.05):
        found = problem.solve(ps.Spectrum([1.0], [0.0], [0.5 / length**2]))
        assert np.linalg.norm(found.u - truth) > np.linalg.norm(truth) and found.jitter > 0


@pytest.mark.parametrize("decay", [1e-8, 1.0, 1e8])
def test_grid_survives_the_edges(decay):
    problem = ps.GridProblem(np.ones(20), [0, 0])
    spectrum = ps.Spectrum.even(3.0, 2, decay)
    value, gradient = problem.evidence_gradient(spectrum)
    solution = problem.solve(spectrum)
    assert np.isfinite(gradient).all() and np.isfinite(value) and np.isfinite(solution.u).all()
    assert solution.jitter > 0
    assert np.isfinite(ps.GridProblem(np.zeros(8), [0, 0]).solve(spectrum).u).all()


def test_allen_cahn():
    grid = np.linspace(0, 1, 100)
    truth = np.sin(40 * grid)
    source = -1600 * truth + truth**3 - truth
    spectrum = ps.Spectrum([1.0], [40 / (2 * np.pi)], [1.0])
    *_, last = ps.solve_allen_cahn(spectrum, source, truth[[0, -1]])
    assert np.linalg.norm(last.u - truth) < 1e-3 * np.linalg.norm(truth)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_kronecker_products(n1, n2, seed):
    rng = np.random.default_rng(seed)
    a, b = (m @ m.T + np.eye(len(m)) for m in (rng.normal(size=(n, n)) for n in (n1, n2)))
    v = rng.normal(size=n1 * n2)
    assert np.allclose(ps.kron_matvec(a, b, v), np.kron(a, b) @ v)
    assert np.allclose(ps.kron_solve(a, b, v), np.linalg.solve(np.kron(a, b), v))
    assert np.allclose(ps.kron_solve(a, b, v.reshape(n1, n2)).ravel(), ps.kron_solve(a, b, v))


def test_plane_objective_gradient_and_solution():
    rng = np.random.default_rng(0)
    spectra = [ps.Spectrum.even(3, 4, 9.0), ps.Spectrum.even(2, 3, 12.0)]
    source, border, u = rng.normal(size=(3, 9, 8))
    problem = ps.PlaneProblem(source, border, spectra, 100.0, 1.0)
    value, gradient = problem.objective(u)
    turn = rng.normal(size=u.shape)
    step = 1e-4
    slope = (problem.objective(u + step * turn)[0] - problem.objective(u - step * turn)[0]) / (
        2 * step
    )
    assert slope == pytest.approx(np.vdot(gradient, turn), rel=1e-5)
    found, steps = problem.solve(1e-10, 5000)
    assert problem.objective(found)[0] <= value
    assert np.abs(problem.objective(found)[1]).max() < 1e-3 * np.abs(gradient).max() and steps > 0


# 3. Vectors on a surface


def flat(n=80):
    return np.hstack([np.random.default_rng(0).random((n, 2)), np.zeros((n, 1))])


def test_frames_span_the_plane_and_alignment_is_their_turn():
    frames = ps.tangent_frames(flat())
    assert np.abs(frames[:, 2]).max() < 1e-8
    assert np.allclose(np.einsum("nak,nal->nkl", frames, frames), np.eye(2), atol=1e-12)
    turns = ps.align(frames[:-1], frames[1:])
    assert np.allclose(turns, np.einsum("nak,nal->nkl", frames[:-1], frames[1:]), atol=1e-10)
    assert np.allclose(np.abs(np.linalg.det(turns)), 1.0)


@pytest.mark.parametrize("transport", [True, False])
def test_laplacian_is_the_sum_over_edges(transport):
    surface = ps.sphere(60, 0)
    frames = ps.tangent_frames(surface.points)
    pairs = ps.neighbour_pairs(surface.points, 6)
    found = ps.connection_laplacian(frames, pairs, transport).toarray()
    assert np.allclose(found, naive.connection_laplacian(frames, pairs, transport), atol=1e-12)
    v = np.random.default_rng(0).normal(size=(60, 2))
    turns = ps.align(frames[pairs[:, 0]], frames[pairs[:, 1]]) if transport else np.eye(2)[None]
    moved = np.einsum("pab,pb->pa", np.broadcast_to(turns, (len(pairs), 2, 2)), v[pairs[:, 1]])
    assert v.ravel() @ found @ v.ravel() == pytest.approx(np.sum((v[pairs[:, 0]] - moved) ** 2))


def test_on_a_flat_plane_the_spectrum_is_the_scalar_one_twice():
    points = flat(60)
    frames = ps.tangent_frames(points)
    pairs = ps.neighbour_pairs(points, 6)
    scalar = ps.connection_laplacian(np.ones((60, 1, 1)), pairs).toarray()
    vector = ps.connection_laplacian(frames, pairs).toarray()
    want = np.repeat(np.linalg.eigvalsh(scalar), 2)
    assert np.allclose(np.linalg.eigvalsh(vector), want, atol=1e-8)


@pytest.mark.parametrize("transport", [True, False])
def test_gauge_invariance_needs_transport(transport):
    rng = np.random.default_rng(0)
    points, seen = ps.torus(150, 0).points, np.arange(0, 150, 3)
    v = rng.normal(size=(50, 3))
    frames = ps.tangent_frames(points)
    turned = frames @ np.linalg.qr(rng.normal(size=(150, 2, 2)))[0]
    means = [
        ps.fit_vectors(ps.tangent_modes(points, 30, frames=f, transport=transport), seen, v).mean
        for f in (frames, turned)
    ]
    gap = np.abs(means[0] - means[1]).max()
    assert gap < 1e-8 if transport else gap > 1e-2


def test_sparse_and_dense_modes_agree():
    points = ps.sphere(90, 1).points
    few, many = ps.tangent_modes(points, 20), ps.tangent_modes(points, 100)
    assert np.allclose(few.values, many.values[:20], atol=1e-8)
    assert np.mean(np.sum(few.fields**2, axis=1), axis=0) == pytest.approx(np.ones(20))


def test_vector_regression_is_that_of_the_dense_kernel():
    rng = np.random.default_rng(0)
    modes = ps.tangent_modes(ps.sphere(80, 0).points, 20)
    seen, v = np.arange(0, 80, 4), rng.normal(size=(20, 3))
    fit = ps.fit_vectors(modes, seen, v, kappas=[2.0], noises=[0.1])
    rows = modes.fields.reshape(240, 20)
    gram = (rows * ps.spectral_weights(modes.values, 2.0)) @ rows.T
    at = (3 * seen[:, None] + np.arange(3)).ravel()
    inner = gram[np.ix_(at, at)] + 0.1 * np.eye(60)
    assert np.allclose(fit.mean.ravel(), gram[:, at] @ np.linalg.solve(inner, v.ravel()), atol=1e-8)
    variance = v.ravel() @ np.linalg.solve(inner, v.ravel()) / 60
    assert fit.noise == pytest.approx(0.1 * variance)
    want = -0.5 * (60 * (np.log(2 * np.pi * variance) + 1) + np.linalg.slogdet(inner)[1])
    assert fit.evidence == pytest.approx(want)
    cover = gram - gram[:, at] @ np.linalg.solve(inner, gram[at])
    spread = np.sqrt(variance * np.diagonal(cover).reshape(80, 3).mean(axis=1))
    assert np.allclose(fit.deviation, spread, atol=1e-8)


def test_channels_are_three_exact_processes():
    rng = np.random.default_rng(0)
    points, seen = ps.sphere(40, 0).points, np.arange(0, 40, 2)
    v = rng.normal(size=(20, 3))
    fit = ps.fit_channels(points, seen, v, [0.8], [0.1])
    gram = Gaussian(0.8).gram(points)
    want = gram[:, seen] @ np.linalg.solve(gram[np.ix_(seen, seen)] + 0.1 * np.eye(20), v)
    assert np.allclose(fit.mean, want) and fit.kappa == 0.8


@pytest.mark.parametrize("m", [1, 2])
def test_vectors_survive_one_point_and_silence(m):
    modes = ps.tangent_modes(ps.torus(60, 0).points, 20)
    for v in (np.zeros((m, 3)), np.ones((m, 3))):
        for fit in (ps.fit_vectors(modes, np.arange(m), v),
                    ps.fit_channels(ps.torus(60, 0).points, np.arange(m), v)):  # fmt: skip
            assert np.isfinite(fit.mean).all() and np.isfinite(fit.deviation).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_turns_on_a_sphere_sum_to_two(seed):
    surface = ps.sphere(60, seed % 7)
    vectors = np.random.default_rng(seed).normal(size=(60, 3))
    assert ps.whirls(surface, vectors).sum() == 2


def test_a_rotation_has_its_turns_at_the_poles():
    surface = ps.sphere(300, 0)
    turns = ps.whirls(surface, np.cross([0.0, 0, 1], surface.points))
    middles = surface.points[surface.triangles].mean(axis=1)[turns == 1]
    assert len(middles) == 2 and np.abs(middles[:, 2]).min() > 0.97 and turns.min() == 0


@pytest.mark.parametrize("make", [ps.sphere, ps.torus, ps.roll])
def test_surfaces_have_unit_normals_at_right_angles_to_frames(make):
    surface = make(400, 0)
    assert np.allclose(np.linalg.norm(surface.normals, axis=1), 1.0)
    leak = np.einsum("na,nak->nk", surface.normals, ps.tangent_frames(surface.points))
    assert np.median(np.abs(leak)) < 0.1
    wind = ps.winds(surface, surface.points[:2], [1.0, -1.0])
    assert np.abs(np.sum(wind * surface.normals, axis=1)).max() < 1e-12


def test_projected_kernel_in_flat_space_is_the_ordinary_one():
    rng = np.random.default_rng(0)
    points, seen = rng.normal(size=(30, 2)), np.arange(0, 30, 3)
    vectors = np.stack([np.sin(points[:, 0]), points[:, 1]], axis=1)[seen]
    turned = np.linalg.qr(rng.normal(size=(30, 2, 2)))[0]
    want = ps.fit_channels(points, seen, vectors)
    found = ps.fit_projected(points, turned, seen, vectors)
    assert found.kappa == want.kappa
    assert found.evidence == pytest.approx(want.evidence, rel=1e-6)
    assert np.allclose(found.mean, want.mean, atol=1e-4)
    assert np.allclose(found.deviation, want.deviation, atol=1e-3)


def test_projected_kernel_stays_in_the_surface():
    surface = ps.sphere(60, 0)
    seen = np.arange(0, 60, 3)
    wind = ps.winds(surface, surface.points[:2], [1.0, -1.0])
    frames = ps.tangent_modes(surface.points, 5).frames
    found = ps.fit_projected(surface.points, frames, seen, wind[seen])
    normal = np.cross(frames[:, :, 0], frames[:, :, 1])
    assert np.abs(np.sum(found.mean * normal, axis=1)).max() < 1e-12
    assert found.deviation.min() >= 0


def test_angular_error():
    assert ps.angular_error([[1.0, 0], [0, 2.0], [0, 0]], np.eye(2)[[0, 0, 0]]) == pytest.approx(
        [0, 90, 90]
    )


# 4. Warps


@pytest.mark.compiled
def test_pull_back_is_interpolation():
    rng = np.random.default_rng(0)
    fields, maps = rng.normal(size=(5, 31)), np.sort(rng.random((5, 17)), axis=1)
    maps[:, 0], maps[:, -1] = 0.0, 1.0
    assert np.allclose(ps.pull_back(fields, maps), naive.pull_back(fields, maps), atol=1e-12)
    inner = np.clip(maps, 0.01, 0.99)
    values, slopes = ps._pulled(fields, inner)
    step = 1e-7  # linear between grid points: differences are exact except across a grid point
    gap = np.median(np.abs((ps.pull_back(fields, inner + step) - values) / step - slopes))
    assert gap < 1e-5


@pytest.mark.compiled
def test_burgers_is_godunovs_scheme():
    rng = np.random.default_rng(0)
    parameters = rng.random((3, 2))
    start = ps.burgers(parameters, 40, 0.0)
    for found, row in zip(ps.burgers(parameters, 40, 0.3), start, strict=True):
        assert np.allclose(found, naive.godunov(row, 1 / 40, 0.3, 0.9), atol=1e-12)
    out = np.ascontiguousarray(rng.normal(size=(4, 30)))  # both signs: fans through zero, shocks
    want = [naive.godunov(row, 1 / 30, 0.05, 0.9) for row in out]
    ps._godunov(out, 1 / 30, 0.05, 0.9, np.empty((4, 31)))
    assert np.allclose(out, want, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 5.0))
def test_warps_are_bijections(seed, size):
    maps = ps.warps(size * np.random.default_rng(seed).normal(size=(3, 7)), 50)
    assert np.allclose(maps[:, [0, -1]], [0, 1]) and np.diff(maps, axis=1).min() > 0
    back = ps.inverse_warps(np.hstack([np.zeros((3, 1)), maps[:, 1:-1], np.ones((3, 1))]))
    assert np.diff(back, axis=1).min() >= 0


def test_identity_warps_give_plain_modes():
    fields = ps.burgers(np.random.default_rng(0).random((12, 2)))
    first = next(ps.align_fields(fields))
    assert np.allclose(first.fields, fields, atol=1e-12)
    assert first.share == pytest.approx(ps.captured(fields)[0]) and 0 < first.share <= 1
    settings_, new = np.random.default_rng(0).random((12, 2)), [[0.5, 0.5]]
    plain = ps.Surrogate(settings_, fields, 3).predict(new)
    warped = ps.Surrogate(settings_, fields, 3, first).predict(new)
    assert np.allclose(plain, warped, atol=1e-8)


def test_alignment_gradient_climbs_the_objective():
    fields = ps.shock_profiles(np.random.default_rng(0).random((8, 2)), np.linspace(0, 1, 120))
    shares = [a.share for a in ps.align_fields(fields, steps=60, penalty=0.0, rate=0.02)]
    assert shares[-1] > shares[0] + 0.03 and np.mean(np.diff(shares) > 0) > 0.9
    assert max(shares) <= 1


def test_translated_fronts_are_lined_up():
    grid = np.linspace(0, 1, 200)
    settings_ = np.column_stack([np.linspace(0.2, 0.8, 12), np.full(12, 0.5)])
    *_, last = ps.align_fields(ps.shock_profiles(settings_, grid), penalty=1e-3, steps=300)
    places = [grid[np.argmax(np.abs(np.diff(row)))] for row in last.fields]
    assert np.ptp(places) <= 0.02


def test_captured_and_modes():
    one = np.outer(np.arange(1.0, 5.0), np.arange(1.0, 8.0))
    assert ps.captured(one)[0] == pytest.approx(1.0)
    fields = np.random.default_rng(0).normal(size=(6, 30))
    modes = ps.principal_modes(fields, 6)
    assert np.allclose(modes.mean + modes.coefficients @ modes.modes, fields)
    assert modes.shares.sum() == pytest.approx(1.0)
    assert ps.relative_error(fields, fields).max() == 0


def test_surrogate_survives_constant_fields_and_few_runs():
    settings_ = np.random.default_rng(0).random((3, 2))
    flat_fields = np.ones((3, 20))
    *_, alignment = ps.align_fields(flat_fields, steps=5)
    for part in (None, alignment):
        found = ps.Surrogate(settings_, flat_fields, 1, part, warp_count=1).predict([[0.5, 0.5]])
        assert np.allclose(found, 1.0)


# The claims


def test_claim_informed_prior_wins_on_heat_and_loses_on_waves():
    ratios = {}
    for truth in ps.EQUATIONS:
        found = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            bumps, points = ps.random_bumps(rng), rng.random((16, 2)) * [10, 3]
            grid = np.stack(np.meshgrid(np.linspace(0, 10, 20), np.linspace(0, 3, 12)), -1).reshape(
                -1, 2
            )
            field = ps.exact_field(truth, bumps, grid)
            level = 0.01 * field.std()
            values = ps.exact_field(truth, bumps, points) + level * rng.normal(size=16)
            found.append([
                np.linalg.norm(ps.fit_field(k, points, values, level**2).predict(grid).mean - field)
                for k in (Stretched(Gaussian(1.0), (1.0, 1.0)), ps.EquationKernel("heat", 1.0))
            ])  # fmt: skip
        ratios[truth] = np.divide(*np.median(found, axis=0))
    assert ratios["heat"] > 2 and ratios["wave"] < 1


def test_claim_mixture_learns_the_frequency():
    grid = np.linspace(0, 1, 160)
    truth = np.sin(100 * grid + 1)
    problem = ps.GridProblem(-1e4 * truth, truth[[0, -1]])

    def error(start):
        *_, (spectrum, _) = problem.learn(start, 40, 0.1)
        return np.linalg.norm(problem.solve(spectrum).u - truth) / np.linalg.norm(truth), spectrum

    learned, spectrum = error(ps.Spectrum.even(40, 20))
    assert learned < 5e-3 and spectrum.share(100 / (2 * np.pi)) > 0.8
    held, spectrum = error(ps.Spectrum(np.full(20, 0.05), np.zeros(20), np.geomspace(1, 200, 20)))
    assert held > 5e-3 and spectrum.frequencies.max() == 0


@functools.lru_cache
def ring(seed, m, method):
    surface, rng = ps.torus(400, seed), np.random.default_rng(seed)
    way = rng.normal(size=3)
    field = way - (surface.normals @ way)[:, None] * surface.normals
    seen = rng.permutation(400)[:m]
    hidden = np.setdiff1d(np.arange(400), seen)
    if method == "scalars":
        mean = ps.fit_channels(surface.points, seen, field[seen]).mean
    else:
        modes = ps.tangent_modes(surface.points, 50, transport=method == "transport")
        mean = ps.fit_vectors(modes, seen, field[seen]).mean
    miss = np.linalg.norm(mean[hidden] - field[hidden]) / np.linalg.norm(field[hidden])
    return miss, ps.angular_error(mean, field)[hidden].mean()


def test_claim_transport_is_what_works():
    with_it, without = (
        np.mean([ring(s, 120, m)[1] for s in range(3)]) for m in ("transport", "none")
    )
    assert with_it < 12 < 60 < without


def test_claim_few_arrows_favour_the_surface_and_many_do_not():
    few, many = (
        np.mean([ring(s, m, "scalars")[0] for s in range(3)])
        / np.mean([ring(s, m, "transport")[0] for s in range(3)])
        for m in (20, 150)
    )
    assert few > 1.2 and many < 0.5


@pytest.mark.parametrize("kind", ["fronts", "burgers"])
def test_claim_warped_modes_beat_plain_ones(kind):
    rng = np.random.default_rng(7)
    settings_, new = rng.random((40, 2)), rng.random((40, 2))
    grid = np.linspace(0, 1, 200)
    make = ps.burgers if kind == "burgers" else lambda p: ps.shock_profiles(p, grid)
    fields, truth = make(settings_), make(new)
    *_, last = ps.align_fields(fields)
    errors = [
        ps.relative_error(ps.Surrogate(settings_, fields, count, part).predict(new), truth).mean()
        for count, part in ((2, last), (2, None), (10, None))
    ]
    assert errors[0] < errors[1] / 3 and errors[0] < errors[2]


# Bad input


ONE = [ps.Spectrum.even(1, 1)] * 2
DATA = (ps.HEAT, POINTS, np.ones(9))
TWO = ([[0.0], [1.0]], np.ones((2, 5)), 1)
MODES = ps.tangent_modes(np.random.default_rng(0).random((80, 3)), 5)
NAN = np.array([[0.0, np.nan]])
SURFACE = ps.sphere(20, 0)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: ps.EquationKernel("laplace", 1.0), "equation"),
        (lambda: ps.EquationKernel("heat", -1.0), "width"),
        (lambda: ps.EquationKernel("heat", 1.0, 0.0), "speed"),
        (lambda: ps.EquationKernel("heat", 1.0).gram(np.zeros((2, 3))), "2 columns"),
        (lambda: ps.EquationKernel("heat", 1.0).gram([[0.0, -1.0]]), "times after"),
        (lambda: ps.HEAT.variety(np.zeros((2, 2))), "frequencies"),
        (lambda: ps.HEAT.variety_slopes([[1.0]], -1), "speed"),
        (lambda: ps.HEAT.symbol([1.0, 2.0], 0), "speed"),
        (lambda: ps.fit_field(ps.EquationKernel("heat", 1.0), POINTS, [1.0], 0.1), "y"),
        (lambda: ps.fit_field(ps.EquationKernel("heat", 1.0), POINTS, np.ones(9), 0), "noise"),
        (lambda: ps.pde_residual("x", np.sum, POINTS, 0.1), "equation"),
        (lambda: ps.pde_residual("heat", lambda p: p[:3, 0], POINTS, 0.1), "field"),
        (lambda: ps.pde_residual("heat", np.sum, POINTS, 0), "step"),
        (lambda: ps.random_bumps(0, 0), "bumps"),
        (lambda: ps.random_bumps(0, length=-1), "length"),
        (lambda: ps.exact_field("heat", ps.random_bumps(0), [[0.0, -9.0]]), "points"),
        (lambda: ps.exact_field("no", ps.random_bumps(0), POINTS), "equation"),
        (lambda: ps.exponential_features(ps.HEAT, NAN, [[1.0]]), "points"),
        (lambda: ps.exponential_features(ps.HEAT, [[0.0, -1.0]], [[1e3]]), "frequencies"),
        (lambda: ps.ExponentialField(ps.HEAT, POINTS, np.ones(8), [[1.0]], 1.0, 1.0), "values"),
        (lambda: ps.ExponentialField(*DATA, [[1.0]], [0.0], 1.0), "deviations"),
        (lambda: ps.ExponentialField(*DATA, [[1.0]], 1.0, 0.0), "noise"),
        (lambda: ps.ripples(POINTS, [[0, 0, 0, 1.0]]), "points"),
        (lambda: ps.ripples([[0, 0, 0.0]], [[0, 0, 0.0]]), "stones"),
        (lambda: ps.Spectrum([1.0], [-1.0], [1.0]), "frequencies"),
        (lambda: ps.Spectrum([0.0], [1.0], [1.0]), "weights"),
        (lambda: ps.Spectrum([1.0], [1.0], [1.0, 2.0]), "decays"),
        (lambda: ps.Spectrum([1.0], [1.0], [1.0], "box"), "profile"),
        (lambda: ps.Spectrum.even(1.0, 0), "count"),
        (lambda: ps.Spectrum.even(-1.0, 2), "highest"),
        (lambda: ps.Spectrum.even(1.0, 2).with_theta(np.ones(5)), "theta"),
        (lambda: ps.Spectrum.even(1.0, 2).columns([]), "distances"),
        (lambda: ps.Spectrum.even(1.0, 2).share(0.0), "frequency"),
        (lambda: ps.GridProblem(np.ones(5), [0, 0]), "source"),
        (lambda: ps.GridProblem(np.ones(9), [0]), "ends"),
        (lambda: ps.GridProblem(np.ones(9), [0, 0], -1.0), "length"),
        (lambda: ps.GridProblem(np.ones(9), [0, 0], potential=[1.0]), "potential"),
        (lambda: ps.GridProblem(np.ones(9), [0, 0], equation_error=0), "equation_error"),
        (lambda: next(ps.solve_allen_cahn(ps.Spectrum.even(1, 1), np.ones(9), [0])), "ends"),
        (lambda: ps.kron_matvec(np.eye(2), np.eye(3), np.ones(5)), "v"),
        (lambda: ps.kron_solve(np.eye(2), np.eye(3), np.ones((3, 2))), "v"),
        (lambda: ps.kron_solve(-np.eye(2), np.eye(3), np.ones(6)), "positive definite"),
        (lambda: ps.PlaneProblem(np.ones((8, 5)), np.ones((8, 5)), ONE), "source"),
        (lambda: ps.PlaneProblem(np.ones((8, 8)), np.ones((8, 9)), ONE), "border"),
        (lambda: ps.tangent_frames(flat(), 80), "neighbours"),
        (lambda: ps.tangent_frames(flat(), 5, 4), "dimension"),
        (lambda: ps.tangent_frames(NAN), "points"),
        (lambda: ps.align(np.eye(2), np.eye(3)), "frame_i"),
        (lambda: ps.align(np.full((2, 2), np.nan), np.eye(2)), "finite"),
        (lambda: ps.neighbour_pairs(flat(), 0), "neighbours"),
        (lambda: ps.connection_laplacian(np.ones((3, 2)), [[0, 1]]), "frames"),
        (lambda: ps.connection_laplacian(np.ones((3, 2, 1)), [[0, 3]]), "pairs"),
        (lambda: ps.connection_laplacian(np.ones((3, 2, 1)), [[0.0, 1.0]]), "pairs"),
        (lambda: ps.tangent_modes(flat(), 0), "count"),
        (lambda: ps.tangent_modes(flat(), 5, frames=np.ones((3, 3, 2))), "frames"),
        (lambda: ps.spectral_weights([-1.0], 1.0), "values"),
        (lambda: ps.spectral_weights([1.0], 0.0), "kappa"),
        (lambda: ps.fit_vectors(MODES, [90], [[0, 0, 0]]), "seen"),
        (lambda: ps.fit_vectors(MODES, [0], [[0, 0]]), "vectors"),
        (lambda: ps.fit_vectors(MODES, [0], [[0, 0, 0]], kappas=[0]), "kappas"),
        (lambda: ps.fit_channels(flat(), [], [[0, 0, 0]]), "seen"),
        (lambda: ps.fit_channels(flat(), [0], [[0, 0, 0]], [-1.0]), "lengths"),
        (lambda: ps.fit_projected(flat(), np.ones((3, 3, 2)), [0], [[0, 0, 0]]), "frames"),
        (lambda: ps.fit_projected(flat(), MODES.frames, [99], [[0, 0, 0]]), "seen"),
        (lambda: ps.tangent_modes(flat(), 5, frames=2 * MODES.frames), "orthonormal"),
        (lambda: ps.spectral_weights([1.0], 1e200), "kappa"),
        (lambda: ps.EquationKernel("wave", 1e200), "width"),
        (lambda: ps.fit_field("heat", [[0, 0]], [1.0], 0.1), "kernel"),
        (lambda: ps.exact_field("wave", ps.Bumps([1.0], [0.0], [0.0]), [[0, 0]]), "widths"),
        (lambda: ps.PlaneProblem(np.ones((8, 8)), np.ones((8, 8)), ONE[:1]), "spectra"),
        (lambda: ps.burgers([[0.5, -2.0]]), "parameters"),
        (lambda: ps.burgers([[0.5, 0.5]], time=1e9), "time"),
        (lambda: ps.shock_profiles([[5.0, 0.0]], [0.0]), "parameters"),
        (lambda: ps.warps([[1e308, -1e308]], 5), "increments"),
        (lambda: ps.inverse_warps([[0.0]]), "maps"),
        (lambda: ps.Surrogate(*TWO, "aligned"), "alignment"),
        (lambda: ps.angular_error([[1.0]], [[1.0, 2.0]]), "found"),
        (lambda: ps.sphere(3), "n"),
        (lambda: ps.torus(20, tube=1.5), "tube"),
        (lambda: ps.roll(20, gap=0), "gap"),
        (lambda: ps.winds(SURFACE, [[0, 0]], [1.0]), "eyes"),
        (lambda: ps.winds(SURFACE, [[0, 0, 0]], [1.0, 2.0]), "heights"),
        (lambda: ps.whirls(ps.torus(20), np.ones((20, 3))), "triangles"),
        (lambda: ps.whirls(SURFACE, np.ones((19, 3))), "vectors"),
        (lambda: ps.shock_profiles([[0.1]], [0.0]), "parameters"),
        (lambda: ps.shock_profiles([[0.1, 0.2]], [0.0], 0), "thickness"),
        (lambda: ps.burgers([[0.1, 0.2]], 4), "cells"),
        (lambda: ps.burgers([[0.1, 0.2]], time=-1), "time"),
        (lambda: ps.burgers([[0.1, 0.2]], courant=2), "courant"),
        (lambda: ps.warps([1.0], 5), "increments"),
        (lambda: ps.warps([[1.0, 2.0]], 1), "size"),
        (lambda: ps.pull_back(np.ones((2, 1)), np.ones((2, 3))), "fields"),
        (lambda: ps.pull_back(np.ones((2, 5)), np.full((2, 3), 1.5)), "maps"),
        (lambda: ps.pull_back(np.ones((2, 5)), np.ones((3, 3))), "maps"),
        (lambda: ps.inverse_warps([[0.0, 0.6, 0.5, 1.0]]), "maps"),
        (lambda: ps.captured(np.zeros((2, 3))), "fields"),
        (lambda: ps.captured(np.ones((2, 3)), 3), "modes"),
        (lambda: next(ps.align_fields(np.ones((1, 5)))), "fields"),
        (lambda: next(ps.align_fields(np.ones((3, 5)), 1)), "pieces"),
        (lambda: ps.principal_modes(np.ones((2, 5)), 3), "count"),
        (lambda: ps.Surrogate([[0.0]], np.ones((2, 5)), 1), "fields"),
        (lambda: ps.Surrogate(*TWO).predict([[0.0, 1.0]]), "parameters"),
        (lambda: ps.Surrogate(*TWO).predict_maps([[0.0]]), "alignment"),
        (lambda: ps.Surrogate(*TWO, next(ps.align_fields(np.ones((2, 6))))), "alignment"),
        (lambda: ps.relative_error([[1.0]], [[1.0, 2.0]]), "found"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
