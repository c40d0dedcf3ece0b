"""`sync-extract` by jobs: what is left is packed and handed out."""

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from sync_extract.cluster.bins import Item, find_changed, find_items, read_complete
from sync_extract.cluster.config import Kind
from sync_extract.cluster.ledger import Ledger
from sync_extract.cluster.status import STATES, Status, read_status
from sync_extract.cluster.submit import items_in_queue, run_locally, submit_to_slurm
from sync_extract.config import ExtractConfig
from sync_extract.plan import choose_recordings
from sync_store.console import EXIT_FAILURE, EXIT_SOME_FAILED, print_json
from sync_store.datasets import open_dataset
from sync_store.errors import SyncError
from sync_store.project import Project
from sync_store.s3 import S3Path

BUCKET_LOOK_SECONDS = 10.0
"""From one look at what is complete in a bucket to the next."""


def choose_kind(config: ExtractConfig, *, overwrite: bool) -> Kind:
    """How to work: "auto" is resolved; only one process overwrites.

    Raises:
        SyncError: If processes of this machine are asked for, and one GPU for them all.
    """
    if config.cluster.kind == "local" and config.device.startswith("cuda:"):
        raise SyncError(
            f"--cluster local gives each process a GPU of its own, but device is {config.device!r}: name cuda, "
            "or the GPUs in CUDA_VISIBLE_DEVICES"
        )
    if config.cluster.kind != "auto":
        return config.cluster.kind
    if overwrite:
        return "none"
    return "local" if config.device in ("auto", "cuda") and len(_gpus()) > 1 else "none"


def extract_by_jobs(
    project: Project,
    config: ExtractConfig,
    kind: Kind,
    views: Sequence[str],
    recordings: Sequence[str],
    *,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Hand out what isn't done.

    Args:
        project: Where.
        config: What and how.
        kind: "slurm", which returns at once, or "local", which waits.
        views: Views.
        recordings: Only these, also such that failed too often; all if empty.
        dry_run: Say what is left, and do nothing.
        quiet: No progress.
        as_json: Print JSON on stdout.

    Returns:
        Exit status.

    Raises:
        SyncError: If jobs can't be handed out.
    """
    dataset = open_dataset(project)
    asked = choose_recordings(dataset, list(recordings) or None)
    folder = config.cluster.folder_for(project.folder, config.name)
    ledger = Ledger(folder)
    pairs = list(itertools.product(views, asked))
    complete = read_complete(project, config.name, pairs)
    items = find_items(
        dataset, pairs, complete, ledger, retries=config.cluster.retries, named=bool(recordings)
    )
    in_queue = items_in_queue(folder) if kind == "slurm" else set()
    queued = [item for item in items if item.name in in_queue]
    items = [item for item in items if item.name not in in_queue]
    changed = find_changed(project, dataset, config.name, complete)
    for failure in changed:
        click.echo(str(failure), err=True)
    if not dry_run:
        ledger.forget_jobs()
        for item in items if recordings else ():
            ledger.finish(item.view, item.recording)
    report: dict[str, Any] = {
        "feature_set": config.name,
        "cluster": kind,
        "to_do": [item.name for item in items],
        "in_queue": [item.name for item in queued],
        "changed": [asdict(failure) for failure in changed],
    }
    status = EXIT_SOME_FAILED if changed else 0
    if dry_run:
        said = f"{config.name}: {len(items)} to extract"
        for item in () if as_json else items:
            click.echo(f"{item.name}: about {item.rows} rows")
    elif items and kind == "slurm":
        submission = submit_to_slurm(project, config, items, views, folder)
        report |= {"jobs": [job.job_id for job in submission.jobs], "finalize": submission.finalize}
        said = (
            f"{config.name}: {len(items)} recordings handed to Slurm, from job {submission.jobs[0].job_id} on; job "
            f"{submission.finalize} ends the work. {len(queued)} were in its queue before. "
            "See how far they are with: sync-extract status"
        )
    elif queued:
        said = (
            f"{config.name}: nothing to hand in: {len(queued)} are in Slurm's queue. See: sync-extract status"
        )
    else:
        logs = []
        if items:
            said_so_far = _Said(project, config, items, quiet)
            logs = run_locally(project, config, items, views, folder, gpus=_gpus(), on_change=said_so_far)
        found = read_status(project, config, views, folder, asked)
        _tell(found, logs)
        counts: dict[str, int] = {state: found.count(state) for state in STATES}
        report |= {**counts, "failed_processes": logs, "status": found.as_json()}
        said = f"{config.name}: {len(items)} to extract; " + ", ".join(
            f"{number} {state}" for state, number in counts.items()
        )
        if any(one.state != "done" or one.error for one in found.recordings):
            status = EXIT_FAILURE if logs and not counts["done"] else EXIT_SOME_FAILED
    if as_json:
        print_json(report)
    click.echo(said, err=True)
    return status


def _tell(found: Status, logs: Sequence[str]) -> None:
    """What failed, or is only a part, a line each."""
    for one in found.recordings:
        if one.error:
            outcome = "incomplete" if one.state == "done" else "failed"
            click.echo(f"{outcome}: {one.name}: {one.error}", err=True)
    for job in found.failed_jobs:
        click.echo(f"error: {job.error} (log: {job.log})", err=True)
    for log in set(logs) - {job.log for job in found.failed_jobs}:
        click.echo(f"a process ended before its work was done (log: {log})", err=True)


class _Said:
    """A line for each recording that has become complete."""

    def __init__(self, project: Project, config: ExtractConfig, items: Sequence[Item], quiet: bool) -> None:
        self._project = project
        self._name = config.name
        self._total = len(items)
        self._open = [] if quiet else list(items)
        self._next_look = 0.0

    def __call__(self) -> None:
        if time.monotonic() < self._next_look:
            return
        in_bucket = isinstance(self._project.store_path, S3Path)
        self._next_look = time.monotonic() + (BUCKET_LOOK_SECONDS if in_bucket else 0.0)
        pairs = [(item.view, item.recording) for item in self._open]
        complete = read_complete(self._project, self._name, pairs)
        for item in list(self._open):
            if (item.view, item.recording) in complete:
                self._open.remove(item)
                click.echo(f"[{self._total - len(self._open)}/{self._total}] {item.name}", err=True)


def _gpus() -> list[str]:
    """This machine's GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    named = [name.strip() for name in visible if name.strip()]
    return (named or [str(number) for number in range(torch.cuda.device_count())])[
        : torch.cuda.device_count()
    ]
