"""The metric against golden values of the published code and a slow reference written from its description."""

from collections.abc import Sequence
from functools import cache
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_eval.metrics import Counts, Scores, count
from sync_eval.segments import Int64s

IDS = {"a": 0, "b": 1, "c": 2, "B": 3}


def ids(text: str) -> Int64s:
    runs = (word.split("*") for word in text.split())
    return np.array([IDS[label] for label, times in runs for _ in range(int(times))], dtype=np.int64)


M1 = (ids("a*8 b*12 c*10"), ids("a*10 b*10 c*10"))
M2 = (ids("a*5 b*2 a*3 b*10 c*10"), ids("a*10 b*10 a*10"))
M3 = (ids("a*12 B*3 b*10 B*5"), ids("B*5 a*10 B*5 b*10"))
"""(predicted, true) of the published code's golden values."""

Pair = tuple[Int64s, Int64s]


def score(pairs: Sequence[Pair], background: Sequence[int] = ()) -> Scores:
    return sum((count(predicted, true, background) for predicted, true in pairs), Counts()).scores()


@pytest.mark.parametrize(
    ("pairs", "background", "edit", "mof", "f1"),
    [
        ([M1], [], 100, 93.333333, (100, 100, 100)),
        ([M2], [], 60, 60, (50, 50, 50)),
        ([M1, M2], [], 80, 76.666667, (71.428571,) * 3),
        ([M3], [], 50, 40, (50, 50, 0)),
        ([M3], [IDS["B"]], 100, 40, (100, 100, 0)),
        ([M1, M2, M3], [IDS["B"]], 86.666667, 64.444444, (77.777778, 77.777778, 55.555556)),
    ],
)
def test_golden_values_of_the_published_code(
    pairs: list[Pair], background: list[int], edit: float, mof: float, f1: tuple[float, ...]
) -> None:
    found = score(pairs, background)
    assert found.edit == pytest.approx(edit, abs=1e-6)
    assert found.mof == pytest.approx(mof, abs=1e-6)
    assert (found.f1_10, found.f1_25, found.f1_50) == pytest.approx(f1, abs=1e-6)
    assert found.num_sequences == len(pairs) and found.coverage == 1


Segment = tuple[int, int, int]


def reference_segments(labels: list[int], background: set[int]) -> list[Segment]:
    """(label, start, stop), one frame after another."""
    found: list[Segment] = []
    start = 0
    for frame in range(1, len(labels) + 1):
        if frame == len(labels) or labels[frame] != labels[start]:
            if labels[start] not in background:
                found.append((labels[start], start, frame))
            start = frame
    return found


def reference_distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        if a[i - 1] == b[j - 1]:
            return distance(i - 1, j - 1)
        return 1 + min(distance(i - 1, j), distance(i, j - 1), distance(i - 1, j - 1))

    return distance(len(a), len(b))


def reference_hits(predicted: list[Segment], true: list[Segment], threshold: float) -> tuple[int, int, int]:
    """(hits, misses, never found): each prediction in order goes for its best true segment, and no other."""
    taken = [False] * len(true)
    misses = 0
    for label, start, stop in predicted:
        overlaps = [
            (min(stop, t) - max(start, s)) / (max(stop, t) - min(start, s)) if label == other else 0.0
            for other, s, t in true
        ]
        best = overlaps.index(max(overlaps))
        if overlaps[best] >= threshold and not taken[best]:
            taken[best] = True
        else:
            misses += 1
    return sum(taken), misses, len(true) - sum(taken)


