"""What several subcommands of `sync-eval` share."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from sync_eval.config import PROTOCOLS, EvaluateConfig, Protocol
from sync_store.config import from_table
from sync_store.errors import DatasetError
from sync_store.project import Project

Function = TypeVar("Function", bound=Callable[..., Any])


def runs_or_experiments_argument(function: Function) -> Function:
    """Add the run folders, or names of experiments; `find_named` tells them apart."""
    return click.argument(
        "runs", nargs=-1, metavar="[RUN_FOLDER]... | [EXPERIMENT]...", type=click.Path(path_type=Path)
    )(function)


def experiment_runs_option(function: Function) -> Function:
    """Add `--runs`."""
    return click.option(
        "--runs",
        "runs_path",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the experiments' runs [default: [experiments] path].",
    )(function)


def protocol_option(function: Function) -> Function:
    """Add `--protocol`."""
    return click.option(
        "--protocol",
        type=click.Choice(PROTOCOLS),
        envvar="SYNC_PROTOCOL",
        help="What becomes of unlabeled and background frames: masked (default), or cut out and the rest joined.",
    )(function)


def find_named(arguments: Sequence[Path], runs_path: Path | None = None) -> tuple[str | Path, ...]:
    """The experiments that are named, and the TOML files of one's own; none where the arguments are folders.

    A folder that is there goes before an experiment of its name.

    Args:
        arguments: Of the command.
        runs_path: `--runs`, which needs an experiment.

    Raises:
        DatasetError: If an argument is neither, and its name is near an experiment's.
        click.UsageError: If both are named.
    """
    from sync_experiments.experiment import list_experiments

    known = list_experiments()
    files = [path for path in arguments if path.suffix == ".toml" and not path.is_dir()]
    folders = [path for path in arguments if path not in files and (path.exists() or str(path) not in known)]
    for path in folders:
        near = difflib.get_close_matches(str(path), known, n=1)
        if near and not path.exists():
            raise DatasetError(
                f"{path}: there is no such folder, nor an experiment of that name; did you mean {near[0]!r}?"
            )
    named = tuple(path if path in files else str(path) for path in arguments if path not in folders)
    if folders and named:
        raise click.UsageError(
            f"{named[0]} is an experiment and {folders[0]} a run folder; name experiments or run folders, not both"
        )
    if runs_path is not None and not named:
        raise click.UsageError("--runs is where the runs of an experiment are; name one, such as table1")
    return named


def read_config(project: Project, protocol: Protocol | None) -> EvaluateConfig:
    """Settings of a project's [evaluate] section under an overriding option."""
    config = from_table(EvaluateConfig, project.stage("evaluate"), f"{project.file} [evaluate]")
    return config if protocol is None else replace(config, protocol=protocol)
