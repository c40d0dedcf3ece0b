"""What every way to train asks for, and how it is carried out."""

import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

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
    settings: tuple[str, ...]
    """Any settings below [train], as `KEY=VALUE`."""
    runs: Path | None
    """Folder of runs, where it isn't the project's."""
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
            click.option(
                "--set",
                "settings",
                multiple=True,
                metavar="KEY=VALUE",
                help="Any setting below [train], such as student.levels=[1,2]; repeat for several.",
            ),
            click.option(
                "--runs",
                type=click.Path(path_type=Path, file_okay=False),
                help="Folder of all runs [default: [runs] path].",
            ),
            click.option("--device", help="auto, cpu, cuda, cuda:1 …"),
            click.option("--tensorboard", is_flag=True, help="Write events for TensorBoard, too."),
            click.option("--overwrite", is_flag=True, help="Train anew what is there already."),
            click.option("--quiet", "-q", is_flag=True, help="No progress."),
            json_option,
        )
    ):
        function = option(function)
    return function


def request_after(
    ctx: click.Context,
    /,
    project_path: Path | None,
    settings: tuple[str, ...],
    runs: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> Request:
    """What a subcommand is asked for: what was typed after its name goes before what the group was given."""
    before: Request = ctx.obj  # has the SYNC_* variables too, so only what was typed after goes before it
    typed = {
        name: value
        for name, value in {"project_path": project_path, **options}.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    return Request(
        project_path=typed.pop("project_path", before.project_path),
        overrides={**before.overrides, **typed},
        settings=(*before.settings, *settings),
        runs=runs or before.runs,
        overwrite=overwrite or before.overwrite,
        quiet=quiet or before.quiet,
        as_json=as_json or before.as_json,
    )


def refuse_before(ctx: click.Context, *, but: Collection[str]) -> None:
    """Refuse what was typed before a subcommand that doesn't read it.

    Args:
        ctx: Of the subcommand.
        but: Parameters of the group that it reads.

    Raises:
        UsageError: If another one was typed there. Variables are those of all commands, so they don't count.
    """
    assert ctx.parent is not None
    for option in ctx.parent.command.params:
        typed = ctx.parent.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        if typed and option.name not in but:
            raise click.UsageError(f"{option.opts[0]} doesn't go before {ctx.info_name}.")


def carry_out(request: Request, project: Project, config: TrainConfig) -> None:
    """Train as asked, and say what was made."""
    runs = request.runs or project.runs_path
    done = train(
        project, config, overwrite=request.overwrite, quiet=request.quiet or request.as_json, runs=runs
    )
    if request.as_json:
        print_json({"run": config.run, "seeds": {str(seed): str(folder) for seed, folder in done.items()}})
    elif not request.quiet:
        seeds = ", ".join(map(str, config.seeds))
        click.echo(f"run {config.run}, seeds {seeds}: {runs / config.run}", err=True)
        click.echo("Score it with: sync-eval", err=True)


def read_config(project: Project, overrides: Mapping[str, Any], settings: Sequence[str] = ()) -> TrainConfig:
    """Settings of a project's [train] section under overriding ones.

    Args:
        project: Its [train] section is the base.
        overrides: Fields of `TrainConfig`; they go before all others.
        settings: Any settings below [train], as `KEY=VALUE`; they go before the section's.

    Raises:
        ProjectError: If a setting is unknown or impossible.
    """
    table = project.stage("train")
    for setting in settings:
        table = _with_setting(table, setting)
    config = from_table(TrainConfig, table, f"{project.file} [train]")
    try:
        config = replace(config, **overrides)
    except ValueError as error:
        raise ProjectError(str(error)) from None
    check_name("run", config.run, ProjectError)
    if config.teacher_run is not None:
        check_name("teacher_run", config.teacher_run, ProjectError)
    return config


def _with_setting(table: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """A table with one more setting, written `key.of.it=value`; the value as in TOML, or a bare word."""
    key, equals, text = setting.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(names):
        raise ProjectError(f"--set: expected KEY=VALUE such as student.levels=[1,2], got {setting!r}")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text.strip()
    return _with_value(table, names, value, setting)


def _with_value(table: Mapping[str, Any], names: Sequence[str], value: Any, setting: str) -> dict[str, Any]:
    name, *rest = names
    if rest:
        below = table.get(name, {})
        if not isinstance(below, Mapping):
            raise ProjectError(f"--set {setting}: {name} is no section")
        value = _with_value(below, rest, value, setting)
    return {**table, name: value}


def train(
    project: Project, config: TrainConfig, *, overwrite: bool, quiet: bool, runs: Path | None = None
) -> dict[int, Path]:
    """Run everything that the config names.

    Args:
        project: Where dataset, store and runs are.
        config: What to train.
        overwrite: Train anew what is there.
        quiet: Without progress.
        runs: Folder of runs, by default the project's.

    Returns:
        The folder of each seed.
    """
    from sync_train.distributed import first
    from sync_train.progress import show_progress
    from sync_train.readiness import check_setting
    from sync_train.run import SeedRun
    from sync_train.setting import make_setting

    setting = make_setting(project, config)
    check_setting(setting)
    folders = {}
    with show_progress(quiet=quiet) as watcher:
        for seed in config.seeds:
            seed_run = SeedRun(setting, runs or project.runs_path, seed, watcher)
            folders[seed] = seed_run.folder
            if overwrite:
                seed_run.delete(config.methods)
            _for_each(config.methods, seed_run.check)
            first(partial(write_json, seed_run.folder / "config.json", asdict(config)))
            _for_each(config.methods, seed_run.predict)
    return folders


def _for_each(methods: Iterable[str], do: Callable[[str], None]) -> None:
    for method in methods:
        try:
            do(method)
        except TrainingError as error:
            raise TrainingError(f"{method}: {error}") from None
