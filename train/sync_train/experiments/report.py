"""What a sitting of experiments is to do and what came of it, for a person and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from sync_experiments.expansion import PlannedRow
from sync_train.experiments.finished import Finished
from sync_train.experiments.handed_in import HandedIn, Record
from sync_train.experiments.job import Job
from sync_train.experiments.scheduler import Outcome
from sync_train.experiments.view import describe


@dataclass(frozen=True, kw_only=True)
class JobState:
    """How a job stands before, or without, being run here."""

    job: Job
    state: Literal["done", "running", "waiting", "failed", "to go on", "to do"]
    """`running`, `waiting` and `failed` are those of Slurm's jobs."""
    record: Record | None = None
    """Of Slurm's job."""

    @property
    def is_in_queue(self) -> bool:
        """Whether Slurm will do it."""
        return self.state in ("running", "waiting")

    @property
    def line(self) -> str:
        """For a person."""
        results, record = ", ".join(self.job.results), self.record
        if record is None:
            told = results
        elif record.error:
            told = f"{record.error} (job {record.number}, log: {record.log})"
        else:
            told = f"{results} (job {record.number})"
        return f"{self.state:8}  {self.job.title}: {told}"

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        record = self.record or Record(number="", log="")
        return {
            "run": self.job.run.name,
            "seed": self.job.seed,
            "state": self.state,
            "results": list(self.job.results),
            "job": record.number,
            "log": record.log,
            "error": record.error,
        }


def lacking(planned: Mapping[str, Sequence[PlannedRow]]) -> list[dict[str, str]]:
    """Rows that can't be made yet, with what they need, by experiment."""
    return [
        {"experiment": name, "row": _row_name(each), "lacks": each.lacks}
        for name, rows in planned.items()
        for each in rows
        if each.lacks is not None
    ]


def job_states(jobs: Sequence[Job], finished: Finished, handed_in: HandedIn) -> list[JobState]:
    """How each job stands.

    Raises:
        SyncError: If a job's record can't be read, or Slurm doesn't answer.
    """
    states = []
    for job in jobs:
        if finished.is_done(job):
            states.append(JobState(job=job, state="done"))
        elif (found := handed_in.look(job)) is not None:
            state, record = found
            states.append(JobState(job=job, state=state, record=record))
        else:
            states.append(JobState(job=job, state="to go on" if finished.has_begun(job) else "to do"))
    return states


def outcome_table(outcomes: Sequence[Outcome], runs: Path) -> list[dict[str, Any]]:
    """How each job ended, as JSON values."""
    return [
        {
            "run": outcome.job.run.name,
            "seed": outcome.job.seed,
            "state": outcome.state,
            "results": list(outcome.job.results),
            "made": list(outcome.made),
            "seconds": round(outcome.seconds, 1),
            "error": outcome.error,
            "log": str(outcome.job.log(runs)),
        }
        for outcome in outcomes
    ]


def print_plan(states: Sequence[JobState], lacks: Sequence[Mapping[str, str]]) -> None:
    """A dry run, on stdout."""
    for each in states:
        click.echo(each.line)
    for line in _lines_of_lacks(lacks):
        click.echo(line)


def print_handed_in(
    before: Sequence[JobState], num_new: int, lacks: Sequence[Mapping[str, str]], runs: Path
) -> None:
    """What was handed to Slurm, on stderr, and how to look after it.

    Args:
        before: How the jobs stood.
        num_new: How many of them were handed in now.
        lacks: What rows lack.
        runs: Folder of the runs.
    """
    in_queue = sum(each.is_in_queue for each in before)
    done = sum(each.state == "done" for each in before)
    counts = f"{num_new} of {len(before)} jobs handed to Slurm ({in_queue} in its queue before, {done} done)"
    click.echo(f"{counts}: {runs}", err=True)
    for line in _lines_of_lacks(lacks):
        click.echo(line, err=True)
    click.echo("The same command with --dry-run shows how far they are", err=True)


def print_summary(
    outcomes: Sequence[Outcome], lacks: Sequence[Mapping[str, str]], runs: Path, score_with: str
) -> None:
    """What came of it, on stderr, and the command that scores it."""
    over = [outcome for outcome in outcomes if outcome.state.startswith("done")]
    before = sum(outcome.state == "done before" for outcome in outcomes)
    click.echo(f"{len(over)} of {len(outcomes)} jobs done ({before} before): {runs}", err=True)
    for outcome in outcomes:
        if outcome.state == "failed":
            click.echo(f"{describe(outcome)} (log: {outcome.job.log(runs)})", err=True)
        elif outcome.state == "skipped":
            click.echo(describe(outcome), err=True)
    if any(outcome.state == "failed" for outcome in outcomes):
        click.echo(
            "The same command tries again what failed. A run that was made from other settings or data stays as it "
            "is: give another folder with --runs, or delete the run's",
            err=True,
        )
    for line in _lines_of_lacks(lacks):
        click.echo(line, err=True)
    if over:
        click.echo(f"Score with: {score_with}", err=True)


def _lines_of_lacks(lacks: Sequence[Mapping[str, str]]) -> list[str]:
    """One line for each thing that is lacking, with all rows that need it."""
    rows: dict[str, list[str]] = {}
    for each in lacks:
        rows.setdefault(each["lacks"], []).append(f"{each['experiment']} {each['row']}")
    return [f"not there   {'; '.join(names)}: {lack}" for lack, names in rows.items()]


def _row_name(planned: PlannedRow) -> str:
    row = planned.row
    return f"{row.group}, {row.label}" if row.group else row.label
