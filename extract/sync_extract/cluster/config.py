"""Settings of a cluster: section [extract.cluster] of sync.toml, overridden by options."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sync_store.slurm import SlurmConfig

Kind = Literal["auto", "none", "local", "slurm"]


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(SlurmConfig):
    """Which jobs extract, and what each may use."""

    kind: Kind = "auto"
    """"slurm", "local" for processes of this machine, "none" for the command's own process; "auto" is local where
    several GPUs are seen, else none."""
    processes: int | None = None
    """Of "local"; by default one a GPU."""
    bin_hours: float = 1.0
    """How long a job's recordings take, about."""
    rows_per_second: float = 200.0
    """What a job is thought to extract, for the length of bins; until the first are done, for the end's estimate."""
    retries: int = 2
    """A recording that failed is tried so many more times, then passed over."""
    folder: Path = Path("extract-jobs")
    """Logs, and what failed how often; relative to sync.toml."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("bin_hours", "rows_per_second"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"cluster.{name} must be a number above 0, got {getattr(self, name)}")
        if self.retries < 0:
            raise ValueError(f"cluster.retries must be 0 or more, got {self.retries}")
        if self.processes is not None and self.processes < 1:
            raise ValueError(f"cluster.processes must be at least 1, got {self.processes}")

    def folder_for(self, project: Path, feature_set: str) -> Path:
        """Where the logs and records of a feature set are.

        Args:
            project: Folder of sync.toml.
            feature_set: Its name.
        """
        return project / self.folder / feature_set
