"""Options of `sync-extract` that say by which jobs it works."""

from typing import Any, get_args

import click

from sync_extract.cluster.config import ClusterConfig, Kind
from sync_store.slurm_options import NEEDS_SLURM, SLURM_OPTIONS, all_of, with_cluster_options

_OPTIONS = (
    click.option(
        "--cluster",
        "cluster_kind",
        type=click.Choice(get_args(Kind)),
        help="By Slurm's jobs, processes of this machine, or none [default: auto].",
    ),
    click.option("--processes", "cluster_processes", type=click.IntRange(min=1), help="Of --cluster local."),
    *SLURM_OPTIONS,
    click.option(
        "--retries",
        "cluster_retries",
        type=click.IntRange(min=0),
        help="Times a failed recording is tried again.",
    ),
)


cluster_options = all_of(_OPTIONS)
"""Adds the options, whose parameters begin with `cluster_`."""


def with_options(config: ClusterConfig, given: dict[str, Any]) -> ClusterConfig:
    """Settings under the options that were given; these are taken out of `given`.

    Raises:
        ValueError: If a value can't be used.
    """
    return with_cluster_options(config, given, {**NEEDS_SLURM, "processes": "local"})
