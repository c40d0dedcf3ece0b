"""What was taken for what: frames and segments by class, over all sequences and seeds of a row.

Axes: C classes; P predicted classes, the C and "no prediction" last; T frames of a sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sync_eval.config import Protocol
from sync_eval.metrics import THRESHOLDS, f1_score, find_hits
from sync_eval.report.tested import TestedRow
from sync_eval.scoring import frame_classes
from sync_eval.segments import Int64s, find_runs
from sync_store.labels import UNLABELED

F1_AT = THRESHOLDS.index(0.25)
"""Classes are compared by F1@25: @50 is zero for most of the rare ones, and @10 forgives nearly everything."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassCounts:
    """Counts of one row of the table by class. Seeds are pooled."""

    frames_CP: Int64s
    """int64 (C, C + 1): frames of true class c with predicted class p, on the label grid."""
    num_true_segments_C: Int64s
    num_predicted_segments_C: Int64s
    num_hits_C: Int64s
    """True segments that are hit at an intersection over union of 0.25."""

    def __add__(self, other: "ClassCounts") -> "ClassCounts":
        return ClassCounts(
            frames_CP=self.frames_CP + other.frames_CP,
            num_true_segments_C=self.num_true_segments_C + other.num_true_segments_C,
            num_predicted_segments_C=self.num_predicted_segments_C + other.num_predicted_segments_C,
            num_hits_C=self.num_hits_C + other.num_hits_C,
        )

    @property
    def recall(self) -> list[float | None]:
        """For each of the C classes, percent of its true frames that are found; None for a class without any."""
        return _percent(np.diagonal(self.frames_CP), self.frames_CP.sum(axis=1))

    @property
    def precision(self) -> list[float | None]:
        """For each of the C classes, percent of its predicted frames that are right; None without any."""
        return _percent(np.diagonal(self.frames_CP), self.frames_CP[:, :-1].sum(axis=0))

    @property
    def f1(self) -> list[float | None]:
        """F1@25 of each class's segments, percent; None where there is nothing to find and nothing found."""
        counts = zip(self.num_hits_C, self.num_predicted_segments_C, self.num_true_segments_C, strict=True)
        return [
            f1_score(int(hits), int(predicted), int(true)) if predicted or true else None
            for hits, predicted, true in counts
        ]


def count_classes(tested: TestedRow, classes: Sequence[str], protocol: Protocol) -> ClassCounts:
    """Count one row of the table; frames and segments are those that its scores are made from.

    Args:
        tested: The row.
        classes: C names, at least those of the labels and of the predictions.
        protocol: As for the scores.
    """
    truth = tested.truth
    gaps = [index for index, name in enumerate(classes) if name in (*truth.background, *truth.unsegmented)]
    total = _count(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), len(classes), gaps)
    for of_seed in tested.predicted:
        for true in truth.sequences:
            predicted = of_seed[true.sequence.recording]
            frames = frame_classes(predicted, true, classes, truth.background, protocol)
            total += _count(*frames, len(classes), gaps)
    return total


def _count(predicted_T: Int64s, true_T: Int64s, num_classes: int, gaps: Sequence[int]) -> ClassCounts:
    scored = true_T != UNLABELED
    predicted_T = np.where(scored, predicted_T, UNLABELED)
    predicted_or_none_T = np.where(predicted_T == UNLABELED, num_classes, predicted_T)
    cell_T = (true_T * (num_classes + 1) + predicted_or_none_T)[scored]
    frames = np.bincount(cell_T, minlength=num_classes * (num_classes + 1))
    predicted, true = find_runs(predicted_T, gaps), find_runs(true_T, gaps)
    hits = find_hits(predicted, true)[F1_AT]
    return ClassCounts(
        frames_CP=frames.reshape(num_classes, num_classes + 1),
        num_true_segments_C=np.bincount(true.class_ids, minlength=num_classes),
        num_predicted_segments_C=np.bincount(predicted.class_ids, minlength=num_classes),
        num_hits_C=np.bincount(true.class_ids[hits], minlength=num_classes),
    )


def _percent(parts: npt.NDArray[np.int64], wholes: Int64s) -> list[float | None]:
    return [
        100.0 * int(part) / int(whole) if whole else None for part, whole in zip(parts, wholes, strict=True)
    ]
