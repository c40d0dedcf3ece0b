"""Prediction sets against labels on disk: grid, gaps, coverage, protocols, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_eval.config import PROTOCOLS, Protocol
from sync_eval.metrics import Counts, count
from sync_eval.scoring import count_sequence, read_truth, score_set
from sync_store.datasets import LabeledSequence
from sync_store.errors import DatasetError
from sync_store.labels import Segments, segments_of_frames

CLASSES = ("a", "b", "c", "-")

frames = st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(1, 9)), min_size=1, max_size=8).map(
    lambda runs: [label for label, times in runs for _ in range(times)]
)


def ids(labels: list[str]) -> "np.ndarray":  # type: ignore[type-arg]
    return np.array([-1 if label == "-" else CLASSES.index(label) for label in labels])


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(["10", "30", "30000/1001", "59.94"]), st.lists(st.tuples(frames, frames), min_size=1))
def test_scores_of_files_equal_those_of_the_frames_they_were_made_from(
    make_folder: Callable[..., Any], rate: str, pairs: list[tuple[list[str], list[str]]]
) -> None:
    folder = make_folder(fps=Fraction(rate))
    expected, predictions = Counts(), {}
    for index, (predicted, true) in enumerate(pairs):
        predicted = (predicted * len(true))[: len(true)]
        folder.add(f"r{index}", true)
        predictions[f"r{index}"] = predicted
        if set(true) != {"-"}:
            expected += count(ids(predicted), ids(true))
    if not expected.num_sequences:
        return
    prediction_set = folder.predict(predictions)
    scored = score_set(prediction_set, read_truth(folder.dataset, "test"))
    assert sum(scored.by_sequence.values(), Counts()) == expected
    assert scored.scores == expected.scores()


def test_frames_outside_the_labelled_span_are_of_no_account(folder: Any) -> None:
    folder.add("r1", "-*20 a*10 b*10")
    early_and_late = folder.predict({"r1": "c*20 a*10 b*10 c*30"})
    scores = score_set(early_and_late, read_truth(folder.dataset, "test")).scores
    assert (scores.mof, scores.edit, scores.f1_50, scores.num_frames) == (100, 100, 100, 20)


def test_masked_gaps_and_the_published_concatenation_differ_as_documented(folder: Any) -> None:
    folder.add("r1", "a*10 -*10 a*10")
    predicted = folder.predict({"r1": "a*10 b*10 a*5 b*5"})
    truth = read_truth(folder.dataset, "test")
    # a, a against a, a, b; what is predicted in the gap is nobody's business
    masked = score_set(predicted, truth, "masked")
    (counts,) = masked.by_sequence.values()
    assert (counts.num_true_segments, counts.num_predicted_segments) == (2, 3)
    assert masked.scores.edit == pytest.approx(100 * 2 / 3)
    # the halves are joined: a (20 frames) against a (15), b (5)
    joined = score_set(predicted, truth, "published-concat")
    (counts,) = joined.by_sequence.values()
    assert (counts.num_true_segments, counts.num_predicted_segments) == (1, 2)
    assert joined.scores.edit == pytest.approx(50)
    assert masked.scores.mof == joined.scores.mof == 75


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_background_frames_are_not_scored_and_predicting_background_is_wrong(
    folder: Any, protocol: Protocol
) -> None:
    folder.background = ("bg", "idle")
    folder.add("r1", "bg*5 a*10 idle*5 b*10")
    predicted = folder.predict({"r1": "b*5 a*10 b*5 bg*5 b*5"})
    scored = score_set(predicted, read_truth(folder.dataset, "test"), protocol)
    (counts,) = scored.by_sequence.values()
    assert (counts.num_frames, counts.num_correct_frames, counts.num_predicted_frames) == (20, 15, 20)
    assert (counts.num_true_segments, counts.num_predicted_segments) == (2, 2)
    assert scored.scores.coverage == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_frames_without_a_prediction_are_wrong_and_counted(folder: Any, protocol: Protocol) -> None:
    folder.add("r1", "a*10 b*10")
    folder.add("r2", "a*10 b*10")
    predicted = folder.predict({"r1": "-*5 a*5 b*10", "r2": "a*10 b*5"})
    scores = score_set(predicted, read_truth(folder.dataset, "test"), protocol).scores
    assert (scores.coverage, scores.mof, scores.edit) == (0.75, 75, 100)


GOLDEN = {
    "m1": ("a*10 b*10 c*10", "a*8 b*12 c*10"),
    "m2": ("a*10 b*10 a*10", "a*5 b*2 a*3 b*10 c*10"),
    "m3": ("B*5 a*10 B*5 b*10", "a*12 B*3 b*10 B*5"),
}
"""Labels and predictions."""


@pytest.mark.parametrize(
    ("names", "unsegmented", "edit", "mof", "f1"),
    [
        (["m3"], (), 50, 40, (50, 50, 0)),
        (["m3"], ("B",), 100, 40, (100, 100, 0)),
        (["m1", "m2"], (), 80, 76.666667, (71.428571, 71.428571, 71.428571)),
        (["m1", "m2", "m3"], ("B",), 86.666667, 64.444444, (77.777778, 77.777778, 55.555556)),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unsegmented_classes_are_scored_as_the_field_scores_its_background(
    folder: Any,
    protocol: Protocol,
    names: list[str],
    unsegmented: tuple[str, ...],
    edit: float,
    mof: float,
    f1: tuple[float, float, float],
) -> None:
    """Computed with utils.py of fpv-iplab/synchronization-is-all-you-need, the class B as its `bg_class`."""
    for name in names:
        folder.add(name, GOLDEN[name][0])
    predicted = folder.predict({name: GOLDEN[name][1] for name in names})
    truth = read_truth(folder.dataset, "test", unsegmented)
    scores = score_set(predicted, truth, protocol).scores
    found = (scores.edit, scores.mof, scores.f1_10, scores.f1_25, scores.f1_50)
    assert found == pytest.approx((edit, mof, *f1), abs=1e-6)
    assert (scores.num_frames, truth.notes) == (30 * len(names), ())


def test_unsegmented_and_background_classes_side_by_side(folder: Any) -> None:
    """Frames of idle aren't scored at all; those of B are right or wrong, in the gaps too."""
    folder.background = ("idle",)
    folder.add("r1", "B*5 a*10 idle*5 B*10 a*10")
    predicted = folder.predict({"r1": "B*5 a*8 B*2 a*5 B*5 a*15"})
    (counts,) = score_set(predicted, read_truth(folder.dataset, "test", ("B",))).by_sequence.values()
    assert (counts.num_frames, counts.num_correct_frames, counts.num_predicted_frames) == (35, 28, 35)
    assert (counts.num_true_segments, counts.num_predicted_segments) == (2, 2)


