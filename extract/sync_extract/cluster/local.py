"""Jobs as processes of this machine, one bin each."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from sync_extract.cluster.task import BinTask
from sync_store.console import SyncCommand

POLL_SECONDS = 0.5
"""From a look at processes to the next."""

JOB, LOG = "SYNC_JOB", "SYNC_JOB_LOG"
"""Environment of a process: what it is called in records, and where it writes what it says."""


@click.command(cls=SyncCommand)
def main() -> None:
    """Do the work that `run` hands in."""
    task: BinTask = pickle.load(sys.stdin.buffer)
    task()


def run(
    tasks: Sequence[BinTask], folder: Path, *, gpus: Sequence[int], on_change: Callable[[], None]
) -> list[str]:
    """Carry out tasks at the same time, and wait.

    Args:
        tasks: One a process.
        folder: For logs.
        gpus: Of this machine; each process sees one of them.
        on_change: Called now and then while they work.

    Returns:
        Logs of processes that ended before their work was done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    processes: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for number, task in enumerate(tasks):
            log = folder / f"{os.getpid()}_{number}.log"
            gpu = {"CUDA_VISIBLE_DEVICES": str(gpus[number % len(gpus)])} if gpus else {}
            with log.open("wb") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "sync_extract.cluster.local"],
                    env={**os.environ, JOB: f"{os.getpid()}_{number}", LOG: str(log), **gpu},
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=said,
                )
            processes.append((process, log))
            assert process.stdin is not None
            with process.stdin:
                pickle.dump(task, process.stdin)
        while any(process.poll() is None for process, _ in processes):
            time.sleep(POLL_SECONDS)
            on_change()
    finally:
        for process, _ in processes:
            process.terminate()
        for process, _ in processes:
            process.wait()
    return [str(log) for process, log in processes if process.returncode]


if __name__ == "__main__":
    main()
