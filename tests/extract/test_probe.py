"""Frame times, and the choice of reader, on real files."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import pytest

from sync_extract.grid import sample_grid
from sync_extract.header import estimate_rows
from sync_extract.orientation import Orientation
from sync_extract.probe import VideoProbe, probe
from sync_store.errors import VideoError

NTSC = Fraction(30_000, 1_001)
FASTSTART = {"container_options": {"movflags": "+faststart"}}

Make = Callable[..., Path]


def seconds(video: VideoProbe) -> list[Fraction]:
    return [int(tick) * video.time_base for tick in video.pts]


def patch(path: Path, box: bytes, offset: int, form: str, value: int) -> int:
    """Overwrite one number behind the first four letters `box`; returns the old one."""
    content = bytearray(path.read_bytes())
    at = content.index(box) + 4 + offset
    (old,) = struct.unpack_from(form, content, at)
    struct.pack_into(form, content, at, value)
    path.write_bytes(content)
    return int(old)


@pytest.mark.parametrize(
    ("suffix", "coder", "options"),
    [
        ("mp4", "h264", {}),
        ("mp4", "h264", {"fps": NTSC}),
        ("mp4", "h264", {"uneven": True}),
        ("mp4", "h264", {"start": Fraction(3, 2)}),
        ("mov", "h264", {"uneven": True, "start": Fraction(3, 2)}),
        ("mp4", "hevc", {"uneven": True}),
        ("mkv", "h264", {"uneven": True}),
        ("webm", "vp9", {"start": Fraction(3, 2)}),
        ("mp4", "av1", {"uneven": True}),
        ("avi", "mpeg4", {}),
    ],
)
def test_times_are_exactly_those_written(
    tmp_path: Path, make_video: Make, films: Any, suffix: str, coder: str, options: dict[str, Any]
) -> None:
    written = films.times(**options)
    video = probe(make_video(tmp_path / f"a.{suffix}", coder, **options))
    tick = Fraction(1, 1000) if suffix in ("mkv", "webm") else video.time_base
    assert video.time_base == tick
    assert seconds(video) == [round(time / tick) * tick for time in written]
    assert video.start_seconds == pytest.approx(float(written[0]), abs=5e-4)
    assert (video.missing_start_seconds, video.missing_end_seconds, video.ends_within_frame) == (0, 0, False)


@pytest.mark.parametrize("options", [{}, {"uneven": True}, {"fps": NTSC}])
@pytest.mark.parametrize(
    ("suffix", "coder"), [("mp4", "h264"), ("mp4", "hevc"), ("webm", "vp9"), ("mkv", "h264")]
)
def test_decord_states_the_same_times(
    tmp_path: Path, make_video: Make, suffix: str, coder: str, options: dict[str, Any]
) -> None:
    """Decord's timestamps are float32, and lose a start offset: they are a witness here, never a source."""
    path = make_video(tmp_path / f"a.{suffix}", coder, **options)
    assert (probe(path).reader, probe(path).reader_reason) == ("pyav", "the default")
    video = probe(path, reader="decord")
    assert (video.reader, video.reader_reason) == ("decord", "every check passed")
    reader = decord.VideoReader(str(video.path))
    reader.seek(0)
    starts = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    np.testing.assert_allclose(starts, [float(second) for second in seconds(video)], atol=6e-4)


@pytest.mark.parametrize(
    ("suffix", "coder", "options", "reason"),
    [
        ("mp4", "av1", {}, "av1 isn't known to give the same pictures"),
        ("mp4", "h264", {"pixel_format": "yuv420p10le"}, "yuv420p10le isn't converted alike"),
        ("mp4", "hevc", {"pixel_format": "gray10le"}, "gray10le isn't converted alike"),
        ("mp4", "hevc", {"pixel_format": "gray"}, "gray isn't converted alike"),
        ("mp4", "h264", {"pixel_format": "yuv444p"}, "yuv444p isn't converted alike"),
        ("mp4", "hevc-open", {}, "a key frame is followed by frames shown before it"),
        ("webm", "vp9", {"size": (49, 65)}, "decord converts odd sizes otherwise"),
        ("mp4", "h264", {"rotation": 90}, "decord turns pictures wrongly"),
        ("mp4", "h264", {"options": {"g": "1"}}, "too many key frames"),
        ("ts", "h264", {}, "decord doesn't seek reliably in mpegts"),
        ("avi", "mpeg4", {}, "decord doesn't seek reliably in avi"),
    ],
)
def test_pyav_reads_what_decord_gets_wrong(
    tmp_path: Path, make_video: Make, suffix: str, coder: str, options: dict[str, Any], reason: str
) -> None:
    video = probe(make_video(tmp_path / f"a.{suffix}", coder, **options), reader="decord")
    assert video.reader == "pyav" and reason in video.reader_reason
    assert video.num_frames == 90


