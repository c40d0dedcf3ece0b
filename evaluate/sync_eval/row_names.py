"""Rows of a table by the names that people give them: METHOD, RUN/METHOD, METHOD@VIEW, RUN/METHOD@VIEW, a folder.

Rows that differ in their features alone are RUN[FEATURES]/METHOD and RUN[FEATURES]/METHOD@VIEW.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from sync_eval.runs import SELECTED_ON_TEST, Group, find_groups
from sync_store.config import suggest
from sync_store.console import some_of
from sync_store.errors import DatasetError


def find_row(name: str, groups: Sequence[Group]) -> Group:
    """The row that a name means. A folder that is there goes before a row of its name, and must hold one row alone.

    Args:
        name: As it was typed.
        groups: Rows to choose from.

    Raises:
        DatasetError: If no row has the name, or several have.
    """
    if Path(name).is_dir():
        return _only_row(Path(name))
    shortest = _shortest_names(groups)
    found = {index: group for index, group in enumerate(groups) if name in _names(group)}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise DatasetError(f"no row is called {name!r}{suggest(name, shortest)}")
    others = [shortest[index] for index in found]
    if len(set(others)) == len(others):
        raise DatasetError(f"{name!r} may be {' or '.join(others)}: say which")
    folders = some_of([str(_folder(group)) for group in found.values()])
    raise DatasetError(
        f"{name!r} is the name of {len(found)} rows, in {folders}. Give one of them by its folder"
    )


def check_comparable(names: Sequence[str], groups: Sequence[Group]) -> None:
    """Refuse rows whose difference would say nothing about their methods.

    Raises:
        DatasetError: If rows were predicted on different splits, or the labels of the test split chose the epoch of
            some and not of others.
    """
    first, *others = zip(names, groups, strict=True)
    for other in others:
        if first[1].info.split != other[1].info.split:
            splits = " and ".join(f"{name} on {group.info.split}" for name, group in (first, other))
            raise DatasetError(
                f"rows of one split can be compared, but {splits} were predicted. Score them apart with: sync-eval "
                "table"
            )
        if first[1].selected_on_test != other[1].selected_on_test:
            chosen, unseen = (first, other) if first[1].selected_on_test else (other, first)
            raise DatasetError(
                f"labels of the test split chose the epoch of {chosen[0]} ({SELECTED_ON_TEST}) and not that of "
                f"{unseen[0]}, so that their difference would show the choice too. Compare rows of one kind of "
                "selection"
            )


def _names(group: Group) -> tuple[str, ...]:
    """All names of a row, the full one last."""
    method = group.info.method
    at_view, with_features = f"{method}@{group.info.view}", f"{group.run}[{group.features}]"
    without = (method, f"{group.run}/{method}", at_view, f"{group.run}/{at_view}")
    return (*without, f"{with_features}/{method}", f"{with_features}/{at_view}")


def _folder(group: Group) -> Path:
    """The deepest folder that holds all seeds of a row."""
    return Path(os.path.commonpath([found.folder for found in group.sets]))


def _shortest_names(groups: Sequence[Group]) -> list[str]:
    """For each row the first of its names that no other row has, or its full one."""
    shortest = []
    for group in groups:
        others = {name for other in groups if other is not group for name in _names(other)}
        shortest.append(next((name for name in _names(group) if name not in others), _names(group)[-1]))
    return shortest


def _only_row(folder: Path) -> Group:
    groups = find_groups([folder])
    if len(groups) > 1:
        names = some_of(_shortest_names(groups))
        raise DatasetError(
            f"{folder}: holds {len(groups)} rows ({names}). Name one of them, with --in {folder}, or its own folder"
        )
    return groups[0]
