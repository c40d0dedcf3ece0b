"""`sync-extract export`: the way back to the field's folders, and to other trainers."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sync_extract.exporting import class_words, labels_at
from sync_extract.importing.run import to_half
from sync_extract.importing.source import Rows
from sync_store.datasets import FolderDataset, open_dataset
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter

Call = Callable[..., Result]

WIDTH, LENGTH = 24, 80

FOLDER_PROJECT = """\
[dataset]
label_fps = 30
[views.v3]
kind = "exo"
[views.e4]
kind = "ego"
"""

LABELS = "start_seconds,stop_seconds,label\n0,1,screw  bolt\n1,1.5,turn\n2,3,screw  bolt\n"


@pytest.fixture
def breakfast(tmp_path: Path) -> Path:
    """A dataset of the field's form, all of whose numbers float16 holds."""
    root = tmp_path / "breakfast"
    for name in ("features", "groundTruth", "splits"):
        (root / name).mkdir(parents=True)
    for seed, name in enumerate(("P03_milk", "P04_milk")):
        values = np.random.default_rng(seed).standard_normal((WIDTH, LENGTH))
        np.save(root / f"features/{name}.npy", values.astype(np.float16).astype(np.float32))
        (root / f"groundTruth/{name}.txt").write_text("SIL\n" * 30 + "stir\n" * 50)
    (root / "mapping.txt").write_text("0 SIL\n1 stir\n")
    (root / "splits/train.split1.bundle").write_text("P03_milk.txt\n")
    (root / "splits/test.split1.bundle").write_text("P04_milk.txt\n")
    (tmp_path / "sync.toml").write_text('[dataset]\nkind = "frames"\nroot = "breakfast"\nlabel_fps = 15\n')
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Two views with a gap in e4, labels with unlabeled time and spaces."""
    (tmp_path / "sync.toml").write_text(FOLDER_PROJECT)
    for name in ("labels", "splits", "videos/r1", "videos/r2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "labels/r1.csv").write_text(LABELS)
    (tmp_path / "splits/train.txt").write_text("r1\n")
    for view, recording, times in (
        ("v3", "r1", np.arange(90)),
        ("e4", "r1", np.delete(np.arange(90), np.arange(40, 50))),
        ("e4", "r2", np.arange(10)),
    ):
        store(tmp_path, view, recording, times * 1_000_000_000 // 3 // 10 + 1)
    return tmp_path


def rows_of(view: str, recording: str, count: int) -> npt.NDArray[np.float16]:
    seed = len(view + recording) + ord(view[0])
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float16)


def store(lab: Path, view: str, recording: str, times: Any) -> None:
    feature_set = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=8)
    with RecordingWriter(
        lab / "features.zarr", feature_set, view, recording, timestamps=times, provenance={}
    ) as writer:
        writer.append(rows_of(view, recording, len(times)))
        writer.commit()


def test_import_and_export_gives_the_same_files(breakfast: Path, call_extract: Call) -> None:
    """Bit for bit: features, labels, classes and splits. What is exported imports again to the same rows."""
    assert call_extract(breakfast, "import", "npy").exit_code == 0
    result = call_extract(breakfast, "export", "out")
    assert (result.exit_code, result.stderr) == (0, "breakfast: 2 exported, 0 there already, 0 failed\n")
    written = files(breakfast / "out/video")
    assert {name for name in written if name.startswith("timestamps")} == {
        "timestamps/P03_milk.npy",
        "timestamps/P04_milk.npy",
    }
    without_times = {name: content for name, content in written.items() if not name.startswith("timestamps")}
    assert without_times == files(breakfast / "breakfast")

    assert call_extract(breakfast, "import", "npy", "out", "--feature-set", "again").exit_code == 0
    features = FeatureStore(breakfast / "features.zarr")
    for name in ("P03_milk", "P04_milk"):
        first, again = (features.read(feature_set, "video", name) for feature_set in ("breakfast", "again"))
        np.testing.assert_array_equal(first.features, again.features)
        np.testing.assert_array_equal(first.timestamps, again.timestamps)


def test_what_is_exported_is_a_dataset_of_the_fields_form(breakfast: Path, call_extract: Call) -> None:
    assert call_extract(breakfast, "import", "npy").exit_code == 0
    assert call_extract(breakfast, "export", "out").exit_code == 0
    (breakfast / "out/sync.toml").write_text('[dataset]\nkind = "frames"\nroot = "video"\nlabel_fps = 15\n')
    dataset = open_dataset(load_project(breakfast / "out"))
    assert dataset.recordings() == ["P03_milk", "P04_milk"] and dataset.classes() == ("SIL", "stir")
    assert dataset.split("test.split1") == ["P04_milk"]


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(-65504, 65504, width=32)))
def test_rounding_is_to_the_nearest_float16(values: npt.NDArray[np.float32]) -> None:
    rows = Rows(timestamps=np.arange(3), about={}, blocks=lambda _: iter(()))
    np.testing.assert_array_equal(to_half(values, rows, 0, ""), values.astype(np.float16))


def test_rows_are_written_as_they_are_each_view_for_itself(lab: Path, call_extract: Call) -> None:
    assert call_extract(lab, "export", "out", "--format", "npy", "--feature-set", "small").exit_code == 0
    features = FeatureStore(lab / "features.zarr")
    for view, count in (("v3", 90), ("e4", 80)):
        values = np.load(lab / f"out/{view}/features/r1.npy", allow_pickle=False)
        assert values.dtype == np.float32 and values.shape == (8, count) and values.flags.c_contiguous
        np.testing.assert_array_equal(values, rows_of(view, "r1", count).T.astype(np.float32))
        times = np.load(lab / f"out/{view}/timestamps/r1.npy", allow_pickle=False)
        np.testing.assert_array_equal(times, features.read("small", view, "r1").timestamps)


def test_labels_are_those_of_the_rows_times(lab: Path, call_extract: Call) -> None:
    """A word a class, since the field's readers split at spaces; unlabeled rows have a class of their own."""
    assert call_extract(lab, "export", "out").exit_code == 0
    expected = ["screw_bolt"] * 30 + ["turn"] * 15 + ["unlabeled"] * 15 + ["screw_bolt"] * 30
    assert (lab / "out/v3/groundTruth/r1.txt").read_text().split("\n") == [*expected, ""]
    in_e4 = expected[:40] + expected[50:]
    assert (lab / "out/e4/groundTruth/r1.txt").read_text().split("\n") == [*in_e4, ""]
    assert not (lab / "out/e4/groundTruth/r2.txt").exists()
    assert (lab / "out/e4/mapping.txt").read_text() == "0 screw_bolt\n1 turn\n2 unlabeled\n"
    assert (lab / "out/v3/splits/train.bundle").read_text() == "r1.txt\n"


