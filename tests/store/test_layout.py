"""The specification and the code say the same."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from sync_store import layout
from sync_store.labels import Segments
from sync_store.layout import FeatureSet
from sync_store.predictions import PredictionInfo, write_predictions
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter

SPECIFICATION = Path(__file__).parents[2] / "store_layout.md"


def tables() -> list[list[list[str]]]:
    """Cells of each Markdown table, header and ruler left out."""
    found: list[list[list[str]]] = [[]]
    for line in SPECIFICATION.read_text().splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [table[2:] for table in found if table]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def example(tmp_path: Path, feature_set: FeatureSet, make_rows: Any) -> Path:
    writer = RecordingWriter(
        tmp_path / "features.zarr", feature_set, "e4", "r", timestamps=np.arange(300), provenance={}
    )
    writer.append(make_rows(300, feature_set.feature_dim))
    writer.commit()
    FeatureStore(writer._folder.parents[2]).entries(feature_set.name, "e4")
    return tmp_path / "features.zarr"


def test_attributes_and_paths(tmp_path: Path, wide_set: FeatureSet, make_rows: Any) -> None:
    store = example(tmp_path, wide_set, make_rows)
    arrays, _, of_root, of_set, of_recording, *_ = tables()
    for folder, table in ((store, of_root), (store / "wide", of_set), (store / "wide/e4/r", of_recording)):
        written = json.loads((folder / "zarr.json").read_text())["attributes"]
        assert sorted(written) == sorted(name for row in table for name in names(row[0]))
    files = {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}
    tree = SPECIFICATION.read_text().split("```")[1]
    stack: list[str] = []
    documented = set()
    for line in tree.strip().splitlines():
        indent, name = len(line) - len(line.lstrip()), re.split(r"\s{2,}", line.strip())[0]
        stack[indent // 2 :] = [name.rstrip("/")]
        if not name.endswith("/"):
            documented.add("/".join(stack[1:]))
    fill = {"<feature set>": "wide", "<view>": "e4", "<recording>": "r", "<shard>": "0"}
    expected = set()
    for path in documented:
        for word, value in fill.items():
            path = path.replace(word, value)
        expected.add(path)
    assert expected <= files
    assert {re.sub(r"features/c/\d+/", "features/c/0/", path) for path in files} == expected
    assert [names(row[0])[0] for row in arrays] == [layout.FEATURES, layout.TIMESTAMPS]
    (entry,) = json.loads((store / "wide/e4/index.json").read_text()).values()
    (about_index,) = re.findall(r"`index\.json` of a view .*?\(", SPECIFICATION.read_text(), flags=re.DOTALL)
    assert sorted(entry) == sorted(names(about_index)[1:])


def test_arrays_are_as_specified(tmp_path: Path, wide_set: FeatureSet, make_rows: Any) -> None:
    group = zarr.open_group(example(tmp_path, wide_set, make_rows) / "wide/e4/r", mode="r")
    features, timestamps = group["features"], group["timestamps"]
    assert isinstance(features, zarr.Array) and isinstance(timestamps, zarr.Array)
    assert features.dtype == "<f2" and timestamps.dtype == "<i8"
    assert features.chunks == (32, 32768) and features.shards == (256, 32768)
    assert timestamps.chunks == (300,) and timestamps.shards is None
    assert np.isnan(features.fill_value) and timestamps.fill_value == -(2**63)
    codecs = json.loads((group.store.root / group.path / "features/zarr.json").read_text())["codecs"]  # type: ignore[attr-defined]
    assert [codec["name"] for codec in codecs] == ["sharding_indexed"]
    inside = codecs[0]["configuration"]
    assert [codec["name"] for codec in inside["codecs"]] == ["bytes", "crc32c"]
    assert inside["index_location"] == "end" and inside["index_codecs"][-1]["name"] == "crc32c"


def test_names_keys_and_attributes_of_arrays(tmp_path: Path, wide_set: FeatureSet, make_rows: Any) -> None:
    folder = example(tmp_path, wide_set, make_rows) / "wide/e4/r"
    for array, dimensions, attributes in tables()[1]:
        written = json.loads((folder / names(array)[0] / "zarr.json").read_text())
        assert written["dimension_names"] == names(dimensions)
        key, *value = names(attributes) or [""]
        assert written.get("attributes", {}) == ({key: value[0]} if key else {})
        encoding, separator = re.findall(
            r"the encoding `(\w+)` with the separator `(.)`", SPECIFICATION.read_text()
        )[0]
        assert written["chunk_key_encoding"] == {
            "name": encoding,
            "configuration": {"separator": separator},
        }


def test_sizes_at_the_papers_width() -> None:
    assert layout.rows_per_chunk(1024, 12_000) == 1024
    assert layout.rows_per_shard(1024, 12_000) == 8192
    assert layout.rows_per_shard(1024, 12_000) * 1024 * 2 == 16 << 20
    assert layout.rows_per_chunk(1024, 300) == layout.rows_per_shard(1024, 300) == 300


def test_digests_can_be_recomputed_from_the_specification(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any
) -> None:
    store = example(tmp_path, wide_set, make_rows)
    rows = make_rows(300, wide_set.feature_dim)
    attributes = json.loads((store / "wide/e4/r/zarr.json").read_text())["attributes"]
    expected = [hashlib.sha256(rows[a:b].tobytes()).hexdigest() for a, b in ((0, 256), (256, 300))]
    assert attributes["shard_sha256"] == expected
    assert attributes["timestamps_sha256"] == hashlib.sha256(np.arange(300).tobytes()).hexdigest()
    of_set = json.loads((store / "wide/zarr.json").read_text())["attributes"]
    canonical = '{"feature_dim":32768,"recipe":{"backbone":"test","grid_fps":"30"}}'
    assert of_set["fingerprint"] == hashlib.sha256(canonical.encode()).hexdigest()


def test_the_shard_bytes_can_be_read_without_zarr(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any
) -> None:
    """Chunks lie raw in the shard, at the offsets of the index at its end, each followed by its checksum."""
    shard = (example(tmp_path, wide_set, make_rows) / "wide/e4/r/features/c/0/0").read_bytes()
    index = np.frombuffer(shard[-(8 * 16 + 4) : -4], dtype="<u8").reshape(8, 2)
    offset, length = (int(value) for value in index[3])
    chunk = np.frombuffer(shard[offset : offset + length - 4], dtype="<f2").reshape(32, 32768)
    assert np.array_equal(chunk, make_rows(300, wide_set.feature_dim)[96:128])


def test_predictions_manifest(tmp_path: Path) -> None:
    info = PredictionInfo(
        run="main",
        seed=0,
        method="tas",
        view="e4",
        kind="ego",
        split="test",
        feature_set="f",
        teacher_feature_set="t",
        protocol={},
    )
    segments = Segments(
        start_ns=np.array([0]), stop_ns=np.array([5]), labels=("a",), confidence=np.array([0.5])
    )
    write_predictions(tmp_path / "p", info, {"r": segments})
    manifest = json.loads((tmp_path / "p/predictions.json").read_text())
    documented = [name for row in tables()[-2] for name in names(row[0])]
    assert sorted(manifest) == sorted(documented)
    assert (tmp_path / "p/r.csv").read_text().splitlines()[0] == "start_seconds,stop_seconds,label,confidence"
