"""How far all jobs are: bars on a terminal, a line a job elsewhere. Everything goes to stderr."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sync_train.experiments.job import Job
from sync_train.experiments.process import Process, newest_epoch
from sync_train.experiments.scheduler import Outcome, Watcher


class Clock:
    """Time so far, and when all jobs will be done, judged by what those that are done took."""

    def __init__(self, jobs: Sequence[Job], num_slots: int) -> None:
        self._started = time.monotonic()
        self._left = sum(len(job.results) for job in jobs)
        self._num_slots = num_slots
        self._done = 0
        self._worked_seconds = 0.0

    def ended(self, outcome: Outcome) -> None:
        """A job is over."""
        results = len(outcome.job.results)
        self._left -= results
        if outcome.state in ("done", "failed"):
            self._done += results
            self._worked_seconds += outcome.seconds

    @property
    def text(self) -> str:
        """Both, for a person; the end only when something has been done to judge it by."""
        passed = f"{_duration(time.monotonic() - self._started)} so far"
        if not self._done or not self._left:
            return passed
        left = self._left * self._worked_seconds / self._done / self._num_slots
        end = datetime.now() + timedelta(seconds=left)
        return f"{passed}, about {_duration(left)} left, until {end:%a %H:%M}"


@contextmanager
def show_jobs(jobs: Sequence[Job], runs: Path, num_slots: int, *, quiet: bool) -> Iterator[Watcher]:
    """A watcher that suits where stderr goes: bars, lines, or nothing with `quiet`."""
    console = Console(stderr=True, quiet=quiet)
    clock = Clock(jobs, num_slots)
    if quiet or not console.is_terminal:
        yield _Lines(console, clock, len(jobs))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[values]}"))
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bars(progress, clock, runs, len(jobs))


class _Lines:
    """A line at each job's end."""

    def __init__(self, console: Console, clock: Clock, num_jobs: int) -> None:
        self._console = console
        self._clock = clock
        self._num_jobs = num_jobs
        self._num_over = 0

    def ended(self, outcome: Outcome) -> None:
        self._clock.ended(outcome)
        self._num_over += 1
        line = f"[{self._num_over}/{self._num_jobs}] {describe(outcome)} ({self._clock.text})"
        if outcome.state != "done before":
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def looked(self, running: Sequence[Process]) -> None:
        pass


class _Bars:
    """A bar for all jobs, and a line for each at work; those that failed stay above."""

    def __init__(self, progress: Progress, clock: Clock, runs: Path, num_jobs: int) -> None:
        self._progress = progress
        self._clock = clock
        self._runs = runs
        self._all = progress.add_task("all jobs", total=num_jobs, values="")
        self._lines: dict[str, TaskID] = {}

    def ended(self, outcome: Outcome) -> None:
        self._clock.ended(outcome)
        self._progress.advance(self._all)
        if (line := self._lines.pop(outcome.job.name, None)) is not None:
            self._progress.remove_task(line)
        if outcome.state in ("failed", "skipped"):
            self._progress.console.print(describe(outcome), markup=False, highlight=False, soft_wrap=True)

    def looked(self, running: Sequence[Process]) -> None:
        total = self._progress.tasks[0]
        counts = (
            f"{total.completed:.0f} of {total.total:.0f} over, {len(running)} at work, {self._clock.text}"
        )
        self._progress.update(self._all, values=counts)
        for process in running:
            job = process.job
            if job.name not in self._lines:
                self._lines[job.name] = self._progress.add_task(job.title, total=None, values="")
            stage = newest_epoch(job.folder(self._runs))
            values = f"{stage} {_duration(process.seconds)}".strip()
            self._progress.update(self._lines[job.name], values=values)


def describe(outcome: Outcome) -> str:
    """A line on how a job ended."""
    name = outcome.job.title
    if outcome.state == "done":
        return f"{name}: done in {_duration(outcome.seconds)}"
    return f"{name}: {outcome.state}" + (f": {outcome.error}" if outcome.error else "")


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
