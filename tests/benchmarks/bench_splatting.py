"""Splats beside dense renderers in NumPy, autograd and PyTorch on one thread.

The dense renderers evaluate every splat in every pixel, which is what array libraries can do
without loops of their own. ``PyTorch, boxes`` goes splat by splat over bounding boxes, and
``PyTorch, strips`` takes eight rows at a time with the splats that reach them.
"""

from collections.abc import Iterator

import numpy as np

from kernellab.commands.bench import Row
from kernellab.compute import splatting as sp

SIZES = [(125, 32), (500, 64), (1000, 128), (3000, 128)]
DENSE = [(125, 32), (250, 32), (500, 64)]  # what fits in memory and patience


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for n, side in DENSE:
        yield forward(n, side)
    for n, side in SIZES:
        yield tiles(n, side)
    for n, side in DENSE:
        yield backward(n, side)
    for n, side in ((1000, 128), (3000, 128)):
        yield boxes(n, side)
        yield boxes_backward(n, side)
    for n in (250, 500, 1000):
        yield summed(n, 64)
    for n in (500, 2000):
        yield projection(n)


def scene(n: int, side: int):
    """Means, covariances, opacities and colours of splats of 1 to 2.5 pixels.

    Their opacities keep the transmittance above the stop, which the peers do not have.
    """
    rng = np.random.default_rng(0)
    covariances = sp.plane_covariances(np.log(rng.uniform(1, 2.5, (n, 2))), rng.uniform(0, 3, n))
    opacities = rng.uniform(0.05, 0.5, n)
    return rng.uniform(0, side, (n, 2)), covariances, opacities, rng.random((n, 3))


def ours(inputs, side: int, blend: str = "alpha"):
    return sp.rasterise(*inputs, height=side, width=side, blend=blend)


def ours_backward(inputs, side: int, upstream):
    slopes = sp.rasterise_gradients(ours(inputs, side), upstream)
    return flat(slopes.means, slopes.covariances, slopes.opacities, slopes.features)


def flat(*slopes):
    return np.concatenate([np.ravel(part) for part in slopes])


def dense(xp, inputs, side: int, blend: str = "alpha"):
    """Return the image with NumPy or a library that reads like it."""
    means, covariances, opacities, features = inputs
    centres = np.arange(side) + 0.5
    columns = np.tile(centres, side)[:, None] - means[:, 0]
    rows = np.repeat(centres, side)[:, None] - means[:, 1]
    xx, xy, yy = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    q = 0.5 * (yy * columns**2 - 2.0 * xy * columns * rows + xx * rows**2) / (xx * yy - xy**2)
    a = xp.where(q <= sp.CUT, opacities * xp.exp(-q), 0.0)
    if blend == "alpha":
        a = xp.where(a > sp.LARGEST_ALPHA, sp.LARGEST_ALPHA, a)
        logs = xp.log(1.0 - a)  # autograd has no derivative of a running product
        a = a * xp.exp(xp.cumsum(logs, axis=1) - logs)
    return xp.reshape(xp.dot(a, features), (side, side, 3))


def autograd_backward(inputs, side: int, upstream):
    import autograd
    import autograd.numpy as anp

    def loss(*inputs):
        return anp.sum(dense(anp, inputs, side) * upstream)

    return flat(*autograd.grad(loss, (0, 1, 2, 3))(*inputs))


def torch_tensors(inputs):
    import torch

    torch.set_num_threads(1)
    return torch, [torch.from_numpy(part).requires_grad_() for part in inputs]


def torch_dense(torch, inputs, side: int):
    means, covariances, opacities, features = inputs
    centres = torch.arange(side, dtype=torch.float64) + 0.5
    columns = centres.repeat(side)[:, None] - means[:, 0]
    rows = centres.repeat_interleave(side)[:, None] - means[:, 1]
    xx, xy, yy = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    q = 0.5 * (yy * columns**2 - 2.0 * xy * columns * rows + xx * rows**2) / (xx * yy - xy**2)
    a = torch.where(q <= sp.CUT, opacities * torch.exp(-q), 0.0).clamp(max=sp.LARGEST_ALPHA)
    through = torch.cumprod(1.0 - a, dim=1)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=1)
    return ((a * before) @ features).reshape(side, side, 3)


