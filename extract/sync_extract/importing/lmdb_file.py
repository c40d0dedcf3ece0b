"""One LMDB file with a key a frame: which recordings it holds, and their rows.

To find recordings takes a few look-ups each. Keys are read when a recording's turn comes, without their values, and
then values in the order of keys, in which they lie on the disk; so a file is read once from its start to its end.

Axes: T rows of a recording, N rows of a block, D feature width.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt

from sync_extract.importing.files import check_is_file, unreadable
from sync_extract.importing.source import BLOCK_ROWS, Int64s
from sync_store.errors import DatasetError
from sync_store.names import check_name

DTYPE = np.dtype("<f4")

AFTER_DIGITS = b":"
"""The character after 9: keys from a prefix and this on are none of the prefix's frames."""

_NESTED = re.compile(rb"(?P<recording>.+)/(?P<camera>[^/]+)/(?P=camera)_")
_FLAT = re.compile(rb"(?P<recording>[^/]+)_")
_EXPECTED = "'<recording>/<camera>/<camera>_<ten digits>.jpg' or '<recording>_<ten digits>.jpg'"


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """The keys of one recording in one view."""

    prefix: bytes
    """All of a key before the frame's number."""
    recording: str
    camera: str | None
    """As the keys have it; None for flat keys."""
    first: int
    """Number of its first frame."""
    last: int
    """Number of its last frame."""
    numbers: Int64s | None
    """int64 (T,): all frames' numbers, increasing; None where they haven't been read yet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """What one file holds."""

    file: Path
    tracks: list[Track]
    feature_dim: int
    stamp: Mapping[str, Any]
    """What tells whether it has changed: tens of gigabytes are too many to digest at each run."""


def scan_keys(file: Path) -> Scan:
    """Find the recordings of a file, and the width of its first value.

    Raises:
        DatasetError: If it isn't an LMDB file, is cut short or empty, or a key isn't of the expected form.
    """
    with _open(file) as environment, environment.begin() as transaction:
        cursor = transaction.cursor()
        if not cursor.first():
            raise DatasetError(f"{file}: has no keys")
        tracks = _jump(file, cursor)
        if any(track.camera is None for track in tracks):
            # The flat keys of a recording "S1_2" stand amid those of "S1", where a jump would miss them.
            tracks = _walk(file, cursor)
        cursor.first()
        feature_dim = _width(file, *cursor.item())
        stamp = {
            "file_name": f"{file.parent.name}/{file.name}",
            "size_bytes": file.stat().st_size,
            "num_keys": environment.stat()["entries"],
            "last_transaction": environment.info()["last_txnid"],
        }
    return Scan(file=file, tracks=tracks, feature_dim=feature_dim, stamp=stamp)


def read_numbers(scan: Scan, track: Track) -> Int64s:
    """Numbers of a track's frames: int64 (T,), increasing.

    Raises:
        DatasetError: If a key among them isn't of the expected form.
    """
    if track.numbers is not None:
        return track.numbers
    numbers = array("q")
    with _open(scan.file) as environment, environment.begin() as transaction:
        cursor = transaction.cursor()
        cursor.set_range(track.prefix)
        for key in cursor.iternext(keys=True, values=False):
            if not key.startswith(track.prefix):
                break
            prefix, number = _split(scan.file, key)
            if prefix != track.prefix:
                raise _bad_key(scan.file, key)
            numbers.append(number)
    return np.array(numbers, dtype=np.int64)


def read_values(scan: Scan, prefix: bytes, numbers: Int64s) -> Iterator[npt.NDArray[np.float32]]:
    """Values of frames in order: float32 (N, D) each.

    Raises:
        DatasetError: If a value has another width than the file's first.
    """
    num_bytes = scan.feature_dim * DTYPE.itemsize
    with _open(scan.file) as environment, environment.begin(buffers=True) as transaction:
        for first in range(0, len(numbers), BLOCK_ROWS):
            keys = [key_of(prefix, number) for number in numbers[first : first + BLOCK_ROWS].tolist()]
            values = [_value(scan.file, key, transaction.get(key), num_bytes) for key in keys]
            yield np.frombuffer(bytearray().join(values), dtype=DTYPE).reshape(len(keys), -1)


def key_of(prefix: bytes, number: int) -> bytes:
    """The key of one frame."""
    return prefix + b"%010d.jpg" % number


def as_text(key: bytes) -> str:
    """A key or a part of it, for a message."""
    text = key.decode("utf-8", "backslashreplace")[:200]
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _jump(file: Path, cursor: "lmdb.Cursor") -> list[Track]:
    """The tracks from a cursor's place on, by their first and last keys alone."""
    tracks = []
    more = True
    while more:
        prefix, first = _split(file, bytes(cursor.key()))
        more = cursor.set_range(prefix + AFTER_DIGITS)
        _ = cursor.prev() if more else cursor.last()
        of_last, last = _split(file, bytes(cursor.key()))
        if of_last != prefix and _NESTED.fullmatch(prefix):
            raise _bad_key(file, bytes(cursor.key()))
        tracks.append(_track(file, prefix, first, last, None))
        more = cursor.next()
    return tracks


