"""`sync-train teacher`: an ordinary trainer of temporal action segmentation."""

from dataclasses import replace
from typing import Any

import click

from sync_store.project import load_project
from sync_train.request import carry_out, read_config, request_after, run_options


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
    train_split: str | None,
    test_split: str | None,
    **options: Any,
) -> None:
    """Train the teacher alone, and predict the test split of the same view: the row exo-oracle.

    An ordinary trainer of temporal action segmentation. It needs one view, and neither an ego view nor pairs.
    """
    request = request_after(ctx, **options)
    request = replace(request, overrides={**request.overrides, "methods": ("exo-oracle",)})
    project = load_project(request.project_path)
    config = read_config(project, request.overrides, request.settings)
    given_splits = {"train": train_split, "test": test_split}
    splits = replace(config.splits, **{k: name for k, name in given_splits.items() if name is not None})
    carry_out(request, project, replace(config, splits=splits))
