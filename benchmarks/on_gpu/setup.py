"""Sizes, places and networks of the GPU's benchmark."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.memory import make_dinov2_large, make_omnivore_l
from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.backbones.dinov2 import RANDOM_DEMO
from sync_extract.backbones.omnivore import SIZES
from sync_extract.backbones.resnet_tsm import WIDTH, random_tsm
from sync_extract.backbones.swin3d import Swin3D
from sync_extract.backbones.tsm_checkpoint import TsmInfo, save_tsm


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is run, and how large."""

    device: torch.device
    folder: Path
    """For files; deleted in the end."""
    dinov2: str = "dinov2-large"
    tsm: str = "tsm"
    omnivore: str = "omnivore-swin-l"
    matrix_side: int = 8192
    batches: tuple[int, ...] = (64, 128, 256)
    """Frames a forward pass."""
    video_size: tuple[int, int] = (1080, 1920)
    """Height and width."""
    video_frames: int = 600
    num_files: int = 4
    """Rendered; the other videos are links to them."""
    num_videos: int = 16
    protocol_frames: int = 150
    few_frames: int = 600
    many_frames: int = 6_000
    """Of two small videos, for memory over length."""
    num_rounds: int = 3
    repeats: int = 10
    """Calls a round: launches of one overlap with the work of the one before, as in the pipeline."""
    epochs: int = 200
    recordings: int = 143
    """Labelled exo videos of the paper's split of Assembly101."""
    shrink: int = 1
    """By which recordings to train on are shorter, and have narrower rows."""

    @property
    def clip_backbones(self) -> tuple[str, ...]:
        """Those that see several frames a row; a trial run on a processor has no time for Omnivore's smallest."""
        return (self.tsm,) if self.dinov2 == RANDOM_DEMO else (self.tsm, self.omnivore)

    @property
    def dtype(self) -> torch.dtype:
        """Of the networks; a processor may have no fast bfloat16, which a trial run doesn't need."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    @property
    def placement(self) -> Placement:
        """Where networks run, unless stated otherwise."""
        return Placement(device=self.device, dtype=self.dtype)

    def smoke(self) -> "Setup":
        """The same, so small that figures mean nothing."""
        return replace(
            self,
            dinov2=RANDOM_DEMO,
            tsm="tsm-random-demo",
            omnivore="omnivore-swin-t",
            matrix_side=128,
            batches=(4, 8),
            video_size=(96, 128),
            video_frames=48,
            num_files=1,
            num_videos=2,
            protocol_frames=4,
            few_frames=24,
            many_frames=48,
            num_rounds=1,
            repeats=1,
            epochs=2,
            recordings=2,
            shrink=20,
        )

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def load(
    setup: Setup, name: str, *, placement: Placement | None = None, preset: str = "official"
) -> Backbone:
    """A backbone with seeded random weights; TSM sees windows of eight frames."""
    return load_backbone(
        name,
        weights=_weights(setup, name),
        preset=preset,
        shift="window8" if name == setup.tsm else "none",
        placement=placement or setup.placement,
    )


def _weights(setup: Setup, name: str) -> Path | None:
    """Made once, since digests and reading take seconds."""
    place = setup.folder / f"{name} weights"
    if place.exists():
        return place
    if name == "dinov2-large":
        return make_dinov2_large(place)
    if name == "omnivore-swin-l":
        return make_omnivore_l(place)
    if name == "omnivore-swin-t":
        torch.manual_seed(0)
        torch.save({"trunk": Swin3D(SIZES[name]).state_dict(), "heads": {}}, place)
        return place
    if name == "tsm":
        save_tsm(
            place.with_suffix(".safetensors"),
            random_tsm(width=WIDTH, shift="window8", seed=0),
            TsmInfo(trained_on=(), shift="window8"),
        )
        place.with_suffix(".safetensors").rename(place)
        return place
    return None