def torch_boxes(torch, inputs, side: int):
    """The image, splat by splat over bounding boxes; without derivatives."""
    means, covariances, opacities, features = inputs
    half = torch.sqrt(2.0 * sp.CUT * torch.diagonal(covariances, dim1=1, dim2=2))
    low = torch.ceil(means - half - 0.5).clamp(0, side).long().tolist()
    high = torch.floor(means + half + 0.5).clamp(0, side).long().tolist()
    conics = torch.linalg.inv(covariances)
    centres = torch.arange(side, dtype=torch.float64) + 0.5
    image = torch.zeros((side, side, 3), dtype=torch.float64)
    light = torch.ones((side, side), dtype=torch.float64)
    for i, ((x0, y0), (x1, y1)) in enumerate(zip(low, high, strict=True)):
        if x0 >= x1 or y0 >= y1:
            continue
        dx = centres[x0:x1] - means[i, 0]
        dy = (centres[y0:y1] - means[i, 1])[:, None]
        k = conics[i]
        q = 0.5 * (k[0, 0] * dx * dx + k[1, 1] * dy * dy) + k[0, 1] * dx * dy
        a = (torch.exp(-q) * opacities[i]).clamp(max=sp.LARGEST_ALPHA) * (q <= sp.CUT)
        w = a * light[y0:y1, x0:x1]
        image[y0:y1, x0:x1] += w[:, :, None] * features[i]
        light[y0:y1, x0:x1] -= w
    return image


def run_torch(render, inputs, side: int):
    torch, tensors = torch_tensors(inputs)
    with torch.no_grad():
        return render(torch, tensors, side).numpy()


def torch_backward(inputs, side: int, upstream):
    torch, tensors = torch_tensors(inputs)
    image = torch_dense(torch, tensors, side)
    image.backward(torch.from_numpy(upstream))
    slopes = [tensor.grad.numpy() for tensor in tensors]
    slopes[1] = 0.5 * (slopes[1] + slopes[1].transpose(0, 2, 1))
    return flat(*slopes)


def forward(n: int, side: int) -> Row:
    inputs = scene(n, side)
    peers = {
        "NumPy, dense": lambda: dense(np, inputs, side),
        "PyTorch, dense": lambda: run_torch(torch_dense, inputs, side),
        "PyTorch, boxes": lambda: run_torch(torch_boxes, inputs, side),
    }
    return Row("splats to image", f"n={n}, {side}x{side}", lambda: ours(inputs, side).image, peers)


def tiles(n: int, side: int) -> Row:
    inputs = scene(n, side)
    peers = {
        "own, 16 x 16 tiles": lambda: sp.rasterise_tiles(*inputs, height=side, width=side)[0],
    }
    size = f"n={n}, {side}x{side}"
    return Row("splats to image, by tiles", size, lambda: ours(inputs, side).image, peers)


def boxes(n: int, side: int) -> Row:
    inputs = scene(n, side)
    peers = {"PyTorch, boxes": lambda: run_torch(torch_boxes, inputs, side)}
    size = f"n={n}, {side}x{side}"
    return Row("splats to large image", size, lambda: ours(inputs, side).image, peers)


def backward(n: int, side: int) -> Row:
    """Forward and backward."""
    inputs = scene(n, side)
    upstream = np.random.default_rng(1).standard_normal((side, side, 3))

    def autograd_sides():
        slopes = autograd_backward(inputs, side, upstream)
        one, other = slopes[: 2 * n], slopes[2 * n : 6 * n].reshape(n, 2, 2)
        return flat(one, 0.5 * (other + other.transpose(0, 2, 1)), slopes[6 * n :])

    peers = {
        "autograd, dense": autograd_sides,
        "PyTorch, dense": lambda: torch_backward(inputs, side, upstream),
    }
    size = f"n={n}, {side}x{side}"
    return Row("image and gradients", size, lambda: ours_backward(inputs, side, upstream), peers)


