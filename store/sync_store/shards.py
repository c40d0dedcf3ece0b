"""Reads a recording's two arrays straight from their files, as `store_layout.md` describes them.

zarr-python reads any array, but copies each value three times on its way. Here values are read to where they
stay, by two threads where the files are in the page cache. Objects of a bucket are fetched whole, several at a time.
Axes: T rows, D feature width.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from sync_store.bounded import read_json
from sync_store.errors import StoreError
from sync_store.layout import FEATURE_DTYPE, METADATA, TIMESTAMP_DTYPE, shard_path
from sync_store.opened import Fetched, Opened, open_at
from sync_store.place import Place, for_each

_CHECKSUM_BYTES = 4
_ENTRY_BYTES = 16
"""Of the index at a shard's end: offset and length of one chunk, each a little-endian uint64."""

_PADDING_BYTES = 64 << 10
"""Of a last chunk's padding that are checked at a time; they stay in the processor's cache."""

_CHECKED_BYTES = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]

Rows = npt.NDArray[np.float16]
Times = npt.NDArray[np.int64]


def read_features(array: Place) -> Rows | None:
    """Read the whole array `features` of a complete recording.

    Args:
        array: Its folder.

    Returns:
        float16 (T, D); None if the array isn't laid out as specified, which is no error: zarr-python may
        read it.

    Raises:
        StoreError: If a chunk is missing or its checksum is wrong.
        OSError: If a file can't be read.
    """
    layout = _shards(read_json(array / METADATA))
    if layout is None:
        return None
    rows = np.empty((layout.num_rows, layout.feature_dim), dtype=FEATURE_DTYPE)
    chunks: list[_Chunk] = []
    starts = range(0, layout.num_rows, layout.shard_rows)
    paths = [shard_path(array, number) for number in range(len(starts))]
    with ExitStack() as opened:
        cached = True
        for start, file in zip(starts, for_each(array, open_at, paths), strict=True):
            opened.enter_context(file)
            cached &= file.is_cached()
            chunks += _chunks(file, layout, rows[start : start + layout.shard_rows])
        _read_chunks(chunks, layout, in_two=cached and len(chunks) > 1)
    return rows


