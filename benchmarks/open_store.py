"""Opening one view of a large store: what is in it, without the index and with it, and zarr-python's own way.

The store has the size of Assembly101 with two feature sets: 4,321 recordings in each. They are tiny, since opening
reads no features: one is written, and the others have its bytes, as they would have from the writer. Each
call makes its own `FeatureStore`. "First" is a view that has no `index.json` yet, "again" one that has, "zarr"
opens the group and each member, for what a reader of the Zarr format alone must do to know of each recording
whether it is complete, and how many rows it has. All files are in the page cache. With `--place s3://BUCKET/NAME` the
store is in a bucket, with one feature set and without zarr's way, which takes minutes there; it is deleted in the end.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr

from benchmarks.measure import arguments, ratio, time_in_turn, write_result
from sync_store.atomic import write_atomic
from sync_store.layout import INDEX, FeatureSet
from sync_store.place import Place, delete_tree, files
from sync_store.reader import FeatureStore
from sync_store.s3 import S3Path
from sync_store.writer import RecordingWriter

Way = Callable[[], list[tuple[str, int]]]

NUM_RECORDINGS = 4321
"""Videos of Assembly101, as its abstract counts them."""

FEATURE_SETS = ("dinov2-large", "tsm")
VIEW = "e4"
NUM_ROWS = 16
FEATURE_DIM = 8


def main() -> None:
    options = arguments(
        "open_store", __doc__, place="Where the store is, s3://BUCKET/NAME [default: a disk]."
    )
    num_recordings, num_rounds = (5, 2) if options.smoke else (NUM_RECORDINGS, 3 if options.place else 7)
    names = [f"r{index:04d}" for index in range(num_recordings)]
    with _place(options.place) as place:
        ways: dict[str, Way] = {"first": lambda: open_first(place), "again": lambda: open_view(place)}
        feature_sets = FEATURE_SETS if isinstance(place, Path) else FEATURE_SETS[:1]
        if isinstance(place, Path):
            ways["zarr"] = lambda: open_zarr(place)
        for name in feature_sets:
            write_set(place, name, names)
        check_equal(ways.values(), names)
        timings = time_in_turn(ways, num_rounds=num_rounds)
    against = "zarr" if "zarr" in timings else "first"
    write_result(
        options.out,
        settings={"recordings": num_recordings, "feature_sets": len(feature_sets), "rounds": num_rounds},
        timings={name: timing.summary(num_recordings, "recordings") for name, timing in timings.items()},
        ratios={
            f"{name}_over_{against}": ratio(timings[name], timings[against])
            for name in ("first", "again")
            if name != against
        },
        targets={},
    )


@contextmanager
def _place(url: str | None) -> Iterator[Place]:
    if url is not None:
        place = S3Path.parse(url)
        if place.exists():
            raise SystemExit(f"{url}: isn't empty")
        yield place
        delete_tree(place)
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch) / "features.zarr"


def write_set(place: Place, name: str, recordings: list[str]) -> None:
    """Write one feature set: a recording by the writer, and the others as copies."""
    feature_set = FeatureSet(name=name, recipe={"backbone": "random"}, feature_dim=FEATURE_DIM)
    first, *others = recordings
    times = np.arange(NUM_ROWS, dtype=np.int64)
    with RecordingWriter(place, feature_set, VIEW, first, timestamps=times, provenance={}) as writer:
        writer.append(np.ones((NUM_ROWS, FEATURE_DIM), dtype=np.float16))
        writer.commit()
    view = place / name / VIEW
    contents = {str(file)[len(str(view / first)) + 1 :]: file.read_bytes() for file, _ in files(view / first)}

    def copy(recording: str) -> None:
        for relative, content in contents.items():
            write_atomic(view.joinpath(recording, *relative.split("/")), content)

    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(copy, others))


def open_view(place: Place) -> list[tuple[str, int]]:
    """Names of the complete recordings and their rows, from the index where there is one."""
    entries = FeatureStore(place).entries(FEATURE_SETS[0], VIEW)
    return [(entry.recording, entry.num_rows) for entry in entries if entry.complete]


def open_first(place: Place) -> list[tuple[str, int]]:
    """As `open_view`, without an index; it leaves one."""
    (place / FEATURE_SETS[0] / VIEW / INDEX).unlink(missing_ok=True)
    return open_view(place)


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


def check_equal(ways: Iterable[Way], names: list[str]) -> None:
    """Fail unless all ways find the same."""
    expected = [(name, NUM_ROWS) for name in names]
    if any(way() != expected for way in ways):
        raise RuntimeError("the ways of opening don't agree")


if __name__ == "__main__":
    main()
