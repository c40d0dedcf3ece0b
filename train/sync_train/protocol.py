"""What is fitted for each method, and the settings that decide its result."""

import hashlib
import json
from dataclasses import asdict
from typing import Any, get_args

from sync_train.config import DISTILLED, DROP_RULES, EQUAL_WEIGHTS, ORACLES, PairsConfig, TrainConfig
from sync_train.fit_config import FitConfig, Loss, StudentConfig
from sync_train.setting import Setting

_STAGES = {
    "no-adaptation": ("teacher",),
    "feature": ("teacher", "adapter"),
    "tas": ("teacher", "tas"),
    "feature-tas": ("teacher", "adapter", "feature-tas"),
}
_TEACHERS = {"exo-to-ego": "exo-oracle", "ego-to-exo": "ego-oracle"}
"""The oracle that is the teacher, by direction."""

SUPERVISED = ("teacher", "exo-oracle", "ego-oracle")
"""Stages that learn from labels; the others learn from pairs."""


def stages_of(config: TrainConfig, method: str) -> tuple[str, ...]:
    """What is fitted for a method, in order; the method's model is the last."""
    if method in ORACLES:
        return ("teacher",) if method == _TEACHERS[config.direction] else (method,)
    return _STAGES[method]


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
        "config": _fit_settings(stage_config(config, stage)),
        "windowing": asdict(setting.windowing),
        "precision": setting.precision,
    }
    # Equal weights aren't named: runs from before there was a choice stay valid.
    if config.ensemble_weights != EQUAL_WEIGHTS:
        settings["ensemble_weights"] = config.ensemble_weights
    if stage in SUPERVISED:
        hours = {} if config.train_hours is None else {"train_hours": config.train_hours}
        return settings | {"standardize": config.standardize, **hours}
    if config.pairs != PairsConfig():
        settings["pairs"] = asdict(config.pairs)
        if config.pairs.drop_rate and config.pairs.join == "time":
            settings["pairs"]["rules"] = DROP_RULES
    return settings | {"tolerance_seconds": config.tolerance_seconds, "min_coverage": config.min_coverage}


def _fit_settings(config: FitConfig) -> dict[str, Any]:
    """Settings of a fit, without those of losses that it doesn't use."""
    settings = asdict(config)
    if isinstance(config, StudentConfig):
        for loss in {*get_args(Loss)} - {config.loss}:
            settings.pop(loss, None)
        if config.loss != "mse":
            del settings["reduction"]
        for name in ("loss", "pairing"):  # a run from before there was a choice stays valid, as above
            if settings[name] == getattr(StudentConfig(), name):
                del settings[name]
    return settings


def settings_digest(setting: Setting, method: str) -> str:
    """SHA-256 over all settings that decide a method's predictions, the same for every seed.

    Predictions that differ in it answer different questions: their scores have no mean.
    """
    splits = asdict(setting.config.splits)
    if method not in DISTILLED:
        del splits["adapt"]
    table = {
        "stages": [stage_settings(setting, stage) for stage in stages_of(setting.config, method)],
        "views": [setting.exo, setting.ego],
        "splits": splits,
        "classes": setting.classes,
        "tta_chunk_rows": setting.config.tta_chunk_rows,
    }
    if setting.config.direction != "exo-to-ego":
        table["direction"] = setting.config.direction
    if setting.ego_source is not setting.source and _reads_both_views(setting.config, method):
        table["feature_sets"] = [setting.source.feature_set, setting.ego_source.feature_set]
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _reads_both_views(config: TrainConfig, method: str) -> bool:
    if method == "exo-oracle":
        return config.teacher.selection == "published-test-ego"
    return method not in ORACLES


def selections(config: TrainConfig, method: str) -> str:
    """How the epoch of each of a method's stages is selected."""
    return ", ".join(
        f"{stage} {stage_config(config, stage).selection}" for stage in stages_of(config, method)
    )
