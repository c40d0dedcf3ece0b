"""A job: one run of one seed, and the commands that do it."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sync_experiments.expansion import PlannedRun
from sync_experiments.naming import as_setting

TEACHER_RESULT = "teacher/result.json"
"""Written last when a teacher is trained (`sync_train.stage`, which needs torch and seconds to import)."""

LOGS = "logs"
"""Folder of the jobs' output, among the runs."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of one seed."""

    run: PlannedRun
    seed: int

    @property
    def name(self) -> str:
        """Of its log file, too."""
        return f"{self.run.name}.seed-{self.seed}"

    @property
    def title(self) -> str:
        """For a person."""
        return f"{self.run.name}, seed {self.seed}"

    @property
    def results(self) -> tuple[str, ...]:
        """All that it makes: methods, and checks as `recognition/<method>`."""
        return (*self.run.methods, *self.run.checks)

    def folder(self, runs: Path) -> Path:
        """Where `sync-train` leaves it."""
        return runs / self.run.name / f"seed-{self.seed}"

    def log(self, runs: Path) -> Path:
        """Where its output goes."""
        return runs / LOGS / f"{self.name}.log"

    @property
    def teacher_job(self) -> str | None:
        """Name of the job that makes the teacher which it takes; None if it makes its own."""
        return None if self.run.teacher_run is None else f"{self.run.teacher_run}.seed-{self.seed}"

    @property
    def without_teacher(self) -> str:
        """Why it can't be done once that job is over and there is no teacher."""
        return f"the run that makes its teacher failed: {self.run.teacher_run}"

    def has_teacher(self, runs: Path) -> bool:
        """Whether the teacher that it takes from another run is trained; true if it takes none."""
        other = self.run.teacher_run
        return other is None or (runs / other / f"seed-{self.seed}" / TEACHER_RESULT).exists()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of a job."""

    results: tuple[str, ...]
    """What it makes."""
    arguments: tuple[str, ...]
    """Of `sync-train`."""


@dataclass(frozen=True, kw_only=True)
class Commands:
    """What all commands of a sitting share."""

    project: Path
    """Its sync.toml."""
    runs: Path
    settings: tuple[str, ...] = ()
    """`KEY=VALUE` for every run, under those of its own."""
    skip_missing: bool = False

    def steps(self, job: Job, device: str) -> list[Step]:
        """All commands of a job: methods first, since checks may need a trained adapter, then a kind of check each."""
        by_kind: dict[str, list[str]] = {}
        for result in job.results:
            by_kind.setdefault(_kind(result), []).append(result)
        return [self.step(job, results, device) for results in by_kind.values()]

    def step(self, job: Job, results: Sequence[str], device: str) -> Step:
        """The command that makes some methods, or some checks of one kind."""
        kind = _kind(results[0])
        methods = [word for result in results for word in ("--method", result.rpartition("/")[2])]
        options = self._options_of_check(job) if kind else self._options_of_training(job)
        arguments = [*([kind] if kind else []), *self._common(job, device), *options, *methods, "--quiet"]
        return Step(results=tuple(results), arguments=tuple(arguments))

    def _options_of_training(self, job: Job) -> list[str]:
        options = _options({**job.run.options, "teacher_run": _teacher_run(job)})
        return [*options, *(["--skip-missing"] if self.skip_missing else [])]

    def _options_of_check(self, job: Job) -> list[str]:
        """Checks have no options for what only training varies."""
        views = {key: value for key, value in job.run.options.items() if key != "direction"}
        others = {"direction": job.run.options["direction"], "teacher_run": _teacher_run(job)}
        settings = [word for key, value in others.items() for word in ("--set", as_setting(key, value))]
        return [*settings, *_options(views), *(["--skip-missing"] if self.skip_missing else [])]

    def _common(self, job: Job, device: str) -> list[str]:
        settings = [word for setting in (*self.settings, *job.run.settings) for word in ("--set", setting)]
        place = {
            "project": self.project,
            "runs": self.runs,
            "run": job.run.name,
            "seed": job.seed,
            "device": device,
        }
        return [*_options(place), *settings]


def make_jobs(runs: Iterable[PlannedRun], seeds: Iterable[int]) -> list[Job]:
    """Every run of every seed, a seed after the other, so that whole tables are there early."""
    runs = tuple(runs)
    return [Job(run=run, seed=seed) for seed in seeds for run in runs]


def program() -> str:
    """The `sync-train` that was installed with this interpreter."""
    return str(Path(sys.executable).with_name("sync-train"))


def _kind(result: str) -> str:
    """`recognition` of `recognition/feature`; "" of a method."""
    return result.rpartition("/")[0]


def _teacher_run(job: Job) -> str:
    """The run that has the teacher, by name also where it's this one: sync.toml may say another."""
    return job.run.teacher_run or job.run.name


def _options(values: Mapping[str, object]) -> list[str]:
    return [word for key, value in values.items() for word in (f"--{key.replace('_', '-')}", str(value))]
