"""Which frames of a video a clip is made from, by time.

A clip has eight segments of equal duration, as in the recipe (assembly101-action-recognition, dataset.py), and each
segment a few candidate moments, of which an epoch draws one. A moment's picture is the frame nearest to it on the
recording's clock, so clips of two views show the same moments whatever their rates, offsets and lengths.

Axes: N clips, S = 8 segments, C candidate moments of a segment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sync_extract.backbones.resnet_tsm import CLIP_FRAMES
from sync_extract.decode import VideoProbe, probe, sample_grid
from sync_store.datasets import VideoSource

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SEGMENTS = CLIP_FRAMES


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """One view's video of one recording."""

    source: VideoSource
    video: VideoProbe
    timestamps: Int64s
    """Nanoseconds of every frame on the recording's clock, strictly increasing."""

    @property
    def period_ns(self) -> int:
        """Median time from one frame to the next; 0 of a single frame."""
        return int(np.median(np.diff(self.timestamps))) if len(self.timestamps) > 1 else 0

    @property
    def start_ns(self) -> int:
        """Time of the first frame."""
        return int(self.timestamps[0])

    @property
    def stop_ns(self) -> int:
        """One period after the last frame."""
        return int(self.timestamps[-1]) + self.period_ns


def open_film(source: VideoSource) -> Film:
    """Probe a video; nothing but its first frame is decoded.

    Raises:
        VideoError: If it isn't a video that can be read.
    """
    video = probe(source.path)
    grid = sample_grid(video, fps=None, offset=source.offset, clock=source.clock)
    return Film(source=source, video=video, timestamps=grid.timestamps)


def candidate_moments(start_N: Int64s, stop_N: Int64s, per_segment: int) -> Int64s:
    """Moments at which a clip may be seen: each segment's are the middles of `per_segment` equal parts.

    Args:
        start_N: Nanoseconds.
        stop_N: Nanoseconds, exclusive.
        per_segment: C.

    Returns:
        int64 (N, 8, C), not decreasing along a clip.
    """
    num_parts = SEGMENTS * per_segment
    odd = 2 * np.arange(num_parts, dtype=np.int64) + 1
    duration = (stop_N - start_N)[:, None]
    whole, rest = np.divmod(duration, 2 * num_parts)  # so that the product stays small
    moments = start_N[:, None] + odd * whole + odd * rest // (2 * num_parts)
    return moments.reshape(len(start_N), SEGMENTS, per_segment)


def nearest_frames(film: Film, moments_NSC: Int64s) -> tuple[Int64s, Bools]:
    """Frames nearest to moments, of two equally near ones the earlier, and the clips that have all of theirs.

    Args:
        film: The video.
        moments_NSC: Nanoseconds on the recording's clock.

    Returns:
        Frames int64 (N, 8, C); whether each clip's are all at most a period away from their moments, (N,).
    """
    times = film.timestamps
    later = np.clip(np.searchsorted(times, moments_NSC), 1, max(1, len(times) - 1))
    earlier = later - 1
    later = np.minimum(later, len(times) - 1)
    is_later = times[later] - moments_NSC < moments_NSC - times[earlier]
    frames = np.where(is_later, later, earlier).astype(np.int64)
    is_covered = np.abs(times[frames] - moments_NSC) <= film.period_ns
    return frames, is_covered.all(axis=(1, 2))


def tile(films: Sequence[Film], window_ns: int) -> tuple[Int64s, Int64s]:
    """Windows end to end over the time that all films cover; what is left at its end has none.

    Returns:
        Starts and stops, int64 (N,) nanoseconds.
    """
    start = max(film.start_ns for film in films)
    stop = min(film.stop_ns for film in films)
    starts = start + window_ns * np.arange(max(0, (stop - start) // window_ns), dtype=np.int64)
    return starts, starts + window_ns
