"""`sync-eval score`: text files of one label a line."""

from dataclasses import asdict
from pathlib import Path

import click

from sync_store.console import json_option, print_json


@click.command()
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
