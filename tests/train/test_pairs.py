"""Pairs from a real store: joined by time, and made worse on purpose. Axes: T rows, P rows of a pair."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_store.align import align
from sync_store.errors import AlignmentError, DatasetError, IncompleteError
from sync_store.layout import FeatureSet
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter
from sync_train.budget import within_budget
from sync_train.config import PairsConfig
from sync_train.pairs import Pair, Views, describe_pairs, read_pairs
from sync_train.sequences import Source

TINY = FeatureSet(name="tiny", recipe={"made": "by the test"}, feature_dim=3)
OPTIONS: dict[str, Any] = {"tolerance_ns": None, "min_coverage": 0.5, "seed": 0}


def write(
    store: Path, view: str, name: str, times_ns: np.ndarray, *, seed: int = 0, of_set: FeatureSet = TINY
) -> np.ndarray:
    """Random rows; the first value of each is its number."""
    rows = np.random.default_rng(seed).standard_normal((len(times_ns), 3)).astype(np.float16)
    rows[:, 0] = np.arange(len(rows))
    with RecordingWriter(store, of_set, view, name, timestamps=times_ns, provenance={}) as writer:
        writer.append(rows)
        writer.commit()
    return rows


def open_source(store: Path) -> Source:
    return Source(FeatureStore(store), "tiny", torch.device("cpu"))


def views_of(source: Source, ego_source: Source | None = None) -> Views:
    return Views(teacher=source, teacher_view="v3", student=ego_source or source, student_view="e4")


def read(store: Path, names: list[str] | None = None, *, seed: int = 0, **options: Any) -> list[Pair]:
    config = PairsConfig(**{k: v for k, v in options.items() if k not in OPTIONS})
    options = {**OPTIONS, **{k: v for k, v in options.items() if k in OPTIONS}, "seed": seed}
    return read_pairs(views_of(open_source(store)), names or ["r"], config, **options)


def clock(first_ms: int, step_ms: int, count: int) -> np.ndarray:
    return (first_ms + step_ms * np.arange(count, dtype=np.int64)) * 1_000_000


def numbers(rows_PD: torch.Tensor) -> np.ndarray:
    """Which rows of the store these are."""
    return rows_PD[:, 0].numpy().astype(int)


@pytest.fixture
def twins(tmp_path: Path) -> Path:
    """Two views of one clock, 200 rows each: row i of both is one moment."""
    for view in ("v3", "e4"):
        write(tmp_path / "s", view, "r", clock(0, 100, 200))
    return tmp_path / "s"


def test_pairs_are_joined_by_time(tmp_path: Path) -> None:
    """The views begin apart and tick differently, and in the middle the exo view has lost some rows."""
    exo_times, ego_times = np.delete(clock(0, 100, 60), range(20, 27)), clock(1130, 80, 70)
    exo = write(tmp_path / "s", "v3", "r", exo_times)
    ego = write(tmp_path / "s", "e4", "r", ego_times, seed=1)
    (pair,) = read(tmp_path / "s")
    joined = align(exo_times, ego_times, where="")
    np.testing.assert_array_equal(pair.teacher_PD.numpy(), exo[joined.exo_rows])
    np.testing.assert_array_equal(pair.student_PD.numpy(), ego[joined.ego_rows])
    assert pair.coverage == joined.coverage < 1
    apart = np.abs(exo_times[joined.exo_rows] - ego_times[joined.ego_rows])
    assert pair.max_distance_ns == joined.max_distance_ns == apart.max() <= 50_000_000
    assert not hasattr(pair, "classes_T")


def test_views_of_two_feature_sets_are_paired(tmp_path: Path) -> None:
    """Each view is in one of them alone."""
    store, other = tmp_path / "s", replace(TINY, name="other", recipe={"made": "otherwise"})
    exo = write(store, "v3", "r", clock(0, 100, 40))
    ego = write(store, "e4", "r", clock(30, 100, 50), seed=1, of_set=other)
    source = open_source(store)
    with pytest.raises(IncompleteError, match=r"recording r, view e4: isn't in the store \(feature set tiny"):
        read_pairs(views_of(source), ["r"], PairsConfig(), **OPTIONS)
    ego_source = Source(FeatureStore(store), "other", torch.device("cpu"))
    (pair,) = read_pairs(views_of(source, ego_source), ["r"], PairsConfig(), **OPTIONS)
    np.testing.assert_array_equal(pair.teacher_PD.numpy(), exo)
    np.testing.assert_array_equal(pair.student_PD.numpy(), ego[:40])


def test_pairs_say_how_well_they_are_joined(tmp_path: Path) -> None:
    """10 of the 10 and 15 of the 20 rows have a partner, 20 and 40 ms away."""
    for name, first, count in (("a", 20, 10), ("b", 540, 20)):
        write(tmp_path / "s", "v3", name, clock(0, 100, 20))
        write(tmp_path / "s", "e4", name, clock(first, 100, count))
    pairs = read(tmp_path / "s", ["a", "b"])
    assert describe_pairs(pairs) == {
        "num_recordings": 2,
        "hours": pytest.approx(2.5 / 3600),
        "mean_coverage": 0.875,
        "min_coverage": 0.75,
        "min_coverage_recording": "b",
        "max_distance_seconds": 0.04,
    }


def test_one_stretch_of_rows_is_not_copied(tmp_path: Path) -> None:
    """Two copies of all features would take twice the memory."""
    for view, first in (("v3", 0), ("e4", 500)):
        write(tmp_path / "s", view, "r", clock(first, 100, 40))
    source = open_source(tmp_path / "s")
    (pair,) = read_pairs(views_of(source), ["r"], PairsConfig(), **OPTIONS)
    (exo,) = source.recordings("v3", ["r"])
    assert len(pair.teacher_PD) == 35
    assert pair.teacher_PD.data_ptr() == exo.rows_TD[5:].data_ptr()


def test_tolerance_and_coverage_are_obeyed(tmp_path: Path) -> None:
    write(tmp_path / "s", "v3", "r", clock(0, 100, 40))
    write(tmp_path / "s", "e4", "r", clock(30, 100, 40))
    assert read(tmp_path / "s", tolerance_ns=30_000_000)[0].coverage == 1
    with pytest.raises(AlignmentError, match=r"recording r, views v3 and e4: only 0.0%"):
        read(tmp_path / "s", tolerance_ns=29_000_000)


def test_dropped_frames_paired_by_index_drift_apart(twins: Path) -> None:
    """As in the paper's Table 5: each view loses its own frames, and the rest are taken as they come."""
    (pair,) = read(twins, drop_rate=0.1, join="index")
    of_teacher, of_student = numbers(pair.teacher_PD), numbers(pair.student_PD)
    assert len(of_teacher) == len(of_student) == 180
    assert len(set(of_teacher)) == 180 and (np.diff(of_teacher) > 0).all() and (np.diff(of_student) > 0).all()
    assert (of_teacher != of_student).mean() > 0.5
    assert pair.max_distance_ns == np.abs(of_teacher - of_student).max() * 100_000_000


