"""A disk that is full while `sync-train` writes to it: one line, and nothing lost once there is more space."""

import re
from collections.abc import Callable
from typing import Any

import pytest

METHODS = ("--method", "feature", "--method", "tas", "--quiet")
STAGES = ("teacher", "adapter", "tas")

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("small", "large"), [(f"nr_inodes={n}", "nr_inodes=10000") for n in (5, 17)])
def test_no_space_for_any_file_of_a_run(
    project: Any, finished: Any, mount: Callable[..., bool], small: str, large: str
) -> None:
    check(project, finished[0], mount, small, large)


@pytest.mark.parametrize(("small", "large"), [(f"size={n}k", "size=64m") for n in (40, 600)])
def test_no_space_for_the_rest_of_a_file(
    project: Any, finished: Any, mount: Callable[..., bool], small: str, large: str
) -> None:
    check(project, finished[0], mount, small, large)


def check(project: Any, whole: Any, mount: Callable[..., bool], small: str, large: str) -> None:
    """Train on a small disk, then on a large one, and compare with an undisturbed run."""
    disk = project.root / "runs"
    disk.mkdir()
    mount(disk, small)
    stopped = project.run(*METHODS)
    assert stopped.returncode == 1
    assert re.fullmatch(rf"error: {disk}\S*: No space left on device\n", stopped.stderr), stopped.stderr
    assert list(disk.rglob("*.partial")) == []
    mount(disk, large)
    done = project.run(*METHODS)
    assert done.returncode == 0, done.stderr
    for stage in STAGES:
        assert project.weights(stage) == whole.weights(stage), stage
    for method in ("feature", "tas"):
        assert project.predictions(method) == whole.predictions(method) != {}
