"""Settings of what features are worth: sections [train.retrieval] and [train.recognition] of sync.toml."""

from dataclasses import dataclass
from typing import Literal

from sync_train.fit_config import FitConfig

Average = Literal["rows", "steps"]
"""What is averaged over an action segment."""

Distance = Literal["euclidean", "cosine"]


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Cross-view retrieval of action segments (supplement J)."""

    k: int = 5
    """Segments that are retrieved for each query. Supplement J."""
    distance: Distance = "euclidean"
    """By which they are nearest. The paper doesn't say; eq. 1 makes its square small."""
    average: Average = "rows"
    """What is averaged over a segment: its rows (supplement J: "the average frame features"), or the steps into which
    the model pools them. An adapter knows steps alone, so method `feature` averages these in both views, whatever is
    said here; "steps" makes no-adaptation comparable with it. Ours."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")


@dataclass(frozen=True, kw_only=True)
class RecognitionConfig(FitConfig):
    """Action recognition by a perceptron on averaged segments (supplement K, Table 5)."""

    num_layers: int = 2
    """Hidden layers. Ours; the paper says "MLP models" and no more."""
    hidden_dim: int = 512
    """Width of each. Ours, as above."""
    dropout: float = 0.5
    """Behind each. Ours, as above."""
    learning_rate: float = 1e-3
    """Adam's. Ours, as above."""
    batch_size: int = 256
    """Segments. Ours, as above."""
    average: Average = "rows"
    """As in retrieval. Supplement K: "segment-averaged"."""

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        for name in ("num_layers", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie from 0 to below 1, got {self.dropout}")
        if self.selection == "published-test-ego":
            raise ValueError('recognition\'s selection must be "held-out" or "last"')
