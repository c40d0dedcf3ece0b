"""`sync-train teacher`: an ordinary trainer of temporal action segmentation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sync_store.project import load_project
from sync_train.request import Request, carry_out, read_config, run_options


@click.command()
@run_options
@click.option(
    "--train-split", envvar="SYNC_TRAIN_SPLIT", help="Split to learn from [default: [train.splits] train]."
)
@click.option(
    "--test-split", envvar="SYNC_TEST_SPLIT", help="Split to predict [default: [train.splits] test]."
)
@click.pass_context
def teacher(
    ctx: click.Context,
    /,
    project_path: Path | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    train_split: str | None,
    test_split: str | None,
    **options: Any,
) -> None:
    """Train the teacher alone, and predict the test split of the same view: the row exo-oracle.

    An ordinary trainer of temporal action segmentation. It needs one view, and neither an ego view nor pairs.
    """
    before: Request = ctx.obj  # has the SYNC_* variables too, so only what was typed after goes before it
    typed = {
        name: value
        for name, value in {"project_path": project_path, **options}.items()
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    request = Request(
        project_path=typed.pop("project_path", before.project_path),
        overrides={**before.overrides, **typed, "methods": ("exo-oracle",)},
        overwrite=overwrite or before.overwrite,
        quiet=quiet or before.quiet,
        as_json=as_json or before.as_json,
    )
    project = load_project(request.project_path)
    config = read_config(project, request.overrides)
    given_splits = {"train": train_split, "test": test_split}
    splits = replace(config.splits, **{k: name for k, name in given_splits.items() if name is not None})
    carry_out(request, project, replace(config, splits=splits))
