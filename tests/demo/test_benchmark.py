"""Rendered folders: the same bytes each time, whole after an interruption, readable by the stages."""

import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from sync_demo.benchmark import render_benchmark
from sync_demo.plan import EGO_VIEW, KITS, SPLITS, VIEWS, Settings
from sync_store.datasets import open_dataset
from sync_store.errors import DatasetError
from sync_store.project import load_project


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_files_are_those_of_the_plan(rendered: Any) -> None:
    names = [plan.name for plan in rendered.plans]
    expected = {f"videos/{name}/{view}.mp4" for name in names for view in VIEWS}
    expected |= {f"labels/{name}.csv" for name in names} | {f"splits/{split}.txt" for split in SPLITS}
    expected |= {"demo.json", "sync.toml", "classes.txt", "recordings.csv", "offsets.csv"}
    assert set(digests(rendered.folder)) == expected


def test_the_dataset_reads_what_was_planned(rendered: Any) -> None:
    project = load_project(rendered.folder)
    dataset = open_dataset(project)
    assert dataset.recordings() == sorted(plan.name for plan in rendered.plans)
    assert dataset.label_rate == 10
    assert dataset.classes() == KITS["tabletop"].classes
    assert [len(dataset.split(split)) for split in SPLITS] == [1, 1, 1]
    assert len({name for split in SPLITS for name in dataset.split(split)}) == 3
    for plan in rendered.plans:
        assert plan.name in dataset.split(plan.split)
        assert dataset.procedure(plan.name) == plan.script.procedure.name
        (sequence,) = dataset.labeled(plan.name)
        segments = plan.script.labels()
        assert sequence.segments.labels == segments.labels
        assert sequence.segments.start_ns.tolist() == segments.start_ns.tolist()
        assert sequence.segments.stop_ns.tolist() == segments.stop_ns.tolist()
        for view in plan.views:
            assert dataset.video(plan.name, view.view).offset == view.offset_seconds
    assert [project.views[view].kind for view in VIEWS] == ["exo", "exo", "ego"]


def test_metadata_tell_toy_and_direction(rendered: Any) -> None:
    with (rendered.folder / "recordings.csv").open(newline="") as file:
        rows = {row["recording"]: row for row in csv.DictReader(file)}
    for plan in rendered.plans:
        row, procedure = rows[plan.name], plan.script.procedure
        assert (row["procedure"], row["toy"], row["kind"]) == (procedure.name, procedure.toy, procedure.kind)
        assert row["split"] == plan.split
        assert int(row["num_actions"]) == len(plan.script.labels())
        assert Fraction(row["duration_seconds"]) == Fraction(plan.script.stop_ns, 10**9)


def test_a_frames_time_and_the_views_offset_give_the_planned_time(rendered: Any) -> None:
    starts = set()
    for index, plan in enumerate(rendered.plans):
        for view in plan.views:
            with av.open(str(rendered.file(index, view.view))) as container:
                stream = container.streams.video[0]
                assert stream.time_base is not None
                ticks = sorted(p.pts for p in container.demux(stream) if p.pts is not None)
                times = [tick * stream.time_base + rendered.offset(index, view.view) for tick in ticks]
            assert times == [view.start_seconds + k / view.fps for k in range(view.num_frames)]
            starts.add(times[0])
    assert len(starts) == 3 * len(VIEWS)


def test_the_ego_file_is_ten_bit_hevc_where_the_encoder_can(rendered: Any) -> None:
    for view in VIEWS:
        with av.open(str(rendered.file(0, view))) as container:
            context = container.streams.video[0].codec_context
            found = (context.name, context.pix_fmt, (context.height, context.width))
        wanted = ("hevc", "yuv420p10le") if "libx265" in av.codec.codecs_available else ("h264", found[1])
        assert found == ((*wanted, (96, 128)) if view == EGO_VIEW else ("h264", "yuv420p", (96, 128)))


def test_one_process_or_two_and_killed_or_not_the_bytes_are_the_same(rendered: Any, tmp_path: Path) -> None:
    """Killed after the first recording is ready, at a moment when another is being written."""
    folder = tmp_path / "out"
    command = [str(Path(sys.executable).parent / "sync-demo"), "render", str(folder), "--seed", "1"]
    command += ["--recordings", "1/1/1", "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    first, second = (folder / "videos" / rendered.plans[index].name for index in (0, 1))
    partial = second.with_name(f".{second.name}.partial")
    while not (first.exists() and partial.exists() and any(partial.iterdir())):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [path.name for path in sorted((folder / "videos").iterdir())] == [partial.name, first.name]
    assert open_dataset(load_project(folder)).recordings() == [first.name]
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "3 recordings, 2 of them rendered now" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before
    assert digests(folder) == digests(rendered.folder)


def test_only_what_is_missing_is_rendered_again(rendered: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(rendered.folder, folder)
    name = rendered.plans[2].name
    (folder / "videos" / name / "v4.mp4").unlink()
    (folder / "sync.toml").write_text("# mine\n")
    (folder / "splits" / "test.txt").write_text("changed\n")
    settings = Settings(seed=1, recordings=(1, 1, 1))
    ready: list[tuple[str, int, int]] = []
    assert render_benchmark(folder, settings, workers=1, on_recording=lambda *now: ready.append(now)) == 1
    assert ready == [(name, 3, 3)]
    assert render_benchmark(folder, settings) == 0
    # sync.toml is the user's from the beginning; everything else is as it was
    assert (folder / "sync.toml").read_text() == "# mine\n"
    was, now = digests(rendered.folder), digests(folder)
    assert {path for path in was if was[path] != now[path]} == {"sync.toml"}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(
    tmp_path: Path, sync_demo: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    folder = tmp_path / "out"
    command = [str(Path(sys.executable).parent / "sync-demo"), "render", str(folder), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(list(folder.glob("videos/.*.partial"))) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    children = [
        int(task)
        for path in Path(f"/proc/{process.pid}/task").glob("*/children")
        for task in path.read_text().split()
    ]
    assert len(children) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(_is_running(child) for child in children):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    settings = Settings(recordings=(1, 1, 1))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        DatasetError, match=r"isn't empty and has no demo\.json; choose a new or empty folder"
    ):
        render_benchmark(tmp_path, settings)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (Settings(seed=2, recordings=(1, 1, 1)), r"was rendered with seed 1, now asked for seed 2\. Choose"),
        (
            Settings(seed=1, variant="kitchen", recordings=(1, 1, 1)),
            "was rendered with variant tabletop, now asked for variant kitchen",
        ),
        (
            Settings(seed=1, recordings=(2, 1, 1)),
            r"rendered with recordings \[1, 1, 1\], now asked for recordings \[2, 1, 1\]",
        ),
    ],
)
def test_other_settings_than_the_folders_are_refused(rendered: Any, changed: Settings, message: str) -> None:
    before = digests(rendered.folder)
    with pytest.raises(DatasetError, match=message):
        render_benchmark(rendered.folder, changed)
    assert digests(rendered.folder) == before


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo.json").write_text(text)
    with pytest.raises(DatasetError, match=r"demo\.json: can't be read as JSON; delete .* to render anew"):
        render_benchmark(tmp_path, Settings(recordings=(1, 1, 1)))
