"""The command `sync-extract`."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sync_extract.cluster.options import cluster_options, with_options
from sync_extract.commands.copy import copy
from sync_extract.commands.coverage import coverage
from sync_extract.commands.distill import distill
from sync_extract.commands.export import export
from sync_extract.commands.finetune import finetune
from sync_extract.commands.import_ import import_features
from sync_extract.commands.ls import list_store
from sync_extract.commands.split import split
from sync_extract.commands.status import status
from sync_extract.commands.verify import verify
from sync_extract.config import OF_ONE_BACKBONE, POSITION_EMBEDDINGS, PRESET_NAMES, SHIFTS, ExtractConfig
from sync_store.config import from_table
from sync_store.console import (
    EXIT_SOME_FAILED,
    SyncGroup,
    given,
    json_option,
    print_json,
    project_option,
    set_up_logging,
    some_of,
)
from sync_store.datasets import open_dataset
from sync_store.errors import SyncError
from sync_store.memory import keep_freed_memory
from sync_store.project import Project, load_project

if TYPE_CHECKING:
    from sync_extract.plan import Failure, Plan


@click.group(
    cls=SyncGroup,
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": "SYNC", "help_option_names": ["-h", "--help"]},
)
@project_option
@click.option(
    "--view",
    "views",
    multiple=True,
    envvar="SYNC_VIEW",
    help="View to extract; repeat for several [default: all].",
)
@click.option(
    "--recording",
    "recordings",
    multiple=True,
    envvar="SYNC_RECORDING",
    help="Only this recording; repeat for several.",
)
@click.option("--backbone", help="Backbone, e.g. dinov2-large.")
@click.option(
    "--weights", type=click.Path(path_type=Path, exists=True), help="Local weights; nothing is downloaded."
)
@click.option("--feature-set", help="Name of the feature set in the store [default: the backbone's].")
@click.option("--preset", type=click.Choice(PRESET_NAMES), help="Preprocessing.")
@click.option("--shift", type=click.Choice(SHIFTS), help="TSM: whether a row sees eight frames or one.")
@click.option(
    "--position-embedding",
    type=click.Choice(POSITION_EMBEDDINGS),
    help="DINOv2: who resizes position embeddings [default: as the preset's authors].",
)
@click.option(
    "--trained-on",
    multiple=True,
    help="What the weights were trained on, in words; repeat for several. Recorded, and flagged in tables.",
)
@click.option(
    "--fps", help='Sampling rate: 30, "30000/1001" or native [default: the label rate; Omnivore 30].'
)
@click.option("--device", help="auto, cpu, cuda, cuda:1 …")
@click.option("--precision", type=click.Choice(["auto", "float32", "bfloat16", "float16"]))
@click.option("--batch-size", type=click.IntRange(min=1), help="Frames a forward pass, a power of two.")
@click.option("--workers", type=click.IntRange(min=1), help="Videos decoded ahead at the same time.")
@click.option(
    "--reader", type=click.Choice(["pyav", "decord"]), help="Who decodes; the pictures are the same."
)
@cluster_options
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--overwrite", is_flag=True, help="Extract again what is complete.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
@click.version_option(package_name="sync-tas")
@click.pass_context
def main(
    ctx: click.Context,
    /,
    project_path: Path | None,
    views: tuple[str, ...],
    recordings: tuple[str, ...],
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write per-frame features of videos into the feature store.

    Goes on where an interrupted run stopped, and skips what is complete. Settings come from the section
    [extract] of sync.toml; options and SYNC_* environment variables override them.

    Exit status: 0 done, 1 nothing could be done, 3 some videos failed or are incomplete, and are listed.
    """
    set_up_logging()
    keep_freed_memory()
    if ctx.invoked_subcommand is not None:
        ctx.obj = project_path
        return
    project = load_project(project_path)
    config = read_config(project, given(ctx, **options))
    chosen = list(dict.fromkeys(views or config.views or project.views))
    for view in chosen:
        project.view(view)
    if config.cluster.kind != "none":
        from sync_extract.cluster.run import choose_kind, extract_by_jobs

        if (kind := choose_kind(config, overwrite=overwrite)) != "none":
            if overwrite:
                raise click.UsageError("--overwrite works without jobs only: add --cluster none.")
            ctx.exit(
                extract_by_jobs(
                    project, config, kind, chosen, recordings, dry_run=dry_run, quiet=quiet, as_json=as_json
                )
            )
    hidden = quiet or (as_json and not sys.stderr.isatty())
    plan, failures = _extract(project, config, chosen, recordings, dry_run, overwrite, hidden)
    if as_json:
        print_json(_report(project, config, plan, failures, dry_run))
    else:
        _print_report(config, plan, failures, dry_run)
    if failures:
        ctx.exit(EXIT_SOME_FAILED)


