"""Scoring a run: labels and predictions in memory to the scores of a table and the figures of a report.

The size is Assembly101's: 156 recordings of 12,000 frames, 202 classes, segments of 330 frames at the mean. A
prediction has the true borders, moved by up to a second, and as many more; a third of its segments are of a
random class. "Score" is what `sync-eval` does with a prediction set when its files are read:
the classes of frames, MoF, edit and F1 of each sequence, and their sums. "Confusion" is the report's table of
classes. What comes before is apart: "read" reads and checks the files of predictions, "grid" makes the times of
the frames of each sequence.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.measure import arguments, time_in_turn, write_result
from sync_eval.metrics import Counts
from sync_eval.report.confusion import count_classes
from sync_eval.report.tested import TestedRow
from sync_eval.runs import Row, make_group
from sync_eval.scoring import ScoredSet, TrueSequence, Truth, count_sequence, score_set
from sync_store.datasets import LabeledSequence
from sync_store.labels import NS_PER_SECOND, Int64s, Segments, grid_times
from sync_store.predictions import PredictionInfo, write_predictions

NUM_RECORDINGS = 156
NUM_FRAMES = 12_000
MEAN_SEGMENT_FRAMES = 330
FPS = Fraction(30)
CLASSES = tuple(f"action {index}" for index in range(202))

INFO = PredictionInfo(
    run="scoring",
    seed=1,
    method="tas",
    view="e4",
    kind="ego",
    split="test",
    feature_set="random",
    classes=CLASSES,
)


def main() -> None:
    options = arguments("scoring", __doc__)
    num_recordings, num_frames, num_rounds = (
        (2, 1000, 2) if options.smoke else (NUM_RECORDINGS, NUM_FRAMES, 9)
    )
    rng = np.random.default_rng(7)
    names = [f"r{index:03d}" for index in range(num_recordings)]
    labels = {name: make_labels(rng, num_frames) for name in names}
    predicted = {name: predict(rng, labels[name]) for name in names}
    truth = Truth(
        split="test",
        recordings=tuple(names),
        sequences=tuple(true_sequence(name, labels[name], num_frames) for name in names),
        background=(),
        notes=(),
    )
    with tempfile.TemporaryDirectory() as scratch:
        found = write_predictions(Path(scratch) / "predictions/tas/e4", INFO, predicted)
        score = ScoredSet(prediction_set=found, by_sequence=count_all(predicted, truth)).scores
        if score_set(found, truth).scores != score:
            raise RuntimeError("scores of the files and of what was written to them differ")
        row = Row(
            group=make_group("scoring", [found]),
            scored=(ScoredSet(prediction_set=found, by_sequence=count_all(predicted, truth)),),
        )
        tested = TestedRow(name="scoring", row=row, truth=truth, predicted=(predicted,))
        timings = time_in_turn(
            {
                "score": lambda: (
                    ScoredSet(prediction_set=found, by_sequence=count_all(predicted, truth)).scores
                ),
                "confusion": lambda: count_classes(tested, CLASSES, "masked"),
                "read": lambda: [found.read(name) for name in names],
                "grid": lambda: [grid_times(num_frames, FPS) for _ in names],
            },
            num_rounds=num_rounds,
        )
    write_result(
        options.out,
        settings={
            "recordings": num_recordings,
            "frames": num_frames,
            "classes": len(CLASSES),
            "true_segments": sum(map(len, labels.values())),
            "predicted_segments": sum(map(len, predicted.values())),
            "scores": {metric: round(value, 2) for metric, value in asdict(score).items()},
            "rounds": num_rounds,
        },
        timings={name: timing.summary(num_recordings, "recordings") for name, timing in timings.items()},
        ratios={},
        targets={},
    )


def make_labels(rng: np.random.Generator, num_frames: int) -> Segments:
    """Labels of one recording: segments of random classes, neighbours of different ones."""
    num_cuts = min(num_frames // 2, max(1, round(num_frames / MEAN_SEGMENT_FRAMES) - 1))
    cuts = np.sort(rng.choice(np.arange(1, num_frames), size=num_cuts, replace=False))
    steps = rng.integers(1, len(CLASSES), size=num_cuts + 1)
    return segments(np.concatenate([[0], cuts, [num_frames]]), np.cumsum(steps) % len(CLASSES))


def predict(rng: np.random.Generator, true: Segments) -> Segments:
    """A prediction: twice as many segments, a third of them of any class, at borders that are moved."""
    frame_ns = NS_PER_SECOND // FPS.numerator
    edges = np.append(true.start_ns, true.stop_ns[-1]) // frame_ns
    inner = rng.integers(1, edges[-1], size=len(true))
    moved = np.clip(edges[1:-1] + rng.integers(-30, 31, size=len(true) - 1), 1, edges[-1] - 1)
    borders = np.unique(np.concatenate([edges[:1], edges[-1:], moved, inner]))
    held = true.classes_at(borders[:-1] * frame_ns + frame_ns, CLASSES)
    wrong = rng.random(len(held)) < 1 / 3
    return segments(borders, np.where(wrong, rng.integers(0, len(CLASSES), size=len(held)), held))


def segments(borders: Int64s, class_ids: Int64s) -> Segments:
    """Segments that meet at borders, in frames; S + 1 borders for S class ids."""
    edges_ns = grid_times(int(borders[-1]) + 1, FPS)[borders]
    labels = tuple(CLASSES[class_id] for class_id in class_ids)
    return Segments(start_ns=edges_ns[:-1], stop_ns=edges_ns[1:], labels=labels)


def true_sequence(name: str, labels: Segments, num_frames: int) -> TrueSequence:
    sequence = LabeledSequence(name=name, recording=name, segments=labels)
    return TrueSequence(sequence=sequence, times_ns=grid_times(num_frames, FPS))


def count_all(predicted: Mapping[str, Segments], truth: Truth) -> dict[str, Counts]:
    """What `score_set` does once files are read."""
    return {
        true.sequence.name: count_sequence(predicted[true.sequence.recording], true, ())
        for true in truth.sequences
    }


if __name__ == "__main__":
    main()
