"""Parts of the small scenes in ``toy_scenes``: solids with a place, a look and a motion; and light.

The world's z axis points up; lengths are in units of the world, angles in radians.

>>> part = capsule((0.0, 0.0, 0.0), (0.0, 0.0, 2.0), 0.5, object="pole", color=RED)
>>> part.kind, part.size, part.position
('capsule', (1.0, 0.5), (0.0, 0.0, 1.0))
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from kernellab.compute.checks import (
    as_matrix,
    as_vector,
    between,
    integer,
    nonnegative,
    one_of,
    positive,
)
from kernellab.compute.sphere_tracing import Shapes

# Colours after Okabe and Ito, which colour-blind people can tell apart.
BLUE = (0.10, 0.45, 0.70)
ORANGE = (0.90, 0.62, 0.05)
RED = (0.84, 0.37, 0.10)
GREEN = (0.05, 0.62, 0.45)
SKY = (0.42, 0.72, 0.92)
YELLOW = (0.94, 0.88, 0.35)
PURPLE = (0.80, 0.48, 0.66)
PALE = (0.90, 0.89, 0.86)
STONE = (0.58, 0.60, 0.64)
WOOD = (0.76, 0.63, 0.48)
DARK = (0.20, 0.22, 0.27)
WHITE = (0.97, 0.97, 0.97)

PALETTE = (BLUE, ORANGE, RED, GREEN, SKY, YELLOW, PURPLE)

CATEGORIES = (
    "floor",
    "wall",
    "ball",
    "block",
    "ring",
    "rod",
    "drum",
    "person",
    "furniture",
    "vessel",
    "book",
    "fruit",
    "vehicle",
    "building",
)
"""What semantic labels mean: label i is ``scene.categories[i]``, this list in all named scenes."""

TEXTURES = ("plain", "checker", "stripes", "noise")

_WAVES = 24  # plane waves in the texture "noise"


# Motion


@dataclass(frozen=True)
class Motion:
    """How a part moves: at time t the point that stands at x for angle and shift 0 is at

        pivot + R(angle(t)) (x - pivot) + shift(t),
        angle(t) = spin t + rock s(t),  shift(t) = velocity t + swing s(t),
        s(t) = sin(2 pi (t/period + phase)).

    Parameters
    ----------
    velocity, swing : vectors, units of the world (per unit of time)
    spin, rock : vectors along one axis of rotation, radians (per unit of time)
    pivot : a point of that axis
    period : > 0, units of time
    phase : in periods

    Raises
    ------
    ValueError : another length, numbers that are not finite, or spin and rock about other axes.
    """

    velocity: tuple = (0.0, 0.0, 0.0)
    spin: tuple = (0.0, 0.0, 0.0)
    pivot: tuple = (0.0, 0.0, 0.0)
    swing: tuple = (0.0, 0.0, 0.0)
    rock: tuple = (0.0, 0.0, 0.0)
    period: float = 1.0
    phase: float = 0.0

    def __post_init__(self):
        for name in ("velocity", "spin", "pivot", "swing", "rock"):
            object.__setattr__(self, name, as_triple(name, getattr(self, name)))
        object.__setattr__(self, "period", positive("period", self.period))
        object.__setattr__(self, "phase", between("phase", self.phase, -1e6, 1e6))
        if np.linalg.norm(np.cross(self.spin, self.rock)) > 1e-12:
            raise ValueError(
                f"rock must be along the axis of spin {self.spin}, got {self.rock}: one axis only"
            )

    def place(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return R (3, 3) and b (3,): the point is at R x + b."""
        wave = math.sin(2.0 * math.pi * (time / self.period + self.phase))
        rotation = turned(np.array(self.spin) * time + np.array(self.rock) * wave)
        pivot = np.array(self.pivot)
        shift = np.array(self.velocity) * time + np.array(self.swing) * wave
        return rotation, pivot - rotation @ pivot + shift

    def velocities(self, points: np.ndarray, time: float) -> np.ndarray:
        """Return the velocity of the part where it is at ``points`` (n, 3), shape (n, 3)."""
        turn = 2.0 * math.pi * (time / self.period + self.phase)
        wave, rate = math.sin(turn), 2.0 * math.pi / self.period * math.cos(turn)
        velocity, swing = np.array(self.velocity), np.array(self.swing)
        angular = np.array(self.spin) + np.array(self.rock) * rate
        arm = points - (np.array(self.pivot) + velocity * time + swing * wave)
        return np.cross(angular, arm) + velocity + swing * rate


