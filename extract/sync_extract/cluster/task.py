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
from sync_extract.plan import Failure, Job
from sync_extract.progress import show_progress
from sync_extract.work import Work
from sync_store.claim import LEASE_SECONDS
from sync_store.console import set_up_logging
from sync_store.errors import SyncError
from sync_store.memory import keep_freed_memory
from sync_store.project import load_project


@dataclass(frozen=True, kw_only=True)
class BinTask:
    """A job's work, which is sent to it pickled.

    When the job is requeued it begins anew: what is done by then, the store knows.
    """

    project: Path
    """sync.toml."""
    config: ExtractConfig
    items: tuple[Item, ...]
    folder: Path
    """Of the cluster's logs and records."""

    def __call__(self) -> dict[str, Any]:
        """Extract; returns counts.

        Raises:
            SyncError: If backbone or store can't be used at all.
        """
        set_up_logging()
        keep_freed_memory()
        ledger = Ledger(self.folder)
        try:
            work = Work.prepare(load_project(self.project), self.config)
            left = self._pass(work, ledger, self.items)
            for _ in range(self.config.cluster.retries):
                left = self._pass(work, ledger, left)
        except (SyncError, OSError) as error:
            ledger.job_failed(_attempt(str(error)))
            raise
        return {"recordings": len(self.items), "left": [item.name for item in left]}

    def checkpoint(self) -> Any:
        """What Slurm is to requeue, for submitit: the same again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def _pass(self, work: Work, ledger: Ledger, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """Extract what isn't done; what is to be tried again."""
        allowed = 1 + self.config.cluster.retries
        items = tuple(item for item in items if len(ledger.failures(item.view, item.recording)) < allowed)
        if not items:
            return ()
        plan = work.plan(by_view(items))
        for failure in plan.failures:
            click.echo(str(failure), err=True)
            ledger.fail(failure.view, failure.recording, _attempt(failure.message))
        with show_progress(plan.to_do, quiet=False) as shown:
            failures = work.carry_out(plan, Recorder(ledger, shown))
        again = {(f.view, f.recording) for f in [*plan.failures, *failures] if not f.kept}
        if any(failure.left for failure in failures):
            time.sleep(LEASE_SECONDS)  # whoever holds it may be dead, and then lets go
        return tuple(item for item in items if (item.view, item.recording) in again)


@dataclass
class Recorder:
    """A `Watcher` that keeps the ledger, and hands on what it is told."""

    ledger: Ledger
    shown: Any
    _began: dict[str, Attempt] = field(default_factory=dict)

    def started(self, job: Job, done_rows: int, num_rows: int) -> None:
        """See `Watcher`."""
        self._began[job.name] = attempt = _attempt(first_row=done_rows)
        self.ledger.begin(job.source.view, job.source.recording, attempt)
        self.shown.started(job, done_rows, num_rows)

    def advanced(self, job: Job, num_rows: int) -> None:
        """See `Watcher`."""
        self.shown.advanced(job, num_rows)

    def finished(self, job: Job, failure: Failure | None) -> None:
        """See `Watcher`."""
        began = self._began.pop(job.name, None)
        if failure is None or failure.kept:
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
        return environment.get("SYNC_JOB", ""), environment.get("SYNC_JOB_LOG", "")
    import submitit

    job = submitit.JobEnvironment()
    return job.job_id, str(job.paths.stderr)
