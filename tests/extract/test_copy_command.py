"""`sync-extract copy` between two folders: what it copies, says and refuses."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sync_extract.cli import main
from sync_store import layout
from sync_store.layout import CLAIMS, FeatureSet
from sync_store.reader import FeatureStore
from sync_store.verify import verify_store
from sync_store.writer import RecordingWriter

WIDTH = 16
SMALL = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=WIDTH)
LARGE = FeatureSet(name="large", recipe={"backbone": "test"}, feature_dim=2 * WIDTH)

SIGNALLED = """
import os, sys, threading
from sync_store import atomic, copying
from sync_extract.cli import main

written = []

def write_atomic(path, *content):
    atomic.write_atomic(path, *content)
    written.append(path)
    if len(written) == 3:
        print("writes", flush=True)
        sys.stdin.readline()

copying.write_atomic = write_atomic
main(["copy", "source.zarr", "target.zarr", "--jobs", "1"])
"""
"""The command, which waits after its third file until a line is read."""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 8 * WIDTH * 2)
    monkeypatch.setattr(layout, "SHARD_BYTES", 32 * WIDTH * 2)


def write(
    store: Path, recording: str, *, view: str = "e4", feature_set: FeatureSet = SMALL, seed: int = 0
) -> None:
    times = np.arange(100, dtype=np.int64) * 33_000_000
    rows = np.random.default_rng(seed).standard_normal((100, feature_set.feature_dim)).astype(np.float16)
    with RecordingWriter(store, feature_set, view, recording, timestamps=times, provenance={}) as writer:
        writer.append(rows)
        writer.commit()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five complete recordings of two feature sets and two views, and an unfinished one."""
    store = tmp_path / "source.zarr"
    for recording in ("r1", "r2"):
        for view in ("v3", "e4"):
            write(store, recording, view=view)
    write(store, "r1", feature_set=LARGE)
    times = np.arange(100, dtype=np.int64)
    RecordingWriter(store, SMALL, "e4", "unfinished", timestamps=times, provenance={}).close()
    return store


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target.zarr"


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command in this process, in the folder of the two stores."""
    monkeypatch.chdir(tmp_path)

    def copy(*arguments: str) -> Result:
        result = CliRunner().invoke(main, ["copy", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return copy


def contents(store: Path) -> dict[str, bytes]:
    """All files of complete recordings and of groups."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name != layout.INDEX and "unfinished" not in path.parts
    }


def stamps(store: Path) -> dict[str, tuple[int, int]]:
    found = {str(path.relative_to(store)): path.stat() for path in store.rglob("c/*") if path.is_file()}
    found |= {str(path.relative_to(store)): path.stat() for path in store.rglob("c/*/0")}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


def test_all_complete_recordings_are_copied_once(copy: Any, source: Path, target: Path) -> None:
    done = copy("source.zarr", "target.zarr")
    assert done.exit_code == 0, done.stderr
    assert re.fullmatch(r"5 copied \(0\.\d MiB\), 0 there already, 0 failed\n", done.stderr)
    assert done.stdout == ""
    assert contents(target) == contents(source)
    assert (target / "small" / "e4" / "index.json").is_file()
    assert not (target / CLAIMS).exists()
    written = stamps(target)
    again = copy("source.zarr", "target.zarr")
    assert (again.exit_code, again.stderr) == (0, "0 copied (0.0 MiB), 5 there already, 0 failed\n")
    assert stamps(target) == written
    assert copy("source.zarr", "target.zarr", "--overwrite").stderr.startswith("5 copied")
    assert contents(target) == contents(source)


@pytest.mark.parametrize(
    ("options", "copied"),
    [
        (["--feature-set", "large"], ["large/e4/r1"]),
        (["--view", "v3"], ["small/v3/r1", "small/v3/r2"]),
        (["--recording", "r2", "--view", "e4"], ["small/e4/r2"]),
        (["--feature-set", "small", "--recording", "r1", "--jobs", "1"], ["small/e4/r1", "small/v3/r1"]),
    ],
)
def test_some_of_a_store_can_be_named(
    copy: Any, source: Path, target: Path, options: list[str], copied: list[str]
) -> None:
    done = copy("source.zarr", "target.zarr", *options)
    assert done.exit_code == 0, done.stderr
    found = [path.parents[1].relative_to(target) for path in target.rglob("timestamps/zarr.json")]
    assert sorted(map(str, found)) == copied


