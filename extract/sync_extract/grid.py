"""The sampling grid: which frame gives which row, and each row's exact time.

All arithmetic is on integers, vectorised over T frames. Times are rational numbers (ticks x time base +
offset) and become nanoseconds once, rounded half to even.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from sync_store.errors import VideoError

NS_PER_SECOND = 1_000_000_000

_SAFE = 1 << 61
"""Intermediate integers stay below this in int64, so that they can be doubled; larger ones become Python's."""


class FrameTimes(Protocol):
    """What the grid needs of a video: a `VideoProbe` is one."""

    @property
    def pts(self) -> npt.NDArray[np.int64]:
        """Times of the T frames in ticks, strictly increasing."""

    @property
    def start_pts(self) -> int:
        """Time of the stream's first frame in ticks, whether or not it is one of the T: it may not decode."""

    @property
    def time_base(self) -> Fraction:
        """Seconds a tick."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """The rows of a video: one for each grid point that has a frame."""

    frame_index: npt.NDArray[np.int64]
    """Which frame, in order of presentation; strictly increasing."""
    timestamps: npt.NDArray[np.int64]
    """The frames' own times in nanoseconds on the recording's clock; strictly increasing."""
    num_missing: int
    """Grid points between the first row and the last that have no frame."""

    def __len__(self) -> int:
        return len(self.frame_index)


def sample_grid(
    video: FrameTimes,
    *,
    fps: Fraction | None,
    offset: Fraction = Fraction(0),
    clock: Literal["container", "stream-start"] = "container",
) -> Grid:
    """Choose the frames of a grid of `fps` points a second.

    A frame's time is ticks x time base, less the stream's first frame's if the clock is "stream-start", plus `offset`
    seconds. Grid points are k / fps on that clock, for every whole k. A frame can serve its nearest grid point
    only (of two equally near ones the earlier), and a grid point takes the nearest frame that can serve it (of
    two equally near ones the earlier). So a grid point with no frame within half a period has no row, and no
    frame has two.

    Args:
        video: The frames' times.
        fps: Points a second; None for a row a frame.
        offset: Seconds from the video's clock to the recording's.
        clock: What the video's times count from.

    Raises:
        ValueError: If `fps` isn't positive.
        VideoError: If two frames have the same nanosecond, or times are beyond 292 years.
    """
    if fps is not None and fps <= 0:
        raise ValueError(f"fps must be positive, got {fps}")
    ticks = video.pts - video.start_pts if clock == "stream-start" else video.pts
    frame_index = np.arange(len(ticks), dtype=np.int64)
    num_missing = 0
    if fps is not None:
        point, remainder, divisor = _scaled(ticks, video.time_base * fps, offset * fps)
        later = 2 * remainder > divisor  # nearer to the next point; exactly between, the earlier one has it
        point = point + later
        distance = np.where(later, divisor - remainder, remainder)
        frame_index = _nearest(point, distance)
        if len(frame_index):
            num_missing = int(point[frame_index[-1]] - point[frame_index[0]]) + 1 - len(frame_index)
        ticks = ticks[frame_index]
    timestamps = _nanoseconds(ticks, video.time_base, offset)
    same = np.flatnonzero(np.diff(timestamps) <= 0)
    if len(same):
        raise VideoError(
            f"frames {frame_index[same[0]]} and {frame_index[same[0] + 1]} are less than a nanosecond apart "
            f"(time base {video.time_base} s). Choose a sampling rate, or convert the video"
        )
    return Grid(frame_index=frame_index, timestamps=timestamps, num_missing=num_missing)


def _nearest(point: npt.NDArray[np.int64], distance: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Of the frames of each point the first of the least distance; `point` doesn't decrease."""
    if not len(point):
        return np.arange(0, dtype=np.int64)
    starts = np.flatnonzero(np.diff(point, prepend=point[0] - 1))
    counts = np.diff(starts, append=len(point))
    is_nearest = np.asarray(distance == np.repeat(np.minimum.reduceat(distance, starts), counts), bool)
    candidates = np.flatnonzero(is_nearest)
    _, first = np.unique(point[candidates], return_index=True)
    return candidates[first].astype(np.int64)


def _nanoseconds(
    ticks: npt.NDArray[np.int64], time_base: Fraction, offset: Fraction
) -> npt.NDArray[np.int64]:
    quotient, remainder, divisor = _scaled(ticks, time_base * NS_PER_SECOND, offset * NS_PER_SECOND)
    twice = 2 * remainder
    up = (twice > divisor) | ((twice == divisor) & (quotient % 2 == 1))
    return np.asarray(quotient + up, np.int64)


def _scaled(
    ticks: npt.NDArray[np.int64], factor: Fraction, shift: Fraction
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Exact ticks x factor + shift as whole part, remainder and divisor: whole + remainder / divisor.

    The remainder is in [0, divisor); its dtype is object where the numbers don't fit into int64.
    """
    divisor = lcm(factor.denominator, shift.denominator)
    factor_whole, factor_rest = divmod(factor.numerator * (divisor // factor.denominator), divisor)
    shift_whole, shift_rest = divmod(shift.numerator * (divisor // shift.denominator), divisor)
    # Only the fractions' rests are multiplied with large divisors; the whole parts are exact by themselves.
    common = gcd(factor_rest, shift_rest, divisor)
    factor_rest, shift_rest, divisor = factor_rest // common, shift_rest // common, divisor // common
    largest = max((abs(int(tick)) for tick in ticks[[0, -1]]), default=0) if len(ticks) else 0
    if largest * (factor_whole + 1) + abs(shift_whole) + 2 >= 2 * _SAFE:
        raise VideoError(f"times up to tick {largest} are beyond 64-bit nanoseconds. Convert the video")
    exact = ticks if largest * factor_rest + shift_rest < _SAFE and divisor < _SAFE else ticks.astype(object)
    rest = exact * factor_rest + shift_rest
    whole = ticks * factor_whole + shift_whole + (rest // divisor).astype(np.int64)
    return whole, rest % divisor, divisor
