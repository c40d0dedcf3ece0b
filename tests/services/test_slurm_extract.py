"""`sync-extract --cluster slurm` on two nodes: the store of one process, whatever happens to the jobs."""

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_demo.encode import COLOR, write_video
from sync_store.layout import CLAIMS

COMMAND = str(Path(sys.executable).with_name("sync-extract"))
NAME = "dinov2-random-demo"
NUM_RECORDINGS = 4

PROJECT = """\
[dataset]
label_fps = 30

[views.e4]
kind = "ego"

[extract]
backbone = "dinov2-random-demo"
device = "cpu"

[extract.cluster]
kind = "slurm"
partition = "low"
gpus = 0
cpus = 2
memory_gb = 1
bin_hours = 1e-9
retries = 1
"""


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("SYNC_", "HF_"))}
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**plain, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def store_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in (folder / "features.zarr").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "index.json"}


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of noise, and in `reference` what one process makes of it."""
    folder = tmp_path_factory.mktemp("filmed")
    (folder / "sync.toml").write_text(PROJECT)
    generator = np.random.default_rng(0)
    for number in range(NUM_RECORDINGS):
        path = folder / "videos" / f"r{number}" / "e4.mp4"
        path.parent.mkdir(parents=True)
        pictures = generator.integers(0, 256, (5000, 32, 32, 3), dtype=np.uint8)
        write_video(path, iter(pictures), COLOR, Fraction(30), Fraction(0), (32, 32))
    return folder


@pytest.fixture(scope="module")
def by_one_process(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = Path(shutil.copytree(filmed, tmp_path_factory.mktemp("one") / "lab"))
    done = run(folder, "--cluster", "none")
    assert done.returncode == 0, done.stderr
    return store_of(folder)


@pytest.fixture
def lab(filmed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filmed, tmp_path / "lab"))


def hand_in(folder: Path, num_jobs: int = NUM_RECORDINGS) -> dict[str, Any]:
    done = run(folder, "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert len(report["jobs"]) == num_jobs
    assert f"{NUM_RECORDINGS} recordings handed to Slurm" in done.stderr
    return report


def writing_job(folder: Path) -> str:
    """Number of a job that writes a recording; empty if there is none just now."""
    for claim in (folder / "features.zarr" / CLAIMS / NAME / "e4").glob("*/[0-9]*"):
        try:
            return str(json.loads(claim.read_text())["job"])
        except (OSError, ValueError):  # let go, or not written yet
            continue
    return ""


def check_done(folder: Path, report: dict[str, Any], slurm: Any, by_one_process: dict[str, bytes]) -> None:
    slurm.wait_for(report["finalize"], "COMPLETED")
    shown = run(folder, "status", "--json")
    assert shown.returncode == 0, shown.stdout
    status = json.loads(shown.stdout)
    assert (status["done"], status["failed"], status["failed_jobs"]) == (NUM_RECORDINGS, 0, [])
    assert store_of(folder) == by_one_process
    assert (
        len(json.loads((folder / "features.zarr" / NAME / "e4" / "index.json").read_text())) == NUM_RECORDINGS
    )
    assert json.loads((folder / "extract-jobs" / NAME / "report.json").read_text())["done"] == NUM_RECORDINGS
    again = run(folder, "--json")
    assert json.loads(again.stdout)["to_do"] == []


def test_an_array_whose_node_is_killed(lab: Path, slurm: Any, by_one_process: dict[str, bytes]) -> None:
    report = hand_in(lab)
    slurm.wait_until(lambda: writing_job(lab) != "", "a job writes")
    job = writing_job(lab)
    (task,) = slurm.tasks(job)
    slurm.kill(task["NodeList"])
    slurm.release(job)
    slurm.restore(task["NodeList"])
    check_done(lab, report, slurm, by_one_process)
    (task,) = slurm.tasks(job)
    assert task["Restarts"] == "1"


def test_a_job_that_makes_room(lab: Path, slurm: Any, by_one_process: dict[str, bytes]) -> None:
    (lab / "sync.toml").write_text(PROJECT.replace("bin_hours = 1e-9", "bin_hours = 1"))
    report = hand_in(lab, num_jobs=1)
    slurm.wait_until(lambda: writing_job(lab) != "", "the job writes")
    urgent = slurm.submit(
        "sleep 1", "--partition", slurm.high, "--nodes=2", "--exclusive", f"--output={lab}/urgent"
    )
    slurm.wait_for(urgent, "COMPLETED")
    status = json.loads(run(lab, "status", "--json").stdout)
    assert (status["failed"], status["waiting"] > 0) == (0, True)
    (job,) = report["jobs"]
    slurm.release(job)
    check_done(lab, report, slurm, by_one_process)
    assert [task["Restarts"] for task in slurm.tasks(job)] == ["1"]


def test_a_bad_video_and_a_refused_partition(lab: Path, slurm: Any) -> None:
    refused = run(lab, "--partition", "nowhere")
    assert refused.returncode == 1
    assert "error: Slurm refuses the jobs" in refused.stderr and "invalid partition" in refused.stderr
    (lab / "videos" / "r2" / "e4.mp4").write_bytes(b"not a video")
    report = hand_in(lab)
    slurm.wait_for(report["finalize"], "COMPLETED")
    shown = run(lab, "status", "--json")
    assert shown.returncode == 3
    (failed,) = [one for one in json.loads(shown.stdout)["recordings"] if one["state"] == "failed"]
    assert (failed["recording"], failed["attempts"]) == ("r2", 2)
    assert failed["job"] in report["jobs"] and Path(failed["log"]).is_file()
