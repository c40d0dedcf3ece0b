"""Periods and gaps of rows whose camera ticks otherwise than their grid."""

from fractions import Fraction

import numpy as np
import pytest

from sync_store.align import align
from sync_store.labels import segments_of_rows
from sync_store.rows import find_gaps, find_long_gaps, period_ns


def rows_on_grid(camera_fps: Fraction, grid_fps: int, num_points: int, start: Fraction) -> "np.ndarray":  # type: ignore[type-arg]
    """Times of the frames nearest to each grid point, in nanoseconds."""
    frames = {round((Fraction(k, grid_fps) - start) * camera_fps) for k in range(num_points)}
    return np.array([round((start + f / camera_fps) * 10**9) for f in sorted(frames) if f >= 0])


@pytest.mark.parametrize("camera", [Fraction(12), Fraction(15), Fraction(25, 2), Fraction(24000, 1001)])
def test_steps_of_one_frame_and_two_are_no_gaps(camera: Fraction) -> None:
    times = rows_on_grid(camera, 10, 2000, Fraction(37, 1000))
    assert len(set(np.diff(times))) >= 2
    assert not find_gaps(times).any()
    assert period_ns(times) == pytest.approx(100_000_000, rel=1e-3)
    assert len(segments_of_rows(np.zeros(len(times), np.int64), times, ["a"])) == 1


def test_missing_rows_are_a_gap_and_do_not_change_the_period() -> None:
    times = np.delete(np.arange(300) * 33_333_333, slice(100, 150))
    assert np.flatnonzero(find_gaps(times)).tolist() == [99]
    assert period_ns(times) == 33_333_333


def test_a_long_gap_is_one_of_more_than_a_second() -> None:
    """At 25 rows a second, 24 missing rows make a step of just one second."""
    times = np.arange(300) * 40_000_000
    assert not find_long_gaps(np.delete(times, slice(100, 124))).any()
    assert np.flatnonzero(find_long_gaps(np.delete(times, slice(100, 125)))).tolist() == [99]
    # rows two seconds apart are none
    assert not find_long_gaps(np.arange(9) * 2_000_000_000).any()


def test_a_single_row_has_a_period_of_a_second() -> None:
    assert period_ns(np.array([5])) == 1_000_000_000
    assert find_gaps(np.array([5])).tolist() == find_long_gaps(np.array([5])).tolist() == []


def test_two_cameras_on_one_grid_join_at_every_point() -> None:
    exo = rows_on_grid(Fraction(12), 10, 400, Fraction(0))
    ego = rows_on_grid(Fraction(15), 10, 400, Fraction(21, 1000))
    joined = align(exo, ego, where="r")
    assert joined.coverage > 0.99
    assert joined.max_distance_ns < 100_000_000


def test_rows_beside_a_gap_keep_their_own_partners() -> None:
    exo = np.arange(200) * 100
    ego = np.delete(np.arange(200) * 100 + 30, slice(50, 80))
    joined = align(exo, ego, where="r")
    assert (ego[joined.ego_rows] - exo[joined.exo_rows] == 30).all()
    assert len(joined.exo_rows) == 170
