"""Names of runs, made from their settings alone, so that equal rows of different tables are one run."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from sync_store.errors import ProjectError
from sync_store.names import check_name

MAX_CHARACTERS = 96
"""Longer names are cut, and end with a digest; log files add a seed to them."""

DIGEST_CHARACTERS = 8

DIGITS = 5
"""Of a number in a name; one that has more is followed by a digest, too."""

_UNSAFE = re.compile(r"[^\w.=+,-]", re.ASCII)

_WORD = re.compile(r"[a-z][a-z0-9-]*")


def flatten(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested sections as dotted keys: `{"student": {"loss": "mmd"}}` is `{"student.loss": "mmd"}`."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{above}{key}.")
        else:
            flat[above + key] = value
    return flat


def as_setting(key: str, value: Any) -> str:
    """`KEY=VALUE` for `sync-train --set`, the value as TOML writes it (JSON's texts, lists and numbers are TOML's)."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def setting_key(setting: str) -> str:
    """Dotted key of a `KEY=VALUE`."""
    return setting.partition("=")[0].strip()


def run_name(base: str, settings: Mapping[str, Any]) -> str:
    """A run's name.

    Args:
        base: What its features and views are.
        settings: By dotted key, sorted in the name.

    Raises:
        ProjectError: If it can't be a folder.
    """
    values = {key: _whole(value) for key, value in sorted(settings.items())}
    text = ",".join(f"{key}={_short(value)}" for key, value in values.items())
    name = f"{base}.{text}" if text else base
    if len(name) > MAX_CHARACTERS or not all(map(_is_plain, values.values())) or _UNSAFE.search(name):
        digest = hashlib.sha256(json.dumps([base, values]).encode()).hexdigest()[:DIGEST_CHARACTERS]
        name = f"{_UNSAFE.sub('_', name)[: MAX_CHARACTERS - DIGEST_CHARACTERS - 1]}-{digest}"
    return check_name("run", name, ProjectError)


def _whole(value: Any) -> Any:
    """1 for 1.0: TOML's whole numbers stand for both."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _short(value: Any) -> str:
    """A value in a name: 1-2-3 for a list, no quotes around a text, few digits."""
    if isinstance(value, list | tuple):
        return "-".join(map(_short, value))
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    return value if isinstance(value, str) else json.dumps(value)


def _is_plain(value: Any) -> bool:
    """Whether a value can be told from all others of its setting by what `_short` makes of it."""
    if isinstance(value, str):
        return bool(_WORD.fullmatch(value)) and value not in ("true", "false")
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(each, int) and each >= 0 for each in value)
    return not isinstance(value, float) or float(_short(value)) == value
