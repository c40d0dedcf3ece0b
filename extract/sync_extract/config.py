"""Settings of extraction: section [extract] of sync.toml, overridden by options."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from sync_extract.cluster.config import ClusterConfig
from sync_extract.tuning.config import DistillConfig, FinetuneConfig
from sync_store.config import suggest
from sync_store.dataset_config import parse_rate
from sync_store.errors import ProjectError

NATIVE = "native"
"""Value of `fps` that keeps every frame."""

TOKENS = ("cls", "mean", "max", "min", "std")
"""What a feature may be joined from: the class token, and mean, maximum, minimum and standard deviation of the
patch tokens."""

PRESET_NAMES = ("official", "published", "epic")
"""Ways of preprocessing; each backbone's module says which of them it has, and what they are."""

SHIFTS = ("none", "window8")
"""What a row of TSM is made from: one frame through the network without shifts, or eight with them."""

POSITION_EMBEDDINGS = ("transformers", "hub")
"""Who resizes DINOv2's position embeddings: as the library transformers, or as the authors' hub code."""

OF_ONE_BACKBONE = (
    "backbone",
    "weights",
    "feature_set",
    "preset",
    "tokens",
    "shift",
    "position_embedding",
    "trained_on",
)
"""Settings that say nothing of another backbone."""


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """What to extract and how."""

    backbone: str = "dinov2-large"
    """The paper's (section 4)."""
    weights: Path | None = None
    """A local file or folder; without it the weights come from the Hugging Face hub or its cache."""
    feature_set: str | None = None
    """Name in the store; by default the backbone's."""
    preset: str = "official"
    """Preprocessing: "official" as the backbone's authors evaluate, "published" as the paper's script (DINOv2),
    "epic" as EPIC-KITCHENS' TSM was trained."""
    tokens: tuple[str, ...] = ("cls",)
    """What a DINOv2 feature is joined from; the paper takes the class token alone."""
    shift: Literal["none", "window8"] = "none"
    """For TSM; "none" is what the authors of Assembly101's released features say these are."""
    position_embedding: Literal["transformers", "hub"] | None = None
    """For DINOv2; by default as the preset's authors did: "transformers" for "official", "hub" for "published"."""
    trained_on: tuple[str, ...] = ()
    """What the weights were trained on, in words, if that could be data of the user's own; by default what their
    file says."""
    fps: float | str | None = None
    """Rate of the sampling grid; by default the label rate, for Omnivore 30. "native" keeps every frame."""
    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1", …"""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """"auto" is bfloat16 on a GPU, float32 on a processor."""
    batch_size: int = 64
    """Frames a forward pass, rounded down to a power of two; halved on its own where memory is too small."""
    workers: int = 2
    """Videos that are decoded ahead at the same time."""
    reader: Literal["pyav", "decord"] = "pyav"
    """Who decodes. The pictures are the same; decord is slower, and reads only videos on which it was proven exact."""
    min_coverage: float = 0.9
    """A video of which a smaller share of the expected rows decodes is refused."""
    views: tuple[str, ...] = ()
    """Views that a bare `sync-extract` extracts; by default all."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """Section [extract.finetune], of `sync-extract finetune`."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """Section [extract.distill], of `sync-extract distill`."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Section [extract.cluster]: by which jobs."""

    def __post_init__(self) -> None:
        if self.preset not in PRESET_NAMES:
            raise ValueError(f"unknown preset {self.preset!r}{suggest(self.preset, list(PRESET_NAMES))}")
        if not self.tokens:
            raise ValueError(f"tokens must name at least one of {', '.join(TOKENS)}, got none")
        for token in self.tokens:
            if token not in TOKENS:
                raise ValueError(f"unknown token {token!r}{suggest(token, list(TOKENS))}")
        if self.fps is not None:
            _ = self.rate(Fraction(1))
        for name in ("batch_size", "workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.min_coverage <= 1:
            raise ValueError(f"min_coverage must be above 0 and at most 1, got {self.min_coverage}")

    def rate(self, default: Fraction) -> Fraction | None:
        """Rate of the grid; None for every frame."""
        if self.fps == NATIVE:
            return None
        if self.fps is None:
            return default
        try:
            return parse_rate(self.fps, "fps")
        except ProjectError as error:
            raise ProjectError(str(error).replace(", got", ', or "native", got')) from None

    @property
    def name(self) -> str:
        """The feature set's name in the store."""
        return self.feature_set or self.backbone