def test_stated_classes_keep_their_ids(lab: Path, call_extract: Call) -> None:
    """And a label that is none of them is unlabeled, as it is in training."""
    (lab / "classes.txt").write_text("turn\nnever seen\n")
    assert call_extract(lab, "export", "out", "--view", "v3").exit_code == 0
    assert (lab / "out/v3/mapping.txt").read_text() == "0 turn\n1 never_seen\n2 unlabeled\n"
    assert set((lab / "out/v3/groundTruth/r1.txt").read_text().split()) == {"turn", "unlabeled"}


def test_classes_that_become_one_word(lab: Path, call_extract: Call) -> None:
    (lab / "classes.txt").write_text("screw bolt\nscrew_bolt\n")
    result = call_extract(lab, "export", "out")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: two classes are both 'screw_bolt' once their spaces are replaced. Rename one of them\n"
    )


def test_labels_in_several_sequences(lab: Path) -> None:
    """Assembly and disassembly of one recording are two files of labels."""
    dataset = open_dataset(load_project(lab))

    class Twice(FolderDataset):
        def labeled(self, recording: str) -> Any:
            return [*super().labeled(recording), *super().labeled("r2")]

    (lab / "labels/r2.csv").write_text("start_seconds,stop_seconds,label\n1.5,2,take apart\n")
    both = Twice(load_project(lab))
    words = class_words(dataset, ["r1", "r2"])
    assert words == ["screw_bolt", "take_apart", "turn"]
    times = np.array([0, 1_200_000_000, 1_700_000_000, 2_500_000_000, 3_500_000_000])
    assert labels_at(both, "r1", times, words) == [
        "screw_bolt",
        "turn",
        "take_apart",
        "screw_bolt",
        "unlabeled",
    ]


