"""Gaussian processes beside their peers: exact evidence and predictions, and series in time."""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute.approximate_gp import laplace
from kernellab.compute.gp import ExactGP
from kernellab.compute.kernels import Cosine, Gaussian, Matern12, Matern32, Oscillator, Stretched
from kernellab.compute.likelihoods import Logit
from kernellab.compute.state_space import StateSpaceGP


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n in (200, 1000, 2000):
        yield evidence(n)
    for n in (200, 1000, 2000):
        yield prediction(n)
    for n in (1000, 10_000, 100_000):
        yield exponential(n)
    for n in (1000, 10_000, 100_000):
        yield quasi_periodic(n)
    for n in (1000, 10_000, 100_000):
        yield oscillator(n)
    for n in (1000, 10_000, 100_000):
        yield matern(n)
    for n in (100, 400):
        yield classification(n)


def _points(n: int):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3))
    return x, np.sin(x[:, 0]) + 0.1 * rng.standard_normal(n)


def _sklearn_regressor():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    kernel = ConstantKernel(1.5) * RBF([0.7, 1.0, 1.9])
    return GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None)


KERNEL = 1.5 * Stretched(Gaussian(1.0), (0.7, 1.0, 1.9))


def evidence(n: int) -> Row:
    """The log marginal likelihood and its gradient in four hyper-parameters (ours: five)."""
    x, y = _points(n)

    def ours():
        gp = ExactGP(KERNEL, x, y, 0.1)
        slopes = gp.log_marginal_likelihood_gradient()
        return np.array([gp.log_marginal_likelihood(), *slopes[:4]])

    fitted = []

    def sklearn():
        if not fitted:  # the peer asks for a fit first; it is not timed again
            fitted.append(_sklearn_regressor().fit(x, y))
        value, slopes = fitted[0].log_marginal_likelihood(
            fitted[0].kernel_.theta, eval_gradient=True, clone_kernel=False
        )
        return np.array([value, *slopes])

    peers = {
        "scikit-learn": sklearn,
        "GPyTorch": _gpytorch_evidence(x, y),
        "tinygp": _tinygp_evidence(x, y),
    }
    return Row("GP evidence and gradient", f"n={n}, d=3", ours, peers, 1e-7)


def _gpytorch_evidence(x, y):
    model = []

    def run():
        import gpytorch
        import torch

        if not model:
            model.append(_gpytorch_regressor(x, y))
        gp, targets = model[0]
        gp.zero_grad()
        exact = gpytorch.mlls.ExactMarginalLogLikelihood(gp.likelihood, gp)
        with gpytorch.settings.fast_computations(False, False, False):
            value = exact(gp(gp.train_inputs[0]), targets) * len(y)
        value.backward()
        scale, lengths = gp.covar_module, gp.covar_module.base_kernel
        # Its parameters pass through softplus; ours are logarithms.
        slopes = [
            (raw.grad / torch.sigmoid(raw) * actual).detach().numpy().ravel()
            for raw, actual in (
                (scale.raw_outputscale, scale.outputscale),
                (lengths.raw_lengthscale, lengths.lengthscale),
            )
        ]
        return np.concatenate([[value.item()], *slopes])

    return run


def _gpytorch_regressor(x, y):
    import gpytorch
    import torch

    class Model(gpytorch.models.ExactGP):
        def __init__(self, points, targets, likelihood):
            super().__init__(points, targets, likelihood)
            self.mean_module = gpytorch.means.ZeroMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(
                gpytorch.kernels.RBFKernel(ard_num_dims=3)
            )

        def forward(self, points):
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(points), self.covar_module(points)
            )

    points, targets = torch.from_numpy(x), torch.from_numpy(y)
    gp = Model(points, targets, gpytorch.likelihoods.GaussianLikelihood()).double()
    gp.likelihood.noise = 0.1
    gp.covar_module.outputscale = 1.5
    gp.covar_module.base_kernel.lengthscale = torch.tensor([0.7, 1.0, 1.9], dtype=torch.float64)
    return gp.train(), targets


