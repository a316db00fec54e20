"""Plain versions of the surface lab's compiled passes: one loop a formula."""

import numpy as np


def spline(t):
    """The quadratic B-spline."""
    t = abs(t)
    return 0.75 - t * t if t < 0.5 else 0.5 * (1.5 - t) ** 2 if t < 1.5 else 0.0


def spline_field(points, nodes, width, weights):
    """sum_i alpha_i prod_a b((x_a - x_ia)/h), every node asked."""
    return np.array(
        [
            sum(
                alpha * np.prod([spline(t) for t in (x - node) / width])
                for node, alpha in zip(nodes, weights, strict=True)
            )
            for x in points
        ]
    )


def see(surfels, origin, direction, solidity):
    """Distance, light and largest share of one ray, hits sorted at the end."""
    hits = []
    for c, n, (a1, a2), (s1, s2), o in zip(*surfels, strict=True):
        slope = direction @ n
        if abs(slope) < 1e-9:
            continue
        t = (c - origin) @ n / slope
        if t <= 0:
            continue
        aside = origin + t * direction - c
        power = (0.5 * ((aside @ a1 / s1) ** 2 + (aside @ a2 / s2) ** 2)) ** solidity
        if power <= 4.5:
            hits.append((t, min(0.99, o * np.exp(-power))))
    light, total, mean, most = 1.0, 0.0, 0.0, 0.0
    for t, a in sorted(hits):
        if a < 1e-5:
            continue
        w, light = a * light, light * (1 - a)
        total, mean, most = total + w, mean + w * t, max(most, w)
    return (mean / total if total else np.nan), light, (most / total if total else 0.0)


def ray_opacity(point, eye, means, covariances, opacities):
    """1 - prod(1 - a_i), each splat at its peak or at the query, whichever comes first."""
    d, light = point - eye, 1.0
    for m, cov, o in zip(means, covariances, opacities, strict=True):
        p = np.linalg.inv(cov)
        t = min(d @ p @ (m - eye) / (d @ p @ d), 1.0)
        gap = eye + t * d - m
        q = 0.5 * gap @ p @ gap
        if t > 0 and q <= 4.5:
            light *= 1.0 - min(0.99, o * np.exp(-q))
    return 1.0 - light


def match_blocks(left, right, least, largest, radius, slack):
    """Every block compared at every disparity, then matched back."""
    height, width, _ = left.shape
    gaps = np.full((largest - least + 1, height, width), np.nan)
    for k in range(len(gaps)):
        d = least + k
        gaps[k, :, d:] = np.abs(left[:, d:] - right[:, : width - d]).sum(axis=2)
    costs = np.full_like(gaps, np.inf)
    for k in range(len(gaps)):
        for y in range(height):
            for x in range(least + k, width):
                block = gaps[
                    k,
                    max(y - radius, 0) : y + radius + 1,
                    max(x - radius, least + k) : x + radius + 1,
                ]
                costs[k, y, x] = block.mean()
    out = np.full((height, width), np.nan)
    for y in range(height):
        for x in range(width):
            best = int(np.argmin(costs[:, y, x]))
            if best in (0, len(costs) - 1) or not np.isfinite(costs[best + 1, y, x]):
                continue
            there = x - least - best
            back = [
                costs[k, y, there + least + k] if there + least + k < width else np.inf
                for k in range(len(costs))
            ]
            if abs(int(np.argmin(back)) - best) > slack:
                continue
            one, two, three = costs[best - 1 : best + 2, y, x]
            bend = one - 2 * two + three
            shift = 0.5 * (one - three) / bend if bend > 1e-12 else 0.0
            out[y, x] = least + best + min(max(shift, -0.5), 0.5)
    return out


def fuse(points, cameras, depths, truncation):
    """Votes of all cameras, one point at a time."""
    out = np.full(len(points), np.nan)
    for n, point in enumerate(points):
        votes = []
        for camera, depth in zip(cameras, depths, strict=True):
            x = camera.to_camera(point[None])[0]
            if x[2] <= camera.near:
                continue
            flat = x[:2] if camera.orthographic else x[:2] / x[2]
            u, v = flat * camera.focal + camera.centre
            if 0 <= u < camera.width and 0 <= v < camera.height:
                gap = (depth[int(v), int(u)] - x[2]) / truncation
                if gap >= -1:
                    votes.append(min(gap, 1.0))
        if votes:
            out[n] = np.mean(votes)
    return out
