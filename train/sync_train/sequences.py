"""Features and labels of whole recordings, read from the store once.

Axes: T rows of a recording, P rows of a pair, D feature width.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sync_store.datasets import Dataset
from sync_store.errors import DatasetError
from sync_store.labels import UNLABELED
from sync_store.place import for_each
from sync_store.reader import FeatureStore

IGNORE = -100
"""Class id of rows that no loss and no vote counts, as torch's cross-entropy has it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """One view of one recording."""

    name: str
    rows_TD: torch.Tensor
    """float16 (T, D)."""
    timestamps: npt.NDArray[np.int64]
    """int64 (T,), nanoseconds on the recording's clock."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Labeled:
    """A recording with a class for each row."""

    recording: Recording
    classes_T: torch.Tensor
    """int64 (T,), `IGNORE` where no class of interest is labelled."""


class Source:
    """One feature set of a store, for the trainer: each recording is read once and kept, as float16."""

    def __init__(
        self, store: FeatureStore, feature_set: str, device: torch.device, *, room_bytes: int | None = None
    ) -> None:
        """Open a feature set.

        Args:
            store: Where it is.
            feature_set: Its name.
            device: Where rows are kept as long as there is room.
            room_bytes: What rows may take there in all; by default all of `free_room`.
        """
        self._store = store
        self._device = device
        self._room_bytes = free_room(device) if room_bytes is None else room_bytes
        self._kept: dict[tuple[str, str], Recording] = {}
        self.store_path = store.path
        self.feature_set = feature_set
        attributes = store.feature_set(feature_set)
        self.fingerprint: str = attributes["fingerprint"]
        self.recipe: Mapping[str, Any] = attributes.get("recipe", {})
        self.feature_dim: int = attributes["feature_dim"]
        self.trained_on: tuple[str, ...] = tuple(attributes.get("trained_on", ()))

    def digest(self, view: str, recordings: Iterable[str]) -> str:
        """SHA-256 over the names and row digests of recordings: what a training run depends on."""
        digest = hashlib.sha256(self.fingerprint.encode())
        names = list(recordings)
        found = for_each(
            self.store_path, lambda name: self._store.attributes(self.feature_set, view, name), names
        )
        for name, attributes in zip(names, found, strict=True):
            parts = [view, name, attributes["timestamps_sha256"], *attributes["shard_sha256"]]
            digest.update("\n".join(parts).encode())
        return digest.hexdigest()

    def complete_recordings(self, view: str) -> set[str]:
        """Names of the recordings of a view that the store has whole."""
        return set(self._store.recordings(self.feature_set, view))

    def recordings(self, view: str, names: Iterable[str]) -> list[Recording]:
        """Read recordings of one view.

        Raises:
            IncompleteError: If one isn't in the store; the message says how to extract it.
            StoreError: If one is damaged.
        """
        names = list(names)
        absent = [name for name in dict.fromkeys(names) if (view, name) not in self._kept]
        for name, stored in zip(absent, self._store.read_each(self.feature_set, view, absent), strict=True):
            rows_TD = self._place(torch.from_numpy(stored.features))
            self._kept[view, name] = Recording(name=name, rows_TD=rows_TD, timestamps=stored.timestamps)
        return [self._kept[view, name] for name in names]

    def _place(self, rows_TD: torch.Tensor) -> torch.Tensor:
        if rows_TD.nbytes > self._room_bytes:
            return rows_TD
        self._room_bytes -= rows_TD.nbytes
        return rows_TD.to(self._device)


def free_room(device: torch.device) -> int:
    """Bytes for rows: half of the GPU's memory that is free now, so that the other half is left to the networks."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0


def training_classes(dataset: Dataset, train: Iterable[str]) -> tuple[str, ...]:
    """The classes to learn: those that the dataset states, else those of the training labels, sorted.

    Background classes are left out. Only labels of `train` recordings are ever read.

    Raises:
        DatasetError: If there are none.
    """
    stated = dataset.classes()
    if stated is None:
        labels = (s.segments.labels for name in train for s in dataset.labeled(name))
        stated = tuple(sorted({label for of_sequence in labels for label in of_sequence}))
    classes = tuple(name for name in stated if name not in dataset.background)
    if not classes:
        raise DatasetError("no labels in the training split: there are no classes to learn")
    return classes


def label(recordings: Iterable[Recording], dataset: Dataset, classes: tuple[str, ...]) -> list[Labeled]:
    """Give each row the class of the segment that holds its time.

    Raises:
        DatasetError: If a recording has no labels, or a label isn't one of the stated classes.
    """
    labeled = []
    for recording in recordings:
        sequences = dataset.labeled(recording.name)
        if not sequences:
            raise DatasetError(
                f"recording {recording.name} has no labels, but is to be learnt from or selected on. Label it, "
                "or take it out of its split"
            )
        ids = np.full(len(recording.timestamps), UNLABELED, dtype=np.int64)
        for sequence in sequences:
            strange = set(sequence.segments.labels) - {*classes, *dataset.background}
            if strange:
                raise DatasetError(
                    f"labels of {sequence.name}: {sorted(strange)[0]!r} isn't one of the {len(classes)} classes"
                )
            of_sequence = sequence.segments.classes_at(recording.timestamps, classes)
            ids = np.where(of_sequence != UNLABELED, of_sequence, ids)
        ids[ids == UNLABELED] = IGNORE
        labeled.append(Labeled(recording=recording, classes_T=torch.from_numpy(ids)))
    return labeled
