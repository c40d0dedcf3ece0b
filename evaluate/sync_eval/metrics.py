"""The field's metrics, as MS-TCN's, C2F-TCN's and the paper's scripts compute them.

Compared with utils.py:73-222 of fpv-iplab/synchronization-is-all-you-need at b5f7321.

- Edit: Levenshtein distance between the two orders of segments, as (1 - distance / longer length) · 100, a
  value a sequence, then the mean.
- F1@k: a predicted segment is a hit if the true segment of its class that it overlaps best (the first of
  equals) has an intersection over union of at least k, and no earlier prediction has hit that one. Hits and
  misses of all sequences are pooled, then one F1 is computed. The mean of one F1 a sequence, which other
  work reports, is kept beside it as `f1_10_mean` and so on.
- MoF: correct frames over frames, pooled. Frames of background classes count here, and only here.

Where the published code crashes or gives NaN, we define:

- A sequence without segments on both sides (empty, or background throughout) has edit 100 and its own F1 is
  100: there was nothing to find, and nothing was found. It adds nothing to the pooled F1. (Published: NaN,
  which spoils the mean over all sequences; IndexError for an empty file.)
- A sequence with predicted segments and no true ones has edit 0, and each prediction is a miss. (Published:
  ValueError.)
- Pooled F1 without a hit is 0, also where there are no segments at all, and MoF over no frames is 0. (As
  published.)

Axes: T frames of a sequence.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from sync_eval.segments import Int64s, Runs, find_runs

THRESHOLDS = (0.10, 0.25, 0.50)
"""Least intersection over union of a hit, for F1@10, F1@25 and F1@50."""

Triple = tuple[float, float, float]
"""One value for each of `THRESHOLDS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Scores of some sequences, in percent where not said otherwise."""

    edit: float
    f1_10: float
    f1_25: float
    f1_50: float
    mof: float
    f1_10_mean: float
    """Mean over sequences of each one's F1; not the published figure."""
    f1_25_mean: float
    f1_50_mean: float
    coverage: float
    """Share of the scored frames that have a prediction, 0–1."""
    num_sequences: int
    num_frames: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What the scores of any set of sequences are made from. Counts of disjoint sets add up."""

    num_sequences: int = 0
    num_frames: int = 0
    """Scored frames."""
    num_correct_frames: int = 0
    num_predicted_frames: int = 0
    """Scored frames that have a prediction, right or wrong."""
    num_true_segments: int = 0
    num_predicted_segments: int = 0
    num_hits: tuple[int, int, int] = (0, 0, 0)
    """True positives at each of `THRESHOLDS`."""
    edit_sum: float = 0.0
    """Sum of the edit scores of the sequences, percent."""
    f1_sum: Triple = (0.0, 0.0, 0.0)
    """Sum of the sequences' own F1 at each of `THRESHOLDS`, percent."""

    def __add__(self, other: "Counts") -> "Counts":
        a, b = self.num_hits, other.num_hits
        f, g = self.f1_sum, other.f1_sum
        return Counts(
            num_sequences=self.num_sequences + other.num_sequences,
            num_frames=self.num_frames + other.num_frames,
            num_correct_frames=self.num_correct_frames + other.num_correct_frames,
            num_predicted_frames=self.num_predicted_frames + other.num_predicted_frames,
            num_true_segments=self.num_true_segments + other.num_true_segments,
            num_predicted_segments=self.num_predicted_segments + other.num_predicted_segments,
            num_hits=(a[0] + b[0], a[1] + b[1], a[2] + b[2]),
            edit_sum=self.edit_sum + other.edit_sum,
            f1_sum=(f[0] + g[0], f[1] + g[1], f[2] + g[2]),
        )

    def scores(self) -> Scores:
        """The scores.

        Raises:
            ValueError: If no sequence was counted.
        """
        if not self.num_sequences:
            raise ValueError("there are no scores of no sequences")
        f1_10, f1_25, f1_50 = (
            f1_score(hits, self.num_predicted_segments, self.num_true_segments) for hits in self.num_hits
        )
        f1_10_mean, f1_25_mean, f1_50_mean = (total / self.num_sequences for total in self.f1_sum)
        return Scores(
            edit=self.edit_sum / self.num_sequences,
            f1_10=f1_10,
            f1_25=f1_25,
            f1_50=f1_50,
            mof=self.num_correct_frames * 100.0 / self.num_frames if self.num_frames else 0.0,
            f1_10_mean=f1_10_mean,
            f1_25_mean=f1_25_mean,
            f1_50_mean=f1_50_mean,
            coverage=self.num_predicted_frames / self.num_frames if self.num_frames else 1.0,
            num_sequences=self.num_sequences,
            num_frames=self.num_frames,
        )


def count(predicted_T: Int64s, true_T: Int64s, background: Collection[int] = ()) -> Counts:
    """Count one sequence.

    A frame whose true id is below 0 is masked: it isn't scored, and it is a gap in the segments of both
    sides. A frame whose predicted id alone is below 0 has no prediction: it is wrong, and a gap.

    Args:
        predicted_T: int64 (T,) predicted class ids.
        true_T: int64 (T,) true class ids.
        background: Class ids that form no segments. Their frames count in MoF.

    Raises:
        ValueError: If the two lengths differ.
    """
    if predicted_T.shape != true_T.shape:
        raise ValueError(
            f"{len(predicted_T)} predicted frames can't be scored against {len(true_T)} true ones"
        )
    scored = true_T >= 0
    predicted_T = np.where(scored, predicted_T, -1)
    predicted, true = find_runs(predicted_T, background), find_runs(true_T, background)
    hits_10, hits_25, hits_50 = map(len, find_hits(predicted, true))
    return Counts(
        num_sequences=1,
        num_frames=int(scored.sum()),
        num_correct_frames=int((scored & (predicted_T == true_T)).sum()),
        num_predicted_frames=int((predicted_T >= 0).sum()),
        num_true_segments=len(true),
        num_predicted_segments=len(predicted),
        num_hits=(hits_10, hits_25, hits_50),
        edit_sum=edit_score(predicted, true),
        f1_sum=(
            _own_f1(hits_10, predicted, true),
            _own_f1(hits_25, predicted, true),
            _own_f1(hits_50, predicted, true),
        ),
    )


def edit_score(predicted: Runs, true: Runs) -> float:
    """Similarity of the orders of segments in percent; 100 where both are empty."""
    longer = max(len(predicted), len(true))
    if not longer:
        return 100.0
    distance = Levenshtein.distance(predicted.class_ids.tolist(), true.class_ids.tolist())
    return (1 - distance / longer) * 100


def find_hits(predicted: Runs, true: Runs) -> tuple[Int64s, Int64s, Int64s]:
    """Indices of the true segments that are hit, at each of `THRESHOLDS`.

    Each prediction has one best true segment, whatever the threshold, and of several good ones with the same
    best the first is the hit. So the hits are the distinct best segments of the good predictions.
    """
    best_iou = np.zeros(len(predicted))
    best = np.full(len(predicted), -1)
    for index in range(len(true)):
        start, stop = true.start_frames[index], true.stop_frames[index]
        shared = np.minimum(predicted.stop_frames, stop) - np.maximum(predicted.start_frames, start)
        spanned = np.maximum(predicted.stop_frames, stop) - np.minimum(predicted.start_frames, start)
        iou = shared / spanned * (predicted.class_ids == true.class_ids[index])
        better = iou > best_iou
        best_iou[better], best[better] = iou[better], index
    at_10, at_25, at_50 = (np.unique(best[best_iou >= threshold]) for threshold in THRESHOLDS)
    return at_10, at_25, at_50


def _own_f1(num_hits: int, predicted: Runs, true: Runs) -> float:
    nothing_to_find = not len(predicted) and not len(true)
    return 100.0 if nothing_to_find else f1_score(num_hits, len(predicted), len(true))


def f1_score(num_hits: int, num_predicted: int, num_true: int) -> float:
    """F1 in percent, in the published order of floating-point operations."""
    if not num_hits:
        return 0.0
    precision, recall = num_hits / num_predicted, num_hits / num_true
    return 2.0 * (precision * recall) / (precision + recall) * 100
