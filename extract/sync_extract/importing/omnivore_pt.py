"""EgoExo4D's Omnivore features: `features/omnivore_video/<take_uid>_<camera>_<stream>.pt`.

Each is a tensor (N, 1, 1536) that torch.save wrote: row i is a window of 32 frames from frame 16 i on, at 30 frames a
second, and has the time of its middle, frame 16 i + 16. A last window that ends with the last of F frames is added
where frames are left over. F isn't in the file: it comes from the take's duration, where it fits N.

Axes: N windows, F frames, D feature width.
"""

import errno
import pickle
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch

from sync_extract.clips import Clips
from sync_extract.importing.files import blocks_of, check_is_file, describe_file, unreadable
from sync_extract.importing.source import Int64s, Item, Rows, Source, check_seconds, frame_times, offset_of
from sync_store.datasets import Dataset
from sync_store.datasets.egoexo4d import EgoExo4DDataset
from sync_store.datasets.egoexo4d.takes import MAIN_STREAMS
from sync_store.errors import DatasetError, NoVideoError
from sync_store.names import check_name
from sync_store.project import Project

WINDOWS = Clips(num_frames=32, stride=16, anchor=16, edges="backpad")
"""Of the release's extraction (EGO4D configs/egoexo_omnivore.yaml)."""

DTYPES = (torch.float32, torch.float16, torch.float64)


@dataclass(frozen=True, kw_only=True)
class File:
    """One file and what it holds."""

    view: str
    recording: str
    path: Path


def open_omnivore(
    path: Path, project: Project, dataset: Dataset, *, views: list[str], fps: Fraction
) -> Source:
    """Find the features of a folder.

    Args:
        path: Folder of the .pt files.
        project: Its views.
        dataset: EgoExo4D, whose takes and cameras the files' names are mapped to; of another dataset the recording is
            the take's uid, and the view the camera's name.
        views: Views that are asked for; empty for all.
        fps: Frames a second of the videos.

    Raises:
        DatasetError: If there is no such file, or not one that can be read.
    """
    if not path.is_dir():
        raise DatasetError(
            f"{path}: there is no such folder; expected one of <take_uid>_<camera>_<stream>.pt files"
        )
    wanted = views or list(project.views)
    absent: dict[str, list[str]] = {}
    if isinstance(dataset, EgoExo4DDataset):
        files = _files_of_takes(path, dataset, wanted, absent)
    else:
        files = _files_by_name(path, wanted)
    if not files:
        example = next(iter(sorted(path.glob("*.pt"))), None)
        has = f"it has {example.name} and the like" if example else "it has no .pt file"
        raise DatasetError(
            f"{path}: no <take_uid>_<camera>_<stream>.pt of a recording of the dataset in view {', '.join(wanted)}; "
            f"{has}"
        )
    dtype, feature_dim = _first_form(files)
    return Source(
        name="omnivore",
        release="egoexo4d-omnivore",
        recipe={
            "grid_fps": str(fps),
            "window_frames": WINDOWS.num_frames,
            "window_stride": WINDOWS.stride,
            "window_anchor": WINDOWS.anchor,
            "dtype": dtype,
        },
        feature_dim=feature_dim,
        items=[_item(file, project, dataset, fps, (dtype, feature_dim)) for file in files],
        absent=absent,
    )


def read_rows(path: Path) -> torch.Tensor:
    """Read one file: (N, D). Nothing that is pickled in it is executed.

    Raises:
        DatasetError: If it isn't a tensor of that form.
    """
    check_is_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, for developers, on files that are refused anyway
            tensor = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno != errno.EINVAL:  # torch looks for the end of an archive before the start of a cut one
            raise unreadable(path, error) from None
        raise _no_tensor(path, "it is cut short") from None
    except pickle.UnpicklingError:
        raise _no_tensor(path, "other objects aren't loaded, since that may run code") from None
    except Exception:  # a damaged file raises one of many errors
        raise _no_tensor(path, "it is empty, damaged or another kind of file") from None
    if not _is_plain(tensor):
        raise DatasetError(
            f"{path}: holds {_describe(tensor)}; expected one tensor of float32, (N, 1, D) or (N, D)"
        )
    middle_is_one = tensor.ndim == 3 and tensor.shape[1] == 1
    if not (tensor.ndim == 2 or middle_is_one) or not tensor.numel() or tensor.dtype not in DTYPES:
        raise DatasetError(
            f"{path}: holds {tensor.dtype} {tuple(tensor.shape)}; expected float32 (N, 1, D) or (N, D)"
        )
    return tensor.detach().reshape(-1, tensor.shape[-1])


