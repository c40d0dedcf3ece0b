"""Exports a trained model as a folder in the form of the Hugging Face hub: see `sync_store.exported`."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from sync_eval.config import EvaluateConfig
from sync_eval.runs import Row, find_groups, score_groups
from sync_eval.scoring import read_truth
from sync_store.atomic import write_atomic
from sync_store.config import from_table
from sync_store.datasets import open_dataset
from sync_store.errors import TrainingError
from sync_store.exported import RECIPE, ExtractSettings, ModelRecipe, write_recipe
from sync_store.layout import FeatureSet
from sync_store.project import Project
from sync_train.card import CARD, Card, render_card
from sync_train.checkpoint import CONFIG, WEIGHTS, weights_digest
from sync_train.trained import TrainedModel

FILES = (CONFIG, WEIGHTS, RECIPE, CARD)


def export_model(
    folder: Path,
    model: TrainedModel,
    feature_set: FeatureSet,
    *,
    rows: Sequence[Row] = (),
    protocol: str = "",
    licence: str | None = None,
    overwrite: bool = False,
) -> ModelRecipe:
    """Write the folder of a model.

    Args:
        folder: Where to; new, empty, or with `overwrite` an earlier export.
        model: What to export.
        feature_set: The features that it predicts on.
        rows: Its scores, none or one row.
        protocol: How these were counted.
        licence: As the hub names licences, such as "cc-by-nc-4.0".
        overwrite: Replace an earlier export.

    Raises:
        TrainingError: If the folder holds something that is to be kept.
    """
    _claim(folder, overwrite=overwrite)
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
        tta_chunk_rows=model.config.tta_chunk_rows,
    )
    card = Card(model=model, recipe=recipe, rows=tuple(rows), protocol=protocol, licence=licence)
    (folder / RECIPE).unlink(missing_ok=True)  # first, so that a part is never taken for a model
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(model.stage_folder / name, folder / name)
    write_atomic(folder / CARD, render_card(card).encode())
    write_recipe(folder, recipe)
    return recipe


def score_model_on_test(project: Project, model: TrainedModel) -> tuple[list[Row], EvaluateConfig]:
    """Scores of a model's method over all seeds of its run.

    Raises:
        DatasetError: If the test split can't be scored: it has no labels, or predictions are missing.
    """
    info = model.predictions.info
    config = from_table(EvaluateConfig, project.stage("evaluate"), f"{project.file} [evaluate]")
    groups = [
        group
        for group in find_groups([model.run_folder])
        if (group.info.method, group.info.view, group.info.split, group.info.feature_set)
        == (info.method, info.view, info.split, info.feature_set)
    ]
    truth = read_truth(open_dataset(project), info.split, config.unsegmented)
    return score_groups(groups, {info.split: truth}, config.protocol), config


def _claim(folder: Path, *, overwrite: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    there = {entry.name for entry in folder.iterdir()}
    if there & {*FILES} and not overwrite:
        raise TrainingError(f"{folder}: holds a model already. Choose another --output, or add --overwrite")
    if there and not there & {*FILES}:
        raise TrainingError(f"{folder}: holds other files. Choose a new folder with --output")
