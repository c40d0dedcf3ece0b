"""`sync-train retrieval`: do features know a segment of the other view by its class?"""

from typing import Any

import click

from sync_train.commands.checking import carry_out_check
from sync_train.request import request_after, run_options

METHODS = ("no-adaptation", "feature")


@click.command()
@run_options
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(METHODS),
    default=METHODS,
    help="How ego segments are represented; repeat for several [default: both].",
)
@click.option("--ego", help="View of the worn camera [default: the first ego view].")
@click.option("--ego-feature-set", help="Features of the ego view [default: those of --feature-set].")
@click.pass_context
def retrieval(ctx: click.Context, /, methods: tuple[str, ...], **options: Any) -> None:
    """Retrieve the nearest ego segments for each exo segment of the test split (supplement J).

    Prints how often one of them has the same class, with and without the recording of the query, and by chance.
    Skips what is done; --overwrite does it again, and leaves what is trained.
    """
    carry_out_check(request_after(ctx, **options), "retrieval", tuple(dict.fromkeys(methods)))
