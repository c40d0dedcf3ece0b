"""`sync-train experiment`, the real command: to the end, again, after a kill, past what fails."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SEEDS = (0, 1)

CHANGES = {
    "seed": "max_epochs = 3\n",
    "wanted": 'max_epochs = 1\nselection = "last"\n',  # alignment needs several pairs to select on; these are few
}

SMALL = """\
title = "Two of table3's rows"
place = "ours"
dataset = "none"

[[rows]]
label = "No Adaptation"
method = "no-adaptation"

[[rows]]
label = "MMD"
method = "tas"
train.student = { loss = "mmd", pairing = "random" }
"""

STARRED = '"tcc", pairing = "same-procedure"'
"""Another of its rows, in the place of MMD."""

BASE, MMD = "tiny.v3-e4", "tiny.v3-e4.student.loss=mmd,student.pairing=random"


def prepare(project: Any) -> Any:
    """Short fits, without selection; procedures, for the rows that need them."""
    settings = project.root / "sync.toml"
    settings.write_text(settings.read_text().replace(CHANGES["seed"], CHANGES["wanted"]))
    rows = [
        f"{path.stem},{'odd' if number % 2 else 'even'}"
        for number, path in enumerate(sorted(labels_of(project)))
    ]
    (project.root / "recordings.csv").write_text("recording,procedure\n" + "\n".join(rows) + "\n")
    (project.root / "small.toml").write_text(SMALL)
    (project.root / "bad.toml").write_text(SMALL.replace("student = {", "studnt = {"))
    return project


def labels_of(project: Any) -> list[Path]:
    return list((project.root / "labels").iterdir())


def predictions(project: Any, run: str, method: str, seed: int = 0) -> dict[str, bytes]:
    folder = project.root / "experiments" / run / f"seed-{seed}" / "predictions" / method / "e4"
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.csv"))}


def weights(project: Any) -> dict[str, tuple[bytes, int]]:
    """Every model's bytes and time."""
    paths = sorted((project.root / "experiments").rglob("model.safetensors"))
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.fixture(scope="module")
def ready(build_project: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Untrained, and not to be changed. With four pairs, two of each procedure."""
    splits = {"train": ("t0", "t1"), "adapt": ("a0", "a1", "a2", "a3"), "test": ("e0", "e1")}
    return prepare(build_project(tmp_path_factory.mktemp("ready") / "project", splits=splits, seconds=5.0))


@pytest.fixture(scope="module")
def table3(
    ready: Any, project_at: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, str]:
    """A project with the whole of table3 of seed 1, and two of its rows of seed 0. Not to be changed."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    log = shared / "table3.log"
    with (shared / "table3.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker of a parallel run makes it for all
        if not log.exists():
            (shared / "table3").mkdir()
            project = ready.copy(shared / "table3")
            done = project.run("experiment", "table3", "--seed", "1", "--jobs", "2")
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
            more = project.run("experiment", "small.toml", "--seeds", "2")
            assert "4 of 4 jobs done (2 before)" in more.stderr
            log.write_text(done.stderr)
    return project_at(shared / "table3" / "copy"), log.read_text()


@pytest.fixture
def project(ready: Any, tmp_path: Path) -> Any:
    return ready.copy(tmp_path)


def test_table3_runs_to_its_end(table3: tuple[Any, str]) -> None:
    project, err = table3
    runs = project.root / "experiments"
    found = sorted(path.parent.parent.parent for path in runs.rglob("tas/e4/predictions.json"))
    assert len(found) == 9 + 1  # eight comparators and synchronized distillation; of seed 0 one
    assert all(predictions(project, BASE, "no-adaptation", seed) for seed in SEEDS)
    teachers = list(runs.rglob("teacher/model.safetensors"))
    assert [path.parent.parent.parent.name for path in teachers] == [BASE, BASE]  # one serves all rows
    lines = err.splitlines()
    assert lines[-2:] == [f"9 of 9 jobs done (0 before): {runs}", "Score with: sync-eval table table3"]
    pattern = (
        r"\[1/9\] tiny\.v3-e4, seed 1: done in 0:\d\d:\d\d \(0:\d\d:\d\d so far, about .* left, until .*\)"
    )
    assert re.fullmatch(pattern, lines[0])
    log = (runs / "logs" / f"{MMD}.seed-1.log").read_text()
    assert log.startswith("$ ") and "--teacher-run tiny.v3-e4" in log and "--seed 1" in log


def test_the_second_time_nothing_is_done(table3: Any) -> None:
    project, _ = table3
    before = weights(project)
    logs = sorted(
        (path, path.stat().st_mtime_ns) for path in (project.root / "experiments" / "logs").iterdir()
    )
    done = project.run("experiment", "table3", "table3", "--seed", "1")
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == f"9 of 9 jobs done (9 before): {project.root / 'experiments'}"
    assert weights(project) == before
    assert sorted((path, path.stat().st_mtime_ns) for path, _ in logs) == logs  # no process was started


def test_without_marks_the_trainer_finds_that_all_is_done(table3: Any, tmp_path: Path) -> None:
    project = table3[0].copy(tmp_path)
    for mark in project.root.rglob("finished.json"):
        mark.unlink()
    before = weights(project)
    done = project.run("experiment", "small.toml", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 jobs done (0 before)" in done.stderr and weights(project) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_kill_the_same_command_goes_on(table3: Any, project: Any, number: int) -> None:
    """With one job at a time it ends as the uninterrupted one that had two."""
    process = project.start("experiment", "small.toml", "--jobs", "1", SYNC_SEED="1")
    teacher = project.root / "experiments" / BASE / "seed-1" / "teacher"
    while not (teacher / "result.json" if number == signal.SIGTERM else teacher).exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert children_of(project) == []
    listed = json.loads(project.run("experiment", "small.toml", "--seed", "1", "--dry-run", "--json").stdout)
    assert [job["state"] for job in listed["jobs"]] == ["to go on", "to do"]
    done = project.run("experiment", "small.toml", "--jobs", "1", "--seed", "1")
    assert done.returncode == 0, done.stderr
    for run, method in ((BASE, "no-adaptation"), (MMD, "tas")):
        assert predictions(project, run, method, 1) == predictions(table3[0], run, method, 1) != {}
        assert predictions(project, run, method, 0) == {}


def children_of(project: Any) -> list[str]:
    """Commands that still work in a project."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(project.root) in line]


def test_what_fails_stops_nothing_else(project: Any) -> None:
    """A row whose features are damaged, with another that needs its teacher; one without features; one that is well."""
    store = project.store
    shutil.copytree(store / "tiny", store / "damaged")
    (store / "damaged" / "v3" / "t0" / "features" / "c" / "0" / "0").write_bytes(b"no shard")
    rows = (
        '[[rows]]\nlabel = "Damaged"\nmethod = "no-adaptation"\nfeatures = "damaged"\n'
        '[[rows]]\nlabel = "Its student"\nfeatures = "damaged"\ntrain.student.loss = "coral"\n'
        '[[rows]]\nlabel = "Absent"\nfeatures = "absent"\n'
    )
    (project.root / "mixed.toml").write_text(SMALL + rows)
    runs = project.root / "experiments"
    done = project.run("experiment", "mixed.toml", "--json")
    assert done.returncode == 3
    table = json.loads(done.stdout)
    states = {(job["run"], job["state"]) for job in table["jobs"]}
    assert states == {
        (BASE, "done"),
        (MMD, "done"),
        ("damaged.v3-e4", "failed"),
        ("damaged.v3-e4.student.loss=coral", "skipped"),
    }
    (failed,) = [job for job in table["jobs"] if job["state"] == "failed"]
    assert re.match(r"no-adaptation: recording t0, view v3: .* is damaged", failed["error"])
    assert failed["error"].split(": ", 1)[1] in Path(failed["log"]).read_text()
    (lacking,) = table["lacking"]
    assert (lacking["experiment"], lacking["row"]) == ("mixed.toml", "Absent")
    assert lacking["lacks"].startswith("feature set absent isn't there. Extract it with: sync-extract")
    again = project.run("experiment", "mixed.toml")
    assert again.returncode == 3
    lines = again.stderr.splitlines()
    log = runs / "logs" / "damaged.v3-e4.seed-0.log"
    assert f"2 of 4 jobs done (2 before): {runs}" in lines
    assert any(
        line.startswith("damaged.v3-e4, seed 0: failed: ") and line.endswith(f"(log: {log})")
        for line in lines
    )
    skipped = "damaged.v3-e4.student.loss=coral, seed 0: skipped: the run that makes its teacher failed: damaged.v3-e4"
    assert skipped in lines
    assert any(
        line.startswith("not there   mixed.toml Absent: feature set absent isn't there.") for line in lines
    )


def test_nothing_can_be_done(project: Any) -> None:
    text = SMALL.replace('method = "tas"', 'method = "tas"\nfeatures = "absent"')
    (project.root / "none.toml").write_text(text.replace('label = "No', 'features = "absent"\nlabel = "No'))
    done = project.run("experiment", "none.toml")
    assert done.returncode == 1
    assert (
        "0 of 0 jobs done" in done.stderr
        and "not there   none.toml No Adaptation; none.toml MMD: " in done.stderr
    )
    listed = project.run("experiment", "none.toml", "--dry-run")
    assert listed.returncode == 0 and listed.stdout.startswith(
        "not there   none.toml No Adaptation; none.toml MMD: "
    )


def test_a_dry_run_lists_and_touches_nothing(table3: Any, tmp_path: Path) -> None:
    project = table3[0].copy(tmp_path)
    shutil.rmtree(project.root / "experiments" / MMD / "seed-1")
    os.utime(project.store / "tiny" / "v3" / "t0" / "zarr.json", ns=(1, 1))
    before = sorted(str(path) for path in project.root.rglob("*") if "experiments" in path.parts)
    lines = project.run("experiment", "small.toml", "--seeds", "2", "--dry-run").stdout.splitlines()
    assert lines == [  # features that may have changed are looked at
        f"to go on  {BASE}, seed 0: no-adaptation",
        f"to go on  {MMD}, seed 0: tas",
        f"to go on  {BASE}, seed 1: no-adaptation",
        f"to do     {MMD}, seed 1: tas",
    ]
    assert sorted(str(path) for path in project.root.rglob("*") if "experiments" in path.parts) == before


def test_changed_settings_are_reported_not_mixed(table3: Any, tmp_path: Path) -> None:
    project = table3[0].copy(tmp_path)
    done = project.run("experiment", "small.toml", "--set", "teacher.smoothing=0.5", "--runs", "experiments")
    assert done.returncode == 1
    assert "failed: no-adaptation: " in done.stderr and "config.smoothing = 0.17, now 0.5" in done.stderr
    assert "give another folder with --runs, or delete the run's\n" in done.stderr


def test_changed_data_are_looked_at(table3: Any, tmp_path: Path) -> None:
    """Labels to learn from and to test on, what is done in the pairs' recordings, and which they are."""
    project = table3[0].copy(tmp_path)
    states = ("experiment", "small.toml", "--seed", "1", "--dry-run")
    for name in ("labels/e0.csv", "labels/t0.csv", "recordings.csv", "splits/adapt.txt"):
        path = project.root / name
        before = path.read_text()
        lines = before.replace("odd", "even").splitlines()
        path.write_text("\n".join(lines if name == "recordings.csv" else lines[:-1]) + "\n")
        assert {line[:9] for line in project.run(*states).stdout.splitlines()} == {"to go on "}, name
        path.write_text(before)
    assert [line.split()[0] for line in project.run(*states).stdout.splitlines()] == ["done", "done"]


def test_partners_by_procedure_follow_the_procedures(table3: Any, tmp_path: Path) -> None:
    project = table3[0].copy(tmp_path)
    path = project.root / "recordings.csv"
    path.write_text(path.read_text().replace("odd", "even"))
    (project.root / "star.toml").write_text(SMALL.replace('"mmd", pairing = "random"', STARRED))
    done = project.run("experiment", "star.toml", "--seed", "1")
    assert done.returncode == 3
    assert "1 of 2 jobs done (0 before)" in done.stderr
    assert "was trained with procedures.a1 = 'odd', now 'even'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("experiment", "tabel3"), 1, "error: there is no experiment 'tabel3', did you mean 'table3'?"),
        (("experiment", "no.toml"), 1, "error: no.toml: there is no such file"),
        (
            ("experiment", "table3", "--seeds", "2", "--seed", "1"),
            2,
            "--seeds and --seed both say which seeds",
        ),
        (
            ("experiment", "table5", "--set", 'pairs={join="index"}'),
            1,
            "error: --set pairs: table5, row 'No drop' says it; --set is for what all rows share",
        ),
        (
            ("experiment", "table3", "--set", "exo=v4"),
            1,
            "error: --set exo: rows of an experiment say it",
        ),
        (("experiment", "bad.toml"), 1, "error: bad.toml, row 'MMD': "),
        (
            ("--overwrite", "experiment", "table3"),
            2,
            "--overwrite doesn't go with experiment. Delete the folders",
        ),
        (("--exo", "v3", "experiment", "table3"), 2, "--exo doesn't go before experiment."),
        (
            ("experiment", "table3", "--set", "teacher.max_epoch=3"),
            1,
            "unknown key 'max_epoch', did you mean",
        ),
        (("experiment",), 2, "Missing argument 'NAME...'"),
    ],
)
def test_mistakes_are_named(ready: Any, arguments: tuple[str, ...], status: int, message: str) -> None:
    done = ready.run(*arguments)
    assert done.returncode == status and message in done.stderr, done.stderr
