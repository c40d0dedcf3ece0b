"""What the commands share: one-line errors, the --project option, logging on stderr."""

import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from sync_store.errors import ProjectError, SyncError
from sync_store.project import Project, find_project, load_project

EXIT_FAILURE = 1
"""Something failed; the message says what. (2 is click's status for wrong usage.)"""

EXIT_SOME_FAILED = 3
"""Some items failed and are listed; the rest is done."""

EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C (128 + the signal's number, as shells count)."""

EXIT_TERMINATED = 143
"""Ended by SIGTERM, which Slurm and Docker send before they kill."""

MAX_LISTED = 5
"""Recordings that a line names."""

Function = TypeVar("Function", bound=Callable[..., Any])


class SyncCommand(click.Command):
    """A command that prints a `SyncError` as one line and exits with `EXIT_FAILURE`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see the class."""
        try:
            with _terminable():
                return super().invoke(ctx)
        except SyncError as error:
            fail(str(error))
        except BrokenPipeError:
            raise  # click ends quietly when a reader such as head has enough
        except OSError as error:
            _leave_coroutines()
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror or error}")
        except KeyboardInterrupt as error:
            _leave_coroutines()
            click.echo("interrupted; run the same command again to go on", err=True)
            ctx.exit(EXIT_TERMINATED if isinstance(error, _Terminated) else EXIT_INTERRUPTED)


def _leave_coroutines() -> None:
    """Say nothing of what zarr-python was about to await when it was interrupted, or a request failed."""
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


class SyncGroup(SyncCommand, click.Group):
    """A command group that does the same for all its commands."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which is to end a command as cleanly as Ctrl-C."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM raise `_Terminated`; a second one kills. Python allows it in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def fail(message: str) -> None:
    """Print a message in the commands' form and exit with `EXIT_FAILURE`."""
    click.echo(f"error: {printable(message)}", err=True)
    sys.exit(EXIT_FAILURE)


def printable(message: str) -> str:
    """One line for a terminal: what can't be printed, as names of files may hold, is escaped."""
    line = " ".join(message.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def project_option(function: Function) -> Function:
    """Add `--project`."""
    return click.option(
        "--project",
        "project_path",
        envvar="SYNC_PROJECT",
        type=click.Path(path_type=Path, exists=True),
        help="sync.toml or its folder [default: found from here upwards].",
    )(function)


def load_project_if_any(path: Path | None) -> Project | None:
    """The project that is named or near; None where none is, for commands that can do without.

    Raises:
        ProjectError: If it can't be read.
    """
    if path is None:
        try:
            path = find_project(Path.cwd())
        except ProjectError:
            return None
    return load_project(path)


def json_option(function: Function) -> Function:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, envvar="SYNC_JSON", help="Print JSON on stdout.")(
        function
    )


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def some_of(names: Sequence[str]) -> str:
    """The first names of a list, as many as a line holds, and a sign that there are more."""
    return ", ".join(names[:MAX_LISTED]) + (" …" if len(names) > MAX_LISTED else "")


def given(ctx: click.Context, **options: Any) -> dict[str, Any]:
    """The options that were really given, on the command line or by a SYNC_* variable."""
    sources = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    return {name: value for name, value in options.items() if ctx.get_parameter_source(name) in sources}


def set_up_logging(verbose: bool = False) -> None:
    """Send log messages to stderr: warnings, or everything from us with `verbose`."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s", force=True
    )
    if verbose or os.environ.get("SYNC_VERBOSE"):
        for package in ("sync_store", "sync_extract", "sync_train", "sync_eval", "sync_predict", "sync_demo"):
            logging.getLogger(package).setLevel(logging.INFO)
