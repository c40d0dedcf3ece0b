"""Alignment against a brute-force reference, and what it must refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_store.align import align
from sync_store.errors import AlignmentError

times = st.lists(st.integers(0, 3000), min_size=1, max_size=40, unique=True).map(sorted).map(np.array)


def brute_force(exo: list[int], ego: list[int], tolerance: int) -> list[tuple[int, int]]:
    def nearest(targets: list[int], time: int) -> int:
        return min(range(len(targets)), key=lambda i: (abs(targets[i] - time), targets[i]))

    pairs = []
    for i, time in enumerate(exo):
        j = nearest(ego, time)
        if nearest(exo, ego[j]) == i and abs(ego[j] - time) <= tolerance:
            pairs.append((i, j))
    return pairs


@given(times, times, st.integers(0, 500))
def test_equals_brute_force(exo: "np.ndarray", ego: "np.ndarray", tolerance: int) -> None:  # type: ignore[type-arg]
    expected = brute_force(exo.tolist(), ego.tolist(), tolerance)
    if not expected:
        with pytest.raises(AlignmentError):
            align(exo, ego, where="w", tolerance_ns=tolerance, min_coverage=0.0)
        return
    found = align(exo, ego, where="w", tolerance_ns=tolerance, min_coverage=0.0)
    assert list(zip(found.exo_rows.tolist(), found.ego_rows.tolist(), strict=True)) == expected
    assert (np.diff(found.exo_rows) > 0).all() and (np.diff(found.ego_rows) > 0).all()
    assert found.coverage == len(expected) / min(len(exo), len(ego))
    assert found.max_distance_ns == max(abs(exo[i] - ego[j]) for i, j in expected)


def test_views_that_start_and_end_apart_join_by_time_not_by_index() -> None:
    period = 33_333_333
    exo = np.arange(0, 900) * period
    ego = np.arange(30, 1000) * period + 5_000_000
    found = align(exo, ego, where="w")
    assert (found.ego_rows == found.exo_rows - 30).all()
    assert len(found.exo_rows) == 870
    assert found.coverage == pytest.approx(870 / 900)


def test_60_fps_against_30_takes_every_second_row() -> None:
    exo, ego = np.arange(100) * 33_333_333, np.arange(200) * 16_666_666
    found = align(exo, ego, where="w")
    assert (found.ego_rows == 2 * found.exo_rows).all() and len(found.exo_rows) == 100


def test_a_wrong_clock_is_refused_with_both_spans() -> None:
    exo, ego = np.arange(100) * 100_000_000, np.arange(100) * 100_000_000 + 8_000_000_000
    with pytest.raises(
        AlignmentError, match=r"recording r: only 20\.0% .*from 0\.0 to 9\.9 s.*from 8\.0 to 17\.9 s"
    ):
        align(exo, ego, where="recording r")