def test_what_is_there_is_kept_unless_told_otherwise(lab: Path, call_extract: Call) -> None:
    assert call_extract(lab, "export", "out", "--recording", "r1").exit_code == 0
    file = lab / "out/v3/features/r1.npy"
    os.utime(file, ns=(1, 1))
    result = call_extract(lab, "export", "out", "--json")
    assert json.loads(result.stdout) == {
        "feature_set": "small",
        "folder": "out",
        "format": "npy",
        "exported": 1,
        "skipped": 2,
        "incomplete": [],
        "failed": [],
    }
    assert file.stat().st_mtime_ns == 1
    assert json.loads(call_extract(lab, "export", "out", "--overwrite", "--json").stdout)["exported"] == 3
    assert file.stat().st_mtime_ns != 1


def test_a_damaged_recording_is_listed_and_the_others_go_on(lab: Path, call_extract: Call) -> None:
    shard = lab / "features.zarr/small/e4/r1/features/c/0/0"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    result = call_extract(lab, "export", "out")
    assert result.exit_code == 3
    failure, summary = result.stderr.splitlines()
    assert failure.startswith("failed: e4/r1: recording r1, view e4: ") and "is damaged" in failure
    assert summary == "small: 2 exported, 0 there already, 1 failed"
    assert not (lab / "out/e4/features/r1.npy").exists() and (lab / "out/e4/features/r2.npy").exists()


def test_what_was_never_finished_is_left_out_and_named(lab: Path, call_extract: Call) -> None:
    feature_set = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=8)
    RecordingWriter(lab / "features.zarr", feature_set, "v3", "r2", timestamps=np.arange(3), provenance={})
    result = call_extract(lab, "export", "out")
    assert result.exit_code == 0 and result.stderr.splitlines() == [
        "view v3: 1 incomplete recordings left out: r2",
        "small: 3 exported, 0 there already, 0 failed",
    ]
    assert not (lab / "out/v3/features/r2.npy").exists()
    report = json.loads(call_extract(lab, "export", "out", "--json").stdout)
    assert report["incomplete"] == [{"view": "v3", "recording": "r2"}]


def test_hidden_files_beside_splits(lab: Path, call_extract: Call) -> None:
    (lab / "splits/._train.txt").write_bytes(b"\0\5\x16\7")
    assert call_extract(lab, "export", "out").exit_code == 0
    assert [file.name for file in (lab / "out/v3/splits").iterdir()] == ["train.bundle"]


def test_what_cant_be_exported(lab: Path, call_extract: Call) -> None:
    result = call_extract(lab, "export", "out", "--recording", "r3")
    assert "feature set small: has no complete recording 'r3'" in result.stderr and result.exit_code == 1
    result = call_extract(lab, "export", "out", "--feature-set", "smal")
    assert "there is no feature set 'smal', did you mean 'small'" in result.stderr
    result = call_extract(lab, "export", "out", "--view", "v4")
    assert "there is no view 'v4'" in result.stderr
    (lab / "features.zarr/small/v3/r1/zarr.json").unlink()
    result = call_extract(lab, "export", "out", "--view", "v3")
    assert "feature set small, view v3: has no complete recording to export" in result.stderr
    other = FeatureSet(name="other", recipe={}, feature_dim=8)
    with RecordingWriter(
        lab / "features.zarr", other, "v3", "r1", timestamps=np.arange(3), provenance={}
    ) as writer:
        writer.append(np.zeros((3, 8), np.float16))
        writer.commit()
    result = call_extract(lab, "export", "out")
    assert (
        "say which feature set of the store to export, with --feature-set: it has other, small"
        in result.stderr
    )
    assert not (lab / "out").exists()
