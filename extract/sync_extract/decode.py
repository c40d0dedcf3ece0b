"""Frames of a video as RGB, exactly those asked for. The only module that imports decord.

Axes: N frames, H and W as displayed, 3 channels.

Two readers give the same pictures. Decord reads the files on which it was proven exact, PyAV all others
(`VideoProbe.reader`); where decord fails nevertheless, PyAV goes on, and so it does in a process forked from one
that has used decord. PyAV's frames are identified by their presentation time, never by counting, so a lost frame
is never replaced by its neighbour.

Memory: one batch, plus what FFmpeg's threads work on (PyAV) or the whole decoded video, which is why only short
ones are read so (decord, `probe.HELD_BYTES`).
"""

import logging
import os
from collections.abc import Iterator
from functools import cache
from itertools import chain, dropwhile
from weakref import WeakSet

import decord
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from sync_extract.demux import decode_packets, open_video, read_packets
from sync_extract.grid import Grid, sample_grid
from sync_extract.probe import VideoProbe, probe
from sync_store.errors import VideoError

__all__ = ["DECODE_RULES_VERSION", "Grid", "VideoProbe", "decode_frames", "probe", "sample_grid"]

DECODE_RULES_VERSION = 3
"""Raised with every change of a rule that can change a time or a pixel; part of a feature set's fingerprint."""

log = logging.getLogger(__name__)

Picture = npt.NDArray[np.uint8]

_SAME_AS_DECORD = Interpolation.BICUBIC
"""For 8-bit 4:2:0: bit for bit what decord 0.6.0 gives, over all matrices and ranges (PyAV 18.1)."""

_ACCURATE = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
"""For all other colour formats: within one level of the formulas of BT.601, BT.709 and BT.2020. With bicubic
alone 10-bit video was up to 3 levels off (PyAV 18.1)."""

_OPEN_READERS: "WeakSet[decord.VideoReader]" = WeakSet()

_decord_in_parent = False
"""This process was forked from one that had used decord."""

_GREY_BITS = {"gray": 8, "gray10le": 10, "gray12le": 12, "gray14le": 14, "gray16le": 16}


