"""Which recordings are to be extracted, and which are done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, Literal

from sync_extract.clips import Clips
from sync_store.config import suggest
from sync_store.console import printable
from sync_store.datasets import Dataset, VideoSource
from sync_store.errors import FingerprintError, NoVideoError, StoreError, SyncError, VideoError
from sync_store.layout import METADATA, FeatureSet, check_feature_set, read_attributes, recording_path
from sync_store.place import Place
from sync_store.provenance import file_digest

State = Literal["new", "resume", "redo", "done"]

_DENSE = Clips()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One view of one recording."""

    source: VideoSource
    state: State
    """`resume`: begun and not finished; `redo`: finished, but to be made anew."""
    expected_rows: int = 0
    """About how many rows it takes, by the file's header; 0 if that doesn't tell."""

    @property
    def name(self) -> str:
        """View and recording, for messages and progress."""
        return f"{self.source.view}/{self.source.recording}"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A recording that couldn't be extracted, or only in part, and why."""

    recording: str
    view: str
    message: str
    kept: bool = False
    """What could be extracted is in the store, marked complete."""
    left: bool = False
    """Another process writes it."""

    @classmethod
    def of(cls, job: Job, message: str, *, kept: bool = False, left: bool = False) -> "Failure":
        """The failure of a job."""
        return cls(
            recording=job.source.recording, view=job.source.view, message=message, kept=kept, left=left
        )

    @property
    def outcome(self) -> str:
        """In one word."""
        return "incomplete" if self.kept else "failed"

    def __str__(self) -> str:
        return printable(f"{self.outcome}: {self.view}/{self.recording}: {self.message}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All jobs, and what can't become one."""

    jobs: list[Job]
    failures: list[Failure]
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Recordings by view that have no video of it, as is normal in their dataset."""

    @property
    def to_do(self) -> list[Job]:
        """Jobs that aren't done."""
        return [job for job in self.jobs if job.state != "done"]

    def as_json(self, *, dry_run: bool) -> dict[str, Any]:
        """What is to be done, done already, and not there."""
        to_do = [
            {
                "view": job.source.view,
                "recording": job.source.recording,
                "state": job.state,
                "expected_rows": job.expected_rows,
            }
            for job in self.to_do
        ]
        absent = [{"view": view, "recording": name} for view, names in self.absent.items() for name in names]
        return {
            "to_do": to_do if dry_run else [],
            "skipped": len(self.jobs) - len(self.to_do),
            "absent": absent,
        }


def make_plan(
    dataset: Dataset,
    store: Place,
    feature_set: FeatureSet,
    *,
    fps: Fraction | None,
    views: list[str],
    clips: Clips = _DENSE,
    recordings: list[str] | None = None,
    named: bool = False,
    overwrite: bool = False,
) -> Plan:
    """Look at what the store has of the asked recordings, and at the headers of the videos to extract.

    Args:
        dataset: Where the videos are.
        store: Folder of the store; need not exist.
        feature_set: What is to be extracted.
        fps: Rate of its grid; None for every frame.
        views: Views, in the order of work.
        clips: How rows are made from the frames of the grid.
        recordings: Only these; by default all of the dataset.
        named: Whether the user named the recordings: then an absent video is a failure.
        overwrite: Extract again what is complete.

    Raises:
        SyncError: If the dataset has no recordings, or not one that is asked for.
        FingerprintError: If the store's feature set of that name was made by another recipe.
    """
    from sync_extract.header import estimate_rows  # imports share this module, and need no video reader

    asked = choose_recordings(dataset, recordings)
    check_feature_set(store, feature_set)
    jobs, failures = [], []
    absent: dict[str, list[str]] = {}
    for view in dict.fromkeys(views):
        for recording in asked:
            try:
                source = dataset.video(recording, view)
                state = state_in_store(
                    store,
                    feature_set,
                    view,
                    recording,
                    overwrite=overwrite,
                    changes=partial(
                        what_changed,
                        source=source,
                        stored_at=recording_path(store, feature_set.name, view, recording) / METADATA,
                    ),
                )
                expected_rows = clips.num_rows(estimate_rows(source.path, fps)) if state != "done" else 0
                jobs.append(Job(source=source, state=state, expected_rows=expected_rows))
            except NoVideoError as error:
                if named:
                    failures.append(Failure(recording=recording, view=view, message=str(error)))
                else:
                    absent.setdefault(view, []).append(recording)
            except SyncError as error:
                failures.append(Failure(recording=recording, view=view, message=str(error)))
            except OSError as error:  # a link that leads nowhere, a folder that mustn't be read
                message = (
                    f"{error.filename}: can't be read: {error.strerror}. Check its disk, links and rights"
                )
                failures.append(Failure(recording=recording, view=view, message=message))
    return Plan(jobs=jobs, failures=failures, absent=absent)


def choose_recordings(dataset: Dataset, asked: list[str] | None) -> list[str]:
    """The asked recordings, each once, or all of the dataset.

    Raises:
        SyncError: If the dataset has no recordings, or not one that is asked for.
    """
    known = dataset.recordings()
    if not known:
        raise SyncError("the dataset has no recordings. Check root in sync.toml [dataset], and its folders")
    if unknown := [name for name in asked or () if name not in known]:
        raise SyncError(
            f"there is no recording {unknown[0]!r} in the dataset{suggest_few(unknown[0], known)}"
        )
    return list(dict.fromkeys(asked or known))


def suggest_few(name: str, known: list[str]) -> str:
    """As `suggest`, without listing hundreds of names."""
    hint = suggest(name, known)
    return hint if hint.startswith(", did") else f" ({len(known)} recordings, such as {known[0]!r})"


def state_in_store(
    store: Place,
    feature_set: FeatureSet,
    view: str,
    recording: str,
    *,
    overwrite: bool,
    changes: Callable[[Mapping[str, Any]], str | None],
    made: str = "extracted",
) -> State:
    """How far a recording is in the store.

    Args:
        store: Folder of the store.
        feature_set: What the rows would be.
        view: Name of the view.
        recording: Name of the recording.
        overwrite: Whether it is to be made anew.
        changes: Given `provenance.source` of the stored rows, what of it isn't so any more; None if all is.
        made: How rows are made, for messages.

    Raises:
        StoreError: If it is damaged.
        FingerprintError: If its rows were made by another recipe.
        VideoError: If what they were made from has changed.
    """
    where = f"recording {recording}, view {view}"
    again = f"{made.removesuffix('ed').capitalize()} it again with --overwrite"
    try:
        attributes = read_attributes(recording_path(store, feature_set.name, view, recording))
    except StoreError as error:
        if overwrite:
            return "redo"
        raise StoreError(f"{where}: {error}. {again}") from None
    if not attributes:
        return "new"
    if not attributes.get("complete"):
        return "resume"
    if overwrite:
        return "redo"
    if attributes.get("fingerprint") != feature_set.fingerprint:
        raise FingerprintError(
            f"{where}: its features were made by another recipe than the rest of {feature_set.name}. {again}"
        )
    if changed := changes(attributes.get("provenance", {}).get("source", {})):
        raise VideoError(f"{where}: {changed} since it was {made}. {again}")
    return "done"


def what_changed(stored: Mapping[str, Any], source: VideoSource, stored_at: Place) -> str | None:
    """What stored rows were made from that isn't so any more.

    A video that was written after its rows is read again; another one of the same size that claims to be older isn't
    noticed.

    Args:
        stored: `provenance.source` of the recording.
        source: The video now.
        stored_at: The recording's metadata file.

    Returns:
        Words for a message; None if all is as it was.
    """
    now = {
        "size_bytes": (source.path.stat().st_size, f"the size of {source.path.name} in bytes"),
        "offset_seconds": (str(source.offset), "the view's offset in seconds"),
        "clock": (source.clock, "the view's clock"),
    }
    for key, (value, words) in now.items():
        if key in stored and stored[key] != value:
            return f"{words} has changed from {stored[key]} to {value}"
    is_newer = source.path.stat().st_mtime_ns > stored_at.stat().st_mtime_ns
    if is_newer and "sha256" in stored and stored["sha256"] != file_digest(source.path):
        return f"the content of {source.path.name} has changed"
    return None
