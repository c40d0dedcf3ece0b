"""A stage's journal: one JSON object a line, one line an epoch; beside it TensorBoard's events, if asked for."""

import json
from pathlib import Path
from typing import Any

from sync_store.atomic import write_atomic
from sync_store.bounded import read_small
from sync_store.errors import TrainingError
from sync_train.events import EVENTS, Events, delete_events


class Journal:
    """Appends lines; a resumed stage first drops the epochs that it will do again."""

    def __init__(self, path: Path, *, next_epoch: int, tensorboard: bool = False) -> None:
        """Open a journal and keep the lines of the epochs before `next_epoch` alone.

        Args:
            path: Of the journal.
            next_epoch: First epoch that will be written.
            tensorboard: Write events, too, and those of the kept lines anew; else there are none afterwards.

        Raises:
            TrainingError: If the journal can't be read, or TensorBoard is asked for and isn't installed.
        """
        kept = [line for line in read_journal(path) if line["epoch"] < next_epoch]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        if not tensorboard:
            delete_events(path.parent / EVENTS)
        self._events = Events(path.parent / EVENTS, kept) if tensorboard else None
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()

    def write(self, **values: Any) -> None:
        """Append one line."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        if self._events is not None:
            self._events.write(**values)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a journal; one that isn't an epoch's, such as a line cut by a crash, ends it.

    Raises:
        TrainingError: If it is no file, or one that is far too large.
    """
    try:
        texts = read_small(path).splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: can't be read ({error}); train anew with --overwrite") from None
    lines: list[dict[str, Any]] = []
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            break
        if not _is_epochs(line):
            break
        lines.append(line)
    return lines


def _is_epochs(line: Any) -> bool:
    """Whether these are an epoch's number and its values, numbers all; TensorBoard's whole ones have 64 bits."""
    if not isinstance(line, dict) or type(line.get("epoch")) is not int:
        return False
    return all(
        isinstance(value, float) or (type(value) is int and abs(value) < 1 << 63) for value in line.values()
    )
