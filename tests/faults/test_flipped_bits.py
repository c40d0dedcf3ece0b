"""Single bits of a store's files that change on disk: found, or without effect, and never trained on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from sync_store.errors import StoreError
from sync_store.reader import FeatureStore

NUM_FLIPS = 300

SETTINGS = """\
[dataset]
label_fps = 30
[views.v3]
kind = "exo"
[views.e4]
kind = "ego"
[extract]
feature_set = "tsm-random-demo"
[train]
methods = ["exo-oracle"]
"""

Call = Callable[..., Any]


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_no_flipped_bit_changes_what_a_reader_gets(whole: Any, tmp_path: Path) -> None:
    """Anywhere in a recording: its rows come as they were, or an error that names it."""
    store = FeatureStore(Path(shutil.copytree(whole.store, tmp_path / "features.zarr")))
    good = store.read("tsm-random-demo", "v3", "r1")
    files = sorted(path for path in (store.path / "tsm-random-demo/v3/r1").rglob("*") if path.is_file())
    rng = np.random.default_rng(5)
    num_refused = 0
    for _ in range(NUM_FLIPS):
        path = files[rng.integers(len(files))]
        bit = int(rng.integers(8 * path.stat().st_size))
        flip(path, bit)
        try:
            read = store.read("tsm-random-demo", "v3", "r1")
        except StoreError as error:
            num_refused += 1
            assert "recording r1, view v3" in str(error), (path, bit)
        else:
            assert np.array_equal(read.features, good.features), (path, bit)
            assert np.array_equal(read.timestamps, good.timestamps), (path, bit)
        flip(path, bit)
    assert num_refused > NUM_FLIPS / 2


def test_training_refuses_a_recording_with_a_flipped_bit_by_its_name(
    whole: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from sync_train.cli import main

    shutil.copytree(whole.store, tmp_path / "features.zarr")
    view = tmp_path / "features.zarr/tsm-random-demo/v3"
    shutil.copytree(view / "r1", view / "e1")
    (tmp_path / "sync.toml").write_text(SETTINGS)
    (tmp_path / "splits").mkdir()
    (tmp_path / "labels").mkdir()
    for split, names in (("train", "r1\nr2\n"), ("adapt", "a1\na2\n"), ("test", "e1\n")):
        (tmp_path / "splits" / f"{split}.txt").write_text(names)
    for name in ("r1", "r2"):
        (tmp_path / "labels" / f"{name}.csv").write_text("start_seconds,stop_seconds,label\n0,4,a\n4,8,b\n")
    flip(view / "r2/features/c/7/0", 12345)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["teacher", "--quiet"])
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "recording r2, view v3" in done.stderr and "don't fit their checksum" in done.stderr
    assert list((tmp_path / "runs").rglob("model.safetensors")) == []
