import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from kernellab.compute.networks import (
    Adam,
    dense_network,
    network_jacobian,
    network_output,
    network_pullback,
)


def test_a_network_is_a_chain_of_affine_maps():
    parameters = dense_network([3, 4, 2], 0)
    assert [(w.shape, b.shape) for w, b in parameters] == [((3, 4), (4,)), ((4, 2), (2,))]
    x = np.random.default_rng(0).standard_normal((5, 3))
    (w, b), (v, c) = parameters
    np.testing.assert_allclose(network_output(parameters, x), np.tanh(x @ w + b) @ v + c)


def test_adam_takes_the_papers_first_steps():
    parameters = [np.array([1.0, -2.0]), (np.array([[0.5]]),)]
    adam = Adam(parameters, step=0.1)
    adam.update([np.array([3.0, -0.2]), (np.array([[0.0]]),)])
    # After one step mhat = g and vhat = g^2: each coordinate moves by the step, whatever its slope.
    np.testing.assert_allclose(parameters[0], [0.9, -1.9], atol=1e-7)
    np.testing.assert_array_equal(parameters[1][0], [[0.5]])
    adam.update([np.array([1.0, -0.2]), (np.array([[0.0]]),)])
    mean = (0.9 * 0.1 * 3 + 0.1 * 1) / (1 - 0.9**2)
    square = (0.999 * 0.001 * 9 + 0.001 * 1) / (1 - 0.999**2)
    assert parameters[0][0] == pytest.approx(0.9 - 0.1 * mean / np.sqrt(square), abs=1e-7)


def test_training_fits():
    x = np.linspace(-2, 2, 60)[:, None]
    parameters = dense_network([1, 20, 1], 1)

    def loss(p):
        return anp.mean((network_output(p, x) - anp.sin(2 * x)) ** 2)

    adam = Adam(parameters, step=0.02)
    for _ in range(400):
        adam.update(autograd.grad(loss)(parameters))
    assert loss(parameters) < 0.01


@pytest.mark.parametrize("sizes", [[3, 2], [3, 4, 2], [3, 4, 5, 2]])
def test_the_pullback_is_autograds(sizes):
    rng = np.random.default_rng(0)
    parameters = [(w, rng.standard_normal(b.shape)) for w, b in dense_network(sizes, 1)]
    x, s = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))

    def total(p, x):
        return anp.sum(s * network_output(p, x))

    outputs, pullback = network_pullback(parameters, x)
    np.testing.assert_allclose(outputs, network_output(parameters, x), atol=1e-14)
    gradients, dx = pullback(s)
    np.testing.assert_allclose(dx, autograd.grad(total, 1)(parameters, x), atol=1e-12)
    for ours, theirs in zip(gradients, autograd.grad(total)(parameters, x), strict=True):
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-12)
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-12)


def test_networks_side_by_side():
    rng = np.random.default_rng(0)
    single = [dense_network([2, 4, 1], seed) for seed in range(3)]
    together = [
        tuple(np.stack([p[i][j] for p in single]) for j in (0, 1)) for i in range(len(single[0]))
    ]
    x, s = rng.standard_normal((5, 2)), rng.standard_normal((3, 5, 1))
    outputs, pullback = network_pullback(together, x)
    gradients, _ = pullback(s)
    for i, parameters in enumerate(single):
        alone, back = network_pullback(parameters, x)
        np.testing.assert_allclose(outputs[i], alone)
        np.testing.assert_allclose(gradients[0][0][i], back(s[i])[0][0][0], atol=1e-13)


def test_the_jacobian_is_one_pullback_a_point():
    parameters = dense_network([2, 4, 3, 1], 0)
    x = np.random.default_rng(0).standard_normal((5, 2))
    jacobian = network_jacobian(parameters, x)
    for row, point in zip(jacobian, x, strict=True):
        gradients, _ = network_pullback(parameters, point[None])[1](np.ones((1, 1)))
        np.testing.assert_allclose(row, np.concatenate([g.ravel() for w in gradients for g in w]))


BAD = [
    (lambda: network_pullback([], np.ones((2, 1))), "at least one layer"),
    (lambda: network_pullback(dense_network([2, 1], 0), np.ones((2, 3))), "follow each other"),
    (lambda: network_pullback(dense_network([2, 1], 0), np.ones(2)), "follow each other"),
    (lambda: network_pullback([(np.ones((2, 1)), np.ones(3))], np.ones((2, 2))), "1 biases"),
    (
        lambda: network_pullback(dense_network([2, 1], 0), np.ones((4, 2)))[1](np.ones((3, 1))),
        "sensitivities must",
    ),
    (lambda: network_jacobian(dense_network([2, 2], 0), np.ones((4, 2))), "one output"),
    (lambda: dense_network([3], 0), "sizes must"),
    (lambda: dense_network([3, 0], 0), r"sizes\[1\] must"),
    (lambda: Adam([np.zeros(2)], step=0.0), "step must"),
    (lambda: Adam([np.zeros(2)], decay=(1.0, 0.5)), r"decay\[0\] must"),
    (lambda: Adam([np.zeros(2, dtype=int)]), "float64"),
    (lambda: Adam(["a"]), "parameters must be arrays"),
    (lambda: Adam([np.zeros(2)]).update([np.zeros(3)]), "gradients must"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
