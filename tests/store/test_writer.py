"""The writer against kills, damage and misuse, on real files."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from sync_store.errors import FingerprintError, IncompleteError, StoreError
from sync_store.labels import grid_times
from sync_store.layout import FeatureSet
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter

WRITE_SLOWLY = """
import sys, time
from pathlib import Path
import numpy as np
from sync_store.layout import FeatureSet
from sync_store.writer import RecordingWriter
store, pause = Path(sys.argv[1]), float(sys.argv[2])
rows = np.random.default_rng(0).standard_normal((1100, 32768)).astype(np.float16)
wide = FeatureSet(name="wide", recipe={"backbone": "test", "grid_fps": "30"}, feature_dim=32768)
writer = RecordingWriter(store, wide, "e4", "r", timestamps=np.arange(1100) * 33, provenance={"batch": 100})
print(writer.next_row, flush=True)
while writer.next_row < 1100:
    start = writer.next_row
    writer.append(rows[start : start + 64])
    time.sleep(pause)
writer.commit()
print("done", flush=True)
"""


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file, the cache aside."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "index.json"
    }


def write_in_process(store: Path, pause: float = 0.0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITE_SLOWLY, str(store), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> list[str]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out.split()


def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    finish(write_in_process(tmp_path / "whole"))
    expected = tree(tmp_path / "whole")
    assert len([name for name in expected if "/c/" in name and "features" in name]) == 5
    rng = np.random.default_rng(7)
    killed = tmp_path / "killed"
    resumed_at = []
    for number in range(4):
        process = write_in_process(killed, pause=0.02)
        assert process.stdout is not None
        resumed_at.append(int(process.stdout.readline()))
        while not (killed / f"wide/e4/r/features/c/{number}/0").exists():
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.08))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (killed / "zarr.json").exists() and tree(killed) != expected:
            assert FeatureStore(killed).recordings("wide", "e4") == []
    finish(write_in_process(killed))
    assert tree(killed) == expected
    assert not list(killed.rglob("*.partial"))
    assert resumed_at[0] == 0 and all(row > 0 and row % 256 == 0 for row in resumed_at[1:])


def test_reader_sees_nothing_before_the_commit(tmp_path: Path, small_set: FeatureSet, make_rows: Any) -> None:
    rows, times = make_rows(50, 8), np.arange(50) * 10
    with RecordingWriter(tmp_path / "s", small_set, "e4", "r", timestamps=times, provenance={}) as writer:
        writer.append(rows)
        store = FeatureStore(tmp_path / "s")
        assert store.recordings("small", "e4") == []
        with pytest.raises(IncompleteError, match=r"never finished.*sync-extract --view e4 --recording r"):
            store.read("small", "e4", "r")
        writer.commit()
    read = store.read("small", "e4", "r")
    assert np.array_equal(read.features, rows) and np.array_equal(read.timestamps, times)
    assert store.recordings("small", "e4") == ["r"]


def test_every_state_of_the_metadata_is_whole(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves the recording's zarr.json as some rename left it: each of them is looked at."""
    states: list[dict[str, Any]] = []
    rename = Path.replace

    def rename_and_look(self: Path, target: Path) -> Path:
        result = rename(self, target)
        if Path(target) == tmp_path / "s/wide/e4/r/zarr.json":
            states.append(json.loads(Path(target).read_text())["attributes"])
        return result

    monkeypatch.setattr(Path, "replace", rename_and_look)
    writer = RecordingWriter(
        tmp_path / "s", wide_set, "e4", "r", timestamps=np.arange(300), provenance={"file": "r.mp4"}
    )
    writer.append(make_rows(300, wide_set.feature_dim))
    writer.commit()
    begun = {"complete", "fingerprint", "planned_rows", "provenance"}
    whole = begun | {"shard_sha256", "timestamps_sha256"}
    assert [set(state) for state in states] == [set(), begun, whole]
    assert [state.get("complete") for state in states] == [None, False, True]


