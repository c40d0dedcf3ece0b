"""The command `sync-predict`. What needs numpy or a template is imported when it is used."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sync_store.console import (
    EXIT_FAILURE,
    EXIT_SOME_FAILED,
    SyncCommand,
    json_option,
    load_project_if_any,
    print_json,
    project_option,
    set_up_logging,
)
from sync_store.predictions import METHODS

if TYPE_CHECKING:
    from sync_predict.predict import Outcome


@click.command(
    cls=SyncCommand, context_settings={"auto_envvar_prefix": "SYNC", "help_option_names": ["-h", "--help"]}
)
@click.argument(
    "paths",
    metavar="VIDEO...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@project_option
@click.option("--run", required=True, help="A run's name in the project, its folder, or an exported model.")
@click.option("--method", type=click.Choice(METHODS), help="Which model of the run [default: tas].")
@click.option("--seed", type=click.IntRange(min=0), help="Which seed of the run [default: the lowest].")
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the project's runs [default: [runs] path].",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("predictions"),
    help="Folder of a folder a video [default: predictions].",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    help="Local weights of the backbone [default: those of [extract], else downloaded].",
)
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
@click.option("--overwrite", is_flag=True, help="Extract and predict again what is done.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
@click.version_option(package_name="sync-tas")
def main(
    paths: tuple[Path, ...],
    project_path: Path | None,
    run: str,
    method: str | None,
    seed: int | None,
    runs: Path | None,
    output: Path,
    weights: Path | None,
    device: str,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find the actions in new videos with a trained model.

    Writes a folder a video: segments.csv, segments.json, segments.eaf for ELAN, and page.html with the video over its
    segments. Features are extracted as those that the model was trained on, and kept.

    Exit status: 0 done, 1 nothing could be done, 3 some videos failed or are incomplete, and are listed.
    """
    from sync_predict.model import open_model, weights_of
    from sync_predict.predict import predict_videos
    from sync_predict.videos import describe_videos
    from sync_predict.work import ExtractionOptions

    set_up_logging()
    videos = describe_videos(paths)
    project = load_project_if_any(project_path)
    say = (lambda _: None) if quiet or as_json else (lambda text: click.echo(text, err=True))
    with open_model(run, method, seed, project, runs) as model:
        options = ExtractionOptions(
            weights=weights or weights_of(project, model.recipe),
            device=device,
            overwrite=overwrite,
            quiet=quiet,
        )
        outcomes = predict_videos(videos, model, output, options, say)
    _report(outcomes, quiet=quiet, as_json=as_json)
    if any(outcome.problem is not None for outcome in outcomes):
        is_some_done = any(outcome.is_written for outcome in outcomes)
        sys.exit(EXIT_SOME_FAILED if is_some_done else EXIT_FAILURE)


def _report(outcomes: "list[Outcome]", *, quiet: bool, as_json: bool) -> None:
    """Folders on stdout; failures on stderr."""
    failed: list[dict[str, Any]] = []
    for outcome in outcomes:
        if outcome.problem is not None:
            word = "incomplete" if outcome.is_written else "failed"
            click.echo(f"{word}: {outcome.video.path}: {outcome.problem}", err=True)
            failed.append(
                {
                    "video": str(outcome.video.path),
                    "message": outcome.problem,
                    "kept": outcome.is_written,
                }
            )
    written = {str(outcome.video.path): str(outcome.folder) for outcome in outcomes if outcome.is_written}
    if as_json:
        print_json({"written": written, "failed": failed})
    elif not quiet:
        for folder in written.values():
            click.echo(folder)
