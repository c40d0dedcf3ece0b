"""Predictions: the files in which training and evaluation meet.

A prediction set is one method's output for one view of one split: a CSV of segments a recording, in the
form of labels, and a manifest `predictions.json` that is written last. A folder without it isn't finished.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sync_store.atomic import write_atomic, write_json
from sync_store.bounded import read_json, read_small
from sync_store.config import from_table
from sync_store.errors import DatasetError, ProjectError
from sync_store.labels import Segments, read_segments, segments_to_csv
from sync_store.names import check_name

MANIFEST = "predictions.json"
VERSION = 1

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

METHODS = ("exo-oracle", "ego-oracle", "no-adaptation", "feature", "tas", "feature-tas")
"""Rows of the paper's Table 1 for one backbone, in its order. A prediction set may have another name."""


@dataclass(frozen=True, kw_only=True)
class PredictionInfo:
    """What a manifest says."""

    run: str
    """Name of the run; runs that differ in `seed` alone share it."""
    seed: int
    method: str
    """One of `METHODS`, or another name."""
    view: str
    """The view that was predicted on."""
    kind: str
    """`exo` or `ego`: the kind of that view."""
    split: str
    feature_set: str
    """Features that were predicted on."""
    teacher_feature_set: str | None = None
    """Features that the teacher learnt from, where they are others."""
    trained_on: tuple[str, ...] = ()
    """What the backbone itself was trained on, as its feature set states; the teacher's, too."""
    classes: tuple[str, ...] = ()
    sha256: Mapping[str, str] | None = None
    """SHA-256 of each recording's CSV file, by recording."""
    protocol: Mapping[str, str | int | float | bool] | None = None
    """What a reader of a table should know: `selection`, how the epoch of each stage was selected; `settings`,
    a SHA-256 over all settings that decide the result, the same for all seeds; and others."""


@dataclass(frozen=True, kw_only=True)
class PredictionSet:
    """A finished prediction set on disk."""

    folder: Path
    info: PredictionInfo

    @property
    def recordings(self) -> list[str]:
        """The recordings that were predicted, sorted."""
        return sorted(self.info.sha256 or {})

    def read(self, recording: str) -> Segments:
        """The predicted segments of one recording.

        Raises:
            DatasetError: If it wasn't predicted, or its file has changed since.
        """
        if recording not in (self.info.sha256 or {}):
            raise DatasetError(f"{self.folder}: recording {recording} wasn't predicted")
        path = self.folder / f"{recording}.csv"
        if not path.is_file():
            raise DatasetError(f"{path}: is missing; predict again with sync-train")
        try:
            digest = hashlib.sha256(read_small(path)).hexdigest()
        except ValueError as error:
            raise DatasetError(f"{path}: can't be read ({error}); predict again with sync-train") from None
        if digest != (self.info.sha256 or {})[recording]:
            raise DatasetError(f"{path}: has changed since it was written; predict again with sync-train")
        return read_segments(path)


def write_predictions(folder: Path, info: PredictionInfo, predicted: Mapping[str, Segments]) -> PredictionSet:
    """Write a prediction set; an older one in the folder is replaced.

    Args:
        folder: Its own folder, `<run>/predictions/<method>/<view>`.
        info: The manifest, without `sha256`.
        predicted: Segments by recording.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    for old in folder.glob("*.csv"):
        old.unlink()
    digests = {}
    for recording, segments in sorted(predicted.items()):
        content = segments_to_csv(segments)
        write_atomic(folder / f"{check_name('recording', recording, DatasetError)}.csv", content)
        digests[recording] = hashlib.sha256(content).hexdigest()
    table = {"format": "sync-predictions", "version": VERSION, **asdict(info), "sha256": digests}
    if info.teacher_feature_set is None:
        del table["teacher_feature_set"]
    write_json(folder / MANIFEST, table)
    return open_predictions(folder)


def open_predictions(folder: Path) -> PredictionSet:
    """Open a finished prediction set.

    Raises:
        DatasetError: If the folder has no manifest, or the manifest isn't one of ours.
    """
    path = folder / MANIFEST
    try:
        table = read_json(path)
    except FileNotFoundError:
        raise DatasetError(f"{folder}: has no finished predictions ({MANIFEST} is missing)") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: can't be read as JSON ({error})") from None
    if not isinstance(table, dict) or table.pop("format", None) != "sync-predictions":
        raise DatasetError(f"{path}: isn't a manifest of predictions")
    if (version := table.pop("version", None)) != VERSION:
        raise DatasetError(f"{path}: has version {version}, this program reads version {VERSION}")
    try:
        info = from_table(PredictionInfo, table, str(path))
    except ProjectError as error:
        raise DatasetError(str(error)) from None
    for key in ("run", "method", "view", "split", "feature_set"):
        _check_printable(f"{path}: {key}", getattr(info, key))
    for value in (info.teacher_feature_set or "", *info.trained_on):
        _check_printable(f"{path}: a feature set or what it was trained on:", value)
    for recording in info.sha256 or {}:
        check_name(f"{path}: recording", recording, DatasetError)
    return PredictionSet(folder=folder, info=info)


def _check_printable(what: str, value: str) -> None:
    """Refuse what would do something to a terminal."""
    if _CONTROL.search(value):
        raise DatasetError(f"{what} {value[:80]!r} contains a control character")


def find_predictions(folder: Path) -> list[PredictionSet]:
    """Every finished prediction set below `folder`, sorted by path."""
    return [open_predictions(path.parent) for path in sorted(folder.rglob(MANIFEST))]
