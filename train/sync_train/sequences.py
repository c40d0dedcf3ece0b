"""Features and labels of whole recordings, read from the store once.

Axes: T rows of a recording, P rows of a pair, D feature width.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sync_store.align import align
from sync_store.datasets import Dataset
from sync_store.errors import DatasetError
from sync_store.labels import UNLABELED, segments_to_csv
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Rows of two views that show the same moments. It has no labels, by design."""

    name: str
    exo_PD: torch.Tensor
    """float16 (P, D)."""
    ego_PD: torch.Tensor
    """float16 (P, D)."""
    coverage: float
    """Share of the shorter view's rows that found a partner."""


class Source:
    """One feature set of a store, for the trainer: each recording is read once and kept, as float16."""

    def __init__(self, store: FeatureStore, feature_set: str, device: torch.device) -> None:
        """Open a feature set.

        Args:
            store: Where it is.
            feature_set: Its name.
            device: Where rows are kept as long as they take no more than half of its free memory.
        """
        self._store = store
        self._device = device
        self._kept: dict[tuple[str, str], Recording] = {}
        self.store_path = store.path
        self.feature_set = feature_set
        attributes = store.feature_set(feature_set)
        self.fingerprint: str = attributes["fingerprint"]
        self.feature_dim: int = attributes["feature_dim"]
        self.trained_on: tuple[str, ...] = tuple(attributes.get("trained_on", ()))

    def digest(self, view: str, recordings: Iterable[str]) -> str:
        """SHA-256 over the names and row digests of recordings: what a training run depends on."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for name in recordings:
            attributes = self._store.attributes(self.feature_set, view, name)
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
        return [self._recording(view, name) for name in names]

    def pairs(
        self,
        exo: str,
        ego: str,
        names: Iterable[str],
        *,
        tolerance_ns: int | None,
        min_coverage: float,
    ) -> list[Pair]:
        """Read two views and join them by time.

        Raises:
            AlignmentError: If the views of a recording don't cover the same moments.
        """
        pairs = []
        for name in names:
            (of_exo,), (of_ego,) = self.recordings(exo, [name]), self.recordings(ego, [name])
            joined = align(
                of_exo.timestamps,
                of_ego.timestamps,
                where=f"recording {name}, views {exo} and {ego}",
                tolerance_ns=tolerance_ns,
                min_coverage=min_coverage,
            )
            pairs.append(
                Pair(
                    name=name,
                    exo_PD=_take(of_exo.rows_TD, joined.exo_rows),
                    ego_PD=_take(of_ego.rows_TD, joined.ego_rows),
                    coverage=joined.coverage,
                )
            )
        return pairs

    def _recording(self, view: str, name: str) -> Recording:
        if (view, name) not in self._kept:
            stored = self._store.read(self.feature_set, view, name)
            rows_TD = _place(torch.from_numpy(stored.features), self._device)
            self._kept[view, name] = Recording(name=name, rows_TD=rows_TD, timestamps=stored.timestamps)
        return self._kept[view, name]


def _take(rows_TD: torch.Tensor, numbers: npt.NDArray[np.int64]) -> torch.Tensor:
    """Rows by number; a view of the same memory where they are one stretch, as they mostly are."""
    if numbers[-1] - numbers[0] + 1 == len(numbers):
        return rows_TD[int(numbers[0]) : int(numbers[-1]) + 1]
    return rows_TD[torch.from_numpy(numbers).to(rows_TD.device)]


def _place(rows_TD: torch.Tensor, device: torch.device) -> torch.Tensor:
    if device.type == "cuda" and 2 * rows_TD.nbytes < torch.cuda.mem_get_info(device)[0]:
        return rows_TD.to(device)
    return rows_TD


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


def labels_digest(dataset: Dataset, names: Iterable[str]) -> str:
    """SHA-256 over the labelled sequences of recordings."""
    digest = hashlib.sha256()
    for name in names:
        for sequence in dataset.labeled(name):
            digest.update(sequence.name.encode() + b"\0" + segments_to_csv(sequence.segments))
    return digest.hexdigest()


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
