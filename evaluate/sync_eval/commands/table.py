"""`sync-eval table`: runs, or the rows of an experiment, as a table like the paper's."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sync_eval.commands.arguments import (
    experiment_runs_option,
    find_named,
    protocol_option,
    read_config,
    runs_or_experiments_argument,
)
from sync_eval.config import EvaluateConfig, Protocol
from sync_store.console import project_option
from sync_store.project import Project, load_project

if TYPE_CHECKING:
    from sync_eval.table_forms import Layout

FORMS = ("text", "markdown", "latex", "csv", "json")


@click.command()
@runs_or_experiments_argument
@experiment_runs_option
@project_option
@protocol_option
@click.option("--format", "form", type=click.Choice(FORMS), default="text", help="Form.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the table to this file.")
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
@click.pass_obj
def table(
    default_project: Path | None,
    /,
    runs: tuple[Path, ...],
    runs_path: Path | None,
    project_path: Path | None,
    protocol: Protocol | None,
    form: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Score finished runs, by default all of the project, in a table like the paper's Table 1.

    Scores are counted on the label grid of the dataset. Runs of several seeds get a mean and a standard
    deviation. The name of an experiment, such as table1, or a TOML file of one's own prints its rows with the
    paper's figures beside them.
    """
    from sync_store.atomic import write_atomic

    named = find_named(runs, runs_path)
    project = load_project(project_path or default_project)
    config = read_config(project, protocol)
    form = "json" if as_json else form
    on_terminal = sys.stdout.isatty() and output is None
    if named:
        rendered, notes = _table_experiments(named, runs_path, project, config, form, on_terminal)
    else:
        rendered, notes = _table_runs(runs, project, config, form, on_terminal)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if output is None:
        click.echo(rendered, nl=False)
    else:
        write_atomic(output, rendered.encode())
        click.echo(f"wrote {output}", err=True)


def _table_runs(
    runs: Sequence[Path], project: Project, config: EvaluateConfig, form: str, on_terminal: bool
) -> tuple[str, Sequence[str]]:
    """The table of run folders, and what isn't scored."""
    from sync_eval.runs import find_groups, score_groups
    from sync_eval.scoring import read_truth
    from sync_eval.tables import lay_out, to_csv, to_json
    from sync_store.datasets import open_dataset

    groups = find_groups(runs or [project.runs_path])
    dataset = open_dataset(project)
    splits = {group.info.split for group in groups}
    truths = {split: read_truth(dataset, split, config.unsegmented) for split in splits}
    rows = score_groups(groups, truths, config.protocol)
    notes = [note for _, truth in sorted(truths.items()) for note in truth.notes]
    if form == "json":
        return to_json(rows, config.protocol, notes), notes
    if form == "csv":
        return to_csv(rows, config.protocol), notes
    return _for_readers(lay_out(rows, config.protocol), form, on_terminal), notes


def _table_experiments(
    names: Sequence[str | Path],
    runs_path: Path | None,
    project: Project,
    config: EvaluateConfig,
    form: str,
    on_terminal: bool,
) -> tuple[str, Sequence[str]]:
    """The tables of experiments, one below the other, and what isn't scored."""
    from sync_eval.experiment_files import to_csv, to_json
    from sync_eval.experiment_tables import lay_out
    from sync_eval.experiments import evaluate_experiment
    from sync_experiments.experiment import read_experiment
    from sync_store.labels import first_seen

    evaluations = [evaluate_experiment(read_experiment(name), project, config, runs_path) for name in names]
    notes = first_seen(note for evaluation in evaluations for note in evaluation.notes)
    if form == "json":
        return to_json(evaluations), notes
    if form == "csv":
        return to_csv(evaluations), notes
    tables = [_for_readers(lay_out(evaluation), form, on_terminal) for evaluation in evaluations]
    return "\n".join(tables), notes


def _for_readers(layout: "Layout", form: str, on_terminal: bool) -> str:
    from sync_eval.latex import as_latex
    from sync_eval.table_forms import as_markdown, as_text

    if form == "markdown":
        return as_markdown(layout)
    if form == "latex":
        return as_latex(layout)
    styled = on_terminal and os.environ.get("TERM") != "dumb"
    return as_text(layout, shutil.get_terminal_size().columns if on_terminal else None, styled=styled)
