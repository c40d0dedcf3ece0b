"""Settings of training: section [train] of sync.toml, overridden by options."""

import math
from dataclasses import dataclass, field
from typing import Literal

from sync_store.predictions import METHODS
from sync_train.checks.config import RecognitionConfig, RetrievalConfig
from sync_train.experiments.config import ClusterConfig
from sync_train.fit_config import AdapterFitConfig, StudentConfig, TeacherConfig

DISTILLED = ("feature", "tas", "feature-tas")
"""Methods that learn from adaptation pairs."""

ORACLES = ("exo-oracle", "ego-oracle")
"""Methods that learn from labels of the view that they are tested on."""

Direction = Literal["exo-to-ego", "ego-to-exo"]
"""From which view's model to which view's."""

CHECKPOINT_SECONDS = 20.0
"""Least time between two checkpoints of a fit."""

MAX_SEED = 2**32 - 1
"""As numpy's seeds have it; with the epoch it still fits torch's 64 bits."""

Precision = Literal["float32", "bfloat16"]
"""In which a model multiplies."""

EQUAL_WEIGHTS = (1.0,) * 6
"""Each level of the network has the same say."""


DROP_RULES = 2
"""Number of the rules by which frames are dropped and those left are paired by time (`sync_train.pairs`); what was
trained by other ones isn't reused."""

MAX_OFFSET_SECONDS = 86_400.0
"""A day, longer than recordings are; nanoseconds of far larger offsets don't fit 64 bits."""


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    """Which adaptation pairs are learnt from, and how well they are synchronized."""

    share: float = 1.0
    """Of the duration of all pairs (Table 4). Recordings are taken in an order drawn from the seed, and the last one
    is cut, so that a smaller share is part of a larger one."""
    hours: float | None = None
    """The same in hours (supplement J)."""
    drop_rate: float = 0.0
    """Share of the frames that are dropped at random, from each view independently (Table 5)."""
    join: Literal["time", "index"] = "time"
    """How frames find their partner after some were dropped: by time, each moment with the nearest frame left of either
    view, or by number, as in the paper."""
    offset_seconds: float = 0.0
    """Error of the clock of the student's view, which is the ego view unless `direction` is "ego-to-exo": added to its
    times before the views are joined. A day at the most, either way."""
    drift_ppm: float = 0.0
    """Microseconds that this clock gains in a second."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")
        if self.hours is not None and not 0 < self.hours < math.inf:
            raise ValueError(f"hours must be above 0, got {self.hours}")
        if self.hours is not None and self.share != 1:
            raise ValueError("share and hours both say how much is learnt from; give one of them")
        if not 0 <= self.drop_rate < 1:
            raise ValueError(f"drop_rate must lie from 0 to below 1, got {self.drop_rate}")
        if not abs(self.offset_seconds) <= MAX_OFFSET_SECONDS:
            raise ValueError(
                f"offset_seconds must lie from -{MAX_OFFSET_SECONDS:.0f} to {MAX_OFFSET_SECONDS:.0f}, a day, got "
                f"{self.offset_seconds}"
            )
        if not abs(self.drift_ppm) < 1e6:
            raise ValueError(f"drift_ppm must lie between -1e6 and 1e6, got {self.drift_ppm}")


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
    direction: Direction = "exo-to-ego"
    """Which view has the labels and the teacher, and which the student."""
    run: str = "main"
    """Name of this run."""
    teacher_run: str | None = None
    """Run whose teacher this one takes, by default its own. Runs that differ in what is distilled share one; it is
    trained there if it isn't yet."""
    train_hours: float | None = None
    """Hours of labelled recordings to learn from, by default all: taken in an order drawn from the seed, the last
    one cut (supplement J)."""
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
    tensorboard: bool = False
    """Write TensorBoard's events beside each stage's journal. It needs the extra `tensorboard`."""
    splits: SplitNames = field(default_factory=SplitNames)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    adapter: AdapterFitConfig = field(default_factory=AdapterFitConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Section [train.cluster]: by which jobs an experiment is run."""

    def __post_init__(self) -> None:
        if self.train_hours is not None and not 0 < self.train_hours < math.inf:
            raise ValueError(f"train_hours must be above 0, got {self.train_hours}")
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
