"""A tiny real project: two cameras' videos in three colours, extracted and trained by the commands."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

FPS = 10
SECONDS = 8
OFFSET_SECONDS = Fraction(2, 5)
"""Of the ego view: four points of the grid, so that the same frames are on it with and without."""

COLORS = {
    "a <b>red</b> \"thing\" & 'more'": (200, 40, 40),
    "green": (30, 190, 50),
    "blau ü 🟦": (40, 60, 210),
}
"""Classes, and what the room looks like meanwhile."""

SPLITS = {"train": ("t0", "t1"), "adapt": ("a0", "a1"), "test": ("e0",)}

SETTINGS = f"""\
[dataset]
label_fps = {FPS}

[views.room]
kind = "exo"

[views.head]
kind = "ego"
offset_seconds = {float(OFFSET_SECONDS)}

[extract]
backbone = "dinov2-random-demo"
feature_set = "demo features"
tokens = ["cls", "mean"]

[train]
chunk_rows = 2
max_chunks = 64
standardize = true
tta_chunk_rows = [1, 2]

[train.teacher]
learning_rate = 3e-3
max_epochs = 6
batch_size = 1
selection = "last"

[train.student]
learning_rate = 3e-3
max_epochs = 4
batch_size = 1
selection = "last"
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def write_film(path: Path, colors: list[tuple[int, int, int]], seed: int) -> Path:
    """One colour a second, dimmed and noisy, in a picture whose right half moves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=FPS, options={"mbtree": "0", "g": str(FPS)})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(FPS * len(colors)):
            picture = np.full((48, 64, 3), colors[number // FPS], dtype=np.float64)
            picture[:, 32 + number % 16 : 48 + number % 16] *= 0.5
            picture += rng.normal(0, 12, picture.shape)
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return path


@dataclass(frozen=True)
class Lab:
    """The project's folder."""

    root: Path

    @property
    def ego_video(self) -> Path:
        """Of the test recording."""
        return self.root / "videos" / "e0" / "head.mp4"

    def predicted(self, method: str, view: str = "head") -> Path:
        """What the run itself predicted of the test recording."""
        return self.root / "runs" / "main" / "seed-0" / "predictions" / method / view / "e0.csv"


def _run(program: str, *arguments: object, cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SYNC_")}
    return subprocess.run(
        [Path(sys.executable).with_name(program), *map(str, arguments)],
        cwd=cwd,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="session")
def run() -> Run:
    """Run an installed command in a folder."""
    return _run


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("lab")
    (root / "sync.toml").write_text(SETTINGS)
    (root / "classes.txt").write_text("\n".join(COLORS))
    for folder in ("splits", "labels"):
        (root / folder).mkdir()
    for split, names in SPLITS.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(names))
    for seed, name in enumerate(name for names in SPLITS.values() for name in names):
        order = np.random.default_rng(seed).integers(0, len(COLORS), SECONDS)
        labels = [list(COLORS)[index] for index in order for _ in range(FPS)]
        colors = [list(COLORS.values())[index] for index in order]
        (root / "labels" / f"{name}.txt").write_text("\n".join(labels))
        dim = [(red // 2, green // 2, blue // 2) for red, green, blue in colors]
        # Nothing reads the ego view of what has labels to learn from, nor the exo view of what is tested.
        write_film(root / "videos" / name / "room.mp4", colors[: 1 if name in SPLITS["test"] else None], seed)
        write_film(
            root / "videos" / name / "head.mp4", dim[: 1 if name in SPLITS["train"] else None], 99 + seed
        )
    for program, arguments in (
        ("sync-extract", ()),
        ("sync-train", ("--method", "tas", "--method", "no-adaptation", "--seed", "0", "--seed", "1")),
    ):
        done = _run(program, *arguments, cwd=root)
        assert done.returncode == 0, done.stderr
    return Lab(root=root)


@pytest.fixture(scope="session")
def films() -> Callable[..., Path]:
    """Write a film: `films(path, colors, seed)`."""
    return write_film


@pytest.fixture(scope="session")
def classes() -> list[str]:
    return list(COLORS)


@pytest.fixture(scope="session")
def offset_seconds() -> Fraction:
    return OFFSET_SECONDS
