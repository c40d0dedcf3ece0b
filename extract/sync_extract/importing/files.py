"""One file a recording: what tells whether it has changed, and its rows once they are in memory."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sync_extract.importing.source import BLOCK_ROWS
from sync_store.bounded import is_special
from sync_store.errors import DatasetError
from sync_store.provenance import file_digest


def describe_file(path: Path, offset: Fraction) -> tuple[dict[str, Any], Callable[[], str]]:
    """`Item.source` and `Item.sha256` of a file.

    Raises:
        DatasetError: If it can't be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    source = {
        "file_name": path.name,
        "size_bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "offset_seconds": str(offset),
    }
    return source, partial(_digest, path)


def blocks_of(values: npt.NDArray[Any], start: int) -> Iterator[npt.NDArray[Any]]:
    """Copies of rows (N, D) from `start` on, of an array (T, D) that may be a view of a mapped file."""
    native = values.dtype.newbyteorder("=")
    for first in range(start, len(values), BLOCK_ROWS):
        yield values[first : first + BLOCK_ROWS].astype(native, order="C", copy=True)


def check_is_file(path: Path) -> None:
    """Raise `DatasetError` if it is a pipe or a device, at which a reader might wait for ever."""
    if is_special(path):
        raise DatasetError(f"{path}: isn't a file but a pipe or a device")


def unreadable(path: Path, error: OSError) -> DatasetError:
    """The error of a file that the system won't read."""
    return DatasetError(f"{path}: can't be read: {error.strerror or error}. Check its disk, links and rights")


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise unreadable(path, error) from None
