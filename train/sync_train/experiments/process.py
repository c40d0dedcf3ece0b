"""A job at work: its commands one after the other, their output in its log."""

import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from sync_train.experiments.job import Commands, Job, program


class Process:
    """A job that has been started."""

    def __init__(
        self,
        job: Job,
        commands: Commands,
        device: str,
        environment: Mapping[str, str],
        lock: int | None = None,
    ) -> None:
        """Start a job.

        Args:
            job: What to do.
            commands: What it shares with others.
            device: Where.
            environment: Of its commands.
            lock: File that holds the folder, if it is held. The commands keep it open, so that the folder stays held
                while one of them lives on after a kill of this process.

        Raises:
            OSError: If its log can't be written.
        """
        self.job = job
        self.made: list[str] = []
        """Results so far."""
        self.errors: list[str] = []
        """One line for each command that failed."""
        self._commands = commands
        self._device = device
        self._environment = environment
        self._lock = lock
        self._steps = commands.steps(job, device)
        self._started = time.monotonic()
        self._log = job.log(commands.runs)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.write_bytes(b"")
        self._process: subprocess.Popen[bytes] | None = None
        self._offset = 0
        self._next()

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._started

    def is_over(self) -> bool:
        """Go on to the next command if one has ended; true if it was the last."""
        if self._process is None or self._process.poll() is None:
            return self._process is None
        step = self._steps.pop(0)
        if self._process.returncode == 0:
            self.made += step.results
        elif len(step.results) > 1:
            # One by one, so that a method that can't be made doesn't cost the others; what is done isn't done again.
            self._steps[:0] = [self._commands.step(self.job, [name], self._device) for name in step.results]
        else:
            name, error = step.results[0], self._error(self._process.returncode)
            self.errors.append(error if error.startswith(f"{name}: ") else f"{name}: {error}")
        self._next()
        return self._process is None

    def terminate(self) -> None:
        """Ask it to end, as cleanly as at Ctrl-C."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, timeout_seconds: float | None = None) -> None:
        """Wait for the command at work to end, or for so long."""
        if self._process is not None:
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                return

    def _next(self) -> None:
        if not self._steps:
            self._process = None
            return
        command = [program(), *self._steps[0].arguments]
        with self._log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            self._offset = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(self._environment),
                pass_fds=() if self._lock is None else (self._lock,),
            )

    def _error(self, status: int) -> str:
        """What the command that has just ended said last."""
        with self._log.open("rb") as log:
            log.seek(self._offset)
            lines = [
                line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()
            ]
        told = [line for line in lines if line.startswith("error: ")]
        if told:
            return told[-1].removeprefix("error: ")
        ended = f"ended with exit status {status}"
        if status < 0:
            ended = f"was killed by {signal.Signals(-status).name}"
        return f"{ended}: {lines[-1]}" if lines else ended


def newest_epoch(folder: Path) -> str:
    """Stage and epoch that a run's folder was last written for, such as "tas, epoch 12"; "" if there is none."""
    journals = [(path.stat().st_mtime, path) for path in folder.glob("*/journal.jsonl")]
    if not journals:
        return ""
    _, path = max(journals)
    num_epochs = len(path.read_bytes().splitlines())
    return f"{path.parent.name}, epoch {num_epochs}"
