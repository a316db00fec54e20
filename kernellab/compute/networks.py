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
import numpy as plain  # where derivatives are written out

from kernellab.compute.checks import as_rng, between, integer, positive

__all__ = ["Adam", "dense_network", "network_jacobian", "network_output", "network_pullback"]

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


def network_pullback(parameters: Layers, x):
    """Return a tanh network's outputs, and the map from sensitivities to derivatives.

    The same as reverse-mode derivatives of ``network_output``, written out: several times faster
    for small networks. Leading axes are networks side by side: W (..., inputs, outputs), b
    (..., outputs) and x (..., n, inputs) may carry them, and are matched as NumPy matches shapes.

    Parameters: parameters as from ``dense_network``, perhaps with leading axes; x (..., n, inputs).
    Returns outputs (..., n, outputs) and pullback: sensitivities in the shape of the outputs ->
    (one pair (dW, db) a layer, dx), derivatives of sum(sensitivities * outputs); they have the
    leading axes of the outputs. Raises ValueError for layers or inputs that do not fit.
    Cost: O(n x number of weights), the pullback twice that.
    """
    x = _checked_input(parameters, x)
    inputs = [x]
    for weights, biases in parameters[:-1]:
        inputs.append(plain.tanh(plain.matmul(inputs[-1], weights) + biases[..., None, :]))
    weights, biases = parameters[-1]
    outputs = plain.matmul(inputs[-1], weights) + biases[..., None, :]

    def pullback(sensitivities):
        s = plain.asarray(sensitivities, dtype=plain.float64)
        if s.shape != outputs.shape:
            raise ValueError(f"sensitivities must have shape {outputs.shape}, got {s.shape}")
        gradients = []
        for place in range(len(parameters) - 1, -1, -1):
            h, weights = inputs[place], parameters[place][0]
            gradients.append((plain.matmul(plain.swapaxes(h, -1, -2), s), plain.sum(s, axis=-2)))
            s = plain.matmul(s, plain.swapaxes(weights, -1, -2))
            if place:
                s = s * (1.0 - h * h)
        return gradients[::-1], s

    return outputs, pullback


def network_jacobian(parameters: Layers, x):
    """Return the derivatives of a tanh network's one output in all its weights, a row a point.

    Columns are in the order W_1 (row by row), b_1, W_2, b_2, ...

    Parameters: parameters as from ``dense_network``, with one output; x (n, inputs).
    Returns (n, P). Raises ValueError for layers or inputs that do not fit, or more outputs.
    Cost: O(n P).
    """
    x = _checked_input(parameters, x)
    if x.ndim != 2 or parameters[-1][0].shape[-1] != 1:
        raise ValueError(
            f"network_jacobian takes inputs (n, d) and one output, got inputs {x.shape} and "
            f"{parameters[-1][0].shape[-1]} outputs"
        )
    inputs = [x]
    for weights, biases in parameters[:-1]:
        inputs.append(plain.tanh(plain.dot(inputs[-1], weights) + biases))
    s, blocks = plain.ones((len(x), 1)), []
    for place in range(len(parameters) - 1, -1, -1):
        h = inputs[place]
        blocks += [s, (h[:, :, None] * s[:, None, :]).reshape(len(x), -1)]
        if place:
            s = plain.dot(s, parameters[place][0].T) * (1.0 - h * h)
    return plain.hstack(blocks[::-1])


def _checked_input(parameters: Layers, x):
    x = plain.asarray(x, dtype=plain.float64)
    if len(parameters) == 0:
        raise ValueError("parameters must hold at least one layer, got none")
    width = x.shape[-1] if x.ndim >= 2 else None
    for place, (weights, biases) in enumerate(parameters):
        if width is None or weights.ndim < 2 or weights.shape[-2] != width:
            raise ValueError(
                f"x (..., n, inputs) and the layers must follow each other, got x {x.shape} and "
                f"layers {[w.shape for w, _ in parameters]}"
            )
        width = weights.shape[-1]
        if biases.shape[-1:] != (width,):
            raise ValueError(
                f"parameters[{place}] must have {width} biases, got shape {biases.shape}"
            )
    return x


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

    def carry(self, parameters, rows) -> None:
        """Go on with other parameters, whose rows come from rows of those before.

        Row i of each array takes the running means of row rows[i], and starts without any where
        rows[i] is -1 (its first steps are short, since the count of updates goes on).

        Parameters: parameters of the same form, arrays of shape (m, ...); rows (m,), integers.
        Raises ValueError for another form or rows out of range. Cost: O(size of the parameters).
        """
        arrays, rows = list(_arrays(parameters)), plain.asarray(rows)
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise ValueError(f"rows must be a vector of integers, got shape {rows.shape}")
        rows = rows.astype(plain.int64)
        shapes = [(len(rows), *array.shape[1:]) for array in self._parameters]
        if [a.shape for a in arrays] != shapes or any(a.dtype != plain.float64 for a in arrays):
            raise ValueError(
                f"parameters must be float64 arrays of shapes {shapes}, "
                f"got {[a.shape for a in arrays]}"
            )
        least = min((len(array) for array in self._parameters), default=0)
        if rows.size and (rows.min() < -1 or rows.max() >= least):
            raise ValueError(
                f"rows must lie between -1 and {least - 1}, got {rows.min()} to {rows.max()}"
            )
        known = rows >= 0
        for store in (self._means, self._squares):
            for place, before in enumerate(store):
                store[place] = plain.zeros((len(rows), *before.shape[1:]))
                store[place][known] = before[rows[known]]
        self._parameters = arrays


def _arrays(tree) -> Iterator[np.ndarray]:
    """Yield the arrays of nested lists and tuples, in order."""
    if isinstance(tree, (list, tuple)):
        for branch in tree:
            yield from _arrays(branch)
    elif isinstance(tree, np.ndarray):
        yield tree
    else:
        raise ValueError(f"parameters must be arrays, got {type(tree).__name__}")
