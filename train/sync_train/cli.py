"""The command `sync-train`."""

import os
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from sync_store.console import SyncGroup, given, set_up_logging
from sync_store.memory import keep_freed_memory
from sync_store.predictions import METHODS
from sync_store.project import load_project
from sync_train.commands.apply import apply
from sync_train.commands.experiment import experiment
from sync_train.commands.export import export
from sync_train.commands.recognition import recognition
from sync_train.commands.retrieval import retrieval
from sync_train.commands.teacher import teacher
from sync_train.config import Direction
from sync_train.request import Request, carry_out, read_config, run_options


class _TrainGroup(SyncGroup):
    """The command; with the other processes of one run, where torchrun has started several."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        if _is_one_of_several():
            from sync_train.torchrun import run_as_one

            run_as_one(lambda: super(_TrainGroup, self).main(*arguments, **options))
        return super().main(*arguments, **options)


@click.group(
    cls=_TrainGroup,
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": "SYNC", "help_option_names": ["-h", "--help"]},
)
@run_options
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    envvar="SYNC_METHOD",
    help="Row of the table to make; repeat for several [default: all].",
)
@click.option("--ego", help="View of the worn camera [default: the first ego view].")
@click.option(
    "--direction",
    type=click.Choice(get_args(Direction)),
    help="From whose labels to whose view [default: exo-to-ego].",
)
@click.option("--teacher-run", help="Run whose teacher is taken [default: this run's own].")
@click.option("--ego-feature-set", help="Features of the ego view [default: those of --feature-set].")
@click.version_option(package_name="sync-tas")
@click.pass_context
def main(
    ctx: click.Context,
    /,
    project_path: Path | None,
    settings: tuple[str, ...],
    runs: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train teacher, adapter and student on stored features, and predict the test split.

    Goes on where an interrupted run stopped, and skips what is trained. Settings come from the section
    [train] of sync.toml; options and SYNC_* environment variables override them.
    """
    set_up_logging()
    keep_freed_memory()
    request = Request(
        project_path=project_path,
        overrides=given(ctx, **options),
        settings=settings,
        runs=runs,
        overwrite=overwrite,
        quiet=quiet,
        as_json=as_json,
    )
    if ctx.invoked_subcommand is None:
        project = load_project(request.project_path)
        carry_out(request, project, read_config(project, request.overrides, request.settings))
    elif _is_one_of_several() and ctx.invoked_subcommand != "teacher":
        raise click.UsageError(f"{ctx.invoked_subcommand} runs in one process: start it without torchrun.")
    elif ctx.get_parameter_source("methods") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"--method doesn't go before {ctx.invoked_subcommand}.")
    else:
        ctx.obj = request


def _is_one_of_several() -> bool:
    """Whether torchrun has started this process and others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1"


main.add_command(teacher)
main.add_command(retrieval)
main.add_command(recognition)
main.add_command(experiment)
main.add_command(apply)
main.add_command(export)
