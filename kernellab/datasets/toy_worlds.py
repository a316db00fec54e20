"""Named scenes, and views of them: ``toy3d``."""

from __future__ import annotations

import math

import numpy as np

from kernellab.compute.checks import as_vector, between, fits_in_memory, integer, one_of
from kernellab.datasets.toy_parts import (
    BLUE,
    DARK,
    GREEN,
    ORANGE,
    PALE,
    PALETTE,
    PURPLE,
    RED,
    SKY,
    STONE,
    WHITE,
    WOOD,
    YELLOW,
    Light,
    Motion,
    Part,
    box,
    capsule,
    cylinder,
    plane,
    sphere,
    torus,
    turned,
)
from kernellab.datasets.toy_scenes import IMAGES, Scene, Views


def toy3d(
    scene: str | Scene = "spheres",
    n_views: int = 6,
    height: int = 48,
    width: int = 48,
    time=0.0,
    light: Light | None = None,
    seed: int = 0,
    *,
    path: str = "ring",
    orthographic: bool = False,
    samples: int = 1,
) -> Views:
    """Views of a small scene in three dimensions with exact depth, normals, labels and motion.

    Parameters
    ----------
    scene : a name, see ``toy_scene``, or a Scene
    n_views : number V of cameras around the scene
    height, width : H and W of the images, pixels
    time : number, or one for each view, shape (V,); only some scenes move
    light : None: the scene's own
    seed : of the textures of "textured", and of all of "random"; nothing else is random
    path : "ring" or "spiral", see ``Scene.cameras``
    orthographic : whether cameras have parallel rays
    samples : rays along the side of a pixel for rgb; 1: exact at the pixel's centre

    Returns
    -------
    Views with rgb (V, H, W, 3) in [0, 1], depth (V, H, W), normal, points, velocity and albedo
    (V, H, W, 3), part, instance and semantic (V, H, W), hit and lit (V, H, W), cameras, times, the
    scene and the light. Where nothing is met, depth is inf, labels are -1 and vectors 0.

    Raises
    ------
    ValueError : an argument out of its range, by its name.

    Cost: O(V H W k samples^2) for k solids, about 2 ms for a view of 48 x 48 pixels.
    Source: computed; Hart 1996, "Sphere tracing". See data/README.md.

    >>> views = toy3d("torus_and_box", n_views=4, height=24, width=32)
    >>> views.rgb.shape, views.scene.objects
    ((4, 24, 32, 3), ('ring', 'block'))
    """
    if not isinstance(scene, Scene):
        scene = toy_scene(scene, seed)
    integer("seed", seed, low=0)
    cameras = scene.cameras(n_views, height, width, path=path, orthographic=orthographic)
    if np.ndim(time) == 0:
        times = (between("time", time, -1e6, 1e6),) * len(cameras)
    else:
        times = tuple(as_vector("time", time, length=len(cameras)).tolist())
    fits_in_memory("images", 320 * len(cameras) * cameras[0].height * cameras[0].width)
    views = [
        scene.render(camera, moment, light, samples)
        for camera, moment in zip(cameras, times, strict=True)
    ]
    images = {name: np.stack([getattr(view, name) for view in views]) for name in IMAGES}
    return Views(**images, cameras=cameras, scene=scene, light=views[0].light, times=times)


def toy_scene(name: str, seed: int = 0) -> Scene:
    """A scene by its name.

    - "spheres": three balls on a small checkered floor
    - "torus_and_box": a ring that leans on a block, nothing else
    - "figure": a person made of a ball and capsules, who walks on the spot, one step a unit of time
    - "room": a checkered floor, two walls, and three solids; cameras on an arc
    - "textured": four solids with textures fixed on them, before a textured wall, for stereo
      (``with_contrast`` sets the contrast); cameras on an arc
    - "glossy": three balls with highlights
    - "moving": a block that circles, a ball that swings, a ring that spins, and a ball at rest;
      everything is as before after one unit of time
    - "passer_by": two solids at rest, and a person who walks past while time goes from -1 to 1
    - "table": six things on a table, some of several parts
    - "street": cars and houses along a road; cameras on an arc
    - "random": two to six solids on a floor, all drawn from the seed

    Parameters
    ----------
    name : see above
    seed : of textures, and of all of "random"

    Raises
    ------
    ValueError : another name, or a seed that is no integer >= 0.

    Cost O(parts).

    >>> toy_scene("table").objects
    ('table', 'mug', 'bottle', 'ball', 'book', 'doughnut', 'dumbbell')
    """
    one_of("scene", name, SCENES)
    return SCENES[name](integer("seed", seed, low=0))


