"""An experiment by Slurm's jobs, as far as it needs no Slurm: records, signals, usage; the jobs: tests/services."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sync_experiments.expansion import PlannedRun
from sync_store.errors import SyncError
from sync_train.experiments.handed_in import HandedIn, Record
from sync_train.experiments.job import Job

ROWS = 'title = "T"\nplace = "ours"\ndataset = "none"\n[[rows]]\nlabel = "A"\nmethod = "no-adaptation"\n'

JOB = Job(run=PlannedRun(name="a", teacher_run=None, options={}, settings=(), methods=("tas",)), seed=0)

WITH_COMMAND = """
import signal, subprocess, sys
from sync_train.experiments.notice import Notice

signal.signal(signal.SIGUSR2, lambda *_: sys.exit("put back"))
notice = Notice(signal.SIGUSR2)
with notice.kept_from_commands():
    command = subprocess.Popen(["sleep", "600"])
for number in map(int, sys.argv[1:]):
    command.send_signal(number)
    signal.raise_signal(number)
print(notice.is_given, notice.reaches_commands, flush=True)
command.terminate()
print(-command.wait(), flush=True)
notice.obey()
"""


def test_a_record_and_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed_in = HandedIn(tmp_path)
    assert handed_in.look(JOB) is None
    monkeypatch.setenv("PATH", "/nowhere")  # so that the queue is empty
    handed_in.write(JOB, Record(number="12_3", log="l"))
    found = handed_in.look(JOB)
    assert found is not None and found[0] == "failed"
    assert found[1].error == "ended before its work was done: cancelled, killed, or out of memory"
    failed = Record(number="12_3", log="l", error="tas: no")
    handed_in.write(JOB, failed)
    assert handed_in.look(JOB) == ("failed", failed)
    handed_in.forget(JOB)
    handed_in.forget(JOB)
    assert handed_in.look(JOB) is None
    (tmp_path / "logs" / "a.seed-0.json").write_text("[]")
    with pytest.raises(SyncError, match=r"a\.seed-0\.json: isn't the record of a job .*Delete it"):
        handed_in.look(JOB)


@pytest.mark.parametrize(
    ("signals", "told"),
    [
        ([signal.SIGUSR2], ["True False", str(int(signal.SIGTERM))]),
        ([signal.SIGTERM, signal.SIGUSR2], ["True True", str(int(signal.SIGTERM))]),
    ],
)
def test_submitits_signal_spares_commands_and_puts_back(signals: list[int], told: list[str]) -> None:
    arguments = [str(int(number)) for number in signals]
    done = subprocess.run(
        [sys.executable, "-c", WITH_COMMAND, *arguments], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (1, "put back\n")
    assert done.stdout.splitlines() == told


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--partition", "gpu"), 2, "--partition is for --cluster slurm, which isn't chosen."),
        (("--cluster", "slurm", "--jobs", "2"), 2, "--jobs is for processes of this machine"),
        (("--cluster", "slurm"), 1, "error: there is no Slurm here"),
        (("--set", "cluster.cpus=0"), 1, "cluster.cpus must be a number above 0, got 0"),
    ],
)
def test_what_does_not_fit_is_said(
    project: Any, arguments: tuple[str, ...], status: int, message: str
) -> None:
    (project.root / "mine.toml").write_text(ROWS)
    done = project.run("experiment", "mine.toml", *arguments, PATH="/nowhere")
    assert (done.returncode, done.stdout) == (status, "") and message in done.stderr
    assert not list((project.root / "experiments").rglob("*.json"))


def test_a_run_that_slurm_gave_up_is_told_until_it_is_run_here(project: Any) -> None:
    (project.root / "mine.toml").write_text(ROWS)
    listed = project.run("experiment", "mine.toml", "--dry-run")
    assert listed.stdout == "to do     tiny.v3-e4, seed 0: no-adaptation\n"
    record = project.root / "experiments" / "logs" / "tiny.v3-e4.seed-0.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"number": "7", "log": "l", "error": "no-adaptation: no"}')
    listed = project.run("experiment", "mine.toml", "--dry-run")
    assert listed.stdout == "failed    tiny.v3-e4, seed 0: no-adaptation: no (job 7, log: l)\n"
    done = project.run("experiment", "mine.toml", "--set", "teacher.max_epochs=1")
    assert done.returncode == 0, done.stderr
    assert not record.exists()
