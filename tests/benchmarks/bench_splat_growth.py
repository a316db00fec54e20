"""The splat growth lab beside plain NumPy: relocation, soft histograms, a step on some pixels."""

from collections.abc import Iterator

import numpy as np
from scipy.special import comb

from kernellab.commands.bench import Row
from kernellab.compute.splatting import PlaneLoss, start_plane
from kernellab.datasets import photograph
from kernellab.methods.gaussian_splatting import splat_growth as sg


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for count in (1_000, 100_000):
        yield relocating(count)
    for size in (64, 128):
        yield histograms(size)
    for side in (64, 256):
        yield skipping(side)


def relocating(count: int) -> Row:
    """Opacities and scales of up to 20 copies; the peer sums over all splats at once."""
    rng = np.random.default_rng(0)
    opacity, copies = rng.uniform(0.01, 0.99, count), rng.integers(1, 21, count)

    def plain_numpy():
        k = np.arange(1, 21)
        thin = 1.0 - (1.0 - opacity) ** (1.0 / copies)
        signs = -((-1.0) ** k) / np.sqrt(k)
        terms = comb(copies[:, None], k) * signs * thin[:, None] ** k
        return thin, opacity / terms.sum(axis=1)

    peers = {"plain NumPy": plain_numpy}
    return Row("relocation", f"n={count}", lambda: sg.relocation(opacity, copies), peers)


def histograms(size: int) -> Row:
    """Soft histograms of 8 x 8 windows; the peer adds 64 shifted pictures."""
    image = photograph("coffee", size)

    def plain_numpy():
        away = np.abs(image[..., None] * 3 - np.arange(4))
        counts = np.maximum(0.0, 1.0 - away).reshape(size, size, 12)
        wide = np.pad(counts, ((4, 3), (4, 3), (0, 0)), mode="edge")
        parts = (wide[i : i + size, j : j + size] for i in range(8) for j in range(8))
        return sum(parts) / 64

    peers = {"plain NumPy": plain_numpy}
    return Row("soft histograms", f"{size} x {size}", lambda: sg.patch_features(image, 8), peers)


def skipping(side: int) -> Row:
    """Gradient of 100 splats from every fourth pixel; the peer draws all and weighs the rest 0."""
    image = np.kron(photograph("coffee", 64), np.ones((side // 64, side // 64, 1)))
    splats = start_plane(image, 100, rng=0)
    chosen = np.zeros((side, side))
    chosen[::4, ::4] = 16.0
    masked = PlaneLoss(image, chosen, background=np.zeros(3))
    return Row(
        "every fourth pixel",
        f"{side} x {side}",
        lambda: sg.strided_gradients(image, splats, 4)[1]["means"],
        {"all pixels, weighted": lambda: masked(splats)[1]["means"]},
    )
