"""The field's feature folders: one .npy file a recording, (D, T), column t the features of frame t, from 0.

Breakfast, 50Salads and GTEA come in this form, I3D features of 2,048 values (MS-TCN's release). Folders named after
views hold one view each, as `sync-extract export` writes them.

Axes: T frames, D feature width.
"""

import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sync_extract.importing.files import blocks_of, check_is_file, describe_file, unreadable
from sync_extract.importing.source import (
    Item,
    Rows,
    Source,
    check_seconds,
    frame_times,
    offset_of,
    single_view,
)
from sync_extract.plan import Failure
from sync_store.datasets import Dataset
from sync_store.datasets.frames import FramesDataset
from sync_store.errors import DatasetError, SyncError
from sync_store.names import check_name
from sync_store.project import Project

MAX_DIFFERENCE = 0.1
"""Share by which the numbers of columns and of labels may differ. Released features are a few frames shorter or
longer than their labels; half or twice as many are of another rate."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Header:
    """What a file's first bytes say."""

    dtype: str
    num_rows: int
    feature_dim: int
    transposed: bool
    """It holds (T, D) and not (D, T)."""


def open_npy(path: Path, project: Project, dataset: Dataset, *, views: list[str], fps: Fraction) -> Source:
    """Find the features of a folder.

    Args:
        path: A folder of .npy files, or of folders of them with the names of views.
        project: Its views.
        dataset: Its dataset; where it has frame labels, they tell which axis is time.
        views: Views that are asked for; empty for all.
        fps: Columns a second.

    Raises:
        DatasetError: If there is no such file, or not one that can be read.
    """
    items: list[Item] = []
    failures: list[Failure] = []
    notes: list[str] = []
    first: Header | None = None
    files = _files(path, project, views)
    rows_first = _rows_first([file for _, file in files], dataset, fps)
    for view, file in files:
        recording = _recording_of(file)
        try:
            num_labels = _expected_rows(dataset, recording, fps)
            header = read_header(file, num_labels=num_labels, rows_first=rows_first)
            first = first or header
            if (header.dtype, header.feature_dim) != (first.dtype, first.feature_dim):
                raise DatasetError(
                    f"{file}: holds {header.dtype} values {header.feature_dim} wide, but the files before it "
                    f"{first.dtype} {first.feature_dim} wide"
                )
            items.append(
                _item(file, view, recording, header, fps, offset_of(project, dataset, recording, view))
            )
        except SyncError as error:
            failures.append(Failure(view=view, recording=recording, message=str(error)))
    if first is None:
        raise DatasetError(f"{path}: not one of its .npy files can be read: {failures[0].message}")
    if off := [note for item in items if (note := _length_note(item, dataset, fps))]:
        notes.append(
            f"{len(off)} recordings have more or fewer columns than labels, such as {off[0]}; all are kept"
        )
    name = (project.dataset_root if path == project.dataset_root / "features" else path).resolve().name
    return Source(
        name=name,
        release=None,
        recipe={"grid_fps": str(fps), "dtype": first.dtype},
        feature_dim=first.feature_dim,
        items=items,
        failures=failures,
        notes=notes,
    )


def read_header(file: Path, *, num_labels: int, rows_first: bool) -> Header:
    """Read shape and type, and tell which axis is time.

    Args:
        file: A .npy file.
        num_labels: How many frames it should have, by its labels; 0 if nobody knows, and then it is (D, T).
        rows_first: Whether a file both of whose axes fit the labels is (T, D).

    Raises:
        DatasetError: If it isn't a plain two-dimensional array of floats, or neither axis fits the labels.
    """
    values = _map(file)
    if values.ndim != 2 or values.dtype.kind != "f" or values.dtype.itemsize > 8 or not values.size:
        raise DatasetError(
            f"{file}: holds {values.dtype} {values.shape}; expected (D, T) of float32, float64 or float16"
        )
    rows_fit, columns_fit = (_fits(size, num_labels) for size in values.shape)
    if num_labels and not columns_fit and not rows_fit:
        raise DatasetError(
            f"{file}: has shape {values.shape}, but its labels have {num_labels} frames. Expected (D, T) with about as "
            "many columns; if features and labels differ in rate, give that of the features with --fps"
        )
    transposed = rows_fit and (rows_first or not columns_fit)
    feature_dim, num_rows = values.shape[::-1] if transposed else values.shape
    return Header(
        dtype=values.dtype.newbyteorder("=").name,
        num_rows=num_rows,
        feature_dim=feature_dim,
        transposed=transposed,
    )


