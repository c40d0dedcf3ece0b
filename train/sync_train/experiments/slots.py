"""How many jobs run at a time, and where."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sync_store.errors import ProjectError

THREADS = "OMP_NUM_THREADS"
"""Variable that says how many threads a process computes with."""


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Places for jobs."""

    devices: tuple[str, ...]
    """Of each place, as `sync-train --device` takes it."""
    threads: int
    """Of each job. One, unless the environment says otherwise: results differ in the last digits between numbers of
    threads, so they mustn't depend on how many jobs there are."""

    @property
    def environment(self) -> dict[str, str]:
        """A job's: ours, without SYNC_* variables, since the command line says all that counts."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("SYNC_") or key == "SYNC_VERBOSE"
        }
        return {**kept, THREADS: str(self.threads)}


def choose_slots(jobs: int | None, device: str) -> Slots:
    """Places on the processor, or dealt to the GPUs in turn.

    Args:
        jobs: How many, by default one a GPU, or as many as there are processors for.
        device: As `sync-train --device`.

    Raises:
        ProjectError: If OMP_NUM_THREADS isn't a number.
    """
    threads = _threads()
    gpus = num_gpus() if device == "auto" else 0
    if gpus:
        count = jobs or gpus
        return Slots(devices=tuple(f"cuda:{number % gpus}" for number in range(count)), threads=threads)
    on_gpu = device not in ("auto", "cpu")
    count = jobs or (1 if on_gpu else max(1, num_processors() // threads))
    return Slots(devices=("cpu" if device == "auto" else device,) * count, threads=threads)


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_gpus() -> int:
    """GPUs that torch can use; it takes seconds to import, so not where there is no driver."""
    if shutil.which("nvidia-smi") is None and not Path("/dev/nvidiactl").exists():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _threads() -> int:
    text = os.environ.get(THREADS, "1")
    try:
        return max(1, int(text))
    except ValueError:
        raise ProjectError(f"{THREADS} must be a number, got {text!r}") from None
