"""The folder of one training: what it was made from, its checkpoint and journal, and its result, written last.

A training that is finished with the same inputs isn't done again; one that was interrupted goes on.
"""

import json
import reprlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sync_extract.backbones.resnet_tsm import ResNetTSM
from sync_extract.backbones.tsm_checkpoint import Classifier, TsmInfo, save_tsm
from sync_extract.tuning.config import TuningConfig
from sync_extract.tuning.frames import FilmFrames, store_all
from sync_extract.tuning.loop import CHECKPOINT, FitResult
from sync_extract.tuning.sources import json_digest
from sync_store.atomic import write_json
from sync_store.bounded import read_json
from sync_store.datasets import VideoSource
from sync_store.errors import DatasetError, ProjectError, TrainingError
from sync_store.names import check_name
from sync_store.project import Project
from sync_store.provenance import code_version, library_versions, machine

FOLDER = "backbones"
"""Below the project's folder."""

MODEL = "model.safetensors"
INPUTS = "inputs.json"
PROVENANCE = "provenance.json"
RESULT = "result.json"

UNDECISIVE = ("weights", "device", "workers", "scratch")
"""Settings that a result doesn't depend on; of the weights the digest counts, not their place."""

FIT_ONLY = (
    "epochs",
    "batch_size",
    "pass_clips",
    "learning_rate",
    "learning_rate_steps",
    "momentum",
    "weight_decay",
    "gradient_clip",
    "selection",
    "held_out",
    "seed",
    "dropout",
    "reduction",
    "freeze_batch_norm",
)
"""Settings that the decoded pictures don't depend on; nor do they on the start and on what is held out."""


class Watcher(Protocol):
    """Who wants to know how far training is."""

    def decoding(self, num_films: int, num_pictures: int, size_bytes: int, folder: Path) -> None:
        """So many pictures of so many videos are to be had, which take that much room in a folder."""

    def decoded(self, num_done: int, num_films: int) -> None:
        """So many of the videos are done."""

    def epoch(self, values: Mapping[str, Any], epochs: int) -> None:
        """An epoch is done; its line of the journal."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training."""

    folder: Path
    config: TuningConfig
    inputs: Mapping[str, Any]
    """All that decides the result, as JSON values."""

    @classmethod
    def of(cls, project: Project, name: str, config: TuningConfig, inputs: Mapping[str, Any]) -> "Run":
        """The training of a name, with its settings among its inputs."""
        check_name("backbone", name, ProjectError)
        settings = {key: value for key, value in asdict(config).items() if key not in UNDECISIVE}
        plain = json.loads(json.dumps({"settings": settings, **inputs}))
        return cls(folder=project.folder / FOLDER / name, config=config, inputs=plain)

    @property
    def model(self) -> Path:
        """Where the result is."""
        return self.folder / MODEL

    @property
    def digest(self) -> str:
        """SHA-256 of the inputs."""
        return json_digest(self.inputs)

    @property
    def pictures_digest(self) -> str:
        """SHA-256 of those that decide which pictures are decoded, and how."""
        settings = self.inputs.get("settings", {})
        deciding = {key: value for key, value in settings.items() if key not in FIT_ONLY}
        others = {key: value for key, value in self.inputs.items() if key not in ("start", "held_out")}
        return json_digest({**others, "settings": deciding})

    @property
    def frames_folder(self) -> Path:
        """Where decoded pictures are until the training is done."""
        if self.config.scratch is None:
            return self.folder / "frames"
        return self.config.scratch / f"{self.folder.name}-{self.pictures_digest[:16]}"

    def frames_path(self, source: VideoSource) -> Path:
        """File of a video's decoded pictures."""
        view = check_name("view", source.view, ProjectError)
        recording = check_name("recording", source.recording, DatasetError)
        return self.frames_folder / view / f"{recording}.u8"

    def claim(self, *, overwrite: bool) -> dict[str, Any] | None:
        """Make the folder this training's.

        Until an epoch is done, one that was made for another fit to the same pictures is taken over with them.

        Returns:
            The result, if it is there already.

        Raises:
            TrainingError: If the folder holds another training, or something else.
        """
        found = _read_inputs(self.folder)
        before = replace(self, inputs=found or {})
        has_work = _has_work(self.folder) or _has_work(before.frames_folder)
        if found is None and has_work:
            raise TrainingError(
                f"{self.folder}: isn't the folder of a training ({INPUTS} is missing). Choose another name"
            )
        if found is not None and (overwrite or (found != self.inputs and not has_work)):
            before._tidy()
            _clear(self.folder)
        elif found == {}:
            raise TrainingError(f"{self.folder / INPUTS}: can't be read as JSON; train anew with --overwrite")
        elif found is not None and found != self.inputs and not self._takes_over(before):
            raise TrainingError(
                f"{self.folder}: was trained with {_difference(found, self.inputs)}. Choose another name, or train "
                "anew with --overwrite"
            )
        if found != self.inputs:
            write_json(self.folder / INPUTS, self.inputs)
        for orphan in self.folder.glob(".*.partial"):  # of a kill while a file was written
            orphan.unlink()
        if not (self.folder / RESULT).exists():
            return None
        self._tidy()
        try:
            result: dict[str, Any] = read_json(self.folder / RESULT)
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingError(
                f"{self.folder / RESULT}: can't be read as JSON ({error}). Train anew with --overwrite"
            ) from None
        return result

    def _takes_over(self, before: "Run") -> bool:
        has_epoch = any((self.folder / name).exists() for name in (CHECKPOINT, MODEL, RESULT))
        return not has_epoch and before.pictures_digest == self.pictures_digest

    def store(self, films: Sequence[FilmFrames], watcher: Watcher) -> None:
        """Have the pictures of all clips on disk."""
        watcher.decoding(
            len(films),
            sum(len(film.frame_index) for film in films),
            sum(film.size_bytes for film in films),
            self.frames_folder,
        )
        store_all(films, self.frames_folder, workers=self.config.workers, on_film=watcher.decoded)

    def finish(
        self,
        network: ResNetTSM,
        info: TsmInfo,
        fitted: FitResult,
        counts: Mapping[str, Any],
        *,
        classifier: Classifier | None = None,
    ) -> dict[str, Any]:
        """Write the result.

        Args:
            network: With the selected weights.
            info: What was trained on what.
            fitted: How the fit ended.
            counts: Of recordings and clips, for the record.
            classifier: The linear layer, where there is one.
        """
        training = {
            "command": self.inputs["command"],
            "inputs_sha256": self.digest,
            "start_sha256": self.inputs["start"],
            **asdict(fitted),
        }
        save_tsm(self.model, network, replace(info, training=training), classifier=classifier)
        versions = library_versions(["torch", "numpy", "av", "decord", "safetensors"])
        write_json(
            self.folder / PROVENANCE,
            {**counts, "code": code_version(), "libraries": versions, "machine": machine()},
        )
        result = {**asdict(fitted), "trained_on": list(info.trained_on), **counts}
        write_json(self.folder / RESULT, result)
        self._tidy()
        return result

    def _tidy(self) -> None:
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(self.frames_folder, ignore_errors=True)


