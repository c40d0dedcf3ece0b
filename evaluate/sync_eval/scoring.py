"""Scores of a prediction set against a dataset's labels, on the grid of the label rate.

Axes: T frames of a sequence, from its first labelled frame to its last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sync_eval.config import Protocol
from sync_eval.metrics import Counts, Scores, count
from sync_eval.segments import Int64s
from sync_store.datasets import Dataset, LabeledSequence
from sync_store.errors import DatasetError
from sync_store.labels import NS_PER_SECOND, UNLABELED, Segments, first_seen, grid_times
from sync_store.predictions import PredictionSet

MAX_NAMED = 5
"""Recordings that a message names before it only counts them."""


@dataclass(frozen=True, kw_only=True)
class TrueSequence:
    """The labels of one sequence on the label grid."""

    sequence: LabeledSequence
    times_ns: Int64s
    """int64 (T,), nanoseconds on the recording's clock."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The labels of one split."""

    split: str
    recordings: tuple[str, ...]
    """All of the split, in its order."""
    sequences: tuple[TrueSequence, ...]
    """Those with at least one frame to score, in the split's order."""
    background: tuple[str, ...]
    """Classes whose frames aren't scored."""
    notes: tuple[str, ...]
    """What isn't scored, and why."""
    unsegmented: tuple[str, ...] = ()
    """Classes whose frames are scored, but form no segments."""


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """A prediction set and its counts."""

    prediction_set: PredictionSet
    by_sequence: Mapping[str, Counts]
    """Counts of each sequence by its name; they add up."""

    @property
    def scores(self) -> Scores:
        """Scores over all sequences."""
        return sum(self.by_sequence.values(), Counts()).scores()


def read_truth(dataset: Dataset, split: str, unsegmented: tuple[str, ...] = ()) -> Truth:
    """Read the labels of a split.

    Args:
        dataset: Where they are.
        split: Its name.
        unsegmented: See `EvaluateConfig`.

    Raises:
        DatasetError: If the split doesn't exist, a label file is malformed, nothing is there to score, or a class
            is both background and `unsegmented`.
    """
    if both := [name for name in unsegmented if name in dataset.background]:
        raise DatasetError(
            f"[evaluate] unsegmented: {both[0]!r} is in dataset.background too, whose frames are neither learnt "
            "nor scored. Keep it in one of the two"
        )
    recordings = dataset.split(split)
    sequences, notes = [], []
    for recording in recordings:
        labeled = dataset.labeled(recording)
        if not labeled:
            notes.append(f"recording {recording} has no labels and isn't scored")
        for sequence in labeled:
            times_ns = _grid(sequence, dataset)
            if len(times_ns):
                sequences.append(TrueSequence(sequence=sequence, times_ns=times_ns))
            else:
                notes.append(f"labels of {sequence.name} hold no frame to score")
    if not sequences:
        raise DatasetError(f"split {split}: none of its {len(recordings)} recordings has labels to score")
    unknown = _unknown_classes(unsegmented, sequences, dataset)
    notes += [f"split {split} has no label {name!r}, given as unsegmented" for name in unknown]
    return Truth(
        split=split,
        recordings=tuple(recordings),
        sequences=tuple(sequences),
        background=dataset.background,
        notes=tuple(notes),
        unsegmented=unsegmented,
    )


def score_set(prediction_set: PredictionSet, truth: Truth, protocol: Protocol = "masked") -> ScoredSet:
    """Score one prediction set.

    Raises:
        DatasetError: If it doesn't cover its whole split, or a file of it is missing or has changed.
    """
    predicted = set(prediction_set.recordings)
    if missing := [name for name in truth.recordings if name not in predicted]:
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise DatasetError(
            f"{prediction_set.folder}: {len(missing)} of the {len(truth.recordings)} recordings of split "
            f"{truth.split} weren't predicted: {', '.join(missing[:MAX_NAMED])}{more}. Predict them with: "
            "sync-train"
        )
    segments = {name: prediction_set.read(name) for name in {s.sequence.recording for s in truth.sequences}}
    return ScoredSet(
        prediction_set=prediction_set,
        by_sequence={
            true.sequence.name: count_sequence(
                segments[true.sequence.recording], true, truth.background, protocol, truth.unsegmented
            )
            for true in truth.sequences
        },
    )


def count_sequence(
    predicted: Segments,
    true: TrueSequence,
    background: tuple[str, ...],
    protocol: Protocol = "masked",
    unsegmented: tuple[str, ...] = (),
) -> Counts:
    """Count one sequence; a frame has the class of the segment that holds its time.

    Unlabeled and background frames aren't scored; see `EvaluateConfig.protocol` for what becomes of them. A
    prediction of a background class is wrong, and a gap. Unsegmented classes are right or wrong as all others,
    and gaps.
    """
    names = first_seen((*true.sequence.segments.labels, *predicted.labels))
    predicted_T, true_T = frame_classes(predicted, true, names, background, protocol)
    gaps = [index for index, name in enumerate(names) if name in (*background, *unsegmented)]
    return count(predicted_T, true_T, gaps)


def frame_classes(
    predicted: Segments,
    true: TrueSequence,
    names: Sequence[str],
    background: tuple[str, ...],
    protocol: Protocol,
) -> tuple[Int64s, Int64s]:
    """Class of each frame of a sequence on both sides, as `sync_eval.metrics.count` takes them.

    Args:
        predicted: Segments of the sequence's recording.
        true: The sequence.
        names: Classes in order of their ids, at least those of both sides.
        background: Classes whose frames aren't scored.
        protocol: See `EvaluateConfig.protocol`.

    Returns:
        int64 (T,) predicted and int64 (T,) true ids; -1 where nothing is predicted, or isn't scored.
    """
    unscored = [index for index, name in enumerate(names) if name in background]
    true_T = true.sequence.segments.classes_at(true.times_ns, names)
    true_T[np.isin(true_T, unscored)] = UNLABELED
    predicted_T = predicted.classes_at(true.times_ns, names)
    if protocol == "published-concat":
        kept = true_T != UNLABELED
        true_T, predicted_T = true_T[kept], predicted_T[kept]
    return predicted_T, true_T


def _unknown_classes(names: Sequence[str], sequences: Sequence[TrueSequence], dataset: Dataset) -> list[str]:
    """Classes that no sequence has and the dataset doesn't state, most likely misspelt."""
    labeled = {label for true in sequences for label in true.sequence.segments.labels}
    rest = [name for name in names if name not in labeled]
    return [name for name in rest if name not in (dataset.classes() or ())]


def _grid(sequence: LabeledSequence, dataset: Dataset) -> Int64s:
    """Times of the label grid from the first frame of interest to the last; the grid starts at 0."""
    _, stop_ns = sequence.segments.span_ns
    num_frames = max(0, int(stop_ns * dataset.label_rate / NS_PER_SECOND) + 2)
    times_ns = grid_times(num_frames, dataset.label_rate)
    classes = [name for name in first_seen(sequence.segments.labels) if name not in dataset.background]
    scored = np.flatnonzero(sequence.segments.classes_at(times_ns, classes) != UNLABELED)
    return times_ns[scored[0] : scored[-1] + 1] if scored.size else times_ns[:0]
