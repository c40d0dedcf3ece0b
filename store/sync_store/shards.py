"""Reads a recording's two arrays straight from their files, as `store_layout.md` describes them.

zarr-python reads any array, but copies each value three times on its way. Here values are read to where they
stay, by two threads where the files are in the page cache. Axes: T rows, D feature width.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from sync_store.bounded import is_special, read_json
from sync_store.errors import StoreError
from sync_store.layout import FEATURE_DTYPE, METADATA, TIMESTAMP_DTYPE

_CHECKSUM_BYTES = 4
_ENTRY_BYTES = 16
"""Of the index at a shard's end: offset and length of one chunk, each a little-endian uint64."""

_PADDING_BYTES = 64 << 10
"""Of a last chunk's padding that are checked at a time; they stay in the processor's cache."""

_CHECKED_BYTES = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]

Rows = npt.NDArray[np.float16]
Times = npt.NDArray[np.int64]


def read_features(array: Path) -> Rows | None:
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
    with ExitStack() as files:
        cached = True
        for shard, start in enumerate(range(0, layout.num_rows, layout.shard_rows)):
            file = files.enter_context(_open(array / "c" / str(shard) / "0"))
            cached &= _is_cached(file)
            chunks += _chunks(file, layout, rows[start : start + layout.shard_rows])
        _read_chunks(chunks, layout, in_two=cached and len(chunks) > 1)
    return rows


def read_timestamps(array: Path) -> Times | None:
    """Read the whole array `timestamps`: int64 (T,). Otherwise as `read_features`."""
    metadata = read_json(array / METADATA)
    shape = metadata.get("shape")
    if not _is_laid_out(metadata, "int64", shape, _CHECKED_BYTES):
        return None
    times = np.empty(shape, dtype=TIMESTAMP_DTYPE)
    with _open(array / "c" / "0") as file:
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


def _shards(metadata: dict[str, Any]) -> _Shards | None:
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


def _is_laid_out(metadata: dict[str, Any], data_type: str, chunk_shape: Any, codecs: Any) -> bool:
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
    file: FileIO
    offset: int
    rows: Rows
    """Where its rows go: fewer than it holds, where the recording ends in it."""


def _chunks(file: FileIO, layout: _Shards, rows: Rows) -> Iterator[_Chunk]:
    """The chunks of a shard, by its index, for `rows`, those that the shard holds of T."""
    index_bytes = layout.shard_rows // layout.chunk_rows * _ENTRY_BYTES
    if (size := os.fstat(file.fileno()).st_size) < index_bytes + _CHECKSUM_BYTES:
        raise StoreError(f"{file.name}: has {size} bytes, less than its index")
    index = np.empty(index_bytes // 8, dtype="<u8")
    _read_checked(file, size - index_bytes - _CHECKSUM_BYTES, index)
    entries = index.reshape(-1, 2).tolist()
    for chunk, start in enumerate(range(0, len(rows), layout.chunk_rows)):
        offset, num_bytes = entries[chunk]
        if num_bytes != layout.chunk_bytes + _CHECKSUM_BYTES or offset + num_bytes > size:
            raise StoreError(f"{file.name}: chunk {chunk} is missing or misplaced")
        yield _Chunk(file=file, offset=offset, rows=rows[start : start + layout.chunk_rows])


def _open(path: Path) -> FileIO:
    if is_special(path):
        raise StoreError(f"{path}: isn't a file but a pipe or a device")
    return FileIO(path)


def _is_cached(file: FileIO) -> bool:
    """Whether a file's first byte is in the page cache; if not, the system starts to read ahead.

    A big read that comes first is waited for as a whole: 100 ms for eight recordings of 9,000 x 1,024 values, and
    61 after this (Linux 6.18, 2 cores). Two threads would disturb it, and take longer than one.
    """
    try:
        return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
    except OSError:  # EAGAIN where it isn't, EOPNOTSUPP where the file system can't tell
        return False


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


def _read_checked(file: FileIO, offset: int, values: npt.NDArray[Any], padding_bytes: int = 0) -> None:
    """Fill a contiguous array with the bytes at `offset`, and compare with the checksum after the padding."""
    target = values.reshape(-1).view(np.uint8)
    if os.preadv(file.fileno(), [target.data], offset) != len(target):
        raise StoreError(f"{file.name}: ends early")
    checksum = google_crc32c.value(target)
    end = offset + len(target) + padding_bytes
    for start in range(end - padding_bytes, end, _PADDING_BYTES):
        part = os.pread(file.fileno(), min(_PADDING_BYTES, end - start), start)
        checksum = google_crc32c.extend(checksum, part)
    if checksum != int.from_bytes(os.pread(file.fileno(), _CHECKSUM_BYTES, end), "little"):
        raise StoreError(f"{file.name}: the bytes at {offset} don't fit their checksum")
