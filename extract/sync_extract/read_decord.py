"""Pictures of a video read by decord, for files on which it was proven exact. The only module that imports decord.

Memory: the whole decoded video, which is why only short ones are read so (`probe.HELD_BYTES`).
"""

import os
from collections.abc import Iterator
from functools import cache
from weakref import WeakSet

import decord
import numpy as np
import numpy.typing as npt

from sync_extract.demux import decode_packets, open_video, read_packets
from sync_extract.probe import VideoProbe
from sync_extract.read_pyav import check_size, set_threads
from sync_extract.rgb import Picture

_OPEN_READERS: "WeakSet[decord.VideoReader]" = WeakSet()

_decord_in_parent = False
"""This process was forked from one that had used decord."""


class DecordFailedError(Exception):
    """Decord can't read the file, or sees another number of frames than it has."""


def is_usable() -> bool:
    """Whether this process isn't forked from one that had used decord."""
    return not _decord_in_parent


def decord_pictures(video: VideoProbe, asked: npt.NDArray[np.int64], num_threads: int) -> Iterator[Picture]:
    """Read the file once from its first frame on, without any seeking, which isn't always right in decord.

    Raises:
        VideoError: If the size of the pictures changes.
        DecordFailedError: If another reader has to go on.
    """
    _check_sizes(video, num_threads)
    _prepare_decord()
    wanted = set(asked.tolist())
    try:
        reader = decord.VideoReader(str(video.path), num_threads=num_threads)
        _OPEN_READERS.add(reader)
        if len(reader) != video.num_frames:
            raise DecordFailedError(f"decord counts {len(reader)} frames, the file has {video.num_frames}")
        for index in range(int(asked[-1]) + 1):
            picture = reader.next()
            if index not in wanted:
                continue
            # at some widths decord takes row padding for a channel
            if picture.shape != (video.height, video.width, 3):
                raise DecordFailedError(f"decord gives shape {picture.shape}")
            yield picture.asnumpy()
    except (decord.DECORDError, RuntimeError, AssertionError, StopIteration) as error:
        raise DecordFailedError(str(error).partition("\n")[0]) from None


def _check_sizes(video: VideoProbe, num_threads: int) -> None:
    """Decode the key frames alone and compare their sizes: decord would scale them without a word."""
    with open_video(video.path) as (container, stream):
        set_threads(stream, num_threads)
        packets = read_packets(video.path, container, stream)
        for frame in decode_packets((packet for packet in packets if packet.is_keyframe), stream):
            check_size(video, frame)


@cache
def _prepare_decord() -> None:
    decord.logging.set_level(decord.logging.QUIET)
    os.register_at_fork(after_in_child=_leave_to_parent)


def _leave_to_parent() -> None:
    """Keep decord out of a forked child: its parent's readers wait for threads that the child doesn't have."""
    global _decord_in_parent
    _decord_in_parent = (
        True  # a new reader would wait now and then, for a lock that a thread held at the fork
    )
    for reader in _OPEN_READERS:
        reader._handle = None  # else it would be closed, which ends the child
