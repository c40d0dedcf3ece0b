"""The sampling grid against brute force in exact fractions, and rows against labels."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_extract.grid import sample_grid
from sync_store.errors import VideoError
from sync_store.labels import segments_of_frames

NTSC = Fraction(30_000, 1_001)
MILLISECOND = Fraction(1, 1_000)


@dataclass
class Times:
    """Frame times alone."""

    pts: npt.NDArray[np.int64]
    time_base: Fraction
    num_lost: int = 0
    """Ticks before the first of these frames, of frames that don't decode."""

    @property
    def start_pts(self) -> int:
        return int(self.pts[0]) - self.num_lost


def at(ticks: list[int], time_base: Fraction = Fraction(1, 90_000)) -> Times:
    return Times(np.array(ticks, np.int64), time_base)


def brute_force(
    seconds: list[Fraction], fps: Fraction
) -> tuple[list[int], set[int], dict[int, list[Fraction]]]:
    """For each grid point in turn the nearest frame of those that have no nearer point.

    Returns:
        The chosen frames, the points that have one, and each point's distances to all frames that could serve it.
    """
    candidates: dict[int, list[tuple[Fraction, int]]] = {}
    for frame, second in enumerate(seconds):
        around = range(int(second * fps) - 2, int(second * fps) + 3)
        point = min(around, key=lambda k: (abs(Fraction(k) / fps - second), k))
        candidates.setdefault(point, []).append((abs(Fraction(point) / fps - second), frame))
    chosen = [min(found)[1] for _, found in sorted(candidates.items())]
    return chosen, set(candidates), {point: [d for d, _ in found] for point, found in candidates.items()}


@pytest.mark.parametrize("time_base", [Fraction(1, 90_000), Fraction(1, 30_000), Fraction(1, 15_360)])
@pytest.mark.parametrize("fps", [Fraction(30), NTSC], ids=["30", "29.97"])
def test_row_f_gets_label_f(fps: Fraction, time_base: Fraction) -> None:
    frames = np.arange(100_000)
    # as a container stores them: to the nearest tick
    ticks = np.array([round(frame / fps / time_base) for frame in frames.tolist()])
    grid = sample_grid(Times(ticks, time_base), fps=fps)
    assert np.array_equal(grid.frame_index, frames) and grid.num_missing == 0
    labels = segments_of_frames([str(frame) for frame in frames.tolist()], fps)
    assert np.array_equal(labels.index_at(grid.timestamps), frames)


@pytest.mark.parametrize("start_ticks", [0, 1_500, 3_000_000])
def test_label_frame_f_is_frame_2f_of_60_fps_video_counted_from_the_streams_start(start_ticks: int) -> None:
    ticks = start_ticks + 1_500 * np.arange(200_000)
    grid = sample_grid(Times(ticks, Fraction(1, 90_000)), fps=Fraction(30), clock="stream-start")
    assert np.array_equal(grid.frame_index, 2 * np.arange(100_000))
    labels = segments_of_frames([str(frame) for frame in range(100_000)], Fraction(30))
    assert np.array_equal(labels.index_at(grid.timestamps), np.arange(100_000))


def test_the_streams_start_is_its_first_frame_also_where_that_does_not_decode() -> None:
    ticks = np.arange(100_000, 190_000, 3_000)
    grid = sample_grid(
        Times(ticks, Fraction(1, 90_000), num_lost=33_000), fps=Fraction(30), clock="stream-start"
    )
    assert grid.timestamps[0] == round(Fraction(33_000, 90_000) * 10**9)
    labels = segments_of_frames([str(frame) for frame in range(41)], Fraction(30))
    assert labels.index_at(grid.timestamps).tolist() == list(range(11, 41))


def test_milliseconds_keep_row_and_label_together() -> None:
    """Matroska rounds every time to a millisecond."""
    ticks = np.array([round(Fraction(frame) / NTSC * 1000) for frame in range(100_000)])
    grid = sample_grid(Times(ticks, MILLISECOND), fps=NTSC)
    labels = segments_of_frames([str(frame) for frame in range(100_000)], NTSC)
    assert np.array_equal(labels.index_at(grid.timestamps), np.arange(100_000))


def test_timestamps_are_the_frames_own_times_not_the_grids() -> None:
    grid = sample_grid(at([10, 3_010, 6_005]), fps=Fraction(30), offset=Fraction(-1, 10))
    exact = [Fraction(tick, 90_000) - Fraction(1, 10) for tick in (10, 3_010, 6_005)]
    assert grid.timestamps.tolist() == [round(second * 10**9) for second in exact]


