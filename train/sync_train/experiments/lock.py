"""One sitting at a time writes to a folder of experiments."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sync_store.errors import TrainingError

LOCK = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[int]:
    """Hold a folder; the system lets go of it also when the process is killed.

    Yields:
        The file that holds it: whoever has it open holds the folder, too.

    Raises:
        TrainingError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"{folder}: another sync-train experiment is at work there; wait for it, or choose another "
                "folder with --runs"
            ) from None
        yield file.fileno()
