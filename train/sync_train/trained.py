"""A method's finished model in a run folder: its weights, what it predicted, and the features that it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_store.bounded import read_json
from sync_store.config import from_table
from sync_store.errors import FingerprintError, IncompleteError, TrainingError
from sync_store.exported import MAX_WEIGHTS_BYTES, WEIGHTS
from sync_store.layout import FeatureSet
from sync_store.place import Place, to_place
from sync_store.predictions import PredictionSet, find_predictions
from sync_store.provenance import file_digest
from sync_store.reader import FeatureStore
from sync_train.config import TrainConfig
from sync_train.fit_config import StudentConfig


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """One method of one seed, trained and tested."""

    run_folder: Path
    stage_folder: Path
    """Where the model is."""
    predictions: PredictionSet
    """What it predicted of the test split."""
    inputs: Mapping[str, Any]
    """What decided the stage's result."""
    provenance: Mapping[str, Any]
    """What the stage was made from."""

    @property
    def chunk_rows(self) -> int:
        """Rows in a step of the network."""
        return int(self.inputs["windowing"]["chunk_rows"])

    @property
    def loss(self) -> str:
        """Loss of a student; inputs name no default one."""
        return str(self.inputs["config"].get("loss", StudentConfig().loss))

    @property
    def selection(self) -> str:
        """How each stage chose its epoch, such as "teacher held-out, tas last"; empty if that isn't known."""
        return str(self._protocol.get("selection", ""))

    @property
    def tta_chunk_rows(self) -> tuple[int, ...]:
        """Chunk sizes over which its predictions were averaged; none for its own alone."""
        listed = str(self._protocol.get("tta_chunk_rows", ""))
        return tuple(int(number) for number in listed.split(",") if number)

    @property
    def _protocol(self) -> Mapping[str, str | int | float | bool]:
        return self.predictions.info.protocol or {}


def find_run(run: str, runs: Path | None) -> Path:
    """The folder of a run.

    Args:
        run: Its name in `runs`, or its folder.
        runs: Folder of the project's runs; None without a project.

    Raises:
        TrainingError: If there is no such run.
    """
    named = [] if runs is None else [runs / run]
    for folder in (*named, Path(run)):
        if _seeds(folder):
            return folder.resolve()
    known = [] if runs is None or not runs.is_dir() else sorted(f.name for f in runs.iterdir() if _seeds(f))
    where = f"{runs} has {', '.join(known) or 'none yet'}" if runs is not None else "no sync.toml is near"
    raise TrainingError(f"there is no run {run!r}: expected a name or a folder that holds seed-0; {where}")


def find_model(run_folder: Path, method: str, seed: int | None) -> TrainedModel:
    """The model of a method.

    Args:
        run_folder: Of the run.
        method: The row of the table.
        seed: By default the lowest that has the method.

    Raises:
        TrainingError: If the method wasn't trained to its end, or its model has changed since it was tested.
    """
    seeds = _seeds(run_folder) if seed is None else [seed]
    having = [each for each in seeds if _tested(run_folder / f"seed-{each}", method)]
    if not having:
        methods = {found.info.method for found in find_predictions(run_folder)}
        train = f"sync-train --run {run_folder.name} --method {method}"
        raise TrainingError(
            f"{run_folder}: has no finished {method} of seed {', '.join(map(str, seeds))}, but "
            f"{', '.join(sorted(methods)) or 'nothing finished'}. Make it with: {train}"
            + ("" if seed is None else f" --seed {seed}")
        )
    folder = run_folder / f"seed-{having[0]}"
    config = from_table(TrainConfig, _read_table(folder / "config.json"), str(folder / "config.json"))
    stage_folder = _stage_folder(folder, config, method)
    digest = _weights_digest(stage_folder)
    for predictions in _tested(folder, method):
        if (predictions.info.protocol or {}).get("model") == digest:
            return TrainedModel(
                run_folder=run_folder,
                stage_folder=stage_folder,
                predictions=predictions,
                inputs=_read_table(stage_folder / "inputs.json"),
                provenance=_read_table(stage_folder / "provenance.json"),
            )
    raise TrainingError(
        f"{stage_folder}: has been trained anew since {method} was tested. Test it with: sync-train "
        f"--run {run_folder.name} --method {method} --seed {having[0]}"
    )


def feature_set_of(model: TrainedModel, store: Place | None) -> FeatureSet:
    """The features that a model predicts on.

    Args:
        model: The model.
        store: Where to look first; then in the store that it was trained from.

    Raises:
        IncompleteError: If neither store has them.
        FingerprintError: If they have been made by another recipe since.
    """
    name = model.predictions.info.feature_set
    attributes = _attributes(name, [path for path in (store, _trained_from(model)) if path is not None])
    expected = _fingerprint(model, name)
    if expected not in (None, attributes["fingerprint"]):
        raise FingerprintError(
            f"{model.stage_folder}: was trained on features {name} with fingerprint {str(expected)[:12]}…, and those "
            f"of the store have {attributes['fingerprint'][:12]}…: they were made by another recipe"
        )
    return FeatureSet.stored(name, attributes)


def _attributes(name: str, stores: list[Place]) -> dict[str, Any]:
    for store in stores:
        try:
            return FeatureStore(store).feature_set(name)
        except (IncompleteError, ValueError):  # no store here, or not with these features
            continue
    raise IncompleteError(
        f"features {name}: neither the project's store nor the one that the run was trained from has them "
        f"({', '.join(map(str, stores)) or 'no store is known'}), so nobody can say how they are made"
    )


def _trained_from(model: TrainedModel) -> Place | None:
    store = model.provenance.get("store")
    return to_place(store, Path()) if isinstance(store, str) else None


def _fingerprint(model: TrainedModel, feature_set: str) -> str | None:
    """What the run's features of that name had; a teacher that is given others has only its own on record."""
    own = _read_table(model.stage_folder / "config.json")
    for record in (own, model.provenance, model.provenance.get("ego_features", {})):
        if record.get("feature_set") == feature_set:
            return str(record["fingerprint"])
    return None


def _stage_folder(folder: Path, config: TrainConfig, method: str) -> Path:
    from sync_train.protocol import stages_of  # needs torch

    stage = stages_of(config, method)[-1]
    if stage == "teacher" and config.teacher_run is not None:
        return folder.parents[1] / config.teacher_run / folder.name / stage
    return folder / stage


def _weights_digest(stage_folder: Path) -> str:
    try:
        return file_digest(stage_folder / WEIGHTS, MAX_WEIGHTS_BYTES)
    except FileNotFoundError:
        raise TrainingError(f"{stage_folder}: holds no model (model.safetensors is missing)") from None
    except OSError as error:
        raise TrainingError(f"{stage_folder / WEIGHTS}: can't be read ({error.strerror})") from None


def _seeds(run_folder: Path) -> list[int]:
    """Seeds of a run, ascending; none if the folder isn't a run's."""
    names = [path.name.removeprefix("seed-") for path in run_folder.glob("seed-*")]
    return sorted(int(name) for name in names if name.isdecimal())


def _tested(seed_folder: Path, method: str) -> list[PredictionSet]:
    return find_predictions(seed_folder / "predictions" / method)


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = read_json(path)
    except FileNotFoundError:
        raise TrainingError(f"{path}: is missing; train anew with --overwrite") from None
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: can't be read as JSON ({error})") from None
    if not isinstance(table, dict):
        raise TrainingError(f"{path}: can't be read as JSON (it holds no object)")
    return table
