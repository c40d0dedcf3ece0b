"""From bodies and a camera to a picture: flat-shaded faces, painted from far to near.

Axes: V vertices, F faces, K corners of a face, S solids, B bodies.
"""

import cv2
import numpy as np
import numpy.typing as npt

from sync_demo.cameras import FRAME_SIZE
from sync_demo.look import TEXTURE_SIZE, Image, Look
from sync_demo.scene import Body
from sync_demo.shapes import Floats

TABLE = ((-0.62, 0.62), (-0.36, 0.42))
"""The table's extent in x and y, in metres."""

_SUBPIXEL_BITS = 4
_CORNERS = 10
"""The most corners that a face has."""
_NEAREST = 0.06
"""Metres in front of the eye; a face with a nearer corner is not drawn."""
_SHADOW_SIDES = 8


class Renderer:
    """Draws the same bodies from anywhere, at any moment."""

    def __init__(self, bodies: tuple[Body, ...], look: Look) -> None:
        solids = [(index, body, solid) for index, body in enumerate(bodies) for solid in body.solids]
        starts = np.cumsum([0, *(len(solid.vertices) for _, _, solid in solids)])
        self._vertices_V3 = np.concatenate([solid.vertices for _, _, solid in solids])
        self._body_of_V = np.repeat(
            [index for index, _, _ in solids], [len(solid.vertices) for _, _, solid in solids]
        )
        faces = [
            [starts[s] + corner for corner in face]
            for s, (_, _, solid) in enumerate(solids)
            for face in solid.faces
        ]
        # Every face gets the same number of corners by repeating its last, so that one gather serves all.
        self._faces_FK = np.array([face + face[-1:] * (_CORNERS - len(face)) for face in faces])
        self._solid_of_F = np.repeat(np.arange(len(solids)), [len(solid.faces) for _, _, solid in solids])
        self._starts_S = starts[:-1]
        self._sizes_S = np.diff(starts)
        self._layer_S = np.array([body.layer for _, body, _ in solids])
        colors = np.array([solid.color for _, _, solid in solids])
        self._color_F3 = colors[self._solid_of_F] * look.warmth
        self._look = look
        self._table = np.clip(look.table * look.warmth, 0, 255).astype(np.uint8)
        self._shadow_radius_B = np.array([body.shadow_radius for body in bodies])
        angles = np.arange(_SHADOW_SIDES) * (2 * np.pi / _SHADOW_SIDES)
        self._circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)

    def draw(
        self,
        linear_B33: Floats,
        position_B3: Floats,
        rotation_33: Floats,
        eye_3: Floats,
        focal_pixels: float,
        empty: Image | None = None,
    ) -> Image:
        """One picture: uint8 (rows, columns, 3), RGB.

        Args:
            linear_B33: Each body's rotation.
            position_B3: Each body's place.
            rotation_33: World to camera.
            eye_3: The camera's place.
            focal_pixels: The camera's focal length.
            empty: The empty table from this camera, where it is known already; see `draw_table`.
        """
        image = self.draw_table(rotation_33, eye_3, focal_pixels) if empty is None else empty.copy()
        self._shade_table(image, position_B3, rotation_33, eye_3, focal_pixels)
        world_V3 = (linear_B33[self._body_of_V] @ self._vertices_V3[..., None])[..., 0]
        world_V3 += position_B3[self._body_of_V]
        seen_V3 = (world_V3 - eye_3) @ rotation_33.T
        pixels_V2 = _to_pixels(seen_V3, focal_pixels)
        corners = world_V3[self._faces_FK[:, :3]]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        toward = np.einsum("fi,fi->f", normals, eye_3 - corners[:, 0])
        depth_S = np.add.reduceat(seen_V3[:, 2], self._starts_S) / self._sizes_S
        nearest_S = np.minimum.reduceat(seen_V3[:, 2], self._starts_S)
        visible = np.flatnonzero((toward > 0) & (nearest_S > _NEAREST)[self._solid_of_F])
        order_S = self._layer_S * 100.0 - depth_S
        visible = visible[np.argsort(order_S[self._solid_of_F[visible]], kind="stable")]
        normals = normals[visible]
        lit = normals @ self._look.light / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
        shade = self._look.ambient + (1.05 - self._look.ambient) * np.maximum(lit, 0)
        colors = np.minimum(self._color_F3[visible] * shade[:, None], 255).tolist()
        polygons = pixels_V2[self._faces_FK[visible]]
        for polygon, color in zip(polygons, colors, strict=True):
            cv2.fillConvexPoly(image, polygon, color, cv2.LINE_AA, _SUBPIXEL_BITS)
        return image

    def draw_table(self, rotation_33: Floats, eye_3: Floats, focal_pixels: float) -> Image:
        """The empty table and the room around it."""
        rows, columns = FRAME_SIZE
        image = np.empty((rows, columns, 3), dtype=np.uint8)
        image[:] = np.array(self._look.room) * 0.75
        (left, right), (near, far) = TABLE
        edge = np.array(
            [[left, far, 0], [right, far, 0], [right, near, 0], [left, near, 0]], dtype=np.float64
        )
        seen = (edge - eye_3) @ rotation_33.T
        projection = (
            np.array([[focal_pixels, 0, columns / 2], [0, focal_pixels, rows / 2], [0, 0, 1]]) @ rotation_33
        )
        texture_rows, texture_columns = TEXTURE_SIZE
        to_table = np.array(
            [
                [(right - left) / texture_columns, 0, left],
                [0, -(far - near) / texture_rows, far],
                [0, 0, 0],
                [0, 0, 1],
            ]
        )
        shift = np.concatenate([np.eye(3), -eye_3[:, None]], axis=1)
        homography = projection @ shift @ to_table
        assert seen[:, 2].min() > -2 and abs(homography[2, 2]) > 0
        warped = cv2.warpPerspective(
            self._table,
            homography,
            (columns, rows),
            dst=image,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
        return np.asarray(warped, dtype=np.uint8)

    def _shade_table(
        self, image: Image, position_B3: Floats, rotation_33: Floats, eye_3: Floats, focal_pixels: float
    ) -> None:
        """Darken the table under each body, softer the higher the body is."""
        light = self._look.light
        bodies = np.flatnonzero(self._shadow_radius_B > 0)
        height = np.maximum(position_B3[bodies, 2:], 0)
        centers = position_B3[bodies] - height * (light / light[2])
        radius = self._shadow_radius_B[bodies, None] * (1.15 + 2 * height)
        rings = centers[:, None] + self._circle * radius[..., None]
        seen = (rings - eye_3) @ rotation_33.T
        pixels = _to_pixels(seen, focal_pixels)
        mask = np.full(FRAME_SIZE, 255, dtype=np.uint8)
        for polygon, near in zip(pixels, seen[..., 2].min(axis=1), strict=True):
            if near > _NEAREST:
                cv2.fillConvexPoly(mask, polygon, (168,), cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.multiply(image, cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB), dst=image, scale=1 / 255)


def _to_pixels(seen: Floats, focal_pixels: float) -> npt.NDArray[np.int32]:
    rows, columns = FRAME_SIZE
    scale = focal_pixels / np.maximum(seen[..., 2:], _NEAREST / 2)
    pixels = seen[..., :2] * scale + np.array([columns / 2 - 0.5, rows / 2 - 0.5])
    fixed: npt.NDArray[np.int32] = np.round(np.clip(pixels, -2000, 2000) * (1 << _SUBPIXEL_BITS)).astype(
        np.int32
    )
    return fixed
