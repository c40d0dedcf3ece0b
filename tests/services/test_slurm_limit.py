"""An extraction job that reaches its time limit goes on from its last shard."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

NAME = "dinov2-random-demo"

PROJECT = """\
[dataset]
label_fps = 30

[views.e4]
kind = "ego"

[extract]
backbone = "dinov2-random-demo"
device = "cpu"

[extract.cluster]
kind = "slurm"
partition = "low"
gpus = 0
cpus = 2
memory_gb = 1
"""


IN_SMALL_SHARDS = """\
import sync_store.layout as layout

layout.CHUNK_BYTES, layout.SHARD_BYTES = 4 << 10, 32 << 10
"""


def test_a_job_that_reaches_its_limit(
    labs: Any, slurm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the signal that Slurm sends before the limit, which isn't waited for."""
    for folder in ("lab", "python"):
        (tmp_path / folder).mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(IN_SMALL_SHARDS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python"))  # Slurm hands it to the job
    lab = labs.make(tmp_path / "lab", PROJECT, [6000])
    undisturbed = Path(shutil.copytree(lab, tmp_path / "undisturbed"))
    by_one_process = labs.start(undisturbed, "--cluster", "none")
    done = labs.run(lab, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (job,) = report["jobs"]
    recording = lab / "features.zarr" / NAME / "e4" / "r0"
    slurm.wait_until(lambda: len(shards(recording)) > 1, "the job has written shards")
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    slurm.wait_for(job, "PENDING")
    before = shards(recording)
    slurm.release(job)
    slurm.wait_for(report["finalize"], "COMPLETED")
    assert [task["Restarts"] for task in slurm.tasks(job)] == ["1"]
    after = shards(recording)
    assert 1 < len(before) < len(after) and before.items() <= after.items()
    _, errors = by_one_process.communicate(timeout=120)
    assert by_one_process.returncode == 0, errors
    assert labs.store(lab) == labs.store(undisturbed)


def shards(recording: Path) -> dict[Path, int]:
    """The shards of a recording's features, and when each was written."""
    written = (recording / "features" / "c").rglob("[0-9]*")
    return {path: path.stat().st_mtime_ns for path in written if path.is_file() and path.suffix == ""}
