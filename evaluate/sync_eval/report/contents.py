"""What a report is about: the runs below some folders, or the rows of experiments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sync_eval import experiment_tables, tables
from sync_eval.config import EvaluateConfig, Protocol
from sync_eval.experiments import evaluate_experiment
from sync_eval.plots import names_of
from sync_eval.runs import Group, Row, find_groups, score_groups
from sync_eval.scoring import Truth, read_truth
from sync_eval.table_forms import Layout
from sync_experiments.expansion import PlannedRow
from sync_experiments.experiment import read_experiment
from sync_store.datasets import Dataset, open_dataset
from sync_store.errors import DatasetError, ProjectError
from sync_store.labels import first_seen
from sync_store.project import Project


@dataclass(frozen=True, kw_only=True)
class Contents:
    """Tables, and the scored rows that the rest of the page is made from."""

    title: str
    layouts: tuple[Layout, ...]
    rows: tuple[Row, ...]
    names: tuple[str, ...]
    """Of each row, all different."""
    truths: Mapping[str, Truth]
    """Labels by split."""
    dataset: Dataset
    protocol: Protocol

    @property
    def notes(self) -> tuple[str, ...]:
        """What isn't scored, and why."""
        return first_seen(note for _, truth in sorted(self.truths.items()) for note in truth.notes)

    @property
    def groups(self) -> list[Group]:
        """Prediction sets of the rows."""
        return [row.group for row in self.rows]

    @property
    def recordings(self) -> tuple[str, ...]:
        """All of the splits that were tested on, in the splits' order."""
        splits = first_seen(row.group.info.split for row in self.rows)
        return first_seen(name for split in splits for name in self.truths[split].recordings)


def contents_of_runs(folders: Sequence[Path], project: Project, config: EvaluateConfig) -> Contents:
    """The finished runs below folders.

    Raises:
        DatasetError: If there are none, or labels or predictions can't be read.
    """
    groups = find_groups(folders)
    dataset = open_dataset(project)
    truths = _read_truths(groups, dataset, config)
    rows = tuple(score_groups(groups, truths, config.protocol))
    return Contents(
        title=project.folder.name,
        layouts=(tables.lay_out(rows, config.protocol),),
        rows=rows,
        names=tuple(names_of(groups)),
        truths=truths,
        dataset=dataset,
        protocol=config.protocol,
    )


def contents_of_experiments(
    names: Sequence[str | Path], project: Project, config: EvaluateConfig, runs: Path | None = None
) -> Contents:
    """What is there of experiments. A row that stands in several tables is shown once below them.

    Args:
        names: Of the experiments, or their files.
        project: Its labels and splits.
        config: How predictions are scored.
        runs: Folder of the runs; by default the project's of experiments.

    Raises:
        SyncError: As `evaluate_experiment`, and if no experiment is of segmentations, or no row has predictions yet.
    """
    experiments = [read_experiment(name) for name in names]
    segmenting = [each for each in experiments if each.measure == "segmentation"]
    if not segmenting:
        sources = [each.source for each in experiments]
        raise ProjectError(
            f"{', '.join(sources)}: numbers only, and no segmentations to show. Print them with: sync-eval table "
            f"{' '.join(sources)}"
        )
    evaluations = [evaluate_experiment(each, project, config, runs) for each in experiments]
    named_rows = {
        result.scored.group.sets[0].folder: (_name(result.planned), result.scored)
        for each in evaluations
        for result in each.results
        if result.scored is not None
    }
    if not named_rows:
        command = next(each.command for each in evaluations if each.experiment in segmenting)
        raise DatasetError(
            f"{runs or project.experiments_path}: no row of {', '.join(each.source for each in segmenting)} has "
            f"predictions yet, so there is nothing to show. Run them with: {command}"
        )
    labels, rows = zip(*named_rows.values(), strict=True)
    groups = [row.group for row in rows]
    dataset = open_dataset(project)
    return Contents(
        title=f"{project.folder.name}: {', '.join(map(str, names))}",
        layouts=tuple(experiment_tables.lay_out(each) for each in evaluations),
        rows=rows,
        names=labels if len(set(labels)) == len(labels) else tuple(names_of(groups)),
        truths=_read_truths(groups, dataset, config),
        dataset=dataset,
        protocol=config.protocol,
    )


def _name(planned: PlannedRow) -> str:
    """The row's label, with the block of the table that it stands in."""
    return ", ".join(filter(None, (planned.row.group, planned.row.label)))


def _read_truths(groups: Sequence[Group], dataset: Dataset, config: EvaluateConfig) -> dict[str, Truth]:
    splits = sorted({group.info.split for group in groups})
    return {split: read_truth(dataset, split, config.unsegmented) for split in splits}
