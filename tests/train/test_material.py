"""Which recordings are learnt from and which are selected on, where a budget cuts one and partners are few.

Recordings of `tiny` have 8 to 10 s.
"""

from typing import Any

import pytest

from sync_store.errors import TrainingError
from sync_store.project import load_project
from sync_train.fit_config import StudentConfig
from sync_train.material import Material
from sync_train.setting import Setting, make_setting

FIVE = ("a0", "a1", "a2", "e0", "t0")

BUDGET_HOURS = 21 / 3600
"""Two of the five, and 2 to 5 s of a third: of 43 s in all."""

WHOLE_STEPS = 30
"""Steps of two rows: fewer than a whole recording has, and more than one that is cut."""


def make(project: Any, **changed: Any) -> Setting:
    """With a window for each recording."""
    config = project.config(device="cpu", max_chunks=100, **changed)
    return make_setting(load_project(project.root), config)


def use_five(project: Any, kind: str) -> None:
    """Make five recordings the split of a kind, and leave one to each of the others."""
    for split in ("train", "adapt", "test"):
        names = FIVE if split == kind else {"train": ("t1",), "adapt": ("t2",), "test": ("e1",)}[split]
        (project.root / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n")


@pytest.mark.parametrize("budget", [{"share": 0.49}, {"hours": BUDGET_HOURS}])
def test_a_pair_that_is_cut_is_never_selected_on(project: Any, budget: dict[str, float]) -> None:
    use_five(project, "adapt")
    setting = make(project, pairs=budget)
    for seed in range(8):
        learn, held_out, found = Material(setting, seed).pair_batches(StudentConfig(zoom=False))
        assert found["num_recordings"] == 3 and held_out is not None
        learnt, selected_on = (
            [int(valid.sum()) for _, student in batches.epoch(0) for valid in student.valid_BL]
            for batches in (learn, held_out)
        )
        assert min(learnt) < WHOLE_STEPS < min(selected_on)
        assert (len(learnt), len(selected_on)) == (2, 1)


def test_a_labelled_recording_that_is_cut_is_never_selected_on(project: Any) -> None:
    use_five(project, "train")
    setting = make(project, train_hours=BUDGET_HOURS)
    for seed in range(8):
        labeled, _ = Material(setting, seed).labeled(setting.config.teacher, "v3")
        assert len(labeled) == 2
        assert min(len(each.classes_T) for each in labeled) < 2 * WHOLE_STEPS


@pytest.mark.parametrize(
    ("changed", "limit"),
    [
        ({"pairs": {"share": 0.1}}, "pairs.share"),
        ({"pairs": {"hours": 2 / 3600}}, "pairs.hours"),
        ({"train_hours": 2 / 3600}, "train_hours"),
    ],
)
def test_where_a_budget_leaves_one_recording_the_error_names_it(
    tiny: Any, changed: dict[str, Any], limit: str
) -> None:
    of, config = Material(make(tiny, **changed), 0), tiny.config()
    message = rf"^1 recording can't be divided .* Add recordings or raise {limit}, or keep the last epoch"
    with pytest.raises(TrainingError, match=message):
        of.labeled(config.teacher, "v3") if limit == "train_hours" else of.pair_batches(config.adapter)


def test_the_only_pair_held_out_has_partners_of_its_procedure(project: Any) -> None:
    """Two of the three are learnt from."""
    rows = ["recording,procedure", "a0,crane", "a1,crane", "a2,crane"]
    (project.root / "recordings.csv").write_text("\n".join(rows) + "\n")
    config = StudentConfig(loss="tcc", pairing="same-procedure")
    learn, held_out, _ = Material(make(project), 0).pair_batches(config)
    assert held_out is not None
    assert [sum(len(student.rows_BLD) for _, student in of.epoch(0)) for of in (learn, held_out)] == [2, 1]
    assert all((teacher.rows_BLD != student.rows_BLD).any() for teacher, student in held_out.epoch(0))
