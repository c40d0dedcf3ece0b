"""Every row of docs/video.md on a real file: the right picture at the right time, or the refusal it states."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest

from sync_extract.coverage import check_coverage
from sync_extract.decode import decode_frames
from sync_extract.grid import sample_grid
from sync_extract.probe import probe
from sync_store.errors import VideoError
from sync_store.reader import FeatureStore

PAGE = Path(__file__).parents[2] / "docs" / "video.md"
COMMAND = str(Path(sys.executable).with_name("sync-extract"))
PROJECT = '[views.cam]\nkind = "ego"\nclock = "container"\n'
FPS = Fraction(30)
TICK = Fraction(1, 90_000)
Make = Callable[..., Path]
Shown = list[tuple[int, Fraction]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table, and a file that proves it."""

    name: str
    coder: str = "h264"
    suffix: str = "mp4"
    options: Mapping[str, Any] = field(default_factory=dict)
    """For `make_video`."""
    build: Callable[[Any, Path, Path], Any] | None = None
    """Makes the file instead, or changes it: of Films, the file's path, and the folder of files to make it from."""
    accepted: Literal["yes", "in part", "no"] = "yes"
    reader: Literal["decord", "PyAV", "–"] = "decord"
    """Who reads it where decord is chosen; by default PyAV reads all."""
    reason: str = "every check passed"
    reported: str = ""
    """What the command prints of it, as a regular expression; nothing by default."""
    tick: Fraction = TICK
    """What the container rounds times to."""
    first: int = 0
    """Number of the first picture that is shown."""
    stop: int | None = None
    """Number of the first one that isn't shown any more."""
    earlier: Fraction = Fraction(0)
    """Seconds by which the file's times are before the written ones."""
    lost: tuple[int, ...] = ()
    """Numbers of pictures without a time of their own."""
    turns: int = 0
    """Quarter turns counter-clockwise from the picture as stored to the one shown."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the probe."""
    expected_rows: int | None = None
    """What the header lets one expect; by default the rows that there are."""

    @property
    def recording(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"\W+", "-", self.name).strip("-")

    def shown(self, films: Any) -> Shown:
        """Number and time of each picture, as the container stores it."""
        timing = {
            key: self.options[key] for key in ("fps", "count", "start", "uneven") if key in self.options
        }
        written = list(enumerate(films.times(**timing)))[self.first : self.stop]
        shifted = [(number, seconds - self.earlier) for number, seconds in written if number not in self.lost]
        return [(number, round(seconds / self.tick) * self.tick) for number, seconds in shifted]


def on_grid(shown: Shown) -> dict[int, tuple[int, Fraction]]:
    """For each point k / 30 s the nearest of the frames to which it is the nearest point: number and time."""
    serving: dict[int, list[tuple[Fraction, int, Fraction]]] = {}
    for number, seconds in shown:
        point = ceil(seconds * FPS - Fraction(1, 2))
        serving.setdefault(point, []).append((abs(point / FPS - seconds), number, seconds))
    return {point: min(frames)[1:] for point, frames in sorted(serving.items())}


def cut_at(seconds: Fraction, source: str = "whole.mp4") -> Callable[[Any, Path, Path], Any]:
    """A stream-copied cut."""
    return lambda films, path, parts: films.copy_packets(parts / source, path, from_seconds=seconds)


