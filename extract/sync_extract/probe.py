"""What a video file holds, by demuxing: the exact presentation time of every frame that will be shown.

Nothing is decoded but the first shown frame, so a probe takes milliseconds. Times are counted in ticks of the
stream's time base, as integers; they are the container's, with edit lists applied and the start time kept.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sync_extract.demux import decode_packets, open_video, packet_table, read_packets
from sync_store.errors import VideoError

HELD_BYTES = 1 << 30
"""Largest decoded video, as RGB, for which decord is used. Its thread decodes on while nobody reads, without
end: 300 MiB a second at 720p on one core. It can be stopped only by seeking away; doing that at each key frame
bounded the memory and was 4 times slower than PyAV at 720p, 6 times at 3840x2160 (decord 0.6.0, PyAV 18.1, 2
cores). PyAV holds a few frames and is as fast."""

MIN_FRAMES_PER_KEY_FRAME = 8
"""Decord scales a picture of another size to the first one's without a word, so before it reads a file every
key frame is decoded and measured. Where more frames than one in eight are key frames that costs too much."""

_DECORD_CONTAINERS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Elsewhere decord's seeking was measured wrong: from MPEG-TS it reads frame 12 for frame 0, from AVI frame 30
for frame 59 (decord 0.6.0)."""

_DECORD_CODECS = {"h264", "hevc", "vp9"}
"""Codecs whose decoders are exact by specification, so that both readers give the same pictures."""

_DECORD_PIXEL_FORMATS = {"yuv420p", "yuvj420p"}
"""Formats that PyAV converts to decord's very RGB values (`sync_extract.decode`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Orientation:
    """How a stored picture is turned for display, from the file's display matrix. Applied in this order."""

    transpose: bool = False
    """Rows become columns."""
    flip_x: bool = False
    """Left and right change places, after transposing."""
    flip_y: bool = False
    """Top and bottom change places, after transposing."""

    def apply(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turn a picture (H, W, 3); a view of the same memory."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


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
    time_base: Fraction
    """Seconds a tick."""
    key_frames: npt.NDArray[np.int64]
    """Frames at which decoding can start afresh: nothing before them in time comes after them in the file."""
    nominal_fps: Fraction | None
    """The rate that the file states or FFmpeg guesses. Never used for times."""
    header_frames: int | None
    """The number of frames that the file states, if it does. Never used."""
    header_seconds: float | None
    """The duration that the file states, if it does; more than its frames fill if its end is missing."""
    num_discarded: int
    """Frames that the edit list hides."""
    num_undecodable: int
    """Frames at the beginning that refer to others before it."""
    num_same_time: int
    """Frames left out because an earlier one in the file has the very same time."""
    reader: Literal["decord", "pyav"]
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
            "nominal_fps": None if self.nominal_fps is None else str(self.nominal_fps),
            "measured_fps": self.measured_fps,
            "time_base": str(self.time_base),
            "start_seconds": self.start_seconds,
            "num_frames": self.num_frames,
            "num_discarded": self.num_discarded,
            "num_undecodable": self.num_undecodable,
            "num_same_time": self.num_same_time,
            "header_frames": self.header_frames,
            "header_seconds": self.header_seconds,
            "reader": self.reader,
            "reader_reason": self.reader_reason,
        }


