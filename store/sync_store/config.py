"""Configuration tables (from TOML or JSON) as checked, frozen dataclasses."""

import dataclasses
import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import dacite

from sync_store.errors import ProjectError

T = TypeVar("T")

MAX_SHOWN = 200
"""Characters of a value that a message repeats."""


def suggest(name: str, known: list[str]) -> str:
    """Say which known name a wrong one probably meant: ', did you mean …?' or the whole list."""
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"


def shown(value: Any) -> str:
    """A value of a file in a message, however long it is."""
    try:
        text = repr(_plain(value))
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def from_table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Build the dataclass `kind` from a table of plain values.

    Args:
        kind: A dataclass; nested dataclasses, Literals, tuples and optional values are understood.
        table: Keys and values as TOML or JSON gives them.
        where: Named in messages, for example "sync.toml [train]".

    Raises:
        ProjectError: For an unknown key (the nearest known one is suggested), a wrong type, or a value
            that the dataclass's own check rejects.
    """
    prepared = _prepare(kind, table, where)
    try:
        return dacite.from_dict(
            kind, prepared, dacite.Config(strict=True, cast=[Path], type_hooks={float: _number})
        )
    except dacite.WrongTypeError as error:
        raise ProjectError(
            f"{where}: {error.field_path} must be {_expected(error.field_type)}, got {shown(error.value)}"
        ) from None
    except dacite.DaciteError as error:
        raise ProjectError(f"{where}: {error}") from None
    except (ValueError, OverflowError) as error:  # the latter of a whole number that no float can hold
        raise ProjectError(f"{where}: {error}") from None


def _prepare(kind: type[Any], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check what dacite lets pass or reports without its place, and make lists tuples."""
    hints = get_type_hints(kind)
    prepared: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            raise ProjectError(f"{where}: unknown key {key!r}{suggest(key, list(hints))}")
        hint = hints[key]
        choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
            section = f"{where[:-1]}.{key}]" if where.endswith("]") else f"{where} {key}"
            prepared[key] = _prepare(hint, value, section)
        elif _is_misread(value, choices):
            raise ProjectError(f"{where}: {key} must be {_expected(hint)}, got {shown(value)}")
        else:
            prepared[key] = tuple(value) if isinstance(value, list) else value
    return prepared


def _is_misread(value: Any, choices: tuple[Any, ...]) -> bool:
    """Whether dacite would take a text for a list of letters or a section, true for 1, or a number for a path."""
    if isinstance(value, bool):
        return bool not in choices
    wants_list = any(get_origin(choice) is tuple for choice in choices)
    wants_section = any(get_origin(choice) is Mapping for choice in choices)
    wants_path = Path in choices
    return (
        (wants_list and isinstance(value, str | Mapping))
        or (wants_section and isinstance(value, str | list))
        or (wants_path and not isinstance(value, str | Path | None))
    )


def _expected(hint: Any) -> str:
    """A type as the writer of a TOML file knows it."""
    if dataclasses.is_dataclass(hint):
        return "a section with keys"
    text = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    text = re.sub(r"tuple\[(\w+), \.\.\.\]", r"a list of \1", text)
    text = re.sub(r"collections\.abc\.Mapping\[str, ([^\]]+)\]", r"a section of \1", text)
    return re.sub(r"(pathlib\.)?\bPath\b", "a path", text.replace("typing.", ""))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number(value: Any) -> Any:
    """Let a whole number stand for a float, as people write it in TOML."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
