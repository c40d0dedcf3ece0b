"""Who is best in an experiment, among our numbers and among the paper's, and by how much."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sync_eval.experiments import Evaluation
from sync_eval.ranking import Entry, above_no_adaptation, above_second_best, rank
from sync_experiments.experiment import Improvement, Row
from sync_store.labels import first_seen

_DIFFERENCES: Mapping[Improvement, Callable[[Sequence[Entry], Sequence[float | None], str], float | None]] = {
    "no-adaptation": above_no_adaptation,
    "second-best": above_second_best,
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One metric, a value for each row of the experiment in order."""

    metric: str
    values: tuple[float | None, ...]
    """Per cent; means over seeds, where they are ours."""
    ranks: tuple[int | None, ...]
    """See `sync_eval.ranking.rank`."""


@dataclass(frozen=True, kw_only=True)
class Above:
    """By how much the best of a group is above another row, metric by metric."""

    group: str
    kind: Improvement
    """What it is compared with."""
    ours: tuple[float | None, ...]
    """For each column of `Standings.ours`."""
    paper: tuple[float | None, ...]
    """For each column of `Standings.paper`."""


@dataclass(frozen=True, kw_only=True)
class Standings:
    """The numbers of an experiment and how they stand to one another."""

    ours: tuple[Column, ...]
    paper: tuple[Column, ...]
    """Metrics that the paper has any figure of."""
    improvements: tuple[Above, ...]
    """Those that the experiment asks for, of each group with rows to compare."""


def find_standings(evaluation: Evaluation) -> Standings:
    """Rank the rows of an experiment within their groups."""
    rows = [result.planned.row for result in evaluation.results]
    metrics = evaluation.experiment.metrics
    entries = [Entry(group=row.group, ranked=row.ranked, unadapted=_is_unadapted(row)) for row in rows]
    ours = [
        _column(metric, entries, [result.mean(metric) for result in evaluation.results]) for metric in metrics
    ]
    paper = [
        _column(metric, entries, [row.paper.get(metric) for row in rows])
        for metric in metrics
        if any(metric in row.paper for row in rows)
    ]
    improvements = [
        Above(
            group=group,
            kind=kind,
            ours=tuple(_DIFFERENCES[kind](entries, column.values, group) for column in ours),
            paper=tuple(_DIFFERENCES[kind](entries, column.values, group) for column in paper),
        )
        for group in first_seen(entry.group for entry in entries)
        for kind in evaluation.experiment.improvements
        if _can_improve([entry for entry in entries if entry.group == group], kind)
    ]
    return Standings(ours=tuple(ours), paper=tuple(paper), improvements=tuple(improvements))


def _column(metric: str, entries: Sequence[Entry], values: Sequence[float | None]) -> Column:
    return Column(metric=metric, values=tuple(values), ranks=tuple(rank(entries, values)))


def _can_improve(group: Sequence[Entry], kind: Improvement) -> bool:
    """Whether a group has rows to compare. One of oracles alone has no "no adaptation"."""
    if kind == "no-adaptation":
        adapted = any(entry.ranked and not entry.unadapted for entry in group)
        return adapted and any(entry.unadapted for entry in group)
    return sum(entry.ranked for entry in group) > 1


def _is_unadapted(row: Row) -> bool:
    """Whether a row is its group's "no adaptation"; other features for the ego view are an adaptation themselves."""
    return row.method == "no-adaptation" and row.ego_features is None
