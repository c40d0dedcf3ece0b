"""A tiny real project: a store of two views with clocks of their own, labels, splits, and the command.

Features are made from the labels: a prototype for each class, another one in each view, and noise. A model of
one view is worth nothing on the other, as long as nobody adapts it.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sync_store.labels import Segments, segments_to_csv
from sync_store.layout import FeatureSet
from sync_store.project import load_project
from sync_store.writer import RecordingWriter
from sync_train.config import TrainConfig
from sync_train.request import read_config, train

CLASSES = ("attach", "inspect", "screw")
FEATURE_DIM = 16
TINY = FeatureSet(name="tiny", recipe={"backbone": "made from labels"}, feature_dim=FEATURE_DIM)

SPLITS = {"train": ("t0", "t1", "t2"), "adapt": ("a0", "a1", "a2"), "test": ("e0", "e1")}

CLOCKS_NS = {"v3": (0, 100_000_000), "e4": (130_000_000, 83_333_333)}
"""First row and distance of rows of each view: 10 and 12 rows a second."""

SETTINGS = """\
[dataset]
label_fps = 10

[views.v3]
kind = "exo"

[views.e4]
kind = "ego"

[extract]
feature_set = "tiny"

[train]
chunk_rows = 2
max_chunks = 32

[train.teacher]
learning_rate = 1e-3
max_epochs = 3
batch_size = 4

[train.adapter]
num_layers = 1
num_heads = 2
ffn_dim = 16
max_epochs = 3
batch_size = 4

[train.student]
learning_rate = 1e-3
max_epochs = 3
batch_size = 4
"""


def _heed_interrupts() -> None:
    """In the new process: it would ignore them where the tests themselves run in a shell's background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def make_labels(rng: np.random.Generator, seconds: float) -> Segments:
    """Segments of 1 to 2 s, each of another class than the one before."""
    edges = [0.0]
    while edges[-1] < seconds:
        edges.append(edges[-1] + rng.uniform(1, 2))
    order = np.cumsum(rng.integers(1, len(CLASSES), size=len(edges) - 1)) % len(CLASSES)
    edges_ns = (np.array(edges) * 1e9).astype(np.int64)
    return Segments(
        start_ns=edges_ns[:-1], stop_ns=edges_ns[1:], labels=tuple(CLASSES[index] for index in order)
    )


def write_features(store: Path, view: str, recording: str, labels: Segments, seed: int) -> None:
    """Rows over the whole of the labels."""
    first, step = CLOCKS_NS[view]
    times = np.arange(first, labels.span_ns[1], step, dtype=np.int64)
    prototypes = np.random.default_rng(list(view.encode())).choice([-1.5, 1.5], (len(CLASSES), FEATURE_DIM))
    noise = np.random.default_rng([seed, *view.encode()]).normal(0, 0.5, (len(times), FEATURE_DIM))
    rows = prototypes[labels.classes_at(times, CLASSES)] + noise
    with RecordingWriter(store, TINY, view, recording, timestamps=times, provenance={}) as writer:
        writer.append(rows.astype(np.float16))
        writer.commit()


@dataclass(frozen=True)
class TinyProject:
    """A project folder."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "features.zarr"

    def stage(self, name: str, *, run: str = "main", seed: int = 0) -> Path:
        return self.root / "runs" / run / f"seed-{seed}" / name

    def weights(self, name: str, **where: Any) -> bytes:
        return (self.stage(name, **where) / "model.safetensors").read_bytes()

    def predictions(self, method: str, view: str = "e4", **where: Any) -> dict[str, bytes]:
        folder = self.stage("predictions", **where) / method / view
        return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.csv"))}

    def label_file(self, recording: str) -> Path:
        return self.root / "labels" / f"{recording}.csv"

    def delete_features(self, view: str, recordings: Sequence[str]) -> None:
        for name in recordings:
            shutil.rmtree(self.store / "tiny" / view / name)

    def copy(self, root: Path) -> "TinyProject":
        return TinyProject(Path(shutil.copytree(self.root, root / "copy")))

    def config(self, **changed: Any) -> TrainConfig:
        """Settings with some changed; `teacher`, `adapter`, `student` and `splits` by their own fields."""
        config = read_config(load_project(self.root), {})
        for name, value in changed.items():
            value = replace(getattr(config, name), **value) if isinstance(value, Mapping) else value
            config = replace(config, **{name: value})
        return config

    def train(self, *, overwrite: bool = False, **changed: Any) -> None:
        """Train in this process."""
        train(load_project(self.root), self.config(**changed), overwrite=overwrite, quiet=True)

    def start(
        self, *arguments: str, program: str = "sync-train", **variables: str
    ) -> "subprocess.Popen[str]":
        """Start the real command in the project's folder."""
        command = Path(sys.executable).with_name(program)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNC_")}
        return subprocess.Popen(
            [command, *arguments],
            cwd=self.root,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heed_interrupts,
        )

    def run(
        self, *arguments: str, program: str = "sync-train", **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run the real command to its end."""
        process = self.start(*arguments, program=program, **variables)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def make_project(
    root: Path, *, splits: Mapping[str, Sequence[str]] = SPLITS, seconds: float = 7.0
) -> TinyProject:
    """Write a project; recordings have different lengths from `seconds` on."""
    project = TinyProject(root)
    (root / "labels").mkdir(parents=True)
    (root / "splits").mkdir()
    (root / "sync.toml").write_text(SETTINGS)
    for split, names in splits.items():
        (root / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n")
    for seed, name in enumerate(name for names in splits.values() for name in names):
        labels = make_labels(np.random.default_rng(seed), seconds + seed % 3)
        project.label_file(name).write_bytes(segments_to_csv(labels))
        for view in CLOCKS_NS:
            write_features(project.store, view, name, labels, seed)
    return project


@pytest.fixture(scope="session")
def project_at() -> Callable[[Path], TinyProject]:
    """The project of a folder that a test has written itself."""
    return TinyProject


@pytest.fixture(scope="session")
def build_project() -> Callable[..., TinyProject]:
    return make_project


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyProject:
    """Untrained, and not to be changed."""
    return make_project(tmp_path_factory.mktemp("tiny") / "project")


@pytest.fixture
def project(tiny: TinyProject, tmp_path: Path) -> TinyProject:
    """Untrained, the test's own."""
    return tiny.copy(tmp_path)


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[TinyProject, "subprocess.CompletedProcess[str]"]:
    """A project in which the bare command has run, and what it printed. Not to be changed: copy it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    project, log = TinyProject(shared / "finished" / "project"), shared / "finished" / "log"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker of a parallel run makes it for all
        if not log.exists():
            done = make_project(project.root).run()
            assert done.returncode == 0, done.stderr
            log.write_text(done.stdout + "\0" + done.stderr)
    out, err = log.read_text().split("\0")
    return project, subprocess.CompletedProcess(["sync-train"], 0, out, err)


@pytest.fixture(scope="session")
def waves() -> Mapping[str, torch.Tensor]:
    """Arrays on which the published losses were run: A (6, 4) a sine, C (6, 4) a cosine, B its first five rows."""
    i, j = torch.arange(6, dtype=torch.float64)[:, None], torch.arange(4, dtype=torch.float64)
    cosine = torch.cos(0.2 * i + 0.1 * j)
    return {"A": torch.sin(0.1 * i + 0.3 * j), "B": cosine[:5], "C": cosine}