def reference_scores(pairs: Sequence[Pair], background: set[int]) -> dict[str, float]:
    correct = frames = 0
    edit = 0.0
    pooled = {0.10: np.zeros(3), 0.25: np.zeros(3), 0.50: np.zeros(3)}
    for predicted_ids, true_ids in pairs:
        correct += sum(p == t for p, t in zip(predicted_ids.tolist(), true_ids.tolist(), strict=True))
        frames += len(true_ids)
        predicted = reference_segments(predicted_ids.tolist(), background)
        true = reference_segments(true_ids.tolist(), background)
        order_predicted, order_true = tuple(s[0] for s in predicted), tuple(s[0] for s in true)
        edit += (1 - reference_distance(order_predicted, order_true) / max(len(predicted), len(true))) * 100
        for threshold, sums in pooled.items():
            sums += reference_hits(predicted, true, threshold)
    scores = {"edit": edit / len(pairs), "mof": 100 * correct / frames}
    for threshold, (tp, fp, fn) in pooled.items():
        # equal to the harmonic mean of precision and recall
        scores[f"f1_{threshold * 100:.0f}"] = 100 * 2 * tp / (2 * tp + fp + fn)
    return scores


def stretches(low: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(low, 3), st.integers(1, 12)), min_size=1, max_size=10)


@st.composite
def sequences(draw: st.DrawFn, low: int = 0) -> Pair:
    """(predicted, true), of one length and made of stretches of frames."""

    def frames() -> list[int]:
        return [label for label, times in draw(stretches(low)) for _ in range(times)]

    predicted, true = frames(), frames()
    length = min(len(predicted), len(true))
    return np.array(predicted[:length]), np.array(true[:length])


@settings(deadline=None, max_examples=400)
@given(st.lists(sequences(), min_size=1, max_size=3), st.sets(st.integers(0, 3), max_size=2))
def test_equals_the_slow_reference(pairs: list[Pair], background: set[int]) -> None:
    def has_segments(frames: Int64s) -> bool:
        return bool(set(frames.tolist()) - background)

    # elsewhere the published code crashes or gives NaN
    pairs = [pair for pair in pairs if has_segments(pair[1])]
    if not pairs:
        return
    found = score(pairs, list(background))
    for name, value in reference_scores(pairs, background).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-9), name


def test_a_threshold_that_is_met_exactly_is_met() -> None:
    # overlaps of 1/10, 1/4 and 1/2
    for hits, predicted in (((100, 0, 0), "a*1 b*9"), ((100, 100, 0), "a*5 b*15"), ((100,) * 3, "a*5 b*5")):
        frames = ids(predicted)
        found = count(
            np.where(frames == IDS["a"], frames, -1), np.zeros(len(frames), dtype=np.int64)
        ).scores()
        assert (found.f1_10, found.f1_25, found.f1_50) == hits


def test_a_prediction_whose_best_segment_is_taken_has_no_second_choice() -> None:
    # both predictions overlap the first true segment best; the second also reaches 10 % of the other one
    true = ids("a*30 b*1 a*10")
    predicted = ids("a*12 c*1 a*28")
    assert count(predicted, true).num_hits == (1, 1, 0)


def test_of_two_segments_that_are_overlapped_alike_the_first_is_meant() -> None:
    # the second prediction overlaps both true segments by 4 of 16 frames; the first one is taken
    true = ids("a*10 b*2 a*10")
    predicted = ids("a*4 c*2 a*10 c*6")
    assert count(predicted, true).num_hits == (1, 1, 0)