# The scenes


def _floor(radius: float = 1.75, **look) -> Part:
    """Return a round floor of checks, its surface at z = 0."""
    colors = {"color": PALE, "other": STONE, "texture": "checker", "cell": 0.4}
    names = {"object": "floor", "category": "floor"}
    return cylinder(radius, 0.08, (0.0, 0.0, -0.08), **{**names, **colors, **look})


def _spheres(seed: int) -> Scene:
    parts = (
        _floor(),
        sphere(0.62, (-0.55, 0.35, 0.62), object="blue ball", color=BLUE),
        sphere(0.45, (0.65, 0.45, 0.45), object="orange ball", color=ORANGE),
        sphere(0.34, (0.15, -0.65, 0.34), object="green ball", color=GREEN),
    )
    return Scene(parts, target=(0.0, 0.0, 0.35), radius=5.0)


def _torus_and_box(seed: int) -> Scene:
    lean = turned((0.0, math.radians(-62.0), 0.0))
    parts = (
        torus(0.7, 0.24, (0.6, 0.0, 0.1), rotation=lean, object="ring", color=ORANGE),
        box((0.42, 0.62, 0.5), (-0.55, 0.0, -0.22), object="block", color=BLUE),
    )
    return Scene(parts, radius=4.0, elevation=25.0)


def _person(across=(1.0, 0.0, 0.0), start=(0.0, 0.0, 0.0), velocity=(0.0, 0.0, 0.0)) -> list[Part]:
    """Return a person, 1.9 units tall, whose limbs rock about the unit vector ``across``."""
    across, start = np.array(across), np.array(start)

    def at(side, height):
        return start + side * across + (0.0, 0.0, height)

    def move(pivot, rock):
        return Motion(velocity=velocity, pivot=pivot, rock=tuple(rock * across))

    def limb(upper, lower, radius, color, rock):
        return capsule(upper, lower, radius, color=color, motion=move(upper, rock), **names)

    names = {"object": "person", "category": "person"}
    body = {"motion": move(start, 0.0) if any(velocity) else None, **names}
    return [
        sphere(0.2, at(0.0, 1.68), color=ORANGE, **body),
        capsule(at(0.0, 0.98), at(0.0, 1.22), 0.23, color=BLUE, **body),
        limb(at(-0.3, 1.3), at(-0.42, 0.74), 0.085, SKY, 0.5),
        limb(at(0.3, 1.3), at(0.42, 0.74), 0.085, SKY, -0.5),
        limb(at(-0.12, 0.82), at(-0.15, 0.12), 0.115, RED, -0.5),
        limb(at(0.12, 0.82), at(0.15, 0.12), 0.115, RED, 0.5),
    ]


def _figure(seed: int) -> Scene:
    view = {"radius": 4.2, "elevation": 12.0, "field_of_view": 32.0}
    return Scene(tuple(_person()), target=(0.0, 0.0, 0.95), **view)


def _room(seed: int) -> Scene:
    wall = {"category": "wall"}
    left, right = (0.72, 0.80, 0.86), (0.83, 0.86, 0.88)
    turn = turned((0.0, 0.0, 0.5))
    parts = (
        plane((0.0, 0.0, 0.0), texture="checker", color=PALE, other=STONE, object="floor"),
        plane((0.0, 2.0, 0.0), (0.0, -1.0, 0.0), object="back wall", color=right, **wall),
        plane((-2.0, 0.0, 0.0), (1.0, 0.0, 0.0), object="side wall", color=left, **wall),
        box((0.45, 0.45, 0.7), (-0.7, 0.7, 0.7), rotation=turn, object="block", color=BLUE),
        sphere(0.45, (0.65, 0.2, 0.45), object="ball", color=ORANGE),
        torus(0.38, 0.14, (0.0, -0.75, 0.14), object="ring", color=GREEN),
    )
    return Scene(
        parts,
        target=(-0.1, 0.2, 0.55),
        radius=5.2,
        elevation=24.0,
        arc=(-80.0, 60.0),
        light=Light((0.45, -0.6, 0.9)),
    )


