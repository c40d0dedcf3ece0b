"""What a sitting of experiments is to do and what came of it, for a person and as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from sync_experiments.expansion import PlannedRow
from sync_train.experiments.finished import Finished
from sync_train.experiments.job import Job
from sync_train.experiments.scheduler import Outcome
from sync_train.experiments.view import describe


def lacking(planned: Mapping[str, Sequence[PlannedRow]]) -> list[dict[str, str]]:
    """Rows that can't be made yet, with what they need, by experiment."""
    return [
        {"experiment": name, "row": _row_name(each), "lacks": each.lacks}
        for name, rows in planned.items()
        for each in rows
        if each.lacks is not None
    ]


def job_states(jobs: Sequence[Job], finished: Finished) -> list[dict[str, Any]]:
    """What a dry run lists."""
    states = []
    for job in jobs:
        state = "done" if finished.is_done(job) else "to go on" if finished.has_begun(job) else "to do"
        states.append({"run": job.run.name, "seed": job.seed, "state": state, "results": list(job.results)})
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


def print_plan(states: Sequence[Mapping[str, Any]], lacks: Sequence[Mapping[str, str]]) -> None:
    """A dry run, on stdout."""
    for each in states:
        click.echo(f"{each['state']:8}  {each['run']}, seed {each['seed']}: {', '.join(each['results'])}")
    for line in _lines_of_lacks(lacks):
        click.echo(line)


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