def turned(rotation_vector) -> np.ndarray:
    """Return the rotation matrix (3, 3) about a vector (3,) by its length in radians.

    Rodrigues' formula, R = I + sin(a) K + (1 - cos(a)) K^2.

    >>> turned((0.0, 0.0, math.pi / 2)).round(12) @ [1.0, 0.0, 0.0]
    array([0., 1., 0.])
    """
    vector = as_vector("rotation_vector", rotation_vector, length=3)
    angle = np.linalg.norm(vector)
    if angle == 0.0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * (cross @ cross)


# Light


@dataclass(frozen=True)
class Light:
    """The light of a scene: a far lamp (or a near one), a grey surrounding and a sky.

    Parameters
    ----------
    direction : towards the lamp, not 0; its length does not matter
    position : of a near lamp, in place of ``direction``; it does not get dimmer with distance
    diffuse, ambient, sky : strengths >= 0 of the lamp, the surrounding and the sky. A sky that is
        equally bright everywhere lights a surface in proportion to (1 + n_z)/2
    color : of the lamp, three numbers in [0, 1]
    shadows : whether solids block the lamp

    Raises
    ------
    ValueError : another length, numbers out of their range, or a direction of length 0.
    """

    direction: tuple = (-0.5, -0.35, 0.8)
    position: tuple | None = None
    diffuse: float = 0.55
    ambient: float = 0.25
    sky: float = 0.2
    color: tuple = (1.0, 1.0, 1.0)
    shadows: bool = True

    def __post_init__(self):
        direction = np.array(as_triple("direction", self.direction))
        if not direction.any():
            raise ValueError("direction must not be (0, 0, 0), got a vector of length 0")
        unit = direction / np.abs(direction).max()
        unit /= np.linalg.norm(unit)
        object.__setattr__(self, "direction", tuple(unit.tolist()))
        if self.position is not None:
            object.__setattr__(self, "position", as_triple("position", self.position))
        for name in ("diffuse", "ambient", "sky"):
            object.__setattr__(self, name, nonnegative(name, getattr(self, name)))
        object.__setattr__(self, "color", as_color("color", self.color))
        if not isinstance(self.shadows, bool | np.bool_):
            raise ValueError(f"shadows must be True or False, got {self.shadows!r}")

    def towards(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return unit directions (n, 3) from points to the lamp, and how far it is, (n,)."""
        if self.position is None:
            return np.broadcast_to(self.direction, points.shape), np.full(len(points), np.inf)
        to_lamp = np.array(self.position) - points
        distances = np.linalg.norm(to_lamp, axis=1)
        if distances.size and not distances.min() > 0.0:
            raise ValueError(
                f"position of the light must not lie on a surface, got {self.position}"
            )
        return to_lamp / distances[:, None], distances


# Parts


@dataclass(frozen=True, eq=False)
class Part:
    """One solid of a scene: shape, place, look, names and motion.

    Parameters
    ----------
    kind : sphere, box, torus, capsule, cylinder or plane
    size : as ``kernellab.compute.sphere_tracing.KINDS`` says, units of the world
    position : of the solid's origin, shape (3,)
    rotation : from the solid's axes to the world's, shape (3, 3)
    object : the object it belongs to; parts of one object share an instance label
    category : what the object is: its semantic label
    color, other : two colours, numbers in [0, 1]
    texture : "plain" (``color``), or "checker", "stripes" or "noise" between ``color`` and
        ``other``; it is fixed on the solid and moves with it. Stripes follow each other along the
        solid's z axis, on a plane along x
    cell : side of a square, width of a pair of stripes, or wavelength; units of the world
    contrast : 0 (``color`` alone) to 1 (all the way to ``other``)
    gloss, shininess : strength >= 0 and exponent > 0 of the highlight
    motion : None for a part that stands still
    seed : of the texture "noise"

    Raises
    ------
    ValueError : an argument out of its range, by its name.
    """

    kind: str
    size: tuple
    position: tuple = (0.0, 0.0, 0.0)
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    object: str = "object"
    category: str = "block"
    color: tuple = BLUE
    other: tuple = PALE
    texture: str = "plain"
    cell: float = 0.5
    contrast: float = 1.0
    gloss: float = 0.0
    shininess: float = 30.0
    motion: Motion | None = None
    seed: int = 0

    def __post_init__(self):
        sizeless = isinstance(self.size, tuple | list) and not self.size  # a plane
        size = () if sizeless else tuple(as_vector("size", self.size).tolist())
        rotation = as_matrix("rotation", self.rotation, rows=3, columns=3).copy()
        rotation.setflags(write=False)
        Shapes.of([(self.kind, size, self.position, rotation)])  # refuses what is none
        for name in ("object", "category"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise ValueError(f"{name} must be a name, got {getattr(self, name)!r}")
        if self.motion is not None and not isinstance(self.motion, Motion):
            raise ValueError(f"motion must be a Motion or None, got {self.motion!r}")
        checked = {
            "size": size,
            "position": as_triple("position", self.position),
            "rotation": rotation,
            "color": as_color("color", self.color),
            "other": as_color("other", self.other),
            "texture": one_of("texture", self.texture, TEXTURES),
            "cell": positive("cell", self.cell),
            "contrast": between("contrast", self.contrast, 0.0, 1.0),
            "gloss": nonnegative("gloss", self.gloss),
            "shininess": positive("shininess", self.shininess),
            "seed": integer("seed", self.seed, low=0),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def place(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Return R (3, 3) and b (3,): a point y of the solid's axes is at R y + b."""
        if self.motion is None:
            return self.rotation, np.array(self.position)
        rotation, shift = self.motion.place(time)
        return rotation @ self.rotation, rotation @ np.array(self.position) + shift

    def area(self) -> float:
        """Return the area of the surface; 0 for a plane, which has no end."""
        a, b, c = (*self.size, 0.0, 0.0, 0.0)[:3]
        if self.kind == "sphere":
            return 4.0 * math.pi * a * a
        if self.kind == "box":
            return 8.0 * (a * b + b * c + c * a)
        if self.kind == "torus":
            return 4.0 * math.pi**2 * a * b
        if self.kind == "capsule":
            return 4.0 * math.pi * b * (a + b)
        if self.kind == "cylinder":
            return 2.0 * math.pi * a * (a + 2.0 * b)
        return 0.0

    def draw_surface(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return n points (n, 3), in the solid's axes, drawn evenly from its surface.

        Raises ValueError for a plane, which has no end. Cost: O(n).
        """
        if self.kind == "plane":
            raise ValueError("kind must be a solid with an end to draw points from, got 'plane'")
        if self.kind == "sphere":
            return self.size[0] * _directions(n, rng)
        if self.kind == "box":
            return _draw_box(np.array(self.size), n, rng)
        if self.kind == "torus":
            return _draw_torus(*self.size, n, rng)
        if self.kind == "capsule":
            half, radius = self.size
            out = radius * _directions(n, rng)
            out[:, 2] += np.copysign(half, out[:, 2])
            side = rng.random(n) < half / (half + radius)
            out[side] = np.column_stack(
                [radius * _circle(side.sum(), rng), rng.uniform(-half, half, side.sum())]
            )
            return out
        radius, half = self.size
        side = rng.random(n) < 2.0 * half / (2.0 * half + radius)
        across = np.where(side, 1.0, np.sqrt(rng.random(n)))
        height = np.where(side, rng.uniform(-half, half, n), half * rng.choice([-1.0, 1.0], n))
        return np.column_stack([radius * across[:, None] * _circle(n, rng), height])

    def paint(self, local: np.ndarray) -> np.ndarray:
        """Return the albedo (n, 3) at points (n, 3) in the solid's axes."""
        color, other = np.array(self.color), np.array(self.other)
        if self.texture == "plain" or self.contrast == 0.0:
            return np.broadcast_to(color, local.shape)
        weight = 0.5 * self.contrast * (1.0 - self._pattern(local))
        return color + weight[:, None] * (other - color)

    def _pattern(self, local: np.ndarray) -> np.ndarray:
        """Return the texture's values in [-1, 1], shape (n,)."""
        if self.texture == "stripes":
            return np.sin(2.0 * math.pi / self.cell * local[:, 2 if self.kind != "plane" else 0])
        if self.texture == "checker":
            # A little inwards, or rounding would flip the colour of a face between two cells.
            axes = 2 if self.kind == "plane" else 3
            cells = np.floor(local[:, :axes] * ((1.0 - 1e-6) / self.cell))
            return 1.0 - 2.0 * (cells.sum(axis=1) % 2.0)
        rng = np.random.default_rng(self.seed)
        waves = rng.standard_normal((3, _WAVES))
        lengths = self.cell * np.exp(rng.uniform(math.log(0.7), math.log(2.0), _WAVES))
        waves *= 2.0 * math.pi / (np.linalg.norm(waves, axis=0) * lengths)
        phases = rng.uniform(0.0, 2.0 * math.pi, _WAVES)
        return np.tanh(1.5 * math.sqrt(2.0 / _WAVES) * np.cos(local @ waves + phases).sum(axis=1))


def sphere(radius, position, **look) -> Part:
    """Return a sphere; ``look``: the other fields of ``Part``."""
    return Part("sphere", (radius,), position, **{"object": "ball", "category": "ball", **look})


def box(half_sides, position, **look) -> Part:
    """Return a box with the given half sides (3,)."""
    return Part("box", half_sides, position, **{"object": "block", **look})


def torus(ring, tube, position, **look) -> Part:
    """Return a torus around the z axis: radius of the ring and of the tube."""
    return Part("torus", (ring, tube), position, **{"object": "ring", "category": "ring", **look})


def cylinder(radius, half_height, position, **look) -> Part:
    """Return a cylinder around the z axis."""
    return Part(
        "cylinder",
        (radius, half_height),
        position,
        **{"object": "drum", "category": "drum", **look},
    )


def capsule(start, end, radius, **look) -> Part:
    """Return a capsule: all points within ``radius`` of the segment from ``start`` to ``end``."""
    start, end = as_vector("start", start, length=3), as_vector("end", end, length=3)
    half = 0.5 * np.linalg.norm(end - start)
    if half == 0.0:
        raise ValueError(f"end must differ from start, got {end.tolist()} for both")
    size = (half, positive("radius", radius))
    rotation = _z_axis_to((end - start) / (2.0 * half))
    look = {"object": "rod", "category": "rod", **look}
    return Part("capsule", size, tuple(0.5 * (start + end)), rotation, **look)


def plane(position, normal=(0.0, 0.0, 1.0), **look) -> Part:
    """Return a half-space: ``position`` is on its surface, ``normal`` (3,) points out of it."""
    normal = as_vector("normal", normal, length=3)
    length = np.linalg.norm(normal)
    if length == 0.0:
        raise ValueError("normal must not be (0, 0, 0), got a vector of length 0")
    look = {"object": "floor", "category": "floor", **look}
    return Part("plane", (), position, _z_axis_to(normal / length), **look)


def _z_axis_to(axis: np.ndarray) -> np.ndarray:
    """Return a rotation that takes (0, 0, 1) to a unit vector: the smallest one, if z >= 0."""
    if axis[2] < 0.0:  # half a turn first, since the formula breaks down at (0, 0, -1)
        half_turn = np.diag([1.0, -1.0, -1.0])
        return half_turn @ _z_axis_to(half_turn @ axis)
    x, y, z = axis
    h = 1.0 / (1.0 + z)
    return np.array(
        [[1.0 - h * x * x, -h * x * y, x], [-h * x * y, 1.0 - h * y * y, y], [-x, -y, z]]
    )


def _directions(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n even directions (n, 3)."""
    out = rng.standard_normal((n, 3))
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def _circle(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n even points (n, 2) of the unit circle."""
    angles = rng.uniform(0.0, 2.0 * math.pi, n)
    return np.column_stack([np.cos(angles), np.sin(angles)])


def _draw_box(half_sides: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    areas = np.prod(half_sides) / half_sides
    axes = rng.choice(3, size=n, p=areas / areas.sum())
    out = rng.uniform(-1.0, 1.0, (n, 3)) * half_sides
    out[np.arange(n), axes] = half_sides[axes] * rng.choice([-1.0, 1.0], n)
    return out


def _draw_torus(ring: float, tube: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return even points: the outer side of the tube has more area than the inner one."""
    angles = np.empty(0)
    while len(angles) < n:
        tried = rng.uniform(0.0, 2.0 * math.pi, 2 * n)
        kept = rng.random(2 * n) * (ring + tube) < ring + tube * np.cos(tried)
        angles = np.concatenate([angles, tried[kept]])
    angles = angles[:n]
    across = (ring + tube * np.cos(angles))[:, None] * _circle(n, rng)
    return np.column_stack([across, tube * np.sin(angles)])


# Checks


def as_triple(name: str, value) -> tuple[float, float, float]:
    """Return ``value`` as three finite numbers, or raise ValueError."""
    return tuple(as_vector(name, value, length=3).tolist())


def as_color(name: str, value) -> tuple[float, float, float]:
    """Return ``value`` as three numbers between 0 and 1, or raise ValueError."""
    color = as_triple(name, value)
    if not all(0.0 <= number <= 1.0 for number in color):
        raise ValueError(f"{name} must have three numbers between 0 and 1, got {color}")
    return color
