"""Labels as segments in time: half-open, in integer nanoseconds on the recording's clock.

Two file forms are read. The segment form is CSV with the columns start_seconds, stop_seconds, label and,
for predictions, confidence. The frame form is the field's text file: one label a line, at a stated rate.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sync_store.bounded import read_text
from sync_store.errors import DatasetError
from sync_store.rows import find_gaps, find_long_gaps, period_ns

NS_PER_SECOND = 1_000_000_000

TICK_SLACK_NS = 500_000
"""Half a millisecond. Matroska and WebM count time in whole milliseconds, so a frame shown at 33.33 ms is
stored as 33 ms; without this slack it would take the label of the frame before it."""

MAX_SECONDS = 1_000_000
"""Eleven days. Longer than any recording, so a time beyond it is in another unit or on another clock; scoring
makes a grid up to the last label, which such a time would make larger than memory."""

UNLABELED = -1
"""Index of a moment that no segment holds."""

_DECIMAL = re.compile(r"[+-]?(\d{1,12}(\.\d{0,18})?|\.\d{1,18})")

Int64s = npt.NDArray[np.int64]


def seconds_to_ns(seconds: Fraction) -> int:
    """Round an exact time once to whole nanoseconds (half to even)."""
    return round(seconds * NS_PER_SECOND)


def ns_to_text(time_ns: int) -> str:
    """Write nanoseconds as seconds with just the decimals needed; the inverse of reading is exact."""
    sign, whole, part = "-" * (time_ns < 0), *divmod(abs(time_ns), NS_PER_SECOND)
    return f"{sign}{whole}.{part:09d}".rstrip("0").ljust(len(sign) + len(str(whole)) + 2, "0")


def grid_times(num_frames: int, fps: Fraction) -> Int64s:
    """Times of `num_frames` frames at exactly `fps`: int64 (num_frames,) nanoseconds from 0."""
    # seconds_to_ns(f / fps) without a fraction a frame. In Python's integers: a rate written with 14 decimals,
    # as programs print 30000/1001, overflows 64 bits.
    step, divisor = fps.denominator * NS_PER_SECOND, fps.numerator
    times = []
    for frame in range(num_frames):
        time_ns, rest = divmod(frame * step, divisor)
        times.append(time_ns + (2 * rest > divisor or (2 * rest == divisor and time_ns % 2)))
    return np.array(times, dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """Non-overlapping labelled segments in order of time."""

    start_ns: Int64s
    """int64 (S,), nanoseconds on the recording's clock, inclusive."""
    stop_ns: Int64s
    """int64 (S,), exclusive; `start_ns < stop_ns <= next start_ns`."""
    labels: tuple[str, ...]
    """S class names."""
    confidence: npt.NDArray[np.float64] | None = None
    """float64 (S,) in 0–1: mean probability of the label, for predictions only."""

    def __post_init__(self) -> None:
        if not len(self.start_ns) == len(self.stop_ns) == len(self.labels):
            raise DatasetError(
                f"segments need equal numbers of starts, stops and labels, "
                f"got {len(self.start_ns)}, {len(self.stop_ns)}, {len(self.labels)}"
            )
        if (bad := np.flatnonzero(self.start_ns >= self.stop_ns)).size:
            at = ns_to_text(int(self.start_ns[bad[0]]))
            raise DatasetError(f"segment {bad[0] + 1} at {at} s doesn't end after it starts")
        if (bad := np.flatnonzero(self.start_ns[1:] < self.stop_ns[:-1])).size:
            at = ns_to_text(int(self.start_ns[bad[0] + 1]))
            raise DatasetError(
                f"segment {bad[0] + 2} at {at} s starts before the segment above it ends; segments must be "
                "in order of time and must not overlap"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def span_ns(self) -> tuple[int, int]:
        """First start and last stop; (0, 0) without segments."""
        return (int(self.start_ns[0]), int(self.stop_ns[-1])) if len(self) else (0, 0)

    def index_at(self, times_ns: Int64s, slack_ns: int = TICK_SLACK_NS) -> Int64s:
        """Index of the segment that holds each time, `UNLABELED` where none does.

        Args:
            times_ns: int64 (T,) on the recording's clock.
            slack_ns: A time this little before a start counts as inside; see `TICK_SLACK_NS`.

        Returns:
            int64 (T,) indices into `labels`.
        """
        if not len(self):
            return np.full(len(times_ns), UNLABELED, dtype=np.int64)
        index = np.searchsorted(self.start_ns, times_ns + slack_ns, side="right") - 1
        inside = (index >= 0) & (times_ns < self.stop_ns[np.maximum(index, 0)])
        return np.where(inside, index, UNLABELED).astype(np.int64)

    def classes_at(self, times_ns: Int64s, classes: Sequence[str], slack_ns: int = TICK_SLACK_NS) -> Int64s:
        """Class id of each time by name, `UNLABELED` where no segment, or none of these classes, holds it."""
        ids = {name: index for index, name in enumerate(classes)}
        of_segment = np.array([*(ids.get(label, UNLABELED) for label in self.labels), UNLABELED])
        return of_segment[self.index_at(times_ns, slack_ns)]


def segments_of_frames(labels: Sequence[str], fps: Fraction) -> Segments:
    """Join equal neighbours of one label a frame; frame f lasts from f/fps to (f + 1)/fps."""
    edges_ns = grid_times(len(labels) + 1, fps)
    starts = [f for f in range(len(labels)) if f == 0 or labels[f] != labels[f - 1]]
    stops = [*starts[1:], len(labels)] if starts else []
    return Segments(
        start_ns=edges_ns[starts], stop_ns=edges_ns[stops], labels=tuple(labels[f] for f in starts)
    )


def segments_of_rows(
    class_ids: Int64s,
    timestamps: Int64s,
    classes: Sequence[str],
    confidence: npt.NDArray[np.float64] | None = None,
) -> Segments:
    """Turn a class a row into segments that meet half-way between rows.

    A row speaks for the time up to half-way to its neighbours, and at an end or a gap for half a period. A gap
    stays a gap, unless it is short and has the same class on both sides (`sync_store.rows.BRIDGED_NS`).

    Args:
        class_ids: int64 (T,) indices into `classes`.
        timestamps: int64 (T,) nanoseconds, strictly increasing.
        classes: Class names.
        confidence: float64 (T,), averaged over each segment.

    Returns:
        The segments; unlabeled time (a gap between rows) is in none of them.
    """
    if not len(timestamps):
        return Segments(start_ns=timestamps, stop_ns=timestamps, labels=())
    steps = np.diff(timestamps)
    changes = class_ids[1:] != class_ids[:-1]
    gap = np.where(changes, find_gaps(timestamps), find_long_gaps(timestamps))
    middles = timestamps[:-1] + (steps + 1) // 2
    new = np.concatenate([[True], gap | changes])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(timestamps)) - 1
    half = (period_ns(timestamps) + 1) // 2
    starts = np.where(np.concatenate([[True], gap]), timestamps - half, np.concatenate([[0], middles]))[first]
    stops = np.where(np.concatenate([gap, [True]]), timestamps + half, np.concatenate([middles, [0]]))[last]
    mean = None
    if confidence is not None:
        mean = np.add.reduceat(confidence, first) / (last - first + 1)
    return Segments(
        start_ns=starts.astype(np.int64),
        stop_ns=stops.astype(np.int64),
        labels=tuple(classes[class_ids[row]] for row in first),
        confidence=mean,
    )


