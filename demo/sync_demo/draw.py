"""From bodies and a camera to pictures: flat-shaded faces, painted from far to near.

Axes: T frames, V vertices, F faces, K corners of a face, S solids, B bodies.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from sync_demo.cameras import FRAME_SIZE, Shots
from sync_demo.look import TEXTURE_SIZE, Image, Look
from sync_demo.scene import BEHIND_TABLE, Body
from sync_demo.shapes import Floats

TABLE = ((-0.62, 0.62), (-0.36, 0.42))
"""The table's extent in x and y, in metres."""

_SUBPIXEL_BITS = 4
_CORNERS = 10
"""The most corners that a face has."""
_NEAREST = 0.06
"""Metres in front of the eye; a face with a nearer corner is not drawn."""
_SHADOW_SIDES = 8
_SHADE = 168
"""Brightness of the table under a body, of 255."""
_BATCH = 32
"""Frames whose geometry is worked out together: numpy's cost a call is that of several frames' numbers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Backdrop:
    """What a camera sees when nobody is there."""

    image: Image
    """uint8 (rows, columns, 3), RGB: the empty table and the room around it."""
    table: Image
    """uint8 (rows, columns), 0 where the table isn't: it hides what is behind it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Faces:
    """The faces of one batch of frames, in the order of painting."""

    order_TF: npt.NDArray[np.intp]
    """Indices of faces; those that can't be seen come last."""
    num_behind_T: npt.NDArray[np.intp]
    """How many belong to bodies that the table may hide; they come first."""
    num_visible_T: npt.NDArray[np.intp]
    polygons_TFK2: npt.NDArray[np.int32]
    colors_TF3: Floats


