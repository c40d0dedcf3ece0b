"""Which recordings of a source are to be imported, and which are in the store already."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sync_extract.importing.source import Item, Source
from sync_extract.plan import Failure, Job, Plan, state_in_store, suggest_few
from sync_store.datasets import VideoSource
from sync_store.errors import DatasetError, SyncError
from sync_store.layout import FeatureSet, check_feature_set
from sync_store.place import Place


@dataclass(frozen=True, kw_only=True)
class ImportPlan(Plan):
    """All jobs, and the files they are for."""

    items: dict[Job, Item]


def make_feature_set(source: Source, kind: str, name: str | None, trained_on: tuple[str, ...]) -> FeatureSet:
    """The feature set that a source is in the store.

    Args:
        source: The files.
        kind: Their form.
        name: Its name in the store; None for the source's default.
        trained_on: What the backbone was trained on, in words; empty for what the release says.
    """
    chosen = name or source.name
    return FeatureSet(
        name=chosen,
        recipe={"imported": kind, "source": source.release or chosen, **source.recipe},
        feature_dim=source.feature_dim,
        trained_on=trained_on or source.trained_on,
    )


def make_plan(
    source: Source, store: Place, feature_set: FeatureSet, *, recordings: tuple[str, ...], overwrite: bool
) -> ImportPlan:
    """Compare a source's recordings with what the store has.

    Args:
        source: The files.
        store: Folder of the store.
        feature_set: What will be written.
        recordings: Only these; empty for all.
        overwrite: Import again what is complete.

    Raises:
        DatasetError: If the source lacks a recording that is asked for.
        FingerprintError: If the store's feature set of that name was made otherwise.
    """
    known = list(
        dict.fromkeys(
            [item.recording for item in source.items] + [failure.recording for failure in source.failures]
        )
    )
    if unknown := [name for name in recordings if name not in known]:
        raise DatasetError(
            f"there is no recording {unknown[0]!r} among the features{suggest_few(unknown[0], known)}"
        )
    check_feature_set(store, feature_set)
    items: dict[Job, Item] = {}
    failures = [failure for failure in source.failures if not recordings or failure.recording in recordings]
    for item in source.items:
        if recordings and item.recording not in recordings:
            continue
        # A job is about a video elsewhere; here its path is that of the features.
        place = VideoSource(recording=item.recording, view=item.view, path=item.path)
        try:
            state = state_in_store(
                store,
                feature_set,
                item.view,
                item.recording,
                overwrite=overwrite,
                changes=partial(_changes, item=item),
                made="imported",
            )
            items[Job(source=place, state=state, expected_rows=item.expected_rows)] = item
        except SyncError as error:
            failures.append(Failure(recording=item.recording, view=item.view, message=str(error)))
    absent = {} if recordings else source.absent
    return ImportPlan(jobs=list(items), failures=failures, absent=absent, items=items)


def _changes(stored: Mapping[str, Any], item: Item) -> str | None:
    """What the stored rows were made from that isn't so any more."""
    words = {
        "size_bytes": f"the size of {item.path.name} in bytes",
        "num_keys": f"the number of keys in {item.path.name}",
        "last_transaction": f"the number of the last transaction in {item.path.name}",
        "offset_seconds": "the view's offset in seconds",
    }
    for key, name in words.items():
        if key in stored and stored[key] != item.source.get(key):
            return f"{name} has changed from {stored[key]} to {item.source.get(key)}"
    if item.sha256 is None or stored.get("modified_ns") == item.source["modified_ns"]:
        return None
    return None if stored.get("sha256") == item.sha256() else f"the content of {item.path.name} has changed"
