"""`sync-extract import npy` on the field's folders, and what trains on them then."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result

from sync_extract.importing.npy import read_header
from sync_store.errors import DatasetError
from sync_store.reader import FeatureStore

Call = Callable[..., Result]

PROJECT = """\
[dataset]
kind = "frames"
root = "breakfast"
label_fps = 15
"""

WIDTH, LENGTH = 24, 80


def values(seed: int, length: int = LENGTH) -> npt.NDArray[np.float32]:
    """float32 (D, T)."""
    return np.random.default_rng(seed).standard_normal((WIDTH, length)).astype(np.float32)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Breakfast in small: two recordings with labels."""
    root = tmp_path / "breakfast"
    for name in ("features", "groundTruth"):
        (root / name).mkdir(parents=True)
    for seed, name in enumerate(("P03_milk", "P04_milk")):
        np.save(root / f"features/{name}.npy", values(seed))
        (root / f"groundTruth/{name}.txt").write_text("SIL\n" * 30 + "stir\n" * 50)
    (root / "mapping.txt").write_text("0 SIL\n1 stir\n")
    (tmp_path / "sync.toml").write_text(PROJECT)
    return tmp_path


def read(lab: Path, recording: str, feature_set: str = "breakfast", view: str = "video") -> Any:
    return FeatureStore(lab / "features.zarr").read(feature_set, view, recording)


def failed(result: Result) -> str:
    """The one failure's message."""
    assert result.exit_code == 3, result.stderr
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("failed: "))
    return line


def test_columns_become_rows_at_their_frames_times(lab: Path, call_extract: Call) -> None:
    result = call_extract(lab, "import", "npy")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines()[-1] == "breakfast: 2 imported, 0 complete already, 0 failed"
    stored = read(lab, "P04_milk")
    np.testing.assert_array_equal(stored.features, values(1).T.astype(np.float16))
    assert stored.timestamps.tolist() == [round(Fraction(frame, 15) * 10**9) for frame in range(LENGTH)]
    store = FeatureStore(lab / "features.zarr")
    assert store.feature_set("breakfast")["recipe"] == {
        "imported": "npy",
        "source": "breakfast",
        "grid_fps": "15",
        "dtype": "float32",
    }
    assert store.feature_set("breakfast")["trained_on"] == []
    source = store.attributes("breakfast", "video", "P03_milk")["provenance"]["source"]
    assert source["size_bytes"] == (lab / "breakfast/features/P03_milk.npy").stat().st_size
    assert source["file_name"] == "P03_milk.npy" and len(source["sha256"]) == 64


def test_rows_get_the_labels_of_their_frames(lab: Path, call_extract: Call) -> None:
    from sync_store.datasets import open_dataset
    from sync_store.project import load_project

    assert call_extract(lab, "import", "npy").exit_code == 0
    (sequence,) = open_dataset(load_project(lab)).labeled("P03_milk")
    ids = sequence.segments.classes_at(read(lab, "P03_milk").timestamps, ("SIL", "stir"))
    assert ids.tolist() == [0] * 30 + [1] * 50


def test_rows_first_is_told_by_the_labels(lab: Path, call_extract: Call) -> None:
    np.save(lab / "breakfast/features/P04_milk.npy", np.ascontiguousarray(values(1, LENGTH - 3).T))
    result = call_extract(lab, "import", "npy")
    assert result.exit_code == 0, result.stderr
    assert (
        "1 recordings have more or fewer columns than labels, such as P04_milk with 77 columns and 80 labels; all are "
        "kept"
    ) in result.stderr
    np.testing.assert_array_equal(read(lab, "P04_milk").features, values(1, LENGTH - 3).T.astype(np.float16))
    grid = FeatureStore(lab / "features.zarr").attributes("breakfast", "video", "P04_milk")["provenance"][
        "grid"
    ]
    assert grid == {"num_rows": 77, "axes": "rows first"}


@pytest.mark.parametrize("lengths", [(WIDTH, LENGTH), (WIDTH - 2, LENGTH), (LENGTH, WIDTH + 1)])
@pytest.mark.parametrize("rows_first", [True, False])
def test_a_recording_about_as_long_as_wide_is_read_as_the_others(
    rows_first: bool, lengths: tuple[int, int], lab: Path, call_extract: Call
) -> None:
    for seed, (name, length) in enumerate(zip(("P03_milk", "P04_milk"), lengths, strict=True)):
        columns = values(seed, length)
        np.save(lab / f"breakfast/features/{name}.npy", columns.T if rows_first else columns)
        (lab / f"breakfast/groundTruth/{name}.txt").write_text("SIL\n" * length)
    result = call_extract(lab, "import", "npy")
    assert result.exit_code == 0, result.stderr
    for seed, (name, length) in enumerate(zip(("P03_milk", "P04_milk"), lengths, strict=True)):
        np.testing.assert_array_equal(read(lab, name).features, values(seed, length).T.astype(np.float16))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.dtype(">f4")])
