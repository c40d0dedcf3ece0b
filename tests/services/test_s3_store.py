"""A store in a bucket: the bytes of one on disk, and the same answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sync_extract.cli import main
from sync_store import layout
from sync_store.errors import BusyError, CompleteError, FingerprintError, IncompleteError, StoreError
from sync_store.layout import FeatureSet, recording_path, shard_path
from sync_store.place import Place, delete_tree, files
from sync_store.reader import FeatureStore
from sync_store.s3 import S3Path
from sync_store.verify import verify_store
from sync_store.writer import RecordingWriter, delete_recording

WIDTH = 16
SHARD_ROWS = 32
SMALL = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=WIDTH)

PROJECT = '[dataset]\nlabel_fps = 30\n[views.e4]\nkind = "ego"\n[store]\npath = "{}"\n'


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8 rows and shards of 32."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 8 * WIDTH * 2)
    monkeypatch.setattr(layout, "SHARD_BYTES", SHARD_ROWS * WIDTH * 2)


@pytest.fixture
def place(s3: Any) -> S3Path:
    return S3Path(s3.bucket, "lab/features.zarr")


def rows(num_rows: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((num_rows, WIDTH)).astype(np.float16)


def writer(
    store: Place, num_planned: int, recording: str = "r", feature_set: FeatureSet = SMALL, **options: Any
) -> RecordingWriter:
    times = np.arange(num_planned, dtype=np.int64) * 33_000_000
    return RecordingWriter(
        store, feature_set, "e4", recording, timestamps=times, provenance={"source": "é.mp4"}, **options
    )


def write(store: Place, num_rows: int, recording: str = "r", seed: int = 0, **options: Any) -> None:
    with writer(store, num_rows, recording, **options) as opened:
        opened.append(rows(num_rows, seed))
        opened.commit()


def contents(store: Place) -> dict[str, bytes]:
    return {str(path).removeprefix(f"{store}/"): path.read_bytes() for path, _ in files(store)}


@pytest.mark.parametrize(
    ("num_planned", "num_given"),
    [(1, 1), (7, 7), (SHARD_ROWS, SHARD_ROWS), (100, 100), (100, 60), (100, 64), (40, 5)],
    ids=["row", "chunk", "shard", "several", "shrunk", "shrunk-to-whole-shards", "shrunk-to-a-chunk"],
)
def test_object_by_object_it_is_the_folder(
    place: S3Path, tmp_path: Path, num_planned: int, num_given: int
) -> None:
    stores: tuple[Place, Place] = (tmp_path / "features.zarr", place)
    for store in stores:
        with writer(store, num_planned) as opened:
            for start in range(0, num_given, 9):
                opened.append(rows(num_given)[start : start + 9])
            opened.commit()
    assert contents(place) == contents(stores[0])
    read = FeatureStore(place).read("small", "e4", "r")
    np.testing.assert_array_equal(read.features, rows(num_given))
    np.testing.assert_array_equal(read.timestamps, np.arange(num_given) * 33_000_000)


def test_readers_get_the_same_answers(place: S3Path, tmp_path: Path) -> None:
    stores: tuple[Place, Place] = (tmp_path / "features.zarr", place)
    for store in stores:
        write(store, 100, "a")
        write(store, 5, "b")
        with writer(store, 100, "unfinished") as opened:
            opened.append(rows(SHARD_ROWS))
    local, remote = map(FeatureStore, stores)
    assert remote.feature_sets() == ["small"] and remote.views("small") == ["e4"]
    assert remote.feature_set("small") == local.feature_set("small")
    assert remote.entries("small", "e4") == local.entries("small", "e4")
    assert [entry.complete for entry in remote.entries("small", "e4")] == [True, True, False]
    assert remote.recordings("small", "e4") == ["a", "b"]
    np.testing.assert_array_equal(remote.timestamps("small", "e4", "a"), local.timestamps("small", "e4", "a"))
    assert list(verify_store(remote, [], [])) == list(verify_store(local, [], []))
    with pytest.raises(IncompleteError, match=f"was never finished .*{place}"):
        remote.read("small", "e4", "unfinished")
    with pytest.raises(IncompleteError, match="isn't in the store"):
        remote.read("small", "e4", "c")


def test_an_unfinished_recording_is_gone_on_with(place: S3Path, tmp_path: Path) -> None:
    write(tmp_path / "features.zarr", 100)
    with writer(place, 100) as opened:
        opened.append(rows(100)[:70])
    folder = recording_path(place, "small", "e4", "r")
    first = shard_path(folder / "features", 0)
    written = [shard_path(folder / "features", number).stat() for number in range(2)]
    assert not shard_path(folder / "features", 2).exists()
    with writer(place, 100) as opened:
        assert opened.next_row == 2 * SHARD_ROWS
        opened.append(rows(100)[opened.next_row :])
        opened.commit()
    assert [shard_path(folder / "features", number).stat() for number in range(2)] == written
    assert first.is_file()
    assert contents(place) == contents(tmp_path / "features.zarr")


def test_a_damaged_shard_of_an_unfinished_recording_is_written_again(place: S3Path, tmp_path: Path) -> None:
    write(tmp_path / "features.zarr", 100)
    with writer(place, 100) as opened:
        opened.append(rows(100)[:70])
    second = shard_path(recording_path(place, "small", "e4", "r") / "features", 1)
    second.write_bytes(second.read_bytes()[:-100])
    with writer(place, 100) as opened:
        assert opened.next_row == SHARD_ROWS
        opened.append(rows(100)[opened.next_row :])
        opened.commit()
    assert contents(place) == contents(tmp_path / "features.zarr")


def test_writers_refuse_what_they_refuse_on_disk(place: S3Path) -> None:
    with writer(place, 100) as opened:
        bad = rows(40)
        bad[35, 3] = np.nan
        opened.append(rows(10))
        with pytest.raises(StoreError, match=r"frame at 1\.485\S* s hold NaN or infinity"):
            opened.append(bad)
        with pytest.raises(BusyError, match="is being written by process"):
            writer(place, 100)
    write(place, 100)
    with pytest.raises(CompleteError, match="is complete in the store"):
        writer(place, 100)
    other = FeatureSet(name="small", recipe={"backbone": "other"}, feature_dim=WIDTH)
    with pytest.raises(FingerprintError, match=r"made by another recipe .*stored 'test', now 'other'"):
        writer(place, 100, "s", other)
    assert [finding.state for finding in verify_store(FeatureStore(place), [], [])] == ["good"]


def test_overwriting_and_deleting_leave_nothing_behind(place: S3Path, tmp_path: Path) -> None:
    write(place, 100)
    write(place, 40, seed=1, overwrite=True)
    write(tmp_path / "features.zarr", 40, seed=1)
    assert contents(place) == contents(tmp_path / "features.zarr")
    delete_recording(recording_path(place, "small", "e4", "r"))
    assert FeatureStore(place).entries("small", "e4") == []
    delete_tree(place)
    assert list(place.files()) == [] and not place.exists()
    with pytest.raises(StoreError, match=f"^{place}: there is no feature store here"):
        FeatureStore(place)


def test_the_index_is_written_used_and_made_anew_when_it_is_stale(place: S3Path) -> None:
    write(place, 100, "a")
    write(place, 40, "b")
    store = FeatureStore(place)
    entries = store.entries("small", "e4")
    index = place / "small" / "e4" / "index.json"
    table = json.loads(index.read_bytes())
    assert {name: entry["num_rows"] for name, entry in table.items()} == {"a": 100, "b": 40}
    marked = {name: {**entry, "num_rows": 7} for name, entry in table.items()}
    index.write_bytes(json.dumps(marked).encode())
    assert [entry.num_rows for entry in store.entries("small", "e4")] == [7, 7]
    write(place, 41, "b", overwrite=True)
    assert [entry.num_rows for entry in store.entries("small", "e4")] == [7, 41]
    index.write_bytes(b"{broken")
    assert [entry.num_rows for entry in store.entries("small", "e4")] == [100, 41]
    index.unlink()
    assert store.entries("small", "e4")[0] == entries[0]
    assert index.is_file()


def test_a_flipped_bit_is_found_by_readers_and_verify(place: S3Path) -> None:
    write(place, 100)
    shard = shard_path(recording_path(place, "small", "e4", "r") / "features", 1)
    content = bytearray(shard.read_bytes())
    content[99] ^= 4
    shard.write_bytes(bytes(content))
    with pytest.raises(
        StoreError, match=f"recording r, view e4: {place}/.* is damaged .*{shard}: the bytes at"
    ):
        FeatureStore(place).read("small", "e4", "r")
    (finding,) = verify_store(FeatureStore(place), [], [])
    assert finding.state == "damaged" and "shard 1 can't be read" in finding.problem


def test_commands_list_and_verify_it(place: S3Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place, 100, "a")
    with writer(place, 100, "b"):
        pass
    (tmp_path / "sync.toml").write_text(PROJECT.format(place))
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(main, ["ls", "--json"])
    assert listed.exit_code == 0, listed.stderr
    (view,) = json.loads(listed.stdout)["views"]
    assert json.loads(listed.stdout)["store"] == str(place)
    assert (view["recordings"], view["incomplete"], view["damaged"]) == (1, ["b"], [])
    verified = CliRunner().invoke(main, ["verify"])
    assert verified.exit_code == 0, verified.stderr
    assert verified.stdout == "incomplete: small/e4/b\n1 good, 1 incomplete, 0 damaged\n"


def test_whoever_may_only_read_reads_and_is_told_so_when_writing(place: S3Path, tmp_path: Path) -> None:
    import boto3

    write(place, 100, "a")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{place.bucket}/*",
            }
        ],
    }
    client = boto3.client("s3")
    client.put_bucket_policy(Bucket=place.bucket, Policy=json.dumps(policy))
    try:
        store = FeatureStore(place)
        assert store.recordings("small", "e4") == ["a"]
        np.testing.assert_array_equal(store.read("small", "e4", "a").features, rows(100))
        with pytest.raises(PermissionError, match=f"the server refuses: AccessDenied: '{place}/"):
            write(place, 100, "b")
        assert not (place / "small" / "e4" / "index.json").exists()
    finally:
        client.delete_bucket_policy(Bucket=place.bucket)


def test_a_bucket_that_is_not_there_is_named(s3: Any) -> None:
    store = S3Path(f"no-{s3.bucket}", "features.zarr")
    with pytest.raises(FileNotFoundError, match=f"there is no bucket {store.bucket}: '{store}/zarr.json'$"):
        write(store, 100)
    with pytest.raises(StoreError, match=f"^{store}: there is no feature store here. Make it with: "):
        FeatureStore(store)
