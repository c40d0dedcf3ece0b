"""What several subcommands of `sync-eval` share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from sync_eval.config import EvaluateConfig, Protocol
from sync_store.config import from_table
from sync_store.project import Project

Function = TypeVar("Function", bound=Callable[..., Any])


def runs_argument(function: Function) -> Function:
    """Add the run folders."""
    return click.argument("runs", nargs=-1, metavar="[RUN_FOLDER]...", type=click.Path(path_type=Path))(
        function
    )


def read_config(project: Project, protocol: Protocol | None) -> EvaluateConfig:
    """Settings of a project's [evaluate] section under an overriding option."""
    config = from_table(EvaluateConfig, project.stage("evaluate"), f"{project.file} [evaluate]")
    return config if protocol is None else replace(config, protocol=protocol)