def _no_tensor(path: Path, problem: str) -> DatasetError:
    return DatasetError(
        f"{path}: can't be read as a tensor that torch.save wrote ({problem}). Copy or download it again"
    )


def _is_plain(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether it is a tensor whose numbers are there, each of them."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_nested
    )


def _describe(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return "a nested tensor" if value.is_nested else f"a {value.layout} tensor on device {value.device}"


def window_frames(
    num_windows: int, duration_seconds: Fraction | None, fps: Fraction
) -> tuple[Int64s, dict[str, Any]]:
    """Which frame each window has its time from.

    Args:
        num_windows: N.
        duration_seconds: Of the take; None if nobody knows it.
        fps: Frames a second.

    Returns:
        int64 (N,) numbers of frames, and what is sure of them, as JSON values.
    """
    num_frames = None if duration_seconds is None else round(duration_seconds * fps)
    if num_frames is not None and WINDOWS.num_rows(num_frames) == num_windows:
        return WINDOWS.rows(num_frames)[:, WINDOWS.anchor], {
            "num_frames": num_frames,
            "last_row": "back-padded",
        }
    regular = np.arange(num_windows, dtype=np.int64) * WINDOWS.stride + WINDOWS.anchor
    # The release was made without a check of N ("check_fv_count: false"), so a take's length needn't fit it.
    about: dict[str, Any] = {"last_row": "nominal: up to half a second earlier if it was back-padded"}
    if num_frames is not None:
        about |= {"num_frames": num_frames, "expected_rows": WINDOWS.num_rows(num_frames)}
    return regular, about


def _item(file: File, project: Project, dataset: Dataset, fps: Fraction, form: tuple[str, int]) -> Item:
    offset = offset_of(project, dataset, file.recording, file.view)
    source, sha256 = describe_file(file.path, offset)
    duration = dataset.duration_seconds(file.recording) if isinstance(dataset, EgoExo4DDataset) else None
    return Item(
        view=file.view,
        recording=file.recording,
        path=file.path,
        expected_rows=WINDOWS.num_rows(round(duration * fps)) if duration is not None else 0,
        source=source,
        sha256=sha256,
        open=lambda: _rows(file.path, form, duration, fps, offset),
    )


def _rows(
    path: Path, form: tuple[str, int], duration_seconds: Fraction | None, fps: Fraction, offset: Fraction
) -> Rows:
    values_ND = read_rows(path).numpy()
    if (found := (values_ND.dtype.name, values_ND.shape[1])) != form:
        raise DatasetError(
            f"{path}: holds {found[0]} {found[1]} wide, but the first file {form[0]} {form[1]} wide"
        )
    frames, about = window_frames(len(values_ND), duration_seconds, fps)
    check_seconds(int(frames[-1]), fps, str(path))
    return Rows(
        timestamps=frame_times(frames, fps, offset),
        about=about,
        blocks=lambda start: blocks_of(values_ND, start),
    )


def _first_form(files: list[File]) -> tuple[str, int]:
    """Type and width of the first file that can be read; the others will be held to it."""
    problems = []
    for file in files:
        try:
            values = read_rows(file.path).numpy()
            return values.dtype.name, values.shape[1]
        except DatasetError as error:
            problems.append(error)
    raise problems[0]


def _files_of_takes(
    path: Path, dataset: EgoExo4DDataset, views: list[str], absent: dict[str, list[str]]
) -> list[File]:
    """The files of the dataset's takes; what isn't there is noted in `absent`."""
    files = []
    for view in views:
        for recording in dataset.recordings():
            try:
                camera, stream = dataset.camera(recording, view), dataset.stream(recording, view)
                name = f"{dataset.uid(recording)}_{camera}_{stream}.pt"
                file = path / check_name(f"recording {recording}, view {view}: file", name, DatasetError)
            except NoVideoError:
                absent.setdefault(view, []).append(recording)
                continue
            if file.is_file():
                files.append(File(view=view, recording=recording, path=file))
            else:
                absent.setdefault(view, []).append(recording)
    return files


def _files_by_name(path: Path, views: list[str]) -> list[File]:
    files = []
    for file in sorted(path.glob("*.pt")):
        parts = file.name.removesuffix(".pt").rsplit("_", 2)
        if len(parts) != 3 or not all(parts):
            raise DatasetError(f"{file}: expected a name of the form <take_uid>_<camera>_<stream>.pt")
        recording, camera, stream = parts
        view = camera if stream in MAIN_STREAMS else f"{camera}-{stream}"
        if view in views:
            check_name(f"{file}: recording", recording, DatasetError)
            files.append(File(view=view, recording=recording, path=file))
    return files
