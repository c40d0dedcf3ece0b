"""Which jobs Slurm has, and which it ended before they were done: a small JSON file each among the logs.

<runs>/logs/<run>.seed-<n>.json   written when it is handed in and by the job itself, deleted when all is done
<runs>/logs/slurm/                what submitit sends to the jobs, and what they say
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from sync_store.atomic import write_json
from sync_store.bounded import read_json
from sync_store.errors import SyncError
from sync_store.slurm import HELD, WAITING, ask, jobs_in_queue
from sync_train.experiments.job import LOGS, Job

NAME = "sync-train"
"""Of the jobs, in the queue."""

State = Literal["running", "waiting", "failed"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A job that was handed in and isn't done."""

    number: str
    """Slurm's: `12`, or `12_3` in an array."""
    log: str
    """Where it says what happens."""
    error: str = ""
    """Why it failed; empty until then."""


class HandedIn:
    """See the module."""

    def __init__(self, runs: Path) -> None:
        self._logs = runs / LOGS

    @property
    def folder(self) -> Path:
        """For submitit."""
        return self._logs / "slurm"

    def write(self, job: Job, record: Record) -> None:
        """Note that a job was handed in, begins, or has failed."""
        write_json(self._path(job), asdict(record))

    def forget(self, job: Job) -> None:
        """A job is done, or no longer Slurm's."""
        self._path(job).unlink(missing_ok=True)

    def look(self, job: Job) -> tuple[State, Record] | None:
        """How a job that isn't done stands with Slurm; None if it was never handed in.

        Raises:
            SyncError: If its record can't be read, or Slurm doesn't answer.
        """
        path = self._path(job)
        try:
            record = Record(**read_json(path))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise SyncError(f"{path}: isn't the record of a job ({error}). Delete it") from None
        if record.error:
            return "failed", record
        state = self._queue.get(record.number)
        if state == HELD:
            return "failed", replace(
                record, error="is held: handing it in was interrupted, or somebody holds it"
            )
        if state is None:
            ended = "ended before its work was done: cancelled, killed, or out of memory"
            return "failed", replace(record, error=ended)
        return "waiting" if state in WAITING else "running", record

    def cancel_held(self, jobs: Iterable[Job]) -> None:
        """Take jobs out of the queue that are held there, since they are handed in again.

        Raises:
            SyncError: If Slurm doesn't answer.
        """
        for job in jobs:
            found = self.look(job)
            if found is not None and self._queue.get(found[1].number) == HELD:
                ask("scancel", found[1].number)

    @cached_property
    def _queue(self) -> Mapping[str, str]:
        return jobs_in_queue(NAME)

    def _path(self, job: Job) -> Path:
        return self._logs / f"{job.name}.json"
