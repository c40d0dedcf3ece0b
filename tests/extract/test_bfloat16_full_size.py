"""The three largest networks, with seeded random weights: rows in bfloat16 against rows in float32."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from sync_extract.backbones import Backbone, Placement, load_backbone
from sync_extract.backbones.omnivore import SIZES
from sync_extract.backbones.resnet_tsm import WIDTH, random_tsm
from sync_extract.backbones.swin3d import Swin3D
from sync_extract.backbones.tsm_checkpoint import TsmInfo, save_tsm

CPU = torch.device("cpu")


def dinov2_large(folder: Path, placement: Placement) -> Backbone:
    if not (weights := folder / "dinov2").exists():
        config = Dinov2Config(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
        )
        Dinov2Model(config).save_pretrained(weights)
    return load_backbone("dinov2-large", weights=weights, placement=placement)


def tsm(folder: Path, placement: Placement) -> Backbone:
    if not (weights := folder / "tsm.safetensors").exists():
        save_tsm(
            weights,
            random_tsm(width=WIDTH, shift="window8", seed=0),
            TsmInfo(trained_on=(), shift="window8", preset="official"),
        )
    return load_backbone("tsm", weights=weights, shift="window8", placement=placement)


def omnivore_large(folder: Path, placement: Placement) -> Backbone:
    if not (weights := folder / "omnivore.torch").exists():
        torch.save({"trunk": Swin3D(SIZES["omnivore-swin-l"]).state_dict(), "heads": {}}, weights)
    return load_backbone("omnivore-swin-l", weights=weights, placement=placement)


@pytest.mark.parametrize(
    ("load", "num_rows", "side"),
    [(dinov2_large, 2, 224), (tsm, 2, 224), (omnivore_large, 1, 112)],
    ids=["dinov2", "tsm", "omnivore"],
)
def test_every_row_points_the_same_way(
    load: Callable[[Path, Placement], Backbone], num_rows: int, side: int, tmp_path: Path
) -> None:
    """Omnivore sees the middle of its pictures alone: a whole clip takes 20 s of a processor."""
    torch.manual_seed(0)
    whole = load(tmp_path, Placement(device=CPU, dtype=torch.float32))
    half = load(tmp_path, Placement(device=CPU, dtype=torch.bfloat16))
    assert half.recipe["precision"] == "bfloat16" and whole.recipe["precision"] == "float32"
    shape = (num_rows, whole.clips.num_frames, 240, 320, 3)
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))

    def rows_of(backbone: Backbone) -> torch.Tensor:
        images = backbone.prepare(frames.flatten(0, 1))
        edge = (images.shape[-1] - side) // 2
        middle = images[..., edge : edge + side, edge : edge + side]
        return backbone.features(middle.unflatten(0, frames.shape[:2])).float()

    rows, rounded = rows_of(whole), rows_of(half)
    assert rows.shape == (num_rows, whole.feature_dim) and torch.isfinite(rounded).all()
    assert not torch.equal(rows, rounded)
    assert (torch.nn.functional.cosine_similarity(rows, rounded) >= 0.999).all()