def test_early_end_shrinks_rows_and_timestamps(tmp_path: Path, wide_set: FeatureSet, make_rows: Any) -> None:
    rows, times = make_rows(300, wide_set.feature_dim), np.arange(900) * 10
    with RecordingWriter(tmp_path / "s", wide_set, "e4", "r", timestamps=times, provenance={}) as writer:
        writer.append(rows)
        writer.commit()
    store = FeatureStore(tmp_path / "s")
    read = store.read("wide", "e4", "r")
    assert np.array_equal(read.features, rows) and np.array_equal(read.timestamps, times[:300])
    assert store.attributes("wide", "e4", "r")["planned_rows"] == 900


def test_damaged_shard_is_written_again(tmp_path: Path, wide_set: FeatureSet, make_rows: Any) -> None:
    rows, times = make_rows(800, wide_set.feature_dim), np.arange(800)
    with RecordingWriter(tmp_path / "s", wide_set, "v", "r", timestamps=times, provenance={}) as writer:
        writer.append(rows[:600])
    shard = tmp_path / "s/wide/v/r/features/c/1/0"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    with RecordingWriter(tmp_path / "s", wide_set, "v", "r", timestamps=times, provenance={}) as writer:
        assert writer.next_row == 256
        writer.append(rows[256:])
        writer.commit()
    assert np.array_equal(FeatureStore(tmp_path / "s").read("wide", "v", "r").features, rows)


@pytest.mark.parametrize("change", ["provenance", "timestamps", "rows"])
def test_other_settings_start_anew(tmp_path: Path, wide_set: FeatureSet, make_rows: Any, change: str) -> None:
    rows = make_rows(300, wide_set.feature_dim)
    times = np.arange(600)
    with RecordingWriter(
        tmp_path / "s", wide_set, "v", "r", timestamps=times, provenance={"batch": 1}
    ) as writer:
        writer.append(rows)
    provenance = {"batch": 2 if change == "provenance" else 1}
    times = {"timestamps": times + 1, "rows": times[:500]}.get(change, times)
    with RecordingWriter(
        tmp_path / "s", wide_set, "v", "r", timestamps=times, provenance=provenance
    ) as writer:
        assert writer.next_row == 0


def test_refuses_another_recipe_and_names_the_difference(tmp_path: Path, small_set: FeatureSet) -> None:
    times = np.arange(3)
    RecordingWriter(tmp_path / "s", small_set, "v", "r", timestamps=times, provenance={})
    other = FeatureSet(name="small", recipe={"backbone": "test", "grid_fps": "15"}, feature_dim=8)
    with pytest.raises(FingerprintError, match="grid_fps: stored '30', now '15'"):
        RecordingWriter(tmp_path / "s", other, "v", "r2", timestamps=times, provenance={})


def test_refuses_bad_rows(tmp_path: Path, small_set: FeatureSet, make_rows: Any) -> None:
    times = grid_times(40, Fraction(30))
    writer = RecordingWriter(tmp_path / "s", small_set, "v", "r", timestamps=times, provenance={})
    writer.append(make_rows(10, 8))
    for bad in (np.nan, np.inf):
        rows = make_rows(10, 8)
        rows[5, 2] = bad
        with pytest.raises(StoreError, match=r"frame at 0\.5 s hold NaN or infinity"):
            writer.append(rows)
    with pytest.raises(StoreError, match=r"float16 \(N, 8\), got float32"):
        writer.append(make_rows(10, 8).astype(np.float32))
    with pytest.raises(StoreError, match="more rows than the 40 timestamps"):
        writer.append(make_rows(31, 8))
    writer.append(make_rows(30, 8))
    writer.commit()
    with pytest.raises(StoreError, match="is complete"):
        RecordingWriter(tmp_path / "s", small_set, "v", "r", timestamps=times, provenance={})


def test_refuses_times_that_do_not_increase(tmp_path: Path, small_set: FeatureSet) -> None:
    times = np.array([0, 1_000_000_000, 1_000_000_000])
    with pytest.raises(StoreError, match=r"timestamps must increase, but don't at 1\.0 s"):
        RecordingWriter(tmp_path / "s", small_set, "v", "r", timestamps=times, provenance={})


