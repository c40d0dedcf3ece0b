"""The store on disk: paths, array shapes, codecs, attributes. `store_layout.md` says the same in words.

    <store>/<feature set>/<view>/<recording>/{features, timestamps}

Every level is a Zarr v3 group. Axes: T rows, D feature width.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from sync_store.atomic import named
from sync_store.bounded import read_json
from sync_store.errors import FingerprintError, StoreError
from sync_store.names import check_name
from sync_store.place import Place, as_zarr_store

FORMAT = "sync-features"
VERSION = 1

FEATURES = "features"
TIMESTAMPS = "timestamps"
INDEX = "index.json"
METADATA = "zarr.json"
CLAIMS = ".claims"
"""Folder of the store that says who writes what at present; no part of the format."""

CHUNK_BYTES = 2 << 20
"""A chunk is what one read needs at least: about 2 MiB."""

SHARD_BYTES = 16 << 20
"""A shard is one file and the unit of writing: about 16 MiB, 8,192 rows of 1,024 values."""

FEATURE_DTYPE = np.dtype("<f2")
TIMESTAMP_DTYPE = np.dtype("<i8")

_EXPONENT_BITS = 0x7C00
"""Of a float16."""


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """One backbone with one set of weights and one way of preprocessing and sampling."""

    name: str
    """Its folder in the store."""
    recipe: Mapping[str, Any]
    """All that changes a number in it, as JSON values; the fingerprint is a hash of this."""
    feature_dim: int
    """D."""
    trained_on: tuple[str, ...] = ()
    """Views, recordings and labels that the backbone itself was trained on, in words; recorded beside the
    fingerprint so that tables can flag a backbone that has seen ego labels or test recordings."""

    def __post_init__(self) -> None:
        check_name("feature set", self.name, StoreError)

    @classmethod
    def stored(cls, name: str, attributes: Mapping[str, Any]) -> "FeatureSet":
        """What a store's attributes say of it.

        Raises:
            KeyError: If one is missing.
            TypeError: If one is of another type.
        """
        return cls(
            name=name,
            recipe=attributes["recipe"],
            feature_dim=attributes["feature_dim"],
            trained_on=tuple(attributes.get("trained_on", ())),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the recipe and D as canonical JSON (sorted keys, no spaces), hex."""
        content = {"recipe": dict(self.recipe), "feature_dim": self.feature_dim}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def recording_path(store: Place, feature_set: str, view: str, recording: str) -> Place:
    """The folder of one recording's arrays; each name is checked to be one folder.

    Raises:
        StoreError: If a name could leave its folder.
    """
    parts = (("feature set", feature_set), ("view", view), ("recording", recording))
    return store.joinpath(*(check_name(kind, name, StoreError) for kind, name in parts))


def shard_path(array: Place, number: int) -> Place:
    """The file of one shard of `features`.

    Args:
        array: Folder of the array.
        number: From 0 on.
    """
    return array.joinpath("c", str(number), "0")


