"""Hands bins to Slurm, or to processes of this machine, and waits for the latter."""

import math
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sync_extract.cluster import local
from sync_extract.cluster.bins import Item, num_bins, pack
from sync_extract.cluster.finalize import FinalizeTask
from sync_extract.cluster.ledger import now
from sync_extract.cluster.task import BinTask
from sync_extract.config import ExtractConfig
from sync_store.atomic import write_json
from sync_store.errors import SyncError
from sync_store.project import Project

MAX_ARRAY = 1000
"""Jobs in an array, where Slurm doesn't say: its default `MaxArraySize` is 1,001."""

MAX_TIMEOUTS = 1000
"""How often a job may reach its time limit and be requeued; submitit's own limit is 3."""

FINALIZE_MINUTES = 60


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
    submitit = _submitit()
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise SyncError("there is no Slurm here (sbatch and srun aren't found). Use --cluster local or none")
    cluster = config.cluster
    bin_rows = cluster.bin_hours * 3600 * cluster.rows_per_second
    bins = pack(items, num_bins(items, bin_rows=bin_rows, most=_max_array()))
    executor = submitit.SlurmExecutor(folder / "jobs", max_num_timeout=MAX_TIMEOUTS)
    asked = {
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "gres": cluster.gres,
        "gpus_per_node": cluster.gpus if cluster.gpus and not cluster.gres else None,
        "setup": list(cluster.setup) or None,
    }
    executor.update_parameters(
        job_name="sync-extract",
        time=math.ceil(cluster.hours * 60),
        cpus_per_task=cluster.cpus,
        srun_args=[f"--cpus-per-task={cluster.cpus}"],  # since Slurm 22.05 a step doesn't inherit it
        mem=f"{cluster.memory_gb}GB",
        array_parallelism=cluster.throttle,
        additional_parameters={"requeue": True},
        **{name: value for name, value in asked.items() if value is not None},
    )
    tasks = _tasks(project, config, bins, folder)
    jobs = _submitted("the jobs", lambda: executor.submit_array(tasks))
    _record(folder, "slurm", [job.job_id for job in jobs], bins)
    array = jobs[0].job_id.partition("_")[0]
    finalize = submitit.SlurmExecutor(folder / "jobs")
    finalize.update_parameters(
        job_name="sync-extract-finalize",
        time=FINALIZE_MINUTES,
        dependency=f"afterany:{array}",
        **{name: asked[name] for name in ("partition", "account", "qos", "setup") if asked[name]},
    )
    task = _finalize(project, config, views, folder)
    last = _submitted(
        f"the job that ends the work of {array}, which is handed in", lambda: finalize.submit(task)
    )
    return Submission(jobs=jobs, finalize=last.job_id)


def _submitted(what: str, submit: Callable[[], Any]) -> Any:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        return submit()
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise SyncError(f"Slurm refuses {what}: {reason}. Check [extract.cluster]") from None


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


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise SyncError(
            "jobs need submitit, which isn't installed. Install it with: pip install 'sync-tas[cluster]'"
        ) from None
    return submitit


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


def _record(folder: Path, kind: str, jobs: Sequence[str], bins: Sequence[Sequence[Item]]) -> None:
    """Write down what was handed in, for `status`."""
    write_json(
        folder / "submission.json",
        {
            "cluster": kind,
            "submitted": now(),
            "bins": [
                {
                    "job": job,
                    "rows": sum(item.rows for item in of_bin),
                    "items": [item.name for item in of_bin],
                }
                for job, of_bin in zip(jobs, bins, strict=True)
            ],
        },
    )


def _max_array() -> int:
    """How many jobs an array may have here."""
    try:
        shown = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return MAX_ARRAY
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown, re.MULTILINE)
    return max(1, int(found[1]) - 1) if found else MAX_ARRAY
