"""Decoded pictures: which frame each is, and its colors, on real files."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.reformatter import ColorRange, Colorspace

from sync_extract.decode import decode_frames
from sync_extract.probe import VideoProbe, probe
from sync_extract.rgb import to_rgb
from sync_store.errors import VideoError

Make = Callable[..., Path]
Pictures = npt.NDArray[np.uint8]

BY_DECORD: list[tuple[str, str, dict[str, Any]]] = [
    ("mp4", "h264", {}),
    ("mp4", "h264", {"uneven": True}),
    ("mp4", "h264", {"options": {"bf": "0", "g": "10"}}),
    ("mp4", "h264", {"start": Fraction(3, 2)}),
    ("mp4", "h264", {"size": (54, 98)}),
    ("mp4", "h264", {"pixel_format": "yuvj420p"}),
    ("mp4", "h264", {"audio": True}),
    ("mkv", "h264", {"uneven": True}),
    ("mp4", "hevc", {"uneven": True}),
    ("webm", "vp9", {"uneven": True}),
]
BY_PYAV: list[tuple[str, str, dict[str, Any]]] = [
    ("mp4", "hevc-open", {}),
    ("mp4", "av1", {"uneven": True}),
    ("mp4", "h264", {"pixel_format": "yuv420p10le"}),
    ("mp4", "h264", {"pixel_format": "gray10le"}),
    ("mp4", "hevc", {"pixel_format": "gray10le"}),
    ("webm", "vp9", {"size": (49, 65)}),
    ("ts", "h264", {}),
    ("avi", "mpeg4", {}),
]


def read(video: VideoProbe, frames: "npt.NDArray[np.int64] | None" = None, batch: int = 32) -> Pictures:
    index = np.arange(video.num_frames) if frames is None else frames
    batches = list(decode_frames(video, index, batch_frames=batch))
    assert all(len(pictures) == batch for pictures in batches[:-1])
    return np.concatenate(batches) if batches else np.empty((0, video.height, video.width, 3), np.uint8)


@pytest.mark.parametrize(("suffix", "coder", "options"), BY_DECORD)
def test_readers_agree_wherever_decord_is_used(
    tmp_path: Path, make_video: Make, films: Any, suffix: str, coder: str, options: dict[str, Any]
) -> None:
    video = probe(make_video(tmp_path / f"a.{suffix}", coder, **options), reader="decord")
    assert video.reader == "decord", video.reader_reason
    pictures = read(video)
    assert films.numbers([pictures]) == list(range(90))
    assert np.array_equal(pictures, read(replace(video, reader="pyav")))


@pytest.mark.parametrize(("suffix", "coder", "options"), BY_PYAV)
def test_every_frame_is_the_one_that_was_written(
    tmp_path: Path, make_video: Make, films: Any, suffix: str, coder: str, options: dict[str, Any]
) -> None:
    video = probe(make_video(tmp_path / f"a.{suffix}", coder, **options))
    assert video.reader == "pyav"
    assert films.numbers([read(video)]) == list(range(90))


def test_copied_cut_shows_what_its_edit_list_says(tmp_path: Path, make_video: Make, films: Any) -> None:
    whole = make_video(tmp_path / "whole.mp4", options={"g": "12", "bf": "2"})
    cut = probe(films.copy_packets(whole, tmp_path / "cut.mp4", from_seconds=Fraction(1_234, 1_000)))
    assert films.numbers([read(cut)]) == list(range(38, 90))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_cut_short_gives_what_is_there(tmp_path: Path, make_video: Make, films: Any, suffix: str) -> None:
    options = {"container_options": {"movflags": "+faststart"}} if suffix == "mp4" else {}
    content = make_video(tmp_path / f"a.{suffix}", **options).read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(content[: int(0.7 * len(content))])
    video = probe(tmp_path / f"cut.{suffix}")
    numbers = films.numbers([read(video)])
    assert numbers == [round(video.seconds(frame) * 30) for frame in range(video.num_frames)]
    assert 10 < len(numbers) < 80


def test_a_damaged_index_falls_back_to_pyav(
    tmp_path: Path, make_video: Make, films: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Decord can't open an mp4 whose sample table counts too many; FFmpeg 8 can."""
    path = make_video(tmp_path / "a.mp4", container_options={"movflags": "+faststart"})
    content = path.read_bytes()
    at = content.index(b"stsz") + 12
    path.write_bytes(content[:at] + (200).to_bytes(4, "big") + content[at + 4 :])
    video = probe(path, reader="decord")
    assert video.reader == "decord"
    assert films.numbers([read(video)]) == list(range(90))
    assert "PyAV reads on from frame 0" in caplog.text