def read_config(project: Project, overrides: dict[str, Any]) -> ExtractConfig:
    """Settings of a project's [extract] section under overriding options.

    Where these name another backbone than the section, what the section says of its own one doesn't apply.
    """
    where = f"{project.file} [extract]"
    table = project.stage("extract")
    config = from_table(ExtractConfig, table, where)
    if overrides.get("backbone", config.backbone) != config.backbone:
        shared = {key: value for key, value in table.items() if key not in OF_ONE_BACKBONE}
        config = from_table(ExtractConfig, shared, where)
    if config.weights is not None:
        config = replace(config, weights=project.folder / config.weights)
    try:
        cluster = with_options(config.cluster, overrides)
        return replace(config, cluster=cluster, **overrides)
    except ValueError as error:
        raise SyncError(str(error)) from None


def _extract(
    project: Project,
    config: ExtractConfig,
    views: list[str],
    recordings: Sequence[str],
    dry_run: bool,
    overwrite: bool,
    quiet: bool,
) -> "tuple[Plan, list[Failure]]":
    from sync_extract.plan import choose_recordings
    from sync_extract.progress import show_progress
    from sync_extract.work import Work

    # before weights are loaded for nothing
    asked = choose_recordings(open_dataset(project), list(recordings) or None)
    work = Work.prepare(project, config)
    plan = work.plan(dict.fromkeys(views, asked), named=bool(recordings), overwrite=overwrite)
    if dry_run:
        return plan, plan.failures
    with show_progress(plan.to_do, quiet=quiet) as watcher:
        failures = work.carry_out(plan, watcher)
    return plan, [*plan.failures, *failures]


def _num_extracted(plan: "Plan", failures: "list[Failure]") -> int:
    return len(plan.to_do) - sum(not failure.kept for failure in failures[len(plan.failures) :])


def _report(
    project: Project, config: ExtractConfig, plan: "Plan", failures: "list[Failure]", dry_run: bool
) -> dict[str, Any]:
    """What was done, or would be, for --json."""
    return {
        "feature_set": config.name,
        "store": str(project.store_path),
        "extracted": 0 if dry_run else _num_extracted(plan, failures),
        **plan.as_json(dry_run=dry_run),
        "failed": [asdict(failure) for failure in failures],
    }


def _print_report(config: ExtractConfig, plan: "Plan", failures: "list[Failure]", dry_run: bool) -> None:
    """The list of a dry run on stdout; failures and a summary on stderr."""
    for job in plan.to_do if dry_run else ():
        click.echo(f"{job.state}: {job.name}: about {job.expected_rows} rows, {job.source.path}")
    for failure in failures:
        click.echo(str(failure), err=True)
    for view, names in plan.absent.items():
        click.echo(f"view {view}: {len(names)} recordings without such a video: {some_of(names)}", err=True)
    verb = f"{len(plan.to_do)} to extract" if dry_run else f"{_num_extracted(plan, failures)} extracted"
    incomplete = sum(failure.kept for failure in failures)
    parts = [verb, f"{len(plan.jobs) - len(plan.to_do)} complete already"]
    if incomplete:
        parts.append(f"{incomplete} incomplete")
    parts.append(f"{len(failures) - incomplete} failed")
    click.echo(f"{config.name}: {', '.join(parts)}", err=True)


for command in (
    list_store,
    status,
    verify,
    copy,
    split,
    coverage,
    import_features,
    export,
    finetune,
    distill,
):
    main.add_command(command)
