"""One process at a time writes to a folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sync_store.errors import SyncError

LOCK = ".lock"


@contextmanager
def alone_in(folder: Path, busy: str) -> Iterator[int]:
    """Hold a folder; the system lets go of it also when the process is killed.

    Args:
        folder: The folder; made if it isn't there.
        busy: Who else may hold it, and what to do then.

    Yields:
        The file that holds it: whoever has it open holds the folder, too.

    Raises:
        SyncError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SyncError(f"{folder}: {busy}") from None
        yield file.fileno()
