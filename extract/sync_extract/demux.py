"""Video files opened with PyAV: the one video stream and its packets, in the file's order."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sync_store.errors import VideoError

_FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,m4v,h264,hevc,flv,asf,ogg,ivf,mxf,nut"
"""FFmpeg's names of formats that hold their pictures themselves. A playlist named .mp4 would open other files."""


@contextmanager
def open_video(path: Path, *, ignore_edit_list: bool = False) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and find its video stream; cover pictures don't count.

    Args:
        path: The file.
        ignore_edit_list: Give also what the file says not to show, to count it.

    Raises:
        VideoError: If the file is missing, empty or not a video, or hasn't exactly one video stream.
    """
    if not path.is_file():
        raise VideoError(
            f"{path}: no such video file. Check the dataset's paths and that its disk is mounted"
        )
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes). Copy or download it again")
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    if ignore_edit_list:
        options["ignore_editlist"] = "1"
    try:
        container = av.open(str(path), options=options)
    except (av.error.InvalidDataError, av.error.ArgumentError):  # the latter for a format that isn't listed
        raise VideoError(
            f"{path}: not a video that FFmpeg can read ({path.stat().st_size} bytes): no video at all, a playlist, or "
            f"an mp4 without its end, where the index is. Copy or download it again"
        ) from None
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: can't be read: {error.strerror}") from None
    with container:
        yield container, _only_stream(path, container)


def _only_stream(path: Path, container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = " and ".join(sorted({str(s.type) for s in container.streams})) or "nothing"
        raise VideoError(f"{path}: no video stream, only {kinds}. Name the file with the pictures")
    if len(streams) > 1:
        sizes = ", ".join(f"{s.index} ({s.width}x{s.height})" for s in streams)
        raise VideoError(
            f"{path}: {len(streams)} video streams: {sizes}; expected one. Extract the one you mean: "
            f"ffmpeg -i {path.name} -map 0:{streams[0].index} -c copy {path.stem}-{streams[0].index}{path.suffix}"
        )
    if streams[0].codec_context is None:
        raise VideoError(
            f"{path}: FFmpeg has no decoder for its video. Convert it first, for example to H.264"
        )
    return streams[0]


def read_packets(
    path: Path, container: InputContainer, stream: VideoStream
) -> Iterator["Packet[VideoStream]"]:
    """The stream's packets up to where the file can be read.

    AVI states no times but each packet's place. FFmpeg takes that for the order of decoding and shows H.264 a frame
    later (PyAV 18.1); without B-frames, which `probe` refuses, it is the order of presentation.

    Raises:
        VideoError: If the disk fails; a file that merely ends early is no error.
    """
    stated_by_place = container.format.name == "avi"
    try:
        for packet in container.demux(stream):
            if packet.size:  # the last one is empty: it asks a decoder for what it holds back
                if stated_by_place:
                    packet.pts = packet.dts
                yield packet
    except av.error.InvalidDataError:
        return
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: reading failed: {error.strerror}. Check the disk and try again") from None


def decode_packets(packets: Iterator["Packet[VideoStream]"], stream: VideoStream) -> Iterator[VideoFrame]:
    """Pictures in order of presentation. A packet that doesn't decode, or that the file's end cuts, gives none."""
    for packet in packets:
        if packet.is_corrupt:
            continue
        try:
            frames = stream.decode(packet)
        except av.error.FFmpegError:
            continue
        yield from frames
    try:
        yield from stream.decode(None)
    except av.error.FFmpegError:
        return


@dataclass(frozen=True, kw_only=True, eq=False)
class PacketTable:
    """A stream's whole packets in the file's order; each holds one frame."""

    pts: npt.NDArray[np.int64]
    """Presentation time in ticks of the stream's time base."""
    duration: npt.NDArray[np.int64]
    """How long each frame is shown, in ticks; 0 where the container doesn't say."""
    key: npt.NDArray[np.bool_]
    """Key frames."""
    discard: npt.NDArray[np.bool_]
    """Frames to decode and not to show: an edit list cuts them off."""
    cut: bool
    """A packet was left out because the file ends within it, or it is marked as damaged."""

    def clean_keys(self) -> npt.NDArray[np.bool_]:
        """Key frames with all that is before them in time before them in the file, and all else after."""
        lowest = np.iinfo(np.int64).min
        highest = np.iinfo(np.int64).max
        latest_before = np.concatenate([[lowest], np.maximum.accumulate(self.pts)[:-1]])
        earliest_after = np.concatenate([np.minimum.accumulate(self.pts[::-1])[::-1][1:], [highest]])
        return self.key & (latest_before < self.pts) & (self.pts < earliest_after)


def packet_table(path: Path, container: InputContainer, stream: VideoStream) -> PacketTable:
    """Demux the stream once.

    Raises:
        VideoError: If it has no packet or one without a presentation time.
    """
    pts: list[int] = []
    duration: list[int] = []
    key: list[bool] = []
    discard: list[bool] = []
    cut = False
    for packet in read_packets(path, container, stream):
        if packet.is_corrupt:
            cut = True
            continue
        if packet.pts is None:
            raise VideoError(
                f"{path}: frame {len(pts)} has no presentation time ({container.format.name} file). Put it into "
                f"a container with its true rate: ffmpeg -r RATE -i {path.name} -c copy {path.stem}.mp4"
            )
        pts.append(packet.pts)
        duration.append(packet.duration or 0)
        key.append(packet.is_keyframe)
        discard.append(packet.is_discard)
    if not pts:
        raise VideoError(f"{path}: the video stream holds no whole frame. Copy or download it again")
    return PacketTable(
        pts=np.array(pts, np.int64),
        duration=np.array(duration, np.int64),
        key=np.array(key, bool),
        discard=np.array(discard, bool),
        cut=cut,
    )
