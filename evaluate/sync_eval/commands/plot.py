"""`sync-eval plot`: segmentations, or the curves of an experiment, as pictures."""

from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from sync_eval.commands.arguments import (
    experiment_runs_option,
    find_named,
    protocol_option,
    read_config,
    runs_or_experiments_argument,
)
from sync_eval.config import EvaluateConfig, Protocol
from sync_store.console import json_option, print_json, project_option
from sync_store.project import Project, load_project

NUM_PLOTTED = 3
"""Recordings plotted where none is named."""


@click.command()
@runs_or_experiments_argument
@experiment_runs_option
@project_option
@protocol_option
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    help=f"Repeat for several [default: the first {NUM_PLOTTED} of each split].",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder [default: plots, below the runs].")
@json_option
@click.pass_context
def plot(
    ctx: click.Context,
    /,
    runs: tuple[Path, ...],
    runs_path: Path | None,
    project_path: Path | None,
    protocol: Protocol | None,
    recordings: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Draw ground truth and predictions of some recordings as bars, a PNG file each.

    Of runs with several seeds, the lowest seed is drawn. The name of an experiment that sweeps a setting, such as
    table4, draws its curves.
    """
    named = find_named(runs, runs_path)
    if named and recordings:
        raise click.UsageError(f"{named[0]} is an experiment, of which --recording draws nothing")
    if not named and ctx.get_parameter_source("protocol") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--protocol is for experiments: bars of recordings have no scores")
    project = load_project(project_path or ctx.obj)
    if named:
        written = _plot_sweeps(named, runs_path, project, read_config(project, protocol), output)
    else:
        written = _plot_recordings(runs, project, recordings, output or project.runs_path / "plots")
    if as_json:
        print_json({"plots": [str(path) for path in written]})
    else:
        for path in written:
            click.echo(path)


def _plot_recordings(
    runs: Sequence[Path], project: Project, recordings: Sequence[str], folder: Path
) -> list[Path]:
    from sync_eval.plots import bars_of, colors_of, plot_recording
    from sync_eval.runs import find_groups
    from sync_store.datasets import open_dataset
    from sync_store.labels import first_seen

    groups = find_groups(runs or [project.runs_path])
    dataset = open_dataset(project)
    splits = first_seen(group.info.split for group in groups)
    chosen = recordings or [name for split in splits for name in dataset.split(split)[:NUM_PLOTTED]]
    figures = {recording: bars_of(groups, dataset, recording) for recording in chosen}
    colors = colors_of(groups, dataset, [bar for bars in figures.values() for bar in bars])
    written = [folder / f"{recording}.png" for recording in figures]
    for path, (recording, bars) in zip(written, figures.items(), strict=True):
        plot_recording(path, recording, bars, colors)
    return written


def _plot_sweeps(
    names: Sequence[str | Path],
    runs_path: Path | None,
    project: Project,
    config: EvaluateConfig,
    output: Path | None,
) -> list[Path]:
    from sync_eval.experiments import evaluate_experiment
    from sync_eval.sweep_plots import find_sweep, plot_sweep
    from sync_experiments.experiment import read_experiment

    folder = output or (runs_path or project.experiments_path) / "plots"
    experiments = [read_experiment(name) for name in names]
    names_of_pictures = [experiment.name for experiment in experiments]
    if twice := [name for name in names_of_pictures if names_of_pictures.count(name) > 1]:
        raise click.UsageError(f"two experiments are named {twice[0]}, as would be their pictures")
    sweeps = {
        folder / f"{experiment.name}.png": find_sweep(
            evaluate_experiment(experiment, project, config, runs_path)
        )
        for experiment in experiments
    }
    for path, sweep in sweeps.items():
        plot_sweep(path, sweep)
    return list(sweeps)
