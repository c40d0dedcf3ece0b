"""`sync-extract import`: features that exist already, into the store."""

from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sync_store.console import EXIT_SOME_FAILED, json_option, print_json, some_of
from sync_store.dataset_config import parse_rate
from sync_store.datasets import Dataset, open_dataset
from sync_store.errors import SyncError
from sync_store.layout import FeatureSet
from sync_store.project import Project, load_project

if TYPE_CHECKING:
    from sync_extract.importing.plan import ImportPlan
    from sync_extract.importing.source import Source
    from sync_extract.plan import Failure

OMNIVORE_FPS = Fraction(30)
"""Frames a second of EgoExo4D's videos."""


@click.command("import")
@click.argument("kind", type=click.Choice(["lmdb", "omnivore", "npy"]))
@click.argument("path", metavar="[SOURCE]", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--view", "views", multiple=True, help="View to import; repeat for several [default: all].")
@click.option("--recording", "recordings", multiple=True, help="Only this recording; repeat for several.")
@click.option("--feature-set", help="Name in the store [default: tsm, omnivore, or the folder's name].")
@click.option(
    "--fps", help='Rate that rows count at: 30, "30000/1001" [default: the label rate, omnivore 30].'
)
@click.option(
    "--first-key",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="LMDB: number of a video's first frame.",
)
@click.option("--trained-on", multiple=True, help="What the backbone was trained on, in words; repeatable.")
@click.option("--overwrite", is_flag=True, help="Import again what is complete.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
@click.pass_context
def import_features(
    ctx: click.Context,
    /,
    kind: str,
    path: Path | None,
    views: tuple[str, ...],
    recordings: tuple[str, ...],
    feature_set: str | None,
    fps: str | None,
    first_key: int,
    trained_on: tuple[str, ...],
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Bring published features into the store: Assembly101's TSM, EgoExo4D's Omnivore, folders of .npy files.

    SOURCE is the folder of the files; for npy by default features/ of the dataset. Goes on where an interrupted
    run stopped, and skips what is complete.

    Exit status: 0 done, 1 nothing could be done, 3 some recordings failed and are listed.
    """
    from sync_extract.importing.plan import make_feature_set, make_plan
    from sync_extract.importing.run import import_all
    from sync_extract.progress import show_progress

    project = load_project(ctx.obj)
    for view in views:
        project.view(view)
    rate = parse_rate(fps, "--fps") if fps is not None else None
    dataset = open_dataset(project)
    source = _open(kind, _path(kind, path, project), project, dataset, list(views), rate, first_key)
    features = make_feature_set(source, kind, feature_set, trained_on)
    plan = make_plan(source, project.store_path, features, recordings=recordings, overwrite=overwrite)
    failures = list(plan.failures)
    if not dry_run:
        with show_progress(plan.to_do, quiet=quiet or as_json) as watcher:
            failures += import_all(plan, features, project.store_path, watcher)
    if as_json:
        print_json(_report(project, features, source, plan, failures, dry_run))
    else:
        _print_report(features, source, plan, failures, dry_run)
    if failures:
        ctx.exit(EXIT_SOME_FAILED)


def _path(kind: str, path: Path | None, project: Project) -> Path:
    if path is not None:
        return path
    if kind != "npy":
        raise click.UsageError(f"Missing argument 'SOURCE': the folder of the {kind} files.")
    return project.dataset_root / "features"


def _open(
    kind: str,
    path: Path,
    project: Project,
    dataset: Dataset,
    views: list[str],
    fps: Fraction | None,
    first_key: int,
) -> "Source":
    match kind:
        case "lmdb":
            try:
                from sync_extract.importing.lmdb_keys import open_lmdb
            except ModuleNotFoundError as error:
                if error.name != "lmdb":
                    raise
                raise SyncError(
                    "LMDB files need a package that isn't here: pip install 'sync-tas[import]'"
                ) from None
            rate = fps or dataset.label_rate
            return open_lmdb(path, project, dataset, views=views, fps=rate, first_key=first_key)
        case "omnivore":
            from sync_extract.importing.omnivore_pt import open_omnivore

            return open_omnivore(path, project, dataset, views=views, fps=fps or OMNIVORE_FPS)
        case _:
            from sync_extract.importing.npy import open_npy

            return open_npy(path, project, dataset, views=views, fps=fps or dataset.label_rate)


def _num_imported(plan: "ImportPlan", failures: "list[Failure]") -> int:
    return len(plan.to_do) - (len(failures) - len(plan.failures))


def _report(
    project: Project,
    features: FeatureSet,
    source: "Source",
    plan: "ImportPlan",
    failures: "list[Failure]",
    dry_run: bool,
) -> dict[str, Any]:
    """What was done, or would be, for --json."""
    return {
        "feature_set": features.name,
        "store": str(project.store_path),
        "imported": 0 if dry_run else _num_imported(plan, failures),
        **plan.as_json(dry_run=dry_run),
        "failed": [asdict(failure) for failure in failures],
        "notes": source.notes,
    }


def _print_report(
    features: FeatureSet, source: "Source", plan: "ImportPlan", failures: "list[Failure]", dry_run: bool
) -> None:
    """The list of a dry run on stdout; failures and a summary on stderr."""
    for job in plan.to_do if dry_run else ():
        click.echo(f"{job.state}: {job.name}: {job.expected_rows or 'some'} rows, {job.source.path}")
    for failure in failures:
        click.echo(str(failure), err=True)
    for view, names in plan.absent.items():
        click.echo(f"view {view}: {len(names)} recordings without such features: {some_of(names)}", err=True)
    for note in source.notes:
        click.echo(note, err=True)
    verb = f"{len(plan.to_do)} to import" if dry_run else f"{_num_imported(plan, failures)} imported"
    done = len(plan.jobs) - len(plan.to_do)
    click.echo(f"{features.name}: {verb}, {done} complete already, {len(failures)} failed", err=True)
