"""Hands bins to Slurm, or to processes of this machine, and waits for the latter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from sync_extract.cluster import local
from sync_extract.cluster.bins import Item, num_bins, pack
from sync_extract.cluster.finalize import FinalizeTask
from sync_extract.cluster.ledger import now
from sync_extract.cluster.status import SUBMISSION
from sync_extract.cluster.task import BinTask
from sync_extract.config import ExtractConfig
from sync_store.atomic import write_json
from sync_store.bounded import read_json
from sync_store.project import Project
from sync_store.slurm import hand_in, jobs_in_queue, make_executor, max_array

NAME = "sync-extract"
"""Of the jobs, in the queue."""

SECTION = "extract.cluster"

FINALIZE_HOURS, FINALIZE_MEMORY_GB = 1.0, 4
"""Of the last job, which reads small files only."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Jobs that were handed in."""

    jobs: Sequence[Any]
    """submitit's, one a bin."""
    finalize: str
    """Number of the job that ends the work."""


def submit_to_slurm(
    project: Project, config: ExtractConfig, items: Sequence[Item], views: Sequence[str], folder: Path
) -> Submission:
    """Submit an array of bins, and a job that depends on all of them.

    Raises:
        SyncError: If there is no Slurm here, or it refuses.
    """
    cluster = config.cluster
    executor = make_executor(cluster, folder / "jobs", NAME)
    bin_rows = cluster.bin_hours * 3600 * cluster.rows_per_second
    bins = pack(items, num_bins(items, bin_rows=bin_rows, most=max_array()))
    tasks = _tasks(project, config, bins, folder)
    jobs = hand_in(lambda: executor.submit_array(tasks), "the jobs", SECTION)
    _record(folder, "slurm", [job.job_id for job in jobs], bins)
    array = jobs[0].job_id.partition("_")[0]
    modest = replace(cluster, gres=None, gpus=0, cpus=1, memory_gb=FINALIZE_MEMORY_GB, hours=FINALIZE_HOURS)
    finalize = make_executor(modest, folder / "jobs", "sync-extract-finalize", dependency=f"afterany:{array}")
    task = _finalize(project, config, views, folder)
    last = hand_in(
        lambda: finalize.submit(task), f"the job that ends the work of {array}, which is handed in", SECTION
    )
    return Submission(jobs=jobs, finalize=last.job_id)


def run_locally(
    project: Project,
    config: ExtractConfig,
    items: Sequence[Item],
    views: Sequence[str],
    folder: Path,
    *,
    gpus: Sequence[str],
    on_change: Callable[[], None],
) -> list[str]:
    """Extract in processes of this machine, one bin each, and wait; arguments and result as for `local.run`.

    Args:
        project: Where.
        config: What and how.
        items: What is left to do.
        views: All that were asked for.
        folder: For logs and records.
        gpus: Of this machine.
        on_change: Called now and then.
    """
    bins = pack(items, min(config.cluster.processes or max(1, len(gpus)), len(items)))
    name = uuid4().hex[:8]
    names = [f"local-{name}_{number}" for number in range(len(bins))]
    _record(folder, "local", names, bins)
    tasks = dict(zip(names, _tasks(project, config, bins, folder), strict=True))
    logs = local.run(tasks, folder / "jobs", gpus=gpus, on_change=on_change)
    _finalize(project, config, views, folder)()
    return logs


def _tasks(
    project: Project, config: ExtractConfig, bins: Sequence[Sequence[Item]], folder: Path
) -> list[BinTask]:
    return [
        BinTask(project=project.file.absolute(), config=config, items=tuple(of_bin), folder=folder.absolute())
        for of_bin in bins
    ]


def _finalize(project: Project, config: ExtractConfig, views: Sequence[str], folder: Path) -> FinalizeTask:
    return FinalizeTask(
        project=project.file.absolute(), config=config, views=tuple(views), folder=folder.absolute()
    )


def items_in_queue(folder: Path) -> set[str]:
    """Names of the items whose jobs Slurm still has, of what was handed in before.

    Args:
        folder: Of the cluster's records.

    Raises:
        SyncError: If Slurm doesn't answer.
    """
    return {name for of_bin in _bins_in_queue(folder) for name in of_bin["items"]}


def _bins_in_queue(folder: Path) -> list[dict[str, Any]]:
    try:
        table = read_json(folder / SUBMISSION)
        bins = [dict(of_bin) for of_bin in table["bins"]] if table["cluster"] == "slurm" else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    states = jobs_in_queue(NAME) if bins else {}
    return [of_bin for of_bin in bins if of_bin.get("job") in states]


def _record(folder: Path, kind: str, jobs: Sequence[str], bins: Sequence[Sequence[Item]]) -> None:
    """Write down what was handed in, for `status` and the next command; what Slurm had before stays."""
    before = _bins_in_queue(folder) if kind == "slurm" else []
    handed_in = [
        {"job": job, "rows": sum(item.rows for item in of_bin), "items": [item.name for item in of_bin]}
        for job, of_bin in zip(jobs, bins, strict=True)
    ]
    write_json(folder / SUBMISSION, {"cluster": kind, "submitted": now(), "bins": [*before, *handed_in]})
