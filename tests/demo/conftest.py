"""One small benchmark that the real command rendered, and ways to read its files independently."""

import csv
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from sync_demo.plan import RecordingPlan, Settings, plan_benchmark

SETTINGS = Settings(seed=1, recordings=(1, 1, 1))


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A benchmark on disk and the plan it was rendered from."""

    folder: Path
    plans: tuple[RecordingPlan, ...]

    def file(self, recording: int, view: str) -> Path:
        return self.folder / "videos" / self.plans[recording].name / f"{view}.mp4"

    def offset(self, recording: int, view: str) -> Fraction:
        """What offsets.csv says, 0 where it says nothing."""
        with (self.folder / "offsets.csv").open(newline="") as file:
            stated = {(row["recording"], row["view"]): row["offset_seconds"] for row in csv.DictReader(file)}
        return Fraction(stated.get((self.plans[recording].name, view), "0"))


@pytest.fixture(scope="session")
def sync_demo() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the installed command."""

    def run(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        command = [str(Path(sys.executable).parent / "sync-demo"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)

    return run


@pytest.fixture(scope="session")
def rendered(
    tmp_path_factory: pytest.TempPathFactory, sync_demo: Callable[..., "subprocess.CompletedProcess[str]"]
) -> Rendered:
    folder = tmp_path_factory.mktemp("demo") / "out"
    counts = "/".join(map(str, SETTINGS.recordings))
    done = sync_demo("render", folder, "--seed", SETTINGS.seed, "--recordings", counts, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert "3 recordings, 3 of them rendered now" in done.stderr
    return Rendered(folder=folder, plans=plan_benchmark(SETTINGS))


@pytest.fixture(scope="session")
def decode() -> Callable[[Path], tuple[list[Fraction], npt.NDArray[np.uint8]]]:
    """Exact times and gray pictures (T, rows, columns) of a video, by PyAV alone."""

    def read(path: Path) -> tuple[list[Fraction], npt.NDArray[np.uint8]]:
        times, pictures = [], []
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                assert frame.pts is not None and frame.time_base is not None
                times.append(frame.pts * frame.time_base)
                pictures.append(frame.to_ndarray(format="gray"))
        return times, np.stack(pictures).astype(np.uint8)

    return read
