"""Decoding alone: every second frame of 60 a second to RGB, by each reader, and then resized for the network.

Pictures are a camera that glides over a scene (`benchmarks.extraction.pictures`), in H.264 and HEVC with B-frames and
the encoders' own distances of key frames. Each candidate decodes the file from its first frame on; decord's choice of
a smaller picture (width and height) is left out, since it resizes otherwise than any backbone does. torchcodec is no
dependency: where it isn't installed, or finds no FFmpeg, the result names it under `left_out`.
"""

import importlib.metadata
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.extraction import pictures
from benchmarks.measure import arguments, ratio, time_in_turn, write_result
from sync_demo.encode import Encoding, write_video
from sync_extract.decode import VideoProbe, decode_frames, probe
from sync_extract.rgb import to_rgb
from sync_extract.transforms import OFFICIAL, resize_bytes
from sync_store.memory import keep_freed_memory

FPS = Fraction(60)
STEP = 2
"""From 60 frames a second to the label rate of 30."""

BATCH_FRAMES = 8

H264 = Encoding(codec="libx264", pixel_format="yuv420p", options=(("crf", "20"),))
HEVC = Encoding(
    codec="libx265",
    pixel_format="yuv420p",
    options=(("crf", "22"), ("preset", "fast"), ("x265-params", "log-level=none")),
)

Frames = Iterator[npt.NDArray[np.uint8]]
Read = Callable[[VideoProbe, int], Frames]


@dataclass(frozen=True, kw_only=True)
class Film:
    """A video to decode."""

    size: tuple[int, int]
    """Height and width."""
    num_frames: int
    encoding: Encoding = H264


FILMS = {
    "480p h264": Film(size=(480, 640), num_frames=480),
    "1080p h264": Film(size=(1080, 1920), num_frames=120),
    "1080p hevc": Film(size=(1080, 1920), num_frames=90, encoding=HEVC),
    "2160p h264": Film(size=(2160, 3840), num_frames=40),
}
SMOKE = {"small h264": Film(size=(48, 64), num_frames=12)}


def main() -> None:
    options = arguments("decoding", __doc__)
    keep_freed_memory()
    films, num_rounds = (SMOKE, 1) if options.smoke else (FILMS, 3)
    readers, left_out = known_readers()
    timings: dict[str, dict[str, Any]] = {}
    ratios = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, film in films.items():
            path = Path(folder) / f"{name}.mp4"
            images = pictures(film.size, film.num_frames, seed=0)
            write_video(path, images, film.encoding, FPS, Fraction(0), film.size)
            video = probe(path)
            check_equal(video, readers)
            measured = time_in_turn(candidates(video, readers), num_rounds=num_rounds)
            for who, timing in measured.items():
                timings[f"{name}: {who}"] = timing.summary(film.num_frames // STEP, "frames")
            for threads in ("one thread", "all cores"):
                ours = measured[f"ours, {threads}"]
                for other in sorted(readers.keys() - {"ours"}):
                    ratios[f"ours_over_{other}_{name}_{threads}"] = ratio(
                        ours, measured[f"{other}, {threads}"]
                    )
    write_result(
        options.out,
        settings={
            "frames": {name: film.num_frames for name, film in films.items()},
            "fps": str(FPS),
            "every": STEP,
            "rounds": num_rounds,
            "left_out": left_out,
        },
        timings=timings,
        ratios=ratios,
        targets={},
    )


def known_readers() -> tuple[Mapping[str, Read], list[str]]:
    """What can be measured here by name, and what can't, with the reason."""
    readers = {"ours": by_us, "ours with decord": by_us_with_decord, "decord": by_decord, "pyav": by_pyav}
    try:
        import torchcodec  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return readers, [f"torchcodec: {str(error).strip().partition(chr(10))[0]}"]
    version = importlib.metadata.version("torchcodec")
    return {**readers, f"torchcodec {version}": by_torchcodec}, []


def candidates(video: VideoProbe, readers: Mapping[str, Read]) -> dict[str, Callable[[], object]]:
    """Each reader with one thread and with all cores, and ours with resizing."""
    runs: dict[str, Callable[[], object]] = {}
    for threads, num_threads in (("one thread", 1), ("all cores", 0)):
        for name, read in readers.items():
            runs[f"{name}, {threads}"] = partial(_run, read, video, num_threads)
    runs["ours, resized, one thread"] = lambda: sum(map(len, resized(video)))
    return runs


def _run(read: Read, video: VideoProbe, num_threads: int) -> int:
    return sum(map(len, read(video, num_threads)))


def resized(video: VideoProbe) -> Frames:
    """Frames as DINOv2's preprocessing resizes them on a processor."""
    size = OFFICIAL.size_after_resize(video.height, video.width)
    for frames in by_us(video, 1):
        yield resize_bytes(torch.from_numpy(frames).permute(0, 3, 1, 2), size, OFFICIAL.interpolation).numpy()


def by_us(video: VideoProbe, num_threads: int) -> Frames:
    """`decode_frames`, which doesn't decode what nobody needs."""
    index = np.arange(0, video.num_frames, STEP)
    return decode_frames(video, index, batch_frames=BATCH_FRAMES, num_threads=num_threads)


def by_us_with_decord(video: VideoProbe, num_threads: int) -> Frames:
    """`decode_frames` where decord is chosen, with the sizes of all key frames checked first."""
    return by_us(replace(video, reader="decord"), num_threads)


def by_decord(video: VideoProbe, num_threads: int) -> Frames:
    """decord, read on without seeking."""
    reader = decord.VideoReader(str(video.path), num_threads=num_threads)
    for frame in range(video.num_frames):
        picture = reader.next()
        if frame % STEP == 0:
            yield picture.asnumpy()[None]


def by_pyav(video: VideoProbe, num_threads: int) -> Frames:
    """A plain loop over PyAV's frames."""
    with av.open(str(video.path)) as container:
        context = container.streams.video[0].codec_context
        context.thread_count, context.thread_type = num_threads, "AUTO"
        for frame, picture in enumerate(container.decode(video=0)):
            if frame % STEP == 0:
                yield to_rgb(picture)[None]


def by_torchcodec(video: VideoProbe, num_threads: int) -> Frames:
    """Torchcodec's decoder, on a processor."""
    from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found, unused-ignore]

    decoder = VideoDecoder(
        str(video.path), dimension_order="NHWC", num_ffmpeg_threads=num_threads, seek_mode="approximate"
    )
    for start in range(0, video.num_frames, STEP * BATCH_FRAMES):
        stop = min(start + STEP * BATCH_FRAMES, video.num_frames)
        yield decoder.get_frames_in_range(start, stop, STEP).data.numpy()


def check_equal(video: VideoProbe, readers: Mapping[str, Read]) -> None:
    """Fail unless all readers give the same pictures; torchcodec converts colours its own way, within 3 levels."""
    expected = np.concatenate(list(by_pyav(video, 1)))
    for name, read in readers.items():
        for num_threads in (1, 0):
            got = np.concatenate(list(read(video, num_threads))).astype(np.int16)
            if name.startswith("torchcodec"):
                assert np.abs(got - expected).mean() < 3, name
            elif not np.array_equal(got, expected):
                raise RuntimeError(f"{name} gives other pictures than PyAV")


if __name__ == "__main__":
    main()