def test_every_float_is_rounded_once(dtype: Any, lab: Path, call_extract: Call) -> None:
    """A float64 just above half-way between two float16 goes up; by way of float32 it would go down."""
    numbers = np.linspace(-3, 3, WIDTH * LENGTH).reshape(WIDTH, LENGTH).astype(dtype)
    numbers[0, 0] = dtype(1 + 2**-11 + 2**-40) if dtype == np.float64 else 1
    for name in ("P03_milk", "P04_milk"):
        np.save(lab / f"breakfast/features/{name}.npy", numbers)
    assert call_extract(lab, "import", "npy").exit_code == 0
    stored = read(lab, "P03_milk").features
    np.testing.assert_array_equal(stored, numbers.T.astype(np.float16))
    assert stored[0, 0] == (np.float16(1 + 2**-10) if dtype == np.float64 else 1)


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_and_length_dont_matter(order: Any, lab: Path, call_extract: Call) -> None:
    """More rows than a block holds."""
    long = np.asarray(values(7, 2500), order=order)
    (lab / "breakfast/groundTruth/P03_milk.txt").write_text("SIL\n" * 2500)
    np.save(lab / "breakfast/features/P03_milk.npy", long)
    assert call_extract(lab, "import", "npy").exit_code == 0
    np.testing.assert_array_equal(read(lab, "P03_milk").features, long.T.astype(np.float16))


