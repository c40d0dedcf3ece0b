"""What a video file holds, by demuxing: the exact presentation time of every frame that will be shown.

Nothing is decoded but the first shown frame, so a probe takes milliseconds. Times are counted in ticks of the
stream's time base, as integers; they are the container's, with edit lists applied and the start time kept.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame

from sync_extract.demux import PacketTable, decode_packets, open_video, packet_table, read_packets
from sync_extract.header import Header, read_header
from sync_extract.orientation import Orientation, read_orientation
from sync_store.errors import VideoError

HELD_BYTES = 1 << 30
"""Largest decoded video, as RGB, for which decord is used. Its thread decodes on while nobody reads, without
end: 300 MiB a second at 720p on one core. It can be stopped only by seeking away; doing that at each key frame
bounded the memory and was 4 times slower than PyAV at 720p, 6 times at 3840x2160 (decord 0.6.0, PyAV 18.1, 2
cores). PyAV holds a few frames."""

MIN_FRAMES_PER_KEY_FRAME = 8
"""Decord scales a picture of another size to the first one's without a word, so before it reads a file every
key frame is decoded and measured. Where more frames than one in eight are key frames that costs too much."""

Reader = Literal["pyav", "decord"]

_DECORD_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Elsewhere decord's seeking was measured wrong: from MPEG-TS it reads frame 12 for frame 0, from AVI frame 30
for frame 59 (decord 0.6.0)."""

_DECORD_CODECS = {"h264", "hevc", "vp9"}
"""Codecs whose decoders are exact by specification, so that both readers give the same pictures."""

_DECORD_PIXEL_FORMATS = {"yuv420p", "yuvj420p"}
"""Formats that PyAV converts to decord's very RGB values (`sync_extract.decode`)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoProbe:
    """One video file's frames and their times.

    Frames are counted in order of presentation, and only those that are shown: not those that an edit list
    cuts off, nor those that can't be decoded because their references lie before the file's beginning, nor a
    second one of the same time.
    """

    path: Path
    container: str
    """FFmpeg's name of the format, for example "matroska,webm"."""
    codec: str
    pixel_format: str
    width: int
    """Pixels, as displayed."""
    height: int
    orientation: Orientation
    size_bytes: int
    pts: npt.NDArray[np.int64]
    """Presentation time of each frame in ticks of `time_base`, strictly increasing."""
    start_pts: int
    """Time in ticks of the first frame to be shown, also where it can't be decoded: the stream's start."""
    time_base: Fraction
    """Seconds a tick."""
    key_frames: npt.NDArray[np.int64]
    """Frames at which decoding can start afresh: nothing before them in time comes after them in the file."""
    header: Header
    """What the file states of itself."""
    missing_start_seconds: float
    """Time at the beginning whose frames can't be decoded."""
    missing_end_seconds: float
    """Time after the last frame that the header promises; 0 if less than two frames."""
    num_stored: int
    """Whole frames in the file, hidden ones included."""
    ends_within_frame: bool
    """A frame was left out because the file ends within it, or it is marked as damaged."""
    num_discarded: int
    """Frames that the edit list hides."""
    num_undecodable: int
    """Frames at the beginning that refer to others before it."""
    num_same_time: int
    """Frames left out because an earlier one in the file has the very same time."""
    reader: Reader
    """Which one `decode_frames` uses."""
    reader_reason: str

    @property
    def num_frames(self) -> int:
        """Frames that are shown."""
        return len(self.pts)

    @property
    def start_seconds(self) -> float:
        """Time of the first frame, on the container's clock."""
        return float(int(self.pts[0]) * self.time_base)

    @property
    def measured_fps(self) -> float | None:
        """Mean rate from the first frame to the last; None for a single frame."""
        if self.num_frames < 2:
            return None
        return float((self.num_frames - 1) / (int(self.pts[-1] - self.pts[0]) * self.time_base))

    @property
    def stored_width(self) -> int:
        """Pixels, before turning."""
        return self.height if self.orientation.transpose else self.width

    @property
    def stored_height(self) -> int:
        """Pixels, before turning."""
        return self.width if self.orientation.transpose else self.height

    def seconds(self, frame: int) -> float:
        """Time of a frame on the container's clock, for messages."""
        return float(int(self.pts[frame]) * self.time_base)

    def summary(self) -> dict[str, Any]:
        """What provenance records of the file, as JSON values."""
        return {
            "container": self.container,
            "codec": self.codec,
            "pixel_format": self.pixel_format,
            "width": self.width,
            "height": self.height,
            "nominal_fps": None if self.header.fps is None else str(self.header.fps),
            "measured_fps": self.measured_fps,
            "time_base": str(self.time_base),
            "start_seconds": self.start_seconds,
            "num_frames": self.num_frames,
            "num_discarded": self.num_discarded,
            "num_undecodable": self.num_undecodable,
            "num_same_time": self.num_same_time,
            "header_frames": self.header.num_frames,
            "header_seconds": None if self.header.seconds is None else float(self.header.seconds),
            "missing_start_seconds": self.missing_start_seconds,
            "missing_end_seconds": self.missing_end_seconds,
            "reader": self.reader,
            "reader_reason": self.reader_reason,
        }


