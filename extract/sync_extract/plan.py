"""Which recordings are to be extracted, and which are done."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sync_store.datasets import Dataset, VideoSource
from sync_store.errors import SyncError, VideoError
from sync_store.layout import FeatureSet, read_attributes, recording_path


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A recording that couldn't be extracted, and why."""

    recording: str
    view: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """One view of one recording."""

    source: VideoSource
    state: Literal["new", "resume", "redo", "done"]
    """`resume`: begun and not finished; `redo`: finished, but to be made anew."""

    @property
    def name(self) -> str:
        """View and recording, for messages and progress."""
        return f"{self.source.view}/{self.source.recording}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All jobs, and what can't become one."""

    jobs: list[Job]
    failures: list[Failure]

    @property
    def to_do(self) -> list[Job]:
        """Jobs that aren't done."""
        return [job for job in self.jobs if job.state != "done"]


def make_plan(
    dataset: Dataset,
    store: Path,
    feature_set: FeatureSet,
    *,
    views: list[str],
    recordings: list[str] | None = None,
    overwrite: bool = False,
) -> Plan:
    """Look at what the store has of the asked recordings.

    Args:
        dataset: Where the videos are.
        store: Folder of the store; need not exist.
        feature_set: What is to be extracted.
        views: Views, in the order of work.
        recordings: Only these; by default all of the dataset.
        overwrite: Extract again what is complete.

    Raises:
        SyncError: If an asked recording doesn't exist in the dataset.
    """
    known = dataset.recordings()
    if unknown := [name for name in recordings or () if name not in known]:
        raise SyncError(f"there is no recording {unknown[0]!r} in the dataset ({len(known)} recordings)")
    jobs, failures = [], []
    for view in views:
        for recording in recordings or known:
            try:
                source = dataset.video(recording, view)
                state = _state(source, store, feature_set, overwrite)
                jobs.append(Job(source=source, state=state))
            except SyncError as error:
                failures.append(Failure(recording=recording, view=view, message=str(error)))
    return Plan(jobs=jobs, failures=failures)


def _state(
    source: VideoSource, store: Path, feature_set: FeatureSet, overwrite: bool
) -> Literal["new", "resume", "redo", "done"]:
    attributes = read_attributes(recording_path(store, feature_set.name, source.view, source.recording))
    if not attributes:
        return "new"
    if not attributes.get("complete"):
        return "resume"
    if overwrite:
        return "redo"
    stored_bytes = attributes.get("provenance", {}).get("source", {}).get("size_bytes")
    size_bytes = source.path.stat().st_size
    if stored_bytes is not None and stored_bytes != size_bytes:
        raise VideoError(
            f"recording {source.recording}, view {source.view}: {source.path.name} has {size_bytes} bytes, but "
            f"its features were made from a file of {stored_bytes}. Extract it again with --overwrite"
        )
    return "done"
