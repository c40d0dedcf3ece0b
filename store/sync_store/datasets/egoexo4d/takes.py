"""EgoExo4D's takes.json: what each take shows, and which cameras filmed it.

`frame_aligned_videos[camera][stream].relative_path` names a video below the take's folder. Streams of the Aria
glasses are rgb, slam-left, slam-right and et; other cameras have one, called 0. Frame i of all of them shows the
same moment. (EGO4D/Ego-Exo4D-docs, docs/data/metadata.md and takes.md.)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from sync_store.datasets.egoexo4d.json_files import (
    as_kind,
    field,
    is_true,
    optional_field,
    read_json,
    shorten,
)
from sync_store.errors import DatasetError
from sync_store.labels import MAX_SECONDS

PSEUDO_CAMERAS = ("best_exo", "collage")
"""Entries among the cameras that are pictures put together from several."""

MAIN_STREAMS = ("rgb", "0")
"""The stream that a camera's own name stands for: of the Aria glasses, and of all others."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One video of a take."""

    camera: str
    """As in the release: aria01, cam01, gp02."""
    stream: str
    """rgb, slam-left, slam-right or et of the Aria glasses, 0 of others."""
    path: PurePosixPath
    """Below the take's folder."""


@dataclass(frozen=True, kw_only=True)
class Take:
    """What takes.json says of a take."""

    name: str
    uid: str
    folder: PurePosixPath
    """Below the dataset's root."""
    task: str | None
    """`task_name`: Cooking an Omelet."""
    parent_task: str | None
    """`parent_task_name`: Cooking."""
    duration_seconds: Fraction | None
    """`duration_sec`; None where it isn't stated."""
    streams: Mapping[str, Stream]
    """By view: the camera's name for its main stream (cam01, aria01), else with the stream's (aria01-et)."""
    ego: str | None
    """The camera that is worn by who performs the task."""
    exo: tuple[str, ...]
    """All other cameras with a video, sorted."""


def read_takes(path: Path) -> list[Take]:
    """Read takes.json.

    Raises:
        DatasetError: If it is missing or malformed, or two takes have one name or one uid.
    """
    takes: list[Take] = []
    seen: set[tuple[str, str]] = set()
    for index, record in enumerate(as_kind(read_json(path, "metadata"), list, str(path))):
        take = _take(record, f"{path}: take {index}")
        for key in (("take_name", take.name), ("take_uid", take.uid)):
            if key in seen:
                raise DatasetError(f"{path}: take {index}: a second take has {key[0]} {key[1]!r}")
            seen.add(key)
        takes.append(take)
    return takes


def _take(record: Any, where: str) -> Take:
    name = field(record, "take_name", str, where)
    where = f"{where} ({name})"
    folder = optional_field(record, "root_dir", str, where) or name
    below_root = folder if folder.startswith("takes/") else f"takes/{folder}"
    streams = _streams(optional_field(record, "frame_aligned_videos", dict, where) or {}, where)
    mains = {stream.camera: stream for view, stream in streams.items() if view == stream.camera}
    worn = _worn(record, where)
    ego = sorted(
        (camera for camera, stream in mains.items() if stream.stream == "rgb" or camera in worn),
        # Glasses before a worn GoPro, and those of who performs the task before an observer's.
        key=lambda camera: (mains[camera].stream != "rgb", camera not in worn, camera),
    )
    return Take(
        name=name,
        uid=field(record, "take_uid", str, where),
        folder=_inside(below_root, f"{where}: root_dir"),
        task=optional_field(record, "task_name", str, where),
        parent_task=optional_field(record, "parent_task_name", str, where),
        duration_seconds=_duration(record),
        streams=streams,
        ego=ego[0] if ego else None,
        exo=tuple(sorted(set(mains) - set(ego))),
    )


def _streams(cameras: Mapping[str, Any], where: str) -> dict[str, Stream]:
    """The streams that have a video, by view."""
    found: dict[str, Stream] = {}
    for camera, record in cameras.items():
        if camera in PSEUDO_CAMERAS:
            continue
        at = f"{where}: frame_aligned_videos.{camera}"
        for stream in as_kind(record, dict, at):
            path = optional_field(record[stream], "relative_path", str, f"{at}.{stream}")
            if path is not None:
                view = camera if stream in MAIN_STREAMS else f"{camera}-{stream}"
                inside = _inside(path, f"{at}.{stream}.relative_path")
                found[view] = Stream(camera=camera, stream=stream, path=inside)
    return found


def _duration(record: Mapping[str, Any]) -> Fraction | None:
    """Seconds as written. Anything else than a plausible number is no duration: little depends on it."""
    seconds = record.get("duration_sec")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < MAX_SECONDS:
        return None
    return Fraction(str(seconds))


def _worn(record: Any, where: str) -> set[str]:
    """Cameras that the capture calls egocentric."""
    capture = optional_field(record, "capture", dict, where) or {}
    cameras = optional_field(capture, "cameras", list, f"{where}: capture") or []
    return {
        field(camera, "cam_id", str, f"{where}: capture.cameras")
        for camera in cameras
        if is_true(as_kind(camera, dict, f"{where}: capture.cameras").get("is_ego"))
    }


def _inside(text: str, where: str) -> PurePosixPath:
    """A path that can't lead out of the folder it is joined to.

    Links on the disk aren't followed for this check: whoever links a take's folder to another disk means it.
    """
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or any(c in text for c in "\\:\0"):
        raise DatasetError(f"{where} must be a path inside the folder of the dataset, got {shorten(text)}")
    return path
