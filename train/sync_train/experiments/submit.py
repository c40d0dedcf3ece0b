"""Hands runs to Slurm, a job each; one that takes another's teacher waits for that one's job."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sync_store.errors import SyncError
from sync_store.slurm import ask, hand_in, make_executor, max_array
from sync_train.experiments.config import ClusterConfig
from sync_train.experiments.handed_in import NAME, HandedIn, Record
from sync_train.experiments.job import Commands, Job
from sync_train.experiments.slurm_job import SlurmJob


def submit_to_slurm(
    jobs: Sequence[Job], commands: Commands, device: str, cluster: ClusterConfig, before: Mapping[str, str]
) -> dict[str, str]:
    """Hand in jobs.

    They are held until each is recorded and knows what it waits for, and cancelled if that can't be done.

    Args:
        jobs: Neither done nor in the queue.
        commands: What they share.
        device: As `sync-train --device`.
        cluster: What each asks for.
        before: Numbers of jobs that are in the queue, by name.

    Returns:
        Number of each, by name.

    Raises:
        SyncError: If there is no Slurm here, or it refuses.
    """
    handed_in = HandedIn(commands.runs)
    handed_in.cancel_held(jobs)
    executor = make_executor(
        cluster, handed_in.folder, NAME, additional_parameters={"requeue": True, "hold": True}
    )
    numbers: dict[str, str] = {}
    size = max_array()
    try:
        for start in range(0, len(jobs), size):
            numbers |= _submit_array(executor, jobs[start : start + size], commands, device, handed_in)
        known = {**before, **numbers}
        for job in jobs:
            if job.teacher_job in known and not job.has_teacher(commands.runs):
                dependency = f"Dependency=afterany:{known[job.teacher_job]}"
                ask("scontrol", "update", f"JobId={numbers[job.name]}", dependency)
        for array in _arrays(numbers):
            ask("scontrol", "release", array)
    except BaseException:
        for array in _arrays(numbers):
            with suppress(SyncError):  # the first error counts
                ask("scancel", array)
        raise
    return numbers


def _submit_array(
    executor: Any, jobs: Sequence[Job], commands: Commands, device: str, handed_in: HandedIn
) -> dict[str, str]:
    tasks = [SlurmJob(job=job, commands=commands, device=device) for job in jobs]
    submitted = hand_in(lambda: executor.submit_array(tasks), "the jobs", "train.cluster")
    for job, of_slurm in zip(jobs, submitted, strict=True):
        handed_in.write(job, Record(number=of_slurm.job_id, log=str(of_slurm.paths.stderr)))
    return {job.name: of_slurm.job_id for job, of_slurm in zip(jobs, submitted, strict=True)}


def _arrays(numbers: Mapping[str, str]) -> list[str]:
    """Each array once."""
    return list(dict.fromkeys(number.partition("_")[0] for number in numbers.values()))
