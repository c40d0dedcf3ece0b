"""`sync-extract export`: stored features for other trainers."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sync_store.console import EXIT_SOME_FAILED, json_option, print_json, some_of
from sync_store.errors import IncompleteError, StoreError, SyncError
from sync_store.project import load_project

if TYPE_CHECKING:
    from sync_store.reader import FeatureStore


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--format", "form", type=click.Choice(["npy"]), default="npy", help="Form of the files.")
@click.option("--feature-set", help="Feature set to export [default: the only one].")
@click.option("--view", "views", multiple=True, help="View to export; repeat for several [default: all].")
@click.option("--recording", "recordings", multiple=True, help="Only this recording; repeat for several.")
@click.option("--overwrite", is_flag=True, help="Write again what is there.")
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    /,
    folder: Path,
    form: str,
    feature_set: str | None,
    views: tuple[str, ...],
    recordings: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write stored features to FOLDER as the field's trainers read them: features, labels, classes, splits.

    Each view becomes a folder of its own. Rows are written as they are, in float32; a gap stays a gap.

    Exit status: 0 done, 1 nothing could be done, 3 some recordings failed and are listed.
    """
    from sync_extract.exporting import (
        class_words,
        export_recording,
        features_file,
        write_classes,
        write_splits,
    )
    from sync_extract.plan import Failure
    from sync_store.datasets import open_dataset
    from sync_store.reader import FeatureStore

    project = load_project(ctx.obj)
    for view in views:
        project.view(view)
    store = FeatureStore(project.store_path)
    dataset = open_dataset(project)
    name = feature_set or _only_feature_set(store.feature_sets())
    store.feature_set(name)
    jobs = _jobs(store, name, views, recordings)
    words = class_words(dataset, sorted({*dataset.recordings(), *(recording for _, recording in jobs)}))
    for view in dict.fromkeys(view for view, _ in jobs):
        write_splits(folder / view, dataset, project.splits_path)
    failures, num_kept = [], 0
    for view, recording in jobs:
        if features_file(folder / view, recording).exists() and not overwrite:
            num_kept += 1
            continue
        try:
            export_recording(store, name, view, recording, dataset=dataset, words=words, folder=folder / view)
        except SyncError as error:
            failures.append(Failure(recording=recording, view=view, message=str(error)))
    for view in dict.fromkeys(view for view, _ in jobs):
        write_classes(folder / view, words)
    incomplete = {} if recordings else _incomplete(store, name, views)
    num_exported = len(jobs) - num_kept - len(failures)
    if as_json:
        print_json(
            {
                "feature_set": name,
                "folder": str(folder),
                "format": form,
                "exported": num_exported,
                "skipped": num_kept,
                "incomplete": [
                    {"view": view, "recording": one} for view, names in incomplete.items() for one in names
                ],
                "failed": [asdict(failure) for failure in failures],
            }
        )
    else:
        for failure in failures:
            click.echo(str(failure), err=True)
        for view, names in incomplete.items():
            click.echo(
                f"view {view}: {len(names)} incomplete recordings left out: {some_of(names)}", err=True
            )
        click.echo(
            f"{name}: {num_exported} exported, {num_kept} there already, {len(failures)} failed", err=True
        )
    if failures:
        ctx.exit(EXIT_SOME_FAILED)


def _only_feature_set(names: list[str]) -> str:
    if len(names) != 1:
        have = f"it has {', '.join(names)}" if names else "it has none yet"
        raise StoreError(f"say which feature set of the store to export, with --feature-set: {have}")
    return names[0]


def _jobs(
    store: "FeatureStore", feature_set: str, views: tuple[str, ...], recordings: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Views and complete recordings to export."""
    jobs = [
        (view, recording)
        for view in views or store.views(feature_set)
        for recording in store.recordings(feature_set, view)
        if not recordings or recording in recordings
    ]
    where = f"{store.path}: feature set {feature_set}" + (f", view {', '.join(views)}" if views else "")
    if missing := sorted(set(recordings).difference(recording for _, recording in jobs)):
        raise IncompleteError(f"{where}: has no complete recording {missing[0]!r}")
    if not jobs:
        raise IncompleteError(f"{where}: has no complete recording to export")
    return jobs


def _incomplete(store: "FeatureStore", feature_set: str, views: tuple[str, ...]) -> dict[str, list[str]]:
    """Recordings by view that were begun and never finished."""
    found = {
        view: [
            entry.recording
            for entry in store.entries(feature_set, view)
            if not (entry.complete or entry.problem)
        ]
        for view in views or store.views(feature_set)
    }
    return {view: names for view, names in found.items() if names}
