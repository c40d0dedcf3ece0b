"""The field's folders (Breakfast, 50Salads, GTEA), as MS-TCN's release has them."""

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sync_store.datasets import Action, FramesDataset, open_dataset
from sync_store.errors import DatasetError, NoVideoError
from sync_store.project import load_project

LABELS = ["SIL"] * 3 + ["pour_milk"] * 4 + ["stir"] * 2 + ["SIL"] * 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two recordings: one with one label more than columns, one without labels."""
    folder = tmp_path / "breakfast"
    for name in ("features", "groundTruth", "splits"):
        (folder / name).mkdir(parents=True)
    for name in ("P03_cam01_P03_milk", "P04_cam02_P04_milk"):
        np.save(folder / f"features/{name}.npy", np.zeros((8, 9), np.float32))
    (folder / "groundTruth/P03_cam01_P03_milk.txt").write_text("\n".join(LABELS) + "\n")
    (folder / "mapping.txt").write_text("0 SIL\n1 pour_milk\n2 stir\n")
    (folder / "splits/train.split1.bundle").write_text("P03_cam01_P03_milk.txt\n")
    (folder / "splits/test.split1.bundle").write_text("P04_cam02_P04_milk.txt")
    (tmp_path / "sync.toml").write_text(
        '[dataset]\nkind = "frames"\nroot = "breakfast"\nlabel_fps = 15\nbackground = ["SIL"]\n'
    )
    return folder


def dataset(root: Path) -> FramesDataset:
    opened = open_dataset(load_project(root.parent))
    assert isinstance(opened, FramesDataset)
    return opened


def test_reads_the_release(root: Path) -> None:
    frames = dataset(root)
    assert frames.recordings() == ["P03_cam01_P03_milk", "P04_cam02_P04_milk"]
    assert frames.label_rate == 15 and frames.background == ("SIL",)
    assert frames.classes() == frames.action_classes() == ("SIL", "pour_milk", "stir")
    assert frames.split("train.split1") == ["P03_cam01_P03_milk"]
    assert frames.split("test.split1") == ["P04_cam02_P04_milk"]
    assert frames.procedure("P03_cam01_P03_milk") is None
    (sequence,) = frames.labeled("P03_cam01_P03_milk")
    assert sequence.name == sequence.recording == "P03_cam01_P03_milk"
    times = np.array([round(Fraction(frame, 15) * 10**9) for frame in range(10)])
    index = sequence.segments.index_at(times)
    assert [sequence.segments.labels[i] for i in index] == LABELS
    assert frames.num_labels("P03_cam01_P03_milk") == 10
    assert frames.labeled("P04_cam02_P04_milk") == [] and frames.num_labels("P04_cam02_P04_milk") == 0


def test_actions_are_the_segments_without_background(root: Path) -> None:
    assert dataset(root).actions("P03_cam01_P03_milk") == [
        Action(start_ns=200_000_000, stop_ns=466_666_667, label="pour_milk"),
        Action(start_ns=466_666_667, stop_ns=600_000_000, label="stir"),
    ]


def test_recordings_without_features_come_from_the_labels(root: Path) -> None:
    for file in (root / "features").iterdir():
        file.unlink()
    assert dataset(root).recordings() == ["P03_cam01_P03_milk"]
    (root / "groundTruth/P03_cam01_P03_milk.txt").unlink()
    with pytest.raises(
        DatasetError, match=r"neither features/<recording>\.npy nor groundTruth/<recording>\.txt"
    ):
        dataset(root).recordings()


def test_there_is_no_video(root: Path) -> None:
    with pytest.raises(
        NoVideoError, match=r"has features and no videos\. Import them with: sync-extract import npy"
    ):
        dataset(root).video("P03_cam01_P03_milk", "video")


def test_classes_may_have_spaces_and_may_be_missing(root: Path) -> None:
    (root / "mapping.txt").write_text("0 SIL\r\n1 pour milk\r\n\r\n")
    assert dataset(root).classes() == ("SIL", "pour milk")
    (root / "mapping.txt").unlink()
    assert dataset(root).classes() is None
    assert len(dataset(root).labeled("P03_cam01_P03_milk")) == 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("0 SIL\npour_milk\n", "mapping.txt line 2: expected '<id> <class>', got 'pour_milk'"),
        ("9" * 5000 + " SIL\n", "mapping.txt line 1: expected '<id> <class>', got '999"),
        ("SIL 0\n", "mapping.txt line 1: expected '<id> <class>', got 'SIL 0'"),
        ("0 SIL\n0 stir\n", "mapping.txt line 2: '0 stir': this id or class is there already"),
        ("0 SIL\n1 SIL\n", "mapping.txt line 2: '1 SIL': this id or class is there already"),
        ("1 SIL\n2 stir\n", "mapping.txt: ids must be 0, 1, 2 … without a hole, got [1, 2]"),
        ("\n", "mapping.txt: ids must be 0, 1, 2 … without a hole, got []"),
    ],
)
def test_bad_mapping(mapping: str, message: str, root: Path) -> None:
    (root / "mapping.txt").write_text(mapping)
    with pytest.raises(DatasetError, match=re.escape(message)):
        dataset(root).classes()


def test_a_label_that_is_no_class(root: Path) -> None:
    path = root / "groundTruth/P03_cam01_P03_milk.txt"
    path.write_text("SIL\nSIL\npour_mlik\n")
    with pytest.raises(DatasetError, match=r"milk\.txt line 3: class 'pour_mlik' isn't in .*mapping\.txt"):
        dataset(root).labeled("P03_cam01_P03_milk")


def test_names_that_leave_the_folder(root: Path) -> None:
    with pytest.raises(DatasetError, match="contains a path separator"):
        dataset(root).labeled("splits/../x")


def test_no_such_root(root: Path) -> None:
    (root.parent / "sync.toml").write_text('[dataset]\nkind = "frames"\nroot = "brekfast"\n')
    with pytest.raises(DatasetError, match=r"dataset root .*brekfast isn't a folder"):
        open_dataset(load_project(root.parent))
