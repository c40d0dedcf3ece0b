"""Settings of training: section [train] of sync.toml, overridden by options."""

from dataclasses import dataclass, field
from typing import Literal

METHODS = ("exo-oracle", "ego-oracle", "no-adaptation", "feature", "tas", "feature-tas")
"""Rows of the paper's Table 1 for one backbone."""

Selection = Literal["held-out", "last", "published-test-ego"]


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
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise ValueError("learning_rate must be above 0 and weight_decay not below")
        if min(self.max_epochs, self.patience, self.batch_size) < 1:
            raise ValueError("max_epochs, patience and batch_size must be at least 1")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out must lie between 0 and 1, got {self.held_out}")


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(FitConfig):
    """C2F-TCN on labelled videos: the teacher and the oracles."""

    smoothing: float = 0.17
    """Weight of the smoothing term. A101-TAS main.py; C2F-TCN's own script has 0.15."""
    zoom: bool = True
    """Draw the chunk size anew for each sequence and epoch (A101-TAS dataset.py)."""


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
    """By default the one that [extract] makes."""
    exo: str | None = None
    """Source view; by default the first exo view of sync.toml."""
    ego: str | None = None
    """Target view; by default the first ego view of sync.toml."""
    run: str = "main"
    """Name of this run."""
    seeds: tuple[int, ...] = (0,)
    """One complete set of methods is trained for each."""
    methods: tuple[str, ...] = METHODS
    """Rows of the table to make."""
    device: str = "auto"
    chunk_rows: int = 20
    """Rows pooled into one step of the network. A101-TAS, at 30 rows a second."""
    max_chunks: int = 1200
    """Steps in a window; longer recordings are cut into several. A101-TAS."""
    standardize: bool = False
    """Subtract mean and divide by deviation of the source view's training rows. Not in the paper."""
    tta_chunk_rows: tuple[int, ...] = ()
    """Chunk sizes over which predictions are averaged (A101-TAS: 10, 17, 24); none for `chunk_rows` alone."""
    pad_to: int | None = None
    """Pad every sequence to this many steps (published: 1200); by default to the next multiple of 64."""
    tolerance_seconds: float | None = None
    """Rows of two views further apart aren't paired; by default half a period."""
    min_coverage: float = 0.5
    """A pair of views with a smaller share of joined rows is refused."""
    splits: SplitNames = field(default_factory=SplitNames)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    adapter: AdapterFitConfig = field(default_factory=AdapterFitConfig)
    student: StudentConfig = field(default_factory=StudentConfig)

    def __post_init__(self) -> None:
        if unknown := [method for method in self.methods if method not in METHODS]:
            raise ValueError(f"unknown method {unknown[0]!r}; known: {', '.join(METHODS)}")
        if self.chunk_rows < 1 or self.max_chunks < 1:
            raise ValueError("chunk_rows and max_chunks must be at least 1")
        if not self.seeds or min(self.seeds) < 0:
            raise ValueError(f"seeds must be whole numbers from 0, got {list(self.seeds)}")
        if self.pad_to is not None and self.pad_to < self.max_chunks:
            raise ValueError(f"pad_to must be at least max_chunks {self.max_chunks}, got {self.pad_to}")
        if bad := [level for level in self.student.levels if level not in range(1, 7)]:
            raise ValueError(f"student.levels go from 1 to 6, got {bad[0]}")