def read_segments(path: Path) -> Segments:
    """Read the segment form.

    Raises:
        DatasetError: If the file isn't such a CSV; the message names file and line.
    """
    try:
        return _parse_segments(csv.DictReader(io.StringIO(_read_text(path))), path)
    except csv.Error as error:
        raise DatasetError(f"{path}: can't be read as CSV ({error})") from None


def _parse_segments(rows: "csv.DictReader[str]", path: Path) -> Segments:
    needed = ("start_seconds", "stop_seconds", "label")
    if missing := [name for name in needed if name not in (rows.fieldnames or ())]:
        raise DatasetError(
            f"{path}: no column {missing[0]!r}; the first line must name start_seconds, stop_seconds, label"
        )
    starts, stops, labels, confidence = [], [], [], []
    for row in rows:
        where = f"{path} line {rows.line_num}"
        starts.append(_parse_seconds(row["start_seconds"], where, "start_seconds"))
        stops.append(_parse_seconds(row["stop_seconds"], where, "stop_seconds"))
        label = (row["label"] or "").strip()
        if not label:
            raise DatasetError(f"{where}: the label is empty")
        labels.append(label)
        if row.get("confidence"):
            confidence.append(float(parse_decimal(row["confidence"], where, "confidence")))
    try:
        return Segments(
            start_ns=np.array(starts, dtype=np.int64),
            stop_ns=np.array(stops, dtype=np.int64),
            labels=tuple(labels),
            confidence=np.array(confidence) if len(confidence) == len(labels) > 0 else None,
        )
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None


def segments_to_csv(segments: Segments) -> bytes:
    """Write the segment form; reading it back gives the same nanoseconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    confidence = segments.confidence
    writer.writerow(
        ["start_seconds", "stop_seconds", "label", *(["confidence"] if confidence is not None else [])]
    )
    for i, label in enumerate(segments.labels):
        row = [ns_to_text(int(segments.start_ns[i])), ns_to_text(int(segments.stop_ns[i])), label]
        writer.writerow(row if confidence is None else [*row, f"{confidence[i]:.4f}"])
    return out.getvalue().encode()


def read_frames(path: Path) -> list[str]:
    """Read the frame form: one label a line, blank lines at the end ignored.

    Raises:
        DatasetError: If a line between labels is empty.
    """
    labels = [line.strip() for line in _read_text(path).splitlines()]
    while labels and not labels[-1]:
        labels.pop()
    if "" in labels:
        raise DatasetError(
            f"{path} line {labels.index('') + 1}: the line is empty; expected one label a line"
        )
    return labels


def parse_decimal(text: str | None, where: str, column: str) -> Fraction:
    """Read a plain decimal number exactly.

    Args:
        text: As found in a file.
        where: File and line, for the message.
        column: Name of the value, for the message.

    Raises:
        DatasetError: If it is anything else: empty, 1e3, nan, 1/3.
    """
    if not _DECIMAL.fullmatch(plain := (text or "").strip()):
        raise DatasetError(f"{where}: {column} must be a plain decimal number, got {plain[:40]!r}")
    return Fraction(plain)


def first_seen(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in order of first appearance."""
    return tuple(dict.fromkeys(names))


def _read_text(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        raise DatasetError(f"{path}: there is no such file") from None
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path}: can't be read as text ({error})") from None


def _parse_seconds(text: str | None, where: str, column: str) -> int:
    seconds = parse_decimal(text, where, column)
    if abs(seconds) > MAX_SECONDS:
        raise DatasetError(
            f"{where}: {column} is {(text or '').strip()} seconds, more than {MAX_SECONDS} either way. Times are "
            "seconds on the recording's clock: check the unit (milliseconds, frames?), and subtract the time of day"
        )
    return seconds_to_ns(seconds)
