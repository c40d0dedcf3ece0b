"""Anyone's own recordings in plain folders.

videos/<recording>/<view>.<ext>
labels/<recording>.csv              segments: start_seconds,stop_seconds,label
labels/<recording>.txt              or one label a line, at dataset.label_fps
actions/<recording>.csv             optional: fine-grained segments, to fine-tune a backbone on
splits/<split>.txt                  one recording a line
classes.txt                         optional: one class a line, in order of their ids
offsets.csv                         optional: recording,view,offset_seconds
recordings.csv                      optional metadata: recording,procedure,…
"""

import csv
import difflib
import io
import os
from fractions import Fraction
from functools import cached_property
from pathlib import Path

from sync_store.datasets.base import Action, LabeledSequence, VideoSource, actions_of, open_root
from sync_store.errors import DatasetError, VideoError
from sync_store.labels import parse_decimal, read_frames, read_segments, segments_of_frames
from sync_store.names import check_name
from sync_store.project import Project
from sync_store.splits import read_lines, read_split

VIDEO_SUFFIXES = {
    ".mp4",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".m2ts",
    ".mts",
    ".flv",
    ".wmv",
    ".h264",
    ".hevc",
}


class FolderDataset:
    """See the module's text for the layout; methods are those of `Dataset`.

    An optional file that is a link to nothing is an error: it was meant to be there.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._root = open_root(project)
        self.label_rate = project.dataset.label_rate
        self.background = project.dataset.background

    def recordings(self) -> list[str]:
        """Names of the folders below videos/, sorted."""
        videos = self._root / "videos"
        if not videos.is_dir():
            raise DatasetError(f"{videos}: there is no such folder; expected videos/<recording>/<view>.mp4")
        names = sorted(entry.name for entry in videos.iterdir() if entry.is_dir())
        return [check_name("recording", name, DatasetError) for name in names if not name.startswith(".")]

    def video(self, recording: str, view: str) -> VideoSource:
        """The one file videos/<recording>/<view>.* with a video's suffix."""
        check_name("recording", recording, VideoError)
        folder = self._root / "videos" / recording
        config = self._project.view(view)
        found = sorted(
            entry
            for entry in (folder.iterdir() if folder.is_dir() else ())
            if entry.stem == view and entry.suffix.lower() in VIDEO_SUFFIXES
        )
        if not found:
            raise VideoError(f"recording {recording}, view {view}: no video; expected {folder / view}.mp4")
        if len(found) > 1:
            names = ", ".join(entry.name for entry in found)
            raise VideoError(f"recording {recording}, view {view}: several videos ({names}); keep one")
        offset = config.offset + self._offsets.get((recording, view), Fraction(0))
        return VideoSource(recording=recording, view=view, path=found[0], offset=offset, clock=config.clock)

    def labeled(self, recording: str) -> list[LabeledSequence]:
        """The recording as one sequence, from labels/<recording>.csv or .txt."""
        check_name("recording", recording, DatasetError)
        csv_path, txt_path = (self._root / "labels" / f"{recording}{suffix}" for suffix in (".csv", ".txt"))
        has_csv, has_txt = os.path.lexists(csv_path), os.path.lexists(txt_path)
        if has_csv and has_txt:
            raise DatasetError(
                f"recording {recording}: both {csv_path.name} and {txt_path.name} exist; keep one"
            )
        if has_csv:
            segments = read_segments(csv_path)
        elif has_txt:
            segments = segments_of_frames(read_frames(txt_path), self.label_rate)
        else:
            return []
        return [LabeledSequence(name=recording, recording=recording, segments=segments)]

    def actions(self, recording: str) -> list[Action]:
        """The segments of actions/<recording>.csv, or else those of the recording's labels."""
        check_name("recording", recording, DatasetError)
        path = self._root / "actions" / f"{recording}.csv"
        of_labels = [sequence.segments for sequence in self.labeled(recording)]
        found = [read_segments(path)] if os.path.lexists(path) else of_labels
        return [action for segments in found for action in actions_of(segments, self.background)]

    def action_classes(self) -> tuple[str, ...] | None:
        """None: the classes are those that occur."""
        return None

    def split(self, name: str) -> list[str]:
        """The lines of splits/<name>.txt."""
        return read_split(self._project.splits_path, name)

    def classes(self) -> tuple[str, ...] | None:
        """The lines of classes.txt."""
        path = self._root / "classes.txt"
        if not os.path.lexists(path):
            return None
        names = tuple(line for line in read_lines(path) if line)
        if len(set(names)) < len(names) or not names:
            raise DatasetError(f"{path}: expected one class a line, each once; got {len(names)} lines")
        return names

    def procedure(self, recording: str) -> str | None:
        """Column `procedure` of recordings.csv."""
        return self._procedures.get(recording)

    @cached_property
    def _offsets(self) -> dict[tuple[str, str], Fraction]:
        path = self._root / "offsets.csv"
        offsets: dict[tuple[str, str], Fraction] = {}
        known = {"recording": self.recordings(), "view": list(self._project.views)}
        for line, row in _rows(path, ("recording", "view", "offset_seconds")):
            key = row["recording"].strip(), row["view"].strip()
            for (kind, names), name in zip(known.items(), key, strict=True):
                if name not in names:
                    near = difflib.get_close_matches(name, names, n=1)
                    hint = f" (did you mean {near[0]!r}?)" if near else ""
                    raise DatasetError(
                        f"{path} line {line}: there is no {kind} {name!r}{hint}. Correct the line, or delete it"
                    )
            if key in offsets:
                raise DatasetError(
                    f"{path} line {line}: a second offset of recording {key[0]}, view {key[1]}"
                )
            offsets[key] = parse_decimal(row["offset_seconds"], f"{path} line {line}", "offset_seconds")
        return offsets

    @cached_property
    def _procedures(self) -> dict[str, str]:
        path = self._root / "recordings.csv"
        return {
            row["recording"].strip(): row["procedure"].strip()
            for _, row in _rows(path, ("recording", "procedure"))
        }


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The rows of an optional CSV file with their line numbers; none if the file doesn't exist."""
    if not os.path.lexists(path):
        return []
    try:
        return _parse_rows(csv.DictReader(io.StringIO("\n".join(read_lines(path)))), path, columns)
    except csv.Error as error:
        raise DatasetError(f"{path}: can't be read as CSV ({error})") from None


def _parse_rows(
    reader: "csv.DictReader[str]", path: Path, columns: tuple[str, ...]
) -> list[tuple[int, dict[str, str]]]:
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise DatasetError(f"{path}: no column {missing[0]!r}; expected {', '.join(columns)}")
    rows = []
    for row in reader:
        if any(row[name] is None for name in columns):
            raise DatasetError(f"{path} line {reader.line_num}: expected {len(columns)} columns or more")
        rows.append((reader.line_num, row))
    return rows
