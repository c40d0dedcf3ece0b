"""EgoExo4D's JSON files, and messages that name the file, the place in it and the expected form."""

import json
from pathlib import Path
from typing import Any, TypeVar

from sync_store import bounded
from sync_store.errors import DatasetError

T = TypeVar("T", str, int, dict[str, Any], list[Any])

MAX_BYTES = 1 << 30
"""The largest of the release has some hundred megabytes."""

_KINDS: dict[type[Any], str] = {
    str: "a text",
    int: "a whole number",
    dict: "an object {…}",
    list: "a list […]",
}


def read_json(path: Path, part: str) -> Any:
    """Read one file of the release, which may have hundreds of megabytes: call it once.

    Args:
        path: The file.
        part: The part of the release that holds it, for the message.

    Raises:
        DatasetError: If it isn't there, can't be read or isn't JSON.
    """
    fetch = f"egoexo -o {path.parent.parent if part == 'annotations' else path.parent} --parts {part}"
    try:
        return bounded.read_json(path, MAX_BYTES)
    except FileNotFoundError:
        raise DatasetError(f"{path}: there is no such file. Fetch it with: {fetch}") from None
    except OSError as error:
        raise DatasetError(
            f"{path}: can't be read: {error.strerror}. Check its disk, links and rights"
        ) from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: can't be read as JSON ({error}). Fetch it anew with: {fetch}") from None


def field(record: Any, key: str, kind: type[T], where: str) -> T:
    """One value of a JSON object.

    Args:
        record: What should be the object.
        key: Name of the value.
        kind: Its expected type.
        where: The file and the place in it, for the message.

    Raises:
        DatasetError: If the record isn't an object, or its value is missing or of another type.
    """
    value = optional_field(record, key, kind, where)
    if value is None:
        got = "null" if key in record else "nothing"
        raise DatasetError(f"{where}: {key} must be {_KINDS[kind]}, got {got}")
    return value


def optional_field(record: Any, key: str, kind: type[T], where: str) -> T | None:
    """As `field`, but None where the value is missing or null."""
    value = as_kind(record, dict, where).get(key)
    return None if value is None else as_kind(value, kind, f"{where}: {key}")


def as_kind(value: Any, kind: type[T], where: str) -> T:
    """`value`, if it is of that type.

    Raises:
        DatasetError: If it is of another.
    """
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DatasetError(f"{where} must be {_KINDS[kind]}, got {shorten(value)}")
    return value


def is_true(value: Any) -> bool:
    """Flags of the release are true and false, or "1" and "0"."""
    return value in (True, "1", "true", "True")


def shorten(value: Any) -> str:
    """A JSON value in a few characters."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
