"""Jobs of experiments: their commands, places, lock and display; checks, and what becomes of a job in parts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sync_experiments.expansion import PlannedRun
from sync_store.errors import ProjectError, SyncError
from sync_store.lock import alone_in
from sync_train.commands.experiment import BUSY
from sync_train.experiments import slots as slots_module
from sync_train.experiments.job import TEACHER_RESULT, Commands, Job, make_jobs
from sync_train.experiments.process import newest_epoch
from sync_train.experiments.scheduler import Outcome
from sync_train.experiments.slots import choose_slots, num_processors
from sync_train.experiments.view import show_jobs
from sync_train.stage import RESULT

OPTIONS = {"feature_set": "b", "ego_feature_set": "b", "exo": "v3", "ego": "e4", "direction": "exo-to-ego"}


def a_run(name: str = "b.v3-e4", **fields: Any) -> PlannedRun:
    given = {"teacher_run": None, "options": OPTIONS, "settings": (), "methods": ("tas",)}
    return PlannedRun(name=name, **(given | fields))


def test_jobs_go_by_seed() -> None:
    jobs = make_jobs((a_run("a"), a_run("b", teacher_run="a")), (3, 1))
    assert [job.name for job in jobs] == ["a.seed-3", "b.seed-3", "a.seed-1", "b.seed-1"]


def test_commands_of_a_job() -> None:
    run = a_run(settings=('student.loss="mmd"',), methods=("feature", "tas"), checks=("retrieval/feature",))
    commands = Commands(project=Path("p/sync.toml"), runs=Path("r"), settings=("chunk_rows=2",))
    train, check = commands.steps(Job(run=run, seed=4), "cpu")
    common = "--project p/sync.toml --runs r --run b.v3-e4 --seed 4 --device cpu --set chunk_rows=2 --set student.loss="
    assert " ".join(train.arguments) == (
        f'{common}"mmd" --feature-set b --ego-feature-set b --exo v3 --ego e4 --direction exo-to-ego '
        "--teacher-run b.v3-e4 --method feature --method tas --quiet"
    )
    assert " ".join(check.arguments) == (
        f'retrieval {common}"mmd" --set direction="exo-to-ego" --set teacher_run="b.v3-e4" --feature-set b '
        "--ego-feature-set b --exo v3 --ego e4 --method feature --quiet"
    )
    assert (train.results, check.results) == (("feature", "tas"), ("retrieval/feature",))


def test_a_teacher_is_there_when_its_result_is(tmp_path: Path) -> None:
    job = Job(run=a_run(teacher_run="other"), seed=2)
    assert not job.has_teacher(tmp_path) and Job(run=a_run(), seed=2).has_teacher(tmp_path)
    result = tmp_path / "other" / "seed-2" / "teacher" / RESULT
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    assert job.has_teacher(tmp_path) and f"teacher/{RESULT}" == TEACHER_RESULT


def test_places_on_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "num_gpus", lambda: 0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("SYNC_METHOD", "tas")
    slots = choose_slots(None, "auto")
    assert slots.devices == ("cpu",) * num_processors() and slots.threads == 1
    assert slots.environment["OMP_NUM_THREADS"] == "1" and "SYNC_METHOD" not in slots.environment
    assert slots.environment["PATH"] == os.environ["PATH"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    assert (choose_slots(None, "cpu").devices, choose_slots(3, "cpu").threads) == (("cpu",), 1000)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    with pytest.raises(ProjectError, match="OMP_NUM_THREADS must be a number, got 'many'"):
        choose_slots(None, "cpu")


def test_places_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "num_gpus", lambda: 2)
    assert choose_slots(None, "auto").devices == ("cuda:0", "cuda:1")
    assert choose_slots(3, "auto").devices == ("cuda:0", "cuda:1", "cuda:0")
    assert choose_slots(None, "cuda:1").devices == ("cuda:1",)
    assert set(choose_slots(2, "cpu").devices) == {"cpu"}


def test_one_sitting_at_a_time_also_after_a_kill_that_left_a_job(tmp_path: Path) -> None:
    held = re.escape(f"{tmp_path}: another sync-train experiment is at work there")
    with alone_in(tmp_path, BUSY) as lock:
        with pytest.raises(SyncError, match=held), alone_in(tmp_path, BUSY):
            pass
        orphan = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,)
        )  # as a job
    with pytest.raises(SyncError, match=held), alone_in(tmp_path, BUSY):
        pass
    orphan.communicate(b"\n", timeout=30)
    with alone_in(tmp_path, BUSY):
        pass


def play(runs: Path, *, quiet: bool = False) -> None:
    first, second, third = make_jobs((a_run("a"), a_run("b", teacher_run="a"), a_run("[c]")), (0,))
    with show_jobs((first, second, third), runs, 2, quiet=quiet) as watcher:
        watcher.looked(())
        watcher.ended(Outcome(job=first, state="failed", seconds=61, error="tas: no"))
        watcher.ended(Outcome(job=second, state="skipped", error="why"))
        watcher.looked(())
        watcher.ended(Outcome(job=third, state="done", seconds=3))


def test_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    play(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    # After a minute for one of three jobs on two places: one minute for the two that are left.
    assert re.fullmatch(
        r"\[1/3\] a, seed 0: failed: tas: no \(0:00:00 so far, about 0:01:01 left, until \w+ \d\d:\d\d\)",
        lines[0],
    )
    assert lines[1].startswith("[2/3] b, seed 0: skipped: why (")
    assert lines[2] == "[3/3] [c], seed 0: done in 0:00:03 (0:00:00 so far)"
    play(tmp_path, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # rich takes stderr for a terminal
    monkeypatch.setenv("COLUMNS", "160")
    play(tmp_path)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "all jobs" in shown and "2 of 3 over, 0 at work, 0:00:00 so far, about 0:00:" in shown
    assert "a, seed 0: failed: tas: no" in shown and "b, seed 0: skipped: why" in shown


def test_the_stage_at_work(tmp_path: Path) -> None:
    assert newest_epoch(tmp_path) == ""
    for number, stage in enumerate(("teacher", "tas")):
        path = tmp_path / stage / "journal.jsonl"
        path.parent.mkdir()
        path.write_text('{"epoch": 0}\n{"epoch": 1}\n')
        os.utime(path, ns=(number, number))
    assert newest_epoch(tmp_path) == "tas, epoch 2"


HEAD = 'title = "T"\nplace = "ours"\ndataset = "none"\n'
ROWS = '[[rows]]\nlabel = "A"\nmethod = "no-adaptation"\n[[rows]]\nlabel = "B"\nmethod = "feature"\n'


def test_checks_are_jobs_too(project: Any) -> None:
    (project.root / "mine.toml").write_text(f'{HEAD}measure = "retrieval"\n{ROWS}')
    done = project.run("experiment", "mine.toml")
    assert done.returncode == 0, done.stderr
    folder = project.root / "experiments" / "tiny.v3-e4" / "seed-0" / "checks" / "retrieval"
    assert sorted(path.name for path in folder.glob("*.json")) == ["feature.json", "no-adaptation.json"]
    assert "1 of 1 jobs done (1 before)" in project.run("experiment", "mine.toml").stderr


def test_a_method_that_cant_be_made_doesnt_cost_the_others(project: Any) -> None:
    settings = project.root / "sync.toml"
    settings.write_text(settings.read_text().replace("num_heads = 2", "num_heads = 3"))  # of 16 features
    (project.root / "mine.toml").write_text(HEAD + ROWS)
    done = project.run("experiment", "mine.toml", "--json")
    assert done.returncode == 3
    (job,) = json.loads(done.stdout)["jobs"]
    assert (job["state"], job["made"]) == ("failed", ["no-adaptation"])
    assert job["error"].startswith("feature: ") and "num_heads" in job["error"]
    seed = project.root / "experiments" / "tiny.v3-e4" / "seed-0"
    assert (seed / "predictions" / "no-adaptation" / "e4" / "predictions.json").exists()
    assert json.loads((seed / "finished.json").read_text()).keys() == {"no-adaptation"}
