"""Stored features as the field's folders, for other trainers: one for each view, of the form that `frames.py` reads.

<folder>/<view>/features/<recording>.npy        float32 (D, T), the stored rows as they are
<folder>/<view>/timestamps/<recording>.npy      int64 (T,), nanoseconds on the recording's clock
<folder>/<view>/groundTruth/<recording>.txt     T lines: the class at each row's time, if it has labels
<folder>/<view>/mapping.txt                     "<id> <class>" a line
<folder>/<view>/splits/<split>.bundle           "<recording>.txt" a line

Axes: T rows, D feature width.
"""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sync_store.atomic import write_atomic
from sync_store.datasets import Dataset
from sync_store.errors import DatasetError
from sync_store.labels import UNLABELED, first_seen, read_frames
from sync_store.reader import FeatureStore
from sync_store.splits import split_names

UNLABELED_NAME = "unlabeled"
"""Class of rows that no segment holds. The field's form has no other way to say it."""

Int64s = npt.NDArray[np.int64]


def export_recording(
    store: FeatureStore,
    feature_set: str,
    view: str,
    recording: str,
    *,
    dataset: Dataset,
    words: Sequence[str],
    folder: Path,
) -> None:
    """Write one recording; its features last, so that they tell that it is whole.

    Args:
        store: The store.
        feature_set: What to export.
        view: A view of it.
        recording: A complete recording of that view.
        dataset: Its labels.
        words: Classes, from `class_words`.
        folder: The view's folder.

    Raises:
        SyncError: If it can't be read from the store, or its labels can't be read.
        OSError: If the folder can't be written.
    """
    stored = store.read(feature_set, view, recording)
    labels = labels_at(dataset, recording, stored.timestamps, words)
    if labels is not None:
        text = "".join(f"{label}\n" for label in labels)
        write_atomic(folder / "groundTruth" / f"{recording}.txt", text.encode())
    write_atomic(folder / "timestamps" / f"{recording}.npy", _npy(stored.timestamps))
    features_DT = np.ascontiguousarray(stored.features.T.astype(np.float32))
    write_atomic(features_file(folder, recording), _npy(features_DT))


def features_file(folder: Path, recording: str) -> Path:
    """Where a recording's features are, below a view's folder."""
    return folder / "features" / f"{recording}.npy"


def labels_at(dataset: Dataset, recording: str, timestamps: Int64s, words: Sequence[str]) -> list[str] | None:
    """Class of each row as one word, or None for a recording without labels."""
    if not (sequences := dataset.labeled(recording)):
        return None
    known = set(words)
    labels = [UNLABELED_NAME] * len(timestamps)
    for sequence in sequences:
        index = sequence.segments.index_at(timestamps)
        of_segment = [as_word(label) for label in sequence.segments.labels]
        for row in np.flatnonzero(index != UNLABELED).tolist():
            if (word := of_segment[int(index[row])]) in known:
                labels[row] = word
    return labels


def as_word(label: str) -> str:
    """A class name without spaces, at which the field's readers of mapping.txt stop."""
    return re.sub(r"\s+", "_", label)


def class_words(dataset: Dataset, recordings: Iterable[str]) -> list[str]:
    """Classes in order of their ids, as words.

    Args:
        dataset: Its stated classes, or else those that occur, sorted.
        recordings: Where they may occur.

    Raises:
        DatasetError: If two classes become the same word.
    """
    of_labels = (
        label
        for recording in recordings
        for sequence in dataset.labeled(recording)
        for label in sequence.segments.labels
    )
    names = dataset.classes() or sorted(first_seen(of_labels))
    words = [as_word(name) for name in names]
    if len(set(words)) < len(words):
        twice = next(word for word in words if words.count(word) > 1)
        raise DatasetError(
            f"two classes are both {twice!r} once their spaces are replaced. Rename one of them"
        )
    return words


def write_classes(folder: Path, words: Sequence[str]) -> None:
    """Write mapping.txt, with a class for unlabeled rows if a file of the folder has some."""
    files = sorted((folder / "groundTruth").glob("*.txt"))
    if UNLABELED_NAME not in words and any(UNLABELED_NAME in read_frames(file) for file in files):
        words = [*words, UNLABELED_NAME]
    text = "".join(f"{index} {word}\n" for index, word in enumerate(words))
    if text:
        write_atomic(folder / "mapping.txt", text.encode())


def write_splits(folder: Path, dataset: Dataset, splits: Path) -> None:
    """Write the dataset's splits, of all recordings whether or not they are exported."""
    for name in split_names(splits):
        text = "".join(f"{recording}.txt\n" for recording in dataset.split(name))
        write_atomic(folder / "splits" / f"{name}.bundle", text.encode())


def _npy(values: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()
