"""Labelled frames without rows, against counting frame by frame."""

import itertools
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sync_extract.label_coverage import LabeledFrames, measure
from sync_store.labels import Segments, grid_times

RATE = Fraction(30)


def segments(*frames: tuple[int, int]) -> Segments:
    """Segments from frame to frame at 30 frames a second."""
    times = [[round(Fraction(frame * 10**9, 30)) for frame in pair] for pair in frames]
    return Segments(
        start_ns=np.array([start for start, _ in times], dtype=np.int64),
        stop_ns=np.array([stop for _, stop in times], dtype=np.int64),
        labels=tuple(f"class {place}" for place in range(len(times))),
    )


def test_a_view_that_ends_17_662_frames_early() -> None:
    """Assembly101's shortest stream: e4 of 9026-b04b has 1,482 frames of 19,143. The others are whole."""
    times = grid_times(19_143, RATE)
    labels = LabeledFrames.of([segments((100, 9_000), (9_000, 19_143))], RATE)
    whole, short = measure(times, labels), measure(times[:1_482], labels)
    assert (whole.missing_seconds, whole.share) == (0, 1)
    assert short.last_row_seconds == round(1_481 / 30, 9)  # where it is, not where the labels end
    assert short.labels_stop_seconds == round(19_143 / 30, 9)
    assert short.missing_end_seconds == (19_143 - 1_482) / 30
    assert (short.missing_start_seconds, short.missing_inside_seconds) == (0, 0)
    assert short.share == pytest.approx((1_482 - 100) / (19_143 - 100), abs=1e-12)


def test_start_gap_and_end() -> None:
    times = grid_times(100, RATE)
    rows = np.concatenate([times[20:40], times[50:90]])
    found = measure(rows, LabeledFrames.of([segments((60, 100)), segments((10, 60))], RATE))
    assert found.missing_start_seconds == 10 / 30
    assert found.missing_inside_seconds == 10 / 30
    assert found.missing_end_seconds == 10 / 30
    assert (found.labeled_seconds, found.share) == (3.0, pytest.approx(2 / 3))
    assert (found.labels_start_seconds, found.labels_stop_seconds) == (0.333333333, 3.333333333)


def test_unlabelled_time_needs_no_rows() -> None:
    times = grid_times(100, RATE)
    labels = LabeledFrames.of([segments((0, 20)), segments((80, 100))], RATE)
    assert measure(np.concatenate([times[:20], times[80:]]), labels).missing_seconds == 0
    assert len(LabeledFrames.of([], RATE)) == 0
    assert measure(times, LabeledFrames.of([], RATE)).share == 1


@pytest.mark.parametrize("rows_a_second", [5, Fraction(15, 8), 24, 25, 30, 60, 120])
def test_rows_of_another_rate_cover_the_labels(rows_a_second: Fraction | int) -> None:
    """A row of a window stands for 16/30 s, one of a fast camera for less than a frame of the labels."""
    rows = grid_times(int(20 * rows_a_second), Fraction(rows_a_second))
    assert measure(rows, LabeledFrames.of([segments((0, 580))], RATE)).missing_seconds == 0


def missing_as(frame: int, rows: list[int], gap: float, half: float) -> str | None:
    """Where a frame is missing from rows at whole frames; None if a row speaks for it."""
    before = max((row for row in rows if row <= frame), default=None)
    after = min((row for row in rows if row >= frame), default=None)
    distances = [abs(frame - row) for row in (before, after) if row is not None]
    assume(all(abs(distance - half) > 1e-6 for distance in distances))  # rounding settles such a tie
    if before is None or after is None:
        return ("start" if before is None else "end") if distances[0] > half else None
    return "inside" if after - before > gap and min(distances) > half else None


@given(
    st.sets(st.integers(0, 60), min_size=1),
    st.lists(st.integers(0, 60), min_size=2, max_size=6, unique=True).map(sorted),
)
def test_frame_by_frame(rows: set[int], edges: list[int]) -> None:
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    have = sorted(rows)
    steps = [after - before for before, after in itertools.pairwise(have)]
    gap = 2.5 * statistics.median(steps or [1])
    assume(gap not in steps)  # likewise
    usual = [step for step in steps if step <= gap] or [30]  # a single row stands for a second
    labeled = [frame for start, stop in pairs for frame in range(start, stop)]
    missing = [missing_as(frame, have, gap, sum(usual) / len(usual) / 2) for frame in labeled]
    found = measure(grid_times(61, RATE)[have], LabeledFrames.of([segments(*pairs)], RATE))
    assert round(found.missing_start_seconds * 30) == missing.count("start")
    assert round(found.missing_inside_seconds * 30) == missing.count("inside")
    assert round(found.missing_end_seconds * 30) == missing.count("end")
    assert round(found.labeled_seconds * 30) == len(labeled)
