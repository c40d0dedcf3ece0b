"""Options of `sync-extract` that say by which jobs it works."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, get_args

import click

from sync_extract.cluster.config import ClusterConfig, Kind

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--cluster",
        "cluster_kind",
        type=click.Choice(get_args(Kind)),
        help="By Slurm's jobs, processes of this machine, or none [default: auto].",
    ),
    click.option("--processes", "cluster_processes", type=click.IntRange(min=1), help="Of --cluster local."),
    click.option("--partition", "cluster_partition", help="Slurm's."),
    click.option("--account", "cluster_account", help="Slurm's."),
    click.option("--gres", "cluster_gres", help="Slurm's, such as gpu:a100:1 [default: one GPU a job]."),
    click.option(
        "--hours", "cluster_hours", type=click.FloatRange(min=0, min_open=True), help="Limit of a job."
    ),
    click.option("--throttle", "cluster_throttle", type=click.IntRange(min=1), help="Jobs at the same time."),
    click.option(
        "--retries",
        "cluster_retries",
        type=click.IntRange(min=0),
        help="Times a failed recording is tried again.",
    ),
)

_NEEDS = {
    "cluster_processes": "local",
    **{f"cluster_{name}": "slurm" for name in ("partition", "account", "gres", "throttle")},
}
"""Options that one kind alone has."""


def cluster_options(function: Function) -> Function:
    """Add the options, whose parameters begin with `cluster_`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def with_options(config: ClusterConfig, given: dict[str, Any]) -> ClusterConfig:
    """Settings under the options that were given; these are taken out of `given`.

    Raises:
        ValueError: If a value can't be used.
    """
    names = [name for name in given if name.startswith("cluster_")]
    chosen = replace(config, **{name.removeprefix("cluster_"): given.pop(name) for name in names})
    for option in names:
        needed = _NEEDS.get(option)
        if needed is not None and chosen.kind != needed:
            raise ValueError(
                f"--{option.removeprefix('cluster_')} is for --cluster {needed}, which isn't chosen"
            )
    return chosen
