"""Pictures of a video read by PyAV, identified by their presentation time.

Frames are never counted, so a lost one is never replaced by its neighbour. What nobody asks for isn't decoded where
that is exact: pictures that no other refers to, and whole groups of pictures. Where a frame doesn't come so, a
reading that decodes all goes on from it, and its errors count. Only what FFmpeg makes up in place of damaged pictures
may depend on which frames are asked for.

Memory: what FFmpeg's threads work on.
"""

import logging
from collections.abc import Iterator
from itertools import chain, dropwhile

import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sync_extract.demux import decode_packets, open_video, read_packets
from sync_extract.probe import VideoProbe
from sync_extract.rgb import Picture, to_rgb
from sync_store.errors import VideoError

_LEAPS_IN = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Containers with an index of key frames. In MPEG-TS seeking often ends beyond the key frame (PyAV 18.1)."""

MIN_JUMP_FRAMES = 64
"""Frames that a jump to a later key frame must save. Opening a file takes the time of some dozen frames at 480p."""

log = logging.getLogger(__name__)

Int64s = npt.NDArray[np.int64]


def pyav_pictures(video: VideoProbe, asked: Int64s, num_threads: int) -> Iterator[Picture]:
    """RGB pictures (H, W, 3) of the frames asked for, upright; fewer if the file's end doesn't decode.

    Raises:
        VideoError: If the size of the pictures changes, or a frame that was asked for doesn't decode although
            later ones do.
    """
    num_done = 0
    try:
        for stretch in _stretches(video, asked):
            stop = num_done + len(stretch)
            for frame in _frames(video, stretch, num_threads, sparing=True):
                yield video.orientation.apply(to_rgb(frame))
                num_done += 1
            if num_done < stop:
                break
    except VideoError:
        log.debug("%s: decoding all from frame %d on", video.path, asked[num_done], exc_info=True)
    if num_done < len(asked):
        for frame in _frames(video, asked[num_done:], num_threads, sparing=False):
            yield video.orientation.apply(to_rgb(frame))


def set_threads(stream: VideoStream, num_threads: int) -> None:
    """Let FFmpeg use so many threads, 0 for as many as it likes, in whichever way the codec allows."""
    stream.codec_context.thread_count = num_threads
    stream.codec_context.thread_type = "AUTO"


def check_size(video: VideoProbe, frame: VideoFrame) -> None:
    """Refuse a picture of another size than the first one's.

    Raises:
        VideoError: If it has one.
    """
    if (frame.width, frame.height) != (video.stored_width, video.stored_height):
        assert frame.pts is not None
        raise VideoError(
            f"{video.path}: the picture's size changes at {float(frame.pts * video.time_base):.3f} s from "
            f"{video.stored_width}x{video.stored_height} to {frame.width}x{frame.height}; expected one size. "
            f"Cut the file there, or scale it: ffmpeg -i {video.path.name} -vf "
            f"scale={video.stored_width}:{video.stored_height} {video.path.stem}-scaled.mp4"
        )


def _stretches(video: VideoProbe, asked: Int64s) -> list[Int64s]:
    """Cut where a key frame lies so far beyond the frame before that going on from it is cheaper."""
    if video.container not in _LEAPS_IN:
        return [asked]
    keys = np.concatenate([[0], video.key_frames])
    key_before = keys[np.searchsorted(video.key_frames, asked, side="right")]
    return np.split(asked, np.flatnonzero(key_before[1:] - asked[:-1] >= MIN_JUMP_FRAMES) + 1)


def _frames(video: VideoProbe, asked: Int64s, num_threads: int, *, sparing: bool) -> Iterator[VideoFrame]:
    """Frames asked for; if `sparing`, without decoding what no other needs."""
    wanted_pts = video.pts[asked].tolist()
    earlier_keys = video.key_frames[video.key_frames <= asked[0]]
    start_pts = int(video.pts[earlier_keys[-1]]) if len(earlier_keys) and earlier_keys[-1] > 0 else None
    num_done = 0
    last_pts = None
    for frame in _decoded_from(video, start_pts, set(wanted_pts) if sparing else None, num_threads):
        check_size(video, frame)
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
            yield frame
            num_done += 1
            if num_done == len(wanted_pts):
                return


def _decoded_from(
    video: VideoProbe, start_pts: int | None, needed_pts: set[int] | None, num_threads: int
) -> Iterator[VideoFrame]:
    """Decode from the key frame of this time on; from the file's beginning if None or if seeking misses it.

    Args:
        video: What to decode.
        start_pts: Time of the key frame.
        needed_pts: Times of the frames to decode, with those that they refer to; None for all.
        num_threads: See `set_threads`.
    """
    with open_video(video.path) as (container, stream):
        set_threads(stream, num_threads)
        packets = read_packets(video.path, container, stream)
        if start_pts is not None:
            container.seek(start_pts, stream=stream)
            packets = dropwhile(lambda packet: not (packet.is_keyframe and packet.pts == start_pts), packets)
            if (key_packet := next(packets, None)) is None:
                yield from _decoded_from(video, None, needed_pts, num_threads)
                return
            packets = chain([key_packet], packets)
        if needed_pts is not None and can_skip(stream):
            packets = _skipping(packets, stream, needed_pts)
        yield from decode_packets(packets, stream)


def _skipping(
    packets: Iterator["Packet[VideoStream]"], stream: VideoStream, needed_pts: set[int]
) -> Iterator["Packet[VideoStream]"]:
    """Have the decoder leave out the pictures that are neither needed nor referred to."""
    for packet in packets:
        stream.codec_context.skip_frame = "DEFAULT" if packet.pts in needed_pts else "NONREF"
        yield packet


def can_skip(stream: VideoStream) -> bool:
    """Whether a picture that the stream marks as no reference is none to any other.

    So it is in H.264 (nal_ref_idc, 7.4.1). In HEVC the mark holds within one temporal layer (7.4.2.2): the
    configuration record in mp4 and Matroska says how many there are (ISO/IEC 14496-15, 8.3.3.1), elsewhere it is
    unknown. FFmpeg's decoder of VP9 doesn't skip, and that of AV1 only from its opening on.
    """
    if stream.codec_context.name == "h264":
        return True
    record = stream.codec_context.extradata or b""
    is_record = stream.codec_context.name == "hevc" and len(record) > 21 and record[0] == 1
    return is_record and record[21] >> 3 & 7 == 1
