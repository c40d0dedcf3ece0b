"""`sync-extract distill`: TSM of one view taught by that of another, without labels."""

from pathlib import Path
from typing import Any

import click

from sync_extract.commands.tuning import override, read_settings, report, tuning_options
from sync_store.console import given
from sync_store.project import load_project


@click.command()
@click.argument("name")
@tuning_options
@click.option("--exo", help="View that the teacher sees [default: the first exo view].")
@click.option("--ego", help="View that the student sees [default: the first ego view].")
@click.pass_context
def distill(
    ctx: click.Context, /, name: str, overwrite: bool, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Distill a TSM on synchronized pairs without labels, as backbones/NAME/model.safetensors.

    The student begins as the teacher, whose weights are given, and learns to have on ego clips the features that the
    teacher has on the exo clips of the same moments. Goes on where an interrupted run stopped, and ends as an
    uninterrupted one. Settings come from the section [extract.distill] of sync.toml; options override them.
    """
    from sync_extract.tuning.distill import distill as run_distillation
    from sync_extract.tuning.progress import show_progress

    project_path: Path | None = ctx.obj
    project = load_project(project_path)
    config = override(read_settings(project).distill, project, given(ctx, **options))
    with show_progress(name, quiet=quiet or as_json) as watcher:
        run, result = run_distillation(project, config, name, overwrite=overwrite, watcher=watcher)
    report(run, result, quiet=quiet, as_json=as_json)
