"""Extraction by several jobs on one machine: the store of one process, failures that are counted, jobs that die."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_extract.cluster.bins import Item, num_bins, pack
from sync_extract.cluster.ledger import Attempt, Ledger
from sync_store.layout import CLAIMS
from sync_store.reader import FeatureStore
from sync_store.verify import verify_store

COMMAND = str(Path(sys.executable).with_name("sync-extract"))

PROJECT = """\
[dataset]
label_fps = 15

[views.e4]
kind = "ego"

[extract]
backbone = "dinov2-random-demo"
device = "cpu"
batch_size = 32

[extract.cluster]
kind = "local"
processes = 2
retries = 1
"""

NAME = "dinov2-random-demo"
RECORDINGS = ("r0", "r1", "r2", "r3")


def environment(**more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("SYNC_", "HF_"))}
    return {**plain, "OMP_NUM_THREADS": "1", **more}


def run(folder: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
    )


def rows_and_attributes(folder: Path) -> dict[str, Any]:
    """All bytes of the store's arrays, and the attributes of its recordings."""
    files = [
        path for path in (folder / "features.zarr").rglob("*") if path.is_file() and path.name != "index.json"
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """A project whose recordings differ in length."""
    folder = tmp_path_factory.mktemp("filmed")
    (folder / "sync.toml").write_text(PROJECT)
    for number, name in enumerate(RECORDINGS):
        make_video(folder / "videos" / name / "e4.mp4", count=45 + 30 * number)
    return folder


@pytest.fixture
def lab(filmed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filmed, tmp_path / "lab"))


