"""Files to read from at any place: of a disk, or fetched whole from a bucket, several at a time."""

import os
import stat
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sync_store.bounded import open_at_once
from sync_store.errors import StoreError
from sync_store.place import Place
from sync_store.s3 import S3Path


class Opened(Protocol):
    """A file that several threads may read."""

    name: str
    size: int
    """Bytes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def is_cached(self) -> bool:
        """Whether two threads read it faster than one."""

    def read_into(self, target: memoryview, offset: int) -> int:
        """Fill `target` with the bytes from `offset` on; returns how many there were."""

    def read(self, num_bytes: int, offset: int) -> bytes:
        """The bytes from `offset` on, at most so many."""


class LocalFile:
    """A file of a file system; it is closed at the end of a `with`."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            StoreError: If it is a pipe or a device.
            OSError: If it can't be opened.
        """
        self.name = str(path)
        self._file = FileIO(path, opener=open_at_once)
        self._descriptor = self._file.fileno()
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise StoreError(f"{path}: isn't a file but a pipe or a device")
        self.size = status.st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def is_cached(self) -> bool:
        """Whether its first byte is in the page cache; if not, the system starts to read ahead.

        A big read that comes first is waited for as a whole: 100 ms for eight recordings of 9,000 x 1,024 values, and
        61 after this (Linux 6.18, 2 cores). Two threads would disturb it, and take longer than one.
        """
        try:
            return os.preadv(self._descriptor, [bytearray(1)], 0, os.RWF_NOWAIT) == 1
        except OSError:  # EAGAIN where it isn't, EOPNOTSUPP where the file system can't tell
            return False

    def read_into(self, target: memoryview, offset: int) -> int:
        """See `Opened`."""
        return os.preadv(self._descriptor, [target], offset)

    def read(self, num_bytes: int, offset: int) -> bytes:
        """See `Opened`."""
        return os.pread(self._descriptor, num_bytes, offset)


class Fetched:
    """The bytes of a file that are in memory."""

    def __init__(self, name: str, content: bytes) -> None:
        """Take them.

        Args:
            name: For messages.
            content: All of them.
        """
        self.name = name
        self._content = memoryview(content)
        self.size = len(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def is_cached(self) -> bool:
        """See `Opened`."""
        return True

    def read_into(self, target: memoryview, offset: int) -> int:
        """See `Opened`."""
        part = self._content[offset : offset + len(target)]
        target[: len(part)] = part
        return len(part)

    def read(self, num_bytes: int, offset: int) -> bytes:
        """See `Opened`."""
        return bytes(self._content[offset : offset + num_bytes])


def open_at(path: Place) -> Opened:
    """Open a file, or fetch it.

    Raises:
        StoreError: If it is a pipe or a device.
        OSError: If it can't be read.
    """
    return Fetched(str(path), path.read_bytes()) if isinstance(path, S3Path) else LocalFile(path)
