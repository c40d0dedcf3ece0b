"""One stage's folder: what it was made from, its journal and checkpoint, and its result, written last.

A stage that is finished with the same inputs isn't done again; one that was interrupted goes on.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from sync_store.atomic import write_json
from sync_store.bounded import read_json
from sync_store.config import from_table
from sync_store.errors import ProjectError, TrainingError
from sync_store.exported import WEIGHTS
from sync_train.checkpoint import SegmenterInfo, load_weights, save_segmenter
from sync_train.distributed import first, share_state
from sync_train.events import EVENTS, Events
from sync_train.fit_config import FitConfig
from sync_train.journal import read_journal
from sync_train.loop import CHECKPOINT, JOURNAL, FitResult, Task, fit
from sync_train.models.segmenter import Segmenter

INPUTS = "inputs.json"
PROVENANCE = "provenance.json"
RESULT = "result.json"


class Watcher(Protocol):
    """Who wants to know how far training is."""

    def started(self, stage: str, seed: int, max_epochs: int) -> None:
        """A stage begins, or goes on."""

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """An epoch of it is done."""

    def finished(self, result: Mapping[str, Any], again: bool) -> None:
        """The stage is done; `again` if it had been done before."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A fit with a folder of its own."""

    name: str
    """`teacher`, `ego-oracle`, `adapter`, `tas` or `feature-tas`."""
    folder: Path
    seed: int
    config: FitConfig
    inputs: Mapping[str, Any]
    """All that decides the result, as JSON values: settings, digests of the data and of the weights of earlier
    stages."""
    provenance: dict[str, Any]
    """Recorded beside them: versions, machine, names of what was used. Who makes the task may add what it finds
    out about its data."""
    checkpoint_seconds: float
    """Least time from one checkpoint to the next."""
    tensorboard: bool = False
    """Write TensorBoard's events, also of a stage that is finished and has none."""

    def run(
        self,
        model: Segmenter,
        info: SegmenterInfo,
        make_task: Callable[[Segmenter], Task],
        watcher: Watcher,
    ) -> Segmenter:
        """Fit, go on with a fit, or take the finished one.

        Args:
            model: As it is before the fit; gets the fitted weights.
            info: Written beside the weights.
            make_task: Called only where there is something left to fit: it may read data.
            watcher: Told what happens.

        Raises:
            TrainingError: If the folder was made from other inputs, or its result can't be read.
        """
        first(self._claim)
        watcher.started(self.name, self.seed, self.config.max_epochs)
        if (result := first(lambda: self._take(model))) is not None:
            share_state(model)
            watcher.finished(asdict(result), again=True)
            return model
        fitted = fit(
            make_task(model),
            self.config,
            self.folder,
            seed=self.seed,
            checkpoint_seconds=self.checkpoint_seconds,
            tensorboard=self.tensorboard,
            on_epoch=watcher.epoch,
        )
        first(lambda: self._finish(model, info, fitted))
        watcher.finished(asdict(fitted), again=False)
        return model

    def _take(self, model: Segmenter) -> FitResult | None:
        """Load the weights of a finished stage; None where there are none yet."""
        if not (self.folder / RESULT).exists():
            return None
        load_weights(self.folder / WEIGHTS, model)
        if self.tensorboard and not (self.folder / EVENTS).exists():
            Events(self.folder / EVENTS, read_journal(self.folder / JOURNAL)).close()
        return _read_result(self.folder / RESULT)

    def _finish(self, model: Segmenter, info: SegmenterInfo, fitted: FitResult) -> None:
        save_segmenter(self.folder, model, info)
        write_json(self.folder / PROVENANCE, self.provenance)
        write_json(self.folder / RESULT, asdict(fitted))
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def _claim(self) -> None:
        if not (self.folder / INPUTS).exists():
            delete_stage(self.folder)
            write_json(self.folder / INPUTS, dict(self.inputs))
            return
        for orphan in self.folder.glob(".*.partial"):  # of a kill while a file was written
            orphan.unlink()
        check_inputs(self.folder, self.inputs, whole=True)


def check_inputs(folder: Path, wanted: Mapping[str, Any], *, whole: bool = False) -> None:
    """Check what a stage's folder was made from, if it is there.

    Args:
        folder: The stage's.
        wanted: Inputs, as JSON values.
        whole: Whether they are all; else others that the stage has aren't looked at.

    Raises:
        TrainingError: If the folder was made from other inputs; the first that differs is named.
    """
    try:
        found = _read_table(folder / INPUTS)
    except FileNotFoundError:
        return
    wanted = json.loads(json.dumps(dict(wanted)))
    if not whole:
        found = {key: value for key, value in found.items() if key in wanted}
    if found != wanted:
        raise TrainingError(
            f"{folder}: was trained with {_first_difference(found, wanted)}. Choose another name with "
            "--run, or train anew with --overwrite"
        )


def delete_stage(folder: Path) -> None:
    """Delete a stage's folder so that the rest of it is never taken for a stage."""
    (folder / INPUTS).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _read_result(path: Path) -> FitResult:
    try:
        return from_table(FitResult, _read_table(path), str(path))
    except ProjectError as error:
        raise TrainingError(f"{error}; train anew with --overwrite") from None


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = read_json(path)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise TrainingError(f"{path}: can't be read as JSON; train anew with --overwrite")
    return table


def _first_difference(found: Any, wanted: Any, where: str = "") -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                return _first_difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    return f"{where} = {found!r}, now {wanted!r}"
