"""Assembly101 as released (https://assembly-101.github.io).

recordings/<recording>/C10118_rgb.mp4                     v3: fixed cameras
recordings/<recording>/HMC_84358933_mono10bit.mp4         e4: head cameras, of one of two headsets
…/coarse-annotations/coarse_labels/assembly_<recording>.txt, disassembly_<recording>.txt
…/coarse-annotations/actions.csv                          202 classes; the first, "inspect toy", is one like any other
…/fine-grained-annotations/{train,validation}.csv         fine-grained actions, on which backbones are fine-tuned
…/fine-grained-annotations/actions.csv                    1,380 classes

Annotations are looked for up to two folders below root, or where [dataset.assembly101] annotations says.
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from sync_store.config import suggest
from sync_store.datasets.assembly101.annotations import (
    ACTIONS,
    COARSE_LABELS,
    FINE_FILES,
    find_folder,
    read_coarse,
    read_coarse_classes,
    read_fine,
    read_fine_classes,
)
from sync_store.datasets.base import Action, LabeledSequence, VideoSource, open_root
from sync_store.datasets.folder import VIDEO_SUFFIXES
from sync_store.errors import DatasetError, NoVideoError, ProjectError, VideoError
from sync_store.labels import ns_to_text
from sync_store.names import check_name
from sync_store.project import Project
from sync_store.splits import read_split

CAMERAS: Mapping[str, tuple[str, ...]] = {
    "v1": ("C10095_rgb",),
    "v2": ("C10115_rgb",),
    "v3": ("C10118_rgb",),
    "v4": ("C10119_rgb",),
    "v5": ("C10379_rgb",),
    "v6": ("C10390_rgb",),
    "v7": ("C10395_rgb",),
    "v8": ("C10404_rgb",),
    "e1": ("HMC_84346135_mono10bit", "HMC_21176875_mono10bit"),
    "e2": ("HMC_84347414_mono10bit", "HMC_21176623_mono10bit"),
    "e3": ("HMC_84355350_mono10bit", "HMC_21110305_mono10bit"),
    "e4": ("HMC_84358933_mono10bit", "HMC_21179183_mono10bit"),
}
"""Names of a view's files without their suffix: a recording was filmed with one of two headsets
(assembly101-download-scripts, README)."""

DIRECTIONS = ("assembly", "disassembly")
"""What is done in a labelled sequence; a recording may have one, or both one after the other."""

_TOY = re.compile(r"_\d+-([a-z]\d+[a-z]?)_")
"""In nusar-2021_action_both_9033-a30_9033_user_id_2021-02-04_131528 it is a30."""


class Assembly101Dataset:
    """See the module's text for the layout; methods are those of `Dataset`."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._root = open_root(project)
        self.label_rate = project.dataset.label_rate
        self.background = project.dataset.background

    def recordings(self) -> list[str]:
        """Folders that hold a video of a view of the project, sorted; without any, the recordings with labels."""
        found = sorted(self._filmed()) or (self._labelled() if self._coarse is not None else [])
        if not found:
            raise DatasetError(
                f"{self._videos}: no folder in it holds a video of a view in sync.toml; "
                f"expected <recording>/{CAMERAS['v3'][0]}.mp4 and the like"
            )
        return [check_name(f"{self._videos}: recording", name, DatasetError) for name in found]

    def video(self, recording: str, view: str) -> VideoSource:
        """The one file of the view's camera, of whichever headset."""
        check_name("recording", recording, VideoError)
        config = self._project.view(view)
        cameras = self._cameras(view)
        folder = self._videos / recording
        found = sorted(
            entry
            for entry in (folder.iterdir() if folder.is_dir() else ())
            if entry.stem in cameras and entry.suffix.lower() in VIDEO_SUFFIXES
        )
        if not found:
            expected = " or ".join(f"{camera}.mp4" for camera in cameras)
            raise NoVideoError(
                f"recording {recording}, view {view}: no video; expected {expected} in {folder}"
            )
        if len(found) > 1:
            names = ", ".join(entry.name for entry in found)
            raise VideoError(f"recording {recording}, view {view}: several videos ({names}); keep one")
        return VideoSource(
            recording=recording, view=view, path=found[0], offset=config.offset, clock=config.clock
        )

    def labeled(self, recording: str) -> list[LabeledSequence]:
        """Assembly and disassembly, named as their files, in order of time; none where labels are withheld."""
        check_name("recording", recording, DatasetError)
        sequences = []
        for name in (f"{direction}_{recording}" for direction in DIRECTIONS):
            path = self._needed_coarse / COARSE_LABELS / f"{name}.txt"
            segments = read_coarse(path, self._classes) if os.path.lexists(path) else None
            if segments is not None:
                sequences.append(LabeledSequence(name=name, recording=recording, segments=segments))
        sequences.sort(key=lambda sequence: sequence.segments.span_ns)
        for first, second in itertools.pairwise(sequences):
            stop_ns, start_ns = first.segments.span_ns[1], second.segments.span_ns[0]
            if start_ns < stop_ns:
                raise DatasetError(
                    f"{self._needed_coarse / COARSE_LABELS}: {first.name}.txt ends at {ns_to_text(stop_ns)} s, after "
                    f"{second.name}.txt begins at {ns_to_text(start_ns)} s; expected one after the other"
                )
        return sequences

    def actions(self, recording: str) -> list[Action]:
        """Fine-grained actions, once for all views; none for a recording that their files don't name."""
        return self._fine_actions.get(recording, [])

    def action_classes(self) -> tuple[str, ...] | None:
        """The list of the fine-grained annotations."""
        return read_fine_classes(self._needed_fine)

    def split(self, name: str) -> list[str]:
        """The lines of <name>.txt in the project's folder of splits: recordings, or their sequences' label files."""
        return read_split(self._project.splits_path, name, recording_of)

    def classes(self) -> tuple[str, ...] | None:
        """The list of the coarse annotations."""
        return self._classes

    def procedure(self, recording: str) -> str | None:
        """The toy's id, such as a30, which stands in a recording's name; None where it doesn't.

        The split files state toys as well, but not those of the test split. What is done with the toy differs within
        a recording: the names of its sequences say it.
        """
        found = _TOY.search(recording)
        return found.group(1) if found else None

    def _cameras(self, view: str) -> tuple[str, ...]:
        if view not in CAMERAS:
            raise ProjectError(
                f"{self._project.file}: Assembly101 has no view {view!r}{suggest(view, list(CAMERAS))}"
            )
        return CAMERAS[view]

    def _filmed(self) -> Iterator[str]:
        cameras = {camera for view in self._project.views for camera in self._cameras(view)}
        for folder in self._videos.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                files = folder.iterdir()
                if any(file.stem in cameras and file.suffix.lower() in VIDEO_SUFFIXES for file in files):
                    yield folder.name

    def _labelled(self) -> list[str]:
        files = (self._needed_coarse / COARSE_LABELS).glob("*.txt")
        names = (
            file.stem for file in files if file.stem.startswith(tuple(f"{name}_" for name in DIRECTIONS))
        )
        return sorted(set(map(recording_of, names)))

    @property
    def _videos(self) -> Path:
        folder = self._root / "recordings"
        return folder if folder.is_dir() else self._root

    @cached_property
    def _annotations(self) -> Path:
        below = self._project.dataset.assembly101.annotations
        folder = self._root if below is None else self._project.folder / below
        if not folder.is_dir():
            raise DatasetError(
                f"{self._project.file} [dataset.assembly101]: annotations {folder} isn't a folder"
            )
        return folder

    @cached_property
    def _coarse(self) -> Path | None:
        return find_folder(self._annotations, (COARSE_LABELS,))

    @cached_property
    def _needed_coarse(self) -> Path:
        return self._needed(self._coarse, "coarse-annotations", COARSE_LABELS)

    @cached_property
    def _needed_fine(self) -> Path:
        found = find_folder(self._annotations, FINE_FILES[:2])
        return self._needed(found, "fine-grained-annotations", " or ".join(FINE_FILES[:2]))

    def _needed(self, found: Path | None, name: str, content: str) -> Path:
        if found is None:
            raise DatasetError(
                f"{self._annotations}: neither it nor a folder up to two below it has {content}. Put the folder {name} "
                "of the release there, or name its place with annotations in sync.toml [dataset.assembly101]"
            )
        return found

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        return read_coarse_classes(self._needed_coarse / ACTIONS)

    @cached_property
    def _fine_actions(self) -> Mapping[str, list[Action]]:
        return read_fine(self._needed_fine, self.action_classes())


def recording_of(name: str) -> str:
    """The recording of a sequence's name, which begins with what is done in it; other names stand for themselves."""
    for direction in DIRECTIONS:
        if name.startswith(f"{direction}_"):
            return name.removeprefix(f"{direction}_")
    return name
