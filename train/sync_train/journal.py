"""A stage's journal: one JSON object a line, one line an epoch; beside it TensorBoard's events, if asked for."""

import json
from pathlib import Path
from typing import Any

from sync_store.atomic import write_atomic
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
            TrainingError: If TensorBoard is asked for and isn't installed.
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
    """All whole lines of a journal; one that isn't an epoch's, such as a line cut by a crash, ends it."""
    lines: list[dict[str, Any]] = []
    if path.exists():
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                break
            if not isinstance(line, dict) or not isinstance(line.get("epoch"), int):
                break
            lines.append(line)
    return lines
