"""`sync-extract coverage`: labelled time for which the store has no features."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sync_store.config import suggest
from sync_store.console import json_option, print_json
from sync_store.errors import StoreError
from sync_store.project import load_project

if TYPE_CHECKING:
    from sync_extract.label_coverage import LabelCoverage
    from sync_store.datasets import Dataset
    from sync_store.reader import Entry, FeatureStore

LISTED_SECONDS = 1.0
"""Labelled time without rows, from which on a recording is listed. Cameras of one recording stop some frames apart
as a rule: in Assembly101 the median is five."""


@click.command()
@click.option(
    "--feature-set", "feature_sets", multiple=True, help="Only this feature set; repeat for several."
)
@click.option("--view", "views", multiple=True, help="Only this view; repeat for several.")
@json_option
@click.pass_obj
def coverage(
    project_path: Path | None, feature_sets: tuple[str, ...], views: tuple[str, ...], as_json: bool
) -> None:
    """Compare stored features with labels, and list recordings with labelled time that has no features.

    A view that begins late or ends early keeps its true times: nothing is stretched, and what is missing counts as
    wrong in scores. The exit status is 0 whatever is found.
    """
    from sync_store.datasets import open_dataset
    from sync_store.reader import FeatureStore

    project = load_project(project_path)
    store, dataset = FeatureStore(project.store_path), open_dataset(project)
    for name in feature_sets:
        store.feature_set(name)
    known = sorted({view for name in store.feature_sets() for view in store.views(name)})
    for view in views:
        if view not in known:
            raise StoreError(f"{store.path}: there is no view {view!r}{suggest(view, known)}")
    rows = _rows(store, dataset, feature_sets, views, elsewhere=project.dataset.kind == "egoexo4d")
    if as_json:
        print_json({"store": str(store.path), "recordings": rows})
        return
    recipes = {name: store.feature_set(name).get("recipe", {}) for name in store.feature_sets()}
    for row in rows:
        if message := _problem(row, recipes[row["feature_set"]]):
            click.echo(message)
    measured = [row for row in rows if row["state"] == "measured"]
    whole = sum(row["missing_seconds"] == 0 for row in measured)
    listed = sum(row["missing_seconds"] >= LISTED_SECONDS for row in measured)
    counts = {
        state: sum(row["state"] == state for row in rows) for state in ("unlabeled", "incomplete", "damaged")
    }
    click.echo(
        f"{len(rows)} arrays: {whole} cover their labels, {len(measured) - whole - listed} lack less than "
        f"{LISTED_SECONDS:g} s of them, {listed} more, "
        + ", ".join(f"{number} {state}" for state, number in counts.items())
    )


def _rows(
    store: "FeatureStore",
    dataset: "Dataset",
    feature_sets: tuple[str, ...],
    views: tuple[str, ...],
    *,
    elsewhere: bool,
) -> list[dict[str, Any]]:
    """Every array of the store that is asked for, as --json gives it.

    Args:
        store: The features.
        dataset: The labels.
        feature_sets: Only these; none for all.
        views: Only these; none for all.
        elsewhere: Whether the store may hold recordings that the dataset doesn't know: takes of other scenarios. They
            count as unlabelled.
    """
    from sync_extract.label_coverage import LabeledFrames, measure

    known = set(dataset.recordings()) if elsewhere else None

    @cache
    def labels(recording: str) -> LabeledFrames:
        sequences = dataset.labeled(recording) if known is None or recording in known else []
        return LabeledFrames.of([sequence.segments for sequence in sequences], dataset.label_rate)

    def row(feature_set: str, view: str, entry: "Entry") -> dict[str, Any]:
        state, figures = "unlabeled", dict[str, float]()
        try:
            if entry.problem or not entry.complete:
                state = "damaged" if entry.problem else "incomplete"
            elif len(labels(entry.recording)):
                timestamps = store.timestamps(feature_set, view, entry.recording)
                state, figures = "measured", _figures(measure(timestamps, labels(entry.recording)))
        except StoreError:
            state = "damaged"
        return {
            "feature_set": feature_set,
            "view": view,
            "recording": entry.recording,
            "state": state,
            **figures,
        }

    return [
        row(feature_set, view, entry)
        for feature_set in feature_sets or store.feature_sets()
        for view in store.views(feature_set)
        if view in views or not views
        for entry in store.entries(feature_set, view)
    ]


def _figures(found: "LabelCoverage") -> dict[str, float]:
    """The figures of one array, to the microsecond."""
    figures = {**asdict(found), "missing_seconds": found.missing_seconds}
    return {**{name: round(value, 6) for name, value in figures.items()}, "share": round(found.share, 6)}


def _problem(row: dict[str, Any], recipe: Mapping[str, Any]) -> str | None:
    """What is to be said of an array; None if it is whole enough, or has no labels."""
    from sync_store.reader import how_made, make_again

    where = f"recording {row['recording']}, view {row['view']}"
    if row["state"] == "incomplete":
        options = f"--view {row['view']} --recording {row['recording']}"
        return f"{where}: its features were never finished. {how_made(recipe, 'them')} {options}"
    if row["state"] == "damaged":
        return f"{where}: its features are damaged. {make_again(recipe, row['view'], row['recording'])}"
    if row["state"] != "measured" or row["missing_seconds"] < LISTED_SECONDS:
        return None
    parts = []
    if row["missing_start_seconds"]:
        parts.append(
            f"features begin at {row['first_row_seconds']:.1f} s, labels at {row['labels_start_seconds']:.1f} s"
        )
    if row["missing_end_seconds"]:
        parts.append(
            f"features end at {row['last_row_seconds']:.1f} s, labels at {row['labels_stop_seconds']:.1f} s"
        )
    if row["missing_inside_seconds"]:
        parts.append(f"{row['missing_inside_seconds']:.1f} s are missing in between")
    return (
        f"{where}: {'; '.join(parts)}. {row['missing_seconds']:.1f} of {row['labeled_seconds']:.1f} labelled seconds "
        f"have no features ({row['feature_set']}) and count as wrong in scores: get the whole video, or leave the "
        "recording out of the test split"
    )
