"""Convex solids of flat faces, from which every object of the scene is put together.

Metres; x to the person's right, y away from the person, z up. Colours are RGB in 0–255.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Color = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solid:
    """One convex solid in the frame of the body it belongs to."""

    vertices: Floats
    """(V, 3)."""
    faces: tuple[tuple[int, ...], ...]
    """Corners of each face, counter-clockwise seen from outside."""
    color: Color


def box(size: Color, center: Color, color: Color) -> Solid:
    """A cuboid with edges along the axes."""
    half, middle = np.array(size) / 2, np.array(center)
    signs = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)])
    faces = ((0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5))
    return Solid(vertices=middle + signs * half, faces=faces, color=color)


def frustum(radii: tuple[float, float], height: float, center: Color, color: Color, sides: int = 8) -> Solid:
    """An upright prism of `sides` sides, wider at one end if the radii (bottom, top) differ."""
    angles = np.arange(sides) * (2 * math.pi / sides)
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(sides)], axis=1)
    up = np.array([0, 0, height / 2])
    vertices = np.concatenate([ring * radii[0] - up, ring * radii[1] + up]) + np.array(center)
    walls = tuple((i, (i + 1) % sides, sides + (i + 1) % sides, sides + i) for i in range(sides))
    bottom = tuple(reversed(range(sides)))
    return Solid(vertices=vertices, faces=(*walls, bottom, tuple(range(sides, 2 * sides))), color=color)


def ellipsoid(radii: Color, center: Color, color: Color, sides: int = 7, bands: int = 4) -> Solid:
    """A ball, scaled along the axes."""
    polar = np.arange(1, bands) * (math.pi / bands)
    angles = np.arange(sides) * (2 * math.pi / sides)
    rings = [
        [math.sin(p) * math.cos(a), math.sin(p) * math.sin(a), -math.cos(p)] for p in polar for a in angles
    ]
    vertices = np.array([[0, 0, -1], *rings, [0, 0, 1]]) * np.array(radii) + np.array(center)

    def corner(band: int, side: int) -> int:
        return 1 + band * sides + side % sides

    last = len(vertices) - 1
    faces: list[tuple[int, ...]] = []
    for side in range(sides):
        faces.append((0, corner(0, side + 1), corner(0, side)))
        faces.append((last, corner(bands - 2, side), corner(bands - 2, side + 1)))
        faces.extend(
            (corner(b, side), corner(b, side + 1), corner(b + 1, side + 1), corner(b + 1, side))
            for b in range(bands - 2)
        )
    return Solid(vertices=vertices, faces=tuple(faces), color=color)


def turned(solid: Solid, matrix: Floats) -> Solid:
    """The solid after a rotation about its body's origin."""
    return Solid(vertices=solid.vertices @ matrix.T, faces=solid.faces, color=solid.color)


def rotation_z(angles: Floats) -> Floats:
    """Rotations about the vertical: (…, 3, 3) for angles (…) in radians."""
    return _rotation(angles, 0, 1)


def rotation_x(angles: Floats) -> Floats:
    """Rotations about the x axis, towards +z for positive angles at +y: (…, 3, 3)."""
    return _rotation(angles, 1, 2)


def _rotation(angles: Floats, first: int, second: int) -> Floats:
    angles = np.asarray(angles, dtype=np.float64)
    matrix = np.zeros((*angles.shape, 3, 3))
    matrix[..., np.arange(3), np.arange(3)] = 1
    matrix[..., first, first] = matrix[..., second, second] = np.cos(angles)
    matrix[..., second, first] = np.sin(angles)
    matrix[..., first, second] = -matrix[..., second, first]
    return matrix
