"""Splats, every pixel and every splat in turn: slow, and plain to see.

``dense_image`` is written with autograd's NumPy, so that it also gives derivatives. It stops
nowhere by itself: tell it where, or compare it where the transmittance stays above 1e-4.
"""

import math

import autograd.numpy as np
import numpy as plain


def pixel_image(
    means,
    covariances,
    opacities,
    features,
    background,
    height,
    width,
    blend="alpha",
    solidity=1.0,
    cut=4.5,
):
    """Return image, transmittance, last and hits; splats stand in order, front to back."""
    count, channels = features.shape
    image, light = plain.zeros((height, width, channels)), plain.ones((height, width))
    last, hits = plain.zeros((height, width), dtype=int), plain.zeros(count, dtype=int)
    inverses = [plain.linalg.inv(covariance) for covariance in covariances]
    for r in range(height):
        for c in range(width):
            total = 0.0
            for i in range(count):
                d = plain.array([c + 0.5, r + 0.5]) - means[i]
                power = (0.5 * d @ inverses[i] @ d) ** solidity
                if power > cut * (1.0 + 1e-9):
                    continue
                g = math.exp(-power)
                if blend == "alpha":
                    if light[r, c] < 0.999999e-4:
                        break
                    a = min(0.99, opacities[i] * g)
                    image[r, c] += features[i] * a * light[r, c]
                    light[r, c] *= 1.0 - a
                    last[r, c] = i + 1
                else:
                    image[r, c] += features[i] * opacities[i] * g
                    total += opacities[i] * g
                    last[r, c] += 1
                hits[i] += 1
            if blend == "normalised":
                light[r, c] = 1e-8 / (total + 1e-8)
                image[r, c] /= total + 1e-8
            image[r, c] += light[r, c] * background
    return image, light, last, hits


def dense_image(
    means,
    conics,
    opacities,
    features,
    background,
    solidity,
    height,
    width,
    blend="alpha",
    cut=4.5,
    last=None,
):
    """Return image and transmittance from conics (n, 2, 2), all splats in all pixels at once.

    last, shape (height, width): a pixel takes so many splats only.
    """
    rows, columns = plain.mgrid[:height, :width] + 0.5
    dx = columns.ravel()[:, None] - means[:, 0]
    dy = rows.ravel()[:, None] - means[:, 1]
    q = 0.5 * (conics[:, 0, 0] * dx * dx + conics[:, 1, 1] * dy * dy)
    q = q + 0.5 * (conics[:, 0, 1] + conics[:, 1, 0]) * dx * dy
    power = q**solidity
    a = opacities * np.exp(-power) * (power <= cut)
    if last is not None:
        a = a * (plain.arange(len(means)) < plain.ravel(last)[:, None])
    if blend == "alpha":
        a = np.where(a > 0.99, 0.99, a)
        light, image = np.ones(len(dx)), np.zeros((len(dx), features.shape[1]))
        for i in range(len(means)):
            image = image + (a[:, i] * light)[:, None] * features[i]
            light = light * (1.0 - a[:, i])
    elif blend == "sum":
        light, image = np.ones(len(dx)), np.dot(a, features)
    else:
        total = np.sum(a, axis=1) + 1e-8
        light, image = 1e-8 / total, np.dot(a, features) / total[:, None]
    image = image + light[:, None] * background
    return np.reshape(image, (height, width, -1)), np.reshape(light, (height, width))


def distances(means, conics, height, width):
    """Return q of every pixel and splat, shape (height, width, n)."""
    rows, columns = plain.mgrid[:height, :width] + 0.5
    d = plain.stack([columns, rows], axis=-1)[:, :, None] - means
    return 0.5 * plain.einsum("rcni,nij,rcnj->rcn", d, conics, d)


def plane_covariances(log_scales, angles):
    """Return R diag(e^2s) R' for each splat."""
    found = []
    for s, angle in zip(np.exp(log_scales), angles, strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        found.append(np.dot(turn * s**2, turn.T))
    return np.array(found)


def rotation(quaternion):
    """Return the rotation of a quaternion (w, x, y, z), which need not have length 1."""
    w, x, y, z = quaternion / np.sqrt(np.sum(quaternion**2))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def project(means, quaternions, log_scales, camera, blur):
    """Return image means, covariances and depths."""
    places, covariances, depths = [], [], []
    (fx, fy), (cx, cy) = camera.focal, camera.centre
    for mean, quaternion, scales in zip(means, quaternions, np.exp(log_scales), strict=True):
        x, y, z = np.dot(camera.rotation, mean) + camera.translation
        if camera.orthographic:
            places.append(np.array([fx * x + cx, fy * y + cy]))
            slope = np.array([[fx, 0.0, 0.0], [0.0, fy, 0.0]])
        else:
            places.append(np.array([fx * x / z + cx, fy * y / z + cy]))
            slope = np.array([[fx / z, 0.0, -fx * x / z**2], [0.0, fy / z, -fy * y / z**2]])
        turn = rotation(quaternion)
        inside = np.dot(turn * scales**2, turn.T)
        to_image = np.dot(slope, camera.rotation)
        covariances.append(np.dot(np.dot(to_image, inside), to_image.T) + blur * np.eye(2))
        depths.append(z)
    return np.array(places), np.array(covariances), np.array(depths)
