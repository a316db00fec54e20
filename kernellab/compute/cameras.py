"""Cameras: where points of a scene fall in an image, and along which rays a pixel looks.

A point p of the world has camera coordinates x = R p + t, with x to the right, y down and z
forward. It falls on the image point

    (u, v) = (fx x/z + cx, fy y/z + cy)        perspective,
    (u, v) = (fx x + cx, fy y + cy)            orthographic,

u to the right and v down, in pixels from the upper left corner of the image: the centre of the
pixel in row r and column c is (c + 0.5, r + 0.5). The depth of the point is z, in units of the
world.

>>> camera = Camera.look_at((0, -4, 0), (0, 0, 0), field_of_view=60, height=48, width=64)
>>> pixels, depths = camera.project_points([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
>>> pixels.round(2).tolist(), depths.tolist()
([[32.0, 24.0], [45.86, 24.0]], [4.0, 4.0])
"""

import math
from dataclasses import dataclass

import numpy as np

from kernellab.compute.checks import as_matrix, as_vector, between, integer, positive

__all__ = ["Camera"]

_LARGEST_SIDE = 1 << 15  # pixels


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole or orthographic camera and the size of its image.

    Parameters
    ----------
    rotation : R, shape (3, 3), from the world's axes to the camera's
    translation : t, shape (3,), units of the world
    focal : (fx, fy), pixels; orthographic: pixels a unit of the world
    centre : (cx, cy), pixels, where the optical axis meets the image
    height, width : of the image, pixels
    near : points at a depth of at most this are refused
    orthographic : parallel rays, in place of rays from one point

    Raises
    ------
    ValueError : another shape, a rotation that is none, or lengths that are not positive.

    >>> Camera(np.eye(3), np.zeros(3), (50, 50), (32, 32), height=64, width=64).centre_of_view
    array([0., 0., 0.])
    """

    rotation: np.ndarray
    translation: np.ndarray
    focal: np.ndarray
    centre: np.ndarray
    height: int
    width: int
    near: float = 0.01
    orthographic: bool = False

    def __post_init__(self):
        rotation = as_matrix("rotation", self.rotation, rows=3, columns=3)
        gap = np.abs(rotation @ rotation.T - np.eye(3)).max()
        if gap > 1e-9 or np.linalg.det(rotation) < 0.0:
            raise ValueError(
                "rotation must be orthonormal with determinant 1, got determinant "
                f"{np.linalg.det(rotation):.6g} and a deviation of {gap:.1e}"
            )
        focal = as_vector("focal", self.focal, length=2)
        for number in focal:
            positive("focal", float(number))
        checked = {
            "rotation": rotation,
            "translation": as_vector("translation", self.translation, length=3),
            "focal": focal,
            "centre": as_vector("centre", self.centre, length=2),
        }
        for name, array in checked.items():
            array = array.copy()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        for name in ("height", "width"):
            side = integer(name, getattr(self, name), low=1, high=_LARGEST_SIDE)
            object.__setattr__(self, name, side)
        object.__setattr__(self, "near", positive("near", self.near))
        object.__setattr__(self, "orthographic", _boolean("orthographic", self.orthographic))

    @classmethod
    def look_at(
        cls,
        eye,
        target,
        up=(0.0, 0.0, 1.0),
        *,
        height: int,
        width: int,
        field_of_view: float | None = None,
        extent: float | None = None,
        near: float = 0.01,
        orthographic: bool = False,
    ) -> "Camera":
        """Return the camera at ``eye`` with ``target`` in the middle of its image.

        Pixels are square: fx = fy = (width/2) / tan(field_of_view/2), orthographic width/extent.

        Parameters
        ----------
        eye, target : points of the world, shape (3,)
        up : a direction of the world that shows upwards in the image, not along the line of sight
        height, width : of the image, pixels
        field_of_view : angle between the left and the right edge, degrees, 1 to 175; None: 45
        extent : orthographic cameras only, and needed there: width of the world that is shown
        near, orthographic : as for ``Camera``

        Raises
        ------
        ValueError : eye and target that coincide, an ``up`` along the line of sight, or an argument
            that the kind of camera does not have.

        Cost: O(1).
        """
        eye, target = as_vector("eye", eye, length=3), as_vector("target", target, length=3)
        up = as_vector("up", up, length=3)
        forward = target - eye
        distance = np.linalg.norm(forward)
        if distance == 0.0:
            raise ValueError(f"target must differ from eye, got {target.tolist()} for both")
        forward = forward / distance
        right = np.cross(forward, up)
        length = np.linalg.norm(right)
        if length <= 1e-9 * np.linalg.norm(up) or length == 0.0:
            raise ValueError(
                f"up must not be along the line of sight {forward.tolist()}, got {up.tolist()}"
            )
        right /= length
        rotation = np.stack([right, np.cross(forward, right), forward])
        width = integer("width", width, low=1, high=_LARGEST_SIDE)
        height = integer("height", height, low=1, high=_LARGEST_SIDE)
        if _boolean("orthographic", orthographic):
            if field_of_view is not None:
                raise ValueError(
                    "field_of_view must be None for an orthographic camera (it has an extent), "
                    f"got {field_of_view}"
                )
            focal = width / positive("extent", extent)
        else:
            if extent is not None:
                raise ValueError(
                    "extent must be None for a perspective camera (it has a field_of_view), "
                    f"got {extent}"
                )
            angle = 45.0 if field_of_view is None else field_of_view
            angle = math.radians(between("field_of_view", angle, 1.0, 175.0))
            focal = 0.5 * width / math.tan(0.5 * angle)
        return cls(
            rotation,
            -rotation @ eye,
            (focal, focal),
            (0.5 * width, 0.5 * height),
            height,
            width,
            near,
            orthographic,
        )

    @property
    def centre_of_view(self) -> np.ndarray:
        """Where the camera stands in the world, shape (3,): -R't."""
        return -self.rotation.T @ self.translation

    def to_camera(self, points) -> np.ndarray:
        """Return camera coordinates R p + t, shape (n, 3), of points (n, 3). Cost: O(n)."""
        return as_matrix("points", points, columns=3) @ self.rotation.T + self.translation

    def in_front(self, points) -> np.ndarray:
        """Return for which points (n, 3) the depth is larger than ``near``, booleans (n,)."""
        return self.to_camera(points)[:, 2] > self.near

    def project_points(self, points) -> tuple[np.ndarray, np.ndarray]:
        """Return where points of the world fall in the image, and their depths.

        Parameters
        ----------
        points : shape (n, 3)

        Returns
        -------
        pixels : shape (n, 2), (u, v); outside of the image too
        depths : shape (n,), z, units of the world

        Raises
        ------
        ValueError : another shape, or a point at a depth of at most ``near``.

        Cost: O(n).
        """
        seen = self.to_camera(points)
        depths = seen[:, 2].copy()
        if not (depths > self.near).all():
            worst = int(np.argmin(depths))
            raise ValueError(
                f"points must lie in front of the camera, at depths above near = {self.near:.6g}, "
                f"got depth {depths[worst]:.6g} at index {worst}"
            )
        flat = seen[:, :2] if self.orthographic else seen[:, :2] / depths[:, None]
        return flat * self.focal + self.centre, depths

    def unproject(self, pixels, depths) -> np.ndarray:
        """Return the points (n, 3) of the world that fall on ``pixels`` (n, 2) at ``depths`` (n,).

        The inverse of ``project_points``. Raises ValueError for other shapes, or a depth of at most
        ``near``. Cost: O(n).
        """
        pixels = as_matrix("pixels", pixels, columns=2)
        depths = as_vector("depths", depths, length=len(pixels))
        if not (depths > self.near).all():
            raise ValueError(f"depths must be above near = {self.near:.6g}, got {depths.min():.6g}")
        flat = (pixels - self.centre) / self.focal
        if not self.orthographic:
            flat = flat * depths[:, None]
        seen = np.column_stack([flat, depths])
        return (seen - self.translation) @ self.rotation

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rays through the pixels' centres.

        Returns
        -------
        origins : shape (height, width, 3), points of the world: the camera's place, or for an
            orthographic camera the points at depth 0
        directions : shape (height, width, 3), of length 1

        Cost: O(height width).
        """
        u = (np.arange(self.width) + 0.5 - self.centre[0]) / self.focal[0]
        v = (np.arange(self.height) + 0.5 - self.centre[1]) / self.focal[1]
        flat = np.empty((self.height, self.width, 3))
        flat[..., 0], flat[..., 1] = u[None, :], v[:, None]
        if self.orthographic:
            flat[..., 2] = 0.0
            origins = (flat - self.translation) @ self.rotation
            directions = np.broadcast_to(self.rotation[2], flat.shape).copy()
            return origins, directions
        flat[..., 2] = 1.0
        flat /= np.linalg.norm(flat, axis=-1, keepdims=True)
        origins = np.broadcast_to(self.centre_of_view, flat.shape).copy()
        return origins, flat @ self.rotation


def _boolean(name: str, value) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)
