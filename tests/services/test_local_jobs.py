"""Extraction by several processes of one machine: the store of one, failures that are counted, jobs that die."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from sync_store.layout import CLAIMS
from sync_store.reader import FeatureStore
from sync_store.verify import verify_store

pytestmark = pytest.mark.long

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


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory, labs: Any) -> Path:
    """A project whose recordings differ in length."""
    return Path(labs.make(tmp_path_factory.mktemp("filmed"), PROJECT, [90, 150, 210, 270]))


@pytest.fixture
def lab(filmed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filmed, tmp_path / "lab"))


@pytest.fixture(scope="module")
def by_one_process(filmed: Path, tmp_path_factory: pytest.TempPathFactory, labs: Any) -> dict[str, bytes]:
    folder = Path(shutil.copytree(filmed, tmp_path_factory.mktemp("one") / "lab"))
    done = labs.run(folder, "--cluster", "none")
    assert done.returncode == 0, done.stderr
    store: dict[str, bytes] = labs.store(folder)
    return store


def test_two_processes_make_the_store_of_one(labs: Any, lab: Path, by_one_process: dict[str, bytes]) -> None:
    done = labs.run(lab, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["cluster"] == "local" and report["done"] == 4 and not report["failed_processes"]
    submission = json.loads((lab / "extract-jobs" / NAME / "submission.json").read_text())
    assert len(submission["bins"]) == 2
    assert labs.store(lab) == by_one_process
    assert not (lab / "features.zarr" / CLAIMS).exists()
    assert len(json.loads((lab / "features.zarr" / NAME / "e4" / "index.json").read_text())) == 4
    again = labs.run(lab)
    assert again.returncode == 0
    assert again.stderr == f"{NAME}: 0 to extract; 4 done, 0 running, 0 waiting, 0 failed\n"


def test_a_dry_run_says_what_is_left_and_does_nothing(labs: Any, lab: Path) -> None:
    done = labs.run(lab, "--dry-run", "--json", "--recording", "r2")
    assert json.loads(done.stdout)["to_do"] == ["e4/r2"]
    assert not (lab / "extract-jobs").exists() and not (lab / "features.zarr").exists()


def test_a_bad_video_is_tried_again_then_passed_over(
    labs: Any, lab: Path, by_one_process: dict[str, bytes]
) -> None:
    video = lab / "videos" / "r1" / "e4.mp4"
    good = video.read_bytes()
    video.write_bytes(good[: len(good) // 2])
    done = labs.run(lab)
    assert done.returncode == 3
    assert f"{NAME}: 4 to extract; 3 done, 0 running, 0 waiting, 1 failed" in done.stderr
    shown = labs.run(lab, "status", "--json")
    assert shown.returncode == 3
    status = json.loads(shown.stdout)
    (failed,) = [one for one in status["recordings"] if one["state"] == "failed"]
    assert (status["done"], failed["recording"], failed["attempts"]) == (3, "r1", 2)
    assert "r1/e4.mp4" in failed["error"] and failed["error"] in done.stderr
    assert Path(failed["log"]).is_file() and failed["host"]
    assert "e4/r1" in Path(failed["log"]).read_text()
    told = labs.run(lab, "status")
    assert told.stdout.startswith(f"{NAME}: 3 done, 0 running, 0 waiting, 1 failed\n")

    passed_over = labs.run(lab)
    assert passed_over.returncode == 3
    assert failed["error"] in passed_over.stderr and f"{NAME}: 0 to extract; 3 done" in passed_over.stderr
    video.write_bytes(good)
    named = labs.run(lab, "--recording", "r1")
    assert named.returncode == 0, named.stderr
    assert labs.store(lab) == by_one_process
    assert labs.run(lab, "status").returncode == 0


def test_a_killed_process_loses_only_what_it_was_at(
    labs: Any, lab: Path, by_one_process: dict[str, bytes]
) -> None:
    running = labs.start(lab)
    victim = wait_for_writer(labs, lab)
    os.kill(victim, signal.SIGKILL)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 3
    assert "(log: " in said
    done = labs.run(lab)
    assert done.returncode == 0, done.stderr
    assert labs.store(lab) == by_one_process


def test_sigterm_ends_all_processes_and_the_next_run_goes_on(
    labs: Any, lab: Path, by_one_process: dict[str, bytes]
) -> None:
    running = labs.start(lab)
    writer = wait_for_writer(labs, lab)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 143
    with pytest.raises(ProcessLookupError):
        os.kill(writer, 0)
    assert labs.run(lab).returncode == 0
    assert labs.store(lab) == by_one_process
    assert {finding.state for finding in verify_store(FeatureStore(lab / "features.zarr"), [], [])} == {
        "good"
    }


def test_two_commands_at_once_share_the_work(labs: Any, lab: Path, by_one_process: dict[str, bytes]) -> None:
    commands = [labs.start(lab, "--cluster", "none"), labs.start(lab, "--cluster", "none")]
    for command in commands:
        _, said = command.communicate(timeout=120)
        assert command.returncode in (0, 3)
        assert "Traceback" not in said
        if command.returncode == 3:
            assert "is being written by process" in said and "left to it" in said
    assert labs.run(lab, "--cluster", "none").returncode == 0
    assert labs.store(lab) == by_one_process


def test_a_job_without_weights_says_so(labs: Any, lab: Path) -> None:
    done = labs.run(lab, "--backbone", "tsm", "--weights", str(lab / "sync.toml"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "sync.toml" in done.stderr and "(log: " in done.stderr
    shown = labs.run(lab, "status", "--backbone", "tsm", "--json")
    assert shown.returncode == 3
    failed = json.loads(shown.stdout)["failed_jobs"]
    assert failed and all("sync.toml" in job["error"] for job in failed)


def test_overwriting_needs_one_process(labs: Any, lab: Path) -> None:
    done = labs.run(lab, "--overwrite")
    assert done.returncode == 2 and "--cluster none" in done.stderr


def wait_for_writer(labs: Any, folder: Path) -> int:
    """Number of a process that writes a recording."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if claims := labs.claims(folder):
            return int(claims[0]["process"])
        time.sleep(0.01)
    raise AssertionError("nobody writes")
