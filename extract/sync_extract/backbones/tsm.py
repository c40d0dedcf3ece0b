"""TSM as a backbone: a feature a frame, from the frame alone or from the eight around it.

Axes: N rows, K frames of a clip, C channels, h and w network size, D feature width.
"""

import logging
from pathlib import Path
from typing import cast, get_args

import torch

from sync_extract.backbones.base import Backbone, Placement, freeze, weights_digest
from sync_extract.backbones.resnet_tsm import CLIP_FRAMES, ResNetTSM, Shift, random_tsm
from sync_extract.backbones.tsm_checkpoint import TsmInfo, read_tsm
from sync_extract.clips import Clips
from sync_extract.transforms import IMAGENET_MEAN, Preprocessing
from sync_store.config import suggest
from sync_store.errors import SyncError

log = logging.getLogger(__name__)

TSM = "tsm"
"""Any TSM with a ResNet-50; needs weights."""

RANDOM_DEMO = "tsm-random-demo"
"""A narrow TSM with random weights from a fixed seed, or weights trained from these: never for results."""

RANDOM_DEMO_SEED = 0
RANDOM_DEMO_WIDTH = 16

OFFICIAL = Preprocessing(name="official", resize=256, interpolation="bilinear", crop=(224, 224))
"""Evaluation transform of Assembly101's TSM (assembly101-action-recognition, models.py and transforms.py)."""

EPIC = Preprocessing(
    name="epic", resize=256, interpolation="bilinear", crop=(224, 224), mean=IMAGENET_MEAN, std=IMAGENET_MEAN
)
"""As the checkpoint of EPIC-KITCHENS-100 was trained: divided by the mean in place of the standard deviation
(C1-Action-Recognition-TSN-TRN-TSM, README, news of 2021-02-20)."""

DEMO = Preprocessing(name="demo", resize=(72, 96), interpolation="bilinear")

PRESETS = {preset.name: preset for preset in (OFFICIAL, EPIC)}

ANCHOR = CLIP_FRAMES // 2
"""Which of the eight frames a row of "window8" belongs to: t - 4 to t + 3. The authors of Assembly101 say "the
middle frame" (assembly101-action-recognition, issues #1 and #11), which of eight is the fourth or the fifth; ours is
the fifth."""

CLIPS: dict[Shift, Clips] = {
    "none": Clips(),
    "window8": Clips(num_frames=CLIP_FRAMES, stride=1, anchor=ANCHOR, edges="repeat"),
}


def load_tsm(
    name: str,
    *,
    weights: Path | None = None,
    preset: str = "official",
    shift: str = "none",
    placement: Placement | None = None,
) -> Backbone:
    """Load a TSM.

    Args:
        name: `TSM` or `RANDOM_DEMO`.
        weights: A file of one of `tsm_checkpoint`'s forms; the demo backbone can do without.
        preset: Preprocessing, of `PRESETS`; the demo backbone has its own.
        shift: "none" sees one frame a row through the network without shifts, as Assembly101's authors say of their
            released features. "window8" sees eight neighbours of the sampling grid with shifts, as in training, and
            the row is the output of the frame at `ANCHOR`; at the ends of a video the end frame is repeated.
        placement: Device and precision.

    Raises:
        SyncError: If the weights can't be had or aren't a TSM.
    """
    if shift not in get_args(Shift):
        raise SyncError(f"unknown shift {shift!r}{suggest(shift, list(get_args(Shift)))}")
    if name == RANDOM_DEMO:
        preprocessing = DEMO
    elif preset in PRESETS:
        preprocessing = PRESETS[preset]
    else:
        raise SyncError(f"unknown preset {preset!r} of {name}{suggest(preset, list(PRESETS))}")
    module, info = _network(name, weights, cast(Shift, shift))
    _warn_of_another_training(info, preset=preprocessing.name, shift=module.shift, where=str(weights))
    placement = placement or Placement.choose()
    clips = CLIPS[module.shift]
    network = {
        "weights_sha256": weights_digest(module),
        "width": module.width,
        "shift": module.shift,
        "feature": f"average pool of frame {clips.anchor} of {clips.num_frames}",
    }
    frozen = freeze(module, placement)
    if placement.device.type == "cuda":
        # its convolutions work in this layout, and turn others round each time
        frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(clips_NKChw: torch.Tensor) -> torch.Tensor:
        features_NKD: torch.Tensor = frozen(clips_NKChw.flatten(0, 1)).unflatten(0, clips_NKChw.shape[:2])
        return features_NKD[:, clips.anchor].float()

    return Backbone(
        name=name,
        module=frozen,
        preprocessing=preprocessing,
        clips=clips,
        feature_dim=module.feature_dim,
        placement=placement,
        encode=encode,
        network=network,
        trained_on=info.trained_on,
    )


def _network(name: str, weights: Path | None, shift: Shift) -> tuple[ResNetTSM, TsmInfo]:
    if weights is not None:
        read = read_tsm(weights)
        return read.build(shift), read.info
    if name != RANDOM_DEMO:
        raise SyncError(f"backbone {name!r} has no weights of its own: give a checkpoint with --weights")
    module = random_tsm(width=RANDOM_DEMO_WIDTH, shift=shift, seed=RANDOM_DEMO_SEED)
    return module, TsmInfo(trained_on=(), shift="window8", preset=DEMO.name)


def _warn_of_another_training(info: TsmInfo, *, preset: str, shift: Shift, where: str) -> None:
    if info.preset not in (None, preset):
        log.warning("%s: was trained with the preset %r and is used with %r", where, info.preset, preset)
    if shift == "window8" and info.shift != "window8":
        log.warning("%s: doesn't say that it was trained with shifts, and is used with window8", where)
