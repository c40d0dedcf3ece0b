"""`sync-eval compare`: whether rows of the table differ by more than chance."""

import shutil
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sync_eval.commands.arguments import protocol_option, read_config
from sync_eval.config import METRICS, Protocol
from sync_store.console import json_option, project_option
from sync_store.project import Project, load_project

if TYPE_CHECKING:
    from sync_eval.comparisons import Report
    from sync_eval.runs import Group


@click.command()
@click.argument("names", nargs=-1, metavar="ROW ROW...")
@project_option
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Run folder with the rows; repeat for several [default: all runs of the project].",
)
@click.option("--all-pairs", is_flag=True, help="Compare each two rows, not every other one with the first.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(METRICS),
    help="Compare by this metric; repeat for several [default: all].",
)
@click.option(
    "--replicates",
    type=click.IntRange(min=1000),
    default=10_000,
    show_default=True,
    help="Of the bootstrap.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bootstrap.")
@protocol_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv"]),
    default="text",
    help="Form; --json goes before it.",
)
@json_option
@click.pass_obj
def compare(
    default_project: Path | None,
    /,
    names: tuple[str, ...],
    project_path: Path | None,
    folders: tuple[Path, ...],
    all_pairs: bool,
    metrics: tuple[str, ...],
    replicates: int,
    seed: int,
    protocol: Protocol | None,
    form: str,
    as_json: bool,
) -> None:
    """Say whether rows of the table differ by more than chance: each ROW against the first.

    A ROW is METHOD, RUN/METHOD, METHOD@VIEW, RUN/METHOD@VIEW, RUN[FEATURES]/METHOD, RUN[FEATURES]/METHOD@VIEW, or a
    folder of predictions that holds one row, which goes before a row of that name.
    Recordings and seeds are resampled (paired bootstrap), and the p-values corrected over all lines (Holm).
    """
    if len(names) < 2:
        raise click.UsageError("name two rows or more: the first is what the others are compared with")
    from sync_eval.comparisons import Report
    from sync_eval.row_names import check_comparable
    from sync_eval.runs import score_groups
    from sync_eval.scoring import read_truth
    from sync_eval.significance import compare as compare_samples
    from sync_eval.significance import sample_of
    from sync_store.datasets import open_dataset

    project = load_project(project_path or default_project)
    config = read_config(project, protocol)
    groups = _find_rows(names, folders, project)
    check_comparable(names, groups)
    truth = read_truth(open_dataset(project), groups[0].info.split, config.unsegmented)
    rows = score_groups(groups, {truth.split: truth}, config.protocol)
    samples = [sample_of(row, truth) for row in rows]
    pairs = combinations(range(len(rows)), 2)
    found = compare_samples(
        samples,
        [pair for pair in pairs if all_pairs or pair[0] == 0],
        [metric for metric in METRICS if metric in (metrics or METRICS)],
        replicates=replicates,
        seed=seed,
    )
    report = Report(
        names=names,
        rows=tuple(rows),
        comparisons=tuple(found),
        num_recordings=samples[0].counts_SRC.shape[1],
        protocol=config.protocol,
        unsegmented=truth.unsegmented,
        replicates=replicates,
        seed=seed,
    )
    for note in truth.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(_render(report, "json" if as_json else form, truth.notes), nl=False)


def _find_rows(names: Sequence[str], folders: Sequence[Path], project: Project) -> "list[Group]":
    from sync_eval.row_names import find_row
    from sync_eval.runs import find_groups

    only_folders = all(Path(name).is_dir() for name in names)
    known = [] if only_folders else find_groups(folders or [project.runs_path])
    return [find_row(name, known) for name in names]


def _render(report: "Report", form: str, notes: Sequence[str]) -> str:
    from sync_eval.comparisons import lay_out, to_csv, to_json
    from sync_eval.table_forms import as_markdown, as_text

    if form == "json":
        return to_json(report, notes)
    if form == "csv":
        return to_csv(report)
    if form == "markdown":
        return as_markdown(lay_out(report))
    return as_text(lay_out(report), shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
