"""Which windows are compared with which. Axes: P rows of a pair, B sequences, L padded steps."""

from typing import Any

import pytest
import torch

from sync_store.errors import TrainingError
from sync_train.batches import Batch, Windowing
from sync_train.losses.random_frames import shuffle_steps
from sync_train.pair_batches import PairBatches
from sync_train.pairs import Pair

WINDOWING = Windowing(chunk_rows=1, max_chunks=500)


def make_pair(name: str, number: int, length: int) -> Pair:
    """Rows whose first value says which recording, and whose second which row."""
    rows = torch.stack([torch.full((length,), float(number)), torch.arange(length).float()], dim=1).half()
    return Pair(
        name=name,
        teacher_PD=rows,
        student_PD=rows.clone(),
        coverage=1,
        max_distance_ns=0,
        seconds=length / 10,
    )


PAIRS = [make_pair(name, number, 300 + 60 * number) for number, name in enumerate("abcd")]


def batches(pairs: list[Pair] = PAIRS, **options: Any) -> PairBatches:
    given: dict[str, Any] = {"batch_size": 3, "zoom": False, "seed": 0, "device": torch.device("cpu")}
    return PairBatches(pairs, WINDOWING, **{**given, **options})


def recordings(batch: Batch) -> list[int]:
    """Which recording each sequence is of; its length must be that recording's."""
    found = [int(rows[0, 0]) for rows in batch.rows_BLD]
    for number, valid in zip(found, batch.valid_BL, strict=True):
        assert int(valid.sum()) == 300 + 60 * number
    return found


def partners(of: PairBatches, epoch: int) -> dict[int, int]:
    """Teacher's recording by student's."""
    return {
        student: teacher
        for teachers, students in of.epoch(epoch)
        for teacher, student in zip(recordings(teachers), recordings(students), strict=True)
    }


def test_synchronized_windows_are_of_the_same_recording() -> None:
    assert partners(batches(), 0) == {number: number for number in range(4)}


def test_random_partners_are_never_the_synchronized_ones_and_change() -> None:
    of = batches(pairing="random")
    drawn = [partners(of, epoch) for epoch in range(40)]
    assert all(set(pairs) == {0, 1, 2, 3} for pairs in drawn)
    assert all(teacher != student for pairs in drawn for student, teacher in pairs.items())
    assert {(student, teacher) for pairs in drawn for student, teacher in pairs.items()} == {
        (student, teacher) for student in range(4) for teacher in range(4) if student != teacher
    }
    assert drawn[7] == partners(batches(pairing="random"), 7), "an epoch depends on nothing that was before"
    assert drawn != [partners(batches(pairing="random", seed=1), epoch) for epoch in range(40)]


def test_a_batch_has_one_length_a_view() -> None:
    for teacher, student in batches(pairing="random", zoom=True).epoch(3):
        assert len(teacher.rows_BLD) == len(student.rows_BLD)
        for batch in (teacher, student):
            needed = {max(384, -(-int(valid.sum()) // 64) * 64) for valid in batch.valid_BL}
            assert needed == {batch.valid_BL.shape[1]}


def test_partners_of_the_same_procedure() -> None:
    """Who has none is left out."""
    procedures = {"a": "crane", "b": "truck", "c": "crane", "d": "ship"}
    of = batches(pairing="same-procedure", procedures=procedures)
    assert all(partners(of, epoch) == {0: 2, 2: 0} for epoch in range(5))
    assert of.num_batches(0) == len(list(of.epoch(0)))


def test_held_out_pairs_have_partners_among_those_that_are_learnt_from() -> None:
    """And only there: one that is learnt from has no window of its own."""
    procedures = {"a": "crane", "b": "truck", "c": "crane", "d": "ship"}
    held_out, learnt = PAIRS[:1], PAIRS[1:]
    of = batches(held_out, others=learnt, pairing="same-procedure", procedures=procedures)
    assert all(partners(of, epoch) == {0: 2} for epoch in range(5))
    of = batches(held_out, others=learnt, pairing="random")
    drawn = [partners(of, epoch) for epoch in range(40)]
    assert all(list(pairs) == [0] for pairs in drawn)
    assert {teacher for pairs in drawn for teacher in pairs.values()} == {1, 2, 3}
    assert partners(batches(held_out, others=learnt), 0) == {0: 0}
    both = batches(PAIRS[:2], others=PAIRS[2:], pairing="random")
    assert {teacher for epoch in range(40) for teacher in partners(both, epoch).values()} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        (
            PAIRS[:1],
            {"pairing": "random"},
            "pairing 'random' compares a pair with another pair, and none of the 1 to learn from has one. Add pairs",
        ),
        (
            PAIRS[:2],
            {"pairing": "same-procedure", "procedures": {"a": "crane", "b": "truck"}},
            "'same-procedure' compares a pair with another pair of its procedure, and none of the 2 to learn from",
        ),
        (
            PAIRS[:1],
            {
                "pairing": "same-procedure",
                "procedures": {"a": "crane", "b": "truck", "c": "truck"},
                "others": PAIRS[1:3],
            },
            'none of the 1 to select on has one. Add pairs, or keep the last epoch with selection = "last"',
        ),
        (
            PAIRS,
            {"pairing": "same-procedure", "procedures": {"a": "crane", "b": None}},
            r"what is done in recording b, and the dataset doesn't say. Give it in recordings.csv",
        ),
    ],
)
def test_without_partners(pairs: list[Pair], options: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        batches(pairs, **options)


def test_random_frames_are_the_valid_ones_in_another_order() -> None:
    valid_BT = torch.zeros(2, 128, dtype=torch.bool)
    valid_BT[0, :100], valid_BT[1, :128] = True, True
    levels = {"y": torch.randn(2, 5, 128), "y3": torch.randn(2, 5, 16)}
    generator = torch.Generator().manual_seed(0)
    shuffled = shuffle_steps(levels, valid_BT, generator)
    for name, valid in (("y", (100, 128)), ("y3", (13, 16))):
        for before, after, length in zip(levels[name], shuffled[name], valid, strict=True):
            assert not torch.equal(before[:, :length], after[:, :length])
            torch.testing.assert_close(after[:, length:], before[:, length:], rtol=0, atol=0)
            order = [column.tolist() for column in before[:, :length].T]
            assert sorted(column.tolist() for column in after[:, :length].T) == sorted(order)
    assert not torch.equal(shuffled["y"], shuffle_steps(levels, valid_BT, generator)["y"])
    again = shuffle_steps(levels, valid_BT, torch.Generator().manual_seed(0))
    assert all(torch.equal(shuffled[name], again[name]) for name in levels)
