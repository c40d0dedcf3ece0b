"""Where the cameras are and look: two fixed in the room, one on the person's head.

Axes: T times. Camera frame: x right, y down, z forward.
"""

import math
from dataclasses import dataclass

import numpy as np

from sync_demo.scene import Scene
from sync_demo.shapes import Floats, rotation_z

FRAME_SIZE = (96, 128)
"""Rows and columns of every view's frames."""

_GAZE_HERTZ = 50.0
"""Rate at which the head's lag behind the hands is integrated."""
_GAZE_LAG_SECONDS = 0.35


@dataclass(frozen=True, kw_only=True, eq=False)
class Shots:
    """A pinhole camera at each of T moments."""

    rotation_T33: Floats
    """From the world to the camera."""
    eye_T3: Floats
    focal_pixels: float

    def seen(self, points_TN3: Floats) -> Floats:
        """Points of the world in the camera's frame at each moment; one shot serves all moments."""
        return (points_TN3 - self.eye_T3[:, None]) @ self.rotation_T33.transpose(0, 2, 1)

    def part(self, moments: slice) -> "Shots":
        """The camera at some of the moments."""
        return Shots(
            rotation_T33=self.rotation_T33[moments],
            eye_T3=self.eye_T3[moments],
            focal_pixels=self.focal_pixels,
        )


def fixed_camera(view: str, everywhere: bool, rng: np.random.Generator) -> Shots:
    """An exo camera; one shot, valid at every time.

    Args:
        view: "v3" stands across the table, "v4" higher and to the side.
        everywhere: Whether it is put somewhere else for each recording, or only a little off its place.
        rng: Source of the position.
    """
    if everywhere:
        azimuth = rng.uniform(25, 155) if view == "v3" else rng.uniform(-20, 200)
        elevation, distance = rng.uniform(28, 58), rng.uniform(1.0, 1.35)
    else:
        azimuth, elevation, distance = (92.0, 36.0, 1.15) if view == "v3" else (28.0, 46.0, 1.2)
        azimuth, elevation = azimuth + rng.normal(0, 1.0), elevation + rng.normal(0, 0.7)
        distance *= 1 + rng.normal(0, 0.01)
    a, e = math.radians(azimuth), math.radians(elevation)
    target = np.array([0.0, -0.03, 0.09]) + rng.normal(0, 0.006, 3)
    eye = target + distance * np.array([math.cos(a) * math.cos(e), math.sin(a) * math.cos(e), math.sin(e)])
    return Shots(
        rotation_T33=_look_at(eye[None], target[None], np.zeros(1)),
        eye_T3=eye[None],
        focal_pixels=_focal(32.0),
    )


class HeadCamera:
    """The ego camera: follows the hands with a lag, sways, and trembles."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        script = scene.script
        self._grid = np.arange(0, script.stop_ns / 1e9 + 5, 1 / _GAZE_HERTZ)
        gaze = scene.state(self._grid).gaze_T3
        keep = math.exp(-1 / (_GAZE_HERTZ * _GAZE_LAG_SECONDS))
        for row in range(1, len(gaze)):
            gaze[row] = keep * gaze[row - 1] + (1 - keep) * gaze[row]
        self._gaze = gaze
        self._place = np.array([rng.normal(0, 0.02), -0.40 + rng.normal(0, 0.02), 0.52 + rng.normal(0, 0.02)])
        self._roll = rng.normal(0, 0.07)
        self._focal = _focal(rng.uniform(50, 54))
        # rows: three of position (m), two of gaze (m on the table), roll (rad)
        self._sizes = np.array([0.020, 0.015, 0.015, 0.030, 0.025, 0.04])[:, None] * rng.uniform(
            0.5, 1.2, (6, 4)
        )
        self._hertz = np.array([0.15, 0.5, 1.3, 3.1]) * rng.uniform(0.7, 1.3, (6, 4))
        self._phases = rng.uniform(0, 2 * math.pi, (6, 4))

    def shots(self, times_T: Floats) -> Shots:
        """The camera at each time."""
        falling = np.array([1.0, 0.6, 0.35, 0.15])
        waves = np.sin(2 * math.pi * self._hertz[..., None] * times_T + self._phases[..., None])
        shake_6T = (self._sizes[..., None] * falling[:, None] * waves).sum(axis=1)
        gaze = np.stack([np.interp(times_T, self._grid, self._gaze[:, axis]) for axis in range(3)], axis=1)
        target = 0.5 * gaze + 0.5 * np.array([0, 0.0, 0.04])
        target[:, :2] += shake_6T[3:5].T
        eye = self._place + shake_6T[:3].T
        eye[:, 0] += 0.25 * target[:, 0]
        return Shots(
            rotation_T33=_look_at(eye, target, self._roll + shake_6T[5]),
            eye_T3=eye,
            focal_pixels=self._focal,
        )


def _focal(degrees: float) -> float:
    return FRAME_SIZE[1] / 2 / math.tan(math.radians(degrees) / 2)


def _look_at(eye_T3: Floats, target_T3: Floats, roll_T: Floats) -> Floats:
    forward = target_T3 - eye_T3
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, np.array([0.0, 0.0, 1.0]))
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    upright: Floats = np.stack([right, down, forward], axis=1)
    return rotation_z(roll_T) @ upright
