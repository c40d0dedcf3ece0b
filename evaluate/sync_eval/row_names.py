"""Rows of a table by the names that people give them: METHOD, RUN/METHOD, METHOD@VIEW, RUN/METHOD@VIEW, a folder."""

from collections.abc import Sequence
from pathlib import Path

from sync_eval.runs import SELECTED_ON_TEST, Group, find_groups
from sync_store.config import suggest
from sync_store.console import some_of
from sync_store.errors import DatasetError


def find_row(name: str, groups: Sequence[Group]) -> Group:
    """The row that a name means; a folder if it is no name, which must hold one row alone.

    Args:
        name: As it was typed.
        groups: Rows to choose from.

    Raises:
        DatasetError: If no row has the name, or several have.
    """
    found = [group for group in groups if name in _names(group)]
    if len(found) == 1:
        return found[0]
    if found:
        full = [_names(group)[-1] for group in found]
        if len(set(full)) < len(full):
            folders = some_of([str(group.sets[0].folder) for group in found])
            raise DatasetError(
                f"{name!r} is the name of {len(found)} rows, in {folders}. Give one of them by its folder"
            )
        raise DatasetError(f"{name!r} may be {' or '.join(full)}: say which")
    if Path(name).is_dir():
        return _only_row(Path(name))
    raise DatasetError(f"no row is called {name!r}{suggest(name, _shortest_names(groups))}")


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


def _names(group: Group) -> tuple[str, str, str, str]:
    """All names of a row, the full one last."""
    method, view = group.info.method, group.info.view
    return method, f"{group.run}/{method}", f"{method}@{view}", f"{group.run}/{method}@{view}"


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
