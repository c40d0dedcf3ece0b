"""Counts by class against a count by hand, one frame and one segment at a time."""

from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_eval.config import PROTOCOLS, Protocol
from sync_eval.metrics import Counts
from sync_eval.report.confusion import ClassCounts, count_classes
from sync_eval.report.tested import read_tested
from sync_eval.runs import find_groups, score_groups
from sync_eval.scoring import read_truth

CLASSES = ("a", "b", "c", "B")

frames = st.lists(st.tuples(st.sampled_from([*CLASSES, "-"]), st.integers(1, 9)), min_size=1, max_size=8).map(
    lambda runs: [label for label, times in runs for _ in range(times)]
)


def counted(folder: Any, protocol: Protocol = "masked", unsegmented: tuple[str, ...] = ()) -> ClassCounts:
    truth = read_truth(folder.dataset, "test", unsegmented)
    (row,) = score_groups(find_groups([folder.root / "runs"]), {"test": truth}, protocol)
    (tested,) = read_tested(["tas"], [row], {"test": truth})
    return count_classes(tested, CLASSES, protocol)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(PROTOCOLS), st.lists(st.tuples(frames, frames), min_size=1, max_size=3))
def test_counts_by_class_add_up_to_the_scores(
    make_folder: Callable[..., Any], protocol: Protocol, pairs: list[tuple[list[str], list[str]]]
) -> None:
    folder = make_folder(background=("B",))
    folder.add("always", "a*3")
    predictions: dict[str, Any] = {"always": "a*3"}
    for index, (predicted, true) in enumerate(pairs):
        folder.add(f"r{index}", true)
        predictions[f"r{index}"] = (predicted * len(true))[: len(true)]
    folder.predict(predictions)
    by_class = counted(folder, protocol)
    truth = read_truth(folder.dataset, "test")
    (row,) = score_groups(find_groups([folder.root / "runs"]), {"test": truth}, protocol)
    total = sum(row.scored[0].by_sequence.values(), Counts())
    assert by_class.frames_CP.sum() == total.num_frames
    assert np.trace(by_class.frames_CP) == total.num_correct_frames
    assert by_class.frames_CP[:, :-1].sum() == total.num_predicted_frames
    assert by_class.num_true_segments_C.sum() == total.num_true_segments
    assert by_class.num_predicted_segments_C.sum() == total.num_predicted_segments
    assert by_class.num_hits_C.sum() == total.num_hits[1]
    assert not by_class.frames_CP[CLASSES.index("B")].any(), "background isn't scored"

    cells: Counter[tuple[str, str]] = Counter()
    for name, seen in predictions.items():
        if name != "always":
            index = int(name[1:])
            cells.update(
                (was, guess)
                for was, guess in zip(pairs[index][1], seen, strict=True)
                if was not in ("B", "-")
            )
    cells["a", "a"] += 3
    columns = [*CLASSES, "-"]
    expected = [[cells[true, predicted] for predicted in columns] for true in CLASSES]
    assert by_class.frames_CP.tolist() == expected


def naive_f1(predicted: str, true: str, label: str) -> float | None:
    """F1@25 of one class: every prediction takes the best true segment of its class, once."""

    def segments(text: str) -> list[tuple[int, int]]:
        found, at = [], 0
        for each, group in groupby(text):
            length = len(list(group))
            found += [(at, at + length)] if each == label else []
            at += length
        return found

    guesses, truths, taken = segments(predicted), segments(true), set()
    for start, stop in guesses:
        overlaps = [
            len(set(range(start, stop)) & set(range(*other)))
            / len(set(range(start, stop)) | set(range(*other)))
            for other in truths
        ]
        if overlaps and max(overlaps) >= 0.25:
            taken.add(overlaps.index(max(overlaps)))
    return 200 * len(taken) / (len(guesses) + len(truths)) if guesses or truths else None


def test_percentages_of_each_class(folder: Any) -> None:
    true, predicted = "aaaaaabbbbaaaacccc", "aabaaabbbbbbaaaaaa"
    folder.add("r1", list(true))
    folder.predict({"r1": list(predicted)})
    found = counted(folder)
    assert found.recall == [pytest.approx(700 / 10), 100.0, 0.0, None]
    assert found.precision == [pytest.approx(700 / 11), pytest.approx(400 / 7), None, None]
    assert found.f1[:3] == [pytest.approx(naive_f1(predicted, true, label)) for label in "abc"]
    assert found.f1[3] is None


def test_seeds_are_pooled_and_unsegmented_classes_form_no_segments(folder: Any) -> None:
    folder.add("r1", "a*10 b*10")
    folder.predict({"r1": "a*10 b*10"}, seed=0)
    folder.predict({"r1": "a*20"}, seed=1)
    found = counted(folder, unsegmented=("a",))
    assert found.frames_CP.tolist() == [[20, 0, 0, 0, 0], [10, 10, 0, 0, 0], [0] * 5, [0] * 5]
    assert found.num_true_segments_C.tolist() == [0, 2, 0, 0]
    assert found.f1 == [None, pytest.approx(200 / 3), None, None]
