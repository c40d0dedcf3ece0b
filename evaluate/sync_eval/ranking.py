"""Best and second best within the groups of a table, and by how much the best is above others.

Numbers are compared as a table prints them, so that two that look alike are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

DECIMALS = 2
"""Of a printed number."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row, as far as it matters who is best."""

    group: str
    ranked: bool
    """Whether it takes part."""
    unadapted: bool
    """Whether it is the group's "no adaptation"."""


def rank(entries: Sequence[Entry], values: Sequence[float | None]) -> list[int | None]:
    """Place of each row among the ranked ones of its group, from 1 for the highest.

    Equal numbers share a place, and the next one is left out (1, 1, 3). None for rows that aren't ranked or have
    no number, and where a group has a single number to rank.
    """
    places: list[int | None] = []
    for entry, value in zip(entries, values, strict=True):
        others = _ranked(entries, values, entry.group)
        if entry.ranked and value is not None and len(others) > 1:
            places.append(1 + sum(other > _printed(value) for other in others))
        else:
            places.append(None)
    return places


def above_no_adaptation(entries: Sequence[Entry], values: Sequence[float | None], group: str) -> float | None:
    """By how much the best ranked row of a group is above its "no adaptation"; None where one has no number."""
    pairs = [(entry, value) for entry, value in zip(entries, values, strict=True) if entry.group == group]
    before = [value for entry, value in pairs if entry.unadapted and value is not None]
    adapted = [value for entry, value in pairs if entry.ranked and not entry.unadapted and value is not None]
    return max(adapted) - before[0] if before and adapted else None


def above_second_best(entries: Sequence[Entry], values: Sequence[float | None], group: str) -> float | None:
    """By how much the best ranked row of a group is above the next; None where fewer than two have a number."""
    pairs = zip(entries, values, strict=True)
    ranked = sorted(
        value for entry, value in pairs if entry.group == group and entry.ranked and value is not None
    )
    return ranked[-1] - ranked[-2] if len(ranked) > 1 else None


def _ranked(entries: Sequence[Entry], values: Sequence[float | None], group: str) -> list[float]:
    pairs = zip(entries, values, strict=True)
    return [
        _printed(value)
        for entry, value in pairs
        if entry.group == group and entry.ranked and value is not None
    ]


def _printed(value: float) -> float:
    return float(f"{value:.{DECIMALS}f}")
