"""Segmentation bars of every test recording as compact JSON values, which the page draws when they come in sight."""

from collections.abc import Mapping, Sequence
from typing import Any

from sync_eval.metrics import Counts
from sync_eval.report.tested import TestedRow
from sync_eval.runs import Row
from sync_eval.tables import COLUMNS
from sync_store.datasets import Dataset
from sync_store.labels import Segments

NS_PER_MS = 1_000_000

Flat = list[int]
"""Segments one after another, three numbers each: start and length in milliseconds, and class."""


def describe_recording(
    recording: str, tested: Sequence[TestedRow], dataset: Dataset, class_ids: Mapping[str, int]
) -> dict[str, Any]:
    """One recording: `truth`, and for each row its `bars` and `scores` by seed, or null where it wasn't tested.

    Scores are those of Table 1 in its order, percent; null for a recording that isn't scored.
    """
    labeled = dataset.labeled(recording)
    sequences = [sequence.name for sequence in labeled]
    was_tested = [recording in each.truth.recordings for each in tested]
    return {
        "name": recording,
        "procedure": dataset.procedure(recording),
        "truth": [number for sequence in labeled for number in flatten(sequence.segments, class_ids)],
        "bars": [
            [flatten(of_seed[recording], class_ids) for of_seed in each.predicted] if was else None
            for each, was in zip(tested, was_tested, strict=True)
        ],
        "scores": [
            _scores(each.row, sequences) if was else None
            for each, was in zip(tested, was_tested, strict=True)
        ],
    }


def flatten(segments: Segments, class_ids: Mapping[str, int]) -> Flat:
    """Segments as `Flat`. Borders are rounded, so that neighbours still meet."""
    numbers: Flat = []
    for start_ns, stop_ns, label in zip(segments.start_ns, segments.stop_ns, segments.labels, strict=True):
        start, stop = (round(int(time_ns) / NS_PER_MS) for time_ns in (start_ns, stop_ns))
        numbers += [start, stop - start, class_ids[label]]
    return numbers


def _scores(row: Row, sequences: Sequence[str]) -> list[list[float] | None]:
    """Scores of some sequences together, by seed; None for a seed where none of them is scored."""
    counted = [[s.by_sequence[name] for name in sequences if name in s.by_sequence] for s in row.scored]
    return [_table_scores(counts) if counts else None for counts in counted]


def _table_scores(counts: Sequence[Counts]) -> list[float]:
    scores = sum(counts, Counts()).scores()
    return [round(getattr(scores, metric), 2) for metric in COLUMNS]
