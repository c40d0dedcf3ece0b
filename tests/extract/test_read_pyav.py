"""Decoding only what is asked for gives the pictures of decoding all, bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from sync_extract import read_pyav
from sync_extract.decode import decode_frames
from sync_extract.demux import decode_packets, open_video, read_packets
from sync_extract.probe import VideoProbe, probe
from sync_extract.read_pyav import can_skip
from sync_extract.rgb import to_rgb
from sync_store.errors import VideoError

Make = Callable[..., Path]
Int64s = npt.NDArray[np.int64]

X265 = "log-level=none:b-adapt=0:"

FILES: list[tuple[str, str, dict[str, Any]]] = [
    ("mp4", "h264", {}),
    ("mp4", "h264", {"uneven": True, "options": {"bf": "3", "b-pyramid": "none", "g": "17"}}),
    ("mp4", "h264", {"options": {"x264-params": "bframes=5:b-adapt=0:b-pyramid=normal:keyint=24:slices=4"}}),
    ("mp4", "h264", {"options": {"x264-params": "bframes=4:b-adapt=0:b-pyramid=strict:ref=4:keyint=12"}}),
    ("mkv", "h264", {"options": {"bf": "0", "g": "10"}}),
    ("mp4", "h264", {"options": {"x264-params": "bframes=3:b-adapt=0:tff=1:keyint=30"}}),
    ("mp4", "h264", {"options": {"x264-params": "bframes=2:b-adapt=0:intra-refresh=1:keyint=20"}}),
    ("mp4", "h264", {"pixel_format": "yuv420p10le"}),
    ("ts", "h264", {"options": {"x264-params": "bframes=3:b-adapt=0:keyint=20"}}),
    ("mp4", "h264-open", {}),
    ("mp4", "hevc", {}),
    ("mp4", "hevc", {"options": {"x265-params": X265 + "bframes=4:b-pyramid=0:keyint=16:open-gop=0"}}),
    ("mkv", "hevc", {"options": {"x265-params": X265 + "bframes=7:b-pyramid=1:keyint=30:ref=5"}}),
    ("mp4", "hevc", {"options": {"x265-params": X265 + "bframes=3:temporal-layers=3:keyint=30"}}),
    ("ts", "hevc", {}),
    ("mp4", "hevc-open", {}),
    ("webm", "vp9", {"uneven": True}),
    ("mp4", "av1", {}),
    ("mp4", "mpeg4", {"options": {"bf": "2"}}),
    ("avi", "mpeg4", {}),
]


def choices(num_frames: int, seed: int) -> list[Int64s]:
    """Every second frame, one frame, the last, and random ones from dense to sparse."""
    rng = np.random.default_rng(seed)
    some = [np.flatnonzero(rng.random(num_frames) < share) for share in (0.8, 0.5, 0.2, 0.1, 0.03)]
    every = [np.arange(first, num_frames, step) for first, step in ((0, 2), (1, 2), (2, 7))]
    ends = [np.array([0, num_frames - 1]), np.array([num_frames - 1]), rng.integers(num_frames, size=1)]
    return [index for index in some + every + ends if len(index)]


def all_pictures(video: VideoProbe) -> npt.NDArray[np.uint8]:
    """uint8 (N, H, W, 3) by PyAV alone: one thread, everything decoded."""
    by_pts = {}
    with av.open(str(video.path)) as container:
        container.streams.video[0].thread_count = 1
        for packet in container.demux(video=0):
            if video.container == "avi":
                packet.pts = packet.dts
            by_pts.update({frame.pts: to_rgb(frame) for frame in packet.decode()})
    return np.stack([by_pts[pts] for pts in video.pts.tolist()])


def read(video: VideoProbe, index: Int64s, num_threads: int = 1) -> npt.NDArray[np.uint8]:
    return np.concatenate(list(decode_frames(video, index, batch_frames=16, num_threads=num_threads)))


@pytest.mark.parametrize(("suffix", "coder", "options"), FILES)
def test_what_is_asked_for_is_what_a_whole_reading_gives(
    tmp_path: Path,
    make_video: Make,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    coder: str,
    options: dict[str, Any],
) -> None:
    """Also by leaps: here from one key frame to the next."""
    video = probe(make_video(tmp_path / f"a.{suffix}", coder, count=150, **options))
    whole = all_pictures(video)
    frames = read_pyav._frames

    def without_second_try(*arguments: Any, sparing: bool) -> Any:
        assert sparing, "decodes all, although nothing is wrong with the file"
        return frames(*arguments, sparing=sparing)

    monkeypatch.setattr(read_pyav, "_frames", without_second_try)
    for least_jump, num_threads in ((10**6, 1), (10**6, 4), (2, 1), (2, 3)):
        monkeypatch.setattr(read_pyav, "MIN_JUMP_FRAMES", least_jump)
        for index in choices(len(whole), seed=num_threads):
            assert np.array_equal(read(video, index, num_threads), whole[index])


@pytest.mark.parametrize(
    ("suffix", "coder", "options", "skipped"),
    [
        ("mp4", "h264", {"options": {"x264-params": "bframes=3:b-adapt=0:b-pyramid=none"}}, True),
        ("ts", "h264", {"options": {"x264-params": "bframes=3:b-adapt=0"}}, True),
        ("mp4", "h264", {"options": {"bf": "0"}}, False),
        ("mp4", "hevc", {"options": {"x265-params": X265 + "bframes=3"}}, True),
        ("mkv", "hevc", {"options": {"x265-params": X265 + "bframes=3"}}, True),
        ("ts", "hevc", {"options": {"x265-params": X265 + "bframes=3"}}, False),
        ("mp4", "hevc", {"options": {"x265-params": X265 + "bframes=3:temporal-layers=3"}}, False),
        ("mp4", "mpeg4", {"options": {"bf": "2"}}, False),
    ],
)
def test_what_nobody_needs_is_not_decoded(
    tmp_path: Path, make_video: Make, suffix: str, coder: str, options: dict[str, Any], skipped: bool
) -> None:
    path = make_video(tmp_path / f"a.{suffix}", coder, **options)
    with open_video(path) as (container, stream):
        packets = read_packets(path, container, stream)
        if can_skip(stream):
            packets = read_pyav._skipping(packets, stream, set())
        num_decoded = sum(1 for _ in decode_packets(packets, stream))
    assert (num_decoded < 60) if skipped else (num_decoded == 90)


def test_far_frames_are_reached_without_decoding_those_between(
    tmp_path: Path, make_video: Make, films: Any
) -> None:
    """Damage between them doesn't matter, then."""
    path = make_video(tmp_path / "a.mkv", count=300, options={"g": "30", "bf": "0"})
    films.blank_packets(path, range(31, 200))
    video = probe(path)
    assert films.numbers([read(video, np.array([5, 220, 221, 299]))]) == [5, 220, 221, 299]


