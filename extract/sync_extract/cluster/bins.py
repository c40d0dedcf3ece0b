"""What is left to extract, packed into bins of about equal time."""

import heapq
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sync_extract.cluster.ledger import Ledger
from sync_extract.header import estimate_rows
from sync_extract.plan import Failure, what_changed
from sync_store.datasets import Dataset
from sync_store.errors import NoVideoError, SyncError
from sync_store.layout import METADATA, read_attributes, recording_path
from sync_store.place import for_each
from sync_store.project import Project

READ_AT_ONCE = 32
"""Recordings of a bucket, a request each."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One view of one recording."""

    view: str
    recording: str
    rows: int = 0
    """About how many it has, by its video's header; 0 if that doesn't tell."""

    @property
    def name(self) -> str:
        """View and recording, for messages."""
        return f"{self.view}/{self.recording}"


Pair = tuple[str, str]
"""A view and a recording."""


def read_complete(project: Project, feature_set: str, pairs: Iterable[Pair]) -> dict[Pair, dict[str, Any]]:
    """Attributes of those recordings that the store has whole; whoever reads them checks more."""

    def read(pair: Pair) -> dict[str, Any]:
        try:
            return read_attributes(recording_path(project.store_path, feature_set, *pair))
        except SyncError:
            return {}

    pairs = list(pairs)
    found = zip(pairs, for_each(project.store_path, read, pairs, at_once=READ_AT_ONCE), strict=True)
    return {pair: attributes for pair, attributes in found if attributes.get("complete") is True}


def find_items(
    dataset: Dataset,
    pairs: Iterable[Pair],
    complete: Collection[Pair],
    ledger: Ledger,
    *,
    retries: int,
    named: bool,
) -> list[Item]:
    """Everything that has a video, isn't complete and hasn't failed too often.

    Args:
        dataset: Where the videos are.
        pairs: What is asked for.
        complete: What of it the store has whole, as `read_complete` has it.
        ledger: What failed how often.
        retries: A recording may fail once more than that.
        named: Whether the user named the recordings: then failures don't count, and each must have a video.

    Raises:
        NoVideoError: If a named recording has none.
    """
    items = []
    for view, recording in pairs:
        if (view, recording) in complete:
            continue
        if not named and len(ledger.failures(view, recording)) > retries:
            continue
        try:
            rows = estimate_rows(dataset.video(recording, view).path, dataset.label_rate)
        except NoVideoError:
            if named:
                raise
            continue
        except (SyncError, OSError):  # the job says what is wrong with it, and records it
            rows = 0
        items.append(Item(view=view, recording=recording, rows=rows))
    return items


def find_changed(
    project: Project, dataset: Dataset, feature_set: str, complete: Mapping[Pair, Mapping[str, Any]]
) -> list[Failure]:
    """Recordings whose videos aren't those any more that they were made from.

    Args:
        project: Where.
        dataset: Where the videos are.
        feature_set: Name in the store.
        complete: What the store has whole, as `read_complete` has it.
    """
    failures = []
    for (view, recording), attributes in complete.items():
        stored = attributes.get("provenance", {}).get("source", {})
        stored_at = recording_path(project.store_path, feature_set, view, recording) / METADATA
        try:
            changed = what_changed(stored, dataset.video(recording, view), stored_at)
        except (SyncError, OSError):  # a video may be gone for good
            continue
        if changed is not None:
            message = f"{changed} since it was extracted. Extract it again with --overwrite"
            failures.append(Failure(recording=recording, view=view, message=message))
    return failures


def by_view(items: Sequence[Item]) -> Mapping[str, list[str]]:
    """Recordings of each view."""
    views: dict[str, list[str]] = {}
    for item in items:
        views.setdefault(item.view, []).append(item.recording)
    return views


def num_bins(items: Sequence[Item], *, bin_rows: float, most: int) -> int:
    """How many bins of `bin_rows` rows hold all items; not more than items, nor than `most`."""
    total = sum(item.rows for item in items)
    return max(1, min(most, len(items), math.ceil(total / bin_rows)))


def pack(items: Sequence[Item], num_bins: int) -> list[list[Item]]:
    """Bins of about equally many rows: the longest recordings first, each into the emptiest bin (Graham 1969).

    Returns:
        `num_bins` bins or fewer, none empty, each in the order of the items.
    """
    order = sorted(range(len(items)), key=lambda number: (-items[number].rows, number))
    fill = [(0, number) for number in range(num_bins)]
    bins: list[list[int]] = [[] for _ in range(num_bins)]
    for number in order:
        rows, emptiest = heapq.heappop(fill)
        bins[emptiest].append(number)
        heapq.heappush(fill, (rows + max(1, items[number].rows), emptiest))
    return [[items[number] for number in sorted(of_bin)] for of_bin in bins if of_bin]
