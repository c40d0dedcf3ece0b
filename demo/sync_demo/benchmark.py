"""Writes a benchmark's folder: videos, labels, splits and metadata, each file whole or absent.

A recording is done when its folder below videos/ has its final name; a run that was stopped goes on from there.
"""

import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sync_demo.film import film
from sync_demo.plan import SPLITS, RecordingPlan, Settings, plan_benchmark
from sync_demo.project import project_text
from sync_store.atomic import flush_tree, write_atomic, write_json
from sync_store.errors import DatasetError
from sync_store.labels import ns_to_text, seconds_to_ns, segments_to_csv

MANIFEST = "demo.json"
VERSION = 1
"""Of the scene and the files; raised whenever equal settings would render something else."""


def render_benchmark(
    folder: Path,
    settings: Settings,
    workers: int = 2,
    on_recording: Callable[[str, int, int], None] | None = None,
) -> int:
    """Render whatever of the benchmark isn't there yet.

    Args:
        folder: Where it goes; new, empty, or begun by an earlier run with the same settings.
        settings: What to render.
        workers: Processes; the result doesn't depend on it.
        on_recording: Told of each recording as it becomes ready: name, how many are, of how many.

    Returns:
        How many recordings were rendered now.

    Raises:
        DatasetError: If the folder holds something else.
    """
    _claim(folder, settings)
    plans = plan_benchmark(settings)
    _write_tables(folder, settings, plans)
    waiting = [plan for plan in plans if not _is_done(folder, plan)]
    ready = len(plans) - len(waiting)
    for name in _render_all(folder, settings, [plan.index for plan in waiting], workers):
        ready += 1
        if on_recording is not None:
            on_recording(name, ready, len(plans))
    return len(waiting)


def _claim(folder: Path, settings: Settings) -> None:
    """Note the settings in the folder, or check that they are those it was begun with."""
    wanted: dict[str, Any] = json.loads(json.dumps({"version": VERSION, **asdict(settings)}))
    path = folder / MANIFEST
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            differs = {key for key in wanted if found.get(key) != wanted[key]}
        except (ValueError, AttributeError):
            raise DatasetError(f"{path}: can't be read as JSON; delete {folder} to render anew") from None
        if differs:
            was = ", ".join(f"{key} {found.get(key)}" for key in sorted(differs))
            now = ", ".join(f"{key} {wanted[key]}" for key in sorted(differs))
            raise DatasetError(
                f"{folder} was rendered with {was}, now asked for {now}. Choose another folder, or delete this one"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} isn't empty and has no {MANIFEST}; choose a new or empty folder")
    write_json(path, wanted)


def _write_tables(folder: Path, settings: Settings, plans: Sequence[RecordingPlan]) -> None:
    _write(folder / "classes.txt", "".join(f"{name}\n" for name in settings.kit.classes))
    for split in SPLITS:
        names = [plan.name for plan in plans if plan.split == split]
        _write(folder / "splits" / f"{split}.txt", "".join(f"{name}\n" for name in names))
    _write(
        folder / "recordings.csv",
        _csv(
            ("recording", "procedure", "toy", "kind", "split", "num_actions", "duration_seconds"),
            (
                (
                    plan.name,
                    plan.script.procedure.name,
                    plan.script.procedure.toy,
                    plan.script.procedure.kind,
                    plan.split,
                    len(plan.script.labels()),
                    ns_to_text(plan.script.stop_ns),
                )
                for plan in plans
            ),
        ),
    )
    _write(
        folder / "offsets.csv",
        _csv(
            ("recording", "view", "offset_seconds"),
            (
                (plan.name, view.view, ns_to_text(seconds_to_ns(view.offset_seconds)))
                for plan in plans
                for view in plan.views
                if not view.keeps_clock
            ),
        ),
    )
    if not (folder / "sync.toml").exists():  # from then on it is the user's
        _write(folder / "sync.toml", project_text(settings.size))


def _render_all(folder: Path, settings: Settings, indices: Sequence[int], workers: int) -> Iterable[str]:
    if workers == 1 or len(indices) < 2:
        yield from (_render_one(folder, settings, index) for index in indices)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=workers, mp_context=context, initializer=_set_up_worker) as pool:
        jobs = [pool.submit(_render_one, folder, settings, index) for index in indices]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _set_up_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it: a worker whose parent was killed would wait forever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _render_one(folder: Path, settings: Settings, index: int) -> str:
    recording = plan_benchmark(settings)[index]
    final = folder / "videos" / recording.name
    partial = final.with_name(f".{recording.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    film(recording, partial)
    flush_tree(partial)
    write_atomic(folder / "labels" / f"{recording.name}.csv", segments_to_csv(recording.script.labels()))
    shutil.rmtree(final, ignore_errors=True)  # it may be there without one of its videos
    partial.replace(final)
    return recording.name


def _is_done(folder: Path, plan: RecordingPlan) -> bool:
    videos = folder / "videos" / plan.name
    return (folder / "labels" / f"{plan.name}.csv").exists() and all(
        (videos / f"{view.view}.mp4").exists() for view in plan.views
    )


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text.encode())


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()
