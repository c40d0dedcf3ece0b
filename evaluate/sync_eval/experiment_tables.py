"""Tables of experiments for readers: ours and the paper's figures side by side, the best marked."""

from collections.abc import Sequence

from sync_eval.experiments import Evaluation, Result
from sync_eval.standings import Above, Standings, find_standings
from sync_eval.table_forms import Layout, Mark, Span
from sync_eval.tables import COLUMNS, dagger_notes, daggers_of
from sync_experiments.experiment import Improvement
from sync_store.console import some_of
from sync_store.labels import first_seen

HEADINGS = {**COLUMNS, "accuracy": "Accuracy", "recall_5": "Recall@5"}
"""Of every metric that an experiment may have."""

ABSENT = "–"
"""Stands for a number that isn't there."""

OURS = "ours"
"""Place of an experiment that the paper hasn't."""

_OTHER_SEEDS = "§"
"""Marks a row of other seeds than most."""

_MARKS: dict[int | None, Mark] = {None: "", 1: "best", 2: "second"}

_LABELS: dict[Improvement, str] = {
    "no-adaptation": "improvement w.r.t. no adaptation",
    "second-best": "improvement w.r.t. second best",
}


def lay_out(evaluation: Evaluation) -> Layout:
    """Headings, cells and footnotes of an experiment's table."""
    experiment, results = evaluation.experiment, evaluation.results
    standings = find_standings(evaluation)
    columns = (*standings.ours, *standings.paper)
    has_groups = any(result.planned.row.group for result in results)
    varying = len({len(result.seeds) for result in results if result.seeds}) > 1
    num_names = has_groups + 1 + varying
    cells: list[tuple[str, ...]] = []
    marks: list[tuple[Mark, ...]] = []
    block_ends: list[bool] = []
    for index, result in enumerate(results):
        names = [*([_group_begins(results, index)] * has_groups), _label(results, index)]
        names += [str(len(result.seeds)) if result.seeds else ABSENT] * varying
        cells.append((*names, *_numbers(result, standings, index)))
        ranks = [column.ranks[index] for column in columns]
        marks.append((*[_MARKS[None]] * num_names, *(_MARKS.get(place, "") for place in ranks)))
        below = _improvements_below(results, index, standings)
        for above in below:
            names = [*[""] * has_groups, _LABELS[above.kind], *[""] * varying]
            cells.append((*names, *(_signed(value) for value in (*above.ours, *above.paper))))
            marks.append((_MARKS[None],) * len(cells[-1]))
        block_ends += [*[False] * len(below), _group_ends(results, index)]
    return Layout(
        title=experiment.title if experiment.place == OURS else f"{experiment.place}: {experiment.title}",
        headings=(
            *(["group"] * has_groups),
            "row",
            *(["seeds"] * varying),
            *(HEADINGS[column.metric] for column in columns),
        ),
        num_names=num_names,
        cells=tuple(cells),
        block_ends=tuple(block_ends),
        marks=tuple(marks) if any(any(row) for row in marks) else None,
        ranked=_ranked(has_groups, bool(standings.paper)),
        span=Span(heading=_paper_heading(evaluation), num_columns=len(standings.paper))
        if standings.paper
        else None,
        footnotes=_footnotes(evaluation, varying),
    )


def _group_begins(results: Sequence[Result], index: int) -> str:
    """The group of a row, where it is the first of it."""
    group = results[index].planned.row.group
    return "" if index and results[index - 1].planned.row.group == group else group


def _group_ends(results: Sequence[Result], index: int) -> bool:
    here, *below = [result.planned.row.group for result in results[index : index + 2]]
    return bool(below) and below[0] != here


def _label(results: Sequence[Result], index: int) -> str:
    """A row's label with signs of what a reader must know."""
    result = results[index]
    daggers = daggers_of(result.origin) if result.origin else ""
    other = _OTHER_SEEDS if result.seeds not in ((), _usual_seeds(results)) else ""
    return f"{result.planned.row.label}{daggers}{other}"


