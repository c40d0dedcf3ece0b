"""TensorBoard's event files of a stage, written from its journal.

The journal is the truth: whenever a fit begins or goes on, older files are emptied, and the lines that the journal has
kept are written first, so that curves have neither a gap nor an epoch twice.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sync_store.errors import TrainingError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENTS = "tensorboard"
"""Folder of the event files in that of the stage."""


class Events:
    """A scalar for each value of a journal's line, at the step of its epoch, from 0."""

    def __init__(self, folder: Path, journal: Iterable[Mapping[str, Any]]) -> None:
        """Begin with the lines of a journal.

        Raises:
            TrainingError: If TensorBoard isn't installed.
        """
        writer = _writer_class()
        # A TensorBoard that is running finds the new file only where the older one still is, and forgets the steps
        # that it has read there because of purge_step.
        for older in folder.glob("events.out.tfevents.*"):
            older.write_bytes(b"")
        self._writer = writer(str(folder), purge_step=0)
        for line in journal:
            self.write(**line)

    def write(self, /, *, epoch: int, **values: float) -> None:
        """Write the values of one epoch, so that TensorBoard can show them at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Write no more."""
        self._writer.close()


def delete_events(folder: Path) -> None:
    """Delete the event files of a stage, if it has any."""
    shutil.rmtree(folder, ignore_errors=True)


def check_installed() -> None:
    """Find out before the first epoch whether TensorBoard is there.

    Raises:
        TrainingError: If it isn't.
    """
    _writer_class()


def _writer_class() -> "type[SummaryWriter]":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(
            f"TensorBoard can't be used here ({error}). Install it: pip install 'sync-tas[tensorboard]', or train "
            "without --tensorboard"
        ) from None
    return SummaryWriter
