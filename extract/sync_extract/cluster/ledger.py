"""Which recording failed how often, and why: one small JSON file each, which only the job that works on it writes.

<folder>/attempts/<view>/<recording>.json
<folder>/failed-jobs/<job>.json             jobs that ended before their bins did, for a reason of their own
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sync_store.atomic import write_json
from sync_store.bounded import read_json
from sync_store.errors import SyncError
from sync_store.names import check_name


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One job's try at one recording."""

    job: str
    host: str
    log: str
    began: str
    """Moment in UTC, ISO 8601."""
    first_row: int = 0
    """Where it began or went on."""
    error: str = ""
    """Why it failed; empty while it runs."""


class Ledger:
    """Failed attempts, and those that run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "attempts"
        self._jobs = folder / "failed-jobs"

    def failures(self, view: str, recording: str) -> list[Attempt]:
        """Failed attempts, the oldest first."""
        return self._read(view, recording)[0]

    def begin(self, view: str, recording: str, attempt: Attempt) -> None:
        """Record that an attempt begins.

        One of another job before it that ended without a word, as when its process was killed, has failed if it added
        no rows: a video that crashes the reader is passed over some day. A job that Slurm requeues keeps its number.
        """
        failures, running = self._read(view, recording)
        if running is not None and attempt.first_row <= running.first_row and attempt.job != running.job:
            failures.append(
                Attempt(**{**asdict(running), "error": "ended without a word: killed, or its node was lost"})
            )
        self._write(view, recording, failures, attempt)

    def fail(self, view: str, recording: str, attempt: Attempt) -> None:
        """Record that an attempt ended with an error."""
        failures, _ = self._read(view, recording)
        self._write(view, recording, [*failures, attempt], None)

    def interrupt(self, view: str, recording: str) -> None:
        """Record that an attempt was stopped from outside, which is no failure."""
        failures, _ = self._read(view, recording)
        self._write(view, recording, failures, None)

    def finish(self, view: str, recording: str) -> None:
        """Forget a recording's attempts: it is done."""
        self._path(view, recording).unlink(missing_ok=True)

    def job_failed(self, attempt: Attempt) -> None:
        """Record that a job couldn't work at all: no weights, no store."""
        write_json(self._jobs / f"{attempt.job or 'command'}.json", asdict(attempt))

    def failed_jobs(self) -> list[Attempt]:
        """Jobs that couldn't work at all, since the last were handed in."""
        return [self._job(path) for path in sorted(self._jobs.glob("*.json"))]

    def forget_jobs(self) -> None:
        """Begin anew with jobs that failed."""
        for path in self._jobs.glob("*.json"):
            path.unlink(missing_ok=True)

    def _job(self, path: Path) -> Attempt:
        try:
            return Attempt(**read_json(path))
        except (ValueError, TypeError) as error:
            raise SyncError(f"{path}: isn't the record of a job ({error}). Delete it") from None

    def _path(self, view: str, recording: str) -> Path:
        check_name("view", view, SyncError)
        return self._folder / view / f"{check_name('recording', recording, SyncError)}.json"

    def _read(self, view: str, recording: str) -> tuple[list[Attempt], Attempt | None]:
        path = self._path(view, recording)
        try:
            table = read_json(path)
            failures = [Attempt(**attempt) for attempt in table["failures"]]
            return failures, Attempt(**table["running"]) if table["running"] else None
        except FileNotFoundError:
            return [], None
        except (ValueError, TypeError, KeyError) as error:
            raise SyncError(
                f"{path}: isn't a record of attempts ({error}). Delete it: it is only a count"
            ) from None

    def _write(self, view: str, recording: str, failures: list[Attempt], running: Attempt | None) -> None:
        table: dict[str, Any] = {
            "failures": [asdict(attempt) for attempt in failures],
            "running": asdict(running) if running else None,
        }
        write_json(self._path(view, recording), table)


def now() -> str:
    """This moment in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
