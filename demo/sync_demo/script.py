"""What happens when: the actions of one recording, from which both the labels and the motion are made."""

from dataclasses import dataclass

import numpy as np

from sync_demo.kits import Kit, Motion, Procedure
from sync_store.labels import NS_PER_SECOND, Segments

SECONDS = (25.0, 40.0)
"""Shortest and longest recording, from the first action's start to the last one's stop."""
NUM_ACTIONS = (8, 16)

_DURATIONS = {
    Motion.PLACE: (2.0, 3.6),
    Motion.REMOVE: (1.8, 3.2),
    Motion.LIFT: (1.8, 3.4),
    Motion.PAUSE: (0.8, 2.4),
}
_TOOL_DURATION = (2.0, 4.0)
_MISTAKE = 0.28
"""Chance that a part just handled is taken off (or put on) again."""
_TOOL = 0.36
"""Chance of a tool after a part."""
_INSPECT = 0.16
_PAUSE = 0.55


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing that the person does, in [start_ns, stop_ns) on the recording's clock."""

    start_ns: int
    stop_ns: int
    motion: Motion
    item: str | None
    """Part or tool that is moved; None for the base itself and for pauses."""
    label: str | None
    """None while nothing that has a name happens."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """One recording's actions, without a gap between them, in order."""

    procedure: Procedure
    actions: tuple[Action, ...]

    @property
    def start_ns(self) -> int:
        """Start of the first action."""
        return self.actions[0].start_ns

    @property
    def stop_ns(self) -> int:
        """Stop of the last action."""
        return self.actions[-1].stop_ns

    def labels(self) -> Segments:
        """The segments of all actions that have a label."""
        named = [action for action in self.actions if action.label is not None]
        return Segments(
            start_ns=np.array([action.start_ns for action in named], dtype=np.int64),
            stop_ns=np.array([action.stop_ns for action in named], dtype=np.int64),
            labels=tuple(str(action.label) for action in named),
        )


def write_script(kit: Kit, procedure: Procedure, rng: np.random.Generator) -> Script:
    """Draw a script: parts in a loose order, mistakes, tools, inspections, each at its own pace."""
    while True:
        steps = _draw_steps(kit, procedure, rng)
        tempo = rng.uniform(0.85, 1.2)
        seconds = [tempo * rng.uniform(*_DURATIONS.get(motion, _TOOL_DURATION)) for motion, _ in steps]
        fits = NUM_ACTIONS[0] <= sum(motion != Motion.PAUSE for motion, _ in steps) <= NUM_ACTIONS[1]
        if fits and SECONDS[0] <= sum(seconds) <= SECONDS[1]:
            break
    micros = np.round(np.cumsum([rng.uniform(0.5, 1.2), *seconds]) * 1e6).astype(np.int64)
    edges_ns = micros * (NS_PER_SECOND // 1_000_000)
    return Script(
        procedure=procedure,
        actions=tuple(
            Action(
                start_ns=int(start_ns),
                stop_ns=int(stop_ns),
                motion=motion,
                item=item,
                label=_label(kit, procedure, motion, item),
            )
            for (motion, item), start_ns, stop_ns in zip(steps, edges_ns[:-1], edges_ns[1:], strict=True)
        ),
    )


def _draw_steps(kit: Kit, procedure: Procedure, rng: np.random.Generator) -> list[tuple[Motion, str | None]]:
    taking_apart = procedure.kind == "disassembly"
    do, undo = (Motion.REMOVE, Motion.PLACE) if taking_apart else (Motion.PLACE, Motion.REMOVE)
    ranks = np.arange(len(procedure.parts)) * (-1 if taking_apart else 1)
    queue = [procedure.parts[i] for i in np.argsort(ranks + rng.normal(0, 1.6, len(ranks)))]
    steps: list[tuple[Motion, str | None]] = []

    def add(motion: Motion, item: str | None) -> None:
        if not steps or steps[-1] != (motion, item):
            steps.append((motion, item))
            if kit.pauses and rng.random() < _PAUSE:
                steps.append((Motion.PAUSE, None))

    while queue:
        part = queue.pop(0)
        add(do, part)
        if kit.mistakes and rng.random() < _MISTAKE:
            add(undo, part)
            queue.insert(int(rng.integers(0, min(2, len(queue)) + 1)), part)
        if rng.random() < (_TOOL if kit.mistakes else 0.9):
            _, motion, tool = procedure.tools[rng.integers(len(procedure.tools))]
            add(motion, tool)
        if rng.random() < _INSPECT:
            add(Motion.LIFT, None)
    if not kit.mistakes:
        for index in rng.permutation(len(procedure.tools)):
            add(procedure.tools[index][1], procedure.tools[index][2])
    add(Motion.LIFT, None)
    return steps


def _label(kit: Kit, procedure: Procedure, motion: Motion, item: str | None) -> str | None:
    if motion == Motion.PAUSE:
        return None
    if motion == Motion.LIFT:
        return kit.lift_label
    if motion == Motion.PLACE:
        return kit.place_label.format(item)
    if motion == Motion.REMOVE:
        return kit.remove_label.format(item)
    return next(label for label, tool_motion, _ in procedure.tools if tool_motion == motion)
