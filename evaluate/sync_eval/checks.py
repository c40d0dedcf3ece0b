"""Results of checks of features, `<runs>/<run>/seed-<n>/checks/<check>/<method>.json`, as `sync-train` writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_store.bounded import read_json
from sync_store.errors import DatasetError
from sync_store.labels import first_seen


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a check of one method and seed found."""

    file: Path
    seed: int
    metrics: Mapping[str, float]
    """In per cent."""
    settings: str | None
    """A digest over all settings that decide the metrics, the same for all seeds."""
    trained_on: tuple[str, ...]
    """What the backbones themselves were trained on."""


def read_checks(files: Sequence[Path], metrics: Sequence[str], again: str) -> list[Check]:
    """Read the seeds of one method, in order of them.

    Args:
        files: One for each seed.
        metrics: What is needed of each.
        again: The command that makes them again, for messages.

    Raises:
        DatasetError: If a file isn't a check's result, or seeds were made with different settings.
    """
    checks = sorted((_read(file, metrics, again) for file in files), key=lambda check: check.seed)
    for other in checks[1:]:
        if other.settings != checks[0].settings or other.seed == checks[0].seed:
            raise DatasetError(
                f"{checks[0].file} and {other.file} aren't two seeds of one row: their settings differ, or the seed "
                f"doesn't. Make them again with: {again}"
            )
    return checks


def _read(file: Path, metrics: Sequence[str], again: str) -> Check:
    try:
        table = read_json(file)
        seed, found = table["seed"], {metric: table["metrics"][metric] for metric in metrics}
        settings = table.get("inputs", {}).get("settings")
        trained_on = _trained_on(table.get("provenance", {}))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        problem = f"isn't a check's result ({type(error).__name__}: {error})"
        raise DatasetError(f"{file}: {problem}; make it again with: {again}") from None
    if type(seed) is not int:
        raise DatasetError(f"{file}: seed must be a whole number, got {seed!r}; make it again with: {again}")
    for metric, value in found.items():
        if type(value) not in (int, float) or not 0 <= value <= 100:
            raise DatasetError(
                f"{file}: {metric} must be a number from 0 to 100, got {value!r}; make it again with: {again}"
            )
    if unprintable := [words for words in trained_on if not words.isprintable()]:
        raise DatasetError(
            f"{file}: trained_on must be texts that can be printed, got {unprintable[0][:60]!r}; make it again with: "
            f"{again}"
        )
    return Check(file=file, seed=seed, metrics=found, settings=settings, trained_on=trained_on)


def _trained_on(provenance: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the teacher's features, and of the ego view's where these are others."""
    both = (provenance, provenance.get("ego_features", {}))
    return first_seen(str(words) for each in both for words in each.get("trained_on", ()))