def probe(path: Path, *, reader: Reader = "pyav") -> VideoProbe:
    """Read a video file's frame times.

    Packets that the file's end cuts through are left out, so for a truncated file the result describes what
    is there. Where an edit list begins within a frame, FFmpeg hides that frame and gives its time to the next
    one, which is so up to one frame early.

    Args:
        path: The file.
        reader: Who is to decode it. PyAV is the faster one on every file measured (`benchmarks.decoding`); decord
            is used only where it was proven to give the same pictures, else PyAV.

    Raises:
        VideoError: If the file is missing, empty or not a video, has no or several video streams, states no
            presentation times, or shows no frame.
    """
    with open_video(path) as (container, stream):
        format_name = container.format.name
        codec = stream.codec_context.codec.canonical_name
        time_base = stream.time_base
        header = read_header(container, stream)
        packets = packet_table(path, container, stream)
        reordered = stream.codec_context.has_b_frames
    assert time_base is not None  # FFmpeg gives every stream one
    if format_name == "avi" and reordered:
        raise VideoError(
            f"{path}: AVI stores no presentation times for video with B-frames. Convert it first: "
            f"ffmpeg -i {path.name} -c:v libx264 -crf 12 {path.stem}.mp4"
        )
    first = _first_picture(path)
    first_pts = first.pts
    assert first_pts is not None
    orientation = read_orientation(path, first)
    shown = packets.pts[~packets.discard]
    # What is before the first picture that decodes refers to frames that aren't in the file.
    pts = np.unique(shown[shown >= first_pts])
    if not len(pts) or pts[0] != first_pts:
        raise VideoError(
            f"{path}: the first picture decodes with time {first_pts} x {time_base} s, which no frame has. "
            f"Its times can't be trusted: convert it anew from its source"
        )
    num_undecodable = int(np.count_nonzero(shown < first_pts))
    key_pts = packets.pts[packets.clean_keys() & ~packets.discard]
    key_frames = np.searchsorted(pts, key_pts[key_pts >= first_pts]).astype(np.int64)
    video = VideoProbe(
        path=path,
        container=format_name,
        codec=codec,
        pixel_format=first.format.name,
        width=first.height if orientation.transpose else first.width,
        height=first.width if orientation.transpose else first.height,
        orientation=orientation,
        size_bytes=path.stat().st_size,
        pts=pts,
        start_pts=int(shown.min()),
        time_base=time_base,
        key_frames=key_frames,
        header=header,
        missing_start_seconds=float(int(pts[0] - shown.min()) * time_base),
        missing_end_seconds=_missing_end(packets, pts, time_base, header),
        num_stored=_num_stored(path, packets, header),
        ends_within_frame=packets.cut,
        num_discarded=int(np.count_nonzero(packets.discard)),
        num_undecodable=num_undecodable,
        num_same_time=len(shown) - num_undecodable - len(pts),
        reader="pyav",
        reader_reason="the default",
    )
    if reader == "pyav":
        return video
    doubt = _doubt(video, packets)
    return replace(video, reader="pyav" if doubt else "decord", reader_reason=doubt or "every check passed")


def _doubt(video: VideoProbe, packets: PacketTable) -> str | None:
    """Why decord can't be trusted with a file; None if every check passes."""
    key_frames = video.key_frames
    held_bytes = video.num_frames * video.width * video.height * 3
    doubts = {
        f"decord doesn't seek reliably in {video.container}": video.container not in _DECORD_CONTAINERS,
        f"{video.codec} isn't known to give the same pictures in decord": video.codec not in _DECORD_CODECS,
        f"{video.pixel_format} isn't converted alike by decord": (
            video.pixel_format not in _DECORD_PIXEL_FORMATS
        ),
        "decord would show what the edit list hides": video.num_discarded > 0,
        "times before zero": int(video.pts[0]) < 0,
        "the first frames can't be decoded": video.num_undecodable > 0,
        "several frames have the same time": video.num_same_time > 0,
        "a key frame is followed by frames shown before it": bool(
            (packets.key & ~packets.clean_keys()).any()
        ),
        "decord converts odd sizes otherwise": bool(video.width % 2 or video.height % 2),
        "decord turns pictures wrongly": video.orientation != Orientation(),
        "the file ends within a frame, or has damaged ones": video.ends_within_frame,
        "the file ends before its header says": video.missing_end_seconds > 0,
        "decord can't open a single frame in every container": video.num_frames == 1,
        "no key frame at the beginning": not (len(key_frames) and key_frames[0] == 0),
        "too many key frames to compare their sizes first": (
            len(key_frames) * MIN_FRAMES_PER_KEY_FRAME > video.num_frames + MIN_FRAMES_PER_KEY_FRAME
        ),
        f"decord would hold all frames at once, {held_bytes >> 20} MiB": held_bytes > HELD_BYTES,
    }
    return next((reason for reason, applies in doubts.items() if applies), None)


def _missing_end(
    packets: PacketTable, pts: npt.NDArray[np.int64], time_base: Fraction, header: Header
) -> float:
    """Seconds that the header promises after the last frame; less than two frames are an inexact header."""
    if header.stop_seconds is None:
        return 0.0
    stated_period = round(1 / (header.fps * time_base)) if header.fps else 0
    period = int(np.median(np.diff(pts))) if len(pts) > 1 else stated_period
    last_duration = int(packets.duration[packets.pts == pts[-1]].max()) or period
    missing = header.stop_seconds - int(pts[-1] + last_duration) * time_base
    return float(missing) if missing > 2 * period * time_base else 0.0


def _num_stored(path: Path, packets: PacketTable, header: Header) -> int:
    """Count frames as headers do: with those that an edit list hides, which demuxing may leave out."""
    if packets.cut or header.num_frames in (None, len(packets.pts)):
        return len(packets.pts)
    with open_video(path, ignore_edit_list=True) as (container, stream):
        return sum(1 for _ in read_packets(path, container, stream))


def _first_picture(path: Path) -> VideoFrame:
    """Decode up to the first picture that is shown."""
    with open_video(path) as (container, stream):
        stream.codec_context.thread_count = 1
        for frame in decode_packets(read_packets(path, container, stream), stream):
            if frame.pts is not None:
                return frame
    raise VideoError(f"{path}: no frame decodes. Copy or download the file again")
