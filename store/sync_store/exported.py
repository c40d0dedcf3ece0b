"""Exported models: a folder from which any machine can predict a new video, in the form of the Hugging Face hub.

config.json          the model's sizes and classes
model.safetensors    its weights
recipe.json          which features it reads and how they are made from video; written last
README.md            the model card
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sync_store.atomic import write_json
from sync_store.bounded import read_json
from sync_store.config import from_table
from sync_store.errors import ProjectError, TrainingError
from sync_store.layout import FeatureSet
from sync_store.provenance import file_digest

WEIGHTS = "model.safetensors"

MAX_WEIGHTS_BYTES = 8 << 30
"""A segmentation model has tens of megabytes."""

RECIPE = "recipe.json"
FORMAT = "sync-model"
VERSION = 1

OWN_PREPROCESSING = "demo"
"""Name of the preprocessing of backbones for demonstration, which have no other to choose from."""


@dataclass(frozen=True, kw_only=True)
class ExtractSettings:
    """Keys of section [extract] that decide a number of a feature set; None where extraction's default holds."""

    backbone: str | None = None
    """None where no backbone of ours made the features: they were imported."""
    preset: str | None = None
    tokens: tuple[str, ...] | None = None
    shift: str | None = None
    position_embedding: str | None = None
    fps: str | None = None
    precision: str | None = None

    @classmethod
    def of_recipe(cls, recipe: Mapping[str, Any]) -> "ExtractSettings":
        """The settings that make a feature set, as its recipe in the store tells them."""
        if not {"backbone", "preprocessing", "grid_fps", "precision"} <= recipe.keys():
            return cls()
        preset, tokens = recipe["preprocessing"]["name"], recipe.get("tokens")
        return cls(
            backbone=recipe["backbone"],
            preset=None if preset == OWN_PREPROCESSING else preset,
            tokens=None if tokens is None else tuple(tokens),
            shift=recipe.get("shift"),
            position_embedding=recipe.get("position_embedding"),
            fps=recipe["grid_fps"],
            precision=recipe["precision"],
        )

    def to_toml(self) -> str:
        """Lines of a section of sync.toml."""
        stated = {field.name: getattr(self, field.name) for field in fields(self)}
        # A text or a list of texts of JSON is one of TOML, as long as no character beyond 16 bits is escaped.
        return "".join(
            f"{key} = {json.dumps(value, ensure_ascii=False)}\n"
            for key, value in stated.items()
            if value is not None
        )


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """What one must know to predict with an exported model."""

    run: str
    seed: int
    method: str
    view: str
    """The view that the run predicted with it."""
    kind: str
    """`exo` or `ego`: the kind of that view."""
    weights_sha256: str
    """SHA-256 of model.safetensors; see `check_weights`."""
    feature_set: FeatureSet
    """The features that it predicts on."""
    extract: ExtractSettings
    """How these are made from video."""
    tta_chunk_rows: tuple[int, ...] = ()
    """Chunk sizes over which predictions are averaged; none for the model's own alone."""


def write_recipe(folder: Path, recipe: ModelRecipe) -> None:
    """Write recipe.json, which makes the folder an exported model."""
    table = {"format": FORMAT, "version": VERSION, **asdict(recipe)}
    table["feature_set"]["fingerprint"] = recipe.feature_set.fingerprint
    write_json(folder / RECIPE, table)


def read_recipe(folder: Path) -> ModelRecipe:
    """Read recipe.json.

    Raises:
        TrainingError: If the folder is no exported model, or its recipe isn't the one that was exported.
    """
    path = folder / RECIPE
    try:
        table = read_json(path)
    except FileNotFoundError:
        raise TrainingError(f"{folder}: isn't an exported model ({RECIPE} is missing)") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: can't be read as JSON ({error})") from None
    if not isinstance(table, dict) or table.pop("format", None) != FORMAT:
        raise TrainingError(f"{path}: isn't the recipe of an exported model")
    if (version := table.pop("version", None)) != VERSION:
        raise TrainingError(f"{path}: has version {version}, this program reads version {VERSION}")
    feature_set = table.get("feature_set")
    fingerprint = feature_set.pop("fingerprint", None) if isinstance(feature_set, dict) else None
    try:
        recipe = from_table(ModelRecipe, table, str(path))
    except ProjectError as error:
        raise TrainingError(str(error)) from None
    if recipe.feature_set.fingerprint != fingerprint:
        raise TrainingError(
            f"{path}: has changed since it was exported; export it again with sync-train export"
        )
    return recipe


def check_weights(folder: Path, recipe: ModelRecipe) -> None:
    """Check that an exported folder has the weights that its recipe is of.

    Raises:
        TrainingError: If they are missing, damaged, or another model's.
    """
    try:
        digest = file_digest(folder / WEIGHTS, MAX_WEIGHTS_BYTES)
    except FileNotFoundError:
        raise TrainingError(f"{folder}: holds no weights ({WEIGHTS} is missing)") from None
    except OSError as error:
        raise TrainingError(f"{folder / WEIGHTS}: can't be read ({error.strerror})") from None
    if digest != recipe.weights_sha256:
        raise TrainingError(
            f"{folder / WEIGHTS}: isn't the file that was exported (SHA-256 {digest[:12]}…, expected "
            f"{recipe.weights_sha256[:12]}…). Copy it once more, or export it again with sync-train export"
        )