def test_pyav_reads_what_decord_would_hold_in_memory(
    tmp_path: Path, make_video: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4")
    monkeypatch.setattr("sync_extract.probe.HELD_BYTES", 90 * 48 * 64 * 3)
    assert probe(path, reader="decord").reader == "decord"
    monkeypatch.setattr("sync_extract.probe.HELD_BYTES", 90 * 48 * 64 * 3 - 1)
    assert "would hold all frames at once" in probe(path, reader="decord").reader_reason


def test_edit_list_of_a_copied_cut(tmp_path: Path, make_video: Make, films: Any) -> None:
    whole = make_video(tmp_path / "whole.mp4", options={"g": "12", "bf": "2"})
    path = films.copy_packets(whole, tmp_path / "cut.mp4", from_seconds=Fraction(1_234, 1_000))
    cut = probe(path, reader="decord")
    # Frame 36 is the key frame; 37 begins before the cut; 38 is the first one shown whole.
    assert cut.num_frames == 90 - 38 and cut.num_discarded == 2
    assert seconds(cut) == [Fraction(frame, 30) for frame in range(52)]
    assert cut.reader == "pyav" and "edit list" in cut.reader_reason
    assert cut.missing_end_seconds == 0


def test_edit_list_that_hides_whole_groups_of_pictures(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "trimmed.mp4", options={"g": "12", "bf": "2"})
    patch(path, b"elst", 12, ">I", 6_000 + 36 * 3_000)  # media time: where the edit begins
    patch(path, b"elst", 8, ">I", 1_800)  # its length, in milliseconds
    video = probe(path)
    assert video.num_frames == 54 and video.num_stored == 90 and seconds(video)[:2] == [0, Fraction(1, 30)]


@pytest.mark.parametrize(
    ("rotation", "hflip"), [(0, False), (90, False), (180, False), (270, False), (0, True), (90, True)]
)
def test_display_matrix(tmp_path: Path, make_video: Make, rotation: int, hflip: bool) -> None:
    """PyAV's words for it are degrees to turn the picture counter-clockwise, then left to right."""
    video = probe(make_video(tmp_path / "a.mp4", rotation=rotation, hflip=hflip, count=3))
    stored = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3)
    shown = np.rot90(stored, rotation // 90)
    shown = shown[:, ::-1] if hflip else shown
    assert np.array_equal(video.orientation.apply(stored), shown)  # type: ignore[arg-type]
    assert (video.height, video.width) == shown.shape[:2]
    assert (video.stored_height, video.stored_width) == (48, 64)


def test_no_display_matrix_turns_nothing(tmp_path: Path, make_video: Make) -> None:
    assert probe(make_video(tmp_path / "a.mp4", count=3)).orientation == Orientation()


def test_a_slanted_display_matrix_is_refused(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4", rotation=90, count=3)
    patch(path, b"tkhd", 40, ">i", 40_000)
    with pytest.raises(VideoError, match=r"isn't a multiple of 90 degrees.*Convert it upright first"):
        probe(path)


def test_cut_short_says_how_much_is_missing(tmp_path: Path, make_video: Make) -> None:
    content = make_video(tmp_path / "a.mp4", **FASTSTART).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(0.7 * len(content))])
    video = probe(tmp_path / "cut.mp4")
    assert video.reader == "pyav" and video.ends_within_frame
    assert 10 < video.num_frames < 80
    assert video.missing_end_seconds == pytest.approx((90 - video.num_frames) / 30, abs=0.11)


@pytest.mark.parametrize("audio", [False, True])
def test_cut_short_matroska(tmp_path: Path, make_video: Make, audio: bool) -> None:
    content = make_video(tmp_path / "a.mkv", audio=audio).read_bytes()
    assert probe(tmp_path / "a.mkv").missing_end_seconds == 0
    (tmp_path / "cut.mkv").write_bytes(content[: int(0.7 * len(content))])
    video = probe(tmp_path / "cut.mkv")
    assert video.reader == "pyav" and video.num_frames < 80
    assert video.missing_end_seconds == pytest.approx((90 - video.num_frames) / 30, abs=0.11)


@pytest.mark.parametrize(("stated", "stored"), [(200, 90), (40, 40)])
def test_wrong_frame_count_in_the_header(tmp_path: Path, make_video: Make, stated: int, stored: int) -> None:
    """The number of frames is that of the packets that are there; the header's is only reported."""
    path = make_video(tmp_path / "a.mp4")
    if stated > stored:
        assert patch(path, b"stts", 8, ">I", stated) == 90
    else:
        assert patch(path, b"stsz", 8, ">I", stated) == 90
    video = probe(path)
    assert video.num_frames == video.num_stored == stored
    assert video.header.num_frames != stored


