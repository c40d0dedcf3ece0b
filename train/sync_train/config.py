"""Settings of training: section [train] of sync.toml, overridden by options."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sync_store.predictions import METHODS

DISTILLED = ("feature", "tas", "feature-tas")
"""Methods that learn from adaptation pairs."""

Selection = Literal["held-out", "last", "published-test-ego"]

CHECKPOINT_SECONDS = 20.0
"""Least time between two checkpoints of a fit."""

MAX_SEED = 2**32 - 1
"""As numpy's seeds have it; with the epoch it still fits torch's 64 bits."""

Precision = Literal["float32", "bfloat16"]
"""In which a model multiplies."""

EQUAL_WEIGHTS = (1.0,) * 6
"""Each level of the network has the same say."""


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
    """Mean over a level's valid elements, or eq. 2 to the letter."""
    adapter_learning_rate: float = 1e-4
    """Of the adapter, which is fine-tuned along (paper, supplement A)."""
    freeze_batch_norm: bool = False
    """Keep the teacher's batch statistics."""
    zoom: bool = True
    """Draw the chunk size anew for each pair and epoch, the same for both views."""

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        if not self.levels or len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels must name one level or more, each once, got {list(self.levels)}")
        if bad := [level for level in self.levels if level not in range(1, 7)]:
            raise ValueError(f"levels go from 1 to 6, got {bad[0]}")
        if not 0 < self.adapter_learning_rate < math.inf:
            raise ValueError(f"adapter_learning_rate must be above 0, got {self.adapter_learning_rate}")


@dataclass(frozen=True, kw_only=True)
class SplitNames:
    """Which split serves what; recordings of the three must be disjoint."""

    train: str = "train"
    """Labelled exo videos; their ego views serve the ego-oracle alone."""
    adapt: str = "adapt"
    """Unlabelled synchronized pairs."""
    test: str = "test"
    """Predicted and scored, never trained or selected on."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What to train and how."""

    feature_set: str | None = None
    """By default the one that [extract] names, else the store's only one."""
    ego_feature_set: str | None = None
    """Of the ego view, where it isn't `feature_set`: with a backbone that was itself distilled from the one of the
    exo view, ego features are near the teacher's. Of the same width."""
    exo: str | None = None
    """Source view; by default the first exo view of sync.toml."""
    ego: str | None = None
    """Target view; by default the first ego view of sync.toml. The exo oracle needs none."""
    run: str = "main"
    """Name of this run."""
    seeds: tuple[int, ...] = (0,)
    """One complete set of methods is trained for each."""
    methods: tuple[str, ...] = METHODS
    """Rows of the table to make."""
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of multiplications; "auto" is bfloat16 on a GPU, float32 on a processor, where it pays only with AVX-512
    BF16 or AMX."""
    chunk_rows: int = 20
    """Rows pooled into one step of the network. A101-TAS, at 30 rows a second."""
    max_chunks: int = 1200
    """Steps in a window; longer recordings are cut into several. A101-TAS."""
    standardize: bool = False
    """Subtract mean and divide by deviation of the source view's training rows. Not in the paper."""
    tta_chunk_rows: tuple[int, ...] = ()
    """Chunk sizes over which predictions are averaged (A101-TAS: 10, 17, 24); none for `chunk_rows` alone. One
    that is repeated weighs more: 3, 4, 4, 4, 5 are C2F-TCN's 3, 4, 5 with weights 1, 3, 1 for GTEA (eval.py)."""
    ensemble_weights: tuple[float, ...] = EQUAL_WEIGHTS
    """Say of each level's probabilities, finest first, in what the teacher and the ego oracle learn by and every
    method predicts. Equal in A101-TAS main.py; C2F-TCN's own train.py has 1, 1, 1, 1, 0, 0."""
    pad_to: int | None = None
    """Pad every sequence to this many steps (published: 1200); by default to the next multiple of 64."""
    tolerance_seconds: float | None = None
    """Rows of two views further apart aren't paired; by default a period."""
    skip_missing: bool = False
    """Leave training recordings without features in a view out, instead of stopping. Those of which the dataset has
    videos of the view, just not of them, are left out in any case: nobody can extract them."""
    min_coverage: float = 0.5
    """A pair of views with a smaller share of joined rows is refused."""
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    """A fit that is killed loses about this much work at the most; 0 saves after every epoch."""
    splits: SplitNames = field(default_factory=SplitNames)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    adapter: AdapterFitConfig = field(default_factory=AdapterFitConfig)
    student: StudentConfig = field(default_factory=StudentConfig)

    def __post_init__(self) -> None:
        if unknown := [method for method in self.methods if method not in METHODS]:
            raise ValueError(f"unknown method {unknown[0]!r}; known: {', '.join(METHODS)}")
        if not self.methods:
            raise ValueError(f"methods must name one or more of {', '.join(METHODS)}")
        if not self.seeds or not all(0 <= seed <= MAX_SEED for seed in self.seeds):
            raise ValueError(f"seeds must be whole numbers from 0 to {MAX_SEED}, got {list(self.seeds)}")
        for name in ("chunk_rows", "max_chunks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if any(size < 1 for size in self.tta_chunk_rows):
            raise ValueError(f"tta_chunk_rows must be at least 1 each, got {list(self.tta_chunk_rows)}")
        weights = self.ensemble_weights
        if (
            len(weights) != len(EQUAL_WEIGHTS)
            or not all(0 <= weight < math.inf for weight in weights)
            or not any(weights)
        ):
            raise ValueError(
                f"ensemble_weights must be {len(EQUAL_WEIGHTS)} numbers of at least 0, one of them above 0, got "
                f"{list(weights)}"
            )
        if self.pad_to is not None and self.pad_to < self.max_chunks:
            raise ValueError(f"pad_to must be at least max_chunks {self.max_chunks}, got {self.pad_to}")
        if self.tolerance_seconds is not None and not 0 <= self.tolerance_seconds < math.inf:
            raise ValueError(f"tolerance_seconds must be at least 0, got {self.tolerance_seconds}")
        if not 0 <= self.min_coverage <= 1:
            raise ValueError(f"min_coverage must lie from 0 to 1, got {self.min_coverage}")
        if not self.checkpoint_seconds >= 0:
            raise ValueError(f"checkpoint_seconds must be at least 0, got {self.checkpoint_seconds}")