BAD = {
    "pickled": (np.array([{"a": 1}, None], dtype=object), "can't be read as a .npy file of numbers"),
    "integers": (
        np.ones((WIDTH, LENGTH), np.int64),
        "holds int64 (24, 80); expected (D, T) of float32, float64",
    ),
    "one axis": (np.ones(LENGTH, np.float32), "holds float32 (80,); expected (D, T)"),
    "empty": (np.ones((WIDTH, 0), np.float32), "holds float32 (24, 0); expected (D, T)"),
    "another rate": (
        values(1, 2 * LENGTH),
        "has shape (24, 160), but its labels have 80 frames. Expected (D, T) with about as many columns; if features "
        "and labels differ in rate, give that of the features with --fps",
    ),
    "another width": (
        np.ones((25, LENGTH), np.float32),
        "holds float32 values 25 wide, but the files before it float32 24 wide",
    ),
    "another type": (
        np.ones((WIDTH, LENGTH), np.float64),
        "holds float64 values 24 wide, but the files before it float32 24 wide",
    ),
    "not a number": (
        np.where(np.arange(LENGTH) == 30, np.float32("nan"), values(1)),
        "value 0 of the row at 2.0 s is nan; the store holds float16",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_listed_and_the_others_go_on(case: str, lab: Path, call_extract: Call) -> None:
    array, message = BAD[case]
    file = lab / "breakfast/features/P04_milk.npy"
    np.save(file, array, allow_pickle=True)
    line = failed(call_extract(lab, "import", "npy", "--quiet"))
    assert line.startswith("failed: video/P04_milk: ") and str(file) in line
    assert message in line
    assert FeatureStore(lab / "features.zarr").recordings("breakfast", "video") == ["P03_milk"]


def test_not_a_npy_file(lab: Path, call_extract: Call) -> None:
    file = lab / "breakfast/features/P03_milk.npy"
    file.write_bytes(file.read_bytes()[:-100])
    assert re.search(
        r"P03_milk\.npy: can't be read as a \.npy file", failed(call_extract(lab, "import", "npy"))
    )
    file.write_bytes(b"")
    assert "P03_milk.npy: can't be read as a .npy file" in failed(call_extract(lab, "import", "npy"))
    with file.open("wb") as archive:
        np.savez(archive, values(0))
    assert "P03_milk.npy: is an archive of arrays; expected one array" in failed(
        call_extract(lab, "import", "npy")
    )


def test_damaged_headers_are_a_message_whatever_they_are(lab: Path) -> None:
    """numpy raises TokenError, SyntaxError and others at such files."""
    file = lab / "breakfast/features/P03_milk.npy"
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1000):
        content = bytearray(whole)
        for place in rng.integers(100, size=2):
            content[place] = rng.integers(256)
        file.write_bytes(content)
        try:
            read_header(file, num_labels=0, rows_first=False)
        except DatasetError:
            refused += 1
    assert refused


def test_a_header_that_python_2_wrote(lab: Path, call_extract: Call) -> None:
    file = lab / "breakfast/features/P03_milk.npy"
    whole = file.read_bytes()
    assert b"(24, 80), }  " in whole
    file.write_bytes(whole.replace(b"(24, 80), }  ", b"(24L, 80L), }"))
    result = call_extract(lab, "import", "npy", "--quiet")
    assert result.stderr == "breakfast: 2 imported, 0 complete already, 0 failed\n"


@pytest.mark.parametrize("shape", [(2**32, 2**32), (2**40, 2**10)])
def test_a_shape_that_overflows(shape: tuple[int, int], lab: Path, call_extract: Call) -> None:
    with (lab / "breakfast/features/P03_milk.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(bytes(100))
    line = failed(call_extract(lab, "import", "npy"))
    assert re.search(
        r"P03_milk\.npy: can't be read as a \.npy file of numbers \(.*\)\. Copy or download", line
    )


def test_features_of_another_rate_than_the_labels(lab: Path, call_extract: Call) -> None:
    for seed, name in enumerate(("P03_milk", "P04_milk")):
        np.save(lab / f"breakfast/features/{name}.npy", values(seed, 2 * LENGTH))
    assert call_extract(lab, "import", "npy", "--fps", "30").exit_code == 0
    assert read(lab, "P03_milk").timestamps[-1] == round(Fraction(159, 30) * 10**9)


def test_a_changed_file_is_noticed_and_a_copied_one_is_the_same(lab: Path, call_extract: Call) -> None:
    assert call_extract(lab, "import", "npy").exit_code == 0
    file = lab / "breakfast/features/P03_milk.npy"
    os.utime(file, ns=(1, 1))
    result = call_extract(lab, "import", "npy")
    assert (result.exit_code, result.stderr) == (0, "breakfast: 0 imported, 2 complete already, 0 failed\n")
    np.save(file, values(5))
    line = failed(call_extract(lab, "import", "npy"))
    assert (
        "the content of P03_milk.npy has changed since it was imported. Import it again with --overwrite"
        in line
    )
    assert call_extract(lab, "import", "npy", "--recording", "P03_milk", "--overwrite").exit_code == 0
    np.testing.assert_array_equal(read(lab, "P03_milk").features, values(5).T.astype(np.float16))


def test_folders_of_views(tmp_path: Path, call_extract: Call) -> None:
    """One's own recordings, with features that someone else made."""
    (tmp_path / "sync.toml").write_text(
        '[views.v3]\nkind = "exo"\n[views.e4]\nkind = "ego"\noffset_seconds = -0.25\n'
    )
    for seed, view in enumerate(("v3", "e4")):
        (tmp_path / "i3d" / view).mkdir(parents=True)
        np.save(tmp_path / f"i3d/{view}/r1.npy", values(seed))
    result = call_extract(tmp_path, "import", "npy", "i3d", "--json")
    assert json.loads(result.stdout)["imported"] == 2
    ego = read(tmp_path, "r1", "i3d", "e4")
    np.testing.assert_array_equal(ego.features, values(1).T.astype(np.float16))
    assert ego.timestamps[:2].tolist() == [-250_000_000, -216_666_667]
    result = call_extract(tmp_path, "import", "npy", "i3d/v3")
    assert result.exit_code == 1
    assert (
        "i3d/v3: its files don't say which view they are of. Name it with --view, one of: v3, e4"
        in result.stderr
    )
    assert call_extract(tmp_path, "import", "npy", "i3d/v3", "--view", "e4", "--dry-run").exit_code == 0


def test_nothing_to_import(lab: Path, call_extract: Call) -> None:
    (lab / "empty").mkdir()
    result = call_extract(lab, "import", "npy", "empty")
    assert (
        result.stderr == "error: empty: has no .npy files, nor a folder of them with a view's name: video\n"
    )
    for file in (lab / "breakfast/features").iterdir():
        file.unlink()
    (lab / "breakfast/features").rmdir()
    result = call_extract(lab, "import", "npy")
    assert result.exit_code == 1
    assert (
        "breakfast/features: there is no such folder; expected one of <recording>.npy files" in result.stderr
    )


FIELD = """\
[dataset]
kind = "frames"
root = "gtea"
label_fps = 15

[train]
chunk_rows = 2
max_chunks = 64
tta_chunk_rows = [1, 2]
device = "cpu"

[train.splits]
train = "train.split1"
test = "test.split1"

[train.teacher]
learning_rate = 1e-3
max_epochs = 8
batch_size = 1
selection = "last"

[evaluate]
unsegmented = ["background"]
"""


def test_after_it_the_trainer_is_an_ordinary_one(tmp_path: Path) -> None:
    """From the field's folders to a table, by the three commands of docs/datasets.md.

    Features that show the class are learned: chance would be a quarter.
    """
    root, classes = tmp_path / "gtea", ("background", "take", "open", "pour")
    for name in ("features", "groundTruth", "splits"):
        (root / name).mkdir(parents=True)
    (root / "mapping.txt").write_text("".join(f"{index} {name}\n" for index, name in enumerate(classes)))
    prototypes = np.random.default_rng(9).choice([-2.0, 2.0], (len(classes), 16))
    names = [f"S{number}_Tea" for number in range(1, 7)]
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        ids = np.repeat(
            [0, *rng.permutation([1, 2, 3]), *rng.permutation([1, 2, 3]), 0], rng.integers(8, 20, 8)
        )
        (root / f"groundTruth/{name}.txt").write_text("".join(f"{classes[index]}\n" for index in ids))
        np.save(root / f"features/{name}.npy", (prototypes[ids] + rng.normal(0, 1, (len(ids), 16))).T[:, :-1])
    for split, part in (("train", names[:4]), ("test", names[4:])):
        (root / f"splits/{split}.split1.bundle").write_text("".join(f"{name}.txt\n" for name in part))
    (tmp_path / "sync.toml").write_text(FIELD)

    def run(program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("sync-extract", "import", "npy")
    run("sync-train", "teacher")
    (row,) = json.loads(run("sync-eval", "table", "--json"))["rows"]
    assert row["mof"] > 60, row
