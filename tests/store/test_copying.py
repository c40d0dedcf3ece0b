"""Copies hold the same bytes, go on where they stopped, and never hold a damaged recording."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync_store import layout
from sync_store.claim import Claim
from sync_store.copying import copy_recording
from sync_store.errors import BusyError, CompleteError, FingerprintError, IncompleteError, StoreError
from sync_store.layout import CLAIMS, FeatureSet
from sync_store.reader import FeatureStore
from sync_store.verify import verify_store
from sync_store.writer import RecordingWriter

WIDTH = 16
SHARD_ROWS = 32
NUM_ROWS = 100
SMALL = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=WIDTH, trained_on=("e4",))
NAMES = ("small", "e4", "r")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8 rows and shards of 32."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 8 * WIDTH * 2)
    monkeypatch.setattr(layout, "SHARD_BYTES", SHARD_ROWS * WIDTH * 2)


def write(store: Path, num_rows: int = NUM_ROWS, seed: int = 0, feature_set: FeatureSet = SMALL) -> None:
    times = np.arange(num_rows, dtype=np.int64) * 33_000_000
    rows = np.random.default_rng(seed).standard_normal((num_rows, WIDTH)).astype(np.float16)
    with RecordingWriter(store, feature_set, "e4", "r", timestamps=times, provenance={}) as writer:
        writer.append(rows)
        writer.commit()


@pytest.fixture
def source(tmp_path: Path) -> FeatureStore:
    write(tmp_path / "source.zarr")
    return FeatureStore(tmp_path / "source.zarr")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target.zarr"


def contents(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def shard(store: Path, number: int) -> Path:
    return layout.shard_path(store.joinpath(*NAMES, "features"), number)  # type: ignore[return-value]


def stamps(store: Path) -> dict[int, tuple[int, int]]:
    """Which file each shard is, and when it was written."""
    found = {number: shard(store, number) for number in range(4)}
    stats = {number: path.stat() for number, path in found.items() if path.exists()}
    return {number: (status.st_ino, status.st_mtime_ns) for number, status in stats.items()}


class InterruptedCopyError(Exception):
    """What ends a copy."""


def copy_some(source: FeatureStore, target: Path, num_files: int) -> None:
    """Begin a copy that ends after so many files of rows."""
    left = iter(range(num_files - 1))

    def on_read(_: int) -> None:
        if next(left, None) is None:
            raise InterruptedCopyError

    with pytest.raises(InterruptedCopyError):
        copy_recording(source, target, *NAMES, on_read=on_read)


@settings(max_examples=15, deadline=None)
@given(num_rows=st.integers(1, 3 * SHARD_ROWS + 1))
def test_a_copy_has_the_same_bytes(num_rows: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("stores")
    write(folder / "source.zarr", num_rows)
    sizes: list[int] = []
    num_bytes = copy_recording(
        FeatureStore(folder / "source.zarr"), folder / "target.zarr", *NAMES, on_read=sizes.append
    )
    assert contents(folder / "target.zarr") == contents(folder / "source.zarr")
    assert num_bytes == sum(sizes) > num_rows * WIDTH * 2
    assert len(sizes) == 1 + -(-num_rows // SHARD_ROWS)


def test_what_is_there_is_not_copied_again(source: FeatureStore, target: Path) -> None:
    copy_recording(source, target, *NAMES)
    written = stamps(target)
    assert copy_recording(source, target, *NAMES) is None
    assert stamps(target) == written
    assert copy_recording(source, target, *NAMES, overwrite=True) > 0
    assert all(stamps(target)[number] != written[number] for number in written)
    assert contents(target) == contents(source.path)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_files", [1, 2, 4])
def test_an_interrupted_copy_is_no_recording_and_goes_on(
    source: FeatureStore, target: Path, num_files: int
) -> None:
    copy_some(source, target, num_files)
    with pytest.raises(IncompleteError, match="isn't in the store"):
        FeatureStore(target).read(*NAMES)
    written = stamps(target)
    assert len(written) == num_files - 1
    copy_recording(source, target, *NAMES)
    assert {number: stamps(target)[number] for number in written} == written
    assert contents(target) == contents(source.path)  # type: ignore[arg-type]


def test_files_of_an_interrupted_copy_that_are_bad_or_foreign_are_replaced(
    source: FeatureStore, target: Path
) -> None:
    copy_some(source, target, 5)
    flipped = bytearray(shard(target, 0).read_bytes())
    flipped[50] ^= 1
    shard(target, 0).write_bytes(flipped)
    shard(target, 1).write_bytes(shard(target, 1).read_bytes()[:100])
    foreign = [shard(target, 9), shard(target, 0).with_name(".0.abc.partial")]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of something else")
    written = stamps(target)
    copy_recording(source, target, *NAMES)
    now = stamps(target)
    assert {number for number in written if now[number] == written[number]} == {2, 3}
    assert contents(target) == contents(source.path)  # type: ignore[arg-type]


def test_a_copy_takes_the_place_of_an_unfinished_extraction(source: FeatureStore, target: Path) -> None:
    times = np.arange(NUM_ROWS, dtype=np.int64)
    with RecordingWriter(target, SMALL, "e4", "r", timestamps=times, provenance={}) as writer:
        writer.append(np.ones((40, WIDTH), dtype=np.float16))
    copy_recording(source, target, *NAMES)
    assert contents(target) == contents(source.path)  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", ["bit", "end", "digest", "timestamp", "missing", "pipe", "folder"])
def test_a_damaged_source_is_not_copied(source: FeatureStore, target: Path, damage: str) -> None:
    folder = Path(str(source.path)).joinpath(*NAMES)
    if damage == "digest":  # rows that fit their checksums, but aren't those that were written
        attributes = json.loads((folder / "zarr.json").read_text())
        attributes["attributes"]["shard_sha256"][2] = "0" * 64
        (folder / "zarr.json").write_text(json.dumps(attributes))
        path = shard(folder.parents[2], 2)
    else:
        path = folder / "timestamps" / "c" / "0" if damage == "timestamp" else shard(folder.parents[2], 2)
        content = bytearray(path.read_bytes())
        content[7] ^= 8
        path.unlink()
        if damage == "pipe":
            os.mkfifo(path)
        elif damage == "folder":
            path.mkdir()
        elif damage != "missing":
            path.write_bytes(content[:-9] if damage == "end" else content)
    with pytest.raises(StoreError, match=str(path)):
        copy_recording(source, target, *NAMES)
    assert not (target.joinpath(*NAMES) / "zarr.json").exists()
    assert FeatureStore(target).recordings("small", "e4") == []
    assert not (target / CLAIMS).exists()


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("", {"attributes": {"shard_sha256": []}}),
        ("", {"attributes": {"shard_sha256": None}}),
        ("features", {"shape": [10**15, WIDTH]}),
        ("timestamps", {"shape": [10**15]}),
        ("timestamps", None),
        ("features", None),
    ],
)
def test_attributes_and_metadata_that_do_not_fit_are_refused(
    source: FeatureStore, target: Path, file: str, change: dict[str, Any] | None
) -> None:
    path = Path(str(source.path)).joinpath(*NAMES, file, "zarr.json")
    table = json.loads(path.read_text())
    for key, value in (change or {}).items():
        table[key] = {**table[key], **value} if isinstance(value, dict) else value
    text = json.dumps(table)
    path.write_text(text if change else text[:-40])
    with pytest.raises(StoreError, match=r"don't fit each other|can't be read"):
        copy_recording(source, target, *NAMES)
    assert FeatureStore(target).recordings("small", "e4") == []


def test_a_feature_set_without_its_recipe_is_refused(source: FeatureStore, target: Path) -> None:
    path = Path(str(source.path), "small", "zarr.json")
    table = json.loads(path.read_text())
    del table["attributes"]["recipe"]
    path.write_text(json.dumps(table))
    with pytest.raises(StoreError, match="feature set small lacks or has a wrong attribute"):
        copy_recording(FeatureStore(Path(str(source.path))), target, *NAMES)


def test_who_commits_while_a_copy_waits_for_its_claim_wins(
    source: FeatureStore, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim(*names: Any) -> Claim:
        write(target, seed=5)
        monkeypatch.undo()
        return Claim(*names)

    monkeypatch.setattr("sync_store.copying.Claim", claim)
    with pytest.raises(CompleteError, match="has another one; --overwrite replaces it"):
        copy_recording(source, target, *NAMES)
    assert [finding.state for finding in verify_store(FeatureStore(target), [], [])] == ["good"]


def test_another_recording_of_that_name_is_replaced_only_if_asked(source: FeatureStore, target: Path) -> None:
    write(target, 70, seed=1)
    before = contents(target)
    with pytest.raises(
        CompleteError, match=f"^recording r, view e4: {target} has another one; --overwrite replaces it$"
    ):
        copy_recording(source, target, *NAMES)
    assert contents(target) == before
    copy_recording(source, target, *NAMES, overwrite=True)
    assert contents(target) == contents(source.path)  # type: ignore[arg-type]


def test_recipes_are_not_mixed(source: FeatureStore, target: Path) -> None:
    other = FeatureSet(name="small", recipe={"backbone": "other"}, feature_dim=WIDTH)
    write(target, feature_set=other)
    before = contents(target)
    with pytest.raises(FingerprintError, match=r"made by another recipe .*stored 'other', now 'test'"):
        copy_recording(source, target, *NAMES, overwrite=True)
    assert contents(target) == before


def test_a_recording_that_another_process_writes_is_left_to_it(source: FeatureStore, target: Path) -> None:
    copy_some(source, target, 2)
    with pytest.raises(BusyError, match="is being written by process"):
        claim = Claim(target, *NAMES)
        copy_recording(source, target, *NAMES)
    claim.release()
    copy_recording(source, target, *NAMES)
    assert [finding.state for finding in verify_store(FeatureStore(target), [], [])] == ["good"]


def test_what_is_not_whole_in_the_source_is_refused(source: FeatureStore, target: Path) -> None:
    with pytest.raises(IncompleteError, match="isn't in the store"):
        copy_recording(source, target, "small", "e4", "other")
    with pytest.raises(IncompleteError, match=r"there is no feature set 'smal', did you mean 'small'\?"):
        copy_recording(source, target, "smal", "e4", "r")
    assert not target.exists()
