"""Segments of a labelled row of frames: runs of equal class ids.

Axes: T frames of a sequence, S segments.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Segments in order of time, half-open, in frames."""

    start_frames: Int64s
    """int64 (S,), inclusive."""
    stop_frames: Int64s
    """int64 (S,), exclusive."""
    class_ids: Int64s
    """int64 (S,), none below 0 and none of the background."""

    def __len__(self) -> int:
        return len(self.class_ids)


def find_runs(class_ids_T: Int64s, background: Collection[int] = ()) -> Runs:
    """Join equal neighbours to segments, and drop those that are of no interest.

    What is dropped leaves a gap: two segments of one class on its sides stay two, as in the published code.

    Args:
        class_ids_T: int64 (T,); ids below 0 stand for frames without a class.
        background: Class ids that form no segments.

    Returns:
        The segments.
    """
    starts = np.flatnonzero(np.diff(class_ids_T, prepend=class_ids_T[:1] - 1))
    stops = np.append(starts[1:], len(class_ids_T))[: len(starts)]
    of_runs = class_ids_T[starts]
    kept = (of_runs >= 0) & ~np.isin(of_runs, list(background))
    return Runs(start_frames=starts[kept], stop_frames=stops[kept], class_ids=of_runs[kept])
