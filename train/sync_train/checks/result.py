"""A check's result on disk: `<runs>/<run>/seed-<n>/checks/<check>/<method>.json`, whole or absent."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sync_store.atomic import write_json
from sync_store.bounded import read_json
from sync_store.config import from_table


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What a check of one method found."""

    check: str
    """`retrieval` or `recognition`."""
    method: str
    seed: int
    metrics: Mapping[str, float]
    """In percent."""
    num_segments: int
    """Over which they are the mean."""
    inputs: Mapping[str, str]
    """SHA-256 of all that decides the metrics: `settings`, the same for all seeds, and the data, by kind."""
    provenance: Mapping[str, Any]
    """What to record beside: versions, machine, settings, numbers of segments."""


def write_result(path: Path, result: CheckResult) -> None:
    """Write a result; an older one is replaced."""
    write_json(path, asdict(result))


def find_result(path: Path, inputs: Mapping[str, str]) -> CheckResult | None:
    """The result of a file; None where there is none, or it was made from other inputs or can't be read."""
    try:
        table = read_json(path)
        found = from_table(CheckResult, table, str(path)) if isinstance(table, dict) else None
    except (OSError, ValueError, RecursionError):
        return None
    return found if found is not None and found.inputs == dict(inputs) else None


def digest(settings: Any) -> str:
    """SHA-256 over JSON values."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