@pytest.mark.parametrize("lost", [[30], [31], [40], [45, 46], [89]])
def test_a_lost_frame_is_an_error_only_where_it_is_asked_for(
    tmp_path: Path, make_video: Make, films: Any, lost: list[int]
) -> None:
    """Frames that refer to it come as FFmpeg conceals the loss; all others are as a whole reading gives them."""
    options = {"x264-params": "bframes=2:b-adapt=0:b-pyramid=none:keyint=30:scenecut=0"}
    path = make_video(tmp_path / "a.mkv", options=options)
    with av.open(str(path)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    films.blank_packets(path, lost)
    video = probe(path)
    places = np.searchsorted(video.pts, [times[place] for place in lost])
    others = np.setdiff1d(np.arange(90), places)
    asked = np.arange(90)
    if places.max() < 89:
        with pytest.raises(
            VideoError, match=r"the frame at [12]\.\d+ s doesn't decode, although later ones do"
        ):
            read(video, asked)
    else:
        assert len(read(video, asked)) == 89
    for index in (others, others[others % 2 == 0], others[others > 20]):
        plainly = [to_rgb(frame) for frame in read_pyav._frames(video, index, 1, sparing=False)]
        pictures = read(video, index)
        assert len(pictures) == len(plainly) == len(index)
        sound = (index < 30) | (index >= 60)
        assert np.array_equal(pictures[sound], np.stack(plainly)[sound])
