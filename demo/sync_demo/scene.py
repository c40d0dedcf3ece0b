"""Where every body is at any moment: the one truth that all cameras of a recording film.

Axes: T times, B bodies, P parts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sync_demo.choreography import BASE, HANDS, choreograph
from sync_demo.kits import Kit
from sync_demo.look import Look, draw_look
from sync_demo.script import Script
from sync_demo.shapes import Color, Floats, Solid, box, ellipsoid, frustum, rotation_x, rotation_z, turned

ELBOWS = {"left": (-0.33, -0.62, 0.16), "right": (0.33, -0.62, 0.16)}
PERSON = "person"

BEHIND_TABLE, ON_TABLE, FRONT = range(3)
"""Layers of bodies: what the table hides, what carries the parts, and all else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """Solids that move together."""

    name: str
    solids: tuple[Solid, ...]
    layer: int = FRONT
    """Bodies of a higher layer are painted over lower ones; within a layer the nearer over the farther."""
    shadow_radius: float = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """The scene at some moments."""

    linear_TB33: Floats
    """Rotation (for hands, with their closing) from each body's frame to the world."""
    position_TB3: Floats
    attached_TP: npt.NDArray[np.bool_]
    """Whether each part sits in its slot, in the order of the procedure's parts."""
    gaze_T3: Floats
    """Where the person's hands are busy."""


class Scene:
    """One recording's scene as a function of continuous time."""

    def __init__(self, kit: Kit, script: Script, rng: np.random.Generator) -> None:
        self.script = script
        self.look: Look = draw_look(rng)
        self._choreography = choreograph(kit, script, rng)
        self._items = [name for name in self._choreography.tracks if name not in (BASE, *HANDS)]
        self.bodies = (
            Body(name=BASE, solids=script.procedure.base, layer=ON_TABLE, shadow_radius=0.15),
            *(Body(name=name, solids=kit.item(name).solids) for name in self._items),
            *(Body(name=hand, solids=_hand(hand, self.look.skin)) for hand in HANDS),
            *(
                Body(name=f"{hand} forearm", solids=_forearm(self.look.skin, self.look.sleeve))
                for hand in HANDS
            ),
            Body(name=PERSON, solids=_person(self.look), layer=BEHIND_TABLE, shadow_radius=0.0),
        )
        self._phase = rng.uniform(0, 6, 2)

    def state(self, times_T: Floats) -> State:
        """Pose of every body at each time (seconds on the recording's clock)."""
        times_T = np.asarray(times_T, dtype=np.float64)
        poses = {name: track.at(times_T) for name, track in self._choreography.tracks.items()}
        for wiggle in self._choreography.wiggles:
            for name in wiggle.bodies:
                poses[name] += wiggle.at(times_T)
        placed = [_placement(poses[BASE])]
        parts = self.script.procedure.parts
        attached_TP = np.stack([self._is_attached(part, times_T) for part in parts], axis=1)
        for name in self._items:
            linear, position = _placement(poses[name])
            if name in parts:
                in_slot = attached_TP[:, parts.index(name)]
                slot = self._choreography.slots[name]
                base_linear, base_position = placed[0]
                on_base = base_position + base_linear @ np.array([slot.x, slot.y, slot.z])
                linear = np.where(in_slot[:, None, None], base_linear, linear)
                position = np.where(in_slot[:, None], on_base, position)
            placed.append((linear, position))
        arms = [_arm(poses[hand], ELBOWS[hand]) for hand in HANDS]
        placed.extend(arm[0] for arm in arms)
        placed.extend(arm[1] for arm in arms)
        sway = np.stack([np.sin(0.7 * times_T + self._phase[0]), np.sin(0.5 * times_T + self._phase[1])], 1)
        leaning = np.concatenate([sway * [0.02, 0.015], np.zeros((len(times_T), 1))], axis=1)
        placed.append((np.broadcast_to(np.eye(3), (len(times_T), 3, 3)), leaning))
        left, right = poses["left"], poses["right"]
        busy = np.stack([left[:, 5], right[:, 5]], axis=1) + 0.25
        share = busy[:, 1:] / busy.sum(axis=1, keepdims=True)
        return State(
            linear_TB33=np.stack([linear for linear, _ in placed], axis=1),
            position_TB3=np.stack([position for _, position in placed], axis=1),
            attached_TP=attached_TP,
            gaze_T3=left[:, :3] * (1 - share) + right[:, :3] * share,
        )

    def _is_attached(self, part: str, times_T: Floats) -> npt.NDArray[np.bool_]:
        inside = np.zeros(len(times_T), dtype=np.bool_)
        for start, stop in self._choreography.attached[part]:
            inside |= (times_T >= start) & (times_T < stop)
        return inside


def _placement(poses: Floats) -> tuple[Floats, Floats]:
    return rotation_z(poses[:, 3]) @ rotation_x(poses[:, 4]), poses[:, :3]


def _arm(
    poses: Floats, elbow: tuple[float, float, float]
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Hand and forearm: the hand points away from the elbow, and narrows as it closes."""
    reach = poses[:, :3] - np.array(elbow)
    heading = np.arctan2(-reach[:, 0], reach[:, 1])
    hand = rotation_z(heading + 0.5 * poses[:, 3]) * (1 - 0.3 * poses[:, 5])[:, None, None] ** [1, 0, 0]
    level = np.hypot(reach[:, 0], reach[:, 1])
    forearm = rotation_z(heading) @ rotation_x(np.arctan2(reach[:, 2] + 0.03, level))
    wrist = poses[:, :3] + (rotation_z(heading) @ np.array([0, -0.085, 0.035]))
    return (hand, poses[:, :3]), (forearm, wrist)


def _hand(side: str, skin: Color) -> tuple[Solid, ...]:
    inner = 1 if side == "left" else -1
    darker = (skin[0] * 0.9, skin[1] * 0.88, skin[2] * 0.88)
    return (
        ellipsoid((0.042, 0.052, 0.022), (0, -0.055, 0.036), skin),
        box((0.066, 0.055, 0.020), (-inner * 0.004, 0.008, 0.030), darker),
        box((0.060, 0.018, 0.034), (-inner * 0.004, 0.040, 0.012), skin),
        box((0.020, 0.052, 0.020), (inner * 0.046, -0.02, 0.012), darker),
    )


def _forearm(skin: Color, sleeve: Color) -> tuple[Solid, ...]:
    """Along −y from the wrist, in pieces so that each is sorted by its own distance."""
    backwards = rotation_x(np.array(np.pi / 2))
    pieces = (
        frustum((0.027, 0.034), 0.07, (0, 0, 0.030), skin, sides=7),
        frustum((0.042, 0.046), 0.13, (0, 0, 0.125), sleeve, sides=7),
        frustum((0.046, 0.052), 0.16, (0, 0, 0.270), sleeve, sides=7),
        frustum((0.052, 0.058), 0.22, (0, 0, 0.460), sleeve, sides=7),
    )
    return tuple(turned(piece, backwards) for piece in pieces)


def _person(look: Look) -> tuple[Solid, ...]:
    return (
        ellipsoid((0.27, 0.15, 0.42), (0, -0.72, 0.12), look.shirt, sides=10, bands=6),
        ellipsoid((0.095, 0.105, 0.13), (0, -0.66, 0.62), look.skin, sides=8, bands=5),
    )