@pytest.fixture(scope="module")
def by_one_process(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = Path(shutil.copytree(filmed, tmp_path_factory.mktemp("one") / "lab"))
    done = run(folder, "--cluster", "none")
    assert done.returncode == 0, done.stderr
    return rows_and_attributes(folder)


def test_two_processes_make_the_store_of_one(lab: Path, by_one_process: dict[str, Any]) -> None:
    done = run(lab, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["cluster"] == "local" and report["done"] == 4 and not report["failed_processes"]
    submission = json.loads((lab / "extract-jobs" / NAME / "submission.json").read_text())
    assert len(submission["bins"]) == 2
    assert rows_and_attributes(lab) == by_one_process
    assert not (lab / "features.zarr" / CLAIMS).exists()
    assert len(json.loads((lab / "features.zarr" / NAME / "e4" / "index.json").read_text())) == 4
    again = run(lab)
    assert again.returncode == 0 and again.stderr == f"{NAME}: 0 to extract\n"


def test_a_dry_run_says_what_is_left_and_does_nothing(lab: Path) -> None:
    done = run(lab, "--dry-run", "--json", "--recording", "r2")
    assert json.loads(done.stdout)["to_do"] == ["e4/r2"]
    assert not (lab / "extract-jobs").exists() and not (lab / "features.zarr").exists()


def test_a_bad_video_is_tried_again_then_passed_over(lab: Path, by_one_process: dict[str, Any]) -> None:
    video = lab / "videos" / "r1" / "e4.mp4"
    good = video.read_bytes()
    video.write_bytes(good[: len(good) // 2])
    done = run(lab)
    assert done.returncode == 3
    assert f"{NAME}: 3 done, 0 waiting, 1 failed" in done.stderr
    shown = run(lab, "status", "--json")
    assert shown.returncode == 3
    status = json.loads(shown.stdout)
    (failed,) = [one for one in status["recordings"] if one["state"] == "failed"]
    assert (status["done"], failed["recording"], failed["attempts"]) == (3, "r1", 2)
    assert "r1/e4.mp4" in failed["error"] and failed["error"] in done.stderr
    assert Path(failed["log"]).is_file() and failed["host"]
    assert "e4/r1" in Path(failed["log"]).read_text()
    told = run(lab, "status")
    assert told.stdout.startswith(f"{NAME}: 3 done, 0 running, 0 waiting, 1 failed\n")

    passed_over = run(lab)
    assert (passed_over.returncode, passed_over.stderr) == (0, f"{NAME}: 0 to extract\n")
    video.write_bytes(good)
    named = run(lab, "--recording", "r1")
    assert named.returncode == 0, named.stderr
    assert rows_and_attributes(lab) == by_one_process
    assert run(lab, "status").returncode == 0


def test_a_killed_process_loses_only_what_it_was_at(lab: Path, by_one_process: dict[str, Any]) -> None:
    running = start(lab)
    (lab / "videos" / "r3" / "e4.mp4").touch()
    victim = wait_for_writer(lab)
    os.kill(victim, signal.SIGKILL)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 3
    assert "(log: " in said
    done = run(lab)
    assert done.returncode == 0, done.stderr
    assert rows_and_attributes(lab) == by_one_process


def test_sigterm_ends_all_processes_and_the_next_run_goes_on(
    lab: Path, by_one_process: dict[str, Any]
) -> None:
    running = start(lab)
    writer = wait_for_writer(lab)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(writer, 0)
    assert run(lab).returncode == 0
    assert rows_and_attributes(lab) == by_one_process
    assert {finding.state for finding in verify_store(FeatureStore(lab / "features.zarr"), [], [])} == {
        "good"
    }


def test_two_commands_at_once_share_the_work(lab: Path, by_one_process: dict[str, Any]) -> None:
    commands = [start(lab, "--cluster", "none"), start(lab, "--cluster", "none")]
    for command in commands:
        _, said = command.communicate(timeout=120)
        assert command.returncode in (0, 3)
        assert "Traceback" not in said
        if command.returncode == 3:
            assert "is being written by process" in said and "left to it" in said
    assert run(lab, "--cluster", "none").returncode == 0
    assert rows_and_attributes(lab) == by_one_process


def test_a_job_without_weights_says_so(lab: Path) -> None:
    done = run(lab, "--backbone", "tsm", "--weights", str(lab / "sync.toml"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "sync.toml" in done.stderr and "(log: " in done.stderr
    shown = run(lab, "status", "--backbone", "tsm", "--json")
    assert shown.returncode == 3
    failed = json.loads(shown.stdout)["failed_jobs"]
    assert failed and all("sync.toml" in job["error"] for job in failed)


def test_no_slurm_here(lab: Path) -> None:
    done = run(lab, "--cluster", "slurm", PATH="/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no Slurm here") and "--cluster local" in done.stderr


def test_overwriting_needs_one_process(lab: Path) -> None:
    done = run(lab, "--overwrite")
    assert done.returncode == 2 and "--cluster none" in done.stderr


@given(rows=st.lists(st.integers(0, 10_000), min_size=1, max_size=60), most=st.integers(1, 9))
def test_bins_hold_every_item_once_and_are_even(rows: list[int], most: int) -> None:
    items = [Item(view="e4", recording=f"r{number}", rows=count) for number, count in enumerate(rows)]
    bins = pack(items, num_bins(items, bin_rows=3000, most=most))
    assert sorted((item for of_bin in bins for item in of_bin), key=items.index) == items
    assert all(bins) and len(bins) <= most
    loads = [sum(max(1, item.rows) for item in of_bin) for of_bin in bins]
    assert max(loads) <= sum(loads) / len(bins) + max(1, *rows, 1)  # Graham's bound


def attempt(job: str, *, first_row: int = 0, error: str = "") -> Attempt:
    return Attempt(
        job=job, host="n1", log="", began="2026-01-01T00:00:00+00:00", first_row=first_row, error=error
    )


def test_an_attempt_that_ends_without_a_word_counts_unless_it_added_rows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.begin("e4", "r", attempt("1"))
    ledger.begin("e4", "r", attempt("1"))  # requeued by Slurm
    assert ledger.failures("e4", "r") == []
    ledger.begin("e4", "r", attempt("2"))
    (silent,) = ledger.failures("e4", "r")
    assert silent.job == "1" and "without a word" in silent.error
    ledger.begin("e4", "r", attempt("3", first_row=256))
    assert len(ledger.failures("e4", "r")) == 1
    ledger.fail("e4", "r", attempt("3", error="broken"))
    assert [one.error for one in ledger.failures("e4", "r")][1:] == ["broken"]
    ledger.finish("e4", "r")
    assert ledger.failures("e4", "r") == []


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_writer(folder: Path) -> int:
    """Number of a process that writes a recording."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in (folder / "features.zarr" / CLAIMS).rglob("[0-9]*"):
            try:
                return int(json.loads(path.read_text())["process"])
            except (OSError, ValueError):  # let go, or not written yet
                continue
        time.sleep(0.01)
    raise AssertionError("nobody writes")