def test_wrong_frame_count_in_an_avi_header(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.avi", "mpeg4")
    assert patch(path, b"strh", 4 + 32, "<I", 300) == 90
    video = probe(path)
    assert video.num_frames == 90 and video.header.num_frames == 300
    assert video.missing_end_seconds == pytest.approx(7)


def test_frames_before_the_first_key_frame_are_left_out(tmp_path: Path, make_video: Make, films: Any) -> None:
    whole = make_video(tmp_path / "whole.mkv", options={"g": "30", "bf": "0"})
    headless = probe(films.copy_packets(whole, tmp_path / "headless.mkv", keep=lambda place: place >= 20))
    assert headless.num_undecodable == 10 and headless.num_frames == 60
    assert headless.start_seconds == 1.0
    assert headless.missing_start_seconds == pytest.approx(1 / 3, abs=2e-3)


def test_the_streams_start_counts_frames_that_do_not_decode(
    tmp_path: Path, make_video: Make, films: Any
) -> None:
    whole = make_video(tmp_path / "whole.mkv", options={"g": "30", "bf": "0"})
    headless = probe(films.copy_packets(whole, tmp_path / "headless.mkv", keep=lambda place: place >= 20))
    grid = sample_grid(headless, fps=Fraction(30), clock="stream-start")
    assert grid.timestamps[0] == pytest.approx(10 / 30 * 1e9, abs=1e6)
    assert probe(whole).start_pts == 0


@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8"])
def test_a_playlist_does_not_open_other_files(tmp_path: Path, make_video: Make, name: str) -> None:
    make_video(tmp_path / "other.ts", count=5)
    path = tmp_path / name
    if name == "a.mp4":
        path.write_text("ffconcat version 1.0\nfile other.ts\n")
    else:
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nother.ts\n#EXT-X-ENDLIST\n")
    with av.open(str(path)) as container:  # FFmpeg would, if it was let
        assert container.format.name in ("concat", "hls")
    with pytest.raises(VideoError, match="not a video that FFmpeg can read"):
        probe(path)


def test_cover_pictures_and_sound_do_not_count(tmp_path: Path, make_video: Make) -> None:
    video = probe(make_video(tmp_path / "a.mp4", audio=True), reader="decord")
    assert video.num_frames == 90 and video.reader == "decord"


def test_header_estimates_rows(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4", count=90, start=Fraction(3, 2))
    assert [estimate_rows(path, fps) for fps in (Fraction(30), Fraction(10), None)] == [90, 30, 90]
    path = make_video(tmp_path / "a.mkv", count=90)
    assert [estimate_rows(path, fps) for fps in (Fraction(30), Fraction(10), None)] == [90, 30, 90]


def test_summary_is_json_with_the_measured_rate(tmp_path: Path, make_video: Make) -> None:
    summary = probe(make_video(tmp_path / "a.mp4", fps=NTSC)).summary()
    assert summary["measured_fps"] == pytest.approx(float(NTSC))
    plain = (str, int, float, type(None))
    assert all(isinstance(value, plain) for value in summary.values())


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory: pytest.TempPathFactory, make_video: Make, films: Any) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    whole = make_video(folder / "whole.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("recording notes\n" * 100)
    (folder / "no-index.mp4").write_bytes(whole.read_bytes()[:4_000])
    (folder / "folder.mp4").mkdir()
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        container.mux(stream.encode(films.silence()))
        container.mux(stream.encode(None))
    films.copy_packets(whole, folder / "two.mp4", twice=True)
    make_video(folder / "raw.h264")
    make_video(folder / "b-frames.avi", time_base=Fraction(1, 30))
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.mp4", r"no such video file\. Check the dataset's paths"),
        ("folder.mp4", "no such video file"),
        ("empty.mp4", r"the file is empty \(0 bytes\)\. Copy or download it again"),
        ("text.mp4", r"not a video that FFmpeg can read \(1600 bytes\)"),
        ("no-index.mp4", "an mp4 without its end, where the index is"),
        ("sound.mp4", r"no video stream, only audio\. Name the file with the pictures"),
        ("two.mp4", r"2 video streams: 0 \(64x48\), 1 \(64x48\); expected one.*-map 0:0"),
        ("raw.h264", r"no presentation time \(h264 file\)\. Put it into a container"),
        ("b-frames.avi", r"AVI stores no presentation times for video with B-frames\. Convert it"),
    ],
)
def test_bad_files_say_what_and_what_to_do(bad_files: Path, name: str, message: str) -> None:
    with pytest.raises(VideoError, match=message) as caught:
        probe(bad_files / name)
    assert str(caught.value).startswith(str(bad_files / name))
