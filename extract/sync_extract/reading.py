"""One video read ahead of the backbone, in a thread of its own, with a short queue.

A processor's network inputs are made in that thread, too, a few frames at a time: they are smaller than the frames,
and the memory of so small a batch is always used again.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sync_extract.clips import Clips
from sync_extract.coverage import check_coverage
from sync_extract.decode import Grid, VideoProbe, decode_frames, probe, sample_grid
from sync_extract.plan import Job
from sync_extract.probe import Reader
from sync_store.errors import VideoError
from sync_store.layout import FeatureSet
from sync_store.place import Place
from sync_store.provenance import file_digest
from sync_store.writer import RecordingWriter

QUEUE_BYTES = 256 << 20
"""Of batches waiting per video."""

BATCH_BYTES = 128 << 20
"""A decoded batch is at most about this large: 4K video is decoded a few frames at a time."""

PREPARED_BATCH_BYTES = 8 << 20
"""Likewise where the network's inputs are made at once. Where freed memory isn't kept (`sync_store.memory`), the C
library gives blocks above 32 MiB back to the system, and asking for their pages again took a quarter of all time at
640x480."""

FEW_ROWS = 10
"""Missing within a video without a word: single frames that a camera lost. Provenance counts all."""

log = logging.getLogger(__name__)

Frames = npt.NDArray[np.uint8]
Batch = Frames | torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run the pipeline."""

    store: Place
    fps: Fraction | None
    batch_size: int
    workers: int
    min_coverage: float
    reader: Reader = "pyav"

    @property
    def batch_frames(self) -> int:
        """`batch_size` rounded down to a power of two, as the rows of a shard are: batches never straddle two."""
        return 1 << (self.batch_size.bit_length() - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A video whose rows and times are known, with its place in the store."""

    video: VideoProbe
    grid: Grid
    clip_frames: npt.NDArray[np.int64]
    """int64 (R, K): frames of the grid that each row is made from."""
    writer: RecordingWriter

    @property
    def num_frames_used(self) -> int:
        """Frames of the grid that the rows written so far were made from; all of them once all rows are."""
        num_rows = self.writer.next_row
        if num_rows == len(self.clip_frames):
            return len(self.grid)
        return int(self.clip_frames[num_rows - 1].max()) + 1 if num_rows else 0


class Reading:
    """One video being prepared and decoded; begins at once."""

    def __init__(
        self,
        job: Job,
        feature_set: FeatureSet,
        clips: Clips,
        settings: Settings,
        run_provenance: Mapping[str, Any],
        prepare: Callable[[Frames], torch.Tensor] | None = None,
        empty: Callable[[tuple[int, ...]], Frames] | None = None,
    ) -> None:
        """Begin.

        Args:
            job: Which video.
            feature_set: What its rows belong to.
            clips: How rows are made from frames.
            settings: Of the run.
            run_provenance: Goes into each recording's.
            prepare: Makes the network's inputs on this processor; without it the frames are handed on.
            empty: Makes the arrays to decode into; by default `np.empty`.
        """
        self.job = job
        self._feature_set = feature_set
        self._clips = clips
        self._settings = settings
        self._run_provenance = run_provenance
        self._prepare_frames = prepare
        self._empty = empty
        self._queue: deque[Batch | BaseException | None] = deque()
        self._changed = threading.Condition()
        self._prepared: Future[Prepared] = Future()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"decode {job.name}", daemon=True)
        self._thread.start()

    def prepared(self) -> Prepared:
        """Wait until rows and times are known; raises what went wrong before."""
        return self._prepared.result()

    def batches(self) -> Iterator[Batch]:
        """Batches in order, of frames or of what `prepare` made of them; raises what went wrong."""
        while (item := self._get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        """End the thread, whether or not it is done, and let others write the recording."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()
        if self._prepared.exception() is None:
            self.prepared().writer.close()

    def _run(self) -> None:
        try:
            prepared = self._prepare()
        except BaseException as error:  # handed to the caller's thread, which raises it
            self._prepared.set_exception(error)
            return
        self._prepared.set_result(prepared)
        try:
            self._decode(prepared)
            self._put(None)
        except BaseException as error:  # likewise
            self._put(error)

    def _prepare(self) -> Prepared:
        source, settings = self.job.source, self._settings
        video = probe(source.path, reader=settings.reader)
        grid = sample_grid(video, fps=settings.fps, offset=source.offset, clock=source.clock)
        check_coverage(
            video, grid, num_frames=len(grid), fps=settings.fps, min_coverage=settings.min_coverage
        )
        try:
            clip_frames = self._clips.rows(len(grid))
        except VideoError as error:
            raise VideoError(f"{source.path}: {error}") from None
        if grid.num_missing > FEW_ROWS:
            log.warning(
                "%s: %d of %d points of the sampling grid have no frame and so no row: the camera lost frames or "
                "is slower than the grid",
                self.job.name,
                grid.num_missing,
                grid.num_missing + len(grid),
            )
        provenance = {**self._source_provenance(video, grid, len(clip_frames)), **self._run_provenance}
        writer = RecordingWriter(
            settings.store,
            self._feature_set,
            source.view,
            source.recording,
            timestamps=grid.timestamps[clip_frames[:, self._clips.anchor]],
            provenance=provenance,
            overwrite=self.job.state == "redo",
        )
        return Prepared(video=video, grid=grid, clip_frames=clip_frames, writer=writer)

    def _source_provenance(self, video: VideoProbe, grid: Grid, num_rows: int) -> dict[str, Any]:
        source = self.job.source
        try:
            sha256 = file_digest(source.path)
        except OSError as error:
            raise VideoError(f"{source.path}: reading failed: {error.strerror}. Check the disk") from None
        return {
            "source": {
                "file_name": source.path.name,
                "size_bytes": video.size_bytes,
                "sha256": sha256,
                "offset_seconds": str(source.offset),
                "clock": source.clock,
                **video.summary(),
            },
            "grid": {
                "num_rows": num_rows,
                "num_missing": grid.num_missing,
                "num_unused_frames": video.num_frames - len(grid),
            },
        }

    def _decode(self, prepared: Prepared) -> None:
        """Queue the frames of the rows still to come."""
        video, to_come = prepared.video, prepared.clip_frames[prepared.writer.next_row :]
        if not len(to_come):
            return
        frame_bytes = video.width * video.height * 3
        frame_index = prepared.grid.frame_index[to_come.min() :]
        most_bytes = BATCH_BYTES if self._prepare_frames is None else PREPARED_BATCH_BYTES
        frames = decode_frames(
            video,
            frame_index,
            batch_frames=max(1, min(self._settings.batch_frames, most_bytes // frame_bytes)),
            num_threads=max(1, torch.get_num_threads() // self._settings.workers),
            empty=self._empty,
        )
        batches: Iterator[Batch] = frames
        if self._prepare_frames is not None:
            batches = map(self._prepare_frames, frames)
        for batch in batches:
            if not self._put(batch):
                return

    def _put(self, item: Batch | BaseException | None) -> bool:
        """Queue an item once there is room; False if the video isn't wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._has_room(item))
            if self._stopped:
                return False
            self._queue.append(item)
            self._changed.notify()
        return True

    def _get(self) -> Batch | BaseException | None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._queue) > 0)
            item = self._queue.popleft()
            self._changed.notify()
        return item

    def _has_room(self, item: Batch | BaseException | None) -> bool:
        return not self._queue or _size(item) + sum(map(_size, self._queue)) <= QUEUE_BYTES


def _size(item: Batch | BaseException | None) -> int:
    return item.nbytes if isinstance(item, np.ndarray | torch.Tensor) else 0
