"""Ends commands at seeded moments, runs them again, and compares all files with those of an undisturbed run.

    python tests/faults/torture.py --times 50

Each moment has a process and a folder of its own.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import lmdb
import numpy as np
from interrupted import (
    LIBRARIES,
    Command,
    Ended,
    draw_moments,
    end_and_go_on,
    finish,
    one_folder,
    start,
    undisturbed,
)

from sync_demo.benchmark import render_benchmark
from sync_demo.plan import Settings

SHORTEST = Settings(seed=74, recordings=(2, 2, 1))
"""The seed whose recordings are shortest, of the first 300."""

IMPORTED_ROWS, IMPORTED_DIM = 4000, 64

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}

PROJECT = """\
[dataset]
label_fps = 10

[views.v3]
kind = "exo"

[views.v4]
kind = "exo"

[views.e4]
kind = "ego"

[extract]
backbone = "tsm-random-demo"
device = "cpu"
batch_size = 8
fps = 4
views = ["v3", "e4"]

[train]
chunk_rows = 1
max_chunks = 128
standardize = true
checkpoint_seconds = 0
seeds = [0]
methods = ["feature", "tas"]

[train.teacher]
max_epochs = 4

[train.adapter]
num_layers = 1
num_heads = 2
ffn_dim = 16
max_epochs = 4

[train.student]
max_epochs = 4
"""


EXTRACT = Command(
    name="sync-extract",
    module="sync_extract.cli",
    arguments=(),
    output="features.zarr",
    unit="shards",
    files="*/*/*/features/c/*/0",
)
COMMANDS = (
    EXTRACT,
    Command(
        name="sync-extract import lmdb",
        module="sync_extract.cli",
        arguments=("import", "lmdb", "imported"),
        output="features.zarr",
        unit="shards",
        files="*/*/*/features/c/*/0",
    ),
    Command(
        name="sync-extract copy",
        module="sync_extract.cli",
        arguments=("copy", "features.zarr", "copied.zarr"),
        output="copied.zarr",
        unit="shards",
        files="*/*/*/features/c/*/0",
    ),
    Command(
        name="sync-train",
        module="sync_train.cli",
        arguments=(),
        output="runs",
        unit="stages",
        files="*/*/*/result.json",
    ),
)


@click.command()
@click.option("--times", default=50, show_default=True, help="Moments for each command.")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--command", "names", multiple=True, type=click.Choice([c.name for c in COMMANDS]))
@click.option("--signal", "signals", multiple=True, type=click.Choice(list(SIGNALS)), default=["SIGKILL"])
@click.option("--only", multiple=True, type=int, help="Number of a moment, to repeat what failed.")
def main(
    times: int, seed: int, names: tuple[str, ...], signals: tuple[str, ...], only: tuple[int, ...]
) -> None:
    """Print a line a command and signal; exit status 1 if a second run left anything else behind."""
    multiprocessing.set_forkserver_preload(list(LIBRARIES))
    os.environ["OMP_NUM_THREADS"] = "1"
    num_problems = 0
    click.echo(f"{'command':26}{'signal':9}times  before  while  after  {'kept':>12}  ended in  equal")
    with tempfile.TemporaryDirectory() as folder:
        lab = make_lab(Path(folder, "lab"))
        for command in (command for command in COMMANDS if not names or command.name in names):
            seconds, expected = undisturbed(command, lab)
            for sent in signals:
                ended = []
                for number, moment in enumerate(draw_moments(seconds, times, seed)):
                    if only and number not in only:
                        continue
                    with one_folder(lab, command) as place:
                        ended.append(end_and_go_on(command, place, SIGNALS[sent], moment, expected))
                    if problem := ended[-1].problem:
                        num_problems += 1
                        click.echo(
                            f"{command.name}: {sent} {number} of {times}, seed {seed}, {moment:.3f} of {seconds:.3f} s "
                            f"after the start, {ended[-1].when} writing: {problem}"
                        )
                click.echo(summary(command, sent, ended))
    sys.exit(num_problems > 0)


def make_lab(root: Path) -> Path:
    """A rendered project with its features, and those of another backbone in an LMDB file."""
    render_benchmark(root, SHORTEST, workers=2)
    (root / "sync.toml").write_text(PROJECT)
    rng = np.random.default_rng(0)
    (root / "imported").mkdir()
    with (
        lmdb.open(str(root / "imported"), map_size=64 << 20) as environment,
        environment.begin(write=True) as file,
    ):
        for view in ("v3", "e4"):
            for number in range(1, IMPORTED_ROWS + 1):
                row = rng.standard_normal(IMPORTED_DIM).astype(np.float32)
                file.put(f"r1/{view}/{view}_{number:010d}.jpg".encode(), row.tobytes())
    finish(process := start(EXTRACT, root))
    assert process.exitcode == 0, (root / "messages").read_text()
    return root


def summary(command: Command, sent: str, ended: Sequence[Ended]) -> str:
    """A line of the table."""
    before, during, after = (sum(one.when == when for one in ended) for when in ("before", "while", "after"))
    kept = f"{sum(one.num_units for one in ended)} {command.unit}"
    slowest = f"{max(one.seconds for one in ended):.2f} s"
    equal = f"{sum(not one.problem for one in ended)} of {len(ended)}"
    counts = f"{len(ended):5}  {before:6}  {during:5}  {after:5}"
    return f"{command.name:26}{sent:9}{counts}  {kept:>12}  {slowest:>8}  {equal}"


if __name__ == "__main__":
    main()
