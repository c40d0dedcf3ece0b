"""What every form of published features offers: recordings with their times, and rows in blocks.

Axes: T rows of a recording, N rows of a block, D feature width.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sync_extract.plan import Failure
from sync_store.datasets import Dataset
from sync_store.errors import DatasetError, SyncError
from sync_store.labels import MAX_SECONDS, NS_PER_SECOND
from sync_store.project import Project

BLOCK_ROWS = 1024
"""Rows that are read at a time: 8 MiB of 2,048 float32 values."""

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The rows of one recording in one view, not read yet."""

    timestamps: Int64s
    """int64 (T,), nanoseconds on the recording's clock, strictly increasing."""
    about: Mapping[str, Any]
    """How rows and times were found, as JSON values; `provenance.grid`."""
    blocks: Callable[[int], Iterator[npt.NDArray[Any]]]
    """From a row on: native floats (N, D), writable. Raises `DatasetError` at rows that can't be read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Item:
    """One recording in one view."""

    view: str
    recording: str
    path: Path
    """The file that holds it, alone or with others."""
    expected_rows: int
    """T, or 0 where only reading the file tells."""
    source: Mapping[str, Any]
    """`provenance.source`, as JSON values: file name, and what tells whether it has changed."""
    sha256: Callable[[], str] | None
    """Digest of the file, where it is small enough to be read for that."""
    open: Callable[[], Rows]
    """Find rows and times. Raises `DatasetError` if the file isn't of the form."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Files of one form that make one feature set."""

    name: str
    """Default name of the feature set."""
    release: str | None
    """What it is, if it is a published release: assembly101-tsm."""
    recipe: Mapping[str, Any]
    """The form's part of the recipe, as JSON values."""
    feature_dim: int
    """D."""
    trained_on: tuple[str, ...] = ()
    """What the backbone was trained on, where the release says so; in words."""
    items: list[Item]
    failures: list[Failure] = field(default_factory=list)
    """Recordings whose files can't be taken, and why."""
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Recordings of the dataset that have no file, by view."""
    notes: list[str] = field(default_factory=list)
    """What else was found, and left alone; in words."""


def frame_times(numbers: Int64s, fps: Fraction, offset: Fraction) -> Int64s:
    """Times of frames, counted from the stream's first: number / fps + offset, each rounded once.

    Args:
        numbers: int64 (T,).
        fps: Frames a second.
        offset: Seconds.

    Returns:
        int64 (T,) nanoseconds.
    """
    # In Python's integers and not in fractions, which take ten times as long.
    step = fps.denominator * offset.denominator * NS_PER_SECOND
    shift = offset.numerator * fps.numerator * NS_PER_SECOND
    divisor = fps.numerator * offset.denominator
    times = []
    for number in numbers.tolist():
        time_ns, rest = divmod(number * step + shift, divisor)
        times.append(time_ns + (2 * rest > divisor or (2 * rest == divisor and time_ns % 2)))
    return np.array(times, dtype=np.int64)


def check_seconds(last_number: int, fps: Fraction, where: str) -> None:
    """Raise `DatasetError` if a frame's number is beyond any recording, since it is no frame's number then."""
    if last_number > MAX_SECONDS * fps:
        raise DatasetError(
            f"{where}: frame {last_number} would be {float(last_number / fps):.0f} s after the start at {fps} frames "
            "a second. Check --fps, and what the number counts"
        )


def offset_of(project: Project, dataset: Dataset, recording: str, view: str) -> Fraction:
    """Seconds from a video's first frame on the recording's clock, for a dataset that may lack the video."""
    try:
        return dataset.video(recording, view).offset
    except SyncError:
        return project.view(view).offset


def single_view(project: Project, views: list[str], what: str) -> str:
    """The view of files that don't say it themselves.

    Raises:
        DatasetError: If more than one could be meant.
    """
    candidates = views or list(project.views)
    if len(candidates) != 1:
        raise DatasetError(
            f"{what} don't say which view they are of. Name it with --view, one of: {', '.join(project.views)}"
        )
    return candidates[0]
