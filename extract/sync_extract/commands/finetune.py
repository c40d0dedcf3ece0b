"""`sync-extract finetune`: TSM on labelled clips."""

from pathlib import Path
from typing import Any

import click

from sync_extract.commands.tuning import override, read_settings, report, tuning_options
from sync_store.console import given
from sync_store.project import load_project


@click.command()
@click.argument("name")
@tuning_options
@click.option(
    "--views",
    multiple=True,
    help="View to learn from: a name, exo, ego or both; repeat for several [default: exo].",
)
@click.pass_context
def finetune(
    ctx: click.Context, /, name: str, overwrite: bool, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Fine-tune a TSM on the fine-grained labels of a split, as backbones/NAME/model.safetensors.

    Goes on where an interrupted run stopped, and ends as an uninterrupted one. Settings come from the section
    [extract.finetune] of sync.toml; options override them.
    """
    from sync_extract.tuning.finetune import finetune as run_finetuning
    from sync_extract.tuning.progress import show_progress

    project_path: Path | None = ctx.obj
    project = load_project(project_path)
    config = override(read_settings(project).finetune, project, given(ctx, **options))
    with show_progress(name, quiet=quiet or as_json) as watcher:
        run, result = run_finetuning(project, config, name, overwrite=overwrite, watcher=watcher)
    report(run, result, quiet=quiet, as_json=as_json)
