"""What every dataset offers the stages."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

from sync_store.errors import DatasetError
from sync_store.labels import Segments, segments_to_csv
from sync_store.project import Project


@dataclass(frozen=True, kw_only=True)
class VideoSource:
    """One view's video of one recording, and how its time becomes the recording's."""

    recording: str
    view: str
    path: Path
    offset: Fraction = Fraction(0)
    """Seconds to add to the file's time."""
    clock: Literal["container", "stream-start"] = "container"
    """See `sync_store.dataset_config.ViewConfig.clock`."""


@dataclass(frozen=True, kw_only=True)
class LabeledSequence:
    """The unit of training and scoring: a stretch of one recording with labels.

    A recording has one, or several where its labels are in several files (Assembly101's assembly and
    disassembly). Splits go by recording.
    """

    name: str
    recording: str
    segments: Segments


@dataclass(frozen=True, kw_only=True)
class Action:
    """A fine-grained action, on which backbones are fine-tuned. Actions of a recording may overlap."""

    start_ns: int
    """Nanoseconds on the recording's clock, inclusive."""
    stop_ns: int
    """Exclusive."""
    label: str


def open_root(project: Project) -> Path:
    """The dataset's folder.

    Raises:
        DatasetError: If it isn't there.
    """
    if not project.dataset_root.is_dir():
        raise DatasetError(f"{project.file}: dataset root {project.dataset_root} isn't a folder")
    return project.dataset_root


def actions_of(segments: Segments, background: tuple[str, ...]) -> list[Action]:
    """Segments as actions, without those of background classes."""
    return [
        Action(start_ns=int(start_ns), stop_ns=int(stop_ns), label=label)
        for start_ns, stop_ns, label in zip(segments.start_ns, segments.stop_ns, segments.labels, strict=True)
        if label not in background
    ]


class Dataset(Protocol):
    """The files of one dataset. Nothing is read before it is asked for: labels in particular."""

    @property
    def label_rate(self) -> Fraction:
        """Frames a second of the label grid."""

    @property
    def background(self) -> tuple[str, ...]:
        """Classes that are neither trained on nor scored."""

    def recordings(self) -> list[str]:
        """Every recording that has videos, sorted."""

    def video(self, recording: str, view: str) -> VideoSource:
        """The video of one view.

        Raises:
            NoVideoError: If there is none, where recordings without some views are normal.
            VideoError: If there is none, or more than one.
        """

    def labeled(self, recording: str) -> list[LabeledSequence]:
        """The labelled sequences of a recording; none if it has no labels.

        Raises:
            DatasetError: If its label file is malformed.
        """

    def actions(self, recording: str) -> list[Action]:
        """Fine-grained actions of a recording in order of their start; none if it has no labels.

        Raises:
            DatasetError: If its label file is malformed.
        """

    def action_classes(self) -> tuple[str, ...] | None:
        """The stated list of fine-grained classes in order of their ids, or None if none is stated."""

    def split(self, name: str) -> list[str]:
        """Recordings of a split, in the file's order.

        Raises:
            DatasetError: If there is no such split, it is empty, or it names a recording twice.
        """

    def classes(self) -> tuple[str, ...] | None:
        """The stated list of classes in order of their ids, or None if the dataset states none."""

    def procedure(self, recording: str) -> str | None:
        """What is done in the recording (toy and direction, recipe), where metadata say so."""


def labels_digest(dataset: Dataset, names: Iterable[str]) -> str:
    """SHA-256 over the labelled sequences of recordings."""
    digest = hashlib.sha256()
    for name in names:
        for sequence in dataset.labeled(name):
            digest.update(sequence.name.encode() + b"\0" + segments_to_csv(sequence.segments))
    return digest.hexdigest()
