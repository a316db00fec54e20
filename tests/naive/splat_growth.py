"""Plain references of the splat growth lab: the formulas as the papers write them."""

import math

import numpy as np


def relocation(opacity: float, copies: int) -> tuple[float, float]:
    """Opacity and scale factor by the double sum, in exact order of the paper."""
    thin = 1.0 - (1.0 - opacity) ** (1.0 / copies)
    total = sum(
        math.comb(i - 1, k) * (-1) ** k * thin ** (k + 1) / math.sqrt(k + 1)
        for i in range(1, copies + 1)
        for k in range(i)
    )
    return thin, opacity / total


def line_integral(opacity: float, scale: float, copies: int) -> float:
    """Integral of the composite opacity of m coinciding splats, by a fine sum."""
    x = np.linspace(-14.0 * scale, 14.0 * scale, 20001)
    values = [1.0 - (1.0 - opacity * math.exp(-0.5 * (v / scale) ** 2)) ** copies for v in x]
    return math.fsum(values) * (x[1] - x[0])


def strided_pixels(image: np.ndarray, stride: int, phase) -> np.ndarray:
    """Every stride-th pixel, one by one."""
    rows = range(phase[0], image.shape[0], stride)
    columns = range(phase[1], image.shape[1], stride)
    return np.array([[image[r, c] for c in columns] for r in rows])


def soft_histograms(image: np.ndarray, size: int, bins: int) -> np.ndarray:
    """Mean over a window of how much each value counts for each bin; pixels repeat at the rim."""
    height, width, channels = image.shape
    result = np.zeros((height, width, channels * bins))
    before = size // 2
    for r in range(height):
        for c in range(width):
            for i in range(r - before, r - before + size):
                for j in range(c - before, c - before + size):
                    pixel = image[min(max(i, 0), height - 1), min(max(j, 0), width - 1)]
                    for channel, value in enumerate(pixel):
                        low = min(int(value * (bins - 1)), bins - 2)
                        share = value * (bins - 1) - low
                        result[r, c, channel * bins + low] += 1 - share
                        result[r, c, channel * bins + low + 1] += share
    return result / size**2
