"""Videos to rows in the store: decoding, device work and writing overlap.

A few videos are decoded ahead, each in a thread of its own with a short queue; the caller's thread runs the
backbone over them in order; one more thread writes. Memory is bounded by the queues, not by the videos.
"""

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from fractions import Fraction
from functools import partial
from typing import Any, Protocol

import torch

from sync_extract.backbones import Backbone
from sync_extract.clips import assemble
from sync_extract.coverage import check_coverage
from sync_extract.decode import DECODE_RULES_VERSION
from sync_extract.forward import AdaptiveForward
from sync_extract.plan import Failure, Job
from sync_extract.reading import Prepared, Reading, Settings
from sync_extract.transfers import Download, empty_frames
from sync_store.atomic import named
from sync_store.errors import BusyError, CompleteError, LostClaimError, StoreError, VideoError
from sync_store.layout import FeatureSet
from sync_store.provenance import code_version, library_versions, machine
from sync_store.writer import RecordingWriter

__all__ = ["Settings", "Watcher", "extract", "make_feature_set"]

log = logging.getLogger(__name__)

WRITES_AHEAD = 4
"""Batches of features that may wait for the writer."""


class Watcher(Protocol):
    """Who wants to know how far extraction is."""

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        """A video's rows begin, after `done_rows` that an earlier run left."""

    def advanced(self, job: Job, num_rows: int) -> None:
        """So many more rows were computed."""

    def finished(self, job: Job, failure: Failure | None) -> None:
        """The video is in the store, or failed, or both: see `Failure.kept`."""


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
        What failed or is only a part, and why.

    Raises:
        OSError: If the store can't be written (full disk, read-only folder): nothing more can be done.
    """
    failures = []
    forward = AdaptiveForward(backbone, settings.batch_frames)
    if settings.batch_frames != settings.batch_size:
        log.warning(
            "batches have %d frames: a batch size of %d is rounded down to a power of two",
            settings.batch_frames,
            settings.batch_size,
        )
    run_provenance = _run_provenance(backbone, settings)
    prepare = forward.prepare if backbone.device.type == "cpu" else None
    ahead: deque[Reading] = deque()
    waiting = iter(jobs)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writing:
        try:
            for job in jobs:
                while len(ahead) < settings.workers and (following := next(waiting, None)) is not None:
                    ahead.append(
                        Reading(
                            following,
                            feature_set,
                            backbone.clips,
                            settings,
                            run_provenance,
                            prepare,
                            partial(empty_frames, device=backbone.device),
                        )
                    )
                failure = None
                try:
                    if shortfall := _extract_one(ahead[0], forward, settings, writing, watcher):
                        failure = Failure.of(job, shortfall, kept=True)
                except CompleteError:
                    log.info("%s: another job has finished it", job.name)
                except (BusyError, LostClaimError) as error:
                    failure = Failure.of(job, str(error), left=True)
                except (VideoError, StoreError) as error:
                    failure = Failure.of(job, str(error))
                except OSError as error:
                    raise named(error, settings.store) from None
                ahead.popleft().stop()
                if failure is not None:
                    failures.append(failure)
                watcher.finished(job, failure)
        finally:
            for reading in ahead:
                reading.stop()
    return failures


def _extract_one(
    reading: Reading,
    forward: AdaptiveForward,
    settings: Settings,
    writing: ThreadPoolExecutor,
    watcher: Watcher,
) -> str | None:
    """Extract one video; what is missing of it, if anything."""
    prepared = reading.prepared()
    writer = prepared.writer
    watcher.started(reading.job, writer.next_row, writer.num_rows)
    rows_writer = _RowsWriter(writer, writing)
    batch_frames = settings.batch_frames
    to_come = prepared.clip_frames[writer.next_row :]
    images = (
        batch if isinstance(batch, torch.Tensor) else forward.prepare(batch) for batch in reading.batches()
    )
    try:
        for clips in assemble(images, to_come, batch_rows=_batch_rows(prepared, settings)):
            rows = forward.features(clips)
            if forward.batch_size < batch_frames:
                batch_frames = forward.batch_size
                rows_writer.amend_provenance({"halved_to": batch_frames})
            rows_writer.append(rows)
            watcher.advanced(reading.job, len(rows))
        rows_writer.finish()
    finally:
        rows_writer.cancel()
    shortfall = check_coverage(
        prepared.video,
        prepared.grid,
        num_frames=prepared.num_frames_used,
        fps=settings.fps,
        min_coverage=settings.min_coverage,
    )
    writer.commit()
    return shortfall


def _batch_rows(prepared: Prepared, settings: Settings) -> int:
    """Rows a batch: a power of two, as the rows of a shard are wherever there are several.

    So batches never straddle two shards, and an interrupted extraction goes on with the very batches of an
    uninterrupted one.
    """
    num_frames = int(prepared.clip_frames.shape[1])
    most = max(1, min(settings.batch_frames // num_frames, prepared.writer.shard_rows))
    return 1 << (most.bit_length() - 1)


class _RowsWriter:
    """Appends batches of rows in the writer's thread, in order; after one that fails, none."""

    def __init__(self, writer: RecordingWriter, thread: ThreadPoolExecutor) -> None:
        self._writer = writer
        self._thread = thread
        self._pending: deque[Future[None]] = deque()
        self._failed = False

    def append(self, rows: Download) -> None:
        """Queue a batch; raises what went wrong in writing an earlier one."""
        self._pending.append(self._thread.submit(self._append, rows))
        while len(self._pending) > WRITES_AHEAD:
            self._pending.popleft().result()

    def amend_provenance(self, changes: dict[str, Any]) -> None:
        """Queue a change of the provenance, before the rows that it is about."""
        self._pending.append(self._thread.submit(self._writer.amend_provenance, changes))

    def finish(self) -> None:
        """Wait for all batches; raises what went wrong in writing one."""
        while self._pending:
            self._pending.popleft().result()

    def cancel(self) -> None:
        """Drop the batches that aren't written yet, and wait for the one that is being written."""
        wait([write for write in self._pending if not write.cancel()])

    def _append(self, rows: Download) -> None:
        if self._failed:  # else these rows would take the place of the ones that failed
            return
        try:
            self._writer.append(rows.wait())
        except BaseException:
            self._failed = True
            raise


def _run_provenance(backbone: Backbone, settings: Settings) -> dict[str, Any]:
    device = str(backbone.device)
    if backbone.device.type == "cuda":
        device = f"{device} {torch.cuda.get_device_name(backbone.device)}"
    return {
        "code": code_version(),
        "libraries": library_versions(["torch", "transformers", "decord", "av", "numpy", "zarr"]),
        "machine": machine(),
        "device": device,
        "batch_size": settings.batch_frames,
    }
