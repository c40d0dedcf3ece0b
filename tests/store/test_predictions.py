"""Prediction sets: whole or not there, and nothing that was changed afterwards."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_store.errors import DatasetError
from sync_store.labels import Segments
from sync_store.predictions import PredictionInfo, find_predictions, open_predictions, write_predictions

INFO = PredictionInfo(
    run="main",
    seed=3,
    method="feature-tas",
    view="e4",
    kind="ego",
    split="test",
    feature_set="dinov2-large",
    trained_on=("assembly101: v1 rgb",),
    classes=("pick", "put"),
    protocol={"selection": "held-out", "levels": 6, "standardize": True},
)


def segments(*labels: str) -> Segments:
    starts = np.arange(len(labels)) * 10**9
    return Segments(
        start_ns=starts,
        stop_ns=starts + 10**9,
        labels=labels,
        confidence=np.linspace(0.25, 1, len(labels)),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "runs/main/predictions/feature-tas/e4"
    write_predictions(path, INFO, {"b": segments("pick", "put"), "a": segments("put")})
    return path


def change(folder: Path, **values: Any) -> None:
    path = folder / "predictions.json"
    table = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in table.items() if value != "gone"}))


def test_another_feature_set_of_the_teacher_is_named_and_else_nothing(folder: Path) -> None:
    """So that manifests without one are those of programs that know of none."""
    assert "teacher_feature_set" not in json.loads((folder / "predictions.json").read_text())
    info = replace(INFO, teacher_feature_set="tsm-exo")
    assert write_predictions(folder, info, {}).info.teacher_feature_set == "tsm-exo"


def test_what_was_written_is_read(folder: Path) -> None:
    found = open_predictions(folder)
    assert found.recordings == ["a", "b"]
    assert found.info.sha256 is not None and sorted(found.info.sha256) == ["a", "b"]
    for name in vars(INFO):
        if name != "sha256":
            assert getattr(found.info, name) == getattr(INFO, name)
    read = found.read("b")
    assert read.labels == ("pick", "put")
    assert read.stop_ns.tolist() == [10**9, 2 * 10**9]
    assert read.confidence is not None and read.confidence.tolist() == [0.25, 1.0]


def test_a_set_without_its_manifest_is_not_finished(folder: Path) -> None:
    (folder / "predictions.json").unlink()
    with pytest.raises(
        DatasetError, match=r"e4: has no finished predictions \(predictions\.json is missing\)"
    ):
        open_predictions(folder)
    assert find_predictions(folder.parents[3]) == []


def test_interrupted_writing_leaves_no_manifest(folder: Path) -> None:
    """The old one goes first, so that old and new files can't be taken for one set."""
    with pytest.raises(DatasetError, match=r"recording name '\.\./evil' begins with"):
        write_predictions(folder, INFO, {"../evil": segments("put"), "c": segments("put")})
    with pytest.raises(DatasetError, match="has no finished predictions"):
        open_predictions(folder)
    assert not (folder.parent / "evil.csv").exists()


def test_a_newer_set_replaces_the_older_whole(folder: Path) -> None:
    again = write_predictions(folder, INFO, {"b": segments("put")})
    assert again.recordings == ["b"]
    assert again.read("b").labels == ("put",)
    assert sorted(path.name for path in folder.iterdir()) == ["b.csv", "predictions.json"]


def test_a_changed_or_missing_file_is_refused(folder: Path) -> None:
    found = open_predictions(folder)
    path = folder / "b.csv"
    path.write_text(path.read_text().replace("pick", "put"))
    with pytest.raises(DatasetError, match=r"b\.csv: has changed since it was written; predict again"):
        found.read("b")
    path.unlink()
    with pytest.raises(DatasetError, match=r"b\.csv: is missing; predict again with sync-train"):
        found.read("b")
    with pytest.raises(DatasetError, match=r"e4: recording c wasn't predicted"):
        found.read("c")


@pytest.mark.parametrize("name", ["../../../outside", "/etc/passwd", "..", "a/b", ""])
def test_a_hostile_recording_in_the_manifest_is_refused(folder: Path, name: str) -> None:
    change(folder, sha256={name: "0" * 64})
    with pytest.raises(DatasetError, match=r"predictions\.json: recording name"):
        open_predictions(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "other"}, "isn't a manifest of predictions"),
        ({"version": 2}, "has version 2, this program reads version 1"),
        ({"version": "gone"}, "has version None, this program reads version 1"),
        ({"methods": "x"}, "unknown key 'methods', did you mean 'method'"),
        ({"seed": "0"}, "seed must be int, got '0'"),
        ({"classes": "pick"}, "classes must be a list of str, got 'pick'"),
        ({"run": "gone"}, '"run"'),
    ],
)
def test_a_manifest_of_something_else(folder: Path, values: dict[str, Any], message: str) -> None:
    change(folder, **values)
    with pytest.raises(DatasetError, match=r"predictions\.json.*" + message):
        open_predictions(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_a_damaged_manifest(folder: Path, content: bytes) -> None:
    (folder / "predictions.json").write_bytes(content)
    with pytest.raises(DatasetError, match=r"predictions\.json: can't be read as JSON"):
        open_predictions(folder)
    (folder / "predictions.json").write_bytes(b"[]")
    with pytest.raises(DatasetError, match="isn't a manifest of predictions"):
        open_predictions(folder)


def test_all_finished_sets_below_a_folder_are_found(folder: Path) -> None:
    other = folder.parent / "v3"
    write_predictions(other, INFO, {"a": segments("put")})
    (folder.parent / "unfinished").mkdir()
    (folder.parent / "unfinished" / "a.csv").touch()
    found = find_predictions(folder.parents[3])
    assert [prediction.folder for prediction in found] == [folder, other]
