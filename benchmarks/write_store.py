"""Writing features: `RecordingWriter` against plain files of the same bytes.

Both get batches of 64 rows, write files of 16 MiB, and flush each to disk. The writer also looks for NaN, computes the
checksums and digests, and writes what describes the recording. Each round writes into a new folder and deletes
it afterwards, untimed. Axes: N rows of a batch, D feature width.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Timing, arguments, ratio, write_result
from sync_store.atomic import flush_folder
from sync_store.layout import SHARD_BYTES, FeatureSet
from sync_store.writer import RecordingWriter

FEATURE_DIM = 1024
NUM_ROWS = 40_000
"""22 minutes at 30 rows a second: 82 MB."""

BATCH_ROWS = 64

Rows = npt.NDArray[np.float16]


def main() -> None:
    options = arguments("write_store", __doc__)
    num_rows, num_rounds = (300, 2) if options.smoke else (NUM_ROWS, 9)
    rows = (
        np.random.default_rng(7).standard_normal((num_rows, FEATURE_DIM), dtype=np.float32).astype(np.float16)
    )
    batches = [rows[start : start + BATCH_ROWS] for start in range(0, num_rows, BATCH_ROWS)]
    with tempfile.TemporaryDirectory() as scratch:
        timings = time_writing(
            {
                "store": lambda folder: write_recording(folder, batches),
                "files": lambda folder: write_files(folder, batches),
            },
            Path(scratch),
            num_rounds=num_rounds,
        )
    write_result(
        options.out,
        settings={
            "rows": num_rows,
            "feature_dim": FEATURE_DIM,
            "batch_rows": BATCH_ROWS,
            "bytes": rows.nbytes,
            "rounds": num_rounds,
        },
        timings={name: timing.summary(num_rows, "rows") for name, timing in timings.items()},
        ratios={"store_over_files": ratio(timings["store"], timings["files"])},
        targets={"store_over_files": 1.0},
    )


def time_writing(
    writers: dict[str, Callable[[Path], None]], scratch: Path, *, num_rounds: int
) -> dict[str, Timing]:
    """Time writers in turn; a first round doesn't count."""
    seconds: dict[str, list[float]] = {name: [] for name in writers}
    for turn in range(num_rounds + 1):
        for name, write in writers.items():
            folder = scratch / name
            folder.mkdir()
            start = time.perf_counter()
            write(folder)
            if turn:
                seconds[name].append(time.perf_counter() - start)
            shutil.rmtree(folder)
            os.sync()
    return {name: Timing(seconds=tuple(values)) for name, values in seconds.items()}


def write_recording(folder: Path, batches: list[Rows]) -> None:
    """Write and commit one recording."""
    feature_set = FeatureSet(name="dinov2-large", recipe={"backbone": "random"}, feature_dim=FEATURE_DIM)
    times = np.arange(sum(map(len, batches)), dtype=np.int64)
    with RecordingWriter(folder / "s", feature_set, "e4", "r", timestamps=times, provenance={}) as writer:
        for rows_ND in batches:
            writer.append(rows_ND)
        writer.commit()


def write_files(folder: Path, batches: list[Rows]) -> None:
    """Write the same rows in files of a shard's size, each flushed when it is full."""
    per_file = SHARD_BYTES // (BATCH_ROWS * FEATURE_DIM * 2)
    for number, start in enumerate(range(0, len(batches), per_file)):
        with (folder / str(number)).open("wb") as file:
            for rows_ND in batches[start : start + per_file]:
                file.write(rows_ND.data)
            file.flush()
            os.fsync(file.fileno())
    flush_folder(folder)


if __name__ == "__main__":
    main()
