"""Reading features for training: our store, `np.load` of the same array, one LMDB key a frame.

LMDB holds what this field's feature files hold: float32, keyed `<recording>_<frame, ten digits>.jpg`, 4,096
bytes a frame at 1,024 values. Every reader leaves one array of a whole recording in memory. All files are in
the page cache, but for the rounds called cold: there each reading begins with the system letting go of them
(`POSIX_FADV_DONTNEED`, after a flush). Axes: T rows, D feature width.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt

from benchmarks.measure import Timing, arguments, ratio, time_in_turn, write_result
from sync_store.atomic import flush_tree
from sync_store.layout import FeatureSet
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter

FEATURE_DIM = 1024
"""DINOv2 ViT-L/14, the paper's features."""

NUM_ROWS = 9000
"""Five minutes at 30 rows a second."""

PERIOD_NS = 33_333_333


def main() -> None:
    options = arguments("read_store", __doc__)
    num_recordings, num_rows, num_rounds = (2, 200, 2) if options.smoke else (8, NUM_ROWS, 15)
    names = [f"r{index:02d}" for index in range(num_recordings)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_all(folder, names, num_rows)
        with lmdb.open(str(folder / "lmdb"), readonly=True, lock=False) as environment:
            store = FeatureStore(folder / "features.zarr")
            check_equal(folder, store, environment, names, num_rows)
            readers: dict[str, Callable[[], object]] = {
                "store": lambda: [store.read("dinov2-large", "e4", name) for name in names],
                "np.load": lambda: [np.load(folder / f"{name}.npy") for name in names],
            }
            timings = time_cold(readers, folder, num_rounds=num_rounds) | time_in_turn(
                {**readers, "lmdb": lambda: [read_lmdb(environment, name, num_rows) for name in names]},
                num_rounds=num_rounds,
            )
    write_result(
        options.out,
        settings={
            "recordings": num_recordings,
            "rows": num_rows,
            "feature_dim": FEATURE_DIM,
            "rounds": num_rounds,
        },
        timings={name: timing.summary(num_recordings * num_rows, "rows") for name, timing in timings.items()},
        ratios={
            "store_over_np_load": ratio(timings["store"], timings["np.load"]),
            "store_over_np_load_cold": ratio(timings["store cold"], timings["np.load cold"]),
            "store_over_lmdb": ratio(timings["store"], timings["lmdb"]),
        },
        targets={"store_over_np_load": 0.9, "store_over_np_load_cold": 0.9},
    )


def time_cold(
    readers: Mapping[str, Callable[[], object]], folder: Path, *, num_rounds: int
) -> dict[str, Timing]:
    """Time readers in turn, each with the files below `folder` out of the page cache; by name and " cold"."""
    flush_tree(folder)
    seconds: dict[str, list[float]] = {f"{name} cold": [] for name in readers}
    for _ in range(num_rounds):
        for name, read in readers.items():
            drop_cache(folder)
            start = time.perf_counter()
            read()
            seconds[f"{name} cold"].append(time.perf_counter() - start)
    return {name: Timing(seconds=tuple(values)) for name, values in seconds.items()}


def drop_cache(folder: Path) -> None:
    """Ask the system to let go of what it holds of the files below `folder`; they must have been flushed."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_all(folder: Path, names: list[str], num_rows: int) -> None:
    """Write the same random rows in the three forms."""
    feature_set = FeatureSet(name="dinov2-large", recipe={"backbone": "random"}, feature_dim=FEATURE_DIM)
    timestamps = np.arange(num_rows, dtype=np.int64) * PERIOD_NS
    map_bytes = 4 * len(names) * num_rows * FEATURE_DIM * 4 + (16 << 20)  # a value over a page takes two
    with lmdb.open(str(folder / "lmdb"), map_size=map_bytes) as environment:
        for seed, name in enumerate(names):
            rows = np.random.default_rng(seed).standard_normal((num_rows, FEATURE_DIM)).astype(np.float16)
            with RecordingWriter(
                folder / "features.zarr", feature_set, "e4", name, timestamps=timestamps, provenance={}
            ) as writer:
                writer.append(rows)
                writer.commit()
            np.save(folder / f"{name}.npy", rows)
            with environment.begin(write=True) as transaction:
                for frame, row in enumerate(rows.astype(np.float32), start=1):
                    transaction.put(key_of(name, frame), row.tobytes())


def key_of(name: str, frame: int) -> bytes:
    """The field's key of one frame, counted from 1."""
    return f"{name}_{frame:010d}.jpg".encode()


def read_lmdb(environment: lmdb.Environment, name: str, num_rows: int) -> npt.NDArray[np.float32]:
    """One look-up a frame: float32 (T, D)."""
    with environment.begin() as transaction:
        values = [transaction.get(key_of(name, frame)) for frame in range(1, num_rows + 1)]
        return np.stack([np.frombuffer(value, dtype=np.float32) for value in values if value is not None])


def check_equal(
    folder: Path, store: FeatureStore, environment: lmdb.Environment, names: list[str], num_rows: int
) -> None:
    """Fail unless the three readers give the same numbers."""
    for name in names:
        expected = np.load(folder / f"{name}.npy")
        for rows in (
            store.read("dinov2-large", "e4", name).features,
            read_lmdb(environment, name, num_rows).astype(np.float16),
        ):
            if not np.array_equal(rows, expected):
                raise RuntimeError(f"{name}: the readers don't agree")


if __name__ == "__main__":
    main()
