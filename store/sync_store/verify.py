"""Checks every array of a store against its attributes, and says what is damaged."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from sync_store.errors import StoreError
from sync_store.layout import (
    FEATURE_DTYPE,
    FEATURES,
    METADATA,
    TIMESTAMP_DTYPE,
    TIMESTAMPS,
    FeatureSet,
    read_attributes,
    recording_path,
    rows_per_shard,
    sha256_rows,
)
from sync_store.place import Place, subfolders
from sync_store.reader import FeatureStore, make_again, open_array


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known of one recording after looking at all its bytes."""

    feature_set: str
    view: str
    recording: str
    state: str
    """`good`, `incomplete` or `damaged`."""
    problem: str = ""
    """What is wrong, where, and what to do."""


def verify_store(store: FeatureStore, feature_sets: list[str], views: list[str]) -> Iterator[Finding]:
    """Check each recording of the named feature sets and views, or of all where a list is empty.

    Yields:
        One finding a recording, in the order of names, as each is read.
    """
    store = FeatureStore(store.path)  # which may know of feature sets as they were
    for feature_set in feature_sets or store.feature_sets():
        set_problem = _set_problem(store, feature_set)
        for view in views or store.views(feature_set):
            for recording in subfolders(store.path / feature_set / view):
                problem, state = set_problem, "damaged"
                if not set_problem:
                    state, problem = _look(store, feature_set, view, recording)
                yield Finding(
                    feature_set=feature_set, view=view, recording=recording, state=state, problem=problem
                )


def _set_problem(store: FeatureStore, feature_set: str) -> str:
    """What is wrong with the attributes of a feature set; empty if nothing is."""
    try:
        attributes = store.feature_set(feature_set)
        if attributes["fingerprint"] == FeatureSet.stored(feature_set, attributes).fingerprint:
            return ""
        problem = "its fingerprint isn't the hash of its recipe and feature_dim"
    except KeyError as error:
        problem = f"it has no attribute {error}"
    except (StoreError, TypeError, ValueError) as error:
        problem = str(error)
    return (
        f"feature set {feature_set}: {problem}. Restore {store.path / feature_set / METADATA} from a copy, or "
        "delete the folder and make it again"
    )


def _look(store: FeatureStore, feature_set: str, view: str, recording: str) -> tuple[str, str]:
    """A recording's state and problem."""
    try:
        return _check(store, feature_set, view, recording), ""
    except StoreError as error:
        recipe = store.feature_set(feature_set).get("recipe", {})
        return "damaged", f"{error}. {make_again(recipe, view, recording)}"


def _check(store: FeatureStore, feature_set: str, view: str, recording: str) -> str:
    folder = recording_path(store.path, feature_set, view, recording)
    attributes = read_attributes(folder)
    if not attributes.get("complete"):
        return "incomplete"
    expected = store.feature_set(feature_set)
    if attributes.get("fingerprint") != expected["fingerprint"]:
        raise StoreError("its fingerprint isn't the feature set's")
    timestamps = _open(folder / TIMESTAMPS, TIMESTAMP_DTYPE)
    times = _read(timestamps, 0, timestamps.shape[0], "timestamps")
    if sha256_rows(times) != attributes.get("timestamps_sha256"):
        raise StoreError("timestamps differ from their digest")
    if len(times) > 1 and np.diff(times).min() <= 0:
        raise StoreError("timestamps don't increase")
    features = _open(folder / FEATURES, FEATURE_DTYPE)
    if features.shape != (len(times), expected["feature_dim"]):
        raise StoreError(f"features are {features.shape}, expected {(len(times), expected['feature_dim'])}")
    shard_rows = (features.shards or (rows_per_shard(features.shape[1], features.shape[0]),))[0]
    digests = attributes.get("shard_sha256", [])
    if len(digests) != -(-len(times) // shard_rows):
        raise StoreError(f"{len(digests)} digests for {-(-len(times) // shard_rows)} shards")
    for number, digest in enumerate(digests):
        rows = _read(features, number * shard_rows, (number + 1) * shard_rows, f"shard {number}")
        if sha256_rows(rows) != digest:
            raise StoreError(f"shard {number} (rows from {number * shard_rows}) differs from its digest")
    return "good"


def _open(path: Place, dtype: "np.dtype[Any]") -> "zarr.Array[Any]":
    try:
        array = open_array(path)
    except ConnectionError:  # nothing is known of it
        raise
    except Exception as error:
        raise StoreError(f"{path.name} can't be opened ({error})") from error
    if array.dtype != dtype:
        raise StoreError(f"{path.name} is {array.dtype}, expected {dtype}")
    return array


def _read(array: "zarr.Array[Any]", start: int, stop: int, what: str) -> "np.ndarray[Any, Any]":
    try:
        return np.asarray(array[start:stop])
    except ConnectionError:  # nothing is known of it
        raise
    except Exception as error:
        raise StoreError(f"{what} can't be read ({error})") from error