def _textured(seed: int) -> Scene:
    seeds = iter(np.random.default_rng(seed).integers(1 << 31, size=4).tolist())

    def look(name, color, other, cell=0.3):
        colors = {"color": color, "other": other, "cell": cell}
        return {"object": name, "texture": "noise", "seed": next(seeds), **colors}

    turn = turned((0.35, 0.0, 0.6))
    wall = look("wall", WHITE, STONE, 0.4)
    parts = (
        box((2.6, 0.1, 2.0), (0.0, 1.6, 0.0), category="wall", **wall),
        sphere(0.6, (-0.75, 0.2, 0.35), **look("ball", SKY, BLUE)),
        box((0.45,) * 3, (0.75, 0.35, 0.45), rotation=turn, **look("block", YELLOW, RED)),
        capsule((-0.6, -0.3, -0.75), (0.55, -0.45, -0.6), 0.28, **look("rod", WHITE, GREEN)),
    )
    return Scene(parts, radius=4.6, elevation=5.0, arc=(-110.0, 40.0), field_of_view=40.0)


def _glossy(seed: int) -> Scene:
    shiny = {"gloss": 0.6, "shininess": 25.0}
    parts = (
        _floor(color=(0.72, 0.73, 0.75), other=(0.5, 0.52, 0.56)),
        sphere(0.7, (0.0, 0.1, 0.7), object="blue ball", color=BLUE, **shiny),
        sphere(0.38, (0.95, -0.45, 0.38), object="red ball", color=RED, **shiny),
        sphere(0.32, (-0.85, -0.6, 0.32), object="green ball", color=GREEN, **shiny),
    )
    return Scene(parts, target=(0.0, 0.0, 0.4), radius=5.0)


def _moving(seed: int) -> Scene:
    turn, middle = 2.0 * math.pi, (-0.95, 1.0, 0.6)
    circle = Motion(spin=(0.0, 0.0, turn))
    swing = Motion(swing=(0.0, 0.0, 0.45))
    spin = Motion(spin=(turn, 0.0, 0.0), pivot=middle)
    parts = (
        _floor(1.9),
        box((0.28,) * 3, (1.15, 0.0, 0.28), object="block", color=BLUE, motion=circle),
        sphere(0.3, (0.0, 0.0, 1.4), object="swinging ball", color=RED, motion=swing),
        torus(0.42, 0.12, middle, object="ring", color=ORANGE, motion=spin),
        sphere(0.3, (0.0, 0.0, 0.3), object="resting ball", color=GREEN),
    )
    return Scene(parts, target=(0.0, 0.0, 0.55), radius=5.6)


def _passer_by(seed: int) -> Scene:
    person = _person((0.0, 1.0, 0.0), (0.0, -0.9, 0.0), velocity=(1.5, 0.0, 0.0))
    parts = (
        _floor(2.0),
        sphere(0.55, (-0.75, 0.4, 0.55), object="ball", color=GREEN),
        box((0.4, 0.4, 0.75), (0.75, 0.5, 0.75), object="block", color=YELLOW),
        *person,
    )
    view = {"radius": 5.6, "elevation": 24.0, "arc": (-125.0, 70.0)}
    return Scene(parts, target=(0.0, 0.0, 0.6), **view)


def _table(seed: int) -> Scene:
    """The table's top is at z = 0."""
    top = {"texture": "stripes", "other": (0.70, 0.56, 0.41), "color": WOOD}
    table = {"object": "table", "category": "furniture"}
    mug = {"object": "mug", "category": "vessel"}
    bottle = {"object": "bottle", "category": "vessel"}
    book = {"object": "book", "category": "book", "rotation": turned((0.0, 0.0, 0.4))}
    doughnut = {"object": "doughnut", "category": "fruit"}
    bell = {"object": "dumbbell", "category": "rod"}
    one, two = (0.55, -0.72, 0.16), (1.05, -0.42, 0.16)
    upright = turned((math.pi / 2.0, 0.0, 0.0))
    parts = (
        box((1.5, 0.06, 1.15), (0.0, 0.0, -0.06), rotation=upright, cell=0.3, **top, **table),
        cylinder(0.26, 0.29, (-0.85, -0.3, 0.29), color=RED, **mug),
        torus(0.17, 0.05, (-1.11, -0.3, 0.3), rotation=upright, color=SKY, **mug),
        cylinder(0.2, 0.4, (-0.4, 0.6, 0.4), color=GREEN, **bottle),
        capsule((-0.4, 0.6, 0.8), (-0.4, 0.6, 1.05), 0.09, color=SKY, **bottle),
        cylinder(0.1, 0.07, (-0.4, 0.6, 1.17), color=DARK, **bottle),
        sphere(0.28, (0.3, 0.5, 0.28), object="ball", color=ORANGE),
        box((0.4, 0.3, 0.03), (0.95, 0.35, 0.03), color=BLUE, **book),
        box((0.37, 0.27, 0.05), (0.95, 0.35, 0.11), color=WHITE, **book),
        box((0.4, 0.3, 0.03), (0.95, 0.35, 0.19), color=BLUE, **book),
        torus(0.22, 0.11, (0.0, -0.4, 0.11), color=PURPLE, **doughnut),
        capsule(one, two, 0.06, color=STONE, **bell),
        sphere(0.16, one, color=DARK, **bell),
        sphere(0.16, two, color=DARK, **bell),
    )
    return Scene(parts, target=(0.0, 0.0, 0.25), radius=4.8, elevation=35.0)


