"""Jobs as processes of this machine, one bin each."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from sync_extract.cluster.task import JOB, LOG, BinTask
from sync_store.console import SyncCommand

POLL_SECONDS = 0.5
"""From a look at processes to the next."""


@click.command(cls=SyncCommand)
def main() -> None:
    """Do the work that `run` hands in."""
    task: BinTask = pickle.load(sys.stdin.buffer)
    task()


def run(
    tasks: Mapping[str, BinTask], folder: Path, *, gpus: Sequence[str], on_change: Callable[[], None]
) -> list[str]:
    """Carry out tasks at the same time, and wait.

    Args:
        tasks: One a process, by what it is called.
        folder: For logs.
        gpus: Of this machine, as CUDA_VISIBLE_DEVICES names them; each process sees one of them.
        on_change: Called now and then while they work.

    Returns:
        Logs of processes that ended before their work was done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    processes: list[tuple[subprocess.Popen[bytes], Path]] = []
    try:
        for number, (name, task) in enumerate(tasks.items()):
            log = folder / f"{name}.log"
            gpu = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
            with log.open("wb") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "sync_extract.cluster.local"],
                    env={**os.environ, JOB: name, LOG: str(log), **gpu},
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
