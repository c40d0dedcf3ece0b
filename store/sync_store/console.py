"""What the commands share: one-line errors, the --project option, logging on stderr."""

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from sync_store.errors import SyncError

EXIT_FAILURE = 1
"""Something failed; the message says what. (2 is click's status for wrong usage.)"""

EXIT_SOME_FAILED = 3
"""Some items failed and are listed; the rest is done."""

Function = TypeVar("Function", bound=Callable[..., Any])


class SyncGroup(click.Group):
    """A command group that prints a `SyncError` as one line and exits with `EXIT_FAILURE`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see the class."""
        try:
            return super().invoke(ctx)
        except SyncError as error:
            fail(str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror or error}")
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again to go on", err=True)
            ctx.exit(130)


def fail(message: str) -> None:
    """Print a message in the commands' form and exit with `EXIT_FAILURE`."""
    click.echo(f"error: {' '.join(message.splitlines())}", err=True)
    sys.exit(EXIT_FAILURE)


def project_option(function: Function) -> Function:
    """Add `--project`."""
    return click.option(
        "--project",
        "project_path",
        type=click.Path(path_type=Path, exists=True),
        help="sync.toml or its folder [default: found from here upwards].",
    )(function)


def json_option(function: Function) -> Function:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")(function)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


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
        for package in ("sync_store", "sync_extract", "sync_train", "sync_eval", "sync_demo"):
            logging.getLogger(package).setLevel(logging.INFO)
