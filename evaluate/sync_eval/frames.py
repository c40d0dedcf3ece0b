"""Scores of anyone's predictions in the field's text form: one label a line, a file a sequence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sync_eval.metrics import Counts, count
from sync_eval.segments import Int64s
from sync_store.errors import DatasetError
from sync_store.labels import read_frames


@dataclass(frozen=True, kw_only=True)
class FramePair:
    """Two files of one name, with as many labels."""

    name: str
    predicted: tuple[str, ...]
    true: tuple[str, ...]


def read_frame_folders(predicted: Path, true: Path) -> list[FramePair]:
    """Read two folders with the same file names, sorted by name. Hidden files are passed over.

    Raises:
        DatasetError: If a file is missing on one side, or the lengths of two files differ.
    """
    names, true_names = _file_names(predicted), _file_names(true)
    for folder, missing in ((predicted, true_names - names), (true, names - true_names)):
        if missing:
            raise DatasetError(
                f"{folder}: has no {_listed(sorted(missing))}; both folders must hold the same file names"
            )
    if not names:
        raise DatasetError(f"{true}: there are no files to score; expected one label a line in each file")
    return [_read_pair(name, predicted / name, true / name) for name in sorted(names)]


def count_frames(pairs: Sequence[FramePair], background: Sequence[str] = ()) -> dict[str, Counts]:
    """Count each pair of files. Frames of background classes count in MoF and form no segments."""
    counts = {}
    for pair in pairs:
        ids = {label: index for index, label in enumerate(dict.fromkeys((*pair.true, *pair.predicted)))}
        counts[pair.name] = count(
            _to_ids(pair.predicted, ids),
            _to_ids(pair.true, ids),
            [ids[label] for label in background if label in ids],
        )
    return counts


def unused_background(pairs: Sequence[FramePair], background: Sequence[str]) -> list[str]:
    """Background classes that no file has, most likely misspelt."""
    return [name for name in background if not any(name in (*p.true, *p.predicted) for p in pairs)]


def _file_names(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder")
    return {file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")}


def _read_pair(name: str, predicted_path: Path, true_path: Path) -> FramePair:
    predicted, true = read_frames(predicted_path), read_frames(true_path)
    if len(predicted) != len(true):
        raise DatasetError(
            f"{name}: {len(predicted)} labels in {predicted_path}, but {len(true)} in {true_path}; "
            "both need one label for each frame"
        )
    return FramePair(name=name, predicted=tuple(predicted), true=tuple(true))


def _to_ids(labels: Sequence[str], ids: dict[str, int]) -> Int64s:
    return np.array([ids[label] for label in labels], dtype=np.int64)


def _listed(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
