"""Runs of equal labels: they rebuild the frames that they came from."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_eval.segments import find_runs

class_ids = st.lists(st.integers(-2, 3), max_size=40)


@settings(deadline=None)
@given(class_ids, st.sets(st.integers(0, 3)))
def test_runs_rebuild_the_frames_and_leave_gaps_for_the_rest(ids: list[int], background: set[int]) -> None:
    runs = find_runs(np.array(ids, dtype=np.int64), background)
    rebuilt = [-1] * len(ids)
    for start, stop, class_id in zip(runs.start_frames, runs.stop_frames, runs.class_ids, strict=True):
        assert start < stop
        assert set(rebuilt[start:stop]) == {-1}
        assert start == 0 or ids[start - 1] != class_id
        assert stop == len(ids) or ids[stop] != class_id
        rebuilt[start:stop] = [int(class_id)] * int(stop - start)
    assert rebuilt == [-1 if i < 0 or i in background else i for i in ids]
    assert list(runs.start_frames) == sorted(runs.start_frames)


def test_a_gap_between_two_segments_of_one_class_keeps_them_two() -> None:
    runs = find_runs(np.array([0, 0, 2, 2, 0, -1, 0]), background=[2])
    assert runs.class_ids.tolist() == [0, 0, 0]
    assert runs.start_frames.tolist() == [0, 4, 6]
    assert runs.stop_frames.tolist() == [2, 5, 7]


def test_no_frames_have_no_segments() -> None:
    assert len(find_runs(np.array([], dtype=np.int64))) == 0