def _item(file: Path, view: str, recording: str, header: Header, fps: Fraction, offset: Fraction) -> Item:
    source, sha256 = describe_file(file, offset)
    return Item(
        view=view,
        recording=recording,
        path=file,
        expected_rows=header.num_rows,
        source=source,
        sha256=sha256,
        open=lambda: _rows(file, header, fps, offset),
    )


def _rows(file: Path, header: Header, fps: Fraction, offset: Fraction) -> Rows:
    check_seconds(header.num_rows, fps, str(file))
    values_TD = _map(file) if header.transposed else _map(file).T
    if values_TD.shape != (header.num_rows, header.feature_dim):
        raise DatasetError(f"{file}: has changed since the import began. Run the command again")
    return Rows(
        timestamps=frame_times(np.arange(header.num_rows, dtype=np.int64), fps, offset),
        about={"axes": "rows first" if header.transposed else "features first"},
        blocks=lambda start: blocks_of(values_TD, start),
    )


def _files(path: Path, project: Project, views: list[str]) -> list[tuple[str, Path]]:
    """Files with their views, in order."""
    if not path.is_dir():
        raise DatasetError(f"{path}: there is no such folder; expected one of <recording>.npy files")
    wanted = views or list(project.views)
    found = [(view, file) for view in wanted for file in _npy_files(path / view)]
    if not found and (flat := _npy_files(path)):
        view = single_view(project, views, f"{path}: its files")
        found = [(view, file) for file in flat]
    if not found:
        raise DatasetError(
            f"{path}: has no .npy files, nor a folder of them with a view's name: {', '.join(wanted)}"
        )
    return found


def _npy_files(folder: Path) -> list[Path]:
    """Files of a folder, or of features/ in it."""
    below = folder / "features"
    return sorted(
        file for file in (below if below.is_dir() else folder).glob("*.npy") if not file.name.startswith(".")
    )


def _expected_rows(dataset: Dataset, recording: str, fps: Fraction) -> int:
    """Columns that the frame labels let expect; 0 without such labels."""
    if not isinstance(dataset, FramesDataset):
        return 0
    return round(dataset.num_labels(recording) * fps / dataset.label_rate)


def _rows_first(files: list[Path], dataset: Dataset, fps: Fraction) -> bool:
    """Whether the first file of which only one axis fits its labels is (T, D).

    Others may have about as many frames as values in one, and are read as that one is.
    """
    for file in files:
        try:
            num_labels = _expected_rows(dataset, _recording_of(file), fps)
            fit = [_fits(size, num_labels) for size in _map(file).shape]
        except SyncError:
            continue  # it is reported where it is read
        if fit in ([True, False], [False, True]):
            return fit[0]
    return False


def _recording_of(file: Path) -> str:
    return check_name(f"{file}: recording", file.name.removesuffix(".npy"), DatasetError)


def _fits(size: int, num_labels: int) -> bool:
    """Whether it is about the number of labels; nothing fits where there are none."""
    return num_labels > 0 and abs(size - num_labels) <= MAX_DIFFERENCE * num_labels


def _length_note(item: Item, dataset: Dataset, fps: Fraction) -> str | None:
    expected = _expected_rows(dataset, item.recording, fps)
    if not expected or expected == item.expected_rows:
        return None
    return f"{item.recording} with {item.expected_rows} columns and {expected} labels"


def _map(file: Path) -> npt.NDArray[Any]:
    """The array, mapped into memory; nothing pickled in it is loaded."""
    check_is_file(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of headers that Python 2 wrote, and of shapes that are refused anyway
            values = np.load(file, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise unreadable(file, error) from None
    except Exception as error:  # a damaged header raises one of many errors
        problem = str(error).partition("\n")[0][:120]
        raise DatasetError(
            f"{file}: can't be read as a .npy file of numbers ({problem}). Copy or download it again, or save one "
            "array of float32 with numpy.save"
        ) from None
    if not isinstance(values, np.ndarray):
        values.close()
        raise DatasetError(f"{file}: is an archive of arrays; expected one array that numpy.save wrote")
    return np.asarray(values)
