"""Assembly101's annotations: where they are, coarse segments, fine-grained actions, and both lists of classes.

Frame numbers count from the video's first frame at 30 frames a second, while the videos have 60: frame f of an
annotation is frame 2f of a video. (assembly-101/assembly101-annotations, README of each folder.)
"""

import csv
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TextIO

import numpy as np

from sync_store.bounded import is_special
from sync_store.datasets.base import Action
from sync_store.errors import DatasetError
from sync_store.labels import MAX_SECONDS, Segments, first_seen, seconds_to_ns
from sync_store.splits import read_lines

FPS = 30
"""Frames a second of all annotations."""

COARSE_LABELS = "coarse_labels"
"""Folder of the coarse label files, beside their actions.csv."""

FINE_FILES = ("train.csv", "validation.csv", "test.csv")
"""Fine-grained actions. The released test.csv has no labels, and gives none."""

ACTIONS = "actions.csv"
"""List of classes, one of that name for coarse segments and one for fine-grained actions."""

MAX_CSV_BYTES = 1 << 29
"""Of fine-grained actions: a million lines have about a quarter of it."""

_FINE_COLUMNS = ("video", "start_frame", "end_frame", "action_cls")


def find_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    """Find the folder that holds one of these names: `root`, or one up to two folders below it.

    Args:
        root: Where to begin. Its folder recordings/ is left out: nothing but videos is there.
        names: Names of files or folders that tell it.

    Returns:
        The folder, or None if there is none.

    Raises:
        DatasetError: If there are several.
    """
    children = _subfolders(root)
    folders = [root, *children, *(below for child in children for below in _subfolders(child))]
    found = [folder for folder in folders if any((folder / name).exists() for name in names)]
    if len(found) > 1:
        raise DatasetError(
            f"{found[0]} and {found[1]} both have {' or '.join(names)}. Keep one, or say where the annotations are "
            "with annotations in sync.toml [dataset.assembly101]"
        )
    return found[0] if found else None


def read_classes(path: Path) -> tuple[str, ...]:
    """Names of an actions.csv in order of their ids, which begin at 0.

    Raises:
        DatasetError: If it isn't such a file, or ids aren't 0, 1, 2 … each once.
    """
    names: dict[int, str] = {}
    for where, (number, name) in _rows(path, ("action_id", "action_cls")):
        action_id = _whole(number, where, "action_id")
        if action_id in names:
            raise DatasetError(f"{where}: action_id {action_id} is there already, for {names[action_id]!r}")
        if not name.strip():
            raise DatasetError(f"{where}: action_cls is empty")
        names[action_id] = name.strip()
    if sorted(names) != list(range(len(names))) or not names:
        missing = next(number for number in range(len(names) + 1) if number not in names)
        raise DatasetError(f"{path}: has no action_id {missing}; expected 0, 1, 2 … without a hole")
    return tuple(names[action_id] for action_id in range(len(names)))


def read_coarse_classes(path: Path) -> tuple[str, ...]:
    """The classes of coarse segments, as `read_classes`; no name stands for two.

    Raises:
        DatasetError: As `read_classes`, or if a name is there twice.
    """
    names = read_classes(path)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DatasetError(f"{path}: action_cls {twice!r} is there twice; a label wouldn't tell which it is")
    return names


def read_coarse(path: Path, classes: Sequence[str]) -> Segments | None:
    """Read a coarse label file: start, end and label a line, separated by tabs, with one more at the line's end.

    Args:
        path: `{assembly|disassembly}_<recording>.txt`.
        classes: The labels that may occur.

    Returns:
        The segments, or None if the file has no label at all: those of the test split are withheld.

    Raises:
        DatasetError: If a line is malformed, has another label, or doesn't begin where the one above it ends.
    """
    lines = [(f"{path} line {number}", line) for number, line in enumerate(read_lines(path), start=1) if line]
    rows = [(where, [field.strip() for field in line.split("\t")]) for where, line in lines]
    if rows and all(len(fields) == 2 for _, fields in rows):
        for where, (start_text, stop_text) in rows:
            _whole(start_text, where, "start_frame")
            _whole(stop_text, where, "end_frame")
        return None
    frames: list[tuple[int, int]] = []
    for where, fields in rows:
        if len(fields) != 3:
            raise DatasetError(
                f"{where}: expected start_frame, end_frame and label separated by tabs, got {' '.join(fields)[:60]!r}"
            )
        start, stop = _whole(fields[0], where, "start_frame"), _whole(fields[1], where, "end_frame")
        if stop <= start:
            raise DatasetError(f"{where}: end_frame must be after start_frame, got {stop} and {start}")
        if frames and start != frames[-1][1]:
            raise DatasetError(
                f"{where}: start_frame must be {frames[-1][1]}, where the segment above it ends, got {start}"
            )
        _check_label(fields[2], classes, where, "label")
        frames.append((start, stop))
    if not frames:
        raise DatasetError(f"{path}: the file is empty; expected start_frame, end_frame and label a line")
    return Segments(
        start_ns=np.array([_frame_ns(start) for start, _ in frames], dtype=np.int64),
        stop_ns=np.array([_frame_ns(stop) for _, stop in frames], dtype=np.int64),
        labels=tuple(fields[2] for _, fields in rows),
    )


