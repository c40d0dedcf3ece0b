"""Small files, of text, JSON or TOML, read whole: but no pipe, no device, and nothing that is far too large for one."""

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from sync_store.place import Place
from sync_store.s3 import S3Path

MAX_BYTES = 64 << 20
"""A day of frame labels at 30 a second, or the index of some hundred thousand recordings."""

MAX_DOTS = 100
"""In a line: Python's reader of TOML takes time and memory that grow with the square of a dotted key's parts."""


def read_small(path: Place, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a whole file.

    Raises:
        OSError: If the system can't read it.
        ValueError: If it is a pipe or a device, or larger than `max_bytes`.
    """
    if isinstance(path, S3Path):
        return path.read_bytes(max_bytes)
    with open(path, "rb", opener=open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it isn't a file but a pipe or a device")
        if status.st_size > max_bytes:
            raise ValueError(f"it has {status.st_size} bytes, more than {max_bytes}")
        return file.read(status.st_size)


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Read a file of UTF-8, whose lines may end in any system's way, as `read_small` does.

    Raises:
        OSError: If the system can't read it.
        ValueError: If it isn't UTF-8, not a file, or too large.
    """
    text = read_small(path, max_bytes).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Place, max_bytes: int = MAX_BYTES) -> Any:
    """Read a file of JSON.

    Raises:
        OSError: If the system can't read it.
        ValueError: If it isn't JSON, is too large, not a file, or holds half a character, which could neither be
            printed nor written.
        RecursionError: If it is nested too deeply.
    """
    content = read_small(path, max_bytes)
    value = json.loads(content)
    if b"\\u" in content:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def read_toml(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a file of TOML.

    Raises:
        OSError: If the system can't read it.
        ValueError: If it isn't TOML, not a file, too large, or has a line of more than `MAX_DOTS` dots.
        RecursionError: If it is nested too deeply.
    """
    text = read_text(path, max_bytes)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.count(".") > MAX_DOTS:
            raise ValueError(f"line {number} has more than {MAX_DOTS} dots")
    return tomllib.loads(text)


def is_special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device, at which a reader might wait for ever."""
    return path.exists() and not path.is_file() and not path.is_dir()


def open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)
