"""Frames of a video as RGB, exactly those asked for.

Axes: N frames, H and W as displayed, 3 channels.

Two readers give the same pictures: PyAV, and for who chooses it decord, on the files on which it was proven exact
(`VideoProbe.reader`). Where decord fails nevertheless, PyAV goes on, and so it does in a process forked from one
that has used decord.
"""

import logging
import os
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from sync_extract.grid import Grid, sample_grid
from sync_extract.probe import VideoProbe, probe
from sync_extract.read_pyav import pyav_pictures
from sync_extract.rgb import Picture

__all__ = ["DECODE_RULES_VERSION", "Grid", "VideoProbe", "decode_frames", "probe", "sample_grid"]

DECODE_RULES_VERSION = 4
"""Raised with every change of a rule that can change a time or a pixel; part of a feature set's fingerprint."""

log = logging.getLogger(__name__)


def decode_frames(
    video: VideoProbe,
    frame_index: npt.NDArray[np.int64],
    *,
    batch_frames: int,
    num_threads: int = 0,
    empty: Callable[[tuple[int, ...]], Picture] | None = None,
) -> Iterator[Picture]:
    """Decode frames in order.

    Reading begins at the key frame before the first one, so an interrupted extraction goes on cheaply, with
    the very pictures of an uninterrupted one. Readers are opened at the first batch, in the thread and process
    that asks for it, which must ask for all others too.

    If the file's end doesn't decode, the iterator ends early, after the last frame before it that was asked
    for: count what comes.

    Args:
        video: From `probe`.
        frame_index: Frames to decode, strictly increasing.
        batch_frames: Frames a batch; the last may be shorter.
        num_threads: For decoding; 0 lets FFmpeg choose.
        empty: Makes the array of each batch, uint8 of a shape; by default `np.empty`.

    Yields:
        uint8 (N, H, W, 3), RGB, turned upright; each batch is a new array.

    Raises:
        ValueError: If `frame_index` isn't increasing or beyond the video.
        VideoError: If the size of the pictures changes, or a frame that was asked for doesn't decode although
            later ones do.
    """
    if batch_frames < 1:
        raise ValueError(f"batch_frames must be at least 1, got {batch_frames}")
    asked = np.asarray(frame_index, np.int64)
    if len(asked) and not (asked[0] >= 0 and asked[-1] < video.num_frames and (np.diff(asked) > 0).all()):
        raise ValueError(
            f"frame_index must increase strictly within [0, {video.num_frames}), "
            f"got {len(asked)} from {asked[0]} to {asked[-1]}"
        )
    return _batches(
        video, asked, batch_frames, num_threads, empty or (lambda shape: np.empty(shape, np.uint8))
    )


def _batches(
    video: VideoProbe,
    asked: npt.NDArray[np.int64],
    batch_frames: int,
    num_threads: int,
    empty: Callable[[tuple[int, ...]], Picture],
) -> Iterator[Picture]:
    owner = os.getpid()
    shape = (video.height, video.width, 3)
    num_done = num_filled = 0
    batch = empty((min(batch_frames, len(asked)), *shape))
    for picture in _pictures(video, asked, num_threads):
        batch[num_filled] = picture
        num_filled += 1
        if num_filled == len(batch):
            yield batch
            if os.getpid() != owner:
                raise RuntimeError("a video reader doesn't survive a fork: open it in the process that reads")
            num_done += num_filled
            num_filled = 0
            batch = empty((min(batch_frames, len(asked) - num_done), *shape))
    if num_filled:
        yield batch[:num_filled]


def _pictures(video: VideoProbe, asked: npt.NDArray[np.int64], num_threads: int) -> Iterator[Picture]:
    num_done = 0
    if video.reader == "decord" and len(asked):
        from sync_extract import read_decord

        try:
            if read_decord.is_usable():
                for picture in read_decord.decord_pictures(video, asked, num_threads):
                    yield picture
                    num_done += 1
        except read_decord.DecordFailedError as failure:
            log.warning("%s: PyAV reads on from frame %d: %s", video.path, asked[num_done], failure)
    if num_done < len(asked):
        yield from pyav_pictures(video, asked[num_done:], num_threads)
