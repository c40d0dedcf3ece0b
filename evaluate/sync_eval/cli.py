"""The command `sync-eval`. What needs numpy or matplotlib is imported when it is used."""

from pathlib import Path

import click

from sync_eval.commands.compare import compare
from sync_eval.commands.plot import plot
from sync_eval.commands.report import report
from sync_eval.commands.score import score
from sync_eval.commands.table import table
from sync_store.console import SyncGroup, project_option, set_up_logging

DEFAULT_COMMAND = "table"


class _TableByDefault(SyncGroup):
    """Runs `table` where no command is named, so that `sync-eval`, `sync-eval --json` and so on work."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front; see the class."""
        own = {*self.commands, *self.get_help_option_names(ctx), "--version"}
        if not ctx.resilient_parsing and own.isdisjoint(args):
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_TableByDefault,
    context_settings={"auto_envvar_prefix": "SYNC", "help_option_names": ["-h", "--help"]},
)
@project_option
@click.version_option(package_name="sync-tas")
@click.pass_context
def main(ctx: click.Context, /, project_path: Path | None) -> None:
    """Score predictions and show them.

    Without a command, `table` is run: sync-eval [RUN_FOLDER]... [--json].

    Exit status: 0 done, 1 nothing could be scored; the message says why.
    """
    set_up_logging()
    ctx.obj = project_path


for command in (table, compare, plot, report, score):
    main.add_command(command)
