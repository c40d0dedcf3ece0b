"""How far extraction is: from the store, the claims of those who write, and the record of what failed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from sync_extract.cluster.bins import read_complete
from sync_extract.cluster.ledger import Attempt, Ledger
from sync_extract.config import ExtractConfig
from sync_store.bounded import read_json
from sync_store.claim import holder
from sync_store.datasets import Dataset, open_dataset
from sync_store.errors import NoVideoError, SyncError
from sync_store.place import for_each
from sync_store.project import Project

State = Literal["done", "running", "waiting", "failed"]
STATES: tuple[State, ...] = ("done", "running", "waiting", "failed")

SUBMISSION = "submission.json"
"""What was handed in; among the cluster's records."""

MAX_SECONDS = 10 * 365 * 86_400.0
"""An end that is further away isn't told."""


@dataclass(frozen=True, kw_only=True)
class RecordingStatus:
    """One view of one recording."""

    view: str
    recording: str
    state: State
    """`failed`: as often as it may, and passed over from now on."""
    attempts: int = 0
    """Failed ones."""
    error: str = ""
    """Of the last; of one that is done, what is missing of it."""
    log: str = ""
    """Of the last failed attempt's job."""
    job: str = ""
    """Which works on it, or failed last."""
    host: str = ""
    """Where."""

    @property
    def name(self) -> str:
        """View and recording, as in `Item`."""
        return f"{self.view}/{self.recording}"


@dataclass(frozen=True, kw_only=True)
class Status:
    """All recordings that have a video."""

    feature_set: str
    recordings: Sequence[RecordingStatus]
    failed_jobs: Sequence[Attempt]
    """Jobs that couldn't work at all."""
    estimated_end: datetime | None
    """At the pace since the jobs were handed in; None before the first recording is done, and after the last."""

    def count(self, state: State) -> int:
        """How many are in a state."""
        return Counter(recording.state for recording in self.recordings)[state]

    @property
    def has_failed(self) -> bool:
        """Whether a recording is passed over, or jobs couldn't work at all and something is left to do."""
        is_done = all(recording.state == "done" for recording in self.recordings)
        return self.count("failed") > 0 or (not is_done and len(self.failed_jobs) > 0)

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        end = self.estimated_end
        return {
            "feature_set": self.feature_set,
            **{state: self.count(state) for state in STATES},
            "estimated_end": end.isoformat(timespec="seconds") if end else None,
            "failed_jobs": [asdict(job) for job in self.failed_jobs],
            "recordings": [asdict(recording) for recording in self.recordings],
        }


def read_status(
    project: Project,
    config: ExtractConfig,
    views: Sequence[str],
    folder: Path,
    recordings: Sequence[str] | None = None,
) -> Status:
    """Look at every recording of the views; costs one or two small files each.

    Args:
        project: Where.
        config: Which feature set, and how often a recording may fail.
        views: Which views.
        folder: Of the cluster's records.
        recordings: Only these; by default all of the dataset.
    """
    dataset = open_dataset(project)
    ledger = Ledger(folder)
    pairs = [
        (view, recording)
        for view in views
        for recording in recordings or dataset.recordings()
        if _has_video(dataset, view, recording)
    ]
    complete = read_complete(project, config.name, pairs)
    open_pairs = [pair for pair in pairs if pair not in complete]
    held = for_each(
        project.store_path, lambda pair: holder(project.store_path, config.name, *pair), open_pairs
    )
    writers = dict(zip(open_pairs, held, strict=True))
    found = [
        _describe(ledger, config.cluster.retries, *pair, is_done=pair in complete, writer=writers.get(pair))
        for pair in pairs
    ]
    return Status(
        feature_set=config.name,
        recordings=found,
        failed_jobs=ledger.failed_jobs(),
        estimated_end=_end(folder / SUBMISSION, found),
    )


def _has_video(dataset: Dataset, view: str, recording: str) -> bool:
    try:
        dataset.video(recording, view)
    except NoVideoError:
        return False
    except SyncError:  # the job that tries it says what is wrong
        pass
    return True


def _describe(
    ledger: Ledger,
    retries: int,
    view: str,
    recording: str,
    *,
    is_done: bool,
    writer: Mapping[str, Any] | None,
) -> RecordingStatus:
    failures = ledger.failures(view, recording)
    last = failures[-1] if failures else None
    told: dict[str, Any] = {}
    if last is not None:
        told = {
            "attempts": len(failures),
            "error": last.error,
            "log": last.log,
            "job": last.job,
            "host": last.host,
        }
    if is_done:
        return RecordingStatus(view=view, recording=recording, state="done", **told)
    if writer is not None:
        told |= {"job": writer.get("job", ""), "host": writer.get("host", "")}
        return RecordingStatus(view=view, recording=recording, state="running", **told)
    state: State = "failed" if len(failures) > retries else "waiting"
    return RecordingStatus(view=view, recording=recording, state=state, **told)


def _end(submission: Path, found: Sequence[RecordingStatus]) -> datetime | None:
    """When the jobs that were handed in will be done, if they go on as until now."""
    try:
        table = read_json(submission)
        submitted = datetime.fromisoformat(table["submitted"])
        rows = {
            name: of_bin["rows"] / len(of_bin["items"])
            for of_bin in table["bins"]
            for name in of_bin["items"]
        }
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
    done = sum(rows[one.name] + 1 for one in found if one.state == "done" and one.name in rows)
    left = sum(rows.get(one.name, 0) + 1 for one in found if one.state in ("running", "waiting"))
    if not left or not done:
        return None
    elapsed = datetime.now(UTC) - submitted
    seconds = elapsed.total_seconds() * left / done
    return datetime.now(UTC) + timedelta(seconds=seconds) if seconds < MAX_SECONDS else None
