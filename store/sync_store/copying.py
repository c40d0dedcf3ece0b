"""Copies a recording from one store to another: the same bytes, each checked against its digest on the way.

Its attributes come last, so that readers of the target see the whole recording or none. An interrupted copy goes on: a
shard that is there and has its digest isn't fetched again.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from sync_store.atomic import write_atomic
from sync_store.claim import Claim
from sync_store.errors import CompleteError, StoreError
from sync_store.layout import (
    FEATURES,
    METADATA,
    TIMESTAMPS,
    FeatureSet,
    ensure_feature_set,
    ensure_group,
    read_attributes,
    recording_path,
    sha256_rows,
)
from sync_store.opened import open_at
from sync_store.place import Place, files
from sync_store.reader import FeatureStore
from sync_store.shards import count_shards, parse_shard, parse_timestamps
from sync_store.writer import delete_recording, flush_recording

Names = tuple[str, ...]
Parse = Callable[[bytes, str], "np.ndarray[Any, Any] | None"]


def copy_recording(
    source: FeatureStore,
    target: Place,
    feature_set: str,
    view: str,
    recording: str,
    *,
    overwrite: bool = False,
    on_read: Callable[[int], None] = lambda num_bytes: None,
) -> int | None:
    """Copy one complete recording.

    Args:
        source: Where it is.
        target: The other store; made if it doesn't exist.
        feature_set: Its feature set.
        view: Its view.
        recording: Its name.
        overwrite: Delete what the target has of that name first, also if it is the same.
        on_read: Told how many bytes are done with, file by file; what it raises ends the copy.

    Returns:
        Bytes that were written; None if the target has the same recording already.

    Raises:
        IncompleteError: If the source doesn't have it whole.
        FingerprintError: If the target's feature set was made by another recipe.
        CompleteError: If the target has another recording of that name.
        BusyError: If another process writes it in the target.
        LostClaimError: If another process has taken it over.
        StoreError: If the source is damaged.
        OSError: If something can't be read or written.
    """
    attributes = source.attributes(feature_set, view, recording)
    folder = recording_path(target, feature_set, view, recording)
    if not overwrite and read_attributes(folder) == attributes:
        return None
    ensure_feature_set(target, _feature_set(feature_set, source))
    claim = Claim(target, feature_set, view, recording)
    try:
        existing = {} if overwrite else read_attributes(folder)
        if existing == attributes:
            return None
        if existing.get("complete"):
            raise CompleteError(
                f"recording {recording}, view {view}: {target} has another one; --overwrite replaces it"
            )
        if overwrite or existing:
            delete_recording(folder)
        ensure_group(folder.parent, {})
        origin = recording_path(source.path, feature_set, view, recording)
        return _copy_files(origin, folder, attributes, claim, on_read)
    finally:
        claim.release()


def _copy_files(
    source: Place,
    target: Place,
    attributes: Mapping[str, Any],
    claim: Claim,
    on_read: Callable[[int], None],
) -> int:
    metadata = {(name, METADATA): _read_source(source / name / METADATA) for name in (TIMESTAMPS, FEATURES)}
    num_bytes = 0
    kept = {target.joinpath(*names) for names in metadata}
    for names, digest, parse in _parts(metadata, attributes):
        origin, there = source.joinpath(*names), target.joinpath(*names)
        kept.add(there)
        with suppress(FileNotFoundError, StoreError):
            content = _read(there)
            if _digest(there, content, parse) == digest:
                on_read(len(content))
                continue
        content = _read_source(origin)
        if _digest(origin, content, parse) != digest:
            raise StoreError(
                f"{origin}: differs from its digest. See what else is damaged with: sync-extract verify"
            )
        claim.check()
        write_atomic(there, content)
        num_bytes += len(content)
        on_read(len(content))
    for names, content in metadata.items():
        write_atomic(target.joinpath(*names), content)
    for path in [path for path, _ in files(target) if path not in kept]:  # of a copy of something else
        path.unlink()
    claim.check()
    write_atomic(target / METADATA, (source / METADATA).read_bytes())
    flush_recording(target)
    return num_bytes


def _parts(
    metadata: Mapping[tuple[str, str], bytes], attributes: Mapping[str, Any]
) -> Iterator[tuple[Names, str, Parse]]:
    """Each file that holds rows: its place in the recording, its digest, and how its bytes are read.

    Raises:
        StoreError: If metadata can't be read, or there isn't a digest for each shard.
    """
    try:
        times, features = (json.loads(metadata[name, METADATA]) for name in (TIMESTAMPS, FEATURES))
        num_shards, digests = count_shards(features), attributes["shard_sha256"]
    except (ValueError, RecursionError) as error:
        raise StoreError(f"metadata of {TIMESTAMPS} or {FEATURES} can't be read ({error})") from None
    if (
        not isinstance(digests, list)
        or len(digests) != num_shards
        or not isinstance(times, dict)
        or times.get("shape") != features["shape"][:1]
    ):
        raise StoreError(f"{TIMESTAMPS}, {FEATURES} and their digests don't fit each other")
    yield (TIMESTAMPS, "c", "0"), attributes["timestamps_sha256"], partial(parse_timestamps, times)
    for number, digest in enumerate(digests):
        yield (FEATURES, "c", str(number), "0"), digest, partial(parse_shard, features, number)


def _digest(path: Place, content: bytes, parse: Parse) -> str:
    rows = parse(content, str(path))
    if rows is None:
        raise StoreError(f"{path}: isn't laid out as store_layout.md says, and can't be checked")
    return sha256_rows(rows)


def _read(path: Place) -> bytes:
    """All of a file, which is no pipe or device, at which one might wait for ever."""
    with open_at(path) as file:
        return file.read(file.size, 0)


def _read_source(path: Place) -> bytes:
    try:
        return _read(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise StoreError(f"{path}: {error.strerror}") from None


def _feature_set(name: str, source: FeatureStore) -> FeatureSet:
    try:
        return FeatureSet.stored(name, source.feature_set(name))
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{source.path}: feature set {name} lacks or has a wrong attribute ({error})"
        ) from None
