"""Command `sync-demo`."""

import time
from pathlib import Path
from typing import get_args

import click
from rich.console import Console
from rich.progress import Progress

from sync_demo.benchmark import render_benchmark
from sync_demo.plan import NUM_RECORDINGS, SPLITS, Settings, Size, Variant
from sync_store.console import SyncGroup, set_up_logging


@click.group(cls=SyncGroup)
@click.version_option(package_name="sync-tas")
def main() -> None:
    """Render a small synchronized exo/ego benchmark."""
    set_up_logging()


def _counts(_ctx: click.Context, _option: click.Parameter, text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    try:
        train, adapt, test = (int(part) for part in text.split("/"))
    except ValueError:
        raise click.BadParameter(f"expected three numbers such as 20/9/21, got {text!r}") from None
    if min(train, adapt, test) < 1:
        raise click.BadParameter(f"every split needs a recording, got {text!r}")
    return train, adapt, test


@main.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--size", type=click.Choice(get_args(Size)), default="demo", show_default=True)
@click.option("--variant", type=click.Choice(get_args(Variant)), default="tabletop", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--recordings",
    callback=_counts,
    metavar="/".join(name.upper() for name in SPLITS),
    help="Numbers of recordings, such as 20/9/21 [default: by --size].",
)
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
def render(
    out: Path,
    size: Size,
    variant: Variant,
    seed: int,
    recordings: tuple[int, int, int] | None,
    workers: int,
) -> None:
    """Write videos, labels, splits and sync.toml to the folder OUT; what is there already is kept."""
    counts = recordings or NUM_RECORDINGS[size]
    settings = Settings(size=size, variant=variant, seed=seed, recordings=counts)
    start = time.perf_counter()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rendering", total=sum(counts))
        new = render_benchmark(
            out, settings, workers, lambda _name, ready, _total: progress.update(task, completed=ready)
        )
    seconds = time.perf_counter() - start
    click.echo(f"{out}: {sum(counts)} recordings, {new} of them rendered now, in {seconds:.0f} s", err=True)