@pytest.mark.parametrize(
    ("suffix", "coder", "options"),
    [BY_DECORD[1], BY_DECORD[8], *BY_PYAV[:3], ("mp4", "h264", {"rotation": 90})],
)
def test_any_choice_of_frames_gives_the_pictures_of_a_whole_read(
    tmp_path: Path, make_video: Make, suffix: str, coder: str, options: dict[str, Any]
) -> None:
    """Also from the middle on, as an interrupted extraction does."""
    options = {"options": {"g": "20"}, **options} if coder == "h264" else options
    video = probe(make_video(tmp_path / f"a.{suffix}", coder, **options))
    whole = read(video)
    choices = [np.arange(start, 90) for start in (1, 19, 20, 21, 45, 89)]
    choices += [np.arange(0, 90, 3), np.array([7]), np.array([3, 4, 40, 88]), np.array([], np.int64)]
    for index in choices:
        assert np.array_equal(read(video, index, batch=7), whole[index])


def test_resuming_within_a_copied_cut(tmp_path: Path, make_video: Make, films: Any) -> None:
    whole = make_video(tmp_path / "whole.mp4", options={"g": "12", "bf": "2"})
    cut = probe(films.copy_packets(whole, tmp_path / "cut.mp4", from_seconds=Fraction(1_234, 1_000)))
    for start in (1, 9, 10, 11, 30, 51):
        assert films.numbers([read(cut, np.arange(start, 52))]) == list(range(38 + start, 90))


def test_pictures_are_upright(tmp_path: Path, make_video: Make) -> None:
    plain = read(probe(make_video(tmp_path / "plain.mp4", count=5)))
    turned = read(probe(make_video(tmp_path / "turned.mp4", count=5, rotation=90)))
    assert np.array_equal(turned, np.rot90(plain, axes=(1, 2)))


def test_batches_do_not_share_memory(tmp_path: Path, make_video: Make, films: Any) -> None:
    for reader in ("decord", "pyav"):
        video = replace(probe(make_video(tmp_path / "a.mp4")), reader=reader)
        batches = list(decode_frames(video, np.arange(90), batch_frames=16))
        assert [len(batch) for batch in batches] == [16] * 5 + [10]
        assert films.numbers(batches) == list(range(90))


@pytest.mark.parametrize("first", ["decord", "pyav"])
def test_changing_resolution_is_refused(tmp_path: Path, make_video: Make, films: Any, first: str) -> None:
    """Transport streams joined end to end, as some cameras leave them; also put into Matroska."""
    small = make_video(tmp_path / "small.ts", count=40, options={"g": "40", "bf": "0"})
    large = make_video(tmp_path / "large.ts", count=40, start=2, size=(96, 128), options={"bf": "0"})
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    if first == "decord":
        joined = films.copy_packets(joined, tmp_path / "joined.mkv")
    video = probe(joined, reader="decord")
    assert video.reader == first
    if first == "decord":
        with pytest.raises(VideoError, match=r"size changes at [23]\.\d+ s from 64x48 to 128x96"):
            read(probe(joined))
    with pytest.raises(VideoError, match=r"size changes at [23]\.\d+ s from 64x48 to 128x96.*scale=64:48"):
        read(video)


@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_a_hole_is_refused_and_not_filled_with_a_neighbour(
    tmp_path: Path, make_video: Make, films: Any, reader: Any
) -> None:
    path = make_video(tmp_path / "a.mkv", options={"g": "30", "bf": "0"})
    films.blank_packets(path, range(30, 33))
    video = probe(path)
    assert video.num_frames == 90
    with pytest.raises(VideoError, match=r"the frame at 1\.\d+ s doesn't decode, although later ones do"):
        read(replace(video, reader=reader))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([5, 5], "increase strictly within"),
        ([3, 2], "increase"),
        ([-1], "got 1 from -1"),
        ([90], "from 90 to 90"),
    ],
)
def test_wrong_choices_of_frames(tmp_path: Path, make_video: Make, index: list[int], message: str) -> None:
    video = probe(make_video(tmp_path / "a.mp4"))
    with pytest.raises(ValueError, match=message):
        decode_frames(video, np.array(index), batch_frames=8)
    with pytest.raises(ValueError, match="batch_frames must be at least 1, got 0"):
        decode_frames(video, np.array([0]), batch_frames=0)


def gray_frame(luma: "npt.NDArray[Any]", pixel_format: str, full_range: bool) -> av.VideoFrame:
    frame = av.VideoFrame(luma.shape[1], luma.shape[0], pixel_format)
    lines = np.frombuffer(memoryview(frame.planes[0]), luma.dtype).reshape(luma.shape[0], -1)
    lines[:, : luma.shape[1]] = luma
    frame.color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    return frame


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(("pixel_format", "bits"), [("gray", 8), ("gray10le", 10), ("gray12le", 12)])
def test_gray_becomes_three_equal_channels_by_the_stated_rule(
    pixel_format: str, bits: int, full_range: bool
) -> None:
    kind = np.uint8 if bits == 8 else np.uint16
    luma = np.arange(1 << bits).reshape(-1, 32).astype(kind)
    rgb = to_rgb(gray_frame(luma, pixel_format, full_range))
    assert rgb.shape == (*luma.shape, 3) and rgb.dtype == np.uint8
    assert (rgb == rgb[:, :, :1]).all()
    black, white = (0, 2**bits - 1) if full_range else (16 * 2 ** (bits - 8), 235 * 2 ** (bits - 8))
    for value, level in zip(luma.ravel().tolist(), rgb[:, :, 0].ravel().tolist(), strict=True):
        exact = Fraction(255 * (value - black), white - black)
        assert level == min(255, max(0, round(exact)))


