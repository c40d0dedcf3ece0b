"""What the checks of features share as commands."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import click

from sync_store.atomic import write_json
from sync_store.console import print_json
from sync_store.errors import TrainingError
from sync_store.project import load_project
from sync_train.request import Request, read_config


def carry_out_check(
    request: Request, check: Literal["retrieval", "recognition"], methods: Sequence[str]
) -> None:
    """Do what isn't done yet for each seed and method, and print a table."""
    from sync_train.checks.run import SeedChecks
    from sync_train.progress import show_progress
    from sync_train.readiness import check_setting
    from sync_train.setting import make_setting

    project = load_project(request.project_path)
    config = read_config(project, request.overrides, request.settings)
    config = replace(config, methods=_methods_of_training(check, methods, config.direction))
    setting = make_setting(project, config)
    if {*methods} != {"random"}:
        check_setting(setting)
    results = []
    with show_progress(quiet=request.quiet or request.as_json) as watcher:
        for seed in config.seeds:
            checks = SeedChecks(setting, request.runs or project.runs_path, seed, watcher)
            for method in methods:
                checks.check_stages(method)
            if not (checks.folder / "config.json").exists():
                write_json(checks.folder / "config.json", asdict(config))
            do = checks.retrieval if check == "retrieval" else checks.recognition
            for method in methods:
                try:
                    results.append((do(method, overwrite=request.overwrite), checks.file(check, method)))
                except TrainingError as error:
                    raise TrainingError(f"{method}: {error}") from None
    if request.as_json:
        rows = [{"file": str(file), **asdict(result)} for result, file in results]
        print_json({"run": config.run, "check": check, "results": rows})
        return
    _print_table(
        [
            {"method": result.method, "seed": str(result.seed), "segments": str(result.num_segments)}
            | {name: f"{value:.2f}" for name, value in result.metrics.items()}
            for result, _ in results
        ]
    )


def _methods_of_training(check: str, methods: Sequence[str], direction: str) -> tuple[str, ...]:
    """Methods of `sync-train` that read what is read here.

    A retrieval reads the teacher's view of the test split, which among these its oracle alone does.
    """
    oracle = "exo-oracle" if direction == "exo-to-ego" else "ego-oracle"
    if check == "retrieval":
        return (oracle, *methods)
    return tuple(method for method in methods if method != "random") or (oracle,)


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([row.get(name, "") for name in columns] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for first, *others in lines:
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
        ]
        click.echo("  ".join(cells).rstrip())
