"""Pictures of clips, decoded and resized once for all epochs.

One file a video: uint8 (F, H, W, 3), the frames that any candidate moment asks for, each once, as extraction resizes
them on a processor. A file is written aside and renamed when it is whole and on the disk, so an interrupted run goes
on with the next video.

Axes: F stored frames, H and W stored size, N clips, S = 8 segments, C candidate moments.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Event

import numpy as np
import torch

from sync_extract.decode import decode_frames
from sync_extract.transforms import Preprocessing, resize_bytes
from sync_extract.tuning.video_clips import Film, Int64s
from sync_store.atomic import flush_folder, named
from sync_store.errors import SyncError, VideoError

BATCH_BYTES = 64 << 20
"""A decoded batch is at most about this large."""

PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True, eq=False)
class FilmFrames:
    """The stored pictures of one video."""

    path: Path
    film: Film
    preprocessing: Preprocessing
    frames_NSC: Int64s
    """Frame of the video at each candidate moment of each clip."""

    @cached_property
    def frame_index(self) -> Int64s:
        """Frames that are stored, strictly increasing."""
        return np.unique(self.frames_NSC)

    @cached_property
    def size(self) -> tuple[int, int]:
        """H and W."""
        return self.preprocessing.size_after_resize(self.film.video.height, self.film.video.width)

    @property
    def frame_bytes(self) -> int:
        """Of one picture."""
        return self.size[0] * self.size[1] * 3

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return len(self.frame_index) * self.frame_bytes

    @property
    def is_stored(self) -> bool:
        """Whether the file is there, and so is whole."""
        return self.path.exists()

    def read(self, clip: int, draw_S: Int64s) -> torch.Tensor:
        """Pictures of a clip: of each segment the candidate that was drawn.

        Returns:
            uint8 (8, H, W, 3).
        """
        places = np.searchsorted(self.frame_index, self.frames_NSC[clip, np.arange(len(draw_S)), draw_S])
        pictures = np.empty((len(places), *self.size, 3), np.uint8)
        with self.path.open(
            "rb", buffering=0
        ) as file:  # reading lets other threads run; mapped memory doesn't
            for picture, place in zip(pictures, places.tolist(), strict=True):
                file.seek(place * self.frame_bytes)
                _fill(file.fileno(), picture.data.cast("B"), self.path)
        return torch.from_numpy(pictures)

    def store(self, stop: Event) -> None:
        """Decode the video once, and write the file.

        Args:
            stop: Ends it early, with no file.

        Raises:
            VideoError: If not all of the frames decode.
        """
        video = self.film.video
        batch_frames = max(1, BATCH_BYTES // (video.width * video.height * 3))
        partial = self.path.with_name(self.path.name + PARTIAL)
        partial.parent.mkdir(parents=True, exist_ok=True)
        num_done = 0
        with partial.open("wb") as file:
            for frames in decode_frames(video, self.frame_index, batch_frames=batch_frames):
                images = torch.from_numpy(frames).permute(0, 3, 1, 2)
                resized = resize_bytes(images, self.size, self.preprocessing.interpolation)
                file.write(resized.permute(0, 2, 3, 1).contiguous().numpy().data)
                num_done += len(frames)
                if stop.is_set():
                    return
            if num_done < len(self.frame_index):
                lost = video.seconds(int(self.frame_index[num_done]))
                raise VideoError(
                    f"{video.path}: nothing decodes from {lost:.3f} s on, although the file goes on to "
                    f"{video.seconds(-1):.3f} s. Copy or download it again, or leave the recording out of the split"
                )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
        flush_folder(self.path.parent)


def _fill(descriptor: int, target: memoryview, path: Path) -> None:
    num_read = 0
    while num_read < len(target):
        if not (got := os.readv(descriptor, [target[num_read:]])):
            raise SyncError(f"{path}: ends early. Delete it; the same command makes it again")
        num_read += got


def store_all(
    films: Sequence[FilmFrames], folder: Path, *, workers: int, on_film: Callable[[int, int], None]
) -> None:
    """Decode the videos whose pictures aren't stored yet, a few at a time.

    Args:
        films: Whose files are below `folder`.
        folder: Of this run; what an interrupted run left half-written is deleted.
        workers: Videos at the same time.
        on_film: Told how many of how many videos are done.

    Raises:
        SyncError: If the disk is too small, or a video doesn't decode; the others are done nevertheless.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for orphan in folder.rglob(f"*{PARTIAL}"):
        orphan.unlink()
    to_do = [film for film in films if not film.is_stored]
    needed, free = sum(film.size_bytes for film in to_do), shutil.disk_usage(folder).free
    if needed > free:
        raise SyncError(
            f"{folder}: decoded pictures take {needed / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free. Make "
            "room, name another disk with --scratch, or set moments_per_segment = 1 in sync.toml"
        )
    on_film(len(films) - len(to_do), len(films))
    failures: list[VideoError] = []
    stop = Event()
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="decode") as pool:
        futures: list[Future[None]] = [pool.submit(film.store, stop) for film in to_do]
        try:
            for num_done, future in enumerate(as_completed(futures), start=len(films) - len(to_do) + 1):
                if isinstance(error := future.exception(), VideoError):
                    failures.append(error)
                elif isinstance(error, OSError):
                    raise named(error, folder)
                elif error is not None:
                    raise error
                on_film(num_done, len(films))
        finally:  # also of Ctrl-C, which mustn't wait for whole videos
            stop.set()
            for future in futures:
                future.cancel()
    if failures:
        more = f" (and {len(failures) - 1} more videos)" if len(failures) > 1 else ""
        raise VideoError(f"{min(map(str, failures))}{more}")
