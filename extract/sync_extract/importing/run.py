"""Any source into the store: rows are read and rounded while those before them are written.

Axes: N rows of a block, D feature width.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from sync_extract.importing.plan import ImportPlan
from sync_extract.importing.source import Item, Rows
from sync_extract.plan import Failure, Job
from sync_store.errors import CompleteError, DatasetError, SyncError
from sync_store.labels import ns_to_text
from sync_store.layout import FEATURE_DTYPE, FeatureSet, all_finite, sweep_groups
from sync_store.place import Place
from sync_store.provenance import code_version, library_versions
from sync_store.writer import RecordingWriter

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from sync_extract.pipeline import Watcher

LIBRARIES = ("numpy", "torch", "zarr", "lmdb")
"""Those that rows pass through."""

LARGEST = float(np.finfo(FEATURE_DTYPE).max)


def import_all(plan: ImportPlan, feature_set: FeatureSet, store: Place, watcher: "Watcher") -> list[Failure]:
    """Import every job that isn't done; one that fails doesn't stop the others.

    Returns:
        What failed, and why.

    Raises:
        OSError: If the store can't be written (full disk, read-only folder): nothing more can be done.
    """
    failures = []
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writing:
        for job in plan.to_do:
            failure = None
            try:
                _import_one(job, plan.items[job], feature_set, store, writing, watcher)
            except CompleteError:
                log.info("%s: another job has finished it", job.name)
            except SyncError as error:
                failure = Failure.of(job, str(error))
                failures.append(failure)
            watcher.finished(job, failure)
    sweep_groups(store, feature_set.name, {job.source.view for job in plan.jobs})
    return failures


def to_half(values_ND: npt.NDArray[Any], rows: Rows, first_row: int, path: Path) -> npt.NDArray[np.float16]:
    """Round to float16, to nearest and ties to even.

    Args:
        values_ND: float16, float32 or float64 (N, D), native and writable.
        rows: The recording.
        first_row: Which of its rows the first is, for the message.
        path: The file, for the message.

    Raises:
        DatasetError: If a value is NaN, or too large for float16.
    """
    if values_ND.dtype == np.float32:  # torch rounds five times as fast, and float64 twice
        half_ND = torch.from_numpy(values_ND).to(torch.float16).numpy()
    else:
        with np.errstate(over="ignore"):
            half_ND = values_ND.astype(np.float16)
    if not all_finite(half_ND):
        row, column = (int(index[0]) for index in np.nonzero(~np.isfinite(half_ND)))
        at = ns_to_text(int(rows.timestamps[first_row + row]))
        raise DatasetError(
            f"{path}: value {column} of the row at {at} s is {values_ND[row, column]}; the store holds float16, "
            f"numbers from -{LARGEST:.0f} to {LARGEST:.0f}. Scale the features before they are imported"
        )
    return half_ND


def _import_one(
    job: Job,
    item: Item,
    feature_set: FeatureSet,
    store: Place,
    writing: ThreadPoolExecutor,
    watcher: "Watcher",
) -> None:
    rows = item.open()
    digest = {} if item.sha256 is None else {"sha256": item.sha256()}
    provenance = {
        "source": {**item.source, **digest},
        "grid": {"num_rows": len(rows.timestamps), **rows.about},
        "code": code_version(),
        "libraries": library_versions(LIBRARIES),
    }
    with RecordingWriter(
        store,
        feature_set,
        item.view,
        item.recording,
        timestamps=rows.timestamps,
        provenance=provenance,
        overwrite=job.state == "redo",
    ) as writer:
        watcher.started(job, next_row := writer.next_row, writer.num_rows)
        write: Future[None] | None = None
        try:
            for values_ND in rows.blocks(next_row):
                half_ND = to_half(values_ND, rows, next_row, item.path)
                next_row += len(half_ND)
                if write is not None:
                    write.result()  # before the next one: rows after a failed write would take its place
                write = writing.submit(writer.append, half_ND)
                watcher.advanced(job, len(half_ND))
        finally:
            if write is not None:
                write.result()
        writer.commit()
