"""`sync-train export`: a trained model as a folder that `sync-predict` and the Hugging Face hub take."""

from pathlib import Path

import click

from sync_store.console import json_option, load_project_if_any, print_json, project_option
from sync_store.errors import ProjectError
from sync_store.predictions import METHODS
from sync_train.request import Request, refuse_before


@click.command(context_settings={"auto_envvar_prefix": "SYNC"})
@click.argument("run", metavar="RUN")
@project_option
@click.option("--method", type=click.Choice(METHODS), default="tas", help="Which model [default: tas].")
@click.option("--seed", type=click.IntRange(min=0), help="Which seed [default: the lowest].")
@click.option("--output", type=click.Path(path_type=Path), help="The folder [default: RUN-METHOD].")
@click.option(
    "--license",
    "licence",
    metavar="NAME",
    envvar="SYNC_LICENSE",
    help="As the hub names it, such as cc-by-nc-4.0.",
)
@click.option("--no-scores", is_flag=True, help="Write none into the card; no labels are needed.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    /,
    run: str,
    project_path: Path | None,
    method: str,
    seed: int | None,
    output: Path | None,
    licence: str | None,
    no_scores: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a trained model as a folder: weights, config, model card, and how its features are made.

    RUN is a run's name in the project, or a run's folder. Upload the result with: hf upload NAME FOLDER
    """
    from sync_train.exporting import export_model, score_model_on_test
    from sync_train.trained import feature_set_of, find_model, find_run

    refuse_before(ctx, but=("project_path", "runs", "as_json"))
    before: Request = ctx.obj
    project = load_project_if_any(project_path or before.project_path)
    runs = before.runs or (None if project is None else project.runs_path)
    model = find_model(find_run(run, runs), method, seed)
    feature_set = feature_set_of(model, None if project is None else project.store_path)
    folder = output or Path(f"{model.run_folder.name}-{method}")
    row, protocol = None, ""
    if not no_scores:
        if project is None:
            raise ProjectError(
                "scores need the labels of a project, and there is no sync.toml here or above. Name it with --project, "
                "or leave scores out with --no-scores"
            )
        row, config = score_model_on_test(project, model)
        protocol = config.protocol
    recipe = export_model(
        folder, model, feature_set, row=row, protocol=protocol, licence=licence, overwrite=overwrite
    )
    if as_json or before.as_json:
        print_json({"folder": str(folder), "run": recipe.run, "method": recipe.method, "seed": recipe.seed})
    else:
        click.echo(f"wrote {folder}", err=True)