def _tinygp_evidence(x, y):
    compiled = []

    def build():
        import jax
        import tinygp

        jax.config.update("jax_enable_x64", True)

        def value(theta):
            scale = tinygp.transforms.Linear(jax.numpy.exp(-theta[1:]), tinygp.kernels.ExpSquared())
            gp = tinygp.GaussianProcess(jax.numpy.exp(theta[0]) * scale, x, diag=0.1)
            return gp.log_probability(y)

        return jax.jit(jax.value_and_grad(value))

    def run():
        if not compiled:
            compiled.append(build())
        value, slopes = compiled[0](np.log([1.5, 0.7, 1.0, 1.9]))
        return np.concatenate([[value], slopes])

    return run


def prediction(n: int) -> Row:
    """Means and standard deviations at 500 points, without the fit."""
    x, y = _points(n)
    new = np.random.default_rng(1).standard_normal((500, 3))
    gp = ExactGP(KERNEL, x, y, 0.1)
    peer = _sklearn_regressor().fit(x, y)

    def ours():
        mean, variance = gp.predict(new)
        return np.array([mean, np.sqrt(variance)])

    return Row(
        "GP prediction",
        f"n={n}, 500 new",
        ours,
        {"scikit-learn": lambda: np.array(peer.predict(new, return_std=True))},
        1e-7,
    )


def _series(n: int):
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, n / 10, n))
    return times, np.sin(times) + 0.3 * rng.standard_normal(n)


def _in_time(name: str, n: int, kernel, term, tolerance: float) -> Row:
    times, y = _series(n)

    def celerite():
        import celerite2

        gp = celerite2.GaussianProcess(term())
        gp.compute(times, diag=np.full(n, 0.1))
        return np.array([gp.log_likelihood(y)])

    return Row(
        name,
        f"n={n}",
        lambda: np.array([StateSpaceGP(kernel, times, y, 0.1).log_marginal_likelihood()]),
        {"celerite2": celerite},
        tolerance,
    )


def exponential(n: int) -> Row:
    """The likelihood of a damped random walk at irregular times."""

    def term():
        from celerite2 import terms

        return terms.RealTerm(a=1.0, c=0.5)

    return _in_time("series, Matern 1/2", n, Matern12(2.0), term, 1e-9)


def quasi_periodic(n: int) -> Row:
    """The likelihood of a damped wave at irregular times."""

    def term():
        from celerite2 import terms

        return terms.ComplexTerm(a=1.0, b=0.0, c=0.2, d=2 * np.pi / 3.0)

    return _in_time("series, quasi-periodic", n, Matern12(5.0) * Cosine(3.0), term, 1e-9)


def oscillator(n: int) -> Row:
    """The likelihood of a damped oscillator at irregular times."""

    def term():
        from celerite2 import terms

        return terms.SHOTerm(sigma=1.0, rho=3.0, Q=4.0)

    return _in_time("series, oscillator", n, Oscillator(3.0, 4.0), term, 1e-9)


def matern(n: int) -> Row:
    """The likelihood of a Matern-3/2 process; the peer's is the limit eps -> 0 of its term."""

    def term():
        from celerite2 import terms

        return terms.Matern32Term(sigma=1.0, rho=2.0, eps=1e-5)

    return _in_time("series, Matern 3/2", n, Matern32(2.0), term, 1e-5)


def classification(n: int) -> Row:
    """Laplace's approximation of a logistic classifier: the evidence."""
    x, y = _points(n)
    labels = np.where(y > 0, 1.0, -1.0)

    def sklearn():
        from sklearn.gaussian_process import GaussianProcessClassifier
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel

        kernel = ConstantKernel(1.5) * RBF([0.7, 1.0, 1.9])
        peer = GaussianProcessClassifier(kernel, optimizer=None).fit(x, labels)
        return np.array([peer.log_marginal_likelihood_value_])

    return Row(
        "Laplace, logistic",
        f"n={n}, d=3",
        lambda: np.array([laplace(KERNEL, x, labels, Logit()).evidence]),
        {"scikit-learn": sklearn},
        1e-6,
    )