def read_fine(folder: Path, classes: Sequence[str] | None) -> Mapping[str, list[Action]]:
    """Read the fine-grained actions of all recordings: about a million lines, a few seconds.

    A line is an action in one view. Those of the other views are the same, and left out. The last frame belongs to
    the action (gen_fine_labels.py of assembly101-action-recognition counts end − start + 1 frames).

    Args:
        folder: Holds at least one of `FINE_FILES`.
        classes: The labels that may occur; None for any.

    Returns:
        By recording, in order of their start.

    Raises:
        DatasetError: If a line is malformed or has another label.
    """
    seen: set[tuple[str, str, str, str]] = set()
    actions: dict[str, list[Action]] = {}
    known = None if classes is None else dict.fromkeys(classes)
    for path in (folder / name for name in FINE_FILES):
        if not os.path.lexists(path) or (path.name == "test.csv" and "action_cls" not in _header(path)):
            continue
        for where, (video, start_text, stop_text, label) in _rows(path, _FINE_COLUMNS):
            recording = video.rpartition("/")[0]
            if (key := (recording, start_text, stop_text, label)) in seen:
                continue
            seen.add(key)
            start, last = _whole(start_text, where, "start_frame"), _whole(stop_text, where, "end_frame")
            if last < start:
                raise DatasetError(
                    f"{where}: end_frame must not be before start_frame, got {last} and {start}"
                )
            if not recording:
                raise DatasetError(f"{where}: video must be <recording>/<camera>.mp4, got {video[:60]!r}")
            if known is not None:
                _check_label(label, known, where, "action_cls")
            action = Action(start_ns=_frame_ns(start), stop_ns=_frame_ns(last + 1), label=label)
            actions.setdefault(recording, []).append(action)
    return {name: sorted(found, key=lambda action: action.start_ns) for name, found in actions.items()}


def read_fine_classes(folder: Path) -> tuple[str, ...] | None:
    """Names of the fine-grained actions in order of their ids, or None without the list. Equal names are one."""
    path = folder / ACTIONS
    return first_seen(read_classes(path)) if path.is_file() else None


def _frame_ns(frame: int) -> int:
    return seconds_to_ns(Fraction(frame, FPS))


def _whole(text: str, where: str, column: str) -> int:
    plain = text.strip()
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 12):
        raise DatasetError(f"{where}: {column} must be a whole number, got {plain[:40]!r}")
    if (number := int(plain)) > MAX_SECONDS * FPS:
        raise DatasetError(
            f"{where}: {column} is {number}, more than {MAX_SECONDS * FPS}: more than a recording has"
        )
    return number


def _check_label(label: str, known: "Sequence[str] | Mapping[str, None]", where: str, column: str) -> None:
    if label not in known:
        near = difflib.get_close_matches(label, list(known), n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise DatasetError(f"{where}: {column} {label[:60]!r} isn't in {ACTIONS}{hint}")


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The asked columns of a CSV file, each row with its file and line; blank lines are skipped."""
    with _opened(path) as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        if missing := [name for name in columns if name not in header]:
            raise DatasetError(
                f"{path}: no column {missing[0]!r}; the first line must name {', '.join(columns)}"
            )
        places = [header.index(name) for name in columns]
        for row in reader:
            if len(row) >= len(header):
                yield f"{path} line {reader.line_num}", tuple(row[place] for place in places)
            elif row:
                raise DatasetError(
                    f"{path} line {reader.line_num}: expected {len(header)} columns, got {len(row)}"
                )


def _header(path: Path) -> str:
    with _opened(path) as file:
        return file.readline()


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A CSV file to be read line by line, as it may be too large to be read whole."""
    try:
        if is_special(path):
            raise OSError("it isn't a file but a pipe or a device")
        if (size_bytes := path.stat().st_size) > MAX_CSV_BYTES:
            raise OSError(f"it has {size_bytes} bytes, more than {MAX_CSV_BYTES}")
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except FileNotFoundError:
        raise DatasetError(f"{path}: there is no such file") from None
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DatasetError(f"{path}: can't be read as CSV ({error})") from None


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [folder / name for name in sorted(names) if name != "recordings"]