def count_shards(metadata: Any) -> int | None:
    """How many shards an array `features` has, by its metadata; None if it isn't laid out as specified."""
    layout = _shards(metadata)
    return None if layout is None else -(-layout.num_rows // layout.shard_rows)


def parse_shard(metadata: Mapping[str, Any], number: int, content: bytes, name: str) -> Rows | None:
    """The rows of one shard, from the bytes of its file.

    Args:
        metadata: Of the array `features`.
        number: Of the shard.
        content: All bytes.
        name: For messages.

    Returns:
        float16 (N, D): all rows of T that it holds; None if the array isn't laid out as specified.

    Raises:
        StoreError: If a chunk is missing or its checksum is wrong.
    """
    layout = _shards(metadata)
    if layout is None:
        return None
    num_rows = min(layout.shard_rows, layout.num_rows - number * layout.shard_rows)
    if len(content) < num_rows * layout.feature_dim * FEATURE_DTYPE.itemsize:
        raise StoreError(f"{name}: has {len(content)} bytes, less than its {num_rows} rows")
    rows = np.empty((num_rows, layout.feature_dim), dtype=FEATURE_DTYPE)
    chunks = list(_chunks(Fetched(name, content), layout, rows))
    _read_chunks(chunks, layout, in_two=False)
    return rows


def parse_timestamps(metadata: Mapping[str, Any], content: bytes, name: str) -> Times | None:
    """All timestamps, int64 (T,), from the bytes of their file. Otherwise as `parse_shard`."""
    shape: Any = metadata.get("shape")
    if not _is_laid_out(metadata, "int64", shape, _CHECKED_BYTES):
        return None
    if len(content) < math.prod(shape) * TIMESTAMP_DTYPE.itemsize:
        raise StoreError(f"{name}: has {len(content)} bytes, less than its {math.prod(shape)} times")
    return _times(Fetched(name, content), shape)


def read_timestamps(array: Place) -> Times | None:
    """Read the whole array `timestamps`: int64 (T,). Otherwise as `read_features`."""
    metadata = read_json(array / METADATA)
    shape: Any = metadata.get("shape")
    if not _is_laid_out(metadata, "int64", shape, _CHECKED_BYTES):
        return None
    with open_at(array.joinpath("c", "0")) as file:
        return _times(file, shape)


def _times(file: Opened, shape: Any) -> Times:
    times = np.empty(shape, dtype=TIMESTAMP_DTYPE)
    _read_checked(file, 0, times)
    return times


@dataclass(frozen=True, kw_only=True)
class _Shards:
    num_rows: int
    feature_dim: int
    shard_rows: int
    chunk_rows: int

    @property
    def chunk_bytes(self) -> int:
        return self.chunk_rows * self.feature_dim * FEATURE_DTYPE.itemsize


def _shards(metadata: Mapping[str, Any]) -> _Shards | None:
    """Sizes of a sharded array, or None if its metadata differ from the specification in what matters."""
    try:
        (num_rows, feature_dim), (codec,) = metadata["shape"], metadata["codecs"]
        shard_rows = metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
        chunk_rows = codec["configuration"]["chunk_shape"][0]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    sharding = {
        "chunk_shape": [chunk_rows, feature_dim],
        "codecs": _CHECKED_BYTES,
        "index_codecs": _CHECKED_BYTES,
        "index_location": "end",
    }
    codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    if not _is_laid_out(metadata, "float16", [shard_rows, feature_dim], codecs):
        return None
    return _Shards(num_rows=num_rows, feature_dim=feature_dim, shard_rows=shard_rows, chunk_rows=chunk_rows)


def _is_laid_out(metadata: Mapping[str, Any], data_type: str, chunk_shape: Any, codecs: Any) -> bool:
    specified = {
        "node_type": "array",
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": codecs,
    }
    return all(metadata.get(key) == value for key, value in specified.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chunk:
    file: Opened
    offset: int
    rows: Rows
    """Where its rows go: fewer than it holds, where the recording ends in it."""


def _chunks(file: Opened, layout: _Shards, rows: Rows) -> Iterator[_Chunk]:
    """The chunks of a shard, by its index, for `rows`, those that the shard holds of T."""
    index_bytes = layout.shard_rows // layout.chunk_rows * _ENTRY_BYTES
    if (size := file.size) < index_bytes + _CHECKSUM_BYTES:
        raise StoreError(f"{file.name}: has {size} bytes, less than its index")
    index = np.empty(index_bytes // 8, dtype="<u8")
    _read_checked(file, size - index_bytes - _CHECKSUM_BYTES, index)
    entries = index.reshape(-1, 2).tolist()
    for chunk, start in enumerate(range(0, len(rows), layout.chunk_rows)):
        offset, num_bytes = entries[chunk]
        if num_bytes != layout.chunk_bytes + _CHECKSUM_BYTES or offset + num_bytes > size:
            raise StoreError(f"{file.name}: chunk {chunk} is missing or misplaced")
        yield _Chunk(file=file, offset=offset, rows=rows[start : start + layout.chunk_rows])


def _read_chunks(chunks: list[_Chunk], layout: _Shards, *, in_two: bool) -> None:
    """Fill the rows of chunks. The second thread lives for one call: a process that forks has none to lose."""

    def read(some: Iterable[_Chunk]) -> None:
        for chunk in some:
            _read_checked(chunk.file, chunk.offset, chunk.rows, layout.chunk_bytes - chunk.rows.nbytes)

    if not in_two:
        return read(chunks)
    half = len(chunks) // 2
    with ThreadPoolExecutor(max_workers=1) as second:
        rest = second.submit(read, chunks[half:])
        read(chunks[:half])
        return rest.result()


def _read_checked(file: Opened, offset: int, values: npt.NDArray[Any], padding_bytes: int = 0) -> None:
    """Fill a contiguous array with the bytes at `offset`, and compare with the checksum after the padding."""
    target = values.reshape(-1).view(np.uint8)
    if file.read_into(target.data, offset) != len(target):
        raise StoreError(f"{file.name}: ends early")
    checksum = google_crc32c.value(target)
    end = offset + len(target) + padding_bytes
    for start in range(end - padding_bytes, end, _PADDING_BYTES):
        part = file.read(min(_PADDING_BYTES, end - start), start)
        checksum = google_crc32c.extend(checksum, part)
    if checksum != int.from_bytes(file.read(_CHECKSUM_BYTES, end), "little"):
        raise StoreError(f"{file.name}: the bytes at {offset} don't fit their checksum")