def _walk(file: Path, cursor: "lmdb.Cursor") -> list[Track]:
    """All tracks, by all keys; none of the values is touched."""
    numbers: dict[bytes, array[int]] = {}
    cursor.first()
    for key in cursor.iternext(keys=True, values=False):
        prefix, number = _split(file, bytes(key))
        if (found := numbers.get(prefix)) is None:
            found = numbers[prefix] = array("q")
        found.append(number)
    return [
        _track(file, prefix, found[0], found[-1], np.array(found, dtype=np.int64))
        for prefix, found in numbers.items()
    ]


def _track(file: Path, prefix: bytes, first: int, last: int, numbers: Int64s | None) -> Track:
    found = _NESTED.fullmatch(prefix) or _FLAT.fullmatch(prefix)
    key = key_of(prefix, first)
    if found is None:
        raise _bad_key(file, key)
    parts = {name: part.decode("utf-8", "backslashreplace") for name, part in found.groupdict().items()}
    recording = check_name(f"{file}: key {as_text(key)}: recording", parts["recording"], DatasetError)
    return Track(
        prefix=prefix,
        recording=recording,
        camera=parts.get("camera"),
        first=first,
        last=last,
        numbers=numbers,
    )


def _split(file: Path, key: bytes) -> tuple[bytes, int]:
    """What stands before a frame's number, and the number."""
    digits = key[-14:-4]
    if len(digits) != 10 or not digits.isdigit() or not key.endswith(b".jpg"):
        raise _bad_key(file, key)
    return key[:-14], int(digits)


def _width(file: Path, key: bytes, value: bytes) -> int:
    if not value or len(value) % DTYPE.itemsize:
        raise DatasetError(
            f"{file}: key {as_text(key)}: its value has {len(value)} bytes; expected float32 values, 4 bytes each"
        )
    return len(value) // DTYPE.itemsize


def _value(file: Path, key: bytes, value: Any, num_bytes: int) -> memoryview:
    """The value of a key, if it has as many bytes as the file's first."""
    if value is None:
        raise DatasetError(f"{file}: key {as_text(key)} has gone since the import began")
    if len(value) != num_bytes:
        raise DatasetError(
            f"{file}: key {as_text(key)}: its value has {len(value)} bytes; expected {num_bytes}, "
            f"{num_bytes // DTYPE.itemsize} float32 as in the file's first key"
        )
    return memoryview(value)


def _bad_key(file: Path, key: bytes) -> DatasetError:
    return DatasetError(f"{file}: key {as_text(key)} isn't of the form {_EXPECTED}")


@contextmanager
def _open(file: Path) -> "Iterator[lmdb.Environment]":
    """Open a file for reading alone: nothing is written beside it, not even a lock."""
    check_is_file(file)
    try:
        file.open("rb").close()  # of what the system won't open, LMDB only says that it isn't LMDB's
        with lmdb.open(str(file), subdir=False, readonly=True, lock=False) as environment:
            # LMDB maps the file into memory, where touching a page that isn't there kills the process.
            needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
            if (size := file.stat().st_size) < needed:
                raise DatasetError(f"{file}: has {size} bytes of {needed}. Copy or download it again")
            yield environment
    except OSError as error:
        raise unreadable(file, error) from None
    except lmdb.Error as error:
        raise DatasetError(
            f"{file}: can't be read as an LMDB file ({error}). Copy or download it again"
        ) from None
