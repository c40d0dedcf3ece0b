"""Tracks and wiggles."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sync_demo.motion import Pose, Track, Wiggle

NUMBER = st.floats(-3, 3)


@given(st.lists(st.tuples(st.floats(0, 5), NUMBER, NUMBER), min_size=1, max_size=6))
def test_a_track_passes_its_keyframes_and_stays_between_them(keys: list[tuple[float, float, float]]) -> None:
    keys = sorted(keys)
    track = Track()
    for seconds, x, yaw in keys:
        track.add(seconds, Pose(x, 2 * x, 0.0, yaw))
    last_at = {seconds: (x, yaw) for seconds, x, yaw in keys}
    poses = track.at(np.array(list(last_at)))
    assert np.allclose(poses[:, [0, 3]], list(last_at.values()))
    assert np.allclose(poses[:, 1], 2 * poses[:, 0])
    times = np.linspace(-1, 6, 50)
    between = track.at(times)[:, 0]
    assert between.min() >= min(x for _, x, _ in keys) - 1e-9
    assert between.max() <= max(x for _, x, _ in keys) + 1e-9
    assert np.allclose(track.at(np.array([-9.0, 99.0]))[:, 0], [keys[0][1], keys[-1][1]])
    assert track.last.x == keys[-1][1]


def test_moves_start_and_stop_at_rest() -> None:
    track = Track()
    track.add(1.0, Pose(0, 0, 0))
    track.add(3.0, Pose(1, 0, 0))
    speed = np.gradient(track.at(np.linspace(0, 4, 4001))[:, 0], 0.001)
    assert abs(speed[[1000, 3000]]).max() < 1e-4
    # minimum jerk: the peak speed is 15/8 of the mean, in the middle
    assert np.isclose(speed.max(), 15 / 8 * 0.5, atol=1e-4)
    assert np.argmax(speed) == 2000


def test_a_track_can_wait() -> None:
    track = Track()
    track.add(0.0, Pose(1, 2, 3))
    track.wait(2.0)
    track.add(3.0, Pose(9, 2, 3))
    assert np.array_equal(track.at(np.array([0.5, 1.9]))[:, 0], [1, 1])


def test_a_wiggle_is_nothing_outside_its_time_and_reaches_its_amplitude_inside() -> None:
    wiggle = Wiggle(start=2.0, stop=6.0, bodies=("left",), amplitude=Pose(0.5, 0, 0), hertz=3.0)
    times = np.linspace(0, 8, 8001)
    added = wiggle.at(times)
    outside = (times <= 2.0) | (times >= 6.0)
    assert np.abs(added[outside]).max() < 1e-12
    assert 0.49 < np.abs(added).max() <= 0.5
    assert np.abs(added[:, 1:]).max() == 0
    assert np.abs(np.diff(added[:, 0])).max() < 0.5 * 2 * np.pi * 3 * 0.001 * 1.1
