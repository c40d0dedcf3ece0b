"""`sync-extract import lmdb` on files in the published forms: Assembly101's TSM folders and the paper's flat keys."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from sync_extract.importing.source import frame_times
from sync_store.reader import FeatureStore

Call = Callable[..., Result]

PROJECT = """\
[dataset]
label_fps = 30
[views.v3]
kind = "exo"
[views.e4]
kind = "ego"
offset_seconds = 0.5
"""

WIDTH = 64


def values(name: str, count: int, width: int = WIDTH) -> npt.NDArray[np.float32]:
    """Numbers that float16 can't hold exactly, different for every name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def write(folder: Path, pairs: Iterable[tuple[str, bytes]]) -> Path:
    """An environment as published: a folder with data.mdb and lock.mdb."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        lmdb.open(str(folder), map_size=64 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in pairs:
            transaction.put(key.encode(), value)
    return folder


def nested(
    recording: str, camera: str, numbers: Iterable[int], width: int = WIDTH
) -> list[tuple[str, bytes]]:
    numbers = list(numbers)
    rows = values(recording + camera, len(numbers), width)
    return [
        (f"{recording}/{camera}/{camera}_{number:010d}.jpg", row.tobytes())
        for number, row in zip(numbers, rows, strict=True)
    ]


def project(folder: Path, text: str = PROJECT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sync.toml").write_text(text)
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "index.json"
    }


def provenance(folder: Path, feature_set: str, view: str, recording: str) -> Any:
    attributes = FeatureStore(folder / "features.zarr").attributes(feature_set, view, recording)
    return attributes["provenance"]


def test_nested_keys_become_rows_at_their_frames_times(tmp_path: Path, call_extract: Call) -> None:
    """Frames count from 1 at 30 a second; a view's offset is added; a hole is a row that isn't there."""
    lab = project(tmp_path / "lab")
    holed = [number for number in range(1, 1501) if number != 1069]
    write(
        tmp_path / "TSM/v3", nested("9011-a01", "v3", range(1, 1201)) + nested("9012-b02", "v3", range(1, 8))
    )
    write(tmp_path / "TSM/e4", nested("9011-a01", "e4", holed))
    result = call_extract(lab, "import", "lmdb", str(tmp_path / "TSM"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == "TSM: 3 imported, 0 complete already, 0 failed"

    store = FeatureStore(lab / "features.zarr")
    exo, ego = (store.read("TSM", view, "9011-a01") for view in ("v3", "e4"))
    expected = values("9011-a01v3", 1200).astype(np.float16)
    np.testing.assert_array_equal(exo.features, expected)
    assert exo.timestamps.tolist() == [round(Fraction(frame, 30) * 10**9) for frame in range(1200)]
    np.testing.assert_array_equal(ego.features, values("9011-a01e4", 1499).astype(np.float16))
    half = Fraction(1, 2)
    assert ego.timestamps.tolist() == [round((Fraction(n - 1, 30) + half) * 10**9) for n in holed]

    made = provenance(lab, "TSM", "e4", "9011-a01")
    assert made["grid"] == {"num_rows": 1499, "num_missing": 1, "first_number": 1}
    file = tmp_path / "TSM/e4/data.mdb"
    assert made["source"] == {
        "file_name": "e4/data.mdb",
        "size_bytes": file.stat().st_size,
        "num_keys": 1499,
        "last_transaction": 1,
        "offset_seconds": "1/2",
    }
    assert store.feature_set("TSM")["recipe"] == {
        "imported": "lmdb",
        "source": "TSM",
        "grid_fps": "30",
        "first_key": 1,
        "dtype": "float32",
    }


def test_again_does_nothing_and_writes_nothing_into_the_source(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    source = write(tmp_path / "TSM/v3", nested("r1", "v3", range(1, 40)))
    (source / "lock.mdb").unlink()
    (source / "data.mdb").chmod(0o444)
    assert call_extract(lab, "import", "lmdb", str(source), "--feature-set", "tsm").exit_code == 0
    before = tree(lab / "features.zarr")
    result = call_extract(lab, "import", "lmdb", str(source / "data.mdb"), "--feature-set", "tsm")
    assert (result.exit_code, result.stderr) == (0, "tsm: 0 imported, 1 complete already, 0 failed\n")
    assert tree(lab / "features.zarr") == before
    assert [path.name for path in source.iterdir()] == ["data.mdb"]


def test_dry_run_writes_nothing(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    source = write(tmp_path / "TSM/v3", nested("r1", "v3", range(1, 40)))
    result = call_extract(lab, "import", "lmdb", str(source), "--dry-run")
    assert result.stdout == f"new: v3/r1: 39 rows, {source / 'data.mdb'}\n"
    assert result.stderr == "v3: 1 to import, 0 complete already, 0 failed\n"
    assert not (lab / "features.zarr").exists()
    as_json = json.loads(call_extract(lab, "import", "lmdb", str(source), "--dry-run", "--json").stdout)
    assert as_json["to_do"] == [{"view": "v3", "recording": "r1", "state": "new", "expected_rows": 39}]


def test_flat_keys_need_a_view(tmp_path: Path, call_extract: Call) -> None:
    """The paper's script: `<video>_<frame>.jpg`, float32 of 1,024 values."""
    lab = project(tmp_path / "lab")
    rows = values("flat", 9, 1024)
    pairs = [(f"P01_cam_1_{number:010d}.jpg", row.tobytes()) for number, row in enumerate(rows, start=1)]
    source = write(tmp_path / "dino", pairs)
    result = call_extract(lab, "import", "lmdb", str(source))
    assert result.exit_code == 1
    assert (
        "data.mdb: flat keys don't say which view they are of. Name it with --view, one of: v3, e4"
        in result.stderr
    )
    result = call_extract(
        lab, "import", "lmdb", str(source), "--view", "v3", "--trained-on", "nothing of ours"
    )
    assert result.exit_code == 0, result.stderr
    store = FeatureStore(lab / "features.zarr")
    np.testing.assert_array_equal(store.read("dino", "v3", "P01_cam_1").features, rows.astype(np.float16))
    assert store.feature_set("dino")["trained_on"] == ["nothing of ours"]


