"""What is fitted for each method, and the settings that decide its result."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from sync_train.config import DISTILLED, EQUAL_WEIGHTS, FitConfig, TrainConfig
from sync_train.setting import Setting

STAGES = {
    "exo-oracle": ("teacher",),
    "ego-oracle": ("ego-oracle",),
    "no-adaptation": ("teacher",),
    "feature": ("teacher", "adapter"),
    "tas": ("teacher", "tas"),
    "feature-tas": ("teacher", "adapter", "feature-tas"),
}
"""What is fitted for each method, in order. The method's model is the last."""

SUPERVISED = ("teacher", "ego-oracle")
"""Stages that learn from labels; the others learn from pairs."""


def stage_config(config: TrainConfig, stage: str) -> FitConfig:
    """How a stage is fitted."""
    if stage in SUPERVISED:
        return config.teacher
    return config.adapter if stage == "adapter" else config.student


def stage_settings(setting: Setting, stage: str) -> dict[str, Any]:
    """All settings that decide what a stage makes of its data; neither the seed nor the data are among them."""
    config = setting.config
    settings: dict[str, Any] = {
        "stage": stage,
        "config": asdict(stage_config(config, stage)),
        "windowing": asdict(setting.windowing),
        "precision": setting.precision,
    }
    # Equal weights aren't named: runs from before there was a choice stay valid.
    if config.ensemble_weights != EQUAL_WEIGHTS:
        settings["ensemble_weights"] = config.ensemble_weights
    if stage in SUPERVISED:
        return settings | {"standardize": config.standardize}
    return settings | {"tolerance_seconds": config.tolerance_seconds, "min_coverage": config.min_coverage}


def settings_digest(setting: Setting, method: str) -> str:
    """SHA-256 over all settings that decide a method's predictions, the same for every seed.

    Predictions that differ in it answer different questions: their scores have no mean.
    """
    splits = asdict(setting.config.splits)
    if method not in DISTILLED:
        del splits["adapt"]
    table = {
        "stages": [stage_settings(setting, stage) for stage in STAGES[method]],
        "views": [setting.exo, setting.ego],
        "splits": splits,
        "classes": setting.classes,
        "tta_chunk_rows": setting.config.tta_chunk_rows,
    }
    if setting.ego_source is not setting.source and _reads_both_views(setting.config, method):
        table["feature_sets"] = [setting.source.feature_set, setting.ego_source.feature_set]
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _reads_both_views(config: TrainConfig, method: str) -> bool:
    if method == "exo-oracle":
        return config.teacher.selection == "published-test-ego"
    return method != "ego-oracle"


def selections(config: TrainConfig, method: str) -> str:
    """How the epoch of each of a method's stages is selected."""
    return ", ".join(f"{stage} {stage_config(config, stage).selection}" for stage in STAGES[method])
