"""Readers of files on bytes that nobody meant: each gives a value or an error of ours, and nothing else.

`SYNC_FUZZ_EXAMPLES` sets how many examples each test takes.
"""

import json
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_extract.decode import decode_frames
from sync_extract.header import estimate_rows
from sync_extract.probe import probe
from sync_store.datasets import open_dataset
from sync_store.errors import DatasetError, ProjectError, StoreError, SyncError, TrainingError, VideoError
from sync_store.exported import read_recipe
from sync_store.labels import read_frames, read_segments
from sync_store.predictions import find_predictions
from sync_store.project import load_project
from sync_store.reader import FeatureStore
from sync_store.splits import read_split

EXAMPLES = int(os.environ.get("SYNC_FUZZ_EXAMPLES", "60"))

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def mutated(content: bytes, seed: int) -> bytes:
    """Some bytes changed, a piece cut out, doubled or moved, or the end cut off."""
    draw = random.Random(seed)
    result = bytearray(content)
    for _ in range(draw.choice((1, 2, 8))):
        at, length = draw.randrange(len(result) or 1), draw.choice((1, 4, 64, 1000))
        match draw.randrange(5):
            case 0:
                result[at : at + 1] = draw.randbytes(1)
            case 1:
                result[at : at + 4] = draw.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
            case 2:
                del result[at : at + length]
            case 3:
                result[at:at] = result[at : at + length]
            case 4:
                del result[at:]
    return bytes(result)


def replaced(table: Any, draw: random.Random, value: Any) -> Any:
    """A copy of a JSON value with one value anywhere in it replaced."""
    if isinstance(table, dict) and table and draw.random() < 0.9:
        key = draw.choice(sorted(table))
        return table | {key: replaced(table[key], draw, value)}
    if isinstance(table, list) and table and draw.random() < 0.7:
        at = draw.randrange(len(table))
        return [*table[:at], replaced(table[at], draw, value), *table[at + 1 :]]
    return value


@fuzz
@given(
    st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_texts(tmp_path: Path, content: bytes) -> None:
    for read in (read_segments, read_frames):
        path = tmp_path / "labels.csv"
        path.write_bytes(content if read is read_frames else b"start_seconds,stop_seconds,label\n" + content)
        with suppress(DatasetError):
            read(path)
    (tmp_path / "s.txt").write_bytes(content)
    with suppress(DatasetError):
        assert all((tmp_path / name).parent == tmp_path for name in read_split(tmp_path, "s"))


@fuzz
@given(seed=st.integers(0, 2**32))
def test_sync_toml(template: Path, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "sync.toml"
    path.write_bytes(mutated((template / "sync.toml").read_bytes(), seed))
    with suppress(SyncError):
        project = load_project(path)
        with suppress(DatasetError):
            open_dataset(project).recordings()


@fuzz
@given(value=values, seed=st.integers(0, 2**32))
def test_values_in_sync_toml(template: Path, tmp_path: Path, value: Any, seed: int) -> None:
    """Values of TOML, also of other types than the keys have."""
    line = (
        f"{random.Random(seed).choice(('root', 'kind', 'label_fps', 'background', 'splits', 'egoexo4d'))} = "
    )
    text = json.dumps(value, ensure_ascii=False)
    content = f"[dataset]\n{line}{text}\n[views.v3]\nkind = 'exo'\n"
    path = tmp_path / "sync.toml"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with suppress(ProjectError):
        load_project(path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("runs/main/seed-0/predictions/tas/e4/predictions.json", lambda lab: find_predictions(lab / "runs")),
        ("model/recipe.json", lambda lab: read_recipe(lab / "model")),
        ("features.zarr/zarr.json", lambda lab: FeatureStore(lab / "features.zarr")),
        ("features.zarr/dinov2-random-demo/zarr.json", None),
        ("features.zarr/dinov2-random-demo/v3/index.json", None),
        ("features.zarr/dinov2-random-demo/v3/t0/zarr.json", None),
        ("features.zarr/dinov2-random-demo/v3/t0/features/zarr.json", None),
        ("features.zarr/dinov2-random-demo/v3/t0/timestamps/zarr.json", None),
    ],
)
def test_values_in_json(lab: Any, name: str, read: Callable[[Path], object] | None) -> None:
    path = lab.root / name
    content = path.read_bytes()

    def read_store(root: Path) -> None:
        store = FeatureStore(root / "features.zarr")
        (feature_set,) = store.feature_sets()
        for entry in store.entries(feature_set, "v3"):
            assert isinstance(entry.num_rows, int) and isinstance(entry.size_bytes, int), entry
        store.read(feature_set, "v3", "t0")

    @fuzz
    @given(value=values, seed=st.integers(0, 2**32), is_bytes=st.booleans())
    def check(value: Any, seed: int, is_bytes: bool) -> None:
        table = replaced(json.loads(content), random.Random(seed), value)
        path.write_bytes(mutated(content, seed) if is_bytes else json.dumps(table).encode())
        with suppress(DatasetError, StoreError, TrainingError):
            (read or read_store)(lab.root)

    check()


@fuzz
@given(seed=st.integers(0, 2**32))
def test_videos(template: Path, tmp_path: Path, seed: int) -> None:
    """What opens is decoded to the end; FFmpeg fails in many ways, and each becomes an error of ours."""
    path = tmp_path / "v.mp4"
    path.write_bytes(mutated((template / "videos" / "t0" / "v3.mp4").read_bytes(), seed))
    with suppress(VideoError):
        estimate_rows(path, None)
        video = probe(path)
        if video.num_frames < 1000 and video.width * video.height < 1 << 20:
            for batch in decode_frames(video, range(video.num_frames), batch_frames=16, num_threads=1):
                assert batch.shape[1:] == (video.height, video.width, 3)
