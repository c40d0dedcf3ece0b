"""Opening one view of a large store: what is in it, without the index and with it, and zarr-python's own way.

The store has the size of Assembly101 with two feature sets: 4,321 recordings in each. They are tiny, since opening
reads no features: one is written, and the others have its bytes, as they would have from the writer. Each
call makes its own `FeatureStore`. "First" is a view that has no `index.json` yet, "again" one that has, "zarr"
opens the group and each member, for what a reader of the Zarr format alone must do to know of each recording
whether it is complete, and how many rows it has. All files are in the page cache.
"""

import tempfile
from pathlib import Path

import numpy as np
import zarr

from benchmarks.measure import arguments, ratio, time_in_turn, write_result
from sync_store.layout import INDEX, FeatureSet
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter

NUM_RECORDINGS = 4321
"""Videos of Assembly101, as its abstract counts them."""

FEATURE_SETS = ("dinov2-large", "tsm")
VIEW = "e4"
NUM_ROWS = 16
FEATURE_DIM = 8


def main() -> None:
    options = arguments("open_store", __doc__)
    num_recordings, num_rounds = (5, 2) if options.smoke else (NUM_RECORDINGS, 7)
    names = [f"r{index:04d}" for index in range(num_recordings)]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "features.zarr"
        for name in FEATURE_SETS:
            write_set(path, name, names)
        check_equal(path, names)
        timings = time_in_turn(
            {
                "first": lambda: open_first(path),
                "again": lambda: open_view(path),
                "zarr": lambda: open_zarr(path),
            },
            num_rounds=num_rounds,
        )
    write_result(
        options.out,
        settings={"recordings": num_recordings, "feature_sets": len(FEATURE_SETS), "rounds": num_rounds},
        timings={name: timing.summary(num_recordings, "recordings") for name, timing in timings.items()},
        ratios={
            "first_over_zarr": ratio(timings["first"], timings["zarr"]),
            "again_over_zarr": ratio(timings["again"], timings["zarr"]),
        },
        targets={},
    )


def write_set(path: Path, name: str, recordings: list[str]) -> None:
    """Write one feature set: a recording by the writer, and the others as copies."""
    feature_set = FeatureSet(name=name, recipe={"backbone": "random"}, feature_dim=FEATURE_DIM)
    first, *others = recordings
    times = np.arange(NUM_ROWS, dtype=np.int64)
    with RecordingWriter(path, feature_set, VIEW, first, timestamps=times, provenance={}) as writer:
        writer.append(np.ones((NUM_ROWS, FEATURE_DIM), dtype=np.float16))
        writer.commit()
    view = path / name / VIEW
    contents = {
        file.relative_to(view / first): file.read_bytes()
        for file in (view / first).rglob("*")
        if file.is_file()
    }
    for recording in others:
        for relative, content in contents.items():
            target = view / recording / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def open_view(path: Path) -> list[tuple[str, int]]:
    """Names of the complete recordings and their rows, from the index where there is one."""
    entries = FeatureStore(path).entries(FEATURE_SETS[0], VIEW)
    return [(entry.recording, entry.num_rows) for entry in entries if entry.complete]


def open_first(path: Path) -> list[tuple[str, int]]:
    """As `open_view`, without an index; it leaves one."""
    (path / FEATURE_SETS[0] / VIEW / INDEX).unlink(missing_ok=True)
    return open_view(path)


def open_zarr(path: Path) -> list[tuple[str, int]]:
    """The same by zarr-python alone."""
    view = zarr.open_group(path / FEATURE_SETS[0] / VIEW, mode="r")
    found = []
    for name, recording in view.groups():
        rows = recording["features"]
        assert isinstance(rows, zarr.Array)
        if recording.attrs["complete"]:
            found.append((name, rows.shape[0]))
    return sorted(found)


def check_equal(path: Path, names: list[str]) -> None:
    """Fail unless the three ways find the same."""
    expected = [(name, NUM_ROWS) for name in names]
    for found in (open_first(path), open_view(path), open_zarr(path)):
        if found != expected:
            raise RuntimeError("the ways of opening don't agree")


if __name__ == "__main__":
    main()
