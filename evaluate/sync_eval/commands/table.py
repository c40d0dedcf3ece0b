"""`sync-eval table`: runs as a table like the paper's."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sync_eval.commands.arguments import read_config, runs_argument
from sync_eval.config import PROTOCOLS, Protocol
from sync_store.console import project_option
from sync_store.project import load_project

if TYPE_CHECKING:
    from sync_eval.runs import Row


@click.command()
@runs_argument
@project_option
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    envvar="SYNC_PROTOCOL",
    help="What becomes of unlabeled and background frames: masked (default), or cut out and the rest joined.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "markdown", "csv", "json"]), default="text", help="Form."
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the table to this file.")
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
@click.pass_obj
def table(
    default_project: Path | None,
    /,
    runs: tuple[Path, ...],
    project_path: Path | None,
    protocol: Protocol | None,
    form: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Score finished runs, by default all of the project, in a table like the paper's Table 1.

    Scores are counted on the label grid of the dataset. Runs of several seeds get a mean and a standard
    deviation.
    """
    from sync_eval.runs import find_groups, score_groups
    from sync_eval.scoring import read_truth
    from sync_store.atomic import write_atomic
    from sync_store.datasets import open_dataset

    project = load_project(project_path or default_project)
    config = read_config(project, protocol)
    groups = find_groups(runs or [project.runs_path])
    dataset = open_dataset(project)
    splits = {group.info.split for group in groups}
    truths = {split: read_truth(dataset, split, config.unsegmented) for split in splits}
    rows = score_groups(groups, truths, config.protocol)
    notes = [note for _, truth in sorted(truths.items()) for note in truth.notes]
    rendered = _render(rows, config.protocol, "json" if as_json else form, notes, to_file=output is not None)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if output is None:
        click.echo(rendered, nl=False)
    else:
        write_atomic(output, rendered.encode())
        click.echo(f"wrote {output}", err=True)


def _render(
    rows: "Sequence[Row]", protocol: Protocol, form: str, notes: Sequence[str], *, to_file: bool
) -> str:
    from sync_eval.tables import to_csv, to_json, to_markdown, to_text

    if form == "json":
        return to_json(rows, protocol, notes)
    if form == "csv":
        return to_csv(rows, protocol)
    if form == "markdown":
        return to_markdown(rows, protocol)
    on_terminal = sys.stdout.isatty() and not to_file
    return to_text(rows, protocol, shutil.get_terminal_size().columns if on_terminal else None)
