"""Writes one shard of `features` as a file, with the bytes that zarr-python would give it, in one pass.

zarr-python takes 24 ms for 16 MiB, this 7 and the flush to disk (zarr 3.1.6, 2 cores). Axes: T rows, D feature width.
"""

import google_crc32c
import numpy as np
import numpy.typing as npt

from sync_store.atomic import write_atomic
from sync_store.layout import FEATURE_DTYPE
from sync_store.place import Place

_ABSENT = 2**64 - 1
"""Offset and length, in the index, of a chunk that has no rows."""


def write_shard(path: Place, rows: npt.NDArray[np.float16], *, chunk_rows: int, shard_rows: int) -> None:
    """Write one shard, whole or not at all; it is on disk when this returns.

    Args:
        path: The file.
        rows: float16 (T, D), C-contiguous: all rows of the shard, at most `shard_rows` of them.
        chunk_rows: Rows of a chunk; the last one is filled up with NaN.
        shard_rows: Rows of a full shard, a multiple of `chunk_rows`.

    Raises:
        OSError: If the file can't be written (full disk, read-only folder); nothing is left behind.
    """
    index = np.full((shard_rows // chunk_rows, 2), _ABSENT, dtype="<u8")
    parts: list[memoryview | bytes] = []
    offset = 0
    for chunk, start in enumerate(range(0, len(rows), chunk_rows)):
        part = rows[start : start + chunk_rows]
        content = part.reshape(-1).view(np.uint8)
        padding = np.full((chunk_rows - len(part), rows.shape[1]), np.nan, dtype=FEATURE_DTYPE).tobytes()
        checksum = _stored(google_crc32c.extend(google_crc32c.value(content), padding))
        parts += [content.data, padding, checksum]
        num_bytes = len(content) + len(padding) + len(checksum)
        index[chunk] = offset, num_bytes
        offset += num_bytes
    write_atomic(path, *parts, index.tobytes(), _stored(google_crc32c.value(index.tobytes())))


def _stored(checksum: int) -> bytes:
    return checksum.to_bytes(4, "little")
