"""What a video file's header promises: for estimates, and to notice what is missing. Never for a row's time."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from sync_extract.demux import open_video

_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)")


@dataclass(frozen=True, kw_only=True)
class Header:
    """Stated by the file, and often wrong: a file that is cut short keeps the header of the whole one."""

    num_frames: int | None
    """Frames in the stream's table, hidden ones included; None where the container counts none."""
    stop_seconds: Fraction | None
    """End of the last frame on the container's clock; None if nothing states it for this stream."""
    seconds: Fraction | None
    """Duration."""
    fps: Fraction | None
    """The rate that the file states or FFmpeg guesses."""

    def num_rows(self, fps: Fraction | None) -> int:
        """About how many rows a grid of `fps` (None: every frame) takes; 0 if the header doesn't tell."""
        if fps is None and self.num_frames:
            return self.num_frames
        rates = [rate for rate in (fps, self.fps) if rate]  # a frame has one row at the most
        return round(self.seconds * min(rates)) if self.seconds and rates else 0


def read_header(container: InputContainer, stream: VideoStream) -> Header:
    """What an opened file states of its video stream."""
    fps = stream.guessed_rate or None
    num_frames = stream.frames or None
    stop: Fraction | None
    seconds: Fraction | None
    if stream.duration is not None and stream.time_base is not None:
        stop = ((stream.start_time or 0) + stream.duration) * stream.time_base
        seconds = stream.duration * stream.time_base
    else:
        stop = _stated_stop(container, stream)
        end = stop or (Fraction(container.duration, av.time_base) if container.duration else None)
        # Such containers count from time 0, not from their first frame.
        seconds = None if end is None else end - (stream.start_time or 0) * (stream.time_base or 0)
    return Header(num_frames=num_frames, stop_seconds=stop, seconds=seconds, fps=fps)


def estimate_rows(path: Path, fps: Fraction | None) -> int:
    """About how many rows a video will give, from its header alone; 0 if that doesn't tell.

    Raises:
        VideoError: If the file is missing, empty or not a video, or hasn't exactly one video stream.
    """
    with open_video(path) as (container, stream):
        return read_header(container, stream).num_rows(fps)


def _stated_stop(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Matroska has one duration for all streams; muxers add a tag with each stream's own end."""
    if match := _CLOCK.fullmatch(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = match.groups()
        return (int(hours) * 60 + int(minutes)) * 60 + Fraction(seconds)
    if container.duration and len(container.streams) == 1:
        return Fraction(container.duration, av.time_base)
    return None
