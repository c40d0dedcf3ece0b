"""`sync-extract status`: how far the jobs are."""

from typing import TYPE_CHECKING

import click

from sync_store.console import EXIT_SOME_FAILED, json_option, print_json
from sync_store.project import load_project

if TYPE_CHECKING:
    from sync_extract.cluster.status import Status


@click.command("status")
@click.option("--view", "views", multiple=True, help="Only this view; repeat for several.")
@click.option("--feature-set", help="Name of the feature set in the store [default: the backbone's].")
@click.option("--backbone", help="Whose feature set it is [default: that of sync.toml].")
@json_option
@click.pass_context
def status(
    ctx: click.Context, views: tuple[str, ...], feature_set: str | None, backbone: str | None, as_json: bool
) -> None:
    """Show what is done, running, waiting and failed, and when it will end.

    Exit status 3 if a recording has failed as often as it may, or a job couldn't work at all.
    """
    from sync_extract.cli import read_config
    from sync_extract.cluster.status import read_status

    project = load_project(ctx.obj)
    chosen = {"feature_set": feature_set, "backbone": backbone}
    config = read_config(project, {name: value for name, value in chosen.items() if value is not None})
    asked = list(dict.fromkeys(views or config.views or project.views))
    for view in asked:
        project.view(view)
    found = read_status(project, config, asked, config.cluster.folder_for(project.folder, config.name))
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)
    if found.has_failed:
        ctx.exit(EXIT_SOME_FAILED)


def _print(found: "Status") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from sync_extract.cluster.status import STATES

    counts = ", ".join(f"{found.count(state)} {state}" for state in STATES)
    end = found.estimated_end
    ends = f"; at this pace until {end.astimezone():%Y-%m-%d %H:%M}" if end else ""
    click.echo(f"{found.feature_set}: {counts}{ends}")
    for job in found.failed_jobs:
        click.echo(f"job {job.job} on {job.host} ended: {job.error} (log: {job.log})")
    shown = [one for one in found.recordings if one.state == "running" or one.attempts]
    if not shown:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("recording", "state", "failed", "job", "host", "last error", "log"):
        table.add_column(name, overflow="fold")
    for one in shown:
        cells = (one.name, one.state, str(one.attempts or ""), one.job, one.host, one.error, one.log)
        table.add_row(*map(escape, cells))
    Console().print(table)
