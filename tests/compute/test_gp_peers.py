"""Evidences that another library finds: GPflow 2.11, float64, jitter 1e-10, on the same data.

GPflow asks for an older NumPy than ours, so its numbers stand here instead of a run beside ours.
Other peers (scikit-learn, GPyTorch, tinygp, celerite2) are compared by ``kernellab bench``.
"""

import numpy as np
import pytest

from kernellab.compute.approximate_gp import variational
from kernellab.compute.gp import ExactGP
from kernellab.compute.kernels import Gaussian, Stretched
from kernellab.compute.likelihoods import Probit
from kernellab.compute.sparse_gp import SparseGP

KERNEL = 1.5 * Stretched(Gaussian(1.0), (0.7, 1.0, 1.9))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 3))
    return x, np.sin(x[:, 0]) + 0.1 * rng.standard_normal(300)


def test_exact_evidence(data):
    evidence = ExactGP(KERNEL, *data, 0.1).log_marginal_likelihood()
    assert evidence == pytest.approx(-50.419420213543646, abs=1e-10)


def test_bound_of_thirty_inducing_points(data):
    x, y = data
    # Its jitter on the inducing points lowers the bound by about 1e-6.
    assert SparseGP(KERNEL, x, y, 0.1, x[::10]).bound() == pytest.approx(-335.43324167, abs=1e-5)


def test_variational_evidence_of_a_probit_classifier(data):
    x, y = data
    evidence = variational(KERNEL, x, np.where(y > 0, 1.0, -1.0), Probit()).evidence
    assert evidence == pytest.approx(-63.27782988842729, abs=1e-6)
