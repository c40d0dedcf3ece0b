"""Rows in time: how far apart they are, and where some are missing.

A row has the time of the frame it was made from. On a grid of 10 rows a second from a camera of 12 frames a
second, the steps between rows are one frame or two, never 100 ms; so neither is the median step the grid's
period, nor a step of twice the median a gap.

Axes: T rows.
"""

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

GAP_STEPS = 2.5
"""A step of more than this many median steps is a gap: on a grid coarser than half the camera's rate, one of
three frames or more; on a finer one, two rows or more that are missing."""

BRIDGED_NS = 1_000_000_000
"""A gap with the same class on both sides and a step of at most this, one second, is no end of a segment.
Cameras drop a few frames now and then; cutting there would turn one right segment into two, which edit and F1
count as mistakes. In more than a second there is time for another action (the demo's shortest with a label
takes 1.5 s), and nobody saw that there was none. Our choice; the paper doesn't speak of gaps."""


def find_gaps(timestamps: Int64s) -> npt.NDArray[np.bool_]:
    """Where rows are missing.

    Args:
        timestamps: int64 (T,) nanoseconds, strictly increasing.

    Returns:
        bool (T − 1,): whether the step from each row to the next is a gap.
    """
    steps = np.diff(timestamps)
    return np.asarray(steps > GAP_STEPS * np.median(steps), np.bool_) if len(steps) else np.zeros(0, np.bool_)


def find_long_gaps(timestamps: Int64s) -> npt.NDArray[np.bool_]:
    """Where so many rows are missing that their class can't be that of their neighbours (`BRIDGED_NS`).

    Args:
        timestamps: int64 (T,) nanoseconds, strictly increasing.

    Returns:
        bool (T − 1,): whether the step from each row to the next is a gap of more than `BRIDGED_NS`.
    """
    return find_gaps(timestamps) & (np.diff(timestamps) > BRIDGED_NS)


def period_ns(timestamps: Int64s) -> int:
    """Mean time between rows in nanoseconds, gaps left out; 1 s for a single row."""
    steps = np.diff(timestamps)
    return round(float(steps[~find_gaps(timestamps)].mean())) if len(steps) else 1_000_000_000
