"""`sync-train apply`: a saved model on stored features."""

from pathlib import Path

import click

from sync_store.console import EXIT_SOME_FAILED, json_option, print_json, project_option
from sync_store.errors import IncompleteError, ProjectError
from sync_store.project import Project, load_project
from sync_train.request import Request, refuse_before


@click.command(context_settings={"auto_envvar_prefix": "SYNC"})
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path, exists=True, file_okay=False))
@project_option
@click.option("--view", help="View of the features [default: the only view, else the only ego view].")
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    envvar="SYNC_RECORDING",
    help="Repeat for several [default: all that are complete in the store].",
)
@click.option("--feature-set", help="Name of the features in the store [default: as the model's].")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("segments"),
    help="Folder of the files [default: segments].",
)
@click.option("--probabilities", is_flag=True, help="Write the probabilities of every row too, as .npz.")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
@json_option
@click.pass_context
def apply(
    ctx: click.Context,
    /,
    model: Path,
    project_path: Path | None,
    view: str | None,
    recordings: tuple[str, ...],
    feature_set: str | None,
    output: Path,
    probabilities: bool,
    device: str,
    as_json: bool,
) -> None:
    """Predict recordings with a saved model: segments with confidences, a CSV file each.

    MODEL is the folder of a trained stage, such as runs/main/seed-0/tas, or an exported model. The features must be
    made as those that it was trained on.

    Exit status: 0 done, 1 nothing could be done, 3 some recordings failed and are listed.
    """
    from sync_train.apply import apply_model, load_model, open_features
    from sync_train.device import choose_device

    refuse_before(ctx, but=("project_path", "as_json"))
    before: Request = ctx.obj
    project = load_project(project_path or before.project_path)
    where = choose_device(device)
    applied = load_model(model, where)
    source = open_features(applied, project.store_path, feature_set, where)
    chosen_view = _view(project, view)
    chosen = recordings or sorted(source.complete_recordings(chosen_view))
    if not chosen:
        raise IncompleteError(
            f"{project.store_path}: has no features {source.feature_set} of view {chosen_view}. Extract them with: "
            f"sync-extract --view {chosen_view}"
        )
    done = apply_model(applied, source, chosen_view, chosen, output, probabilities=probabilities)
    if as_json or before.as_json:
        failed = [{"recording": name, "message": message} for name, message in done.failed.items()]
        print_json({"segments": [str(path) for path in done.written], "failed": failed})
    else:
        for name, message in done.failed.items():
            click.echo(f"failed: {chosen_view}/{name}: {message}", err=True)
        click.echo(f"wrote {len(done.written)} files to {output}", err=True)
    if done.failed:
        ctx.exit(EXIT_SOME_FAILED)


def _view(project: Project, view: str | None) -> str:
    """The view asked for, else the only one, else the only ego view."""
    if view is not None:
        project.view(view)
        return view
    for views in (list(project.views), project.views_of_kind("ego")):
        if len(views) == 1:
            return views[0]
    raise ProjectError(
        f"{project.file}: has several views ({', '.join(project.views)}). Name one with --view"
    )