def rows_per_chunk(feature_dim: int, num_rows: int) -> int:
    """Rows in a chunk: a power of two near `CHUNK_BYTES`, or all rows of a shorter recording."""
    row_bytes = feature_dim * FEATURE_DTYPE.itemsize
    rows = 1 << max(0, (CHUNK_BYTES // row_bytes).bit_length() - 1)
    return max(1, min(rows, num_rows))


def rows_per_shard(feature_dim: int, num_rows: int) -> int:
    """Rows in a shard: eight full chunks, or just the chunks that a shorter recording fills."""
    chunk = rows_per_chunk(feature_dim, num_rows)
    return chunk * min(SHARD_BYTES // CHUNK_BYTES, max(1, -(-num_rows // chunk)))


def create_features(group: zarr.Group, num_rows: int, feature_dim: int) -> zarr.Array[Any]:
    """Create the empty (T, D) float16 array: sharded, checksummed, uncompressed, fill value NaN."""
    chunk = rows_per_chunk(feature_dim, num_rows)
    return group.create_array(
        FEATURES,
        shape=(num_rows, feature_dim),
        chunks=(chunk, feature_dim),
        shards=(rows_per_shard(feature_dim, num_rows), feature_dim),
        dtype=FEATURE_DTYPE,
        compressors=[Crc32cCodec()],
        fill_value=float("nan"),
        dimension_names=("row", "feature"),
    )


def write_timestamps(group: zarr.Group, timestamps: np.ndarray[Any, np.dtype[np.int64]]) -> None:
    """Write the whole (T,) int64 array, replacing one that exists."""
    array = group.create_array(
        TIMESTAMPS,
        shape=timestamps.shape,
        chunks=(max(1, len(timestamps)),),
        dtype=TIMESTAMP_DTYPE,
        compressors=[Crc32cCodec()],
        fill_value=-(2**63),
        dimension_names=("row",),
        attributes={"unit": "nanoseconds"},
        overwrite=True,
    )
    array[:] = timestamps


def sha256_rows(rows: np.ndarray[Any, Any]) -> str:
    """SHA-256 of an array's raw little-endian bytes in row-major order, hex."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()


def all_finite(rows: np.ndarray[Any, np.dtype[np.float16]]) -> bool:
    """Whether no value of float16 rows is NaN or infinite: in these alone all bits of the exponent are set (IEEE 754).

    17 times as fast as `np.isfinite`, which has no such path for float16.
    """
    exponents = rows.view(np.uint16) & _EXPONENT_BITS
    return bool(exponents.max(initial=0) != _EXPONENT_BITS)


def ensure_feature_set(store: Place, feature_set: FeatureSet) -> None:
    """Create the groups of the store and the feature set, or check that the existing one is the same.

    Raises:
        FingerprintError: If the store's feature set of that name was made by another recipe.
        StoreError: If the folder holds something else.
    """
    ensure_group(store, {"format": FORMAT, "version": VERSION})
    check_format(read_attributes(store), store)
    ensure_group(
        store / feature_set.name,
        {
            "fingerprint": feature_set.fingerprint,
            "feature_dim": feature_set.feature_dim,
            "recipe": dict(feature_set.recipe),
            "trained_on": list(feature_set.trained_on),
        },
    )
    check_feature_set(store, feature_set)


def check_feature_set(store: Place, feature_set: FeatureSet) -> None:
    """Check that a feature set, if the store has it, was made by the same recipe; nothing is written.

    Raises:
        FingerprintError: If the store's feature set of that name was made by another recipe.
        StoreError: If the folder holds something else than a store.
    """
    if of_store := read_attributes(store):
        check_format(of_store, store)
    attributes = read_attributes(store / feature_set.name)
    if attributes and attributes.get("fingerprint") != feature_set.fingerprint:
        different = _differences(attributes.get("recipe", {}), feature_set.recipe)
        raise FingerprintError(
            f"{store}: feature set {feature_set.name} was made by another recipe ({different}). "
            "Features of two recipes are never mixed: give this one another name with --feature-set, or "
            "go back to the settings that made the stored one"
        )


def ensure_group(folder: Place, attributes: Mapping[str, Any]) -> None:
    """Create a group unless there is one; any number of processes may do so at the same time."""
    if not (folder / METADATA).is_file():
        # another process may create it between the two lines, with the same content
        try:
            zarr.create_group(as_zarr_store(folder), attributes=dict(attributes))
        except zarr.errors.ContainsGroupError:
            pass
        except OSError as error:
            if not (
                folder / METADATA
            ).is_file():  # else another process has made it, and swept this one's file
                raise named(error, folder) from None


def sweep_groups(store: Place, feature_set: str, views: Iterable[str]) -> None:
    """Delete what killed processes left beside the metadata of the store, a feature set and some of its views.

    A living process whose file is deleted makes it anew, or finds that another one has written what it wanted to.
    """
    for folder in (store, store / feature_set, *(store / feature_set / view for view in views)):
        if isinstance(folder, Path):
            for orphan in folder.glob("*.partial"):
                with suppress(OSError):  # nobody needs it to be gone
                    orphan.unlink()


def check_format(attributes: Mapping[str, Any], store: Place) -> None:
    """Raise `StoreError` if these aren't the root attributes of a store that this program reads."""
    if attributes.get("format") != FORMAT:
        raise StoreError(f"{store}: isn't a feature store (its {METADATA} doesn't say format {FORMAT!r})")
    if attributes.get("version") != VERSION:
        version = attributes.get("version")
        raise StoreError(f"{store}: has layout version {version}, this program reads version {VERSION}")


def read_attributes(group: Place) -> dict[str, Any]:
    """The attributes of one group, straight from its metadata file; empty if there is no group.

    Reading one small file is many times faster than opening a group through zarr, and a large store has
    thousands of groups.

    Raises:
        StoreError: If the metadata file isn't that of a Zarr v3 group.
    """
    path = group / METADATA
    try:
        table = read_json(path)
        if table["zarr_format"] != 3 or table["node_type"] != "group":
            raise ValueError("not a Zarr v3 group")
        return dict(table.get("attributes", {}))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError, RecursionError, IsADirectoryError) as error:
        raise StoreError(f"{path}: can't be read as the metadata of a group ({error})") from None


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    keys = sorted({*stored, *wanted})
    lines = [
        f"{key}: stored {stored.get(key)!r}, now {wanted.get(key)!r}"
        for key in keys
        if stored.get(key) != wanted.get(key)
    ]
    return "; ".join(lines) or "its width differs"