MATRICES = {Colorspace.ITU601: (0.299, 0.114), Colorspace.ITU709: (0.2126, 0.0722)}
"""Red's and blue's part of the luma (ITU-R BT.601 and BT.709)."""


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize(("pixel_format", "bits"), [("yuv420p", 8), ("yuv420p10le", 10), ("yuv444p", 8)])
def test_color_is_converted_by_the_frames_own_matrix(
    pixel_format: str, bits: int, matrix: Colorspace
) -> None:
    red, blue = MATRICES[matrix]
    rng = np.random.default_rng(bits)
    for _ in range(40):
        rgb = rng.uniform(0, 255, 3)
        luma = red * rgb[0] + (1 - red - blue) * rgb[1] + blue * rgb[2]
        blue_difference = (rgb[2] - luma) / (2 * (1 - blue))
        red_difference = (rgb[0] - luma) / (2 * (1 - red))
        scale = 2 ** (bits - 8)
        stored = [
            16 * scale + luma * 219 * scale / 255,
            128 * scale + blue_difference * 224 * scale / 255,
            128 * scale + red_difference * 224 * scale / 255,
        ]
        frame = av.VideoFrame(16, 16, pixel_format)
        kind = np.uint8 if bits == 8 else np.uint16
        for plane, value in zip(frame.planes, stored, strict=True):
            np.frombuffer(memoryview(plane), kind)[:] = round(value)
        frame.colorspace, frame.color_range = matrix, ColorRange.MPEG
        picture = to_rgb(frame).astype(float)
        # one level by the conversion, and what rounding luma and chroma to whole levels makes of it
        tolerance = 1.6 if bits == 10 else 3.1
        assert np.abs(picture - rgb).max() <= tolerance
        assert (picture == picture[0, 0]).all()


def test_ten_bit_gray_through_a_lossless_file(tmp_path: Path, films: Any) -> None:
    """What a headset camera writes: every level arrives as the rule says."""
    luma = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            "libx265", rate=30, options={"x265-params": "log-level=none:lossless=1"}
        )
        stream.height, stream.width, stream.pix_fmt = 32, 32, "gray10le"
        container.mux(stream.encode(gray_frame(luma, "gray10le", full_range=False)))
        container.mux(stream.encode(None))
    (picture,) = read(probe(path))
    expected = np.clip(np.rint((luma.astype(float) - 64) * 255 / 876), 0, 255)
    assert np.array_equal(picture, np.repeat(expected[:, :, None], 3, axis=2))


FORK = """
import os, sys
from pathlib import Path
import numpy as np
from sync_extract.decode import decode_frames, probe
video = probe(Path(sys.argv[1]), reader="decord")
begun = decode_frames(video, np.arange(90), batch_frames=8)
first = next(begun)
child = os.fork()
if child == 0:
    fresh = np.concatenate(list(decode_frames(video, np.arange(90), batch_frames=8)))
    assert np.array_equal(fresh[:8], first)
    try:
        next(begun)
    except RuntimeError as error:
        print(error, len(fresh), flush=True)
        os._exit(0)
    os._exit(1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, sum(map(len, begun)))
"""


def test_a_reader_never_crosses_a_fork(tmp_path: Path, make_video: Make) -> None:
    """Decord would hang; one made in the child works, and the parent's goes on."""
    path = make_video(tmp_path / "a.mp4")
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "a video reader doesn't survive a fork: open it in the process that reads 90",
        "0 82",
    ]


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np
from sync_extract.decode import decode_frames, probe
video = probe(Path(sys.argv[1]))
frames = decode_frames(video, np.arange(video.num_frames), batch_frames=8, num_threads=2)
next(frames)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = 8 + sum(map(len, frames))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(video.reader, count, count * video.width * video.height * 3 >> 20, (after - before) >> 10)
"""


def test_memory_does_not_grow_with_the_video(tmp_path: Path, make_video: Make) -> None:
    options = {"preset": "ultrafast"}
    path = make_video(tmp_path / "a.mp4", count=250, size=(360, 640), options=options)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    reader, count, decoded_mib, grown_mib = done.stdout.split()
    assert (reader, count) == ("pyav", "250") and int(decoded_mib) > 160
    assert int(grown_mib) < 50