def end_within(frame: int) -> Callable[[Any, Path, Path], Any]:
    """The file ends within a frame."""

    def build(_: Any, path: Path, __: Path) -> None:
        with av.open(str(path)) as container:
            packet = [packet for packet in container.demux(video=0) if packet.size][frame]
        assert packet.pos is not None
        path.write_bytes(path.read_bytes()[: packet.pos + packet.size // 2])

    return build


def overwrite(old: bytes, new: bytes) -> Callable[[Any, Path, Path], Any]:
    """Change some bytes."""

    def build(_: Any, path: Path, __: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))

    return build


def turn_a_little(_: Any, path: Path, __: Path) -> None:
    """Change one number of the display matrix."""
    content = path.read_bytes()
    at = content.index(b"tkhd") + 44
    path.write_bytes(content[:at] + (40_000).to_bytes(4, "big") + content[at + 4 :])


def join(_: Any, path: Path, parts: Path) -> None:
    """Two transport streams end to end."""
    path.write_bytes((parts / "small.ts").read_bytes() + (parts / "large.ts").read_bytes())


def only_sound(films: Any, path: Path, _: Path) -> None:
    """A file without pictures."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        container.mux(stream.encode(films.silence()))
        container.mux(stream.encode(None))


def lose_frames(films: Any, path: Path, parts: Path) -> None:
    """AVI with the places of frames that the camera lost: 10 and 11."""
    films.copy_packets(parts / "whole.avi", path, keep=lambda place: place not in (10, 11))


def same_time(films: Any, path: Path, _: Path) -> None:
    """Frame 10 a ninth of a millisecond after frame 9."""
    times = films.times(count=90)
    times[10] = times[9] + Fraction(1, 9_000)
    films.write(path, times, codec="libx264", options={"bf": "0"})


MS = Fraction(1, 1_000)
EVEN_KEYS = {"options": {"g": "10", "bf": "0"}, "container_options": {"movflags": "+faststart"}}
ROWS = [
    Row(
        name="10-bit gray HEVC",
        coder="hevc",
        options={"pixel_format": "gray10le"},
        reader="PyAV",
        reason="gray10le isn't converted alike",
    ),
    Row(
        name="10-bit H.264",
        options={"pixel_format": "yuv420p10le"},
        reader="PyAV",
        reason="yuv420p10le isn't converted alike",
    ),
    Row(name="AV1", coder="av1", reader="PyAV", reason="av1 isn't known to give the same pictures"),
    Row(
        name="VP9 in WebM with a longer audio track",
        coder="vp9",
        suffix="webm",
        tick=MS,
        options={"audio": True, "audio_seconds": 6},
        facts={"missing_end_seconds": 0.0},
    ),
    Row(
        name="WebM with a longer audio track, without durations of tracks",
        coder="vp9",
        suffix="webm",
        tick=MS,
        options={"audio": True, "audio_seconds": 6},
        build=overwrite(b"DURATION", b"DURATIO-"),
        facts={"missing_end_seconds": 0.0},
        expected_rows=180,
    ),
    Row(name="ProRes", coder="prores", suffix="mov", reader="PyAV", reason="prores isn't known"),
    Row(
        name="variable frame rate",
        options={"uneven": True},
        reported="31 of 114 points of the sampling grid have no frame",
        expected_rows=90,
    ),
    Row(
        name="B-frames with open groups",
        coder="hevc-open",
        reader="PyAV",
        reason="a key frame is followed by frames shown before it",
    ),
    Row(
        name="stream-copied cut",
        build=cut_at(Fraction(38, 30)),
        first=38,
        earlier=Fraction(38, 30),
        reader="PyAV",
        reason="decord would show what the edit list hides",
        facts={"num_discarded": 2, "start_seconds": 0.0},
    ),
    Row(
        name="stream-copied cut within a frame",
        build=cut_at(Fraction(1_234, 1_000)),
        first=38,
        earlier=Fraction(38, 30),
        reader="PyAV",
        reason="decord would show what the edit list hides",
        expected_rows=53,
    ),
    Row(
        name="stream-copied cut of open groups",
        build=cut_at(Fraction(39, 30), "open.mp4"),
        accepted="in part",
        first=40,
        earlier=Fraction(39, 30),
        reader="PyAV",
        reason="decord would show what the edit list hides",
        reported=r"its first 0\.033 s refer to frames before the file's start",
        facts={"num_undecodable": 1},
        expected_rows=51,
    ),
    Row(
        name="stream-copied cut of open groups in Matroska",
        suffix="mkv",
        build=cut_at(Fraction(39, 30), "open.mp4"),
        accepted="no",
        reader="–",
        reported=r"frame 1 has no presentation time \(matroska,webm file\)",
    ),
    Row(name="start offset", options={"start": Fraction(3, 2)}, facts={"start_seconds": 1.5}),
    Row(
        name="start offset of a day in Matroska",
        suffix="mkv",
        tick=MS,
        options={"start": 86_400},
        facts={"start_seconds": 86_400.0},
    ),
    Row(
        name="rotation",
        options={"rotation": 90},
        turns=1,
        reader="PyAV",
        reason="decord turns pictures wrongly",
        facts={"width": 48, "height": 64},
    ),
    Row(
        name="odd sizes",
        coder="vp9",
        suffix="webm",
        tick=MS,
        options={"size": (49, 65)},
        reader="PyAV",
        reason="decord converts odd sizes otherwise",
        facts={"width": 65, "height": 49},
    ),
    Row(name="636x480", options={"size": (480, 636), "count": 6}),
    Row(name="1404x1404", coder="hevc", options={"size": (1404, 1404), "count": 4}),
    Row(name="3840x2160", coder="hevc", options={"size": (2160, 3840), "count": 3}),
    Row(name="pixels that aren't square", options={"options": {"x264-params": "sar=4/3"}}),
    Row(
        name="one frame only",
        suffix="mkv",
        tick=MS,
        options={"count": 1},
        reader="PyAV",
        reason="decord can't open a single frame",
        facts={"measured_fps": None, "missing_end_seconds": 0.0},
    ),
    Row(
        name="19.62 fps",
        options={"fps": Fraction(1_962, 100), "count": 60},
        reported="31 of 91 points of the sampling grid have no frame",
    ),
    Row(name="250 fps", options={"fps": 250, "count": 150}),
    Row(
        name="MPEG-TS",
        suffix="ts",
        earlier=Fraction(-2, 30),
        reader="PyAV",
        reason="decord doesn't seek reliably in mpegts",
    ),
    Row(
        name="fragmented MP4",
        options={"container_options": {"movflags": "frag_keyframe+empty_moov"}},
        earlier=Fraction(-2, 30),
    ),
    Row(
        name="AVI, Motion JPEG",
        coder="mjpeg",
        suffix="avi",
        reader="PyAV",
        reason="decord doesn't seek reliably in avi",
    ),
    Row(
        name="AVI, H.264 without B-frames",
        suffix="avi",
        options={"options": {"bf": "0"}, "time_base": Fraction(1, 30)},
        reader="PyAV",
        reason="decord doesn't seek reliably in avi",
    ),
    Row(
        name="AVI with lost frames",
        suffix="avi",
        build=lose_frames,
        lost=(10, 11),
        reader="PyAV",
        reason="decord doesn't seek reliably in avi",
        expected_rows=90,
    ),
    Row(
        name="AVI with B-frames",
        suffix="avi",
        options={"time_base": Fraction(1, 30)},
        accepted="no",
        reader="–",
        reported="AVI stores no presentation times for video with B-frames",
    ),
    Row(
        name="two frames of the same time",
        suffix="mkv",
        tick=MS,
        build=same_time,
        lost=(10,),
        reader="PyAV",
        reason="several frames have the same time",
        facts={"num_same_time": 1},
        expected_rows=90,
    ),
    Row(
        name="truncated by less than a tenth",
        options=EVEN_KEYS,
        build=end_within(84),
        accepted="in part",
        stop=84,
        reader="PyAV",
        reason="the file ends within a frame",
        reported=r"only 84 of about 90 frames .* 0\.200 s before its stated end\. These were kept",
        expected_rows=90,
    ),
    Row(
        name="truncated by more than a tenth",
        options=EVEN_KEYS,
        build=end_within(60),
        accepted="no",
        reader="–",
        reported=r"only 60 of about 90 frames .*Less than min_coverage \(90%\) is refused",
    ),
    Row(
        name="damaged within",
        suffix="mkv",
        options={"options": {"g": "30", "bf": "0"}},
        build=lambda films, path, _: films.blank_packets(path, range(30, 33)),
        accepted="no",
        reader="–",
        reported=r"the frame at 1\.\d+ s doesn't decode, although later ones do",
    ),
    Row(
        name="changing picture size",
        suffix="ts",
        build=join,
        accepted="no",
        reader="–",
        reported="the picture's size changes at .* from 64x48 to 128x96",
    ),
    Row(
        name="turned by other than quarter turns",
        options={"rotation": 90, "count": 3},
        build=turn_a_little,
        accepted="no",
        reader="–",
        reported="isn't a multiple of 90 degrees",
    ),
    Row(
        name="raw stream without a container",
        suffix="h264",
        accepted="no",
        reader="–",
        reported=r"no presentation time \(h264 file\)",
    ),
    Row(
        name="audio only",
        build=only_sound,
        accepted="no",
        reader="–",
        reported="no video stream, only audio",
    ),
    Row(
        name="two video streams",
        build=lambda films, path, parts: films.copy_packets(parts / "whole.mp4", path, twice=True),
        accepted="no",
        reader="–",
        reported="2 video streams: .* expected one",
    ),
    Row(
        name="MP4 without its end",
        build=lambda _, path, parts: path.write_bytes((parts / "whole.mp4").read_bytes()[:4_000]),
        accepted="no",
        reader="–",
        reported="an mp4 without its end, where the index is",
    ),
    Row(
        name="empty file",
        build=lambda _, path, __: path.write_bytes(b""),
        accepted="no",
        reader="–",
        reported=r"the file is empty \(0 bytes\)",
    ),
    Row(
        name="playlist",
        build=lambda _, path, __: path.write_text("ffconcat version 1.0\nfile ../../whole.mp4\n"),
        accepted="no",
        reader="–",
        reported="not a video that FFmpeg can read .* a playlist",
    ),
]
SHOWN = [row for row in ROWS if row.accepted != "no"]


def by_name(row: Row) -> str:
    return row.name


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, make_video: Make, films: Any) -> Path:
    """A project with a recording for each row of the table."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "sync.toml").write_text(PROJECT)
    make_video(folder / "whole.mp4", options={"g": "12", "bf": "2"})
    make_video(folder / "whole.avi", "mjpeg")
    make_video(folder / "open.mp4", "h264-open")
    make_video(folder / "small.ts", count=40, options={"g": "40", "bf": "0"})
    make_video(folder / "large.ts", count=40, start=2, size=(96, 128), options={"bf": "0"})
    for row in ROWS:
        path = folder / "videos" / row.recording / f"cam.{row.suffix}"
        path.parent.mkdir(parents=True)
        if row.build is None or row.options:
            make_video(path, row.coder, **row.options)
        if row.build is not None:
            row.build(films, path, folder)
    return folder


@pytest.fixture(scope="module")
def done(lab: Path) -> "subprocess.CompletedProcess[str]":
    """The command, once, on all of them."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("SYNC_", "HF_"))}
    arguments = ("--backbone", "dinov2-random-demo", "--device", "cpu", "--fps", "30", "--json")
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=lab,
        env={**plain, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def table() -> Iterator[list[str]]:
    """The cells of each row of the page, without its two lines of headings."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    for line in lines[1:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def test_each_row_of_the_page_has_a_test_and_each_test_a_row() -> None:
    assert [cells[0] for cells in table()] == [row.name for row in ROWS]
    assert len({row.recording for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=by_name)
def test_the_page_says_what_is_tested(row: Row) -> None:
    (cells,) = (cells for cells in table() if cells[0] == row.name)
    assert len(cells) == 6 and all(cells)
    assert cells[1:3] == [row.accepted, row.reader]
    assert (cells[5] == "–") == (not row.reported and not row.lost)


@pytest.mark.parametrize("row", SHOWN, ids=by_name)
def test_the_reader_of_who_chooses_decord(row: Row, lab: Path) -> None:
    video = probe(lab / "videos" / row.recording / f"cam.{row.suffix}", reader="decord")
    assert video.reader == row.reader.lower() and row.reason in video.reader_reason


@pytest.mark.parametrize("reader", ["pyav", "decord"])
@pytest.mark.parametrize("row", SHOWN, ids=by_name)
def test_the_right_picture_at_the_right_time(
    row: Row, lab: Path, films: Any, reader: Literal["pyav", "decord"]
) -> None:
    if reader == "decord" and row.reader == "PyAV":
        return
    video = probe(lab / "videos" / row.recording / f"cam.{row.suffix}", reader=reader)
    assert video.reader == reader
    assert {name: getattr(video, name) for name in row.facts} == row.facts
    shown = row.shown(films)
    assert [int(tick) * video.time_base for tick in video.pts] == [seconds for _, seconds in shown]
    grid = sample_grid(video, fps=FPS)
    batches = decode_frames(video, grid.frame_index, batch_frames=8)
    upright = [np.rot90(picture, -row.turns) for batch in batches for picture in batch]
    expected = on_grid(shown)
    assert [films.number(picture) for picture in upright] == [number for number, _ in expected.values()]
    assert grid.timestamps.tolist() == [round(seconds * 10**9) for _, seconds in expected.values()]
    assert grid.num_missing == max(expected) - min(expected) + 1 - len(expected)
    assert video.header.num_rows(FPS) == (row.expected_rows or len(grid))


@pytest.mark.parametrize("row", SHOWN, ids=by_name)
def test_the_command_stores_those_rows(
    row: Row, lab: Path, films: Any, done: "subprocess.CompletedProcess[str]"
) -> None:
    stored = FeatureStore(lab / "features.zarr").read("dinov2-random-demo", "cam", row.recording)
    times = [round(seconds * 10**9) for _, seconds in on_grid(row.shown(films)).values()]
    assert stored.timestamps.tolist() == times
    assert stored.features.shape == (len(times), 128) and np.isfinite(stored.features).all()


@pytest.mark.parametrize("row", ROWS, ids=by_name)
def test_the_command_reports_what_the_page_says(row: Row, done: "subprocess.CompletedProcess[str]") -> None:
    failed = {failure["recording"]: failure for failure in json.loads(done.stdout)["failed"]}
    assert done.returncode == 3
    assert (row.recording in failed) == (row.accepted != "yes")
    if row.accepted != "yes":
        assert failed[row.recording]["kept"] == (row.accepted == "in part")
    lines = [failed[row.recording]["message"]] if row.recording in failed else []
    lines += [line for line in done.stderr.splitlines() if re.search(rf"\b{row.recording}[:/]", line)]
    assert bool(lines) == bool(row.reported), lines
    assert not lines or re.search(row.reported, lines[0])


def test_a_slower_camera_is_no_failure(done: "subprocess.CompletedProcess[str]") -> None:
    (line,) = (line for line in done.stderr.splitlines() if "cam/19-62-fps" in line)
    assert line.startswith("WARNING: cam/19-62-fps: 31 of 91 points of the sampling grid have no frame")


@pytest.mark.parametrize("fps", [FPS, None], ids=["30", "native"])
def test_one_frame_of_a_longer_video_is_refused(
    tmp_path: Path, make_video: Make, films: Any, fps: Fraction | None
) -> None:
    path = make_video(tmp_path / "a.mp4", **EVEN_KEYS)
    end_within(1)(films, path, tmp_path)
    video = probe(path)
    grid = sample_grid(video, fps=fps)
    assert len(grid) == 1 and video.missing_end_seconds == pytest.approx(89 / 30)
    with pytest.raises(VideoError, match="only 1 of about 90 frames"):
        check_coverage(video, grid, num_frames=1, fps=fps, min_coverage=0.9)
