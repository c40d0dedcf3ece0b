"""Impossible settings of the comparators are refused, by name and value."""

import math
from typing import Any

import pytest

from sync_train.losses.config import CoralConfig, GRLConfig, LossConfig, MMDConfig, SDTWConfig, TCCConfig

ALL = (MMDConfig, CoralConfig, GRLConfig, TCCConfig, SDTWConfig)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        *((kind, {"weight": 0.0}, "weight must be above 0, got 0.0") for kind in ALL),
        (CoralConfig, {"weight": math.inf}, "weight must be above 0, got inf"),
        (MMDConfig, {"num_kernels": 0}, "num_kernels must be at least 1, got 0"),
        (MMDConfig, {"kernel_factor": -2.0}, r"kernel_factor must be above 0, got -2\.0"),
        (MMDConfig, {"max_samples": 1}, "max_samples must be at least 2, got 1"),
        (GRLConfig, {"gamma": math.nan}, "gamma must be above 0, got nan"),
        (GRLConfig, {"warm_alpha": 0.0}, "warm_alpha must be above 0"),
        (GRLConfig, {"max_lambda": -1.0}, "max_lambda must be above 0"),
        (GRLConfig, {"warm_steps": 0}, "warm_steps must be at least 1, got 0"),
        (GRLConfig, {"hidden_dim": 0}, "hidden_dim must be at least 1, got 0"),
        (TCCConfig, {"temperature": 0.0}, "temperature must be above 0"),
        (TCCConfig, {"label_smoothing": 1.0}, r"label_smoothing must lie from 0 to below 1, got 1\.0"),
        (TCCConfig, {"variance_weight": -0.1}, r"variance_weight must be at least 0, got -0\.1"),
        (TCCConfig, {"variance_floor": 0.0}, "variance_floor must be above 0"),
        (TCCConfig, {"huber_delta": 0.0}, "huber_delta must be above 0"),
        (SDTWConfig, {"smooth_gamma": 0.0}, "smooth_gamma must be above 0"),
        (SDTWConfig, {"contrast_gamma": 0.0}, "contrast_gamma must be above 0"),
        (SDTWConfig, {"label_smoothing": -0.1}, "label_smoothing must lie from 0 to below 1"),
        (SDTWConfig, {"alignment_weight": math.inf}, "alignment_weight must be at least 0, got inf"),
        (
            SDTWConfig,
            {"alignment_weight": 0.0, "consistency": False},
            "alignment_weight must be above 0 where consistency is off: nothing else is left",
        ),
    ],
)
def test_impossible_settings(kind: type[LossConfig], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_consistency_alone_is_possible() -> None:
    assert SDTWConfig(alignment_weight=0.0).consistency
