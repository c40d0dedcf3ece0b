"""Frames to an mp4 file in which every frame has its exact time."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from sync_demo.look import Image
from sync_demo.sensor import Gray10

TIME_BASE = Fraction(1, 90_000)
"""Tick of every file; frames at 12, 12.5 and 15 a second and starts in milliseconds fall on whole ticks."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """An encoder and its settings."""

    codec: str
    pixel_format: str
    options: tuple[tuple[str, str], ...]


COLOR = Encoding(
    codec="libx264", pixel_format="yuv420p", options=(("preset", "veryfast"), ("crf", "20"), ("g", "30"))
)
GRAY = (
    Encoding(
        codec="libx265",
        pixel_format="yuv420p10le",
        options=(
            ("preset", "ultrafast"),
            ("crf", "20"),
            # no threads: the same bytes everywhere; small blocks: a third faster on frames this small
            ("x265-params", "log-level=none:pools=none:wpp=0:frame-threads=1:ctu=16:keyint=40"),
        ),
    ),
    Encoding(
        codec="libx264",
        pixel_format="yuv420p10le",
        options=(("preset", "veryfast"), ("crf", "18"), ("g", "40")),
    ),
    Encoding(
        codec="libx264",
        pixel_format="yuv420p",
        options=(("preset", "veryfast"), ("crf", "18"), ("g", "40")),
    ),
)
"""Of the gray view, in order of preference: 10 bits where this build's encoders can."""


def gray_encoding() -> Encoding:
    """The first of `GRAY` that this build of PyAV has."""
    for encoding in GRAY[:-1]:
        try:
            formats = av.codec.Codec(encoding.codec, "w").video_formats or []
        except av.error.FFmpegError:
            continue
        if any(found.name == encoding.pixel_format for found in formats):
            return encoding
    return GRAY[-1]


def write_video(
    path: Path,
    frames: Iterable[Image | Gray10],
    encoding: Encoding,
    fps: Fraction,
    start_seconds: Fraction,
    size: tuple[int, int],
) -> int:
    """Encode frames; frame k is shown at `start_seconds` + k / `fps` of the file's time.

    Args:
        path: An .mp4 file; whole when this returns.
        frames: RGB uint8 (rows, columns, 3) or gray uint16 (rows, columns) in 0–1023.
        encoding: Encoder and its settings.
        fps: Frame rate; a frame must last a whole number of ticks of `TIME_BASE`.
        start_seconds: Time of the first frame, a whole number of ticks.
        size: Rows and columns.

    Returns:
        How many frames were written.
    """
    step, first = 1 / fps / TIME_BASE, start_seconds / TIME_BASE
    assert step.denominator == first.denominator == 1, (fps, start_seconds)
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoding.codec, rate=fps, options=dict(encoding.options))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = encoding.pixel_format
        stream.time_base = TIME_BASE
        stream.codec_context.time_base = TIME_BASE
        stream.codec_context.thread_count = 1
        for count, picture in enumerate(frames, start=1):
            frame = _frame(picture, encoding.pixel_format)
            frame.time_base = TIME_BASE
            frame.pts = int(first + (count - 1) * step)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return count


def _frame(picture: Image | Gray10, pixel_format: str) -> av.VideoFrame:
    if picture.dtype == np.uint8:
        return av.VideoFrame.from_ndarray(picture, format="rgb24")
    rows, columns = picture.shape
    deep = pixel_format.endswith("10le")
    frame = av.VideoFrame(columns, rows, pixel_format)
    # Video range: 64–940 of 1023, or 16–235 of 255; the neutral value of both color planes is the middle.
    luma = 64 + picture.astype(np.float32) * np.float32(876 / 1023)
    kind = np.dtype(np.uint16 if deep else np.uint8)
    scale = 1 if deep else 4
    for plane, values in zip(frame.planes, (luma, 512.0, 512.0), strict=True):
        lines = np.frombuffer(memoryview(plane), dtype=kind).reshape(plane.height, -1)
        lines[:, : plane.width] = np.round(np.asarray(values) / scale).astype(kind)
    return frame
