"""A cache gives what the store holds: fetched once, checked against its digests, mended when it is damaged."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from sync_store import layout
from sync_store.cache import CachedStore, open_store
from sync_store.claim import Claim
from sync_store.errors import IncompleteError, StoreError
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_store.writer import RecordingWriter

WIDTH = 16
SMALL = FeatureSet(name="small", recipe={"backbone": "test"}, feature_dim=WIDTH)
NAMES = ("small", "e4", "r")

PROJECT = '[dataset]\nlabel_fps = 30\n[views.e4]\nkind = "ego"\n[store]\n'


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 8 * WIDTH * 2)
    monkeypatch.setattr(layout, "SHARD_BYTES", 32 * WIDTH * 2)


def write(store: Path, seed: int = 0, feature_set: FeatureSet = SMALL, overwrite: bool = False) -> None:
    times = np.arange(100, dtype=np.int64) * 33_000_000
    rows = np.random.default_rng(seed).standard_normal((100, WIDTH)).astype(np.float16)
    with RecordingWriter(
        store, feature_set, "e4", "r", timestamps=times, provenance={"seed": seed}, overwrite=overwrite
    ) as writer:
        writer.append(rows)
        writer.commit()


@pytest.fixture
def far(tmp_path: Path) -> Path:
    write(tmp_path / "far.zarr")
    return tmp_path / "far.zarr"


@pytest.fixture
def cached(far: Path, tmp_path: Path) -> CachedStore:
    return CachedStore(far, tmp_path / "cache")


def shard(store: Path, number: int) -> Path:
    return store.joinpath(*NAMES, "features", "c", str(number), "0")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)


def assert_same(store: FeatureStore, far: Path) -> None:
    read, there = store.read(*NAMES), FeatureStore(far).read(*NAMES)
    np.testing.assert_array_equal(read.features, there.features)
    np.testing.assert_array_equal(read.timestamps, there.timestamps)


def test_what_was_read_is_read_near_by_from_then_on(cached: CachedStore, far: Path) -> None:
    assert_same(cached, far)
    rows = cached.read(*NAMES).features
    shutil.rmtree(far.joinpath(*NAMES, "features"))
    np.testing.assert_array_equal(cached.read(*NAMES).features, rows)
    with pytest.raises(StoreError, match="is damaged"):
        FeatureStore(far).read(*NAMES)


def test_damage_near_by_is_mended_and_said(
    cached: CachedStore, far: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cached.read(*NAMES)
    flip(shard(cached.near("small"), 1))
    with caplog.at_level(logging.INFO, "sync_store"):
        assert_same(cached, far)
    assert "fetching recording r, view e4 again: " in caplog.text
    assert "don't fit their checksum" in caplog.text
    assert shard(cached.near("small"), 1).read_bytes() == shard(far, 1).read_bytes()


def test_damage_far_away_is_never_cached(cached: CachedStore, far: Path) -> None:
    flip(shard(far, 1))
    with pytest.raises(StoreError, match=f"{shard(far, 1)}: the bytes at .* don't fit their checksum"):
        cached.read(*NAMES)
    assert FeatureStore(cached.near("small")).recordings("small", "e4") == []


def test_a_recording_that_was_made_again_is_fetched_again(cached: CachedStore, far: Path) -> None:
    cached.read(*NAMES)
    write(far, seed=1, overwrite=True)
    assert_same(cached, far)


def test_another_recipe_has_a_folder_of_its_own(cached: CachedStore, far: Path) -> None:
    cached.read(*NAMES)
    before = cached.near("small")
    shutil.rmtree(far)
    write(far, seed=2, feature_set=FeatureSet(name="small", recipe={"backbone": "b"}, feature_dim=WIDTH))
    again = CachedStore(far, before.parent)
    assert again.near("small") != before
    assert_same(again, far)


def test_while_another_process_fetches_it_the_store_itself_is_read(cached: CachedStore, far: Path) -> None:
    claim = Claim(cached.near("small"), *NAMES)
    assert_same(cached, far)
    assert not shard(cached.near("small"), 0).exists()
    claim.release()
    assert_same(cached, far)
    assert shard(cached.near("small"), 0).exists()


def test_a_cache_that_cannot_be_written_is_done_without(
    far: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    cached = CachedStore(far, tmp_path / "cache")
    assert_same(cached, far)
    assert "isn't used as a cache: " in caplog.text and "Not a directory" in caplog.text


def test_what_the_store_lacks_is_refused(cached: CachedStore) -> None:
    with pytest.raises(IncompleteError, match="isn't in the store"):
        cached.read("small", "e4", "other")


def test_a_project_names_its_cache(far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_TEST_SCRATCH", str(tmp_path / "scratch"))
    settings = PROJECT + 'path = "far.zarr"\ncache = "$SYNC_TEST_SCRATCH/features"\n'
    (tmp_path / "sync.toml").write_text(settings)
    store = open_store(load_project(tmp_path))
    assert_same(store, far)
    assert isinstance(store, CachedStore)
    assert store.near("small").parent == tmp_path / "scratch" / "features"
    (tmp_path / "sync.toml").write_text(PROJECT + 'path = "far.zarr"\n')
    assert not isinstance(open_store(load_project(tmp_path)), CachedStore)
