"""torchrun: processes that share every batch end like one process, and speak and fail like one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sync_train.journal import read_journal

FITS = Path(__file__).with_name("shared_fits.py")
TRAIN = ("--no-python", "--", str(Path(sys.executable).with_name("sync-train")))
"""torchrun takes --run for one of its own options, unless -- comes before."""

TOLERANCE = 1e-6
"""Of a weight. Networks are float64 there, losses float32: their rounding is the same alone and together, as long as
the number of processes is a power of two. Adam moves a weight by 1e-3 a step. Found: 1e-7 at the most."""


pytestmark = pytest.mark.long


def torchrun(project: Any, *arguments: str, processes: int = 2) -> "subprocess.CompletedProcess[str]":
    numbers = ("--nproc-per-node", str(processes))
    done: subprocess.CompletedProcess[str] = project.run(
        *numbers, *arguments, program="torchrun", OMP_NUM_THREADS="1"
    )
    return done


def without_dropout(project: Any, **settings: str) -> Any:
    file = project.root / "sync.toml"
    text = file.read_text().replace("ffn_dim = 16\n", "ffn_dim = 16\ndropout = 0.0\n")
    more = "".join(f"{name} = {value}\n" for name, value in settings.items())
    file.write_text(text.replace("[train]\n", f"[train]\n{more}"))
    return project


def workers(launcher: "subprocess.Popen[str]") -> list[int]:
    """Processes that torchrun has started, the first one first."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
    return sorted(int(number) for number in children.split())


def ours(err: str) -> list[str]:
    """Lines that torchrun hasn't written."""
    return [line for line in err.splitlines() if line.startswith(("error: ", "interrupted", "Error: "))]


@pytest.mark.parametrize(
    ("processes", "tasks"),
    [
        (2, ("teacher", "adapter", "mse")),
        (2, ("frozen", "random-frames", "mmd", "coral", "grl", "tcc", "sdtw")),
        (4, ("teacher", "adapter", "mse", "mmd", "grl")),
    ],
)
def test_weights_are_those_of_one_process(tiny: Any, processes: int, tasks: tuple[str, ...]) -> None:
    """Batches of two and one: of two processes one has no sequence of the second batch, of four three haven't."""
    done = torchrun(tiny, str(FITS), *tasks, processes=processes)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == list(tasks)
    for task, difference in found.items():
        assert difference["moved"] > 1000 * TOLERANCE, task
        assert difference["weights"] < TOLERANCE, task
        assert difference["score"] < TOLERANCE, task


def test_a_run_looks_like_that_of_one_process(project: Any) -> None:
    """The same files, journals that begin alike, and one voice.

    Later epochs aren't compared: Adam makes whole steps of float32's rounding, where gradients are nearly zero.
    """
    without_dropout(project)
    project.train(run="alone", methods=("feature", "tas"))
    done = torchrun(project, *TRAIN, "--run", "together", "--method", "feature", "--method", "tas")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("[")]
    assert [line.split(":")[0] for line in lines] == [
        "seed 0, teacher",
        "seed 0, adapter",
        "seed 0, tas",
        "run together, seeds 0",
        "Score it with",
    ]
    alone, together = (project.stage("", run=run) for run in ("alone", "together"))
    files = [
        {path.relative_to(place) for path in place.rglob("*") if path.is_file()}
        for place in (alone, together)
    ]
    assert files[0] == files[1] != set()
    for stage in ("teacher", "adapter", "tas"):
        first, of_both = (read_journal(place / stage / "journal.jsonl") for place in (alone, together))
        assert [line["epoch"] for line in of_both] == [0, 1, 2]
        if stage != "tas":  # which begins with the teacher's last weights
            assert of_both[0]["loss"] == pytest.approx(first[0]["loss"], rel=1e-4), stage
        provenance = [
            json.loads((place / stage / "provenance.json").read_text()) for place in (alone, together)
        ]
        assert "processes" not in provenance[0] and provenance[1]["processes"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "../up"), "error: run name '../up' begins with"),
        (("--nonsense",), "Error: No such option '--nonsense'"),
        (("retrieval",), "Error: retrieval runs in one process"),
    ],
)
def test_what_all_find_wrong_is_said_once(tiny: Any, arguments: tuple[str, ...], message: str) -> None:
    done = torchrun(tiny, *TRAIN, *arguments)
    assert done.returncode == 1
    (line,) = ours(done.stderr)
    assert line.startswith(message)
    assert not (tiny.root / "runs").exists()


def test_what_one_alone_finds_wrong_is_said(tiny: Any, tmp_path: Path) -> None:
    """The second process fails while the first waits for it."""
    script = tmp_path / "fails.py"
    script.write_text(
        "from sync_store.console import fail\n"
        "from sync_train.distributed import first, is_first\n"
        "from sync_train.torchrun import run_as_one\n"
        "run_as_one(lambda: first(lambda: 0) if is_first() and not first(lambda: 0) else fail('mine'))\n"
    )
    done = torchrun(tiny, str(script))
    assert done.returncode == 1
    assert ours(done.stderr) == ["error: mine"]


def test_killed_processes_end_all_and_resumed_ones_end_with_the_same_bytes(project: Any) -> None:
    """The second process is killed in the teacher, torchrun is asked to end in the student."""
    without_dropout(project, checkpoint_seconds="0")
    arguments = ("--nproc-per-node", "2", *TRAIN, "--method", "feature", "--method", "tas")
    done = torchrun(project, *TRAIN, "--run", "whole", "--method", "feature", "--method", "tas")
    assert done.returncode == 0, done.stderr

    def start_until(stage: str) -> "subprocess.Popen[str]":
        process: subprocess.Popen[str] = project.start(*arguments, program="torchrun", OMP_NUM_THREADS="1")
        while not (project.stage(stage) / "checkpoint.pt").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        return process

    process = start_until("teacher")
    os.kill(workers(process)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert ours(err) in (
        [],
        ["error: another process of this run has ended; run the same command again to go on"],
    )
    assert not (project.stage("teacher") / "result.json").exists()

    process = start_until("tas")
    process.terminate()
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert ours(err) == ["interrupted; run the same command again to go on"]
    assert not (project.stage("tas") / "result.json").exists()

    done = torchrun(project, *TRAIN, "--method", "feature", "--method", "tas")
    assert done.returncode == 0, done.stderr
    for stage in ("teacher", "adapter", "tas"):
        assert project.weights(stage) == project.weights(stage, run="whole"), stage
    for method in ("feature", "tas"):
        assert project.predictions(method) == project.predictions(method, run="whole") != {}
    assert list(project.stage("").rglob("*.partial")) == []
