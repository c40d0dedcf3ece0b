"""Settings of a fit: sections [train.teacher], [train.adapter] and [train.student] of sync.toml."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sync_train.losses.config import CoralConfig, GRLConfig, MMDConfig, SDTWConfig, TCCConfig

Selection = Literal["held-out", "last", "published-test-ego"]

Loss = Literal["mse", "mmd", "coral", "grl", "tcc", "sdtw"]
"""What TAS distillation minimises: eq. 2, or a comparator of Table 3 in its place."""

Pairing = Literal["synchronized", "random", "same-procedure", "random-frames"]
"""Which exo steps a student's ego steps are compared with: those of the same moments; those of another recording,
drawn anew each epoch; likewise, but of the same procedure; or those of the same recording in random order."""

UNSYNCHRONIZED = ("random", "same-procedure")
"""Pairings of two recordings."""

OF_PAIRS = ("tcc", "sdtw")
"""Losses that are means over pairs of sequences, whatever their lengths."""

ALIGNED = ("mse",)
"""Losses that compare step with step, and so need both sequences to be equally long."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How one network is fitted."""

    learning_rate: float = 1e-4
    """Paper, supplement D."""
    weight_decay: float = 1e-4
    """Paper, supplement D."""
    max_epochs: int = 200
    """Paper, supplement D."""
    patience: int = 20
    """Epochs without improvement before stopping. Paper, supplement D."""
    batch_size: int = 20
    """Sequences. A101-TAS; the paper's own script uses 1."""
    selection: Selection = "held-out"
    """Which epoch is kept: the best on recordings held out of the training split; the last; or, as in the
    published code, the best on the labelled ego videos of the test split, which makes the scores no test."""
    held_out: float = 0.15
    """Share of the training (or adaptation) recordings held out for selection. Ours."""

    def __post_init__(self) -> None:
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise ValueError(
                "learning_rate must be above 0 and weight_decay at least 0, "
                f"got {self.learning_rate} and {self.weight_decay}"
            )
        for name in ("max_epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must lie between 0 and 1, got {self.held_out}")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(FitConfig):
    """C2F-TCN on labelled videos: the teacher and the oracles."""

    smoothing: float = 0.17
    """Weight of the smoothing term. A101-TAS main.py; C2F-TCN's own script has 0.15."""
    zoom: bool = True
    """Draw the chunk size anew for each sequence and epoch (A101-TAS dataset.py)."""

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        if not 0 <= self.smoothing < math.inf:
            raise ValueError(f"smoothing must be at least 0, got {self.smoothing}")


@dataclass(frozen=True, kw_only=True)
class AdapterFitConfig(FitConfig):
    """Feature distillation (eq. 1): an adapter from ego to exo features."""

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Paper, supplement D."""
    learning_rate: float = 1e-2
    """Paper, supplement D."""
    weight_decay: float = 0.0
    """The paper's script sets none for the adapter."""
    num_layers: int = 12
    """Paper, supplement A."""
    num_heads: int = 16
    """Paper, supplement A."""
    ffn_dim: int = 1024
    """Paper, supplement A: "a number of hidden units equal to 1024"."""
    dropout: float = 0.1
    """Default of torch's transformer, which the paper's script uses."""
    zoom: bool = True
    """Draw the chunk size anew for each pair and epoch, the same for both views."""

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        for name in ("num_layers", "num_heads", "ffn_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie from 0 to below 1, got {self.dropout}")
        if self.selection == "published-test-ego":
            raise ValueError(
                'the adapter\'s selection must be "held-out" or "last": its loss needs no labels'
            )


@dataclass(frozen=True, kw_only=True)
class StudentConfig(FitConfig):
    """TAS model distillation (eq. 2)."""

    levels: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """Levels that are matched, the paper's count: 1 is T/2, 5 is T/32, and 6 the final output. The paper's
    best row is 1-5, which leaves the last decoder block and the finest head without a gradient."""
    match: Literal["logits", "representations"] = "logits"
    """What is matched at a level: the heads' outputs, as the paper's script does, or their inputs."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of "mse": mean over a level's valid elements, or eq. 2 to the letter."""
    adapter_learning_rate: float = 1e-4
    """Of the adapter, which is fine-tuned along (paper, supplement A)."""
    freeze_batch_norm: bool = False
    """Keep the teacher's batch statistics."""
    zoom: bool = True
    """Draw the chunk size anew for each pair and epoch, the same for both views."""
    loss: Loss = "mse"
    """Eq. 2, or what Table 3 compares it with; each of these has its own section below."""
    pairing: Pairing = "synchronized"
    """What is compared with what. Table 3: "random" for MMD, CORAL, GRL, TCC and SDTW, "same-procedure" for TCC*
    and SDTW*, "random-frames" for Rnd. MSE."""
    mmd: MMDConfig = field(default_factory=MMDConfig)
    coral: CoralConfig = field(default_factory=CoralConfig)
    grl: GRLConfig = field(default_factory=GRLConfig)
    tcc: TCCConfig = field(default_factory=TCCConfig)
    sdtw: SDTWConfig = field(default_factory=SDTWConfig)

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        if self.loss in ALIGNED and self.pairing in UNSYNCHRONIZED:
            raise ValueError(
                f"loss {self.loss!r} compares step with step, which two recordings haven't in common; pairing must "
                f'be "synchronized" or "random-frames", got {self.pairing!r}'
            )
        if self.loss == "grl" and self.selection == "held-out":
            raise ValueError(
                'loss "grl" needs selection "last": how well a discriminator is fooled doesn\'t say which epoch is '
                "best"
            )
        if not self.levels or len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels must name one level or more, each once, got {list(self.levels)}")
        if bad := [level for level in self.levels if level not in range(1, 7)]:
            raise ValueError(f"levels go from 1 to 6, got {bad[0]}")
        if not 0 < self.adapter_learning_rate < math.inf:
            raise ValueError(f"adapter_learning_rate must be above 0, got {self.adapter_learning_rate}")
