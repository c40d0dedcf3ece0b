"""`sync-train recognition`: are actions recognised in whole segments?"""

from typing import Any

import click

from sync_train.commands.checking import carry_out_check
from sync_train.request import request_after, run_options

METHODS = ("exo-oracle", "random", "ego-oracle", "no-adaptation", "feature")
"""Columns of supplement Table 5, in its order. Its "Ours" is no-adaptation on features of a distilled backbone."""


@click.command()
@run_options
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    default=METHODS,
    help="Row of the table to make; repeat for several [default: all].",
)
@click.option("--ego", help="View of the worn camera [default: the first ego view].")
@click.option("--ego-feature-set", help="Features of the ego view [default: those of --feature-set].")
@click.pass_context
def recognition(ctx: click.Context, /, methods: tuple[str, ...], **options: Any) -> None:
    """Recognise the actions of whole segments by a perceptron on their averages (supplement K, Table 5).

    Prints the accuracy over the segments of the test split, and its mean over classes. Skips what is done;
    --overwrite does it again, and leaves what is trained.
    """
    carry_out_check(request_after(ctx, **options), "recognition", tuple(dict.fromkeys(methods)))
