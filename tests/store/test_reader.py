"""Reading, the index cache, and verification."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sync_store.errors import IncompleteError, StoreError
from sync_store.layout import FeatureSet, ensure_feature_set
from sync_store.reader import FeatureStore
from sync_store.verify import verify_store
from sync_store.writer import RecordingWriter


def fill(store: Path, feature_set: FeatureSet, names: list[str], rows: Any, view: str = "e4") -> FeatureStore:
    for name in names:
        times = np.arange(len(rows)) * 100_000_000
        writer = RecordingWriter(store, feature_set, view, name, timestamps=times, provenance={"n": name})
        writer.append(rows)
        writer.commit()
    return FeatureStore(store)


def test_missing_things_are_named(tmp_path: Path, small_set: FeatureSet, make_rows: Any) -> None:
    with pytest.raises(StoreError, match=r"no feature store here.*sync-extract --view"):
        FeatureStore(tmp_path / "nothing")
    store = fill(tmp_path / "s", small_set, ["a"], make_rows(5, 8))
    with pytest.raises(IncompleteError, match="no feature set 'smal', did you mean 'small'"):
        store.read("smal", "e4", "a")
    with pytest.raises(IncompleteError, match=r"recording b, view e4: isn't in the store.*--recording b"):
        store.read("small", "e4", "b")


def test_entries_describe_and_the_index_is_only_a_cache(
    tmp_path: Path, small_set: FeatureSet, make_rows: Any
) -> None:
    store = fill(tmp_path / "s", small_set, ["a", "b"], make_rows(11, 8))
    RecordingWriter(tmp_path / "s", small_set, "e4", "c", timestamps=np.arange(4), provenance={})
    first = store.entries("small", "e4")
    assert [(e.recording, e.complete, e.num_rows, e.duration_seconds) for e in first] == [
        ("a", True, 11, 1.0),
        ("b", True, 11, 1.0),
        ("c", False, 0, 0.0),
    ]
    index = tmp_path / "s/small/e4/index.json"
    assert sorted(json.loads(index.read_text())) == ["a", "b"]
    index.write_text("{ not json")
    assert store.entries("small", "e4") == first
    lies = json.loads(index.read_text())
    lies["a"]["num_rows"] = 99
    index.write_text(json.dumps(lies))
    fill(tmp_path / "s", small_set, ["d"], make_rows(3, 8))
    entries = {e.recording: e.num_rows for e in store.entries("small", "e4")}
    assert entries["d"] == 3
    lies["a"]["stamp"] = [0, 0]
    index.write_text(json.dumps(lies))
    assert {e.recording: e.num_rows for e in store.entries("small", "e4")}["a"] == 11


@pytest.mark.parametrize("file", ["zarr.json", "timestamps/c/0", "timestamps/zarr.json"])
def test_damaged_entries_are_described_as_such(
    tmp_path: Path, small_set: FeatureSet, make_rows: Any, file: str
) -> None:
    store = fill(tmp_path / "s", small_set, ["a", "b"], make_rows(11, 8))
    path = tmp_path / "s/small/e4/a" / file
    path.write_bytes(b"{" + path.read_bytes()[1:-1] + b"~")
    for _ in range(2):  # without the index, and with it
        bad, good = store.entries("small", "e4")
        assert (bad.complete, bad.num_rows, good.complete, good.problem) == (False, 0, True, "")
        assert bad.problem
    assert sorted(json.loads((tmp_path / "s/small/e4/index.json").read_text())) == ["b"]
    assert store.recordings("small", "e4") == ["a", "b"]
    with pytest.raises(StoreError, match=r"recording a, view e4: .*--view e4 --recording a --overwrite"):
        store.read("small", "e4", "a")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("flip", "shard 1 can't be read"),
        ("delete", "shard 1 .*differs from its digest"),
        ("truncate", "shard 1"),
        ("timestamps", "timestamps can't be read"),
        ("digest", "shard 0 .*differs from its digest"),
        ("fingerprint", "fingerprint isn't the feature set's"),
        ("metadata", "can't be read as the metadata"),
        ("shape", "features are"),
        ("recipe", "feature set wide: its fingerprint isn't the hash of its recipe"),
        ("no dim", "feature set wide: it has no attribute 'feature_dim'"),
        ("set", "feature set wide: .*can't be read as the metadata"),
    ],
)
def test_verify_says_what_is_damaged(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any, damage: str, message: str
) -> None:
    store = fill(tmp_path / "s", wide_set, ["bad", "good"], make_rows(300, wide_set.feature_dim))
    assert [finding.state for finding in verify_store(store, [], [])] == ["good", "good"]
    folder = tmp_path / "s/wide/e4/bad"
    shard, group = folder / "features/c/1/0", folder / "zarr.json"
    metadata = json.loads(group.read_text())
    if damage == "flip":
        content = bytearray(shard.read_bytes())
        content[12345] ^= 4
        shard.write_bytes(content)
    elif damage == "delete":
        shard.unlink()
    elif damage == "truncate":
        shard.write_bytes(shard.read_bytes()[:1000])
    elif damage == "timestamps":
        path = folder / "timestamps/c/0"
        path.write_bytes(b"\0" + path.read_bytes()[1:-1] + b"\0")
    elif damage == "metadata":
        group.write_text("{")
    elif damage in ("recipe", "no dim", "set"):
        path = tmp_path / "s/wide/zarr.json"
        of_set = json.loads(path.read_text())
        if damage == "recipe":
            of_set["attributes"]["recipe"]["grid_fps"] = "10"
        elif damage == "no dim":
            del of_set["attributes"]["feature_dim"]
        path.write_text("{" if damage == "set" else json.dumps(of_set))
    elif damage == "shape":
        array = json.loads((folder / "features/zarr.json").read_text())
        array["shape"][0] = 280
        (folder / "features/zarr.json").write_text(json.dumps(array))
    else:
        if damage == "digest":
            metadata["attributes"]["shard_sha256"][0] = "0" * 64
        else:
            metadata["attributes"]["fingerprint"] = "0" * 64
        group.write_text(json.dumps(metadata))
    bad, good = verify_store(store, [], [])
    if damage in ("recipe", "no dim", "set"):
        assert good.state == "damaged" and good.problem == bad.problem
        assert bad.problem.endswith("from a copy, or delete the folder and make it again")
    else:
        assert good.state == "good"
        assert bad.problem.endswith(
            "Extract it again with: sync-extract --view e4 --recording bad --overwrite"
        )
    assert bad.state == "damaged"
    assert re.search(message, bad.problem)
    if damage in ("flip", "timestamps", "truncate", "metadata", "fingerprint"):
        with pytest.raises(StoreError):
            store.read("wide", "e4", "bad")


def test_complete_without_digests_is_refused(tmp_path: Path, small_set: FeatureSet, make_rows: Any) -> None:
    store = fill(tmp_path / "s", small_set, ["r"], make_rows(5, 8))
    path = tmp_path / "s/small/e4/r/zarr.json"
    metadata = json.loads(path.read_text())
    del metadata["attributes"]["timestamps_sha256"]
    path.write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match=r"recording r, view e4: .*no digests.*--overwrite"):
        store.read("small", "e4", "r")


def test_messages_name_the_import_that_made_the_rows(tmp_path: Path) -> None:
    imported = FeatureSet(name="tsm", recipe={"imported": "lmdb"}, feature_dim=8)
    ensure_feature_set(tmp_path, imported)
    with pytest.raises(
        IncompleteError, match=r"Import it with: sync-extract import lmdb SOURCE --view v3 --recording r$"
    ):
        FeatureStore(tmp_path).read("tsm", "v3", "r")
