"""Reads features from the store. Only complete recordings exist for a reader.

Axes: T rows, D feature width.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from sync_store.atomic import write_json
from sync_store.bounded import is_special, read_json
from sync_store.config import suggest
from sync_store.errors import IncompleteError, StoreError
from sync_store.layout import (
    FEATURES,
    INDEX,
    METADATA,
    TIMESTAMPS,
    check_format,
    read_attributes,
    recording_path,
)
from sync_store.place import Place, as_zarr_store, files, for_each, size_below, subfolders
from sync_store.s3 import S3Path
from sync_store.shards import read_features, read_timestamps

_READ_AT_ONCE = 2
"""Recordings of a bucket, each of which is fetched by `AT_ONCE` requests and is in memory twice meanwhile."""

_DESCRIBED_AT_ONCE = 32
"""Recordings of a bucket, each of which takes four requests."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The rows of one recording in one view."""

    features: npt.NDArray[np.float16]
    """float16 (T, D)."""
    timestamps: npt.NDArray[np.int64]
    """int64 (T,), nanoseconds on the recording's clock, strictly increasing."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of one recording without opening its arrays."""

    recording: str
    complete: bool
    num_rows: int
    """T; 0 if incomplete."""
    duration_seconds: float
    """Time from the first row to the last."""
    size_bytes: int
    """Size of its files."""
    problem: str = ""
    """Why it can't be described: it is damaged, and doesn't count as complete."""


