"""The command `sync-eval`. What needs numpy or matplotlib is imported when it is used."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sync_eval.config import PROTOCOLS, EvaluateConfig, Protocol
from sync_store.config import from_table
from sync_store.console import SyncGroup, json_option, print_json, project_option, set_up_logging
from sync_store.project import Project, load_project

if TYPE_CHECKING:
    from sync_eval.runs import Row

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_COMMAND = "table"

NUM_PLOTTED = 3
"""Recordings plotted where none is named."""


class _TableByDefault(SyncGroup):
    """Runs `table` where no command is named, so that `sync-eval`, `sync-eval --json` and so on work."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front; see the class."""
        own = {*self.commands, *self.get_help_option_names(ctx), "--version"}
        if not ctx.resilient_parsing and own.isdisjoint(args):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


def runs_argument(function: Function) -> Function:
    """Add the run folders."""
    return click.argument("runs", nargs=-1, metavar="[RUN_FOLDER]...", type=click.Path(path_type=Path))(
        function
    )


@click.group(
    cls=_TableByDefault,
    context_settings={"auto_envvar_prefix": "SYNC", "help_option_names": ["-h", "--help"]},
)
@project_option
@click.version_option(package_name="sync-tas")
@click.pass_context
def main(ctx: click.Context, /, project_path: Path | None) -> None:
    """Score predictions and show them.

    Without a command, `table` is run: sync-eval [RUN_FOLDER]... [--json].

    Exit status: 0 done, 1 nothing could be scored; the message says why.
    """
    set_up_logging()
    ctx.obj = project_path


@main.command()
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


@main.command()
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


@main.command()
@click.option(
    "--pred", required=True, type=click.Path(path_type=Path), help="Folder of predictions, a text file each."
)
@click.option(
    "--gt", required=True, type=click.Path(path_type=Path), help="Folder of ground truth, same file names."
)
@click.option("--background", multiple=True, help="Class that forms no segments; repeat for several.")
@json_option
def score(pred: Path, gt: Path, background: tuple[str, ...], as_json: bool) -> None:
    """Score text files of one label a line, exactly as the published metric code does.

    No project is needed. Frames of background classes count in MoF alone.
    """
    from sync_eval.frames import count_frames, read_frame_folders, unused_background
    from sync_eval.metrics import Counts

    pairs = read_frame_folders(pred, gt)
    for name in unused_background(pairs, background):
        click.echo(f"note: no file has a label {name!r}, given as background", err=True)
    scores = sum(count_frames(pairs, background).values(), Counts()).scores()
    if as_json:
        print_json(asdict(scores))
        return
    click.echo(f"{scores.num_sequences} files, {scores.num_frames} frames")
    names = {"edit": "Edit", "f1_10": "F1@10", "f1_25": "F1@25", "f1_50": "F1@50", "mof": "MoF"}
    for field, name in names.items():
        click.echo(f"{name:<6} {getattr(scores, field):6.2f}")


def read_config(project: Project, protocol: Protocol | None) -> EvaluateConfig:
    """Settings of a project's [evaluate] section under an overriding option."""
    config = from_table(EvaluateConfig, project.stage("evaluate"), f"{project.file} [evaluate]")
    return config if protocol is None else replace(config, protocol=protocol)


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