def test_refuses_nothing_decoded(tmp_path: Path, small_set: FeatureSet) -> None:
    writer = RecordingWriter(tmp_path / "s", small_set, "v", "r", timestamps=np.arange(3), provenance={})
    with pytest.raises(StoreError, match="no frame was decoded"):
        writer.commit()


@pytest.mark.parametrize(
    "name", ["../x", "/etc", "a/b", "", ".hidden", "a\nb", "zarr.json", "x" * 300, "a\\b"]
)
def test_names_never_leave_the_store(tmp_path: Path, small_set: FeatureSet, name: str) -> None:
    with pytest.raises(StoreError, match="recording name"):
        RecordingWriter(tmp_path / "s", small_set, "v", name, timestamps=np.arange(3), provenance={})
    assert not {path.name for path in tmp_path.iterdir()} - {"s"}


def test_refuses_a_folder_that_is_another_zarr(tmp_path: Path, small_set: FeatureSet) -> None:
    zarr.open_group(tmp_path / "other", mode="w", attributes={"format": "something"})
    with pytest.raises(StoreError, match="isn't a feature store"):
        RecordingWriter(tmp_path / "other", small_set, "v", "r", timestamps=np.arange(3), provenance={})


def test_many_processes_write_one_store(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from sync_store.layout import FeatureSet; from sync_store.writer import RecordingWriter\n"
        "small = FeatureSet(name='small', recipe={'a': 1}, feature_dim=8)\n"
        "for i in range(5):\n"
        "    name = f'{sys.argv[2]}-{i}'\n"
        "    w = RecordingWriter(Path(sys.argv[1]), small, 'v', name, timestamps=np.arange(9), provenance={})\n"
        "    w.append(np.full((9, 8), i, np.float16)); w.commit()\n"
    )
    store = tmp_path / "s"
    running = [subprocess.Popen([sys.executable, "-c", script, str(store), str(n)]) for n in range(4)]
    assert [process.wait(timeout=120) for process in running] == [0] * 4
    reader = FeatureStore(store)
    names = reader.recordings("small", "v")
    assert names == [f"{n}-{i}" for n in range(4) for i in range(5)]
    assert all((reader.read("small", "v", n).features == int(n[-1])).all() for n in names)


def test_a_full_disk_says_so_and_goes_on_after(tmp_path: Path, wide_set: FeatureSet, make_rows: Any) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root; run as root to test a full disk")
    small = tmp_path / "disk"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("can't mount a tmpfs here")
    try:
        rows, times = make_rows(700, wide_set.feature_dim), np.arange(700)
        with (
            RecordingWriter(small / "s", wide_set, "v", "r", timestamps=times, provenance={}) as writer,
            pytest.raises(OSError, match="No space left"),
        ):
            writer.append(rows)
        assert FeatureStore(small / "s").recordings("wide", "v") == []
        subprocess.run(["mount", "-o", "remount,size=80m", small], check=True)
        again = RecordingWriter(small / "s", wide_set, "v", "r", timestamps=times, provenance={})
        assert again.next_row == 256
        again.append(rows[256:])
        again.commit()
        assert np.array_equal(FeatureStore(small / "s").read("wide", "v", "r").features, rows)
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_kill_before_the_commit_leaves_nothing_to_do_but_that(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any
) -> None:
    rows, times = make_rows(700, wide_set.feature_dim), np.arange(700)  # the last shard is a short one
    with RecordingWriter(tmp_path / "s", wide_set, "v", "r", timestamps=times, provenance={}) as writer:
        writer.append(rows)
        writer._write_shard()
    with RecordingWriter(tmp_path / "s", wide_set, "v", "r", timestamps=times, provenance={}) as again:
        assert again.next_row == again.num_rows == 700
        again.commit()
    assert np.array_equal(FeatureStore(tmp_path / "s").read("wide", "v", "r").features, rows)
