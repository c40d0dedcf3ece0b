"""Reading shards directly against zarr-python, on whole, shrunk and damaged arrays."""

import json
import multiprocessing
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_store.atomic import flush_tree
from sync_store.errors import StoreError
from sync_store.layout import FeatureSet
from sync_store.reader import FeatureStore
from sync_store.shards import read_features, read_timestamps
from sync_store.writer import RecordingWriter

DIM = 32768
"""As in conftest.py: 32 rows a chunk, 256 a shard."""


def write(store: Path, feature_set: FeatureSet, rows: Any, num_planned: int | None = None) -> Path:
    times = np.arange(num_planned or len(rows))
    writer = RecordingWriter(store, feature_set, "e4", "r", timestamps=times, provenance={})
    writer.append(rows)
    writer.commit()
    return store / feature_set.name / "e4" / "r" / "features"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(num_rows=st.integers(1, 560), num_missing=st.sampled_from([0, 0, 1, 40, 300]))
def test_equals_zarr(
    tmp_path_factory: pytest.TempPathFactory,
    wide_set: FeatureSet,
    make_rows: Any,
    num_rows: int,
    num_missing: int,
) -> None:
    """Also where the file ended early, so that the arrays are shorter than planned."""
    array = write(
        tmp_path_factory.mktemp("s"), wide_set, make_rows(num_rows, DIM, num_rows), num_rows + num_missing
    )
    rows = read_features(array)
    assert rows is not None and rows.dtype == np.float16 and rows.flags.c_contiguous
    assert np.array_equal(rows, np.asarray(zarr.open_array(array, mode="r")[:]))
    times = read_timestamps(array.parent / "timestamps")
    assert times is not None and times.dtype == np.int64
    assert np.array_equal(times, np.arange(num_rows))


def test_equal_whether_or_not_the_page_cache_has_them(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any
) -> None:
    rows = make_rows(1000, DIM)
    array = write(tmp_path, wide_set, rows)
    flush_tree(array)
    for path in array.rglob("0"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for _ in ("not in it", "in it"):
        read = read_features(array)
        assert read is not None and np.array_equal(read, rows)


def test_a_process_that_was_forked_after_reading_reads(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any
) -> None:
    """As the workers of a loader are."""
    array = write(tmp_path, wide_set, make_rows(300, DIM))
    rows = read_features(array)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert np.array_equal(pool.apply_async(read_features, (array,)).get(timeout=60), rows)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("times", r"timestamps/c/0: the bytes at 0 don't fit their checksum"),
        ("times-end", r"timestamps/c/0: ends early"),
        ("value", r"features/c/1/0: the bytes at 0 don't fit their checksum"),
        ("index", r"features/c/1/0: the bytes at \d+ don't fit their checksum"),
        ("tiny", r"features/c/1/0: has 50 bytes, less than its index"),
        ("front", r"features/c/1/0: chunk 0 is missing or misplaced"),
        ("shard", r"No such file.*features/c/1/0"),
    ],
)
def test_damage_is_named_and_says_what_to_do(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any, damage: str, message: str
) -> None:
    array = write(tmp_path, wide_set, make_rows(300, DIM))
    file = array.parent / "timestamps/c/0" if damage.startswith("times") else array / "c/1/0"
    content = bytearray(file.read_bytes())
    if damage in ("value", "times"):
        content[777] ^= 1
    elif damage == "times-end":
        del content[-100:]
    elif damage == "index":
        content[-10] ^= 1
    elif damage == "tiny":
        del content[:-50]
    elif damage == "front":
        del content[:-1000]  # the index is left
    file.write_bytes(content)
    if damage == "shard":
        file.unlink()
    expected = rf"recording r, view e4: .*{message}.*--view e4 --recording r --overwrite"
    with pytest.raises(StoreError, match=expected):
        FeatureStore(tmp_path).read("wide", "e4", "r")


def test_a_chunk_that_the_index_leaves_out_is_an_error(
    tmp_path: Path, wide_set: FeatureSet, make_rows: Any
) -> None:
    """zarr-python reads NaN there, in a recording that was complete."""
    array = write(tmp_path, wide_set, make_rows(300, DIM))
    zarr.open_array(array, mode="r+")[32:64] = np.full((32, DIM), np.nan, dtype=np.float16)
    with pytest.raises(StoreError, match=r"c/0/0: chunk 1 is missing"):
        FeatureStore(tmp_path).read("wide", "e4", "r")


@pytest.mark.parametrize("change", ["compressed", "unsharded", "float32"])
def test_another_layout_is_left_to_zarr(
    tmp_path: Path, small_set: FeatureSet, make_rows: Any, change: str
) -> None:
    rows = make_rows(300, 8)
    array = write(tmp_path, small_set, rows)
    changes: dict[str, Any] = {
        "compressed": {"compressors": [zarr.codecs.ZstdCodec()], "chunks": (100, 8), "shards": (300, 8)},
        "unsharded": {"chunks": (100, 8)},
        "float32": {"chunks": (100, 8), "shards": (300, 8), "dtype": "float32"},
    }
    options = {"dtype": "float16", **changes[change]}
    zarr.create_array(array, shape=(300, 8), overwrite=True, **options)[:] = rows
    assert read_features(array) is None
    assert np.array_equal(FeatureStore(tmp_path).read("small", "e4", "r").features, rows)


def test_metadata_that_is_no_table_of_an_array(tmp_path: Path, small_set: FeatureSet, make_rows: Any) -> None:
    array = write(tmp_path, small_set, make_rows(3, 8))
    (array / "zarr.json").write_text(json.dumps({"shape": [3], "codecs": 4}))
    assert read_features(array) is None
    with pytest.raises(StoreError, match=re.escape(str(array.parent)) + ".*is damaged"):
        FeatureStore(tmp_path).read("small", "e4", "r")
