"""`sync-extract verify`: every array against its digests."""

from dataclasses import asdict

import click

from sync_store.config import suggest
from sync_store.console import EXIT_SOME_FAILED, json_option, print_json
from sync_store.errors import StoreError
from sync_store.project import load_project


@click.command()
@click.option("--feature-set", "feature_sets", multiple=True, help="Only this feature set.")
@click.option("--view", "views", multiple=True, help="Only this view.")
@json_option
@click.pass_context
def verify(ctx: click.Context, feature_sets: tuple[str, ...], views: tuple[str, ...], as_json: bool) -> None:
    """Check every array against its digests, and say what is damaged.

    Exit status: 0 all good, 3 something is damaged.
    """
    from sync_store.reader import FeatureStore
    from sync_store.verify import verify_store

    store = FeatureStore(load_project(ctx.obj).store_path)
    for name in feature_sets:
        store.feature_set(name)
    known = sorted({view for name in store.feature_sets() for view in store.views(name)})
    for view in views:
        if view not in known:
            raise StoreError(f"{store.path}: there is no view {view!r}{suggest(view, known)}")
    findings = list(verify_store(store, list(feature_sets), list(views)))
    bad = [finding for finding in findings if finding.state == "damaged"]
    if as_json:
        print_json({"store": str(store.path), "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            if finding.state != "good":
                where = f"{finding.feature_set}/{finding.view}/{finding.recording}"
                click.echo(f"{finding.state}: {where} {finding.problem}".rstrip())
        good = sum(finding.state == "good" for finding in findings)
        click.echo(f"{good} good, {len(findings) - good - len(bad)} incomplete, {len(bad)} damaged")
    if bad:
        ctx.exit(EXIT_SOME_FAILED)
