"""Paths of bodies through time: keyframes joined by smooth moves, and small oscillations on top.

Axes: T times; a pose has the columns of `Pose`.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sync_demo.shapes import Floats


class Pose(NamedTuple):
    """Where a body is and how it is turned, in metres and radians."""

    x: float
    y: float
    z: float
    yaw: float = 0.0
    """About the vertical."""
    tilt: float = 0.0
    """About the body's own x axis, before the yaw."""
    grip: float = 0.0
    """Hands only: 0 open, 1 closed."""

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Pose":
        """The same attitude elsewhere."""
        return self._replace(x=self.x + x, y=self.y + y, z=self.z + z)


@dataclass(kw_only=True)
class Track:
    """Keyframes of one body: it stands still before the first and after the last."""

    seconds: list[float] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)

    @property
    def last(self) -> Pose:
        """Where the body is after all moves so far."""
        return self.poses[-1]

    def add(self, at_seconds: float, pose: Pose) -> None:
        """Arrive at `pose` at this time, moving from the keyframe before."""
        assert not self.seconds or at_seconds >= self.seconds[-1], (at_seconds, self.seconds[-1])
        self.seconds.append(at_seconds)
        self.poses.append(pose)

    def wait(self, until_seconds: float) -> None:
        """Stay where the body is until this time."""
        self.add(until_seconds, self.last)

    def at(self, times_T: Floats) -> Floats:
        """Poses (T, 6): moves start and stop at rest (minimum jerk)."""
        keys, poses = np.array(self.seconds), np.array(self.poses)
        before = np.clip(np.searchsorted(keys, times_T, side="right") - 1, 0, len(keys) - 1)
        after = np.minimum(before + 1, len(keys) - 1)
        lasting = np.maximum(keys[after] - keys[before], 1e-9)
        u = np.clip((times_T - keys[before]) / lasting, 0, 1)[:, None]
        share = u**3 * (10 - 15 * u + 6 * u**2)
        moved: Floats = poses[before] + (poses[after] - poses[before]) * share
        return moved


@dataclass(frozen=True, kw_only=True)
class Wiggle:
    """A sine that swells and fades between two moments, added to the poses of some bodies."""

    start: float
    stop: float
    bodies: tuple[str, ...]
    amplitude: Pose
    hertz: float
    phase: float = 0.0

    def at(self, times_T: Floats) -> Floats:
        """What is added to the poses: (T, 6)."""
        u = np.clip((times_T - self.start) / (self.stop - self.start), 0, 1)
        swell = np.minimum(1, 3 * np.sin(math.pi * u))
        sine = np.sin(2 * math.pi * self.hertz * (times_T - self.start) + self.phase)
        added: Floats = (swell * sine)[:, None] * np.array(self.amplitude)
        return added
