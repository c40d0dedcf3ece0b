"""`sync-train experiment`: the paper's tables, run to their end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from sync_store.config import suggest
from sync_store.console import EXIT_FAILURE, EXIT_SOME_FAILED, given, json_option, print_json, project_option
from sync_store.errors import ProjectError, SyncError
from sync_store.lock import alone_in
from sync_store.project import Project, load_project
from sync_store.slurm_options import NEEDS_SLURM, SLURM_OPTIONS, all_of, with_cluster_options
from sync_train.experiments.config import ClusterConfig, Kind
from sync_train.request import Request, read_config, refuse_before

if TYPE_CHECKING:
    from sync_train.experiments.job import Commands, Job

ALL = "all"

TAKEN_BEFORE = ("project_path", "seeds", "device", "skip_missing", "settings", "runs", "quiet", "as_json")
"""Options of `sync-train` that may be typed before; rows say the others."""

BUSY = "another sync-train experiment is at work there; wait for it, or choose another folder with --runs"


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """What is asked for."""

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: int | None
    cluster: ClusterConfig
    device: str
    settings: tuple[str, ...]
    runs: Path
    skip_missing: bool
    quiet: bool
    as_json: bool

    def commands(self, project: Project) -> "Commands":
        """What all jobs share."""
        from sync_train.experiments.job import Commands

        return Commands(
            project=project.file, runs=self.runs, settings=self.settings, skip_missing=self.skip_missing
        )


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@project_option
@click.option("--seeds", "num_seeds", type=click.IntRange(min=1), help="How many seeds, from 0 on.")
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(min=0),
    help="Seed; repeat for several [default: 0].",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Runs at a time [default: one a GPU, else one a processor].",
)
@click.option(
    "--cluster",
    "cluster_kind",
    type=click.Choice(get_args(Kind)),
    help="By Slurm's jobs, one a run, or by processes of this machine [default: local].",
)
@all_of(SLURM_OPTIONS)
@click.option("--dry-run", is_flag=True, help="List what is done, at work, to do, and what is lacking.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting below [train], for every run."
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of these runs [default: [experiments] path].",
)
@click.option("--device", help="auto, cpu, cuda, cuda:1 … [default: auto].")
@click.option("--skip-missing", is_flag=True, help="Leave training recordings without features out.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
@click.pass_context
def experiment(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    project_path: Path | None,
    num_seeds: int | None,
    seeds: tuple[int, ...],
    jobs: int | None,
    dry_run: bool,
    settings: tuple[str, ...],
    runs: Path | None,
    device: str | None,
    skip_missing: bool,
    quiet: bool,
    as_json: bool,
    **cluster: Any,
) -> None:
    """Run tables of the paper: table1, supp-table2 …, all, or a TOML file of your own.

    Runs that several tables need are made once. What is finished isn't done again, and a run that fails doesn't
    stop the others: it is reported at the end. The same command goes on after an interruption.
    """
    before: Request = ctx.obj
    fit = {
        name: value for name, value in before.overrides.items() if name in ("seeds", "device", "skip_missing")
    }
    if before.overwrite:
        raise click.UsageError(
            "--overwrite doesn't go with experiment. Delete the folders of runs that are to be made anew, or give "
            "another folder of runs with --runs."
        )
    refuse_before(ctx, but=TAKEN_BEFORE)
    if num_seeds is not None and seeds:
        raise click.UsageError("--seeds and --seed both say which seeds; give one of them.")
    project = load_project(project_path or before.project_path)
    all_settings = (*before.settings, *settings)
    config = read_config(project, fit, all_settings)
    try:
        of_cluster = with_cluster_options(config.cluster, given(ctx, **cluster), NEEDS_SLURM)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    if of_cluster.kind == "slurm" and jobs is not None:
        raise click.UsageError("--jobs is for processes of this machine; of Slurm's jobs --throttle says it.")
    sitting = Sitting(
        names=_names(names),
        seeds=tuple(range(num_seeds))
        if num_seeds is not None
        else tuple(dict.fromkeys(seeds)) or config.seeds,
        jobs=jobs,
        cluster=of_cluster,
        device=device or config.device,
        settings=all_settings,
        runs=(runs or before.runs or project.experiments_path).absolute(),
        skip_missing=skip_missing or bool(fit.get("skip_missing")),
        quiet=quiet or before.quiet,
        as_json=as_json or before.as_json,
    )
    work = _list if dry_run else _hand_in if of_cluster.kind == "slurm" else _run
    ctx.exit(work(sitting, project))


def _names(names: Sequence[str]) -> tuple[str, ...]:
    """Names once each, `all` spelt out."""
    from sync_experiments.experiment import list_experiments

    known = list_experiments()
    for name in names:
        if name not in (*known, ALL) and not name.endswith(".toml"):
            raise ProjectError(f"there is no experiment {name!r}{suggest(name, [*known, ALL])}")
    return tuple(dict.fromkeys(each for name in names for each in (known if name == ALL else (name,))))


def _list(sitting: Sitting, project: Project) -> int:
    from sync_train.experiments.handed_in import HandedIn
    from sync_train.experiments.plan import make_plan
    from sync_train.experiments.report import job_states, lacking, print_plan

    plan = make_plan(sitting.names, sitting.seeds, project, sitting.commands(project))
    states, lacks = job_states(plan.jobs, plan.finished, HandedIn(sitting.runs)), lacking(plan.rows)
    if sitting.as_json:
        jobs = [state.as_json() for state in states]
        print_json({"runs": str(sitting.runs), "jobs": jobs, "lacking": lacks})
    else:
        print_plan(states, lacks)
    return 0


def _hand_in(sitting: Sitting, project: Project) -> int:
    from sync_train.experiments.handed_in import HandedIn
    from sync_train.experiments.plan import make_plan
    from sync_train.experiments.report import job_states, lacking, print_handed_in
    from sync_train.experiments.submit import submit_to_slurm

    commands = sitting.commands(project)
    plan = make_plan(sitting.names, sitting.seeds, project, commands)
    with alone_in(sitting.runs, BUSY):
        before = job_states(plan.jobs, plan.finished, HandedIn(sitting.runs))
        left = [each.job for each in before if each.state != "done" and not each.is_in_queue]
        in_queue = {each.job.name: each.record.number for each in before if each.is_in_queue and each.record}
        if left:
            submit_to_slurm(left, commands, sitting.device, sitting.cluster, in_queue)
    lacks = lacking(plan.rows)
    if sitting.as_json:
        states = job_states(plan.jobs, plan.finished, HandedIn(sitting.runs))
        jobs = [state.as_json() for state in states]
        print_json({"runs": str(sitting.runs), "jobs": jobs, "lacking": lacks})
    else:
        print_handed_in(before, len(left), lacks, sitting.runs)
    if not plan.jobs:
        return EXIT_FAILURE
    return EXIT_SOME_FAILED if lacks else 0


def _run(sitting: Sitting, project: Project) -> int:
    from sync_train.experiments.plan import make_plan
    from sync_train.experiments.report import lacking, outcome_table, print_summary
    from sync_train.experiments.scheduler import Scheduler
    from sync_train.experiments.slots import choose_slots
    from sync_train.experiments.view import show_jobs

    commands = sitting.commands(project)
    plan = make_plan(sitting.names, sitting.seeds, project, commands)
    slots = choose_slots(sitting.jobs, sitting.device)
    quiet = sitting.quiet or sitting.as_json
    with (
        alone_in(sitting.runs, BUSY) as lock,
        show_jobs(plan.jobs, sitting.runs, len(slots.devices), quiet=quiet) as watcher,
    ):
        _take_from_slurm(plan.jobs, sitting.runs)
        outcomes = Scheduler(plan.jobs, commands, plan.finished, slots, watcher, lock).run()
    lacks = lacking(plan.rows)
    if sitting.as_json:
        table = outcome_table(outcomes, sitting.runs)
        print_json({"runs": str(sitting.runs), "jobs": table, "lacking": lacks})
    else:
        place = "" if sitting.runs == project.experiments_path.absolute() else f" --runs {sitting.runs}"
        print_summary(outcomes, lacks, sitting.runs, f"sync-eval table {sitting.names[0]}{place}")
    if not any(outcome.made for outcome in outcomes):
        return EXIT_FAILURE
    all_done = all(outcome.state in ("done", "done before") for outcome in outcomes)
    return 0 if all_done and not lacks else EXIT_SOME_FAILED


def _take_from_slurm(jobs: Sequence["Job"], runs: Path) -> None:
    """Forget what Slurm did with jobs before they are run here.

    Raises:
        SyncError: If it has one of them.
    """
    from sync_train.experiments.handed_in import HandedIn

    handed_in = HandedIn(runs)
    for job in jobs:
        found = handed_in.look(job)
        if found is not None and found[0] != "failed":
            number = found[1].number
            raise SyncError(
                f"{runs}: {job.title}, is Slurm's job {number}. Wait for it, or cancel it and others of the array "
                f"with: scancel {number.partition('_')[0]}"
            )
        handed_in.forget(job)
