"""Omnivore as a backbone: a feature a window of video.

Windows, frame rate and preprocessing are those of EgoExo4D's released Omnivore features (facebookresearch/Ego4d,
features/configs/egoexo_omnivore.yaml), which are Swin-L's at 30 frames/s.

Axes: N rows, K frames of a clip, h and w network size, D feature width.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from sync_extract.backbones.base import Backbone, Placement, as_json, freeze, weights_digest
from sync_extract.backbones.swin3d import Swin3D, Swin3DSize
from sync_extract.backbones.swin3d_windows import relative_position_index
from sync_extract.clips import Clips
from sync_extract.transforms import Preprocessing
from sync_extract.weights import check_tensor, read_checkpoint
from sync_store.config import suggest
from sync_store.errors import SyncError

SIZES: Mapping[str, Swin3DSize] = {
    "omnivore-swin-t": Swin3DSize(
        embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window=(8, 7, 7)
    ),
    "omnivore-swin-s": Swin3DSize(
        embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), window=(8, 7, 7)
    ),
    "omnivore-swin-b": Swin3DSize(
        embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), window=(16, 7, 7)
    ),
    "omnivore-swin-l": Swin3DSize(
        embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12, 24, 48), window=(8, 7, 7)
    ),
}
"""facebookresearch/omnivore, omnivore/models/omnivore_model.py."""

PUBLISHED_FILES = {
    "omnivore-swin-t": "swinT_checkpoint.torch",
    "omnivore-swin-s": "swinS_checkpoint.torch",
    "omnivore-swin-b": "swinB_In21k_checkpoint.torch",
    "omnivore-swin-l": "swinL_In21k_checkpoint.torch",
}
"""Trained on ImageNet (In21k: of 21,000 classes, too), Kinetics-400 and SUN RGB-D; licence CC-BY-NC 4.0. Swin-B is
there without In21k, too, and fine-tuned on EPIC-KITCHENS-100 (swinB_checkpoint, swinB_epic_checkpoint)."""

OFFICIAL = Preprocessing(
    name="official", resize=256, interpolation="bilinear", crop=(224, 224), antialias=False
)
"""As for the released features (Ego4d, features/models/omnivore.py, by pytorchvideo's ShortSideScale). They normalise
before they resize, which gives the same values up to rounding."""

PRESETS = {OFFICIAL.name: OFFICIAL}

FPS = Fraction(30)
"""Rate of the frames that it sees."""

CLIPS = Clips(num_frames=32, stride=16, anchor=16, edges="backpad")
"""Row i sees frames [16 i, 16 i + 32) and belongs to frame 16 i + 16, the middle; the last window ends with the video
(pytorchvideo's UniformClipSampler with backpad_last)."""

_INDEX = "relative_position_index"

EXPECTED = "expected an Omnivore checkpoint as published: a dict with the weights of the trunk in 'trunk'"


def load_omnivore(
    name: str,
    *,
    weights: Path | None = None,
    preset: str = "official",
    placement: Placement | None = None,
) -> Backbone:
    """Load an Omnivore.

    Args:
        name: One of `SIZES`.
        weights: A published checkpoint, or a dict of the trunk's weights alone (torch.save or safetensors).
        preset: Preprocessing, of `PRESETS`.
        placement: Device and precision.

    Raises:
        SyncError: If the weights can't be had or are another network's.
    """
    if preset not in PRESETS:
        raise SyncError(f"unknown preset {preset!r} of {name}{suggest(preset, list(PRESETS))}")
    if weights is None:
        raise SyncError(
            f"backbone {name!r} has no weights of its own: download {PUBLISHED_FILES[name]}, which the README of "
            "facebookresearch/omnivore on GitHub lists (Model Zoo), and give it with --weights FILE"
        )
    placement = placement or Placement.choose()
    module = _read(name, weights)
    network = {"weights_sha256": weights_digest(module), "config": as_json(module.size)}
    frozen = freeze(module, placement)
    return Backbone(
        name=name,
        module=frozen,
        preprocessing=PRESETS[preset],
        clips=CLIPS,
        fps=FPS,
        feature_dim=module.size.feature_dim,
        placement=placement,
        encode=lambda clips_NK3hw: frozen(clips_NK3hw.transpose(1, 2)).float(),
        network=network,
    )


def _read(name: str, path: Path) -> Swin3D:
    """The network with a copy of the file's weights, float32 on the processor."""
    content = read_checkpoint(path)
    trunk = content.get("trunk", content.get("state_dict", content))  # the latter from safetensors
    if not isinstance(trunk, dict):
        raise SyncError(f"{path}: 'trunk' holds {type(trunk).__name__}; {EXPECTED}")
    _check_size(name, path, trunk)
    with torch.device("meta"):
        module = Swin3D(SIZES[name], has_depth="depth_patch_embed.proj.weight" in trunk)
    _check_weights(name, path, trunk, {key: tuple(value.shape) for key, value in module.state_dict().items()})
    _check_positions(path, trunk, relative_position_index(module.size.window))
    module.to_empty(device="cpu")
    module.load_state_dict(trunk)
    return module


def _check_size(name: str, path: Path, trunk: dict[Any, Any]) -> None:
    """Refuse another of the published sizes, by what sets it apart: channels and blocks of the third stage."""
    projection = trunk.get("patch_embed.proj.weight")
    if not isinstance(projection, torch.Tensor) or not projection.ndim:
        raise SyncError(f"{path}: has no weights 'patch_embed.proj.weight'; {EXPECTED}")
    found = (
        len(projection),
        len({key.split(".")[3] for key in trunk if str(key).startswith("layers.2.blocks.")}),
    )
    known = {(size.embed_dim, size.depths[2]): other for other, size in SIZES.items()}
    if known.get(found) != name:
        remedy = (
            f"name the backbone {known[found]!r}" if found in known else f"no Omnivore has these; {EXPECTED}"
        )
        expected = (SIZES[name].embed_dim, SIZES[name].depths[2])
        raise SyncError(
            f"{path}: has {found[0]} channels and {found[1]} blocks in its third stage, but {name} has "
            f"{expected[0]} and {expected[1]}; {remedy}"
        )


def _check_weights(name: str, path: Path, trunk: dict[Any, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    if missing := next((key for key in shapes if key not in trunk), None):
        raise SyncError(f"{path}: {missing} is missing from the weights of {name}; {EXPECTED}")
    if unexpected := next((key for key in trunk if key not in shapes), None):
        raise SyncError(f"{path}: unexpected key {unexpected!r} for {name}; {EXPECTED}")
    for key, shape in shapes.items():
        is_float = not key.endswith(_INDEX)
        check_tensor(path, key, trunk[key], shape, f"{EXPECTED}, of {name}", is_float=is_float)


def _check_positions(path: Path, trunk: dict[Any, torch.Tensor], index_LL: torch.Tensor) -> None:
    for key, value in trunk.items():
        if key.endswith(_INDEX) and not torch.equal(value, index_LL):
            raise SyncError(
                f"{path}: {key} isn't that of Omnivore's windows. Copy or download the file again"
            )
