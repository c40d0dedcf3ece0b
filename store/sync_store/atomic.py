"""Files that are either whole or absent, also after a crash or a power loss."""

import errno
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from sync_store.place import Place
from sync_store.s3 import S3Path

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""How file systems without hard links (exFAT, some network shares) refuse one."""


def write_atomic(path: Place, *content: bytes | memoryview) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part of it.

    The parts of `content` follow each other. The bytes are flushed to disk before the rename, and the folder after it.

    Raises:
        OSError: If the file can't be written (full disk, read-only folder); nothing is left behind.
    """
    if isinstance(path, S3Path):
        path.write_bytes(b"".join(content))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        with temporary.open("wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise named(error, path) from None
        raise
    flush_folder(path.parent)


def create_atomic(path: Place, content: bytes) -> None:
    """Write a file where there is none, whole or not at all: of several who do so at once, one succeeds.

    Raises:
        FileExistsError: If there is one.
        FileNotFoundError: If its folder isn't there.
        OSError: If it can't be written; nothing is left behind.
    """
    if isinstance(path, S3Path):
        path.create(content)
        return
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        temporary.write_bytes(content)
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise named(error, path) from None
        _create_in_place(path, content)
    finally:
        temporary.unlink(missing_ok=True)


def _create_in_place(path: Path, content: bytes) -> None:
    """As `create_atomic`, but others may see it empty for a moment, or for good if this process is killed then."""
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError as error:  # a full disk
            path.unlink(missing_ok=True)
            raise named(error, path) from None


def named(error: OSError, path: Place) -> OSError:
    """The error with a path, where the system gives none: that of a full disk."""
    if error.filename is not None or error.errno is None:
        return error
    return OSError(error.errno, error.strerror, str(path))


def write_json(path: Place, value: Any) -> None:
    """Write `value` as indented JSON, atomically, keys in the given order."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def flush_folder(folder: Place) -> None:
    """Flush the entries of one folder to disk (a rename isn't durable before)."""
    if isinstance(folder, S3Path):  # what is there is durable
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Place) -> None:
    """Flush every file and folder below `folder` to disk."""
    if isinstance(folder, S3Path):
        return
    for parent, _, files in os.walk(folder):
        for name in files:
            descriptor = os.open(Path(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        flush_folder(Path(parent))
