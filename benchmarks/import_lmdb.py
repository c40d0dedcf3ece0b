"""Importing features from LMDB, against reading the same file from its first byte to its last.

The file has the form of Assembly101's release: a key a frame, 2,048 float32 values, 12 KiB on the disk. Its pages are
dropped from the page cache before each round, so both read the disk, as far as the disk itself keeps nothing. What is
timed of an import is the scan of the keys, the rows, and the commit with all its flushes; each goes to a new store.
"""

import os
import tempfile
from fractions import Fraction
from pathlib import Path

import lmdb
import numpy as np

from benchmarks.measure import arguments, ratio, time_in_turn, write_result
from sync_extract.importing.lmdb_keys import open_lmdb
from sync_extract.importing.plan import make_feature_set, make_plan
from sync_extract.importing.run import import_all
from sync_extract.progress import show_progress
from sync_store.datasets import open_dataset
from sync_store.place import delete_tree
from sync_store.project import Project, load_project
from sync_store.reader import FeatureStore

FEATURE_DIM = 2048
"""TSM's."""

NUM_RECORDINGS = 14

NUM_ROWS = 11_844
"""Median of Assembly101's recordings; 14 make a file of 2 GB."""

BLOCK_BYTES = 1 << 24


def main() -> None:
    options = arguments("import_lmdb", __doc__)
    num_recordings, num_rows, num_rounds = (2, 100, 2) if options.smoke else (NUM_RECORDINGS, NUM_ROWS, 5)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        file = write_file(folder / "v3", num_recordings, num_rows)
        (folder / "sync.toml").write_text('[views.v3]\nkind = "exo"\n')
        project = load_project(folder)
        timings = time_in_turn(
            {
                "import": lambda: import_file(project, file),
                "plain read": lambda: read_file(file),
            },
            num_rounds=num_rounds,
        )
        check(project, num_recordings, num_rows)
        size_mb = file.stat().st_size / 1e6
    write_result(
        options.out,
        settings={
            "recordings": num_recordings,
            "rows": num_rows,
            "feature_dim": FEATURE_DIM,
            "file_megabytes": round(size_mb, 1),
            "rounds": num_rounds,
        },
        timings={name: timing.summary(size_mb, "megabytes") for name, timing in timings.items()},
        ratios={"import_over_plain_read": ratio(timings["import"], timings["plain read"])},
        targets={},
    )


def write_file(folder: Path, num_recordings: int, num_rows: int) -> Path:
    """An LMDB file as released, of random rows that repeat after a while."""
    folder.mkdir()
    rows = np.random.default_rng(0).standard_normal((min(num_rows, 1000), FEATURE_DIM)).astype(np.float32)
    map_bytes = num_recordings * num_rows * 20_000 + (16 << 20)
    with lmdb.open(str(folder), map_size=map_bytes) as environment:
        for recording in range(num_recordings):
            with environment.begin(write=True) as transaction:
                for frame in range(1, num_rows + 1):
                    key = f"r{recording:02d}/v3/v3_{frame:010d}.jpg".encode()
                    transaction.put(key, rows[frame % len(rows)].tobytes(), append=True)
    return folder / "data.mdb"


def import_file(project: Project, file: Path) -> None:
    """What `sync-extract import lmdb` does, into an empty store."""
    delete_tree(project.store_path)
    drop_from_cache(file)
    dataset = open_dataset(project)
    source = open_lmdb(file, project, dataset, views=["v3"], fps=Fraction(30), first_key=1)
    features = make_feature_set(source, "lmdb", None, ())
    plan = make_plan(source, project.store_path, features, recordings=(), overwrite=False)
    with show_progress(plan.to_do, quiet=True) as watcher:
        if failures := import_all(plan, features, project.store_path, watcher):
            raise RuntimeError(str(failures[0]))


def read_file(file: Path) -> None:
    """Every byte, in order."""
    drop_from_cache(file)
    with file.open("rb", buffering=0) as opened:
        while opened.read(BLOCK_BYTES):
            pass


def drop_from_cache(file: Path) -> None:
    """Let the next read of a file come from the disk."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def check(project: Project, num_recordings: int, num_rows: int) -> None:
    """Fail unless all rows came."""
    entries = FeatureStore(project.store_path).entries("v3", "v3")
    if [entry.num_rows for entry in entries] != [num_rows] * num_recordings:
        raise RuntimeError("the import is incomplete")


if __name__ == "__main__":
    main()
