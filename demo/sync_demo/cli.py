"""Command `sync-demo`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from rich.console import Console
from rich.progress import Progress

from sync_demo.benchmark import render_benchmark
from sync_demo.plan import NUM_RECORDINGS, SPLITS, Settings, Size, Variant
from sync_demo.run import NOTE, StepError, list_steps, run_steps, summary
from sync_store.console import SyncGroup, given, set_up_logging

Function = TypeVar("Function", bound=Callable[..., Any])


@click.group(cls=SyncGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sync-tas")
def main() -> None:
    """Render a small synchronized exo/ego benchmark, and run every stage on it."""
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


def _benchmark_options(function: Function) -> Function:
    """What a benchmark's content depends on, and how many processes render it."""
    options = (
        click.argument("out", type=click.Path(path_type=Path, file_okay=False)),
        click.option("--size", type=click.Choice(get_args(Size)), default="demo", show_default=True),
        click.option(
            "--variant", type=click.Choice(get_args(Variant)), default="tabletop", show_default=True
        ),
        click.option(
            "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the scenes."
        ),
        click.option(
            "--recordings",
            callback=_counts,
            metavar="/".join(name.upper() for name in SPLITS),
            help="Numbers of recordings, such as 20/9/21 [default: by --size].",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            default=2,
            show_default=True,
            help="Processes that render.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@main.command()
@_benchmark_options
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
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("rendering", total=sum(counts))
        new = render_benchmark(
            out, settings, workers, lambda _name, ready, _total: progress.update(task, completed=ready)
        )
    seconds = time.perf_counter() - start
    click.echo(f"{out}: {sum(counts)} recordings, {new} of them rendered now, in {seconds:.0f} s", err=True)


@main.command()
@_benchmark_options
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="How often to train, with the seeds from 0 [default: as sync.toml says].",
)
@click.pass_context
def run(ctx: click.Context, /, out: Path, seeds: int | None, **benchmark: Any) -> None:
    """Render into the folder OUT, then extract, train and evaluate, by the commands one would type.

    Exit status: 0 done, otherwise that of the command that failed.
    """
    click.echo(f"{NOTE}\n")
    try:
        times = run_steps(list_steps(out, _given_options(ctx, **benchmark), seeds))
    except StepError as failure:
        click.echo(f"error: {failure}", err=True)
        ctx.exit(failure.status)
    click.echo(f"\n{summary(out, times)}")


def _given_options(ctx: click.Context, **benchmark: Any) -> list[str]:
    """The benchmark's options as `sync-demo render` takes them, without those left at their default."""
    texts = {
        name: "/".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in given(ctx, **benchmark).items()
    }
    return [part for name, text in texts.items() for part in (f"--{name}", text)]
