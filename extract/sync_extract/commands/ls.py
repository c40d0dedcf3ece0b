"""`sync-extract ls`: what the store has."""

from pathlib import Path
from typing import Any

import click

from sync_store.console import json_option, print_json
from sync_store.project import load_project


@click.command("ls")
@json_option
@click.pass_obj
def list_store(project_path: Path | None, as_json: bool) -> None:
    """List feature sets, views, recordings, hours and size of the store."""
    from sync_store.reader import FeatureStore

    store = FeatureStore(load_project(project_path).store_path)
    rows: list[dict[str, Any]] = []
    for feature_set in store.feature_sets():
        for view in store.views(feature_set):
            entries = store.entries(feature_set, view)
            complete = [entry for entry in entries if entry.complete]
            damaged = [entry.recording for entry in entries if entry.problem]
            rows.append(
                {
                    "feature_set": feature_set,
                    "view": view,
                    "recordings": len(complete),
                    "hours": round(sum(entry.duration_seconds for entry in complete) / 3600, 3),
                    "size_bytes": sum(entry.size_bytes for entry in entries),
                    "incomplete": [e.recording for e in entries if not (e.complete or e.problem)],
                    "damaged": damaged,
                    "fingerprint": store.feature_set(feature_set).get("fingerprint"),
                }
            )
    if as_json:
        print_json({"store": str(store.path), "views": rows})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("feature set", "view", "recordings", "hours", "MiB", "incomplete", title=str(store.path))
    for row in rows:
        unusable = [*row["incomplete"], *(f"{name} (damaged)" for name in row["damaged"])]
        size = f"{row['size_bytes'] / 2**20:.1f}"
        cells = (row["feature_set"], row["view"], row["recordings"], f"{row['hours']:.2f}", size)
        table.add_row(*map(str, cells), ", ".join(unusable) or "-")
    Console().print(table)