def test_json_tells_what_was_done(copy: Any, source: Path, target: Path) -> None:
    copy("source.zarr", "target.zarr", "--view", "v3")
    done = copy("source.zarr", "target.zarr", "--json")
    report = json.loads(done.stdout)
    assert (report["source"], report["target"]) == (str(source), str(target))
    assert (report["copied"], report["there_already"], report["failed"]) == (3, 2, [])
    assert report["bytes"] == sum(
        path.stat().st_size
        for name in ("small/e4/r1", "small/e4/r2", "large/e4/r1")
        for path in (target / name).rglob("0")
        if path.is_file()
    )


def test_a_damaged_recording_is_named_and_the_others_are_copied(
    copy: Any, source: Path, target: Path
) -> None:
    path = source / "small/v3/r2/features/c/1/0"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    done = copy("source.zarr", "target.zarr", "--json")
    assert done.exit_code == 3
    (failure,) = json.loads(done.stdout)["failed"]
    assert (failure["recording"], failure["view"]) == ("r2", "v3")
    assert f"{path}: the bytes at 0 don't fit their checksum" in failure["message"]
    assert "r2" in done.stderr and done.stderr.endswith("0 there already, 1 failed\n")
    assert FeatureStore(target).recordings("small", "v3") == ["r1"]
    assert {finding.state for finding in verify_store(FeatureStore(target), [], [])} == {"good", "incomplete"}


def test_another_recording_or_recipe_of_that_name_is_kept(copy: Any, source: Path, target: Path) -> None:
    write(target, "r1", seed=1)
    write(target, "r1", feature_set=FeatureSet(name="large", recipe={"backbone": "b"}, feature_dim=32))
    before = contents(target)
    done = copy("source.zarr", "target.zarr")
    assert done.exit_code == 3
    assert "--overwrite replaces it" in done.stderr and "made by another recipe" in done.stderr
    assert done.stderr.endswith("0 there already, 2 failed\n")
    assert before.items() <= contents(target).items()
    done = copy("source.zarr", "target.zarr", "--overwrite", "--feature-set", "small")
    assert done.exit_code == 0, done.stderr
    assert contents(target / "small") == contents(source / "small")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["source.zarr", "source.zarr"], r"/source\.zarr: is both SOURCE and TARGET"),
        (["source.zarr", "./source.zarr"], r"/source\.zarr: is both SOURCE and TARGET"),
        (["source.zarr", "a/../source.zarr"], r"/source\.zarr: is both SOURCE and TARGET"),
        (["nothing.zarr", "target.zarr"], r"/nothing\.zarr: there is no feature store here"),
        (["source.zarr", "s3://bucket"], r"expected s3://BUCKET/NAME, got 's3://bucket'"),
        (
            ["source.zarr", "target.zarr", "--view", "v9"],
            r"has no complete recording of view 'v9' to copy",
        ),
        (
            ["source.zarr", "target.zarr", "--recording", "unfinished"],
            r"has no complete recording of recording 'unfinished' to copy",
        ),
        (
            ["source.zarr", "target.zarr", "--feature-set", "smal"],
            r"there is no feature set 'smal', did you mean 'small'\?",
        ),
    ],
)
def test_what_cannot_be_copied_is_said_in_one_line(
    copy: Any, source: Path, target: Path, arguments: list[str], message: str
) -> None:
    (source.parent / "a").mkdir()
    done = copy(*arguments)
    assert done.exit_code == 1
    assert re.fullmatch(rf"error: .*{message}.*\n", done.stderr), done.stderr
    assert not target.exists()


def test_a_store_with_nothing_whole_has_nothing_to_copy(copy: Any, tmp_path: Path, target: Path) -> None:
    times = np.arange(100, dtype=np.int64)
    RecordingWriter(tmp_path / "source.zarr", SMALL, "e4", "r", timestamps=times, provenance={}).close()
    done = copy("source.zarr", "target.zarr")
    assert done.exit_code == 1
    assert done.stderr == f"error: {tmp_path}/source.zarr: has no complete recording to copy\n"
    assert not target.exists()


def test_sigterm_ends_it_and_the_same_command_goes_on(copy: Any, source: Path, target: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SIGNALLED],
        cwd=source.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "writes\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate("\n", timeout=60)
    assert (process.returncode, said) == (143, "interrupted; run the same command again to go on\n")
    written = stamps(target)
    assert 3 <= len(written) < len(stamps(source))
    assert not (target / CLAIMS).exists()
    done = copy("source.zarr", "target.zarr")
    assert done.exit_code == 0, done.stderr
    assert written.items() <= stamps(target).items()
    assert contents(target) == contents(source)
