"""Where a store lies: a folder of a file system, or one of a bucket; and what differs between the two."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sync_store.s3 import S3Path, Status
from sync_store.s3_connection import SCHEME

Place = Path | S3Path

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 8
"""Requests to a bucket: one connection carries a part of what the line does."""


def to_place(text: str, folder: Path) -> Place:
    """Read a path or an address `s3://bucket/name`.

    Args:
        text: As a person wrote it.
        folder: What a relative path starts from.

    Raises:
        ValueError: If it is a wrong address.
    """
    return S3Path.parse(text) if text.startswith(SCHEME) else folder / text


def files(place: Place) -> Iterator[tuple[Place, os.stat_result | Status]]:
    """All files below a folder, at any depth, with their size and time; links to folders aren't followed."""
    if isinstance(place, S3Path):
        yield from place.files()
        return
    for entry in _entries(place):
        with suppress(FileNotFoundError):  # somebody writes there, and has just renamed it
            yield Path(entry.path), entry.stat()


def size_below(place: Place) -> int:
    """Bytes of all files below a folder, in about half the time that `files` takes."""
    if isinstance(place, S3Path):
        return sum(status.st_size for _, status in place.files())
    total = 0
    for entry in _entries(place):
        with suppress(FileNotFoundError):
            total += entry.stat().st_size
    return total


def _entries(folder: Path | str) -> "Iterator[os.DirEntry[str]]":
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
                continue
            with suppress(FileNotFoundError):
                yield from _entries(entry.path)


def for_each(
    place: Place, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = AT_ONCE
) -> Iterator[Result]:
    """What a function that reads from a place says of each item, in their order.

    Args:
        place: Where all of them are.
        function: Called by several threads where that is a bucket, since each call waits for its answers.
        items: What it is called with.
        at_once: How many threads.
    """
    if not isinstance(place, S3Path):
        yield from map(function, items)
        return
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        yield from pool.map(function, items)


def subfolders(place: Place) -> list[str]:
    """Names of the folders right below one, sorted; none if it isn't there."""
    if isinstance(place, S3Path):
        return place.subfolders()
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def delete_tree(place: Place) -> None:
    """Delete a folder, if it is there, and all below."""
    if isinstance(place, S3Path):
        place.delete_below()
    elif place.exists():
        shutil.rmtree(place)


def as_zarr_store(place: Place, *, read_only: bool = False) -> Any:
    """What zarr-python takes for a place."""
    if isinstance(place, S3Path):
        from sync_store.s3_zarr import ZarrStore

        return ZarrStore(place, read_only=read_only)
    return place
