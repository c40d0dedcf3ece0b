"""A project whose store is in a bucket, from videos to scores; with a cache, and with damage."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sync_demo.benchmark import render_benchmark
from sync_demo.plan import Settings
from sync_store.s3 import S3Path
from sync_train.cli import main

BENCHMARK = Settings(seed=74, recordings=(2, 2, 1))

PROJECT = """\
[dataset]
label_fps = 10

[views.v3]
kind = "exo"

[views.v4]
kind = "exo"

[views.e4]
kind = "ego"

[extract]
backbone = "tsm-random-demo"
device = "cpu"
batch_size = 8
fps = 4
views = ["v3", "e4"]

[train]
chunk_rows = 1
max_chunks = 128
seeds = [0]
methods = ["feature"]

[train.teacher]
max_epochs = 2

[train.adapter]
num_layers = 1
num_heads = 2
ffn_dim = 16
max_epochs = 2
"""

CACHE = 'cache = "$SCRATCH/features"\n'

SHARDS = "features.zarr/tsm-random-demo"


def run(command: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SYNC_")}
    return subprocess.run(
        [str(Path(sys.executable).with_name(command)), *arguments],
        cwd=folder,
        env={**plain, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def succeed(command: str, folder: Path, *arguments: str) -> None:
    """A command that ends well."""
    done = run(command, folder, *arguments)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Path], Result]]:
    """`sync-train` in this process, which says what it does to the cache."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("SYNC_VERBOSE", "1")

    def train(folder: Path) -> Result:
        monkeypatch.chdir(folder)
        return CliRunner().invoke(main, ["--quiet"])

    yield train
    root.handlers[:], root.level = handlers, level
    for package in ("sync_store", "sync_extract", "sync_train", "sync_eval", "sync_predict", "sync_demo"):
        logging.getLogger(package).setLevel(logging.NOTSET)


def weights(folder: Path) -> dict[str, bytes]:
    """The weights and predictions of all runs of a project."""
    files = [path for pattern in ("*.safetensors", "*.csv") for path in folder.rglob(pattern)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if "runs" in path.parts}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with its store on disk, trained."""
    lab = tmp_path_factory.mktemp("local") / "lab"
    render_benchmark(lab, BENCHMARK, workers=2)
    (lab / "sync.toml").write_text(PROJECT)
    succeed("sync-extract", lab)
    succeed("sync-train", lab, "--quiet")
    assert any(name.endswith(".safetensors") for name in weights(lab))
    return lab


def lab_on(place: str, local: Path, folder: Path, settings: str = "") -> Path:
    """The project, untrained, with its store at a place."""
    lab = folder / "lab"
    shutil.copytree(local, lab, ignore=shutil.ignore_patterns("features.zarr", "runs"))
    (lab / "sync.toml").write_text(f'{PROJECT}\n[store]\npath = "{place}"\n{settings}')
    return lab


def flip(path: S3Path | Path) -> None:
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(bytes(content))


def test_extraction_training_and_scores_are_those_of_a_local_store(
    s3: Any, labs: Any, local: Path, tmp_path: Path
) -> None:
    lab = lab_on(f"{s3.url}/features.zarr", local, tmp_path)
    succeed("sync-extract", lab)
    assert s3.files("features.zarr") == labs.store(local)
    succeed("sync-train", lab, "--quiet")
    assert weights(lab) == weights(local)
    scores = [run("sync-eval", folder, "--json").stdout for folder in (lab, local)]
    assert scores[0] == scores[1].replace(str(local), str(lab)) and '"f1' in scores[0].lower()
    assert not (lab / "features.zarr").exists()


def test_with_a_cache_each_recording_is_fetched_once(
    s3: Any, local: Path, tmp_path: Path, train: Callable[[Path], Result]
) -> None:
    lab = lab_on(f"{s3.url}/features.zarr", local, tmp_path, CACHE)
    succeed("sync-extract", local, "copy", "features.zarr", f"{s3.url}/features.zarr")
    done = train(lab)
    assert done.exit_code == 0, done.stderr
    assert weights(lab) == weights(local)
    cached = sorted((tmp_path / "scratch").glob("features/*/tsm-random-demo/*/*/features/c/0/0"))
    assert len(cached) > 3

    flip(cached[0])
    shutil.rmtree(lab / "runs")
    done = train(lab)
    assert done.exit_code == 0 and weights(lab) == weights(local)
    assert "again: " in done.stderr and "don't fit their checksum" in done.stderr

    for path, _ in S3Path(s3.bucket, SHARDS).files():
        if "/features/c/" in path.key:
            path.unlink()
    shutil.rmtree(lab / "runs")
    done = train(lab)
    assert done.exit_code == 0 and weights(lab) == weights(local)


def test_a_flipped_bit_in_the_bucket_is_found_and_never_trained_on(
    s3: Any, local: Path, tmp_path: Path, train: Callable[[Path], Result]
) -> None:
    lab = lab_on(f"{s3.url}/features.zarr", local, tmp_path)
    succeed("sync-extract", local, "copy", "features.zarr", f"{s3.url}/features.zarr")
    recording = (local / "splits" / "train.txt").read_text().split()[0]
    damaged = S3Path(s3.bucket, f"{SHARDS}/v3/{recording}/features/c/0/0")
    flip(damaged)
    verified = run("sync-extract", lab, "verify")
    assert verified.returncode == 3
    assert f"damaged: tsm-random-demo/v3/{recording} shard 0 can't be read" in verified.stdout
    assert verified.stdout.endswith(", 1 damaged\n")
    for settings in ("", CACHE):
        (lab / "sync.toml").write_text((lab / "sync.toml").read_text() + settings)
        refused = train(lab)
        assert refused.exit_code == 1
        (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
        assert str(damaged) in line and "don't fit their checksum" in line
        assert "Traceback" not in refused.stderr and weights(lab) == {}
