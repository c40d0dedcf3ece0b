"""The videos that are asked for, and what they are called in folders that we make."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sync_store.datasets.folder import VIDEO_SUFFIXES
from sync_store.errors import VideoError
from sync_store.names import check_name

MAX_NAME_BYTES = 120

_FORBIDDEN = '/\\:*?"<>|'


@dataclass(frozen=True, kw_only=True)
class Video:
    """One video file."""

    path: Path
    """Absolute, by the name that it was given by: what a link leads to is often named by a digest."""
    name: str
    """Of the folder of its segments."""
    recording: str
    """In the work folder. Another one once the file has changed, so that old features are never taken for its own."""

    @property
    def suffix(self) -> str:
        """In small letters, with its dot."""
        return self.path.suffix.lower()


def describe_videos(paths: Iterable[Path]) -> list[Video]:
    """Each file once, in the given order and by the first of its names.

    Raises:
        VideoError: If one has no suffix of a video, or two would share a folder.
    """
    videos: dict[str, Video] = {}
    by_target: dict[Path, Path] = {}
    for given in paths:
        by_target.setdefault(given.resolve(), given.parent.resolve() / given.name)
    for target, path in by_target.items():
        video = _describe(path, target)
        if (other := videos.get(video.name.lower())) is not None:
            raise VideoError(
                f"{path}: its segments would go to the same folder as those of {other.path} ({video.name}). Predict "
                "them one after the other with --output folders of their own, or rename one"
            )
        videos[video.name.lower()] = video
    return list(videos.values())


def safe_name(stem: str) -> str:
    """A name of a file as a name of one folder, whatever it holds."""
    kept = "".join("-" if c in _FORBIDDEN or not c.isprintable() else c for c in stem)
    shortened = kept.lstrip("._ ").encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    return shortened.rstrip(" .") or "video"


def _describe(path: Path, target: Path) -> Video:
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise VideoError(f"{path}: isn't a video by its name; expected one of {known}")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise VideoError(
            f"{str(path)!r}: its name isn't UTF-8, which pages and tables are written in. Rename it"
        ) from None
    status = target.stat()
    key = b"\0".join((os.fsencode(target), b"%d" % status.st_size, b"%d" % status.st_mtime_ns))
    name = safe_name(path.stem)
    recording = f"{name}-{hashlib.sha256(key).hexdigest()[:12]}"
    return Video(path=path, name=name, recording=check_name("video", recording, VideoError))
