"""Synchronized pairs: rows of the teacher's and of the student's view that show the same moments.

They can be made worse on purpose, to learn how much synchronization and how many pairs are needed (Tables 4, 5).

Axes: P rows of a pair, D feature width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sync_store.align import Int64s, align, nearest
from sync_store.errors import DatasetError
from sync_store.labels import NS_PER_SECOND
from sync_store.rows import period_ns
from sync_train.budget import within_budget
from sync_train.config import PairsConfig
from sync_train.sequences import Recording, Source

SECONDS_PER_HOUR = 3600
_TEACHER, _STUDENT = 0, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Rows of two views, row by row of the same moment. It has no labels, by design."""

    name: str
    teacher_PD: torch.Tensor
    """float16 (P, D), of the view that the teacher knows."""
    student_PD: torch.Tensor
    """float16 (P, D), of the view that it is to be adapted to."""
    coverage: float
    """Share of the shorter view's rows that found a partner of their own."""
    max_distance_ns: int
    """Largest time between two joined rows, as the clocks have it."""
    seconds: float
    """How long it is: its rows times their period."""
    is_cut: bool = False
    """Whether it is the beginning of a recording, cut to what `share` or `hours` left."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """Where the rows of both views come from."""

    teacher: Source
    teacher_view: str
    student: Source
    student_view: str


def read_pairs(
    views: Views,
    names: Iterable[str],
    config: PairsConfig,
    *,
    tolerance_ns: int | None,
    min_coverage: float,
    seed: int,
) -> list[Pair]:
    """Read two views and join them.

    Args:
        views: What to read.
        names: Recordings.
        config: How much of it, and how well synchronized.
        tolerance_ns: See `align`.
        min_coverage: See `align`.
        seed: Decides which recordings are taken and which frames are dropped.

    Raises:
        AlignmentError: If the views of a recording don't cover the same moments.
        DatasetError: If there are fewer hours than asked for.
    """
    pairs = []
    for name in names:
        (teacher,) = views.teacher.recordings(views.teacher_view, [name])
        (student,) = views.student.recordings(views.student_view, [name])
        where = f"recording {name}, views {views.teacher_view} and {views.student_view}"
        options = {"where": where, "tolerance_ns": tolerance_ns, "min_coverage": min_coverage}
        pairs.append(_join(teacher, student, config, options, seed))
    return _within(pairs, config, seed)


def describe_pairs(pairs: Sequence[Pair]) -> dict[str, Any]:
    """How much there is to learn from and how well the views are joined, as JSON values."""
    least = min(pairs, key=lambda pair: pair.coverage)
    return {
        "num_recordings": len(pairs),
        "hours": sum(pair.seconds for pair in pairs) / SECONDS_PER_HOUR,
        "mean_coverage": sum(pair.coverage for pair in pairs) / len(pairs),
        "min_coverage": least.coverage,
        "min_coverage_recording": least.name,
        "max_distance_seconds": max(pair.max_distance_ns for pair in pairs) / NS_PER_SECOND,
    }


def _join(
    teacher: Recording, student: Recording, config: PairsConfig, options: dict[str, Any], seed: int
) -> Pair:
    """Pair rows by time; those left after drops by number, or by time with gaps filled.

    Gaps are filled as extraction fills them in a video that lost frames: each moment has the nearest row left.
    """
    student_ns = _misread_clock(student.timestamps, config)
    joined = align(teacher.timestamps, student_ns, **options)
    teacher_rows, student_rows, met = joined.exo_rows, joined.ego_rows, len(joined.exo_rows)
    if config.drop_rate or config.join == "index":
        teacher_left, student_left = (
            rows[_kept(len(rows), config.drop_rate, [seed, *teacher.name.encode(), view])]
            for rows, view in ((teacher_rows, _TEACHER), (student_rows, _STUDENT))
        )
        if config.join == "index":
            met = min(len(teacher_left), len(student_left))
            teacher_rows, student_rows = teacher_left[:met], student_left[:met]
        else:
            moments_ns = teacher.timestamps[teacher_rows]
            met = int((np.isin(teacher_rows, teacher_left) & np.isin(student_rows, student_left)).sum())
            teacher_rows = teacher_left[nearest(teacher.timestamps[teacher_left], moments_ns)]
            student_rows = student_left[nearest(student_ns[student_left], moments_ns)]
    distances_ns = np.abs(teacher.timestamps[teacher_rows] - student_ns[student_rows])
    return Pair(
        name=teacher.name,
        teacher_PD=_take(teacher.rows_TD, teacher_rows),
        student_PD=_take(student.rows_TD, student_rows),
        coverage=met / min(len(teacher.timestamps), len(student_ns)),
        max_distance_ns=int(distances_ns.max()),
        seconds=len(teacher_rows) * period_ns(teacher.timestamps) / NS_PER_SECOND,
    )


def _misread_clock(timestamps: Int64s, config: PairsConfig) -> Int64s:
    """Times as the clock of the student's view shows them, where it is off and gains."""
    if not config.offset_seconds and not config.drift_ppm:
        return timestamps
    gained_ns = np.rint(timestamps * (config.drift_ppm * 1e-6) + config.offset_seconds * NS_PER_SECOND)
    return np.asarray(timestamps + gained_ns.astype(np.int64))


def _kept(num_rows: int, drop_rate: float, seed: Sequence[int]) -> Int64s:
    """Numbers of the rows that are left when so many are dropped at random; at least one."""
    num_kept = max(1, num_rows - round(drop_rate * num_rows))
    return np.sort(np.random.default_rng(seed).permutation(num_rows)[:num_kept])


def _within(pairs: list[Pair], config: PairsConfig, seed: int) -> list[Pair]:
    seconds = [pair.seconds for pair in pairs]
    total = sum(seconds)
    if config.hours is not None:
        if config.hours * SECONDS_PER_HOUR > total + 1:
            raise DatasetError(
                f"{config.hours} hours of pairs were asked for, but there are {total / SECONDS_PER_HOUR:.3f}"
            )
        return within_budget(pairs, seconds, config.hours * SECONDS_PER_HOUR, _beginning, seed)
    if config.share == 1:
        return pairs
    return within_budget(pairs, seconds, config.share * total, _beginning, seed)


def _beginning(pair: Pair, share: float) -> Pair:
    num_rows = ceil(share * len(pair.teacher_PD))
    return replace(
        pair,
        teacher_PD=pair.teacher_PD[:num_rows],
        student_PD=pair.student_PD[:num_rows],
        seconds=pair.seconds * num_rows / len(pair.teacher_PD),
        is_cut=True,
    )


def _take(rows_TD: torch.Tensor, numbers: npt.NDArray[np.int64]) -> torch.Tensor:
    """Rows by number; a view of the same memory where they are one stretch, as they mostly are."""
    if (np.diff(numbers) == 1).all():
        return rows_TD[int(numbers[0]) : int(numbers[-1]) + 1]
    return rows_TD[torch.from_numpy(numbers).to(rows_TD.device)]
