"""The recipe of an exported model."""

import json
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_store.errors import TrainingError
from sync_store.exported import ExtractSettings, ModelRecipe, read_recipe, write_recipe
from sync_store.layout import FeatureSet

RECIPE = ModelRecipe(
    run="main",
    seed=3,
    method="tas",
    view="e4",
    kind="ego",
    weights_sha256="ab",
    feature_set=FeatureSet(
        name="a b",
        recipe={"tokens": ["cls"], "deep": {"mean": [0.5, None]}},
        feature_dim=8,
        trained_on=("x", "y"),
    ),
    extract=ExtractSettings(backbone="dinov2", tokens=("cls", "mean"), fps="30000/1001"),
    tta_chunk_rows=(10, 17),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_recipe(tmp_path, RECIPE)
    assert read_recipe(tmp_path) == RECIPE
    assert read_recipe(tmp_path).feature_set.fingerprint == RECIPE.feature_set.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("delete", r"isn't an exported model \(recipe\.json is missing\)"),
        ("{", "can't be read as JSON"),
        ("[1]", "isn't the recipe of an exported model"),
        ({"format": "other"}, "isn't the recipe of an exported model"),
        ({"version": 2}, "has version 2, this program reads version 1"),
        ({"seed": "0"}, "seed must be int, got '0'"),
        ({"sead": 0}, "unknown key 'sead', did you mean 'seed'"),
        ({"extract": {"weights": "evil"}}, "unknown key 'weights'"),
        ({"feature_set": 1}, "feature_set must be a section with keys, got 1"),
        ({"feature_set": {"name": "../x", "recipe": {}, "feature_dim": 1}}, "feature set name '../x' "),
        (
            {"feature_set": {"name": "x", "recipe": {}, "feature_dim": 1, "fingerprint": "0"}},
            "has changed since it was exported; export it again with sync-train export",
        ),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "recipe.json"
    write_recipe(tmp_path, RECIPE)
    if change == "delete":
        path.unlink()
    else:
        path.write_text(
            change if isinstance(change, str) else json.dumps(json.loads(path.read_text()) | change)
        )
    with pytest.raises(TrainingError, match=message):
        read_recipe(tmp_path)


# TOML has no form for lone surrogates, and JSON's writer leaves DEL, which TOML forbids, as it is.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"))


@given(
    settings_=st.builds(
        ExtractSettings,
        backbone=TEXTS | st.none(),
        tokens=st.lists(TEXTS).map(tuple) | st.none(),
        fps=TEXTS | st.none(),
    )
)
def test_settings_are_toml(settings_: ExtractSettings) -> None:
    stated = {key: value for key, value in asdict(settings_).items() if value is not None}
    read = tomllib.loads(settings_.to_toml())
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in read.items()} == stated


def test_only_features_that_a_backbone_of_ours_made_have_settings() -> None:
    assert ExtractSettings.of_recipe({"imported": "npy", "grid_fps": "30"}) == ExtractSettings()
    assert ExtractSettings.of_recipe({"backbone": "somebody's"}) == ExtractSettings()
