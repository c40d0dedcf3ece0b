"""Runs the other commands, as one would type them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sync_store.console import EXIT_SOME_FAILED
from sync_store.errors import SyncError

VARIABLES = "SYNC_"
"""Settings of the user's own project; the work folder's sync.toml says all that counts there."""

KEPT = "SYNC_VERBOSE"


def run_program(*command: str, problem: str) -> Any:
    """Run a command with --json; what it says goes to stderr as it comes.

    Args:
        command: Program and arguments.
        problem: What to say, besides, if it fails.

    Returns:
        Its JSON, also where some items failed.

    Raises:
        SyncError: If it fails.
    """
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(VARIABLES) or key == KEPT
    }
    process = subprocess.Popen(
        [_program(command[0]), "--json", *command[1:]], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        out, _ = process.communicate()
    except BaseException:
        process.terminate()  # as cleanly as we are ended: what is done is kept
        process.wait()
        raise
    if process.returncode not in (0, EXIT_SOME_FAILED):
        raise SyncError(
            f"{problem} ({command[0]} ended with exit status {process.returncode}; its message is above)"
        )
    return json.loads(out)


def chosen(flag: str, values: Sequence[object | None]) -> list[str]:
    """An option once for each value that there is."""
    return [word for value in values if value is not None for word in (flag, str(value))]


def _program(name: str) -> str:
    """The command that was installed with this one, also where its folder isn't on the PATH."""
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    found = shutil.which(name, path=beside)
    if found is None:
        raise SyncError(
            f"there is no command {name}; install this package with: pip install 'sync-tas[extract]'"
        )
    return found
