"""`sync-train experiment --cluster slurm` on two nodes: the runs of one machine, whatever happens to the jobs."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_store.layout import FeatureSet
from sync_store.writer import RecordingWriter

PROJECT = """\
[dataset]
label_fps = 10

[views.v3]
kind = "exo"

[views.e4]
kind = "ego"

[extract]
feature_set = "noise"

[train]
chunk_rows = 2
max_chunks = 32
checkpoint_seconds = 0

[train.teacher]
selection = "last"
max_epochs = 15

[train.student]
selection = "last"
max_epochs = 15

[train.cluster]
partition = "low"
gpus = 0
cpus = 1
memory_gb = 1
"""

TABLE = """\
title = "A teacher and a student"
place = "ours"
dataset = "none"

[[rows]]
label = "Teacher"
method = "no-adaptation"

[[rows]]
label = "Student"
method = "tas"
train.student.loss = "mmd"
"""

TEACHER, STUDENT = "noise.v3-e4", "noise.v3-e4.student.loss=mmd"

NOISE = FeatureSet(name="noise", recipe={"backbone": "noise"}, feature_dim=16)
NUM_ROWS = 60
SPLITS = {"train": ("t0", "t1"), "adapt": ("a0", "a1"), "test": ("e0",)}
CLASSES = ("attach", "inspect", "screw")

BY_SLURM = ("experiment", "table.toml", "--cluster", "slurm")


@dataclass(frozen=True)
class Lab:
    """A project of two views of noise whose labels change each second."""

    root: Path

    def make(self) -> "Lab":
        """Write it."""
        for folder in ("labels", "splits"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "sync.toml").write_text(PROJECT)
        (self.root / "table.toml").write_text(TABLE)
        lines = [f"{second},{second + 1},{CLASSES[second % 3]}\n" for second in range(NUM_ROWS // 10)]
        generator = np.random.default_rng(0)
        for split, recordings in SPLITS.items():
            (self.root / "splits" / f"{split}.txt").write_text("\n".join(recordings) + "\n")
            for recording in recordings:
                (self.root / "labels" / f"{recording}.csv").write_text(
                    "start_seconds,stop_seconds,label\n" + "".join(lines)
                )
                for view in ("v3", "e4"):
                    self.write(view, recording, generator)
        return self

    def write(self, view: str, recording: str, generator: np.random.Generator) -> None:
        """Features of a view."""
        times = np.arange(NUM_ROWS, dtype=np.int64) * 100_000_000
        store = self.root / "features.zarr"
        with RecordingWriter(store, NOISE, view, recording, timestamps=times, provenance={}) as writer:
            writer.append(generator.normal(size=(NUM_ROWS, NOISE.feature_dim)).astype(np.float16))
            writer.commit()

    def copy(self, root: Path) -> "Lab":
        return Lab(Path(shutil.copytree(self.root, root / "lab")))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """The command, which runs on."""
        plain = {key: value for key, value in os.environ.items() if not key.startswith("SYNC_")}
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("sync-train")), *arguments],
            cwd=self.root,
            env={**plain, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def hand_in(self) -> dict[str, dict[str, Any]]:
        """Hand the table to Slurm; the jobs by name of the run."""
        return self.jobs(*BY_SLURM)

    def jobs(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """What a command says of the jobs, by name of the run."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return {job["run"]: job for job in json.loads(done.stdout)["jobs"]}

    def states(self) -> list[str]:
        """Of the teacher's and the student's job."""
        return [job["state"] for job in self.jobs("experiment", "table.toml", "--dry-run").values()]

    def results(self) -> dict[str, bytes]:
        """All that counts in the runs: weights, predictions, and marks of what is finished."""
        names = ("model.safetensors", "finished.json", "*.csv")
        runs = self.root / "experiments"
        files = [path for name in names for path in runs.rglob(name)]
        return {str(path.relative_to(runs)): path.read_bytes() for path in files}

    def num_epochs(self, run: str, stage: str) -> int:
        """How many a stage has been trained for until now."""
        journal = self.root / "experiments" / run / "seed-0" / stage / "journal.jsonl"
        return len(journal.read_text().splitlines()) if journal.exists() else 0


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("untrained") / "lab").make()


@pytest.fixture
def lab(untrained: Lab, tmp_path: Path) -> Lab:
    return untrained.copy(tmp_path)


