"""A feature set's recipe makes the settings that make the feature set."""

import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from transformers import Dinov2Config, Dinov2Model

from sync_extract.backbones import Placement, load_backbone
from sync_extract.config import ExtractConfig
from sync_extract.pipeline import make_feature_set
from sync_store.config import from_table
from sync_store.exported import ExtractSettings
from sync_store.layout import FeatureSet


def feature_set(table: dict[str, Any], weights: Path | None) -> FeatureSet:
    """What `sync-extract` makes with a section [extract]."""
    config = from_table(ExtractConfig, table, "[extract]")
    backbone = load_backbone(
        config.backbone,
        weights=weights,
        preset=config.preset,
        tokens=config.tokens,
        shift=config.shift,
        position_embedding=config.position_embedding,
        placement=Placement.choose("cpu", config.precision),
    )
    return make_feature_set("x", backbone, config.rate(Fraction(25)))


@pytest.fixture(scope="module")
def small_dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "table",
    [
        {"backbone": "dinov2-random-demo", "fps": "native", "tokens": ["mean", "std"]},
        {"backbone": "dinov2-random-demo", "fps": 10, "precision": "bfloat16"},
        {"backbone": "dinov2", "preset": "published", "fps": "30000/1001"},
        {"backbone": "dinov2", "preset": "published", "position_embedding": "transformers", "fps": 29.97},
        {"backbone": "dinov2", "position_embedding": "hub", "fps": 30},
        {"backbone": "tsm-random-demo", "shift": "window8", "fps": 15},
        {"backbone": "tsm-random-demo", "fps": 15},
    ],
)
def test_settings_from_a_recipe_make_the_same_features(table: dict[str, Any], small_dinov2: Path) -> None:
    weights = small_dinov2 if table["backbone"] == "dinov2" else None
    made = feature_set(table, weights)
    settings = ExtractSettings.of_recipe(made.recipe)
    again = feature_set(tomllib.loads(settings.to_toml()), weights)
    assert again.recipe == made.recipe
    assert again.fingerprint == made.fingerprint