@given(
    steps=st.lists(st.integers(1, 9_000), min_size=1, max_size=60),
    start=st.integers(-20_000, 20_000),
    fps=st.sampled_from([Fraction(30), NTSC, Fraction(15), Fraction(25, 2), Fraction(10), Fraction(60)]),
    offset=st.fractions(min_value=-2, max_value=2, max_denominator=30_000),
)
def test_each_grid_point_takes_the_nearest_frame(
    steps: list[int], start: int, fps: Fraction, offset: Fraction
) -> None:
    ticks = (start + np.cumsum(steps)).tolist()
    seconds = [Fraction(tick, 90_000) + offset for tick in ticks]
    grid = sample_grid(at(ticks), fps=fps, offset=offset)
    chosen, served, distances = brute_force(seconds, fps)
    assert grid.frame_index.tolist() == chosen
    assert grid.timestamps.tolist() == [round(seconds[frame] * 10**9) for frame in chosen]
    assert (np.diff(grid.frame_index) > 0).all() and (np.diff(grid.timestamps) > 0).all()
    assert grid.num_missing == max(served) - min(served) + 1 - len(served)
    # A point has a row exactly if a frame is nearer than half a period (or just as far, before it, alone).
    for point in range(min(served) - 1, max(served) + 2):
        nearest = min(abs(second - point / fps) for second in seconds)
        if 2 * nearest * fps < 1:
            assert point in served and min(distances[point]) == nearest
        if 2 * nearest * fps > 1:
            assert point not in served


@given(
    ticks=st.lists(st.integers(-(2**36), 2**36), min_size=1, max_size=20, unique=True).map(sorted),
    time_base=st.sampled_from([Fraction(1, 90_000), Fraction(1_001, 30_000), Fraction(1, 14_112_000)]),
    offset=st.fractions(min_value=-100, max_value=100, max_denominator=10**9),
)
def test_rounded_exactly_once(ticks: list[int], time_base: Fraction, offset: Fraction) -> None:
    grid = sample_grid(at(ticks, time_base), fps=None, offset=offset)
    assert grid.timestamps.tolist() == [round((tick * time_base + offset) * 10**9) for tick in ticks]
    assert grid.frame_index.tolist() == list(range(len(ticks)))


def test_halves_of_a_nanosecond_go_to_even() -> None:
    grid = sample_grid(at([1, 5, 9], Fraction(1, 2 * 10**9)), fps=None)
    assert grid.timestamps.tolist() == [0, 2, 4]


def test_of_two_equally_near_the_earlier_one() -> None:
    """Two frames around a point, then a frame half-way between two points."""
    grid = sample_grid(at([-100, 100], MILLISECOND), fps=Fraction(1))
    assert grid.frame_index.tolist() == [0]
    grid = sample_grid(at([500, 1_500], MILLISECOND), fps=Fraction(1))
    assert grid.frame_index.tolist() == [0, 1] and grid.num_missing == 0
    grid = sample_grid(at([500, 1_100], MILLISECOND), fps=Fraction(1), offset=Fraction(0))
    assert grid.frame_index.tolist() == [0, 1]


def test_a_gap_yields_no_rows() -> None:
    ticks = [0, 100, 200, 700, 800]
    grid = sample_grid(at(ticks, MILLISECOND), fps=Fraction(10))
    assert grid.timestamps.tolist() == [tick * 10**6 for tick in ticks]
    assert grid.num_missing == 4


def test_slow_video_on_a_fast_grid_is_not_repeated() -> None:
    grid = sample_grid(at([0, 100, 200], MILLISECOND), fps=Fraction(30))
    assert grid.frame_index.tolist() == [0, 1, 2] and grid.num_missing == 4


def test_a_millisecond_of_offset_moves_every_row() -> None:
    ticks = [3_000 * frame for frame in range(300)]
    plain = sample_grid(at(ticks), fps=Fraction(30))
    moved = sample_grid(at(ticks), fps=Fraction(30), offset=Fraction(1, 1000))
    assert np.array_equal(moved.timestamps - plain.timestamps, np.full(300, 1_000_000))


def test_numbers_beyond_64_bits_stay_exact() -> None:
    """Four hours of a time base with a large denominator, and an offset with another."""
    time_base, offset = Fraction(1, 2**31 - 1), Fraction(123_456_789, 10**9 + 7)
    ticks = [14_400 * (2**31 - 1) + step for step in (0, 10**6, 10**9)]
    seconds = [tick * time_base + offset for tick in ticks]
    grid = sample_grid(at(ticks, time_base), fps=None, offset=offset)
    assert grid.timestamps.tolist() == [round(second * 10**9) for second in seconds]
    grid = sample_grid(at(ticks, time_base), fps=NTSC, offset=offset)
    assert grid.frame_index.tolist() == brute_force(seconds, NTSC)[0]


@pytest.mark.parametrize("fps", [Fraction(0), Fraction(-30)])
def test_refuses_a_rate_that_is_not_positive(fps: Fraction) -> None:
    with pytest.raises(ValueError, match="fps must be positive"):
        sample_grid(at([0, 1]), fps=fps)


def test_refuses_frames_in_the_same_nanosecond() -> None:
    with pytest.raises(
        VideoError, match=r"frames 1 and 2 are less than a nanosecond apart.*Choose a sampling"
    ):
        sample_grid(at([0, 40, 41], Fraction(1, 40 * 10**9)), fps=None)


def test_refuses_times_beyond_nanoseconds_of_64_bits() -> None:
    with pytest.raises(VideoError, match=r"beyond 64-bit nanoseconds\. Convert the video"):
        sample_grid(at([0, 2**50], Fraction(1, 1)), fps=Fraction(30))