def hold_out(names: Sequence[str], config: TuningConfig) -> tuple[list[str], list[str]]:
    """Divide recordings into those to learn from and those to select on, as the seed decides.

    Raises:
        TrainingError: If there are fewer than two.
    """
    if config.selection == "last":
        return list(names), []
    if len(names) < 2:
        raise TrainingError(
            f"{len(names)} recording can't be divided into one to learn from and one to select on. Add "
            'recordings, or keep the last epoch with selection = "last" in sync.toml'
        )
    num_held_out = min(len(names) - 1, max(1, round(config.held_out * len(names))))
    held_out = set(np.random.default_rng(config.seed).permutation(len(names))[:num_held_out].tolist())
    return (
        [name for index, name in enumerate(names) if index not in held_out],
        [name for index, name in enumerate(names) if index in held_out],
    )


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    """The value in which two tables differ first; if they are of different commands, that."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in ("command", *sorted({*found, *wanted})):
            if found.get(key) != wanted.get(key):
                return _difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
    return f"{where} = {reprlib.repr(found)}, now {reprlib.repr(wanted)}"


def _has_work(folder: Path) -> bool:
    """Whether there is more than what a training that failed at once leaves."""
    return any(
        path.is_file() and path.name != INPUTS and not path.name.endswith(".partial")
        for path in folder.rglob("*")
    )


def _read_inputs(folder: Path) -> dict[str, Any] | None:
    """What a folder was made from: None if it doesn't say, empty if that can't be read."""
    path = folder / INPUTS
    try:
        found = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _clear(folder: Path) -> None:
    """Empty the folder but for the inputs, the result first, so that a rest is never taken for a training's."""
    (folder / RESULT).unlink(missing_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != INPUTS:
            entry.unlink()
