"""Settings of a cluster: section [train.cluster] of sync.toml, overridden by options of `sync-train experiment`."""

from dataclasses import dataclass
from typing import Literal

from sync_store.slurm import SlurmConfig

Kind = Literal["local", "slurm"]


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(SlurmConfig):
    """Who carries the runs of an experiment out, and what each may use."""

    kind: Kind = "local"
    """"slurm", a job each; "local" for processes of this machine."""
