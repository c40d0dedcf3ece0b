"""From actions to paths: which hand goes where, and what it carries."""

import math
from dataclasses import dataclass, field

import numpy as np

from sync_demo.kits import Kit, Motion
from sync_demo.motion import Pose, Track, Wiggle
from sync_demo.script import Action, Script

BASE = "base"
HANDS = ("left", "right")
GRIP_HEIGHT = 0.03
"""Metres from an item's middle up to the hand that holds it."""
SHOWN_HEIGHT = 0.22
"""Of a part's middle above the table while it is looked at on its way."""
TOOL_REACH = 0.02
"""Metres between a working tool's lower end and the top of the base."""


@dataclass(kw_only=True)
class Choreography:
    """Every body's path over one recording."""

    tracks: dict[str, Track]
    """Of the base, both hands and every item."""
    slots: dict[str, Pose]
    """Where each part sits on the base, in the base's frame."""
    attached: dict[str, list[tuple[float, float]]]
    """When each part sits in its slot: half-open, in seconds."""
    wiggles: list[Wiggle] = field(default_factory=list)


def choreograph(kit: Kit, script: Script, rng: np.random.Generator) -> Choreography:
    """Lay out the table and play the script on it."""
    stage = _lay_table(kit, script, rng)
    home = {hand: stage.tracks[hand].last for hand in HANDS}
    rests = {item.name: stage.tracks[item.name].last for item in kit.items if item.name in stage.tracks}
    director = _Director(kit=kit, script=script, rng=rng, stage=stage, home=home, rests=rests)
    for part in script.procedure.parts if script.procedure.kind == "disassembly" else ():
        stage.attached[part].append((-math.inf, math.inf))
    for action in script.actions:
        director.play(action)
    return stage


def _lay_table(kit: Kit, script: Script, rng: np.random.Generator) -> Choreography:
    procedure = script.procedure
    names = [*procedure.parts, *dict.fromkeys(tool for _, _, tool in procedure.tools)]
    order = rng.permutation(len(names))
    turn = rng.uniform(0, 2 * math.pi)
    base = Pose(rng.normal(0, 0.01), rng.normal(0, 0.01), procedure.base_height / 2, rng.normal(0, 0.15))
    tracks = {BASE: Track(), "left": Track(), "right": Track()}
    tracks[BASE].add(0.0, base)
    tracks["left"].add(0.0, Pose(-0.21, -0.25, 0.05))
    tracks["right"].add(0.0, Pose(0.21, -0.25, 0.05))
    for place, name in zip(order, names, strict=True):
        item = kit.item(name)
        angle = turn + 2 * math.pi * (place + rng.uniform(-0.18, 0.18)) / len(names)
        lying = 0.03 if item.rest_tilt else item.half_height
        rest = Pose(
            0.46 * math.cos(angle),
            0.04 + 0.31 * math.sin(angle),
            lying,
            rng.uniform(-0.8, 0.8),
            item.rest_tilt,
        )
        tracks[name] = Track()
        tracks[name].add(0.0, rest)
    grid = [(-0.088, -0.05), (0.088, 0.05), (0.0, 0.055), (0.0, -0.055), (-0.088, 0.05), (0.088, -0.05)]
    slots = {
        part: Pose(*grid[index], procedure.base_height / 2 + kit.item(part).half_height, 0.0)
        for index, part in enumerate(procedure.parts)
    }
    return Choreography(tracks=tracks, slots=slots, attached={part: [] for part in procedure.parts})


