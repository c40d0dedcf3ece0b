"""`sync-eval report`: runs as one page to look at."""

from pathlib import Path

import click

from sync_eval.commands.arguments import (
    experiment_runs_option,
    find_named,
    protocol_option,
    read_config,
    runs_or_experiments_argument,
)
from sync_eval.config import Protocol
from sync_store.console import json_option, print_json, project_option
from sync_store.project import load_project

REPORT = "report.html"


@click.command()
@runs_or_experiments_argument
@experiment_runs_option
@project_option
@protocol_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The page [default: {REPORT}, beside the runs].",
)
@click.option("--no-videos", is_flag=True, help="Leave the videos out.")
@json_option
@click.pass_obj
def report(
    default_project: Path | None,
    /,
    runs: tuple[Path, ...],
    runs_path: Path | None,
    project_path: Path | None,
    protocol: Protocol | None,
    output: Path | None,
    no_videos: bool,
    as_json: bool,
) -> None:
    """Write one HTML page: scores, segmentations beside their videos, confusions, learning curves.

    It is about finished runs, by default all of the project, or about experiments by their names. It opens from
    disk, without a server, and asks nobody for anything. Videos stay where they are: the page names them relative
    to its own folder.
    """
    from sync_eval.report.contents import contents_of_experiments, contents_of_runs
    from sync_eval.report.page import build_page
    from sync_eval.report.videos import VideoFinder
    from sync_store.atomic import write_atomic

    named = find_named(runs, runs_path)
    project = load_project(project_path or default_project)
    config = read_config(project, protocol)
    if named:
        contents = contents_of_experiments(named, project, config, runs_path)
    else:
        contents = contents_of_runs(runs or [project.runs_path], project, config)
    path = output or project.runs_path.parent / REPORT
    finder = None if no_videos else VideoFinder(project, contents.dataset, contents.groups, path.parent)
    write_atomic(path, build_page(contents, finder).encode())
    if as_json:
        print_json({"report": str(path)})
    else:
        click.echo(path)
