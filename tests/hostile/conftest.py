"""A small real lab, extracted and trained by the commands, among neighbours that nothing may touch."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

FPS = 10
SECONDS = 6
SPLITS = {"train": ("t0", "t1"), "adapt": ("a0", "a1"), "test": ("e0",)}
COLORS = {"attach": (200, 40, 40), "inspect": (30, 190, 50), "screw": (40, 60, 210)}

SETTINGS = """\
[dataset]
label_fps = 10

[views.v3]
kind = "exo"

[views.e4]
kind = "ego"

[extract]
backbone = "dinov2-random-demo"
device = "cpu"

[train]
device = "cpu"
chunk_rows = 2
max_chunks = 32

[train.teacher]
max_epochs = 1
batch_size = 2

[train.student]
max_epochs = 1
batch_size = 2
"""

OWN = ("features.zarr", "runs", "predictions", "report.html", "model", "other", "segments", "main-tas")
"""What the commands may write in a lab: the store, the runs, and what the user asks for."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int | str
    """Exit status, minus the signal's number where one ended it, or "timeout"."""
    stdout: str
    stderr: str

    @property
    def message(self) -> str:
        """The one line of a command that was refused."""
        (line,) = self.stderr.splitlines()
        assert self.status == 1 and line.startswith("error: "), self
        assert self.stdout == "" and line.isprintable() and len(line) < 2000, self
        return line

    @property
    def failed(self) -> str:
        """The lines about what failed, where the rest was done."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("failed: ")]
        assert self.status == 3 and lines and "Traceback" not in self.stderr, self
        assert all(line.isprintable() and len(line) < 2000 for line in lines), self
        return "\n".join(lines)


@dataclass
class ForkServer:
    """Starts commands; see `fork_server`."""

    folder: Path
    process: "subprocess.Popen[str]"

    def run(self, folder: Path, *command: str, **variables: str) -> Done:
        out, err = self.folder / "stdout", self.folder / "stderr"
        for path in (out, err):
            path.unlink(missing_ok=True)
        asked = {
            "command": command,
            "folder": str(folder),
            "variables": variables,
            "stdout": str(out),
            "stderr": str(err),
        }
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        status = json.loads(self.process.stdout.readline())["status"]
        return Done(status, out.read_text(errors="replace"), err.read_text(errors="replace"))


@dataclass
class Lab:
    """A project folder within a folder of other people's files."""

    root: Path
    server: ForkServer
    before: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self._around()

    def run(self, *command: str, **variables: str) -> Done:
        """Run a command here; nothing but the store, the runs and what was asked for may change."""
        self.before = self._around()
        done = self.server.run(self.root, *command, **variables)
        assert self._around() == self.before, done
        return done

    def _around(self) -> dict[str, str]:
        """Everything around the lab and in it that isn't the commands' own, and a digest of each file."""
        found = {}
        for folder, names, files in os.walk(self.root.parent):
            if Path(folder) == self.root:
                names[:] = [name for name in names if name not in OWN]
                files = [name for name in files if name not in OWN]
            for name in files + names:
                found[str(Path(folder, name))] = _digest(Path(folder, name))
        return found


def _digest(path: Path) -> str:
    status = path.lstat()
    is_small_file = path.is_file() and not path.is_symlink() and status.st_size < 1 << 24
    content = hashlib.sha256(path.read_bytes()).hexdigest() if is_small_file else ""
    return f"{status.st_mode:o} {status.st_size if not path.is_dir() else 0} {content}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    folder = tmp_path_factory.mktemp("server")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNC_")}
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("fork_server.py")],
        env=environment | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield ForkServer(folder, process)
    process.communicate()
    assert process.returncode == 0


@pytest.fixture(scope="session")
def write_film() -> Callable[..., Path]:
    """Write a video of one colour a second."""

    def write(path: Path, labels: list[str], seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("libx264", rate=FPS, options={"mbtree": "0", "g": str(FPS)})
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            stream.codec_context.thread_count = 1
            for number in range(FPS * len(labels)):
                picture = np.full((48, 64, 3), COLORS[labels[number // FPS]]) + rng.normal(0, 9, (48, 64, 3))
                frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
            container.mux(stream.encode(None))
        return path

    return write


@pytest.fixture(scope="session")
def template(
    tmp_path_factory: pytest.TempPathFactory, server: ForkServer, write_film: Callable[..., Path]
) -> Path:
    """The lab as the commands leave it: extracted, trained, exported. Not to be changed."""
    root = tmp_path_factory.mktemp("around") / "lab"
    for folder in ("labels", "splits"):
        (root / folder).mkdir(parents=True)
    (root.parent / "neighbour").mkdir()
    (root.parent / "neighbour" / "thesis.txt").write_text("years of work\n")
    (root / "sync.toml").write_text(SETTINGS)
    rng = np.random.default_rng(0)
    for split, names in SPLITS.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            labels = [str(label) for label in rng.choice(list(COLORS), SECONDS)]
            lines = [f"{second},{second + 1},{label}\n" for second, label in enumerate(labels)]
            (root / "labels" / f"{name}.csv").write_text(
                "start_seconds,stop_seconds,label\n" + "".join(lines)
            )
            for view in ("v3", "e4"):
                write_film(root / "videos" / name / f"{view}.mp4", labels, seed=len(view + name))
    for command in (
        ("sync-extract", "-q"),
        ("sync-train", "-q", "--method", "tas"),
        ("sync-train", "export", "main", "--method", "tas", "--output", "model"),
    ):
        done = server.run(root, *command)
        assert done.status == 0, done
    return root


@pytest.fixture
def lab(template: Path, server: ForkServer, tmp_path: Path) -> Lab:
    """A lab of the test's own."""
    around = Path(shutil.copytree(template.parent, tmp_path / "around"))
    return Lab(around / template.name, server)
