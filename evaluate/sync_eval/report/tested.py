"""A row of the table with what it predicted, read once for everything that the page shows of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sync_eval.plots import Bar
from sync_eval.runs import Row
from sync_eval.scoring import Truth
from sync_store.labels import Segments


@dataclass(frozen=True, kw_only=True)
class TestedRow:
    """One row."""

    name: str
    """Tells it from the others."""
    row: Row
    truth: Truth
    """Labels of the split that it was tested on."""
    predicted: tuple[Mapping[str, Segments], ...]
    """Segments by recording of the split; one mapping for each seed, as in `row.scored`."""


def read_tested(names: Sequence[str], rows: Sequence[Row], truths: Mapping[str, Truth]) -> list[TestedRow]:
    """Read the predictions of all rows.

    Raises:
        DatasetError: If a file is missing or has changed.
    """
    return [_read(name, row, truths[row.group.info.split]) for name, row in zip(names, rows, strict=True)]


def bars_of_tested(tested: Iterable[TestedRow]) -> list[Bar]:
    """Every prediction of every seed, to know which classes occur."""
    return [
        Bar(name=each.name, segments=tuple(of_seed.values())) for each in tested for of_seed in each.predicted
    ]


def _read(name: str, row: Row, truth: Truth) -> TestedRow:
    return TestedRow(
        name=name,
        row=row,
        truth=truth,
        predicted=tuple(
            {recording: scored.prediction_set.read(recording) for recording in truth.recordings}
            for scored in row.scored
        ),
    )
