"""Videos to rows in the store: decoding, device work and writing overlap.

A few videos are decoded ahead, each in a thread of its own with a short queue; the caller's thread runs the
backbone over them in order; one more thread writes. Memory is bounded by the queues, not by the videos.
"""

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sync_extract.backbones import Backbone
from sync_extract.decode import DECODE_RULES_VERSION, Grid, VideoProbe, decode_frames, probe, sample_grid
from sync_extract.plan import Failure, Job
from sync_store.errors import StoreError, VideoError
from sync_store.labels import ns_to_text
from sync_store.layout import FeatureSet, recording_path
from sync_store.provenance import code_version, file_digest, library_versions, machine
from sync_store.writer import RecordingWriter, delete_recording

log = logging.getLogger(__name__)

QUEUE_BATCHES = 3
"""Decoded batches waiting per video."""

BATCH_BYTES = 128 << 20
"""A decoded batch is at most about this large: 4K video is decoded a few frames at a time."""

WRITES_AHEAD = 4
"""Batches of features that may wait for the writer."""

Frames = npt.NDArray[np.uint8]


class Watcher(Protocol):
    """Who wants to know how far extraction is."""

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        """A video's rows begin, after `done_rows` that an earlier run left."""

    def advanced(self, job: Job, num_rows: int) -> None:
        """So many more rows were computed."""

    def finished(self, job: Job, failure: Failure | None) -> None:
        """The video is in the store, or failed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run the pipeline."""

    store: Path
    fps: Fraction | None
    batch_size: int
    workers: int
    min_coverage: float


def make_feature_set(name: str, backbone: Backbone, fps: Fraction | None) -> FeatureSet:
    """The feature set that a backbone makes on a sampling grid."""
    recipe = {
        **backbone.recipe,
        "grid_fps": str(fps) if fps is not None else "native",
        "decode_rules": DECODE_RULES_VERSION,
    }
    return FeatureSet(
        name=name, recipe=recipe, feature_dim=backbone.feature_dim, trained_on=backbone.trained_on
    )


def extract(
    jobs: list[Job], backbone: Backbone, feature_set: FeatureSet, settings: Settings, watcher: Watcher
) -> list[Failure]:
    """Extract every job; one that fails doesn't stop the others.

    Returns:
        What failed, and why.

    Raises:
        OSError: If the store can't be written (full disk, read-only folder): nothing more can be done.
    """
    failures = []
    forward = AdaptiveForward(backbone, settings.batch_size)
    ahead: deque[_Decoding] = deque()
    waiting = iter(jobs)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writing:
        try:
            for job in jobs:
                while len(ahead) < settings.workers and (following := next(waiting, None)) is not None:
                    ahead.append(
                        _Decoding(following, feature_set, settings, _run_provenance(backbone, settings))
                    )
                decoding = ahead.popleft()
                failure = None
                try:
                    _extract_one(decoding, forward, settings, writing, watcher)
                except (VideoError, StoreError) as error:
                    failure = Failure(
                        recording=job.source.recording, view=job.source.view, message=str(error)
                    )
                    failures.append(failure)
                finally:
                    decoding.stop()
                watcher.finished(job, failure)
        finally:
            for decoding in ahead:
                decoding.stop()
    return failures


def _extract_one(
    decoding: "_Decoding",
    forward: "AdaptiveForward",
    settings: Settings,
    writing: ThreadPoolExecutor,
    watcher: Watcher,
) -> None:
    job = decoding.job
    writer, grid = decoding.ready()
    watcher.started(job, writer.next_row, writer.num_rows)
    pending: deque[Future[None]] = deque()
    try:
        for frames in decoding.batches():
            rows = forward(frames)
            pending.append(writing.submit(writer.append, rows))
            while len(pending) > WRITES_AHEAD:
                pending.popleft().result()
            watcher.advanced(job, len(rows))
        while pending:
            pending.popleft().result()
    finally:
        for write in pending:
            write.cancel()
    coverage = writer.next_row / writer.num_rows
    if coverage < 1:
        last = ns_to_text(int(grid.timestamps[max(0, writer.next_row - 1)]))
        planned = ns_to_text(int(grid.timestamps[-1]))
        what = (
            f"{job.source.path}: only {writer.next_row} of {writer.num_rows} rows decode, "
            f"up to {last} of {planned} s"
        )
        if coverage < settings.min_coverage:
            raise VideoError(
                f"{what}, less than min_coverage {settings.min_coverage:.0%}. Get a whole copy of the file, or "
                "lower min_coverage in sync.toml [extract]"
            )
        log.warning("%s; the rest is missing", what)
    writer.commit()


