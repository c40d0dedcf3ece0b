"""A project of small videos that is extracted on a disk of its own, and may lose it."""

import hashlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sync_demo.encode import COLOR, write_video
from sync_extract.cli import main
from sync_store import layout

SIZE = (48, 64)
NUM_FRAMES = 240
FEATURE_SET = "tsm-random-demo"

SETTINGS = """\
[dataset]
label_fps = 30

[views.v3]
kind = "exo"

[views.e4]
kind = "ego"

[store]
path = "disk/features.zarr"

[extract]
backbone = "tsm-random-demo"
device = "cpu"
batch_size = 8
"""

CHUNK_BYTES, SHARD_BYTES = 2 << 10, 8 << 10
"""So that a recording has thirty shards."""

IN_SMALL_SHARDS = (
    "import sync_store.layout as layout\n"
    f"layout.CHUNK_BYTES, layout.SHARD_BYTES = {CHUNK_BYTES}, {SHARD_BYTES}\n"
    "from sync_extract.cli import main\n"
    "main()\n"
)


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A project folder whose store lies in its folder `disk`."""

    root: Path

    @property
    def disk(self) -> Path:
        return self.root / "disk"

    @property
    def store(self) -> Path:
        return self.disk / "features.zarr"

    def video(self, recording: str, view: str) -> Path:
        return self.root / "videos" / recording / f"{view}.mp4"

    def film(self, recording: str, view: str, seed: int) -> None:
        """Write a video of noise that moves; another seed gives other pictures."""
        still = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        pictures = (np.roll(still, number, axis=1) for number in range(NUM_FRAMES))
        path = self.video(recording, view)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, pictures, COLOR, Fraction(30), Fraction(0), SIZE)

    def recording(self, recording: str, view: str) -> Path:
        """Its folder in the store."""
        return self.store / FEATURE_SET / view / recording

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `sync-extract` in a process of its own."""
        plain = {key: value for key, value in os.environ.items() if not key.startswith("SYNC_")}
        return subprocess.Popen(
            [sys.executable, "-c", IN_SMALL_SHARDS, *arguments],
            cwd=self.root,
            env={**plain, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tree(self) -> dict[str, str]:
        """Digest of every file of the store, the cache aside."""
        return {
            str(path.relative_to(self.store)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.store.rglob("*")
            if path.is_file() and path.name != layout.INDEX
        }


Call = Callable[..., Result]


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lab = Lab(root=tmp_path_factory.mktemp("filmed"))
    for seed, (recording, view) in enumerate((r, v) for r in ("r1", "r2") for v in ("v3", "e4")):
        lab.film(recording, view, seed)
    return lab.root / "videos"


def make_lab(root: Path, videos: Path) -> Lab:
    """A project in which nothing is extracted yet; its videos are links."""
    lab = Lab(root=root)
    lab.disk.mkdir(parents=True)
    (root / "sync.toml").write_text(SETTINGS)
    for path in videos.glob("*/*.mp4"):
        link = lab.video(path.parent.name, path.stem)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return lab


@pytest.fixture
def lab(tmp_path: Path, filmed: Path) -> Lab:
    return make_lab(tmp_path / "lab", filmed)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, filmed: Path) -> Lab:
    """A project whose view v3 was extracted on a good disk."""
    lab = make_lab(tmp_path_factory.mktemp("whole") / "lab", filmed)
    process = lab.start("--view", "v3")
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 0, messages
    assert sum("/features/c/" in name for name in lab.tree()) == 60
    return lab


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """`sync-extract` in this process: `call(lab, *arguments)`; for what isn't disturbed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(layout, "CHUNK_BYTES", CHUNK_BYTES)
    monkeypatch.setattr(layout, "SHARD_BYTES", SHARD_BYTES)

    def call(lab: Lab, *arguments: str) -> Result:
        monkeypatch.chdir(lab.root)
        result = CliRunner().invoke(main, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield call
    root.handlers[:], root.level = handlers, level


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], bool], "subprocess.Popen[str]"], None]:
    """Wait until something has happened; fail if the process ends before."""

    def wait(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
        while not happened():
            if process.poll() is not None:
                raise AssertionError(f"ended too early: {process.communicate()}")
            time.sleep(0.001)

    return wait