class FeatureStore:
    """A store, for reading."""

    def __init__(self, path: Place) -> None:
        """Open a store.

        Raises:
            StoreError: If the folder doesn't exist or isn't a store.
        """
        if not (path / METADATA).is_file():
            raise StoreError(
                f"{path}: there is no feature store here. Make it with: sync-extract --view VIEW"
            )
        check_format(read_attributes(path), path)
        self.path = path
        self._feature_sets: dict[str, dict[str, Any]] = {}

    def feature_sets(self) -> list[str]:
        """Names of the feature sets, sorted."""
        return groups(self.path)

    def feature_set(self, name: str) -> dict[str, Any]:
        """Attributes of a feature set: fingerprint, feature_dim, recipe, trained_on.

        Raises:
            IncompleteError: If the store has none of that name.
        """
        if name in self._feature_sets:
            return self._feature_sets[name]
        known = self.feature_sets()
        attributes = read_attributes(self.path / name) if name in known else {}
        if not attributes:
            hint = suggest(name, known) if known else "; it holds none yet"
            raise IncompleteError(f"{self.path}: there is no feature set {name!r}{hint}")
        self._feature_sets[name] = attributes
        return attributes

    def views(self, feature_set: str) -> list[str]:
        """Names of the views of a feature set, sorted."""
        return groups(self.path / feature_set)

    def entries(self, feature_set: str, view: str) -> list[Entry]:
        """Every recording of one view, complete or not, sorted by name.

        What is known of unchanged recordings comes from the view's `index.json`, which is written anew
        when something has changed and the folder can be written.
        """
        folder = self.path / feature_set / view
        cached = _read_index(folder / INDEX)
        stamps = read_stamps(folder)
        changed = [name for name, stamp in stamps.items() if cached.get(name, {}).get("stamp") != stamp]
        found = for_each(folder, lambda name: _describe(folder / name), changed, at_once=_DESCRIBED_AT_ONCE)
        described = dict(zip(changed, found, strict=True))
        fresh = {
            name: {**described[name], "stamp": stamp} if name in described else cached[name]
            for name, stamp in stamps.items()
        }
        complete = {name: entry for name, entry in fresh.items() if entry["complete"]}
        if complete != cached and (isinstance(folder, S3Path) or os.access(folder, os.W_OK)):
            with suppress(
                OSError
            ):  # a full disk, no right to, or something else in its place: nobody needs it
                write_json(folder / INDEX, complete)
        return [
            Entry(recording=name, **{key: value for key, value in entry.items() if key != "stamp"})
            for name, entry in sorted(fresh.items())
        ]

    def recordings(self, feature_set: str, view: str) -> list[str]:
        """Names of the complete recordings of one view, sorted.

        Damaged ones are among them: extraction takes them for done, and reading one says what to do.
        """
        entries = self.entries(feature_set, view)
        return [entry.recording for entry in entries if entry.complete or entry.problem]

    def attributes(self, feature_set: str, view: str, recording: str) -> dict[str, Any]:
        """Attributes of a complete recording.

        Raises:
            IncompleteError: If it is missing or was never finished.
            StoreError: If its metadata can't be read, or its fingerprint isn't the feature set's.
        """
        of_set = self.feature_set(feature_set)
        recipe = of_set.get("recipe", {})
        try:
            attributes = read_attributes(recording_path(self.path, feature_set, view, recording))
        except StoreError as error:
            raise StoreError(
                f"recording {recording}, view {view}: {error}. {make_again(recipe, view, recording)}"
            ) from None
        if not attributes.get("complete"):
            state = "was never finished" if attributes else "isn't in the store"
            raise IncompleteError(
                f"recording {recording}, view {view}: {state} (feature set {feature_set} of {self.path}). "
                f"{how_made(recipe)} --view {view} --recording {recording}"
            )
        if not {"shard_sha256", "timestamps_sha256"} <= set(attributes):
            raise StoreError(
                f"recording {recording}, view {view}: is marked complete but has no digests. "
                f"{make_again(recipe, view, recording)}"
            )
        if attributes.get("fingerprint") != of_set.get("fingerprint"):
            raise StoreError(
                f"recording {recording}, view {view}: its fingerprint isn't that of feature set "
                f"{feature_set}. {make_again(recipe, view, recording)}"
            )
        return attributes

    def read(self, feature_set: str, view: str, recording: str) -> Features:
        """Read all rows of a complete recording.

        Raises:
            IncompleteError: If it is missing or was never finished.
            StoreError: If its data are damaged.
        """
        folder = self._folder(feature_set, view, recording)
        try:
            timestamps = _timestamps(folder)
            if (rows := read_features(folder / FEATURES)) is None:
                rows = np.asarray(open_array(folder / FEATURES)[:])
        except ConnectionError:  # nothing is known of it
            raise
        except Exception as error:  # a damaged array raises one of many errors of zarr's
            raise self._damaged(feature_set, view, recording, error) from error
        if len(rows) != len(timestamps):
            raise StoreError(f"{folder}: {len(rows)} rows of features but {len(timestamps)} timestamps")
        return Features(features=rows, timestamps=timestamps)

    def read_each(self, feature_set: str, view: str, recordings: Iterable[str]) -> Iterator[Features]:
        """Read several recordings, in their order; see `read`."""
        return for_each(
            self.path, lambda name: self.read(feature_set, view, name), recordings, at_once=_READ_AT_ONCE
        )

    def timestamps(self, feature_set: str, view: str, recording: str) -> npt.NDArray[np.int64]:
        """Read the times of the rows of a complete recording alone: int64 (T,) nanoseconds.

        Raises:
            IncompleteError: If it is missing or was never finished.
            StoreError: If its data are damaged.
        """
        folder = self._folder(feature_set, view, recording)
        try:
            return _timestamps(folder)
        except ConnectionError:  # nothing is known of it
            raise
        except Exception as error:  # as in `read`
            raise self._damaged(feature_set, view, recording, error) from error

    def _damaged(self, feature_set: str, view: str, recording: str, error: Exception) -> StoreError:
        folder = recording_path(self.path, feature_set, view, recording)
        again = make_again(self.feature_set(feature_set).get("recipe", {}), view, recording)
        return StoreError(f"recording {recording}, view {view}: {folder} is damaged ({error}). {again}")

    def _folder(self, feature_set: str, view: str, recording: str) -> Place:
        self.attributes(feature_set, view, recording)
        return recording_path(self.path, feature_set, view, recording)


