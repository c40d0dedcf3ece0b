"""The command `sync-train`."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from sync_store.atomic import write_json
from sync_store.config import from_table
from sync_store.console import (
    SyncGroup,
    given,
    json_option,
    print_json,
    project_option,
    set_up_logging,
)
from sync_store.errors import ProjectError, TrainingError
from sync_store.names import check_name
from sync_store.predictions import METHODS
from sync_store.project import Project, load_project
from sync_train.config import TrainConfig


@click.group(
    cls=SyncGroup,
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": "SYNC", "help_option_names": ["-h", "--help"]},
)
@project_option
@click.option("--run", help="Name of the run.")
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(min=0),
    envvar="SYNC_SEED",
    help="Seed; repeat for several.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    envvar="SYNC_METHOD",
    help="Row of the table to make; repeat for several [default: all].",
)
@click.option("--feature-set", help="Features to learn from [default: those that [extract] makes].")
@click.option("--exo", help="Source view [default: the first exo view].")
@click.option("--ego", help="Target view [default: the first ego view].")
@click.option("--device", help="auto, cpu, cuda, cuda:1 …")
@click.option("--overwrite", is_flag=True, help="Train anew what the methods have there already.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
@click.version_option(package_name="sync-tas")
@click.pass_context
def main(
    ctx: click.Context,
    /,
    project_path: Path | None,
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
    project = load_project(project_path)
    config = read_config(project, given(ctx, **options))
    done = train(project, config, overwrite=overwrite, quiet=quiet or as_json)
    if as_json:
        print_json({"run": config.run, "seeds": {str(seed): str(folder) for seed, folder in done.items()}})
    elif not quiet:
        seeds = ", ".join(map(str, config.seeds))
        click.echo(f"run {config.run}, seeds {seeds}: {project.runs_path / config.run}", err=True)
        click.echo("Score it with: sync-eval", err=True)


def read_config(project: Project, overrides: dict[str, Any]) -> TrainConfig:
    """Settings of a project's [train] section under overriding options."""
    config = from_table(TrainConfig, project.stage("train"), f"{project.file} [train]")
    try:
        config = replace(config, **overrides)
    except ValueError as error:
        raise ProjectError(str(error)) from None
    check_name("run", config.run, ProjectError)
    return config


def train(project: Project, config: TrainConfig, *, overwrite: bool, quiet: bool) -> dict[int, Path]:
    """Run everything that the config names.

    Returns:
        The folder of each seed.
    """
    from sync_train.progress import show_progress
    from sync_train.run import SeedRun
    from sync_train.setting import check_setting, make_setting

    setting = make_setting(project, config)
    check_setting(setting)
    folders = {seed: project.runs_path / config.run / f"seed-{seed}" for seed in config.seeds}
    with show_progress(quiet=quiet) as watcher:
        for seed, folder in folders.items():
            seed_run = SeedRun(setting, folder, seed, watcher)
            if overwrite:
                seed_run.delete(config.methods)
            _for_each(config.methods, seed_run.check)
            write_json(folder / "config.json", asdict(config))
            _for_each(config.methods, seed_run.predict)
    return folders


def _for_each(methods: Iterable[str], do: Callable[[str], None]) -> None:
    for method in methods:
        try:
            do(method)
        except TrainingError as error:
            raise TrainingError(f"{method}: {error}") from None
