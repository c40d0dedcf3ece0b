"""A disk that is full, becomes read-only or vanishes while `sync-extract` writes to it."""

import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from sync_store.reader import FeatureStore

OPTIONS = ("--view", "v3", "--quiet")

Call = Callable[..., Any]


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Exit status and messages."""
    out, err = process.communicate(timeout=60)
    assert out == ""
    return process.returncode, err


def test_a_full_disk_stops_it_with_one_line_and_more_space_lets_it_go_on(
    lab: Any, call: Call, mount: Call, whole: Any
) -> None:
    mount(lab.disk, "size=200k")
    status, messages = ended(lab.start(*OPTIONS))
    assert status == 1
    assert re.fullmatch(
        rf"error: {lab.recording('r1', 'v3')}/features/c/\d+/0: No space left on device\n", messages
    )
    assert FeatureStore(lab.store).recordings("tsm-random-demo", "v3") == []
    assert list(lab.disk.rglob("*.partial")) == []
    mount(lab.disk, "size=64m")
    num_shards = len(list(lab.recording("r1", "v3").glob("features/c/*/0")))
    assert num_shards > 10
    done = call(lab, "--view", "v3")
    assert done.exit_code == 0, done.stderr
    assert f"r1: {240 - 8 * num_shards} rows" in done.stderr
    assert lab.tree() == whole.tree()


@pytest.mark.parametrize("num_files", range(1, 82, 16))
def test_no_space_for_any_file_of_the_store(
    lab: Any, call: Call, mount: Call, whole: Any, num_files: int
) -> None:
    """A disk with room for so many files and folders: each kind of file is the one that doesn't fit."""
    mount(lab.disk, f"nr_inodes={num_files}")
    done = call(lab, *OPTIONS)
    assert done.exit_code == 1
    assert re.fullmatch(rf"error: {lab.disk}/\S+: No space left on device\n", done.stderr)
    assert list(lab.disk.rglob("*.partial")) == []
    mount(lab.disk, "nr_inodes=10000")
    done = call(lab, *OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert lab.tree() == whole.tree()


def test_a_store_that_becomes_read_only_stops_it_with_one_line(
    lab: Any, call: Call, mount: Call, wait_until: Call, whole: Any
) -> None:
    mount(lab.disk, "size=64m")
    process = lab.start(*OPTIONS)
    wait_until((lab.recording("r1", "v3") / "features/c/1/0").exists, process)
    wait_until(lambda: mount(lab.disk, "ro"), process)
    status, messages = ended(process)
    assert status == 1
    assert re.fullmatch(rf"error: {lab.disk}/\S+: Read-only file system\n", messages), messages
    assert call(lab, *OPTIONS).stderr.endswith(": Read-only file system\n")
    mount(lab.disk, "rw")
    done = call(lab, *OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert lab.tree() == whole.tree()


def test_a_complete_store_may_be_read_only(lab: Any, call: Call, mount: Call) -> None:
    mount(lab.disk, "size=64m")
    assert call(lab, *OPTIONS).exit_code == 0
    mount(lab.disk, "ro")
    done = call(lab, *OPTIONS)
    assert (done.exit_code, done.stderr) == (
        0,
        "tsm-random-demo: 0 extracted, 2 complete already, 0 failed\n",
    )
    assert call(lab, "verify").stdout == "2 good, 0 incomplete, 0 damaged\n"
    assert "2" in call(lab, "ls").stdout


@pytest.mark.parametrize("below", [True, False])
def test_a_store_that_vanishes_stops_it_and_nothing_is_made_in_its_place(
    lab: Any, call: Call, wait_until: Call, whole: Any, below: bool
) -> None:
    """As a file server that is gone: with the empty folder `below`, that it was mounted on, or without."""
    process = lab.start("--quiet")
    wait_until((lab.recording("r1", "v3") / "features/c/1/0").exists, process)
    lab.disk.rename(lab.root / "away")
    if below:
        lab.disk.mkdir()
    status, messages = ended(process)
    assert status == 1
    assert messages.startswith("error: ") and str(lab.store) in messages and messages.count("\n") == 1, (
        messages
    )
    assert not lab.store.exists()
    if below:
        lab.disk.rmdir()
    (lab.root / "away").rename(lab.disk)
    done = call(lab, *OPTIONS)
    assert done.exit_code == 0, done.stderr
    assert lab.tree() == whole.tree()