def boxes_backward(n: int, side: int) -> Row:
    """Forward and backward; PyTorch takes strips, since the whole would not fit in memory."""
    inputs = scene(n, side)
    upstream = np.random.default_rng(1).standard_normal((side, side, 3))

    def torch_strips():
        torch, tensors = torch_tensors(inputs)
        for top in range(0, side, 8):
            image = torch_strip(torch, tensors, side, top, top + 8)
            image.backward(torch.from_numpy(upstream[top : top + 8]))
        slopes = [tensor.grad.numpy() for tensor in tensors]
        slopes[1] = 0.5 * (slopes[1] + slopes[1].transpose(0, 2, 1))
        return flat(*slopes)

    size = f"n={n}, {side}x{side}"
    return Row(
        "large image and gradients",
        size,
        lambda: ours_backward(inputs, side, upstream),
        {"PyTorch, strips": torch_strips},
    )


def torch_strip(torch, inputs, side: int, top: int, bottom: int):
    """Rows top .. bottom - 1, from the splats that reach them."""
    means, covariances, _, _ = inputs
    half = torch.sqrt(2.0 * sp.CUT * covariances[:, 1, 1]) + 1.0
    near = torch.nonzero((means[:, 1] > top - half) & (means[:, 1] < bottom + half))[:, 0]
    means, covariances, opacities, features = (part[near] for part in inputs)
    columns = (torch.arange(side, dtype=torch.float64) + 0.5).repeat(bottom - top)
    rows = (torch.arange(top, bottom, dtype=torch.float64) + 0.5).repeat_interleave(side)
    dx, dy = columns[:, None] - means[:, 0], rows[:, None] - means[:, 1]
    xx, xy, yy = covariances[:, 0, 0], covariances[:, 0, 1], covariances[:, 1, 1]
    q = 0.5 * (yy * dx**2 - 2.0 * xy * dx * dy + xx * dy**2) / (xx * yy - xy**2)
    a = torch.where(q <= sp.CUT, opacities * torch.exp(-q), 0.0).clamp(max=sp.LARGEST_ALPHA)
    through = torch.cumprod(1.0 - a, dim=1)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=1)
    return ((a * before) @ features).reshape(bottom - top, side, 3)


def summed(n: int, side: int) -> Row:
    """Sums of splats, in any order."""
    inputs = scene(n, side)
    peers = {"NumPy, dense": lambda: dense(np, inputs, side, "sum")}
    size = f"n={n}, {side}x{side}"
    return Row("sums of splats", size, lambda: ours(inputs, side, "sum").image, peers)


def projection(n: int) -> Row:
    """Splats of a space to covariances in an image."""
    from kernellab.compute.cameras import Camera

    rng = np.random.default_rng(0)
    camera = Camera.look_at((4, 1, 1), (0, 0, 0), height=64, width=64)
    means, turns = rng.uniform(-1, 1, (n, 3)), rng.standard_normal((n, 4))
    scales = rng.uniform(-4, -2, (n, 3))

    def batched():
        seen = means @ camera.rotation.T + camera.translation
        slope, (fx, fy) = np.zeros((n, 2, 3)), camera.focal
        slope[:, 0, 0], slope[:, 1, 1] = fx / seen[:, 2], fy / seen[:, 2]
        slope[:, 0, 2] = -fx * seen[:, 0] / seen[:, 2] ** 2
        slope[:, 1, 2] = -fy * seen[:, 1] / seen[:, 2] ** 2
        half = slope @ camera.rotation @ (sp.quaternion_rotations(turns) * np.exp(scales)[:, None])
        return half @ half.transpose(0, 2, 1) + 0.3 * np.eye(2)

    ours = lambda: sp.project(means, turns, scales, camera).covariances  # noqa: E731
    return Row("projection of splats", f"n={n}", ours, {"NumPy, batched": batched})
