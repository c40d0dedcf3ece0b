"""Scripts: what a recording may and must contain, over many seeds of every procedure."""

import numpy as np
import pytest

from sync_demo.kits import Kit, Motion, Procedure
from sync_demo.plan import KITS
from sync_demo.script import NUM_ACTIONS, SECONDS, Script, write_script

CASES = [(kit, procedure) for kit in KITS.values() for procedure in kit.procedures]
NAMES = [procedure.name for _, procedure in CASES]


def scripts(kit: Kit, procedure: Procedure, seeds: int = 25) -> list[Script]:
    return [write_script(kit, procedure, np.random.default_rng(seed)) for seed in range(seeds)]


@pytest.mark.parametrize(("kit", "procedure"), CASES, ids=NAMES)
def test_actions_join_without_a_gap_and_last_25_to_40_seconds(kit: Kit, procedure: Procedure) -> None:
    for script in scripts(kit, procedure):
        stops = [action.stop_ns for action in script.actions]
        assert [action.start_ns for action in script.actions] == [script.start_ns, *stops[:-1]]
        assert all(action.start_ns < action.stop_ns for action in script.actions)
        assert script.start_ns > 0
        # tempo and rounding to microseconds come after the draw
        assert SECONDS[0] - 1e-4 <= (script.stop_ns - script.start_ns) / 1e9 <= SECONDS[1] + 1e-4
        named = [action for action in script.actions if action.motion != Motion.PAUSE]
        assert NUM_ACTIONS[0] <= len(named) <= NUM_ACTIONS[1]


@pytest.mark.parametrize(("kit", "procedure"), CASES, ids=NAMES)
def test_a_part_is_on_or_off_as_the_actions_before_left_it(kit: Kit, procedure: Procedure) -> None:
    """Nothing that is on is put on, nothing that is off is taken off, and the goal is reached."""
    taken_apart = procedure.kind == "disassembly"
    for script in scripts(kit, procedure):
        on = dict.fromkeys(procedure.parts, taken_apart)
        for action in script.actions:
            if action.motion in (Motion.PLACE, Motion.REMOVE):
                assert action.item is not None
                assert on[action.item] == (action.motion == Motion.REMOVE)
                on[action.item] = action.motion == Motion.PLACE
        assert on == dict.fromkeys(procedure.parts, not taken_apart)


@pytest.mark.parametrize(("kit", "procedure"), CASES, ids=NAMES)
def test_labels_are_the_named_actions(kit: Kit, procedure: Procedure) -> None:
    for script in scripts(kit, procedure, seeds=5):
        labels = script.labels()
        named = [action for action in script.actions if action.label is not None]
        assert list(zip(labels.start_ns.tolist(), labels.stop_ns.tolist(), labels.labels, strict=True)) == [
            (action.start_ns, action.stop_ns, action.label) for action in named
        ]
        assert set(labels.labels) <= set(kit.classes)
        for action in named:
            if action.motion in (Motion.PLACE, Motion.REMOVE):
                assert str(action.label).endswith(f" {action.item}")


def test_every_class_of_a_kit_occurs() -> None:
    for kit in KITS.values():
        seen = {label for p in kit.procedures for s in scripts(kit, p) for label in s.labels().labels}
        assert seen == set(kit.classes)
        assert len(set(kit.classes)) == len(kit.classes)


def test_tabletop_has_four_toys_both_ways_and_mistakes_but_no_gaps() -> None:
    kit = KITS["tabletop"]
    kinds = {(procedure.toy, procedure.kind) for procedure in kit.procedures}
    toys = {toy for toy, _ in kinds}
    assert len(toys) >= 4
    assert kinds == {(toy, kind) for toy in toys for kind in ("assembly", "disassembly")}
    for procedure in kit.procedures:
        drawn = scripts(kit, procedure)
        undo = Motion.PLACE if procedure.kind == "disassembly" else Motion.REMOVE
        with_mistakes = [any(action.motion == undo for action in script.actions) for script in drawn]
        assert 0.3 < np.mean(with_mistakes) <= 1
        assert all(action.label is not None for script in drawn for action in script.actions)
        orders = {
            tuple(a.item for a in s.actions if a.motion in (Motion.PLACE, Motion.REMOVE)) for s in drawn
        }
        assert len(orders) > len(drawn) / 2


def test_kitchen_has_unlabeled_time() -> None:
    kit = KITS["kitchen"]
    for procedure in kit.procedures:
        for script in scripts(kit, procedure, seeds=8):
            labels = script.labels()
            unlabeled = 1 - (labels.stop_ns - labels.start_ns).sum() / (script.stop_ns - script.start_ns)
            pauses = [action for action in script.actions if action.motion == Motion.PAUSE]
            assert all(action.label is None for action in pauses)
            assert (unlabeled > 0) == bool(pauses)
            assert unlabeled < 0.5