@pytest.mark.parametrize("drop_rate", [0.03, 0.1, 0.3])
def test_dropped_frames_paired_by_time_stay_together(twins: Path, drop_rate: float) -> None:
    """Each of the 200 moments keeps its place and has, of either view, the row nearest to it that is left."""
    (pair,) = read(twins, drop_rate=drop_rate, join="time")
    moments = np.arange(200)
    kept = []
    for rows_PD in (pair.teacher_PD, pair.student_PD):
        of_view = numbers(rows_PD)
        left = sorted(set(of_view))
        assert len(left) == 200 - round(drop_rate * 200)
        assert [min(left, key=lambda row: (abs(row - at), row)) for at in moments] == list(of_view)
        kept.append(np.isin(moments, left))
    assert (kept[0] != kept[1]).any(), "each view loses its own"
    assert pair.coverage == (kept[0] & kept[1]).mean()
    apart = np.abs(numbers(pair.teacher_PD) - numbers(pair.student_PD))
    assert pair.max_distance_ns == apart.max() * 100_000_000
    assert pair.seconds == pytest.approx(20)


def test_both_ways_of_pairing_lose_the_same_frames(twins: Path) -> None:
    (by_index,), (by_time,) = (read(twins, drop_rate=0.1, join=join) for join in ("index", "time"))
    assert set(numbers(by_index.teacher_PD)) == set(numbers(by_time.teacher_PD))
    assert set(numbers(by_index.student_PD)) == set(numbers(by_time.student_PD))


def test_without_a_drop_gaps_of_the_recording_stay(tmp_path: Path) -> None:
    """Only what is dropped on purpose is filled: a gap that the store has isn't made up."""
    write(tmp_path / "s", "v3", "r", np.delete(clock(0, 100, 60), range(20, 27)))
    write(tmp_path / "s", "e4", "r", clock(0, 100, 60))
    (pair,) = read(tmp_path / "s")
    assert numbers(pair.student_PD).tolist() == [*range(20), *range(27, 60)]
    (dropped,) = read(tmp_path / "s", drop_rate=0.1)
    assert len(dropped.student_PD) == 53


def test_what_is_dropped_depends_on_seed_view_and_recording(tmp_path: Path) -> None:
    for view in ("v3", "e4"):
        for name in ("a", "b"):
            write(tmp_path / "s", view, name, clock(0, 100, 200))
    options = {"drop_rate": 0.1, "join": "index"}
    one, other = read(tmp_path / "s", ["a", "b"], **options)
    again = read(tmp_path / "s", ["b"], **options)[0]
    (of_seed_1,) = read(tmp_path / "s", ["b"], seed=1, **options)
    assert (numbers(one.teacher_PD) != numbers(other.teacher_PD)).any()
    np.testing.assert_array_equal(numbers(again.teacher_PD), numbers(other.teacher_PD))
    assert (numbers(of_seed_1.teacher_PD) != numbers(other.teacher_PD)).any()


