"""What `sync-extract finetune` and `sync-extract distill` share: options, settings, the report."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sync_extract.config import PRESET_NAMES, ExtractConfig
from sync_extract.tuning.config import TuningConfig
from sync_store.config import from_table
from sync_store.console import json_option, print_json
from sync_store.errors import ProjectError
from sync_store.project import Project

if TYPE_CHECKING:
    from sync_extract.tuning.run import Run

Function = TypeVar("Function", bound=Callable[..., Any])
Config = TypeVar("Config", bound=TuningConfig)


def tuning_options(function: Function) -> Function:
    """Add what both ways of training have."""
    for option in reversed(
        (
            click.option(
                "--weights", type=click.Path(path_type=Path, exists=True), help="Checkpoint to start from."
            ),
            click.option("--backbone", type=click.Choice(["tsm", "tsm-random-demo"]), help="The network."),
            click.option("--split", help="Recordings to learn from."),
            click.option("--epochs", type=click.IntRange(min=1)),
            click.option("--batch-size", type=click.IntRange(min=1), help="Clips a step."),
            click.option(
                "--pass-clips",
                type=click.IntRange(min=1),
                help="Clips a forward pass; fewer need less memory [default: all of a step].",
            ),
            click.option("--device", help="auto, cpu, cuda, cuda:1 …"),
            click.option("--seed", type=click.IntRange(min=0)),
            click.option("--workers", type=click.IntRange(min=1), help="Videos and batches read at a time."),
            click.option(
                "--scratch",
                type=click.Path(path_type=Path, file_okay=False),
                help="Folder for decoded pictures [default: the result's].",
            ),
            click.option("--overwrite", is_flag=True, help="Train anew what has the name."),
            click.option("--quiet", "-q", is_flag=True, help="No progress."),
            json_option,
        )
    ):
        function = option(function)
    return function


def read_settings(project: Project) -> ExtractConfig:
    """The section [extract], its tables included."""
    return from_table(ExtractConfig, project.stage("extract"), f"{project.file} [extract]")


def override(config: Config, project: Project, overrides: Mapping[str, Any]) -> Config:
    """Settings under overriding options; paths of sync.toml are relative to it."""
    paths = {
        name: project.folder / path
        for name in ("weights", "scratch")
        if (path := getattr(config, name)) is not None
    }
    try:
        return replace(config, **{**paths, **overrides})
    except ValueError as error:
        raise ProjectError(str(error)) from None


def report(run: "Run", result: Mapping[str, Any], *, quiet: bool, as_json: bool) -> None:
    """Say what was made, and how to use it."""
    if as_json:
        print_json({"name": run.folder.name, "model": str(run.model), **result})
    elif not quiet:
        score = "" if result["score"] is None else f", score {result['score']:.4g}"
        click.echo(
            f"{run.folder.name}: kept epoch {result['selected_epoch']} of {result['epochs']}{score}", err=True
        )
        preset = run.inputs["preprocessing"]["name"]
        options = f" --preset {preset}" if preset in PRESET_NAMES and preset != PRESET_NAMES[0] else ""
        click.echo(
            f"Extract with: sync-extract --backbone {run.config.backbone} --weights {shlex.quote(str(run.model))}"
            f"{options} --feature-set tsm-{run.folder.name}",
            err=True,
        )
