"""`sync-extract --cluster slurm` on two nodes: the store of one process, whatever happens to the jobs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory, labs: Any) -> Path:
    return Path(labs.make(tmp_path_factory.mktemp("filmed"), PROJECT, [12000] * NUM_RECORDINGS))


@pytest.fixture(scope="module")
def by_one_process(filmed: Path, tmp_path_factory: pytest.TempPathFactory, labs: Any) -> dict[str, bytes]:
    folder = Path(shutil.copytree(filmed, tmp_path_factory.mktemp("one") / "lab"))
    done = labs.run(folder, "--cluster", "none")
    assert done.returncode == 0, done.stderr
    store: dict[str, bytes] = labs.store(folder)
    return store


@pytest.fixture
def lab(filmed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filmed, tmp_path / "lab"))


def hand_in(labs: Any, folder: Path, num_jobs: int = NUM_RECORDINGS) -> dict[str, Any]:
    done = labs.run(folder, "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert len(report["jobs"]) == num_jobs
    assert f"{NUM_RECORDINGS} recordings handed to Slurm" in done.stderr
    return report


def writing_job(labs: Any, folder: Path) -> str:
    """Number of a job that writes a recording; empty if there is none just now."""
    return next((str(claim["job"]) for claim in labs.claims(folder)), "")


def check_done(
    labs: Any, folder: Path, report: dict[str, Any], slurm: Any, by_one_process: dict[str, bytes]
) -> None:
    slurm.wait_for(report["finalize"], "COMPLETED")
    shown = labs.run(folder, "status", "--json")
    assert shown.returncode == 0, shown.stdout
    status = json.loads(shown.stdout)
    assert (status["done"], status["failed"], status["failed_jobs"]) == (NUM_RECORDINGS, 0, [])
    assert labs.store(folder) == by_one_process
    assert (
        len(json.loads((folder / "features.zarr" / NAME / "e4" / "index.json").read_text())) == NUM_RECORDINGS
    )
    assert json.loads((folder / "extract-jobs" / NAME / "report.json").read_text())["done"] == NUM_RECORDINGS
    again = labs.run(folder, "--json")
    assert json.loads(again.stdout)["to_do"] == []


def test_an_array_whose_node_is_killed(
    labs: Any, lab: Path, slurm: Any, by_one_process: dict[str, bytes]
) -> None:
    report = hand_in(labs, lab)
    slurm.wait_until(lambda: writing_job(labs, lab) != "", "a job writes")
    again = labs.run(lab, "--json")
    assert (again.returncode, json.loads(again.stdout)["to_do"]) == (0, [])
    assert "nothing to hand in" in again.stderr and "are in Slurm's queue" in again.stderr
    job = writing_job(labs, lab)
    (task,) = slurm.tasks(job)
    slurm.kill(task["NodeList"])
    slurm.release(job)
    check_done(labs, lab, report, slurm, by_one_process)
    (task,) = slurm.tasks(job)
    assert task["Restarts"] == "1"


def test_a_job_that_makes_room(labs: Any, lab: Path, slurm: Any, by_one_process: dict[str, bytes]) -> None:
    (lab / "sync.toml").write_text(PROJECT.replace("bin_hours = 1e-9", "bin_hours = 1"))
    report = hand_in(labs, lab, num_jobs=1)
    slurm.wait_until(lambda: writing_job(labs, lab) != "", "the job writes")
    urgent = slurm.submit(
        "sleep 1", "--partition", slurm.high, "--nodes=2", "--exclusive", f"--output={lab}/urgent"
    )
    slurm.wait_for(urgent, "COMPLETED")
    (job,) = report["jobs"]
    slurm.release(job)
    check_done(labs, lab, report, slurm, by_one_process)
    assert [task["Restarts"] for task in slurm.tasks(job)] == ["1"]


def test_a_bad_video_and_a_refused_partition(labs: Any, lab: Path, slurm: Any) -> None:
    refused = labs.run(lab, "--partition", "nowhere")
    assert refused.returncode == 1
    assert "error: Slurm refuses the jobs" in refused.stderr and "invalid partition" in refused.stderr
    (lab / "videos" / "r2" / "e4.mp4").write_bytes(b"not a video")
    report = hand_in(labs, lab)
    slurm.wait_for(report["finalize"], "COMPLETED")
    shown = labs.run(lab, "status", "--json")
    assert shown.returncode == 3
    (failed,) = [one for one in json.loads(shown.stdout)["recordings"] if one["state"] == "failed"]
    assert (failed["recording"], failed["attempts"]) == ("r2", 2)
    assert failed["job"] in report["jobs"] and Path(failed["log"]).is_file()
