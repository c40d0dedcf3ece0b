"""Jobs for Slurm: what each may use, how they are handed in through submitit, and what the queue says of them."""

import math
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_store.errors import SyncError

MAX_ARRAY = 1000
"""Jobs in an array, where Slurm doesn't say: its default `MaxArraySize` is 1,001."""

MAX_TIMEOUTS = 1000
"""How often a job may reach its time limit and be requeued; submitit's own limit is 3."""

MIN_HOURS = 0.05
"""Of a job."""

WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD")
"""States of jobs in the queue that don't run."""

HELD = "HELD"
"""Of jobs that somebody has to release; Slurm itself calls them PENDING."""

ANSWER_SECONDS = 60
"""So long Slurm may take to answer."""


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """What each job asks for."""

    kind: str
    """Who carries jobs out; "slurm" is one of a stage's choices."""
    partition: str | None = None
    """Slurm's; by default its own."""
    account: str | None = None
    """Whose time is spent."""
    qos: str | None = None
    """Quality of service."""
    gres: str | None = None
    """Such as "gpu:a100:1"; without it `gpus` is asked for."""
    gpus: int = 1
    """A job; 0 for jobs on processors."""
    cpus: int = 8
    """Processors a job."""
    memory_gb: int = 32
    """Memory a job, GB."""
    hours: float = 24.0
    """Time limit of a job. One that reaches it is requeued and goes on."""
    throttle: int = 256
    """Jobs of the array that run at the same time, at the most."""
    setup: tuple[str, ...] = ()
    """Shell commands before a job, such as "module load ffmpeg"."""

    def __post_init__(self) -> None:
        for name in ("cpus", "memory_gb", "hours", "throttle"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"cluster.{name} must be a number above 0, got {getattr(self, name)}")
        if self.kind == "slurm" and self.hours < MIN_HOURS:
            raise ValueError(
                f"cluster.hours must be at least {MIN_HOURS} for Slurm, got {self.hours}: a job is warned 90 s before "
                "its end, and would only be put back into the queue"
            )
        if self.gpus < 0:
            raise ValueError(f"cluster.gpus must be 0 or more, got {self.gpus}")


def make_executor(config: SlurmConfig, folder: Path, name: str, **parameters: Any) -> Any:
    """An executor of submitit.

    Args:
        config: What each job asks for.
        folder: Where submitit keeps what it sends to the jobs, and what they say; on a file system that all nodes
            share.
        name: Of the jobs, in the queue.
        parameters: Others of `submitit.SlurmExecutor.update_parameters`.

    Raises:
        SyncError: If submitit isn't installed, or there is no Slurm here.
    """
    try:
        import submitit
    except ImportError:
        raise SyncError(
            "jobs need submitit, which isn't installed. Install it with: pip install 'sync-tas[cluster]'"
        ) from None
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise SyncError("there is no Slurm here (sbatch and srun aren't found). Use --cluster local")
    executor = submitit.SlurmExecutor(folder, max_num_timeout=MAX_TIMEOUTS)
    asked = {
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "gres": config.gres,
        "gpus_per_node": config.gpus if config.gpus and not config.gres else None,
        "setup": list(config.setup) or None,
    }
    executor.update_parameters(
        job_name=name,
        time=math.ceil(config.hours * 60),
        cpus_per_task=config.cpus,
        srun_args=[f"--cpus-per-task={config.cpus}"],  # since Slurm 22.05 a step doesn't inherit it
        mem=f"{config.memory_gb}GB",
        array_parallelism=config.throttle,
        **{key: value for key, value in asked.items() if value is not None},
        **{"additional_parameters": {"requeue": True}, **parameters},
    )
    return executor


def hand_in(submit: Callable[[], Any], what: str, section: str) -> Any:
    """Call an executor, in the user's terms if Slurm refuses.

    Args:
        submit: The call.
        what: Is handed in, for the message.
        section: Of sync.toml, that may have to be changed.

    Raises:
        SyncError: If Slurm refuses.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        return submit()
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise SyncError(f"Slurm refuses {what}: {reason}. Check [{section}]") from None


def max_array() -> int:
    """How many jobs an array may have here."""
    try:
        shown = ask("scontrol", "show", "config")
    except SyncError:
        return MAX_ARRAY
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown, re.MULTILINE)
    return max(1, int(found[1]) - 1) if found else MAX_ARRAY


def jobs_in_queue(name: str) -> dict[str, str]:
    """State of every job of a name that waits or runs, by its number: `12`, or `12_3` in an array.

    That of a job which a user holds, as those are that are being handed in, is `HELD`.

    Raises:
        SyncError: If Slurm doesn't answer. Where there is no Slurm, there are no jobs.
    """
    if shutil.which("squeue") is None:
        return {}
    shown = ask("squeue", "--noheader", "--array", f"--name={name}", "--format=%i %T %r")
    states = {}
    for line in filter(str.strip, shown.splitlines()):
        number, state, reason = line.split(maxsplit=2)
        states[number] = HELD if reason == "JobHeldUser" else state
    return states


def ask(*command: str) -> str:
    """What one of Slurm's commands prints.

    Raises:
        SyncError: If it fails, or takes longer than `ANSWER_SECONDS`.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise SyncError(f"Slurm doesn't answer to {_shown(command)}: {reason}") from None
    return done.stdout


def _shown(command: Sequence[str]) -> str:
    return " ".join(command[:2])
