"""Which jobs are done already, found out without starting a process.

After a job, a mark is left beside its results: a digest of all that was asked for and of what it was made from. A job
whose marks and results are there isn't started again. Without them, or if anything has changed, `sync-train` itself
looks, which takes seconds.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sync_store.atomic import write_json
from sync_store.datasets import Dataset, labels_digest, open_dataset
from sync_store.errors import SyncError
from sync_store.predictions import MANIFEST
from sync_store.project import Project
from sync_store.reader import read_stamps
from sync_train.config import DROP_RULES
from sync_train.experiments.job import Commands, Job
from sync_train.request import read_config

MARKS = "finished.json"
"""In a seed's folder: SHA-256 by result."""


class Finished:
    """See the module."""

    def __init__(self, project: Project, commands: Commands) -> None:
        self._project = project
        self._commands = commands
        self._stamps: dict[tuple[str, str], list[Any]] = {}
        self._labels: str | None = None

    def is_done(self, job: Job) -> bool:
        """Whether all that a job makes is there, made from what is there now."""
        folder = job.folder(self._commands.runs)
        marks = _read_marks(folder / MARKS)
        digest = self._digest(job)  # without marks, too: what is there now is what will have been learnt from
        return digest is not None and all(
            marks.get(result) == digest and _is_there(folder, result) for result in job.results
        )

    def mark(self, job: Job, results: Iterable[str]) -> None:
        """Note that results of a job have just been made, or found whole by `sync-train`."""
        digest = self._digest(job)
        if digest is not None:
            path = job.folder(self._commands.runs) / MARKS
            write_json(path, {**_read_marks(path), **dict.fromkeys(results, digest)})

    def has_begun(self, job: Job) -> bool:
        """Whether there is anything of a job."""
        return job.folder(self._commands.runs).exists()

    def _digest(self, job: Job) -> str | None:
        """SHA-256 over what a job is asked for and made from; None if that can't be read."""
        options = job.run.options
        train = {key: value for key, value in self._project.stage("train").items() if key != "cluster"}
        views = [
            (options["feature_set"], options.get("exo")),
            (options["ego_feature_set"], options.get("ego")),
        ]
        try:
            table = {
                "run": [job.run.name, job.seed, job.run.teacher_run, dict(options), job.run.settings],
                "settings": [self._commands.settings, self._commands.skip_missing],
                "train": train,
                "drop_rules": DROP_RULES,
                "dataset": asdict(self._project.dataset),
                "features": [self._stamp(name, view) for name, view in views if view is not None],
                "labels": self._labels_digest(),
            }
        except (SyncError, OSError):
            return None
        return hashlib.sha256(json.dumps(table, sort_keys=True, default=str).encode()).hexdigest()

    def _stamp(self, feature_set: str, view: str) -> list[Any]:
        """Names, times and sizes of what says that a recording's features are whole."""
        key = (feature_set, view)
        if key not in self._stamps:
            stamps = read_stamps(self._project.store_path / feature_set / view)
            self._stamps[key] = [[name, *stamp] for name, stamp in stamps.items()]
        return self._stamps[key]

    def _labels_digest(self) -> str:
        """SHA-256 over splits, classes, labels to learn from and to test on, and procedures of the pairs."""
        if self._labels is None:
            dataset = open_dataset(self._project)
            names = asdict(read_config(self._project, {}, self._commands.settings).splits)
            splits = {kind: dataset.split(name) for kind, name in names.items()}
            content = [
                splits,
                dataset.classes(),
                [_digest_of_labels(dataset, name) for kind in ("train", "test") for name in splits[kind]],
                [dataset.procedure(name) for name in splits["adapt"]],
            ]
            self._labels = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return self._labels


def _digest_of_labels(dataset: Dataset, recording: str) -> str | None:
    """SHA-256 over a recording's labels; None if it has none, as recordings to test on may."""
    try:
        return labels_digest(dataset, [recording])
    except SyncError:
        return None


def _is_there(folder: Path, result: str) -> bool:
    if "/" in result:
        return (folder / "checks" / f"{result}.json").exists()
    return any((folder / "predictions" / result).glob(f"*/{MANIFEST}"))


def _read_marks(path: Path) -> dict[str, str]:
    try:
        marks = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return marks if isinstance(marks, dict) else {}
