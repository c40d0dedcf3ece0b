"""`sync-demo run`: the commands it types, and that it stops where one fails."""

import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from sync_demo.run import Step, StepError, StepTime, list_steps, run_steps, summary
from sync_store.errors import SyncError


def typed(steps: list[Step]) -> list[str]:
    return [" ".join(step.command) for step in steps]


def test_the_commands_from_an_empty_folder_to_the_table() -> None:
    out = Path("out")
    steps = list_steps(out, ["--seed", "3"], None)
    assert typed(steps) == [
        "sync-demo render out --seed 3",
        "sync-extract",
        "sync-train",
        "sync-eval plot --output plots",
        "sync-eval table --format markdown --output results.md",
        "sync-eval table --format json --output results.json",
        "sync-eval",
    ]
    assert [step.folder for step in steps] == [None, *[out] * 6]
    assert typed(list_steps(out, [], 3))[2] == "sync-train --seed 0 --seed 1 --seed 2"


def test_a_failing_command_stops_the_rest_with_its_message_and_status(
    rendered: Any, tmp_path: Path, sync_demo: Callable[..., "CompletedProcess[str]"]
) -> None:
    """A benchmark whose sync.toml has a wrong key: nothing is rendered again, extraction refuses."""
    shutil.copytree(rendered.folder, tmp_path / "out")
    project = tmp_path / "out" / "sync.toml"
    project.write_text(project.read_text().replace("\nfps = 10", "\nfsp = 10"))
    done = sync_demo("run", "out", "--seed", "1", "--recordings", "1/1/1", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:1] == [
        "These are rendered scenes and features of a backbone with random weights, not the paper's data:"
    ]
    assert [line for line in done.stdout.splitlines() if line.startswith("$")] == [
        "$ sync-demo render out --seed 1 --recordings 1/1/1",
        "$ cd out",
        "$ sync-extract",
    ]
    messages = done.stderr.splitlines()
    assert "3 recordings, 0 of them rendered now" in messages[0]
    assert "unknown key 'fsp', did you mean 'fps'?" in messages[1]
    assert messages[2].startswith("error: sync-extract ended with exit status 1; its message is above.")
    assert not (tmp_path / "out" / "features.zarr").exists()


def test_steps_run_in_order_and_their_times_are_added(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ("first", "second", "second")
    steps = [Step(name=name, command=("touch", f"{k} it"), folder=tmp_path) for k, name in enumerate(names)]
    times = run_steps(steps)
    assert [time.name for time in times] == ["first", "second"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0 it", "1 it", "2 it"]
    assert capfd.readouterr().out.splitlines() == [
        f"$ cd {tmp_path}",
        "$ touch '0 it'",
        "$ touch '1 it'",
        "$ touch '2 it'",
    ]


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -TERM $$", 143)])
def test_the_status_of_a_failure(script: str, status: int, tmp_path: Path) -> None:
    steps = [
        Step(name="a", command=("sh", "-c", script)),
        Step(name="b", command=("touch", "late"), folder=tmp_path),
    ]
    with pytest.raises(
        StepError, match=rf"ended with exit status {status}.*run the same command again"
    ) as failure:
        run_steps(steps)
    assert failure.value.status == status
    assert not list(tmp_path.iterdir())


def test_a_command_that_is_not_installed() -> None:
    with pytest.raises(SyncError, match=r"there is no command sync-nothing.*pip install"):
        run_steps([Step(name="a", command=("sync-nothing",))])


def test_the_summary_names_files_and_times() -> None:
    text = summary(Path("out"), [StepTime(name="render", seconds=3.25), StepTime(name="train", seconds=60)])
    assert "not the paper's data" in text
    lines = [line.split() for line in text.splitlines()[3:]]
    assert lines == [
        ["table", "out/results.md,", "out/results.json"],
        ["plots", "out/plots"],
        ["runs", "out/runs"],
        ["render", "3.2", "s"],
        ["train", "60.0", "s"],
        ["in", "all", "63.2", "s"],
    ]