def test_names_that_begin_with_each_other(tmp_path: Path, call_extract: Call) -> None:
    """Flat keys of `S1_2` stand amid those of `S1`, and nested ones of `r` before or after those of `r_1`."""
    lab = project(tmp_path / "lab")
    flat = [
        (f"{name}_{number:010d}.jpg", bytes(8)) for name in ("S1", "S1_2", "S1_00") for number in (1, 2, 90)
    ]
    assert (
        call_extract(lab, "import", "lmdb", str(write(tmp_path / "flat", flat)), "--view", "e4").exit_code
        == 0
    )
    names = ("r", "r_1", "r0", "R")
    keys = [pair for name in names for view in ("v3", "e4") for pair in nested(name, view, (1, 2, 90))]
    assert call_extract(lab, "import", "lmdb", str(write(tmp_path / "nested", keys))).exit_code == 0
    store = FeatureStore(lab / "features.zarr")
    assert store.recordings("flat", "e4") == ["S1", "S1_00", "S1_2"]
    assert len(store.read("flat", "e4", "S1").timestamps) == 3
    for view in ("v3", "e4"):
        assert store.recordings("nested", view) == ["R", "r", "r0", "r_1"]
        for name in names:
            stored = store.read("nested", view, name)
            np.testing.assert_array_equal(stored.features, values(name + view, 3).astype(np.float16))


def test_first_key_0_gives_label_f_to_key_f(tmp_path: Path, call_extract: Call) -> None:
    """As A101-TAS pairs them: key f at the time at which label frame f begins."""
    lab = project(tmp_path / "lab")
    source = write(tmp_path / "v3", nested("r1", "v3", range(1, 5)))
    result = call_extract(lab, "import", "lmdb", str(source), "--first-key", "0", "--fps", "15")
    assert result.exit_code == 0, result.stderr
    stored = FeatureStore(lab / "features.zarr").read("v3", "v3", "r1")
    assert stored.timestamps.tolist() == [66_666_667, 133_333_333, 200_000_000, 266_666_667]


