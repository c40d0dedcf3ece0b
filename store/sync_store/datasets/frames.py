"""The field's folders of features and frame labels: Breakfast, 50Salads, GTEA and others of that form.

features/<recording>.npy            (D, T), to be imported into the store
groundTruth/<recording>.txt         one label a line, at dataset.label_fps
mapping.txt                         optional: "<id> <class>" a line, ids from 0
splits/<split>.bundle               "<recording>.txt" a line; the split train.split1 is train.split1.bundle

Rows and labels are counted from the video's first frame. Videos aren't part of it.
"""

import re
from functools import cached_property

from sync_store.datasets.base import Action, LabeledSequence, VideoSource, actions_of, open_root
from sync_store.errors import DatasetError, NoVideoError
from sync_store.labels import read_frames, segments_of_frames
from sync_store.names import check_name
from sync_store.project import Project
from sync_store.splits import read_lines, read_split

_SMALL_NUMBER = re.compile(r"[0-9]{1,9}")


class FramesDataset:
    """See the module's text for the layout; methods are those of `Dataset`, and one for its features."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._root = open_root(project)
        self.label_rate = project.dataset.label_rate
        self.background = project.dataset.background

    def recordings(self) -> list[str]:
        """Names of the files in features/, or else in groundTruth/, sorted."""
        for folder, suffix in (("features", ".npy"), ("groundTruth", ".txt")):
            names = sorted(
                path.name.removesuffix(suffix) for path in (self._root / folder).glob(f"*{suffix}")
            )
            if names := [name for name in names if not name.startswith(".")]:
                where = f"{self._root / folder}: recording"
                return [check_name(where, name, DatasetError) for name in names]
        raise DatasetError(
            f"{self._root}: neither features/<recording>.npy nor groundTruth/<recording>.txt is there. root in "
            "sync.toml [dataset] must be the folder of one dataset, such as data/breakfast"
        )

    def video(self, recording: str, view: str) -> VideoSource:
        """Always raises."""
        self._project.view(view)
        raise NoVideoError(
            f"recording {recording}, view {view}: this dataset has features and no videos. Import them with: "
            "sync-extract import npy"
        )

    def labeled(self, recording: str) -> list[LabeledSequence]:
        """The one sequence of groundTruth/<recording>.txt, or none without such a file."""
        labels = self._labels(recording)
        if not labels:
            return []
        segments = segments_of_frames(labels, self.label_rate)
        return [LabeledSequence(name=recording, recording=recording, segments=segments)]

    def num_labels(self, recording: str) -> int:
        """Lines of groundTruth/<recording>.txt; 0 without such a file."""
        return len(self._labels(recording))

    def actions(self, recording: str) -> list[Action]:
        """The segments of the labels."""
        return [
            action
            for sequence in self.labeled(recording)
            for action in actions_of(sequence.segments, self.background)
        ]

    def action_classes(self) -> tuple[str, ...] | None:
        """Those of the labels."""
        return self.classes()

    def split(self, name: str) -> list[str]:
        """The lines of splits/<name>.bundle, or of <name>.txt."""
        return read_split(self._project.splits_path, name)

    def classes(self) -> tuple[str, ...] | None:
        """The classes of mapping.txt, or None without such a file."""
        return self._classes

    def procedure(self, recording: str) -> str | None:
        """None: no file says it."""
        return None

    @cached_property
    def _classes(self) -> tuple[str, ...] | None:
        path = self._root / "mapping.txt"
        if not path.exists():
            return None
        names: dict[int, str] = {}
        for number, line in enumerate(read_lines(path), start=1):
            if not line:
                continue
            identity, _, name = line.partition(" ")
            if not (_SMALL_NUMBER.fullmatch(identity) and name.strip()):
                raise DatasetError(f"{path} line {number}: expected '<id> <class>', got {line[:60]!r}")
            if int(identity) in names or name.strip() in names.values():
                raise DatasetError(f"{path} line {number}: {line[:60]!r}: this id or class is there already")
            names[int(identity)] = name.strip()
        if sorted(names) != list(range(len(names))) or not names:
            raise DatasetError(f"{path}: ids must be 0, 1, 2 … without a hole, got {sorted(names)[:8]}")
        return tuple(names[index] for index in range(len(names)))

    def _labels(self, recording: str) -> list[str]:
        check_name("recording", recording, DatasetError)
        path = self._root / "groundTruth" / f"{recording}.txt"
        if not path.exists():
            return []
        labels = read_frames(path)
        if self._classes is not None and (unknown := set(labels).difference(self._classes)):
            line, label = next((at, name) for at, name in enumerate(labels, start=1) if name in unknown)
            raise DatasetError(
                f"{path} line {line}: class {label[:60]!r} isn't in {self._root / 'mapping.txt'}"
            )
        return labels
