"""Rates and times left, and what a terminal and a log file see."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sync_extract.plan import Failure, Job
from sync_extract.progress import Pace, show_progress
from sync_store.datasets import VideoSource

ESCAPE = "\x1b"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def job(name: str, expected_rows: int) -> Job:
    source = VideoSource(recording=name, view="e4", path=Path(f"{name}.mp4"))
    return Job(source=source, state="new", expected_rows=expected_rows)


def test_pace_counts_only_what_this_run_computed() -> None:
    clock = Clock()
    pace = Pace(1_000, done=400, clock=clock)
    assert pace.seconds_left is None and str(pace) == ""
    clock.now += 2
    pace.advance(100)
    assert (pace.rows_per_second, pace.seconds_left, pace.done) == (50, 10, 500)
    assert str(pace) == "50.0 rows/s, 0:00:10 left"
    pace.total = 480  # fewer came than the header promised
    assert pace.seconds_left == 0


SHOW = """
import sys, time
from pathlib import Path
from sync_extract.plan import Failure, Job
from sync_extract.progress import show_progress
from sync_store.datasets import VideoSource

def job(name, expected_rows):
    source = VideoSource(recording=name, view="e4", path=Path(f"{name}.mp4"))
    return Job(source=source, state="new", expected_rows=expected_rows)

a, b, c = jobs = [job("a", 100), job("b", 200), job("c", 300)]
with show_progress(jobs, quiet="quiet" in sys.argv) as watcher:
    watcher.started(a, 40, 110)
    for _ in range(7):
        watcher.advanced(a, 10)
        time.sleep(0.05)
    watcher.finished(a, None)
    watcher.finished(b, Failure.of(b, "b.mp4: the file is empty [0 bytes]"))
    watcher.started(c, 0, 300)
    watcher.advanced(c, 150)
    time.sleep(0.15)
    watcher.advanced(c, 150)
    watcher.finished(c, Failure.of(c, "only a part", kept=True))
"""


def test_a_log_file_gets_a_plain_line_a_video() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, timeout=60, check=True
    )
    first, second, third = done.stderr.splitlines()
    assert first.startswith("[1/3] e4/a: 70 rows, ") and " rows/s; all videos: " in first
    assert first.endswith(" left") and ESCAPE not in done.stderr and done.stdout == ""
    assert second.startswith("[2/3] e4/b: failed: b.mp4: the file is empty [0 bytes]")
    assert third.startswith("[3/3] e4/c: 300 rows, ") and third.endswith("incomplete: only a part")


def test_quiet_is_quiet() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW, "quiet"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == done.stdout == ""


def test_a_terminal_shows_rates_and_times_left_of_each_video_and_of_all() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
    with subprocess.Popen([sys.executable, "-c", SHOW], stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    assert ESCAPE in text
    lines = [line for line in text.replace("\r", "\n").split("\n") if "rows/s" in line]
    assert any("all videos (0/3 done)" in line and "/610 rows" in line and " left" in line for line in lines)
    assert any("e4/a" in line and "/110 rows" in line and " left" in line for line in lines)
    # the failed video's frames are no longer to come
    assert any("all videos (3/3 done)" in line and "410/410 rows" in line for line in lines)
    assert "failed: e4/b: b.mp4: the file is empty [0 bytes]" in text
    assert "incomplete: e4/c: only a part" in text


def test_time_left_of_all_videos_follows_what_each_turns_out_to_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("sync_extract.progress.Pace.__init__.__defaults__", (0, clock))
    jobs = [job("a", 100), job("b", 200), job("c", 0)]
    with show_progress(jobs) as watcher:
        watcher.started(jobs[0], 0, 100)
        clock.now += 10
        watcher.advanced(jobs[0], 100)
        watcher.finished(jobs[0], None)
        watcher.finished(jobs[1], Failure.of(jobs[1], "broken"))
        watcher.started(jobs[2], 0, 50)
        clock.now += 5
        watcher.advanced(jobs[2], 50)
        watcher.finished(jobs[2], None)
    assert capsys.readouterr().err.splitlines() == [
        "[1/3] e4/a: 100 rows, 10.0 rows/s; all videos: 10.0 rows/s, 0:00:20 left",
        "[2/3] e4/b: failed: broken; all videos: 10.0 rows/s, 0:00:00 left",
        "[3/3] e4/c: 50 rows, 10.0 rows/s",
    ]
