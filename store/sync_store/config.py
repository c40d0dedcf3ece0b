"""Configuration tables (from TOML or JSON) as checked, frozen dataclasses."""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import dacite

from sync_store.errors import ProjectError

T = TypeVar("T")


def suggest(name: str, known: list[str]) -> str:
    """Say which known name a wrong one probably meant: ', did you mean …?' or the whole list."""
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}"


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
    try:
        return dacite.from_dict(
            kind,
            table,
            dacite.Config(strict=True, cast=[tuple, Path], type_hooks={float: _number}),
        )
    except dacite.UnexpectedDataError as error:
        known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
        key = sorted(error.keys)[0]
        raise ProjectError(f"{where}: unknown key {key!r}{suggest(key, known)}") from None
    except dacite.WrongTypeError as error:
        expected = getattr(error.field_type, "__name__", None) or str(error.field_type)
        if str(error.field_type).startswith("typing."):
            expected = str(error.field_type).removeprefix("typing.")
        raise ProjectError(f"{where}: {error.field_path} must be {expected}, got {error.value!r}") from None
    except dacite.DaciteError as error:
        raise ProjectError(f"{where}: {error}") from None
    except ValueError as error:
        raise ProjectError(f"{where}: {error}") from None


def _number(value: Any) -> Any:
    """Let a whole number stand for a float, as people write it in TOML."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