@settings(deadline=None)
@given(st.lists(sequences(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_order_of_recordings_is_of_no_account(pairs: list[Pair], random: Random) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert vars_of(score(shuffled)) == pytest.approx(vars_of(score(pairs)))


@settings(deadline=None)
@given(sequences(), st.integers(2, 5))
def test_time_runs_faster_and_nothing_changes(pair: Pair, factor: int) -> None:
    slow = score([(np.repeat(pair[0], factor), np.repeat(pair[1], factor))])
    assert vars_of(slow)[:-1] == vars_of(score([pair]))[:-1]


@settings(deadline=None)
@given(sequences(low=-1))
def test_a_perfect_prediction_scores_100(pair: Pair) -> None:
    true = pair[1]
    found = score([(true, true)])
    assert found.edit == 100
    assert found.f1_10_mean == found.f1_25_mean == found.f1_50_mean == 100
    if (true >= 0).any():
        assert found.f1_10 == found.f1_25 == found.f1_50 == found.mof == 100


@settings(deadline=None)
@given(sequences(low=-1), sequences(low=-1))
def test_counts_of_recordings_add_up_to_those_of_all(first: Pair, second: Pair) -> None:
    both = count(*first) + count(*second)
    assert both.num_frames == int((first[1] >= 0).sum() + (second[1] >= 0).sum())
    assert both + Counts() == both
    means = [(score([first]).f1_25_mean + score([second]).f1_25_mean) / 2]
    assert [both.scores().f1_25_mean] == pytest.approx(means)
    assert both.scores().edit == pytest.approx((score([first]).edit + score([second]).edit) / 2)


def test_f1_is_pooled_and_its_mean_over_recordings_is_another_number() -> None:
    found = score([M1, M2])
    assert found.f1_50 == pytest.approx(100 * 2 * 5 / (8 + 6))
    assert found.f1_50_mean == pytest.approx((100 + 50) / 2)


@settings(deadline=None)
@given(sequences(low=-1), st.integers(-1, 3))
def test_what_is_predicted_on_masked_frames_is_of_no_account(pair: Pair, other: int) -> None:
    predicted, true = pair
    changed = np.where(true < 0, other, predicted)
    assert count(changed, true) == count(predicted, true)


def test_masked_frames_are_gaps_on_both_sides_and_not_scored() -> None:
    true = np.array([0] * 4 + [-1] * 4 + [0] * 4)
    predicted = np.zeros(12, dtype=np.int64)
    counts = count(predicted, true)
    assert (counts.num_true_segments, counts.num_predicted_segments, counts.num_frames) == (2, 2, 8)
    assert counts.scores().f1_50 == counts.scores().edit == counts.scores().mof == 100


def test_frames_without_a_prediction_are_wrong_and_lower_the_coverage() -> None:
    true = ids("a*5 b*5")
    predicted = np.where(np.arange(10) < 8, true, -1)
    found = count(predicted, true).scores()
    assert (found.mof, found.coverage, found.edit) == (80, 0.8, 100)


EMPTY = np.array([], dtype=np.int64)


@pytest.mark.parametrize(
    ("predicted", "true", "edit", "mof", "f1", "f1_mean"),
    [
        (EMPTY, EMPTY, 100, 0, 0, 100),
        (ids("B*4"), ids("B*4"), 100, 100, 0, 100),
        (ids("a*2 B*2"), ids("B*4"), 0, 50, 0, 0),
        (ids("B*4"), ids("a*2 B*2"), 0, 50, 0, 0),
    ],
)
def test_defined_where_the_published_code_fails(
    predicted: Int64s, true: Int64s, edit: float, mof: float, f1: float, f1_mean: float
) -> None:
    found = score([(predicted, true)], [IDS["B"]])
    assert (found.edit, found.mof, found.f1_10, found.f1_50) == (edit, mof, f1, f1)
    assert found.f1_25_mean == f1_mean


def test_a_sequence_without_segments_leaves_the_pooled_f1_of_the_others() -> None:
    empty = (ids("B*4"), ids("B*4"))
    assert score([M2, empty], [IDS["B"]]).f1_50 == score([M2], [IDS["B"]]).f1_50
    assert score([M2, empty], [IDS["B"]]).edit == (60 + 100) / 2


def test_lengths_must_be_equal() -> None:
    with pytest.raises(ValueError, match="3 predicted frames can't be scored against 2 true ones"):
        count(np.zeros(3, dtype=np.int64), np.zeros(2, dtype=np.int64))


def test_no_sequences_have_no_scores() -> None:
    with pytest.raises(ValueError, match="no scores of no sequences"):
        Counts().scores()


def vars_of(scores: Scores) -> tuple[float, ...]:
    """All scores as numbers; `num_frames` is the last."""
    return tuple(float(getattr(scores, name)) for name in Scores.__dataclass_fields__)
