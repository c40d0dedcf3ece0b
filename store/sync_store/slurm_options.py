"""Options of the commands that may hand their work to Slurm: they go before a section `cluster` of sync.toml."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import click

from sync_store.slurm import SlurmConfig

PREFIX = "cluster_"
"""Parameters of these options, and of others that belong to the section, begin with it."""

SLURM_OPTIONS = (
    click.option("--partition", "cluster_partition", help="Slurm's."),
    click.option("--account", "cluster_account", help="Slurm's."),
    click.option("--gres", "cluster_gres", help="Slurm's, such as gpu:a100:1 [default: one GPU a job]."),
    click.option(
        "--hours", "cluster_hours", type=click.FloatRange(min=0, min_open=True), help="Limit of a job."
    ),
    click.option("--throttle", "cluster_throttle", type=click.IntRange(min=1), help="Jobs at the same time."),
)

NEEDS_SLURM = dict.fromkeys(("partition", "account", "gres", "hours", "throttle"), "slurm")
"""The kind of cluster that each of them is for."""

Config = TypeVar("Config", bound=SlurmConfig)
Function = TypeVar("Function", bound=Callable[..., Any])


def all_of(options: Sequence[Callable[[Function], Function]]) -> Callable[[Function], Function]:
    """A decorator that adds options to a command, in their order."""

    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def with_cluster_options(config: Config, given: dict[str, Any], needs: Mapping[str, str]) -> Config:
    """Settings under the options that were given; these are taken out of `given`.

    Args:
        config: The section.
        given: Parameters of a command.
        needs: The kind that an option is for, if it isn't for all.

    Raises:
        ValueError: If a value can't be used, or the option is for another kind than the chosen one.
    """
    named = [name.removeprefix(PREFIX) for name in given if name.startswith(PREFIX)]
    chosen = replace(config, **{name: given.pop(PREFIX + name) for name in named})
    for name in named:
        if needs.get(name, chosen.kind) != chosen.kind:
            raise ValueError(f"--{name} is for --cluster {needs[name]}, which isn't chosen")
    return chosen
