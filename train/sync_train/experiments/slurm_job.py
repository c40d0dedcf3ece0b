"""What one of Slurm's jobs does: a run of a seed, by the same commands as on one machine."""

import signal
import time
from dataclasses import dataclass
from typing import Any

from sync_store.console import set_up_logging
from sync_store.errors import SyncError
from sync_store.project import load_project
from sync_train.experiments.finished import Finished
from sync_train.experiments.handed_in import HandedIn, Record
from sync_train.experiments.job import Commands, Job
from sync_train.experiments.notice import POLL_SECONDS, Notice
from sync_train.experiments.process import Process
from sync_train.experiments.scheduler import GRACE_SECONDS
from sync_train.experiments.slots import choose_slots


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """A job's work, which is sent to it pickled.

    When the job is requeued it begins anew: its commands know what is done, and go on from their last checkpoint.
    """

    job: Job
    commands: Commands
    device: str
    """As `sync-train --device`; "auto" is decided where the job runs."""

    def __call__(self) -> None:
        """Carry it out.

        Raises:
            SyncError: If a command failed; it is recorded, as is whatever else ends the job.
        """
        import submitit

        set_up_logging()
        environment = submitit.JobEnvironment()
        handed_in = HandedIn(self.commands.runs)
        number, log = environment.job_id, str(environment.paths.stderr)
        handed_in.write(self.job, Record(number=number, log=log))
        try:
            errors = self._carry_out(Notice(signal.Signals[f"SIG{environment.USR_SIG}"]))
        except Exception as error:
            reason = str(error) or type(error).__name__
            handed_in.write(self.job, Record(number=number, log=log, error=reason))
            raise
        if errors:
            log = str(self.job.log(self.commands.runs))
            handed_in.write(self.job, Record(number=number, log=log, error=errors))
            raise SyncError(errors)
        handed_in.forget(self.job)

    def checkpoint(self) -> Any:
        """What Slurm is to requeue, for submitit: the same again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)

    def _carry_out(self, notice: Notice) -> str:
        """Run the commands that are left; returns what failed."""
        finished = Finished(load_project(self.commands.project), self.commands)
        if finished.is_done(self.job):
            return ""
        if not self.job.has_teacher(self.commands.runs):
            raise SyncError(self.job.without_teacher)
        slots = choose_slots(1, self.device)
        with notice.kept_from_commands():
            process = Process(self.job, self.commands, slots.devices[0], slots.environment)
        is_over = False
        while not is_over:
            with notice.kept_from_commands():
                is_over = process.is_over()
            time.sleep(POLL_SECONDS)  # a signal that ended a command has reached this process, too, by then
            if notice.is_given:
                if notice.reaches_commands:
                    process.wait(GRACE_SECONDS)
                process.terminate()
                process.wait()
                notice.obey()
        finished.mark(self.job, process.made)
        return "; ".join(process.errors)
