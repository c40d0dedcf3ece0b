"""Real project folders with labels, splits and predictions, and the command that scores them."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sync_eval.cli import main
from sync_store.datasets import Dataset, open_dataset
from sync_store.labels import Segments, segments_of_frames, segments_to_csv
from sync_store.predictions import PredictionInfo, PredictionSet, write_predictions
from sync_store.project import load_project


def spell(text: str) -> list[str]:
    """Labels from a short form: "a*3 b*2" is a a a b b."""
    runs = (word.split("*") for word in text.split())
    return [label for label, times in runs for _ in range(int(times))]


@dataclass
class ProjectFolder:
    """A project on disk. Labels and predictions are given a label a frame; "-" leaves a gap."""

    root: Path
    fps: Fraction = Fraction(10)
    background: tuple[str, ...] = ()
    recordings: list[str] = field(default_factory=list)

    def segments(self, frames: Sequence[str]) -> Segments:
        whole = segments_of_frames(frames, self.fps)
        kept = [index for index, label in enumerate(whole.labels) if label != "-"]
        return Segments(
            start_ns=whole.start_ns[kept],
            stop_ns=whole.stop_ns[kept],
            labels=tuple(whole.labels[index] for index in kept),
        )

    def write(self) -> None:
        names = ", ".join(f"'{name}'" for name in self.background)
        (self.root / "sync.toml").write_text(
            f'[dataset]\nlabel_fps = "{self.fps}"\nbackground = [{names}]\n\n'
            '[views.v3]\nkind = "exo"\n\n[views.e4]\nkind = "ego"\n'
        )
        (self.root / "splits").mkdir(exist_ok=True)
        (self.root / "splits" / "test.txt").write_text("\n".join(self.recordings) + "\n")
        (self.root / "labels").mkdir(exist_ok=True)

    def add(self, recording: str, frames: str | Sequence[str] | None) -> None:
        """A recording of the test split; without labels if `frames` is None."""
        self.recordings.append(recording)
        self.write()
        if frames is not None:
            labels = self.segments(spell(frames) if isinstance(frames, str) else frames)
            (self.root / "labels" / f"{recording}.csv").write_bytes(segments_to_csv(labels))

    def predict(
        self, predicted: Mapping[str, str | Sequence[str]], folder: Path | None = None, **info: Any
    ) -> PredictionSet:
        told = {"run": "main", "seed": 0, "method": "tas", "view": "e4", "kind": "ego", "split": "test"}
        made = PredictionInfo(**{"feature_set": "demo", **told, **info})
        place = folder or self.root / "runs" / made.run / f"seed-{made.seed}"
        segments = {
            name: self.segments(spell(frames) if isinstance(frames, str) else frames)
            for name, frames in predicted.items()
        }
        return write_predictions(place / "predictions" / made.method / made.view, made, segments)

    @property
    def dataset(self) -> Dataset:
        return open_dataset(load_project(self.root))


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path)


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ProjectFolder]:
    """A new folder a call, for tests of many examples."""
    return lambda **settings: ProjectFolder(tmp_path_factory.mktemp("project"), **settings)


@pytest.fixture
def sync_eval(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs `sync-eval` in the test's folder."""
    command = Path(sys.executable).with_name("sync-eval")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SYNC_")}

    def run(*arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [command, *map(str, arguments)],
            cwd=tmp_path,
            env=environment | variables,
            capture_output=True,
            text=True,
        )

    return run


@dataclass(frozen=True)
class Done:
    """A command's end, as a subprocess has it."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def sync_eval_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Runs `sync-eval` within the test's process, in the test's folder: quicker than a process of its own."""
    for name in [name for name in os.environ if name.startswith("SYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path, **variables: str) -> Done:
        result = CliRunner().invoke(main, [*map(str, arguments)], env=variables)
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def run_row() -> Callable[..., None]:
    """Writes what `sync-train experiment` would leave of one row: a prediction set for each seed."""

    def run(
        folder: ProjectFolder,
        planned: Any,
        *frames: str | Sequence[str],
        seeds: Sequence[int] = (),
        **info: Any,
    ) -> None:
        for seed, of_seed in zip(seeds or range(len(frames)), frames, strict=True):
            folder.predict(
                dict.fromkeys(folder.recordings, of_seed),
                folder.root / "experiments" / planned.run.name / f"seed-{seed}",
                method=planned.method,
                view=planned.view,
                feature_set=planned.feature_set,
                run=planned.run.name,
                seed=seed,
                **info,
            )

    return run
