"""How far extraction is: bars on a terminal, plain lines elsewhere. Everything goes to stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sync_extract.pipeline import Watcher
from sync_extract.plan import Failure, Job


@contextmanager
def show_progress(num_jobs: int, *, quiet: bool = False) -> Iterator[Watcher]:
    """A watcher that suits where stderr goes: bars, lines, or nothing with `quiet`."""
    console = Console(stderr=True)
    if quiet:
        yield _Quiet()
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            yield _Bars(progress, num_jobs)
    else:
        yield _Lines(console, num_jobs)


class _Quiet:
    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        """See `Watcher`."""

    def advanced(self, job: Job, num_rows: int) -> None:
        """See `Watcher`."""

    def finished(self, job: Job, failure: Failure | None) -> None:
        """See `Watcher`."""


class _Bars:
    """One bar for all videos, one for the present video."""

    def __init__(self, progress: Progress, num_jobs: int) -> None:
        self._progress = progress
        self._overall = progress.add_task("all videos", total=num_jobs, unit="videos", rate="")
        self._current: TaskID | None = None
        self._rows = 0
        self._since = time.monotonic()

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        self._rows, self._since = 0, time.monotonic()
        self._current = self._progress.add_task(
            job.name, total=num_rows, completed=done_rows, unit="frames", rate=""
        )

    def advanced(self, job: Job, num_rows: int) -> None:
        self._rows += num_rows
        rate = f"{self._rows / max(1e-9, time.monotonic() - self._since):.0f} frames/s"
        assert self._current is not None
        self._progress.update(self._current, advance=num_rows, rate=rate)

    def finished(self, job: Job, failure: Failure | None) -> None:
        if self._current is not None:
            self._progress.remove_task(self._current)
            self._current = None
        if failure is not None:
            self._progress.console.print(
                f"failed: {job.name}: {failure.message}", markup=False, highlight=False
            )
        self._progress.advance(self._overall)


class _Lines:
    """One line a video."""

    def __init__(self, console: Console, num_jobs: int) -> None:
        self._console = console
        self._num_jobs = num_jobs
        self._num_done = 0
        self._rows = 0
        self._since = time.monotonic()

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        self._rows, self._since = 0, time.monotonic()

    def advanced(self, job: Job, num_rows: int) -> None:
        self._rows += num_rows

    def finished(self, job: Job, failure: Failure | None) -> None:
        self._num_done += 1
        seconds = max(1e-9, time.monotonic() - self._since)
        result = f"{self._rows} frames, {self._rows / seconds:.0f} frames/s"
        if failure is not None:
            result = f"failed: {failure.message}"
        line = f"[{self._num_done}/{self._num_jobs}] {job.name}: {result}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
