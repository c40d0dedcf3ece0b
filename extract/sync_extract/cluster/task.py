"""What one job does: extract its bin, record what failed, try that again, and go on after an interruption."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from sync_extract.cluster.bins import Item, by_view
from sync_extract.cluster.ledger import Attempt, Ledger, now
from sync_extract.config import ExtractConfig
from sync_extract.pipeline import Watcher
from sync_extract.plan import Failure, Job
from sync_extract.progress import show_progress
from sync_extract.work import Work
from sync_store.claim import lease_seconds
from sync_store.console import set_up_logging
from sync_store.memory import keep_freed_memory
from sync_store.project import load_project

JOB, LOG = "SYNC_JOB", "SYNC_JOB_LOG"
"""Environment of a process of this machine: what it is called in records, and where it writes what it says."""

Items = tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class BinTask:
    """A job's work, which is sent to it pickled.

    When the job is requeued it begins anew: what is done by then, the store knows.
    """

    project: Path
    """sync.toml."""
    config: ExtractConfig
    items: Items
    folder: Path
    """Of the cluster's logs and records."""

    def __call__(self) -> dict[str, Any]:
        """Extract; returns counts.

        Raises:
            Exception: Whatever ends the job as a whole; it is recorded.
        """
        set_up_logging()
        keep_freed_memory()
        ledger = Ledger(self.folder)
        try:
            work = Work.prepare(load_project(self.project), self.config)
            left = self._extract(work, ledger)
        except Exception as error:
            ledger.job_failed(_attempt(str(error) or type(error).__name__))
            raise
        return {"recordings": len(self.items), "left": [item.name for item in left]}

    def checkpoint(self) -> Any:
        """What Slurm is to requeue, for submitit: the same again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def _extract(self, work: Work, ledger: Ledger) -> Items:
        """Extract the bin, and what fails again; returns what other processes hold."""
        to_do, left = self.items, Items()
        for _ in range(1 + self.config.cluster.retries):
            to_do, held = self._pass(work, ledger, to_do)
            left += held
        if left:
            time.sleep(
                lease_seconds(work.project.store_path)
            )  # whoever holds them may be dead, and then lets go
            _, left = self._pass(work, ledger, left)
        return left

    def _pass(self, work: Work, ledger: Ledger, items: Items) -> tuple[Items, Items]:
        """Extract what isn't done; returns what failed and may be tried again, and what others hold."""
        allowed = 1 + self.config.cluster.retries
        if not items:
            return Items(), Items()
        plan = work.plan(by_view(items))
        for failure in plan.failures:
            click.echo(str(failure), err=True)
            ledger.fail(failure.view, failure.recording, _attempt(failure.message))
        with show_progress(plan.to_do, quiet=False) as shown:
            recorder = Recorder(ledger, shown)
            try:
                failures = work.carry_out(plan, recorder)
            except (KeyboardInterrupt, SystemExit):
                recorder.interrupted()
                raise
        failed = {(f.view, f.recording): f.left for f in [*plan.failures, *failures] if not f.kept}
        of = [
            (item, failed[item.view, item.recording])
            for item in items
            if (item.view, item.recording) in failed
        ]
        return (
            tuple(i for i, left in of if not left and len(ledger.failures(i.view, i.recording)) < allowed),
            tuple(i for i, left in of if left),
        )


@dataclass
class Recorder:
    """A `Watcher` that keeps the ledger, and hands on what it is told."""

    ledger: Ledger
    shown: Watcher
    _began: dict[Job, Attempt] = field(default_factory=dict)

    def interrupted(self) -> None:
        """What runs is stopped from outside."""
        for job in self._began:
            self.ledger.interrupt(job.source.view, job.source.recording)

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        """See `Watcher`."""
        self._began[job] = attempt = _attempt(first_row=done_rows)
        self.ledger.begin(job.source.view, job.source.recording, attempt)
        self.shown.started(job, done_rows, num_rows)

    def advanced(self, job: Job, num_rows: int) -> None:
        """See `Watcher`."""
        self.shown.advanced(job, num_rows)

    def finished(self, job: Job, failure: Failure | None) -> None:
        """See `Watcher`."""
        began = self._began.pop(job, None)
        if failure is None:
            self.ledger.finish(job.source.view, job.source.recording)
        elif not failure.left:
            attempt = _attempt(failure.message, began=began.began if began else None)
            self.ledger.fail(job.source.view, job.source.recording, attempt)
        self.shown.finished(job, failure)


def _attempt(error: str = "", *, first_row: int = 0, began: str | None = None) -> Attempt:
    job, log = _job(os.environ)
    return Attempt(
        job=job, host=platform.node(), log=log, began=began or now(), first_row=first_row, error=error
    )


def _job(environment: Mapping[str, str]) -> tuple[str, str]:
    """Number of the job that this process is, and its log file."""
    if "SUBMITIT_EXECUTOR" not in environment:
        return environment.get(JOB, ""), environment.get(LOG, "")
    import submitit

    job = submitit.JobEnvironment()
    return job.job_id, str(job.paths.stderr)
