"""Settings of a cluster: section [extract.cluster] of sync.toml, overridden by options."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["auto", "none", "local", "slurm"]


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Which jobs extract, and what each may use."""

    kind: Kind = "auto"
    """"slurm", "local" for processes of this machine, "none" for the command's own process; "auto" is local where
    several GPUs are seen, else none."""
    processes: int | None = None
    """Of "local"; by default one a GPU."""
    partition: str | None = None
    """Slurm's; by default its own."""
    account: str | None = None
    """Whose time is spent."""
    qos: str | None = None
    """Quality of service."""
    gres: str | None = None
    """Such as "gpu:a100:1"; without it `gpus` is asked for."""
    gpus: int = 1
    """A job; 0 for jobs on processors."""
    cpus: int = 8
    """Processors a job."""
    memory_gb: int = 32
    """Memory a job, GB."""
    hours: float = 24.0
    """Time limit of a job. One that reaches it is requeued and goes on."""
    throttle: int = 256
    """Jobs of the array that run at the same time, at the most."""
    setup: tuple[str, ...] = ()
    """Shell commands before a job, such as "module load ffmpeg"."""
    bin_hours: float = 1.0
    """How long a job's recordings take, about."""
    rows_per_second: float = 200.0
    """What a job is thought to extract, for the length of bins; until the first are done, for the end's estimate."""
    retries: int = 2
    """A recording that failed is tried so many more times, then passed over."""
    folder: Path = Path("extract-jobs")
    """Logs, and what failed how often; relative to sync.toml."""

    def __post_init__(self) -> None:
        for name in ("cpus", "memory_gb", "hours", "throttle", "bin_hours", "rows_per_second"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"cluster.{name} must be a number above 0, got {getattr(self, name)}")
        for name in ("gpus", "retries"):
            if getattr(self, name) < 0:
                raise ValueError(f"cluster.{name} must be 0 or more, got {getattr(self, name)}")
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"cluster.processes must be at least 1, got {self.processes}")

    def folder_for(self, project: Path, feature_set: str) -> Path:
        """Where the logs and records of a feature set are.

        Args:
            project: Folder of sync.toml.
            feature_set: Its name.
        """
        return project / self.folder / feature_set