def test_jobs_that_reach_their_limit_or_make_room(lab: Lab, slurm: Any, tmp_path: Path) -> None:
    """The teacher's gets the signal that comes before the time limit, the student's is preempted."""
    undisturbed = lab.copy(tmp_path / "undisturbed")
    by_one_machine = undisturbed.start("experiment", "table.toml")
    numbers = {run: job["job"] for run, job in lab.hand_in().items()}
    (student,) = slurm.tasks(numbers[STUDENT])
    assert student["Dependency"].startswith(f"afterany:{numbers[TEACHER]}")
    slurm.wait_until(lambda: lab.num_epochs(TEACHER, "teacher") > 1, "the teacher is being trained")
    subprocess.run(["scancel", "--signal=USR2", numbers[TEACHER]], check=True)
    slurm.wait_for(numbers[TEACHER], "PENDING")
    teacher = lab.root / "experiments" / TEACHER / "seed-0" / "teacher"
    assert (teacher / "checkpoint.pt").exists() and not (teacher / "result.json").exists()
    check_that_slurm_has_them(lab, numbers)
    slurm.release(numbers[TEACHER])
    slurm.wait_until(lambda: lab.num_epochs(STUDENT, "tas") > 1, "the student is being trained")
    urgent = slurm.submit(
        "true", "--partition", slurm.high, "--nodes=2", "--exclusive", f"--output={lab.root}/urgent"
    )
    slurm.wait_for(urgent, "COMPLETED")
    slurm.release(numbers[STUDENT])
    slurm.wait_for(numbers[STUDENT], "COMPLETED")
    assert [slurm.tasks(number)[0]["Restarts"] for number in numbers.values()] == ["1", "1"]
    _, errors = by_one_machine.communicate(timeout=120)
    assert by_one_machine.returncode == 0, errors
    assert lab.results() == undisturbed.results() and len(lab.results()) == 6
    assert [(job["state"], job["job"]) for job in lab.hand_in().values()] == [("done", "")] * 2


def check_that_slurm_has_them(lab: Lab, numbers: dict[str, str]) -> None:
    """Both jobs wait, and neither a second command nor one of this machine begins them again."""
    again = lab.run(*BY_SLURM)
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.splitlines() == [
        f"0 of 2 jobs handed to Slurm (2 in its queue before, 0 done): {lab.root / 'experiments'}",
        "The same command with --dry-run shows how far they are",
    ]
    assert {run: job["job"] for run, job in lab.hand_in().items()} == numbers
    assert lab.states() == ["waiting", "waiting"]
    here = lab.run("experiment", "table.toml")
    assert here.returncode == 1
    assert f"{TEACHER}, seed 0, is Slurm's job {numbers[TEACHER]}. Wait for it, or cancel it" in here.stderr


def test_what_fails_is_told_and_handed_in_again(lab: Lab, slurm: Any) -> None:
    refused = lab.run(*BY_SLURM, "--partition", "nowhere")
    assert refused.returncode == 1
    assert "error: Slurm refuses the jobs: " in refused.stderr and "Check [train.cluster]" in refused.stderr
    labels = lab.root / "labels" / "t0.csv"
    whole = labels.read_text()
    labels.write_text("no labels\n")
    numbers = [job["job"] for job in lab.hand_in().values()]
    slurm.wait_for(numbers[1], "FAILED")
    teacher, student = lab.jobs("experiment", "table.toml", "--dry-run").values()
    assert (teacher["state"], student["state"]) == ("failed", "failed")
    assert teacher["error"].startswith("no-adaptation: ") and "t0.csv: no column" in teacher["error"]
    assert teacher["error"].removeprefix("no-adaptation: ") in Path(teacher["log"]).read_text()
    assert student["error"] == f"the run that makes its teacher failed: {TEACHER}"
    assert student["error"] in Path(student["log"]).read_text()
    listed = lab.run("experiment", "table.toml", "--dry-run").stdout.splitlines()
    assert (
        listed[0]
        == f"failed    {TEACHER}, seed 0: {teacher['error']} (job {numbers[0]}, log: {teacher['log']})"
    )
    labels.write_text(whole)
    again = [job["job"] for job in lab.hand_in().values()]
    assert not {*again} & {*numbers}
    subprocess.run(["scancel", *again], check=True)
    slurm.wait_until(lambda: "waiting" not in lab.states(), "the jobs are cancelled")
    cancelled = lab.run("experiment", "table.toml", "--dry-run").stdout
    assert f"ended before its work was done: cancelled, killed, or out of memory (job {again[1]}" in cancelled
