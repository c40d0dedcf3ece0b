"""How much of a recording's labelled time has rows in a view. Times are compared as they are, never stretched.

Axes: T rows, F labelled frames of the label grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sync_store.labels import NS_PER_SECOND, UNLABELED, Segments, grid_times
from sync_store.rows import find_gaps, period_ns

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabeledFrames:
    """The frames of the label grid that have a label, in one recording."""

    times_ns: Int64s
    """int64 (F,) nanoseconds on the recording's clock, increasing."""
    rate: Fraction
    """Frames a second of the grid, whose frame 0 is at time 0."""
    span_ns: tuple[int, int]
    """First moment with a label, and the last one."""

    @classmethod
    def of(cls, sequences: Sequence[Segments], rate: Fraction) -> "LabeledFrames":
        """Those of a recording's sequences."""
        spans = [segments.span_ns for segments in sequences if len(segments)]
        start_ns = min((start for start, _ in spans), default=0)
        stop_ns = max((stop for _, stop in spans), default=0)
        times_ns = grid_times(max(0, int(stop_ns * rate / NS_PER_SECOND) + 2), rate)
        held = [segments.index_at(times_ns) != UNLABELED for segments in sequences]
        labeled = np.any(held, axis=0) if held else np.zeros(len(times_ns), np.bool_)
        return cls(times_ns=times_ns[labeled], rate=rate, span_ns=(start_ns, stop_ns))

    def __len__(self) -> int:
        return len(self.times_ns)


@dataclass(frozen=True, kw_only=True)
class LabelCoverage:
    """The rows of one recording in one view against its labels. All times on the recording's clock."""

    first_row_seconds: float
    last_row_seconds: float
    labels_start_seconds: float
    """First moment with a label."""
    labels_stop_seconds: float
    """Last one."""
    labeled_seconds: float
    """Frames of the label grid that have a label, in seconds."""
    missing_start_seconds: float
    """Labelled frames before the first row."""
    missing_inside_seconds: float
    """Labelled frames in gaps between rows."""
    missing_end_seconds: float
    """Labelled frames after the last row."""

    @property
    def missing_seconds(self) -> float:
        """Labelled frames without a row."""
        return self.missing_start_seconds + self.missing_inside_seconds + self.missing_end_seconds

    @property
    def share(self) -> float:
        """Labelled frames with a row over all of them, 0–1; 1 where nothing is labelled."""
        return 1 - self.missing_seconds / self.labeled_seconds if self.labeled_seconds else 1.0


def measure(timestamps: Int64s, labels: LabeledFrames) -> LabelCoverage:
    """Count the labelled frames that no row speaks for.

    A row speaks for the time up to its neighbours, and at an end or a gap for half a period, as it does in
    predictions (`sync_store.labels.segments_of_rows`).

    Args:
        timestamps: int64 (T,) nanoseconds, strictly increasing, T at least 1.
        labels: The labelled frames of the same recording.
    """
    gap = find_gaps(timestamps)
    half_ns = (period_ns(timestamps) + 1) // 2
    starts = timestamps[np.concatenate([[True], gap])] - half_ns
    stops = timestamps[np.concatenate([gap, [True]])] + half_ns
    piece = np.searchsorted(starts, labels.times_ns, side="right") - 1
    covered = (piece >= 0) & (labels.times_ns < stops[np.maximum(piece, 0)])
    before, after = labels.times_ns < starts[0], labels.times_ns >= stops[-1]

    def seconds(frames: npt.NDArray[np.bool_]) -> float:
        return float(int(np.count_nonzero(frames)) / labels.rate)

    return LabelCoverage(
        first_row_seconds=int(timestamps[0]) / NS_PER_SECOND,
        last_row_seconds=int(timestamps[-1]) / NS_PER_SECOND,
        labels_start_seconds=labels.span_ns[0] / NS_PER_SECOND,
        labels_stop_seconds=labels.span_ns[1] / NS_PER_SECOND,
        labeled_seconds=float(len(labels) / labels.rate),
        missing_start_seconds=seconds(before),
        missing_inside_seconds=seconds(~covered & ~before & ~after),
        missing_end_seconds=seconds(after),
    )
