"""Small dense networks, and Adam to train them: the baselines that kernels are compared with.

Derivatives come from autograd: write the loss with ``autograd.numpy`` and ``network_output``.

>>> import autograd
>>> import autograd.numpy as np
>>> parameters = dense_network([1, 16, 1], rng=0)
>>> x = np.linspace(-1, 1, 50)[:, None]
>>> loss = lambda p: np.mean((network_output(p, x) - x**2) ** 2)
>>> before, adam = loss(parameters), Adam(parameters, step=0.02)
>>> for _ in range(100):
...     adam.update(autograd.grad(loss)(parameters))
>>> bool(loss(parameters) < 0.1 * before)
True
"""

from collections.abc import Callable, Iterator

import autograd.numpy as np

from kernellab.compute.checks import as_rng, between, integer, positive

__all__ = ["Adam", "dense_network", "network_output"]

Layers = list[tuple[np.ndarray, np.ndarray]]


def dense_network(sizes, rng) -> Layers:
    """Return the parameters of a network with dense layers of the given sizes.

    Weights are normal with variance 1/(inputs of the layer), biases 0.

    Parameters: sizes, at least two numbers >= 1 (inputs, hidden ..., outputs); rng, Generator or
    seed. Returns one pair (W (inputs, outputs), b (outputs,)) a layer. Raises ValueError for other
    sizes. Cost: O(number of weights).
    """
    sizes = [integer(f"sizes[{i}]", size, low=1) for i, size in enumerate(sizes)]
    if len(sizes) < 2:
        raise ValueError(f"sizes must name inputs and outputs, got {sizes}")
    rng = as_rng(rng)
    return [
        (rng.standard_normal((m, n)) / np.sqrt(m), np.zeros(n))
        for m, n in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def network_output(parameters: Layers, x, activation: Callable = np.tanh):
    """Return what the network makes of inputs; the last layer has no activation.

    Parameters: parameters as from ``dense_network``; x (n, inputs); activation, written with
    ``autograd.numpy`` for derivatives. Returns (n, outputs). Cost: O(n x number of weights).
    """
    for weights, biases in parameters[:-1]:
        x = activation(np.dot(x, weights) + biases)
    weights, biases = parameters[-1]
    return np.dot(x, weights) + biases


class Adam:
    """Adam: gradient steps, each coordinate scaled by a running mean of its squared gradients.

    m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, p <- p - step mhat/(sqrt(vhat) + 1e-8) with
    mhat = m/(1 - b1^t) and vhat = v/(1 - b2^t).

    Parameters
    ----------
    parameters : an array, or (nested) lists or tuples of arrays; changed in place by ``update``
    step : > 0; the attribute may be changed between updates
    decay : (b1, b2), both in [0, 1)

    Raises
    ------
    ValueError : another step or decay, parameters that are not float64 arrays, or gradients of
        another form.

    Cost: O(number of parameters) an update. Source: Kingma and Ba 2015, algorithm 1.
    """

    def __init__(self, parameters, step: float = 1e-3, decay=(0.9, 0.999)):
        self.step = positive("step", step)
        self._decay = tuple(between(f"decay[{i}]", decay[i], 0.0, 1.0 - 1e-12) for i in (0, 1))
        self._parameters = list(_arrays(parameters))
        for array in self._parameters:
            if array.dtype != np.float64:
                raise ValueError(f"parameters must be float64 arrays, got dtype {array.dtype}")
        self._means = [np.zeros_like(array) for array in self._parameters]
        self._squares = [np.zeros_like(array) for array in self._parameters]
        self._updates = 0

    def update(self, gradients) -> None:
        """Take one step down; ``gradients`` have the form of the parameters."""
        gradients = list(_arrays(gradients))
        shapes = [array.shape for array in self._parameters]
        if [g.shape for g in gradients] != shapes:
            raise ValueError(
                f"gradients must have the parameters' shapes {shapes}, "
                f"got {[g.shape for g in gradients]}"
            )
        self._updates += 1
        first, second = self._decay
        length = self.step / (1.0 - first**self._updates)
        correction = 1.0 - second**self._updates
        for p, g, mean, square in zip(
            self._parameters, gradients, self._means, self._squares, strict=True
        ):
            mean += (1.0 - first) * (g - mean)
            square += (1.0 - second) * (g * g - square)
            p -= length * mean / (np.sqrt(square / correction) + 1e-8)


def _arrays(tree) -> Iterator[np.ndarray]:
    """Yield the arrays of nested lists and tuples, in order."""
    if isinstance(tree, (list, tuple)):
        for branch in tree:
            yield from _arrays(branch)
    elif isinstance(tree, np.ndarray):
        yield tree
    else:
        raise ValueError(f"parameters must be arrays, got {type(tree).__name__}")