def decode_frames(
    video: VideoProbe, frame_index: npt.NDArray[np.int64], *, batch_frames: int, num_threads: int = 0
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
    return _batches(video, asked, batch_frames, num_threads)


def _batches(
    video: VideoProbe, asked: npt.NDArray[np.int64], batch_frames: int, num_threads: int
) -> Iterator[Picture]:
    owner = os.getpid()
    shape = (video.height, video.width, 3)
    num_done = num_filled = 0
    batch = np.empty((min(batch_frames, len(asked)), *shape), np.uint8)
    for picture in _pictures(video, asked, num_threads):
        batch[num_filled] = picture
        num_filled += 1
        if num_filled == len(batch):
            yield batch
            if os.getpid() != owner:
                raise RuntimeError("a video reader doesn't survive a fork: open it in the process that reads")
            num_done += num_filled
            num_filled = 0
            batch = np.empty((min(batch_frames, len(asked) - num_done), *shape), np.uint8)
    if num_filled:
        yield batch[:num_filled]


def _pictures(video: VideoProbe, asked: npt.NDArray[np.int64], num_threads: int) -> Iterator[Picture]:
    if not len(asked):
        return
    num_done = 0
    if video.reader == "decord" and not _decord_in_parent:
        _check_sizes(video, num_threads)
        try:
            for picture in _decord_pictures(video, asked, num_threads):
                yield picture
                num_done += 1
        except _DecordFailedError as failure:
            log.warning("%s: PyAV reads on from frame %d: %s", video.path, asked[num_done], failure)
    if num_done < len(asked):
        yield from _pyav_pictures(video, asked[num_done:], num_threads)


class _DecordFailedError(Exception):
    """Decord can't read the file, or sees another number of frames than it has."""


def _decord_pictures(video: VideoProbe, asked: npt.NDArray[np.int64], num_threads: int) -> Iterator[Picture]:
    """Read the file once from its first frame on, without any seeking, which isn't always right in decord."""
    _prepare_decord()
    wanted = set(asked.tolist())
    try:
        reader = decord.VideoReader(str(video.path), num_threads=num_threads)
        _OPEN_READERS.add(reader)
        if len(reader) != video.num_frames:
            raise _DecordFailedError(f"decord counts {len(reader)} frames, the file has {video.num_frames}")
        for index in range(int(asked[-1]) + 1):
            picture = reader.next()
            if index not in wanted:
                continue
            # at some widths decord takes row padding for a channel
            if picture.shape != (video.height, video.width, 3):
                raise _DecordFailedError(f"decord gives shape {picture.shape}")
            yield picture.asnumpy()
    except (decord.DECORDError, RuntimeError, AssertionError, StopIteration) as error:
        raise _DecordFailedError(_first_line(error)) from None


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


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _check_sizes(video: VideoProbe, num_threads: int) -> None:
    """Decode the key frames alone and compare their sizes: decord would scale them without a word."""
    with open_video(video.path) as (container, stream):
        _set_threads(stream, num_threads)
        packets = read_packets(video.path, container, stream)
        for frame in decode_packets((packet for packet in packets if packet.is_keyframe), stream):
            _check_size(video, frame)


def _check_size(video: VideoProbe, frame: VideoFrame) -> None:
    if (frame.width, frame.height) != (video.stored_width, video.stored_height):
        assert frame.pts is not None
        raise VideoError(
            f"{video.path}: the picture's size changes at {float(frame.pts * video.time_base):.3f} s from "
            f"{video.stored_width}x{video.stored_height} to {frame.width}x{frame.height}; expected one size. "
            f"Cut the file there, or scale it: ffmpeg -i {video.path.name} -vf "
            f"scale={video.stored_width}:{video.stored_height} {video.path.stem}-scaled.mp4"
        )


def _set_threads(stream: VideoStream, num_threads: int) -> None:
    stream.codec_context.thread_count = num_threads
    stream.codec_context.thread_type = "AUTO"


def _pyav_pictures(video: VideoProbe, asked: npt.NDArray[np.int64], num_threads: int) -> Iterator[Picture]:
    wanted_pts = video.pts[asked].tolist()
    earlier_keys = video.key_frames[video.key_frames <= asked[0]]
    start_pts = int(video.pts[earlier_keys[-1]]) if len(earlier_keys) and earlier_keys[-1] > 0 else None
    num_done = 0
    last_pts = None
    for frame in _decoded_from(video, start_pts, num_threads):
        _check_size(video, frame)
        if frame.pts is None or (last_pts is not None and frame.pts < last_pts):
            raise VideoError(
                f"{video.path}: pictures decode out of order after {float((last_pts or 0) * video.time_base):.3f} "
                f"s. Its times can't be trusted: convert it anew from its source"
            )
        last_pts = frame.pts
        if frame.pts > wanted_pts[num_done]:
            raise VideoError(
                f"{video.path}: the frame at {video.seconds(int(asked[num_done])):.3f} s doesn't decode, "
                f"although later ones do: the file is damaged. Copy or download it again"
            )
        if frame.pts == wanted_pts[num_done]:
            yield video.orientation.apply(to_rgb(frame))
            num_done += 1
            if num_done == len(wanted_pts):
                return


def _decoded_from(video: VideoProbe, start_pts: int | None, num_threads: int) -> Iterator[VideoFrame]:
    """Decode from the key frame of this time on; from the file's beginning if None or if seeking misses it."""
    if start_pts is not None:
        with open_video(video.path) as (container, stream):
            container.seek(start_pts, stream=stream)
            packets = dropwhile(
                lambda packet: not (packet.is_keyframe and packet.pts == start_pts),
                read_packets(video.path, container, stream),
            )
            key_packet = next(packets, None)
            if key_packet is not None:
                _set_threads(stream, num_threads)
                yield from decode_packets(chain([key_packet], packets), stream)
                return
    with open_video(video.path) as (container, stream):
        _set_threads(stream, num_threads)
        yield from decode_packets(read_packets(video.path, container, stream), stream)


def to_rgb(frame: VideoFrame) -> Picture:
    """Convert a decoded picture to 8-bit RGB (H, W, 3), as stored: not turned.

    The frame's own matrix and range are used; without a matrix BT.601, without a range the limited one. Grey
    formats become three equal channels, scaled to 8 bits from the limited range if the frame states it, else
    from the full one, and rounded half to even.
    """
    name = frame.format.name
    if name in _GREY_BITS:
        plane = frame.planes[0]
        stored = np.frombuffer(memoryview(plane), np.uint8 if _GREY_BITS[name] == 8 else "<u2")
        luma = stored.reshape(frame.height, -1)[:, : frame.width]
        grey = _grey_levels(_GREY_BITS[name], frame.color_range == ColorRange.MPEG)[luma]
        return np.broadcast_to(grey[:, :, None], (*grey.shape, 3))
    flags = _SAME_AS_DECORD if name in ("yuv420p", "yuvj420p") else _ACCURATE
    return frame.to_ndarray(format="rgb24", interpolation=flags, threads=1).astype(np.uint8, copy=False)


@cache
def _grey_levels(bits: int, limited: bool) -> Picture:
    """8-bit level of each luma value. FFmpeg's own conversion ignores that a grey picture has limited range."""
    black, white = (16 << (bits - 8), 235 << (bits - 8)) if limited else (0, (1 << bits) - 1)
    levels = (np.arange(1 << bits) - black) * 255 / (white - black)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
