"""The model that is asked for, as an exported folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sync_predict.programs import chosen, run_program
from sync_store.errors import TrainingError
from sync_store.exported import RECIPE, ModelRecipe, check_weights, read_recipe
from sync_store.project import Project

DEFAULT_METHOD = "tas"

DEFAULT_BACKBONE = "dinov2-large"
"""Of a project that names none."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """An exported model."""

    folder: Path
    recipe: ModelRecipe


@contextmanager
def open_model(
    run: str, method: str | None, seed: int | None, project: Project | None, runs: Path | None
) -> Iterator[Model]:
    """Find a model; that of a run is exported into a folder that goes away.

    Args:
        run: An exported folder, a run's folder, or a run's name in the project.
        method: The method; by default `DEFAULT_METHOD`.
        seed: The seed; by default the run's lowest.
        project: Where runs are named; None if there is none.
        runs: Folder of runs, where it isn't the project's.

    Raises:
        TrainingError: If an exported model is another one than asked for, has the weights of another one, or reads
            features that can't be extracted.
        SyncError: If there is no such run, or it has no such method.
    """
    if (Path(run) / RECIPE).is_file():
        model = Model(folder=Path(run).resolve(), recipe=read_recipe(Path(run)))
        _check_asked(model, method, seed)
        _check_features(model)
        check_weights(model.folder, model.recipe)
        yield model
        return
    with TemporaryDirectory(prefix="sync-predict-") as folder:
        run_program(
            "sync-train",
            *chosen("--project", [None if project is None else project.file]),
            *chosen("--runs", [runs]),
            "export",
            *("--no-scores", "--output", folder, "--method", method or DEFAULT_METHOD),
            *chosen("--seed", [seed]),
            *("--", run),
            problem=f"no model of run {run!r}",
        )
        model = Model(folder=Path(folder), recipe=read_recipe(Path(folder)))
        _check_features(model)
        yield model


def weights_of(project: Project | None, recipe: ModelRecipe) -> Path | None:
    """The backbone's weights that a project extracts with, if it is the model's backbone."""
    extract = {} if project is None else project.stage("extract")
    weights = extract.get("weights")
    if project is None or not isinstance(weights, str):
        return None
    is_same = extract.get("backbone", DEFAULT_BACKBONE) == recipe.extract.backbone
    return project.folder / weights if is_same else None


def _check_asked(model: Model, method: str | None, seed: int | None) -> None:
    recipe = model.recipe
    for name, asked, has in (("method", method, recipe.method), ("seed", seed, recipe.seed)):
        if asked is not None and asked != has:
            raise TrainingError(
                f"{model.folder}: is an exported model of {name} {has}, not {asked}. Leave --{name} out, or export the "
                "other with: sync-train export"
            )


def _check_features(model: Model) -> None:
    recipe = model.recipe
    if recipe.extract.backbone is None:
        raise TrainingError(
            f"run {recipe.run} was trained on features that were imported ({recipe.feature_set.name}): they can't be "
            "made from a video. Import those of the new video, too, and use: sync-train apply"
        )
