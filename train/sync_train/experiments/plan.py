"""What a sitting comes to: the rows of each experiment, and the jobs that make them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sync_experiments.expansion import PlannedRow, merge_runs, plan_experiment
from sync_experiments.experiment import CHOSEN_ELSEWHERE, read_experiment
from sync_experiments.naming import as_setting, flatten, setting_key
from sync_store.errors import ProjectError
from sync_store.project import Project
from sync_train.experiments.finished import Finished
from sync_train.experiments.job import Commands, Job, make_jobs
from sync_train.request import read_config

FROM_COMMAND_LINE = ("seeds", "device")
"""Of `CHOSEN_ELSEWHERE`, what rows don't say."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """See the module."""

    rows: Mapping[str, tuple[PlannedRow, ...]]
    """By experiment."""
    jobs: Sequence[Job]
    finished: Finished


def make_plan(names: Sequence[str], seeds: Iterable[int], project: Project, commands: Commands) -> Plan:
    """Plan experiments.

    Args:
        names: Of experiments, or their files.
        seeds: Of every run.
        project: Where they are run.
        commands: What all jobs share.

    Raises:
        ProjectError: If an experiment can't be read, a row has a setting that can't be, or `--set` contradicts one.
        SyncError: If the project's store or sync.toml can't be read.
    """
    sources = {name: Path(name) if name.endswith(".toml") else name for name in names}
    planned = {name: plan_experiment(read_experiment(source), project) for name, source in sources.items()}
    for name, rows in planned.items():
        _check_settings(name, rows, project, commands.settings)
    jobs = make_jobs(merge_runs(row for rows in planned.values() for row in rows), seeds)
    return Plan(rows=planned, jobs=jobs, finished=Finished(project, commands))


def _check_settings(name: str, rows: Sequence[PlannedRow], project: Project, settings: Sequence[str]) -> None:
    """Find out before the first job what can't be: settings of rows that are unknown, or that `--set` contradicts."""
    given = {setting_key(setting) for setting in settings}
    if chosen := sorted(given & {*CHOSEN_ELSEWHERE} - {*FROM_COMMAND_LINE}):
        raise ProjectError(f"--set {chosen[0]}: rows of an experiment say it")
    for planned in rows:
        where = f"{name}, row {planned.row.label!r}"
        of_row = flatten(planned.row.train)
        said = {*of_row, *map(setting_key, planned.run.settings)}
        if both := sorted(key for key in given if any(_is_within(key, other) for other in said)):
            raise ProjectError(f"--set {both[0]}: {where} says it; --set is for what all rows share")
        try:
            read_config(project, {}, (*settings, *(as_setting(key, value) for key, value in of_row.items())))
        except ProjectError as error:
            raise ProjectError(f"{where}: {error}") from None


def _is_within(key: str, other: str) -> bool:
    """Whether one of two dotted keys is the other or lies below it."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")