def test_an_unsegmented_class_that_cant_be_is_told(folder: Any) -> None:
    folder.background = ("idle",)
    folder.add("r1", "a*10 B*10 idle*3")
    with pytest.raises(
        DatasetError,
        match=r"\[evaluate\] unsegmented: 'idle' is in dataset.background too, .* one of the two",
    ):
        read_truth(folder.dataset, "test", ("B", "idle"))
    truth = read_truth(folder.dataset, "test", ("B", "SIL", "sil"))
    assert truth.notes == tuple(
        f"split test has no label {name!r}, given as unsegmented" for name in ("SIL", "sil")
    )
    (folder.root / "classes.txt").write_text("a\nB\nSIL\n")
    assert len(read_truth(folder.dataset, "test", ("B", "SIL", "sil")).notes) == 1


def test_a_frame_half_a_millisecond_before_a_predicted_segment_belongs_to_it(folder: Any) -> None:
    folder.add("r1", "a*10")
    (true,) = read_truth(folder.dataset, "test").sequences
    for late_ns, coverage in ((500_000, 1.0), (500_001, 0.9)):
        late = Segments(start_ns=np.array([late_ns]), stop_ns=np.array([10**9]), labels=("a",))
        assert count_sequence(late, true, ()).scores().coverage == coverage


def test_two_sequences_of_one_recording_are_scored_apart(folder: Any) -> None:
    class TwoSequences:
        """Assembly and disassembly in one recording, as Assembly101 has them."""

        label_rate = Fraction(10)
        background = ()

        def split(self, name: str) -> list[str]:
            return ["r1"]

        def labeled(self, recording: str) -> list[LabeledSequence]:
            whole = folder.segments(["a"] * 10 + ["b"] * 10 + ["c"] * 10)
            parts = {"assembly_r1": slice(0, 2), "disassembly_r1": slice(2, 3)}
            return [
                LabeledSequence(
                    name=name,
                    recording=recording,
                    segments=Segments(
                        start_ns=whole.start_ns[part], stop_ns=whole.stop_ns[part], labels=whole.labels[part]
                    ),
                )
                for name, part in parts.items()
            ]

    predicted = folder.predict({"r1": "a*20 c*10"})
    scored = score_set(predicted, read_truth(TwoSequences(), "test"))  # type: ignore[arg-type]
    assert {name: counts.scores().edit for name, counts in scored.by_sequence.items()} == {
        "assembly_r1": 50,
        "disassembly_r1": 100,
    }
    assert scored.scores.edit == 75 and scored.scores.num_sequences == 2


def test_recordings_without_labels_are_noted_and_not_scored(folder: Any) -> None:
    folder.background = ("bg",)
    folder.add("r1", "a*10")
    folder.add("r2", None)
    folder.add("r3", "bg*10")
    truth = read_truth(folder.dataset, "test")
    assert truth.notes == (
        "recording r2 has no labels and isn't scored",
        "labels of r3 hold no frame to score",
    )
    predicted = folder.predict(dict.fromkeys(("r1", "r2", "r3"), "a*10"))
    assert score_set(predicted, truth).scores.num_sequences == 1


def test_a_split_without_any_labels_is_an_error(folder: Any) -> None:
    folder.add("r1", None)
    with pytest.raises(DatasetError, match="split test: none of its 1 recordings has labels to score"):
        read_truth(folder.dataset, "test")


def test_a_prediction_set_must_cover_its_split(folder: Any) -> None:
    for index in range(8):
        folder.add(f"r{index}", "a*10")
    predicted = folder.predict({"r0": "a*10"})
    truth = read_truth(folder.dataset, "test")
    with pytest.raises(
        DatasetError, match=r"7 of the 8 recordings .* r1, r2, r3, r4, r5 and 2 more.*sync-train"
    ):
        score_set(predicted, truth)


def test_a_changed_prediction_file_is_refused(folder: Any) -> None:
    folder.add("r1", "a*10")
    predicted = folder.predict({"r1": "a*10"})
    (predicted.folder / "r1.csv").write_text("start_seconds,stop_seconds,label\n0.0,1.0,b\n")
    with pytest.raises(DatasetError, match=r"r1\.csv: has changed since"):
        score_set(predicted, read_truth(folder.dataset, "test"))


def test_labels_in_the_frame_form_score_like_segments(folder: Any) -> None:
    folder.fps = Fraction(30000, 1001)
    labels = ["a"] * 4000 + ["b"] * 4001
    folder.add("r1", labels)
    (true,) = read_truth(folder.dataset, "test").sequences
    predicted = segments_of_frames(labels, folder.fps)
    assert count_sequence(predicted, true, ()) == replace(
        count(ids(labels), ids(labels)), num_frames=8001, num_correct_frames=8001
    )
