"""How far extraction is: bars on a terminal, plain lines elsewhere. Everything goes to stderr."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sync_extract.plan import Failure, Job

if TYPE_CHECKING:
    from sync_extract.pipeline import Watcher


@contextmanager
def show_progress(jobs: Sequence[Job], *, quiet: bool = False) -> "Iterator[Watcher]":
    """A watcher that suits where stderr goes: bars, lines, or nothing with `quiet`."""
    console = Console(stderr=True)
    if quiet:
        yield _Quiet()
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f} rows"),
            TextColumn("{task.fields[pace]}"),
        )
        with Progress(*columns, console=console, expand=True) as progress:
            yield _Bars(progress, jobs)
    else:
        yield _Lines(console, jobs)


class Pace:
    """Frames a second of this run, and the time that the rest takes at that rate."""

    def __init__(self, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count.

        Args:
            total: Rows in all; may be corrected as it becomes known.
            done: Rows that an earlier run left; they don't count for the rate.
            clock: Seconds.
        """
        self.total = total
        self.done = done
        self.computed = 0
        self._clock = clock
        self._since = clock()

    def advance(self, num_rows: int) -> None:
        """So many rows were computed."""
        self.done += num_rows
        self.computed += num_rows

    @property
    def rows_per_second(self) -> float:
        """Mean since the beginning."""
        return self.computed / max(1e-9, self._clock() - self._since)

    @property
    def seconds_left(self) -> float | None:
        """None before the first row."""
        return max(0, self.total - self.done) / self.rows_per_second if self.computed else None

    def __str__(self) -> str:
        if (left := self.seconds_left) is None:
            return ""
        return f"{self.rows_per_second:.1f} rows/s, {timedelta(seconds=round(left))} left"


class _Overall:
    """Counts videos, and rows over all of them: as headers state them, then as they turn out."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.num_jobs = len(jobs)
        self.num_finished = 0
        self.pace = Pace(sum(job.expected_rows for job in jobs))
        self.current: Pace | None = None

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        self.current = Pace(num_rows, done_rows)
        self.pace.total += num_rows - job.expected_rows
        self.pace.done += done_rows

    def advanced(self, num_rows: int) -> None:
        assert self.current is not None
        self.current.advance(num_rows)
        self.pace.advance(num_rows)

    def finished(self, job: Job) -> Pace | None:
        """Close the present video and give its pace; None if it failed before its first frame."""
        self.num_finished += 1
        current, self.current = self.current, None
        planned = job.expected_rows if current is None else current.total - current.done
        self.pace.total -= planned  # whatever of it won't come any more
        return current


class _Quiet:
    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        """See `Watcher`."""

    def advanced(self, job: Job, num_rows: int) -> None:
        """See `Watcher`."""

    def finished(self, job: Job, failure: Failure | None) -> None:
        """See `Watcher`."""


class _Bars:
    """One bar for all videos, one for the present video."""

    def __init__(self, progress: Progress, jobs: Sequence[Job]) -> None:
        self._progress = progress
        self._overall = _Overall(jobs)
        self._all = progress.add_task("", total=self._overall.pace.total, pace="")
        self._current: TaskID | None = None
        self._draw()

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        self._overall.started(job, done_rows, num_rows)
        self._current = self._progress.add_task(job.name, total=num_rows, completed=done_rows, pace="")
        self._draw()

    def advanced(self, job: Job, num_rows: int) -> None:
        self._overall.advanced(num_rows)
        self._draw()

    def finished(self, job: Job, failure: Failure | None) -> None:
        self._overall.finished(job)
        if self._current is not None:
            self._progress.remove_task(self._current)
            self._current = None
        if failure is not None:
            self._progress.console.print(str(failure), markup=False, highlight=False)
        self._draw()

    def _draw(self) -> None:
        overall = self._overall
        self._progress.update(
            self._all,
            description=f"all videos ({overall.num_finished}/{overall.num_jobs} done)",
            total=overall.pace.total,
            completed=overall.pace.done,
            pace=str(overall.pace),
        )
        if self._current is not None and overall.current is not None:
            self._progress.update(self._current, completed=overall.current.done, pace=str(overall.current))


class _Lines:
    """One line a video."""

    def __init__(self, console: Console, jobs: Sequence[Job]) -> None:
        self._console = console
        self._overall = _Overall(jobs)

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        self._overall.started(job, done_rows, num_rows)

    def advanced(self, job: Job, num_rows: int) -> None:
        self._overall.advanced(num_rows)

    def finished(self, job: Job, failure: Failure | None) -> None:
        overall = self._overall
        pace = overall.finished(job)
        parts = []
        if pace is not None:
            parts.append(f"{pace.computed} rows, {pace.rows_per_second:.1f} rows/s")
        if failure is not None:
            parts.append(f"{failure.outcome}: {failure.message}")
        if overall.num_finished < overall.num_jobs and str(overall.pace):
            parts.append(f"all videos: {overall.pace}")
        line = f"[{overall.num_finished}/{overall.num_jobs}] {job.name}: {'; '.join(parts)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
