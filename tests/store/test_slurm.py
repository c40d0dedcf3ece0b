"""What is said of Slurm where there is none, or where it was asked for the impossible; the jobs: tests/services."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sync_store.config import from_table
from sync_store.errors import ProjectError, SyncError
from sync_store.slurm import MAX_ARRAY, SlurmConfig, ask, jobs_in_queue, make_executor, max_array
from sync_store.slurm_options import NEEDS_SLURM, with_cluster_options


@dataclass(frozen=True, kw_only=True)
class Config(SlurmConfig):
    kind: str = "slurm"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"cpus": 0}, "cluster.cpus must be a number above 0, got 0"),
        ({"memory_gb": -1}, "cluster.memory_gb must be a number above 0, got -1"),
        ({"hours": float("inf")}, "cluster.hours must be a number above 0, got inf"),
        ({"hours": 0.01}, "cluster.hours must be at least 0.05 for Slurm, got 0.01"),
        ({"throttle": 0}, "cluster.throttle must be a number above 0, got 0"),
        ({"gpus": -1}, "cluster.gpus must be 0 or more, got -1"),
        ({"partitoin": "gpu"}, "unknown key 'partitoin', did you mean 'partition'?"),
        ({"setup": "module load ffmpeg"}, "setup must be a list of str, got 'module load ffmpeg'"),
    ],
)
def test_impossible_settings(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ProjectError, match=re.escape(message)):
        from_table(Config, table, "sync.toml [train.cluster]")


def test_options_go_before_the_section() -> None:
    given = {"cluster_partition": "gpu", "cluster_hours": 2.0, "views": ("e4",)}
    chosen = with_cluster_options(Config(partition="cpu", account="lab"), given, NEEDS_SLURM)
    assert (chosen.partition, chosen.hours, chosen.account) == ("gpu", 2.0, "lab")
    assert given == {"views": ("e4",)}
    with pytest.raises(ValueError, match="--hours is for --cluster slurm, which isn't chosen"):
        with_cluster_options(Config(kind="local"), {"cluster_hours": 2.0}, NEEDS_SLURM)


def test_where_there_is_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert jobs_in_queue("sync-train") == {} and max_array() == MAX_ARRAY
    with pytest.raises(
        SyncError, match=r"there is no Slurm here \(sbatch and srun aren't found\). Use --cluster"
    ):
        make_executor(Config(), tmp_path, "sync-train")


def test_what_fails_is_told_with_its_reason() -> None:
    with pytest.raises(SyncError, match=r"Slurm doesn't answer to ls /nowhere: .*No such file or directory"):
        ask("ls", "/nowhere")