@dataclass(kw_only=True)
class _Director:
    kit: Kit
    script: Script
    rng: np.random.Generator
    stage: Choreography
    home: dict[str, Pose]
    rests: dict[str, Pose]

    def play(self, action: Action) -> None:
        start, stop = action.start_ns / 1e9, action.stop_ns / 1e9
        self._start, self._stop = start, stop
        for hand in HANDS:
            self.stage.tracks[hand].wait(start)
        if action.motion == Motion.LIFT:
            self._lift()
        elif action.motion == Motion.PAUSE:
            self._pause()
        elif action.motion == Motion.PLACE:
            self._place(str(action.item))
        elif action.motion == Motion.REMOVE:
            self._remove(str(action.item))
        else:
            self._use(str(action.item), action.motion)

    def _at(self, share: float) -> float:
        return self._start * (1 - share) + self._stop * share

    def _place(self, part: str) -> None:
        at, rest, slot = self._at, self.stage.tracks[part].last, self._slot_in_world(part)
        hand, other = self._hands_for(rest)
        self._grasp(hand, part, rest, at(0.2), at(0.26))
        shown = self._shown(slot)
        self._carry(hand, part, [(0.33, shown), (0.60, shown), (0.68, slot), (1.0, slot)])
        self._steady(other, 0.05, 0.95)
        self._wiggle(0.68, 0.97, (hand, part), Pose(0, 0, 0.012, 0.45), 2.4)
        self.stage.attached[part].append((at(0.97), math.inf))

    def _remove(self, part: str) -> None:
        at, slot, rest = self._at, self._slot_in_world(part), self._new_rest(part)
        hand, other = self._hands_for(rest)
        self._grasp(hand, part, slot, at(0.18), at(0.24))
        self.stage.tracks[part].add(at(0.24), slot)
        shown = self._shown(slot)
        steps = [(0.42, slot), (0.52, shown), (0.80, shown), (0.95, rest), (1.0, rest)]
        self._carry(hand, part, steps)
        self.stage.tracks[other].add(at(0.25), self.home[other])
        self.stage.tracks[other].wait(at(1.0))
        self._wiggle(0.22, 0.42, (hand, BASE), Pose(0.014, 0, 0.008, 0.12, 0.16), 3.1)
        since, _ = self.stage.attached[part].pop()
        self.stage.attached[part].append((since, at(0.42)))

    def _use(self, tool: str, motion: Motion) -> None:
        at, rest = self._at, self.stage.tracks[tool].last
        hand, other = self._hands_for(rest)
        spot = list(self.stage.slots.values())[self.rng.integers(len(self.stage.slots))]
        base = self.stage.tracks[BASE].last
        item = self.kit.item(tool)
        top = base.z * 2 + item.half_height + TOOL_REACH + (0.03 if motion == Motion.TWIST else 0.0)
        work = Pose(base.x + spot.x * 0.6, base.y + spot.y * 0.6, top)
        if motion == Motion.POUR:
            # towards the person: further back, it would leave the head camera's picture
            work = work.moved(y=-0.08, z=0.06)._replace(tilt=2.0, yaw=1.3 if hand == "left" else -1.3)
        elif motion == Motion.SHAKE:
            work = work.moved(y=-0.05, z=0.08)._replace(tilt=2.6)
        self._grasp(hand, tool, rest, at(0.16), at(0.21))
        over = rest.moved((work.x - rest.x) / 2, (work.y - rest.y) / 2, 0.14)
        self._carry(hand, tool, [(0.27, over), (0.36, work), (0.82, work), (0.96, rest), (1.0, rest)])
        self._steady(other, 0.25, 0.85)
        both = (hand, tool)
        if motion == Motion.TWIST:
            self._wiggle(0.34, 0.84, both, Pose(0, 0, 0.010, 1.1, 0.10), 1.9)
        elif motion == Motion.STIR:
            self._wiggle(0.34, 0.84, both, Pose(0.055, 0, 0), 1.3)
            self._wiggle(0.34, 0.84, both, Pose(0, 0.045, 0), 1.3, math.pi / 2)
        elif motion == Motion.CHOP:
            self._wiggle(0.34, 0.84, both, Pose(0.004, 0, 0.035), 2.6)
        elif motion == Motion.POUR:
            self._wiggle(0.34, 0.84, both, Pose(0.03, 0.02, 0), 0.6)
        else:
            self._wiggle(0.34, 0.84, both, Pose(0.015, 0, 0.03), 4.2)

    def _lift(self) -> None:
        at, tracks = self._at, self.stage.tracks
        base = tracks[BASE].last
        up = base.moved(0, -0.03, 0.13)._replace(tilt=self.rng.uniform(0.55, 0.85))
        tracks[BASE].wait(at(0.2))
        keys = [(0.24, base), (0.40, up), (0.80, up), (0.94, base)]
        for hand, side in zip(HANDS, (-1, 1), strict=True):
            tracks[hand].add(at(0.2), self._beside(base, side))
            for share, pose in keys:
                tracks[hand].add(at(share), self._beside(pose, side))
            tracks[hand].wait(at(1.0))
        for share, pose in keys:
            tracks[BASE].add(at(share), pose)
        self._wiggle(0.38, 0.82, (BASE,), Pose(0, 0, 0, 0.5, 0.15), 0.9)
        self._wiggle(0.38, 0.82, ("left",), Pose(0, 0.05, 0), 0.9)
        self._wiggle(0.38, 0.82, ("right",), Pose(0, -0.05, 0), 0.9)

    def _pause(self) -> None:
        for hand in HANDS:
            away = self.home[hand].moved(self.rng.normal(0, 0.04), self.rng.normal(0.02, 0.03))
            self.stage.tracks[hand].add(self._at(min(1.0, 0.7 / (self._stop - self._start))), away)
            self.stage.tracks[hand].add(self._at(1.0), away)

    def _grasp(self, hand: str, item: str, pose: Pose, arrive: float, close: float) -> None:
        track = self.stage.tracks[hand]
        held = self._over(hand, pose)
        track.add(arrive, held._replace(grip=0.0))
        track.add(close, held)
        self.stage.tracks[item].wait(close)

    def _carry(self, hand: str, item: str, steps: list[tuple[float, Pose]]) -> None:
        for share, pose in steps:
            self.stage.tracks[item].add(self._at(share), pose)
            self.stage.tracks[hand].add(self._at(share), self._over(hand, pose))

    def _steady(self, hand: str, start: float, stop: float) -> None:
        """The other hand holds the base meanwhile."""
        side = -1 if hand == "left" else 1
        track, base = self.stage.tracks[hand], self.stage.tracks[BASE].last
        beside = self._beside(base, side)
        track.add(self._at(start + 0.1), beside)
        track.add(self._at(stop - 0.1), beside)
        track.add(self._at(1.0), self.home[hand])

    def _beside(self, base: Pose, side: int) -> Pose:
        return Pose(base.x + side * 0.165, base.y - 0.03, base.z + 0.02, 0.0, 0.0, 0.6)

    def _over(self, hand: str, pose: Pose) -> Pose:
        """Where a hand holds an item: from above while that is low, from the side while it is held up."""
        if pose.z > 0.8 * SHOWN_HEIGHT:
            side = -1 if hand == "left" else 1
            return Pose(pose.x + side * 0.075, pose.y - 0.03, pose.z - 0.02, 0.0, 0.0, 1.0)
        height = GRIP_HEIGHT if abs(pose.tilt) < 0.1 else 0.02
        return Pose(pose.x, pose.y - 0.015, pose.z + height, 0.0, 0.0, 1.0)

    def _hands_for(self, where: Pose) -> tuple[str, str]:
        right = where.x + self.rng.normal(0.03, 0.05) > 0
        return ("right", "left") if right else ("left", "right")

    def _shown(self, slot: Pose) -> Pose:
        """Held up above the base, where the person looks at it and every camera sees it."""
        return Pose(
            slot.x * 0.3, -0.12 + slot.y * 0.3, SHOWN_HEIGHT + self.rng.normal(0, 0.01), slot.yaw, 0.5
        )

    def _new_rest(self, part: str) -> Pose:
        rest = self.rests[part]
        return rest.moved(self.rng.normal(0, 0.015), self.rng.normal(0, 0.015))

    def _slot_in_world(self, part: str) -> Pose:
        base, slot = self.stage.tracks[BASE].last, self.stage.slots[part]
        cos, sin = math.cos(base.yaw), math.sin(base.yaw)
        x, y = cos * slot.x - sin * slot.y, sin * slot.x + cos * slot.y
        return Pose(base.x + x, base.y + y, base.z + slot.z, base.yaw)

    def _wiggle(
        self,
        start: float,
        stop: float,
        bodies: tuple[str, ...],
        amplitude: Pose,
        hertz: float,
        phase: float = 0.0,
    ) -> None:
        self.stage.wiggles.append(
            Wiggle(
                start=self._at(start),
                stop=self._at(stop),
                bodies=bodies,
                amplitude=amplitude,
                hertz=hertz * self.rng.uniform(0.85, 1.15),
                phase=phase,
            )
        )
