"""Runs jobs side by side. One that fails costs those that need its teacher, and nothing else."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sync_train.experiments.finished import Finished
from sync_train.experiments.job import Commands, Job
from sync_train.experiments.process import Process
from sync_train.experiments.slots import Slots

POLL_SECONDS = 0.1

GRACE_SECONDS = 1.0
"""A terminal's Ctrl-C reaches the jobs, too; after this time those that are left are told to end."""

State = Literal["done before", "done", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended."""

    job: Job
    state: State
    seconds: float = 0.0
    made: tuple[str, ...] = ()
    """Results that are there now; of a job that failed, those that could be made."""
    error: str = ""
    """What failed, or why it was skipped."""


class Watcher(Protocol):
    """Who wants to know how far all jobs are."""

    def ended(self, outcome: Outcome) -> None:
        """A job is over."""

    def looked(self, running: Sequence[Process]) -> None:
        """These are at work at this moment."""


class Scheduler:
    """See the module."""

    def __init__(
        self,
        jobs: Sequence[Job],
        commands: Commands,
        finished: Finished,
        slots: Slots,
        watcher: Watcher,
        lock: int,
    ) -> None:
        """Set up.

        Args:
            jobs: What to do, in this order as far as possible. Those that make the teachers of others are among
                them, as `merge_runs` has it.
            commands: What they share.
            finished: Knows which are done.
            slots: How many at a time, and where.
            watcher: Told what happens.
            lock: See `Process`.
        """
        self._jobs = jobs
        self._commands = commands
        self._finished = finished
        self._slots = slots
        self._watcher = watcher
        self._lock = lock
        self._outcomes: dict[str, Outcome] = {}
        self._running: dict[int, Process] = {}
        """By number of the slot."""

    def run(self) -> list[Outcome]:
        """Do all jobs that can be done.

        Returns:
            How each ended, in their order.
        """
        waiting = []
        for job in self._jobs:
            if self._finished.is_done(job):
                self._end(Outcome(job=job, state="done before", made=job.results))
            else:
                waiting.append(job)
        try:
            while waiting or self._running:
                self._collect()
                waiting = self._start(waiting)
                self._watcher.looked(tuple(self._running.values()))
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._stop()
            raise
        return [self._outcomes[job.name] for job in self._jobs]

    def _collect(self) -> None:
        for slot, process in list(self._running.items()):
            if not process.is_over():
                continue
            del self._running[slot]
            self._finished.mark(process.job, process.made)
            self._end(
                Outcome(
                    job=process.job,
                    state="failed" if process.errors else "done",
                    seconds=process.seconds,
                    made=tuple(process.made),
                    error="; ".join(process.errors),
                )
            )

    def _start(self, waiting: list[Job]) -> list[Job]:
        """Start what can be started; what is left has to wait."""
        left = []
        for job in waiting:
            free = [slot for slot in range(len(self._slots.devices)) if slot not in self._running]
            state = self._readiness(job)
            if state == "hopeless":
                self._end(Outcome(job=job, state="skipped", error=job.without_teacher))
            elif state == "ready" and free:
                device = self._slots.devices[free[0]]
                environment = self._slots.environment
                self._running[free[0]] = Process(job, self._commands, device, environment, self._lock)
            else:
                left.append(job)
        return left

    def _readiness(self, job: Job) -> Literal["ready", "waits", "hopeless"]:
        if job.has_teacher(self._commands.runs):
            return "ready"
        return "hopeless" if job.teacher_job in self._outcomes else "waits"

    def _end(self, outcome: Outcome) -> None:
        self._outcomes[outcome.job.name] = outcome
        self._watcher.ended(outcome)

    def _stop(self) -> None:
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self._running.values():
            process.wait(max(0.0, deadline - time.monotonic()))
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.wait()
