"""`sync-extract copy`: recordings from one store to another."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from sync_store.console import EXIT_SOME_FAILED, json_option, print_json
from sync_store.errors import IncompleteError, StoreError, SyncError

if TYPE_CHECKING:
    from sync_store.place import Place
    from sync_store.reader import FeatureStore


@dataclass(frozen=True, kw_only=True)
class Item:
    """One recording to copy."""

    feature_set: str
    view: str
    recording: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.feature_set}/{self.view}/{self.recording}"


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option(
    "--feature-set", "feature_sets", multiple=True, help="Only this feature set; repeat for several."
)
@click.option("--view", "views", multiple=True, help="Only this view; repeat for several.")
@click.option("--recording", "recordings", multiple=True, help="Only this recording; repeat for several.")
@click.option(
    "--jobs", default=4, show_default=True, type=click.IntRange(min=1), help="Recordings at the same time."
)
@click.option("--overwrite", is_flag=True, help="Copy again what is there.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
@click.pass_context
def copy(
    ctx: click.Context,
    /,
    source: str,
    target: str,
    feature_sets: tuple[str, ...],
    views: tuple[str, ...],
    recordings: tuple[str, ...],
    jobs: int,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Copy complete recordings from the store SOURCE to the store TARGET: folders, or s3://BUCKET/NAME.

    Every array is checked against its digest on the way. The same command goes on after an interruption; what is there
    already isn't copied again.

    Exit status: 0 done, 1 nothing could be done, 3 some recordings failed and are listed.
    """
    from sync_extract.plan import Failure
    from sync_store.place import to_place
    from sync_store.reader import FeatureStore

    try:
        origin, goal = (to_place(text, Path.cwd()) for text in (source, target))
        origin, goal = (place.resolve() if isinstance(place, Path) else place for place in (origin, goal))
    except ValueError as error:
        raise StoreError(str(error)) from None
    if origin == goal:
        raise StoreError(f"{origin}: is both SOURCE and TARGET")
    store = FeatureStore(origin)
    items = _items(store, feature_sets, views, recordings)
    failures: list[Failure] = []
    num_copied, num_bytes = 0, 0
    with _progress(items, quiet=quiet or as_json) as shown, _pool(jobs) as (pool, stop):

        def copy_one(item: Item) -> int | None:
            return _copy(store, goal, item, overwrite, stop, shown)

        futures: dict[Future[int | None], Item] = {pool.submit(copy_one, item): item for item in items}
        for future in as_completed(futures):
            item = futures[future]
            try:
                written = future.result()
            except SyncError as error:
                failures.append(Failure(recording=item.recording, view=item.view, message=str(error)))
                continue
            if written is None:
                shown(item, item.size_bytes)
            else:
                num_copied += 1
                num_bytes += written
    _finish(goal, items)
    num_kept = len(items) - num_copied - len(failures)
    if as_json:
        print_json(
            {
                "source": str(origin),
                "target": str(goal),
                "copied": num_copied,
                "bytes": num_bytes,
                "there_already": num_kept,
                "failed": [asdict(failure) for failure in failures],
            }
        )
    for failure in failures:
        click.echo(str(failure), err=True)
    size = f"{num_bytes / 2**20:.1f} MiB"
    click.echo(f"{num_copied} copied ({size}), {num_kept} there already, {len(failures)} failed", err=True)
    if failures:
        ctx.exit(EXIT_SOME_FAILED)


class _StoppedError(Exception):
    """Another recording's error, or a signal, ends this one's copy."""


def _copy(
    store: "FeatureStore",
    target: "Place",
    item: Item,
    overwrite: bool,
    stop: Event,
    shown: Callable[[Item, int], None],
) -> int | None:
    from sync_store.copying import copy_recording

    def on_read(num_bytes: int) -> None:
        shown(item, num_bytes)
        if stop.is_set():
            raise _StoppedError

    return copy_recording(
        store, target, item.feature_set, item.view, item.recording, overwrite=overwrite, on_read=on_read
    )


def _items(
    store: "FeatureStore", feature_sets: Sequence[str], views: Sequence[str], recordings: Sequence[str]
) -> list[Item]:
    """What is asked for and complete, by name.

    Raises:
        IncompleteError: If the store lacks something that is named, or has nothing to copy.
    """
    for name in feature_sets:
        store.feature_set(name)
    items = [
        Item(feature_set=feature_set, view=view, recording=entry.recording, size_bytes=entry.size_bytes)
        for feature_set in feature_sets or store.feature_sets()
        for view in store.views(feature_set)
        if not views or view in views
        for entry in store.entries(feature_set, view)
        if (entry.complete or entry.problem) and (not recordings or entry.recording in recordings)
    ]
    for kind, asked, found in (
        ("view", views, {item.view for item in items}),
        ("recording", recordings, {item.recording for item in items}),
    ):
        if missing := sorted(set(asked) - found):
            raise IncompleteError(f"{store.path}: has no complete recording of {kind} {missing[0]!r} to copy")
    if not items:
        raise IncompleteError(f"{store.path}: has no complete recording to copy")
    return items


@contextmanager
def _pool(jobs: int) -> "Iterator[tuple[ThreadPoolExecutor, Event]]":
    """Threads that end soon after an error: each after the file that it copies."""
    stop = Event()
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            yield pool, stop
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _progress(items: Sequence[Item], *, quiet: bool) -> Iterator[Callable[[Item, int], None]]:
    """What is told of bytes that are done with: shows a bar on a terminal, else nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("", total=sum(item.size_bytes for item in items))
        yield lambda item, num_bytes: progress.advance(task, num_bytes)


def _finish(target: "Place", items: Sequence[Item]) -> None:
    """Write the indexes, and delete what killed copies left."""
    from sync_store.layout import METADATA, sweep_groups
    from sync_store.reader import FeatureStore

    if (target / METADATA).is_file():
        store = FeatureStore(target)
        for feature_set, view in sorted({(item.feature_set, item.view) for item in items}):
            store.entries(feature_set, view)
            sweep_groups(target, feature_set, [view])
