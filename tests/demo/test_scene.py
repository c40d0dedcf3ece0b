"""The scene does what the script says: properties over seeds and procedures, nothing rendered."""

import numpy as np
import numpy.typing as npt
import pytest

from sync_demo.choreography import BASE, HANDS
from sync_demo.kits import Kit, Motion, Procedure
from sync_demo.plan import KITS
from sync_demo.scene import Scene, State
from sync_demo.script import write_script

CASES = [
    (kit, procedure, seed)
    for kit in KITS.values()
    for number, procedure in enumerate(kit.procedures)
    for seed in (number, number + 100)
]
NAMES = [f"{procedure.name}-{seed}" for _, procedure, seed in CASES]
CARRIED = (0.3, 0.65)
"""Share of an attach action in which the part is in the hand above the table."""


def make(kit: Kit, procedure: Procedure, seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    return Scene(kit, write_script(kit, procedure, rng), rng)


def bodies(scene: Scene, state: State) -> dict[str, npt.NDArray[np.float64]]:
    return {body.name: state.position_TB3[:, index] for index, body in enumerate(scene.bodies)}


@pytest.mark.parametrize(("kit", "procedure", "seed"), CASES, ids=NAMES)
def test_a_part_changes_state_inside_its_own_segment_only(kit: Kit, procedure: Procedure, seed: int) -> None:
    scene = make(kit, procedure, seed)
    on = dict.fromkeys(procedure.parts, procedure.kind == "disassembly")
    for action in scene.script.actions:
        inside = np.linspace(action.start_ns, action.stop_ns - 1, 400) / 1e9
        attached = scene.state(inside).attached_TP
        for index, part in enumerate(procedure.parts):
            flips = np.flatnonzero(np.diff(attached[:, index]))
            assert attached[0, index] == on[part]
            if action.item == part and action.motion in (Motion.PLACE, Motion.REMOVE):
                assert len(flips) == 1
                on[part] = action.motion == Motion.PLACE
            else:
                assert not len(flips)
            assert attached[-1, index] == on[part]


@pytest.mark.parametrize(("kit", "procedure", "seed"), CASES, ids=NAMES)
def test_only_the_handled_item_moves_and_a_hand_is_on_it(kit: Kit, procedure: Procedure, seed: int) -> None:
    scene = make(kit, procedure, seed)
    names = [item.name for item in kit.items if item.name in {body.name for body in scene.bodies}]
    for action in scene.script.actions:
        times = np.linspace(action.start_ns, action.stop_ns - 1, 200) / 1e9
        state = scene.state(times)
        places = bodies(scene, state)
        for name in names:
            loose = name not in procedure.parts or not state.attached_TP[:, procedure.parts.index(name)].any()
            if name != action.item and loose:
                assert np.ptp(places[name], axis=0).max() < 1e-9, (action.label, name)
        if action.item is None:
            continue
        travelled = np.ptp(places[action.item], axis=0).max()
        assert travelled > 0.1, action
        moving = np.linalg.norm(np.diff(places[action.item], axis=0), axis=1) > 1e-4
        reach = np.stack([np.linalg.norm(places[h] - places[action.item], axis=1) for h in HANDS], axis=1)
        assert reach.min(axis=1)[1:][moving].max() < 0.12, action


@pytest.mark.parametrize(("kit", "procedure", "seed"), CASES, ids=NAMES)
def test_attaching_carries_the_part_from_the_table_through_the_air_to_the_base(
    kit: Kit, procedure: Procedure, seed: int
) -> None:
    scene = make(kit, procedure, seed)
    for action in scene.script.actions:
        if action.motion not in (Motion.PLACE, Motion.REMOVE):
            continue
        assert action.item is not None
        start, stop = action.start_ns / 1e9, action.stop_ns / 1e9
        middle = start + (stop - start) * np.linspace(*CARRIED, 20)
        if action.motion == Motion.REMOVE:
            middle = stop - (middle - start)
        state = scene.state(np.concatenate([[start], middle, [stop]]))
        places = bodies(scene, state)
        part, base = places[action.item], places[BASE]
        away = np.linalg.norm(part[:, :2] - base[:, :2], axis=1)
        on, off = (0, -1) if action.motion == Motion.REMOVE else (-1, 0)
        assert away[on] < 0.13 < 0.2 < away[off]
        assert part[on, 2] > part[off, 2]
        assert part[1:-1, 2].max() > 0.18


@pytest.mark.parametrize(("kit", "procedure", "seed"), CASES[::2], ids=NAMES[::2])
def test_attached_parts_ride_on_the_base(kit: Kit, procedure: Procedure, seed: int) -> None:
    scene = make(kit, procedure, seed)
    times = np.arange(0, scene.script.stop_ns / 1e9, 0.05)
    state = scene.state(times)
    names = [body.name for body in scene.bodies]
    base = names.index(BASE)
    lifts = [action for action in scene.script.actions if action.motion == Motion.LIFT]
    for action in lifts:
        middle = (action.start_ns + action.stop_ns) / 2e9
        assert scene.state(np.array([middle])).position_TB3[0, base, 2] > 0.08
    for index, part in enumerate(procedure.parts):
        on = state.attached_TP[:, index]
        body = names.index(part)
        offset = state.position_TB3[on, body] - state.position_TB3[on, base]
        in_base = np.einsum("tji,tj->ti", state.linear_TB33[on, base], offset)
        assert not on.any() or np.ptp(in_base, axis=0).max() < 1e-9


@pytest.mark.parametrize(("kit", "procedure", "seed"), CASES[::2], ids=NAMES[::2])
def test_nothing_jumps(kit: Kit, procedure: Procedure, seed: int) -> None:
    """Also not where a part passes from the hand's path to the base's, or one action to the next."""
    scene = make(kit, procedure, seed)
    edges = [action.start_ns / 1e9 for action in scene.script.actions]
    times = np.arange(0, scene.script.stop_ns / 1e9 + 1, 0.001)
    attached = scene.state(times).attached_TP
    changes = times[1:][(attached[1:] != attached[:-1]).any(axis=1)]
    assert len(changes)
    tiny = 2.5e-6
    for moments in (np.array(edges), *(change + np.linspace(-0.001, 0, 201) for change in changes)):
        before, after = scene.state(moments - tiny), scene.state(moments + tiny)
        assert np.abs(after.position_TB3 - before.position_TB3).max() < 10 * 2 * tiny  # 10 m/s
        assert np.abs(after.linear_TB33 - before.linear_TB33).max() < 100 * 2 * tiny


def test_state_at_a_time_does_not_depend_on_the_other_times() -> None:
    kit = KITS["tabletop"]
    scene = make(kit, kit.procedures[0], 3)
    times = np.linspace(0, 30, 61)
    together = scene.state(times)
    alone = [scene.state(times[k : k + 1]) for k in (0, 17, 60)]
    for k, state in zip((0, 17, 60), alone, strict=True):
        assert np.array_equal(state.position_TB3[0], together.position_TB3[k])
        assert np.array_equal(state.linear_TB33[0], together.linear_TB33[k])
        assert np.array_equal(state.attached_TP[0], together.attached_TP[k])
