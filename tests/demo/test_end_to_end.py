"""The whole pipeline by its real commands: from nothing to a table, and once more with nothing left to do."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image

from sync_demo.benchmark import MANIFEST, VERSION
from sync_demo.plan import Settings, plan_benchmark
from sync_demo.project import project_text
from sync_store.reader import FeatureStore

SETTINGS = Settings(seed=74, recordings=(2, 2, 1))
"""The seed whose recordings are shortest, of the first 300."""
OPTIONS = ("--seed", SETTINGS.seed, "--recordings", "2/2/1", "--seeds", 1)
METHODS = ("exo-oracle", "ego-oracle", "no-adaptation", "feature", "tas", "feature-tas")
LASTING = ("videos", "labels", "splits", "features.zarr", "runs", "sync.toml")


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What each file that must last holds, and when it was written; the settings are noted by each run."""
    found = [
        path for name in LASTING for path in (folder / name, *(folder / name).rglob("*")) if path.is_file()
    ]
    noted = folder / "runs" / "main" / "seed-0" / "config.json"
    assert noted in found
    return {
        str(path.relative_to(folder)): (path.read_bytes(), 0 if path == noted else path.stat().st_mtime_ns)
        for path in found
    }


def _less(setting: re.Match[str]) -> str:
    return {"max_epochs": "max_epochs = 1", "fps": "fps = 4"}[setting[1]]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a run that was stopped at once leaves it; its sync.toml asks for little."""
    folder = tmp_path_factory.mktemp("end-to-end") / "out"
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps({"version": VERSION, **asdict(SETTINGS)}))
    text, num_changed = re.subn(r"^(max_epochs|fps) = \d+$", _less, project_text(), flags=re.MULTILINE)
    assert num_changed == 4
    (folder / "sync.toml").write_text(text)
    return folder


def test_videos_become_a_table_once(out: Path, sync_demo: Callable[..., "CompletedProcess[str]"]) -> None:
    first = sync_demo("run", out, *OPTIONS)
    assert first.returncode == 0, first.stderr
    assert "5 recordings, 5 of them rendered now" in first.stderr
    plans = plan_benchmark(SETTINGS)
    (tested,) = (plan.name for plan in plans if plan.split == "test")

    store = FeatureStore(out / "features.zarr")
    for view in ("v3", "e4"):
        for plan in plans:
            assert len(store.read("dinov2-random-demo", view, plan.name).features) > 90

    document = json.loads((out / "results.json").read_text())
    assert [(row["method"], row["view"], row["seeds"]) for row in document["rows"]] == [
        (method, "v3" if method == "exo-oracle" else "e4", [0]) for method in METHODS
    ]
    assert all(row["num_sequences"] == 1 and row["coverage"] > 0.9 for row in document["rows"])
    printed = [line.split() for line in first.stdout.splitlines()]
    for row in document["rows"]:
        shown = [f"{row[metric]:.2f}" for metric in ("edit", "f1_10", "f1_25", "f1_50", "mof")]
        assert [row["method"], row["view"], *shown, f"{row['coverage']:.1%}"] in printed
        assert (
            f"| {row['method']} | {row['view']} | {' | '.join(shown)} |" in (out / "results.md").read_text()
        )
    with Image.open(out / "plots" / f"{tested}.png") as image:
        assert image.format == "PNG"

    # run again after the table and the figures were lost: they are made anew, and nothing else is
    before, table = files(out), (out / "results.json").read_bytes()
    shutil.rmtree(out / "plots")
    (out / "results.json").unlink()
    second = sync_demo("run", out, *OPTIONS)
    assert second.returncode == 0, second.stderr
    assert "5 recordings, 0 of them rendered now" in second.stderr
    assert files(out) == before
    assert (out / "results.json").read_bytes() == table
    assert (out / "plots" / f"{tested}.png").is_file()
