"""Exports a trained model as a folder in the form of the Hugging Face hub: see `sync_store.exported`."""

import shutil
from pathlib import Path

from sync_eval.config import EvaluateConfig
from sync_eval.runs import Row, find_groups, score_groups
from sync_eval.scoring import read_truth
from sync_store.atomic import write_atomic
from sync_store.config import from_table
from sync_store.datasets import open_dataset
from sync_store.errors import TrainingError
from sync_store.exported import RECIPE, WEIGHTS, ExtractSettings, ModelRecipe, write_recipe
from sync_store.layout import FeatureSet
from sync_store.project import Project
from sync_train.card import CARD, Card, render_card
from sync_train.checkpoint import CONFIG, weights_digest
from sync_train.trained import TrainedModel

FILES = (CONFIG, WEIGHTS, RECIPE, CARD)


def export_model(
    folder: Path,
    model: TrainedModel,
    feature_set: FeatureSet,
    *,
    row: Row | None = None,
    protocol: str = "",
    licence: str | None = None,
    overwrite: bool = False,
) -> ModelRecipe:
    """Write the folder of a model.

    Args:
        folder: Where to; new, empty, or with `overwrite` an earlier export.
        model: What to export.
        feature_set: The features that it predicts on.
        row: Its scores, if they were counted.
        protocol: How these were counted.
        licence: As the hub names licences, such as "cc-by-nc-4.0".
        overwrite: Replace an earlier export, also one that was interrupted.

    Raises:
        TrainingError: If the folder holds something that is to be kept.
    """
    _check_free(folder, overwrite=overwrite)
    info = model.predictions.info
    recipe = ModelRecipe(
        run=info.run,
        seed=info.seed,
        method=info.method,
        view=info.view,
        kind=info.kind,
        weights_sha256=weights_digest(model.stage_folder / WEIGHTS),
        feature_set=feature_set,
        extract=ExtractSettings.of_recipe(feature_set.recipe),
        tta_chunk_rows=model.tta_chunk_rows,
    )
    card = render_card(Card(model=model, recipe=recipe, row=row, protocol=protocol, licence=licence))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE).unlink(missing_ok=True)  # first, so that a part is never taken for a model
    for name in (WEIGHTS, CONFIG):  # the weights show that the rest is an export's
        shutil.copyfile(model.stage_folder / name, folder / name)
    write_atomic(folder / CARD, card.encode())
    write_recipe(folder, recipe)
    return recipe


def score_model_on_test(project: Project, model: TrainedModel) -> tuple[Row, EvaluateConfig]:
    """Scores of a model's method over all seeds of its run.

    Raises:
        DatasetError: If the test split can't be scored: it has no labels, or predictions are missing.
    """
    info = model.predictions.info
    config = from_table(EvaluateConfig, project.stage("evaluate"), f"{project.file} [evaluate]")
    (group,) = (
        group
        for group in find_groups([model.run_folder])
        if any(found.folder.samefile(model.predictions.folder) for found in group.sets)
    )
    truth = read_truth(open_dataset(project), info.split, config.unsegmented)
    (row,) = score_groups([group], {info.split: truth}, config.protocol)
    return row, config


def _check_free(folder: Path, *, overwrite: bool) -> None:
    there = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    is_export = RECIPE in there or (WEIGHTS in there and there <= {*FILES})
    if there and not is_export:
        raise TrainingError(f"{folder}: holds other files. Choose a new folder with --output")
    if there and not overwrite:
        raise TrainingError(f"{folder}: holds a model already. Choose another --output, or add --overwrite")
