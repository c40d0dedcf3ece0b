"""`sync-eval plot`: segmentations as pictures."""

from pathlib import Path

import click

from sync_eval.commands.arguments import runs_argument
from sync_store.console import json_option, print_json, project_option
from sync_store.project import load_project

NUM_PLOTTED = 3
"""Recordings plotted where none is named."""


@click.command()
@runs_argument
@project_option
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    help=f"Repeat for several [default: the first {NUM_PLOTTED} of each split].",
)
@click.option("--output", type=click.Path(path_type=Path), help="Folder [default: plots, below the runs].")
@json_option
@click.pass_obj
def plot(
    default_project: Path | None,
    /,
    runs: tuple[Path, ...],
    project_path: Path | None,
    recordings: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Draw ground truth and predictions of some recordings as bars, a PNG file each.

    Of runs with several seeds, the lowest seed is drawn.
    """
    from sync_eval.plots import bars_of, colors_of, plot_recording
    from sync_eval.runs import find_groups
    from sync_store.datasets import open_dataset
    from sync_store.labels import first_seen

    project = load_project(project_path or default_project)
    groups = find_groups(runs or [project.runs_path])
    dataset = open_dataset(project)
    splits = first_seen(group.info.split for group in groups)
    chosen = recordings or [name for split in splits for name in dataset.split(split)[:NUM_PLOTTED]]
    figures = {recording: bars_of(groups, dataset, recording) for recording in chosen}
    colors = colors_of(groups, dataset, [bar for bars in figures.values() for bar in bars])
    folder = output or project.runs_path / "plots"
    written = [folder / f"{recording}.png" for recording in figures]
    for path, (recording, bars) in zip(written, figures.items(), strict=True):
        plot_recording(path, recording, bars, colors)
    if as_json:
        print_json({"plots": [str(path) for path in written]})
    else:
        for path in written:
            click.echo(path)
