"""What every way to train asks for, and how it is carried out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from sync_store.atomic import write_json
from sync_store.config import from_table
from sync_store.console import json_option, print_json, project_option
from sync_store.errors import ProjectError, TrainingError
from sync_store.names import check_name
from sync_store.project import Project
from sync_train.config import TrainConfig

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for."""

    project_path: Path | None
    overrides: Mapping[str, Any]
    """Fields of `TrainConfig` that were given."""
    overwrite: bool
    quiet: bool
    as_json: bool


def run_options(function: Function) -> Function:
    """Add what every way to train has."""
    for option in reversed(
        (
            project_option,
            click.option("--run", help="Name of the run."),
            click.option(
                "--seed",
                "seeds",
                multiple=True,
                type=click.IntRange(min=0),
                envvar="SYNC_SEED",
                help="Seed; repeat for several.",
            ),
            click.option(
                "--feature-set",
                help="Features to learn from [default: those that [extract] names, else the store's only ones].",
            ),
            click.option("--exo", help="Source view [default: the first exo view]."),
            click.option(
                "--skip-missing",
                is_flag=True,
                help="Leave training recordings without features out, instead of stopping.",
            ),
            click.option("--device", help="auto, cpu, cuda, cuda:1 …"),
            click.option("--overwrite", is_flag=True, help="Train anew what is there already."),
            click.option("--quiet", "-q", is_flag=True, help="No progress."),
            json_option,
        )
    ):
        function = option(function)
    return function


def carry_out(request: Request, project: Project, config: TrainConfig) -> None:
    """Train as asked, and say what was made."""
    done = train(project, config, overwrite=request.overwrite, quiet=request.quiet or request.as_json)
    if request.as_json:
        print_json({"run": config.run, "seeds": {str(seed): str(folder) for seed, folder in done.items()}})
    elif not request.quiet:
        seeds = ", ".join(map(str, config.seeds))
        click.echo(f"run {config.run}, seeds {seeds}: {project.runs_path / config.run}", err=True)
        click.echo("Score it with: sync-eval", err=True)


def read_config(project: Project, overrides: Mapping[str, Any]) -> TrainConfig:
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
    from sync_train.readiness import check_setting
    from sync_train.run import SeedRun
    from sync_train.setting import make_setting

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