def _car(name: str, x: float, y: float, color) -> list[Part]:
    names = {"object": name, "category": "vehicle"}
    axle = turned((math.pi / 2.0, 0.0, 0.0))
    wheels = [
        cylinder(0.2, 0.46, (x + step, y, 0.2), rotation=axle, color=DARK, **names)
        for step in (-0.55, 0.55)
    ]
    return [
        box((0.95, 0.42, 0.2), (x, y, 0.4), color=color, **names),
        box((0.5, 0.36, 0.17), (x - 0.1, y, 0.77), color=SKY, **names),
        *wheels,
    ]


def _street(seed: int) -> Scene:
    house = {"category": "building", "texture": "stripes", "cell": 0.8}
    road = {
        "object": "road",
        "category": "floor",
        "color": (0.62, 0.64, 0.67),
        "other": (0.54, 0.56, 0.60),
    }
    left = {"object": "left house", "color": PALE, "other": WOOD}
    right = {"object": "right house", "color": YELLOW, "other": PALE}
    parts = (
        box((3.6, 2.1, 0.1), (0.0, 0.0, -0.1), texture="checker", cell=0.6, **road),
        *_car("blue car", -1.5, -1.2, BLUE),
        *_car("red car", 1.5, -0.2, RED),
        *_car("green car", -1.9, 0.4, GREEN),
        box((1.1, 0.4, 1.1), (-1.6, 1.65, 1.1), **left, **house),
        box((1.3, 0.4, 0.8), (1.6, 1.65, 0.8), **right, **house),
    )
    return Scene(parts, target=(0.0, 0.1, 0.5), radius=9.0, elevation=28.0, arc=(-125.0, 70.0))


def _random(seed: int) -> Scene:
    """Solids that stand apart on the floor: places are drawn until they do."""
    rng = np.random.default_rng(seed)
    colors = rng.permutation(len(PALETTE))
    floor = {"color": PALE, "other": STONE, "texture": str(rng.choice(["plain", "checker"]))}
    parts, places = [_floor(**floor)], []
    for number in range(int(rng.integers(2, 7))):
        wide = rng.uniform(0.26, 0.5)
        for _ in range(200):
            x, y = rng.uniform(-1.3, 1.3, 2)
            apart = all(math.hypot(x - a, y - b) > wide + r + 0.05 for a, b, r in places)
            if apart and math.hypot(x, y) < 1.65 - wide:
                break
        else:
            break  # the floor is full
        places.append((x, y, wide))
        parts.append(_random_solid(number, x, y, wide, PALETTE[colors[number]], rng))
    return Scene(tuple(parts), target=(0.0, 0.0, 0.3), radius=5.0)


def _random_solid(number: int, x, y, wide, color, rng) -> Part:
    """Return a solid that stands on the floor at (x, y), at most ``wide`` away from there."""
    look = {"object": f"solid {number + 1}", "color": color}
    tall, turn = rng.uniform(0.2, 0.55), turned((0.0, 0.0, rng.uniform(0.0, math.pi)))
    kind = rng.choice(["sphere", "box", "torus", "capsule", "cylinder"])
    if kind == "sphere":
        return sphere(wide, (x, y, wide), **look)
    if kind == "box":
        sides = wide * np.array([0.75, rng.uniform(0.4, 0.66)])
        return box((*sides, tall), (x, y, tall), rotation=turn, **look)
    if kind == "torus":
        return torus(0.7 * wide, 0.3 * wide, (x, y, 0.3 * wide), **look)
    if kind == "cylinder":
        return cylinder(0.8 * wide, tall, (x, y, tall), **look)
    along = 0.6 * wide * turn[:, 0]
    center = np.array([x, y, 0.4 * wide])
    return capsule(center - along, center + along, 0.4 * wide, **look)


SCENES = {
    "spheres": _spheres,
    "torus_and_box": _torus_and_box,
    "figure": _figure,
    "room": _room,
    "textured": _textured,
    "glossy": _glossy,
    "moving": _moving,
    "passer_by": _passer_by,
    "table": _table,
    "street": _street,
    "random": _random,
}
