"""The rows of an experiment: what its runs have left on disk so far, scored."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sync_eval.checks import read_checks
from sync_eval.config import EvaluateConfig, Protocol
from sync_eval.runs import Group, Origin, Row, make_group, named_features, score_groups
from sync_eval.scoring import Truth, read_truth
from sync_experiments.expansion import PlannedRow, plan_experiment
from sync_experiments.experiment import Experiment
from sync_store.datasets import open_dataset
from sync_store.labels import first_seen
from sync_store.predictions import MANIFEST, open_predictions
from sync_store.project import Project

State = Literal["done", "not run", "lacks"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row of an experiment."""

    planned: PlannedRow
    seeds: tuple[int, ...] = ()
    """Ascending; those that are done."""
    values: Mapping[str, tuple[float, ...]]
    """For each metric a number for each seed, in per cent."""
    origin: Origin | None = None
    """Where the numbers come from; None where there are none."""
    scored: Row | None = None
    """The prediction sets, where they are what was scored."""

    @property
    def state(self) -> State:
        """Whether there are numbers, and if not, whether something must be made before the run."""
        if self.seeds:
            return "done"
        return "not run" if self.planned.lacks is None else "lacks"

    def mean(self, metric: str) -> float | None:
        """Mean over seeds; None where nothing is done."""
        return statistics.fmean(self.values[metric]) if self.seeds else None

    def deviation(self, metric: str) -> float | None:
        """Sample standard deviation over seeds (n - 1); None for fewer than two."""
        return statistics.stdev(self.values[metric]) if len(self.seeds) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An experiment and the results of all its rows, in order."""

    experiment: Experiment
    results: tuple[Result, ...]
    protocol: Protocol
    command: str
    """What runs it."""
    of_paper_dataset: bool
    """Whether the paper's figures were measured on the project's dataset."""
    notes: tuple[str, ...] = ()
    """What isn't scored, and why."""


def evaluate_experiment(
    experiment: Experiment, project: Project, config: EvaluateConfig, runs: Path | None = None
) -> Evaluation:
    """Score what is there of an experiment's runs.

    Args:
        experiment: Whose rows.
        project: Its labels and splits.
        config: How predictions are scored.
        runs: Folder of the runs; by default the project's of experiments.

    Raises:
        SyncError: If the project can't be planned for, or results are damaged or were made with different settings.
    """
    planned = plan_experiment(experiment, project)
    command = _command(experiment, runs)
    runs = runs or project.experiments_path
    notes: list[str] = []
    if experiment.measure == "segmentation":
        groups = [_find_group(row, runs) for row in planned]
        truths = _read_truths([group for group in groups if group is not None], project, config)
        results = [
            _score(row, group, truths, experiment.metrics, config.protocol)
            for row, group in zip(planned, groups, strict=True)
        ]
        notes = [note for _, truth in sorted(truths.items()) for note in truth.notes]
    else:
        results = [_read_checks(row, experiment, runs, command) for row in planned]
    return Evaluation(
        experiment=experiment,
        results=tuple(results),
        protocol=config.protocol,
        command=command,
        of_paper_dataset=_same_dataset(experiment.dataset, project.dataset.kind),
        notes=tuple(notes),
    )


def _command(experiment: Experiment, runs: Path | None) -> str:
    return f"sync-train experiment {experiment.source}" + (f" --runs {runs}" if runs else "")


def _seed_folders(run: Path) -> list[Path]:
    return sorted(run.glob("seed-*"))


def _find_group(row: PlannedRow, runs_path: Path) -> Group | None:
    folders = [
        seed / "predictions" / row.method / row.view for seed in _seed_folders(runs_path / row.run.name)
    ]
    sets = [open_predictions(folder) for folder in folders if row.view and (folder / MANIFEST).is_file()]
    return make_group(row.run.name, sets) if sets else None


def _read_truths(groups: Sequence[Group], project: Project, config: EvaluateConfig) -> dict[str, Truth]:
    if not groups:
        return {}
    dataset = open_dataset(project)
    splits = {group.info.split for group in groups}
    return {split: read_truth(dataset, split, config.unsegmented) for split in splits}


def _score(
    row: PlannedRow,
    group: Group | None,
    truths: Mapping[str, Truth],
    metrics: Sequence[str],
    protocol: Protocol,
) -> Result:
    if group is None:
        return Result(planned=row, values={})
    (scored,) = score_groups([group], truths, protocol)
    values = {metric: tuple(getattr(scores, metric) for scores in scored.scores) for metric in metrics}
    return Result(planned=row, seeds=group.seeds, values=values, origin=group.origin, scored=scored)


def _read_checks(row: PlannedRow, experiment: Experiment, runs_path: Path, again: str) -> Result:
    files = [
        seed / "checks" / experiment.measure / f"{row.method}.json"
        for seed in _seed_folders(runs_path / row.run.name)
    ]
    there = [file for file in files if file.is_file()]
    checks = read_checks(there, experiment.metrics, again)
    if not checks:
        return Result(planned=row, values={})
    options = row.run.options
    return Result(
        planned=row,
        seeds=tuple(check.seed for check in checks),
        values={metric: tuple(check.metrics[metric] for check in checks) for metric in experiment.metrics},
        origin=Origin(
            features=named_features(options["feature_set"], options["ego_feature_set"]),
            # guessing reads no features
            trained_on=()
            if row.method == "random"
            else first_seen(words for check in checks for words in check.trained_on),
            selected_on_test=False,
        ),
    )


def _same_dataset(named: str, kind: str) -> bool:
    """Whether "Assembly101, v3 → e4" is of a project's kind of dataset."""
    words = "".join(sign for sign in named.lower() if sign.isalnum())
    return kind in ("assembly101", "egoexo4d") and words.startswith(kind)
