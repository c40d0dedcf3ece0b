"""Written videos, read back by PyAV: exact times, right pictures."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from sync_demo.encode import COLOR, GRAY, Encoding, gray_encoding, write_video
from sync_demo.plan import VIEWS

SIZE = (48, 64)


def gray_ramp(count: int) -> list[npt.NDArray[np.uint16]]:
    """Frame k is a smooth ramp, brighter with k; all levels from 0 to 1023 occur."""
    x = np.linspace(0, 1, SIZE[1])
    return [
        np.broadcast_to(np.round(1023 * x * (k + 1) / count), SIZE).astype(np.uint16) for k in range(count)
    ]


@pytest.mark.parametrize("fps", [*VIEWS.values(), Fraction(30_000, 1001)])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 1000), Fraction(1337, 1000)])
@pytest.mark.parametrize("encoding", [COLOR, gray_encoding()], ids=["color", "gray"])
def test_every_frame_has_its_exact_time(
    tmp_path: Path, encoding: Encoding, start: Fraction, fps: Fraction
) -> None:
    path = tmp_path / "a.mp4"
    frames: list[npt.NDArray[np.uint16]] | list[npt.NDArray[np.uint8]]
    frames = (
        gray_ramp(40) if encoding is not COLOR else [np.full((*SIZE, 3), 6 * k, np.uint8) for k in range(40)]
    )
    assert write_video(path, iter(frames), encoding, fps, start, SIZE) == 40
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
        assert stream.time_base is not None
        times = sorted(packet.pts * stream.time_base for packet in packets if packet.pts is not None)
        assert not any(packet.is_discard for packet in packets)
        assert stream.average_rate == fps
        assert stream.frames == 40
    assert times == [start + k / fps for k in range(40)]


def test_gray_is_ten_bits_deep_where_an_encoder_can(tmp_path: Path) -> None:
    """More levels survive than 8 bits have, near their right place."""
    encoding = gray_encoding()
    can = any(
        "yuv420p10le" in {found.name for found in av.codec.Codec(codec, "w").video_formats or []}
        for codec in ("libx265", "libx264")
        if codec in av.codec.codecs_available
    )
    assert (encoding.pixel_format == "yuv420p10le") == can
    frames = gray_ramp(12)
    path = tmp_path / "a.mp4"
    write_video(path, iter(frames), encoding, Fraction(15), Fraction(0), SIZE)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == {"libx265": "hevc", "libx264": "h264"}[encoding.codec]
        assert stream.codec_context.pix_fmt == encoding.pixel_format
        decoded = [frame.to_ndarray(format="gray10le") for frame in container.decode(stream)]
    for picture, frame in zip(decoded, frames, strict=True):
        assert np.abs(picture.astype(int) - frame).mean() < 12
    if can:
        assert len(np.unique(np.concatenate(decoded) % 4)) == 4


@pytest.mark.parametrize("encoding", GRAY, ids=lambda encoding: f"{encoding.codec}-{encoding.pixel_format}")
def test_every_gray_encoding_shows_the_same_brightness(tmp_path: Path, encoding: Encoding) -> None:
    if encoding.codec not in av.codec.codecs_available:
        pytest.skip(f"this build of PyAV has no {encoding.codec}")
    path = tmp_path / "a.mp4"
    write_video(path, iter(gray_ramp(8)), encoding, Fraction(15), Fraction(0), SIZE)
    with av.open(str(path)) as container:
        for picture, frame in zip(container.decode(video=0), gray_ramp(8), strict=True):
            rgb = picture.to_ndarray(format="rgb24").astype(float)
            assert np.abs(rgb - frame[..., None] / 1023 * 255).mean() < 4
            assert np.abs(rgb - rgb.mean(axis=2, keepdims=True)).max() <= 2  # no color in it


def test_colors_come_back(
    tmp_path: Path, decode: Callable[[Path], tuple[list[Fraction], npt.NDArray[np.uint8]]]
) -> None:
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32] = (200, 30, 30), (30, 160, 40), (40, 60, 200)
    path = tmp_path / "a.mp4"
    write_video(path, (picture for _ in range(5)), COLOR, Fraction(12), Fraction(0), SIZE)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            rgb = frame.to_ndarray(format="rgb24").astype(int)
            for corner in (np.s_[4:20, 4:28], np.s_[4:20, 36:60], np.s_[28:44, 4:28], np.s_[28:44, 36:60]):
                assert np.abs(rgb[corner] - picture[corner]).mean() < 6
    times, _ = decode(path)
    assert times == [Fraction(k, 12) for k in range(5)]


def test_a_rate_between_ticks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        write_video(tmp_path / "a.mp4", iter([]), COLOR, Fraction(7), Fraction(1, 7), SIZE)