def test_a_camera_nobody_knows_is_the_named_view(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    source = write(tmp_path / "cam", nested("r1", "HMC_x", range(1, 5)))
    result = call_extract(lab, "import", "lmdb", str(source))
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: {source}: has no keys of view v3, e4; it has cameras HMC_x. Name the view with --view, for one "
        "file at a time\n",
    )
    assert call_extract(lab, "import", "lmdb", str(source), "--view", "e4").exit_code == 0
    assert FeatureStore(lab / "features.zarr").recordings("cam", "e4") == ["r1"]


def test_a_known_camera_is_never_another_view(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    source = write(tmp_path / "v3", nested("r1", "v3", range(1, 5)))
    result = call_extract(lab, "import", "lmdb", str(source), "--view", "e4")
    assert result.exit_code == 1 and "has no keys of view e4; it has cameras v3" in result.stderr


def test_views_and_recordings_can_be_chosen(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    for view in ("v3", "e4", "x9"):
        write(tmp_path / "TSM" / view, [*nested("r1", view, range(1, 5)), *nested("r2", view, range(1, 5))])
    result = call_extract(
        lab, "import", "lmdb", str(tmp_path / "TSM"), "--view", "v3", "--recording", "r2", "--json"
    )
    assert result.exit_code == 0 and json.loads(result.stdout)["imported"] == 1
    assert json.loads(result.stdout)["notes"] == ["not imported, since no such view is asked for: e4, x9"]
    store = FeatureStore(lab / "features.zarr")
    assert store.views("TSM") == ["v3"] and store.recordings("TSM", "v3") == ["r2"]
    result = call_extract(lab, "import", "lmdb", str(tmp_path / "TSM"), "--recording", "r3")
    assert result.stderr == (
        "error: there is no recording 'r3' among the features (2 recordings, such as 'r1')\n"
    )


def replaced(pairs: list[tuple[str, bytes]], at: int, key: str | None, value: bytes | None) -> list[Any]:
    old = pairs[at]
    return [*pairs[:at], (key or old[0], old[1] if value is None else value), *pairs[at + 1 :]]


GOOD = nested("r1", "v3", range(1, 9))

BAD_FILES = {
    "no keys": ([], "data.mdb: has no keys"),
    "not a frame": (
        [*GOOD, ("__meta__", b"{}")],
        r"key __meta__ isn't of the form '<recording>/<camera>/<camera>_<ten digits>.jpg' or '<recording>_<ten",
    ),
    "nine digits": (
        replaced(GOOD, 3, "r1/v3/v3_000000004.jpg", None),
        "key r1/v3/v3_000000004.jpg isn't of the form",
    ),
    "two cameras": (
        replaced(GOOD, 3, "r1/v3/v4_0000000004.jpg", None),
        "key r1/v3/v4_0000000004.jpg isn't of the form",
    ),
    "leaves its folder": (
        replaced(GOOD, 3, "../v3/v3_0000000004.jpg", None),
        r"recording name '\.\.' begins with",
    ),
    "first value": (
        replaced(GOOD, 0, None, b"12345"),
        "key r1/v3/v3_0000000001.jpg: its value has 5 bytes; expected float32 values, 4 bytes each",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file(case: str, tmp_path: Path, call_extract: Call) -> None:
    pairs, message = BAD_FILES[case]
    source = write(tmp_path / "TSM", pairs)
    result = call_extract(project(tmp_path / "lab"), "import", "lmdb", str(source))
    assert result.exit_code == 1
    assert re.search(message, result.stderr), result.stderr
    assert str(source / "data.mdb") in result.stderr and result.stderr.count("\n") == 1


BAD_RECORDINGS = {
    "width": (
        replaced(GOOD, 5, None, bytes(4 * WIDTH + 4)),
        "key r1/v3/v3_0000000006.jpg: its value has 260 bytes; expected 256, 64 float32 as in the file's first key",
    ),
    "not float32": (
        replaced(GOOD, 5, None, bytes(4 * WIDTH - 1)),
        "key r1/v3/v3_0000000006.jpg: its value has 255 bytes; expected 256, 64 float32",
    ),
    "infinite": (
        replaced(GOOD, 5, None, np.full(WIDTH, np.inf, np.float32).tobytes()),
        "value 0 of the row at 0.166666667 s is inf; the store holds float16, numbers from -65504 to 65504",
    ),
    "too large": (
        replaced(GOOD, 5, None, np.array([0, 0, 0, -70_000, *[0] * 60], np.float32).tobytes()),
        "v3/r1: .*/data.mdb: value 3 of the row at 0.166666667 s is -70000.0; the store holds float16",
    ),
    "png": (
        replaced(GOOD, 3, "r1/v3/v3_0000000004.png", None),
        "key r1/v3/v3_0000000004.png isn't of the form",
    ),
    "amid others": (
        [*GOOD, ("r1/v3/v3_0000000004_0000000004.jpg", GOOD[0][1])],
        "key r1/v3/v3_0000000004_0000000004.jpg isn't of the form",
    ),
    "frame 0": (
        [("r1/v3/v3_0000000000.jpg", GOOD[0][1]), *GOOD],
        "key r1/v3/v3_0000000000.jpg is frame 0, below the first, 1. If the first frame is 0, say so with "
        "--first-key 0",
    ),
    "no such time": (
        [*GOOD, ("r1/v3/v3_1700000000.jpg", GOOD[0][1])],
        "frame 1699999999 would be 56666667 s after the start at 30 frames a second. Check --fps",
    ),
}


@pytest.mark.parametrize("case", BAD_RECORDINGS)
def test_bad_recording_is_listed_and_the_others_go_on(case: str, tmp_path: Path, call_extract: Call) -> None:
    pairs, message = BAD_RECORDINGS[case]
    source = write(tmp_path / "TSM", [*pairs, *nested("r2", "v3", range(1, 5))])
    lab = project(tmp_path / "lab")
    result = call_extract(lab, "import", "lmdb", str(source), "--quiet")
    assert result.exit_code == 3
    failure, summary = result.stderr.splitlines()
    assert failure.startswith("failed: v3/r1: ") and re.search(message, failure), failure
    assert summary == "TSM: 1 imported, 0 complete already, 1 failed"
    assert FeatureStore(lab / "features.zarr").recordings("TSM", "v3") == ["r2"]


def test_a_recording_in_two_files_of_a_view(tmp_path: Path, call_extract: Call) -> None:
    """Both headsets are view e4, so each recording may be in one of them only."""
    lab = project(tmp_path / "lab")
    write(tmp_path / "TSM/e4", nested("r1", "e4", range(1, 5)))
    write(tmp_path / "TSM/part2", [*nested("r1", "e4", range(1, 5)), *nested("r2", "e4", range(1, 5))])
    result = call_extract(lab, "import", "lmdb", str(tmp_path / "TSM"))
    assert result.exit_code == 3
    assert "failed: e4/r1: " in result.stderr and "the recording is there twice" in result.stderr
    assert FeatureStore(lab / "features.zarr").recordings("TSM", "e4") == ["r2"]


def test_files_of_two_widths(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    write(tmp_path / "TSM/e4", nested("r1", "e4", range(1, 5)))
    write(tmp_path / "TSM/v3", [("r1/v3/v3_0000000001.jpg", bytes(8))])
    result = call_extract(lab, "import", "lmdb", str(tmp_path / "TSM"))
    assert result.exit_code == 3
    assert "failed: v3/r1: " in result.stderr and "has 2 values a key, " in result.stderr


def test_not_an_lmdb_file(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    (tmp_path / "TSM").mkdir()
    (tmp_path / "TSM/data.mdb").write_bytes(b"<html>not found</html>" * 1000)
    result = call_extract(lab, "import", "lmdb", str(tmp_path / "TSM"))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path}/TSM/data.mdb: can't be read as an LMDB file (")
    assert result.stderr.endswith("). Copy or download it again\n")


def test_a_file_that_wont_open(tmp_path: Path, call_extract: Call) -> None:
    (tmp_path / "TSM/v3/data.mdb").mkdir(parents=True)
    result = call_extract(project(tmp_path / "lab"), "import", "lmdb", str(tmp_path / "TSM"))
    assert result.exit_code == 1
    assert "v3/data.mdb: can't be read: Is a directory. Check its disk, links and rights" in result.stderr


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    """As a process: reading a page that isn't there would kill it."""
    source = write(tmp_path / "TSM", nested("r1", "v3", range(1, 2000)))
    size = (source / "data.mdb").stat().st_size
    os.truncate(source / "data.mdb", size // 2 // 4096 * 4096)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("sync-extract")), "import", "lmdb", str(source)],
        cwd=project(tmp_path / "lab"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert f"data.mdb: has {size // 2 // 4096 * 4096} bytes of" in done.stderr
    assert "Copy or download it again" in done.stderr


def test_nothing_to_import(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    (tmp_path / "TSM").mkdir()
    result = call_extract(lab, "import", "lmdb", str(tmp_path / "TSM"))
    assert result.stderr == f"error: {tmp_path}/TSM: no data.mdb in it or in a folder below it\n"
    (tmp_path / "TSM/C10118_rgb.zip").touch()
    result = call_extract(lab, "import", "lmdb", str(tmp_path / "TSM"))
    assert result.stderr.endswith("below it. Unpack C10118_rgb.zip first\n")
    result = call_extract(lab, "import", "lmdb")
    assert (
        result.exit_code == 2 and "Missing argument 'SOURCE': the folder of the lmdb files." in result.stderr
    )


def test_a_changed_source_is_noticed(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    source = write(tmp_path / "TSM", nested("r1", "v3", range(1, 5)))
    assert call_extract(lab, "import", "lmdb", str(source)).exit_code == 0
    write(source, [("r1/v3/v3_0000000002.jpg", bytes(4 * WIDTH))])
    result = call_extract(lab, "import", "lmdb", str(source))
    assert result.exit_code == 3
    assert (
        "recording r1, view v3: the size of data.mdb in bytes has changed from 12288 to 20480 since it was imported. "
        "Import it again with --overwrite"
    ) in result.stderr
    assert call_extract(lab, "import", "lmdb", str(source), "--overwrite").exit_code == 0
    assert not FeatureStore(lab / "features.zarr").read("TSM", "v3", "r1").features[1].any()


def test_another_first_key_is_another_feature_set(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab")
    source = write(tmp_path / "TSM", nested("r1", "v3", range(1, 5)))
    assert call_extract(lab, "import", "lmdb", str(source)).exit_code == 0
    result = call_extract(lab, "import", "lmdb", str(source), "--first-key", "0")
    assert result.exit_code == 1 and "first_key: stored 1, now 0" in result.stderr


IN_SMALL_SHARDS = """\
import sync_store.layout as layout
layout.CHUNK_BYTES, layout.SHARD_BYTES = 2 << 10, 8 << 10
from sync_extract.cli import main
main()
"""


def test_killed_in_the_middle_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "TSM", nested("r1", "v3", range(1, 4001)))
    whole, killed = project(tmp_path / "whole"), project(tmp_path / "killed")
    command = [sys.executable, "-c", IN_SMALL_SHARDS, "import", "lmdb", str(source)]

    def start(folder: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)

    process = start(whole)
    assert process.communicate(timeout=60)[1].count("4000 rows") == 1
    expected = tree(whole / "features.zarr")
    assert sum("/features/c/" in name for name in expected) >= 60

    process = start(killed)
    shard = killed / "features.zarr/TSM/v3/r1/features/c/3/0"
    while not shard.exists() and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert FeatureStore(killed / "features.zarr").recordings("TSM", "v3") == []

    process = start(killed)
    computed = int(process.communicate(timeout=60)[1].split("v3/r1: ")[1].split(" rows")[0])
    assert process.returncode == 0 and computed <= 4000 - 3 * 64
    assert tree(killed / "features.zarr") == expected


RECORDING = "nusar-2021_action_both_{}_user_id_2021-02-01_153724"

TSM_PROJECT = '[dataset]\nkind = "assembly101"\nroot = "."\n'


def test_the_tsm_release_of_assembly101(tmp_path: Path, call_extract: Call) -> None:
    """Three lines of sync.toml: cameras become views, whichever headset a recording was filmed with."""
    lab = project(tmp_path / "lab", TSM_PROJECT)
    first, second = (RECORDING.format(name) for name in ("9011-a01_9011", "9012-b02_9012"))
    written = [
        ("C10118_rgb", "v3", first, 9),
        ("HMC_84358933_mono10bit", "e4", first, 7),
        ("HMC_21179183_mono10bit", "e4", second, 8),
        ("C10404_rgb", "v8", second, 8),
    ]
    for camera, _, recording, count in written:
        write(lab / "TSM_features" / camera, nested(recording, camera, range(1, count + 1), 2048))
    result = call_extract(lab, "import", "lmdb", "TSM_features")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "tsm: 4 imported, 0 complete already, 0 failed"
    store = FeatureStore(lab / "features.zarr")
    for camera, view, recording, count in written:
        stored = store.read("tsm", view, recording)
        np.testing.assert_array_equal(
            stored.features, values(recording + camera, count, 2048).astype(np.float16)
        )
        assert stored.timestamps.tolist() == [round(Fraction(frame, 30) * 10**9) for frame in range(count)]
    assert store.views("tsm") == ["e4", "v3", "v8"]
    about = store.feature_set("tsm")
    assert about["recipe"]["source"] == "assembly101-tsm"
    assert about["trained_on"] == [
        "fine-grained action labels of Assembly101's training recordings, in all 12 views, the 4 ego views among them"
    ]
    before = tree(lab / "features.zarr")
    again = call_extract(lab, "import", "lmdb", "TSM_features/HMC_21179183_mono10bit")
    assert again.stderr == "tsm: 0 imported, 1 complete already, 0 failed\n"
    assert tree(lab / "features.zarr") == before


def test_a_recording_with_both_headsets(tmp_path: Path, call_extract: Call) -> None:
    lab = project(tmp_path / "lab", TSM_PROJECT)
    for camera in ("HMC_84358933_mono10bit", "HMC_21179183_mono10bit"):
        write(lab / "TSM_features" / camera, nested("r1", camera, range(1, 5)))
    result = call_extract(lab, "import", "lmdb", "TSM_features", "--view", "e4")
    assert result.exit_code == 3
    assert result.stderr.endswith(
        "TSM_features: 0 imported, 0 complete already, 1 failed\n"
    )  # 64 wide: not TSM
    assert (
        "the recording is there twice, keys r1/HMC_21179183_mono10bit/HMC_21179183_mono10bit_… and "
        "r1/HMC_84358933_mono10bit/HMC_84358933_mono10bit_…. Import one of them, by its folder"
    ) in result.stderr
    assert call_extract(lab, "import", "lmdb", "TSM_features/HMC_84358933_mono10bit").exit_code == 0


@given(
    numbers=st.lists(st.integers(0, 10**7), min_size=1, max_size=20),
    fps=st.fractions(Fraction(1, 10), 1000, max_denominator=1001),
    offset=st.fractions(-1000, 1000, max_denominator=90_000),
)
def test_frame_times_are_exact(numbers: list[int], fps: Fraction, offset: Fraction) -> None:
    expected = [round((number / fps + offset) * 10**9) for number in numbers]
    assert frame_times(np.array(numbers), fps, offset).tolist() == expected