def test_paired_by_index_without_a_drop_is_paired_by_time(twins: Path) -> None:
    (by_index,), (by_time,) = read(twins, join="index"), read(twins)
    assert torch.equal(by_index.teacher_PD, by_time.teacher_PD)
    assert torch.equal(by_index.student_PD, by_time.student_PD)


def test_a_wrong_clock_pairs_other_moments(twins: Path) -> None:
    """The student's clock shows 2 s more: its row i is taken for row i + 20 of the teacher's view."""
    (pair,) = read(twins, offset_seconds=2.0)
    np.testing.assert_array_equal(numbers(pair.teacher_PD), np.arange(20, 200))
    np.testing.assert_array_equal(numbers(pair.student_PD), np.arange(180))
    (early,) = read(twins, offset_seconds=-2.0)
    np.testing.assert_array_equal(numbers(early.student_PD), np.arange(20, 200))


def test_a_clock_that_gains_is_off_more_and_more(twins: Path) -> None:
    """5 % in 20 s are a second, ten rows."""
    (pair,) = read(twins, drift_ppm=50_000)
    apart = numbers(pair.teacher_PD) - numbers(pair.student_PD)
    assert apart[0] == 0 and apart[-1] in (9, 10) and (np.diff(apart) >= 0).all()
    np.testing.assert_allclose(apart, numbers(pair.student_PD) * 0.05, atol=0.51)


def test_a_clock_that_is_off_by_more_than_the_recording_is_refused(twins: Path) -> None:
    with pytest.raises(AlignmentError, match=r"recording r, views v3 and e4: only 0.0%"):
        read(twins, offset_seconds=60)


def test_a_share_is_of_the_duration_and_part_of_a_larger_one(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    for number, name in enumerate(names):
        for view in ("v3", "e4"):
            write(tmp_path / "s", view, name, clock(0, 100, 40 + 20 * number))
    whole = sum(pair.seconds for pair in read(tmp_path / "s", names))
    wholes = {pair.name: len(pair.teacher_PD) for pair in read(tmp_path / "s", names)}
    assert whole == pytest.approx(28.0)
    before: dict[str, int] = {}
    for share in (0.1, 0.25, 0.5, 0.75, 1.0):
        pairs = read(tmp_path / "s", names, share=share)
        assert sum(pair.seconds for pair in pairs) == pytest.approx(share * whole, abs=0.11)
        assert [pair.name for pair in pairs] == sorted(pair.name for pair in pairs)
        lengths = {pair.name: len(pair.teacher_PD) for pair in pairs}
        assert all(pair.is_cut is (len(pair.teacher_PD) < wholes[pair.name]) for pair in pairs)
        assert all(lengths.get(name, 0) >= length for name, length in before.items())
        assert all(torch.equal(pair.teacher_PD, pair.student_PD) for pair in pairs)
        before = lengths
    by_hours = read(tmp_path / "s", names, hours=7.0 / 3600)
    quarter = read(tmp_path / "s", names, share=0.25)
    assert [len(pair.teacher_PD) for pair in by_hours] == [len(pair.teacher_PD) for pair in quarter]


def test_more_hours_than_there_are_is_an_error(twins: Path) -> None:
    with pytest.raises(DatasetError, match=r"1.0 hours of pairs were asked for, but there are 0.006"):
        read(twins, hours=1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 0.0}, "share must be above 0 and at most 1, got 0.0"),
        ({"share": 1.5}, "share must be above 0 and at most 1, got 1.5"),
        ({"hours": 0.0}, "hours must be above 0, got 0.0"),
        ({"hours": 1.0, "share": 0.5}, "give one of them"),
        ({"drop_rate": 1.0}, "drop_rate must lie from 0 to below 1, got 1.0"),
        ({"offset_seconds": float("nan")}, "offset_seconds must lie from -86400 to 86400, a day, got nan"),
        ({"offset_seconds": 1e30}, r"offset_seconds must lie from -86400 to 86400, a day, got 1e\+30"),
        ({"offset_seconds": -86401.0}, "offset_seconds must lie from -86400 to 86400, a day, got -86401.0"),
        ({"drift_ppm": -1e6}, "drift_ppm must lie between -1e6 and 1e6, got -1000000.0"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairsConfig(**values)


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=8),
    share=st.floats(0.01, 1.0),
    seed=st.integers(0, 5),
)
@settings(deadline=None)
def test_a_budget_is_used_up_and_only_one_item_is_cut(lengths: list[int], share: float, seed: int) -> None:
    items = [(number, float(length)) for number, length in enumerate(lengths)]
    budget = share * sum(lengths)
    taken = within_budget(
        items, [float(n) for n in lengths], budget, lambda item, part: (item[0], item[1] * part), seed
    )
    assert sum(length for _, length in taken) == pytest.approx(budget)
    assert [number for number, _ in taken] == sorted(number for number, _ in taken)
    assert sum(length < lengths[number] - 1e-9 for number, length in taken) <= 1