def probe(path: Path) -> VideoProbe:
    """Read a video file's frame times and choose its reader.

    Packets that the file's end cuts through are left out, so for a truncated file the result describes what
    is there.

    Raises:
        VideoError: If the file is missing, empty or not a video, has no or several video streams, states no
            presentation times, or shows no frame.
    """
    with open_video(path) as (container, stream):
        format_name = container.format.name
        codec = stream.codec_context.codec.canonical_name
        time_base = stream.time_base
        nominal_fps = stream.guessed_rate or None
        header_frames = stream.frames or None
        header_seconds = _header_seconds(container, stream)
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
    orientation = _orientation(path, first)
    shown = packets.pts[~packets.discard]
    # What is before the first picture that decodes refers to frames that aren't in the file.
    pts = np.unique(shown[shown >= first_pts])
    if not len(pts) or pts[0] != first_pts:
        raise VideoError(
            f"{path}: the first picture decodes with time {first_pts} x {time_base} s, which no frame has. "
            f"Its times can't be trusted: convert it anew from its source"
        )
    num_undecodable = int(np.count_nonzero(shown < first_pts))
    clean = packets.clean_keys()
    key_pts = packets.pts[clean & ~packets.discard]
    key_frames = np.searchsorted(pts, key_pts[key_pts >= first_pts]).astype(np.int64)
    pixel_format = first.format.name
    held_bytes = len(pts) * first.width * first.height * 3
    doubts = {
        f"decord doesn't seek reliably in {format_name}": format_name not in _DECORD_CONTAINERS,
        f"{codec} isn't known to give the same pictures in decord": codec not in _DECORD_CODECS,
        f"{pixel_format} isn't converted alike by decord": pixel_format not in _DECORD_PIXEL_FORMATS,
        "decord would show what the edit list hides": bool(packets.discard.any()),
        "times before zero": int(pts[0]) < 0,
        "the first frames can't be decoded": num_undecodable > 0,
        "several frames have the same time": len(pts) + num_undecodable < len(shown),
        "a key frame is followed by frames shown before it": bool((packets.key & ~clean).any()),
        "decord converts odd sizes otherwise": bool(first.width % 2 or first.height % 2),
        "decord turns pictures wrongly": orientation != Orientation(),
        "the file ends within a frame, or has damaged ones": packets.cut,
        "no key frame at the beginning": not (len(key_frames) and key_frames[0] == 0),
        "too many key frames to compare their sizes first": (
            len(key_frames) * MIN_FRAMES_PER_KEY_FRAME > len(pts) + MIN_FRAMES_PER_KEY_FRAME
        ),
        f"decord would hold all frames at once, {held_bytes >> 20} MiB": held_bytes > HELD_BYTES,
    }
    doubt = next((reason for reason, applies in doubts.items() if applies), None)
    return VideoProbe(
        path=path,
        container=format_name,
        codec=codec,
        pixel_format=pixel_format,
        width=first.height if orientation.transpose else first.width,
        height=first.width if orientation.transpose else first.height,
        orientation=orientation,
        size_bytes=path.stat().st_size,
        pts=pts,
        time_base=time_base,
        key_frames=key_frames,
        nominal_fps=nominal_fps,
        header_frames=header_frames,
        header_seconds=header_seconds,
        num_discarded=int(np.count_nonzero(packets.discard)),
        num_undecodable=num_undecodable,
        num_same_time=len(shown) - num_undecodable - len(pts),
        reader="pyav" if doubt else "decord",
        reader_reason=doubt or "every check passed",
    )


def _header_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _first_picture(path: Path) -> VideoFrame:
    """Decode up to the first picture that is shown."""
    with open_video(path) as (container, stream):
        stream.codec_context.thread_count = 1
        for frame in decode_packets(read_packets(path, container, stream), stream):
            if frame.pts is not None:
                return frame
    raise VideoError(f"{path}: no frame decodes. Copy or download the file again")


def _orientation(path: Path, frame: VideoFrame) -> Orientation:
    """Read the display matrix a, b, u, c, d, v, …: x' = a x + c y and y' = b x + d y."""
    matrices = [bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    if not matrices:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrices[0], np.int32)[:5].tolist()
    if a and d and not (b or c):
        return Orientation(flip_x=a < 0, flip_y=d < 0)
    if b and c and not (a or d):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    raise VideoError(
        f"{path}: the display matrix turns the picture by an angle that isn't a multiple of 90 degrees "
        f"({a}, {b}, {c}, {d}). Convert it upright first: ffmpeg -i {path.name} {path.stem}-upright.mp4"
    )
