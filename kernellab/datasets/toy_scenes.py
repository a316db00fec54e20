"""Small scenes in three dimensions, computed and not stored: images with everything known.

A scene is a handful of solids (spheres, boxes, tori, capsules, cylinders, half-spaces) that may
move. Rays through the centres of a camera's pixels are traced to the surface (see
``kernellab.compute.sphere_tracing``), so that beside the colour of each pixel its depth, normal,
place, labels and motion are known without error.

The world's z axis points up. Colour is Lambert's law with an optional highlight of Phong: with
albedo a, normal n, direction to the light l and visibility v (0 in shadow, else 1),

    rgb = a (ambient + sky (1 + n_z)/2 + diffuse c v max(n.l, 0)) + gloss c v max(r.e, 0)^shininess,

clipped to [0, 1]; c is the colour of the lamp, r the mirror image of l, e the direction to the eye.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from dataclasses import dataclass

import numpy as np

from kernellab.compute import sphere_tracing
from kernellab.compute.cameras import Camera
from kernellab.compute.checks import (
    as_matrix,
    as_rng,
    as_vector,
    between,
    fits_in_memory,
    integer,
    one_of,
    positive,
)
from kernellab.compute.sphere_tracing import Hits, Shapes
from kernellab.datasets.toy_parts import CATEGORIES, Light, Part, as_color, as_triple

PATHS = ("ring", "spiral")

_SURFACE = 1e-6  # shadow rays start this far above the surface
_LONGEST = 1e6  # units of time
_BACKGROUND = (0.95, 0.96, 0.98)


# Images


@dataclass(frozen=True, eq=False)
class View:
    """What one camera sees; pixels that meet nothing have ``hit`` false.

    Attributes
    ----------
    rgb : shape (H, W, 3), in [0, 1]; the background's colour where nothing is met
    depth : shape (H, W), z in the camera's axes, units of the world; inf where nothing is met
    normal : shape (H, W, 3), of the surface, in the world's axes; 0 where nothing is met
    points : shape (H, W, 3), places in the world; 0 where nothing is met
    velocity : shape (H, W, 3), of the surface, in the world; 0 where nothing is met
    albedo : shape (H, W, 3), in [0, 1]; 0 where nothing is met
    part, instance, semantic : shape (H, W), integers: numbers in ``scene.parts``,
        ``scene.objects`` and ``scene.categories``; -1 where nothing is met
    hit, lit : shape (H, W), booleans: a surface is met; it sees the lamp and faces it
    camera, scene, light, time : what it was made from
    """

    rgb: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    points: np.ndarray
    velocity: np.ndarray
    albedo: np.ndarray
    part: np.ndarray
    instance: np.ndarray
    semantic: np.ndarray
    hit: np.ndarray
    lit: np.ndarray
    camera: Camera
    scene: Scene
    light: Light
    time: float

    def flow(self, time: float, camera: Camera | None = None) -> np.ndarray:
        """Return how far each pixel's surface point moves in the image until ``time``.

        Parameters
        ----------
        time : units of the scene's time
        camera : the camera then; None: this one. Another camera at this view's time gives the
            exact disparity between two cameras

        Returns
        -------
        shape (H, W, 2), pixels to the right and down; 0 where nothing is met. Whether the point is
        hidden then is not asked.

        Raises
        ------
        ValueError : a time that is not finite, or a point that is behind the camera then.

        Cost: O(H W).
        """
        camera = self.camera if camera is None else camera
        out = np.zeros((*self.hit.shape, 2))
        if self.hit.any():
            before = self.points[self.hit]
            after = self.scene.carry(before, self.part[self.hit], self.time, time)
            start, _ = self.camera.project_points(before)
            out[self.hit] = camera.project_points(after)[0] - start
        return out


IMAGES = tuple(f.name for f in dataclasses.fields(View) if f.type == "np.ndarray")


@dataclass(frozen=True, eq=False)
class Views:
    """What V cameras see: the arrays of ``View`` with one more axis in front, (V, H, W, ...).

    ``views[k]`` is the View of camera k, and ``for view in views`` gives all of them. ``cameras``
    and ``times`` are tuples of length V.
    """

    rgb: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    points: np.ndarray
    velocity: np.ndarray
    albedo: np.ndarray
    part: np.ndarray
    instance: np.ndarray
    semantic: np.ndarray
    hit: np.ndarray
    lit: np.ndarray
    cameras: tuple[Camera, ...]
    scene: Scene
    light: Light
    times: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: int) -> View:
        index = operator.index(index)  # slices are refused
        images = {name: getattr(self, name)[index] for name in IMAGES}
        where = {"camera": self.cameras[index], "time": self.times[index]}
        return View(**images, **where, scene=self.scene, light=self.light)


# Scenes


@dataclass(frozen=True, eq=False)
class Scene:
    """Solids, their looks, and where cameras stand around them.

    Parameters
    ----------
    parts : at least one Part; parts of the same ``object`` are one instance
    background : colour of rays that meet nothing
    target : the point that cameras look at
    radius : how far they stand from it, units of the world
    elevation : how high they stand above it, degrees, between -89 and 89
    arc : (first, angle), degrees: where around the z axis cameras begin, and how far they spread;
        (., 360) is a full ring
    field_of_view : degrees, from the left edge of an image to the right
    light : of the images, unless another one is asked for
    categories : the meaning of semantic labels; holds the category of every part

    Raises
    ------
    ValueError : an argument out of its range, or an object whose parts are of several categories.
    """

    parts: tuple[Part, ...]
    background: tuple = _BACKGROUND
    target: tuple = (0.0, 0.0, 0.0)
    radius: float = 5.0
    elevation: float = 30.0
    arc: tuple = (-90.0, 360.0)
    field_of_view: float = 45.0
    light: Light = Light()
    categories: tuple[str, ...] = CATEGORIES

    def __post_init__(self):
        parts = tuple(self.parts) if isinstance(self.parts, tuple | list) else ()
        if not parts or not all(isinstance(part, Part) for part in parts):
            raise ValueError(f"parts must be a tuple of at least one Part, got {self.parts!r}")
        kinds = {}
        for part in parts:
            one_of("category", part.category, self.categories)
            if kinds.setdefault(part.object, part.category) != part.category:
                raise ValueError(
                    f"category must be the same for all parts of {part.object!r}, "
                    f"got {kinds[part.object]!r} and {part.category!r}"
                )
        first, angle = as_vector("arc", self.arc, length=2)
        checked = {
            "parts": parts,
            "background": as_color("background", self.background),
            "target": as_triple("target", self.target),
            "radius": positive("radius", self.radius),
            "elevation": between("elevation", self.elevation, -89.0, 89.0),
            "arc": (float(first), between("arc", float(angle), 0.0, 360.0)),
            "field_of_view": between("field_of_view", self.field_of_view, 1.0, 175.0),
            "light": _light(self.light),
            "categories": tuple(self.categories),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    # What is in it

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of the objects; in this scene instance label i is ``objects[i]``."""
        return tuple(dict.fromkeys(part.object for part in self.parts))

    def instance_of_part(self) -> np.ndarray:
        """Return the instance label of each part, shape (k,)."""
        return np.array([self.objects.index(part.object) for part in self.parts])

    def semantic_of_part(self) -> np.ndarray:
        """Return the semantic label of each part, shape (k,)."""
        return np.array([self.categories.index(part.category) for part in self.parts])

    def only(self, *objects: str) -> Scene:
        """Return the scene with the named objects alone."""
        self._known(objects)
        return dataclasses.replace(self, parts=[p for p in self.parts if p.object in objects])

    def without(self, *objects: str) -> Scene:
        """Return the scene without the named objects; one must be left."""
        self._known(objects)
        return dataclasses.replace(self, parts=[p for p in self.parts if p.object not in objects])

    def adding(self, *parts: Part) -> Scene:
        """Return the scene with more parts, after those that are there."""
        return dataclasses.replace(self, parts=(*self.parts, *parts))

    def changing(self, name: str, **fields) -> Scene:
        """Return the scene with other fields (``color=...``) for an object's parts."""
        self._known((name,))
        unknown = sorted(set(fields) - {f.name for f in dataclasses.fields(Part)})
        if unknown:
            raise ValueError(f"fields must be fields of Part, got {', '.join(unknown)}")
        parts = [dataclasses.replace(p, **fields) if p.object == name else p for p in self.parts]
        return dataclasses.replace(self, parts=parts)

    def with_contrast(self, contrast: float) -> Scene:
        """Return the scene with this contrast (0 to 1) of all its textures."""
        parts = [dataclasses.replace(part, contrast=contrast) for part in self.parts]
        return dataclasses.replace(self, parts=parts)

    def bounds(self, time: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return two corners (3,) of a box that holds all parts but planes.

        It is made of the parts' bounding spheres, so there may be room. Raises ValueError for a
        scene of planes alone. Cost: O(k).
        """
        shapes = self.shapes(time)
        radii = shapes.bounding_radii()
        bounded = np.isfinite(radii)
        if not bounded.any():
            raise ValueError("scene must have a part that is no plane, got planes only")
        centres, radii = shapes.positions[bounded], radii[bounded, None]
        return (centres - radii).min(axis=0), (centres + radii).max(axis=0)

    # Geometry

    def shapes(self, time: float = 0.0) -> Shapes:
        """Return the solids where they are at ``time``, as the tracer takes them."""
        time = _moment("time", time)
        places = [part.place(time) for part in self.parts]
        return Shapes.of(
            (part.kind, part.size, position, rotation)
            for part, (rotation, position) in zip(self.parts, places, strict=True)
        )

    def signed_distance(self, points, time: float = 0.0) -> np.ndarray:
        """Return the signed distance (n,) of points (n, 3) to the scene, negative inside.

        Outside it is exact; inside, where parts overlap, its size is a lower bound. Raises
        ValueError for other shapes. Cost: O(n k).
        """
        return sphere_tracing.signed_distance(self.shapes(time), points)[0]

    def nearest_part(self, points, time: float = 0.0) -> np.ndarray:
        """Return the number (n,) of the part that is nearest to points (n, 3). Cost: O(n k)."""
        return sphere_tracing.signed_distance(self.shapes(time), points)[1]

    def normal(self, points, time: float = 0.0) -> np.ndarray:
        """Return the gradient (n, 3) of the signed distance: on the surface, its normal.

        Raises ValueError for other shapes. Cost: O(n k).
        """
        return sphere_tracing.gradients(self.shapes(time), points)

    def albedo(self, points, time: float = 0.0) -> np.ndarray:
        """Return the colour (n, 3), without light, of the part nearest to points (n, 3).

        Raises ValueError for other shapes. Cost: O(n k).
        """
        points = as_matrix("points", points, columns=3)
        return self._paint(points, self.nearest_part(points, time), time)

    def velocity(self, points, parts, time: float = 0.0) -> np.ndarray:
        """Return the velocity (n, 3) of parts (n,) at points (n, 3) of the world.

        Raises ValueError for other shapes or part numbers. Cost: O(n).
        """
        points, parts, time = self._points_and_parts(points, parts, time)
        out = np.zeros_like(points)
        for number in np.unique(parts):
            motion = self.parts[number].motion
            if motion is not None:
                mine = parts == number
                out[mine] = motion.velocities(points[mine], time)
        return out

    def carry(self, points, parts, start: float, end: float) -> np.ndarray:
        """Return where points (n, 3) that are fixed on parts (n,) at ``start`` are at ``end``.

        Raises ValueError for other shapes or part numbers. Cost: O(n).
        """
        points, parts, start = self._points_and_parts(points, parts, start)
        end = _moment("end", end)
        out = points.copy()
        for number in np.unique(parts):
            part = self.parts[number]
            if part.motion is not None:
                mine = parts == number
                (r, b), (later_r, later_b) = part.place(start), part.place(end)
                out[mine] = (points[mine] - b) @ r @ later_r.T + later_b
        return out

    def trace(self, origins, directions, time: float = 0.0) -> Hits:
        """Return where rays meet the scene first: a range sensor.

        Parameters
        ----------
        origins, directions : shape (n, 3); origins outside of the solids, directions of length 1

        Returns
        -------
        distances (n,), parts (n,) and normals (n, 3): inf, -1 and 0 for rays that meet nothing.

        Raises
        ------
        ValueError : other shapes, lengths other than 1, or an origin inside a solid.

        Cost: O(n k).
        """
        shapes = self.shapes(time)
        self._outside(shapes, as_matrix("origins", origins, columns=3), "origins must lie")
        return sphere_tracing.trace(shapes, origins, directions)

    def surface(self, n: int, rng, time: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Return n points drawn evenly from the scene's surface, and their parts.

        Points of a part that lie inside another one are drawn again. Planes have no end and are
        left out.

        Parameters
        ----------
        n : how many, >= 1
        rng : numpy.random.Generator or seed

        Returns
        -------
        points : shape (n, 3)
        parts : shape (n,)

        Raises
        ------
        ValueError : n or rng out of range, or a scene of planes alone.

        Cost: O(n k).
        """
        n, rng = integer("n", n, low=1), as_rng(rng)
        fits_in_memory("points", 200 * n)
        self.bounds(time)  # refuses planes alone
        shapes = self.shapes(time)
        areas = np.array([part.area() for part in self.parts])
        points, parts = np.empty((0, 3)), np.empty(0, dtype=np.int64)
        while len(points) < n:
            chosen = rng.choice(len(areas), size=n + 16, p=areas / areas.sum())
            drawn = np.empty((len(chosen), 3))
            for number in np.unique(chosen):
                mine = np.flatnonzero(chosen == number)
                rotation, position = self.parts[number].place(_moment("time", time))
                local = self.parts[number].draw_surface(len(mine), rng)
                drawn[mine] = local @ rotation.T + position
            outside = sphere_tracing.signed_distance(shapes, drawn)[0] > -1e-9
            points = np.concatenate([points, drawn[outside]])
            parts = np.concatenate([parts, chosen[outside]])
        return points[:n], parts[:n]

    # Images

    def cameras(
        self,
        n_views: int,
        height: int,
        width: int,
        *,
        path: str = "ring",
        orthographic: bool = False,
        near: float = 0.01,
    ) -> tuple[Camera, ...]:
        """Return cameras around the scene that look at its target.

        Parameters
        ----------
        n_views : how many, >= 1
        height, width : of the images, pixels
        path : "ring": all at one height; "spiral": from 15 degrees below the scene's elevation to
            30 above (at most 80), twice around
        orthographic : parallel rays; the same width is shown at the target
        near : of the cameras

        Raises
        ------
        ValueError : an argument out of its range.

        Cost: O(V).
        """
        n_views = integer("n_views", n_views, low=1)
        one_of("path", path, PATHS)
        first, angle = self.arc
        # The last camera of a full ring would stand where the first one does.
        gaps = n_views if angle == 360.0 else max(n_views - 1, 1)
        shares = np.arange(n_views) / gaps if n_views > 1 or angle == 360.0 else np.array([0.5])
        elevations = np.full(n_views, self.elevation)
        if path == "spiral":
            low, high = max(self.elevation - 15.0, -80.0), min(self.elevation + 30.0, 80.0)
            elevations = np.linspace(low, high, n_views) if n_views > 1 else elevations
            shares = 2.0 * shares if angle == 360.0 else shares
        azimuths = np.radians(first + angle * shares)
        elevations = np.radians(elevations)
        around = np.stack([np.cos(azimuths), np.sin(azimuths), np.tan(elevations)], axis=1)
        eyes = np.array(self.target) + self.radius * np.cos(elevations)[:, None] * around
        lens = {"near": near, "orthographic": orthographic}
        if orthographic:
            half = math.tan(0.5 * math.radians(self.field_of_view))
            lens["extent"] = 2.0 * self.radius * half
        else:
            lens["field_of_view"] = self.field_of_view
        return tuple(
            Camera.look_at(eye, self.target, height=height, width=width, **lens) for eye in eyes
        )

    def render(
        self, camera: Camera, time: float = 0.0, light: Light | None = None, samples: int = 1
    ) -> View:
        """Return what a camera sees.

        Parameters
        ----------
        camera : outside of all solids
        time : units of the scene's time
        light : None: the scene's own
        samples : each pixel's rgb is the mean over samples x samples rays; 1: the one through its
            centre, which all other images belong to

        Raises
        ------
        ValueError : an argument out of its range, or a camera inside a solid.

        Cost: O(H W k samples^2).
        """
        if not isinstance(camera, Camera):
            raise ValueError(f"camera must be a Camera, got {type(camera).__name__}")
        light = self.light if light is None else _light(light)
        time = _moment("time", time)
        samples = integer("samples", samples, low=1, high=16)
        fits_in_memory("images", 400 * camera.height * camera.width * samples**2)
        shapes = self.shapes(time)
        images = self._images(shapes, camera, time, light)
        if samples > 1:
            finer = dataclasses.replace(
                camera,
                focal=camera.focal * samples,
                centre=camera.centre * samples,
                height=camera.height * samples,
                width=camera.width * samples,
            )
            rgb = self._images(shapes, finer, time, light)["rgb"]
            blocks = (camera.height, samples, camera.width, samples, 3)
            images["rgb"] = rgb.reshape(blocks).mean(axis=(1, 3))
        return View(**images, camera=camera, scene=self, light=light, time=time)

    def _images(self, shapes, camera, time, light) -> dict[str, np.ndarray]:
        """Return the arrays of a View."""
        origins, directions = (rays.reshape(-1, 3) for rays in camera.rays())
        eyes = origins if camera.orthographic else origins[:1]
        self._outside(shapes, eyes, "camera must stand")
        distances, parts, normals = sphere_tracing.trace(shapes, origins, directions)
        hit = parts >= 0
        n = len(hit)
        images = {name: np.zeros((n, 3)) for name in ("points", "velocity", "albedo")}
        images["rgb"] = np.tile(self.background, (n, 1))
        images["normal"], images["part"], images["hit"] = normals, parts, hit
        images["lit"] = np.zeros(n, dtype=bool)
        images["depth"] = np.full(n, np.inf)
        images["instance"] = np.where(hit, self.instance_of_part()[parts], -1)
        images["semantic"] = np.where(hit, self.semantic_of_part()[parts], -1)
        if hit.any():
            parts, normals, rays = parts[hit], normals[hit], directions[hit]
            points = origins[hit] + distances[hit, None] * rays
            albedo = self._paint(points, parts, time)
            rgb, lit = self._shade(shapes, light, points, normals, rays, parts, albedo)
            images["rgb"][hit], images["lit"][hit] = rgb, lit
            images["points"][hit], images["albedo"][hit] = points, albedo
            images["velocity"][hit] = self.velocity(points, parts, time)
            images["depth"][hit] = points @ camera.rotation[2] + camera.translation[2]
        shape = (camera.height, camera.width)
        return {name: image.reshape(*shape, *image.shape[1:]) for name, image in images.items()}

    def _paint(self, points, parts, time) -> np.ndarray:
        out = np.empty_like(points)
        for number in np.unique(parts):
            mine = parts == number
            rotation, position = self.parts[number].place(time)
            out[mine] = self.parts[number].paint((points[mine] - position) @ rotation)
        return out

    def _shade(self, shapes, light, points, normals, rays, parts, albedo):
        """Return rgb (n, 3), and which points the lamp lights (n,)."""
        to_lamp, far = light.towards(points)
        cosines = np.einsum("ij,ij->i", normals, to_lamp)
        lit = cosines > 0.0
        if light.shadows and lit.any():
            starts = points[lit] + _SURFACE * normals[lit]
            limits = np.maximum(far[lit] - _SURFACE, 1e-300)
            lit[lit] = ~sphere_tracing.blocked(shapes, starts, to_lamp[lit], limits)
        direct = np.where(lit, cosines, 0.0)
        even = light.ambient + 0.5 * light.sky * (1.0 + normals[:, 2])
        color = np.array(light.color)
        rgb = albedo * (even[:, None] + light.diffuse * direct[:, None] * color)
        gloss = np.array([part.gloss for part in self.parts])[parts]
        if gloss.any():
            mirror = 2.0 * cosines[:, None] * normals - to_lamp
            towards_eye = np.maximum(-np.einsum("ij,ij->i", mirror, rays), 0.0)
            shininess = np.array([part.shininess for part in self.parts])[parts]
            highlight = np.where(lit, gloss * towards_eye**shininess, 0.0)
            rgb += highlight[:, None] * color
        return np.clip(rgb, 0.0, 1.0), lit

    # Checks

    def _known(self, objects) -> None:
        for name in objects:
            one_of("object", name, self.objects)

    def _outside(self, shapes, origins, says) -> None:
        distances, parts = sphere_tracing.signed_distance(shapes, origins)
        worst = int(np.argmin(distances))
        if distances[worst] <= 0.0:
            raise ValueError(
                f"{says} outside of all solids, got {origins[worst].tolist()} inside "
                f"{self.parts[parts[worst]].object!r}"
            )

    def _points_and_parts(self, points, parts, time):
        points = as_matrix("points", points, columns=3)
        parts = np.asarray(parts)
        if parts.shape != (len(points),) or parts.dtype.kind not in "iu":
            raise ValueError(
                f"parts must be integers of shape ({len(points)},), "
                f"got shape {parts.shape} of {parts.dtype}"
            )
        if parts.min() < 0 or parts.max() >= len(self.parts):
            raise ValueError(
                f"parts must lie between 0 and {len(self.parts) - 1}, "
                f"got {parts.min()} to {parts.max()}"
            )
        return points, parts, _moment("time", time)


def _moment(name: str, value) -> float:
    return between(name, value, -_LONGEST, _LONGEST)


def _light(light) -> Light:
    if not isinstance(light, Light):
        raise ValueError(f"light must be a Light, got {type(light).__name__}")
    return light
