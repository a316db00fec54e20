import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from kernellab.compute.networks import Adam, dense_network, network_output


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


BAD = [
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
