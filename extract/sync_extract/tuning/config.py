"""Settings of TSM's training: sections [extract.finetune] and [extract.distill] of sync.toml.

Sources are the recipe of Assembly101's TSM (assembly101-action-recognition, README and main.py), which the paper says
it used (supplement D), unless a field names another.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MAX_SEED = 2**32 - 1
"""As numpy's seeds have it; with the epoch it still fits torch's 64 bits."""


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """What both ways of training have."""

    weights: Path | None = None
    """File to start from, relative to sync.toml: a published checkpoint or a result of ours."""
    backbone: Literal["tsm", "tsm-random-demo"] = "tsm"
    """The demo's is narrow, and can begin without weights."""
    epochs: int = 50
    """Recipe."""
    batch_size: int = 64
    """Clips a step. Recipe."""
    pass_clips: int | None = None
    """Clips a forward pass, by default all of a step. Fewer need less memory; a batch norm then sees fewer, as on
    each of several GPUs in the recipe."""
    learning_rate: float = 1e-3
    """Recipe."""
    learning_rate_steps: tuple[int, ...] = (20, 40)
    """Epochs from which on the rate is a tenth of that before. Recipe."""
    momentum: float = 0.9
    """Recipe."""
    weight_decay: float = 5e-4
    """Recipe."""
    gradient_clip: float = 20.0
    """Largest norm of a step's gradient. Recipe (`--gd 20`)."""
    moments_per_segment: int = 3
    """Moments of each of a clip's eight segments, evenly spread, of which an epoch draws one; the recipe draws any
    frame. Pictures of all are decoded once, so disk space and decoding grow with it. Odd: the middle one is that of
    validation."""
    selection: Literal["held-out", "last"] = "held-out"
    """Which epoch is kept: the best on recordings held out of the split, or the last. The recipe selects on the
    validation split."""
    held_out: float = 0.15
    """Share of the recordings that are held out. Ours."""
    seed: int = 0
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1", …"""
    workers: int = 4
    """Videos decoded, and batches read, at the same time."""
    scratch: Path | None = None
    """Folder for the decoded pictures, relative to sync.toml, such as a fast local disk; by default the result's."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "moments_per_segment", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.pass_clips is not None and self.pass_clips < 1:
            raise ValueError(f"pass_clips must be at least 1, got {self.pass_clips}")
        if self.moments_per_segment % 2 == 0:
            raise ValueError(
                f"moments_per_segment must be odd, so that one is the middle, got {self.moments_per_segment}"
            )
        for name in ("learning_rate", "gradient_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be at least 0, got {self.weight_decay}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie from 0 to below 1, got {self.momentum}")
        if list(self.learning_rate_steps) != sorted(set(self.learning_rate_steps)):
            raise ValueError(f"learning_rate_steps must increase, got {list(self.learning_rate_steps)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must lie between 0 and 1, got {self.held_out}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must lie from 0 to {MAX_SEED}, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TuningConfig):
    """Training on clips with fine-grained labels."""

    split: str = "train"
    """Whose labels are read, and no other's."""
    views: tuple[str, ...] = ("exo",)
    """Views by name; exo and ego stand for all of the kind, both for all views."""
    dropout: float = 0.5
    """Of the features before the classifier. Recipe."""
    preset: Literal["official", "epic"] = "official"
    """Preprocessing. The recipe takes the true standard deviation, although its start, EPIC-KITCHENS' TSM, was trained
    with another."""

    def __post_init__(self) -> None:
        TuningConfig.__post_init__(self)
        if not self.views:
            raise ValueError("views must name one view or more, got none")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie from 0 to below 1, got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class DistillConfig(TuningConfig):
    """Feature distillation (eq. 1): a student on ego clips imitates a frozen teacher on exo clips of the same time."""

    split: str = "adapt"
    """Synchronized pairs; no label of theirs is read."""
    exo: str | None = None
    """What the teacher sees; by default the first exo view."""
    ego: str | None = None
    """What the student sees; by default the first ego view."""
    learning_rate: float = 1e-2
    """Paper, supplement D, for features distilled by SGD: that of its transformer. It states none for TSM, and the
    recipe's is for a loss whose gradients are larger."""
    window_seconds: float = 2.0
    """Length of a clip; clips lie end to end over the time that both views cover. Ours: about as long as the
    fine-grained actions on which the teacher was trained."""
    reduction: Literal["mean", "sum"] = "mean"
    """Mean over a feature's elements, or eq. 1 to the letter, which is D times as much."""
    freeze_batch_norm: bool = False
    """Keep the teacher's batch statistics."""
    preset: Literal["official", "epic"] | None = None
    """Preprocessing; by default the teacher's, as far as its file tells."""

    def __post_init__(self) -> None:
        TuningConfig.__post_init__(self)
        if not 0 < self.window_seconds < math.inf:
            raise ValueError(f"window_seconds must be above 0, got {self.window_seconds}")
