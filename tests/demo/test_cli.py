"""The command's wrong uses."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from click.testing import CliRunner

from sync_demo.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recordings", "1/2"], "expected three numbers such as 20/9/21, got '1/2'"),
        (["--recordings", "1/x/3"], "expected three numbers such as 20/9/21, got '1/x/3'"),
        (["--recordings", "1/0/3"], "every split needs a recording, got '1/0/3'"),
        (["--variant", "garden"], "'garden' is not one of 'tabletop', 'kitchen'"),
        (["--size", "huge"], "'huge' is not one of 'demo', 'study'"),
        (["--seed", "-1"], "-1 is not in the range x>=0"),
        (["--workers", "0"], "0 is not in the range x>=1"),
    ],
)
@pytest.mark.parametrize("command", ["render", "run"])
def test_wrong_options(tmp_path: Path, command: str, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, [command, str(tmp_path / "out"), *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_a_full_folder_ends_with_one_line(
    tmp_path: Path, sync_demo: Callable[..., "CompletedProcess[str]"]
) -> None:
    (tmp_path / "mine.txt").touch()
    done = sync_demo("render", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr == f"error: {tmp_path} isn't empty and has no demo.json; choose a new or empty folder\n"
    )


def test_a_finished_folder_is_done_at_once(
    rendered: Any, sync_demo: Callable[..., "CompletedProcess[str]"]
) -> None:
    done = sync_demo("render", rendered.folder, "--seed", 1, "--recordings", "1/1/1")
    assert done.returncode == 0
    assert "3 recordings, 0 of them rendered now" in done.stderr
    refused = sync_demo("render", rendered.folder, "--seed", 2, "--recordings", "1/1/1")
    assert refused.returncode == 1
    assert "was rendered with seed 1, now asked for seed 2" in refused.stderr


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["render", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "is a file" in result.output
