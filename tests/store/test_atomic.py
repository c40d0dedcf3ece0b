"""Files are whole or absent, whatever stops the writing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sync_store.atomic import flush_tree, write_atomic, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_atomic(path, b"one")
    write_atomic(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(path.parent) == ["file.bin"]


def test_json_is_readable_and_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"z": "schütteln", "a": [1, 2.5, None]})
    assert json.loads(path.read_text()) == {"z": "schütteln", "a": [1, 2.5, None]}
    assert path.read_text().splitlines()[1:3] == ['  "z": "schütteln",', '  "a": [']
    assert path.read_text().endswith("}\n")


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, stop: BaseException
) -> None:
    path = tmp_path / "file.bin"
    write_atomic(path, b"old")

    def fail(*_: object) -> None:
        raise stop

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
    with pytest.raises(type(stop)):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert (path.read_text(), names(tmp_path)) == ("1\n", ["x.json"])


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """A real one, as far as a process can have it: files may not grow over 64 KiB."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from sync_store.atomic import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "path = Path(sys.argv[1]); write_atomic(path, b'old' * 1000)\n"
        "try: write_atomic(path, b'new' * 100_000)\n"
        "except OSError as error: print(error.filename, error.strerror)\n"
    )
    path = tmp_path / "file.bin"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True)
    assert done.stdout == f"{path} File too large\n", done.stderr
    assert path.read_bytes() == b"old" * 1000
    assert names(tmp_path) == ["file.bin"]


def test_killed_at_any_moment_a_reader_sees_one_whole_version(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from sync_store.atomic import write_atomic\n"
        "path = Path(sys.argv[1])\n"
        "while True:\n"
        "    for letter in b'ab': write_atomic(path, bytes([letter]) * 300_000)\n"
    )
    path = tmp_path / "file.bin"
    for wait_seconds in (0.0, 0.013, 0.029):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)])
        while not path.exists():
            assert process.poll() is None
        deadline = time.monotonic() + wait_seconds
        seen = {path.read_bytes()}
        while time.monotonic() < deadline:
            seen.add(path.read_bytes())
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.add(path.read_bytes())
        assert seen <= {b"a" * 300_000, b"b" * 300_000}
        path.unlink()
    # what a kill can leave is named so that a restart finds it
    assert all(name.startswith(".file.bin.") and name.endswith(".partial") for name in names(tmp_path))


def test_a_tree_of_folders_can_be_flushed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x")
    flush_tree(tmp_path)
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"x"
