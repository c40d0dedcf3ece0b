"""Writes one recording of one view into the store: shard by shard, resumable, committed last.

One writer a recording, see `claim`. T and all timestamps are known before the first row; each shard is written once,
whole; `complete` and the digests follow when everything else is on disk.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from sync_store.atomic import flush_folder, flush_tree
from sync_store.claim import Claim
from sync_store.errors import CompleteError, StoreError
from sync_store.labels import ns_to_text
from sync_store.layout import (
    FEATURE_DTYPE,
    FEATURES,
    METADATA,
    TIMESTAMP_DTYPE,
    TIMESTAMPS,
    FeatureSet,
    all_finite,
    create_features,
    ensure_feature_set,
    ensure_group,
    read_attributes,
    recording_path,
    sha256_rows,
    shard_path,
    write_timestamps,
)
from sync_store.place import Place, as_zarr_store, delete_tree
from sync_store.shard_file import write_shard

log = logging.getLogger(__name__)

Rows = npt.NDArray[np.float16]


class RecordingWriter:
    """Appends rows to one recording; go on at `next_row` after opening.

    Use as a context manager, or `close` it. Doing so without `commit` leaves an incomplete recording, which readers
    ignore and the next writer goes on with.
    """

    def __init__(
        self,
        store: Place,
        feature_set: FeatureSet,
        view: str,
        recording: str,
        *,
        timestamps: npt.NDArray[np.int64],
        provenance: Mapping[str, Any],
        overwrite: bool = False,
    ) -> None:
        """Open a recording for writing, and go on with one that was left incomplete by the same settings.

        Args:
            store: The store; made if it doesn't exist.
            feature_set: What the rows are; checked against what the store holds.
            view: Name of the view.
            recording: Name of the recording.
            timestamps: int64 (T,), nanoseconds on the recording's clock, strictly increasing.
            provenance: JSON values recorded beside the fingerprint (source file, versions, device, batch
                size …). An incomplete recording with other provenance is started anew, since its rows
                might differ in the last bit.
            overwrite: Delete a complete recording first.

        Raises:
            FingerprintError: If the store's feature set was made by another recipe.
            BusyError: If another process is writing the recording.
            CompleteError: If the recording is complete already.
            StoreError: If the timestamps aren't increasing.
        """
        self._where = f"recording {recording}, view {view}"
        self._timestamps = np.ascontiguousarray(timestamps, dtype=TIMESTAMP_DTYPE)
        self._feature_dim = feature_set.feature_dim
        if not len(timestamps):
            raise StoreError(f"{self._where}: there are no rows to write")
        if (steps := np.diff(self._timestamps)).size and steps.min() <= 0:
            at = ns_to_text(int(self._timestamps[int(np.argmin(steps)) + 1]))
            raise StoreError(f"{self._where}: timestamps must increase, but don't at {at} s")
        ensure_feature_set(store, feature_set)
        self._folder = recording_path(store, feature_set.name, view, recording)
        self._attributes: dict[str, Any] = {
            "complete": False,
            "fingerprint": feature_set.fingerprint,
            "planned_rows": len(timestamps),
            "provenance": dict(provenance),
        }
        self._claim = Claim(store, feature_set.name, view, recording)
        try:
            self._group, resumed = self._open(overwrite)
            features = self._group[FEATURES]
        except BaseException:
            self.close()
            raise
        assert isinstance(features, zarr.Array)
        self._features: zarr.Array[Any] = features
        self._shard_rows = (self._features.shards or self._features.chunks)[0]
        self._digests: list[str] = resumed
        self._buffer = np.empty((self._shard_rows, self._feature_dim), dtype=FEATURE_DTYPE)
        self._buffered = 0

    def __enter__(self) -> "RecordingWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write the recording; what isn't a whole shard yet is lost without `commit`."""
        self._buffer = np.empty((0, 0), dtype=FEATURE_DTYPE)
        self._claim.release()

    @property
    def num_rows(self) -> int:
        """T as planned."""
        return len(self._timestamps)

    @property
    def next_row(self) -> int:
        """The row that `append` expects next; after opening, the first row of the first missing shard, or T."""
        return min(len(self._digests) * self._shard_rows + self._buffered, self.num_rows)

    @property
    def shard_rows(self) -> int:
        """Rows in a shard: a kill loses no more than these."""
        return self._shard_rows

    def append(self, rows: Rows) -> None:
        """Add rows (N, D) float16; whole shards go to disk as they fill.

        Raises:
            LostClaimError: If another process took the recording over.
            StoreError: If a value is NaN or infinite (the message gives its time), the width is wrong, or
                there are more rows than timestamps.
        """
        if rows.ndim != 2 or rows.shape[1] != self._feature_dim or rows.dtype != FEATURE_DTYPE:
            raise StoreError(
                f"{self._where}: rows must be float16 (N, {self._feature_dim}), got {rows.dtype} {rows.shape}"
            )
        if self.next_row + len(rows) > self.num_rows:
            raise StoreError(f"{self._where}: more rows than the {self.num_rows} timestamps")
        if not all_finite(rows):
            row = self.next_row + int(np.argmin(np.isfinite(rows).all(axis=1)))
            raise StoreError(
                f"{self._where}: the features of the frame at {ns_to_text(int(self._timestamps[row]))} s "
                "hold NaN or infinity in float16; nothing of them is stored. Check the weights and precision"
            )
        while len(rows):
            taken = rows[: self._shard_rows - self._buffered]
            self._buffer[self._buffered : self._buffered + len(taken)] = taken
            self._buffered += len(taken)
            rows = rows[len(taken) :]
            if self._buffered == self._shard_rows:
                self._write_shard()

    def amend_provenance(self, changes: Mapping[str, Any]) -> None:
        """Record at once what has turned out otherwise than planned; a later writer won't go on with these rows."""
        self._claim.check()
        self._attributes["provenance"].update(changes)
        self._group.update_attributes({"provenance": self._attributes["provenance"]})

    def commit(self) -> None:
        """Write what is buffered, shrink T to the rows that came, flush to disk, then mark complete.

        Raises:
            LostClaimError: If another process took the recording over.
            StoreError: If no row came at all.
        """
        self._claim.check()
        num_rows = self.next_row
        if not num_rows:
            raise StoreError(f"{self._where}: no frame was decoded, so there is nothing to store")
        if num_rows < self.num_rows:
            self._features.resize((num_rows, self._feature_dim))
            self._timestamps = self._timestamps[:num_rows]
            write_timestamps(self._group, self._timestamps)
        if self._buffered:
            self._write_shard()
        flush_tree(self._folder)
        self._claim.check()
        self._group.update_attributes(
            {
                "complete": True,
                "shard_sha256": self._digests,
                "timestamps_sha256": sha256_rows(self._timestamps),
            }
        )
        flush_recording(self._folder)
        self.close()

    def _write_shard(self) -> None:
        self._claim.check()
        rows = self._buffer[: self._buffered]
        path = shard_path(self._folder / FEATURES, len(self._digests))
        with ThreadPoolExecutor(max_workers=1) as beside:  # as long as writing, and without the GIL
            digest = beside.submit(sha256_rows, rows)
            write_shard(path, rows, chunk_rows=self._features.chunks[0], shard_rows=self._shard_rows)
            self._digests.append(digest.result())
        self._buffered = 0

    def _open(self, overwrite: bool) -> tuple[zarr.Group, list[str]]:
        """The recording's group and the digests of the shards that it has already."""
        existing = {} if overwrite else read_attributes(self._folder)
        if existing.get("complete"):
            raise CompleteError(f"{self._where}: is complete in the store; delete it first to write it anew")
        return self._resume(existing) or (self._start(), [])

    def _start(self) -> zarr.Group:
        self._claim.check()
        delete_recording(self._folder)
        ensure_group(self._folder.parent, {})
        group = zarr.create_group(as_zarr_store(self._folder))
        write_timestamps(group, self._timestamps)
        create_features(group, self.num_rows, self._feature_dim)
        group.update_attributes(self._attributes)  # written last: without it the next writer starts anew
        return group

    def _resume(self, existing: Mapping[str, Any]) -> tuple[zarr.Group, list[str]] | None:
        """The incomplete recording and the digests of its good shards, or None to start anew."""
        if existing != self._attributes:
            if existing:
                log.warning("%s: was begun with other settings or files; starting anew", self._where)
            return None
        if isinstance(self._folder, Path):
            for orphan in self._folder.rglob("*.partial"):
                orphan.unlink()
        try:
            group = zarr.open_group(as_zarr_store(self._folder), mode="r+")
            features, timestamps = group[FEATURES], group[TIMESTAMPS]
            assert isinstance(features, zarr.Array) and isinstance(timestamps, zarr.Array)
            same = np.array_equal(np.asarray(timestamps[:]), self._timestamps)
            if not same or features.shape != (self.num_rows, self._feature_dim):
                return None
            digests = _good_shards(features)
        except ConnectionError:  # nothing is known of it
            raise
        except Exception as error:  # whatever is wrong with it, starting anew mends it
            log.warning("%s: what was begun can't be read (%s); starting anew", self._where, error)
            return None
        log.info("%s: going on after %d whole shards", self._where, len(digests))
        return group, digests


def flush_recording(folder: Place) -> None:
    """Flush a recording to disk, and the folders of its view, feature set and store."""
    flush_tree(folder)
    for _ in ("view", "feature set", "store"):
        folder = folder.parent
        flush_folder(folder)


def delete_recording(folder: Place) -> None:
    """Delete one recording so that no reader ever takes the rest of it for a whole one."""
    (folder / METADATA).unlink(missing_ok=True)
    delete_tree(folder)


def _good_shards(features: "zarr.Array[Any]") -> list[str]:
    """Digests of the whole shards from the start on; the codec's checksums tell a damaged one."""
    shard_rows = (features.shards or features.chunks)[0]
    digests = []
    for start in range(0, features.shape[0], shard_rows):
        try:
            rows = np.asarray(features[start : start + shard_rows])
        except ConnectionError:  # nothing is known of it
            raise
        except Exception:  # a checksum that fails raises one of several codec errors
            break
        if not np.isfinite(rows).all():  # a missing chunk reads as NaN
            break
        digests.append(sha256_rows(rows))
    return digests
