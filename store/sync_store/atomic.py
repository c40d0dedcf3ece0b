"""Files that are either whole or absent, also after a crash or a power loss."""

import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4


def write_atomic(path: Path, *content: bytes | memoryview) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part of it.

    The parts of `content` follow each other. The bytes are flushed to disk before the rename, and the folder after it.

    Raises:
        OSError: If the file can't be written (full disk, read-only folder); nothing is left behind.
    """
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


def named(error: OSError, path: Path) -> OSError:
    """The error with a path, where the system gives none: that of a full disk."""
    if error.filename is not None or error.errno is None:
        return error
    return OSError(error.errno, error.strerror, str(path))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically, keys in the given order."""
    write_atomic(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def flush_folder(folder: Path) -> None:
    """Flush the entries of one folder to disk (a rename isn't durable before)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Flush every file and folder below `folder` to disk."""
    for parent, _, files in os.walk(folder):
        for name in files:
            descriptor = os.open(Path(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        flush_folder(Path(parent))
