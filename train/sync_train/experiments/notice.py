"""Slurm's signals to a job that is to make room, and what Slurm expects then.

SIGTERM comes some time before the job is killed; only a job that has to be killed is put back into the queue.
submitit's signal, SIGUSR2, comes before the time limit, and its handler puts the job back at once. Slurm sends both to
all processes of a job.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sync_store.errors import SyncError

MAX_GRACE_SECONDS = 600.0
"""A job that isn't killed in this time after SIGTERM ends by itself."""

POLL_SECONDS = 0.1


class Notice:
    """Signals that have come since this was made, in the main thread of a process that submitit started."""

    def __init__(self, put_back: signal.Signals) -> None:
        """Listen.

        Args:
            put_back: submitit's signal.
        """
        self._put_back = put_back
        self._handler = signal.getsignal(put_back)
        self._signals: set[int] = set()
        for number in (signal.SIGTERM, put_back):
            signal.signal(number, self._note)

    @property
    def is_given(self) -> bool:
        """Whether the job is to make room."""
        return bool(self._signals)

    @property
    def reaches_commands(self) -> bool:
        """Whether commands were told to end by Slurm itself: SIGTERM isn't kept from them."""
        return signal.SIGTERM in self._signals

    @contextmanager
    def kept_from_commands(self) -> Iterator[None]:
        """Start commands within, and submitit's signal doesn't reach them: they would die of it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {self._put_back})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {self._put_back})

    def obey(self) -> None:
        """Leave, once no command works any more: by being put back, or by waiting for the end.

        Raises:
            SystemExit: When the job is put back; submitit ends it.
            SyncError: If Slurm does nothing.
        """
        stop = time.monotonic() + MAX_GRACE_SECONDS
        while self._put_back not in self._signals and time.monotonic() < stop:
            time.sleep(POLL_SECONDS)
        if self._put_back in self._signals and callable(self._handler):
            self._handler(self._put_back, None)
        raise SyncError("was told to end by SIGTERM")

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signals.add(number)