def how_made(recipe: Mapping[str, Any], them: str = "it") -> str:
    """The command that makes rows of a feature set, but for its options, for a message."""
    if kind := recipe.get("imported"):
        return f"Import {them} with: sync-extract import {kind} SOURCE"
    return f"Extract {them} with: sync-extract"


def make_again(recipe: Mapping[str, Any], view: str, recording: str) -> str:
    """The command that mends a damaged recording, for a message."""
    return f"{how_made(recipe, 'it again')} --view {view} --recording {recording} --overwrite"


def _timestamps(folder: Place) -> npt.NDArray[np.int64]:
    times = read_timestamps(folder / TIMESTAMPS)
    return np.asarray(open_array(folder / TIMESTAMPS)[:]) if times is None else times


def open_array(path: Place) -> "zarr.Array[Any]":
    """Open an array for zarr-python to read, of version 3 only: values of older ones may be pickled code.

    Raises:
        StoreError: If a file of it is a pipe or a device, or it states more chunks than its files have bytes, of which
            zarr-python would make a list.
        Exception: Whatever zarr-python says of a damaged one.
    """
    found = dict(files(path))
    if special := next((file for file in found if isinstance(file, Path) and is_special(file)), None):
        raise StoreError(f"{special}: isn't a file but a pipe or a device")
    array = zarr.open_array(as_zarr_store(path, read_only=True), mode="r", zarr_format=3)
    size_bytes = sum(status.st_size for status in found.values())
    if array.nchunks > size_bytes:
        raise StoreError(f"{path}: states {array.nchunks} chunks, but its files have {size_bytes} bytes")
    return array


def groups(folder: Place) -> list[str]:
    """Names of the groups right below one, sorted; none if it isn't there."""
    return [name for name in subfolders(folder) if (folder / name / METADATA).is_file()]


def read_stamps(folder: Place) -> dict[str, list[int]]:
    """When the metadata of each group right below one were written, in ns, and their size; sorted by name."""
    if isinstance(folder, S3Path):  # one request for many
        found = {
            path.parent.name: status
            for path, status in folder.files()
            if path.name == METADATA and path.parent.parent == folder
        }
        return {name: [status.st_mtime_ns, status.st_size] for name, status in sorted(found.items())}
    stats = {name: (folder / name / METADATA).stat() for name in groups(folder)}
    return {name: [status.st_mtime_ns, status.st_size] for name, status in stats.items()}


def _read_index(path: Place) -> dict[str, Any]:
    """The cached entries by recording; empty if there is no usable index."""
    try:
        table = read_json(path)
        return table if all(map(_is_entry, table.values())) else {}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _is_entry(entry: Mapping[str, Any]) -> bool:
    """Whether a cached entry has all its keys, and values of their types."""
    kinds = {
        "complete": bool,
        "num_rows": int,
        "duration_seconds": int | float,
        "size_bytes": int,
        "stamp": list,
    }
    return set(entry) == set(kinds) and all(isinstance(entry[key], kind) for key, kind in kinds.items())


def _describe(folder: Place) -> dict[str, Any]:
    """All of an `Entry` but the name; `problem` only where there is one."""
    timestamps = np.zeros(0, dtype=np.int64)
    complete, problem = False, dict[str, str]()
    try:
        if read_attributes(folder).get("complete"):
            timestamps = _timestamps(folder)
            complete = True
    except ConnectionError:  # nothing is known of it
        raise
    except Exception as error:  # a damaged array raises one of many errors of zarr's
        problem = {"problem": str(error) or type(error).__name__}
    span_ns = int(timestamps[-1] - timestamps[0]) if len(timestamps) else 0
    return {
        "complete": complete,
        "num_rows": len(timestamps),
        "duration_seconds": round(span_ns / 1e9, 3),
        "size_bytes": size_below(folder),
        **problem,
    }
