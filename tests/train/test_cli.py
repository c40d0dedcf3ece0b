"""The command `sync-train` in processes of its own: kills, output, wrong usage."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from sync_train.journal import read_journal

STAGES = ("teacher", "ego-oracle", "adapter", "tas", "feature-tas")


def wait_until(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not happened():
        if process.poll() is not None:
            raise AssertionError(f"ended before it could be killed: {process.communicate()}")
        time.sleep(0.002)


def test_killed_runs_end_with_the_same_bytes(project: Any, finished: Any) -> None:
    """SIGKILL in the teacher, SIGTERM in the student: the third run ends as one that nobody disturbed."""
    methods = ("--method", "feature", "--method", "tas")
    file = project.root / "sync.toml"
    file.write_text(file.read_text().replace("[train]\n", "[train]\ncheckpoint_seconds = 0\n"))

    process = project.start(*methods)
    wait_until((project.stage("teacher") / "checkpoint.pt").exists, process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (project.stage("teacher") / "result.json").exists()
    weights = project.root / "runs" / "main" / "seed-0"
    assert list(weights.glob("*/model.safetensors")) == []

    process = project.start(*methods)
    wait_until((project.stage("tas") / "checkpoint.pt").exists, process)
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 143
    assert err.endswith("interrupted; run the same command again to go on\n") and "Traceback" not in err
    assert (project.stage("teacher") / "result.json").exists()
    assert not (project.stage("tas") / "result.json").exists()
    assert json.loads(project.stage("config.json").read_text())["methods"] == ["feature", "tas"]

    done = project.run(*methods)
    assert done.returncode == 0, done.stderr
    assert "seed 0, teacher: done before" in done.stderr
    whole, _ = finished
    for stage in ("teacher", "adapter", "tas"):
        assert project.weights(stage) == whole.weights(stage), stage
        journals = [read_journal(place.stage(stage) / "journal.jsonl") for place in (project, whole)]
        assert journals[0] == journals[1]
    for method in ("feature", "tas"):
        assert project.predictions(method) == whole.predictions(method) != {}
    assert list(weights.rglob("*.partial")) == [] and list(weights.rglob("checkpoint.pt")) == []


def test_the_bare_command_makes_every_row_and_tells_so_plainly(finished: Any) -> None:
    """Not a terminal: a line a stage on stderr, and no control characters."""
    project, done = finished
    assert done.stdout == ""
    *stages, run, hint = done.stderr.splitlines()
    number = r"-?\d+(\.\d+)?"
    assert len(stages) == len(STAGES)
    for line, stage in zip(stages, STAGES, strict=True):
        wanted = rf"seed 0, {stage}: kept epoch [123] of 3, loss {number}, score {number}"
        assert re.fullmatch(wanted, line), line
    assert run == f"run main, seeds 0: {project.root / 'runs' / 'main'}"
    assert hint == "Score it with: sync-eval"


def test_seeds_methods_and_json(finished: Any, tmp_path: Any) -> None:
    """Seed 0 in another run has the weights of the first run, and seed 1 has others."""
    project = finished[0].copy(tmp_path)
    done = project.run("--run", "again", "--seed", "0", "--seed", "1", "--method", "no-adaptation", "--json")
    assert done.returncode == 0, done.stderr
    folders = {str(seed): str(project.root / "runs" / "again" / f"seed-{seed}") for seed in (0, 1)}
    assert json.loads(done.stdout) == {"run": "again", "seeds": folders}
    assert done.stderr == ""
    assert project.weights("teacher", run="again") == project.weights("teacher")
    assert project.weights("teacher", run="again", seed=1) != project.weights("teacher")
    for seed in (0, 1):
        assert sorted(path.name for path in project.stage("", run="again", seed=seed).iterdir()) == [
            "config.json",
            "predictions",
            "teacher",
        ]


def test_missing_features_name_the_command_in_one_line(project: Any) -> None:
    project.delete_features("e4", ["a1"])
    done = project.run("--method", "tas")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "error: feature set tiny lacks recordings of view e4: 1 (a1). Extract them with: "
        "sync-extract --view e4\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nmethod = ['tas']\n", "[train]: unknown key 'method', did you mean 'methods'?"),
        (
            "[train.teacher]\npatiens = 3\n",
            "[train.teacher]: unknown key 'patiens', did you mean 'patience'?",
        ),
        ("[train.student]\nlevels = [7]\n", "levels go from 1 to 6, got 7"),
        ("[tarin]\n", "unknown section [tarin], did you mean 'train'?"),
    ],
)
def test_a_wrong_project_file_is_one_line(tmp_path: Any, project: Any, text: str, message: str) -> None:
    file = project.root / "sync.toml"
    file.write_text(file.read_text().split("[train]")[0] + text)
    done = project.run()
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {file}") and done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--run", "../elsewhere"), 1, "run name '../elsewhere' begins with '.'"),
        (("--seed", "4294967296"), 1, "seeds must be whole numbers from 0 to 4294967295"),
        (("--seed", "-1"), 2, "Invalid value for '--seed'"),
        (("--method", "oracle"), 2, "'oracle' is not one of 'exo-oracle'"),
        (("--mehtod", "tas"), 2, "No such option"),
        (("--project", "nowhere"), 2, "'nowhere' does not exist"),
    ],
)
def test_wrong_options(project: Any, arguments: tuple[str, ...], status: int, message: str) -> None:
    done = project.run(*arguments)
    assert done.returncode == status
    assert message in done.stderr and "Traceback" not in done.stderr


def test_environment_variables_are_options(project: Any) -> None:
    done = project.run(SYNC_RUN="..")
    assert done.returncode == 1 and "run name '..'" in done.stderr
    done = project.run(SYNC_METHOD="tas oracle")
    assert done.returncode == 2 and "'oracle' is not one of" in done.stderr
    done = project.run(SYNC_SEED="0 4294967296")
    assert done.returncode == 1 and "got [0, 4294967296]" in done.stderr


def test_help_needs_no_project_and_no_torch(tmp_path: Any, project: Any) -> None:
    for flag in ("--help", "-h"):
        done = project.run(flag)
        assert done.returncode == 0
        assert all(option in done.stdout for option in ("--method", "--seed", "--overwrite", "--json"))
    done = project.run("--version")
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout)
