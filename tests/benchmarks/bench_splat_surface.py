"""The surface lab beside its peers: meshes from a grid, block matching, and the sparse solve."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import linalg as sla

from kernellab.commands.bench import Row
from kernellab.compute.isosurface import marching_tetrahedra
from kernellab.datasets.toy_worlds import toy_scene
from kernellab.methods.gaussian_splatting import splat_surface as ss


def rows() -> Iterator[Row]:
    """All rows; a peer is imported when it runs."""
    for side in (32, 64, 128):
        yield meshing(side)
    for size in (64, 128, 256):
        yield matching(size)
    for count in (500, 2000):
        yield solving(count)


def meshing(side: int) -> Row:
    """The area of a ring on a block; tetrahedra make three triangles where cubes make one."""
    scene = toy_scene("torus_and_box")
    low, high = scene.bounds()
    grid, _ = ss.box_grid(low - 0.1, high + 0.1, side)
    values = scene.signed_distance(grid).reshape((side,) * 3)

    def area(vertices, triangles):
        a, b, c = vertices[triangles].transpose(1, 0, 2)
        return np.array([np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()])

    def skimage():
        from skimage.measure import marching_cubes

        return area(*marching_cubes(values, 0.0)[:2])

    return Row(
        "surface of a grid",
        f"{side}^3 points",
        lambda: area(*marching_tetrahedra(values)[:2]),
        {"scikit-image": skimage},
        tolerance=0.02,
    )


def matching(size: int) -> Row:
    """The median of disparities from 4 to 20 pixels by blocks of 7 x 7, matched back."""
    scene = toy_scene("textured")
    camera = scene.cameras(1, size, size)[0]
    left = scene.render(camera).rgb
    right = scene.render(ss.shifted_camera(camera, 40.0 / size)).rgb

    def middle(disparity):
        return np.array([np.nanmedian(disparity)])

    def opencv():
        import cv2

        grey = [(255 * image.mean(axis=2)).astype(np.uint8) for image in (left, right)]
        matcher = cv2.StereoBM_create(numDisparities=16, blockSize=7)
        matcher.setMinDisparity(4)
        matcher.setDisp12MaxDiff(1)
        found = matcher.compute(*grey) / 16.0
        return middle(np.where(found < 4.0, np.nan, found))

    def plain_numpy():
        from scipy.ndimage import uniform_filter

        costs = []
        for d in range(4, 21):
            gap = np.full((size, size), 9.0)
            gap[:, d:] = np.abs(left[:, d:] - right[:, : size - d]).sum(axis=2)
            costs.append(uniform_filter(gap, 7))
        costs = np.array(costs)
        best = costs.argmin(axis=0)
        x = np.arange(size)
        there = np.stack(
            [np.take(costs[k], np.minimum(x + 4 + k, size - 1), axis=1) for k in range(17)]
        )
        back = np.take_along_axis(there.argmin(axis=0), np.maximum(x - 4 - best, 0), axis=1)
        return middle(np.where(np.abs(back - best) > 1, np.nan, best + 4.0))

    return Row(
        "block matching",
        f"{size} x {size}, 17 disparities",
        lambda: middle(ss.match_blocks(left, right, 4, 20)),
        {"OpenCV (one channel)": opencv, "NumPy and SciPy": plain_numpy},
        tolerance=0.1,
    )


def solving(count: int) -> Row:
    """Oriented points to spline coefficients; the peer factorises the sparse matrix."""
    scene = toy_scene("torus_and_box")
    points = scene.surface(count, 0)[0]
    normals = scene.normal(points)
    widths = (0.2, 0.4)
    system = ss.fit_spline_field(points, normals, widths, ridge=0.1, keep_gram=True)
    weights = np.concatenate(system.weights)
    right = system.gram @ weights

    def ours():
        return np.concatenate(ss.fit_spline_field(points, normals, widths, ridge=0.1).weights)

    return Row(
        "gradient fit, assembled and solved",
        f"n={count}, {len(weights)} unknowns",
        ours,
        {"SciPy spsolve alone": lambda: sla.spsolve(system.gram.tocsc(), right)},
        tolerance=1e-3,
    )
