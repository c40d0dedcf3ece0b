"""A shard's bytes against those of zarr-python."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_store.errors import StoreError
from sync_store.layout import FEATURES, FeatureSet, create_features
from sync_store.shard_file import write_shard
from sync_store.writer import RecordingWriter

DIM = 16384
"""64 rows a chunk, 512 a shard."""


@settings(max_examples=15, deadline=None)
@given(
    num_rows=st.integers(1, 1100) | st.sampled_from([64, 128, 512, 513, 1024]),
    num_missing=st.sampled_from([0, 0, 1, 70, 600]),
    seed=st.integers(0, 9),
)
def test_same_bytes_as_zarr(
    tmp_path_factory: pytest.TempPathFactory, num_rows: int, num_missing: int, seed: int
) -> None:
    """Also where the file ended early: T shrinks, and chunks and shards keep the planned sizes."""
    folder = tmp_path_factory.mktemp("s")
    rows = np.random.default_rng(seed).integers(0, 31744, (num_rows, DIM), dtype=np.uint16).view(np.float16)
    array = create_features(zarr.create_group(folder), num_rows + num_missing, DIM)
    chunk_rows, shard_rows = array.chunks[0], (array.shards or array.chunks)[0]
    array.resize((num_rows, DIM))
    array.with_config({"write_empty_chunks": True})[:] = rows
    expected = sorted((folder / FEATURES / "c").glob("*/0"))
    assert len(expected) == -(-num_rows // shard_rows)
    for shard in range(len(expected)):
        ours = folder / "ours" / str(shard)
        of_shard = rows[shard * shard_rows : (shard + 1) * shard_rows]
        write_shard(ours, of_shard, chunk_rows=chunk_rows, shard_rows=shard_rows)
        assert ours.read_bytes() == (folder / FEATURES / "c" / str(shard) / "0").read_bytes()


VALUES = np.arange(65536, dtype=np.uint16).view(np.float16)
"""Every float16 there is."""


@pytest.mark.parametrize("column", [0, 7])
def test_just_nan_and_infinity_are_refused(tmp_path: Path, small_set: FeatureSet, column: int) -> None:
    rows = np.zeros((1, 8), dtype=np.float16)
    times = np.arange(65536)
    writer = RecordingWriter(tmp_path / "s", small_set, "e4", "r", timestamps=times, provenance={})
    refused: list[np.float16] = []
    for value in VALUES:
        rows[0, column] = value
        try:
            writer.append(rows)
        except StoreError as error:
            assert "hold NaN or infinity" in str(error)
            refused.append(value)
    assert np.array_equal(bits(np.array(refused)), bits(VALUES[~np.isfinite(VALUES)]))


def bits(values: npt.NDArray[np.float16]) -> npt.NDArray[np.uint16]:
    return values.view(np.uint16)