class AdaptiveForward:
    """Runs the backbone on batches, halving the batch for good where memory is too small."""

    def __init__(self, backbone: Backbone, batch_size: int) -> None:
        self._backbone = backbone
        self.batch_size = batch_size

    def __call__(self, frames: Frames) -> npt.NDArray[np.float16]:
        """Features float16 (N, D) of uint8 (N, H, W, 3) frames.

        Raises:
            torch.OutOfMemoryError: If not even one frame fits.
        """
        frames_NHWC = torch.from_numpy(frames)
        rows, start = [], 0
        while start < len(frames):
            try:
                rows.append(self._backbone(frames_NHWC[start : start + self.batch_size]).cpu())
                start += self.batch_size
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size = max(1, self.batch_size // 2)
                log.warning("out of memory: going on with batches of %d frames", self.batch_size)
                torch.cuda.empty_cache()
        return torch.cat(rows).numpy() if len(rows) > 1 else rows[0].numpy()


class _Decoding:
    """One video being prepared and decoded in its own thread."""

    def __init__(
        self, job: Job, feature_set: FeatureSet, settings: Settings, run_provenance: dict[str, Any]
    ) -> None:
        self.job = job
        self._feature_set = feature_set
        self._settings = settings
        self._run_provenance = run_provenance
        self._queue: queue.Queue[Frames | BaseException | None] = queue.Queue(maxsize=QUEUE_BATCHES)
        self._prepared: Future[tuple[RecordingWriter, Grid]] = Future()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"decode {job.name}", daemon=True)
        self._thread.start()

    def ready(self) -> tuple[RecordingWriter, Grid]:
        """Wait for the writer and the grid; raises what went wrong in making them."""
        return self._prepared.result()

    def batches(self) -> Iterator[Frames]:
        """Decoded batches in order; raises what went wrong in decoding them."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        """End the thread, whether or not it is done."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _run(self) -> None:
        try:
            probed, grid, writer = self._prepare()
        except BaseException as error:  # handed to the caller's thread, which raises it
            self._prepared.set_exception(error)
            return
        self._prepared.set_result((writer, grid))
        try:
            self._decode(probed, grid, writer.next_row, writer.shard_rows)
            self._put(None)
        except BaseException as error:  # likewise
            self._put(error)

    def _prepare(self) -> tuple[VideoProbe, Grid, RecordingWriter]:
        source = self.job.source
        probed = probe(source.path)
        grid = sample_grid(probed, fps=self._settings.fps, offset=source.offset, clock=source.clock)
        if self.job.state == "redo":
            folder = recording_path(
                self._settings.store, self._feature_set.name, source.view, source.recording
            )
            delete_recording(folder)
        writer = RecordingWriter(
            self._settings.store,
            self._feature_set,
            source.view,
            source.recording,
            timestamps=grid.timestamps,
            provenance={
                "source": {
                    "file_name": source.path.name,
                    "size_bytes": source.path.stat().st_size,
                    "sha256": file_digest(source.path),
                    "offset_seconds": str(source.offset),
                    "clock": source.clock,
                    **probed.summary(),
                },
                **self._run_provenance,
            },
        )
        return probed, grid, writer

    def _decode(self, probed: VideoProbe, grid: Grid, first_row: int, shard_rows: int) -> None:
        """Queue the frames of the rows from `first_row` on, in batches that never straddle two shards.

        A batch is a power of two, as the rows of a shard are wherever there are several; so an interrupted
        extraction goes on with the very batches of an uninterrupted one.
        """
        frame_bytes = probed.width * probed.height * 3
        most = max(1, min(self._settings.batch_size, BATCH_BYTES // frame_bytes, shard_rows))
        batch_frames = 1 << (most.bit_length() - 1)
        for frames in decode_frames(probed, grid.frame_index[first_row:], batch_frames=batch_frames):
            if not self._put(frames):
                return

    def _put(self, item: Frames | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False


def _run_provenance(backbone: Backbone, settings: Settings) -> dict[str, Any]:
    device = str(backbone.device)
    if backbone.device.type == "cuda":
        device = f"{device} {torch.cuda.get_device_name(backbone.device)}"
    return {
        "code": code_version(),
        "libraries": library_versions(["torch", "transformers", "decord", "av", "numpy", "zarr"]),
        "machine": machine(),
        "device": device,
        "batch_size": settings.batch_size,
    }