class Renderer:
    """Draws the same bodies from anywhere, at any moment."""

    def __init__(self, bodies: tuple[Body, ...], look: Look) -> None:
        solids = [(index, body, solid) for index, body in enumerate(bodies) for solid in body.solids]
        sizes = [len(solid.vertices) for _, _, solid in solids]
        starts = np.cumsum([0, *sizes])
        self._vertices_V3 = np.concatenate([solid.vertices for _, _, solid in solids])
        self._body_of_V = np.repeat([index for index, _, _ in solids], sizes)
        faces = [
            [starts[s] + corner for corner in face]
            for s, (_, _, solid) in enumerate(solids)
            for face in solid.faces
        ]
        # Every face gets the same number of corners by repeating its last, so that one gather serves all.
        self._faces_FK = np.array([face + face[-1:] * (_CORNERS - len(face)) for face in faces])
        solid_of_F = np.repeat(np.arange(len(solids)), [len(solid.faces) for _, _, solid in solids])
        self._solid_of_F = solid_of_F
        self._starts_S = starts[:-1]
        self._sizes_S = np.array(sizes)
        self._layer_F = np.array([body.layer for _, body, _ in solids])[solid_of_F]
        self._color_F3 = np.array([solid.color for _, _, solid in solids])[solid_of_F] * look.warmth
        self._look = look
        self._table = np.clip(look.table * look.warmth, 0, 255).astype(np.uint8)
        self._cover = np.full(TEXTURE_SIZE, 255, dtype=np.uint8)
        self._shadow_radius_B = np.array([body.shadow_radius for body in bodies])
        angles = np.arange(_SHADOW_SIDES) * (2 * np.pi / _SHADOW_SIDES)
        self._circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)

    def draw(self, linear_TB33: Floats, position_TB3: Floats, shots: Shots) -> Iterator[Image]:
        """One picture a moment: uint8 (rows, columns, 3), RGB.

        Args:
            linear_TB33: Each body's rotation.
            position_TB3: Each body's place.
            shots: The camera: at each of the T moments, or one shot for all of them.
        """
        fixed = len(shots.eye_T3) == 1
        backdrop = self.draw_backdrop(shots, 0) if fixed else None
        for start in range(0, len(position_TB3), _BATCH):
            batch = slice(start, start + _BATCH)
            part = shots if fixed else shots.part(batch)
            faces = self._faces(linear_TB33[batch], position_TB3[batch], part)
            shadows = self._shadows(position_TB3[batch], part)
            for k in range(len(faces.order_TF)):
                yield self._paint(backdrop or self.draw_backdrop(part, k), faces, shadows, k)

    def draw_backdrop(self, shots: Shots, k: int) -> Backdrop:
        """The empty table and the room around it, from the camera's shot k."""
        rows, columns = FRAME_SIZE
        (left, right), (near, far) = TABLE
        texture_rows, texture_columns = TEXTURE_SIZE
        to_table = np.array(
            [
                [(right - left) / texture_columns, 0, left],
                [0, -(far - near) / texture_rows, far],
                [0, 0, 0],
                [0, 0, 1],
            ]
        )
        to_eye = np.concatenate([np.eye(3), -shots.eye_T3[k][:, None]], axis=1)
        focal = shots.focal_pixels
        projection = np.array([[focal, 0, columns / 2], [0, focal, rows / 2], [0, 0, 1]])
        homography = projection @ shots.rotation_T33[k] @ to_eye @ to_table
        image = np.empty((rows, columns, 3), dtype=np.uint8)
        image[:] = np.array(self._look.room) * 0.75
        cv2.warpPerspective(
            self._table,
            homography,
            (columns, rows),
            dst=image,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
        table = cv2.warpPerspective(self._cover, homography, (columns, rows), flags=cv2.INTER_NEAREST)
        return Backdrop(image=image, table=np.asarray(table, dtype=np.uint8))

    def _faces(self, linear_TB33: Floats, position_TB3: Floats, shots: Shots) -> _Faces:
        world_TV3 = np.einsum("tvij,vj->tvi", linear_TB33[:, self._body_of_V], self._vertices_V3)
        world_TV3 += position_TB3[:, self._body_of_V]
        seen_TV3 = shots.seen(world_TV3)
        polygons_TFK2 = _to_pixels(seen_TV3, shots.focal_pixels)[:, self._faces_FK]
        first, second, third = (world_TV3[:, self._faces_FK[:, corner]] for corner in range(3))
        normals_TF3 = _cross(second - first, third - first)
        toward_TF = ((shots.eye_T3[:, None] - first) * normals_TF3).sum(axis=2)
        depth_TS = np.add.reduceat(seen_TV3[..., 2], self._starts_S, axis=1) / self._sizes_S
        nearest_TS = np.minimum.reduceat(seen_TV3[..., 2], self._starts_S, axis=1)
        visible_TF = (toward_TF > 0) & (nearest_TS > _NEAREST)[:, self._solid_of_F]
        visible_TF &= _in_picture(polygons_TFK2)
        key_TF = self._layer_F * 100.0 - depth_TS[:, self._solid_of_F]
        lengths_TF = np.maximum(np.sqrt((normals_TF3**2).sum(axis=2)), 1e-12)
        lit_TF = np.maximum(normals_TF3 @ self._look.light / lengths_TF, 0)
        shade_TF = self._look.ambient + (1.05 - self._look.ambient) * lit_TF
        return _Faces(
            order_TF=np.argsort(np.where(visible_TF, key_TF, np.inf), axis=1, kind="stable"),
            num_behind_T=np.count_nonzero(visible_TF & (self._layer_F == BEHIND_TABLE), axis=1),
            num_visible_T=np.count_nonzero(visible_TF, axis=1),
            polygons_TFK2=polygons_TFK2,
            colors_TF3=np.minimum(self._color_F3 * shade_TF[..., None], 255),
        )

    def _shadows(self, position_TB3: Floats, shots: Shots) -> list[list[npt.NDArray[np.int32]]]:
        """For each frame the shadows that the bodies throw on the table; larger the higher the body is."""
        light = self._look.light
        bodies = np.flatnonzero(self._shadow_radius_B > 0)
        height_TB1 = np.maximum(position_TB3[:, bodies, 2:], 0)
        centers_TB3 = position_TB3[:, bodies] - height_TB1 * (light / light[2])
        radius_TB1 = self._shadow_radius_B[bodies, None] * (1.15 + 2 * height_TB1)
        rings_TBK3 = centers_TB3[:, :, None] + self._circle * radius_TB1[..., None]
        seen = shots.seen(rings_TBK3.reshape(len(rings_TBK3), -1, 3)).reshape(rings_TBK3.shape)
        near_TB = seen[..., 2].min(axis=2) > _NEAREST
        pixels = _to_pixels(seen, shots.focal_pixels)
        return [[*rings[near]] for rings, near in zip(pixels, near_TB & _in_picture(pixels), strict=True)]

    def _paint(
        self, backdrop: Backdrop, faces: _Faces, shadows: list[list[npt.NDArray[np.int32]]], k: int
    ) -> Image:
        image = backdrop.image.copy()
        order = faces.order_TF[k, : faces.num_visible_T[k]]
        polygons, colors = faces.polygons_TFK2[k, order], faces.colors_TF3[k, order].tolist()
        behind = faces.num_behind_T[k]
        if behind:
            _fill(image, polygons[:behind], colors[:behind])
            cv2.copyTo(backdrop.image, backdrop.table, image)
        shade = np.full(FRAME_SIZE, 255, dtype=np.uint8)
        for ring in shadows[k]:
            cv2.fillConvexPoly(shade, ring, (_SHADE,), cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.multiply(image, cv2.cvtColor(shade, cv2.COLOR_GRAY2RGB), dst=image, scale=1 / 255)
        _fill(image, polygons[behind:], colors[behind:])
        return image


def _fill(image: Image, polygons: npt.NDArray[np.int32], colors: list[list[float]]) -> None:
    for polygon, color in zip(polygons, colors, strict=True):
        cv2.fillConvexPoly(image, polygon, color, cv2.LINE_AA, _SUBPIXEL_BITS)


def _to_pixels(seen: Floats, focal_pixels: float) -> npt.NDArray[np.int32]:
    rows, columns = FRAME_SIZE
    scale = focal_pixels / np.maximum(seen[..., 2:], _NEAREST / 2)
    pixels = seen[..., :2] * scale + np.array([columns / 2 - 0.5, rows / 2 - 0.5])
    fixed: npt.NDArray[np.int32] = np.round(np.clip(pixels, -2000, 2000) * (1 << _SUBPIXEL_BITS)).astype(
        np.int32
    )
    return fixed


def _in_picture(polygons: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Whether each polygon's bounding box (…, K, 2) touches the picture."""
    rows, columns = FRAME_SIZE
    margin = np.array(1 << _SUBPIXEL_BITS)
    low, high = polygons.min(axis=-2), polygons.max(axis=-2)
    inside: npt.NDArray[np.bool_] = ((high >= -margin) & (low <= np.array([columns, rows]) * margin)).all(
        axis=-1
    )
    return inside


def _cross(a: Floats, b: Floats) -> Floats:
    """Cross products (…, 3); several times as fast as numpy's on many short vectors."""
    x = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    y = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    z = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return np.stack([x, y, z], axis=-1)