def _full_label(result: Result, results: Sequence[Result]) -> str:
    """A row's label, with its group where another has the same."""
    row = result.planned.row
    alone = sum(each.planned.row.label == row.label for each in results) == 1
    return row.label if alone or not row.group else f"{row.label} ({row.group})"


def _usual_seeds(results: Sequence[Result]) -> tuple[int, ...]:
    """The most seeds that a row has."""
    return max((result.seeds for result in results), key=len, default=())


def _numbers(result: Result, standings: Standings, index: int) -> list[str]:
    ours = []
    for column in standings.ours:
        deviation = result.deviation(column.metric)
        ours.append(_printed(column.values[index]) + ("" if deviation is None else f" ± {deviation:.2f}"))
    return [*ours, *(_printed(column.values[index]) for column in standings.paper)]


def _improvements_below(results: Sequence[Result], index: int, standings: Standings) -> list[Above]:
    """What to say below a row: nothing, but below the last of its group."""
    group = results[index].planned.row.group
    if any(result.planned.row.group == group for result in results[index + 1 :]):
        return []
    return [above for above in standings.improvements if above.group == group]


def _printed(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return ABSENT if value is None else f"{value:+.2f}".replace("-", "−")


def _paper_heading(evaluation: Evaluation) -> str:
    if evaluation.of_paper_dataset:
        return "paper"
    return f"paper, on another dataset: {evaluation.experiment.dataset}"


def _ranked(has_groups: bool, has_paper: bool) -> str:
    rows = "of the rows compared within a group" if has_groups else "of the rows compared"
    return f"{rows}, of our numbers and of the paper's" if has_paper else rows


def _footnotes(evaluation: Evaluation, varying: bool) -> tuple[str, ...]:
    results = evaluation.results
    notes = [*evaluation.experiment.notes, *_scored_notes(evaluation), *_seed_notes(results, varying)]
    num_pending = sum(result.state == "not run" for result in results)
    if num_pending:
        notes.append(
            f"{ABSENT} {num_pending} of {len(results)} rows not run yet. Run them with: {evaluation.command}"
        )
    for lack in first_seen(result.planned.lacks or "" for result in results if result.state == "lacks"):
        rows = [r for r in results if r.state == "lacks" and r.planned.lacks == lack]
        notes.append(f"{ABSENT} {some_of([_full_label(row, results) for row in rows])}: {lack}")
    return (*notes, *dagger_notes([result.origin for result in results if result.origin]))


def _scored_notes(evaluation: Evaluation) -> list[str]:
    """What was scored, and how much of it has a prediction where that isn't all."""
    rows = [result.scored for result in evaluation.results if result.scored]
    if not rows:
        return []
    said = [f"split {', '.join(first_seen(row.group.info.split for row in rows))}"]
    sizes = {(row.scores[0].num_sequences, row.scores[0].num_frames) for row in rows}
    if len(sizes) == 1:
        num_sequences, num_frames = sizes.pop()
        said.append(f"sequences {num_sequences}; frames {num_frames}")
    said.append(f"protocol {evaluation.protocol}")
    if unsegmented := first_seen(name for row in rows for name in row.unsegmented):
        said.append(f"no segments of {', '.join(unsegmented)}")
    if (least := min(row.mean("coverage") for row in rows)) < 1:
        said.append(f"predictions for at least {least:.1%} of the frames")
    return [f"{'; '.join(said)}."]


def _seed_notes(results: Sequence[Result], varying: bool) -> list[str]:
    usual = _usual_seeds(results)
    if not usual:
        return []
    over = "seeds" if varying else f"{len(usual)} seeds"
    notes = ["One seed." if len(usual) == 1 else f"Mean ± standard deviation over {over}."]
    if any(result.seeds not in ((), usual) for result in results):
        notes.append(f"{_OTHER_SEEDS} Of other seeds than {', '.join(map(str, usual))}.")
    return notes
