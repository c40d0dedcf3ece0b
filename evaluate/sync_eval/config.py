"""Settings of evaluation: section [evaluate] of sync.toml, overridden by options."""

from dataclasses import dataclass
from typing import Literal

Protocol = Literal["masked", "published-concat"]

PROTOCOLS: tuple[Protocol, ...] = ("masked", "published-concat")

METRICS = ("edit", "f1_10", "f1_25", "f1_50", "mof")
"""Metrics of Table 1 in its order, as `sync_eval.metrics.Scores` names them."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How predictions are scored."""

    protocol: Protocol = "masked"
    """What becomes of unlabeled and background frames. `masked`: not scored, and gaps in the segments of both
    sides. `published-concat`: cut out and the rest joined, as the paper's scripts do (main_oracle.py:124-128);
    neighbours of one class then merge, and lengths change."""
    unsegmented: tuple[str, ...] = ()
    """Classes that are learnt and count in MoF, but form no segments, so that edit and F1 pass over them. The
    field scores so SIL (Breakfast), action_start and action_end (50Salads) and background (GTEA): C2F-TCN
    train.py, `back_gd`. Frames of `dataset.background` are neither learnt nor scored at all."""
