"""Features in LMDB, one key a frame: Assembly101's TSM release, and the flat keys of the paper's script.

Nested, a file for each camera: `TSM_features/<camera>/data.mdb` with keys `<recording>/<camera>/<camera>_<frame>.jpg`
and values of 2,048 float32. Flat: `<recording>_<frame>.jpg`, 1,024 float32. Frames have ten digits and count from 1
at 30 a second. A frame may be missing (Assembly101: frame 5069 of a recording); its row is missing then, too.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sync_extract.importing.lmdb_file import (
    Scan,
    Track,
    as_text,
    key_of,
    read_numbers,
    read_values,
    scan_keys,
)
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
from sync_store.datasets.assembly101 import CAMERAS
from sync_store.errors import DatasetError
from sync_store.project import Project

DATA = "data.mdb"

TSM_DIM = 2048
"""Width of the release; others have published DINOv2 features of Assembly101 with such keys, 1,536 wide."""

TSM_TRAINED_ON = (
    "fine-grained action labels of Assembly101's training recordings, in all 12 views, the 4 ego views among them",
)
"""Of the released TSM features, by their authors (assembly101-action-recognition, issue 6)."""


def open_lmdb(
    path: Path, project: Project, dataset: Dataset, *, views: list[str], fps: Fraction, first_key: int
) -> Source:
    """Find what LMDB files hold.

    Args:
        path: A file, the folder of a data.mdb, or a folder of such folders.
        project: Whose views the keys' cameras are mapped to.
        dataset: Its dataset.
        views: Views that are asked for; empty for all.
        fps: Rate that the keys' numbers count at.
        first_key: Number of the stream's first frame.

    Raises:
        DatasetError: If a file can't be read, or a key isn't of the expected form.
    """
    files = find_files(path)
    cameras = _views_of_cameras(project)
    forced = views[0] if len(files) == 1 and len(views) == 1 else None
    wanted = views or list(project.views)
    source = _Collector(project=project, dataset=dataset, fps=fps, first_key=first_key)
    others: dict[str, None] = {}
    for file in files:
        if len(files) > 1 and cameras.get(file.parent.name, wanted[0]) not in wanted:
            others[file.parent.name] = None  # tens of gigabytes whose keys needn't be read
            continue
        scan = scan_keys(file)
        for track in scan.tracks:
            if track.camera is None:
                view = single_view(project, views, f"{file}: flat keys")
            else:
                view = cameras.get(track.camera) or forced or ""
            if view in wanted:
                source.add(scan, track, view)
            else:
                others[track.camera or ""] = None
    if not source.items and not source.failures:
        raise DatasetError(
            f"{path}: has no keys of view {', '.join(wanted)}; it has cameras {', '.join(others) or 'none'}. "
            "Name the view with --view, for one file at a time"
        )
    return source.finish(path, list(others))


def find_files(path: Path) -> list[Path]:
    """The LMDB files of a folder.

    Raises:
        DatasetError: If there is none.
    """
    if path.is_file():
        return [path]
    if (path / DATA).is_file():
        return [path / DATA]
    if files := sorted(path.glob(f"*/{DATA}")):
        return files
    zips = sorted(file.name for file in path.glob("*.zip"))
    hint = f". Unpack {zips[0]} first" if zips else ""
    raise DatasetError(f"{path}: no {DATA} in it or in a folder below it{hint}")


@dataclass(kw_only=True)
class _Collector:
    """Puts tracks of several files together to one source."""

    project: Project
    dataset: Dataset
    fps: Fraction
    first_key: int

    def __post_init__(self) -> None:
        self.items: list[Item] = []
        self.failures: list[Failure] = []
        self._first_scan: Scan | None = None
        self._tracks: dict[tuple[str, str], Track] = {}
        self._nested = False

    def add(self, scan: Scan, track: Track, view: str) -> None:
        """One more recording, or its failure."""
        where = (view, track.recording)
        first = self._first_scan = self._first_scan or scan
        if (before := self._tracks.setdefault(where, track)) is not track:
            self.items = [item for item in self.items if (item.view, item.recording) != where]
            keys = f"keys {as_text(before.prefix)}… and {as_text(track.prefix)}…"
            self._fail(
                where, f"{scan.file}: the recording is there twice, {keys}. Import one of them, by its folder"
            )
        elif scan.feature_dim != first.feature_dim:
            self._fail(
                where, f"{scan.file} has {scan.feature_dim} values a key, {first.file} {first.feature_dim}"
            )
        elif (number := track.first) < self.first_key:
            key = as_text(key_of(track.prefix, number))
            self._fail(
                where,
                f"{scan.file}: key {key} is frame {number}, below the first, {self.first_key}. If the first frame is "
                f"{number}, say so with --first-key {number}",
            )
        else:
            self._nested = self._nested or track.camera is not None
            offset = offset_of(self.project, self.dataset, track.recording, view)
            self.items.append(
                Item(
                    view=view,
                    recording=track.recording,
                    path=scan.file,
                    expected_rows=track.last - track.first + 1,
                    source={**scan.stamp, "offset_seconds": str(offset)},
                    sha256=None,
                    open=lambda: self._rows(scan, track, offset),
                )
            )

    def finish(self, path: Path, others: list[str]) -> Source:
        """The source of all that was added."""
        assert self._first_scan is not None
        feature_dim = self._first_scan.feature_dim
        is_assembly101 = self.project.dataset.kind == "assembly101"
        is_release = is_assembly101 and self._nested and feature_dim == TSM_DIM
        folder = (path.parent if path.is_file() else path).resolve()
        return Source(
            name="tsm" if is_release else folder.name,
            release="assembly101-tsm" if is_release else None,
            recipe={"grid_fps": str(self.fps), "first_key": self.first_key, "dtype": "float32"},
            feature_dim=feature_dim,
            trained_on=TSM_TRAINED_ON if is_release else (),
            items=self.items,
            failures=self.failures,
            notes=[f"not imported, since no such view is asked for: {', '.join(others)}"] if others else [],
        )

    def _rows(self, scan: Scan, track: Track, offset: Fraction) -> Rows:
        check_seconds(track.last - self.first_key, self.fps, f"{scan.file}: key {as_text(track.prefix)}…")
        numbers = read_numbers(scan, track)
        return Rows(
            timestamps=frame_times(numbers - self.first_key, self.fps, offset),
            about={"num_missing": track.last - track.first + 1 - len(numbers), "first_number": track.first},
            blocks=lambda start: read_values(scan, track.prefix, numbers[start:]),
        )

    def _fail(self, where: tuple[str, str], message: str) -> None:
        self.failures.append(Failure(view=where[0], recording=where[1], message=message))


def _views_of_cameras(project: Project) -> dict[str, str]:
    """View of each camera's name in keys; a view's own name stands for itself."""
    views = {name: name for name in project.views}
    if project.dataset.kind == "assembly101":
        views |= {camera: view for view, cameras in CAMERAS.items() for camera in cameras}
    return views
