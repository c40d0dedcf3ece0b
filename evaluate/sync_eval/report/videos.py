"""Which video files belong to a recording, and how the time of the page becomes the time of a file.

The page counts on the recording's clock. A file's own time is that less `offset_seconds`, from the container's zero
(`clock` container) or from the stream's first frame (`stream-start`). Browsers differ in where their `currentTime`
begins: Chromium 156 counts as the container does and starts at the first frame's time (measured), others call the
first frame 0. So the page measures at which time the browser shows the first frame, and is told here at which time
of the container that frame is, where extraction has recorded it. Without that, the container's zero is taken for
the browser's. Chromium also takes a file that begins at s seconds for s seconds shorter than it is, and doesn't go
into its last s seconds.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sync_eval.runs import Group
from sync_store.datasets import Dataset, VideoSource
from sync_store.errors import StoreError, VideoError
from sync_store.labels import first_seen
from sync_store.layout import METADATA
from sync_store.project import Project
from sync_store.reader import FeatureStore


@dataclass(frozen=True, kw_only=True)
class PageVideo:
    """One view's file, as the page needs it."""

    view: str
    kind: str
    """`exo` or `ego`."""
    src: str
    """Address of the file, relative to the page."""
    offset_seconds: float
    """Added to the file's time to get the recording's."""
    clock: str
    """`container` or `stream-start`."""
    first_seconds: float | None
    """Time of the first frame on the container's clock; None if nothing says it."""
    codec: str | None
    """Such as h264, for the message where a browser can't play it."""


def shown_views(project: Project, groups: Sequence[Group]) -> list[str]:
    """Views to show: those that were predicted on, and the project's first of a kind that has none among them."""
    predicted = first_seen(group.info.view for group in groups)
    kinds = {name: config.kind for name, config in project.views.items()}
    shown = [name for name in predicted if name in kinds]
    for kind in ("exo", "ego"):
        if kind not in {kinds[name] for name in shown}:
            shown += project.views_of_kind(kind)[:1]
    return sorted(shown, key=lambda name: (kinds[name] != "exo", list(kinds).index(name)))


class VideoFinder:
    """Finds the videos of recordings, as seen from the folder of the page."""

    def __init__(self, project: Project, dataset: Dataset, groups: Sequence[Group], folder: Path) -> None:
        """Look for the files of the views to show.

        Args:
            project: Its views and its store.
            dataset: Where the files are.
            groups: Which views were predicted, with which features.
            folder: Where the page will be.
        """
        self.views = shown_views(project, groups)
        self._project = project
        self._dataset = dataset
        self._folder = folder
        self._feature_sets = first_seen(
            name
            for group in groups
            for name in (group.info.feature_set, group.info.teacher_feature_set)
            if name is not None
        )
        has_store = (project.store_path / METADATA).is_file()
        self._store = FeatureStore(project.store_path) if has_store else None

    def videos(self, recording: str) -> list[PageVideo]:
        """Files of a recording, exo views first; views without one are left out."""
        found = []
        for view in self.views:
            try:
                source = self._dataset.video(recording, view)
            except VideoError:
                continue
            if source.path.is_file():
                found.append(self._describe(source))
        return found

    def _describe(self, source: VideoSource) -> PageVideo:
        recorded = self._recorded(source)
        return PageVideo(
            view=source.view,
            kind=self._project.view(source.view).kind,
            src=relative_address(source.path, self._folder),
            offset_seconds=float(source.offset),
            clock=source.clock,
            first_seconds=recorded.get("start_seconds"),
            codec=recorded.get("codec"),
        )

    def _recorded(self, source: VideoSource) -> dict[str, Any]:
        """What extraction recorded of this very file; empty if it recorded nothing, or another file."""
        for feature_set in self._feature_sets if self._store is not None else ():
            assert self._store is not None
            try:
                attributes = self._store.attributes(feature_set, source.view, source.recording)
            except StoreError:
                continue
            recorded: dict[str, Any] = attributes.get("provenance", {}).get("source", {})
            if recorded.get("size_bytes") == source.path.stat().st_size:
                return recorded
        return {}


def relative_address(path: Path, folder: Path) -> str:
    """Address of a file as a page in `folder` has to write it; all that means something in an address is quoted."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return quote(Path(relative).as_posix(), safe="/")
